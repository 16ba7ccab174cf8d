//! The entries about a document, and which of them lack erased changes.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{EntryId, document_of};

use super::rows::{self, Eno, EntryRow, SpaceNo, unreadable};
use super::view::read_entry;
use crate::store::{Order, StoreError, Table, View};

/// The entries about a document after one, in the order of their numbers, whether they count or not.
pub(crate) fn enos_of_document(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
    after: Eno,
) -> Result<Vec<Eno>, StoreError> {
    let (from, to) =
        (rows::document_row_key(space, document, after), rows::document_row_key(space, document, Eno::MAX));
    let bounds = (Bound::Excluded(from.as_slice()), Bound::Included(to.as_slice()));
    let mut enos = Vec::new();
    view.try_scan(Table::Documents, bounds, Order::Forward, &mut |key, _| {
        enos.push(eno_at_end(key)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(enos)
}

/// The id of the first entry about a document.
pub(crate) fn first_about(view: &dyn View, space: SpaceNo, document: &[u8; 16]) -> Result<Option<EntryId>, StoreError> {
    let (from, to) = (rows::document_row_key(space, document, 0), rows::document_row_key(space, document, Eno::MAX));
    let bounds = (Bound::Included(from.as_slice()), Bound::Included(to.as_slice()));
    let Some((key, _)) = view.first(Table::Documents, bounds, Order::Forward)? else { return Ok(None) };
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno_at_end(&key)?))? else { return Ok(None) };
    let row: EntryRow = rows::decode(Table::Entries, &row)?;
    Ok(Some(EntryId::of(&row.header)))
}

/// The entries about a document that lack erased changes, each with whether an admin erased one of them.
pub(crate) fn erased_of_document(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
) -> Result<Vec<(Eno, bool)>, StoreError> {
    let mut found = Vec::new();
    let prefix = rows::document_prefix(space, document);
    view.try_scan_prefix(Table::ErasedDocuments, &prefix, Order::Forward, &mut |key, row| {
        found.push((eno_at_end(key)?, row == [1]));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Whether a document is erased: by an admin, or by its only author, so that no change of it is left. A member of many who
/// erases its own changes takes the others' document from nobody.
pub(crate) fn is_document_erased(view: &dyn View, space: SpaceNo, document: &[u8; 16]) -> Result<bool, StoreError> {
    let erased = erased_of_document(view, space, document)?;
    if erased.is_empty() || erased.iter().any(|(_, by_admin)| *by_admin) {
        return Ok(!erased.is_empty());
    }
    let without: BTreeSet<Eno> = erased.into_iter().map(|(eno, _)| eno).collect();
    for eno in enos_of_document(view, space, document, 0)? {
        let entry = if without.contains(&eno) { None } else { read_entry(view, eno)? };
        if entry.is_some_and(|entry| document_of(&entry).is_ok_and(|said| said.has_changes())) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn eno_at_end(key: &[u8]) -> Result<Eno, StoreError> {
    let at = key.len().checked_sub(8).ok_or_else(|| unreadable(Table::Documents))?;
    rows::read_eno(Table::Documents, &key[at..])
}
