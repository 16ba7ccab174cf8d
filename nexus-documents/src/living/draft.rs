//! Changes that a program makes by itself: it reads, decides and writes, and all of it is in the document or nothing.

use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ObjId, ObjType, ReadDoc};
use serde_json::Value as Json;

use crate::living::edit::{Known, Made, check};
use crate::living::edits::Edit;
use crate::living::error::EditError;
use crate::living::json::{Found, find, of_found};
use crate::living::path::DocPath;
use crate::living::run::run_one;
use crate::living::writer::{Stop, Writer};
use crate::living::{Living, word_of};

/// The reason for which a program ends its change: any error. An [`EditError`] is handed on as it is.
pub type ChangeError = Box<dyn Error + Send + Sync>;

/// A document while a program changes it: it shows what was changed so far.
///
/// An edit that fails ends the change, even if the program goes on: half of what it wanted must not be written.
pub struct Draft<'a> {
    pub(super) writer: &'a mut Writer,
    known: &'a Known,
    /// The heads before the change.
    pub(super) heads: Vec<automerge::ChangeHash>,
    /// The bytes of the values of its edits.
    size: u64,
    /// Values that were written.
    pub(super) values: Vec<String>,
    /// Texts that were written to.
    pub(super) texts: BTreeSet<ObjId>,
    /// The reason why nothing of it is written.
    pub(super) stop: Option<Stop>,
    #[cfg(feature = "typed")]
    pub(super) typed: super::waiting::Typed,
}

/// A text that a change writes, for a look at it before others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenText {
    /// As it was before, if it is a text that was there.
    pub before: String,
    /// As it is with the change.
    pub text: String,
}

impl Living {
    /// Has a program make a change, at a time in seconds since 1970, with a word about it. All of it is made, or nothing. The
    /// program may run twice, the second time upon the document as it was: where its change has more than `max_bytes`, it becomes
    /// several changes.
    ///
    /// # Errors
    /// [`EditError`], as [`Living::edit`]; [`EditError::Program`] for an error of the program, and [`EditError::Panicked`], after
    /// which the document must not be used any more.
    pub fn transact(
        &mut self,
        actor: &[u8],
        (time, message): (i64, &str),
        program: &dyn Fn(&mut Draft<'_>) -> Result<(), ChangeError>,
        max_bytes: usize,
    ) -> Result<Vec<Made>, EditError> {
        let heads = super::libraries(&self.heads());
        self.write(actor, (time, message), 0, max_bytes, &mut |writer, known| {
            let mut draft = Draft {
                writer,
                known,
                heads: heads.clone(),
                size: 0,
                values: Vec::new(),
                texts: BTreeSet::new(),
                stop: None,
                #[cfg(feature = "typed")]
                typed: super::waiting::Typed::default(),
            };
            let said = catch_unwind(AssertUnwindSafe(|| {
                program(&mut draft)?;
                Ok(draft.flush()?)
            }));
            draft.end(said)
        })
    }
}

impl Draft<'_> {
    /// The value at a path as JSON, as [`Living::value`]; nothing if nothing is there.
    ///
    /// # Errors
    /// [`EditError::Path`], and [`EditError::Library`].
    pub fn get(&mut self, path: &str) -> Result<Option<Json>, EditError> {
        let path: DocPath = path.parse()?;
        self.flush()?;
        let doc = self.writer.doc()?;
        let failed = |error: automerge::AutomergeError| EditError::Library(error.to_string());
        let Ok(found) = find(doc, &path, None).map_err(failed)? else { return Ok(None) };
        of_found(doc, &found, None).map(Some).map_err(failed)
    }

    /// Makes what is at a path equal to a value, as [`Edit::Set`].
    ///
    /// # Errors
    /// As [`Draft::edit`].
    pub fn set(&mut self, path: &str, value: impl Into<Json>) -> Result<(), EditError> {
        let path = path.parse().map_err(|bad| self.failed(Stop::Error(EditError::Path(bad))))?;
        self.edit(&Edit::Set { path, value: value.into() })
    }

    /// Makes an edit.
    ///
    /// # Errors
    /// [`EditError`]: the change ends with it.
    pub fn edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        self.flush()?;
        let mut size = self.size;
        let checked = check(edit, self.known, &mut size).map_err(Stop::Error);
        self.size = size;
        checked.and_then(|()| run_one(self.writer, edit)).map_err(|stop| self.failed(stop))?;
        match edit {
            Edit::Set { value, .. } | Edit::Insert { value, .. } | Edit::Merge { patch: value, .. } => {
                self.values.push(value.to_string());
            }
            Edit::Mark { name, value, .. } => self.values.push(serde_json::json!({ name: value }).to_string()),
            Edit::Splice { path, .. } => {
                if let Ok(Ok(Found::Object(id, ObjType::Text))) = find(self.writer.doc()?, path, None) {
                    self.texts.insert(id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The values and texts that the change writes so far.
    ///
    /// # Errors
    /// [`EditError`] if the change has ended.
    pub fn written(&mut self) -> Result<Vec<WrittenText>, EditError> {
        self.flush()?;
        let doc = self.writer.doc()?;
        let text = |id: &ObjId| WrittenText {
            // a text that is new had no letters
            before: doc.text_at(id, &self.heads).unwrap_or_default(),
            text: doc.text(id).unwrap_or_default(),
        };
        let value = |text: &String| WrittenText { before: String::new(), text: text.clone() };
        Ok(self.values.iter().map(value).chain(self.texts.iter().map(text)).collect())
    }

    /// Ends the change, once it cannot be written. The error for its program.
    pub(super) fn failed(&mut self, stop: Stop) -> EditError {
        let stop = self.stop.get_or_insert(stop);
        match stop {
            // it begins again, and the program does not see the end of this run
            Stop::Full => EditError::Library("the change is split".to_owned()),
            Stop::Error(error) => error.clone(),
        }
    }

    /// Writes what waits. An error if the change has ended.
    pub(super) fn flush(&mut self) -> Result<(), EditError> {
        if let Some(stop) = self.stop.clone() {
            return Err(self.failed(stop));
        }
        #[cfg(feature = "typed")]
        self.splice_waiting()?;
        Ok(())
    }

    fn end(self, said: Result<Result<(), ChangeError>, Box<dyn Any + Send>>) -> Result<(), Stop> {
        match (self.stop, said) {
            // a program that panics over an error of the draft is as good as one that ends with it
            (Some(stop), _) => Err(stop),
            (None, Ok(Ok(()))) => Ok(()),
            (None, Ok(Err(error))) => Err(Stop::Error(match error.downcast::<EditError>() {
                Ok(error) => *error,
                Err(other) => EditError::Program(other.to_string()),
            })),
            (None, Err(panic)) => Err(Stop::Error(EditError::Panicked(word_of(&*panic)))),
        }
    }
}

impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("stop", &self.stop).finish_non_exhaustive()
    }
}
