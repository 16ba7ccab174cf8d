//! The limits of what callers of this node may write. Other nodes take whatever fits into an entry.

use serde_json::Value;

use crate::error::{InputError, NodeError};
use crate::memory::{ALIAS_CHARS_MAX, ALIASES_MAX, depth};

/// The longest tag, kind or key, in bytes.
const LABEL_BYTES_MAX: usize = 256;
/// The most tags of a memory.
const TAGS_MAX: usize = 64;
/// How much JSON a memory's metadata may be, in bytes.
const META_BYTES_MAX: usize = 8 * 1024;

/// Checks the value of a field; null is no value.
pub(super) fn check(field: &str, value: &Value, text_bytes_max: usize) -> Result<(), NodeError> {
    match (field, value) {
        (_, Value::Null) => Ok(()),
        ("text", Value::String(text)) if text.trim().is_empty() => Err(InputError::NoText.into()),
        ("text", _) => bytes("text, as JSON,", value, text_bytes_max),
        ("meta", deep) if !depth::is_within(deep, depth::LEVELS_MAX) => {
            Err(InputError::Depth { what: "metadata", max: depth::LEVELS_MAX }.into())
        }
        ("meta", _) => bytes("metadata", value, META_BYTES_MAX),
        ("kind", Value::String(kind)) => label("kind", kind),
        ("key", Value::String(key)) => label("id", key),
        ("tags", Value::Array(tags)) if tags.len() > TAGS_MAX => {
            Err(InputError::Tags { count: tags.len(), max: TAGS_MAX }.into())
        }
        ("tags", Value::Array(tags)) => tags.iter().filter_map(Value::as_str).try_for_each(|tag| label("tag", tag)),
        ("aliases", Value::Array(aliases)) if aliases.len() > ALIASES_MAX => {
            Err(InputError::Aliases { count: aliases.len(), max: ALIASES_MAX }.into())
        }
        ("aliases", Value::Array(aliases)) => aliases.iter().filter_map(Value::as_str).try_for_each(alias),
        ("was", Value::Object(was)) => {
            let longest = was.values().filter_map(Value::as_str).map(str::len).max().unwrap_or(0);
            at_most("former id", longest, LABEL_BYTES_MAX)
        }
        ("supersedes", Value::String(id)) => at_most("id of the memory that it replaces", id.len(), LABEL_BYTES_MAX),
        // all others are short by their form
        _ => Ok(()),
    }
}

fn bytes(what: &'static str, value: &Value, max: usize) -> Result<(), NodeError> {
    at_most(what, value.to_string().len(), max)
}

fn at_most(what: &'static str, bytes: usize, max: usize) -> Result<(), NodeError> {
    if bytes > max { Err(NodeError::TooLarge { what, bytes, max }) } else { Ok(()) }
}

fn alias(alias: &str) -> Result<(), NodeError> {
    label("alias", alias)?;
    let chars = alias.chars().count();
    if chars > ALIAS_CHARS_MAX { Err(InputError::Alias { chars, max: ALIAS_CHARS_MAX }.into()) } else { Ok(()) }
}

fn label(what: &'static str, label: &str) -> Result<(), NodeError> {
    at_most(what, label.len(), LABEL_BYTES_MAX)?;
    if label.is_empty() || label.chars().any(char::is_control) {
        return Err(InputError::Label { what }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | An id that a copy claims to replace is as short as a former id
    #[test]
    fn a_claim_of_any_length_is_refused() {
        let claim = |bytes: usize| check("supersedes", &Value::from("x".repeat(bytes)), usize::MAX);
        assert!(claim(LABEL_BYTES_MAX).is_ok());
        assert!(matches!(claim(LABEL_BYTES_MAX + 1), Err(NodeError::TooLarge { .. })));
    }
}
