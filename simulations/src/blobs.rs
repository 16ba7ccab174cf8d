//! Blobs under faults: content added, fetched, kept and removed at every node, on disks that change a bit now and then.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use futures::future::join_all;
use nexus_node::blobs::{BlobHash, Blobs, Collection, CollectionFile, DirectoryProgress, FileKind, Keep};
use nexus_node::error::ConflictError;
use nexus_node::{Node, NodeError};

use crate::ledger::{Kept, Ledger};
use crate::plan::{NodeNo, Op};
use crate::world::{Sim, SimError};

/// The longest operation; a longer one counts as not acknowledged.
const OP_MAX: Duration = Duration::from_secs(20);
/// The time for which a fetch looks for somebody who has the blob.
const WAIT: Duration = Duration::from_secs(10);
/// The longest fetch once everything has healed.
const SOON: Duration = Duration::from_secs(60);
/// The largest file: of three parts.
const FILE_BYTES_MAX: u64 = 700_000;
/// The most blobs that every node gets in the end.
const LAST_MAX: usize = 12;
/// The word for content that has another hash.
const OTHER: &str = "other content";

/// Does one operation and records what its client saw.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let no = op.node;
    let done = async {
        match op.n % 16 {
            0..3 => add_file(sim, ledger, no, number as u64, op.bytes).await,
            3..6 => add_directory(sim, ledger, no, number as u64, op).await,
            6..12 => fetch(sim, ledger, no, op.bytes).await,
            12 | 13 => sim.on(no, async |node| node.blobs().gc(Duration::ZERO, false).await.map(drop)).await,
            14 if op.bytes.is_multiple_of(3) => unpin(sim, ledger, no).await,
            14 => copies(sim, ledger, no, op.bytes).await,
            _ => damage(sim, ledger, no, op.bytes).await,
        }
    };
    let ended = tokio::time::timeout(OP_MAX, done).await;
    let mut ledger = ledger.borrow_mut();
    match ended {
        Ok(Ok(())) => ledger.acknowledged += 1,
        _ => ledger.failed += 1,
    }
}

fn content(number: u64, size: u64) -> Vec<u8> {
    let words =
        (0..size.div_ceil(8)).flat_map(|n| (n ^ number << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(usize::try_from(size).unwrap_or_default()).collect()
}

async fn write(blobs: &Blobs, content: &[u8], keep: Keep) -> Result<BlobHash, NodeError> {
    let mut writer = blobs.writer(keep).await?;
    writer.write(content).await?;
    Ok(writer.finish().await?.hash)
}

async fn add_file(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, number: u64, bytes: u64) -> Result<(), SimError> {
    let content = content(number, bytes % FILE_BYTES_MAX);
    let hash = sim.on(no, async |node: Node| write(&node.blobs(), &content, Keep::Pinned).await).await?;
    keep(sim, ledger, no, format!("pin {hash}"), hash, BTreeSet::from([hash]));
    Ok(())
}

/// A directory of three files, of which another one has the first, too. Its tag moves to the next one.
async fn add_directory(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, number: u64, op: Op) -> Result<(), SimError> {
    let tag = format!("tag {}", op.n % 3);
    ledger.borrow_mut().files.kept.insert((no, tag.clone()), None);
    let contents =
        [content(op.n % 5, 30_000), content(number, op.bytes % FILE_BYTES_MAX), content(number, op.bytes % 999)];
    let (hash, all) = sim
        .on(no, async |node: Node| {
            let blobs = node.blobs();
            let (mut all, mut files) = (BTreeSet::new(), Vec::new());
            for (n, content) in contents.iter().enumerate() {
                let hash = write(&blobs, content, Keep::Cached).await?;
                all.insert(hash);
                files.push(CollectionFile { path: format!("d/{n}"), hash, kind: FileKind::Plain });
            }
            let collection = Collection::new(files).unwrap_or_default();
            all.insert(write(&blobs, &collection.names(), Keep::Cached).await?);
            let links = write(&blobs, &collection.links(), Keep::Cached).await?;
            all.insert(links);
            blobs.keep_directory(links, Keep::Tagged(tag.clone())).await?;
            Ok((links, all))
        })
        .await?;
    keep(sim, ledger, no, tag, hash, all);
    Ok(())
}

fn keep(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, by: String, hash: BlobHash, all: BTreeSet<BlobHash>) {
    let mut ledger = ledger.borrow_mut();
    let files = &mut ledger.files;
    files.added.push(hash);
    // adding it again is another copy
    files.damaged.retain(|(damaged, hash)| *damaged != no || !all.contains(hash));
    files.kept.insert((no, by), Some(Kept { hash, all, at: sim.now() }));
}

async fn unpin(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo) -> Result<(), SimError> {
    let pinned = {
        let ledger = ledger.borrow();
        let own = ledger.files.kept.iter().filter(|((node, by), _)| *node == no && by.starts_with("pin"));
        own.filter_map(|(key, kept)| Some((key.clone(), kept.as_ref()?.hash))).next()
    };
    let Some((key, hash)) = pinned else { return Ok(()) };
    ledger.borrow_mut().files.kept.insert(key, None);
    sim.on(no, async |node| node.blobs().unpin(hash).await.map(drop)).await
}

/// Has others keep copies of a blob that is pinned.
async fn copies(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, choice: u64) -> Result<(), SimError> {
    let pinned = ledger.borrow().files.pinned_at(no);
    let choice = usize::try_from(choice).unwrap_or_default();
    let Some(hash) = pinned.get(choice.checked_rem(pinned.len()).unwrap_or_default()).copied() else { return Ok(()) };
    let wanted = 1 + choice % 3;
    ledger.borrow_mut().files.copies.remove(&(no, hash));
    sim.on(no, async |node| node.blobs().want_copies(hash, wanted).await.map(drop)).await?;
    ledger.borrow_mut().files.copies.insert((no, hash), wanted);
    Ok(())
}

/// Once everything has healed, as many nodes keep copies as are wanted, and those who are counted have them.
async fn count_copies(sim: &Sim, ledger: &RefCell<Ledger>) {
    let copies = ledger.borrow().files.copies.clone();
    let up = sim.up();
    for ((no, hash), wanted) in copies {
        let is_pinned = ledger.borrow().files.pinned_at(no).contains(&hash);
        if !is_pinned || !up.contains(&no) {
            continue;
        }
        let kept = async {
            loop {
                // it looks at the copies again
                let entry = sim.on(no, async |node| node.blobs().want_copies(hash, wanted).await).await?;
                let (count, holders) = entry.copies.map_or((1, Vec::new()), |copies| (copies.count, copies.holders));
                let mut keep = count >= wanted.min(up.len());
                for holder in up.iter().copied().filter(|holder| holders.contains(&sim.did(*holder))) {
                    keep &= keeps_for(sim, holder, hash, no).await?;
                }
                if keep {
                    return Ok::<_, SimError>(());
                }
                sim.sleep(Duration::from_secs(2)).await;
            }
        };
        let fault = match tokio::time::timeout(SOON, kept).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("{wanted} copies of {} are wanted by n{no}, and not kept", hash.short())),
        };
        ledger.borrow_mut().files.faults.extend(fault);
    }
}

