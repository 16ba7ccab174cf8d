//! Open peers talk to each other, within limits.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::common::*;
use futures::AsyncReadExt;
use futures::future::join_all;
use nexus_mesh::{MeshEvent, Message, OpenError, StreamProtocol, Verdict};

/// Three nodes in a row: the first and the last do not know each other.
async fn row(world: &World) -> (Node, Node, Node) {
    let mut nodes = (1..=3).map(|n| Node::start(world.config(n), MEMORY));
    let (mut a, mut b, mut c) = (nodes.next().unwrap(), nodes.next().unwrap(), nodes.next().unwrap());
    let middle = b.address().await;
    a.mesh.bootstrap(middle.clone());
    meet(&mut a, &mut b).await;
    c.mesh.bootstrap(middle);
    meet(&mut c, &mut b).await;
    (a, b, c)
}

/// promise: Meeting | Gossip is passed on only once it was accepted
#[tokio::test]
async fn a_message_is_passed_on_only_once_it_is_accepted() {
    log();
    let (a, mut b, mut c) = row(&World::new(200)).await;
    // until the middle node has joined gossip both ways
    gossip_works(&b, &mut c, "warm").await;
    let judge = async {
        while let Some((_, Message { bytes, token })) = b.gossip.recv().await {
            let good = bytes.starts_with(b"good");
            b.mesh.settle(token, if good { Verdict::Accept } else { Verdict::Reject });
        }
    };
    let talk = async {
        for n in 0.. {
            a.mesh.publish(TOPIC, format!("bad {n}").into_bytes()).await.unwrap();
            a.mesh.publish(TOPIC, format!("good {n}").into_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut good = 0;
    let hear = c.until_heard(|bytes| {
        assert!(!bytes.starts_with(b"bad"), "passed on without being accepted");
        good += u32::from(bytes.starts_with(b"good"));
        good >= 10
    });
    tokio::select! {
        () = judge => panic!("the middle ended"),
        () = talk => {}
        _ = hear => {}
    }
}

/// promise: Bad input | A flood
#[tokio::test(start_paused = true)]
async fn a_peer_that_gossips_too_fast_is_ignored_beyond_its_rate() {
    let world = World::new(200);
    let mut a = Node::start(world.config(1), MEMORY);
    let mut config = world.config(2);
    config.limits.messages_per_second = 20;
    let mut b = Node::start(config, MEMORY);
    a.mesh.bootstrap(b.address().await);
    meet(&mut a, &mut b).await;
    gossip_works(&a, &mut b, "warm").await;
    let started = tokio::time::Instant::now();
    for n in 0..300_u32 {
        a.mesh.publish(TOPIC, n.to_be_bytes().to_vec()).await.unwrap();
    }
    // time goes on once every message has been judged
    tokio::time::sleep(Duration::from_millis(300)).await;
    let heard = std::iter::from_fn(|| b.gossip.try_recv()).count();
    let allowed = 20 + started.elapsed().as_millis() as usize * 20 / 1_000 + 1;
    assert!(heard <= allowed, "{heard} of 300, {allowed} allowed");
    healthy(&mut a, &mut b, "after the flood").await;
}

/// promise: Bad input | Gossip of a paused peer waits at its end for a second at most, and all else of it goes on
#[tokio::test(start_paused = true)]
async fn gossip_of_a_paused_peer_waits_and_all_else_goes_on() {
    const SECOND: Duration = Duration::from_secs(1);
    let world = World::new(200);
    let (mut a, mut b) = (Node::start(world.config(1), MEMORY), Node::start(world.config(2), MEMORY));
    a.mesh.bootstrap(b.address().await);
    meet(&mut a, &mut b).await;
    gossip_works(&a, &mut b, "warm").await;
    for (asked, lasts) in [(SECOND / 2, SECOND / 2), (60 * SECOND, SECOND)] {
        let begun = tokio::time::Instant::now();
        b.mesh.pause_gossip(a.did(), begun + asked);
        let text = format!("{asked:?}");
        a.mesh.publish(TOPIC, text.clone().into_bytes()).await.unwrap();
        let stream = a.mesh.open(b.did(), &ROOM).await.unwrap();
        assert_eq!(b.until_stream().await.0, a.did());
        assert!(begun.elapsed() < lasts, "a stream waits for no gossip");
        b.until_heard(|bytes| bytes == text.as_bytes()).await;
        assert!(begun.elapsed() >= lasts, "{:?} of {lasts:?}", begun.elapsed());
        assert!(begun.elapsed() < lasts + SECOND / 2, "{:?} of {lasts:?}", begun.elapsed());
        drop(stream);
    }
}

/// promise: Bad input | A flood
#[tokio::test]
async fn streams_are_bounded_and_places_come_back() {
    let world = World::new(200);
    let node = |n| {
        let mut config = world.config(n);
        config.limits.streams_per_peer = 4;
        Node::start(config, TCP)
    };
    let (mut a, mut b) = (node(1), node(2));
    a.mesh.bootstrap(b.address().await);
    meet(&mut a, &mut b).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(a.mesh.open(b.did(), &ROOM).await.unwrap());
    }
    assert_eq!(a.mesh.open(b.did(), &ROOM).await.unwrap_err(), OpenError::TooMany);
    held.pop();
    held.push(a.mesh.open(b.did(), &ROOM).await.unwrap());
    // b still holds the four first ones, so the last was reset there
    let mut last = held.pop().unwrap();
    assert!(last.read(&mut [0]).await.map_or(true, |read| read == 0));
    let room = StreamProtocol::new("/test/nowhere/1");
    drop(last);
    assert_eq!(a.mesh.open(b.did(), &room).await.unwrap_err(), OpenError::NoSuchRoom);
    assert_eq!(a.mesh.open(key(9).did(), &ROOM).await.unwrap_err(), OpenError::NotOpen);
}

#[tokio::test]
async fn two_hundred_streams_at_once_all_arrive() {
    for listen in [TCP, QUIC] {
        let world = World::new(200);
        let (mut a, mut b) = (Node::start(world.config(1), listen), Node::start(world.config(2), listen));
        a.mesh.bootstrap(b.address().await);
        meet(&mut a, &mut b).await;
        let to = b.did();
        let (mesh, room) = (&a.mesh, &ROOM);
        let mut opened = 0;
        let opening = async {
            for _ in 0..4 {
                let batch = join_all((0..50).map(|_| mesh.open(to, room))).await;
                opened += batch.into_iter().map(Result::unwrap).count();
            }
        };
        let entering = async {
            for _ in 0..200 {
                drop(b.until_stream().await);
            }
        };
        futures::join!(opening, entering);
        assert_eq!(opened, 200);
    }
}

#[tokio::test]
async fn one_more_dial_to_an_open_peer_changes_nothing() {
    let world = World::new(200);
    let (mut a, mut b) = (Node::start(world.config(1), TCP), Node::start(world.config(2), TCP));
    let address = b.address().await;
    a.mesh.know(b.did(), vec![address.clone()]);
    meet(&mut a, &mut b).await;
    a.mesh.bootstrap(address);
    b.mesh.bootstrap(a.address().await);
    healthy(&mut a, &mut b, "dialled again").await;
    for node in [&mut a, &mut b] {
        while let Some(event) = node.events.try_recv() {
            assert!(!matches!(event, MeshEvent::PeerClosed { .. } | MeshEvent::PeerOpen { .. }), "{event:?}");
        }
    }
}

#[tokio::test]
async fn a_crowd_that_knows_each_other_is_all_connected() {
    const NODES: u8 = 12;
    let world = World::new(200);
    let mut nodes: Vec<_> = (1..=NODES).map(|n| Node::start(world.config(n), TCP)).collect();
    let mut known = Vec::new();
    for node in &mut nodes {
        known.push((node.did(), node.address().await));
    }
    for node in &nodes {
        for (did, address) in &known {
            node.mesh.know(*did, vec![address.clone()]);
        }
    }
    let waits = nodes.iter_mut().map(|node| {
        let others: Vec<_> = known.iter().map(|(did, _)| *did).filter(|did| *did != node.did()).collect();
        async move {
            for other in others {
                node.settled(other, "a crowd").await;
            }
            assert_eq!(node.mesh.peers().await.len(), usize::from(NODES) - 1);
        }
    });
    join_all(waits).await;
}
