//! A member that shows different pasts to different nodes: its log forks on purpose, and nobody gets all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use libp2p::StreamProtocol;
use nexus_crdt::sync_frame::{Body, EntriesFrame};
use nexus_crdt::{
    Core, Draft, EntryFrame, Field, Head, Hlc, Incarnation, Kind, LogId, SpaceId, SyncFrame, Target, Verified, Write,
    Writes,
};
use nexus_identity::{Did, Keypair, Timestamp};
use nexus_mesh::{Mesh, Rooms, write_frame};
use prost::Message;

use crate::dice::Dice;
use crate::faults::Faults;
use crate::outsiders::note_open;
use crate::tap::TapLog;
use crate::world::{Crash, Sim};

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
/// The most entries of a branch after the fork.
const BRANCH_MAX: u64 = 4;
/// The time for entries to arrive before their stream ends.
const ARRIVES: Duration = Duration::from_millis(500);

impl Faults {
    /// Joins, introduces itself to one node, and gives each of two nodes another continuation of the same log, again and
    /// again.
    pub(crate) async fn shows_two_pasts(&self, no: usize, last: Duration, choice: u64) {
        let sim = &self.sim;
        let mut dice = Dice::new(choice);
        let Ok(outsider) = sim.outsider(&format!("twoface{no}"), TapLog::default()) else { return };
        let Ok(chain) = sim.chain_for(outsider.no) else { return };
        let introduction = chain.to_bytes();
        self.ledger.borrow_mut().two_faces.insert(outsider.key.did());
        let Some((mesh, mut events)) = outsider.as_member(sim, Rooms::new(), self.nodes) else { return };
        let (mut open, mut introduced) = (BTreeSet::new(), false);
        let end = sim.now() + last;
        while sim.now() < end {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(1_000, 4_000)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    let mut peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&first) = dice.pick(&peers) else { continue };
                    peers.retain(|peer| *peer != first);
                    let Some(&second) = dice.pick(&peers) else { continue };
                    let writer = Writer::new(sim, &outsider.key, &mut dice);
                    if !introduced {
                        let space = SpaceId::mesh(&sim.mesh());
                        let entry = writer.entry(space, None, Kind::CREDENTIAL, introduction.clone());
                        introduced = send(&mesh, first, &[entry]).await.is_some();
                        continue;
                    }
                    let base = writer.memory(None, "base");
                    let (mut one, mut other) = (vec![base.clone()], vec![base]);
                    for n in 0..dice.between(1, BRANCH_MAX) {
                        one.push(writer.memory(one.last(), &format!("one {n}")));
                    }
                    for n in 0..dice.between(1, BRANCH_MAX) {
                        other.push(writer.memory(other.last(), &format!("other {n}")));
                    }
                    let sent = (send(&mesh, first, &one).await, send(&mesh, second, &other).await);
                    if let (Some(()), Some(())) = sent {
                        sim.network().fire("two_faces");
                    }
                }
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }
}

/// The author of one log.
struct Writer<'a> {
    mesh: Did,
    key: &'a Keypair,
    incarnation: Incarnation,
    hlc: Hlc,
}

impl<'a> Writer<'a> {
    fn new(sim: &Sim, key: &'a Keypair, dice: &mut Dice) -> Self {
        let hlc = Hlc::at(Timestamp::from_ms(u64::try_from(sim.now().as_millis()).unwrap_or(1)));
        Self { mesh: sim.mesh(), key, incarnation: Incarnation(dice.next().to_le_bytes()), hlc }
    }

    fn entry(&self, space: SpaceId, after: Option<&Verified>, kind: Kind, payload: Vec<u8>) -> Verified {
        let log = LogId { space, author: self.key.did(), incarnation: self.incarnation };
        let after = after.map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let (mesh, hlc, payload) = (self.mesh, self.hlc, payload.into());
        Verified::write(Draft { mesh, log, after: after.as_ref(), hlc, kind, refs: vec![], payload }, self.key)
    }

    fn memory(&self, after: Option<&Verified>, text: &str) -> Verified {
        let value = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json();
        let write = Write { target: Target::Create { page: 0 }, field: Field::named("core"), value, over: vec![] };
        self.entry(SpaceId::default_of(&self.mesh), after, Kind::WRITES, Writes(vec![write]).encode())
    }
}

/// Sends entries over a new stream.
async fn send(mesh: &Mesh, peer: Did, entries: &[Verified]) -> Option<()> {
    let mut stream = mesh.open(peer, &SYNC).await.ok()?;
    let entries = entries.iter().map(|entry| EntryFrame::new(entry)).collect();
    let frame = SyncFrame { body: Some(Body::Entries(EntriesFrame { entries })) };
    write_frame(&mut stream, &frame.encode_to_vec()).await.ok()?;
    tokio::time::sleep(ARRIVES).await;
    Some(())
}
