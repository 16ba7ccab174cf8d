//! The document that is built from changes whose verdict holds.
//!
//! | modules | content |
//! |---|---|
//! | `path` | paths in a document |
//! | `json` | a document as JSON |
//! | `edit`, `run`, `reconcile`, `diff` | edits: a new value is written as what differs from the old one |
//! | `draft` | changes that a program makes by itself |
//! | `content` | the whole of a document, for another one that begins with it |
//! | `typed`, `waiting` | values of a program's own types (feature `typed`) |
//! | `writer` | the operations of edits, in changes that stay within the bounds of the judge |
//! | `join` | changes that join branches, where there are too many for an edit |
//! | `patch` | the difference between two versions |
//! | `file` | the changes in a file, which are judged afterwards |
//! | `sync` | Automerge's sync protocol, with changes that are judged before the library sees them |
//!
//! The library is trusted with changes that were judged, and with nothing else. Where it fails all the same, the document is
//! broken, and its caller builds it again.

mod content;
mod diff;
mod draft;
mod edit;
mod edits;
mod error;
mod file;
mod join;
mod json;
mod patch;
mod path;
mod reconcile;
mod run;
mod sync;
#[cfg(test)]
mod tests;
#[cfg(feature = "typed")]
mod typed;
#[cfg(feature = "typed")]
mod waiting;
mod writer;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use automerge::{Automerge, LoadOptions, ObjId, ObjType, ReadDoc, TextEncoding, ValueRef, VerificationMode};
use serde_json::Value as Json;

pub use crate::living::content::Content;
pub use crate::living::draft::{ChangeError, Draft, WrittenText};
pub use crate::living::edit::Made;
pub use crate::living::edits::{Edit, MarkExpand};
pub use crate::living::error::{Broken, EditError, FileError, ReadError};
#[doc(hidden)]
pub use crate::living::file::file_of_document;
pub use crate::living::file::{FILE_BYTES_MAX, changes_of_file};
pub use crate::living::patch::{MarkJson, PatchJson};
pub use crate::living::path::{BadPath, DocPath};
pub use crate::living::sync::{SYNC_BYTES_MAX, SyncMessage, SyncPeer};

use crate::change::Change;
use crate::hash::ChangeHash;
use crate::living::json::Found;

/// The changes among which one of the same actor is looked for.
const NEAR: usize = 8;

/// The letters of a text in runs, each with the id of the actor that inserted it.
pub type TextRuns = Vec<(Vec<u8>, String)>;

/// A change of a document, for its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// Its name.
    pub hash: ChangeHash,
    /// The id of its actor.
    pub actor: Arc<[u8]>,
    /// Its number among the changes of its actor, from 1.
    pub seq: u64,
    /// Its time as its author says, in seconds since 1970; 0 where it says none.
    pub time: i64,
    /// A word about it, or nothing.
    pub message: String,
    /// The changes right before it.
    pub deps: Arc<[ChangeHash]>,
    /// The number of its operations.
    pub ops: u64,
    /// The counter of its first operation.
    start: u64,
    /// The longest way to it from a change that comes after none.
    height: u64,
}

/// The bytes and operations of a document, which are bounded.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    bytes: u64,
    ops: u64,
    /// The highest counter of an operation.
    highest: u64,
}

/// A document that is built from changes whose verdict holds.
#[derive(Clone)]
pub struct Living {
    doc: Automerge,
    /// Each after those before it.
    changes: Vec<HistoryItem>,
    /// Their places in `changes`.
    known: BTreeMap<ChangeHash, usize>,
    /// The changes that no other one comes after.
    heads: BTreeSet<ChangeHash>,
    total: Total,
    is_broken: bool,
}

impl fmt::Debug for Living {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Living").field("changes", &self.changes.len()).field("is_broken", &self.is_broken).finish()
    }
}

impl Default for Living {
    fn default() -> Self {
        Self::new()
    }
}

fn library(hash: &ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}

fn libraries(hashes: &[ChangeHash]) -> Vec<automerge::ChangeHash> {
    hashes.iter().map(library).collect()
}

/// Runs the library. Where it panics, that is an error with the words of the panic.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Broken::Library(word_of(&*panic)))
}

/// The words of a panic.
fn word_of(panic: &(dyn Any + Send)) -> String {
    let word = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    word.unwrap_or("it panicked").to_owned()
}

fn failed(error: impl fmt::Display) -> Broken {
    Broken::Library(error.to_string())
}

