//! Streams: one loop follows the memories and the keys of a node.
//!
//! `cargo run -p nexus-examples --bin follow_changes`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

use futures::TryStreamExt;
use nexus_node::critical::{CriticalEvent, CriticalNews, CriticalWatchQuery, DeleteOptions, PutOptions};
use nexus_node::memory::ChangeKind;
use nexus_node::{NewMemory, Node, Patch, WatchQuery};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
    let (brain, critical) = (node.brain(), node.critical()?);
    let mut memories = brain.watch(WatchQuery::from_now()).await?.into_stream();
    let mut keys = critical.watch(CriticalWatchQuery::from_now().prefix("deploy/")).await?.into_stream();

    let id = brain.remember(NewMemory::note("the build needs a C compiler")).await?.id;
    brain.edit(id, Patch::text("the build needs a C compiler and cmake")).await?;
    brain.forget(id).await?;
    critical.put("deploy/target", "blue", PutOptions::default()).await?;
    critical.put("elsewhere", "not followed", PutOptions::default()).await?;
    critical.delete("deploy/target", DeleteOptions::default()).await?;

    // each stream keeps its order; between the two there is none
    let (mut forgotten, mut deleted) = (false, false);
    while !(forgotten && deleted) {
        tokio::select! {
            change = memories.try_next() => {
                let Some(change) = change? else { break };
                if change.subject.memory() == Some(id) {
                    println!("memory:  {}", change.kind.as_str());
                    forgotten |= change.kind == ChangeKind::Forgotten;
                }
            }
            news = keys.try_next() => match news? {
                Some(CriticalNews::Change(change)) => {
                    let gone = matches!(change.event, CriticalEvent::Deleted { .. });
                    println!("key:     {} {}", change.name(), if gone { "deleted" } else { "written" });
                    deleted |= gone;
                }
                // a watcher that was away for too long reads the keys themselves
                Some(news) => println!("key:     {news:?}"),
                None => break,
            },
        }
    }
    node.shutdown().await;
    Ok(())
}
