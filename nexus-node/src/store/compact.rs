//! Writing the file of a store anew, while it is read and written.
//!
//! A deleted row is gone for readers, but its bytes stay: in free pages of the file, in parts of pages, in the log. So the
//! rows that are there are copied into a new file beside, which takes the place of the former one. The former one and the
//! log are overwritten.
//!
//! The copy goes from the first row of the first table to the last, in portions, each from the state of its moment. Commits
//! are recorded meanwhile. Before each portion those so far are applied to the rows that are copied already. The others are
//! read later, in a state that has them. So little has to be remembered, and no state is kept long.
//!
//! At the end commits wait for some syncs. The new file takes over the last ones. The former file takes all rows from the log,
//! and the log is emptied. Then the new file is renamed over the former one. At each moment one of both is whole without a log.
//! Readers of the former file read on for a while, and then it is overwritten.

use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use redb::StorageBackend;

use super::beside::{Beside, overwrite};
use super::error::NotCompacted;
use super::guard::guarded;
use super::hold::{Hold, sync_failed};
use super::open::write_rows;
use super::view::{ALL_KEYS, Order, View};
use super::wal::Wal;
use super::write::Writing;
use super::{Batch, FilePlace, OnDisk, OpenStore, Opening, Snapshot, Store, StoreError, Table, TableChange, is_full};

/// The bytes of rows that are copied at once. No commit waits long for the disk that brings them down.
const PORTION_BYTES: usize = 4 << 20;
/// The bytes of commits that may be recorded between two portions.
const RECORDED_BYTES_MAX: usize = 64 << 20;
/// With so few bytes of recorded commits the exchange begins. Commits wait meanwhile.
const FEW_BYTES: usize = 256 << 10;
/// The most rounds of taking over commits before the exchange.
const ROUNDS_MAX: usize = 64;
/// Bytes that are to be free beside those of the new file: writes go on meanwhile, and the default reserve stays.
const ROOM_BESIDE: u64 = 80 << 20;

/// How far a compaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactStep {
    /// Rows are copied: the bytes so far, and those of the former file.
    Copying {
        /// The bytes so far.
        done: u64,
        /// The bytes of the former file.
        of: u64,
    },
    /// The former file is overwritten.
    Overwriting,
}

/// The outcome of a compaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The size of the file and its log before, in bytes.
    pub before: u64,
    /// The size after.
    pub after: u64,
    /// Whether the former bytes are overwritten. Else the next start does that.
    pub overwritten: bool,
}

/// Commits that a compaction has yet to take over.
#[derive(Debug, Default)]
pub(super) struct Recording {
    batches: Vec<Batch>,
    bytes: usize,
    is_behind: bool,
}

impl OpenStore {
    /// Notes a commit for the compaction that runs.
    pub(super) fn record(&self, batches: &[Batch]) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recording) = recording.as_mut().filter(|recording| !recording.is_behind) else { return };
        recording.bytes += batches.iter().map(Batch::bytes).sum::<usize>();
        if recording.bytes > RECORDED_BYTES_MAX {
            *recording = Recording { is_behind: true, ..Recording::default() };
        } else {
            recording.batches.extend(batches.iter().cloned());
        }
    }

    fn set_recording(&self, recording: Option<Recording>) -> Option<Recording> {
        std::mem::replace(&mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner), recording)
    }

    fn not_compacted(&self, why: NotCompacted) -> StoreError {
        StoreError::NotCompacted { file: self.file.clone(), why }
    }
}

/// Tells rows that are written together with the exchange of a file, of the last state and the path of the new file.
type RowsBeside<'a> = dyn Fn(&Snapshot, Option<&Path>) -> Result<Batch, StoreError> + 'a;

impl Store {
    /// Writes the file anew without what was deleted, and overwrites the former one and the log. Blocks for as long as that takes;
    /// the store is read and written meanwhile. `with` tells rows that are written together with the exchange: it gets the
    /// last state, and the path of the new file. `step` hears how far it is, and may break it off.
    ///
    /// # Errors
    /// [`StoreError::NoRoomBeside`], [`StoreError::NotCompacted`] or [`StoreError::Full`]: nothing has changed. Else as
    /// [`commit`](Self::commit).
    #[doc(hidden)]
    pub fn compact(
        &self,
        with: &RowsBeside<'_>,
        step: &mut dyn FnMut(CompactStep) -> ControlFlow<()>,
    ) -> Result<Compacted, StoreError> {
        self.0.compact(with, step)
    }

