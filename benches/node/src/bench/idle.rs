use std::path::Path;
use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;
use tokio::time::Instant;

use super::processor;
use super::rows::{Goal, Row};
use nexus_node_cli::ground::Printer;
use nexus_node_cli::ground::{Node, Stage};

/// The number of memories on each node.
const RECORDS: usize = 10_000;
/// The time for which the idle node is measured.
const WATCHED: Duration = Duration::from_secs(20);
/// The longest time until three nodes hold the same.
const SYNCED: Duration = Duration::from_secs(120);

/// Measures one of three idle processes of nexus-node with 10,000 memories: memory, processor time,
/// and the time until it is ready again.
pub(super) fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let stage = Stage::of(crate::program::nexus_node()?)?;
    let rows = measure(&stage, printer);
    stage.clear();
    rows
}

fn measure(stage: &Stage, printer: &Printer) -> Result<Vec<Row>, Problem> {
    let first = stage.start("first", 0, &[])?;
    let mut others = Vec::new();
    for name in ["second", "third"] {
        let invitation: wire::Invitation = first.client.post("/v1/invite", &json!({}))?;
        stage.command(name, &["join", &invitation.ticket, "--name", name])?;
        others.push(stage.start(name, 0, &[])?);
    }
    let mut lines = String::new();
    for n in 0..RECORDS {
        let text = format!("{n} {}", "the quick brown fox jumps over the lazy dog while the build runs ".repeat(4));
        lines.push_str(&json!({ "text": text }).to_string());
        lines.push('\n');
    }
    for answer in first.client.post_lines("/v1/import", lines.into_bytes())? {
        answer?;
    }
    let bar = printer.progress("idle", Some(WATCHED.as_secs()));
    wait_until_synced(&first)?;

    let pid = stage.pid("second").ok_or_else(|| Problem::new("failed", "the node has ended"))?;
    // time for the work that the import left behind
    std::thread::sleep(Duration::from_secs(3));
    let (before, begin) = (processor::seconds(pid), Instant::now());
    while begin.elapsed() < WATCHED {
        std::thread::sleep(Duration::from_millis(250));
        bar.set_position(begin.elapsed().as_secs());
    }
    bar.finish_and_clear();
    let used = before
        .zip(processor::seconds(pid))
        .map(|(before, after)| 100.0 * (after - before) / begin.elapsed().as_secs_f64());
    let status: wire::Status = others[0].client.get("/v1/status")?;

    let mut ready = Vec::new();
    for _ in 0..5 {
        stage.kill("second")?;
        let begin = Instant::now();
        stage.start("second", 0, &[])?;
        ready.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut rows = Vec::new();
    if let Some(bytes) = status.rss_bytes {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let mib = bytes as f64 / f64::from(1 << 20);
        rows.push(
            Row::new("idle", "resident memory, 2 peers, 10,000 memories", mib, "MiB").asked(Goal::LessThan(50.0)),
        );
    }
    if let Some(percent) = used {
        rows.push(Row::new("idle", "processor", percent, "% of a core").asked(Goal::LessThan(1.0)));
    }
    let median = super::rows::quantile(&mut ready, 0.5);
    rows.push(Row::new("idle", "ready after kill -9, median of 5", median, "ms").asked(Goal::LessThan(300.0)));
    rows.extend(binary());
    Ok(rows)
}

fn wait_until_synced(node: &Node) -> Result<(), Problem> {
    let begin = Instant::now();
    loop {
        let peers: Vec<wire::Peer> = node.client.get("/v1/peers")?;
        if peers.len() == 2 && peers.iter().all(|peer| peer.synced) {
            return Ok(());
        }
        if begin.elapsed() > SYNCED {
            return Err(Problem::new("timed_out", "the nodes did not get in step"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The size of the node's file, with its symbols.
fn binary() -> Option<Row> {
    let path = crate::program::nexus_node().ok()?;
    let bytes = Path::metadata(&path).ok()?.len();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    Some(Row::new("idle", "file of nexus-node", mib, "MiB"))
}
