//! Discovery on the local network.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use common::*;

#[tokio::test]
#[ignore = "needs a network that carries multicast"]
async fn nodes_on_one_network_find_each_other() {
    log();
    let world = World::new(200);
    let node = |n| {
        let mut config = world.config(n);
        config.mdns = true;
        Node::start(config, "/ip4/0.0.0.0/tcp/0")
    };
    let (mut a, mut b) = (node(1), node(2));
    meet(&mut a, &mut b).await;
}
