//! The store: ordered tables of bytes that survive kills and power losses.
//!
//! It does not know the meaning of its bytes. [`Batch`]es go in, and a batch is on disk as a whole
//! before [`Store::commit`] returns. [`View`]s come out:
//!
//! - a `Snapshot` is the committed state at one moment;
//! - an [`Overlay`] adds the batches that are handed out but not committed yet;
//! - a [`Draft`] adds a batch in the making.
//!
//! | room | content |
//! |---|---|
//! | `table` | the list of tables: names on disk, derived or kept |
//! | `batch` | changes, in one buffer |
//! | `view` | reading: [`View`], ranges, prefixes |
//! | `snapshot` | reading the committed state |
//! | `open` | opening a storage: whose it is, in which state and format |
//! | `write` | applying batches in one transaction |
//! | `wal` | the write-ahead log: one place to sync for each commit |
//! | `place` | the file under a name, told from another one |
//! | `portions` | reading whole tables, bit by bit |
//! | `overlay` | reading uncommitted batches |
//! | `seal` | the checksum in each value |
//! | `hold` | keeps a refused file unchanged to the byte, and reads on where a disk is full |
//! | `full` | going on after a commit for which the disk had no room |
//! | `compact` | writing the file anew while it is used, so that what was deleted leaves the disk |
//! | `beside` | the place for the new file, and the exchange of both |
//! | `readers` | the readers of a database that another one has replaced |
//! | `guard` | turns panics of the database into errors |
//! | `carve` | rows out of the pages of a damaged file |
//! | `error` | faults of the store, with their cause |
//! | `disk` | a simulated disk that loses power, fills up and lies (feature `testing`) |
//!
//! ```
//! use nexus_node::internals::store::{Batch, Store, Table, View};
//!
//! let store = Store::memory()?;
//! let mut batch = Batch::new();
//! batch.put(Table::Meta, b"greeting", b"hello");
//! store.commit(&[batch])?;
//! assert_eq!(store.snapshot()?.get(Table::Meta, b"greeting")?, Some(b"hello".to_vec()));
//! # Ok::<(), nexus_node::internals::store::StoreError>(())
//! ```

mod batch;
mod beside;
mod carve;
mod compact;
#[cfg(any(test, feature = "testing"))]
pub mod disk;
mod error;
mod files;
mod full;
mod guard;
mod hold;
mod open;
mod options;
mod overlay;
mod place;
mod portions;
mod readers;
mod seal;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod wal;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nexus_identity::plants::{planted, reached};
use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase, StorageBackend};

pub use self::batch::{Batch, TableChange};
pub(crate) use self::beside::overwrite_and_remove;
#[cfg(feature = "disk-index")]
pub(crate) use self::beside::overwrite_file;
pub(crate) use self::carve::{Carving, Found, Place};
pub use self::compact::{CompactStep, Compacted};
pub(crate) use self::error::is_full;
pub use self::error::{NotCompacted, PoisonCause, StoreDamage, StoreError};
pub(crate) use self::files::{files_of, log_path, open_private};
pub use self::guard::panics_are_caught;
#[cfg(feature = "disk-index")]
pub(crate) use self::guard::quietly;
pub(crate) use self::hold::sync_failed;
pub(crate) use self::open::open_file;
pub use self::options::{FORMAT_IN_USE, FORMAT_KEY, StoreOptions};
pub use self::overlay::{Draft, Overlay};
pub(crate) use self::place::FilePlace;
pub use self::portions::Portions;
pub use self::seal::{Checksum, checksum};
pub use self::snapshot::Snapshot;
pub use self::table::Table;
pub use self::view::{ALL_KEYS, KeyRange, Order, Row, TryVisit, View, Visit, prefix_end};

use self::beside::{Beside, FileBeside, MemoryBeside};
use self::compact::Recording;
use self::files::sync_directory;
use self::guard::guarded;
use self::hold::Hold;
use self::open::{Start, examine, format_of, is_locked, of_format, open_database, rows_of, write_rows};
use self::readers::Readers;
use self::snapshot::Opened;
use self::wal::{LogPlace, SEGMENT_BYTES, Wal, written_in};
use self::write::Writing;

/// The format that this version writes.
pub const FORMAT: u32 = 5;

/// The earliest format with the same rows as [`FORMAT`]. Their values have another checksum, which is read for ever.
pub const ROWS_FORMAT: u32 = 2;

