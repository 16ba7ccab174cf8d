//! The arguments of the tools.

use std::collections::BTreeMap;

use nexus_crdt::JsonText;
use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::misfit;

use crate::api::wire;
use crate::mcp::answer::Refusal;
use crate::mcp::raw::TaskJson;
use crate::problem::Problem;

/// The default number of memories of a read.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
/// The default length of an answer, in tokens.
const TOKENS_DEFAULT: usize = 4_000;
/// The same of a brief.
const BRIEF_TOKENS_DEFAULT: usize = 600;
const TOKENS_MIN: usize = 100;
const TOKENS_MAX: usize = 100_000;

/// The arguments of a tool. Each one that does not fit is named to the model, which can mend it.
pub(super) fn arguments<T: DeserializeOwned>(tool: &str, given: Option<JsonObject>) -> Result<T, Refusal> {
    let given = given.unwrap_or_default();
    decode(given.clone()).map_err(|error| {
        let alone = |name: &str, value: &Value| decode::<T>([(name.to_owned(), value.clone())].into_iter().collect());
        misfit::problem(tool, &given, |name, value| alone(name, value).err(), &error)
    })
}

fn decode<T: DeserializeOwned>(given: JsonObject) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::Object(given))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionStart {
    pub(super) project: Option<String>,
    max_tokens: Option<usize>,
}

impl SessionStart {
    pub(super) fn max_tokens(&self) -> Result<usize, Refusal> {
        max_tokens(self.max_tokens, BRIEF_TOKENS_DEFAULT)
    }
}

/// A new memory, or with an id the changes to one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remember {
    pub(super) text: Option<String>,
    pub(super) id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) meta: Option<BTreeMap<String, Value>>,
    pub(super) aliases: Option<Vec<String>>,
    pub(super) space: Option<String>,
    pub(super) key: Option<String>,
    pub(super) ttl: Option<wire::Span>,
    pub(super) supersedes: Option<String>,
    pub(super) source: Option<wire::Source>,
}

/// A question, or the id of the one memory to show.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recall {
    pub(super) query: Option<String>,
    #[serde(skip_serializing)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) queries: Vec<String>,
    #[serde(default)]
    pub(super) spaces: Vec<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) kinds: Vec<String>,
    pub(super) by: Option<String>,
    pub(super) since: Option<wire::Span>,
    pub(super) valid_at: Option<wire::ValidAt>,
    #[serde(default)]
    pub(super) everywhere: bool,
    #[serde(default, skip_serializing)]
    pub(super) why: bool,
    #[serde(skip_serializing)]
    limit: Option<usize>,
    #[serde(skip_serializing)]
    pub(super) cursor: Option<String>,
    #[serde(skip_serializing)]
    max_tokens: Option<usize>,
}

/// The thing that a recall asks for.
pub(super) enum Wanted<'a> {
    /// Hits for a question.
    Hits(&'a str),
    /// One memory, whole.
    Whole(&'a str),
}

impl Recall {
    pub(super) fn wanted(&self) -> Result<Wanted<'_>, Refusal> {
        let problem = |message: &str, hint: &str| Err(Problem::new("invalid", message).hint(hint));
        match (&self.query, &self.id) {
            (Some(query), None) => Ok(Wanted::Hits(query)),
            (None, Some(id)) if self.is_filtered() => {
                problem(&format!("with an id ({}) only max_tokens counts", beginning(id)), "leave the others out")
            }
            (None, Some(id)) => Ok(Wanted::Whole(id)),
            (None, None) => {
                problem("neither query nor id was given", "give a query to search, or the id of the memory to show")
            }
            (Some(_), Some(_)) => problem("both query and id were given", "give one of them"),
        }
    }

    /// Whether it has arguments that only a question has.
    fn is_filtered(&self) -> bool {
        let lists = [&self.queries, &self.spaces, &self.tags, &self.kinds];
        lists.iter().any(|list| !list.is_empty())
            || self.by.is_some()
            || self.since.is_some()
            || self.valid_at.is_some()
            || self.limit.is_some()
            || self.cursor.is_some()
            || self.everywhere
            || self.why
    }

    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        limit(self.limit)
    }

    pub(super) fn max_tokens(&self) -> Result<usize, Refusal> {
        max_tokens(self.max_tokens, TOKENS_DEFAULT)
    }
}

