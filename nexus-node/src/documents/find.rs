use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use nexus_crdt::{DOCUMENT_KEY_BYTES_MAX, DocumentPart, Kind, SpaceId, document_of};
use nexus_documents::{ChangeHash, DocumentId};

use super::shown::DocumentInfo;
use crate::brain::Brain;
use crate::error::{DocumentError, InputError, NodeError};
use crate::ledger::rows::{Eno, SpaceNo};
use crate::ledger::{
    DocumentName, Place, document_names, document_with_key, documents_of_space, enos_of_document, is_document_erased,
    names_of_documents, read_entry,
};
use crate::store::{StoreError, View};

/// The documents whose keys are looked for at once.
const PORTION: usize = 1_000;
/// The most bytes of a place in a list: a key, in base64.
const PLACE_BYTES_MAX: usize = 1 + DOCUMENT_KEY_BYTES_MAX.div_ceil(3) * 4;
/// The most keys of one document that are looked at.
const NAMES_MAX: usize = 16;

/// A document's place.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) space: SpaceId,
    pub(super) no: SpaceNo,
    /// The name of the space to show.
    pub(super) shown: String,
    pub(super) document: DocumentId,
    pub(super) key: Option<String>,
    pub(super) generation: u64,
    pub(super) others: Vec<DocumentId>,
}

impl Found {
    pub(super) fn info(&self) -> DocumentInfo {
        let Self { key, document, shown, others, .. } = self.clone();
        DocumentInfo { key, former_key: None, id: document, space: shown, others }
    }
}

/// A space that this node sees: its id, its number and its name to show.
pub(super) fn space(brain: &Brain, name: Option<&str>) -> Result<(SpaceId, SpaceNo, String), NodeError> {
    let snapshot = brain.snapshot()?;
    let reader = brain.reader(&snapshot)?;
    let (id, row) = reader.space(name)?;
    let shown = reader.space_numbered(row.no).map_or_else(|| row.name.to_string(), |(_, shown)| shown);
    Ok((id, row.no, shown))
}

/// The document of an address, or of a key. A key that another member gave does not hide the document of that address.
pub(super) fn one(brain: &Brain, name: Option<&str>, key: &str) -> Result<Option<Found>, NodeError> {
    let (space, no, shown) = space(brain, name)?;
    let snapshot = brain.snapshot()?;
    if let Ok(document) = key.parse::<DocumentId>()
        && !enos_of_document(&snapshot, no, document.as_bytes(), 0)?.is_empty()
    {
        if is_document_erased(&snapshot, no, document.as_bytes())? {
            return Err(DocumentError::Erased { name: key.to_owned(), generation: 0 }.into());
        }
        return Ok(Some(Found { space, no, shown, document, key: None, generation: 0, others: Vec::new() }));
    }
    let Some(name) = document_with_key(&snapshot, no, key)? else { return Ok(None) };
    let DocumentName { key, generation, .. } = name.clone();
    let Some((document, others)) = left_of(&snapshot, no, name)? else {
        return Err(DocumentError::Erased { name: key, generation }.into());
    };
    Ok(Some(Found { space, no, shown, document, key: Some(key), generation, others }))
}

/// The document of a key and the others with it, without those that are erased.
fn left_of(
    view: &dyn View,
    no: SpaceNo,
    DocumentName { document, others, .. }: DocumentName,
) -> Result<Option<(DocumentId, Vec<DocumentId>)>, StoreError> {
    let mut left = Vec::new();
    for document in [document].into_iter().chain(others) {
        if !is_document_erased(view, no, &document)? {
            left.push(DocumentId::from_bytes(document));
        }
    }
    Ok(if left.is_empty() { None } else { Some((left.remove(0), left)) })
}

/// The document of an id, in whichever of the spaces in sight it is.
#[cfg(feature = "http")]
pub(super) fn anywhere(brain: &Brain, document: DocumentId) -> Result<Option<Found>, NodeError> {
    for info in brain.spaces_blocking()? {
        match one(brain, Some(&info.id.to_string()), &document.to_string()) {
            Ok(None) => {}
            found => return found,
        }
    }
    Ok(None)
}

/// Some documents of a space, and the place behind them if there are more.
pub(super) type Listed = (Vec<DocumentInfo>, Option<ListPlace>);

/// A place in the list of the documents of a space: those with keys in the order of their keys, and then others by id.
///
/// Text form: `k` or `d`, and the key or the id in base64 for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListPlace {
    /// Behind a key.
    Key(String),
    /// Behind all keys, and behind this document.
    Document([u8; 16]),
}

impl fmt::Display for ListPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "k{}", BASE64URL_NOPAD.encode(key.as_bytes())),
            Self::Document(id) => write!(f, "d{}", BASE64URL_NOPAD.encode(id)),
        }
    }
}

