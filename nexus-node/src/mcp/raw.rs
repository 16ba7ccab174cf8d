//! The arguments of a call as they came, before they are values.
//!
//! A value has no room for an integer of 2^64, for the twentieth digit of a fraction, or for a key that comes twice. So the
//! JSON of a task goes past it as its text, and anything else that would be lost is refused by its name.

use std::collections::BTreeSet;
use std::fmt;

use nexus_crdt::{Inexact, InexactKind, JsonText, inexact};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// The JSON of a task in a call: an input or an output.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskJson(pub(super) Option<JsonText>);

/// A message, as far as its arguments are.
#[derive(Deserialize)]
struct Message {
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
    arguments: Option<Box<RawValue>>,
}

/// The members of an object, also those that come twice.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// The argument of a tool that is the JSON of a task.
pub(super) fn of_task(tool: &str) -> Option<&'static str> {
    match tool {
        "task_create" => Some("input"),
        "task_update" => Some("output"),
        _ => None,
    }
}

/// Looks through the arguments of a message.
///
/// # Errors
/// The first argument of which something would be lost.
pub(super) fn task_json(message: &str) -> Result<TaskJson, Problem> {
    // of another shape, it is refused elsewhere
    let Ok(Message { params: Some(Params { name, arguments: Some(arguments) }) }) = serde_json::from_str(message)
    else {
        return Ok(TaskJson::default());
    };
    // they may be a text that is their JSON
    let text: Option<String> = serde_json::from_str(arguments.get()).ok();
    let arguments = text.as_deref().unwrap_or(arguments.get());
    let Ok(Members(members)) = serde_json::from_str(arguments) else { return Ok(TaskJson::default()) };
    let of_task = name.as_deref().and_then(of_task);
    let (mut json, mut seen) = (None, BTreeSet::new());
    for (name, value) in &members {
        if !seen.insert(name) {
            return Err(refused(&Inexact { path: vec![name.clone()], kind: InexactKind::Key(name.clone()) }));
        }
        if of_task == Some(name) {
            let read = JsonText::parse(value.get());
            json = Some(read.map_err(|error| refused(&format!("{name}: {error}")))?);
        } else if let Some(Inexact { path, kind }) = inexact(value.get()) {
            let path = std::iter::once(name.clone()).chain(path).collect();
            return Err(refused(&Inexact { path, kind }));
        }
    }
    Ok(TaskJson(json))
}

/// The refusal of an argument of which something would be lost.
pub(super) fn refused(why: &impl fmt::Display) -> Problem {
    let problem = Problem::new("invalid", format!("the arguments do not fit: {why}"));
    problem.hint("give such a number as a text, and each key of an object once")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str, arguments: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        )
    }

    #[test]
    fn the_json_of_a_task_is_as_it_came() {
        for text in ["12345678901234567890123", r#"{"b":1.50,"a":[12345e6, -0]}"#, "null"] {
            let create = call("task_create", &format!(r#"{{"capability":"x","input": {text} }}"#));
            assert_eq!(task_json(&create).unwrap().0.map(|json| json.to_string()).as_deref(), Some(text));
            let update = call("task_update", &format!(r#"{{"id":"x","token":"y","output":{text}}}"#));
            assert_eq!(task_json(&update).unwrap().0.map(|json| json.to_string()).as_deref(), Some(text));
        }
        assert!(task_json(&call("recall", r#"{"query":"x","limit":5}"#)).unwrap().0.is_none());
    }

    /// promise: Agents | An argument of which something would be lost is refused by its name: a number with too many digits, a key that comes twice
    #[test]
    fn what_would_be_lost_is_refused_by_its_name() {
        for (tool, arguments, told) in [
            (
                "remember",
                r#"{"text":"x","meta":{"n":18446744073709551616}}"#,
                "meta.n: the number 18446744073709551616",
            ),
            (
                "remember",
                r#"{"text":"x","meta":{"a":[{"pi":3.141592653589793238462643}]}}"#,
                "meta.a[0].pi: the number",
            ),
            ("remember", r#"{"text":"x","meta":{"a":1,"a":2}}"#, "meta.a: the key \"a\" comes twice"),
            ("remember", r#"{"text":"x","text":"y"}"#, "text: the key \"text\" comes twice"),
            ("recall", r#"{"query":"x","limit":184467440737095516160}"#, "limit: the number"),
            ("task_create", r#"{"capability":"x","wait":18446744073709551616}"#, "wait: the number"),
            ("task_create", r#"{"capability":"x","input":{"a":1,"a":2}}"#, "input: the key \"a\" comes twice"),
        ] {
            let refused = task_json(&call(tool, arguments)).unwrap_err().message;
            assert!(refused.starts_with(&format!("the arguments do not fit: {told}")), "{refused}");
        }
    }

    #[test]
    fn a_message_of_another_shape_is_left_to_others() {
        for message in ["[]", "{}", r#"{"params":null}"#, r#"{"params":{"arguments":[1]}}"#, r#"{"params":[]}"#] {
            assert!(task_json(message).is_ok(), "{message}");
        }
    }
}
