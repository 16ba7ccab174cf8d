//! Documents, on the wire.

use nexus_client::wire::{
    Document, DocumentChange, DocumentConflict, DocumentEdit, DocumentHistoryEntry, DocumentMark, DocumentMarkExpand,
    DocumentTextRun, Documents, FormerDocument, RefusedChange,
};

use crate::api::Problem;
use crate::documents::{self, DocPath, Version};

impl From<documents::DocumentInfo> for Document {
    fn from(info: documents::DocumentInfo) -> Self {
        let documents::DocumentInfo { key, former_key, id, space, others } = info;
        let url = id.to_string();
        Self {
            key,
            former_key,
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
            former: Vec::new(),
        }
    }
}

impl From<documents::DocumentsPage> for Documents {
    fn from(page: documents::DocumentsPage) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

impl From<documents::DocumentConflict> for DocumentConflict {
    fn from(conflict: documents::DocumentConflict) -> Self {
        Self { by: conflict.by, value: conflict.value }
    }
}

/// A document as it is at a version.
fn at(document: Document, version: &Version) -> Document {
    let heads = Some(version.0.iter().map(ToString::to_string).collect());
    Document { heads, version: Some(version.to_string()), ..document }
}

impl From<documents::Document> for Document {
    fn from(document: documents::Document) -> Self {
        let documents::Document { info, version, value, missing, refused, former } = document;
        let refused = refused.into_iter().map(|refused| RefusedChange {
            hash: refused.hash.to_string(),
            by: refused.by,
            why: refused.why,
        });
        let former = former
            .into_iter()
            .map(|documents::FormerDocument { id, later }| FormerDocument { url: id.to_string(), later });
        let (refused, former) = (refused.collect(), former.collect());
        Self { value: Some(value), missing, refused, former, ..at(info.into(), &version) }
    }
}

impl From<documents::Edited> for Document {
    fn from(edited: documents::Edited) -> Self {
        let documents::Edited { info, version, changed } = edited;
        Self { changed: Some(changed), ..at(info.into(), &version) }
    }
}

/// An edit that a caller asks for.
pub(in crate::api) fn document_edit(asked: DocumentEdit) -> Result<documents::Edit, Problem> {
    let path = |path: String| path.parse::<DocPath>().map_err(|error| Problem::new("invalid", error.to_string()));
    Ok(match asked {
        DocumentEdit::Set { path: at, value } => documents::Edit::Set { path: path(at)?, value },
        DocumentEdit::Merge { path: at, patch } => documents::Edit::Merge { path: path(at)?, patch },
        DocumentEdit::Text { path: of, at, delete, insert, version } => {
            let version = version.map(|version| version.parse::<Version>()).transpose();
            let at_heads = version.map_err(|error| Problem::new("invalid", error.to_string()))?;
            documents::Edit::Splice { path: path(of)?, at, delete, insert, at_heads: at_heads.map(|at| at.0) }
        }
        DocumentEdit::Mark { path: of, from, to, name, value, expand, version } => {
            let version = version.map(|version| version.parse::<Version>()).transpose();
            let at_heads = version.map_err(|error| Problem::new("invalid", error.to_string()))?.map(|at| at.0);
            let expand = match expand {
                DocumentMarkExpand::Before => documents::MarkExpand::Before,
                DocumentMarkExpand::After => documents::MarkExpand::After,
                DocumentMarkExpand::Both => documents::MarkExpand::Both,
                DocumentMarkExpand::None => documents::MarkExpand::None,
            };
            documents::Edit::Mark { path: path(of)?, range: from..to, name, value, expand, at_heads }
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

/// A mark of a text.
pub(in crate::api) fn document_mark(mark: documents::MarkJson) -> DocumentMark {
    let documents::MarkJson { name, value, start, end } = mark;
    DocumentMark { name, value, start, end }
}

impl From<documents::DocumentChange> for DocumentChange {
    fn from(change: documents::DocumentChange) -> Self {
        let patches = change.patches.iter().map(|patch| serde_json::to_value(patch).unwrap_or_default()).collect();
        Self { before: change.before.to_string(), version: change.version.to_string(), patches }
    }
}
