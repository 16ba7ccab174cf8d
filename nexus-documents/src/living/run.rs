//! Edits, one after the other.

use std::ops::Range;

use automerge::{ObjId, ObjType, Prop, ReadDoc, ScalarValue, Value};
use serde_json::{Map, Value as Json};

use crate::change::KEY_BYTES_MAX;
use crate::living::edits::{Edit, MarkExpand};
use crate::living::elements;
use crate::living::error::EditError;
use crate::living::json::{Found, find, index, of_found};
use crate::living::path::DocPath;
use crate::living::reconcile::{counter, create, scalar, set, set_map, short, step};
use crate::living::writer::{Place, Stop, Writer};

/// A value after a merge patch, as RFC 7396 has it.
fn merged(old: Option<Json>, patch: &Json) -> Json {
    let Json::Object(patch) = patch else { return patch.clone() };
    let mut new = match old {
        Some(Json::Object(old)) => old,
        _ => Map::new(),
    };
    for (key, item) in patch {
        if item.is_null() {
            new.remove(key);
        } else {
            let merged = merged(new.remove(key), item);
            new.insert(key.clone(), merged);
        }
    }
    Json::Object(new)
}

pub(crate) fn run(writer: &mut Writer, edits: &[Edit]) -> Result<(), Stop> {
    edits.iter().try_for_each(|edit| run_one(writer, edit))
}

pub(crate) fn run_one(writer: &mut Writer, edit: &Edit) -> Result<(), Stop> {
    writer.path = edit.path().clone();
    match edit {
        Edit::Set { path, value } => set_at(writer, path, value)?,
        Edit::Merge { path, patch } => {
            let doc = writer.doc().map_err(EditError::from)?;
            let old = match find(doc, path, None)? {
                Ok(found) => Some(of_found(doc, &found, None)?),
                Err(_) => None,
            };
            set_at(writer, path, &merged(old, patch))?;
        }
        Edit::Splice { path, at, delete, insert, at_heads } => {
            let heads = at_heads.as_deref().map(crate::living::libraries);
            splice(writer, path, (*at, *delete), insert, heads.as_deref())?;
        }
        Edit::Mark { path, range, name, value, expand, at_heads } => {
            let heads = at_heads.as_deref().map(crate::living::libraries);
            mark(writer, path, range.clone(), (name, value), *expand, heads.as_deref())?;
        }
        Edit::Delete { path } => {
            let (object, prop) = place(writer, path)?;
            writer.delete(&object, prop)?;
        }
        Edit::Insert { path, value } => insert(writer, path, value)?,
        Edit::Increment { path, by } => {
            let (object, prop) = place(writer, path)?;
            let old = writer.doc().map_err(EditError::from)?.get(&object, prop.clone())?;
            let Some((Value::Scalar(old), _)) = &old else { return Err(no_counter(path, "no number")) };
            let ScalarValue::Counter(old) = old.as_ref() else { return Err(no_counter(path, name(old))) };
            let from = i64::from(old);
            step(writer, &object, &prop, from, *by)?;
        }
        Edit::Counter { path, value } => {
            let (object, prop) = new_place(writer, path)?;
            counter(writer, &object, &Place::At(prop), *value)?;
        }
    }
    Ok(())
}

fn no_counter(path: &DocPath, found: &'static str) -> Stop {
    let hint = "Write a counter there first";
    EditError::OtherKind { path: path.clone(), wanted: "counter", found, hint }.into()
}

fn name(value: &ScalarValue) -> &'static str {
    match value {
        ScalarValue::Bytes(_) => "bytes",
        ScalarValue::Str(_) => "a string that is no text",
        ScalarValue::Int(_) | ScalarValue::Uint(_) | ScalarValue::F64(_) => "a number",
        ScalarValue::Counter(_) => "a counter",
        ScalarValue::Timestamp(_) => "a time",
        ScalarValue::Boolean(_) => "true or false",
        ScalarValue::Unknown { .. } => "a value of a later version",
        ScalarValue::Null => "null",
    }
}

const fn kind_name(kind: ObjType) -> &'static str {
    match kind {
        ObjType::Map | ObjType::Table => "a map",
        ObjType::List => "a list",
        ObjType::Text => "a text",
    }
}

