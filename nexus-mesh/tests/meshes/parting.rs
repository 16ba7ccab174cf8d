//! Members leave, are cut off, fall silent or come back.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::raw::{Raw, transport_for};
use crate::common::*;
use futures::future::BoxFuture;
use futures::{AsyncReadExt, FutureExt};
use nexus_identity::Timestamp;
use nexus_mesh::{DownCause, MeshEvent, OpenError, PeerState, Refusal, Spawner, TokioSpawner};

async fn met(listen: &str) -> (Node, Node) {
    log();
    let world = World::new(200);
    let (mut a, mut b) = (Node::start(world.config(1), listen), Node::start(world.config(2), listen));
    a.mesh.bootstrap(b.address().await);
    meet(&mut a, &mut b).await;
    (a, b)
}

fn refused(event: MeshEvent) -> Option<(bool, Refusal)> {
    match event {
        MeshEvent::Refused { by_us, reason, .. } => Some((by_us, reason)),
        MeshEvent::PeerOpen { .. } => panic!("opened"),
        _ => None,
    }
}

#[tokio::test]
async fn a_revoked_peer_is_cut_off_and_refused() {
    for listen in [TCP, QUIC, MEMORY] {
        let (mut a, mut b) = met(listen).await;
        let mut stream = a.mesh.open(b.did(), &ROOM).await.unwrap();
        b.mesh.set_revoked([a.did()]);
        assert_eq!(b.until_closed(a.did()).await, DownCause::Revoked);
        a.until_closed(b.did()).await;
        assert!(stream.read(&mut [0]).await.map_or(true, |read| read == 0), "the stream is dead");
        // it dials again, and learns the reason
        assert_eq!(a.until("a refusal", refused).await, (false, Refusal::Revoked));
        let status = &b.mesh.peers().await[0];
        assert_eq!((status.state, status.cause.clone()), (PeerState::Down, Some(DownCause::Revoked)));
        b.mesh.publish(TOPIC, b"secret".to_vec()).await.unwrap();
        assert_eq!(b.mesh.open(a.did(), &ROOM).await.unwrap_err(), OpenError::NotOpen);
        // and the other way round
        b.mesh.know(a.did(), a.mesh.listen_addresses());
        assert_eq!(b.until("a refusal", refused).await, (true, Refusal::Revoked));
    }
}

/// promise: Bad input | Expired credentials
#[tokio::test]
async fn expired_credentials_are_refused_at_the_gate() {
    let world = World::new(200);
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    for (ago_s, expected) in [(6 * 60, Some(Refusal::Expired)), (4 * 60, None)] {
        let mut a = Node::start(world.config(1), TCP);
        let mut config = world.config(2);
        let ended = Timestamp::from_ms(now - ago_s * 1_000);
        config.membership.as_mut().unwrap().chain = world.chain(2, Some(ended));
        let mut b = Node::start(config, TCP);
        b.mesh.bootstrap(a.address().await);
        match expected {
            Some(reason) => {
                assert_eq!(b.until("a refusal", refused).await, (false, reason));
                assert_eq!(a.until("a refusal", refused).await, (true, reason));
            }
            // clocks may differ by five minutes
            None => meet(&mut a, &mut b).await,
        }
    }
}

/// promise: Meeting | `offline` closes all and refuses both ways; `online` is back at once
#[tokio::test]
async fn offline_closes_all_denies_all_and_online_is_back_at_once() {
    for listen in [TCP, QUIC, MEMORY] {
        let (mut a, mut b) = met(listen).await;
        b.mesh.set_offline(true).await;
        assert_eq!(b.until_closed(a.did()).await, DownCause::Offline);
        a.until_closed(b.did()).await;
        let status = &b.mesh.peers().await[0];
        assert_eq!((status.state, status.open), (PeerState::Down, false));
        // a redials in vain
        a.mesh.know(b.did(), b.mesh.listen_addresses());
        for address in b.mesh.listen_addresses() {
            // a later dial has been refused by the end of this
            if let Some(mut raw) = Raw::try_dial(transport_for(listen, &key(9)), address).await {
                raw.until_closed().await;
            }
        }
        while let Some(event) = a.events.try_recv() {
            assert!(!matches!(event, MeshEvent::PeerOpen { .. }));
        }
        b.mesh.know(a.did(), a.mesh.listen_addresses());
        let started = std::time::Instant::now();
        b.mesh.set_offline(false).await;
        meet(&mut a, &mut b).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        healthy(&mut a, &mut b, "online again").await;
    }
}

