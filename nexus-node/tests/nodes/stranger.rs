//! Strangers learn nothing: every byte that reaches one is recorded and searched.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::recorder::{Raw, Record};
use crate::rogue::{self, ENTRIES, SYNC};
use crate::world::{Link, SOON, World, address_of, are_well, eventually, has_text, key};
use libp2p::multiaddr::Protocol;
use nexus_mesh::quota::Bounds;
use nexus_mesh::{
    JoinReply, JoinRequest, Membership, Mesh, MeshConfig, MeshEvent, MeshEvents, Multiaddr, OpenError, Rooms,
    TokioSpawner,
};
use nexus_node::{NewMemory, Node};

const OURS: World = World(200);
const THEIRS: World = World(201);
const CANARY: &str = "canary-text-that-nobody-else-may-read";

/// Two members on sockets that have the canary and know each other.
async fn members() -> (Node, Node) {
    let node = OURS.start(0, Link::Tcp).await;
    let friend = OURS.start_beside(1, Link::Tcp, &node).await;
    are_well(&node, &friend, "before").await;
    node.brain().remember(NewMemory::note(CANARY)).await.unwrap();
    has_text(&friend, CANARY).await;
    (node, friend)
}

/// The bytes that must reach nobody else, in every form.
fn secrets(node: &Node, friend: &Node) -> Vec<Vec<u8>> {
    let address: Multiaddr = friend.listen_addresses()[0].clone();
    let port = address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None }).unwrap();
    let texts = [CANARY.to_owned(), node.name(), friend.name(), friend.did().to_string(), node.mesh_did().to_string()];
    let addresses = [address.to_string(), format!("127.0.0.1:{port}"), friend.peer_id()];
    let bytes = [
        friend.did().as_bytes().to_vec(),
        node.mesh_did().as_bytes().to_vec(),
        address.to_vec(),
        OURS.chain(0).to_bytes(),
        OURS.chain(1).to_bytes(),
    ];
    texts.into_iter().chain(addresses).map(String::into_bytes).chain(bytes).collect()
}

#[track_caller]
fn nothing_got_out(record: &Record, node: &Node, friend: &Node) {
    for secret in secrets(node, friend) {
        assert!(!record.holds(&secret), "{:?} got out", String::from_utf8_lossy(&secret));
    }
}

/// A mesh over a recorded transport.
fn mesh(record: &Record, n: u8, membership: Option<World>) -> (Mesh, MeshEvents) {
    let mut config = MeshConfig::new(key(n));
    config.abilities.entry_format_max = nexus_crdt::ENTRY_FORMAT_MAX;
    config.membership = membership.map(|world| Membership { mesh: world.mesh(), chain: world.chain(n) });
    let mut rooms = Rooms::new();
    // it serves them by name, and drops all that comes
    let _unread = (rooms.register(SYNC, 1), rooms.topic(ENTRIES, Bounds::items(1)));
    let transport = record.transport(Link::Tcp.transport(&key(n)));
    Mesh::start(transport, config, rooms, Arc::new(TokioSpawner::current())).unwrap()
}

fn tcp(address: &Multiaddr) -> Multiaddr {
    address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect()
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_does_get_what_a_stranger_must_not() {
    // shows that the recorder would see the canary
    let (node, friend) = members().await;
    let record = Record::default();
    let (mesh, mut events) = mesh(&record, 9, Some(OURS));
    mesh.bootstrap(address_of(&node));
    while !matches!(events.recv().await.unwrap(), MeshEvent::PeerOpen { .. }) {}
    let mut line = rogue::Line(mesh.open(node.did(), &SYNC).await.unwrap());
    line.frontier(vec![], true).await.unwrap();
    let hears = async {
        while !record.holds(CANARY.as_bytes()) {
            line.hear().await.expect("entries");
        }
    };
    tokio::time::timeout(SOON, hears).await.expect("a member gets everything");
    let seen = secrets(&node, &friend).iter().filter(|secret| record.holds(secret)).count();
    assert!(seen >= 4, "{seen}");
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_mesh_gets_nothing_by_any_protocol_topic_or_door() {
    let (node, friend) = members().await;
    let record = Record::default();
    let (stranger, mut events) = mesh(&record, 9, Some(THEIRS));
    stranger.bootstrap(tcp(&address_of(&node)));
    stranger.know(node.did(), vec![address_of(&node)]);
    let met = async {
        loop {
            match events.recv().await.unwrap() {
                MeshEvent::OtherMesh { .. } | MeshEvent::Refused { .. } => return,
                MeshEvent::PeerOpen { .. } => panic!("opened to a stranger"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, met).await.expect("it is told that it is no member");
    assert_eq!(stranger.open(node.did(), &SYNC).await.unwrap_err(), OpenError::NotOpen);
    let request = JoinRequest {
        ticket_id: [7; 16],
        secret: [7; 16],
        name: "stranger".parse().unwrap(),
        version: String::new(),
        succession: Vec::new(),
    };
    let reply = stranger.join(node.did(), vec![tcp(&address_of(&node))], request).await.unwrap();
    assert!(matches!(reply, JoinReply::Refused { .. }), "{reply:?}");
    // members talk on while it is there
    let _ = stranger.publish(ENTRIES, b"who is there?".to_vec()).await;
    for n in 0..5 {
        let text = format!("{CANARY} {n}");
        node.brain().remember(NewMemory::note(&text)).await.unwrap();
        has_text(&friend, &text).await;
    }
    assert!(record.bytes() > 0, "it was answered");
    nothing_got_out(&record, &node, &friend);
    are_well(&node, &friend, "beside a stranger").await;
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_client_gets_nothing_whatever_it_asks_for() {
    let (node, friend) = members().await;
    let record = Record::default();
    let address = tcp(&address_of(&node));
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    // a knock with a tag that it cannot know
    let knock = frame(&[&[0x0a, 52, 0x0a, 16][..], &[7; 16], &[0x12, 32], &[7; 32]].concat());
    for protocol in [
        "ls",
        "/nexus/hello/1",
        "/nexus/join/1",
        "/nexus/sync/1",
        "/nexus/task/1",
        "/nexus/raft/1",
        "/nexus/blobs/1",
        "/meshsub/1.2.0",
        "/meshsub/1.1.0",
        "/floodsub/1.0.0",
        "/ipfs/id/1.0.0",
        "/ipfs/id/push/1.0.0",
        "/ipfs/kad/1.0.0",
        "/ipfs/ping/1.0.0",
    ] {
        for say in [&[][..], &knock, &frame(&[0x0a, 2, 0x10, 1]), &[0; 64]] {
            let raw = Raw::dial(record.transport(Link::Tcp.transport(&key(9))), address.clone()).await;
            assert!(raw.try_protocol(protocol, say).await, "{protocol}");
        }
    }
    assert!(record.holds(b"/multistream/1.0.0"), "it was answered");
    nothing_got_out(&record, &node, &friend);
    are_well(&node, &friend, "asked by a bare client").await;
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_a_bare_socket_get_nothing_either() {
    let (node, friend) = members().await;
    let record = Record::default();
    let port =
        tcp(&address_of(&node)).iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    for say in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x13/multistream/1.0.0\n\x03ls\n", &[0xff; 4_096], &[]] {
        let say = say.to_vec();
        let heard = tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            let _ = socket.write_all(&say);
            let mut heard = Vec::new();
            let _ = socket.read_to_end(&mut heard);
            heard
        });
        record.note(&heard.await.unwrap());
    }
    nothing_got_out(&record, &node, &friend);
    eventually("the node is well", || async { node.status().await.peers == 1 }).await;
    are_well(&node, &friend, "talked at").await;
}