/// The object that holds a path, with the last token.
fn parent<'a>(writer: &Writer, path: &'a DocPath) -> Result<(ObjId, ObjType, &'a str), Stop> {
    let Some((last, before)) = path.tokens().split_last() else { return Err(EditError::Root.into()) };
    let before = path.first(before.len());
    let other = |found, hint| EditError::OtherKind { path: before.clone(), wanted: "map or list", found, hint };
    match find(writer.doc().map_err(EditError::from)?, &before, None)? {
        Ok(Found::Object(_, ObjType::Text)) => Err(other("a text", "Splice the text itself").into()),
        Ok(Found::Object(id, kind)) => Ok((id, kind, last)),
        Ok(Found::Scalar(value)) => Err(other(name(&value), "Set a map there first").into()),
        Err(tokens) => Err(no_such_path(writer, path, tokens)),
    }
}

/// The place of a path, which may be a key that is new.
fn new_place(writer: &Writer, path: &DocPath) -> Result<(ObjId, Prop), Stop> {
    let (object, kind, token) = parent(writer, path)?;
    if kind != ObjType::List {
        return Ok((object, Prop::Map(short(token, path)?.to_owned())));
    }
    let len = writer.doc().map_err(EditError::from)?.length(&object);
    match index(token).filter(|index| *index < len) {
        Some(index) => Ok((object, Prop::Seq(index))),
        None => Err(no_place(path, len)),
    }
}

fn no_place(path: &DocPath, len: usize) -> Stop {
    let list = path.first(path.tokens().len().saturating_sub(1));
    EditError::NoPlace { path: path.clone(), list, len }.into()
}

/// The place of a path where something is.
fn place(writer: &Writer, path: &DocPath) -> Result<(ObjId, Prop), Stop> {
    let (object, prop) = new_place(writer, path)?;
    match writer.doc().map_err(EditError::from)?.get(&object, prop.clone())? {
        Some(_) => Ok((object, prop)),
        None => Err(no_such_path(writer, path, path.tokens().len().saturating_sub(1))),
    }
}

/// The most keys that a message names.
const KEYS_NAMED: usize = 8;
/// The most letters of such a key.
const KEY_LETTERS: usize = 40;

/// The error of a path of which so many tokens exist.
fn no_such_path(writer: &Writer, path: &DocPath, tokens: usize) -> Stop {
    let exists = path.first(tokens);
    let keys = writer.doc().map(|doc| match find(doc, &exists, None) {
        Ok(Ok(Found::Object(id, ObjType::Map | ObjType::Table))) => doc
            .keys(&id)
            .take(KEYS_NAMED + 1)
            .enumerate()
            .map(|(at, key)| if at < KEYS_NAMED { key.chars().take(KEY_LETTERS).collect() } else { "…".to_owned() })
            .collect(),
        _ => Vec::new(),
    });
    EditError::NoSuchPath { path: path.clone(), exists, keys: keys.unwrap_or_default() }.into()
}

fn set_at(writer: &mut Writer, path: &DocPath, value: &Json) -> Result<(), Stop> {
    if path.is_root() {
        let Json::Object(items) = value else { return Err(EditError::Root.into()) };
        return set_map(writer, &automerge::ROOT, items, path);
    }
    if matches!(parent(writer, path)?, (_, ObjType::List, "-")) {
        return insert(writer, path, value);
    }
    let (object, prop) = new_place(writer, path)?;
    let values = writer.doc().map_err(EditError::from)?.get_all(&object, prop.clone())?;
    // whoever sets what is in conflict decides it
    if values.len() > 1 {
        return create(writer, &object, &Place::At(prop), value, path);
    }
    set(writer, &object, &prop, value, path)
}

fn insert(writer: &mut Writer, path: &DocPath, value: &Json) -> Result<(), Stop> {
    let (object, kind, token) = parent(writer, path)?;
    if kind != ObjType::List {
        let (path, hint) = (path.first(path.tokens().len().saturating_sub(1)), "Set a key instead");
        return Err(EditError::OtherKind { path, wanted: "list", found: kind_name(kind), hint }.into());
    }
    let len = writer.doc().map_err(EditError::from)?.length(&object);
    let at = if token == "-" { Some(len) } else { index(token) };
    match at {
        Some(at) if at <= len => create(writer, &object, &Place::Before(at), value, path),
        Some(_) => {
            let path = path.first(path.tokens().len().saturating_sub(1));
            Err(EditError::PositionBeyond { path, len }.into())
        }
        None => Err(no_place(path, len)),
    }
}

