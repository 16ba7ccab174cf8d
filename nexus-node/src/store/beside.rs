//! The place for a file that is written beside a store, and the exchange of both.
//!
//! | name | content |
//! |---|---|
//! | `brain.redb.compact` | the new file, until it takes the place of the store |
//! | `brain.redb.old` | the former file from then on, until it is overwritten |
//!
//! A file with one of these names is no store. A start overwrites and removes it: a compaction was broken off.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};

use super::files::{open_private, sync_directory};

/// The bytes that are overwritten at once.
const ZEROS: usize = 1 << 20;
/// How long a former file waits for those who read it, such as a backup.
const READERS_WAIT: Duration = Duration::from_secs(60);
/// So many bytes are overwritten before they are brought to the disk: no commit waits for many.
const SYNC_EVERY: u64 = 8 << 20;

/// A place beside a store.
pub(super) trait Beside: fmt::Debug + Send + Sync {
    /// Removes whatever a compaction that was broken off has left.
    fn clear(&self) -> io::Result<()>;

    /// Makes an empty storage there.
    fn make(&self) -> io::Result<Arc<dyn StorageBackend>>;

    /// The file there, if it is one.
    fn path(&self) -> Option<&Path>;

    /// Puts the storage there in the place of the store.
    ///
    /// # Errors
    /// Nothing has changed.
    fn exchange(&self) -> io::Result<()>;

    /// Makes the exchange as durable as the bytes.
    fn sync(&self) -> io::Result<()>;

    /// The free bytes, if they can be told.
    fn free(&self) -> Option<u64>;

    /// How long the former storage waits for those who read it. A longer reading begins again, or fails.
    fn patience(&self) -> Duration;
}

/// Files beside the file of a store.
#[derive(Debug)]
pub(super) struct FileBeside {
    store: PathBuf,
    new: PathBuf,
    old: PathBuf,
}

impl FileBeside {
    pub(super) fn new(store: &Path) -> Self {
        let named = |ending: &str| {
            let mut name = store.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self { store: store.to_owned(), new: named(".compact"), old: named(".old") }
    }
}

impl Beside for FileBeside {
    fn clear(&self) -> io::Result<()> {
        overwrite_and_remove(&self.new)?;
        if self.old.symlink_metadata().is_ok() {
            // the exchange lasts before the former file is overwritten
            sync_directory(&self.store)?;
        }
        if is_same(&self.store, &self.old) {
            // its name alone: the exchange was broken off between the two
            fs::remove_file(&self.old)?;
        } else {
            overwrite_and_remove(&self.old)?;
        }
        Ok(())
    }

    fn make(&self) -> io::Result<Arc<dyn StorageBackend>> {
        let file = FileBackend::new(open_private(&self.new)?).map_err(io::Error::other)?;
        Ok(Arc::new(file))
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.new)
    }

    fn exchange(&self) -> io::Result<()> {
        // a name by which the next start finds the former file, if this process does not come to overwrite it
        let is_named = fs::hard_link(&self.store, &self.old).is_ok();
        fs::rename(&self.new, &self.store).inspect_err(|_| {
            if is_named {
                let _ = fs::remove_file(&self.old);
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(&self.store)
    }

    fn free(&self) -> Option<u64> {
        free_beside(&self.store)
    }

    fn patience(&self) -> Duration {
        READERS_WAIT
    }
}

/// The memory beside a store in memory.
#[derive(Debug)]
pub(super) struct MemoryBeside;

impl Beside for MemoryBeside {
    fn clear(&self) -> io::Result<()> {
        Ok(())
    }

    fn make(&self) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(InMemoryBackend::new()))
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn exchange(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free(&self) -> Option<u64> {
        None
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// Overwrites a part of a storage with zeros.
pub(super) fn overwrite(storage: &dyn StorageBackend, part: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min(usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(ZEROS))];
    let (mut at, mut unsynced) = (part.start, 0);
    while at < part.end {
        let bytes = (part.end - at).min(ZEROS as u64);
        storage.write(at, &zeros[..bytes as usize])?;
        at += bytes;
        unsynced += bytes;
        if unsynced >= SYNC_EVERY {
            storage.sync_data()?;
            unsynced = 0;
        }
    }
    Ok(())
}

/// Overwrites a file with zeros, on the disk, and removes it. A link is removed alone. Returns its size; 0 if there is none.
///
/// # Errors
/// The disk's; the file may be there yet, in whole or in part.
pub(crate) fn overwrite_and_remove(path: &Path) -> io::Result<u64> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        about => about?,
    };
    let mut bytes = 0;
    if about.is_file() && has_one_name(&about) {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        bytes = file.metadata()?.len();
        overwrite_file(&file, bytes)?;
    }
    fs::remove_file(path)?;
    sync_directory(path)?;
    Ok(bytes)
}

/// Overwrites the first bytes of a file with zeros, on the disk.
///
/// # Errors
/// The disk's.
pub(crate) fn overwrite_file(mut file: &fs::File, bytes: u64) -> io::Result<()> {
    use std::io::{Seek, Write};

    file.rewind()?;
    let zeros = vec![0; ZEROS.min(usize::try_from(bytes).unwrap_or(ZEROS))];
    let (mut left, mut unsynced) = (bytes, 0);
    while left > 0 {
        let bytes = left.min(ZEROS as u64);
        file.write_all(&zeros[..bytes as usize])?;
        left -= bytes;
        unsynced += bytes;
        if unsynced >= SYNC_EVERY {
            file.sync_data()?;
            unsynced = 0;
        }
    }
    file.sync_data()
}

/// Whether a file has no other name: what lies under that one would be overwritten, too.
#[cfg(unix)]
fn has_one_name(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) == 1
}

/// Nothing makes other names here.
#[cfg(not(unix))]
fn has_one_name(_: &fs::Metadata) -> bool {
    true
}

/// Whether two names are of one file.
#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path| fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()));
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Whether two names are of one file: the one is open here, and locked.
#[cfg(not(unix))]
fn is_same(_: &Path, other: &Path) -> bool {
    let held = |file: fs::File| file.try_lock().is_err();
    fs::OpenOptions::new().write(true).open(other).is_ok_and(held)
}

/// The free bytes of the disk below a file, for this account.
#[cfg(unix)]
fn free_beside(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The free bytes of the disk below a file cannot be told here.
#[cfg(not(unix))]
fn free_beside(_: &Path) -> Option<u64> {
    None
}
