//! A member with real credentials, and no node behind it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use nexus_crdt::sync_frame::{Body, EntriesFrame};
use nexus_crdt::{
    Core, Draft, ENTRY_FORMAT_MAX, EntryFrame, Field, FrontierPart, Head, Hlc, Incarnation, Kind, LogHead, LogId,
    SpaceId, SyncFrame, Target, Verified, Write, Writes,
};
use nexus_identity::{Chain, Did, Keypair, Ticket, Timestamp};
use nexus_mesh::{
    JoinReply, JoinRequest, Membership, Mesh, MeshConfig, MeshEvent, MeshEvents, Multiaddr, Rooms, Stream,
    StreamProtocol, TokioSpawner, tcp_quic_transport,
};
use prost::Message;

use crate::args::Failure;

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");

/// The name of the attacker in the mesh.
const NAME: &str = "attacker";

/// The key and the credentials of the attacker.
pub(crate) struct Member {
    key: Keypair,
    chain: Chain,
    mesh: Did,
}

impl Member {
    /// Those of a file, or new ones by a ticket, which are kept in the file.
    pub(crate) async fn of(file: &Path, ticket: &Ticket) -> Result<Self, Failure> {
        if let Ok(bytes) = std::fs::read(file)
            && let Some((seed, chain)) = bytes.split_first_chunk::<32>()
        {
            return Ok(Self { key: Keypair::from_seed(seed), chain: Chain::from_bytes(chain)?, mesh: ticket.mesh });
        }
        let key = Keypair::generate();
        let chain = join(&key, ticket).await?;
        std::fs::write(file, [key.seed().as_slice(), &chain.to_bytes()].concat())?;
        Ok(Self { key, chain, mesh: ticket.mesh })
    }

    /// Connects with the nodes at these addresses. The events tell of them.
    pub(crate) fn start(&self, addresses: &[Multiaddr]) -> Result<(Mesh, MeshEvents), Failure> {
        let mut config = MeshConfig::new(self.key.clone());
        config.abilities.entry_format_max = ENTRY_FORMAT_MAX;
        config.membership = Some(Membership { mesh: self.mesh, chain: self.chain.clone() });
        let mut rooms = Rooms::new();
        // streams that a node opens are let go at once: this one speaks on its own
        drop(rooms.register(SYNC, 1));
        drop(rooms.topic("entries", nexus_mesh::quota::Bounds::items(64)));
        let spawner = Arc::new(TokioSpawner::current());
        let (mesh, events) = Mesh::start(tcp_quic_transport(&self.key)?, config, rooms, spawner)?;
        for address in addresses {
            mesh.bootstrap(address.clone());
        }
        Ok((mesh, events))
    }

    /// The entry by which a member says that it is one.
    pub(crate) fn introduction(&self) -> Verified {
        let log = Log { space: SpaceId::mesh(&self.mesh), incarnation: Incarnation([1; 8]), last: None };
        self.entry(&log, Kind::CREDENTIAL, self.chain.to_bytes())
    }

    /// A new log for memories.
    pub(crate) fn log(&self) -> Result<Log, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        Ok(Log { space: SpaceId::default_of(&self.mesh), incarnation: Incarnation(random), last: None })
    }

    /// The next entry of a log, with a memory.
    pub(crate) fn write(&self, log: &mut Log, n: usize) -> Verified {
        let core =
            Core { text: format!("attack {}", crate::text::text(n)), kind: "note".to_owned(), ..Core::default() };
        let (target, field) = (Target::Create { page: 0 }, Field::named(Field::CORE));
        let write = Write { target, field, value: core.to_json(), over: Vec::new() };
        let entry = self.entry(log, Kind::WRITES, Writes(vec![write]).encode());
        log.last = Some(Head { seq: entry.header().seq, id: entry.id() });
        entry
    }

    fn entry(&self, log: &Log, kind: Kind, payload: Vec<u8>) -> Verified {
        let Log { space, incarnation, last } = log;
        let log = LogId { space: *space, author: self.key.did(), incarnation: *incarnation };
        let hlc = Hlc::at(Timestamp::from_ms(1_700_000_000_000));
        let payload = payload.into();
        let draft = Draft { mesh: self.mesh, log, after: last.as_ref(), hlc, kind, refs: Vec::new(), payload };
        Verified::write(draft, &self.key)
    }

    /// Heads of logs that nobody has.
    pub(crate) fn claims(&self, count: u64) -> Vec<LogHead> {
        let space = SpaceId::default_of(&self.mesh);
        let claim = |n: u64| {
            let log = LogId { space, author: self.key.did(), incarnation: Incarnation(n.to_be_bytes()) };
            LogHead::new(&log, &Head { seq: n, id: nexus_crdt::EntryId::of(&n.to_be_bytes()) })
        };
        (0..count).map(claim).collect()
    }
}