/// Whether a node keeps a blob for another one, once all has gone that nothing keeps.
async fn keeps_for(sim: &Sim, holder: NodeNo, hash: BlobHash, of: NodeNo) -> Result<bool, SimError> {
    let entry = sim
        .on(holder, async |node: Node| {
            node.blobs().gc(Duration::ZERO, false).await?;
            node.blobs().entry(hash).await
        })
        .await?;
    Ok(entry.is_some_and(|entry| entry.kept_for.contains(&sim.did(of))))
}

/// Changes a bit of a copy that no promise is about.
async fn damage(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, choice: u64) -> Result<(), SimError> {
    let (_, here) = shown(sim, no).await?;
    let mut ledger = ledger.borrow_mut();
    let kept = ledger.files.kept.iter().filter(|((node, _), _)| *node == no);
    let kept: BTreeSet<BlobHash> =
        kept.filter_map(|(_, kept)| kept.as_ref()).flat_map(|kept| kept.all.clone()).collect();
    let in_doubt = ledger.files.kept.iter().any(|((node, _), kept)| *node == no && kept.is_none());
    let free: Vec<BlobHash> = here.difference(&kept).copied().filter(|_| !in_doubt).collect();
    let Some(hash) = free.get(usize::try_from(choice).unwrap_or_default().checked_rem(free.len()).unwrap_or_default())
    else {
        return Ok(());
    };
    if sim.blobs(no).damage(*hash, choice) {
        ledger.files.damaged.insert((no, *hash));
    }
    Ok(())
}

async fn fetch(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, n: u64) -> Result<(), SimError> {
    let Some(hash) = ledger.borrow().files.pick(n) else { return Ok(()) };
    let collecting = async {
        // somebody makes room meanwhile, every other time
        for _ in 0..if n.is_multiple_of(2) { 60 } else { 0 } {
            sim.sleep(Duration::from_millis(3)).await;
            let _ = sim.on(no, async |node| node.blobs().gc(Duration::ZERO, false).await).await;
        }
    };
    tokio::join!(get(sim, ledger, no, hash, WAIT), collecting).0
}

