//! Values of a program's own types, by autosurgeon: read from a document, and written as what differs.
//!
//! autosurgeon asks for a document with small steps. They go through the writer of all edits, so they are counted, bounded and split
//! like those. Two things differ from its own steps upon Automerge. Its `Text` counts bytes, and texts of ours count letters. And
//! it writes a text letter by letter: letters in a row are gathered here, and written at once.

use std::ops::RangeBounds;

use automerge::iter::{ListRange, MapRange};
use automerge::transaction::OwnedTransaction;
use automerge::{Automerge, AutomergeError, ChangeHash, ObjId, ObjType, Parents, Prop, ReadDoc as _};
use automerge::{ScalarValue, Value, hydrate};
use autosurgeon::{Hydrate, HydrateError, Reconcile};

use crate::change::KEY_BYTES_MAX;
use crate::judge::DEPTH_MAX;
use crate::living::draft::Draft;
use crate::living::error::{EditError, ReadError};
use crate::living::path::DocPath;
use crate::living::reconcile::{counter, set_text, step};
use crate::living::waiting::Splice;
use crate::living::writer::{Place, Stop};
use crate::living::{Living, guarded};

impl Living {
    /// The document as a value of a type; nothing as long as it has no values.
    ///
    /// # Errors
    /// [`ReadError::Type`] where it does not fit.
    pub fn hydrate<T: Hydrate>(&self) -> Result<Option<T>, ReadError> {
        self.unbroken()?;
        if autosurgeon::ReadDoc::is_empty(&self.doc) {
            return Ok(None);
        }
        // the type is a program's
        let read = guarded(|| autosurgeon::hydrate(&self.doc)).map_err(|panic| ReadError::Type(panic.to_string()))?;
        read.map(Some).map_err(|error: HydrateError| ReadError::Type(error.to_string()))
    }
}

impl Draft<'_> {
    /// The document as a value of a type; nothing as long as it has no values.
    ///
    /// # Errors
    /// [`EditError::Type`] where it does not fit.
    pub fn hydrate<T: Hydrate>(&mut self) -> Result<Option<T>, EditError> {
        self.flush()?;
        if autosurgeon::ReadDoc::is_empty(self) {
            return Ok(None);
        }
        autosurgeon::hydrate(self).map(Some).map_err(|error| EditError::Type(error.to_string()))
    }

    /// Makes the document equal to a value. Only what differs is written. A value with a `Text` must be one that this draft gave, or
    /// have a new text there.
    ///
    /// # Errors
    /// [`EditError`]: the change ends with it.
    pub fn reconcile<T: Reconcile>(&mut self, value: &T) -> Result<(), EditError> {
        self.flush()?;
        if let Err(error) = autosurgeon::reconcile(self, value) {
            return Err(self.failed(Stop::Error(EditError::Type(error.to_string()))));
        }
        self.flush()
    }

    fn doc(&self) -> Result<&OwnedTransaction, &Automerge> {
        self.writer.doc().map_err(|_| &self.typed.lost)
    }

    /// Does one step, once what waited is written.
    fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, AutomergeError> {
        // the error itself is kept
        self.flush().map_err(|_| AutomergeError::Fail)?;
        step(self).map_err(|stop| {
            self.failed(stop);
            AutomergeError::Fail
        })
    }

    /// The path of something in an object, for messages.
    fn path_of(&self, object: &ObjId, prop: &Prop) -> DocPath {
        let parents = self.writer.doc().ok().and_then(|doc| doc.parents(object).ok());
        let mut tokens: Vec<String> = parents.into_iter().flatten().map(|parent| parent.prop.to_string()).collect();
        tokens.reverse();
        tokens.push(prop.to_string());
        DocPath::from_tokens(tokens).unwrap_or_default()
    }

    fn depth(&self, object: &ObjId) -> Result<usize, Stop> {
        Ok(self.writer.doc().map_err(EditError::from)?.parents(object)?.count())
    }

    fn put_scalar(&mut self, object: &ObjId, place: &Place, value: ScalarValue) -> Result<(), Stop> {
        let prop = prop_of(place);
        self.writer.path = DocPath::root();
        if let Prop::Map(key) = &prop
            && key.len() > KEY_BYTES_MAX
        {
            return Err(EditError::KeyTooLong(self.path_of(object, &Prop::Map(String::new()))).into());
        }
        match &value {
            ScalarValue::Counter(first) => {
                self.writer.path = self.path_of(object, &prop);
                return counter(self.writer, object, place, i64::from(first));
            }
            ScalarValue::Str(text) => {
                // with its key: its name may say what it is
                let written = match &prop {
                    Prop::Map(key) => serde_json::json!({ key: text.as_str() }).to_string(),
                    Prop::Seq(_) => text.to_string(),
                };
                self.values.push(written);
                if text.len() > self.writer.most() / 2 {
                    self.writer.path = self.path_of(object, &prop);
                }
            }
            _ => {}
        }
        self.writer.put(object, place, value)
    }

    /// Makes an object in another one, which is so deep.
    fn make(&mut self, object: &ObjId, place: &Place, kind: ObjType, depth: usize) -> Result<ObjId, Stop> {
        let prop = prop_of(place);
        self.writer.path = DocPath::root();
        if depth >= DEPTH_MAX as usize {
            return Err(EditError::TooDeep(self.path_of(object, &prop)).into());
        }
        if matches!(&prop, Prop::Map(key) if key.len() > KEY_BYTES_MAX) {
            return Err(EditError::KeyTooLong(self.path_of(object, &Prop::Map(String::new()))).into());
        }
        let made = self.writer.make(object, place, kind)?;
        if kind == ObjType::Text {
            self.texts.insert(made.clone());
        }
        Ok(made)
    }

    /// Writes a new value with all that it holds.
    fn create(&mut self, object: &ObjId, place: &Place, value: &hydrate::Value, depth: usize) -> Result<(), Stop> {
        match value {
            hydrate::Value::Scalar(value) => self.put_scalar(object, place, value.clone()),
            hydrate::Value::Text(text) => {
                let made = self.make(object, place, ObjType::Text, depth)?;
                self.writer.splice(&made, 0, 0, &text.to_string())
            }
            hydrate::Value::List(items) => {
                let made = self.make(object, place, ObjType::List, depth)?;
                for (at, item) in items.iter().enumerate() {
                    self.create(&made, &Place::Before(at), &item.value, depth + 1)?;
                }
                Ok(())
            }
            hydrate::Value::Map(items) => {
                let made = self.make(object, place, ObjType::Map, depth)?;
                self.create_items(&made, items, depth + 1, Place::New)
            }
        }
    }

    fn create_items(
        &mut self,
        map: &ObjId,
        items: &hydrate::Map,
        depth: usize,
        place: impl Fn(String) -> Place,
    ) -> Result<(), Stop> {
        // in one order, so that equal values make equal changes
        let mut items: Vec<_> = items.iter().collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        for (key, item) in items {
            self.create(map, &place(key.clone()), &item.value, depth)?;
        }
        Ok(())
    }

    /// Writes the letters that wait.
    pub(super) fn splice_waiting(&mut self) -> Result<(), EditError> {
        let Some(splice) = self.typed.waiting.take() else { return Ok(()) };
        self.splice(&splice).map_err(|stop| self.failed(stop))
    }

    fn splice(&mut self, splice: &Splice) -> Result<(), Stop> {
        let text = self.writer.doc().map_err(EditError::from)?.text(&splice.text)?;
        let end = splice.at.saturating_add(splice.delete);
        let (Some(before), Some(gone)) = (text.get(..splice.at), text.get(splice.at..end)) else {
            let path = self.path_of(&splice.text, &Prop::Seq(splice.at));
            return Err(EditError::Type(format!("`{path}` is beyond its text, or within a letter of it")).into());
        };
        self.texts.insert(splice.text.clone());
        let (at, delete) = (before.chars().count(), gone.chars().count());
        self.writer.splice(&splice.text, at, delete, &splice.insert)
    }
}