/// A handle on an open store; clones are handles on the same one. The file is closed by
/// [`Store::close`], or when the last handle and the last `Snapshot` are gone.
#[derive(Clone)]
pub struct Store(Arc<OpenStore>);

/// The committed state that snapshots share until the next commit.
#[derive(Default)]
struct Latest {
    opened: Option<Arc<Opened>>,
    /// The number of states opened so far.
    count: u64,
}

/// A database on its backend.
struct Opening {
    database: Arc<redb::Database>,
    hold: Hold,
    readers: Arc<Readers>,
}

impl Opening {
    fn new(database: redb::Database, hold: Hold) -> Self {
        Self { database: Arc::new(database), hold, readers: Arc::default() }
    }
}

/// The storage below a database. A compaction exchanges it.
struct OnDisk {
    /// The place of the file, if it is one.
    place: Option<FilePlace>,
    backend: Arc<dyn StorageBackend>,
    wal: Option<Arc<Wal>>,
}

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFile {
    /// The database.
    Main,
    /// Its log.
    Log,
}

/// The state behind all handles and snapshots of one open store.
struct OpenStore {
    file: PathBuf,
    on_disk: RwLock<OnDisk>,
    options: StoreOptions,
    /// The place for a file that is written anew; none for a storage that is no file.
    beside: OnceLock<Arc<dyn Beside>>,
    /// Allows one compaction at a time.
    compacting: Mutex<()>,
    /// The commits that a compaction has yet to take over.
    recording: Mutex<Option<Recording>>,
    /// `None` after closing.
    opening: RwLock<Option<Opening>>,
    /// The number of times that the store was opened again.
    reopened: AtomicU64,
    /// The number of commits since the store was opened first.
    commits: AtomicU64,
    /// Allows one commit at a time, so that the one after a failed commit is refused.
    committing: Mutex<()>,
    /// The committed state, if it was read since the last commit. It holds no handle of the store:
    /// handles would keep each other alive.
    latest: Mutex<Latest>,
    /// The first failure of a commit.
    poisoned: OnceLock<StoreError>,
}

