//! The difference between two versions of a document, as JSON.

use automerge::{Patch, PatchAction, Prop, Value};
use serde::Serialize;
use serde_json::Value as Json;

use crate::living::json::of_scalar;
use crate::living::path::escaped;

/// One step from a version of a document to another. Steps are taken in their order; each path is as it stands after those
/// before it. A map, list or text is put or inserted empty, and filled by the steps that follow.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
#[non_exhaustive]
pub enum PatchJson {
    /// A value of a key or an element, which is new or another.
    Put {
        /// The place.
        path: String,
        /// The value.
        value: Json,
        /// Whether other values were written there at the same time.
        #[serde(skip_serializing_if = "is_false")]
        conflict: bool,
    },
    /// Elements that are new in a list.
    Insert {
        /// The place of the first one.
        path: String,
        /// The elements.
        values: Vec<Json>,
    },
    /// A key, elements or letters that are gone.
    Del {
        /// The place of the first one.
        path: String,
        /// Their number.
        length: usize,
    },
    /// Letters that are new in a text.
    Splice {
        /// The place of the first one, in Unicode scalar values.
        path: String,
        /// The letters.
        value: String,
    },
    /// A step of a counter.
    Inc {
        /// The counter.
        path: String,
        /// The step.
        by: i64,
    },
    /// Other values were written at the same time. The shown one stays.
    Conflict {
        /// The place.
        path: String,
    },
    /// Parts of a text that are marked now, or no longer.
    Mark {
        /// The text.
        path: String,
        /// The marks.
        marks: Vec<MarkJson>,
    },
}

/// A mark of a part of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MarkJson {
    /// Its name, such as `bold`.
    pub name: String,
    /// Its value; null takes it away.
    pub value: Json,
    /// The first letter, in Unicode scalar values.
    pub start: usize,
    /// The letter after the last one.
    pub end: usize,
}

impl From<automerge::marks::Mark> for MarkJson {
    fn from(mark: automerge::marks::Mark) -> Self {
        Self { name: mark.name.to_string(), value: of_scalar(&mark.value), start: mark.start, end: mark.end }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn value(value: &Value<'_>) -> Json {
    match value {
        Value::Scalar(value) => of_scalar(value),
        Value::Object(automerge::ObjType::List) => Json::Array(Vec::new()),
        Value::Object(automerge::ObjType::Text) => Json::String(String::new()),
        Value::Object(_) => Json::Object(serde_json::Map::new()),
    }
}

fn pointer(parent: &str, prop: &Prop) -> String {
    match prop {
        Prop::Map(key) => format!("{parent}/{}", escaped(key)),
        Prop::Seq(index) => format!("{parent}/{index}"),
    }
}

pub(crate) fn of_patch(patch: Patch) -> PatchJson {
    let parent = patch.path.iter().fold(String::new(), |parent, (_, prop)| pointer(&parent, prop));
    let at = |index: usize| format!("{parent}/{index}");
    let key = |key: &str| format!("{parent}/{}", escaped(key));
    match patch.action {
        PatchAction::PutMap { key: name, value: (put, _), conflict } => {
            PatchJson::Put { path: key(&name), value: value(&put), conflict }
        }
        PatchAction::PutSeq { index, value: (put, _), conflict } => {
            PatchJson::Put { path: at(index), value: value(&put), conflict }
        }
        PatchAction::Insert { index, values } => {
            PatchJson::Insert { path: at(index), values: values.iter().map(|(one, ..)| value(one)).collect() }
        }
        PatchAction::SpliceText { index, value, .. } => {
            PatchJson::Splice { path: at(index), value: value.make_string() }
        }
        PatchAction::Increment { prop, value } => PatchJson::Inc { path: pointer(&parent, &prop), by: value },
        PatchAction::Conflict { prop } => PatchJson::Conflict { path: pointer(&parent, &prop) },
        PatchAction::DeleteMap { key: name } => PatchJson::Del { path: key(&name), length: 1 },
        PatchAction::DeleteSeq { index, length } => PatchJson::Del { path: at(index), length },
        PatchAction::Mark { marks } => {
            PatchJson::Mark { path: parent, marks: marks.into_iter().map(MarkJson::from).collect() }
        }
    }
}
