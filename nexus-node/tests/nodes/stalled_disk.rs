//! A disk that stalls holds up what needs it, and nothing else.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::settings::NoSettings;
use crate::stalling::{StallingDisk, Threads, on_purpose};
use crate::world::{Link, SOON, World, address_of, are_well, eventually, has_text, key};
use futures::TryStreamExt;
use nexus_identity::{Did, Ticket};
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest, Mesh, MeshConfig, Rooms, TokioSpawner};
use nexus_node::api::Api;
use nexus_node::config::Bounded;
use nexus_node::critical::Mode;
use nexus_node::critical::PutOptions;
use nexus_node::memory::ListQuery;
use nexus_node::net::PeerState;
use nexus_node::{Invite, NewMemory, Node, NodeEnv, Patch, RecallQuery, WatchQuery};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const WORLD: World = World(240);

/// The world of a node whose brain is on this disk; its Raft files are not.
fn env(n: u8, disk: &StallingDisk) -> NodeEnv {
    let mut env = WORLD.env(n, Link::Memory);
    env.store = disk.store(&WORLD.genesis(n));
    env.blocking = Arc::new(Threads);
    env.config.voter_settle_ms = Bounded::of::<200>();
    env
}

async fn beside(n: u8, others: &[&Node]) -> Node {
    let mut env = WORLD.env(n, Link::Memory);
    env.config.voter_settle_ms = Bounded::of::<200>();
    env.config.bootstrap.0 = others.iter().map(|node| address_of(node)).collect();
    Node::with_env(env).await.unwrap()
}

/// Shows a ticket as somebody new.
async fn knock(n: u8, node: &Node, ticket: &Ticket) -> JoinReply {
    let spawner = Arc::new(TokioSpawner::current());
    let (mesh, _events) =
        Mesh::start(Link::Memory.transport(&key(n)), MeshConfig::new(key(n)), Rooms::new(), spawner).unwrap();
    let name = format!("newcomer-{n}").parse().unwrap();
    let request = JoinRequest {
        ticket_id: ticket.id,
        secret: ticket.secret,
        name,
        version: String::new(),
        succession: Vec::new(),
    };
    let reply = mesh.join(node.did(), vec![address_of(node)], request).await.unwrap();
    mesh.shutdown().await;
    reply
}

fn is_unavailable(reply: &JoinReply) -> bool {
    matches!(reply, JoinReply::Refused { code: JoinRefusal::Unavailable, .. })
}

async fn state_of(seen_by: &Node, node: Did) -> PeerState {
    seen_by.peers().await.iter().find(|peer| peer.did == node).unwrap().state
}

/// promise: Nodes | With the brain's disk stalled no Raft message and no ping is delayed, and a newcomer is told within two seconds to try again
#[tokio::test(start_paused = true)]
async fn a_stalled_brain_disk_delays_no_raft_message_and_no_ping_and_a_join_is_told_to_try_again_in_two_seconds() {
    let disk = StallingDisk::new();
    let node = Node::with_env(env(0, &disk)).await.unwrap();
    let friend = beside(1, &[&node]).await;
    let third = beside(2, &[&node, &friend]).await;
    let seen = async || friend.critical().unwrap().coordinators().await;
    eventually("three voters", async || {
        seen().await.is_some_and(|seen| seen.voters.len() == 3 && seen.mode() == Mode::Full && seen.leader.is_some())
    })
    .await;
    has_text_of(&node, &friend).await;
    let ticket = node.invite(Invite::default()).await.unwrap().ticket;
    let before = seen().await.unwrap();
    assert_eq!(before.leader, Some(node.did()), "the node whose disk stalls is the one that leads");

    disk.stall();
    let brain = node.brain();
    let late = tokio::spawn(async move { brain.remember(NewMemory::note("late")).await });
    disk.until_it_holds_something_up().await;
    // sync and gossip bring more than the engine has places for
    for n in 0..100 {
        friend.brain().remember(NewMemory::note(format!("meanwhile {n}"))).await.unwrap();
    }
    for round in 0..30 {
        let began = Instant::now();
        third.critical().unwrap().put("round", &round.to_string(), PutOptions::default()).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(500), "a put took {:?} of virtual time", began.elapsed());
        assert_eq!(state_of(&friend, node.did()).await, PeerState::Up, "pings and beats go on");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = seen().await.unwrap();
    assert_eq!((after.term, after.leader, after.mode()), (before.term, before.leader, Mode::Full), "no election");

    let began = Instant::now();
    let (first, second) = futures::join!(knock(30, &node, &ticket), knock(31, &node, &ticket));
    assert!(is_unavailable(&first) && is_unavailable(&second), "{first:?}, {second:?}");
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(is_unavailable(&knock(32, &node, &ticket).await));
    assert!(!late.is_finished(), "not acknowledged before it is on disk");

    disk.go_on();
    late.await.unwrap().unwrap();
    has_text(&friend, "late").await;
    // one of them was being admitted all the time, and it alone: the ticket is good for one
    let mut admitted = Vec::new();
    for n in [30, 31, 32, 33] {
        let mut reply = knock(n, &node, &ticket).await;
        // its decision may still be on its way to the disk
        while is_unavailable(&reply) && began.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(100)).await;
            reply = knock(n, &node, &ticket).await;
        }
        match reply {
            JoinReply::Admitted { .. } => admitted.push(n),
            JoinReply::Refused { code, .. } => assert_eq!(code, JoinRefusal::Used),
        }
    }
    assert_eq!(admitted.len(), 1, "{admitted:?}");
    eventually("all that came meanwhile is here", async || {
        node.brain().list(ListQuery::newest().limit(1_000)).await.unwrap().items.len() > 101
    })
    .await;
}

