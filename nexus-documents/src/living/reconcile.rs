//! A new value, written as what differs from the old one.

use automerge::{ObjId, ObjType, Prop, ReadDoc, ScalarValue, Value};
use serde_json::{Map, Value as Json};

use crate::change::KEY_BYTES_MAX;
use crate::judge::{COUNTER_FIRST_MAX, COUNTER_STEP_MAX, DEPTH_MAX};
use crate::living::diff::{PAIRS_MAX, hunks};
use crate::living::error::EditError;
use crate::living::json::{bytes_of, of_scalar, of_value};
use crate::living::path::DocPath;
use crate::living::writer::{Place, Stop, Writer};

/// Writes a value that is new at a place.
pub(crate) fn create(
    writer: &mut Writer,
    object: &ObjId,
    place: &Place,
    value: &Json,
    path: &DocPath,
) -> Result<(), Stop> {
    match value {
        Json::Null => writer.put(object, place, ScalarValue::Null),
        Json::Bool(value) => writer.put(object, place, ScalarValue::Boolean(*value)),
        Json::Number(number) => writer.put(object, place, scalar(number)),
        Json::String(text) => {
            shallow(path)?;
            let made = writer.make(object, place, ObjType::Text)?;
            writer.splice(&made, 0, 0, text)
        }
        Json::Array(items) => {
            shallow(path)?;
            let made = writer.make(object, place, ObjType::List)?;
            for (at, item) in items.iter().enumerate() {
                create(writer, &made, &Place::Before(at), item, &path.within(at))?;
            }
            Ok(())
        }
        Json::Object(items) => {
            if let Some(bytes) = bytes_of(value) {
                let bytes = bytes.map_err(|()| EditError::Bytes(path.clone()))?;
                return writer.put(object, place, ScalarValue::Bytes(bytes));
            }
            shallow(path)?;
            let made = writer.make(object, place, ObjType::Map)?;
            for (key, item) in items {
                let path = path.within(short(key, path)?);
                create(writer, &made, &Place::New(key.clone()), item, &path)?;
            }
            Ok(())
        }
    }
}

/// Checks that an object at this path is not too deep.
fn shallow(path: &DocPath) -> Result<(), EditError> {
    if path.tokens().len() > DEPTH_MAX as usize { Err(EditError::TooDeep(path.clone())) } else { Ok(()) }
}

pub(crate) fn short<'a>(key: &'a str, path: &DocPath) -> Result<&'a str, EditError> {
    if key.len() > KEY_BYTES_MAX { Err(EditError::KeyTooLong(path.clone())) } else { Ok(key) }
}

