use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_node::Did;
use nexus_node::api::Problem;
use nexus_node::internals::engine::Quotas;
use nexus_node::internals::store::{Store, StoreOptions, Table, View};

use super::super::client::failed;
use super::super::rows::{Goal, Row};
use super::super::stage::{directory, start};
use super::ground::{create, letter, typed};
use super::typing::type_on;
use nexus_node_cli::ground::Printer;

/// Characters that are typed apart from each other, as at eight a second: each is an entry of its own.
const APART: usize = 4_000;
/// Characters that are typed at 1,000 a second.
const TOGETHER: usize = 20_000;

/// The room of a member's entries.
#[derive(Clone, Copy)]
struct Taken {
    /// On the disk.
    disk: f64,
    /// As the quota of bytes counts them.
    bytes: f64,
    entries: f64,
}

/// Measures what a typed character takes, and how long a member can type until a quota is full.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let bar = printer.progress("room", Some(2));
    let apart = one_by_one().await?;
    bar.inc(1);
    let together = at_a_thousand().await?;
    bar.finish_and_clear();
    let hours = |speed: f64, taken: Taken| {
        let (quotas, of) = (Quotas::default(), speed * 3_600.0);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let (bytes, entries) = (quotas.writer_bytes as f64, quotas.writer_entries as f64);
        (bytes / taken.bytes).min(entries / taken.entries) / of
    };
    Ok(vec![
        Row::new("documents", "on the disk, a character at 8/s", apart.disk, "bytes").asked(Goal::LessThan(700.0)),
        Row::new("documents", "its entry, as the quota counts it", apart.bytes, "bytes"),
        Row::new("documents", "hours at 8/s until a quota is full", hours(8.0, apart), "h"),
        Row::new("documents", "on the disk, a character at 1,000/s", together.disk, "bytes")
            .asked(Goal::LessThan(60.0)),
        Row::new("documents", "its entry, as the quota counts it", together.bytes, "bytes"),
        Row::new("documents", "hours at 1,000/s until a quota is full", hours(1_000.0, together), "h"),
    ])
}

async fn one_by_one() -> Result<Taken, Problem> {
    measured(APART, async |node| {
        let (documents, letter) = (node.documents(), letter()?);
        for _ in 0..APART {
            typed(&documents, "typed", &letter).await?;
        }
        Ok(())
    })
    .await
}

async fn at_a_thousand() -> Result<Taken, Problem> {
    measured(TOGETHER, async |node| {
        let begun = Arc::new(Mutex::new(Vec::new()));
        type_on(node.documents(), "typed", (Duration::from_millis(1), TOGETHER), begun).await.map(drop)
    })
    .await
}

/// The room of each of some characters that are typed on a node alone.
async fn measured(
    characters: usize,
    work: impl AsyncFnOnce(&nexus_node::Node) -> Result<(), Problem>,
) -> Result<Taken, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "alone").await?;
    create(&node.documents(), "typed", "").await?;
    let me = node.did();
    node.shutdown().await;
    drop(node);
    let before = taken(&dir.path().join("alone"), me)?;
    let node = start(dir.path(), "alone").await?;
    work(&node).await?;
    node.shutdown().await;
    drop(node);
    let after = taken(&dir.path().join("alone"), me)?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = |before: f64, after: f64| (after - before) / characters as f64;
    Ok(Taken {
        disk: each(before.disk, after.disk),
        bytes: each(before.bytes, after.bytes),
        entries: each(before.entries, after.entries),
    })
}

/// The room of a member's entries in the directory of a node that is stopped.
fn taken(dir: &Path, author: Did) -> Result<Taken, Problem> {
    let on_disk = on_disk(dir).map_err(|error| failed("a directory", error))?;
    let failed = |error| failed("a store", error);
    let store = Store::open(dir.join("brain.redb"), StoreOptions::default()).map_err(failed)?;
    // the number of entries, and then their bytes
    let row = store.snapshot().map_err(failed)?.get(Table::Usage, author.as_bytes()).map_err(failed)?;
    let number = |at: usize| {
        let bytes = row.as_ref().and_then(|row| row.get(at..)).and_then(|rest| rest.first_chunk::<8>());
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let number = u64::from_le_bytes(bytes.copied().unwrap_or_default()) as f64;
        number
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let disk = on_disk as f64;
    Ok(Taken { disk, entries: number(0), bytes: number(8) })
}

/// The room that the files of a directory take.
fn on_disk(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { on_disk(&entry.path())? } else { taken_by(&metadata) };
    }
    Ok(sum)
}

#[cfg(unix)]
fn taken_by(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn taken_by(file: &Metadata) -> u64 {
    file.len()
}
