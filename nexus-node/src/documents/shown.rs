use nexus_documents::{ChangeHash, DocumentId};
use nexus_identity::Timestamp;
use serde_json::Value;

use super::version::Version;
use crate::error::DocumentError;

/// The name of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its key in its space, if it has one.
    pub key: Option<String>,
    /// The key that it had before that began anew, in a list.
    pub former_key: Option<String>,
    /// Its id.
    pub id: DocumentId,
    /// The name of its space, or its id where the name means another one, too.
    pub space: String,
    /// Other documents that were given the same key at once.
    pub others: Vec<DocumentId>,
}

/// A document, or a part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its name.
    pub info: DocumentInfo,
    /// The version that was read.
    pub version: Version,
    /// The value at the path that was asked for.
    pub value: Value,
    /// Changes that are not here, and that others come after.
    pub missing: usize,
    /// Changes that do not count, with their author and the reason.
    pub refused: Vec<RefusedChange>,
    /// Former documents of its key of which more was said than is in this one.
    pub former: Vec<FormerDocument>,
}

/// A document whose key began anew, and of which more was said than the next one has taken over. A member that did not know may
/// have written it, or somebody at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerDocument {
    /// Its address.
    pub id: DocumentId,
    /// The number of entries about it that were not taken over.
    pub later: usize,
}

/// One of the values that were written to one place at once.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentConflict {
    /// The member that wrote it; `None` for a program that is no member.
    pub by: Option<String>,
    /// The value.
    pub value: Value,
}

/// Some documents of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentsPage {
    /// The documents.
    pub items: Vec<DocumentInfo>,
    /// The place behind them, if there are more.
    pub next: Option<String>,
}

/// A change of a document, for the events of a node: how the document is when it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentNews {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// The key that it had before that began anew.
    pub former_key: Option<String>,
    /// Its version; `None` if it cannot be built here.
    pub version: Option<Version>,
}

/// A change that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedChange {
    /// Its hash.
    pub hash: ChangeHash,
    /// The members that wrote it.
    pub by: Vec<String>,
    /// The reason.
    pub why: String,
}

/// The outcome of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The document's name.
    pub info: DocumentInfo,
    /// The version with the edit.
    pub version: Version,
    /// Whether it changed something.
    pub changed: bool,
}

/// A change in a document's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The version of the document with this change and all before it.
    pub version: Version,
    /// The members whose entries hold it.
    pub by: Vec<String>,
    /// The time as its author says, in whole seconds.
    pub at: Timestamp,
    /// The number of operations.
    pub operations: u64,
    /// A word about it, or nothing.
    pub message: String,
}

/// A run of letters of a text, by one author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRun {
    /// The member that typed it; `None` for a program that is no member.
    pub by: Option<String>,
    /// The letters.
    pub text: String,
}

/// The error of a path or a version that is not there.
pub(super) fn missing(error: nexus_documents::ReadError) -> DocumentError {
    DocumentError::Missing(error.to_string())
}
