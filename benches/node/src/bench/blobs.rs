use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use nexus_node::api::Problem;
use nexus_node::blobs::{BlobHash, Blobs, Collection, CollectionFile, DirectoryProgress, FileKind, Keep};
use nexus_node::{Node, NodeError};
use tokio::time::Instant;

use super::client::failed;
use super::processor::resident_bytes;
use super::rows::{Goal, Row};
use super::stage::{directory, join, start, until};
use nexus_node_cli::ground::Printer;

const MIB: u64 = 1 << 20;
/// The size of the large file.
const LARGE: u64 = 1_024 * MIB;
/// The number of small files, and the size of each.
const SMALL: u64 = 2_000;
const SMALL_BYTES: u64 = 4_096;
/// The small files that are added at a time.
const AT_ONCE: u64 = 16;
/// The longest wait for somebody who has a blob.
const WAIT: Duration = Duration::from_secs(30);

/// Measures a large file and a directory of small ones: added, fetched from another node on loopback, read again. Floors are
/// plain copies of the same bytes, with the same syncs.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let here = start(dir.path(), "here").await?;
    let there = join(&here, dir.path(), "there").await?;
    until("the two are connected", async || Ok(there.peers().await.iter().any(|peer| peer.synced))).await?;
    let bar = printer.progress("blobs", Some(6));
    let mut rows = large(dir.path(), &here, &there, || bar.inc(1)).await?;
    rows.extend(small(dir.path(), &here, &there, || bar.inc(1)).await?);
    bar.finish_and_clear();
    here.shutdown().await;
    there.shutdown().await;
    Ok(rows)
}

/// Bytes that no disk can compress.
struct Noise {
    left: u64,
    word: u64,
}

impl Read for Noise {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let long = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for word in buf[..long].chunks_mut(8) {
            self.word = self.word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&self.word.to_le_bytes()[..word.len()]);
        }
        self.left -= long as u64;
        Ok(long)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib_per_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / MIB as f64 / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

async fn large(dir: &Path, here: &Node, there: &Node, step: impl Fn()) -> Result<Vec<Row>, Problem> {
    let source = dir.join("source");
    let io = |error: io::Error| failed("the large file", error);
    let mut file = File::create(&source).map_err(io)?;
    io::copy(&mut Noise { left: LARGE, word: 1 }, &mut file).map_err(io)?;
    // its writing would slow the first figure down
    file.sync_all().map_err(io)?;
    step();
    let hashed = copy_and_hash(&source, &dir.join("copy")).map_err(io)?;
    step();
    let content = File::open(&source).map_err(io)?;
    let begin = Instant::now();
    let info = here.blobs().add(content).await?;
    let added = begin.elapsed();
    step();

    let streamed = over_loopback(&source, &dir.join("copy")).map_err(io)?;
    let before = resident_bytes();
    let most = AtomicU64::new(before.unwrap_or(0));
    let told = |_: &DirectoryProgress| {
        most.fetch_max(resident_bytes().unwrap_or(0), Ordering::Relaxed);
    };
    let begin = Instant::now();
    there.blobs().fetch_all(info.hash, WAIT, told).await?;
    let fetched = begin.elapsed();
    step();
    let begin = Instant::now();
    let mut reader = there.blobs().read(info.hash).await?;
    let read = tokio::task::spawn_blocking(move || io::copy(&mut reader, &mut io::sink())).await;
    read.map_err(|error| failed("reading", error))?.map_err(io)?;
    let read = begin.elapsed();
    let begin = Instant::now();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(&source).map_err(io)?).map_err(io)?;
    let hashing = begin.elapsed();

    let mut rows = vec![
        Row::new("blobs", "1 GiB added", mib_per_second(LARGE, added), "MiB/s")
            .floor("MiB/s, copied, synced and hashed", mib_per_second(LARGE, hashed)),
        Row::new("blobs", "1 GiB fetched, store to store", mib_per_second(LARGE, fetched), "MiB/s")
            .floor("MiB/s, over bare TCP into a synced file", mib_per_second(LARGE, streamed)),
        Row::new("blobs", "1 GiB read again, verified", mib_per_second(LARGE, read), "MiB/s")
            .floor("MiB/s, read and hashed", mib_per_second(LARGE, hashing)),
    ];
    if let Some(before) = before {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let grown = most.load(Ordering::Relaxed).saturating_sub(before) as f64 / MIB as f64;
        rows.push(Row::new("blobs", "memory that it took, both nodes", grown, "MiB").asked(Goal::LessThan(128.0)));
    }
    Ok(rows)
}

