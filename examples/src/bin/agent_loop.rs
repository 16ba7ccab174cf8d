//! The loop of an agent: recall before the work, a lock around it, remember afterwards. Two agents share
//! a list of jobs, and no job is done twice.
//!
//! `cargo run -p nexus-examples --bin agent_loop`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

use nexus_node::critical::LockOptions;
use nexus_node::memory::ListQuery;
use nexus_node::{NewMemory, Node, NodeError, Patch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
    node.brain().remember(NewMemory::note("jobs on the staging database go through port 5433")).await?;
    for job in ["migrate the staging database", "back up the staging database", "answer the mail"] {
        node.brain().remember(NewMemory::note(job).kind("job").tag("open")).await?;
    }

    let (one, two) = tokio::join!(agent(&node, "one"), agent(&node, "two"));
    println!("all:     {} jobs done", one? + two?);
    for memory in node.brain().list(ListQuery::newest()).await?.items {
        if memory.kind == "report" {
            println!("report:  {}", memory.text);
        }
    }
    node.shutdown().await;
    Ok(())
}

/// Does open jobs until there are none. Returns how many.
async fn agent(node: &Node, name: &str) -> Result<usize, NodeError> {
    let (brain, critical) = (node.brain(), node.critical()?);
    let mut done = 0;
    loop {
        let all = brain.list(ListQuery::newest()).await?.items;
        let mut open =
            all.into_iter().filter(|memory| memory.kind == "job" && memory.tags.iter().any(|tag| tag == "open"));
        let Some(job) = open.next() else { return Ok(done) };
        // somebody else at this job is no error: this agent waits its turn, and looks again
        let options = LockOptions::default().wait(std::time::Duration::from_secs(10));
        let lock = critical.lock(&format!("job/{}", job.id), options).await?;
        if brain.get(job.id).await?.tags.iter().any(|tag| tag == "open") {
            let known = brain.recall(job.text.as_str()).await?.hits;
            let hint = known.iter().find(|hit| hit.memory.kind == "note").map(|hit| hit.memory.text.as_str());
            let text = format!("{} ({})", job.text, hint.unwrap_or("nothing known"));
            brain.remember(NewMemory::note(text).kind("report").tag(name)).await?;
            brain.edit(job.id, Patch::default().tags(["done"])).await?;
            done += 1;
        }
        lock.release().await?;
    }
}
