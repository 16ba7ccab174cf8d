//! Documents, on the wire.

use nexus_client::wire::{
    Document, DocumentChange, DocumentEdit, DocumentHistoryEntry, DocumentTextRun, RefusedChange,
};

use crate::api::Problem;
use crate::documents::{self, DocPath, Version};

impl From<documents::DocumentInfo> for Document {
    fn from(info: documents::DocumentInfo) -> Self {
        let documents::DocumentInfo { key, id, space, others } = info;
        let url = id.to_string();
        Self {
            key,
            id: url.trim_start_matches("automerge:").to_owned(),
            url,
            space,
            heads: None,
            version: None,
            value: None,
            changed: None,
            others: others.iter().map(ToString::to_string).collect(),
            missing: 0,
            refused: Vec::new(),
        }
    }
}

/// A document as it was read in a version.
fn at(version: &Version, document: Document) -> Document {
    let heads = Some(version.0.iter().map(ToString::to_string).collect());
    Document { heads, version: Some(version.to_string()), ..document }
}

impl From<documents::Document> for Document {
    fn from(document: documents::Document) -> Self {
        let documents::Document { info, version, value, missing, refused } = document;
        let refused = refused.into_iter().map(|refused| RefusedChange {
            hash: refused.hash.to_string(),
            by: refused.by,
            why: refused.why,
        });
        Self { value: Some(value), missing, refused: refused.collect(), ..at(&version, Self::from(info)) }
    }
}

impl From<documents::Edited> for Document {
    fn from(edited: documents::Edited) -> Self {
        let documents::Edited { info, version, changed } = edited;
        Self { changed: Some(changed), ..at(&version, Self::from(info)) }
    }
}

/// An edit, if its path and its version read.
pub(in crate::api) fn document_edit(edit: DocumentEdit) -> Result<documents::Edit, Problem> {
    let path = |path: String| path.parse::<DocPath>().map_err(|error| Problem::new("invalid", error.to_string()));
    Ok(match edit {
        DocumentEdit::Set { path: at, value } => documents::Edit::Set { path: path(at)?, value },
        DocumentEdit::Merge { path: at, patch } => documents::Edit::Merge { path: path(at)?, patch },
        DocumentEdit::Text { path: of, at, delete, insert, version } => {
            let version = version.map(|version| version.parse::<Version>()).transpose();
            let at_heads = version.map_err(|error| Problem::new("invalid", error.to_string()))?;
            documents::Edit::Splice { path: path(of)?, at, delete, insert, at_heads: at_heads.map(|at| at.0) }
        }
        DocumentEdit::Delete { path: at } => documents::Edit::Delete { path: path(at)? },
        DocumentEdit::Insert { path: at, value } => documents::Edit::Insert { path: path(at)?, value },
        DocumentEdit::Increment { path: at, by } => documents::Edit::Increment { path: path(at)?, by },
        DocumentEdit::Counter { path: at, value } => documents::Edit::Counter { path: path(at)?, value },
    })
}

impl From<documents::HistoryEntry> for DocumentHistoryEntry {
    fn from(entry: documents::HistoryEntry) -> Self {
        let documents::HistoryEntry { version, by, at, operations, message } = entry;
        Self { version: version.to_string(), by, at: at.to_string(), operations, message }
    }
}

impl From<documents::TextRun> for DocumentTextRun {
    fn from(run: documents::TextRun) -> Self {
        Self { by: run.by, text: run.text }
    }
}

impl From<documents::DocumentChange> for DocumentChange {
    fn from(change: documents::DocumentChange) -> Self {
        let patches = change.patches.iter().map(|patch| serde_json::to_value(patch).unwrap_or_default()).collect();
        Self { before: change.before.to_string(), version: change.version.to_string(), patches }
    }
}
