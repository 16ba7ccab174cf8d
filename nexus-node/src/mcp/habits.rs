//! The habits of clients: messages that mean one thing, and are written in another way.
//!
//! Programs send null for what they leave out, 3.0 for 3, a list as its JSON in a text, half of a character. A refusal helps
//! nobody there: the model behind the program cannot change how its program writes. So what can only mean one thing is taken
//! as that. The rest is as strict as before: a text is never read as something else where a text is wanted.

use std::fmt;

use nexus_crdt::{Inexact, inexact, whole_characters};
use rmcp::model::JsonObject;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::raw;
use crate::problem::Problem;

/// The largest whole number that is exact as a fraction.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A message that is no JSON.
#[derive(Debug)]
pub struct Unread {
    /// The message's id, as far as it could be read; null if it could not.
    pub id: Value,
    /// The reason.
    pub why: String,
}

/// Reads a message: its value, and its text. Half of a surrogate pair is U+FFFD in both.
///
/// # Errors
/// [`Unread`] for a text that is no JSON.
pub fn read(bytes: &[u8]) -> Result<(Value, String), Unread> {
    let text = whole_characters(bytes).into_owned();
    match serde_json::from_str(&text) {
        Ok(message) => Ok((message, text)),
        Err(error) => Err(Unread { id: id_of(&text), why: error.to_string() }),
    }
}

/// Whether a value may be the id of a message.
pub(super) fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

/// The id of a message that ends too early or is otherwise broken: it often stands before the fault.
fn id_of(text: &str) -> Value {
    struct Id<'a>(&'a mut Value);

    impl<'de> Visitor<'de> for Id<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<String>()? {
                match key == "id" {
                    true => *self.0 = map.next_value()?,
                    false => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(())
        }
    }

    let mut id = Value::Null;
    // it fails at the fault, with the id or without
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(Id(&mut id));
    whole(&mut id);
    if is_id(&id) { id } else { Value::Null }
}

/// Takes the envelope of a message as it is meant: null is absent, a whole number is one, arguments may be a text.
pub(super) fn settle(message: &mut Value) {
    settle_id(message);
    let Value::Object(members) = message else { return };
    if members.contains_key("id") {
        let tells =
            members.get("method").and_then(Value::as_str).is_some_and(|name| name.starts_with("notifications/"));
        if tells && members["id"].is_null() {
            members.remove("id");
        }
    }
    match members.get_mut("params") {
        Some(Value::Null) => drop(members.remove("params")),
        Some(Value::Object(params)) => {
            let arguments = params.remove("arguments");
            without_nulls(params);
            let arguments = match arguments {
                Some(Value::String(text)) => Some(parsed(&text, Value::is_object).unwrap_or(Value::String(text))),
                other => other,
            };
            params.extend(arguments.filter(|given| !given.is_null()).map(|given| ("arguments".to_owned(), given)));
        }
        _ => {}
    }
}

/// Takes the id of a message as it is meant: 3.0 is 3.
pub(super) fn settle_id(message: &mut Value) {
    if let Some(id) = message.get_mut("id") {
        whole(id);
    }
}

/// Takes the arguments of a tool as they are meant, by the tool's schema.
///
/// # Errors
/// A text that is the JSON of an argument, of which something would be lost.
pub(super) fn arguments(tool: &str, schema: &JsonObject, message: &mut Value) -> Result<(), Problem> {
    let Some(given) = message.pointer_mut("/params/arguments").and_then(Value::as_object_mut) else { return Ok(()) };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let any = raw::of_task(tool);
    let kept = any.and_then(|name| given.remove_entry(name));
    members(properties, given, &mut Vec::new())?;
    given.extend(kept);
    Ok(())
}

/// The members of an object, by the schemas of its properties.
fn members<'a>(
    properties: &'a Map<String, Value>,
    given: &mut Map<String, Value>,
    path: &mut Vec<&'a str>,
) -> Result<(), Problem> {
    given.retain(|_, value| !value.is_null());
    for (name, schema) in properties {
        if let Some(value) = given.get_mut(name) {
            path.push(name);
            meant(schema, value, path)?;
            path.pop();
        }
    }
    Ok(())
}

