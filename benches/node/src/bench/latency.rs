use nexus_node::WatchQuery;
use nexus_node::api::Problem;
use tokio::time::Instant;

use super::floor;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, join, memory, start, until_held};
use nexus_node_cli::ground::Printer;

const WRITES: u64 = 1_000;

/// Measures single writes, one after another: from the call to the change in a watch on the other node.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let here = start(dir.path(), "here").await?;
    let there = join(&here, dir.path(), "there").await?;
    here.brain().remember(memory(0)).await?;
    until_held(&there, 1).await?;
    let mut watch = there.brain().watch(WatchQuery::from_now()).await?;
    let (mut seen, mut acknowledged) = (Vec::new(), Vec::new());
    let bar = printer.progress("latency", Some(WRITES));
    for n in 1..=WRITES {
        let begin = Instant::now();
        let written = here.brain().remember_all(vec![memory(n)]).await?;
        acknowledged.push(begin.elapsed().as_secs_f64() * 1e3);
        while watch.next().await?.is_some_and(|change| change.subject.memory() != Some(written[0].id)) {}
        seen.push(begin.elapsed().as_secs_f64() * 1e3);
        bar.inc(1);
    }
    bar.finish_and_clear();
    here.shutdown().await;
    there.shutdown().await;
    let (median, slow) = floor::two_syncs_and_a_round_trip()?;
    const FLOOR: &str = "ms, two fdatasync and a round trip";
    Ok(vec![
        Row::new("latency", "seen on the peer, p50", quantile(&mut seen, 0.5), "ms").floor(FLOOR, median),
        Row::new("latency", "seen on the peer, p95", quantile(&mut seen, 0.95), "ms")
            .asked(Goal::LessThan(10.0))
            .floor(FLOOR, slow),
        Row::new("latency", "acknowledged here, p50", quantile(&mut acknowledged, 0.5), "ms"),
    ])
}
