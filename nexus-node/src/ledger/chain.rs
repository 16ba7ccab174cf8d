//! Chains: memories that took one another's place, and the keys that lead to their ends.
//!
//! A record that supersedes another one names it. A key leads along these names to the records that nobody supersedes:
//! the ends of its chain. Two nodes that changed one memory apart give a chain two ends, which are shown as one memory with
//! a conflict.
//!
//! | an end is | |
//! |---|---|
//! | a record that no other one supersedes | unless it ended before another end began |
//! | a superseded record that was changed apart | it has a live write that the author of its end had not seen |
//!
//! To take the end of a superseded record away takes the replacement back, too: the two are no chain any more.
//!
//! The write that ends a superseded record lists that record and its live writes among those that it is over. The others
//! that a write of one field is over have no effect on the fold; here they tell what its author had seen. A later write
//! to a record that its author knows as superseded lists the record likewise.
//!
//! All of it depends on the set of entries that count, never on the order of their arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::{Core, Dot, DotPrefix, EntryId, FIELDS};
use nexus_identity::{Did, folded};

use super::rows::{self, RecordRow, SpaceNo, WriteRow, decode, unreadable};
use super::{TOGETHER_MAX, author_of, find_record, has_any, read_core, read_core_text};
use crate::store::{Order, StoreError, Table, View};

/// The field that names the record whose place another one takes.
pub(crate) const SUPERSEDES: &str = "supersedes";
/// The field with the time from which a record no longer holds.
pub(crate) const VALID_TO: &str = "valid_to";
/// The field with the time from which a record holds.
const VALID_FROM: &str = "valid_from";
/// The most records of one chain that are looked at. Members choose how long a chain is.
const CHAIN_MAX: usize = 8_192;
/// The most neighbours of one record that are looked at, and the most writes of one field.
const NEIGHBOURS_MAX: usize = 1_024;

/// An end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    /// The record.
    pub(crate) record: Dot,
    /// Whether its `valid_to` only says that another one took its place, while it was changed apart from that.
    pub(crate) disputed: bool,
}

/// A record of a chain.
struct Link {
    row: RecordRow,
    core: Core,
    /// Whether another one supersedes it.
    is_followed: bool,
}

/// The time for which a record holds.
#[derive(Clone, Copy)]
struct Held {
    from: Option<u64>,
    to: Option<u64>,
}

/// The ends of chains that were walked, by their records: a question walks each chain once.
#[derive(Debug, Default)]
pub(crate) struct Walked(Mutex<BTreeMap<Dot, Arc<Vec<ChainEnd>>>>);

impl Walked {
    /// The most records that are remembered.
    const RECORDS_MAX: usize = 65_536;

    /// The ends of the chain of a record, lowest dot first.
    pub(crate) fn ends(&self, view: &dyn View, space: SpaceNo, record: Dot) -> Result<Arc<Vec<ChainEnd>>, StoreError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ends) = known.get(&record) {
            return Ok(ends.clone());
        }
        let (chain, ends) = ends_from(view, space, vec![record])?;
        let ends = Arc::new(ends);
        if known.len() + chain.len() <= Self::RECORDS_MAX {
            known.extend(chain.keys().map(|record| (*record, ends.clone())));
        }
        Ok(ends)
    }
}

/// Whether a record may be in a chain with others: only then a walk is worth its time.
pub(crate) fn is_chained(view: &dyn View, record: Dot, row: &RecordRow, core: &Core) -> Result<bool, StoreError> {
    if core.supersedes.is_some() || !superseders(view, record, row, core)?.is_empty() {
        return Ok(true);
    }
    core.key.as_ref().map_or(Ok(false), |key| is_linked_key(view, row.space, key))
}

fn is_linked_key(view: &dyn View, space: SpaceNo, key: &str) -> Result<bool, StoreError> {
    has_any(view, Table::LinkedKeys, &rows::caller_key_prefix(space, key))
}

