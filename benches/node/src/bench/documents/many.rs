use std::time::Duration;

use automerge::transaction::Transactable;
use futures::{StreamExt, TryStreamExt, stream};
use nexus_node::api::Problem;
use tokio::time::Instant;

use super::super::client::failed;
use super::super::rows::{Goal, Row};
use super::super::stage::{directory, join, start, until};
use super::ground::{TEXT, alone, broken, create, load, milliseconds};
use nexus_node_cli::ground::Printer;

/// The documents, and the characters of each.
const DOCUMENTS: usize = 1_000;
const CHARACTERS: usize = 10_240;
/// Documents that are written at a time.
const AT_ONCE: usize = 16;

/// Measures the time until a new member has a thousand documents, and the time to read each there.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let here = start(dir.path(), "here").await?;
    let bar = printer.progress("many", Some(DOCUMENTS as u64 + 2));
    let documents = here.documents();
    let begin = Instant::now();
    stream::iter(0..DOCUMENTS)
        .map(async |n| {
            create(&documents, &key(n), &text(n)).await?;
            bar.inc(1);
            Ok::<_, Problem>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let written = begin.elapsed();
    // entries of a log come in their order, so this one comes after all others
    create(&documents, "last", "").await?;

    let begin = Instant::now();
    let fresh = join(&here, dir.path(), "fresh").await?;
    let joined = begin.elapsed();
    let documents = fresh.documents();
    until("all documents are there", async || Ok(documents.get(None, "last", TEXT, None).await.is_ok())).await?;
    let there = begin.elapsed();
    bar.inc(1);
    for n in 0..DOCUMENTS {
        let found = documents.get(None, &key(n), TEXT, None).await?;
        if found.value.as_str() != Some(text(n).as_str()) {
            return Err(Problem::new("failed", "a document differs on the new member"));
        }
    }
    let read = begin.elapsed();
    bar.finish_and_clear();
    fresh.shutdown().await;
    here.shutdown().await;
    Ok(vec![
        Row::new("documents", "1,000 documents of 10 KB, on a new member", there.as_secs_f64(), "s")
            .asked(Goal::LessThan(2.0))
            .floor("s to join and start", joined.as_secs_f64()),
        Row::new("documents", "each read there the first time, mean", milliseconds(read - there) / of(DOCUMENTS), "ms")
            .floor("ms, automerge takes its change", automerge_takes()?),
        Row::new("documents", "written here, 16 at a time", written.as_secs_f64(), "s"),
    ])
}

/// The milliseconds in which Automerge alone takes the change of such a document, on average.
fn automerge_takes() -> Result<f64, Problem> {
    const TIMES: usize = 50;
    let mut took = Duration::ZERO;
    for n in 0..TIMES {
        let (mut document, at) = alone()?;
        let mut there = load(&document.save())?;
        document.splice_text(&at, 0, 0, &text(n)).map_err(broken)?;
        document.commit();
        let made = document.get_last_local_change().ok_or_else(|| failed("automerge", "it made no change"))?.clone();
        let begin = Instant::now();
        there.apply_changes([made]).map_err(broken)?;
        took += begin.elapsed();
    }
    Ok(milliseconds(took) / of(TIMES))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn of(count: usize) -> f64 {
    count as f64
}

fn key(n: usize) -> String {
    format!("document-{n}")
}

/// Words that differ from document to document.
fn text(n: usize) -> String {
    let mut text = String::with_capacity(CHARACTERS + 32);
    for line in 0.. {
        if text.len() >= CHARACTERS {
            break;
        }
        text.push_str(&format!("{n}.{line}: the quick brown fox jumps over {} dogs\n", line * n % 97));
    }
    text.truncate(CHARACTERS);
    text
}
