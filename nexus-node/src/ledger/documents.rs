//! Reading where documents are in the log, and their keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Header, Kind, SpaceId, document_of};
use nexus_identity::Did;

use super::rows::{self, Eno, EntryRow, SpaceNo, unreadable};
use super::view::{Turned, find_space, read_entry};
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

/// The documents of all generations of a key, the latest first.
pub(crate) fn documents_with_key(
    view: &dyn View,
    space: SpaceNo,
    key: &str,
) -> Result<BTreeSet<(u64, [u8; 16])>, StoreError> {
    let mut found = BTreeSet::new();
    let prefix = rows::document_keys_prefix(space, key);
    view.try_scan_prefix(Table::DocumentKeys, &prefix, Order::Forward, &mut |row, _| {
        found.insert(rows::read_document_key_key(row).ok_or_else(|| unreadable(Table::DocumentKeys))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The space and the document of an entry, if it is about one.
fn document_of_entry(view: &dyn View, eno: Eno) -> Result<Option<DocumentPlace>, StoreError> {
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

/// Looks at the document of each entry after one up to another, and of the entries that such an entry turned, until it is enough.
/// Returns the last entry that was looked at.
pub(crate) fn each_touched(
    view: &dyn View,
    (after, most): (Eno, Eno),
    look: &mut dyn FnMut(DocumentPlace) -> ControlFlow<()>,
) -> Result<Eno, StoreError> {
    let turned = Turned::between(view, after + 1, most)?;
    for to in after + 1..=most {
        let others = if turned.by(to) { turned.enos(view, to)? } else { Vec::new() };
        let mut is_enough = false;
        for eno in [to].into_iter().chain(others) {
            if let Some(place) = document_of_entry(view, eno)? {
                is_enough |= look(place).is_break();
            }
        }
        if is_enough {
            return Ok(to);
        }
    }
    Ok(most.max(after))
}

/// The documents of a space behind one, in the order of their ids: those of entries that count and of others.
pub(crate) fn documents_of_space(
    view: &dyn View,
    space: SpaceNo,
    behind: Option<&[u8; 16]>,
    max: usize,
) -> Result<Vec<[u8; 16]>, StoreError> {
    let prefix = space.to_be_bytes();
    // past all entries of a document
    let past = |document: &[u8; 16]| [&rows::document_row_key(space, document, Eno::MAX)[..], &[0]].concat();
    let mut after = behind.map_or_else(|| prefix.to_vec(), past);
    let mut found = Vec::new();
    while found.len() < max {
        let bounds = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = view.first(Table::Documents, bounds, Order::Forward)?;
        let Some((key, _)) = next.filter(|(key, _)| key.starts_with(&prefix)) else { break };
        let document = key.get(prefix.len()..).and_then(|rest| rest.first_chunk::<16>());
        let document = *document.ok_or_else(|| unreadable(Table::Documents))?;
        found.push(document);
        after = past(&document);
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

/// The keys of a space behind one, in their order, each with the document that it means.
pub(crate) fn document_names(
    view: &dyn View,
    space: SpaceNo,
    behind: Option<&str>,
    max: usize,
) -> Result<Vec<DocumentName>, StoreError> {
    let mut names: BTreeMap<String, DocumentName> = BTreeMap::new();
    each_name(view, space, &mut |key, generation, document, place| match place {
        Place::Former => {}
        Place::Other => {
            let others = names.get_mut(key).map(|name| &mut name.others);
            others.filter(|others| others.len() < OTHERS_MAX).into_iter().for_each(|others| others.push(document));
        }
        Place::Current if behind.is_some_and(|behind| key <= behind) => {}
        Place::Current => {
            let name = DocumentName { key: key.to_owned(), generation, document, others: Vec::new() };
            names.insert(key.to_owned(), name);
            if names.len() > max {
                names.pop_last();
            }
        }
    })?;
    Ok(names.into_values().collect())
}

/// The meaning of a key for a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The key means this document.
    Current,
    /// It means another one that was given the key at once.
    Other,
    /// It began anew since.
    Former,
}

/// The key of each of some documents that has one, with its meaning: the strongest of them.
pub(crate) fn names_of_documents(
    view: &dyn View,
    space: SpaceNo,
    documents: &[[u8; 16]],
) -> Result<BTreeMap<[u8; 16], (Place, String)>, StoreError> {
    let wanted: BTreeSet<[u8; 16]> = documents.iter().copied().collect();
    let mut found: BTreeMap<[u8; 16], (Place, String)> = BTreeMap::new();
    each_name(view, space, &mut |key, _, document, place| {
        if wanted.contains(&document) && found.get(&document).is_none_or(|(known, _)| place < *known) {
            found.insert(document, (place, key.to_owned()));
        }
    })?;
    Ok(found)
}

/// Takes a key, the generation and the id of a document, and its place among those of that key.
type NameLook<'a> = &'a mut dyn FnMut(&str, u64, [u8; 16], Place);

/// Looks at each document of each key of a space: of one key the latest generation first, and of that the lowest id.
fn each_name(view: &dyn View, space: SpaceNo, look: NameLook<'_>) -> Result<(), StoreError> {
    let bad = || unreadable(Table::DocumentKeys);
    // the key, its latest generation, and the document of the row before
    let mut last: Option<([u8; 20], u64, [u8; 16])> = None;
    view.try_scan_prefix(Table::DocumentKeys, &space.to_be_bytes(), Order::Forward, &mut |row, key| {
        let (generation, document) = rows::read_document_key_key(row).ok_or_else(bad)?;
        let of_key = *row.first_chunk::<20>().ok_or_else(bad)?;
        let key = std::str::from_utf8(key).map_err(|_| bad())?;
        let (place, latest) = match last {
            Some((other, latest, _)) if other == of_key && generation < latest => (Place::Former, latest),
            Some((other, latest, before)) if other == of_key && before != document => (Place::Other, latest),
            // the same document by another entry
            Some((other, ..)) if other == of_key => return Ok(ControlFlow::Continue(())),
            _ => (Place::Current, generation),
        };
        last = Some((of_key, latest, document));
        look(key, generation, document, place);
        Ok(ControlFlow::Continue(()))
    })
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
