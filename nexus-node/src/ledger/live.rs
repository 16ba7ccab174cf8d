//! The live writes of a memory, within bounds. Members choose how many there are, and every reader pays for them.
//!
//! All choices here depend on the set of entries held, never on the order of their arrival.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nexus_crdt::{Dot, EntryId, FIELDS, Field, OVER_MAX};

use super::rows::{self, SpaceNo, WriteRow, decode, unreadable};
use crate::store::{Order, StoreError, Table, View};

/// The most records with one caller's key that are read as one memory, and the most live values of its fields.
pub(crate) const TOGETHER_MAX: usize = 64;
/// The most live writes of one memory that are read.
pub(crate) const LIVE_WRITES_MAX: usize = 1_024;
/// The most bytes of one memory that are read: the cores and the values of its records.
const LIVE_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of one field's values, where a record alone is beyond these bounds.
const FIELD_BYTES_MAX: usize = 256 * 1024;

/// Writes of a record, each with its field and its dot.
pub(crate) type LiveRows = Vec<(Field, Dot, WriteRow)>;

/// The room for what one memory says.
pub(crate) struct LiveRoom {
    writes: usize,
    bytes: usize,
}

impl LiveRoom {
    /// The whole room.
    pub(crate) const fn new() -> Self {
        Self { writes: LIVE_WRITES_MAX, bytes: LIVE_BYTES_MAX }
    }

    /// Takes the room of a core, if it is there.
    pub(crate) const fn take_core(&mut self, bytes: u32) -> bool {
        self.take(0, bytes as usize)
    }

    const fn take(&mut self, writes: usize, bytes: usize) -> bool {
        if writes > self.writes || bytes > self.bytes {
            return false;
        }
        self.writes -= writes;
        self.bytes -= bytes;
        true
    }
}

/// The live writes of a record if all of them fit into the room; takes it then.
pub(crate) fn live_within(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    room: &mut LiveRoom,
) -> Result<Option<LiveRows>, StoreError> {
    let mut writes = Vec::new();
    let mut fits = true;
    view.try_scan_prefix(Table::Live, &rows::record_prefix(space, record), Order::Forward, &mut |key, value| {
        fits = room.take(1, value.len());
        if !fits {
            return Ok(ControlFlow::Break(()));
        }
        let (field, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(Table::Live))?;
        writes.push((field, dot, decode(Table::Live, value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(fits.then_some(writes))
}

/// The live writes of a record, or the lowest ones of each field if all are too many.
pub(crate) fn live_in_bounds(view: &dyn View, space: SpaceNo, record: Dot) -> Result<LiveRows, StoreError> {
    match live_within(view, space, record, &mut LiveRoom::new())? {
        Some(writes) => Ok(writes),
        None => lowest_of_fields(view, space, record),
    }
}

/// The lowest live writes of each field of a record, and the origins that came with them.
pub(crate) fn lowest_of_fields(view: &dyn View, space: SpaceNo, record: Dot) -> Result<LiveRows, StoreError> {
    let mut writes = Vec::new();
    for field in FIELDS.iter().filter(|field| field.editable) {
        let lowest = lowest_live(view, space, record, field.name)?;
        writes.extend(lowest.into_iter().map(|(dot, row)| (Field::named(field.name), dot, row)));
    }
    let entries: BTreeSet<EntryId> = writes.iter().map(|(_, dot, _)| dot.entry).collect();
    for entry in entries {
        let by = live_of_entry(view, space, record, Field::BY, entry)?;
        writes.extend(by.map(|(dot, row)| (Field::named(Field::BY), dot, row)));
    }
    Ok(writes)
}

/// The lowest live writes of one field of a record.
fn lowest_live(view: &dyn View, space: SpaceNo, record: Dot, field: &str) -> Result<Vec<(Dot, WriteRow)>, StoreError> {
    let mut room = LiveRoom { writes: TOGETHER_MAX, bytes: FIELD_BYTES_MAX };
    let mut writes = Vec::new();
    let prefix = rows::field_prefix(space, record, field);
    view.try_scan_prefix(Table::Live, &prefix, Order::Forward, &mut |key, value| {
        if !room.take(1, value.len()) {
            return Ok(ControlFlow::Break(()));
        }
        let (_, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(Table::Live))?;
        writes.push((dot, decode(Table::Live, value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(writes)
}

/// The first live write of a field of a record that an entry made.
fn live_of_entry(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    field: &str,
    entry: EntryId,
) -> Result<Option<(Dot, WriteRow)>, StoreError> {
    let prefix = [rows::field_prefix(space, record, field).as_slice(), entry.as_bytes()].concat();
    let mut found = None;
    view.try_scan_prefix(Table::Live, &prefix, Order::Forward, &mut |key, value| {
        let (_, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(Table::Live))?;
        found = Some((dot, decode(Table::Live, value)?));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The live writes of a field as a new write replaces them.
#[derive(Default)]
pub(crate) struct Replaced {
    /// The lowest ones, as many as a write may be over.
    pub(crate) dots: Vec<Dot>,
    /// The value, if there is only one.
    pub(crate) only: Option<String>,
}

/// The live writes of a field of a record as a new write replaces them.
pub(crate) fn replaced_by_next(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    field: &str,
) -> Result<Replaced, StoreError> {
    let mut replaced = Replaced::default();
    let prefix = rows::field_prefix(space, record, field);
    view.try_scan_prefix(Table::Live, &prefix, Order::Forward, &mut |key, value| {
        let (_, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(Table::Live))?;
        replaced.only =
            if replaced.dots.is_empty() { Some(decode::<WriteRow>(Table::Live, value)?.value) } else { None };
        replaced.dots.push(dot);
        Ok(if replaced.dots.len() < OVER_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(replaced)
}
