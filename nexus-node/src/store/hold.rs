//! A storage backend that keeps writes back until the file is known to be ours.
//!
//! Opening a database writes to it: a repair after a crash, a mark that it is in use. But a file that
//! is refused, as damaged or of a later version, must not change by a byte. So while a file is
//! examined, its writes and syncs are held in memory, in order. On acceptance they are played to the
//! file, and later ones go there directly.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::is_full;
use super::wal::Replayed;

const BLOCK_BYTES: u64 = 4096;

/// The backend that the database writes to.
#[derive(Clone, Debug)]
pub(super) struct Hold(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn StorageBackend>,
    /// Whether the examination is over. Set once, after the held writes were played.
    open: AtomicBool,
    /// Whether another database has the backend now. This one touches it no more.
    fenced: AtomicBool,
    /// Whether the disk had no room for a write.
    full: AtomicBool,
    /// Whether a sync failed: nobody knows then what the disk keeps.
    unsynced: AtomicBool,
    held: Mutex<HeldBytes>,
}

#[derive(Debug)]
struct HeldBytes {
    steps: VecDeque<Step>,
    /// The blocks that differ from the backend's.
    blocks: BTreeMap<u64, Box<[u8]>>,
    len: u64,
    /// The length of the backend's valid bytes. Bytes beyond a former cut read as zero.
    floor: u64,
}

#[derive(Debug)]
enum Step {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
    Sync,
}

impl Hold {
    /// Starts the examination of a backend.
    pub(super) fn new(backend: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = backend.len()?;
        let held = HeldBytes { steps: VecDeque::new(), blocks: BTreeMap::new(), len, floor: len };
        Ok(Self(Arc::new(Inner {
            backend,
            open: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
            full: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            held: Mutex::new(held),
        })))
    }

    /// Holds the steps that a log has.
    pub(super) fn replay(&self, steps: &[Replayed]) -> io::Result<()> {
        let mut held = self.held();
        for step in steps {
            match step {
                Replayed::SetLen(len) => held.set_len(*len),
                Replayed::Write { offset, data } => {
                    // a log may have lost the change of length that a power loss took from the file, too
                    let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                    if end > held.len {
                        held.set_len(end);
                    }
                    held.write(&*self.0.backend, *offset, data)?;
                }
                // not for the file: the database writes them
                Replayed::Rows { .. } => {}
            }
        }
        if !steps.is_empty() {
            held.steps.push_back(Step::Sync);
        }
        Ok(())
    }

    /// Lets the content count as absent.
    pub(super) fn reset(&self) {
        self.held().set_len(0);
    }