/// A log of the attacker.
pub(crate) struct Log {
    space: SpaceId,
    incarnation: Incarnation,
    last: Option<Head>,
}

/// Joins a mesh with a ticket, as any newcomer.
async fn join(key: &Keypair, ticket: &Ticket) -> Result<Chain, Failure> {
    let spawner = Arc::new(TokioSpawner::current());
    let config = MeshConfig::new(key.clone());
    let (mesh, mut events) = Mesh::start(tcp_quic_transport(key)?, config, Rooms::new(), spawner)?;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let addresses = ticket.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let request = JoinRequest {
        ticket_id: ticket.id,
        secret: ticket.secret,
        name: NAME.parse().map_err(|_| "no name")?,
        version: String::new(),
        succession: Vec::new(),
    };
    let reply = mesh.join(ticket.inviter, addresses, request).await?;
    mesh.shutdown().await;
    match reply {
        JoinReply::Admitted { chain, .. } => Ok(chain),
        JoinReply::Refused { message, .. } => Err(message.into()),
    }
}

/// The open nodes, by the events of a mesh: `opened` is called with each, and its task ends with the connection.
pub(crate) async fn follow(
    mesh: &Mesh,
    mut events: MeshEvents,
    addresses: &[Multiaddr],
    mut opened: impl FnMut(Did) -> tokio::task::JoinHandle<()>,
) {
    let mut tasks = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match event {
            MeshEvent::PeerOpen { peer, .. } => drop(tasks.insert(peer, opened(peer))),
            MeshEvent::PeerClosed { peer, .. } => {
                if let Some(task) = tasks.remove(&peer) {
                    task.abort();
                }
                for address in addresses {
                    mesh.bootstrap(address.clone());
                }
            }
            _ => {}
        }
    }
}

/// A stream to a node, by hand. Answers are read and dropped.
pub(crate) struct Line {
    writer: WriteHalf<Stream>,
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

impl Line {
    /// A stream of the sync room whose answers are read.
    pub(crate) async fn sync(mesh: &Mesh, node: Did) -> Option<Self> {
        let (reader, writer) = mesh.open(node, &SYNC).await.ok()?.split();
        Some(Self { writer, reading: Some(tokio::spawn(drain(reader))) })
    }

    /// A stream of any room of which nothing is read.
    pub(crate) async fn deaf(mesh: &Mesh, node: Did, room: &StreamProtocol) -> Option<Self> {
        let (_, writer) = mesh.open(node, room).await.ok()?.split();
        Some(Self { writer, reading: None })
    }

    /// Sends a frame around these bytes.
    pub(crate) async fn frame(&mut self, body: &[u8]) -> Option<()> {
        let length = u32::try_from(body.len()).ok()?.to_be_bytes();
        self.writer.write_all(&[&length, body].concat()).await.ok()?;
        self.writer.flush().await.ok()
    }
}

async fn drain(mut reader: ReadHalf<Stream>) {
    let mut buffer = vec![0; 64 * 1024];
    while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
}

/// The room of sync streams.
pub(crate) const fn sync_room() -> StreamProtocol {
    SYNC
}

/// A frame of entries.
pub(crate) fn entries(entries: Vec<EntryFrame>) -> Vec<u8> {
    SyncFrame { body: Some(Body::Entries(EntriesFrame { entries })) }.encode_to_vec()
}

/// A frame with a whole frontier.
pub(crate) fn frontier(heads: Vec<LogHead>) -> Vec<u8> {
    SyncFrame { body: Some(Body::Frontier(FrontierPart { heads, last: true })) }.encode_to_vec()
}
