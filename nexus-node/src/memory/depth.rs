//! How deep JSON in a memory is: other nodes take whatever fits into an entry, and readers stop somewhere.

use std::collections::BTreeMap;

use serde_json::Value;

/// The most levels of metadata. Common readers of JSON stop at 128, and answers put some around it.
pub(crate) const LEVELS_MAX: usize = 64;

/// Whether a value has at most so many levels. A text or a number has none.
pub(crate) fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(items) => levels > 0 && items.values().all(|item| is_within(item, levels - 1)),
        _ => true,
    }
}

/// The value, where a part below so many levels is its JSON as a text.
fn cut(value: Value, levels: usize) -> Value {
    if is_within(&value, levels) {
        return value;
    }
    match value {
        deep @ (Value::Array(_) | Value::Object(_)) if levels == 0 => Value::String(deep.to_string()),
        Value::Array(items) => items.into_iter().map(|item| cut(item, levels - 1)).collect(),
        Value::Object(items) => items.into_iter().map(|(name, item)| (name, cut(item, levels - 1))).collect(),
        other => other,
    }
}

/// A value of a field as it is shown.
pub(crate) fn shown(value: Value) -> Value {
    cut(value, LEVELS_MAX)
}

/// Metadata as it is shown.
pub(crate) fn shown_meta(meta: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    meta.into_iter().map(|(name, value)| (name, cut(value, LEVELS_MAX - 1))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!("x"), |inner, n| if n % 2 == 0 { json!([1, inner]) } else { json!({ "a": inner }) })
    }

    proptest! {
        #[test]
        fn a_value_is_shown_as_it_is_up_to_the_bound_and_as_text_below(levels in 0_usize..125) {
            let value = nested(levels);
            prop_assert_eq!(is_within(&value, LEVELS_MAX), levels <= LEVELS_MAX);
            let shown = shown(value.clone());
            prop_assert!(is_within(&shown, LEVELS_MAX));
            prop_assert_eq!(shown == value, levels <= LEVELS_MAX);
            let meta = BTreeMap::from([("k".to_owned(), value)]);
            prop_assert!(is_within(&serde_json::to_value(shown_meta(meta)).unwrap(), LEVELS_MAX));
        }
    }
}
