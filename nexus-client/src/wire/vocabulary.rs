//! Words that mean the same, on the wire.

use super::Source;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of words that mean the same: a memory of kind `vocabulary`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Words {
    /// The memory's id.
    pub id: String,
    /// The words, as the author spells them.
    pub words: Vec<String>,
    /// Its space's name.
    pub space: String,
    /// The author's DID.
    pub author: String,
    /// That member's name.
    pub author_name: Option<String>,
    /// The time of the last edit.
    pub at: String,
}

/// A group of words to write.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewWords {
    /// The words: 2 to 8, each of at most four words and 64 characters. A group of this node with the same first word is
    /// replaced.
    pub words: Vec<String>,
    /// The space; default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The program's own name; default: the first product in its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The source: that of the connection, or a lower one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}