/// The part of a given text that an error repeats.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    pub(super) id: String,
}

/// A task to submit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskCreate {
    pub(super) capability: String,
    #[serde(default)]
    pub(super) input: JsonText,
    pub(super) to: Option<String>,
    pub(super) space: Option<String>,
    pub(super) priority: Option<wire::Priority>,
    pub(super) timeout: Option<wire::Span>,
    pub(super) request: Option<String>,
    #[serde(default)]
    pub(super) once: bool,
    #[serde(default)]
    pub(super) needs_approval: bool,
    pub(super) wait: Option<u64>,
}

impl TaskCreate {
    /// With its input as it came.
    pub(super) fn of(mut self, TaskJson(json): TaskJson) -> Self {
        self.input = json.unwrap_or(self.input);
        self
    }
}

/// A question for work.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskClaim {
    pub(super) capabilities: Vec<String>,
    #[serde(default)]
    pub(super) from: Vec<String>,
    pub(super) approved_by: Option<wire::ApprovalRule>,
    pub(super) wait: Option<u64>,
}

/// A word about a task, or a question for its state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskUpdate {
    pub(super) id: String,
    pub(super) token: Option<String>,
    /// `null` is an output, too.
    #[serde(default, deserialize_with = "given")]
    pub(super) output: Option<JsonText>,
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) release: bool,
    pub(super) progress: Option<String>,
    pub(super) percent: Option<u8>,
    pub(super) cancel: Option<String>,
    pub(super) wait: Option<u64>,
}

impl TaskUpdate {
    /// With its output as it came.
    pub(super) fn of(mut self, TaskJson(json): TaskJson) -> Self {
        self.output = json.or(self.output);
        self
    }
}

/// A question for the documents of a space.
#[cfg(feature = "documents")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocList {
    pub(super) space: Option<String>,
    pub(super) cursor: Option<String>,
}

/// A question for a document, or for a part of it.
#[cfg(feature = "documents")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocGet {
    pub(super) key: String,
    pub(super) path: Option<String>,
    pub(super) space: Option<String>,
    max_tokens: Option<usize>,
}

#[cfg(feature = "documents")]
impl DocGet {
    pub(super) fn max_tokens(&self) -> Result<usize, Refusal> {
        max_tokens(self.max_tokens, TOKENS_DEFAULT)
    }
}

/// A change of a document: a merge patch, or a part of a text.
#[cfg(feature = "documents")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocEdit {
    pub(super) key: String,
    pub(super) space: Option<String>,
    #[serde(default)]
    pub(super) create: bool,
    pub(super) path: Option<String>,
    pub(super) patch: Option<JsonObject>,
    pub(super) find: Option<String>,
    pub(super) at: Option<usize>,
    pub(super) delete: Option<usize>,
    pub(super) insert: Option<String>,
    pub(super) version: Option<String>,
}

#[cfg(feature = "documents")]
impl DocEdit {
    /// Whether it has arguments that only a change of a text has.
    pub(super) fn is_of_text(&self) -> bool {
        self.find.is_some() || self.at.is_some() || self.delete.is_some() || self.insert.is_some()
    }
}

fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<JsonText>, D::Error> {
    JsonText::deserialize(from).map(Some)
}

fn limit(asked: Option<usize>) -> Result<usize, Refusal> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(Problem::new("invalid", format!("limit is 1 to {LIMIT_MAX}, not {limit}"))),
    }
}

/// The nearest number of tokens that an answer may have.
pub(in crate::mcp) fn tokens_within(tokens: usize) -> usize {
    tokens.clamp(TOKENS_MIN, TOKENS_MAX)
}

fn max_tokens(asked: Option<usize>, default: usize) -> Result<usize, Refusal> {
    match asked.unwrap_or(default) {
        tokens @ TOKENS_MIN..=TOKENS_MAX => Ok(tokens),
        tokens => Err(Problem::new("invalid", format!("max_tokens is {TOKENS_MIN} to {TOKENS_MAX}, not {tokens}"))),
    }
}
