//! Words that mean the same, on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Source;
use crate::api::Problem;
use crate::api::caller::Caller;

/// A group of words that mean the same: a memory of kind `vocabulary`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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

impl From<crate::memory::Words> for Words {
    fn from(group: crate::memory::Words) -> Self {
        let crate::memory::Words { id, words, space, author, author_name, at } = group;
        let (id, author, at) = (id.to_string(), author.to_string(), at.to_string());
        Self { id, words, space, author, author_name, at }
    }
}

/// A group of words to write.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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

impl NewWords {
    /// The group, with its caller as origin.
    pub(crate) fn of(self, caller: &Caller) -> Result<crate::memory::NewWords, Problem> {
        let Self { words, space, agent, source } = self;
        let origin = caller.origin(agent.as_deref(), source.map(Into::into))?;
        Ok(crate::memory::NewWords { words, space, origin, secrets: caller.secrets(false)? })
    }
}