async fn small(dir: &Path, here: &Node, there: &Node, step: impl Fn()) -> Result<Vec<Row>, Problem> {
    let io = |error: io::Error| failed("a small file", error);
    let written = write_and_sync(&dir.join("small")).map_err(io)?;
    step();
    let begin = Instant::now();
    let adders = (0..AT_ONCE).map(|adder| add_some(here.blobs(), adder));
    let files: Vec<CollectionFile> = try_join_all(adders).await?.into_iter().flatten().collect();
    let added = begin.elapsed();
    let collection = Collection::new(files).map_err(|error| failed("a directory", error))?;
    write(&here.blobs(), &collection.names()).await?;
    let links = write(&here.blobs(), &collection.links()).await?;
    let root = here.blobs().keep_directory(links, Keep::Pinned).await?;
    step();
    let begin = Instant::now();
    there.blobs().fetch_all(root.hash, WAIT, |_| {}).await?;
    let fetched = begin.elapsed();
    Ok(vec![
        Row::new("blobs", "files of 4 KiB added, 16 at a time", per_second(SMALL, added), "/s")
            .floor("files/s, written and synced one by one", written),
        Row::new("blobs", "files of 4 KiB fetched, one directory", per_second(SMALL, fetched), "/s")
            .asked(Goal::AtLeast(1_000.0))
            .floor("files/s, written and synced one by one", written),
    ])
}

async fn write(blobs: &Blobs, content: &[u8]) -> Result<BlobHash, NodeError> {
    let mut writer = blobs.writer(Keep::Cached).await?;
    writer.write(content).await?;
    Ok(writer.finish().await?.hash)
}

async fn add_some(blobs: Blobs, adder: u64) -> Result<Vec<CollectionFile>, NodeError> {
    let mut files = Vec::new();
    for n in (adder..SMALL).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
        let mut content = Vec::new();
        // noise in memory is always read
        let _ = Noise { left: SMALL_BYTES, word: n << 32 }.read_to_end(&mut content);
        let hash = write(&blobs, &content).await?;
        files.push(CollectionFile { path: format!("{}/{n}", n % 20), hash, kind: FileKind::Plain });
    }
    Ok(files)
}

/// The time to copy a file, sync the copy, and hash it.
fn copy_and_hash(from: &Path, to: &Path) -> io::Result<Duration> {
    let begin = Instant::now();
    let mut copy = File::create(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()?;
    blake3::Hasher::new().update_reader(File::open(to)?)?;
    Ok(begin.elapsed())
}

/// The time to send a file over loopback into another file, which is synced.
fn over_loopback(from: &Path, to: &Path) -> io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let mut source = File::open(from)?;
    let begin = Instant::now();
    let sending = std::thread::Builder::new().spawn(move || {
        let mut piece = vec![0; 256 * 1024];
        while let Ok(read @ 1..) = source.read(&mut piece) {
            if sender.write_all(&piece[..read]).is_err() {
                return;
            }
        }
    })?;
    let mut copy = File::create(to)?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        match receiver.read(&mut piece)? {
            0 => break,
            read => copy.write_all(&piece[..read])?,
        }
    }
    copy.sync_all()?;
    let took = begin.elapsed();
    let _ = sending.join();
    Ok(took)
}

/// Files of 4 KiB that are written and synced one after another, a second.
fn write_and_sync(dir: &Path) -> io::Result<f64> {
    const FILES: u64 = 500;
    std::fs::create_dir(dir)?;
    let begin = Instant::now();
    for n in 0..FILES {
        let mut file = File::create(dir.join(n.to_string()))?;
        io::copy(&mut Cursor::new([7; SMALL_BYTES as usize]), &mut file)?;
        file.sync_all()?;
    }
    Ok(per_second(FILES, begin.elapsed()))
}
