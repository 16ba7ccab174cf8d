//! Three nodes of one mesh on one machine. Each writes, all know; one of them is away, and the other two
//! still decide about keys.
//!
//! `cargo run -p nexus-examples --bin three_instances`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use nexus_node::config::{Bounded, Config};
use nexus_node::critical::PutOptions;
use nexus_node::memory::ListQuery;
use nexus_node::{Builder, Invite, NewMemory, Node, NodeError, WatchQuery};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let mut nodes = vec![builder(directory.path(), "terminal")?.start().await?];
    for name in ["editor", "cloud"] {
        let ticket = nodes[0].invite(Invite::default()).await?.ticket;
        nodes.push(builder(directory.path(), name)?.join(ticket).start().await?);
    }
    for node in &nodes {
        node.brain().remember(NewMemory::note(format!("{} was here", node.name()))).await?;
    }
    for node in &nodes {
        println!("{:<9}knows {} memories", node.name(), knows(node, 3).await?);
    }

    // once all three have settled, they vote
    let critical = nodes[0].critical()?;
    while critical.coordinators().await.is_none_or(|seen| seen.voters.len() < 3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nodes[2].set_offline(true).await?;
    critical.put("deploy/target", "blue", PutOptions::default()).await?;
    let seen = nodes[1].critical()?.get("deploy/target").await?;
    println!("editor   reads {} while cloud is away", seen.as_ref().and_then(|item| item.text()).unwrap_or_default());
    match nodes[2].critical()?.get("deploy/target").await {
        Err(NodeError::NoQuorum { .. }) => println!("cloud    says that it has no quorum"),
        other => println!("cloud    {other:?}"),
    }
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(())
}

fn builder(directory: &Path, name: &str) -> Result<Builder, Box<dyn Error>> {
    let mut config = Config::default();
    // a vote after this time up; the default of ten seconds is for machines that come and go
    config.voter_settle_ms = Bounded::of::<200>();
    let loopback = "/ip4/127.0.0.1/tcp/0".parse()?;
    let builder = Node::builder(directory.join(name)).config(config).mdns(false).listen([loopback]);
    Ok(builder.name(name.parse()?))
}

/// Waits, change by change, until a node has this many memories.
async fn knows(node: &Node, wanted: usize) -> Result<usize, NodeError> {
    let brain = node.brain();
    let mut changes = brain.watch(WatchQuery::from_now()).await?;
    loop {
        let known = brain.list(ListQuery::newest()).await?.items.len();
        if known >= wanted {
            return Ok(known);
        }
        changes.next().await?;
    }
}
