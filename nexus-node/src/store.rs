//! The store: ordered tables of bytes that survive whatever happens to the machine.
//!
//! It knows nothing of what it keeps. [`Batch`]es go in, and a batch is on disk as a whole before
//! [`Store::commit`] returns; [`View`]s come out: a [`Snapshot`] is the committed state at one
//! moment, an [`Overlay`] lays on top of it what is handed out but not committed yet, a [`Draft`]
//! what is still being made.
//!
//! | room | what is in it |
//! |---|---|
//! | `table` | the list of tables, their names on disk, which are derived |
//! | `batch` | changes, in one buffer |
//! | `view` | how to read: [`View`], ranges, prefixes |
//! | `snapshot` | reading what is committed |
//! | `write` | applying batches in one transaction |
//! | `overlay` | reading what is not committed yet |
//! | `seal` | the checksum that each value carries |
//! | `hold` | why a refused file does not change by a byte |
//! | `guard` | panics of the database become errors |
//! | `error` | what can go wrong, and whose fault it is |
//! | `disk` | a simulated disk that loses power, fills up and lies (feature `testing`) |
//!
//! ```
//! use nexus_node::store::{Batch, Store, Table, View};
//!
//! let store = Store::memory()?;
//! let mut batch = Batch::new();
//! batch.put(Table::Meta, b"greeting", b"hello");
//! store.commit(&[batch])?;
//! assert_eq!(store.snapshot()?.get(Table::Meta, b"greeting")?, Some(b"hello".to_vec()));
//! # Ok::<(), nexus_node::store::StoreError>(())
//! ```

mod batch;
#[cfg(any(test, feature = "testing"))]
pub mod disk;
mod error;
mod guard;
mod hold;
mod overlay;
mod seal;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod write;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use nexus_identity::plants::{Plant, planted};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{ReadableDatabase, StorageBackend, TableHandle};

pub use self::batch::{Batch, Change};
pub use self::error::StoreError;
pub use self::guard::panics_are_caught;
pub use self::overlay::{Draft, Overlay};
pub use self::seal::{Checksum, checksum};
pub use self::snapshot::Snapshot;
pub use self::table::Table;
pub use self::view::{ALL_KEYS, KeyRange, Order, Row, View, Visit, prefix_end};

use self::guard::guarded;
use self::hold::Hold;
use self::seal::unseal;
use self::snapshot::Opened;
use self::write::Writing;

/// The format that this version writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

/// The row of [`Table::Meta`] that holds the format, as a little-endian `u32`. The name of the
/// table, this key and the checksum after the value stay for ever, so that every version can tell
/// a file that is too new from a damaged one.
pub const FORMAT_KEY: &[u8] = b"format";

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Memory for pages of the file, in bytes. Default 16 MiB. More saves reads of what the
    /// operating system has usually cached anyway.
    pub cache_bytes: usize,
    /// Files up to this size, in bytes, are read through and checked on every open, about a
    /// second per GiB. Default 64 MiB. Larger ones are checked after an unclean stop (always),
    /// value by value as they are read (always), and by [`Store::verify`].
    pub verify_bytes_max: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, verify_bytes_max: 64 << 20 }
    }
}

/// A handle on an open store; clones are handles on the same one. The file is closed by
/// [`Store::close`], or when the last handle and the last [`Snapshot`] are gone.
#[derive(Clone)]
pub struct Store(Arc<OpenStore>);

/// The state that snapshots share until the next commit.
#[derive(Default)]
struct Latest {
    opened: Option<Arc<Opened>>,
    /// How many states were opened.
    count: u64,
}

/// What the handles and the snapshots of one open store share.
struct OpenStore {
    file: PathBuf,
    /// `None` once it is closed.
    database: RwLock<Option<Arc<redb::Database>>>,
    /// One commit at a time, so that the one after a failed one is refused.
    committing: Mutex<()>,
    /// The committed state, once somebody has read it since the last commit. It refers to no
    /// handle, or handles would keep each other alive.
    latest: Mutex<Latest>,
    /// The first failure of a commit.
    poisoned: OnceLock<String>,
}