/// Fetches a blob and reads all of it.
async fn get(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, hash: BlobHash, wait: Duration) -> Result<(), SimError> {
    let lied = std::sync::Mutex::new(BTreeSet::new());
    let told = |progress: &DirectoryProgress| {
        if let Ok(mut lied) = lied.lock() {
            lied.extend(progress.lied.iter().copied());
        }
    };
    let got = sim
        .on(no, async |node: Node| {
            let blobs = node.blobs();
            blobs.fetch_all(hash, wait, told).await?;
            let mut wrong = Vec::new();
            let mut all = vec![hash];
            if let Some(collection) = collection(&blobs, hash).await {
                all.extend(collection.files().iter().map(|file| file.hash));
            }
            for hash in all {
                match read(&blobs, hash).await {
                    Ok(Some(bytes)) if BlobHash::of(&bytes) != hash => wrong.push((hash, OTHER.to_owned())),
                    // another operation may have removed it
                    Ok(_) => {}
                    Err(why) => wrong.push((hash, why)),
                }
            }
            Ok(wrong)
        })
        .await;
    let mut ledger = ledger.borrow_mut();
    let files = &mut ledger.files;
    if let Some(liar) = lied.into_inner().unwrap_or_default().first() {
        files.faults.push(format!("n{no} says that the honest member {} lied", liar.short()));
    }
    match got {
        Ok(wrong) => {
            files.fetched += 1;
            for (wrong, what) in wrong {
                let is_known = files.damaged.contains(&(no, wrong)) && what != OTHER;
                if !is_known {
                    files.faults.push(format!(
                        "n{no} fetched {}, and reads {what} for {}",
                        hash.short(),
                        wrong.short()
                    ));
                }
            }
            Ok(())
        }
        Err(SimError::Node(_, NodeError::Conflict(ConflictError::FilesMissing { count, .. }))) => {
            files.faults.push(format!("n{no} lost {count} files of {} while it fetched them", hash.short()));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The content of a blob; `None` if it is not here.
async fn read(blobs: &Blobs, hash: BlobHash) -> Result<Option<Vec<u8>>, String> {
    let mut reader = match blobs.read(hash).await {
        Ok(reader) => reader,
        Err(NodeError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    // the disk of a simulated machine is in memory
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}

async fn collection(blobs: &Blobs, hash: BlobHash) -> Option<Collection> {
    let links = read(blobs, hash).await.ok()??;
    let names = read(blobs, Collection::names_of(&links).ok()?).await.ok()??;
    Collection::read(&links, &names).ok()
}

/// The blobs that a node has.
pub(crate) async fn shown(sim: &Sim, no: NodeNo) -> Result<(Duration, BTreeSet<BlobHash>), SimError> {
    let page = sim.on(no, async |node| node.blobs().page(None, usize::MAX, true).await).await?;
    Ok((sim.now(), page.blobs.into_iter().map(|blob| blob.hash).collect()))
}

/// Once everything has healed, every node gets the blobs that another one keeps, and a blob that comes late.
pub(crate) async fn get_all(sim: &Sim, ledger: &RefCell<Ledger>) {
    let damaged = ledger.borrow().files.damaged.clone();
    for (no, hash) in damaged {
        let removed = sim.on(no, async |node| node.blobs().remove(hash).await).await;
        if removed.is_ok() {
            ledger.borrow_mut().files.damaged.remove(&(no, hash));
        }
    }
    let kept: BTreeMap<BlobHash, NodeNo> = {
        let ledger = ledger.borrow();
        let kept = ledger.files.kept.iter().filter_map(|((no, _), kept)| Some((kept.as_ref()?.hash, *no)));
        kept.filter(|(_, no)| sim.node(*no).is_some()).take(LAST_MAX).collect()
    };
    let gets = sim.up().into_iter().flat_map(|no| kept.iter().map(move |(hash, keeper)| (no, *hash, *keeper)));
    join_all(gets.map(|(no, hash, keeper)| async move {
        let got = tokio::time::timeout(SOON, get(sim, ledger, no, hash, SOON)).await;
        let why = match got {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not within {SOON:?}"),
        };
        let mut ledger = ledger.borrow_mut();
        ledger.files.faults.push(format!("n{no} does not get {}, which n{keeper} keeps: {why}", hash.short()));
    }))
    .await;
    count_copies(sim, ledger).await;
    let Some((first, others)) = sim.up().split_first().map(|(first, others)| (*first, others.to_vec())) else { return };
    let late = content(u64::MAX >> 40, 1_000);
    let hash = BlobHash::of(&late);
    let waiting = join_all(others.into_iter().map(|no| async move {
        let got = tokio::time::timeout(SOON, get(sim, ledger, no, hash, SOON)).await;
        if !matches!(got, Ok(Ok(()))) {
            let mut ledger = ledger.borrow_mut();
            ledger.files.faults.push(format!("n{no} waits for ever for a blob that n{first} added"));
        }
    }));
    let adding = async {
        sim.sleep(Duration::from_secs(7)).await;
        let _ = sim.on(first, async |node: Node| write(&node.blobs(), &late, Keep::Pinned).await).await;
    };
    tokio::join!(waiting, adding);
}
