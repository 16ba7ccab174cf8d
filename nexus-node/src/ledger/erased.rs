//! Leaves that members erased: what of an entry may be here.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{ALL_LEAVES, Dot, Entry, EntryId, Erased};
use nexus_identity::Did;

use super::rows::{self, Eno, ErasedRow, EraserRow, decode, unreadable};
use super::view::read_entry;
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// A word that a leaf is to be erased.
pub(crate) struct Erasing {
    /// The leaf.
    pub(crate) leaf: Dot,
    /// The entry that says so.
    pub(crate) erasure: Eno,
    /// What it says.
    pub(crate) row: ErasedRow,
}

/// The members that erased something.
pub(crate) type Erasers = BTreeMap<Did, EraserRow>;

/// Reads the members that erased something.
pub(crate) fn read_erasers(view: &dyn View) -> Result<Erasers, StoreError> {
    let mut erasers = Erasers::new();
    view.try_scan(Table::Erasers, ALL_KEYS, Order::Forward, &mut |key, row| {
        let member = key.try_into().map(Did::from_bytes).map_err(|_| unreadable(Table::Erasers))?;
        erasers.insert(member, decode(Table::Erasers, row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(erasers)
}

/// The words that leaves of an entry are to be erased, whether they count or not.
pub(crate) fn erasings_of(view: &dyn View, entry: EntryId) -> Result<Vec<Erasing>, StoreError> {
    let mut erasings = Vec::new();
    view.try_scan_prefix(Table::Erased, entry.as_bytes(), Order::Forward, &mut |key, row| {
        let (leaf, erasure) = rows::read_erased_key(key).ok_or_else(|| unreadable(Table::Erased))?;
        erasings.push(Erasing { leaf, erasure, row: decode(Table::Erased, row)? });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(erasings)
}

/// The first entry behind another one of which somebody erases leaves.
pub(crate) fn erased_after(view: &dyn View, after: Option<EntryId>) -> Result<Option<EntryId>, StoreError> {
    let from = after.map(|after| Dot { entry: after, index: u16::MAX }.to_bytes().to_vec());
    // behind all words about its last leaf
    let from = from.map(|key| [key.as_slice(), &[u8::MAX; 8]].concat());
    let start = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let first = view.first(Table::Erased, (start, Bound::Unbounded), Order::Forward)?;
    first.map(|(key, _)| Ok(rows::read_erased_key(&key).ok_or_else(|| unreadable(Table::Erased))?.0.entry)).transpose()
}

/// The leaves of an entry that words which count erase.
pub(crate) fn erased_leaves(view: &dyn View, entry: &Entry) -> Result<Vec<u16>, StoreError> {
    let named = named_by(view, entry, |row| row.counts)?;
    Ok(if named.is_empty() { Vec::new() } else { entry.losing(&named.into_iter().collect::<Vec<_>>()) })
}

/// Whether everything that an entry lacks was erased by somebody who may, or might before its membership ended. A member that
/// passes an entry on may have emptied it: what is missing otherwise is to come from another one.
pub(crate) fn lacks_only_what_is_erased(view: &dyn View, entry: &Entry) -> Result<bool, StoreError> {
    let lacks = entry.lacks();
    if lacks.is_empty() {
        return Ok(true);
    }
    if !lacks.iter().all(|leaf| entry.may_lose(*leaf)) {
        return Ok(false);
    }
    let named = named_by(view, entry, |_| true)?;
    Ok(named.contains(&ALL_LEAVES) || lacks.iter().all(|leaf| named.contains(leaf)))
}

/// The leaves of an entry that members named who may erase them.
fn named_by(view: &dyn View, entry: &Entry, wanted: impl Fn(&ErasedRow) -> bool) -> Result<BTreeSet<u16>, StoreError> {
    let (mut named, mut erasers) = (BTreeSet::new(), BTreeMap::new());
    for Erasing { leaf, row, .. } in erasings_of(view, entry.id())? {
        if !wanted(&row) {
            continue;
        }
        let may = match erasers.entry(row.author) {
            Place::Occupied(known) => *known.get(),
            Place::Vacant(unknown) => *unknown.insert(may_erase(view, &row.author, &entry.header().author)?),
        };
        if may {
            named.insert(leaf.index);
        }
    }
    Ok(named)
}

/// Whether a member's words erase leaves of an author.
pub(crate) fn may_erase(view: &dyn View, eraser: &Did, author: &Did) -> Result<bool, StoreError> {
    let row = view.get(Table::Erasers, eraser.as_bytes())?;
    let row = row.map(|row| decode::<EraserRow>(Table::Erasers, &row)).transpose()?;
    Ok(row.is_some_and(|row| row.may_erase(author)))
}

/// The erasures that this node has not confirmed, each with its number.
pub(crate) fn unconfirmed(view: &dyn View, state: Erased) -> Result<Vec<(EntryId, Eno)>, StoreError> {
    let mut found = Vec::new();
    view.try_scan_prefix(Table::Unconfirmed, &[state as u8], Order::Forward, &mut |key, row| {
        let id = key[1..].try_into().map(EntryId::from_bytes).map_err(|_| unreadable(Table::Unconfirmed))?;
        found.push((id, rows::read_eno(Table::Unconfirmed, row)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The members that confirmed an erasure.
pub(crate) fn confirmed_by(view: &dyn View, erasure: EntryId, state: Erased) -> Result<BTreeSet<Did>, StoreError> {
    let mut members = BTreeSet::new();
    view.try_scan_prefix(Table::Confirmed, erasure.as_bytes(), Order::Forward, &mut |key, _| {
        let member = key.get(32..64).and_then(|did| did.try_into().ok()).map(Did::from_bytes);
        let of_state = key.get(64) == Some(&(state as u8));
        members.extend(member.filter(|_| of_state));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// The entries of which this node is to get leaves again, ascending.
pub(crate) fn lacking_entries(view: &dyn View) -> Result<Vec<Eno>, StoreError> {
    let mut enos = Vec::new();
    view.try_scan(Table::Lacking, ALL_KEYS, Order::Forward, &mut |key, _| {
        enos.push(rows::read_eno(Table::Lacking, key)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(enos)
}

/// Whether a copy of an entry that is held here has leaves that are to come again.
pub(crate) fn fills(view: &dyn View, eno: Eno, copy: &Entry) -> Result<bool, StoreError> {
    if !view.contains(Table::Lacking, &rows::eno_key(eno))? {
        return Ok(false);
    }
    let (Some(held), theirs) = (read_entry(view, eno)?, copy.lacks()) else { return Ok(false) };
    Ok(theirs != [ALL_LEAVES] && held.lacks().iter().any(|leaf| !theirs.contains(leaf)))
}