#[tokio::test]
async fn a_peer_that_stops_is_told_as_closed_by_it_and_returns() {
    for listen in [TCP, QUIC, MEMORY] {
        let (mut a, b) = met(listen).await;
        let did = b.did();
        b.mesh.shutdown().await;
        assert_eq!(a.until_closed(did).await, DownCause::RemoteClosed, "{listen}");
        assert_eq!(b.mesh.open(a.did(), &ROOM).await.unwrap_err(), OpenError::Stopped);
        assert!(b.mesh.peers().await.is_empty());
        a.until("down", |event| match event {
            MeshEvent::PeerState { state: PeerState::Down, cause, .. } => {
                assert_eq!(cause, Some(DownCause::RemoteClosed));
                Some(())
            }
            _ => None,
        })
        .await;
        // the same key at another address
        let mut again = Node::start(World::new(200).config(2), listen);
        again.mesh.bootstrap(a.mesh.listen_addresses()[0].clone());
        meet(&mut a, &mut again).await;
        healthy(&mut a, &mut again, "returned").await;
    }
}

/// Stops polling all tasks of a node without dropping them, as a hung process would.
struct Freezer {
    tokio: TokioSpawner,
    frozen: Arc<AtomicBool>,
}

impl Spawner for Freezer {
    fn spawn(&self, name: &'static str, mut task: BoxFuture<'static, ()>) {
        let frozen = self.frozen.clone();
        let task =
            futures::future::poll_fn(
                move |cx| {
                    if frozen.load(Ordering::Relaxed) { Poll::Pending } else { task.poll_unpin(cx) }
                },
            );
        self.tokio.spawn(name, task.boxed());
    }
}

/// promise: Meeting | A silent peer is suspect, then down, with its cause; one that is heard never is
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_suspect_then_down_then_closed() {
    log();
    let world = World::new(200);
    let config = |n| {
        let mut config = world.config(n);
        (config.heartbeat, config.down_after) = (Duration::from_secs(5), Duration::from_secs(15));
        config
    };
    let frozen = Arc::new(AtomicBool::new(false));
    let freezer = Freezer { tokio: TokioSpawner::current(), frozen: frozen.clone() };
    let mut a = Node::start(config(1), MEMORY);
    let mut b = Node::start_on(config(2), MEMORY, Arc::new(freezer));
    b.mesh.bootstrap(a.address().await);
    meet(&mut a, &mut b).await;
    // a minute without traffic is no silence
    tokio::time::sleep(Duration::from_secs(60)).await;
    while let Some(event) = a.events.try_recv() {
        assert!(!matches!(event, MeshEvent::PeerClosed { .. }), "{event:?}");
        assert!(
            !matches!(event, MeshEvent::PeerState { state: PeerState::Suspect | PeerState::Down, .. }),
            "{event:?}"
        );
    }
    assert!(a.mesh.peers().await[0].quality.is_some_and(|quality| quality.rtt.is_some()));
    frozen.store(true, Ordering::Relaxed);
    let started = tokio::time::Instant::now();
    let mut seen = Vec::new();
    a.until("the end", |event| match event {
        MeshEvent::PeerState { state, .. } => {
            seen.push(state);
            None
        }
        MeshEvent::PeerClosed { cause, .. } => {
            assert_eq!(cause, DownCause::Silent);
            Some(())
        }
        _ => None,
    })
    .await;
    assert!(seen.starts_with(&[PeerState::Suspect]), "{seen:?}");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(9) && took <= Duration::from_secs(16), "{took:?}");
}

