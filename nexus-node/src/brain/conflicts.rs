//! Memories with a conflict: their number for `/metrics`, and some of them for an agent to settle.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Brain;
use crate::error::NodeError;
#[cfg(feature = "mcp")]
use crate::memory::Memory;
use crate::memory::MemoryId;

/// The shortest time between two counts.
const EVERY: Duration = Duration::from_secs(60);
/// The part of a core that counting may take, as a divisor.
const SHARE: u32 = 200;
/// Looking for all is exact while it takes no longer than this.
const CHEAP: Duration = Duration::from_millis(20);
/// The part of a core that looking for all may take where it takes longer, as a divisor.
const SHARE_FOUND: u32 = 20;

/// The last count, and the memories that were found.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    counted: Mutex<Option<Counted>>,
    found: Mutex<Option<Found>>,
}

#[derive(Clone, Debug)]
struct Found {
    /// The state of the store.
    state: u64,
    /// When they are looked for again at the earliest, if the store has changed.
    again: Duration,
    ids: Vec<MemoryId>,
}

#[derive(Clone, Debug)]
struct Counted {
    /// The state of the store.
    state: u64,
    /// When it is counted again, at the earliest.
    again: Duration,
    by_space: BTreeMap<String, u64>,
}

impl Conflicts {
    fn kept(&self, state: u64, now: Duration) -> Option<BTreeMap<String, u64>> {
        let last = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = last.as_ref().filter(|last| last.state == state || now < last.again)?;
        Some(counted.by_space.clone())
    }

    fn keep(&self, state: u64, began: Duration, ended: Duration, by_space: BTreeMap<String, u64>) {
        let again = ended + EVERY.max(ended.saturating_sub(began) * SHARE);
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Counted { state, again, by_space });
    }
}

impl Brain {
    /// The number of memories with a conflict, by space; at most 10,000 are counted. It may be a minute old, or older
    /// where counting takes long.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) async fn conflicts(&self) -> Result<BTreeMap<String, u64>, NodeError> {
        let began = self.here().world.now();
        let state = *self.here().engine.committed().borrow();
        if let Some(kept) = self.0.conflicts.kept(state, began) {
            return Ok(kept);
        }
        let counted = self.whole().reading(|brain| brain.reader(&brain.snapshot()?)?.conflicts()).await?;
        self.0.conflicts.keep(state, began, self.here().world.now(), counted.clone());
        Ok(counted)
    }

    /// The memories with a conflict that have not ended, of the first 10,000 that may have one. Where looking for them takes
    /// longer than 20 ms, they may be as old as twenty times that.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn all_in_conflict_blocking(&self) -> Result<Vec<MemoryId>, NodeError> {
        let ids = self.whole().found_in_conflict()?;
        if self.1.is_none() {
            return Ok(ids);
        }
        // of some spaces alone
        Ok(ids.into_iter().filter(|id| self.get_blocking(*id).is_ok()).collect())
    }

    fn found_in_conflict(&self) -> Result<Vec<MemoryId>, NodeError> {
        // before the snapshot: a change in between has it looked for again
        let state = *self.here().engine.committed().borrow();
        let began = self.here().world.now();
        let last = self.0.conflicts.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = last.filter(|found| found.state == state || began < found.again) {
            return Ok(found.ids);
        }
        let snapshot = self.snapshot()?;
        let found = self.reader(&snapshot)?.in_conflict(usize::MAX, |_| true)?;
        let ids: Vec<MemoryId> = found.into_iter().map(|memory| memory.id).collect();
        let ended = self.here().world.now();
        let took = ended.saturating_sub(began);
        let again = if took > CHEAP { ended + took * SHARE_FOUND } else { ended };
        let found = Found { state, again, ids: ids.clone() };
        *self.0.conflicts.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(ids)
    }

    /// Memories with a conflict that are wanted, at most `limit`, the latest changed first.
    ///
    /// # Errors
    /// An error of the store.
    #[cfg(feature = "mcp")]
    pub(crate) fn in_conflict_blocking(
        &self,
        limit: usize,
        wanted: impl Fn(&Memory) -> bool,
    ) -> Result<Vec<Memory>, NodeError> {
        let ids = self.all_in_conflict_blocking()?;
        let mut found = Vec::new();
        for id in ids {
            let Ok(memory) = self.get_blocking(id) else { continue };
            if !memory.conflicts.is_empty() && wanted(&memory) {
                found.push(memory);
            }
            if found.len() == limit {
                break;
            }
        }
        found.sort_by_key(|memory| std::cmp::Reverse(memory.updated_at));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Commands and API | Counting conflicts takes a two-hundredth of a core at most
    #[test]
    fn conflicts_are_counted_after_a_change_once_a_minute_or_less() {
        let (conflicts, at) = (Conflicts::default(), Duration::from_secs);
        assert!(conflicts.kept(7, at(0)).is_none());
        conflicts.keep(7, at(0), at(0), BTreeMap::from([("default".to_owned(), 3)]));
        assert_eq!(conflicts.kept(7, at(900)).unwrap()["default"], 3, "nothing has changed");
        assert!(conflicts.kept(8, at(59)).is_some() && conflicts.kept(8, at(60)).is_none());
        conflicts.keep(8, at(60), at(62), BTreeMap::new());
        assert!(conflicts.kept(9, at(461)).is_some() && conflicts.kept(9, at(462)).is_none());
    }
}
