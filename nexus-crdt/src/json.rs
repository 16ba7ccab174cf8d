//! Strict JSON: the JSON of serde_json, without a repeated key in an object.
//!
//! | room | content |
//! |---|---|
//! | `text` | JSON as its text, which changes nothing of it |
//! | `characters` | a JSON text in which every escape is a character |
//! | `exact` | the first part of a JSON text that a value in memory would change |

mod characters;
mod exact;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

pub use self::characters::whole_characters;
pub use self::exact::{Inexact, InexactKind, inexact};
pub use self::text::{BadJson, JsonText};

/// The longest part of a key that an error repeats, in characters.
const KEY_CHARS_MAX: usize = 40;

/// Checks a text: valid JSON, at most 128 levels deep, no repeated key in an object.
pub(crate) fn is_strict(text: &str) -> bool {
    strict(text).is_ok()
}

/// The same, with the reason.
fn strict(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Strict>(text).map(drop)
}

/// A key as an error repeats it.
fn shortened(key: &str) -> String {
    match key.char_indices().nth(KEY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// Any JSON value, checked and dropped.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {:?} comes twice", shortened(&key))));
            }
            seen.insert(key);
            map.next_value::<Strict>()?;
        }
        Ok(Strict)
    }
}

#[cfg(test)]
mod tests {
    use super::is_strict;

    #[test]
    fn a_key_twice_is_refused_at_any_depth() {
        assert!(is_strict(r#"{"a":1,"b":{"a":[1,-2,0.5,"x",true,null,{}]}}"#));
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#, "", "{", "1 2", "nan"] {
            assert!(!is_strict(text), "{text}");
        }
        assert!(!is_strict(&"[".repeat(10_000)));
    }
}
