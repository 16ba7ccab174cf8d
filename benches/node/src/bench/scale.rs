use nexus_node::api::Problem;
use nexus_node::{MemoryId, Node, NodeError, Patch};
use tokio::time::Instant;

use super::rows::{Goal, Row, quantile};
use super::stage::{directory, join, memory, start, until_held};
use nexus_node_cli::ground::Printer;

/// The number of memories on the small side.
const FEW: u64 = 1_000;
/// The number of memories written in one call while the store is filled.
const CHUNK: u64 = 1_000;
/// The number of timed updates on each side.
const UPDATES: usize = 300;

/// Measures a node with many memories beside one with a thousand: the cost of an update, the time of a
/// start, and the time until a fresh member has everything.
pub(super) async fn run(printer: &Printer, records: u64) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let (few, many) = (start(dir.path(), "few").await?, start(dir.path(), "many").await?);
    let bar = printer.progress("filling", Some(records));
    let few_ids = fill(&few, FEW, |_| {}).await?;
    let many_ids = fill(&many, records, |done| bar.set_position(done)).await?;
    bar.finish_and_clear();

    // in turn, so that a slow moment of the machine affects both
    let (mut at_few, mut at_many) = (Vec::new(), Vec::new());
    for n in 0..UPDATES {
        at_few.push(update(&few, &few_ids, n).await?);
        at_many.push(update(&many, &many_ids, n).await?);
    }
    let (at_few, at_many) = (quantile(&mut at_few, 0.5), quantile(&mut at_many, 0.5));
    few.shutdown().await;
    many.shutdown().await;
    drop(many);

    let begin = Instant::now();
    let many = start(dir.path(), "many").await?;
    let started = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let fresh = join(&many, dir.path(), "fresh").await?;
    let joined = begin.elapsed().as_secs_f64();
    until_held(&fresh, records).await?;
    let caught_up = begin.elapsed().as_secs_f64();
    fresh.shutdown().await;
    many.shutdown().await;
    Ok(vec![
        Row::new("scale", format!("update at {records} memories, p50"), at_many, "ms")
            .asked(Goal::LessThan(at_few * 1.25))
            .floor("ms at 1,000", at_few),
        Row::new("scale", format!("start with {records} memories"), started, "s").asked(Goal::LessThan(2.0)),
        Row::new("scale", format!("fresh member has {records}"), caught_up, "s")
            .asked(Goal::LessThan(10.0))
            .floor("s to join and start", joined),
    ])
}

/// Writes memories. Returns the ids of some of them.
async fn fill(node: &Node, records: u64, mut done: impl FnMut(u64)) -> Result<Vec<MemoryId>, NodeError> {
    let mut ids = Vec::new();
    let mut n = 0;
    while n < records {
        let chunk = (n..records.min(n + CHUNK)).map(memory).collect();
        let written = node.brain().remember_all(chunk).await?;
        n += CHUNK;
        // a few of each chunk, so that updates touch old and new pages alike
        ids.extend(written.into_iter().step_by(97).map(|written| written.id));
        done(n);
    }
    Ok(ids)
}

/// The milliseconds of one edit of one memory.
async fn update(node: &Node, ids: &[MemoryId], n: usize) -> Result<f64, NodeError> {
    let id = ids[n * 7 % ids.len()];
    let patch = Patch::text(format!("updated {n}"));
    let begin = Instant::now();
    node.brain().edit(id, patch).await?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
