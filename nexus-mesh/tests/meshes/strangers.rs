//! Strangers see the doors, and nothing behind them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::common::raw::{Raw, hear, say, transport_for};
use crate::common::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::gossipsub;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use nexus_mesh::{MeshEvent, OpenError, Refusal, peer_id_of};

const HELLO: &str = "/nexus/hello/1";

/// promise: Bad input | A foreign mesh
#[tokio::test]
async fn a_node_of_another_mesh_is_told_so_and_gets_nothing() {
    log();
    let (ours, theirs) = (World::new(200), World::new(201));
    let mut member = Node::start(ours.config(1), TCP);
    let mut stranger = Node::start(theirs.config(2), TCP);
    let address = member.address().await;
    stranger.mesh.bootstrap(address.clone());
    let met = stranger
        .until("another mesh", |event| match event {
            MeshEvent::OtherMesh { address, peer } => Some((address, peer)),
            MeshEvent::PeerOpen { .. } => panic!("opened to a stranger"),
            _ => None,
        })
        .await;
    assert_eq!(met, (address, peer_id_of(&member.did()).unwrap()));
    assert_eq!(stranger.mesh.open(member.did(), &ROOM).await.unwrap_err(), OpenError::NotOpen);
    // the same by its key
    stranger.mesh.know(member.did(), member.mesh.listen_addresses());
    stranger
        .until("a refusal", |event| match event {
            MeshEvent::Refused { peer, reason, .. } => {
                assert_eq!((peer, reason), (member.did(), Refusal::OtherMesh));
                Some(())
            }
            _ => None,
        })
        .await;
    assert!(!member.mesh.peers().await.iter().any(|peer| peer.open));
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test]
async fn a_stock_node_sees_ping_and_the_doors_alone() {
    for listen in [TCP, QUIC, MEMORY] {
        let world = World::new(200);
        let mut member = Node::start(world.config(1), listen);
        let address = member.address().await;
        let raw = Raw::dial(transport_for(listen, &key(9)), address).await;
        let mut stream = raw.stream().await;
        say(&mut stream, "/multistream/1.0.0").await;
        say(&mut stream, "ls").await;
        assert_eq!(hear(&mut stream).await, "/multistream/1.0.0\n");
        let listed = hear(&mut stream).await;
        let names: Vec<_> = listed.split('\n').filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["/ipfs/ping/1.0.0", "/nexus/hello/1", "/nexus/join/1"], "{listed:?}");
        for hidden in ["/test/room/1", "/meshsub/1.1.0", "/meshsub/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"] {
            assert_eq!(raw.negotiate(hidden).await.err().as_deref(), Some("na\n"), "{hidden}");
        }
    }
}

#[derive(NetworkBehaviour)]
struct Stock {
    gossip: gossipsub::Behaviour,
    ping: libp2p::ping::Behaviour,
}

/// promise: Bad input | A non-member on every protocol and topic
#[tokio::test]
async fn a_stock_gossip_node_hears_no_message() {
    let world = World::new(200);
    let mut a = Node::start(world.config(1), TCP);
    let mut b = Node::start(world.config(2), TCP);
    let address = a.address().await;
    b.mesh.bootstrap(address.clone());
    meet(&mut a, &mut b).await;

    let gossip = gossipsub::Behaviour::new(
        gossipsub::MessageAuthenticity::Anonymous,
        gossipsub::ConfigBuilder::default().validation_mode(gossipsub::ValidationMode::None).build().unwrap(),
    );
    let mut behaviour = Stock { gossip: gossip.unwrap(), ping: Default::default() };
    for topic in ["/nexus/gossip/1/entries", "/nexus/gossip/1/presence", "entries"] {
        behaviour.gossip.subscribe(&gossipsub::IdentTopic::new(topic)).unwrap();
    }
    let member = peer_id_of(&a.did()).unwrap();
    let stock_peer = libp2p::identity::Keypair::ed25519_from_bytes([9; 32]).unwrap().public().to_peer_id();
    let settings = libp2p::swarm::Config::with_tokio_executor();
    let mut swarm = Swarm::new(transport_for(TCP, &key(9)), behaviour, stock_peer, settings);
    let dial = |swarm: &mut Swarm<Stock>| {
        let options = DialOpts::peer_id(member).condition(PeerCondition::Always).addresses(vec![address.clone()]);
        swarm.dial(options.build()).unwrap();
    };
    dial(&mut swarm);

    let mut pinged = false;
    let mut heard = 0;
    let canaries = async {
        for n in 0..100 {
            gossip_works(&a, &mut b, &format!("canary {n}")).await;
        }
    };
    let listening = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(StockEvent::Gossip(gossipsub::Event::GossipsubNotSupported { .. })) => {}
                SwarmEvent::Behaviour(StockEvent::Gossip(_)) => heard += 1,
                SwarmEvent::Behaviour(StockEvent::Ping(ping)) => pinged |= ping.result.is_ok(),
                SwarmEvent::ConnectionClosed { .. } => dial(&mut swarm),
                _ => {}
            }
        }
    };
    futures::pin_mut!(canaries, listening);
    futures::future::select(canaries, listening).await;
    assert_eq!(heard, 0);
    assert!(pinged, "it was connected all the while");
}

