//! Deleted bytes leave this node's disk: now, if somebody asks, and some time after an erasure.
//!
//! The index of words goes first, then the vectors, then the coordinators' store, and the store of entries last. The
//! last one notes up to which entry all of them are done, in the commit by which its new file counts.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_identity::Timestamp;
use tokio::sync::{oneshot, watch};

use super::Node;
use super::base::Base;
use crate::coordinator::Coordinator;
use crate::datadir::DataDir;
use crate::error::{NodeError, StopError};
use crate::follow::Source;
use crate::ledger::rows::{Eno, ErasedSince, meta};
use crate::notices::Notices;
use crate::own_store;
use crate::search::Search;
use crate::store::{
    Batch, CompactStep, Compacted, NotCompacted, Snapshot, Store, StoreError, StoreOptions, Table, View,
    overwrite_and_remove,
};
use crate::vectors::Vectors;

/// How long vectors of deleted memories may take to leave their file. Each change is followed at once, so it is a moment.
const VECTORS_WAIT: Duration = Duration::from_secs(10);
/// The time between an erasure and the look at when its bytes are to go.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// The time after which a compaction is tried again that failed, as for lack of room.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// The longest sleep until bytes are to go. The clock of the machine may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// The code of the warning that erased bytes are still on the disk.
const STILL_ERASED: &str = "erased";

/// A part of a node's files, with its bytes before and after a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactedPart {
    /// `store`, `coordinators` or `index`.
    pub name: &'static str,
    /// The bytes before.
    pub before: u64,
    /// The bytes after.
    pub after: u64,
}

/// The outcome of a compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// The parts.
    pub parts: Vec<CompactedPart>,
    /// Whether nothing that was deleted before is in a file any more. Else a search, a model or the disk was in the way, and the
    /// next compaction does the rest.
    pub is_clean: bool,
}

impl Compaction {
    fn add(&mut self, name: &'static str, before: u64, after: u64) {
        self.parts.push(CompactedPart { name, before, after });
    }

    /// The bytes of all parts before, and after.
    pub fn bytes(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(before, after), part| (before + part.before, after + part.after))
    }
}

/// A compaction as it goes, and what waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactState {
    /// The part that is written anew, if one is.
    pub part: Option<&'static str>,
    /// The bytes of it that are copied.
    pub done: u64,
    /// Its bytes.
    pub of: u64,
    /// The time of the first erasure whose bytes are still on the disk.
    pub erased_since: Option<Timestamp>,
}

/// Compacts the files of a node, cheap to clone.
#[derive(Clone)]
pub(super) struct Compactor(Arc<Parts>);

struct Parts {
    source: Source,
    search: Arc<Search>,
    vectors: Arc<Vectors>,
    #[cfg(feature = "blobs")]
    blobs: crate::blobs::Blobs,
    raft: Option<Store>,
    coordinator: Option<Arc<Coordinator>>,
    dir: Option<DataDir>,
    notices: Notices,
    is_running: AtomicBool,
    state: Mutex<CompactState>,
    /// The number of compactions since the start.
    count: watch::Sender<u64>,
    /// The time after an erasure in which its bytes go.
    erase_after: watch::Sender<Option<Duration>>,
}

/// The parts of the node that starts, for its compactor.
pub(super) struct Needs {
    pub(super) search: Arc<Search>,
    pub(super) vectors: Arc<Vectors>,
    #[cfg(feature = "blobs")]
    pub(super) blobs: crate::blobs::Blobs,
    pub(super) raft: Option<Store>,
    pub(super) coordinator: Option<Arc<Coordinator>>,
    pub(super) dir: Option<DataDir>,
}

impl Compactor {
    pub(super) fn new(base: &Base, needs: Needs) -> Self {
        Self(Arc::new(Parts {
            source: base.source(),
            search: needs.search,
            vectors: needs.vectors,
            #[cfg(feature = "blobs")]
            blobs: needs.blobs,
            raft: needs.raft,
            coordinator: needs.coordinator,
            dir: needs.dir,
            notices: base.notices.clone(),
            is_running: AtomicBool::new(false),
            state: Mutex::default(),
            count: watch::Sender::new(0),
            erase_after: watch::Sender::new(base.config.erase_after.get()),
        }))
    }

