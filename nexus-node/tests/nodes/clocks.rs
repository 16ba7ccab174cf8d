//! A member whose clock is wrong, among members whose clocks are right.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{Link, SOON, World, eventually};
use nexus_identity::Timestamp;
use nexus_mesh::{Clock, SystemClock};
use nexus_node::config::Bounded;
use nexus_node::memory::ListQuery;
use nexus_node::{NewMemory, Node};

const DAYS: Duration = Duration::from_secs(3 * 86_400);

/// The machine's clock, set wrong.
#[derive(Debug)]
struct Ahead(SystemClock, Duration);

impl Clock for Ahead {
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn wall(&self) -> Timestamp {
        self.0.wall().saturating_add(self.1)
    }
}

/// Three members that know each other; the clock of the last one is ahead.
async fn three(world: World, ahead: Duration) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..3 {
        let mut env = world.env(n, Link::Memory);
        env.config.heartbeat_ms = Bounded::of::<100>();
        if n == 2 {
            env.clock = Arc::new(Ahead(SystemClock::new(), ahead));
        }
        env.config.bootstrap.0.extend(nodes.iter().flat_map(|node| node.listen_addresses().into_iter().take(1)));
        nodes.push(Node::with_env(env).await.unwrap());
    }
    nodes
}

async fn told(node: &Node) -> Vec<String> {
    let warnings = node.status().await.warnings;
    warnings.into_iter().filter(|warning| warning.code == "clock").map(|warning| warning.message).collect()
}

/// promise: Nodes | A member's wrong clock is named on every node, and on its own
#[tokio::test(flavor = "multi_thread")]
async fn everybody_says_whose_clock_is_wrong() {
    let nodes = three(World(120), DAYS).await;
    for node in &nodes[..2] {
        eventually("it is named", || async {
            told(node).await == ["the clock of member-number-2 is 3 d ahead of the others'"]
        })
        .await;
        let peers = node.peers().await;
        let ahead = peers.iter().find(|peer| peer.did == nodes[2].did()).unwrap().clock_ahead_ms.unwrap();
        assert!(ahead.abs_diff(3 * 86_400_000) < 60_000, "{ahead}");
    }
    let own = ["the clock of this machine is 3 d ahead of the others'"];
    eventually("it says so itself", || async { told(&nodes[2]).await == own }).await;
}

/// promise: Nodes | A memory from a clock that is ahead is listed by when it came, and moves no other clock
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_the_future_stands_where_it_came() {
    let nodes = three(World(121), DAYS).await;
    let healthy = nodes[0].brain();
    healthy.remember(NewMemory::note("before")).await.unwrap();
    nodes[2].brain().remember(NewMemory::note("of the future")).await.unwrap();
    let listed = async || healthy.list(ListQuery::newest()).await.unwrap().items;
    eventually("both are here", || async { listed().await.len() == 2 }).await;
    // half of a round trip can put its time some milliseconds into the future
    let seen = listed().await[0].seen_at.unwrap();
    eventually("that time has passed", || async { SystemClock::new().wall() > seen }).await;
    healthy.remember(NewMemory::note("after")).await.unwrap();

    let items = listed().await;
    let texts: Vec<&str> = items.iter().map(|memory| memory.text.as_str()).collect();
    assert_eq!(texts, ["after", "of the future", "before"]);
    let now = SystemClock::new().wall();
    let (seen, said) = (items[1].seen_at.unwrap(), items[1].created_at);
    assert!(seen <= now && now.since(seen) < SOON && said.since(now) > DAYS / 2, "{seen} {said}");
    assert_eq!((items[0].seen_at, items[2].seen_at), (None, None));
    // its own clock stays as it was
    assert!(items[0].created_at <= now, "{} {now}", items[0].created_at);
    // it is forgotten like any other
    healthy.forget(items[1].id).await.unwrap();
    assert_eq!(listed().await.len(), 2);
}