impl Living {
    /// A document without changes.
    pub fn new() -> Self {
        Self {
            doc: empty(),
            changes: Vec::new(),
            known: BTreeMap::new(),
            heads: BTreeSet::new(),
            total: Total::default(),
            is_broken: false,
        }
    }

    /// Applies plain changes that were judged, each after those before it. Changes that it has are left out.
    ///
    /// # Errors
    /// [`Broken`]: the document must not be used any more. Its caller builds it again.
    pub fn apply<'a>(&mut self, changes: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Broken> {
        if self.is_broken {
            return Err(Broken::Before);
        }
        self.is_broken = true;
        let mut ready = Vec::new();
        for bytes in changes {
            let parsed = Change::parse(bytes).map_err(Broken::NotJudged)?;
            if self.known.contains_key(&parsed.hash()) {
                continue;
            }
            let change = guarded(|| automerge::Change::from_bytes(bytes.to_vec()))?.map_err(failed)?;
            self.add(&parsed, change.len() as u64)?;
            ready.push(change);
        }
        guarded(|| self.doc.apply_changes(ready))?.map_err(failed)?;
        if self.doc.stats().num_changes != self.changes.len() as u64 {
            return Err(failed("it left changes out"));
        }
        self.is_broken = false;
        Ok(())
    }

    /// Adds a change to the history.
    fn add(&mut self, change: &Change<'_>, ops: u64) -> Result<(), Broken> {
        self.push(HistoryItem {
            hash: change.hash(),
            actor: self.actor(change.actor()),
            seq: change.seq(),
            time: change.time(),
            message: change.message().to_owned(),
            deps: change.deps().into(),
            ops,
            start: change.start(),
            height: 0,
        })?;
        self.total.bytes += change.size() as u64;
        Ok(())
    }

    /// The id of an actor, which is kept once where its changes are close together.
    fn actor(&self, actor: &[u8]) -> Arc<[u8]> {
        let near = self.changes.iter().rev().take(NEAR).find(|item| *item.actor == *actor);
        near.map_or_else(|| actor.into(), |item| item.actor.clone())
    }

    /// Adds a change to the history, whose height is found here.
    fn push(&mut self, mut item: HistoryItem) -> Result<(), Broken> {
        for dep in &*item.deps {
            let before = self.known.get(dep).and_then(|at| self.changes.get(*at));
            item.height = item.height.max(before.ok_or(Broken::Deps(item.hash))?.height + 1);
        }
        for dep in &*item.deps {
            self.heads.remove(dep);
        }
        self.heads.insert(item.hash);
        self.total.ops += item.ops;
        self.total.highest = self.total.highest.max(item.start.saturating_add(item.ops).saturating_sub(1));
        self.known.insert(item.hash, self.changes.len());
        self.changes.push(item);
        Ok(())
    }

    /// The changes, each after those before it.
    pub fn changes(&self) -> &[HistoryItem] {
        &self.changes
    }

    /// The changes that no other one comes after, in ascending order.
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.heads.iter().copied().collect()
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it has no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether it has a change.
    pub fn knows(&self, change: &ChangeHash) -> bool {
        self.known.contains_key(change)
    }

    fn known(&self, heads: &[ChangeHash]) -> Result<Vec<automerge::ChangeHash>, ReadError> {
        if self.is_broken {
            return Err(Broken::Before.into());
        }
        let unknown: Vec<ChangeHash> = heads.iter().filter(|head| !self.knows(head)).copied().collect();
        if unknown.is_empty() { Ok(libraries(heads)) } else { Err(ReadError::UnknownHeads(unknown)) }
    }

    /// The value at a path as JSON, now or at some heads; nothing if nothing is there. Texts are strings, counters are numbers,
    /// timestamps are numbers of milliseconds since 1970, and bytes are `{"$bytes": "base64"}`. A number that JSON does not have
    /// is null.
    ///
    /// # Errors
    /// [`ReadError::UnknownHeads`], and [`ReadError::Broken`] where the library fails.
    pub fn value(&self, path: &DocPath, at: Option<&[ChangeHash]>) -> Result<Option<Json>, ReadError> {
        self.unbroken()?;
        let at = at.map(|heads| self.known(heads)).transpose()?;
        let read = || -> Result<Option<Json>, automerge::AutomergeError> {
            let Ok(found) = json::find(&self.doc, path, at.as_deref())? else { return Ok(None) };
            json::of_found(&self.doc, &found, at.as_deref()).map(Some)
        };
        Ok(guarded(read)?.map_err(failed)?)
    }

    /// All values at a path that were written at the same time, each with the id of its actor, the shown one first. There is one
    /// if nothing is in conflict, and none if nothing is there.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub fn conflicts(&self, path: &DocPath) -> Result<Vec<(Vec<u8>, Json)>, Broken> {
        self.unbroken()?;
        let Some((last, parent)) = path.tokens().split_last() else { return Ok(Vec::new()) };
        let read = || -> Option<Vec<(Vec<u8>, Json)>> {
            let parent = DocPath::from_tokens(parent.to_vec()).ok()?;
            let Found::Object(id, kind) = json::find(&self.doc, &parent, None).ok()?.ok()? else { return None };
            let all = self.doc.get_all(&id, json::prop(kind, last)?).ok()?;
            // the shown one is the last
            let value = |(value, id): &(automerge::Value<'_>, ObjId)| {
                Some((actor_of(id), json::of_value(&self.doc, value, id, None).ok()?))
            };
            all.iter().rev().map(value).collect()
        };
        Ok(guarded(read)?.unwrap_or_default())
    }

    /// The letters of a text in runs, each with the id of the actor that inserted it; nothing if no text is at the path.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub fn authors(&self, path: &DocPath) -> Result<Option<TextRuns>, Broken> {
        self.unbroken()?;
        guarded(|| self.runs(path))
    }

    /// The marks of a text, now or at some heads; nothing if no text is at the path.
    ///
    /// # Errors
    /// [`ReadError::UnknownHeads`], and [`ReadError::Broken`] where the library fails.
    pub fn marks(&self, path: &DocPath, at: Option<&[ChangeHash]>) -> Result<Option<Vec<MarkJson>>, ReadError> {
        self.unbroken()?;
        let at = at.map(|heads| self.known(heads)).transpose()?;
        let read = || -> Result<Option<Vec<MarkJson>>, automerge::AutomergeError> {
            let Ok(Found::Object(id, ObjType::Text)) = json::find(&self.doc, path, at.as_deref())? else {
                return Ok(None);
            };
            let marks = match at.as_deref() {
                Some(heads) => self.doc.marks_at(&id, heads)?,
                None => self.doc.marks(&id)?,
            };
            Ok(Some(marks.into_iter().map(MarkJson::from).collect()))
        };
        Ok(guarded(read)?.map_err(failed)?)
    }

    fn runs(&self, path: &DocPath) -> Option<TextRuns> {
        let Found::Object(id, ObjType::Text) = json::find(&self.doc, path, None).ok()?.ok()? else { return None };
        let mut runs = TextRuns::new();
        for (element, letters) in elements(&self.doc, &id, None) {
            let actor = match &element {
                ObjId::Root => &[],
                ObjId::Id(_, actor, _) => actor.to_bytes(),
            };
            match runs.last_mut().filter(|run| run.0 == actor) {
                Some(run) => run.1.push_str(&letters),
                None => runs.push((actor.to_vec(), letters)),
            }
        }
        Some(runs)
    }

    /// The changes, the newest first: each before those that it comes after. Equal documents have them in one order.
    pub fn history(&self, limit: usize) -> Vec<HistoryItem> {
        self.history_before(None, limit)
    }

    /// The changes that [`Living::history`] shows after one of them, or from the newest.
    pub fn history_before(&self, before: Option<&ChangeHash>, limit: usize) -> Vec<HistoryItem> {
        let order = |item: &HistoryItem| (item.start, item.height, item.hash);
        let before = before.map(|hash| self.known.get(hash).and_then(|at| self.changes.get(*at)));
        let most = match before {
            None => None,
            Some(None) => return Vec::new(),
            Some(Some(item)) => Some(order(item)),
        };
        let mut items: Vec<&HistoryItem> =
            self.changes.iter().filter(|item| most.is_none_or(|most| order(item) < most)).collect();
        items.sort_unstable_by_key(|item| std::cmp::Reverse(order(item)));
        items.into_iter().take(limit).cloned().collect()
    }

    /// The words about changes, of those that have some.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(|item| item.message.as_str()).filter(|message| !message.is_empty())
    }

    /// The heads as they were at a time: of the changes that say this time or an earlier one, and whose ancestors all do.
    pub fn heads_at(&self, time: i64) -> Vec<ChangeHash> {
        let mut then: BTreeSet<ChangeHash> = BTreeSet::new();
        for item in &self.changes {
            if item.time <= time && item.deps.iter().all(|dep| then.contains(dep)) {
                then.insert(item.hash);
            }
        }
        let before: Vec<&HistoryItem> = self.changes.iter().filter(|item| then.contains(&item.hash)).collect();
        for dep in before.into_iter().flat_map(|item| &*item.deps) {
            then.remove(dep);
        }
        then.into_iter().collect()
    }

    /// The steps from one version to another.
    ///
    /// # Errors
    /// [`ReadError::UnknownHeads`], and [`ReadError::Broken`] where the library fails.
    pub fn patches(&self, before: &[ChangeHash], after: &[ChangeHash]) -> Result<Vec<PatchJson>, ReadError> {
        let (before, after) = (self.known(before)?, self.known(after)?);
        let patches = guarded(|| self.doc.diff(&before, &after))?;
        Ok(patches.into_iter().map(patch::of_patch).collect())
    }

    /// The document as a file that every program with Automerge reads.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub fn save(&self) -> Result<Vec<u8>, Broken> {
        self.unbroken()?;
        guarded(|| self.doc.save())
    }

    /// The bytes of its changes.
    pub fn bytes(&self) -> u64 {
        self.total.bytes
    }

    /// The document of a file that [`Living::save`] wrote, with the bytes of its changes. It is no file of strangers: the library
    /// is trusted with it, and its changes were judged.
    ///
    /// # Errors
    /// [`Broken`] where the library does not load it as it was.
    pub fn load(file: &[u8], bytes: u64) -> Result<Self, Broken> {
        let options =
            LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint).verification_mode(VerificationMode::Check);
        let doc = guarded(|| Automerge::load_with_options(file, options))?.map_err(failed)?;
        let mut living = Self::new();
        for meta in guarded(|| doc.get_changes_meta(&[]))? {
            let ops = meta.max_op.saturating_add(1).saturating_sub(meta.start_op);
            let mut deps: Vec<ChangeHash> = meta.deps.iter().map(|dep| ChangeHash(dep.0)).collect();
            deps.sort_unstable();
            living.push(HistoryItem {
                hash: ChangeHash(meta.hash.0),
                actor: living.actor(meta.actor.to_bytes()),
                seq: meta.seq,
                time: meta.timestamp,
                message: meta.message.as_deref().unwrap_or_default().to_owned(),
                deps: deps.into(),
                ops,
                start: meta.start_op,
                height: 0,
            })?;
        }
        if guarded(|| doc.stats())?.num_changes != living.changes.len() as u64 {
            return Err(failed("it lists other changes than it has"));
        }
        living.doc = doc;
        living.total.bytes = bytes;
        Ok(living)
    }

    fn unbroken(&self) -> Result<(), Broken> {
        if self.is_broken { Err(Broken::Before) } else { Ok(()) }
    }
}

