//! JSON schemas of workers: of the inputs that they take, and of their outputs. A node checks its own workers' tasks alone.
//! Schemas of others are only shown, so nobody has another node evaluate one.

use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(feature = "schemas")]
use jsonschema::{PatternOptions, Validator};
#[cfg(feature = "schemas")]
use nexus_crdt::TASK_ERROR_BYTES_MAX;
use nexus_crdt::{JsonText, TaskId, TaskToken};
use serde_json::Value;

use super::claim::TaskResult;
#[cfg(feature = "schemas")]
use super::task::cut;
use crate::error::InputError;

/// The longest schema, in bytes of JSON.
pub const SCHEMA_BYTES_MAX: usize = 16 * 1024;
/// The longest schema that is told to others.
pub(super) const TOLD_BYTES_MAX: usize = 4 * 1024;
/// The most claims and the most workers whose schemas are held.
const HELD_MAX: usize = 1_000;

/// Whether a text is a schema as others tell it, or none. It is shown as JSON, and never evaluated.
pub(super) fn is_told(text: &str) -> bool {
    text.is_empty() || text.len() <= TOLD_BYTES_MAX && serde_json::from_str::<Value>(text).is_ok()
}

/// The schemas of a worker.
#[derive(Debug)]
pub(super) struct Schemas {
    input: Option<Schema>,
    output: Option<Schema>,
}

#[derive(Debug)]
struct Schema {
    text: String,
    #[cfg(feature = "schemas")]
    validator: Validator,
}

impl Schema {
    fn of(part: &'static str, text: &Value) -> Result<Self, InputError> {
        let json = text.to_string();
        if json.len() > SCHEMA_BYTES_MAX {
            let why = format!("it has {} bytes, at most {SCHEMA_BYTES_MAX} are allowed", json.len());
            return Err(InputError::Schema { part, why });
        }
        Self::checked(part, text, json)
    }

    #[cfg(not(feature = "schemas"))]
    fn checked(part: &'static str, _: &Value, _: String) -> Result<Self, InputError> {
        let why = "this program was built without the feature `schemas`".to_owned();
        Err(InputError::Schema { part, why })
    }

    #[cfg(feature = "schemas")]
    fn checked(part: &'static str, text: &Value, json: String) -> Result<Self, InputError> {
        // patterns without backtracking: the inputs are others'
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(text).map_err(|error| InputError::Schema { part, why: error.to_string() })?;
        Ok(Self { text: json, validator })
    }

    /// The first rule that a value breaks, and its place.
    #[cfg(not(feature = "schemas"))]
    #[expect(clippy::unused_self, reason = "there is no schema without the feature")]
    const fn broken(&self, _: &Value) -> Option<String> {
        None
    }

    /// The first rule that a value breaks, and its place.
    #[cfg(feature = "schemas")]
    fn broken(&self, value: &Value) -> Option<String> {
        let error = self.validator.iter_errors(value).next()?;
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the whole".to_owned() } else { place };
        // the value may be a secret
        Some(cut(&format!("{place}: {}", error.masked()), TASK_ERROR_BYTES_MAX))
    }
}

impl Schemas {
    /// The schemas of a worker, if it has some.
    ///
    /// # Errors
    /// [`InputError::Schema`] for one that is none, or needs a document that is elsewhere.
    pub(super) fn of(input: Option<&Value>, output: Option<&Value>) -> Result<Option<Arc<Self>>, InputError> {
        if input.is_none() && output.is_none() {
            return Ok(None);
        }
        let input = input.map(|text| Schema::of("input", text)).transpose()?;
        let output = output.map(|text| Schema::of("output", text)).transpose()?;
        Ok(Some(Arc::new(Self { input, output })))
    }

    /// Whether these are the schemas that a worker gives.
    fn are(&self, input: Option<&Value>, output: Option<&Value>) -> bool {
        let is = |schema: &Option<Schema>, text: Option<&Value>| match (schema, text) {
            (Some(schema), Some(text)) => {
                let text = text.to_string();
                schema.text == text
            }
            (schema, text) => schema.is_none() && text.is_none(),
        };
        is(&self.input, input) && is(&self.output, output)
    }

    /// The failure of a task whose input the worker does not take.
    pub(super) fn refuses(&self, input: &JsonText) -> Option<TaskResult> {
        let message = self.input.as_ref()?.broken(&input.value())?;
        Some(TaskResult::Failed { code: "input_mismatch".to_owned(), message })
    }

    /// The input's and the output's schema.
    pub(super) fn texts(&self) -> (Option<String>, Option<String>) {
        let text = |schema: &Option<Schema>| schema.as_ref().map(|schema| schema.text.clone());
        (text(&self.input), text(&self.output))
    }
}

/// The schemas of workers that wait or work here.
#[derive(Debug, Default)]
pub(super) struct SchemaBook {
    shown: BTreeMap<String, Arc<Schemas>>,
    claims: BTreeMap<(TaskId, TaskToken), Arc<Schemas>>,
}