/// A value as its schema means it.
fn meant<'a>(schema: &'a Value, value: &mut Value, path: &mut Vec<&'a str>) -> Result<(), Problem> {
    let wanted = schema["type"].as_str().unwrap_or_default();
    if let (Value::String(text), false) = (&*value, wanted == "string") {
        let of_type = |value: &Value| match wanted {
            "integer" => is_whole(value),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => {
                let texts = schema["items"]["type"] == "string";
                value.as_array().is_some_and(|list| list.iter().all(|each| each.is_string() || !texts))
            }
            _ => false,
        };
        if let Some(read) = parsed(text, of_type) {
            if let Some(Inexact { path: below, kind }) = inexact(text) {
                let path = path.iter().map(|part| (*part).to_owned()).chain(below).collect();
                return Err(raw::refused(&Inexact { path, kind }));
            }
            *value = read;
        } else if wanted == "array" && schema["items"]["type"] == "string" {
            *value = vec![text.as_str()].into();
        }
    }
    match (wanted, value) {
        ("integer", value) => whole(value),
        ("array", Value::Array(list)) => {
            list.retain(|each| !each.is_null());
            for each in list {
                meant(&schema["items"], each, path)?;
            }
        }
        ("object", Value::Object(given)) => {
            if let Some(Value::Object(properties)) =
                schema.get("properties").filter(|_| schema.get("required").is_some())
            {
                members(properties, given, path)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The value of a text that is exactly JSON of a type.
fn parsed(text: &str, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    let plain = text.trim().len() == text.len();
    serde_json::from_str(text).ok().filter(|value| plain && is_wanted(value))
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// A whole number that is written as a fraction, as 3.0, as the whole number.
fn whole(value: &mut Value) {
    if let Some(number) = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0)
        && number.abs() <= WHOLE_MAX
    {
        *value = (number as i64).into();
    }
}

/// Takes members out that are null, at any depth.
fn without_nulls(given: &mut Map<String, Value>) {
    given.retain(|_, value| !value.is_null());
    for value in given.values_mut() {
        each_without_nulls(value);
    }
}

fn each_without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => without_nulls(members),
        Value::Array(elements) => elements.iter_mut().for_each(each_without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(mut message: Value) -> Value {
        settle(&mut message);
        message
    }

    #[test]
    fn a_broken_message_tells_its_id_where_it_can_be_read() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"#, json!(7)),
            (r#"{"id":"a","method":x}"#, json!("a")),
            (r#"{"id":7.0,"method":x}"#, json!(7)),
            (r#"{"method":x,"id":7}"#, Value::Null),
            (r#"{"id":{"a":1},"method":x}"#, Value::Null),
            (r#"{"id":true,"#, Value::Null),
            ("", Value::Null),
            ("[1,", Value::Null),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().id, id, "{text}");
        }
        let deep = format!(r#"{{"id":9,"params":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(deep.as_bytes()).unwrap_err().id, json!(9));
        let deep = format!(r#"{{"params":{}{},"id":9}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(deep.as_bytes()).unwrap_err().id, json!(9));
    }

    #[test]
    fn an_envelope_is_taken_as_it_is_meant() {
        let message =
            json!({ "id": 3.0, "method": "tools/call", "params": { "name": "x", "arguments": null, "_meta": null } });
        assert_eq!(settled(message), json!({ "id": 3, "method": "tools/call", "params": { "name": "x" } }));
        assert_eq!(settled(json!({ "id": 1, "params": null })), json!({ "id": 1 }));
        let tells = json!({ "id": null, "method": "notifications/initialized" });
        assert_eq!(settled(tells), json!({ "method": "notifications/initialized" }));
        let text = json!({ "id": "3.0", "params": { "arguments": "{\"text\":null}" } });
        assert_eq!(settled(text), json!({ "id": "3.0", "params": { "arguments": { "text": null } } }));
        for kept in [
            json!({ "id": null, "method": "ping" }),
            json!({ "id": 3.5, "params": { "arguments": "text" } }),
            json!({ "id": 1, "params": { "arguments": "[]" } }),
            json!({ "id": 1, "params": [null] }),
            json!([null]),
        ] {
            assert_eq!(settled(kept.clone()), kept);
        }
    }
}
