//! Brings rows of an earlier format to the current one, in steps.
//!
//! | format | rows |
//! |---|---|
//! | 1 | an entry's row has one byte after its seq: whether the entry counts |
//! | 2 to 6 | an entry's row holds the received data; whether the entry counts is derived |
//!
//! The first step raises the store's format, so no earlier version reads rows of both formats.

use std::ops::{Bound, ControlFlow};

use super::rows::{self, meta, unreadable};
use crate::store::{Batch, FORMAT, FORMAT_KEY, Order, ROWS_FORMAT, StoreError, Table, View};

/// The place of that byte in a row of format 1: after log and seq.
const STANDING_AT: usize = 12;

/// The next step: a batch of at most `rows_max` rows. `None` if all rows have the current format.
///
/// # Errors
/// An error of the view, or unreadable rows.
pub(crate) fn next_migration(view: &dyn View, rows_max: usize) -> Result<Option<Batch>, StoreError> {
    let mut batch = Batch::new();
    let format = view.get(Table::Meta, FORMAT_KEY)?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if format.ok_or_else(|| unreadable(Table::Meta))? < ROWS_FORMAT {
        batch.put(Table::Meta, FORMAT_KEY, &FORMAT.to_le_bytes());
        batch.put(Table::Meta, meta::MIGRATED, &rows::eno_key(0));
        // the derived tables follow the rules of the earlier format
        batch.delete(Table::Meta, meta::VIEW);
        return Ok(Some(batch));
    }
    let Some(migrated) = view.get(Table::Meta, meta::MIGRATED)? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    let range = (Bound::Excluded(migrated.as_slice()), Bound::Unbounded);
    view.scan(Table::Entries, range, Order::Forward, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match found.last() {
        None => batch.delete(Table::Meta, meta::MIGRATED),
        Some((last, _)) => batch.put(Table::Meta, meta::MIGRATED, last),
    }
    for (key, mut row) in found {
        if row.len() <= STANDING_AT {
            return Err(unreadable(Table::Entries));
        }
        row.remove(STANDING_AT);
        batch.put(Table::Entries, &key, &row);
    }
    Ok(Some(batch))
}
