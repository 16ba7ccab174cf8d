//! How facts are read: entries and logs as they are held, records and writes as they were folded.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Dot, EntryId, Head, LogId, SpaceId, Verified};

use super::rows::{self, Eno, EntryRow, LogNo, RecordRow, SpaceNo, SpaceRow, WriteRow, decode, unreadable};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// The logs of this store with their heads, by number.
pub(crate) fn read_logs(view: &dyn View) -> Result<Vec<(LogNo, LogId, Option<Head>)>, StoreError> {
    let mut logs = Vec::new();
    let mut bad = false;
    view.scan(Table::Logs, ALL_KEYS, Order::Forward, &mut |key, value| {
        match (key.try_into().map(LogNo::from_be_bytes), borsh::from_slice::<LogId>(value)) {
            (Ok(no), Ok(log)) => logs.push((no, log, None)),
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad {
        return Err(unreadable(Table::Logs));
    }
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
    let mut bad = false;
    view.scan(Table::Spaces, ALL_KEYS, Order::Forward, &mut |key, value| {
        match (key.try_into().map(SpaceId::from_bytes), decode::<SpaceRow>(Table::Spaces, value)) {
            (Ok(id), Ok(row)) => {
                spaces.insert(id, row);
            }
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(unreadable(Table::Spaces)) } else { Ok(spaces) }
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
    let mut bad = false;
    view.scan(Table::LogIndex, (Bound::Included(&start), Bound::Included(&end)), Order::Forward, &mut |_, value| {
        match rows::read_eno(Table::LogIndex, value) {
            Ok(eno) => enos.push(eno),
            Err(_) => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(unreadable(Table::LogIndex)) } else { Ok(enos) }
}

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
    let Some(eno) = find_entry(view, record.entry)? else {
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