    /// Plays the held writes to the backend, those that an earlier call did not come to. Later writes go there
    /// directly.
    ///
    /// # Errors
    /// The backend's. The rest stays in memory, and reads see it.
    pub(super) fn release(&self) -> io::Result<()> {
        if self.is_open() {
            return Ok(());
        }
        let mut held = self.held();
        // a step that failed is done again, and none before it: an earlier one could undo a later one
        while let Some(step) = held.steps.front() {
            match step {
                Step::Write { offset, data } => self.0.backend.write(*offset, data)?,
                Step::SetLen(len) => self.0.backend.set_len(*len)?,
                Step::Sync => self.synced(self.0.backend.sync_data())?,
            }
            held.steps.pop_front();
        }
        held.blocks.clear();
        self.0.open.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the writes go to the backend.
    pub(super) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Acquire)
    }

    /// Lets go of the backend: every later call fails, and leaves it alone.
    pub(super) fn fence(&self) {
        self.0.fenced.store(true, Ordering::Release);
    }

    /// Whether the disk was full for a write, and kept every sync that it was asked for.
    pub(super) fn ran_full(&self) -> bool {
        self.0.full.load(Ordering::Acquire) && !self.0.unsynced.load(Ordering::Acquire)
    }

    fn check(&self) -> io::Result<()> {
        match self.0.fenced.load(Ordering::Acquire) {
            true => Err(io::Error::other("the file was opened again")),
            false => Ok(()),
        }
    }

    /// Notes a write without room.
    fn roomy(&self, written: io::Result<()>) -> io::Result<()> {
        if written.as_ref().is_err_and(is_full) {
            self.0.full.store(true, Ordering::Release);
        }
        written
    }

    /// Notes a failed sync. It is never for lack of room alone, whatever its reason: pages may be gone.
    fn synced(&self, synced: io::Result<()>) -> io::Result<()> {
        synced.map_err(|error| {
            self.0.unsynced.store(true, Ordering::Release);
            sync_failed(&error)
        })
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldBytes {
    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.floor = self.floor.min(len);
            self.blocks.split_off(&len.div_ceil(BLOCK_BYTES));
            if let Some(block) = self.blocks.get_mut(&(len / BLOCK_BYTES)) {
                block[(len % BLOCK_BYTES) as usize..].fill(0);
            }
        }
        self.len = len;
        self.steps.push_back(Step::SetLen(len));
    }

    fn write(&mut self, backend: &dyn StorageBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = end_within(offset, data.len(), self.len)?;
        let mut at = offset;
        while at < end {
            let number = at / BLOCK_BYTES;
            let within = (at % BLOCK_BYTES) as usize;
            let until = end.min((number + 1) * BLOCK_BYTES);
            if !self.blocks.contains_key(&number) {
                let mut block = vec![0; BLOCK_BYTES as usize];
                self.read_backend(backend, number * BLOCK_BYTES, &mut block)?;
                self.blocks.insert(number, block.into());
            }
            if let Some(block) = self.blocks.get_mut(&number) {
                let part = &data[(at - offset) as usize..(until - offset) as usize];
                block[within..within + part.len()].copy_from_slice(part);
            }
            at = until;
        }
        self.steps.push_back(Step::Write { offset, data: data.to_vec() });
        Ok(())
    }

    fn read(&self, backend: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = end_within(offset, out.len(), self.len)?;
        self.read_backend(backend, offset, out)?;
        for (number, block) in self.blocks.range(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)) {
            let start = number * BLOCK_BYTES;
            let (from, until) = (offset.max(start), end.min(start + BLOCK_BYTES));
            out[(from - offset) as usize..(until - offset) as usize]
                .copy_from_slice(&block[(from - start) as usize..(until - start) as usize]);
        }
        Ok(())
    }

    /// Reads from the backend; zeros past its end.
    fn read_backend(&self, backend: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.floor.saturating_sub(offset).min(out.len() as u64) as usize;
        let (known, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if known.is_empty() { Ok(()) } else { backend.read(offset, known) }
    }
}

/// The error of a failed sync, which is not that of a full disk: nobody knows what the disk keeps.
pub(crate) fn sync_failed(error: &io::Error) -> io::Error {
    io::Error::other(format!("the disk did not keep what was written: {error}"))
}

/// The end of a range, if it lies within the file. A damaged page number may point anywhere.
fn end_within(offset: u64, bytes: usize, len: u64) -> io::Result<u64> {
    offset.checked_add(bytes as u64).filter(|end| *end <= len).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Hold {
    fn len(&self) -> io::Result<u64> {
        self.check()?;
        if self.is_open() { self.0.backend.len() } else { Ok(self.held().len) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check()?;
        if self.is_open() {
            return self.0.backend.read(offset, out);
        }
        let held = self.held();
        // released meanwhile: the blocks are in the file now
        if self.is_open() { self.0.backend.read(offset, out) } else { held.read(&*self.0.backend, offset, out) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        if self.is_open() {
            self.roomy(self.0.backend.set_len(len))
        } else {
            self.held().set_len(len);
            Ok(())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        if self.is_open() {
            self.synced(self.0.backend.sync_data())
        } else {
            self.held().steps.push_back(Step::Sync);
            Ok(())
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        if self.is_open() {
            self.roomy(self.0.backend.write(offset, data))
        } else {
            self.held().write(&*self.0.backend, offset, data)
        }
    }

    fn close(&self) -> io::Result<()> {
        if self.check().is_ok() { self.0.backend.close() } else { Ok(()) }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        // the lock belongs to the database that has the backend now
        if self.check().is_ok() { self.0.backend.unlock_range(start, end) } else { Ok(()) }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.query_lock_range(start, end)
    }
}
