//! Erasures.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request to erase memories, documents and texts of tasks on every node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// The ids or keys of memories, forgotten ones by their ids, the ids of tasks that have ended, and the addresses of documents:
    /// 1 to 1,024.
    pub ids: Vec<String>,
}

/// The answer to it, in the order of the request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Erased {
    /// Each of it.
    pub items: Vec<ErasedItem>,
}

/// The fate of a memory, a task or a document that was to be erased.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ErasedItem {
    /// Its id.
    pub id: String,
    /// `memory`, `task` or `document`.
    pub kind: String,
    /// Whether it is erased here, and goes on every other node that hears of it.
    pub erased: bool,
    /// Whether it is only forgotten: somebody else wrote it, and this node's member is no admin.
    pub forgotten: bool,
    /// Its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The names of members who wrote versions of it. Their own nodes erase these when they hear of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Why it is not erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How far the members are with the erasure of a memory, a task or a document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ErasureStatus {
    /// Its id.
    pub id: String,
    /// Whether a word that counts erased it.
    pub erased: bool,
    /// The members that said so, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// The time of the first such word, by its author's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The members on whose nodes no reader finds it, by their own signed word.
    pub hidden: Vec<String>,
    /// The members from whose disks its bytes are gone, by their own signed word.
    pub gone: Vec<String>,
    /// The members of whom no word has come here yet.
    pub missing: Vec<String>,
}
