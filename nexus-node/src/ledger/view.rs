//! How facts are read: entries and logs as they are held, records and writes as they were folded.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Core, Dot, EntryId, Field, Head, LogId, SpaceId, Verified};

use super::rows::{self, Eno, EntryRow, LogNo, RecordRow, SpaceNo, SpaceRow, WriteRow, decode, unreadable};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// The logs of this store with their heads, by number.
pub(crate) fn read_logs(view: &dyn View) -> Result<Vec<(LogNo, LogId, Option<Head>)>, StoreError> {
    let mut logs = Vec::new();
    view.try_scan(Table::Logs, ALL_KEYS, Order::Forward, &mut |key, value| {
        let no = key.try_into().map(LogNo::from_be_bytes).map_err(|_| unreadable(Table::Logs))?;
        logs.push((no, decode(Table::Logs, value)?, None));
        Ok(ControlFlow::Continue(()))
    })?;
    for (no, _, head) in &mut logs {
        if let Some(row) = view.get(Table::Frontier, &rows::log_key(*no))? {
            *head = Some(decode(Table::Frontier, &row)?);
        }
    }
    Ok(logs)
}

/// The eno of an entry, if it is held.
pub(crate) fn find_entry(view: &dyn View, id: EntryId) -> Result<Option<Eno>, StoreError> {
    view.get(Table::Ids, id.as_bytes())?.map(|row| rows::read_eno(Table::Ids, &row)).transpose()
}

/// All spaces.
pub(crate) fn read_spaces(view: &dyn View) -> Result<BTreeMap<SpaceId, SpaceRow>, StoreError> {
    let mut spaces = BTreeMap::new();
    view.try_scan(Table::Spaces, ALL_KEYS, Order::Forward, &mut |key, value| {
        let id = key.try_into().map(SpaceId::from_bytes).map_err(|_| unreadable(Table::Spaces))?;
        spaces.insert(id, decode(Table::Spaces, value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(spaces)
}

/// One space, if its definition is held.
pub(crate) fn find_space(view: &dyn View, space: SpaceId) -> Result<Option<SpaceRow>, StoreError> {
    view.get(Table::Spaces, space.as_bytes())?.map(|row| decode(Table::Spaces, &row)).transpose()
}

/// An entry with its payload.
pub(crate) fn read_entry(view: &dyn View, eno: Eno) -> Result<Option<Verified>, StoreError> {
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else {
        return Ok(None);
    };
    let payload = view.get(Table::Payloads, &rows::eno_key(eno))?;
    decode::<EntryRow>(Table::Entries, &row)?.into_entry(payload).map(Some)
}

/// The last eno given.
pub(crate) fn last_eno(view: &dyn View) -> Result<Eno, StoreError> {
    let last = view.first(Table::Entries, ALL_KEYS, Order::Backward)?;
    last.map_or(Ok(0), |(key, _)| rows::read_eno(Table::Entries, &key))
}

/// The applied and unapplied entries of a log between two seqs, in order, forks included.
pub(crate) fn enos_of_log(view: &dyn View, log: LogNo, from: u64, to: u64) -> Result<Vec<Eno>, StoreError> {
    let mut enos = Vec::new();
    let start = rows::log_index_prefix(log, from);
    let end = rows::log_index_key(log, to, EntryId::from_bytes([0xff; 32]));
    let range = (Bound::Included(start.as_slice()), Bound::Included(end.as_slice()));
    view.try_scan(Table::LogIndex, range, Order::Forward, &mut |_, value| {
        enos.push(rows::read_eno(Table::LogIndex, value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(enos)
}

/// The JSON of a record's core.
pub(crate) fn read_core_text(view: &dyn View, eno: Eno, row: &RecordRow) -> Result<String, StoreError> {
    let (from, len) = (row.offset as usize, row.len as usize);
    let text = view.get_part(Table::Payloads, &rows::eno_key(eno), from..from.saturating_add(len), row.check)?;
    text.and_then(|text| String::from_utf8(text).ok()).ok_or_else(|| unreadable(Table::Payloads))
}

/// The core of a record.
pub(crate) fn read_core(view: &dyn View, eno: Eno, row: &RecordRow) -> Result<Core, StoreError> {
    Core::parse(&read_core_text(view, eno, row)?).ok_or_else(|| unreadable(Table::Payloads))
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
    let live = writes_below(view, Table::Live, &rows::field_prefix(space, record, field))?;
    Ok(live.into_iter().map(|(_, dot, row)| (dot, row)).collect())
}

/// The writes of a record in `Live` or `Past`; those that never came are left out.
pub(crate) fn read_writes(
    view: &dyn View,
    table: Table,
    space: SpaceNo,
    record: Dot,
) -> Result<Vec<(Field, Dot, WriteRow)>, StoreError> {
    writes_below(view, table, &rows::record_prefix(space, record))
}

fn writes_below(view: &dyn View, table: Table, prefix: &[u8]) -> Result<Vec<(Field, Dot, WriteRow)>, StoreError> {
    let mut writes = Vec::new();
    view.try_scan_prefix(table, prefix, Order::Forward, &mut |key, value| {
        if !value.is_empty() {
            let (field, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(table))?;
            writes.push((field, dot, decode(table, value)?));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(writes)
}

/// A record's row and its eno, if it was created here.
pub(crate) fn find_record(view: &dyn View, record: Dot) -> Result<Option<(Eno, RecordRow)>, StoreError> {
    let Some(eno) = find_entry(view, record.entry)? else {
        return Ok(None);
    };
    let row = view.get(Table::Records, &rows::record_key(eno, record.index))?;
    row.map(|row| Ok((eno, rows::decode(Table::Records, &row)?))).transpose()
}

/// The records in sight that have a caller's key, lowest dot first.
pub(crate) fn records_with_key(view: &dyn View, space: SpaceNo, key: &str) -> Result<Vec<Dot>, StoreError> {
    let mut records = Vec::new();
    view.try_scan_prefix(Table::Keys, &rows::caller_key_prefix(space, key), Order::Forward, &mut |key, _| {
        records.push(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::Keys))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(records)
}

/// The id of an entry by its number.
pub(crate) fn entry_id_of(view: &dyn View, eno: Eno) -> Result<Option<EntryId>, StoreError> {
    let row = view.get(Table::Entries, &rows::eno_key(eno))?;
    row.map(|row| Ok(EntryId::of(&rows::decode::<EntryRow>(Table::Entries, &row)?.header))).transpose()
}
