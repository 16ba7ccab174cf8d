//! Going on after a commit for which the disk had no room.
//!
//! A database that failed to write neither writes nor reads any more. So it is opened again on the same
//! backend, as after a crash: the unfinished commit goes. This takes no room on the disk, since the
//! writes of opening stay in memory ([`Hold`]) until the next commit finds room for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::guard::guarded;
use super::hold::Hold;
use super::{
    ALL_KEYS, Batch, OpenStore, Opening, Order, Snapshot, StoreError, Table, TableChange, View, is_full, open_database,
};

impl OpenStore {
    /// Brings the writes that an opening on a full disk left in memory to the file.
    ///
    /// # Errors
    /// [`StoreError::Full`]; every other error poisons the store.
    pub(super) fn release(&self) -> Result<(), StoreError> {
        let hold = self.hold()?;
        match hold.release() {
            Err(error) if is_full(&error) => Err(StoreError::Full { file: self.file.clone() }),
            released => {
                self.poisoning(released.map_err(|error| StoreError::disk(&self.file, error)))?;
                self.use_log()
            }
        }
    }

    /// Whether writes go to the file.
    pub(super) fn is_released(&self) -> bool {
        self.hold().is_ok_and(|hold| hold.is_open())
    }

    /// Whether the last commit failed since the disk was full, and for no other reason.
    pub(super) fn ran_full(&self) -> bool {
        self.hold().is_ok_and(|hold| hold.ran_full())
    }

    /// How often the store was opened again.
    pub(super) fn times_opened_again(&self) -> u64 {
        self.reopened.load(Ordering::Acquire)
    }

    /// Whether the store was opened again since it had been opened so many times, or is about to be.
    pub(super) fn is_opened_again_since(&self, times: u64) -> bool {
        let is_other = || self.times_opened_again() != times;
        // it may be opened again while the second condition waits for that
        is_other() || self.ran_full() || is_other()
    }

    /// Waits for the commit that runs.
    pub(super) fn wait_for_commit(&self) {
        drop(self.committing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The state after the store was opened again, if it was. Waits for the commit that found no room.
    pub(super) fn opened_again(self: &Arc<Self>, since: u64) -> Option<Snapshot> {
        if !self.is_opened_again_since(since) {
            return None;
        }
        self.wait_for_commit();
        if self.times_opened_again() != since { Snapshot::new(self).ok() } else { None }
    }

    /// Opens the store again after a commit that failed for lack of room, and tells whether its batches are there. Those that
    /// are in the log are.
    ///
    /// # Errors
    /// [`StoreError::Full`] if nothing of them is; the commit's error, for good, if the store cannot be opened.
    pub(super) fn go_on(
        self: &Arc<Self>,
        batches: &[Batch],
        is_logged: bool,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let outcome = self.reopen().and_then(|()| {
            if is_logged {
                return Ok(true);
            }
            if !self.holds(batches)? {
                return Ok(false);
            }
            // The file's end alone had no room. Before it counts, it must survive a power loss: that of the file, too,
            // which a log would take back.
            match self.wal() {
                Some(_) => self.use_log()?,
                None => self.backend().sync_data().map_err(|error| StoreError::disk(&self.file, error))?,
            }
            Ok(true)
        });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::warn!(file = %self.file.display(), "the disk is full: the store is only read until there is room");
                Err(StoreError::Full { file: self.file.clone() })
            }
            Err(again) => {
                tracing::error!(%again, "the store cannot be opened again after the disk was full");
                self.poisoning(Err(error))
            }
        }
    }

    fn hold(&self) -> Result<Hold, StoreError> {
        let opening = self.opening.read().unwrap_or_else(PoisonError::into_inner);
        let opening = opening.as_ref().ok_or_else(|| StoreError::Closed { file: self.file.clone() })?;
        Ok(opening.hold.clone())
    }

    /// Replaces the failed database. Readers wait for the new one.
    fn reopen(&self) -> Result<(), StoreError> {
        // in the order of readers
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opening = self.opening.write().unwrap_or_else(PoisonError::into_inner);
        let Some(failed) = opening.take() else { return Err(StoreError::Closed { file: self.file.clone() }) };
        failed.hold.fence();
        let wal = self.wal();
        if let Some(wal) = &wal {
            wal.pause();
        }
        self.reopened.fetch_add(1, Ordering::AcqRel);
        guarded(&self.file, None, || {
            latest.opened = None;
            drop(failed);
            Ok(())
        })?;
        let hold = Hold::new(self.backend()).map_err(|error| StoreError::disk(&self.file, error))?;
        let database = guarded(&self.file, None, || open_database(&self.file, &hold, self.options))?;
        *opening = Some(Opening::new(database, hold));
        drop(opening);
        // Rows that only the log has, and that the failed database had in memory. Readers wait for these, too.
        let Some(wal) = wal else { return Ok(()) };
        let rows = wal.rows().map_err(|error| StoreError::disk(&self.file, error))?;
        if let Some((rows, batches)) = self.rows_to_write(rows)? {
            guarded(&self.file, None, || self.apply(&batches, Some(rows)))?;
        }
        drop(latest);
        Ok(())
    }

    /// Whether the committed state is as these batches leave it. A commit is there as a whole or not at all.
    fn holds(self: &Arc<Self>, batches: &[Batch]) -> Result<bool, StoreError> {
        let snapshot = Snapshot::new(self)?;
        let mut last: BTreeMap<(Table, &[u8]), Option<&[u8]>> = BTreeMap::new();
        let mut cleared = BTreeSet::new();
        for change in batches.iter().flat_map(Batch::changes) {
            match change {
                TableChange::Put { table, key, value } => drop(last.insert((table, key), Some(value))),
                TableChange::Delete { table, key } => drop(last.insert((table, key), None)),
                TableChange::Clear { table } => {
                    last.retain(|(other, _), _| *other != table);
                    cleared.insert(table);
                }
            }
        }
        for table in cleared {
            let mut others = false;
            snapshot.scan(table, ALL_KEYS, Order::Forward, &mut |key, _| {
                others = !matches!(last.get(&(table, key)), Some(Some(_)));
                if others { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if others {
                return Ok(false);
            }
        }
        for ((table, key), value) in last {
            if snapshot.get(table, key)?.as_deref() != value {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
