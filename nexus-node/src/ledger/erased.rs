//! Leaves that members erased: what of an entry may be here.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{ALL_LEAVES, Dot, Entry, EntryId, Erased};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::rows::{self, Eno, EntryRow, ErasedKey, EraserRow, decode, unreadable};
use super::view::{author_of, find_entry, read_entry};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

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

/// The first words of each member that count and erase this very leaf, whether the member may or not.
pub(crate) fn words_about(view: &dyn View, leaf: Dot) -> Result<Vec<ErasedKey>, StoreError> {
    let mut words = Vec::new();
    let mut from = ErasedKey { leaf, void: false, author: Did::from_bytes([0; 32]), erasure: 0 };
    while let Some(word) = first_from(view, from)?.filter(|word| word.leaf == leaf && !word.void) {
        words.push(word);
        from = behind_author(word);
    }
    Ok(words)
}

/// The first word from a key on.
fn first_from(view: &dyn View, key: ErasedKey) -> Result<Option<ErasedKey>, StoreError> {
    let from = key.to_bytes();
    let first = view.first(Table::Erased, (Bound::Included(from.as_slice()), Bound::Unbounded), Order::Forward)?;
    first.map(|(key, _)| ErasedKey::from_bytes(&key).ok_or_else(|| unreadable(Table::Erased))).transpose()
}

/// The key behind all words of an author of one kind about a leaf.
fn behind_author(word: ErasedKey) -> ErasedKey {
    ErasedKey { erasure: Eno::MAX, ..word }
}

/// The first entry behind another one of which somebody erases leaves.
pub(crate) fn erased_after(view: &dyn View, after: Option<EntryId>) -> Result<Option<EntryId>, StoreError> {
    let author = Did::from_bytes([u8::MAX; 32]);
    let last = |entry| ErasedKey { leaf: Dot { entry, index: u16::MAX }, void: true, author, erasure: Eno::MAX };
    let from = after.map(|after| last(after).to_bytes());
    let start = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
    let first = view.first(Table::Erased, (start, Bound::Unbounded), Order::Forward)?;
    first
        .map(|(key, _)| Ok(ErasedKey::from_bytes(&key).ok_or_else(|| unreadable(Table::Erased))?.leaf.entry))
        .transpose()
}

/// The leaves of an entry that words which count erase.
pub(crate) fn erased_leaves(view: &dyn View, entry: &Entry) -> Result<Vec<u16>, StoreError> {
    let named = named_by(view, entry.id(), &entry.header().author, false)?;
    Ok(if named.is_empty() { Vec::new() } else { entry.losing(&named.into_iter().collect::<Vec<_>>()) })
}

/// Whether somebody who may erases something of a held entry, by a word that counts or not.
pub(crate) fn is_named(view: &dyn View, eno: Eno) -> Result<bool, StoreError> {
    let Some((id, author)) = entry_and_author(view, eno)? else { return Ok(false) };
    Ok(!named_by(view, id, &author, true)?.is_empty())
}

/// Whether a word that counts erases this leaf of a held entry.
pub(crate) fn is_erased_already(view: &dyn View, leaf: Dot) -> Result<bool, StoreError> {
    let Some(eno) = find_entry(view, leaf.entry)? else { return Ok(false) };
    let Some((_, author)) = entry_and_author(view, eno)? else { return Ok(false) };
    for word in words_about(view, leaf)? {
        if may_erase(view, &word.author, &author)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id and the author of a held entry, without its payload.
fn entry_and_author(view: &dyn View, eno: Eno) -> Result<Option<(EntryId, Did)>, StoreError> {
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else { return Ok(None) };
    let row: EntryRow = decode(Table::Entries, &row)?;
    Ok(Some((EntryId::of(&row.header), author_of(view, row.log)?)))
}

/// Whether everything that an entry lacks was erased by somebody who may, or might before its membership ended. A member that
/// passes an entry on may have emptied it: what is missing otherwise is to come from another one.
pub(crate) fn lacks_only_what_is_erased(view: &dyn View, entry: &Entry) -> Result<bool, StoreError> {
    let lacks = entry.lacks();
    if lacks.is_empty() {
        return Ok(true);
    }
    if !lacks.iter().all(|leaf| entry.may_lose(*leaf)) || planted("refuses_emptied") {
        return Ok(false);
    }
    let named = named_by(view, entry.id(), &entry.header().author, true)?;
    Ok(named.contains(&ALL_LEAVES) || lacks.iter().all(|leaf| named.contains(leaf)))
}

/// The leaves of an entry that members named who may erase them; also by words that do not count, if `void_too`.
fn named_by(view: &dyn View, id: EntryId, author: &Did, void_too: bool) -> Result<BTreeSet<u16>, StoreError> {
    let (mut named, mut known) = (BTreeSet::new(), BTreeMap::new());
    let at =
        |index| ErasedKey { leaf: Dot { entry: id, index }, void: false, author: Did::from_bytes([0; 32]), erasure: 0 };
    let mut from = at(0);
    while let Some(word) = first_from(view, from)?.filter(|word| word.leaf.entry == id) {
        let may = match known.entry(word.author) {
            Place::Occupied(known) => *known.get(),
            Place::Vacant(unknown) => *unknown.insert(may_erase(view, &word.author, author)?),
        };
        let counts = may && (void_too || !word.void);
        if counts {
            named.insert(word.leaf.index);
        }
        let next_leaf = counts || word.void && !void_too;
        let next = match next_leaf {
            true => word.leaf.index.checked_add(1).map(at),
            false => Some(behind_author(word)),
        };
        let Some(next) = next else { break };
        from = next;
    }
    Ok(named)
}

/// Whether a member's words erase leaves of an author.
pub(crate) fn may_erase(view: &dyn View, eraser: &Did, author: &Did) -> Result<bool, StoreError> {
    Ok(read_eraser(view, eraser)?.is_some_and(|row| row.may_erase(author) || planted("heeds_any_eraser")))
}

fn read_eraser(view: &dyn View, eraser: &Did) -> Result<Option<EraserRow>, StoreError> {
    let row = view.get(Table::Erasers, eraser.as_bytes())?;
    row.map(|row| decode::<EraserRow>(Table::Erasers, &row)).transpose()
}

/// Whether an admin's word that counts erases a leaf of an entry.
pub(crate) fn is_erased_by_admin(view: &dyn View, id: EntryId) -> Result<bool, StoreError> {
    let at =
        |index| ErasedKey { leaf: Dot { entry: id, index }, void: false, author: Did::from_bytes([0; 32]), erasure: 0 };
    let mut from = at(0);
    while let Some(word) = first_from(view, from)?.filter(|word| word.leaf.entry == id) {
        if !word.void && read_eraser(view, &word.author)?.is_some_and(|row| row.admin) {
            return Ok(true);
        }
        from = behind_author(word);
    }
    Ok(false)
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

/// Whether there is an erasure that this node has not confirmed.
pub(crate) fn has_unconfirmed(view: &dyn View, state: Erased) -> Result<bool, StoreError> {
    super::has_any(view, Table::Unconfirmed, &[state as u8])
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
    if !view.contains(Table::Lacking, &rows::eno_key(eno))? && !planted("takes_erased_again") {
        return Ok(false);
    }
    let (Some(held), theirs) = (read_entry(view, eno)?, copy.lacks()) else { return Ok(false) };
    Ok(theirs != [ALL_LEAVES] && held.lacks().iter().any(|leaf| !theirs.contains(leaf)))
}