    /// Whether there is a place for a second file beside it.
    pub(crate) fn is_compactable(&self) -> bool {
        self.0.beside.get().is_some()
    }
}

impl OpenStore {
    fn compact(
        self: &Arc<Self>,
        with: &RowsBeside<'_>,
        step: &mut dyn FnMut(CompactStep) -> ControlFlow<()>,
    ) -> Result<Compacted, StoreError> {
        let Ok(_alone) = self.compacting.try_lock() else { return Err(self.not_compacted(NotCompacted::Running)) };
        let Some(beside) = self.beside.get() else { return Err(self.not_compacted(NotCompacted::NoFile)) };
        self.check()?;
        let disk = |error| StoreError::disk(&self.file, error);
        beside.clear().map_err(disk)?;
        self.has_room(&**beside)?;
        let before = self.bytes_on_disk().map_err(disk)?;
        self.set_recording(Some(Recording::default()));
        let exchanged = self.copy_and_exchange(&**beside, with, step);
        self.set_recording(None);
        let former = match exchanged {
            Ok(former) => former,
            Err(error) => {
                // once it is not known whether the exchange lasts, both files stay for the next start
                if self.poisoned.get().is_none()
                    && let Err(error) = beside.clear()
                {
                    tracing::warn!(file = %self.file.display(), %error, "the remains of a compaction cannot be removed");
                }
                return Err(error);
            }
        };
        let overwritten = self.overwrite(former, &**beside, step)?;
        let after = self.bytes_on_disk().map_err(disk)?;
        Ok(Compacted { before, after, overwritten })
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        let on_disk = self.on_disk();
        let log = on_disk.wal.as_ref().map_or(Ok(0), |wal| wal.bytes())?;
        Ok(on_disk.backend.len()? + log)
    }

    /// Whether there is room for a second file. It is never much larger than the first one.
    fn has_room(&self, beside: &dyn Beside) -> Result<(), StoreError> {
        let len = self.backend().len().map_err(|error| StoreError::disk(&self.file, error))?;
        let needed = len + len / 4 + ROOM_BESIDE;
        match beside.free() {
            Some(free) if free < needed => Err(StoreError::NoRoomBeside { file: self.file.clone(), needed, free }),
            _ => Ok(()),
        }
    }

    fn copy_and_exchange(
        self: &Arc<Self>,
        beside: &dyn Beside,
        with: &RowsBeside<'_>,
        step: &mut dyn FnMut(CompactStep) -> ControlFlow<()>,
    ) -> Result<Former, StoreError> {
        let mut copying = Copying::begin(self, beside)?;
        let since = self.times_opened_again();
        let of = self.backend().len().map_err(|error| StoreError::disk(&self.file, error))?;
        while !copying.has_all() {
            self.may_go_on(since)?;
            if step(CompactStep::Copying { done: copying.bytes.min(of), of }).is_break() {
                return Err(self.not_compacted(NotCompacted::BrokenOff));
            }
            copying.portion()?;
        }
        for _ in 0..ROUNDS_MAX {
            self.may_go_on(since)?;
            let batches = self.recorded()?;
            let bytes = batches.iter().map(Batch::bytes).sum::<usize>();
            copying.take_over(&batches)?;
            if bytes <= FEW_BYTES {
                break;
            }
        }
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_go_on(since)?;
        self.release()?;
        copying.end(with, beside)?;
        self.exchange(copying.new, beside)
    }

    /// A store that was closed, that failed, or that has no room on its disk is not compacted any further.
    fn may_go_on(&self, since: u64) -> Result<(), StoreError> {
        self.check()?;
        self.database()?;
        if self.is_opened_again_since(since) {
            return Err(StoreError::Full { file: self.file.clone() });
        }
        Ok(())
    }

    /// The commits since this was last asked.
    fn recorded(&self) -> Result<Vec<Batch>, StoreError> {
        match self.set_recording(Some(Recording::default())) {
            Some(recording) if !recording.is_behind => Ok(recording.batches),
            _ => Err(self.not_compacted(NotCompacted::Behind)),
        }
    }

