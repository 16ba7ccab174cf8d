//! The entries about a document, and which of them lack erased changes.

use std::ops::{Bound, ControlFlow};

use nexus_crdt::{DocumentWords, EntryId, Verified, document_of};

use super::rows::{self, Eno, EntryRow, ErasedChangesRow, ErasedDocumentRow, SpaceNo, decode, unreadable};
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
    let row: EntryRow = decode(Table::Entries, &row)?;
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
        // the row of the whole document has no number behind it
        if key.len() > prefix.len() {
            let row: ErasedChangesRow = decode(Table::ErasedDocuments, row)?;
            found.push((eno_at_end(key)?, row.by_admin));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The row of a document of which changes were erased.
pub(crate) fn erased_document(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
) -> Result<Option<ErasedDocumentRow>, StoreError> {
    let row = view.get(Table::ErasedDocuments, &rows::document_prefix(space, document))?;
    row.map(|row| decode(Table::ErasedDocuments, &row)).transpose()
}

/// Whether a document is erased: by an admin, or by its only author, so that no change of it is left. A member of many who
/// erases its own changes takes the others' document from nobody.
pub(crate) fn is_document_erased(view: &dyn View, space: SpaceNo, document: &[u8; 16]) -> Result<bool, StoreError> {
    Ok(erased_document(view, space, document)?.is_some_and(|row| row.is_erased()))
}

/// The first entry about a document from a number on that has changes, with its words. An entry without any since they were
/// erased is not read.
pub(crate) fn first_with_changes(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
    from: Eno,
) -> Result<Option<(Eno, Verified, DocumentWords)>, StoreError> {
    let mut after = from.saturating_sub(1);
    loop {
        let (low, high) =
            (rows::document_row_key(space, document, after), rows::document_row_key(space, document, Eno::MAX));
        let bounds = (Bound::Excluded(low.as_slice()), Bound::Included(high.as_slice()));
        let Some((key, _)) = view.first(Table::Documents, bounds, Order::Forward)? else { return Ok(None) };
        after = eno_at_end(&key)?;
        let erased = view.get(Table::ErasedDocuments, &key)?;
        let erased = erased.map(|row| decode::<ErasedChangesRow>(Table::ErasedDocuments, &row)).transpose()?;
        if erased.is_some_and(|row| !row.are_left) {
            continue;
        }
        if let Some(entry) = read_entry(view, after)?
            && let Ok(said) = document_of(&entry)
            && said.has_changes()
        {
            return Ok(Some((after, entry, said)));
        }
    }
}

fn eno_at_end(key: &[u8]) -> Result<Eno, StoreError> {
    let at = key.len().checked_sub(8).ok_or_else(|| unreadable(Table::Documents))?;
    rows::read_eno(Table::Documents, &key[at..])
}