/// Sends a hostile peer's bytes instead of a hello. Time is virtual, the deadlines are the real ones.
async fn hello_with(bytes: &[u8]) -> Duration {
    let world = World::new(200);
    let mut member = Node::start(world.config(1), MEMORY);
    let address = member.address().await;
    let started = tokio::time::Instant::now();
    let mut raw = Raw::dial(transport_for(MEMORY, &key(9)), address).await;
    let mut stream = raw.negotiate(HELLO).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    raw.until_closed().await;
    assert!(member.mesh.peers().await.is_empty());
    // the node is still alive
    let mut friend = Node::start(world.config(2), MEMORY);
    friend.mesh.bootstrap(member.address().await);
    meet(&mut member, &mut friend).await;
    started.elapsed()
}

/// promise: Bad input | Malformed frames
#[tokio::test(start_paused = true)]
async fn nonsense_instead_of_a_hello_ends_at_once() {
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    for bytes in [
        vec![0xff; 4],              // a frame of 4 GiB
        vec![0, 1, 0, 0],           // a frame of 64 KiB
        frame(&[]),                 // an empty step
        frame(&[0xff; 100]),        // no protobuf
        frame(&[0x0a, 0]),          // a knock without nonce and tag
        frame(&[0x0a, 2, 0x0a, 0]), // a knock with an empty nonce
        frame(&[0x12, 0]),          // shows before it knocks
        frame(&[0x1a, 0]),          // welcomes before it knocks
        frame(&[0x32, 0]),          // opened before it knocks
    ] {
        let took = hello_with(&bytes).await;
        assert!(took < Duration::from_secs(5), "{bytes:?} took {took:?}");
    }
}

/// promise: Bad input | A foreign mesh
#[tokio::test]
async fn a_wrong_tag_is_refused_before_anything_is_said() {
    let world = World::new(200);
    let mut member = Node::start(world.config(1), TCP);
    let raw = Raw::dial(transport_for(TCP, &key(9)), member.address().await).await;
    let mut stream = raw.negotiate(HELLO).await.unwrap();
    let knock = [&[0x0a, 52, 0x0a, 16][..], &[7; 16], &[0x12, 32], &[7; 32]].concat();
    nexus_mesh::write_frame(&mut stream, &knock).await.unwrap();
    let answer = nexus_mesh::read_frame(&mut stream, 1_000).await.unwrap();
    assert_eq!(answer.as_deref(), Some(&[0x2a, 2, 0x08, 1][..]), "refused: other mesh");
    assert!(nexus_mesh::read_frame(&mut stream, 1_000).await.is_ok_and(|frame| frame.is_none()));
}

