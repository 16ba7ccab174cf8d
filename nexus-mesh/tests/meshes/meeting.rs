//! Two nodes of one mesh meet and talk.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use futures::{AsyncReadExt, AsyncWriteExt};
use nexus_mesh::{
    MeshEvent, OpenError, PublishError, Refusal, Rooms, StreamProtocol, TokioSpawner, read_frame, write_frame,
};

async fn meet_and_talk(listen: &str) {
    log();
    let world = World::new(200);
    let (mut a, mut b) = (Node::start(world.config(1), listen), Node::start(world.config(2), listen));
    let address = b.address().await;
    a.mesh.bootstrap(address);
    meet(&mut a, &mut b).await;

    let mut out = a.mesh.open(b.did(), &ROOM).await.unwrap();
    write_frame(&mut out, b"hello").await.unwrap();
    let (from, mut stream) = b.until_stream().await;
    assert_eq!(from, a.did());
    assert_eq!(read_frame(&mut stream, 100).await.unwrap().unwrap(), b"hello");
    stream.write_all(b"well met").await.unwrap();
    stream.close().await.unwrap();
    let mut answer = Vec::new();
    out.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"well met");

    gossip_works(&a, &mut b, "from a").await;
    gossip_works(&b, &mut a, "from b").await;

    let big = a.mesh.publish(TOPIC, vec![0; 41 * 1024]).await;
    assert!(matches!(big, Err(PublishError::TooLarge { .. })), "{big:?}");
    let no_topic = a.mesh.publish("nothing", vec![]).await;
    assert!(matches!(no_topic, Err(PublishError::NoSuchTopic(_))));
}

/// promise: Meeting | Two nodes meet through the gate and talk over QUIC and over TCP
#[tokio::test]
async fn two_nodes_meet_and_talk_over_quic() {
    meet_and_talk(QUIC).await;
}

#[tokio::test]
async fn tcp_is_dialled_from_a_port_of_its_own() {
    let world = World::new(200);
    let (mut a, mut b) = (Node::start(world.config(1), TCP), Node::start(world.config(2), TCP));
    let listening = a.address().await;
    a.mesh.bootstrap(b.address().await);
    let from = b
        .until("a peer", |event| match event {
            MeshEvent::PeerOpen { address, .. } => Some(address),
            _ => None,
        })
        .await;
    assert_ne!(from, listening);
}

/// promise: Meeting | Two nodes meet through the gate and talk over QUIC and over TCP
#[tokio::test]
async fn two_nodes_meet_and_talk_over_tcp() {
    meet_and_talk(TCP).await;
}

#[tokio::test]
async fn two_nodes_meet_and_talk_in_memory() {
    meet_and_talk(MEMORY).await;
}

async fn two_processes_of_one_identity(listen: &str, node: u8, twice: u8) {
    let world = World::new(200);
    let (mut a, mut first) = (Node::start(world.config(node), listen), Node::start(world.config(twice), listen));
    let address = a.address().await;
    first.mesh.bootstrap(address.clone());
    meet(&mut a, &mut first).await;

    let mut second = Node::start(world.config(twice), listen);
    second.mesh.bootstrap(address);
    let refused = |event| match event {
        MeshEvent::Refused { by_us, reason: Refusal::Twin, .. } => Some(by_us),
        MeshEvent::PeerClosed { peer, cause } => panic!("{peer} was closed: {cause}"),
        _ => None,
    };
    assert!(!second.until("a refusal", refused).await);
    assert!(a.until("the same refusal", refused).await);
    gossip_works(&a, &mut first, "from a").await;
    gossip_works(&first, &mut a, "from the first").await;

    // once the first one has gone, the other has its place
    first.mesh.shutdown().await;
    a.until_closed(second.did()).await;
    second.mesh.set_offline(true).await;
    second.mesh.set_offline(false).await;
    meet(&mut a, &mut second).await;
    gossip_works(&a, &mut second, "from a").await;
}

/// promise: Meeting | A second process with a member's identity takes no connection of the first one away
#[tokio::test]
async fn of_two_processes_with_one_identity_the_first_stays_connected() {
    log();
    for (node, twice) in [(1, 2), (2, 1)] {
        for listen in [QUIC, TCP, MEMORY] {
            two_processes_of_one_identity(listen, node, twice).await;
        }
    }
}

/// promise: Keys and locks | A peer says in its hello what it reads and serves, within bounds; no stream is opened in a room that it did not name
#[tokio::test]
async fn a_peer_says_what_it_can_do_and_is_asked_for_nothing_else() {
    let world = World::new(215);
    let mut config = world.config(1);
    config.abilities.critical_format_max = 3;
    let mut a = Node::start(config, MEMORY);
    a.mesh.set_formats(2, 1);
    let (mut rooms, other) = (Rooms::new(), StreamProtocol::new("/test/other/1"));
    let _streams = rooms.register(other.clone(), 1);
    let mut b = Node::start_with(world.config(2), rooms, MEMORY, Arc::new(TokioSpawner::current()));
    assert_eq!(b.mesh.served(), [other.clone(), ROOM]);
    b.mesh.bootstrap(a.address().await);
    let (a_did, b_did) = (a.did(), b.did());
    let said = |event| match event {
        MeshEvent::PeerOpen { abilities, .. } => Some(abilities),
        _ => None,
    };
    let (of_b, of_a) = futures::join!(a.until("b", said), b.until("a", said));
    assert_eq!((of_a.critical_format_max, of_a.entry_format_now, of_a.critical_format_now), (3, 2, 1));
    assert_eq!(of_a.rooms, [ROOM.to_string()].into());
    assert_eq!((of_b.critical_format_max, of_b.rooms.len()), (0, 2));
    let status = b.mesh.peers().await.into_iter().find(|peer| peer.did == a_did).unwrap();
    assert_eq!(status.abilities, Some(of_a));
    // it serves the room only for those who know its name
    assert!(matches!(b.mesh.open(a_did, &other).await, Err(OpenError::NoSuchRoom)));
    a.mesh.open(b_did, &other).await.unwrap();
}
