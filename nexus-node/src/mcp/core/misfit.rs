//! The words for arguments that do not fit: the name of each, the expected shape, and the given one.
//!
//! The decoder alone says which argument it cannot read, and the tool's own schema says in which shape it is
//! expected. So nothing is refused here that the decoder takes.

use rmcp::model::JsonObject;
use serde_json::Value;

use super::tools;
use crate::problem::Problem;

/// The most arguments that an error names.
const NAMED_MAX: usize = 8;
/// The longest part of a text or a name that an error repeats, in characters.
const REPEATED_CHARS_MAX: usize = 40;
/// The beginning of the decoder's error for an argument that is not there.
const MISSING: &str = "missing field";

/// The problem of arguments that the decoder refused. `alone` decodes one argument without the others.
pub(super) fn problem(
    tool: &str,
    given: &JsonObject,
    alone: impl Fn(&str, &Value) -> Option<serde_json::Error>,
    error: &serde_json::Error,
) -> Problem {
    let schema = tools::all().iter().find(|known| known.name == tool).map(|tool| tool.input_schema.as_ref());
    let part = |name: &str| schema.and_then(|schema| schema.get(name));
    let Some(properties) = part("properties").and_then(Value::as_object) else {
        return Problem::new("invalid", format!("the arguments do not fit: {error}"));
    };
    let mut misfits = Vec::new();
    let mut unknown = false;
    for (name, value) in given {
        let Some(property) = properties.get(name) else {
            unknown = true;
            misfits.push(format!("{}: there is no such argument", beginning(name)));
            continue;
        };
        let reason = alone(name, value).map(|error| error.to_string()).filter(|error| !error.starts_with(MISSING));
        misfits.extend(reason.map(|reason| misfit(name, property, value).unwrap_or(format!("{name}: {reason}"))));
    }
    let required = part("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !given.contains_key(*name)) {
        misfits.push(format!("{name}: it is missing, expected {}", expected(&properties[name])));
    }
    if misfits.is_empty() {
        misfits.push(error.to_string());
    }
    misfits.truncate(NAMED_MAX);
    let problem = Problem::new("invalid", format!("the arguments do not fit: {}", misfits.join("; ")));
    if !unknown {
        return problem;
    }
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    problem.hint(format!("{tool} takes {}", names.join(", ")))
}

/// The first place at which a value has another shape than the schema says.
fn misfit(place: &str, schema: &Value, value: &Value) -> Option<String> {
    if let (Some("array"), Some(elements)) = (schema["type"].as_str(), value.as_array()) {
        let mut each = elements.iter().enumerate();
        return each.find_map(|(index, element)| misfit(&format!("{place}[{index}]"), &schema["items"], element));
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string() && schema["enum"].as_array().is_none_or(|words| words.contains(value)),
        Some("integer") => {
            let bound = |name: &str| schema[name].as_u64();
            value.as_u64().is_some_and(|number| {
                bound("minimum").is_none_or(|least| number >= least)
                    && bound("maximum").is_none_or(|most| number <= most)
            })
        }
        Some("object") => value.is_object(),
        Some("array") => false,
        _ => true,
    };
    (!fits).then(|| format!("{place}: expected {}, got {}", expected(schema), got(value)))
}

/// The shape that a schema asks for.
fn expected(schema: &Value) -> String {
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(words) => {
                format!("one of {}", words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            }
            None => "a text".to_owned(),
        },
        Some("array") => "a list of texts".to_owned(),
        Some("integer") => format!("a whole number from {} to {}", schema["minimum"], schema["maximum"]),
        _ => "an object".to_owned(),
    }
}

fn got(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", beginning(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn beginning(text: &str) -> String {
    if text.chars().count() <= REPEATED_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(REPEATED_CHARS_MAX).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::arguments::{Forget, Recall, Remember, SessionStart, arguments};
    use super::*;

    #[track_caller]
    fn refused(tool: &str, given: &Value) -> Problem {
        let given = given.as_object().cloned();
        match tool {
            "session_start" => arguments::<SessionStart>(tool, given).map(drop),
            "remember" => arguments::<Remember>(tool, given).map(drop),
            "recall" => arguments::<Recall>(tool, given).map(drop),
            _ => arguments::<Forget>(tool, given).map(drop),
        }
        .unwrap_err()
    }

    /// promise: Agents | An argument that does not fit is named, with the expected shape and the given one
    #[test]
    fn an_argument_that_does_not_fit_is_named() {
        for (tool, given, told) in [
            (
                "remember",
                json!({ "text": "x", "tags": "infra" }),
                "tags: expected a list of texts, got the text \"infra\"",
            ),
            ("remember", json!({ "text": "x", "tags": ["a", 1] }), "tags[1]: expected a text, got the number 1"),
            ("recall", json!({ "query": "x", "tags": null }), "tags: expected a list of texts, got null"),
            ("remember", json!({ "text": ["x"] }), "text: expected a text, got a list"),
            ("remember", json!({ "text": "x", "meta": true }), "meta: expected an object, got true"),
            (
                "remember",
                json!({ "text": "x", "source": "me" }),
                "source: expected one of model, tool, import, got the text \"me\"",
            ),
            ("forget", json!({}), "id: it is missing, expected a text"),
            (
                "recall",
                json!({ "query": "x", "limit": "5" }),
                "limit: expected a whole number from 1 to 100, got the text \"5\"",
            ),
            (
                "recall",
                json!({ "query": "x", "limit": -1 }),
                "limit: expected a whole number from 1 to 100, got the number -1",
            ),
            (
                "recall",
                json!({ "query": "x", "limit": 1.5 }),
                "limit: expected a whole number from 1 to 100, got the number 1.5",
            ),
            ("recall", json!({ "query": "x", "since": ["7d"] }), "since: expected a text, got a list"),
            ("forget", json!({ "id": { "a": 1 } }), "id: expected a text, got an object"),
            ("session_start", json!({ "surprise": 1 }), "surprise: there is no such argument"),
        ] {
            let problem = refused(tool, &given);
            assert_eq!(problem.message, format!("the arguments do not fit: {told}"), "{given}");
        }
        let both = refused("recall", &json!({ "since": "yesterday", "tags": "a" })).message;
        for part in ["since: \"yesterday\" is not a length of time", "7d", "tags: expected"] {
            assert!(both.contains(part), "{part}: {both}");
        }
        let ttl = refused("remember", &json!({ "text": "x", "ttl": "soon" })).message;
        assert!(ttl.contains("ttl: \"soon\" is not a length of time"), "{ttl}");
        let hint = refused("forget", &json!({ "id": "a", "all": true })).hint.unwrap();
        assert_eq!(hint, "forget takes id");
    }

    #[test]
    fn an_error_repeats_little_of_what_was_given() {
        let long = "x".repeat(10_000);
        let mut given = json!({ "text": 1, "tags": long, "kind": [long] });
        for n in 0..100 {
            given[format!("{long}{n}")] = 1.into();
        }
        assert!(refused("remember", &given).message.len() < 1_000);
    }

    #[test]
    fn nothing_is_refused_that_the_decoder_takes() {
        // a number of seconds, which the schema does not tell of
        let given = json!({ "query": "x", "since": 60, "by": null });
        assert!(arguments::<Recall>("recall", given.as_object().cloned()).is_ok());
    }
}