/// promise: Bad input | A stream that stalls
#[tokio::test(start_paused = true)]
async fn a_stalling_hello_ends_by_its_deadline() {
    for bytes in [&[][..], &[0, 0], &[0, 0, 0, 40, 1, 2, 3]] {
        let took = hello_with(bytes).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

/// promise: Bad input | A stream that stalls
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_and_the_oldest_makes_room() {
    let world = World::new(200);
    let mut config = world.config(1);
    config.limits.strangers = 3;
    let mut member = Node::start(config, MEMORY);
    let address = member.address().await;
    let mut raws = Vec::new();
    for n in 0..3 {
        raws.push(Raw::dial(transport_for(MEMORY, &key(10 + n)), address.clone()).await);
        // the connection is established once it answers; a ping is no word at the gate
        raws.last().unwrap().negotiate("/ipfs/ping/1.0.0").await.unwrap();
    }
    // one connection too many: the oldest goes, and goes at once
    let late = Raw::dial(transport_for(MEMORY, &key(20)), address.clone()).await;
    late.negotiate("/ipfs/ping/1.0.0").await.unwrap();
    let started = tokio::time::Instant::now();
    raws.remove(0).until_closed().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // a member finds a place, too
    let mut friend = Node::start(world.config(2), MEMORY);
    friend.mesh.bootstrap(address);
    meet(&mut member, &mut friend).await;
    raws.push(late);
    for raw in &mut raws {
        raw.until_closed().await;
    }
}

/// promise: Bad input | Silent strangers never shut the door: the oldest goes, and no network has all places
#[tokio::test]
async fn silent_sockets_and_silent_strangers_shut_the_door_to_nobody() {
    for listen in [TCP, QUIC] {
        let world = World::new(200);
        let mut config = world.config(1);
        config.limits.strangers = 4;
        config.limits.pending = 4;
        let mut member = Node::start(config, listen);
        let address = member.address().await;
        let mut sockets = Vec::new();
        if listen == TCP {
            let port = address.iter().find_map(|part| match part {
                libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
                _ => None,
            });
            for _ in 0..40 {
                sockets.push(std::net::TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap());
            }
        }
        let mut raws = Vec::new();
        for n in 0..10 {
            raws.extend(Raw::try_dial(transport_for(listen, &key(10 + n)), address.clone()).await);
        }
        let started = std::time::Instant::now();
        let mut friend = Node::start(world.config(2), listen);
        friend.mesh.bootstrap(address);
        meet(&mut member, &mut friend).await;
        assert!(started.elapsed() < Duration::from_secs(15), "no silent one had to time out first");
    }
}

/// promise: Bad input | A stranger has eight streams to a node, and pins no more than their windows
#[tokio::test]
async fn a_stranger_has_eight_streams_and_a_member_has_more() {
    for listen in [TCP, QUIC, MEMORY] {
        let world = World::new(200);
        let mut member = Node::start(world.config(1), listen);
        let address = member.address().await;
        let raw = Raw::dial(transport_for(listen, &key(9)), address.clone()).await;
        let mut served = Vec::new();
        for _ in 0..40 {
            match raw.negotiate("/ipfs/ping/1.0.0").await {
                Ok(stream) => served.push(stream),
                Err(answer) => assert_eq!(answer, "reset"),
            }
        }
        assert_eq!(served.len(), 8, "{listen}");
        let mut friend = Node::start(world.config(2), listen);
        friend.mesh.bootstrap(address);
        meet(&mut member, &mut friend).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(friend.mesh.open(member.did(), &ROOM).await.unwrap());
            streams.push(member.until_stream().await.1);
        }
    }
}

/// promise: Bad input | A flood
#[tokio::test(start_paused = true)]
async fn a_flood_of_streams_opens_nothing_and_breaks_nothing() {
    let world = World::new(200);
    let mut member = Node::start(world.config(1), MEMORY);
    let address = member.address().await;
    let raw = Raw::dial(transport_for(MEMORY, &key(9)), address.clone()).await;
    let mut streams = Vec::new();
    for n in 0..200 {
        let Ok(mut stream) = raw.negotiate(if n % 2 == 0 { HELLO } else { "/nexus/join/1" }).await else { continue };
        let _ = stream.write_all(&[0, 0]).await;
        streams.push(stream);
    }
    let mut friend = Node::start(world.config(2), MEMORY);
    friend.mesh.bootstrap(address);
    meet(&mut member, &mut friend).await;
    healthy(&mut member, &mut friend, "flooded").await;
    let mut rest = Vec::new();
    for stream in &mut streams[2..] {
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert!(rest.is_empty(), "only one hello and one join are listened to");
}
