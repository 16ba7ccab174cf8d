//! No room is slowed down by what peers do in another one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use futures::AsyncReadExt;
use nexus_mesh::quota::Bounds;
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest, MeshConfig, Rooms, StreamProtocol, TokioSpawner};

const FLOODED: StreamProtocol = StreamProtocol::new("/test/flooded/1");
/// The places of the flooded room; one peer has a quarter of them.
const PLACES: usize = 8;

fn request() -> JoinRequest {
    JoinRequest {
        ticket_id: [1; 16],
        secret: [2; 16],
        name: "new".parse().unwrap(),
        version: String::new(),
        succession: Vec::new(),
    }
}

/// promise: Bad input | A member that fills one room slows no other room
#[tokio::test]
async fn a_room_and_a_topic_that_a_peer_fills_slow_no_other_room_no_ping_and_no_newcomer() {
    log();
    let world = World::new(200);
    let mut rooms = Rooms::new();
    // nobody empties these two
    let flooded = rooms.register(FLOODED, PLACES);
    let heard = rooms.topic("flooded", Bounds::items(PLACES).bytes(64 * 1024));
    let mut config = world.config(1);
    config.limits.events = 4;
    let mut a = Node::start_with(config, rooms, MEMORY, Arc::new(TokioSpawner::current()));
    let address = a.address().await;
    let mut rogue_rooms = Rooms::new();
    let _unused = (rogue_rooms.register(FLOODED, 1), rogue_rooms.topic("flooded", Bounds::items(1)));
    let mut rogue = Node::start_with(world.config(2), rogue_rooms, MEMORY, Arc::new(TokioSpawner::current()));
    let mut friend = Node::start(world.config(3), MEMORY);
    for (node, name) in [(&mut rogue, "rogue"), (&mut friend, "friend")] {
        node.mesh.bootstrap(address.clone());
        meet(&mut a, node).await;
        gossip_works(node, &mut a, name).await;
    }

    let mut held = Vec::new();
    for n in 0..3 * PLACES {
        held.push(rogue.mesh.open(a.did(), &FLOODED).await.unwrap());
        for m in 0..40 {
            rogue.mesh.publish("flooded", format!("{n} {m} {}", "x".repeat(1_000)).into_bytes()).await.unwrap();
        }
    }
    // a stream beyond the rogue's share was reset
    let last = held.last_mut().unwrap();
    let reset = tokio::time::timeout(Duration::from_secs(20), last.read(&mut [0])).await.expect("reset in time");
    assert!(reset.map_or(true, |read| read == 0));
    assert_eq!(flooded.len(), PLACES / 4, "its share, though nobody empties the room");

    let _stream = friend.mesh.open(a.did(), &ROOM).await.unwrap();
    assert_eq!(a.until_stream().await.0, friend.did());
    gossip_works(&friend, &mut a, "still").await;
    let knocking = async {
        let newcomer = Node::start(MeshConfig::new(key(9)), MEMORY);
        newcomer.mesh.join(a.mesh.me(), vec![address.clone()], request()).await
    };
    let refusal = JoinReply::Refused { code: JoinRefusal::Used, message: "used".to_owned() };
    let (mut door, answer) = (std::mem::replace(&mut a.door, Rooms::new().door(1)), refusal.clone());
    let answering = async {
        let (_, knock) = door.recv().await.unwrap();
        knock.answer(answer);
    };
    assert_eq!(futures::join!(knocking, answering).0, Ok(refusal));
    // pings are answered: none of the two counts as down, and each has a round trip
    for peer in a.mesh.peers().await.iter().filter(|peer| peer.open) {
        assert_eq!(peer.state, nexus_mesh::PeerState::Up, "{peer:?}");
    }
    assert!(a.mesh.peers().await.iter().filter(|peer| peer.open).count() == 2);
    assert!(heard.len() <= PLACES / 4);
    // places come back with the streams that are received
    let mut flooded = flooded;
    while let Some((from, stream)) = flooded.try_recv() {
        assert_eq!(from, rogue.did());
        drop(stream);
    }
    drop(held);
    let _again = rogue.mesh.open(a.did(), &FLOODED).await.unwrap();
    assert_eq!(flooded.recv().await.unwrap().0, rogue.did());
}