impl Store {
    /// Opens a database file, or makes a new one (mode 0600).
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::NotAStore`] or
    /// [`StoreError::Damaged`], without a change of a byte; [`StoreError::Disk`] if the file cannot be
    /// opened, read or written. A store of earlier opens also on a full disk, and takes commits once there is room.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_if(path.as_ref(), options, |_| Ok(()))
    }

    /// Opens a database file as [`open`](Self::open) does, if its content fits. The content is that which the store will
    /// have: with the rows that only the log has.
    ///
    /// # Errors
    /// The errors of `fits` and of [`open`](Self::open). The file is as it was then.
    pub(crate) fn open_if<E: From<StoreError>>(
        path: &Path,
        options: StoreOptions,
        fits: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Self, E> {
        let backend = open_file(path)?;
        let log = LogPlace::File(log_path(path));
        let place = FilePlace::of(path);
        let store = Self::open_with(path.to_owned(), Arc::new(backend), Some(log), options, fits)?;
        store.0.on_disk_mut().place = Some(place);
        let beside = FileBeside::new(path);
        // the remains of a compaction that was broken off; they are no reason to refuse a sound store
        if let Err(error) = beside.clear() {
            tracing::warn!(file = %path.display(), %error, "the remains of a compaction cannot be removed");
        }
        let _ = store.0.beside.set(Arc::new(beside));
        Ok(store)
    }

    /// Opens a database on another storage, without a log; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_backend(
        name: impl Into<PathBuf>,
        backend: impl StorageBackend,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Self::open_with(name.into(), Arc::new(backend), None, options, |_| Ok(()))
    }

    /// Opens a database on another storage, with its log on a second one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_log(
        name: impl Into<PathBuf>,
        backend: impl StorageBackend,
        log: impl StorageBackend,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Self::open_with(name.into(), Arc::new(backend), Some(LogPlace::Backend(Arc::new(log))), options, |_| Ok(()))
    }

    fn open_with<E: From<StoreError>>(
        file: PathBuf,
        main: Arc<dyn StorageBackend>,
        log: Option<LogPlace>,
        options: StoreOptions,
        fits: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Self, E> {
        let disk = |error| StoreError::disk(&file, error);
        let log_file = log.as_ref().and_then(LogPlace::file).unwrap_or(&file).to_owned();
        let of_log = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => StoreError::damaged(&file, None, StoreDamage::OtherLog),
            _ => StoreError::disk(&log_file, error),
        };
        let logged = match log {
            // a log that a crash left counts, also where no other is wanted
            Some(log) if options.segment_bytes > 0 || log.is_there().map_err(of_log)? => {
                if is_locked(&*main) {
                    return Err(StoreError::InUse { file }.into());
                }
                let segment_bytes = if options.segment_bytes > 0 { options.segment_bytes } else { SEGMENT_BYTES };
                let written = written_in(&*main).map_err(disk)?;
                let (wal, found) = Wal::open_after(written, Arc::clone(&main), log, segment_bytes).map_err(of_log)?;
                Some((Arc::new(wal), found))
            }
            _ => None,
        };
        let backend = logged.as_ref().map_or(Arc::clone(&main), |(wal, _)| Arc::clone(wal) as Arc<dyn StorageBackend>);
        let hold = Hold::new(Arc::clone(&backend)).map_err(disk)?;
        if let Some((_, found)) = &logged {
            hold.replay(&found.steps).map_err(of_log)?;
        }
        match examine(&hold).map_err(disk)? {
            Start::Foreign => return Err(StoreError::NotAStore { file }.into()),
            Start::Unborn => hold.reset(),
            Start::Database => (),
        }
        // Inside the guard: even dropping a damaged database may panic.
        let database = guarded(&file, None, || open_database(&file, &hold, options))?;
        if let Some((wal, found)) = &logged
            && !wal.is_still(found).map_err(of_log)?
        {
            // another process closed it after we read its log
            hold.fence();
            return Err(StoreError::InUse { file }.into());
        }
        let opening = Opening::new(database, hold.clone());
        let (wal, rows) = logged.map(|(wal, found)| (wal, found.rows())).unzip();
        let store = Arc::new(OpenStore::new(&file, backend, wal, options, opening));
        let format = store.format()?;
        let is_new = format.is_none();
        let wanted = if store.wal().is_some() { FORMAT_IN_USE } else { FORMAT };
        // an earlier one is brought to `FORMAT` first, by whoever knows its rows
        let is_other = format.is_some_and(|format| (ROWS_FORMAT..wanted).contains(&format));
        let mut first = store.rows_to_write(rows.unwrap_or_default())?;
        if is_new || is_other {
            first.get_or_insert_default().1.push(of_format(wanted));
        }
        if let Some((rows, batches)) = first {
            store.poisoning(store.apply(&batches, Some(rows)))?;
        }
        // nothing is written before this is known
        fits(&Snapshot::new(&store)?)?;
        store.forget_latest();
        match hold.release() {
            // its content can be read; the next commit tries again
            Err(error) if is_full(&error) && !is_new => {
                tracing::warn!(file = %file.display(), "the disk is full: the store is only read for now");
            }
            released => {
                released.map_err(disk)?;
                store.use_log()?;
            }
        }
        Ok(Self(store))
    }

    /// A store in memory. It is gone when its last handle is.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn memory() -> Result<Self, StoreError> {
        let store = Self::with_backend("memory", InMemoryBackend::new(), StoreOptions::default())?;
        let _ = store.0.beside.set(Arc::new(MemoryBeside));
        Ok(store)
    }

    /// The file of the store that is no longer the open one under its name. Writes to such a file are gone with the process.
    /// `None` where that cannot be told. Waits for an exchange by a compaction.
    pub(crate) fn gone(&self) -> Option<StoreFile> {
        let on_disk = self.0.on_disk();
        let main = on_disk.place.filter(|place| !place.is_still(&self.0.file)).map(|_| StoreFile::Main);
        main.or_else(|| on_disk.wal.as_ref().and_then(|wal| wal.gone()).map(|_| StoreFile::Log))
    }

    /// The database file, or the name given instead.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The current committed state.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed commit, else [`StoreError::Disk`] or
    /// [`StoreError::Damaged`].
    #[doc(hidden)]
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.0)
    }

    /// Makes all changes of all batches durable together, in their order. They are on disk when this
    /// returns. After a power loss either all of them are there or none. Empty batches cost nothing.
    ///
    /// Blocks for the disk: a fraction of a millisecond on a quiet disk, many on a busy one. Many
    /// batches in one call cost hardly more than one.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing of the changes is on disk, and the store is read as before; a later commit may
    /// have room. A reader of an earlier state than the last one may get [`StoreError::Reopened`].
    ///
    /// Every other error is fatal, and leaves open whether the changes are on disk: only reopening tells. The
    /// store is poisoned. From now on every call on it and on its snapshots is
    /// [`StoreError::Poisoned`].
    #[doc(hidden)]
    pub fn commit(&self, batches: &[Batch]) -> Result<(), StoreError> {
        self.0.commit(batches)
    }

    /// Closes the file although handles remain. Every later call on them is [`StoreError::Closed`].
    /// Waits for a commit in progress. A `Snapshot` keeps the file open until it is dropped.
    pub fn close(&self) {
        self.0.close();
    }

    /// Reads and checks every value of every table, and returns their number. Takes about a second per
    /// GiB. Commits go on meanwhile.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let snapshot = self.snapshot()?;
        let mut rows = 0;
        for &table in Table::ALL {
            snapshot.scan(table, ALL_KEYS, Order::Forward, &mut |_, _| {
                rows += 1;
                std::ops::ControlFlow::Continue(())
            })?;
        }
        Ok(rows)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("file", &self.0.file).finish_non_exhaustive()
    }
}

impl OpenStore {
    fn new(
        file: &Path,
        backend: Arc<dyn StorageBackend>,
        wal: Option<Arc<Wal>>,
        options: StoreOptions,
        opening: Opening,
    ) -> Self {
        Self {
            file: file.to_owned(),
            on_disk: RwLock::new(OnDisk { place: None, backend, wal }),
            options,
            beside: OnceLock::new(),
            compacting: Mutex::new(()),
            recording: Mutex::default(),
            opening: RwLock::new(Some(opening)),
            reopened: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            committing: Mutex::new(()),
            latest: Mutex::default(),
            poisoned: OnceLock::new(),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            None => Ok(()),
            Some(error) => {
                let cause = PoisonCause::Commit(Box::new(error.clone()));
                Err(StoreError::Poisoned { file: self.file.clone(), cause })
            }
        }
    }

    fn on_disk(&self) -> RwLockReadGuard<'_, OnDisk> {
        self.on_disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_disk_mut(&self) -> RwLockWriteGuard<'_, OnDisk> {
        self.on_disk.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn wal(&self) -> Option<Arc<Wal>> {
        self.on_disk().wal.clone()
    }

    fn backend(&self) -> Arc<dyn StorageBackend> {
        Arc::clone(&self.on_disk().backend)
    }

    fn database(&self) -> Result<Arc<redb::Database>, StoreError> {
        self.opened_now().map(|(database, _)| database)
    }

    fn opened_now(&self) -> Result<(Arc<redb::Database>, Arc<Readers>), StoreError> {
        let opening = self.opening.read().unwrap_or_else(PoisonError::into_inner);
        let opening = opening.as_ref().ok_or_else(|| StoreError::Closed { file: self.file.clone() })?;
        Ok((Arc::clone(&opening.database), Arc::clone(&opening.readers)))
    }

    /// Drops the database, which closes it once no snapshot and no commit holds it.
    fn close(&self) {
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.end_use();
        let opening = self.opening.write().unwrap_or_else(PoisonError::into_inner).take();
        let closed = guarded(&self.file, None, || {
            self.forget_latest();
            drop(opening);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }

    /// Lets commits go to the log, once the file is known to be ours and says that it is in use.
    fn use_log(&self) -> Result<(), StoreError> {
        let Some(wal) = self.wal().filter(|wal| !wal.is_used()) else { return Ok(()) };
        if self.format()? == Some(FORMAT_IN_USE) {
            let used = wal.use_after(rows_of(&self.file, &*self.database()?)?);
            self.poisoning(used.map_err(|error| StoreError::disk(&self.file, sync_failed(&error))))?;
        }
        Ok(())
    }

    /// The rows of a log that the database does not have, with the number of the last ones.
    fn rows_to_write(&self, rows: Vec<(u64, Batch)>) -> Result<Option<(u64, Vec<Batch>)>, StoreError> {
        if planted("forgets_rows_of_log") {
            return Ok(None);
        }
        let mut last = rows_of(&self.file, &*self.database()?)?;
        let mut batches = Vec::new();
        for (no, batch) in rows {
            if no <= last {
                continue;
            }
            if no - last > 1 {
                // some are missing between
                return Err(StoreError::damaged(&self.file, None, StoreDamage::OtherLog));
            }
            last = no;
            batches.push(batch);
        }
        if !batches.is_empty() {
            reached("start_brings_rows_of_the_log");
        }
        Ok((!batches.is_empty()).then_some((last, batches)))
    }

    /// Lets earlier versions open the file again.
    fn end_use(&self) {
        let Some(wal) = self.wal().filter(|_| self.poisoned.get().is_none()) else { return };
        if !matches!(self.format(), Ok(Some(FORMAT_IN_USE))) || !self.is_released() {
            return;
        }
        wal.end_use();
        let ended = guarded(&self.file, None, || {
            self.forget_latest();
            self.apply(&[of_format(FORMAT)], Some(wal.last_rows()))
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "earlier versions cannot open the store until it is opened and closed by this one");
        }
    }

    /// The committed state, opened once for all readers until the next commit.
    fn latest(&self) -> Result<Arc<Opened>, StoreError> {
        self.check()?;
        // The lock is held while the state is opened. Otherwise a state from before a commit could be
        // kept after it.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &latest.opened {
            return Ok(Arc::clone(opened));
        }
        let (database, readers) = self.opened_now()?;
        // before the state is taken: it has these commits, and may have one more
        let commits = self.commits.load(Ordering::Acquire);
        let transaction = guarded(&self.file, None, || database.begin_read().map_err(|error| self.error(None, error)))?;
        latest.count += 1;
        let reopened = self.reopened.load(Ordering::Acquire);
        let opened = Arc::new(Opened::new(transaction, latest.count, reopened, commits, readers));
        latest.opened = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Drops the shared state, so that the next reader opens it anew. Its pages are free once no
    /// snapshot holds it.
    fn forget_latest(&self) {
        let opened = self.latest.lock().unwrap_or_else(PoisonError::into_inner).opened.take();
        drop(opened);
    }

    fn commit(self: &Arc<Self>, batches: &[Batch]) -> Result<(), StoreError> {
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        if batches.iter().all(Batch::is_empty) {
            return Ok(());
        }
        self.release()?;
        let reopened = self.times_opened_again();
        let is_logged = self.poisoning(self.log(batches))?;
        let durably = (!is_logged).then(|| self.last_rows());
        let result = guarded(&self.file, None, || {
            let applied = self.apply(batches, durably);
            self.forget_latest();
            applied
        });
        let result = match result {
            Err(error) if self.ran_full() => self.go_on(batches, is_logged, error),
            result => {
                if let (Err(_), Some(wal)) = (&result, self.wal()) {
                    // no later commit may take rows from the log that the database never had
                    wal.fail();
                }
                self.poisoning(result)
            }
        };
        if result.is_ok() {
            self.commits.fetch_add(1, Ordering::AcqRel);
            self.record(batches);
            if self.times_opened_again() != reopened {
                // the state that was opened to look for this commit does not count it
                self.forget_latest();
            }
        }
        result
    }

    /// Refuses every later call if this one failed.
    fn poisoning<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.poisoned.get_or_init(|| error.clone());
        }
        result
    }

    /// Appends the rows of some batches to the log, if it is used and has room for them.
    fn log(&self, batches: &[Batch]) -> Result<bool, StoreError> {
        match self.wal() {
            Some(_) if planted("commits_without_sync") => Ok(true),
            Some(wal) => {
                let file = wal.file().unwrap_or(&self.file);
                wal.append_rows(batches).map_err(|error| StoreError::disk(file, sync_failed(&error)))
            }
            None => Ok(false),
        }
    }

    /// The number of the last rows in the log; 0 without one.
    fn last_rows(&self) -> u64 {
        self.wal().map_or(0, |wal| wal.last_rows())
    }

    /// Commits some batches, durably if they come with the number of the last rows in the log. Else the log has them.
    fn apply(&self, batches: &[Batch], durably: Option<u64>) -> Result<(), StoreError> {
        let mut transaction = self.database()?.begin_write().map_err(|error| self.error(None, error))?;
        {
            let mut writing = Writing::new(&self.file, &transaction);
            for batch in batches {
                writing.apply(batch)?;
            }
        }
        match durably {
            Some(rows) => write_rows(&self.file, &transaction, rows)?,
            None => transaction.set_durability(redb::Durability::None).map_err(|error| self.error(None, error))?,
        }
        transaction.commit().map_err(|error| self.error(None, error))
    }

    /// The format of the file; `None` for a file that was created but never written.
    fn format(&self) -> Result<Option<u32>, StoreError> {
        format_of(&self.file, &*self.database()?)
    }

    fn error(&self, table: Option<Table>, error: impl Into<redb::Error>) -> StoreError {
        StoreError::from_redb(&self.file, table, error)
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.close();
    }
}