    /// Puts a changed setting into effect.
    pub(super) fn configure(&self, erase_after: Option<Duration>) {
        self.0.erase_after.send_if_modified(|before| std::mem::replace(before, erase_after) != erase_after);
    }

    /// Tells of each compaction.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.0.count.subscribe()
    }

    /// Compacts all parts. The work goes on if nobody waits for it any more, until the node stops.
    pub(super) async fn run(&self) -> Result<Compaction, NodeError> {
        let Some(running) = Running::begin(self) else {
            let file = self.0.source.store.file().to_owned();
            return Err(StoreError::NotCompacted { file, why: NotCompacted::Running }.into());
        };
        let (done, outcome) = oneshot::channel();
        let this = self.clone();
        self.0.source.world.spawn("compaction", async move {
            let compacted = this.compact(&running.stops).await;
            drop(running);
            this.0.count.send_modify(|count| *count += 1);
            // whoever asked may be gone
            let _ = done.send(compacted);
        });
        outcome.await.map_err(|_| NodeError::from(StopError::Stopped))?
    }

    async fn compact(&self, stops: &Arc<AtomicBool>) -> Result<Compaction, NodeError> {
        let Parts { source, search, vectors, .. } = &*self.0;
        let world = &source.world;
        let (vantage, begun) = (source.vantage(), world.wall());
        let upto = world.blocking(move || vantage.last_eno()).await??;
        let mut done = Compaction { is_clean: true, ..Compaction::default() };

        self.set(CompactState { part: Some("index"), ..CompactState::default() });
        let index = search.scrub(upto).await?;
        if index.before > 0 {
            done.add("index", index.before, index.after);
        }
        done.is_clean &= index.is_clean;
        done.is_clean &= vectors.follow_to(upto, VECTORS_WAIT).await;
        #[cfg(feature = "blobs")]
        {
            done.is_clean &= self.0.blobs.scrub().await?;
        }

        if let Some(coordinator) = &self.0.coordinator {
            self.set(CompactState { part: Some("coordinators"), ..CompactState::default() });
            coordinator.scrub_log().await;
        }

        let (this, stops) = (self.clone(), stops.clone());
        // not in the background: commits wait for the exchange
        let stores = world.blocking(move || {
            let step = |part: &'static str| {
                let (this, stops) = (this.clone(), stops.clone());
                move |step: CompactStep| {
                    if let CompactStep::Copying { done, of } = step {
                        this.set(CompactState { part: Some(part), done, of, ..CompactState::default() });
                    }
                    if stops.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
            };
            let Parts { source, raft, dir, .. } = &*this.0;
            if let Some(raft) = raft {
                compact_raft(&source.store, raft, dir.as_ref(), &mut step("coordinators"), &mut done)?;
            }
            compact_store(&source.store, dir.as_ref(), (upto, Some(begun)), &mut step("store"), &mut done)?;
            Ok::<_, NodeError>(done)
        });
        stores.await?
    }

    fn set(&self, state: CompactState) {
        *self.state() = state;
    }

    fn state(&self) -> MutexGuard<'_, CompactState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The erasures whose bytes are still on the disk.
    async fn erased(&self) -> Result<Option<ErasedSince>, NodeError> {
        let store = self.0.source.store.clone();
        Ok(self.0.source.world.blocking(move || erased_since(&store.snapshot()?)).await??)
    }

    /// Compacts some time after each erasure, until the node ends.
    pub(super) async fn keep_erasing(self) {
        let world = self.0.source.world.clone();
        let mut committed = self.0.source.committed.clone();
        let mut erase_after = self.0.erase_after.subscribe();
        loop {
            committed.mark_unchanged();
            let within = *erase_after.borrow_and_update();
            let erased = match self.erased().await {
                Ok(erased) => erased,
                Err(NodeError::Stopping(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "whether bytes are to leave the disk cannot be read");
                    world.sleep_until(world.now() + TRY_AGAIN).await;
                    continue;
                }
            };
            let due = erased
                .zip(within)
                .map(|(erased, within)| Duration::from_millis(erased.first.as_ms()).saturating_add(within));
            let wait = match due {
                None => None,
                Some(due) => {
                    let left = due.saturating_sub(Duration::from_millis(world.wall().as_ms()));
                    if left.is_zero() { Some(self.erase().await) } else { Some(left.min(SLEEP_MAX)) }
                }
            };
            tokio::select! {
                () = async {
                    match wait {
                        Some(wait) => world.sleep_until(world.now() + wait).await,
                        None => std::future::pending().await,
                    }
                } => {}
                changed = erase_after.changed() => if changed.is_err() { return },
                changed = committed.changed(), if wait.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    world.sleep_until(world.now() + LOOK_AFTER).await;
                }
            }
        }
    }

    /// Compacts since bytes are to go. Returns the time until the next look.
    async fn erase(&self) -> Duration {
        match self.run().await {
            Ok(Compaction { is_clean: true, .. }) => {
                self.0.notices.end(STILL_ERASED, "");
                return LOOK_AFTER;
            }
            Ok(_) => {}
            // the node stops, or its store is no file
            Err(
                NodeError::Stopping(_) | NodeError::Store(StoreError::NotCompacted { why: NotCompacted::NoFile, .. }),
            ) => {}
            Err(error) => self.0.notices.note(
                STILL_ERASED,
                String::new(),
                format!("what was erased is still on this disk: {error}"),
                "`nexus-node compact` tries it now; it needs free disk for a second copy of the store",
            ),
        }
        TRY_AGAIN
    }
}

