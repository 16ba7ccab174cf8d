//! Reading where documents are in the log, and their keys.

use std::ops::{Bound, ControlFlow};

use super::rows::{self, Eno, SpaceNo, unreadable};
use crate::store::{Order, StoreError, Table, View};

/// A key of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentName {
    pub(crate) key: String,
    /// How often the key began anew before.
    pub(crate) generation: u64,
    pub(crate) document: [u8; 16],
    /// Other documents with the same key and generation.
    pub(crate) others: Vec<[u8; 16]>,
}

/// The most other documents with one key that are shown.
const OTHERS_MAX: usize = 8;

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

/// The documents of a space, in the order of their ids: those of entries that count and of others.
pub(crate) fn documents_of_space(view: &dyn View, space: SpaceNo, max: usize) -> Result<Vec<[u8; 16]>, StoreError> {
    let prefix = space.to_be_bytes();
    let (mut found, mut after) = (Vec::new(), prefix.to_vec());
    while found.len() < max {
        let bounds = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = view.first(Table::Documents, bounds, Order::Forward)?;
        let Some((key, _)) = next.filter(|(key, _)| key.starts_with(&prefix)) else { break };
        let document = key.get(prefix.len()..).and_then(|rest| rest.first_chunk::<16>());
        let document = *document.ok_or_else(|| unreadable(Table::Documents))?;
        found.push(document);
        // past all entries of this one
        after = rows::document_row_key(space, &document, Eno::MAX);
        after.push(0);
    }
    Ok(found)
}

/// The document that a key means: that of the latest generation with the lowest id.
pub(crate) fn document_with_key(
    view: &dyn View,
    space: SpaceNo,
    key: &str,
) -> Result<Option<DocumentName>, StoreError> {
    let prefix = rows::document_keys_prefix(space, key);
    Ok(name_from(view, &prefix, prefix.to_vec())?.map(|(name, _)| name))
}

/// The keys of a space after a place, each with the document that it means, and the next place.
pub(crate) fn document_names(view: &dyn View, space: SpaceNo, max: usize) -> Result<Vec<DocumentName>, StoreError> {
    let (mut names, mut from) = (Vec::new(), space.to_be_bytes().to_vec());
    while names.len() < max {
        let Some((name, after)) = name_from(view, &space.to_be_bytes(), from)? else { break };
        names.push(name);
        from = after;
    }
    Ok(names)
}

/// The first key from a place on, and the place after all of its documents.
fn name_from(view: &dyn View, within: &[u8], from: Vec<u8>) -> Result<Option<(DocumentName, Vec<u8>)>, StoreError> {
    let bad = || unreadable(Table::DocumentKeys);
    let next = |from: &[u8]| view.first(Table::DocumentKeys, (Bound::Included(from), Bound::Unbounded), Order::Forward);
    let Some((row, key)) = next(&from)?.filter(|(row, _)| row.starts_with(within)) else { return Ok(None) };
    let (generation, document) = rows::read_document_key_key(&row).ok_or_else(bad)?;
    let key = String::from_utf8(key).map_err(|_| bad())?;
    let of_key = row.get(..20).ok_or_else(bad)?.to_vec();
    let of_generation = row.get(..28).ok_or_else(bad)?;
    let (mut others, mut last) = (Vec::new(), document);
    while others.len() < OTHERS_MAX {
        let behind = [of_generation, &last, &[u8::MAX; 9]].concat();
        let Some((row, _)) = next(&behind)?.filter(|(row, _)| row.starts_with(of_generation)) else { break };
        (_, last) = rows::read_document_key_key(&row).ok_or_else(bad)?;
        others.push(last);
    }
    let after = [&of_key[..], &[u8::MAX; 33]].concat();
    Ok(Some((DocumentName { key, generation, document, others }, after)))
}

fn eno_at_end(key: &[u8]) -> Result<Eno, StoreError> {
    let at = key.len().checked_sub(8).ok_or_else(|| unreadable(Table::Documents))?;
    rows::read_eno(Table::Documents, &key[at..])
}
