//! A member with real credentials floods one room of a node. The node's other rooms go on: pings, keys, sync.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rogue::{ENTRIES, Line, Rogue, SYNC};
use crate::world::{Link, SOON, World, address_of, are_well, eventually, key};
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{
    Core, EntryFrame, Field, FrontierPart, Incarnation, Kind, LogId, SyncFrame, Target, Verified, Write, Writes,
};
use nexus_mesh::{JoinReply, JoinRequest, Mesh, MeshConfig, PublishError, Rooms, StreamProtocol, TokioSpawner};
use nexus_node::config::Bounded;
use nexus_node::critical::PutOptions;
use nexus_node::{Invite, Node};
use prost::Message;
use tokio::task::JoinSet;

const WORLD: World = World(240);
/// The number of the rogue member.
const ROGUE: u8 = 9;
const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// Streams that one peer may hold.
const STREAMS_MAX: usize = 64;
/// Rounds of work of the honest nodes during a flood.
const ROUNDS: usize = 3;

/// A node, an honest member beside it, and a rogue one.
struct Stage {
    node: Node,
    friend: Node,
    rogue: Arc<Rogue>,
}

impl Stage {
    async fn new() -> Self {
        let start = async |n, beside: Option<&Node>| {
            let mut env = WORLD.env(n, Link::Memory);
            env.config.heartbeat_ms = Bounded::of::<500>();
            env.config.voter_settle_ms = Bounded::of::<200>();
            env.config.bootstrap.0 = beside.map(address_of).into_iter().collect();
            Node::with_env(env).await.unwrap()
        };
        let node = start(0, None).await;
        let friend = start(1, Some(&node)).await;
        are_well(&node, &friend, "before").await;
        eventually("the friend writes keys", || async {
            friend.critical().unwrap().put("before", "", PutOptions::default()).await.is_ok()
        })
        .await;
        let rogue = Arc::new(Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await);
        Self { node, friend, rogue }
    }

    /// Lets the honest nodes work while a flood goes on.
    async fn go_on_beside(self, mut flood: JoinSet<()>) {
        let seen = async |by: &Node, of: &Node| {
            let peers = by.peers().await;
            let peer = peers.iter().find(|peer| peer.did == of.did()).unwrap().clone();
            assert_eq!(peer.state.to_string(), "up", "{peer:?}");
            peer
        };
        for round in 0..ROUNDS {
            let (here, there) = (seen(&self.node, &self.friend).await, seen(&self.friend, &self.node).await);
            are_well(&self.node, &self.friend, &format!("round {round}")).await;
            for (writer, reader) in [(&self.node, &self.friend), (&self.friend, &self.node)] {
                let name = format!("{round}/{}", writer.name());
                let put = writer.critical().unwrap().put(&name, "written", PutOptions::default()).await;
                put.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(reader.critical().unwrap().get(&name).await.unwrap().unwrap().by, writer.did());
            }
            eventually("each hears the other", || async {
                seen(&self.node, &self.friend).await.last_seen > here.last_seen
                    && seen(&self.friend, &self.node).await.last_seen > there.last_seen
            })
            .await;
            assert!(flood.try_join_next().is_none(), "the flood goes on");
        }
        drop(flood);
        are_well(&self.node, &self.friend, "afterwards").await;
    }