/// The visible records that are shown as one memory with this one, lowest dot first, at most `most` of them.
pub(crate) fn shown_together(
    view: &dyn View,
    record: Dot,
    row: &RecordRow,
    core: &Core,
    most: usize,
    walked: &Walked,
) -> Result<Vec<ChainEnd>, StoreError> {
    let alone = || Ok(vec![ChainEnd { record, disputed: false }]);
    let is_followed = !superseders(view, record, row, core)?.is_empty();
    if core.supersedes.is_none() && !is_followed {
        let Some(key) = &core.key else { return alone() };
        if !is_linked_key(view, row.space, key)? {
            // nobody superseded one of these
            let together = keyed_rows(view, Table::Keys, row.space, key, most)?;
            return Ok(together.into_iter().map(|record| ChainEnd { record, disputed: false }).collect());
        }
    }
    if (is_followed || is_closed_by_another(view, row.space, record)?) && is_past(view, row.space, record, core)? {
        return alone();
    }
    let ends = walked.ends(view, row.space, record)?;
    if ends.iter().all(|end| end.record != record) {
        return alone();
    }
    Ok(ends.iter().copied().take(most).collect())
}

/// The ends of the chain of a record, lowest dot first: none if all of it was forgotten.
pub(crate) fn ends_of_chain(view: &dyn View, space: SpaceNo, record: Dot) -> Result<Vec<Dot>, StoreError> {
    Ok(ends_from(view, space, vec![record])?.1.into_iter().map(|end| end.record).collect())
}

/// Whether the live end of a record lists the record itself: another one took its place then.
fn is_closed_by_another(view: &dyn View, space: SpaceNo, record: Dot) -> Result<bool, StoreError> {
    let live = writes_of_field(view, &[Table::Live], space, record, VALID_TO)?;
    Ok(live.iter().any(|(_, write)| write.value != "null" && write.over.contains(&record)))
}

/// The caller's key that leads to a record: its own, or that of a record whose place it took. No key leads to the past.
pub(crate) fn key_to(view: &dyn View, record: Dot, row: &RecordRow, core: &Core) -> Result<Option<String>, StoreError> {
    let is_followed = !superseders(view, record, row, core)?.is_empty();
    if !is_followed && core.supersedes.is_none() {
        return Ok(core.key.clone());
    }
    if (is_followed || is_closed_by_another(view, row.space, record)?) && is_past(view, row.space, record, core)? {
        return Ok(None);
    }
    if core.key.is_some() {
        return Ok(core.key.clone());
    }
    let chain = walk(view, row.space, vec![record])?;
    Ok(chain.into_values().find_map(|link| link.core.key))
}

/// Whether a record is superseded and ended, also if it was changed apart from that.
pub(crate) fn is_ended_by_another(
    view: &dyn View,
    record: Dot,
    row: &RecordRow,
    core: &Core,
) -> Result<bool, StoreError> {
    let is_replaced =
        is_closed_by_another(view, row.space, record)? || !superseders(view, record, row, core)?.is_empty();
    Ok(is_replaced && holds_until(view, row.space, record, core)?.is_some())
}

/// The record that stands for all with a caller's key: the lowest end of their chains.
pub(crate) fn first_with_key(view: &dyn View, space: SpaceNo, key: &str) -> Result<Option<Dot>, StoreError> {
    if !is_linked_key(view, space, key)? {
        return Ok(keyed_rows(view, Table::Keys, space, key, 1)?.first().copied());
    }
    let (_, ends) = ends_from(view, space, with_key(view, space, key)?)?;
    Ok(ends.first().map(|end| end.record))
}

/// So many of the visible records with a caller's key, those with the lowest dots.
pub(crate) fn records_with_key(
    view: &dyn View,
    space: SpaceNo,
    key: &str,
    most: usize,
) -> Result<Vec<Dot>, StoreError> {
    keyed_rows(view, Table::Keys, space, key, most)
}

/// The different keys of visible records that are this one but for case and form, of the records with the lowest dots.
pub(crate) fn keys_like(view: &dyn View, space: SpaceNo, key: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut keys = BTreeSet::new();
    for record in keyed_rows(view, Table::FoldedKeys, space, &folded(key), TOGETHER_MAX)? {
        let Some((eno, row)) = find_record(view, record)? else { continue };
        keys.extend(read_core(view, eno, &row)?.key);
    }
    Ok(keys)
}

