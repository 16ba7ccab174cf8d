//! Erasing one memory of many, until all connected members have said so; beside the time of one new memory.

use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::brain::EraseFate;
use nexus_node::memory::{MemoryRef, RecallQuery};
use tokio::time::Instant;

use super::client::failed;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, join, memory, start, until, until_held};
use nexus_node_cli::ground::Printer;

/// The other members.
const OTHERS: usize = 4;
/// The erasures: a node confirms twenty at once, and later ones twice a minute.
const ERASURES: u64 = 15;
/// The memories that are written together.
const BATCH: u64 = 1_000;

/// Measures the answer to an erasure, and the time until the other members have hidden it.
pub(super) async fn run(printer: &Printer, records: u64) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let bar = printer.progress("memories of five nodes", Some(records));
    let here = start(dir.path(), "here").await?;
    let mut others = Vec::new();
    for n in 0..OTHERS {
        others.push(join(&here, dir.path(), &format!("other-{n}")).await?);
    }
    for first in (0..records).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let batch: Vec<_> = (first..records.min(first + BATCH)).map(memory).collect();
        bar.inc(batch.len() as u64);
        here.brain().remember_all(batch).await?;
    }
    for other in &others {
        until_held(other, records).await?;
    }
    bar.finish_and_clear();
    let (mut written, mut answered, mut unfound, mut confirmed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..ERASURES {
        let word = format!("wordoferasure{n}");
        let mut new = memory(records + n);
        new.text = format!("{word} {}", new.text);
        let begun = Instant::now();
        let id = here.brain().remember(new).await?.id;
        written.push(begun.elapsed().as_secs_f64() * 1_000.0);
        let found = |node: &Node| {
            let (brain, query) = (node.brain(), RecallQuery::of(word.as_str()));
            async move { Ok::<_, Problem>(brain.recall(query).await?.hits.iter().any(|hit| hit.memory.id == id)) }
        };
        for node in others.iter().chain([&here]) {
            until("a memory is found", async || found(node).await).await?;
        }
        let begun = Instant::now();
        let erased = here.brain().erase(vec![MemoryRef::from(id.to_string())]).await?;
        answered.push(begun.elapsed().as_secs_f64() * 1_000.0);
        if !erased.iter().all(|erased| matches!(erased.fate, EraseFate::Erased { .. })) {
            return Err(failed("an erasure", "nothing was erased"));
        }
        for node in others.iter().chain([&here]) {
            until("nobody finds it", async || Ok(!found(node).await?)).await?;
        }
        unfound.push(begun.elapsed().as_secs_f64() * 1_000.0);
        until("all have confirmed it", async || {
            let (_, status) = here.brain().erasure(MemoryRef::from(id.to_string())).await?;
            Ok(status.missing.is_empty() && status.hidden.len() > OTHERS)
        })
        .await?;
        confirmed.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    here.shutdown().await;
    for other in others {
        other.shutdown().await;
    }
    let floor = quantile(&mut written, 0.5);
    Ok(vec![
        Row::new(
            "erasure",
            format!("answer to an erasure, {} memories, p95", super::rows::number(records as f64)),
            quantile(&mut answered, 0.95),
            "ms",
        )
        .asked(Goal::LessThan(20.0))
        .floor("ms for a new memory", floor),
        Row::new("erasure", "until recall of five nodes finds it no more, p95", quantile(&mut unfound, 0.95), "ms")
            .asked(Goal::LessThan(1_000.0))
            .floor("ms for a new memory", floor),
        Row::new(
            "erasure",
            "until four other members have confirmed that it is hidden, p95",
            quantile(&mut confirmed, 0.95),
            "ms",
        )
        .asked(Goal::LessThan(1_000.0))
        .floor("ms for a new memory", floor),
    ])
}
