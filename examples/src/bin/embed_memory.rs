//! A node inside another program: write a memory, follow the changes, recall.
//!
//! `cargo run -p nexus-examples --bin embed_memory`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

use nexus_node::{NewMemory, Node, WatchQuery};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // an empty directory becomes a node with a mesh of its own; without addresses it only dials
    let node = Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
    let brain = node.brain();

    let mut changes = brain.watch(WatchQuery::from_now()).await?;
    let written = brain.remember(NewMemory::note("the build needs a C compiler")).await?;
    println!("written: {} (on disk here: {})", written.id, written.durability.local);

    while let Some(change) = changes.next().await? {
        println!("change:  {} {}", change.kind.as_str(), change.subject);
        if change.subject.memory() == Some(written.id) {
            break;
        }
    }
    for hit in brain.recall("what does the build need?").await?.hits {
        println!("recall:  {} | {}", hit.memory.text, hit.why);
    }
    node.shutdown().await;
    Ok(())
}