    /// Puts the new file in the place of the former one. No commit runs meanwhile.
    fn exchange(self: &Arc<Self>, new: New, beside: &dyn Beside) -> Result<Former, StoreError> {
        let disk = |error: io::Error| StoreError::disk(&self.file, error);
        let wal = self.wal();
        if let Some(wal) = &wal {
            // the former file has all, and the log nothing, before another file is beside the log
            let applied = guarded(&self.file, None, || self.apply(&[], Some(wal.last_rows())));
            self.forget_latest();
            match applied {
                Err(error) if self.ran_full() => {
                    self.go_on(&[], true, error)?;
                    return Err(StoreError::Full { file: self.file.clone() });
                }
                Err(error) => {
                    wal.fail();
                    return self.poisoning(Err(error));
                }
                Ok(()) => {}
            }
            self.poisoning(wal.retire().map_err(|error| disk(sync_failed(&error))))?;
        }
        let mut on_disk = self.on_disk_mut();
        if let Err(error) = beside.exchange() {
            drop(on_disk);
            self.use_log()?;
            return Err(disk(error));
        }
        self.poisoning(beside.sync().map_err(|error| disk(sync_failed(&error))))?;
        let New { opening, backend, wal } = new;
        let place = beside.path().map(|_| FilePlace::of(&self.file));
        let former = std::mem::replace(&mut *on_disk, OnDisk { place, backend, wal });
        drop(on_disk);
        // in the order of readers
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = self.opening.write().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = open.replace(opening) else { return Err(StoreError::Closed { file: self.file.clone() }) };
        self.reopened.fetch_add(1, Ordering::AcqRel);
        let read = latest.opened.take();
        drop((open, latest, read));
        before.readers.close();
        self.use_log()?;
        Ok(Former { opening: before, on_disk: former })
    }

    /// Overwrites the former file once nobody reads it, and lets it go. `false` if that was broken off: the next start does it.
    fn overwrite(
        &self,
        former: Former,
        beside: &dyn Beside,
        step: &mut dyn FnMut(CompactStep) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        let Former { opening, on_disk } = former;
        if !opening.readers.wait(beside.patience()) {
            tracing::warn!(file = %self.file.display(), "a long reading of the store ends, as the store was written anew");
        }
        opening.hold.fence();
        guarded(&self.file, None, || {
            drop(opening);
            Ok(())
        })?;
        let storage = on_disk.wal.as_ref().map_or(&on_disk.backend, |wal| wal.main());
        let mut overwritten = || {
            let (mut at, len) = (0, storage.len()?);
            while at < len {
                if step(CompactStep::Overwriting).is_break() {
                    return Ok(false);
                }
                let end = len.min(at + PORTION_BYTES as u64);
                overwrite(&**storage, at..end)?;
                storage.sync_data()?;
                at = end;
            }
            // states at rest keep it open
            storage.set_len(0)?;
            Ok(true)
        };
        match overwritten() {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            // on a file system that writes elsewhere; the rest goes with the file
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(StoreError::disk(&self.file, error)),
        }
        drop(on_disk);
        beside.clear().map_err(|error| StoreError::disk(&self.file, error))?;
        Ok(true)
    }
}

/// A database that was replaced.
struct Former {
    opening: Opening,
    on_disk: OnDisk,
}

/// A database that is to take the place of another one.
struct New {
    opening: Opening,
    backend: Arc<dyn StorageBackend>,
    wal: Option<Arc<Wal>>,
}

/// A copy in the making.
struct Copying<'a> {
    store: &'a Arc<OpenStore>,
    new: New,
    /// The table that is copied, by its index. All before it are.
    table: usize,
    /// The last key of it that is copied.
    after: Option<Vec<u8>>,
    bytes: u64,
}

impl<'a> Copying<'a> {
    fn begin(store: &'a Arc<OpenStore>, beside: &dyn Beside) -> Result<Self, StoreError> {
        let disk = |error| StoreError::disk(&store.file, error);
        let main = beside.make().map_err(disk)?;
        let wal = store.wal().map(|wal| {
            let (place, segment_bytes) = wal.place();
            Wal::fresh(Arc::clone(&main), place, segment_bytes).map(Arc::new)
        });
        let wal = wal.transpose().map_err(disk)?;
        let backend = wal.as_ref().map_or(main, |wal| Arc::clone(wal) as Arc<dyn StorageBackend>);
        let hold = Hold::new(Arc::clone(&backend)).map_err(disk)?;
        hold.release().map_err(disk)?;
        let database = guarded(&store.file, None, || {
            let builder =
                redb::Builder::new().set_cache_size(store.options.cache_bytes).create_with_backend(hold.clone());
            builder.map_err(|error| StoreError::from_redb(&store.file, None, error))
        })?;
        let new = New { opening: Opening::new(database, hold), backend, wal };
        Ok(Self { store, new, table: 0, after: None, bytes: 0 })
    }