fn prop_of(place: &Place) -> Prop {
    match place {
        Place::At(prop) => prop.clone(),
        Place::New(key) => Prop::Map(key.clone()),
        Place::Before(at) => Prop::Seq(*at),
    }
}

/// Reads the document, or none where it was lost.
macro_rules! read {
    ($draft:ident, $read:ident($($asked:expr),*)) => {
        match $draft.doc() {
            Ok(doc) => automerge::ReadDoc::$read(doc, $($asked),*),
            Err(doc) => automerge::ReadDoc::$read(doc, $($asked),*),
        }
    };
}

impl autosurgeon::ReadDoc for Draft<'_> {
    type Parents<'a>
        = Parents<'a>
    where
        Self: 'a;

    fn get_heads(&self) -> Vec<ChangeHash> {
        // those before the change, also where it becomes several changes
        self.heads.clone()
    }

    fn get<P: Into<Prop>>(&self, object: &ObjId, prop: P) -> Result<Option<(Value<'_>, ObjId)>, AutomergeError> {
        read!(self, get(object, prop))
    }

    fn object_type<O: AsRef<ObjId>>(&self, object: O) -> Option<ObjType> {
        read!(self, object_type(object)).ok()
    }

    fn map_range<'a, O, R>(&'a self, object: O, range: R) -> MapRange<'a>
    where
        O: AsRef<ObjId>,
        R: RangeBounds<String> + 'a,
    {
        read!(self, map_range(object, range))
    }

    fn list_range<O: AsRef<ObjId>, R: RangeBounds<usize>>(&self, object: O, range: R) -> ListRange<'_> {
        read!(self, list_range(object, range))
    }

    fn length<O: AsRef<ObjId>>(&self, object: O) -> usize {
        read!(self, length(object))
    }

    fn text<O: AsRef<ObjId>>(&self, object: O) -> Result<String, AutomergeError> {
        let mut text = read!(self, text(object.as_ref()))?;
        if let Some(Splice { at, delete, insert, .. }) =
            self.typed.waiting.as_ref().filter(|waiting| waiting.text == *object.as_ref())
            && text.get(*at..at.saturating_add(*delete)).is_some()
        {
            text.replace_range(*at..at + delete, insert);
        }
        Ok(text)
    }

    fn parents<O: AsRef<ObjId>>(&self, object: O) -> Result<Parents<'_>, AutomergeError> {
        read!(self, parents(object))
    }

    fn is_empty(&self) -> bool {
        read!(self, keys(automerge::ROOT)).next().is_none()
    }
}

