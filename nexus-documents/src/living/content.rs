//! The whole of a document, for another one that begins with it. Values keep their kinds, and texts their marks, which JSON does
//! not have.

use std::ops::Range;

use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value};

use crate::change::KEY_BYTES_MAX;
use crate::judge::COUNTER_FIRST_MAX;
use crate::living::edit::Made;
use crate::living::edits::MarkExpand;
use crate::living::error::{Broken, EditError};
use crate::living::writer::{Place, Stop, Writer};
use crate::living::{Living, failed, guarded};

/// A value, with all that is in it.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
    Text(String, Vec<Marked>),
    Scalar(ScalarValue),
}

/// A mark of a text.
#[derive(Clone, Debug, PartialEq)]
struct Marked {
    range: Range<usize>,
    name: String,
    value: ScalarValue,
}

/// The whole of a document as it was read, without its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Content(Vec<(String, Node)>);

impl Content {
    /// Its bytes, roughly.
    pub fn bytes(&self) -> u64 {
        map_bytes(&self.0)
    }
}

fn map_bytes(items: &[(String, Node)]) -> u64 {
    items.iter().map(|(key, item)| key.len() as u64 + item.bytes()).sum::<u64>() + 2
}

impl Node {
    fn bytes(&self) -> u64 {
        match self {
            Self::Map(items) => map_bytes(items),
            Self::List(items) => items.iter().map(Self::bytes).sum::<u64>() + 2,
            Self::Text(text, marks) => {
                (text.len() + marks.iter().map(|mark| mark.name.len() + 32).sum::<usize>()) as u64
            }
            Self::Scalar(ScalarValue::Str(text)) => text.len() as u64,
            Self::Scalar(ScalarValue::Bytes(bytes)) => bytes.len() as u64,
            Self::Scalar(_) => 8,
        }
    }
}

impl Living {
    /// The whole of it as it is now. Where values are in conflict, it has the one that is shown.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub fn content(&self) -> Result<Content, Broken> {
        self.unbroken()?;
        guarded(|| map(&self.doc, &ROOT))?.map(Content).map_err(failed)
    }

    /// Writes the whole of another document into this one, as an actor, at a time in seconds since 1970 and with a word about it.
    /// Keys that have it already are left alone, and others go. Letters that are typed at the end of a mark belong to it from then
    /// on. A counter of more than 2^53, which no change can begin with, becomes a number.
    ///
    /// # Errors
    /// As [`Living::edit`].
    pub fn begin_with(
        &mut self,
        actor: &[u8],
        said: (i64, &str),
        content: &Content,
        max_bytes: usize,
    ) -> Result<Vec<Made>, EditError> {
        let mut here = self.content()?;
        here.0.sort_by(|one, other| one.0.cmp(&other.0));
        self.write(actor, said, content.bytes(), max_bytes, &mut |writer, _| {
            let gone = |key: &String| content.0.iter().all(|(other, _)| other != key);
            for (key, _) in here.0.iter().filter(|(key, _)| gone(key)) {
                writer.delete(&ROOT, Prop::Map(key.clone()))?;
            }
            for (key, value) in &content.0 {
                let place = match here.0.binary_search_by(|(other, _)| other.cmp(key)) {
                    Ok(at) if here.0.get(at).is_some_and(|(_, here)| here == value) => continue,
                    Ok(_) => Place::At(Prop::Map(key.clone())),
                    Err(_) => Place::New(key.clone()),
                };
                create(writer, &ROOT, &place, value)?;
            }
            Ok(())
        })
    }
}

/// Documents are at most as deep as the judge allows, and so is this recursion.
fn map(doc: &Automerge, id: &ObjId) -> Result<Vec<(String, Node)>, automerge::AutomergeError> {
    let mut items = Vec::new();
    for key in doc.keys(id) {
        if let Some((value, inner)) = doc.get(id, key.as_str())? {
            items.push((key, node(doc, &value, &inner)?));
        }
    }
    Ok(items)
}

fn node(doc: &Automerge, value: &Value<'_>, id: &ObjId) -> Result<Node, automerge::AutomergeError> {
    match value {
        Value::Scalar(value) => Ok(Node::Scalar(value.as_ref().clone())),
        Value::Object(ObjType::Map | ObjType::Table) => map(doc, id).map(Node::Map),
        Value::Object(ObjType::List) => {
            let mut items = Vec::new();
            for at in 0..doc.length(id) {
                if let Some((value, inner)) = doc.get(id, at)? {
                    items.push(node(doc, &value, &inner)?);
                }
            }
            Ok(Node::List(items))
        }
        Value::Object(ObjType::Text) => {
            let marks = doc.marks(id)?.into_iter().map(|mark| Marked {
                range: mark.start..mark.end,
                name: mark.name.to_string(),
                value: mark.value.clone(),
            });
            Ok(Node::Text(doc.text(id)?, marks.collect()))
        }
    }
}

/// Writes a value where nothing is, or in the place of another one.
fn create(writer: &mut Writer, object: &ObjId, place: &Place, node: &Node) -> Result<(), Stop> {
    match node {
        Node::Map(items) => {
            let made = writer.make(object, place, ObjType::Map)?;
            items.iter().try_for_each(|(key, item)| create(writer, &made, &Place::New(key.clone()), item))
        }
        Node::List(items) => {
            let made = writer.make(object, place, ObjType::List)?;
            items.iter().enumerate().try_for_each(|(at, item)| create(writer, &made, &Place::Before(at), item))
        }
        Node::Text(text, marks) => {
            let made = writer.make(object, place, ObjType::Text)?;
            writer.splice(&made, 0, 0, text)?;
            let length = writer.doc().map_err(EditError::from)?.length(&made);
            for Marked { range, name, value } in marks {
                let range = range.start..range.end.min(length);
                // a mark of no name, which some programs write, is none that can be asked for
                if !range.is_empty() && !name.is_empty() && name.len() <= KEY_BYTES_MAX {
                    writer.mark(&made, range, (name, value.clone()), MarkExpand::After)?;
                }
            }
            Ok(())
        }
        Node::Scalar(value) => writer.put(object, place, scalar(value)),
    }
}

/// The value as a change may write it.
fn scalar(value: &ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Counter(counter) => {
            let counted = i64::from(counter);
            if counted.unsigned_abs() <= COUNTER_FIRST_MAX {
                ScalarValue::counter(counted)
            } else {
                ScalarValue::Int(counted)
            }
        }
        ScalarValue::Unknown { .. } => ScalarValue::Null,
        other => other.clone(),
    }
}