    /// Opens so many streams to a room, fills each with frames until it takes no more, and opens others for those that
    /// end. Nobody reads an answer. The number counts the frames.
    fn flood_room(&self, room: &StreamProtocol, streams: usize, frame: &[u8]) -> (JoinSet<()>, Arc<AtomicU64>) {
        let (mut flood, frames) = (JoinSet::new(), Arc::<AtomicU64>::default());
        for _ in 0..streams {
            let (rogue, node, room, frame) = (self.rogue.clone(), self.node.did(), room.clone(), frame.to_vec());
            let frames = frames.clone();
            flood.spawn(async move {
                loop {
                    if let Ok(stream) = rogue.mesh.open(node, &room).await {
                        let mut line = Line(stream);
                        while line.frame(&frame).await.is_ok() {
                            frames.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        (flood, frames)
    }
}

/// An entry of a log of the rogue's own, of which the beginning is missing.
fn entry(n: u64) -> Verified {
    let log = LogId { incarnation: Incarnation(n.to_le_bytes()), ..WORLD.log(ROGUE) };
    let core = Core { text: format!("flood {n}"), kind: "note".to_owned(), ..Core::default() };
    let write = Write {
        target: Target::Create { page: 0 },
        field: Field::named(Field::CORE),
        value: core.to_json(),
        over: vec![],
    };
    let payload = Writes(vec![write]).encode();
    let first = WORLD.entry(log, None, Kind::WRITES, payload.clone(), ROGUE);
    WORLD.entry(log, Some(&first), Kind::WRITES, payload, ROGUE)
}

/// promise: Bad input | A member that fills one room slows no other room
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sync_streams_slows_no_other_room() {
    let stage = Stage::new().await;
    let frontier = SyncFrame { body: Some(Body::Frontier(FrontierPart { heads: vec![], last: true })) };
    let (flood, _) = stage.flood_room(&SYNC, STREAMS_MAX, &frontier.encode_to_vec());
    stage.go_on_beside(flood).await;
}

/// promise: Bad input | A member that fills one room slows no other room
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_gossip_slows_no_other_room() {
    let stage = Stage::new().await;
    let (next, mut flood) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for garbage in [false, true] {
        let (rogue, next) = (stage.rogue.clone(), next.clone());
        flood.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let bytes = match garbage {
                    false => EntryFrame::new(&entry(n)).encode_to_vec(),
                    true => [vec![0xff; 8_000], n.to_le_bytes().to_vec()].concat(),
                };
                // a message that finds no place in the rogue's own queue is lost. A mesh that stopped answers at once: a
                // loop that goes on would keep the runtime from its end.
                if let Err(PublishError::Stopped) = rogue.mesh.publish(ENTRIES, bytes).await {
                    return;
                }
            }
        });
    }
    stage.go_on_beside(flood).await;
}

/// promise: Bad input | A member that fills one room slows no other room
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_to_the_coordinators_slows_no_other_room() {
    let stage = Stage::new().await;
    // question 1: for the overview
    let (flood, frames) = stage.flood_room(&RAFT, 2, &[0x08, 0x01, 0x42, 0x00]);
    let (before, still) = (AtomicU64::new(0), AtomicU64::new(0));
    eventually("the rogue's questions wait", || async {
        let now = frames.load(Ordering::Relaxed);
        let moved = before.swap(now, Ordering::Relaxed) != now || now == 0;
        still.store(if moved { 0 } else { still.load(Ordering::Relaxed) + 1 }, Ordering::Relaxed);
        still.load(Ordering::Relaxed) >= 20
    })
    .await;
    stage.go_on_beside(flood).await;
}

/// promise: Bad input | A member that fills one room slows no other room
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_the_join_door_slows_no_other_room_and_a_newcomer_still_joins() {
    let stage = Stage::new().await;
    let address = address_of(&stage.node);
    let stranger = |n: u8| {
        let config = MeshConfig::new(key(n));
        let spawner = Arc::new(TokioSpawner::current());
        let (mesh, mut events) = Mesh::start(Link::Memory.transport(&key(n)), config, Rooms::new(), spawner).unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        mesh
    };
    let request = |ticket_id, secret| JoinRequest {
        ticket_id,
        secret,
        name: "newcomer".parse().unwrap(),
        version: String::new(),
        succession: Vec::new(),
    };
    let mut flood = JoinSet::new();
    for n in 100..124 {
        let (mesh, address, request) = (stranger(n), address.clone(), request([n; 16], [n; 16]));
        let node = stage.node.did();
        flood.spawn(async move {
            loop {
                let reply = mesh.join(node, vec![address.clone()], request.clone()).await;
                assert!(!matches!(reply, Ok(JoinReply::Admitted { .. })), "{reply:?}");
                tokio::task::yield_now().await;
            }
        });
    }
    let ticket = stage.node.invite(Invite::default()).await.unwrap().ticket;
    let newcomer = stranger(50);
    let joining = async {
        let (node, request) = (stage.node.did(), request(ticket.id, ticket.secret));
        // a full door says to try again
        loop {
            if let Ok(JoinReply::Admitted { .. }) = newcomer.join(node, vec![address.clone()], request.clone()).await {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, joining).await.expect("the newcomer is admitted");
    stage.go_on_beside(flood).await;
}