impl autosurgeon::Doc for Draft<'_> {
    fn put<O: AsRef<ObjId>, P: Into<Prop>, V: Into<ScalarValue>>(
        &mut self,
        object: O,
        prop: P,
        value: V,
    ) -> Result<(), AutomergeError> {
        self.step(|draft| draft.put_scalar(object.as_ref(), &Place::At(prop.into()), value.into()))
    }

    fn put_object<O: AsRef<ObjId>, P: Into<Prop>>(
        &mut self,
        object: O,
        prop: P,
        kind: ObjType,
    ) -> Result<ObjId, AutomergeError> {
        self.step(|draft| {
            let depth = draft.depth(object.as_ref())?;
            draft.make(object.as_ref(), &Place::At(prop.into()), kind, depth)
        })
    }

    fn insert<O: AsRef<ObjId>, V: Into<ScalarValue>>(
        &mut self,
        object: O,
        index: usize,
        value: V,
    ) -> Result<(), AutomergeError> {
        self.step(|draft| draft.put_scalar(object.as_ref(), &Place::Before(index), value.into()))
    }

    fn insert_object<O: AsRef<ObjId>>(
        &mut self,
        object: O,
        index: usize,
        kind: ObjType,
    ) -> Result<ObjId, AutomergeError> {
        self.step(|draft| {
            let depth = draft.depth(object.as_ref())?;
            draft.make(object.as_ref(), &Place::Before(index), kind, depth)
        })
    }

    fn increment<O: AsRef<ObjId>, P: Into<Prop>>(&mut self, object: O, prop: P, by: i64) -> Result<(), AutomergeError> {
        if by == 0 {
            return Ok(());
        }
        let prop = prop.into();
        self.step(|draft| {
            let object = object.as_ref();
            draft.writer.path = draft.path_of(object, &prop);
            let old = draft.writer.doc().map_err(EditError::from)?.get(object, prop.clone())?;
            let from = match &old {
                Some((Value::Scalar(value), _)) => match value.as_ref() {
                    ScalarValue::Counter(counter) => i64::from(counter),
                    _ => return Err(AutomergeError::MissingCounter.into()),
                },
                _ => return Err(AutomergeError::MissingCounter.into()),
            };
            step(draft.writer, object, &prop, from, by)
        })
    }

    fn delete<O: AsRef<ObjId>, P: Into<Prop>>(&mut self, object: O, prop: P) -> Result<(), AutomergeError> {
        self.step(|draft| draft.writer.delete(object.as_ref(), prop.into()))
    }

    /// Positions and lengths are in bytes, as autosurgeon's `Text` counts.
    fn splice_text<O: AsRef<ObjId>>(
        &mut self,
        object: O,
        at: usize,
        delete: isize,
        insert: &str,
    ) -> Result<(), AutomergeError> {
        let at = if delete < 0 { at.saturating_sub(delete.unsigned_abs()) } else { at };
        let (text, delete) = (object.as_ref(), delete.unsigned_abs());
        if let Some(waiting) = &mut self.typed.waiting
            && waiting.text == *text
            && at.checked_sub(waiting.at) == Some(waiting.insert.len())
        {
            waiting.delete += delete;
            waiting.insert.push_str(insert);
            return Ok(());
        }
        self.step(|draft| {
            draft.typed.waiting = Some(Splice { text: text.clone(), at, delete, insert: insert.to_owned() });
            Ok(())
        })
    }

    fn update_text<O: AsRef<ObjId>>(&mut self, object: O, text: &str) -> Result<(), AutomergeError> {
        self.step(|draft| {
            draft.texts.insert(object.as_ref().clone());
            set_text(draft.writer, object.as_ref(), text)
        })
    }

    fn batch_create<O: AsRef<ObjId>, P: Into<Prop>>(
        &mut self,
        object: O,
        prop: P,
        value: hydrate::Value,
        insert: bool,
    ) -> Result<(), AutomergeError> {
        let place = match prop.into() {
            Prop::Seq(at) if insert => Place::Before(at),
            prop => Place::At(prop),
        };
        self.step(|draft| {
            let depth = draft.depth(object.as_ref())?;
            draft.create(object.as_ref(), &place, &value, depth)
        })
    }

    fn init_root_from_hydrate(&mut self, value: &hydrate::Map) -> Result<(), AutomergeError> {
        self.step(|draft| draft.create_items(&automerge::ROOT, value, 0, |key| Place::At(Prop::Map(key))))
    }
}