/// A compaction that runs, until this is dropped.
struct Running {
    compactor: Compactor,
    stops: Arc<AtomicBool>,
}

impl Running {
    fn begin(compactor: &Compactor) -> Option<Self> {
        let was = compactor.0.is_running.swap(true, Ordering::AcqRel);
        (!was).then(|| Self { compactor: compactor.clone(), stops: Arc::default() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // the node may stop while another thread copies
        self.stops.store(true, Ordering::Relaxed);
        self.compactor.set(CompactState::default());
        self.compactor.0.is_running.store(false, Ordering::Release);
    }
}

/// The erasures whose bytes are on the disk, as far as a state knows.
fn erased_since(view: &dyn View) -> Result<Option<ErasedSince>, StoreError> {
    Ok(view.get(Table::Meta, meta::ERASED_SINCE)?.and_then(|row| ErasedSince::of_bytes(&row)))
}

type Step<'a> = &'a mut dyn FnMut(CompactStep) -> ControlFlow<()>;

/// Compacts the store of entries. If all other parts are clean, the new file says that nothing is left that was erased up to an
/// entry, the last one when it began.
fn compact_store(
    store: &Store,
    dir: Option<&DataDir>,
    (upto, begun): (Eno, Option<Timestamp>),
    step: Step<'_>,
    done: &mut Compaction,
) -> Result<(), NodeError> {
    let is_clean = done.is_clean;
    let with = |view: &Snapshot, beside: Option<&Path>| {
        let mut batch = Batch::new();
        if is_clean {
            batch.put(Table::Meta, meta::COMPACTED, &upto.to_le_bytes());
            match (erased_since(view)?, begun) {
                (Some(erased), _) if erased.last <= upto => batch.delete(Table::Meta, meta::ERASED_SINCE),
                // the others came after it had begun
                (Some(erased), Some(begun)) => {
                    let rest = ErasedSince { first: erased.first.max(begun), ..erased };
                    batch.put(Table::Meta, meta::ERASED_SINCE, &rest.to_bytes());
                }
                _ => {}
            }
        }
        // the new file is no copy that somebody put back
        if let (Some(dir), Some(beside), Some(kept)) = (dir, beside, view.get(Table::Meta, meta::FINGERPRINT)?)
            && let Some(fingerprint) = dir.fingerprint_after_exchange(&kept, DataDir::STORE, Some(beside))
        {
            batch.put(Table::Meta, meta::FINGERPRINT, &fingerprint);
        }
        Ok(batch)
    };
    let Compacted { before, after, overwritten, .. } = store.compact(&with, step)?;
    done.add("store", before, after);
    done.is_clean &= overwritten;
    Ok(())
}

/// Compacts the store of the coordinators. The fingerprint is in the other store: it leaves out the place of this file until the
/// exchange is done.
fn compact_raft(
    store: &Store,
    raft: &Store,
    dir: Option<&DataDir>,
    step: Step<'_>,
    done: &mut Compaction,
) -> Result<(), NodeError> {
    let note = |place: Option<&Path>| {
        let Some(dir) = dir else { return Ok(()) };
        let Some(kept) = store.snapshot()?.get(Table::Meta, meta::FINGERPRINT)? else { return Ok(()) };
        let Some(fingerprint) = dir.fingerprint_after_exchange(&kept, DataDir::RAFT, place) else { return Ok(()) };
        let mut batch = Batch::new();
        batch.put(Table::Meta, meta::FINGERPRINT, &fingerprint);
        store.commit(&[batch])
    };
    note(None)?;
    let compacted = raft.compact(&|_, _| Ok(Batch::new()), step);
    if let Some(dir) = dir {
        note(Some(&dir.raft_path()))?;
    }
    match compacted {
        Ok(Compacted { before, after, overwritten, .. }) => {
            done.add("coordinators", before, after);
            done.is_clean &= overwritten;
            Ok(())
        }
        // in a simulated world
        Err(StoreError::NotCompacted { why: NotCompacted::NoFile, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Node {
    /// Writes the files of this node anew without what was deleted, and overwrites the former ones. Reads and writes go on
    /// meanwhile. It needs free disk for a second copy of the largest file.
    ///
    /// # Errors
    /// [`NodeError::Store`] with [`StoreError::NoRoomBeside`] or [`StoreError::NotCompacted`]: nothing has changed;
    /// [`NodeError::Stopping`].
    pub async fn compact(&self) -> Result<Compaction, NodeError> {
        self.check_running()?;
        self.0.compactor.run().await
    }

    /// How far a compaction is, and what waits for one.
    ///
    /// # Errors
    /// [`NodeError::Store`] or [`NodeError::Stopping`].
    pub async fn compacting(&self) -> Result<CompactState, NodeError> {
        let erased_since = self.0.compactor.erased().await?.map(|erased| erased.first);
        Ok(CompactState { erased_since, ..*self.0.compactor.state() })
    }
}

/// Compacts the files of a directory whose node does not run. The index of words is removed: the next start makes it anew.
/// `step` hears of each part how far it is, and may break it off.
///
/// # Errors
/// [`NodeError::DataDir`] if a node runs there; else as [`Node::compact`].
pub fn compact_directory(
    path: &Path,
    step: &mut dyn FnMut(CompactState) -> ControlFlow<()>,
) -> Result<Compaction, NodeError> {
    let mut step_of = |part: &'static str, at: CompactStep| {
        let (done, of) = match at {
            CompactStep::Copying { done, of } => (done, of),
            CompactStep::Overwriting => (0, 0),
        };
        step(CompactState { part: Some(part), done, of, erased_since: None })
    };
    let dir = DataDir::open(path)?;
    let _lock = dir.lock()?;
    let store = own_store::open_used(&dir, StoreOptions::default())?;
    let upto = crate::ledger::last_eno(&store.snapshot()?)?;
    let mut done = Compaction { is_clean: true, ..Compaction::default() };
    let index = dir.search_path();
    let before = overwrite_directory(&index).map_err(|error| StoreError::disk(&index, error))?;
    if before > 0 {
        done.add("index", before, 0);
    }
    // which of them belong to deleted memories is known to a running node alone
    done.is_clean &= !DataDir::vectors_path(path).exists();
    if dir.raft_path().exists() {
        let raft = Store::open(dir.raft_path(), StoreOptions::default().segment_bytes(0))?;
        compact_raft(&store, &raft, Some(&dir), &mut |at| step_of("coordinators", at), &mut done)?;
        raft.close();
    }
    compact_store(&store, Some(&dir), (upto, None), &mut |at| step_of("store", at), &mut done)?;
    store.close();
    Ok(done)
}

/// Overwrites and removes the files of a directory without others in it, and the directory. Returns their bytes.
fn overwrite_directory(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        bytes += overwrite_and_remove(&entry?.path())?;
    }
    std::fs::remove_dir_all(path)?;
    Ok(bytes)
}