pub(crate) fn scalar(number: &serde_json::Number) -> ScalarValue {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => ScalarValue::Int(number),
        (None, Some(number)) => ScalarValue::Uint(number),
        (None, None) => ScalarValue::F64(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Makes what is at a place equal to a value.
pub(crate) fn set(writer: &mut Writer, object: &ObjId, prop: &Prop, value: &Json, path: &DocPath) -> Result<(), Stop> {
    let doc = writer.doc().map_err(EditError::from)?;
    let place = Place::At(prop.clone());
    let Some((old, id)) = doc.get(object, prop.clone())? else { return create(writer, object, &place, value, path) };
    match (&old, value) {
        (Value::Object(ObjType::Map), Json::Object(items)) if bytes_of(value).is_none() => {
            set_map(writer, &id, items, path)
        }
        (Value::Object(ObjType::List), Json::Array(items)) => set_list(writer, &id, items, path),
        (Value::Object(ObjType::Text), Json::String(text)) => set_text(writer, &id, text),
        (Value::Scalar(old), _) if of_scalar(old) == *value => Ok(()),
        (Value::Scalar(old), Json::Number(number)) => match (old.as_ref(), number.as_i64()) {
            (ScalarValue::Counter(counter), Some(number)) => {
                let counter = i64::from(counter);
                count_to(writer, object, prop, counter, number)
            }
            (ScalarValue::Timestamp(_), Some(number)) => writer.put(object, &place, ScalarValue::Timestamp(number)),
            // a program with a type for it reads no other kind of number
            (ScalarValue::Uint(_), Some(0..)) => {
                writer.put(object, &place, ScalarValue::Uint(number.as_u64().unwrap_or_default()))
            }
            _ => create(writer, object, &place, value, path),
        },
        _ => create(writer, object, &place, value, path),
    }
}

/// Counts from a number to another.
fn count_to(writer: &mut Writer, object: &ObjId, prop: &Prop, from: i64, to: i64) -> Result<(), Stop> {
    match to.checked_sub(from).filter(|by| by.unsigned_abs() <= COUNTER_STEP_MAX) {
        Some(by) => step(writer, object, prop, from, by),
        None => counter(writer, object, &Place::At(prop.clone()), to),
    }
}

/// Writes a new counter.
pub(crate) fn counter(writer: &mut Writer, object: &ObjId, place: &Place, first: i64) -> Result<(), Stop> {
    if first.unsigned_abs() > COUNTER_FIRST_MAX {
        return Err(EditError::Counter { path: writer.path.clone(), number: first }.into());
    }
    writer.put(object, place, ScalarValue::counter(first))
}

/// Counts one step on from a number.
pub(crate) fn step(writer: &mut Writer, object: &ObjId, prop: &Prop, from: i64, by: i64) -> Result<(), Stop> {
    if by.unsigned_abs() > COUNTER_STEP_MAX {
        return Err(EditError::Counter { path: writer.path.clone(), number: by }.into());
    }
    let all = writer.doc().map_err(EditError::from)?.get_all(object, prop.clone())?;
    let is_counter = |(value, _): &(Value<'_>, ObjId)| value.is_counter();
    if all.iter().all(is_counter) {
        return writer.increment(object, prop.clone(), by);
    }
    // a step would also be one of the other values, which are no counters
    counter(writer, object, &Place::At(prop.clone()), from.saturating_add(by))
}

pub(crate) fn set_map(writer: &mut Writer, id: &ObjId, items: &Map<String, Json>, path: &DocPath) -> Result<(), Stop> {
    let doc = writer.doc().map_err(EditError::from)?;
    let gone: Vec<String> = doc.keys(id).filter(|key| !items.contains_key(key)).collect();
    for key in gone {
        writer.delete(id, Prop::Map(key))?;
    }
    for (key, item) in items {
        let path = path.within(short(key, path)?);
        set(writer, id, &Prop::Map(key.clone()), item, &path)?;
    }
    Ok(())
}

fn set_list(writer: &mut Writer, id: &ObjId, items: &[Json], path: &DocPath) -> Result<(), Stop> {
    let doc = writer.doc().map_err(EditError::from)?;
    let old = of_value(doc, &Value::Object(ObjType::List), id, None)?;
    // compared as text, which has one form: maps are in the order of their keys
    let text = |items: &[Json]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (old, new) = (text(old.as_array().map(Vec::as_slice).unwrap_or_default()), text(items));
    let mut left = PAIRS_MAX;
    for (before, after) in hunks(&old, &new, &mut left).into_iter().rev() {
        let both = before.len().min(after.len());
        for at in (before.start + both..before.end).rev() {
            writer.delete(id, Prop::Seq(at))?;
        }
        for (number, item) in items.get(after).unwrap_or_default().iter().enumerate() {
            let at = before.start + number;
            if number < both {
                set(writer, id, &Prop::Seq(at), item, &path.within(at))?;
            } else {
                create(writer, id, &Place::Before(at), item, &path.within(at))?;
            }
        }
    }
    Ok(())
}

/// The most letters of a text that are compared one by one in a part that differs.
const LETTERS_MAX: usize = 4_096;

pub(crate) fn set_text(writer: &mut Writer, id: &ObjId, new: &str) -> Result<(), Stop> {
    let old = writer.doc().map_err(EditError::from)?.text(id)?;
    if old == new {
        return Ok(());
    }
    // by lines first, and within those that differ by letters
    let (old_lines, new_lines): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let letters = |lines: &[&str], part: std::ops::Range<usize>| -> Vec<char> {
        lines.get(part).unwrap_or_default().iter().flat_map(|line| line.chars()).collect()
    };
    let (mut splices, mut left) = (Vec::new(), PAIRS_MAX);
    let (mut line, mut at) = (0, 0);
    for (before, after) in hunks(&old_lines, &new_lines, &mut left) {
        at += letters(&old_lines, line..before.start).len();
        line = before.end;
        let (gone, come) = (letters(&old_lines, before), letters(&new_lines, after));
        for (gone, come) in letter_hunks(&gone, &come, &mut left) {
            splices.push((at + gone.start, gone.len(), come.1));
        }
        at += gone.len();
    }
    for (at, delete, insert) in splices.into_iter().rev() {
        writer.splice(id, at, delete, &insert)?;
    }
    // elements of other programs may have more than one letter, and go as a whole
    let doc = writer.doc().map_err(EditError::from)?;
    if doc.text(id)? != new {
        let length = doc.length(id);
        for _ in 0..length {
            if writer.doc().map_err(EditError::from)?.length(id) == 0 {
                break;
            }
            writer.splice(id, 0, 1, "")?;
        }
        writer.splice(id, 0, 0, new)?;
    }
    Ok(())
}

type LetterHunk = (std::ops::Range<usize>, (usize, String));

fn letter_hunks(gone: &[char], come: &[char], left: &mut usize) -> Vec<LetterHunk> {
    let hunks = hunks(gone, come, left);
    let letters: usize = hunks.iter().map(|(gone, come)| gone.len() + come.len()).sum();
    let whole = match (hunks.first(), hunks.last()) {
        // so many are written as one splice
        (Some(first), Some(last)) if letters > LETTERS_MAX => {
            vec![(first.0.start..last.0.end, first.1.start..last.1.end)]
        }
        _ => hunks,
    };
    let text = |part: std::ops::Range<usize>| {
        let text: String = come.get(part).unwrap_or_default().iter().collect();
        (text.chars().count(), text)
    };
    whole.into_iter().map(|(gone, come)| (gone, text(come))).collect()
}