impl FromStr for ListPlace {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        let read = || {
            let (kind, rest) = text.split_at_checked(1).filter(|_| text.len() <= PLACE_BYTES_MAX)?;
            let bytes = BASE64URL_NOPAD.decode(rest.as_bytes()).ok()?;
            match kind {
                "k" => String::from_utf8(bytes).ok().map(Self::Key),
                "d" => bytes.try_into().ok().map(Self::Document),
                _ => None,
            }
        };
        read().ok_or_else(|| InputError::Cursor(text.to_owned()))
    }
}

/// The documents of a space behind a place, at most so many.
pub(super) fn page(
    brain: &Brain,
    name: Option<&str>,
    behind: Option<&ListPlace>,
    max: usize,
) -> Result<Listed, NodeError> {
    let (_, no, shown) = space(brain, name)?;
    let snapshot = brain.snapshot()?;
    let mut found = Vec::new();
    let info = |id: [u8; 16]| DocumentInfo {
        key: None,
        former_key: None,
        id: DocumentId::from_bytes(id),
        space: shown.clone(),
        others: Vec::new(),
    };
    let mut last = match behind {
        Some(ListPlace::Document(id)) => Some(*id),
        behind => {
            let key = behind.map(|place| match place {
                ListPlace::Key(key) => key.as_str(),
                ListPlace::Document(_) => "",
            });
            let mut names = document_names(&snapshot, no, key, max + 1)?;
            let has_more = names.len() > max;
            names.truncate(max);
            let last = names.last().map(|name| ListPlace::Key(name.key.clone()));
            for name in names {
                let key = Some(name.key.clone());
                if let Some((document, others)) = left_of(&snapshot, no, name)? {
                    found.push(DocumentInfo { key, others, ..info(*document.as_bytes()) });
                }
            }
            if has_more {
                return Ok((found, last));
            }
            None
        }
    };
    loop {
        let documents = documents_of_space(&snapshot, no, last.as_ref(), PORTION)?;
        let names = names_of_documents(&snapshot, no, &documents)?;
        let is_end = documents.len() < PORTION;
        for document in documents {
            let former_key = match names.get(&document) {
                // those were listed by their keys
                Some((Place::Current | Place::Other, _)) => {
                    last = Some(document);
                    continue;
                }
                Some((Place::Former, key)) => Some(key.clone()),
                None => None,
            };
            if found.len() >= max {
                // without a document behind the keys: from the first one on
                return Ok((found, Some(ListPlace::Document(last.unwrap_or_default()))));
            }
            last = Some(document);
            if is_document_erased(&snapshot, no, &document)? {
                continue;
            }
            found.push(DocumentInfo { former_key, ..info(document) });
        }
        if is_end {
            return Ok((found, None));
        }
    }
}

/// The keys of a document, as far as its entries were read.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The last entry that was read.
    last: Eno,
    given: BTreeSet<(String, u64)>,
}

/// The key of a document, or the one that it had before that began anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) key: Option<String>,
    pub(super) former_key: Option<String>,
}

impl Names {
    /// The key of the document as it is now. Reads the entries about it that have come since the last time.
    pub(super) fn called(&mut self, view: &dyn View, no: SpaceNo, document: DocumentId) -> Result<Called, StoreError> {
        for eno in enos_of_document(view, no, document.as_bytes(), self.last)? {
            self.last = eno;
            let Some(words) = read_entry(view, eno)?.and_then(|entry| document_of(&entry).ok()) else { continue };
            for (_, part) in words.parts {
                if let DocumentPart::Key { generation, key } = part
                    && self.given.len() < NAMES_MAX
                {
                    self.given.insert((key, generation));
                }
            }
        }
        let mut called = Called::default();
        for (key, generation) in &self.given {
            // whether that entry counts is said by the key alone
            let Some(name) = document_with_key(view, no, key)? else { continue };
            if name.document == *document.as_bytes() {
                return Ok(Called { key: Some(key.clone()), former_key: None });
            }
            if name.generation > *generation && called.former_key.is_none() {
                called.former_key = Some(key.clone());
            }
        }
        Ok(called)
    }
}

/// The changes that an entry holds of a document, if it is about that one.
pub(super) fn changes_in(view: &dyn View, eno: Eno, document: DocumentId) -> Result<Option<Said>, StoreError> {
    let Some(entry) = read_entry(view, eno)?.filter(|entry| entry.header().kind == Kind::DOCUMENT) else {
        return Ok(None);
    };
    let Ok(words) = document_of(&entry) else { return Ok(None) };
    if words.document != *document.as_bytes() {
        return Ok(None);
    }
    let mut said = Said { names: false, changes: Vec::new() };
    for (_, part) in words.parts {
        match part {
            DocumentPart::Key { .. } => said.names = true,
            DocumentPart::Change { hash, .. } => said.changes.push(ChangeHash(hash)),
        }
    }
    Ok(Some(said))
}

/// The words of an entry about a document.
pub(super) struct Said {
    /// Whether it gives it a key.
    pub(super) names: bool,
    pub(super) changes: Vec<ChangeHash>,
}
