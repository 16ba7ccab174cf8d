//! Reading what the engine wrote: used by the engine itself, and by whoever answers questions.

use std::ops::ControlFlow;

use nexus_crdt::{Dot, EntryId};

use super::rows::{self, Eno, EntryRow, RecordRow, SpaceNo, WriteRow};
use crate::store::{Order, StoreError, Table, View};

/// The core's JSON in its entry's payload; empty if the payload is gone.
pub(crate) fn core_text<'a>(payload: &'a [u8], row: &RecordRow) -> &'a str {
    let (from, len) = (row.offset as usize, row.len as usize);
    let bytes = payload.get(from..from.saturating_add(len)).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Whether any key begins with a prefix.
pub(crate) fn has_any(view: &dyn View, table: Table, prefix: &[u8]) -> Result<bool, StoreError> {
    let mut any = false;
    view.scan_prefix(table, prefix, Order::Forward, &mut |_, _| {
        any = true;
        ControlFlow::Break(())
    })?;
    Ok(any)
}

/// The live writes of a field.
pub(crate) fn live_writes(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    field: &str,
) -> Result<Vec<(Dot, WriteRow)>, StoreError> {
    let mut live = Vec::new();
    let mut bad = false;
    view.scan_prefix(Table::Live, &rows::field_prefix(space, record, field), Order::Forward, &mut |key, value| {
        match (rows::read_write_key(key), rows::decode(Table::Live, value)) {
            (Some((_, dot)), Ok(row)) => live.push((dot, row)),
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(rows::unreadable(Table::Live)) } else { Ok(live) }
}

/// A record's row and its eno, if it was created here.
pub(crate) fn find_record(view: &dyn View, record: Dot) -> Result<Option<(Eno, RecordRow)>, StoreError> {
    let Some(eno) = rows::find_entry(view, record.entry)? else {
        return Ok(None);
    };
    let row = view.get(Table::Records, &rows::record_key(eno, record.index))?;
    row.map(|row| Ok((eno, rows::decode(Table::Records, &row)?))).transpose()
}

/// The records in sight that have a caller's key, lowest dot first.
pub(crate) fn records_with_key(view: &dyn View, space: SpaceNo, key: &str) -> Result<Vec<Dot>, StoreError> {
    let mut records = Vec::new();
    view.scan_prefix(Table::Keys, &rows::caller_key_prefix(space, key), Order::Forward, &mut |key, _| {
        records.extend(rows::dot_at_end(key));
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

/// The id of an entry by its number.
pub(crate) fn entry_id_of(view: &dyn View, eno: Eno) -> Result<Option<EntryId>, StoreError> {
    let row = view.get(Table::Entries, &rows::eno_key(eno))?;
    row.map(|row| Ok(EntryId::of(&rows::decode::<EntryRow>(Table::Entries, &row)?.header))).transpose()
}
