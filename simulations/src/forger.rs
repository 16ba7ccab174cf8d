//! Entries that a dishonest member writes without a node, and sends as it likes.

use std::time::Duration;

use libp2p::StreamProtocol;
use nexus_crdt::sync_frame::{Body, EntriesFrame};
use nexus_crdt::{
    Content, Core, DocumentPart, Draft, EntryFrame, Erase, Field, Head, Hlc, Incarnation, Kind, LogId, Pin, SpaceId,
    SyncFrame, Target, TaskEvent, Verified, Write, Writes, document_leaves,
};
use nexus_documents::ChangeHash;
use nexus_identity::{Chain, Did, Keypair, Timestamp};
use nexus_mesh::{Mesh, write_frame};
use prost::Message;

use crate::dice::Dice;
use crate::plan::NodeNo;
use crate::world::Sim;

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
/// The time for entries to arrive before their stream ends.
const ARRIVES: Duration = Duration::from_millis(500);

/// The author of one log.
pub(crate) struct Writer<'a> {
    mesh: Did,
    key: &'a Keypair,
    incarnation: Incarnation,
    hlc: Hlc,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(sim: &Sim, key: &'a Keypair, dice: &mut Dice) -> Self {
        let hlc = Hlc::at(Timestamp::from_ms(u64::try_from(sim.now().as_millis()).unwrap_or(1)));
        Self { mesh: sim.mesh(), key, incarnation: Incarnation(dice.next().to_le_bytes()), hlc }
    }

    fn entry(&self, space: SpaceId, after: Option<&Verified>, kind: Kind, payload: impl Into<Content>) -> Verified {
        let log = LogId { space, author: self.key.did(), incarnation: self.incarnation };
        let after = after.map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let (mesh, hlc, payload) = (self.mesh, self.hlc, payload.into());
        Verified::write(Draft { mesh, log, after: after.as_ref(), hlc, kind, refs: vec![], payload }, self.key)
    }

    /// The entry by which a member says that it is one.
    pub(crate) fn introduction(&self, sim: &Sim, no: NodeNo) -> Option<Verified> {
        Some(self.credentials(&sim.chain_for(no).ok()?))
    }

    /// The same with credentials that another one signed.
    pub(crate) fn credentials(&self, chain: &Chain) -> Verified {
        self.credentials_after(None, chain)
    }

    /// Credentials of anybody, at some place of its log.
    pub(crate) fn credentials_after(&self, after: Option<&Verified>, chain: &Chain) -> Verified {
        self.entry(SpaceId::mesh(&self.mesh), after, Kind::CREDENTIAL, chain.to_bytes())
    }

    /// The end of a log at one of its entries.
    pub(crate) fn pin(entry: &Verified) -> Pin {
        let LogId { space, incarnation, .. } = entry.header().log();
        Pin { space, incarnation, last: Head { seq: entry.header().seq, id: entry.id() } }
    }

    /// An entry with one event of a task.
    pub(crate) fn of_tasks(&self, after: Option<&Verified>, event: &TaskEvent) -> Verified {
        self.entry(SpaceId::tasks_of(&self.mesh), after, Kind::TASKS, event.encode())
    }

    /// An entry that erases leaves.
    pub(crate) fn erasure(&self, after: Option<&Verified>, erase: &Erase) -> Verified {
        self.entry(SpaceId::mesh(&self.mesh), after, Kind::ERASE, erase.encode())
    }

    /// An entry with one change of a document.
    pub(crate) fn change(
        &self,
        after: Option<&Verified>,
        document: [u8; 16],
        change: (ChangeHash, Vec<u8>),
    ) -> Verified {
        let (hash, bytes) = change;
        let leaves = document_leaves(document, &[DocumentPart::Change { hash: hash.0, bytes }]).into_iter();
        let parts = leaves.map(|leaf| ([1; 16], leaf)).collect();
        self.entry(SpaceId::default_of(&self.mesh), after, Kind::DOCUMENT, Content::Parts(parts))
    }

    pub(crate) fn memory(&self, after: Option<&Verified>, text: &str) -> Verified {
        let value = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json();
        let write = Write { target: Target::Create { page: 0 }, field: Field::named("core"), value, over: vec![] };
        self.entry(SpaceId::default_of(&self.mesh), after, Kind::WRITES, Writes(vec![write]).encode())
    }
}

/// Sends entries over a new stream.
pub(crate) async fn send(mesh: &Mesh, peer: Did, entries: &[Verified]) -> Option<()> {
    let mut stream = mesh.open(peer, &SYNC).await.ok()?;
    let entries = entries.iter().map(|entry| EntryFrame::new(entry)).collect();
    let frame = SyncFrame { body: Some(Body::Entries(EntriesFrame { entries })) };
    write_frame(&mut stream, &frame.encode_to_vec()).await.ok()?;
    tokio::time::sleep(ARRIVES).await;
    Some(())
}
