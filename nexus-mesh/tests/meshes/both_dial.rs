//! Both sides dial at once, in many ways. In the end there is one open connection, and it works both ways.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::common::*;
use futures::future::join_all;
use nexus_mesh::MeshEvent;

const PAIRS: u8 = 30;

/// Starts two nodes that know each other's addresses and have not dialled.
async fn pair(world: &World, n: u8, listen: &str) -> (Node, Node) {
    let mut a = Node::start(world.config(2 * n + 1), listen);
    let mut b = Node::start(world.config(2 * n + 2), listen);
    a.address().await;
    b.address().await;
    (a, b)
}

fn know_each_other(a: &Node, b: &Node) {
    a.mesh.know(b.did(), b.mesh.listen_addresses());
    b.mesh.know(a.did(), a.mesh.listen_addresses());
}

async fn both_dial(listen: &'static str) {
    log();
    let world = World::new(200);
    let pairs = (0..PAIRS).map(|n| {
        let world = &world;
        async move {
            let (mut a, mut b) = pair(world, n, listen).await;
            know_each_other(&a, &b);
            meet(&mut a, &mut b).await;
            healthy(&mut a, &mut b, "both dial").await;
            for node in [&mut a, &mut b] {
                let late: Vec<_> = std::iter::from_fn(|| node.events.try_recv())
                    .filter(|event| matches!(event, MeshEvent::PeerOpen { .. } | MeshEvent::PeerClosed { .. }))
                    .collect();
                assert!(late.is_empty(), "the first open connection stays: {late:?}");
            }
        }
    });
    join_all(pairs).await;
}

/// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
#[tokio::test]
async fn both_sides_dialling_at_once_get_one_open_connection_over_tcp() {
    both_dial(TCP).await;
}

/// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
#[tokio::test]
async fn both_sides_dialling_at_once_get_one_open_connection_over_quic() {
    both_dial(QUIC).await;
}

#[tokio::test]
async fn both_sides_dialling_at_once_get_one_open_connection_in_memory() {
    both_dial(MEMORY).await;
}

/// Random dials, closed connections and times offline, then quiet. Afterwards the pair is connected.
async fn chaos(listen: &'static str, seed: u64) {
    log();
    let world = World::new(200);
    let pairs = (0..12).map(|n| {
        let world = &world;
        async move {
            let mut dice = Dice(seed.wrapping_mul(2_654_435_761).wrapping_add(u64::from(n) + 1));
            let (mut a, mut b) = pair(world, n, listen).await;
            for _ in 0..40 {
                match dice.roll(9) {
                    0..=2 => know_each_other(&a, &b),
                    3 => a.mesh.bootstrap(b.address().await),
                    4 => b.mesh.bootstrap(a.address().await),
                    5 => a.mesh.disconnect(b.did()),
                    6 => b.mesh.disconnect(a.did()),
                    7 => a.mesh.set_offline(dice.roll(2) == 0).await,
                    _ => b.mesh.set_offline(dice.roll(2) == 0).await,
                }
                tokio::time::sleep(Duration::from_millis(dice.roll(25))).await;
                while a.events.try_recv().is_some() {}
                while b.events.try_recv().is_some() {}
            }
            a.mesh.set_offline(false).await;
            b.mesh.set_offline(false).await;
            know_each_other(&a, &b);
            healthy(&mut a, &mut b, &format!("{listen} seed {seed} pair {n}")).await;
        }
    });
    join_all(pairs).await;
}

/// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
#[tokio::test]
async fn chaos_heals_over_tcp() {
    chaos(TCP, 1).await;
}

/// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
#[tokio::test]
async fn chaos_heals_over_quic() {
    chaos(QUIC, 2).await;
}

#[tokio::test]
async fn chaos_heals_in_memory() {
    for seed in 3..6 {
        chaos(MEMORY, seed).await;
    }
}
