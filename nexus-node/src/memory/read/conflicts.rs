//! Counting and finding the memories that have a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nexus_crdt::{DOT_BYTES, Dot};

use super::Reader;
use crate::error::NodeError;
use crate::ledger::rows::unreadable;
use crate::memory::Memory;
use crate::store::{ALL_KEYS, Order, StoreError, Table};

/// The most memories that are counted.
const COUNTED_MAX: usize = 10_000;

impl Reader<'_> {
    /// The number of memories of which a field has several values, by space, without spaces that have none. At most
    /// 10,000 are counted.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn conflicts(&self) -> Result<BTreeMap<String, u64>, NodeError> {
        let mut counts = BTreeMap::new();
        self.each_in_conflict(&mut |memory| {
            *counts.entry(memory.space).or_default() += 1;
            ControlFlow::Continue(())
        })?;
        Ok(counts)
    }

    /// Memories of which a field has several values, at most `limit` of those that are wanted.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn in_conflict(&self, limit: usize, wanted: impl Fn(&Memory) -> bool) -> Result<Vec<Memory>, NodeError> {
        let mut found = Vec::new();
        self.each_in_conflict(&mut |memory| {
            let ended = memory.expires_at.is_some_and(|end| end <= self.now);
            found.extend((!ended && wanted(&memory)).then_some(memory));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    /// Each memory with a conflict once, of the first 10,000 that may have one.
    fn each_in_conflict(&self, each: &mut dyn FnMut(Memory) -> ControlFlow<()>) -> Result<(), NodeError> {
        let mut suspects = self.doubled(Table::Live, |key| key.get(4..4 + DOT_BYTES))?;
        suspects.extend(self.doubled(Table::Keys, |key| key.get(key.len().saturating_sub(DOT_BYTES)..))?);
        let mut seen = BTreeSet::new();
        for dot in suspects.into_iter().take(COUNTED_MAX) {
            let Some((place, row)) = self.row_of(dot)? else { continue };
            let (first, memory) = self.memory_of(self.record_in(dot, place, row)?)?;
            if !memory.conflicts.is_empty() && seen.insert(first) && each(memory).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The records of rows that differ from another one in the last dot of their keys alone, each at most once.
    fn doubled(&self, table: Table, record: fn(&[u8]) -> Option<&[u8]>) -> Result<BTreeSet<Dot>, StoreError> {
        let (mut records, mut last): (_, Vec<u8>) = (BTreeSet::new(), Vec::new());
        self.view.try_scan(table, ALL_KEYS, Order::Forward, &mut |key, value| {
            // a live row without a value is of a write that never arrived
            if table == Table::Live && value.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let shared = key.len().checked_sub(DOT_BYTES).ok_or_else(|| unreadable(table))?;
            if last.len() == key.len() && last[..shared] == key[..shared] {
                records.insert(record(key).and_then(Dot::from_bytes).ok_or_else(|| unreadable(table))?);
            }
            last.clear();
            last.extend_from_slice(key);
            Ok(if records.len() < COUNTED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(records)
    }
}
