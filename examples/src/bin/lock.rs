//! A lock: two workers, one deployment at a time. A write under an old lock's token is refused.
//!
//! `cargo run -p nexus-examples --bin lock`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example talks, and has tasks of its own")]

use std::error::Error;
use std::time::Duration;

use nexus_node::critical::{LockOptions, PutOptions};
use nexus_node::error::ConflictError;
use nexus_node::{Critical, Node, NodeError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // the first node of a mesh decides alone; with three, any one of them may fail
    let node = Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
    let critical = node.critical()?;

    let lock = critical.lock("deploy", LockOptions::default()).await?;
    println!("first:   has the lock");
    let old = PutOptions::default().fence(lock.token());
    let second = tokio::spawn(deploy(critical.clone()));
    // the second worker stands in line before the first one lets go
    while critical.lock_of("deploy").await?.is_none_or(|lock| lock.line.is_empty()) {
        tokio::task::yield_now().await;
    }
    critical.put("deploy/state", "first is done", old).await?;
    lock.release().await?;
    second.await??;

    // a worker that slept through the end of its lease comes too late
    match critical.put("deploy/state", "first again", old).await {
        Err(NodeError::Conflict(ConflictError::StaleToken { .. })) => println!("first:   its token is too old"),
        other => println!("first:   {other:?}"),
    }
    let state = critical.get("deploy/state").await?;
    println!("state:   {}", state.as_ref().and_then(|item| item.text()).unwrap_or_default());
    node.shutdown().await;
    Ok(())
}

/// Waits in line for the lock, writes under it, and gives it back.
async fn deploy(critical: Critical) -> Result<(), NodeError> {
    let options = LockOptions::default().wait(Duration::from_secs(10));
    let lock = critical.lock("deploy", options).await?;
    println!("second:  has the lock after a wait");
    let fenced = PutOptions::default().fence(lock.token());
    critical.put("deploy/state", "second is done", fenced).await?;
    lock.release().await
}
