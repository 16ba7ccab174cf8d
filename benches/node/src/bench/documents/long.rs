use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{ROOT, ReadDoc};
use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::documents::DocumentWatch;
use tokio::time::{Instant, sleep};

use super::super::client::failed;
use super::super::rows::{Goal, Row, quantile};
use super::super::stage::{start, until};
use super::ground::{NAME, Pair, TEXT, broken, create, file, letter, load, milliseconds, next, number, typed};
use super::held::{self, Held};
use nexus_node_cli::ground::Printer;

/// The documents, each with its number of changes.
const LENGTHS: [(usize, &str); 3] = [(1, "of 1"), (1_000, "of 1,000"), (100_000, "of 100,000")];
/// The document that is opened, and the one beside it.
const LONG: &str = LENGTHS[2].1;
const SHORT: &str = LENGTHS[0].1;
/// One change more, so often for each.
const ROUNDS: usize = 60;
/// The time between two of them: each is the first after a pause.
const PAUSE: Duration = Duration::from_millis(30);
/// How often the node is started, and the document read while it is open.
const STARTS: usize = 3;
const READS: usize = 100;

/// Measures a document of 100,000 changes: one change more beside shorter ones, opening it, and the memory that it takes.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let bar = printer.progress("long", Some(6));
    let pair = Pair::start().await?;
    let (mut rows, mut content) = (Vec::new(), Vec::new());
    // the longest first: what comes after it tells that it is there
    for (changes, key) in LENGTHS.into_iter().rev() {
        let file = file(changes)?;
        let begin = Instant::now();
        pair.here.documents().import(None, Some(key), file.clone()).await?;
        if key == LONG {
            let taken = begin.elapsed().as_secs_f64();
            rows.push(Row::new("documents", "100,000 changes, taken from a file", taken, "s"));
            content = file;
        }
    }
    bar.inc(1);
    create(&pair.here.documents(), "last", "").await?;
    let there = pair.there.documents();
    until("all documents are there", async || Ok(there.get(None, "last", TEXT, None).await.is_ok())).await?;
    let built = opened(&pair.there, LONG).await?;
    let begin = Instant::now();
    load(&content)?;
    let loaded = milliseconds(begin.elapsed());
    bar.inc(1);
    rows.push(
        Row::new("documents", "100,000 changes, built from the entries", built, "ms")
            .floor("ms, automerge loads its file", loaded),
    );

    rows.extend(one_more(&pair, takes(&content)?).await?);
    bar.inc(1);
    let (mut open, mut short) = (Vec::with_capacity(READS), Vec::with_capacity(READS));
    for _ in 0..READS {
        open.push(opened(&pair.here, LONG).await?);
        short.push(opened(&pair.here, SHORT).await?);
    }
    rows.push(
        Row::new("documents", "100,000 changes, read while open, p50", quantile(&mut open, 0.5), "ms")
            .floor("ms, a document of one change", quantile(&mut short, 0.5)),
    );

    let dir = pair.end().await;
    let mut warm = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let here = start(dir.path(), "here").await?;
        warm.push(opened(&here, LONG).await?);
        here.shutdown().await;
    }
    bar.inc(1);
    rows.push(
        Row::new("documents", "100,000 changes, opened after a start, median of 3", quantile(&mut warm, 0.5), "ms")
            .asked(Goal::LessThan(50.0))
            .floor("ms, automerge loads its file", loaded),
    );

    let at = dir.path().join("document.automerge");
    std::fs::write(&at, content).map_err(|error| failed("a file", error))?;
    let alone = held::of(&[Held::AUTOMERGE, &at.to_string_lossy()])?;
    bar.inc(1);
    let ours = held::of(&[Held::NODE, &dir.path().to_string_lossy(), LONG])?;
    bar.finish_and_clear();
    let (alone, ours) = (number(&alone, held::MIB)?, number(&ours, held::MIB)?);
    rows.push(
        Row::new("documents", "100,000 changes, memory while open at rest", ours, "MiB")
            .asked(Goal::LessThan(alone * 1.5))
            .floor("MiB, automerge alone", alone),
    );
    Ok(rows)
}

/// The milliseconds in which Automerge alone takes one change more, at the median.
fn takes(content: &[u8]) -> Result<f64, Problem> {
    let (mut here, mut there, mut took) = (load(content)?, load(content)?, Vec::new());
    let Some((_, text)) = here.get(ROOT, TEXT).map_err(broken)? else { return Err(failed("automerge", "no text")) };
    for _ in 0..10 {
        let made =
            here.transact(|writer| writer.splice_text(&text, 0, 0, "x")).map_err(|failed| broken(failed.error))?;
        let made = made.hash.and_then(|hash| here.get_change_by_hash(&hash));
        let made = made.ok_or_else(|| failed("automerge", "it made no change"))?;
        let begin = Instant::now();
        there.apply_changes([made]).map_err(broken)?;
        took.push(milliseconds(begin.elapsed()));
    }
    Ok(quantile(&mut took, 0.5))
}

/// The milliseconds to read a short value of a document.
async fn opened(node: &Node, key: &str) -> Result<f64, Problem> {
    let begin = Instant::now();
    node.documents().get(None, key, NAME, None).await?;
    Ok(milliseconds(begin.elapsed()))
}

/// One change more, of each document in turn. Beside the longest is the time that Automerge alone takes for it.
async fn one_more(pair: &Pair, alone: f64) -> Result<Vec<Row>, Problem> {
    let (here, there, letter) = (pair.here.documents(), pair.there.documents(), letter()?);
    let mut watches: Vec<DocumentWatch> = Vec::new();
    for (_, key) in LENGTHS {
        watches.push(there.watch(None, key, None).await?);
    }
    let (mut kept, mut seen) = (vec![Vec::new(); LENGTHS.len()], vec![Vec::new(); LENGTHS.len()]);
    for _ in 0..ROUNDS {
        for (at, ((_, key), watch)) in LENGTHS.into_iter().zip(&mut watches).enumerate() {
            sleep(PAUSE).await;
            let begin = Instant::now();
            typed(&here, key, &letter).await?;
            kept[at].push(milliseconds(begin.elapsed()));
            next(watch).await?;
            seen[at].push(milliseconds(begin.elapsed()));
        }
    }
    let mut rows = Vec::new();
    for ((_, key), (mut kept, mut seen)) in LENGTHS.into_iter().zip(kept.into_iter().zip(seen)) {
        let kept = quantile(&mut kept, 0.5);
        rows.push(Row::new("documents", format!("one change more {key}, on the disk here, p50"), kept, "ms"));
        let seen = quantile(&mut seen, 0.5);
        let row = Row::new("documents", format!("one change more {key}, seen there, p50"), seen, "ms");
        rows.push(if key == LONG { row.floor("ms, automerge takes it", alone) } else { row });
    }
    Ok(rows)
}