fn splice(
    writer: &mut Writer,
    path: &DocPath,
    (at, delete): (usize, usize),
    insert: &str,
    heads: Option<&[automerge::ChangeHash]>,
) -> Result<(), Stop> {
    let text = text_at(writer, path)?;
    let doc = writer.doc().map_err(EditError::from)?;
    let len = match heads {
        Some(heads) => doc.length_at(&text, heads),
        None => doc.length(&text),
    };
    if at.checked_add(delete).is_none_or(|end| end > len) {
        return Err(EditError::PositionBeyond { path: path.clone(), len }.into());
    }
    let Some(heads) = heads else { return writer.splice(&text, at, delete, insert) };
    let now = if at < len {
        let cursor = doc.get_cursor(&text, at, Some(heads))?;
        doc.get_cursor_position(&text, &cursor, None)?
    } else {
        doc.length(&text)
    };
    for (at, number) in gone(doc, &text, (at, delete), heads).into_iter().rev() {
        writer.splice(&text, at, number, "")?;
    }
    writer.splice(&text, now, 0, insert)
}

/// The text at a path.
fn text_at(writer: &Writer, path: &DocPath) -> Result<ObjId, Stop> {
    let doc = writer.doc().map_err(EditError::from)?;
    let other = |found| {
        let hint = "Set a string there to make a text";
        EditError::OtherKind { path: path.clone(), wanted: "text", found, hint }
    };
    match find(doc, path, None)? {
        Ok(Found::Object(id, ObjType::Text)) => Ok(id),
        Ok(Found::Object(_, kind)) => Err(other(kind_name(kind)).into()),
        Ok(Found::Scalar(value)) => Err(other(name(&value)).into()),
        Err(tokens) => Err(no_such_path(writer, path, tokens)),
    }
}

fn mark(
    writer: &mut Writer,
    path: &DocPath,
    Range { start, end }: Range<usize>,
    (name, value): (&str, &Json),
    expand: MarkExpand,
    heads: Option<&[automerge::ChangeHash]>,
) -> Result<(), Stop> {
    if name.is_empty() || name.len() > KEY_BYTES_MAX {
        return Err(EditError::MarkName.into());
    }
    let value = match value {
        Json::Null => ScalarValue::Null,
        Json::Bool(value) => ScalarValue::Boolean(*value),
        Json::Number(number) => scalar(number),
        Json::String(text) => ScalarValue::Str(text.into()),
        Json::Array(_) | Json::Object(_) => return Err(EditError::MarkValue(path.clone()).into()),
    };
    let text = text_at(writer, path)?;
    let doc = writer.doc().map_err(EditError::from)?;
    let len = match heads {
        Some(heads) => doc.length_at(&text, heads),
        None => doc.length(&text),
    };
    if end > len {
        return Err(EditError::PositionBeyond { path: path.clone(), len }.into());
    }
    if start >= end {
        return Err(EditError::NoLetters { path: path.clone(), from: start, to: end }.into());
    }
    let now = match heads {
        None => start..end,
        Some(heads) => {
            let runs = gone(doc, &text, (start, end - start), heads);
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
            first.0..last.0 + last.1
        }
    };
    // letters that are marked so already make no change
    let marks = doc.marks(&text)?;
    let mut same = marks.iter().filter(|mark| mark.name == name);
    let is_so = match value {
        ScalarValue::Null => same.all(|mark| mark.end <= now.start || mark.start >= now.end),
        _ => same.any(|mark| mark.value == value && mark.start <= now.start && mark.end >= now.end),
    };
    if is_so { Ok(()) } else { writer.mark(&text, now, (name, value), expand) }
}

/// Where the letters of a part of an earlier version are now, in runs: those that are still there.
fn gone(
    doc: &impl ReadDoc,
    text: &ObjId,
    (at, delete): (usize, usize),
    heads: &[automerge::ChangeHash],
) -> Vec<(usize, usize)> {
    if delete == 0 {
        return Vec::new();
    }
    let (mut position, mut ids) = (0, std::collections::BTreeSet::new());
    for (id, letters) in elements(doc, text, Some(heads)) {
        let width = letters.chars().count();
        if position + width > at && position < at + delete {
            ids.insert(id);
        }
        position += width;
    }
    let (mut position, mut runs) = (0, Vec::<(usize, usize)>::new());
    for (id, letters) in elements(doc, text, None) {
        let width = letters.chars().count();
        if ids.contains(&id) {
            match runs.last_mut().filter(|run| run.0 + run.1 == position) {
                Some(run) => run.1 += width,
                None => runs.push((position, width)),
            }
        }
        position += width;
    }
    runs
}
