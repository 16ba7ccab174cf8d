//! The measured nodes: in this process, on loopback, in a temporary directory.

use std::path::Path;
use std::time::Duration;

use nexus_node::api::Problem;
use nexus_node::node::JoinOptions;
use nexus_node::{Invite, NewMemory, Node, NodeError, WatchQuery, node};
use tempfile::TempDir;

use super::client::failed;

/// The longest wait for anything.
pub(super) const DEADLINE: Duration = Duration::from_secs(300);

/// A directory that is removed with the bench.
pub(super) fn directory() -> Result<TempDir, Problem> {
    tempfile::Builder::new().prefix("nexus-bench-").tempdir().map_err(|error| Problem::new("failed", error.to_string()))
}

/// A node on free ports of loopback.
pub(super) async fn start(dir: &Path, name: &str) -> Result<Node, NodeError> {
    let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];
    let listen = listen.iter().filter_map(|address| address.parse().ok());
    let mut builder = Node::builder(dir.join(name)).mdns(false).listen(listen);
    if let Ok(name) = name.parse() {
        builder = builder.name(name);
    }
    builder.start().await
}

/// A further member of a node's mesh, in the same directory under another name.
pub(super) async fn join(inviter: &Node, dir: &Path, name: &str) -> Result<Node, NodeError> {
    let ticket = inviter.invite(Invite::default()).await?.ticket;
    let mut options = JoinOptions::default().timeout(DEADLINE);
    options.name = name.parse().ok();
    node::join(&dir.join(name), &ticket, options).await?;
    start(dir, name).await
}

/// A memory of about 300 bytes.
pub(super) fn memory(n: u64) -> NewMemory {
    let filler = "the quick brown fox jumps over the lazy dog while the build runs ".repeat(4);
    NewMemory::note(format!("{n} {filler}"))
}

/// The number of memories on a node.
pub(super) async fn held(node: &Node) -> Result<u64, NodeError> {
    Ok(node.brain().spaces().await?.iter().map(|space| space.records).sum())
}

/// Waits, commit by commit, until a node holds this many memories.
pub(super) async fn until_held(node: &Node, wanted: u64) -> Result<(), NodeError> {
    let mut watch = node.brain().watch(WatchQuery::from_now()).await?;
    let reached = async {
        while held(node).await? < wanted {
            // some changes at a time: counting costs more than waiting
            for _ in 0..64 {
                if held(node).await? >= wanted || watch.next().await?.is_none() {
                    break;
                }
            }
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, reached).await.map_err(|_| NodeError::TimedOut(DEADLINE))?
}

/// Looks every few milliseconds until something holds.
pub(super) async fn until(what: &str, holds: impl AsyncFn() -> Result<bool, Problem>) -> Result<(), Problem> {
    let looking = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, looking).await.map_err(|_| failed(what, "not in time"))?
}
