use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use nexus_node::api::Problem;
use nexus_node::tasks::{ClaimQuery, JsonText, TaskResult};
use nexus_node::{NewTask, Node, NodeError};
use serde_json::json;
use tokio::time::Instant;

use super::floor;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, start};
use nexus_node_cli::ground::Printer;

/// Callers that submit a task and wait for its end, and workers that do nothing.
const CALLERS: u64 = 64;
/// The longest load, in seconds: its tasks stay in the store.
const SECONDS_MAX: u64 = 10;
/// Tasks that are submitted one after another.
const SINGLE: u64 = 500;
/// The input of a task, in bytes.
const INPUT_BYTES: usize = 256;

/// When each task was submitted, by its input.
type Begun = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// Measures tasks from their submission to their end on one node, all of it durable: one at a time, and under load.
pub(super) async fn run(printer: &Printer, seconds: u64) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "tasks").await?;
    let (begun, assigned, ends) =
        (Begun::default(), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(work(node.clone(), begun.clone(), assigned.clone(), ends.clone()))).collect();
    let bar = printer.progress("tasks", Some(SINGLE + seconds.min(SECONDS_MAX)));
    let mut whole = Vec::new();
    for n in 0..SINGLE {
        let begin = Instant::now();
        submit(&node, &begun, n).await?;
        whole.push(begin.elapsed().as_secs_f64() * 1e3);
        bar.inc(1);
    }
    let mut single = taken(&assigned);
    let before = size(&dir.path().join("tasks"));
    let (begin, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds.min(SECONDS_MAX)));
    let next = AtomicU64::new(SINGLE);
    let callers = (0..CALLERS).map(|_| async {
        while Instant::now() < until {
            submit(&node, &begun, next.fetch_add(1, Ordering::Relaxed)).await?;
        }
        Ok::<_, NodeError>(())
    });
    try_join_all(callers).await?;
    let took = begin.elapsed().as_secs_f64();
    bar.finish_and_clear();
    ends.store(true, Ordering::Relaxed);
    let mut loaded = taken(&assigned);
    node.shutdown().await;
    drop(workers);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (tasks, bytes) =
        ((next.load(Ordering::Relaxed) - SINGLE) as f64, (size(&dir.path().join("tasks")) - before) as f64);
    let rows = floor::store_rows(64)?;
    Ok(vec![
        Row::new("tasks", "one at a time, submitted to assigned, p50", quantile(&mut single, 0.5), "ms"),
        Row::new("tasks", "the same, p95", quantile(&mut single, 0.95), "ms").asked(Goal::LessThan(5.0)),
        Row::new("tasks", "one at a time, submitted to its end, p50", quantile(&mut whole, 0.5), "ms"),
        Row::new("tasks", format!("done, {CALLERS} callers"), tasks / took, "/s")
            .asked(Goal::AtLeast(5_000.0))
            .floor("rows/s, bare store, 64 a commit", rows),
        Row::new("tasks", "submitted to assigned under that load, p95", quantile(&mut loaded, 0.95), "ms"),
        Row::new("tasks", "on the disk, a task", bytes / tasks, "bytes").asked(Goal::LessThan(2_000.0)),
    ])
}

/// Submits a task and waits for its end.
async fn submit(node: &Node, begun: &Begun, n: u64) -> Result<(), NodeError> {
    let input = json!({ "n": n, "filler": "x".repeat(INPUT_BYTES) });
    begun.lock().unwrap_or_else(PoisonError::into_inner).insert(n, Instant::now());
    let board = node.tasks();
    let task = board.submit(NewTask::new("bench", input)).await?;
    board.wait(&task.id.to_string(), Duration::from_secs(60)).await.map(drop)
}

/// A worker that does nothing.
async fn work(node: Node, begun: Begun, assigned: Arc<Mutex<Vec<f64>>>, ends: Arc<AtomicBool>) {
    let board = node.tasks();
    while !ends.load(Ordering::Relaxed) {
        let query = ClaimQuery::of("bench").wait(Duration::from_secs(5));
        let Ok(Some(claimed)) = board.claim(query).await else { continue };
        let n = claimed.task.input.value()["n"].as_u64().unwrap_or_default();
        let begin = begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&n);
        if let Some(begin) = begin {
            assigned.lock().unwrap_or_else(PoisonError::into_inner).push(begin.elapsed().as_secs_f64() * 1e3);
        }
        // the next claim tells if the node is gone
        let _ =
            board.finish(&claimed.task.id.to_string(), claimed.token, TaskResult::Succeeded(JsonText::default())).await;
    }
}

fn taken(assigned: &Mutex<Vec<f64>>) -> Vec<f64> {
    std::mem::take(&mut *assigned.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The room that a node's store takes on the disk, in bytes. The file grows by doubling, with holes up to its end.
fn size(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("brain.redb")).map_or(0, |file| taken_by(&file))
}

#[cfg(unix)]
fn taken_by(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn taken_by(file: &Metadata) -> u64 {
    file.len()
}
