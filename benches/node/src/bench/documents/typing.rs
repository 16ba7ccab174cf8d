use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{Automerge, Change};
use futures::{StreamExt, TryStreamExt, stream};
use nexus_node::api::Problem;
use nexus_node::documents::{DocumentWatch, Documents};
use nexus_node::{Node, NodeError};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::client::failed;
use super::super::floor;
use super::super::rows::{Goal, Row, quantile};
use super::ground::{Pair, alone, broken, letter, letters, milliseconds, next, typed};
use nexus_node_cli::ground::Printer;

/// The characters that are typed at once.
const CHARACTERS: usize = 10_000;
/// The calls that wait for their answer at a time.
const OUTSTANDING: usize = 1_000;
/// How fast one person types, and for how long.
const SLOW: (Duration, usize) = (Duration::from_millis(125), 160);
/// How fast many do together.
const FAST: (Duration, usize) = (Duration::from_millis(1), 5_000);

/// Measures the characters a second that are seen on the other node, if the next is typed without waiting for the one before.
pub(in crate::bench) async fn at_once(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let pair = Pair::start().await?;
    let mut watch = pair.text("typed").await?;
    let bar = printer.progress("typing", Some(CHARACTERS as u64));
    let (documents, letter) = (pair.here.documents(), letter()?);
    let begin = Instant::now();
    let typing = tokio::spawn(async move {
        let calls = stream::iter(0..CHARACTERS).map(|_| typed(&documents, "typed", &letter));
        calls.buffer_unordered(OUTSTANDING).try_collect::<()>().await?;
        Ok::<_, NodeError>(begin.elapsed())
    });
    let (mut seen, mut sights) = (0, 0);
    while seen < CHARACTERS {
        seen += letters(&next(&mut watch).await?);
        sights += 1;
        bar.set_position(seen as u64);
    }
    let took = begin.elapsed();
    bar.finish_and_clear();
    let written = typing.await.map_err(|error| failed("the typist", error))??;
    let changes = changes_of(&pair.here, "typed").await?;
    pair.end().await;
    let floor = a_second(CHARACTERS, automerge_alone(CHARACTERS)?);
    Ok(vec![
        Row::new("typing", "10,000 characters, seen on the other node", a_second(CHARACTERS, took), "/s")
            .floor("/s, automerge alone, a change each", floor),
        Row::new("typing", "the same, on the disk here", a_second(CHARACTERS, written), "/s"),
        Row::new("typing", "changes that they became", number(changes), ""),
        Row::new("typing", "news of them on the other node", number(sights), ""),
    ])
}

/// Measures the time from a call to the sight of its character on the other node, at the speeds of people.
pub(super) async fn at_speeds(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let pair = Pair::start().await?;
    let bar = printer.progress("typing", Some((SLOW.1 + FAST.1) as u64));
    let mut watch = pair.text("slow").await?;
    let (mut slow, mut kept) = at_speed(&pair.here, "slow", &mut watch, SLOW).await?;
    bar.inc(SLOW.1 as u64);
    let mut watch = pair.text("fast").await?;
    let (mut fast, _) = at_speed(&pair.here, "fast", &mut watch, FAST).await?;
    bar.finish_and_clear();
    pair.end().await;
    let (median, late) = floor::two_syncs_and_a_round_trip()?;
    const FLOOR: &str = "ms, two fdatasync and a round trip";
    Ok(vec![
        Row::new("documents", "typed after a pause, on the disk here, p50", quantile(&mut kept, 0.5), "ms"),
        Row::new("documents", "typed after a pause (8/s), seen there, p50", quantile(&mut slow, 0.5), "ms")
            .floor(FLOOR, median),
        Row::new("documents", "the same, p95", quantile(&mut slow, 0.95), "ms")
            .asked(Goal::LessThan(10.0))
            .floor(FLOOR, late),
        Row::new("documents", "typed at 1,000/s, seen there, p50", quantile(&mut fast, 0.5), "ms"),
        Row::new("documents", "the same, p95", quantile(&mut fast, 0.95), "ms").asked(Goal::LessThan(35.0)),
    ])
}

/// The milliseconds from each call to the sight of its character, and to its answer.
async fn at_speed(
    here: &Node,
    key: &'static str,
    watch: &mut DocumentWatch,
    (every, count): (Duration, usize),
) -> Result<(Vec<f64>, Vec<f64>), Problem> {
    let begun = Arc::new(Mutex::new(Vec::with_capacity(count)));
    let typing = tokio::spawn(type_on(here.documents(), key, (every, count), begun.clone()));
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        let change = next(watch).await?;
        let (now, begun) = (Instant::now(), begun.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in 0..letters(&change) {
            let since: Option<&Instant> = begun.get(seen.len());
            seen.push(milliseconds(now - *since.ok_or_else(|| failed("a character", "nobody typed it"))?));
        }
    }
    let kept = typing.await.map_err(|error| failed("the typist", error))??;
    Ok((seen, kept))
}

/// Types at a speed, whatever the answers take. Notes the time of each call, and returns the milliseconds until its answer.
pub(super) async fn type_on(
    documents: Documents,
    key: &'static str,
    (every, count): (Duration, usize),
    begun: Arc<Mutex<Vec<Instant>>>,
) -> Result<Vec<f64>, Problem> {
    let (letter, mut calls, mut kept) = (letter()?, JoinSet::new(), Vec::with_capacity(count));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..count {
        ticks.tick().await;
        let begin = Instant::now();
        begun.lock().unwrap_or_else(PoisonError::into_inner).push(begin);
        let (documents, letter) = (documents.clone(), letter.clone());
        calls.spawn(async move {
            typed(&documents, key, &letter).await?;
            Ok::<_, NodeError>(milliseconds(begin.elapsed()))
        });
    }
    while let Some(ended) = calls.join_next().await {
        kept.push(ended.map_err(|error| failed("the typist", error))??);
    }
    Ok(kept)
}

/// The changes of a document, as far as its history is shown.
pub(super) async fn changes_of(node: &Node, key: &str) -> Result<usize, Problem> {
    let history = node.documents().history(None, key, nexus_node::documents::HISTORY_MAX).await?;
    Ok(history.1.len())
}

/// The time in which Automerge alone makes a change of each character, and a second document takes it.
fn automerge_alone(characters: usize) -> Result<Duration, Problem> {
    let (mut here, text) = alone()?;
    let mut there = Automerge::load(&here.save()).map_err(broken)?;
    let begin = Instant::now();
    for _ in 0..characters {
        here.splice_text(&text, 0, 0, "x").map_err(broken)?;
        here.commit();
        let made = here.get_last_local_change().ok_or_else(|| failed("automerge", "it made no change"))?;
        let bytes = made.raw_bytes().to_vec();
        let change = Change::from_bytes(bytes).map_err(|error| failed("automerge", error))?;
        there.apply_changes([change]).map_err(broken)?;
    }
    Ok(begin.elapsed())
}

fn a_second(count: usize, took: Duration) -> f64 {
    number(count) / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn number(count: usize) -> f64 {
    count as f64
}