fn empty() -> Automerge {
    // named, whatever features another crate turns on: positions in texts count Unicode scalar values
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint)
}

fn actor_of(id: &ObjId) -> Vec<u8> {
    match id {
        ObjId::Root => Vec::new(),
        ObjId::Id(_, actor, _) => actor.to_bytes().to_vec(),
    }
}

/// The elements of a text, each with its letters: one, but for what other programs write.
fn elements(doc: &impl ReadDoc, text: &ObjId, at: Option<&[automerge::ChangeHash]>) -> Vec<(ObjId, String)> {
    let (range, shown) = match at {
        Some(heads) => (doc.list_range_at(text, .., heads), doc.text_at(text, heads)),
        None => (doc.list_range(text, ..), doc.text(text)),
    };
    let mut all: Vec<(ObjId, String)> = range
        .map(|item| {
            let letters = match &item.value {
                ValueRef::Scalar(automerge::ScalarValueRef::Str(text)) => text.to_string(),
                // as a text shows what is no text
                _ => "\u{fffc}".to_owned(),
            };
            (item.id(), letters)
        })
        .collect();
    // the library lists the ends of marks among the letters, and shows them nowhere
    if all.iter().map(|(_, letters)| letters.len()).sum::<usize>() != shown.map_or(0, |shown| shown.len()) {
        let mut position = 0;
        all.retain(|(id, letters)| {
            let found = match at {
                Some(heads) => doc.get_at(text, position, heads),
                None => doc.get(text, position),
            };
            let is_shown = found.ok().flatten().is_some_and(|(_, found)| found == *id);
            position += if is_shown { letters.chars().count() } else { 0 };
            is_shown
        });
    }
    all
}
