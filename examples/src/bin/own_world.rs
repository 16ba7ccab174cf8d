//! A world of one's own: a node in memory whose clock is set by hand, with its tasks counted. This is how
//! tests and simulators run nodes.
//!
//! `cargo run -p nexus-examples --bin own_world`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use nexus_node::env::{Clock, Spawner, SystemClock, Tasks};
use nexus_node::net::tcp_quic_transport;
use nexus_node::{Keypair, NewMemory, Node, NodeEnv, NodeError, Timestamp};

/// A wall clock that stands still until it is set.
#[derive(Debug)]
struct HandClock {
    wall_ms: AtomicU64,
    monotonic: SystemClock,
}

impl Clock for HandClock {
    fn monotonic(&self) -> Duration {
        self.monotonic.monotonic()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(self.wall_ms.load(Ordering::Relaxed))
    }
}

/// Hands each task on, and counts it.
#[derive(Debug)]
struct CountingSpawner {
    tasks: Tasks,
    started: AtomicUsize,
}

impl Spawner for CountingSpawner {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn(name, task);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let new_year = Timestamp::from_ms(4_102_444_800_000);
    let clock = Arc::new(HandClock { wall_ms: new_year.as_ms().into(), monotonic: SystemClock::new() });
    let spawner = Arc::new(CountingSpawner { tasks: Tasks::current(), started: AtomicUsize::new(0) });
    let key = Keypair::generate();
    let transport = tcp_quic_transport(&key)?;

    let mut env = NodeEnv::founder(key, transport, spawner.clone(), "time-traveller".parse()?, new_year)?;
    env.clock = clock.clone();
    // nobody is to be met in this world
    env.config.mdns = false;
    env.config.listen.0.clear();
    let node = Node::with_env(env).await?;
    println!("tasks:   {} started, all by this program", spawner.started.load(Ordering::Relaxed));

    let hour = Duration::from_secs(3_600);
    let id = node.brain().remember(NewMemory::note("the fireworks are at midnight").ttl(hour)).await?.id;
    println!("written: {}", node.brain().get(id).await?.created_at);
    clock.wall_ms.fetch_add(2 * 3_600_000, Ordering::Relaxed);
    match node.brain().get(id).await {
        Err(NodeError::NotFound { what, .. }) => println!("later:   no such {what} any more"),
        other => println!("later:   {other:?}"),
    }
    node.shutdown().await;
    Ok(())
}