    fn has_all(&self) -> bool {
        self.table >= Table::COUNT
    }

    fn has(&self, table: Table, key: &[u8]) -> bool {
        table.index() < self.table
            || table.index() == self.table && self.after.as_deref().is_some_and(|after| key <= after)
    }

    /// Takes over what was committed, and copies some more rows.
    fn portion(&mut self) -> Result<(), StoreError> {
        // these first: the state has them, or it has more
        let batches = self.store.recorded()?;
        let view = Snapshot::new(self.store)?;
        self.write(None, |this, writing| {
            batches.iter().try_for_each(|batch| this.apply(writing, batch))?;
            let mut left = PORTION_BYTES;
            while let Some(&table) = Table::ALL.get(this.table) {
                this.copy(&view, table, &mut left, writing)?;
                if left == 0 {
                    return Ok(());
                }
                this.table += 1;
                this.after = None;
            }
            Ok(())
        })
    }

    /// Copies rows of a table, until there is nothing left of the bytes.
    fn copy(
        &mut self,
        view: &Snapshot,
        table: Table,
        left: &mut usize,
        to: &mut Writing<'_>,
    ) -> Result<(), StoreError> {
        let from = self.after.take();
        let range = match from.as_deref() {
            Some(after) => (Bound::Excluded(after), Bound::Unbounded),
            None => ALL_KEYS,
        };
        let mut last = from.clone();
        let mut bytes = 0;
        view.try_scan(table, range, Order::Forward, &mut |key, value| {
            to.put(table, key, value)?;
            let row = key.len() + value.len();
            bytes += row as u64;
            *left = left.saturating_sub(row.max(1));
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            Ok(if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        self.after = last;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes over commits, once all rows are copied.
    fn take_over(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        if batches.is_empty() {
            return Ok(());
        }
        self.write(None, |this, writing| batches.iter().try_for_each(|batch| this.apply(writing, batch)))
    }

    /// Takes over the last commits, looks whether as many rows are there, and adds those of `with`.
    fn end(&mut self, with: &RowsBeside<'_>, beside: &dyn Beside) -> Result<(), StoreError> {
        let store = self.store;
        let batches = store.recorded()?;
        let view = Snapshot::new(store)?;
        let more = with(&view, beside.path())?;
        self.write(Some(store.last_rows()), |this, writing| {
            batches.iter().try_for_each(|batch| this.apply(writing, batch))?;
            for &table in Table::ALL {
                if writing.count(table)? != view.count(table)? {
                    return Err(store.not_compacted(NotCompacted::Unequal));
                }
            }
            this.apply(writing, &more)
        })
    }

    /// Applies what a batch changes of the rows that are copied.
    fn apply(&self, writing: &mut Writing<'_>, batch: &Batch) -> Result<(), StoreError> {
        let mut here = Batch::new();
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } if self.has(table, key) => here.put(table, key, value),
                TableChange::Delete { table, key } if self.has(table, key) => here.delete(table, key),
                TableChange::Clear { table } if table.index() <= self.table => here.clear(table),
                _ => {}
            }
        }
        writing.apply(&here)
    }

    /// Does something in a durable commit of the new file, which names the last rows of a log.
    fn write(
        &mut self,
        rows: Option<u64>,
        run: impl FnOnce(&mut Self, &mut Writing<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (file, database) = (self.store.file.clone(), Arc::clone(&self.new.opening.database));
        let failed = |error: redb::Error| StoreError::from_redb(&file, None, error);
        let written = guarded(&file, None, || {
            let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
            {
                let mut writing = Writing::new(&file, &transaction);
                run(self, &mut writing)?;
            }
            if let Some(rows) = rows {
                write_rows(&file, &transaction, rows)?;
            }
            transaction.commit().map_err(|error| failed(error.into()))
        });
        match written {
            // the store itself has lost nothing
            Err(_) if self.new.opening.hold.ran_full() => Err(StoreError::Full { file }),
            written => written,
        }
    }
}
