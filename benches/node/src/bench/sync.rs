use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_node::Node;
use nexus_node::api::Problem;
use tokio::time::Instant;

use super::floor;
use super::rows::{Goal, Row};
use super::stage::{directory, held, join, memory, start, until_held};
use nexus_node_cli::ground::Printer;

/// The number of callers at once.
const CALLERS: u64 = 64;

/// Measures two nodes with 64 callers on one of them, one memory a call. The figure is the memories a
/// second that are on both disks, verified, applied and readable.
pub(super) async fn run(printer: &Printer, seconds: u64) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let here = start(dir.path(), "here").await?;
    let there = join(&here, dir.path(), "there").await?;
    here.brain().remember(memory(0)).await?;
    until_held(&there, 1).await?;

    let bar = printer.progress("sync", Some(seconds));
    let load = load(&here, &there, Duration::from_secs(seconds), |begun| bar.set_position(begun.as_secs())).await?;
    bar.finish_and_clear();
    here.shutdown().await;
    there.shutdown().await;

    let rows = floor::store_rows(64)?;
    Ok(vec![
        Row::new("sync", "replicated records", load.per_second(load.replicated), "/s")
            .asked(Goal::AtLeast(10_000.0))
            .floor("rows/s, bare store, 64 a commit", rows),
        Row::new("sync", "acknowledged records", load.per_second(load.acknowledged), "/s")
            .floor("signatures checked/s, one core", floor::verifications()),
    ])
}

/// The memories written under a load, and the time until all were acknowledged and held by the peer.
pub(super) struct Load {
    written: u64,
    acknowledged: Duration,
    pub(super) replicated: Duration,
}

impl Load {
    pub(super) fn per_second(&self, time: Duration) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let written = self.written as f64;
        written / time.as_secs_f64()
    }
}

/// Has all callers write to a node for a while, then waits until its peer has everything.
pub(super) async fn load(
    here: &Node,
    there: &Node,
    duration: Duration,
    going: impl Fn(Duration),
) -> Result<Load, Problem> {
    let before = held(here).await?;
    let written = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let end = begin + duration;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (brain, written) = (here.brain(), written.clone());
            tokio::spawn(async move {
                let mut n = caller;
                while Instant::now() < end {
                    brain.remember_all(vec![memory(n)]).await?;
                    written.fetch_add(1, Ordering::Relaxed);
                    n += CALLERS;
                }
                Ok::<(), nexus_node::NodeError>(())
            })
        })
        .collect();
    while Instant::now() < end {
        tokio::time::sleep_until((Instant::now() + Duration::from_millis(200)).min(end)).await;
        going(begin.elapsed());
    }
    for caller in callers {
        caller.await.map_err(|error| Problem::new("failed", error.to_string()))??;
    }
    let acknowledged = begin.elapsed();
    let written = written.load(Ordering::Relaxed);
    until_held(there, before + written).await?;
    Ok(Load { written, acknowledged, replicated: begin.elapsed() })
}
