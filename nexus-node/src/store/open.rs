//! Opening a storage: whose it is, in which state, and in which format.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{ReadableDatabase, StorageBackend, TableHandle};

use super::files::{open_private, sync_directory};
use super::guard::guarded;
use super::hold::Hold;
use super::options::{FORMAT_IN_USE, FORMAT_KEY, StoreOptions};
use super::seal::unseal;
use super::{Batch, StoreDamage, StoreError, Table};

/// Opens the database and checks it as far as that is cheap. Its writes are held back.
pub(super) fn open_database(file: &Path, hold: &Hold, options: StoreOptions) -> Result<redb::Database, StoreError> {
    let repaired = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&repaired);
    let mut database = redb::Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_repair_callback(move |_| flag.store(true, Ordering::Relaxed))
        .create_with_backend(hold.clone())
        .map_err(|error| StoreError::from_redb(file, None, error))?;
    if let Some(format) = format_of(file, &database)?
        && format > FORMAT_IN_USE
    {
        return Err(StoreError::TooNew { file: file.to_owned(), format, known: FORMAT_IN_USE });
    }
    let small = hold.len().is_ok_and(|len| len <= options.verify_bytes_max);
    // A repair has just read every page.
    if small && !repaired.load(Ordering::Relaxed) {
        let sound = database.check_integrity().map_err(|error| StoreError::from_redb(file, None, error))?;
        if !sound {
            // Mending the pages would mean going back behind acknowledged writes.
            return Err(StoreError::damaged(file, None, StoreDamage::Pages));
        }
    }
    Ok(database)
}

pub(super) fn of_format(format: u32) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, FORMAT_KEY, &format.to_le_bytes());
    batch
}

pub(super) fn format_of(file: &Path, database: &redb::Database) -> Result<Option<u32>, StoreError> {
    guarded(file, Some(Table::Meta), || {
        let damaged = |what| StoreError::damaged(file, Some(Table::Meta), what);
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
        let row = row.ok_or_else(|| damaged(StoreDamage::NoFormat))?;
        let format = unseal(Table::Meta, FORMAT_KEY, row.value())
            .and_then(|format| format.try_into().ok())
            .ok_or_else(|| damaged(StoreDamage::Format))?;
        Ok(Some(u32::from_le_bytes(format)))
    })
}

/// The number of the last rows of the log that the database has. The table is the store's own: no batch reaches it.
const ROWS: redb::TableDefinition<'static, (), u64> = redb::TableDefinition::new("logged");

/// The number of the last rows of a log that the database has; 0 if it never had any.
pub(super) fn rows_of(file: &Path, database: &redb::Database) -> Result<u64, StoreError> {
    let failed = |error: redb::Error| StoreError::from_redb(file, None, error);
    guarded(file, None, || {
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let rows = match transaction.open_table(ROWS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
            rows => rows.map_err(|error| failed(error.into()))?,
        };
        Ok(rows.get(()).map_err(|error| failed(error.into()))?.map_or(0, |rows| rows.value()))
    })
}

/// Has a commit name the last rows of the log, which are within it.
pub(super) fn write_rows(file: &Path, transaction: &redb::WriteTransaction, rows: u64) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::from_redb(file, None, error);
    if rows > 0 {
        let mut table = transaction.open_table(ROWS).map_err(|error| failed(error.into()))?;
        table.insert((), rows).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// The content of a storage, before the database opens it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing, or a new database whose creation a power loss interrupted.
    Unborn,
    /// A database.
    Database,
    /// Something else.
    Foreign,
}

pub(super) fn examine(backend: &dyn StorageBackend) -> io::Result<Start> {
    const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
    const HEAD_BYTES: usize = 4096;
    /// The largest size of a database that was never written.
    const UNBORN_BYTES_MAX: u64 = 8 << 20;

    let len = backend.len()?;
    let mut head = vec![0; len.min(HEAD_BYTES as u64) as usize];
    backend.read(0, &mut head)?;
    if head.starts_with(MAGIC) {
        return Ok(Start::Database);
    }
    // The database writes its magic number last. Without the number, and with zeros after the head, no
    // write was ever acknowledged here.
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

/// Whether another process, or another handle in this one, has a storage open: its log changes while it is read then.
pub(super) fn is_locked(main: &dyn StorageBackend) -> bool {
    match main.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) => main.unlock_range(Bound::Unbounded, Bound::Unbounded).is_err(),
        Ok(false) => true,
        // without locks
        Err(_) => false,
    }
}

/// Opens a file for its owner alone (mode 0600). A new file's name is on disk when this returns.
pub(crate) fn open_file(path: &Path) -> Result<FileBackend, StoreError> {
    let disk = |error| StoreError::disk(path, error);
    let file = open_private(path).map_err(disk)?;
    if file.metadata().map_err(disk)?.len() == 0 {
        sync_directory(path).map_err(disk)?;
    }
    FileBackend::new(file).map_err(|error| StoreError::from_redb(path, None, error))
}
