use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::strict;

/// JSON as its text: digits, order of keys, escapes and white space inside are as they came.
///
/// A [`Value`] is another thing: it has no room for an integer of 2^64 or for the twentieth digit of a fraction. Two are
/// equal if their texts are.
#[derive(Clone)]
pub struct JsonText(Box<RawValue>);

/// The text is no JSON, has more than 128 levels, a number out of range, or an object with a key twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadJson(String);

impl JsonText {
    /// The JSON in a text, without the white space around it.
    ///
    /// # Errors
    /// [`BadJson`]; its words say why, and where.
    pub fn parse(text: impl Into<String>) -> Result<Self, BadJson> {
        let text = text.into();
        Self::check(&text)?;
        RawValue::from_string(text).map(Self).map_err(|error| BadJson(error.to_string()))
    }

    /// A text as JSON: in quotes.
    pub fn text(text: impl Into<String>) -> Self {
        Value::String(text.into()).into()
    }

    /// Checks that a text is JSON as tasks and memories may have it.
    ///
    /// # Errors
    /// [`BadJson`].
    pub fn check(text: &str) -> Result<(), BadJson> {
        strict(text).map_err(|error| BadJson(error.to_string()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// The JSON as a value, in which a number has at most 64 bits.
    pub fn value(&self) -> Value {
        // a text with more levels than a reader takes comes from a value alone
        self.read().unwrap_or_default()
    }

    /// The JSON as a type of the caller's.
    ///
    /// # Errors
    /// The JSON has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl Default for JsonText {
    /// `null`.
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        // each value has a JSON
        RawValue::from_string(value.to_string()).map(Self).unwrap_or_default()
    }
}

impl FromStr for JsonText {
    type Err = BadJson;

    fn from_str(text: &str) -> Result<Self, BadJson> {
        Self::parse(text)
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({})", self.as_str())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}

impl PartialEq<Value> for JsonText {
    /// Whether the value has this very text.
    fn eq(&self, other: &Value) -> bool {
        let other = other.to_string();
        self.as_str() == other
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    /// From a text of JSON, it is as it came; from a [`Value`], it is the text of that value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        strict(text.get()).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each differs from what a value would make of it.
    const KEPT: [&str; 15] = [
        "12345678901234567890123",
        "18446744073709551616",
        "-9223372036854775809",
        "3.141592653589793238462643",
        "12345e6",
        "1E5",
        "1e-400",
        "-0",
        "1.0",
        "1.50",
        r#"{"b":1,"a":2}"#,
        "{ \"a\" : [ 1,\n\t2 ] }",
        r#""\u00e9\/""#,
        r#"{"\u0061":1}"#,
        "\"\u{7f}\u{feff}\"",
    ];

    #[test]
    fn a_text_is_as_it_came_within_other_documents_too() {
        #[derive(Serialize, Deserialize)]
        struct Document {
            input: JsonText,
            all: Vec<Option<JsonText>>,
        }
        for text in KEPT {
            let json = JsonText::parse(format!(" {text}\r\n")).unwrap();
            assert_eq!((json.as_str(), json.to_string().as_str()), (text, text));
            let document = Document { input: json.clone(), all: vec![Some(json)] };
            let written = serde_json::to_string(&document).unwrap();
            assert!(written.starts_with(&format!("{{\"input\":{text},")), "{written}");
            let read: Document = serde_json::from_str(&written).unwrap();
            assert_eq!((read.input.as_str(), read.all[0].as_ref().map(JsonText::as_str)), (text, Some(text)));
        }
    }

    #[test]
    fn a_text_that_is_no_strict_json_is_refused_with_its_place() {
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        for (text, told) in [
            ("1E400", "number out of range"),
            (r#"{"a":1,"b":{"c":1,"\u0063":2}}"#, "the key \"c\" comes twice at line 1 column 26"),
            (&deep, "recursion limit"),
            (r#""\ud83d""#, "hex escape"),
            ("1 2", "trailing characters"),
            ("01", "line 1 column 2"),
            ("NaN", "expected"),
            ("", "EOF"),
        ] {
            let refused = JsonText::parse(text).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
            assert!(serde_json::from_str::<JsonText>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Option<JsonText>>("null").unwrap(), None);
    }

    #[test]
    fn a_value_and_its_text_are_one() {
        let value = serde_json::json!({ "a": [1, -2.5, "x", null] });
        assert_eq!(JsonText::from(value.clone()), value);
        assert_eq!(JsonText::from(value.clone()).value(), value);
        assert_eq!(JsonText::text("a \"b\"").as_str(), r#""a \"b\"""#);
        assert!(JsonText::default().is_null() && JsonText::from(Value::Null).is_null());
        assert_eq!(
            JsonText::parse("12345678901234567890123").unwrap().value(),
            serde_json::json!(1.2345678901234568e22)
        );
        assert_eq!(JsonText::parse("[1]").unwrap().read::<Vec<u8>>().unwrap(), [1]);
    }
}