/// The records with a caller's key from which a walk begins: those in chains, forgotten ones among them, and as many of
/// the visible ones as are shown together.
fn with_key(view: &dyn View, space: SpaceNo, key: &str) -> Result<Vec<Dot>, StoreError> {
    let mut found = keyed_rows(view, Table::LinkedKeys, space, key, NEIGHBOURS_MAX)?;
    let most = found.len() + TOGETHER_MAX + 1;
    for record in keyed_rows(view, Table::Keys, space, key, most)? {
        if !found.contains(&record) {
            found.push(record);
        }
    }
    Ok(found)
}

fn keyed_rows(view: &dyn View, table: Table, space: SpaceNo, key: &str, most: usize) -> Result<Vec<Dot>, StoreError> {
    let mut found = Vec::new();
    view.try_scan_prefix(table, &rows::caller_key_prefix(space, key), Order::Forward, &mut |key, _| {
        found.push(rows::dot_at_end(key).ok_or_else(|| unreadable(table))?);
        Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The record of an id in its text form, if it counts here.
pub(crate) fn record_called(view: &dyn View, id: &str) -> Result<Option<Dot>, StoreError> {
    let Ok(prefix) = id.parse::<DotPrefix>() else { return Ok(None) };
    let mut found = None;
    view.try_scan_prefix(Table::Ids, &prefix.bytes(), Order::Forward, &mut |key, _| {
        let entry = key.try_into().map(EntryId::from_bytes).map_err(|_| unreadable(Table::Ids))?;
        found = prefix.dot_in(entry).filter(|dot| dot.to_string() == id);
        Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let Some(dot) = found else { return Ok(None) };
    Ok(find_record(view, dot)?.map(|_| dot))
}

/// The id of a record in another place or time, in the text form of ids.
fn spelled(id: &str) -> String {
    Dot::from_hex(id).map_or_else(|| id.to_owned(), |dot| dot.to_string())
}

/// The other records that supersede one, unless its end was taken back: that takes the replacement back, too.
fn superseders(view: &dyn View, record: Dot, row: &RecordRow, core: &Core) -> Result<Vec<Dot>, StoreError> {
    let found = followers(view, record, row, core)?;
    if found.is_empty() || is_reopened(view, row.space, record)? { Ok(Vec::new()) } else { Ok(found) }
}

/// Whether somebody took the end of a record back: it holds again.
fn is_reopened(view: &dyn View, space: SpaceNo, record: Dot) -> Result<bool, StoreError> {
    let live = writes_of_field(view, &[Table::Live], space, record, VALID_TO)?;
    Ok(!live.is_empty() && live.iter().all(|(_, write)| write.value == "null"))
}

/// The other records that name one as superseded, by its id, or by its former id if one author wrote both.
pub(crate) fn followers(view: &dyn View, record: Dot, row: &RecordRow, core: &Core) -> Result<Vec<Dot>, StoreError> {
    let mut found = Vec::new();
    for other in named_by(view, row.space, &record.to_string())? {
        if other != record && find_record(view, other)?.is_some_and(|(_, by)| by.space == row.space) {
            found.push(other);
        }
    }
    let Some(was) = &core.was else { return Ok(found) };
    let author = author_of(view, row.log)?;
    for other in named_by(view, row.space, &spelled(&was.id))? {
        let Some((_, by)) = find_record(view, other)?.filter(|(_, by)| by.space == row.space) else { continue };
        if other != record && author_of(view, by.log)? == author {
            found.push(other);
        }
    }
    Ok(found)
}

/// The ids that a record names as superseded, now or earlier.
pub(crate) fn superseded_ids(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    core: &Core,
) -> Result<BTreeSet<String>, StoreError> {
    let mut ids: BTreeSet<String> = core.supersedes.iter().cloned().collect();
    for (_, write) in writes_of_field(view, &[Table::Live, Table::Past], space, record, SUPERSEDES)? {
        ids.extend(superseded_id(&write.value));
    }
    Ok(ids)
}

/// The records that name an id as superseded.
fn named_by(view: &dyn View, space: SpaceNo, id: &str) -> Result<Vec<Dot>, StoreError> {
    let mut found = Vec::new();
    let prefix = rows::successor_prefix(space, id);
    view.try_scan_prefix(Table::Successors, &prefix, Order::Forward, &mut |key, _| {
        let dot = rows::successor_of(key).ok_or_else(|| unreadable(Table::Successors))?;
        if found.last() != Some(&dot) {
            found.push(dot);
        }
        Ok(if found.len() < NEIGHBOURS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The records that one says it supersedes, now or earlier.
fn superseded_by(view: &dyn View, record: Dot, row: &RecordRow, core: &Core) -> Result<Vec<Dot>, StoreError> {
    if core.key.is_none() && core.supersedes.is_none() {
        return Ok(Vec::new());
    }
    let ids = superseded_ids(view, row.space, record, core)?;
    let mut found = Vec::new();
    for id in ids {
        let named = match record_called(view, &id)? {
            Some(dot) => vec![dot],
            None => former_records(view, &id, &author_of(view, row.log)?)?,
        };
        for dot in named {
            if !is_reopened(view, row.space, dot)? {
                found.push(dot);
            }
        }
    }
    Ok(found)
}

/// The records that their author calls a former one by this id.
pub(crate) fn former_records(view: &dyn View, id: &str, author: &Did) -> Result<Vec<Dot>, StoreError> {
    let mut found = Vec::new();
    view.try_scan_prefix(Table::Was, &rows::was_prefix(id, author), Order::Forward, &mut |key, _| {
        found.push(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::Was))?);
        Ok(if found.len() < NEIGHBOURS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The id in a write of [`SUPERSEDES`].
pub(crate) fn superseded_id(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

fn writes_of_field(
    view: &dyn View,
    tables: &[Table],
    space: SpaceNo,
    record: Dot,
    field: &str,
) -> Result<Vec<(Dot, WriteRow)>, StoreError> {
    let mut found = Vec::new();
    let prefix = rows::field_prefix(space, record, field);
    for table in tables.iter().copied() {
        let most = found.len() + NEIGHBOURS_MAX;
        view.try_scan_prefix(table, &prefix, Order::Forward, &mut |key, value| {
            if !value.is_empty() {
                let (_, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(table))?;
                found.push((dot, decode(table, value)?));
            }
            Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(found)
}

/// The time from which a record no longer holds; `None` while it does.
pub(crate) fn holds_until(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    core: &Core,
) -> Result<Option<u64>, StoreError> {
    let live = writes_of_field(view, &[Table::Live], space, record, VALID_TO)?;
    let said: Vec<Option<u64>> = live.iter().map(|(_, write)| serde_json::from_str(&write.value).ok()).collect();
    Ok(if said.is_empty() { core.valid_to } else { said.into_iter().flatten().max() })
}

/// Whether a record has ended, and nobody changed it apart from that.
fn is_past(view: &dyn View, space: SpaceNo, record: Dot, core: &Core) -> Result<bool, StoreError> {
    if holds_until(view, space, record, core)?.is_none() {
        return Ok(false);
    }
    let said = writes_of_field(view, &[Table::Live], space, record, VALID_TO)?;
    if said.iter().any(|(_, write)| write.value == "null") {
        // somebody said apart from that end that it holds
        return Ok(false);
    }
    let closings = writes_of_field(view, &[Table::Live, Table::Past], space, record, VALID_TO)?;
    let last = closings.iter().map(|(_, write)| write.hlc).max();
    let listing: Vec<&WriteRow> =
        closings.iter().map(|(_, write)| write).filter(|w| w.over.contains(&record)).collect();
    for field in content_fields() {
        for (dot, write) in writes_of_field(view, &[Table::Live], space, record, field)? {
            let known = write.over.contains(&record) || listing.iter().any(|closing| closing.over.contains(&dot));
            // earlier versions list nothing: there the clocks decide
            let before = listing.is_empty() && last.is_none_or(|last| write.hlc <= last);
            if !known && !before {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The fields whose change makes a superseded record another one.
fn content_fields() -> impl Iterator<Item = &'static str> {
    FIELDS
        .iter()
        .filter(|field| field.editable)
        .map(|field| field.name)
        .filter(|name| ![VALID_TO, SUPERSEDES].contains(name))
}

/// The dots that the write which ends a record lists, with this record.
pub(crate) fn seen_in(view: &dyn View, space: SpaceNo, record: Dot) -> Result<BTreeSet<Dot>, StoreError> {
    let mut seen = BTreeSet::from([record]);
    for field in content_fields() {
        seen.extend(writes_of_field(view, &[Table::Live], space, record, field)?.into_iter().map(|(dot, _)| dot));
    }
    Ok(seen)
}

fn held(view: &dyn View, space: SpaceNo, record: Dot, core: &Core) -> Result<Held, StoreError> {
    let live = writes_of_field(view, &[Table::Live], space, record, VALID_FROM)?;
    let said: Vec<Option<u64>> = live.iter().map(|(_, write)| serde_json::from_str(&write.value).ok()).collect();
    let from = if said.is_empty() { core.valid_from } else { said.into_iter().flatten().min() };
    Ok(Held { from, to: holds_until(view, space, record, core)? })
}

/// A chain that some of its records are in, and its ends.
fn ends_from(
    view: &dyn View,
    space: SpaceNo,
    starts: Vec<Dot>,
) -> Result<(BTreeMap<Dot, Link>, Vec<ChainEnd>), StoreError> {
    let chain = walk(view, space, starts)?;
    let mut ends: BTreeMap<Dot, (&Link, bool)> = BTreeMap::new();
    for (dot, link) in chain.iter().filter(|(_, link)| !link.row.gone) {
        let replaced = link.is_followed || is_closed_by_another(view, space, *dot)?;
        let ended = replaced && holds_until(view, space, *dot, &link.core)?.is_some();
        if !replaced || !is_past(view, space, *dot, &link.core)? {
            ends.insert(*dot, (link, ended));
        }
    }
    if ends.is_empty() && chain.values().all(|link| link.is_followed) {
        // each supersedes another one: their authors named them in a circle
        ends = chain.iter().filter(|(_, link)| !link.row.gone).map(|(dot, link)| (*dot, (link, false))).collect();
    }
    if ends.len() > 1 {
        drop_earlier(view, space, &mut ends)?;
    }
    let ends = ends.into_iter().map(|(record, (_, disputed))| ChainEnd { record, disputed }).collect();
    Ok((chain, ends))
}

/// Leaves out the ends that held before another one began.
fn drop_earlier(view: &dyn View, space: SpaceNo, ends: &mut BTreeMap<Dot, (&Link, bool)>) -> Result<(), StoreError> {
    let mut times = BTreeMap::new();
    for (dot, (link, _)) in ends.iter() {
        times.insert(*dot, held(view, space, *dot, &link.core)?);
    }
    let last = times.values().filter_map(|held| held.from).max();
    let mut kept = BTreeMap::new();
    for (dot, (link, disputed)) in ends.iter() {
        let ended = times.get(dot).and_then(|held| held.to);
        let is_before = ended.zip(last).is_some_and(|(to, last)| {
            to <= last && times.iter().any(|(other, held)| other != dot && held.from.is_some_and(|from| from >= to))
        });
        if !is_before || *disputed || !is_past(view, space, *dot, &link.core)? {
            kept.insert(*dot, (*link, *disputed || is_before));
        }
    }
    if !kept.is_empty() {
        *ends = kept;
    }
    Ok(())
}

/// The records of a chain, as far as [`CHAIN_MAX`] goes: those that take the places of others come first.
fn walk(view: &dyn View, space: SpaceNo, starts: Vec<Dot>) -> Result<BTreeMap<Dot, Link>, StoreError> {
    let (mut chain, mut seen, mut open, mut keys) = (BTreeMap::new(), BTreeSet::new(), starts, BTreeSet::new());
    while let Some(dot) = open.pop() {
        if chain.len() >= CHAIN_MAX {
            break;
        }
        if !seen.insert(dot) {
            continue;
        }
        let Some((eno, row)) = find_record(view, dot)?.filter(|(_, row)| row.space == space) else { continue };
        let core = Core::parse(&read_core_text(view, eno, &row)?).ok_or_else(|| unreadable(Table::Payloads))?;
        if let Some(key) = core.key.as_ref().filter(|key| !keys.contains(*key)) {
            open.extend(with_key(view, space, key)?);
            keys.insert(key.clone());
        }
        open.extend(superseded_by(view, dot, &row, &core)?);
        let next = superseders(view, dot, &row, &core)?;
        let is_followed = !next.is_empty();
        open.extend(next);
        chain.insert(dot, Link { row, core, is_followed });
    }
    Ok(chain)
}