impl Store {
    /// Opens a database file, or makes a new one (mode 0600).
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::NotAStore`] or
    /// [`StoreError::Damaged`], and the file has not changed by a byte; [`StoreError::Disk`] when
    /// it cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let path = path.as_ref();
        Self::with_backend(path, open_file(path)?, options)
    }

    /// Opens a database on a storage of one's own; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_backend(
        name: impl Into<PathBuf>,
        backend: impl StorageBackend,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let file = name.into();
        let backend: Box<dyn StorageBackend> = Box::new(backend);
        let disk = |error| StoreError::disk(&file, error);
        let start = examine(&*backend).map_err(disk)?;
        if start == Start::Foreign {
            return Err(StoreError::NotAStore { file });
        }
        let hold = Hold::new(backend, start == Start::Unborn).map_err(disk)?;
        // Inside the guard: a database that turns out damaged may panic even while it is dropped.
        let database = guarded(&file, None, || open_database(&file, &hold, options))?;
        let store = OpenStore {
            file: file.clone(),
            database: RwLock::new(Some(Arc::new(database))),
            committing: Mutex::new(()),
            latest: Mutex::default(),
            poisoned: OnceLock::new(),
        };
        if store.format()?.is_none() {
            let mut batch = Batch::new();
            batch.put(Table::Meta, FORMAT_KEY, &FORMAT.to_le_bytes());
            store.commit(&[batch])?;
        }
        hold.release().map_err(disk)?;
        Ok(Self(Arc::new(store)))
    }

    /// A store that is gone when its last handle is.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn memory() -> Result<Self, StoreError> {
        Self::with_backend("memory", InMemoryBackend::new(), StoreOptions::default())
    }

    /// The database file, or the name given instead.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The committed state as it is now.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a failed commit, else [`StoreError::Disk`] or
    /// [`StoreError::Damaged`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.0)
    }

    /// Makes all changes of all batches durable together, in their order: when this returns they
    /// are on disk, and after a power loss either all of them are there or none. No batches, or
    /// only empty ones, cost nothing.
    ///
    /// Blocks for the disk: a fraction of a millisecond on a quiet one, many on a busy one. One
    /// call with many batches costs hardly more than one with a single one.
    ///
    /// # Errors
    /// Every error is fatal. Whether the changes are on disk is then known only after opening
    /// anew; the store is poisoned, and every call on it and its snapshots is
    /// [`StoreError::Poisoned`] from now on.
    pub fn commit(&self, batches: &[Batch]) -> Result<(), StoreError> {
        self.0.commit(batches)
    }

    /// Closes the file although handles remain; every later call on them is
    /// [`StoreError::Closed`]. Waits for a commit in progress; a [`Snapshot`] that is still held
    /// keeps the file open until it is dropped.
    pub fn close(&self) {
        self.0.close();
    }

    /// Reads every value of every table and checks it; says how many there are. Takes about a
    /// second per GiB; commits go on meanwhile.
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
    fn check(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            None => Ok(()),
            Some(cause) => Err(StoreError::Poisoned { file: self.file.clone(), cause: cause.clone() }),
        }
    }

    fn database(&self) -> Result<Arc<redb::Database>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or_else(|| StoreError::Closed { file: self.file.clone() })
    }

    /// Lets go of the database, which closes it once no snapshot and no commit holds it.
    fn close(&self) {
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        let closed = guarded(&self.file, None, || {
            self.forget_latest();
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }

    /// The committed state, opened once for all who ask before the next commit.
    fn latest(&self) -> Result<Arc<Opened>, StoreError> {
        self.check()?;
        // The lock is held while the state is opened: one that is older than a commit could
        // otherwise be kept after it.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &latest.opened {
            return Ok(Arc::clone(opened));
        }
        let database = self.database()?;
        let transaction = guarded(&self.file, None, || database.begin_read().map_err(|error| self.error(None, error)))?;
        latest.count += 1;
        let opened = Arc::new(Opened::new(transaction, latest.count));
        latest.opened = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Has the next reader open the state anew; what nobody reads any more lets go of its pages.
    fn forget_latest(&self) {
        let opened = self.latest.lock().unwrap_or_else(PoisonError::into_inner).opened.take();
        drop(opened);
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), StoreError> {
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        if batches.iter().all(Batch::is_empty) {
            return Ok(());
        }
        let result = guarded(&self.file, None, || {
            let applied = self.apply(batches);
            self.forget_latest();
            applied
        });
        if let Err(error) = &result {
            self.poisoned.get_or_init(|| error.to_string());
        }
        result
    }

    fn apply(&self, batches: &[Batch]) -> Result<(), StoreError> {
        let mut transaction = self.database()?.begin_write().map_err(|error| self.error(None, error))?;
        if planted(Plant::CommitsWithoutSync) {
            let _ = transaction.set_durability(redb::Durability::None);
        }
        {
            let mut writing = Writing::new(&self.file, &transaction);
            for batch in batches {
                writing.apply(batch)?;
            }
        }
        transaction.commit().map_err(|error| self.error(None, error))
    }

    /// The format of the file; `None` in one that was made but never written to.
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

/// Opens the database and looks at it as closely as is cheap. Whatever this writes is held back.
fn open_database(file: &Path, hold: &Hold, options: StoreOptions) -> Result<redb::Database, StoreError> {
    let repaired = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&repaired);
    let mut database = redb::Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_repair_callback(move |_| flag.store(true, Ordering::Relaxed))
        .create_with_backend(hold.clone())
        .map_err(|error| StoreError::from_redb(file, None, error))?;
    if let Some(format) = format_of(file, &database)?
        && format > FORMAT
    {
        return Err(StoreError::TooNew { file: file.to_owned(), format, known: FORMAT });
    }
    let small = hold.len().is_ok_and(|len| len <= options.verify_bytes_max);
    // A repair has just read everything.
    if small && !repaired.load(Ordering::Relaxed) {
        let sound = database.check_integrity().map_err(|error| StoreError::from_redb(file, None, error))?;
        if !sound {
            // It could be mended only by going back behind what was acknowledged.
            return Err(StoreError::damaged(file, None, "pages do not fit their checksums"));
        }
    }
    Ok(database)
}

fn format_of(file: &Path, database: &redb::Database) -> Result<Option<u32>, StoreError> {
    guarded(file, Some(Table::Meta), || {
        let damaged = |what: &str| StoreError::damaged(file, Some(Table::Meta), what);
        let transaction = database.begin_read().map_err(|error| StoreError::from_redb(file, None, error))?;
        let tables = transaction.list_tables().map_err(|error| StoreError::from_redb(file, None, error))?;
        let names: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        if !names.iter().any(|name| name == Table::Meta.name()) {
            return Err(StoreError::NotAStore { file: file.to_owned() });
        }
        let meta = transaction
            .open_table(Table::Meta.definition())
            .map_err(|error| StoreError::from_redb(file, Some(Table::Meta), error))?;
        let row = meta.get(FORMAT_KEY).map_err(|error| StoreError::from_redb(file, Some(Table::Meta), error))?;
        let row = row.ok_or_else(|| damaged("it has no format"))?;
        let format = unseal(Table::Meta, FORMAT_KEY, row.value())
            .and_then(|format| format.try_into().ok())
            .ok_or_else(|| damaged("its format cannot be read"))?;
        Ok(Some(u32::from_le_bytes(format)))
    })
}

/// What a storage holds before the database looks at it.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Nothing, or a new database whose making was cut short by a power loss.
    Unborn,
    /// A database.
    Database,
    /// Something else.
    Foreign,
}

fn examine(backend: &dyn StorageBackend) -> io::Result<Start> {
    const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
    const HEAD_BYTES: usize = 4096;
    /// A new database is smaller than this.
    const UNBORN_BYTES_MAX: u64 = 8 << 20;

    let len = backend.len()?;
    let mut head = vec![0; len.min(HEAD_BYTES as u64) as usize];
    backend.read(0, &mut head)?;
    if head.starts_with(MAGIC) {
        return Ok(Start::Database);
    }
    // The database writes its magic number last. Without it, and with nothing behind the head,
    // nothing was ever acknowledged here.
    if len > UNBORN_BYTES_MAX || head.iter().take(MAGIC.len()).any(|&byte| byte != 0) {
        return Ok(Start::Foreign);
    }
    let mut at = head.len() as u64;
    let mut block = vec![0; 1 << 16];
    while at < len {
        let bytes = (len - at).min(block.len() as u64) as usize;
        backend.read(at, &mut block[..bytes])?;
        if block[..bytes].iter().any(|&byte| byte != 0) {
            return Ok(Start::Foreign);
        }
        at += bytes as u64;
    }
    Ok(Start::Unborn)
}

/// Opens a file for its owner alone (mode 0600), or makes an empty one, whose name is then on disk.
pub(crate) fn open_file(path: &Path) -> Result<FileBackend, StoreError> {
    let disk = |error| StoreError::disk(path, error);
    let file = open_private(path).map_err(disk)?;
    if file.metadata().map_err(disk)?.len() == 0 {
        sync_directory(path).map_err(disk)?;
    }
    FileBackend::new(file).map_err(|error| StoreError::from_redb(path, None, error))
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a new file's name as durable as its bytes.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
