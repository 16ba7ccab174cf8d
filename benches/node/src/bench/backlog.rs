use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use nexus_node::api::Problem;
use nexus_node::tasks::{ClaimQuery, TaskQuery, TaskStatus};
use nexus_node::{NewTask, Node, NodeError};
use serde_json::json;
use tokio::time::Instant;

use super::processor::Work;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, start};
use nexus_node_cli::ground::Printer;

/// Callers that submit tasks which nobody does.
const CALLERS: u64 = 64;
/// Tasks that are submitted one after another.
const SINGLE: usize = 300;
/// Tasks with which the long line is compared.
const FEW: u64 = 1_000;
/// Workers that wait for work.
const AGENTS: usize = 1_000;
/// The time in which they are watched.
const IDLE: Duration = Duration::from_secs(20);

/// Measures workers that wait on one node, and one more task behind many that nobody does.
pub(super) async fn run(printer: &Printer, records: u64) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "backlog").await?;
    let mut rows = idle_agents(&node).await?;
    let bar = printer.progress("tasks that wait", Some(records));
    fill(&node, FEW, |n| bar.set_position(n)).await?;
    let few = one_more(&node).await?;
    let before = node.status().await.rss_bytes;
    fill(&node, records - FEW, |n| bar.set_position(FEW + n)).await?;
    let many = one_more(&node).await?;
    let listed = all_failed(&node).await?;
    let after = node.status().await.rss_bytes;
    bar.finish_and_clear();
    node.shutdown().await;
    let begin = Instant::now();
    let node = start(dir.path(), "backlog").await?;
    // the first claim waits until all are taken up
    node.tasks().claim(ClaimQuery::of("bench")).await?;
    let started = begin.elapsed().as_secs_f64();
    node.shutdown().await;
    rows.push(
        Row::new("backlog", format!("one more task behind {records}, p50"), many, "ms")
            .floor("ms behind 1,000", few)
            .asked(Goal::LessThan(few * 1.25)),
    );
    if let (Some(before), Some(after)) = (before, after) {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let bytes = after.saturating_sub(before) as f64 / records as f64;
        rows.push(Row::new("backlog", "memory of one that waits", bytes, "bytes"));
    }
    rows.push(Row::new("backlog", "a list of the failed ones among them", listed, "ms"));
    rows.push(Row::new("backlog", "start with them, until one is claimed", started, "s"));
    Ok(rows)
}

/// The memory and the processor time of workers that wait.
async fn idle_agents(node: &Node) -> Result<Vec<Row>, Problem> {
    let watch = |time| async move {
        let work = Work::begin();
        tokio::time::sleep(time).await;
        work.cores()
    };
    let (before, quiet) = (node.status().await.rss_bytes, watch(IDLE).await);
    let board = node.tasks();
    let claims = (0..AGENTS).map(|n| board.claim(ClaimQuery::of("idle").agent(format!("agent {n}")).wait(IDLE * 2)));
    let claims = async {
        try_join_all(claims).await?;
        Ok::<_, NodeError>(())
    };
    let watched = async {
        let cores = watch(IDLE).await;
        (node.status().await.rss_bytes, cores)
    };
    tokio::pin!(claims);
    let (after, cores) = tokio::select! {
        watched = watched => watched,
        ended = &mut claims => {
            ended?;
            (None, None)
        }
    };
    let mut rows = Vec::new();
    if let (Some(before), Some(after)) = (before, after) {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let mib = after.saturating_sub(before) as f64 / f64::from(1 << 20);
        rows.push(
            Row::new("backlog", format!("memory of {AGENTS} workers that wait"), mib, "MiB")
                .asked(Goal::LessThan(20.0)),
        );
    }
    if let (Some(quiet), Some(cores)) = (quiet, cores) {
        let more = (cores - quiet).max(0.0) * 100.0;
        rows.push(Row::new("backlog", "processor that they take", more, "% of a core").asked(Goal::LessThan(1.0)));
    }
    Ok(rows)
}

/// Submits tasks from many callers.
async fn fill(node: &Node, tasks: u64, done: impl Fn(u64)) -> Result<(), NodeError> {
    let next = AtomicU64::new(0);
    let callers = (0..CALLERS).map(|_| async {
        while next.fetch_add(1, Ordering::Relaxed) < tasks {
            submit(node).await?;
            done(next.load(Ordering::Relaxed).min(tasks));
        }
        Ok::<_, NodeError>(())
    });
    try_join_all(callers).await.map(drop)
}

/// The time of a list of all tasks that failed, page by page, in milliseconds.
async fn all_failed(node: &Node) -> Result<f64, NodeError> {
    let (begin, mut after) = (Instant::now(), None);
    loop {
        let mut query = TaskQuery::newest(100).state(TaskStatus::Failed);
        query.after = after;
        after = node.tasks().list(query).await?.next;
        if after.is_none() {
            return Ok(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// The time that one more takes, in milliseconds.
async fn one_more(node: &Node) -> Result<f64, NodeError> {
    let mut times = Vec::with_capacity(SINGLE);
    for _ in 0..SINGLE {
        let begin = Instant::now();
        submit(node).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&mut times, 0.5))
}

async fn submit(node: &Node) -> Result<(), NodeError> {
    node.tasks().submit(NewTask::new("bench", json!({ "filler": "x".repeat(200) }))).await.map(drop)
}
