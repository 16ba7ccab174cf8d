//! Reading where documents are in the log, and their keys.

use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Header, Kind, SpaceId, document_of};
use nexus_identity::Did;

use super::rows::{self, Eno, EntryRow, SpaceNo, unreadable};
use super::view::{find_space, read_entry};
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

/// The place of a document, and the author of an entry about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentPlace {
    pub(crate) space: SpaceId,
    pub(crate) no: SpaceNo,
    pub(crate) document: [u8; 16],
    pub(crate) author: Did,
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

/// Whether there are more entries about a document than so many after one.
pub(crate) fn document_has_more(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
    (after, most): (Eno, usize),
) -> Result<bool, StoreError> {
    let (from, to) =
        (rows::document_row_key(space, document, after), rows::document_row_key(space, document, Eno::MAX));
    let bounds = (Bound::Excluded(from.as_slice()), Bound::Included(to.as_slice()));
    let mut number = 0;
    view.scan(Table::Documents, bounds, Order::Forward, &mut |_, _| {
        number += 1;
        if number <= most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(number > most)
}

/// Whether an entry is one about a document.
pub(crate) fn is_of_document(
    view: &dyn View,
    space: SpaceNo,
    document: &[u8; 16],
    eno: Eno,
) -> Result<bool, StoreError> {
    Ok(view.get(Table::Documents, &rows::document_row_key(space, document, eno))?.is_some())
}

/// The space and the document of an entry, if it is about one.
pub(crate) fn document_of_entry(view: &dyn View, eno: Eno) -> Result<Option<DocumentPlace>, StoreError> {
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else { return Ok(None) };
    let row: EntryRow = rows::decode(Table::Entries, &row)?;
    let header = Header::decode(&row.header).map_err(|_| unreadable(Table::Entries))?;
    if header.kind != Kind::DOCUMENT {
        return Ok(None);
    }
    let (Some(space), Some(entry)) = (find_space(view, header.space)?, read_entry(view, eno)?) else { return Ok(None) };
    let document = document_of(&entry).ok().map(|said| said.document);
    Ok(document.map(|document| DocumentPlace { space: header.space, no: space.no, document, author: header.author }))
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

/// The keys of a space, each with the document that it means.
pub(crate) fn document_names(view: &dyn View, space: SpaceNo, max: usize) -> Result<Vec<DocumentName>, StoreError> {
    let (mut names, mut from) = (Vec::new(), space.to_be_bytes().to_vec());
    while names.len() < max {
        let Some((name, of_generation)) = name_from(view, &space.to_be_bytes(), from)? else { break };
        names.push(name);
        // past all generations of the key
        from = [&of_generation[..20], &[u8::MAX; 33]].concat();
    }
    Ok(names)
}

/// The documents of a space that had a key before it began anew.
pub(crate) fn former_names(view: &dyn View, space: SpaceNo, max: usize) -> Result<Vec<DocumentName>, StoreError> {
    let (mut names, mut from) = (Vec::new(), space.to_be_bytes().to_vec());
    let mut last = None;
    while names.len() < max {
        let Some((name, of_generation)) = name_from(view, &space.to_be_bytes(), from)? else { break };
        let key = of_generation.first_chunk::<20>().copied();
        if last == key {
            names.push(name);
        }
        last = key;
        from = [&of_generation[..], &[u8::MAX; 25]].concat();
    }
    Ok(names)
}

/// The first key from a place on, and the beginning of all rows of its generation.
fn name_from(view: &dyn View, within: &[u8], from: Vec<u8>) -> Result<Option<(DocumentName, Vec<u8>)>, StoreError> {
    let bad = || unreadable(Table::DocumentKeys);
    let next = |from: &[u8]| view.first(Table::DocumentKeys, (Bound::Included(from), Bound::Unbounded), Order::Forward);
    let Some((row, key)) = next(&from)?.filter(|(row, _)| row.starts_with(within)) else { return Ok(None) };
    let (generation, document) = rows::read_document_key_key(&row).ok_or_else(bad)?;
    let key = String::from_utf8(key).map_err(|_| bad())?;
    let of_generation = row.get(..28).ok_or_else(bad)?.to_vec();
    let (mut others, mut last) = (Vec::new(), document);
    while others.len() < OTHERS_MAX {
        let behind = [&of_generation[..], &last, &[u8::MAX; 9]].concat();
        let Some((row, _)) = next(&behind)?.filter(|(row, _)| row.starts_with(&of_generation)) else { break };
        (_, last) = rows::read_document_key_key(&row).ok_or_else(bad)?;
        others.push(last);
    }
    Ok(Some((DocumentName { key, generation, document, others }, of_generation)))
}

fn eno_at_end(key: &[u8]) -> Result<Eno, StoreError> {
    let at = key.len().checked_sub(8).ok_or_else(|| unreadable(Table::Documents))?;
    rows::read_eno(Table::Documents, &key[at..])
}
