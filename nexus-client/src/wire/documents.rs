//! Documents, on the wire.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
    /// Former documents of its key of which more was said than this one took over when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerDocument>,
}

/// A document whose key began anew, and of which more was said since: by a member that did not know, or at the same moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct FormerDocument {
    /// Its address.
    pub url: String,
    /// The number of entries about it that were not taken over.
    pub later: usize,
}

/// A page of documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Documents {
    /// The documents: those with keys by key, then others.
    pub items: Vec<Document>,
    /// `after` of the next page; `null` if this is the last one.
    pub next: Option<String>,
}

/// The values that were written to one place at once, the shown one first. There is one where nothing is in conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentConflicts {
    /// The values.
    pub items: Vec<DocumentConflict>,
}

/// One of the values that were written to one place at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentConflict {
    /// The member that wrote it; `null` for a program that is no member.
    pub by: Option<String>,
    /// The value.
    pub value: Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A change that does not count.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RefusedChange {
    /// Its hash.
    pub hash: String,
    /// The members that wrote it.
    pub by: Vec<String>,
    /// The reason.
    pub why: String,
}

/// A document to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    /// Its key: 1 to 256 bytes without control characters.
    pub key: String,
    /// The space; default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
}

/// Edits of a document: all of them are made, or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DocumentEdits {
    /// The edits, in their order.
    pub edits: Vec<DocumentEdit>,
    /// Whether texts that look like credentials are written: a person alone may allow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

/// An edit of a document. A path is a JSON Pointer, as `/steps/0/done`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
    /// Marks letters of a text, as bold or as a link; `null` takes the mark away.
    Mark {
        /// The path of the text.
        path: String,
        /// The first letter, in Unicode scalar values.
        from: usize,
        /// The letter after the last one.
        to: usize,
        /// The name of the mark, such as `bold`.
        name: String,
        /// Its value: a text, a number, true, false or `null`.
        value: Value,
        /// Whether letters that are inserted at its ends belong to it.
        #[serde(default)]
        expand: DocumentMarkExpand,
        /// The version in which the range was read, or its first digits; default: the present one.
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
    pub const fn version_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Text { version, .. } | Self::Mark { version, .. } => version.as_mut(),
            _ => None,
        }
    }
}

/// A document's new key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DocumentName {
    /// The key: 1 to 256 bytes without control characters.
    pub key: String,
}

/// The changes of a document, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentHistory {
    /// The changes.
    pub items: Vec<DocumentHistoryEntry>,
}

/// A change in a document's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// The ends of a mark at which inserted letters belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DocumentMarkExpand {
    /// The beginning: letters before its first one.
    Before,
    /// The end: letters after its last one.
    #[default]
    After,
    /// Both.
    Both,
    /// Neither.
    None,
}

/// A mark of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentMark {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The first letter, in Unicode scalar values.
    pub start: usize,
    /// The letter after the last one.
    pub end: usize,
}

/// A text with its authors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentText {
    /// Runs of letters, one after the other.
    pub runs: Vec<DocumentTextRun>,
    /// Its marks.
    #[serde(default)]
    pub marks: Vec<DocumentMark>,
}

/// A run of letters by one author.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentTextRun {
    /// The member that typed it; `null` for a program that is no member.
    pub by: Option<String>,
    /// The letters.
    pub text: String,
}

/// A change of a document, as patches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DocumentChange {
    /// The version before.
    pub before: String,
    /// The version now: a stream that begins after it goes on.
    pub version: String,
    /// The differences, to be made in this order.
    pub patches: Vec<Value>,
}
