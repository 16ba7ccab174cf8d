//! A document as JSON.
//!
//! | in the document | as JSON |
//! |---|---|
//! | map, list | object, array |
//! | text object, string | string |
//! | counter | number |
//! | timestamp | number: milliseconds since 1970 |
//! | bytes | `{"$bytes": "base64"}`, in the standard form with padding |
//! | number that is infinite or none | null |

use automerge::{ObjId, ObjType, Prop, ReadDoc, ScalarValue, Value, hydrate};
use data_encoding::BASE64;
use serde_json::{Map, Number, Value as Json};

use crate::living::path::DocPath;

/// The key of an object that stands for bytes.
const BYTES: &str = "$bytes";

pub(crate) fn of_scalar(value: &ScalarValue) -> Json {
    match value {
        ScalarValue::Bytes(bytes) => {
            Json::Object(Map::from_iter([(BYTES.to_owned(), Json::String(BASE64.encode(bytes)))]))
        }
        ScalarValue::Str(text) => Json::String(text.to_string()),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => Json::from(*number),
        ScalarValue::Uint(number) => Json::from(*number),
        ScalarValue::F64(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        ScalarValue::Counter(counter) => Json::from(i64::from(counter)),
        ScalarValue::Boolean(value) => Json::Bool(*value),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Json::Null,
    }
}

/// The bytes that an object stands for: nothing if it stands for none, an error if its base64 is malformed.
pub(crate) fn bytes_of(value: &Json) -> Option<Result<Vec<u8>, ()>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let text = object.get(BYTES)?.as_str()?;
    Some(BASE64.decode(text.as_bytes()).map_err(|_| ()))
}

/// Documents are at most as deep as the judge allows, and so is this recursion.
pub(crate) fn of_hydrated(value: &hydrate::Value) -> Json {
    match value {
        hydrate::Value::Scalar(value) => of_scalar(value),
        hydrate::Value::Text(text) => Json::String(text.to_string()),
        hydrate::Value::List(list) => Json::Array(list.iter().map(|item| of_hydrated(&item.value)).collect()),
        hydrate::Value::Map(map) => {
            let mut items: Vec<_> = map.iter().collect();
            items.sort_unstable_by_key(|(key, _)| *key);
            Json::Object(items.into_iter().map(|(key, item)| (key.clone(), of_hydrated(&item.value))).collect())
        }
    }
}

/// The JSON of a value that was read.
pub(crate) fn of_value(
    doc: &impl ReadDoc,
    value: &Value<'_>,
    id: &ObjId,
    at: Option<&[automerge::ChangeHash]>,
) -> Result<Json, automerge::AutomergeError> {
    match value {
        Value::Scalar(value) => Ok(of_scalar(value)),
        Value::Object(ObjType::Text) => match at {
            Some(heads) => doc.text_at(id, heads),
            None => doc.text(id),
        }
        .map(Json::String),
        Value::Object(_) => doc.hydrate(id, at).map(|value| of_hydrated(&value)),
    }
}

/// The thing at a path.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A map, list or text.
    Object(ObjId, ObjType),
    Scalar(ScalarValue),
}

/// The place of a token in an object, if the token can name one.
pub(crate) fn prop(kind: ObjType, token: &str) -> Option<Prop> {
    match kind {
        ObjType::Map | ObjType::Table => Some(Prop::Map(token.to_owned())),
        ObjType::List => index(token).map(Prop::Seq),
        ObjType::Text => None,
    }
}

/// A number without zeros before it, as RFC 6901 has it.
pub(crate) fn index(token: &str) -> Option<usize> {
    let is_number = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if is_number { token.parse().ok() } else { None }
}

/// The thing at a path, or how many tokens of it exist.
pub(crate) fn find(
    doc: &impl ReadDoc,
    path: &DocPath,
    at: Option<&[automerge::ChangeHash]>,
) -> Result<Result<Found, usize>, automerge::AutomergeError> {
    let mut found = Found::Object(automerge::ROOT, ObjType::Map);
    for (number, token) in path.tokens().iter().enumerate() {
        let Found::Object(id, kind) = &found else { return Ok(Err(number)) };
        let Some(prop) = prop(*kind, token) else { return Ok(Err(number)) };
        let value = match at {
            Some(heads) => doc.get_at(id, prop, heads)?,
            None => doc.get(id, prop)?,
        };
        found = match value {
            None => return Ok(Err(number)),
            Some((Value::Object(kind), id)) => Found::Object(id, kind),
            Some((Value::Scalar(value), _)) => Found::Scalar(value.into_owned()),
        };
    }
    Ok(Ok(found))
}

/// The JSON of what was found.
pub(crate) fn of_found(
    doc: &impl ReadDoc,
    found: &Found,
    at: Option<&[automerge::ChangeHash]>,
) -> Result<Json, automerge::AutomergeError> {
    match found {
        Found::Scalar(value) => Ok(of_scalar(value)),
        Found::Object(id, kind) => of_value(doc, &Value::Object(*kind), id, at),
    }
}