#[tokio::test]
async fn beats_carry_the_node_s_words() {
    let (mut a, mut b) = met(TCP).await;
    a.mesh.set_beat(b"\x0a\x06load 7".to_vec()).unwrap();
    assert!(a.mesh.set_beat(vec![0; 5_000]).is_err());
    let did = a.did();
    b.until("a beat", |event| match event {
        MeshEvent::Beat { peer, body, clock, .. } if body == b"\x0a\x06load 7" => {
            assert_eq!(peer, did);
            assert!(clock.is_some());
            Some(())
        }
        _ => None,
    })
    .await;
    let status = b.mesh.peers().await.remove(0);
    assert_eq!((status.name.unwrap().as_str(), status.state, status.open), ("n1", PeerState::Up, true));
    let _ = &mut a;
}

#[tokio::test]
async fn a_member_two_hops_away_is_up_and_named() {
    let world = World::new(200);
    let mut nodes: Vec<_> = (1..=3).map(|n| Node::start(world.config(n), MEMORY)).collect();
    let middle = nodes[1].address().await;
    nodes[0].mesh.bootstrap(middle.clone());
    nodes[2].mesh.bootstrap(middle);
    let first = nodes[0].did();
    nodes[0].mesh.set_beat(b"\x0a\x03far".to_vec()).unwrap();
    let mut far = nodes.remove(2);
    let middle = async {
        loop {
            nodes[1].events.recv().await.unwrap();
        }
    };
    let heard = far.until("a beat", |event| match event {
        MeshEvent::Beat { peer, body, .. } if peer == first && body == b"\x0a\x03far" => Some(()),
        _ => None,
    });
    futures::future::select(Box::pin(middle), Box::pin(heard)).await;
    let status = far.mesh.peers().await.into_iter().find(|peer| peer.did == first).unwrap();
    assert_eq!((status.name.unwrap().as_str(), status.state, status.open), ("n1", PeerState::Up, false));
}

/// promise: Bad input | Expired credentials
#[tokio::test]
async fn renewed_credentials_open_the_gate_again() {
    let world = World::new(200);
    let mut a = Node::start(world.config(1), MEMORY);
    let mut config = world.config(2);
    config.membership.as_mut().unwrap().chain = world.chain(2, Some(Timestamp::from_ms(1)));
    let mut b = Node::start(config, MEMORY);
    b.mesh.know(a.did(), vec![a.address().await]);
    assert_eq!(b.until("a refusal", refused).await, (false, Refusal::Expired));
    let status = b.mesh.peers().await.remove(0);
    assert_eq!(status.cause, Some(DownCause::Unreachable(Some("refused: credentials expired".to_owned()))));
    assert!(b.mesh.set_chain(world.chain(3, None)).is_err(), "not ours");
    assert!(b.mesh.set_chain(World::new(201).chain(2, None)).is_err(), "another mesh's");
    b.mesh.set_chain(world.chain(2, None)).unwrap();
    b.mesh.know(a.did(), a.mesh.listen_addresses());
    meet(&mut a, &mut b).await;
}

/// promise: Meeting | A node that was slow itself blames nobody
#[tokio::test(start_paused = true)]
async fn a_node_that_was_slow_to_read_does_not_blame_its_peers() {
    let world = World::new(200);
    let mut config = world.config(1);
    config.limits.events = 1;
    let mut a = Node::start(config, MEMORY);
    let mut b = Node::start(world.config(2), MEMORY);
    b.mesh.bootstrap(a.address().await);
    meet(&mut a, &mut b).await;
    // beats and gossip fill the channel; down_after is 3 s
    for n in 0..60_u8 {
        b.mesh.publish(TOPIC, vec![n]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        while b.events.try_recv().is_some() {}
    }
    let mut events = 0;
    let reading = async {
        while let Some(event) = a.events.recv().await {
            let blamed = matches!(&event, MeshEvent::PeerState { state: PeerState::Down, .. });
            let silent = matches!(&event, MeshEvent::PeerClosed { cause: DownCause::Silent, .. });
            assert!(!blamed && !silent, "{event:?}");
            events += 1;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
    assert!(events > 3);
}

#[tokio::test]
async fn a_peer_that_breaks_rules_is_hung_up_on_and_may_return() {
    let (mut a, mut b) = met(TCP).await;
    a.mesh.disconnect(b.did());
    assert_eq!(a.until_closed(b.did()).await, DownCause::Dismissed);
    assert_eq!(b.until_closed(a.did()).await, DownCause::RemoteClosed);
    meet(&mut a, &mut b).await;
}
