//! Events of a node.

use super::critical::KvChange;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Change {
    /// The cursor after it.
    pub cursor: String,
    /// The kind. In the log: `remembered`, `edited`, `forgotten`, `member`, `space`, `task`, `document`. Elsewhere: `key`,
    /// `lock`, `peer`, `blob`, `mode`. After `missed` read again what `of` names.
    pub kind: String,
    /// The id of the memory, member, space or task; the name of the key or lock; the DID of the peer; the hash of the blob; the mode.
    /// The address of a document.
    pub id: String,
    /// The space's name; empty for what has none.
    pub space: String,
    /// The DID of the author, or of the member that made the change; else this node's.
    pub author: String,
    /// The number of the entry in that author's log; 0 for what is in none.
    pub seq: u64,
    /// The state: a task's when this is told, a peer's (`connected`, `away`), or a blob's (`added`, `fetched`, `removed`,
    /// `damaged`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// A document's key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key that a document had before that began anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_key: Option<String>,
    /// A document's version when this is told. One of more than 64 heads is left out, and so is that of a document that this
    /// node cannot build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The change of a key or a lock, as `/v1/watch` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<KvChange>,
    /// The kinds of events that were missed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// The answer of a long poll.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Changes {
    /// The events; empty if there were none in time.
    pub changes: Vec<Change>,
    /// The cursor for the next poll.
    pub cursor: String,
}