/// Both have a memory of each other.
async fn has_text_of(node: &Node, friend: &Node) {
    node.brain().remember(NewMemory::note("by the node")).await.unwrap();
    has_text(friend, "by the node").await;
}

/// A node's answer on HTTP, with its head.
async fn http_get(node: &Node, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(address, "token", Arc::new(NoSettings));
    api.attach(node.clone());
    let serving = tokio::spawn(async move { api.serve(listener, std::future::pending()).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer token\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    serving.abort();
    answer
}

/// promise: Nodes | Nothing reads the brain's disk on the tasks that answer
#[tokio::test(start_paused = true)]
async fn nothing_touches_the_disk_outside_of_the_blocking_seam() {
    let disk = StallingDisk::new();
    disk.watch();
    let mut env = {
        let disk = disk.clone();
        on_purpose(move || env(0, &disk))
    };
    env.config.voter_settle_ms = Bounded::of::<200>();
    let node = Node::with_env(env).await.unwrap();
    let friend = beside(1, &[&node]).await;
    let brain = node.brain();
    let mut watch = brain.watch(WatchQuery::default()).await.unwrap();

    let id = brain.remember(NewMemory::note("the first one")).await.unwrap().id;
    brain.remember(NewMemory::note("the first one, again")).await.unwrap();
    brain.edit(&id, Patch::text("the first one, edited")).await.unwrap();
    assert_eq!(brain.get(&id).await.unwrap().text, "the first one, edited");
    assert_eq!(brain.history(&id).await.unwrap().len(), 2);
    assert_eq!(brain.key_of(&id).await.unwrap(), None);
    assert_eq!(brain.list(ListQuery::newest()).await.unwrap().items.len(), 2);
    assert_eq!(brain.pages("default").await.unwrap().try_collect::<Vec<_>>().await.unwrap().len(), 1);
    node.frontier().await.unwrap();
    brain.create_space("elsewhere".parse().unwrap()).await.unwrap();
    has_text(&friend, "the first one, edited").await;
    friend.brain().remember(NewMemory::note("from the friend")).await.unwrap();
    while watch.next().await.unwrap().unwrap().author != friend.did() {}
    brain.forget(&id).await.unwrap();
    let ticket = node.invite(Invite::default()).await.unwrap().ticket;
    assert!(matches!(knock(40, &node, &ticket).await, JoinReply::Admitted { .. }));
    node.critical().unwrap().put("key", "value", PutOptions::default()).await.unwrap();
    node.peers().await;
    node.status().await;
    // an hour of rest: beats, digests, whatever comes round
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    brain.recall(RecallQuery::of("friend")).await.unwrap();
    // sockets of this machine know no virtual time
    tokio::time::resume();
    for path in ["/v1/memories", "/v1/memories?q=friend", "/v1/export", "/v1/spaces", "/v1/spaces/default/pages"] {
        let answer = http_get(&node, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    node.shutdown().await;
    let outside = disk.touched_outside();
    assert!(outside.is_empty(), "{}", Vec::from_iter(outside).join("\n\n"));
    drop((node, friend));
}

#[tokio::test(start_paused = true)]
async fn a_read_on_the_spot_is_seen_by_that_test() {
    let disk = StallingDisk::new();
    let store = on_purpose(|| disk.store(&WORLD.genesis(0)));
    disk.watch();
    let view = store.snapshot().unwrap();
    use nexus_node::internals::store::{Table, View};
    view.get(Table::Meta, b"format").unwrap();
    assert!(!disk.touched_outside().is_empty());
    let _unused = are_well;
}