impl SchemaBook {
    /// A worker asks for work.
    pub(super) fn asks(&mut self, agent: &str, schemas: Option<&Arc<Schemas>>) {
        match schemas {
            Some(schemas) if self.shown.len() < HELD_MAX || self.shown.contains_key(agent) => {
                self.shown.insert(agent.to_owned(), Arc::clone(schemas));
            }
            Some(_) => {}
            None => drop(self.shown.remove(agent)),
        }
    }

    /// The schemas that workers with this name gave before, if it gives the same.
    pub(super) fn same(&self, agent: &str, input: Option<&Value>, output: Option<&Value>) -> Option<Arc<Schemas>> {
        self.shown.get(agent).filter(|schemas| schemas.are(input, output)).cloned()
    }

    /// The schemas of the workers with this name.
    pub(super) fn of(&self, agent: &str) -> (Option<String>, Option<String>) {
        self.shown.get(agent).map_or((None, None), |schemas| schemas.texts())
    }

    /// Lets go of those of workers that are gone.
    pub(super) fn keep(&mut self, is_here: impl Fn(&str) -> bool) {
        self.shown.retain(|agent, _| is_here(agent));
    }

    /// A worker has a task. Beyond so many claims, outputs are not checked.
    pub(super) fn claims(&mut self, task: TaskId, token: TaskToken, schemas: &Arc<Schemas>) {
        if schemas.output.is_some() && self.claims.len() < HELD_MAX {
            self.claims.insert((task, token), Arc::clone(schemas));
        }
    }

    /// Lets go of claims that do not stand.
    pub(super) fn keep_claims(&mut self, stands: impl Fn(TaskId, TaskToken) -> bool) {
        if self.claims.len() >= HELD_MAX {
            self.claims.retain(|(task, token), _| stands(*task, *token));
        }
    }

    /// The result that counts: an output that breaks its worker's own schema is a failure.
    pub(super) fn checked(&self, task: TaskId, token: TaskToken, result: TaskResult) -> TaskResult {
        let Some(schemas) = self.claims.get(&(task, token)) else { return result };
        let TaskResult::Succeeded(output) = &result else { return result };
        match schemas.output.as_ref().and_then(|schema| schema.broken(&output.value())) {
            Some(message) => TaskResult::Failed { code: "output_mismatch".to_owned(), message },
            None => result,
        }
    }
}

#[cfg(all(test, feature = "schemas"))]
mod tests {
    use super::*;
    use serde_json::json;

    /// promise: Tasks | A schema that is none, is too long, needs another document or has a pattern without an end is refused with its reason
    #[test]
    fn schemas_that_are_none_are_refused() {
        let long = json!({ "enum": ["x".repeat(SCHEMA_BYTES_MAX)] });
        let elsewhere = [json!({ "$ref": "http://127.0.0.1:1/x" }), json!({ "$ref": "file:///etc/passwd" })];
        let wrong =
            [json!({ "type": "nonsense" }), json!(7), json!({ "pattern": "(" }), json!({ "pattern": "(?=a)" }), long];
        for schema in elsewhere.iter().chain(&wrong) {
            let refused = Schemas::of(Some(schema), None).unwrap_err();
            assert!(matches!(refused, InputError::Schema { part: "input", .. }), "{refused}");
        }
        // a backtracking engine takes longer than the world for this one
        let slow = json!({ "pattern": "^(a+)+$" });
        let slow = Schemas::of(Some(&slow), None).unwrap().unwrap();
        assert!(slow.refuses(&json!(format!("{}!", "a".repeat(10_000))).into()).is_some());
    }

    /// promise: Tasks | An input or output that breaks a worker's schema fails with its place and rule, without the value
    #[test]
    fn the_place_and_the_rule_are_told_and_the_value_is_not() {
        let schema =
            json!({ "type": "object", "properties": { "n": { "type": "integer", "maximum": 9 } }, "required": ["n"] });
        let schemas = Schemas::of(Some(&schema), Some(&schema)).unwrap().unwrap();
        assert!(schemas.refuses(&json!({ "n": 9 }).into()).is_none());
        let Some(TaskResult::Failed { code, message }) = schemas.refuses(&json!({ "n": "sk-secret" }).into()) else {
            panic!()
        };
        assert!(code == "input_mismatch" && message.starts_with("/n: ") && !message.contains("secret"), "{message}");
        let mut book = SchemaBook::default();
        let (task, token) = (TaskId { entry: nexus_crdt::EntryId::of(b"x"), index: 0 }, TaskToken::from_bytes([1; 16]));
        book.claims(task, token, &schemas);
        let checked = book.checked(task, token, TaskResult::Succeeded(json!({}).into()));
        assert!(matches!(checked, TaskResult::Failed { code, .. } if code == "output_mismatch"));
        let again = book.checked(task, token, TaskResult::Succeeded(json!({}).into()));
        assert!(matches!(again, TaskResult::Failed { .. }), "it is said again");
        let other = book.checked(task, TaskToken::from_bytes([2; 16]), TaskResult::Succeeded(json!({}).into()));
        assert_eq!(other, TaskResult::Succeeded(json!({}).into()), "it is of no claim with a schema");
    }
}
