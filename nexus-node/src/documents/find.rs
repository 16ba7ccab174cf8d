use std::collections::BTreeSet;

use nexus_crdt::SpaceId;
use nexus_documents::DocumentId;

use super::shown::DocumentInfo;
use crate::brain::Brain;
use crate::error::NodeError;
use crate::ledger::rows::SpaceNo;
use crate::ledger::{DocumentName, document_names, document_with_key, documents_of_space, enos_of_document};

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
        DocumentInfo { key, id: document, space: shown, others }
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

/// The document of a key, or of an address.
pub(super) fn one(brain: &Brain, name: Option<&str>, key: &str) -> Result<Option<Found>, NodeError> {
    let (space, no, shown) = space(brain, name)?;
    let snapshot = brain.snapshot()?;
    if let Some(DocumentName { key, generation, document, others }) = document_with_key(&snapshot, no, key)? {
        let others = others.into_iter().map(DocumentId::from_bytes).collect();
        let document = DocumentId::from_bytes(document);
        return Ok(Some(Found { space, no, shown, document, key: Some(key), generation, others }));
    }
    let Ok(document) = key.parse::<DocumentId>() else { return Ok(None) };
    let is_here = !enos_of_document(&snapshot, no, document.as_bytes(), 0)?.is_empty();
    let found = Found { space, no, shown, document, key: None, generation: 0, others: Vec::new() };
    Ok(is_here.then_some(found))
}

/// The documents of a space: those with keys in the order of their keys, and then others.
pub(super) fn all(brain: &Brain, name: Option<&str>, max: usize) -> Result<Vec<DocumentInfo>, NodeError> {
    let (_, no, shown) = space(brain, name)?;
    let snapshot = brain.snapshot()?;
    let mut names = document_names(&snapshot, no, max)?;
    names.sort_by(|one, other| one.key.cmp(&other.key));
    let mut listed = BTreeSet::new();
    let mut found = Vec::new();
    for DocumentName { key, document, others, .. } in names {
        listed.extend(others.iter().chain([&document]).copied());
        let others = others.into_iter().map(DocumentId::from_bytes).collect();
        let id = DocumentId::from_bytes(document);
        found.push(DocumentInfo { key: Some(key), id, space: shown.clone(), others });
    }
    for document in documents_of_space(&snapshot, no, max)? {
        if found.len() < max && !listed.contains(&document) {
            let id = DocumentId::from_bytes(document);
            found.push(DocumentInfo { key: None, id, space: shown.clone(), others: Vec::new() });
        }
    }
    Ok(found)
}
