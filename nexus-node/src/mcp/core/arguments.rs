//! The arguments of the tools.

use std::collections::BTreeMap;

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::misfit;

use crate::api::wire;
use crate::mcp::answer::{Budget, Refusal};
use crate::problem::Problem;

/// The default number of memories of a read.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
/// The default length of an answer, in tokens.
const TOKENS_DEFAULT: usize = 4_000;
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
    limit: Option<usize>,
    pub(super) cursor: Option<String>,
    max_tokens: Option<usize>,
}

impl SessionStart {
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        limit(self.limit)
    }

    pub(super) fn budget(&self) -> Result<Budget, Refusal> {
        budget(self.max_tokens)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remember {
    pub(super) text: String,
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) meta: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    pub(super) space: Option<String>,
    pub(super) key: Option<String>,
    pub(super) ttl: Option<wire::Span>,
    pub(super) source: Option<wire::Source>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recall {
    pub(super) query: String,
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

impl Recall {
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        limit(self.limit)
    }

    pub(super) fn budget(&self) -> Result<Budget, Refusal> {
        budget(self.max_tokens)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    pub(super) id: String,
    pub(super) text: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) aliases: Option<Vec<String>>,
    pub(super) meta: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    pub(super) id: String,
}

fn limit(asked: Option<usize>) -> Result<usize, Refusal> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(Problem::new("invalid", format!("limit is 1 to {LIMIT_MAX}, not {limit}"))),
    }
}

fn budget(asked: Option<usize>) -> Result<Budget, Refusal> {
    match asked.unwrap_or(TOKENS_DEFAULT) {
        tokens @ TOKENS_MIN..=TOKENS_MAX => Ok(Budget::of_tokens(tokens)),
        tokens => Err(Problem::new("invalid", format!("max_tokens is {TOKENS_MIN} to {TOKENS_MAX}, not {tokens}"))),
    }
}
