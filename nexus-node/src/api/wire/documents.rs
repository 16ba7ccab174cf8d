//! Documents, on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Problem;
use crate::documents::{self, DocPath, Version};

/// A document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Its key; `null` if it has none.
    pub key: Option<String>,
    /// In a list: the key that it had before that began anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_key: Option<String>,
    /// Its id.
    pub id: String,
    /// Its address for programs with automerge-repo: `automerge:` and the id.
    pub url: String,
    /// Its space.
    pub space: String,
    /// The hashes of the changes that no other one comes after, where the document was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<String>>,
    /// The version that was read, or that a change has made: the heads, with `.` between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The value at the path that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Whether an edit changed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
    /// The addresses of other documents that were given the same key at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The number of changes that are not here, and that others come after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: usize,
    /// Changes that do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedChange>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A change that does not count.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusedChange {
    /// Its hash.
    pub hash: String,
    /// The members that wrote it.
    pub by: Vec<String>,
    /// The reason.
    pub why: String,
}

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
        }
    }
}

impl Document {
    fn at(self, version: &Version) -> Self {
        let heads = Some(version.0.iter().map(ToString::to_string).collect());
        Self { heads, version: Some(version.to_string()), ..self }
    }
}

impl From<documents::Document> for Document {
    fn from(document: documents::Document) -> Self {
        let documents::Document { info, version, value, missing, refused } = document;
        let refused = refused.into_iter().map(|refused| RefusedChange {
            hash: refused.hash.to_string(),
            by: refused.by,
            why: refused.why,
        });
        Self { value: Some(value), missing, refused: refused.collect(), ..Self::from(info).at(&version) }
    }
}

impl From<documents::Edited> for Document {
    fn from(edited: documents::Edited) -> Self {
        let documents::Edited { info, version, changed } = edited;
        Self { changed: Some(changed), ..Self::from(info).at(&version) }
    }
}

/// A document to create.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    /// Its key: 1 to 256 bytes without control characters.
    pub key: String,
    /// The space; default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
}

/// Edits of a document: all of them are made, or none.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentEdits {
    /// The edits, in their order.
    pub edits: Vec<DocumentEdit>,
}

/// An edit of a document. A path is a JSON Pointer, as `/steps/0/done`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum DocumentEdit {
    /// Gives a path a value. Only what differs is written.
    Set {
        /// The path.
        path: String,
        /// The value.
        value: Value,
    },
    /// A merge patch (RFC 7396): `null` removes.
    Merge {
        /// The path.
        path: String,
        /// The patch.
        patch: Value,
    },
    /// Removes a part of a text, and inserts another one in its place.
    Text {
        /// The path of the text.
        path: String,
        /// The position, in Unicode scalar values.
        at: usize,
        /// The number of characters to remove.
        #[serde(default)]
        delete: usize,
        /// The text to insert.
        #[serde(default)]
        insert: String,
        /// The version in which the position was read, or its first digits; default: the present one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// Removes what is at a path.
    Delete {
        /// The path.
        path: String,
    },
    /// Inserts a value into a list.
    Insert {
        /// The path of the new element: its place in the list, or `-` for the end.
        path: String,
        /// The value.
        value: Value,
    },
    /// Adds to a counter.
    Increment {
        /// The path.
        path: String,
        /// The step.
        by: i64,
    },
    /// Makes a counter.
    Counter {
        /// The path.
        path: String,
        /// Its first value.
        value: i64,
    },
}

impl DocumentEdit {
    /// The version that it names, if it names one.
    pub(in crate::api) const fn version_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Text { version, .. } => version.as_mut(),
            _ => None,
        }
    }

    pub(in crate::api) fn read(self) -> Result<documents::Edit, Problem> {
        let path = |path: String| path.parse::<DocPath>().map_err(|error| Problem::new("invalid", error.to_string()));
        Ok(match self {
            Self::Set { path: at, value } => documents::Edit::Set { path: path(at)?, value },
            Self::Merge { path: at, patch } => documents::Edit::Merge { path: path(at)?, patch },
            Self::Text { path: of, at, delete, insert, version } => {
                let version = version.map(|version| version.parse::<Version>()).transpose();
                let at_heads = version.map_err(|error| Problem::new("invalid", error.to_string()))?;
                documents::Edit::Splice { path: path(of)?, at, delete, insert, at_heads: at_heads.map(|at| at.0) }
            }
            Self::Delete { path: at } => documents::Edit::Delete { path: path(at)? },
            Self::Insert { path: at, value } => documents::Edit::Insert { path: path(at)?, value },
            Self::Increment { path: at, by } => documents::Edit::Increment { path: path(at)?, by },
            Self::Counter { path: at, value } => documents::Edit::Counter { path: path(at)?, value },
        })
    }
}

/// A document's new key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentName {
    /// The key: 1 to 256 bytes without control characters.
    pub key: String,
}

/// The changes of a document, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentHistory {
    /// The changes.
    pub items: Vec<DocumentHistoryEntry>,
}

/// A change in a document's history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentHistoryEntry {
    /// The version with this change and all before it.
    pub version: String,
    /// The members that wrote it.
    pub by: Vec<String>,
    /// The time as its author says, in whole seconds.
    pub at: String,
    /// The number of operations.
    pub operations: u64,
    /// A word about it, or nothing.
    pub message: String,
}

impl From<documents::HistoryEntry> for DocumentHistoryEntry {
    fn from(entry: documents::HistoryEntry) -> Self {
        let documents::HistoryEntry { version, by, at, operations, message } = entry;
        Self { version: version.to_string(), by, at: at.to_string(), operations, message }
    }
}

/// A text with its authors.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentText {
    /// Runs of letters, one after the other.
    pub runs: Vec<DocumentTextRun>,
}

/// A run of letters by one author.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentTextRun {
    /// The member that typed it; `null` for a program that is no member.
    pub by: Option<String>,
    /// The letters.
    pub text: String,
}

impl From<documents::TextRun> for DocumentTextRun {
    fn from(run: documents::TextRun) -> Self {
        Self { by: run.by, text: run.text }
    }
}

/// A change of a document, as patches.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentChange {
    /// The version before.
    pub before: String,
    /// The version now: a stream that begins after it goes on.
    pub version: String,
    /// The differences, to be made in this order.
    pub patches: Vec<Value>,
}

impl From<documents::DocumentChange> for DocumentChange {
    fn from(change: documents::DocumentChange) -> Self {
        let patches = change.patches.iter().map(|patch| serde_json::to_value(patch).unwrap_or_default()).collect();
        Self { before: change.before.to_string(), version: change.version.to_string(), patches }
    }
}
