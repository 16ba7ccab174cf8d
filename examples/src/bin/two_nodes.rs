//! Two nodes of one mesh. Apart, both write the same field. Together again they agree, and both show
//! the conflict until somebody settles it.
//!
//! `cargo run -p nexus-examples --bin two_nodes`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::path::Path;

use nexus_node::{Builder, Invite, Memory, MemoryId, NewMemory, Node, NodeError, Patch, WatchQuery};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let laptop = builder(directory.path(), "laptop")?.start().await?;
    let ticket = laptop.invite(Invite::default()).await?.ticket;
    let cloud = builder(directory.path(), "cloud")?.join(ticket).start().await?;

    let id = laptop.brain().remember(NewMemory::note("deploy on friday")).await?.id;
    until(&cloud, id, |_| true).await?;

    cloud.set_offline(true).await?;
    edit(&laptop, id, "deploy on monday").await?;
    edit(&cloud, id, "deploy on tuesday").await?;
    println!("apart:   laptop has {:?}, cloud {:?}", text(&laptop, id).await?, text(&cloud, id).await?);

    cloud.set_offline(false).await?;
    for node in [&laptop, &cloud] {
        let memory = until(node, id, |memory| memory.conflicts.contains_key("text")).await?;
        let values: Vec<String> = memory.conflicts["text"].iter().map(|value| value.value.to_string()).collect();
        println!("healed:  {} sees {}", node.name(), values.join(" and "));
    }
    edit(&laptop, id, "deploy on wednesday").await?;
    let settled = until(&cloud, id, |memory| memory.conflicts.is_empty()).await?;
    println!("settled: cloud has {:?}", settled.text);
    laptop.shutdown().await;
    cloud.shutdown().await;
    Ok(())
}

fn builder(directory: &Path, name: &str) -> Result<Builder, Box<dyn Error>> {
    let loopback = "/ip4/127.0.0.1/udp/0/quic-v1".parse()?;
    Ok(Node::builder(directory.join(name)).name(name.parse()?).mdns(false).listen([loopback]))
}

async fn edit(node: &Node, id: MemoryId, text: &str) -> Result<(), NodeError> {
    node.brain().edit(id, Patch::text(text)).await.map(|_| ())
}

async fn text(node: &Node, id: MemoryId) -> Result<String, NodeError> {
    Ok(node.brain().get(id).await?.text)
}

/// Waits, change by change, until a memory is as wanted.
async fn until(node: &Node, id: MemoryId, wanted: impl Fn(&Memory) -> bool) -> Result<Memory, NodeError> {
    let brain = node.brain();
    let mut changes = brain.watch(WatchQuery::from_now()).await?;
    loop {
        match brain.get(id).await {
            Ok(memory) if wanted(&memory) => return Ok(memory),
            Ok(_) | Err(NodeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        changes.next().await?;
    }
}
