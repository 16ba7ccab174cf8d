//! Edits of a document.

use std::collections::BTreeMap;

use automerge::{ActorId, Automerge, ReadDoc};

use crate::change::{ACTOR_BYTES_MAX, CHANGE_BYTES_MAX, Change, DEPS_MAX, MESSAGE_BYTES_MAX, OTHERS_MAX, TIME_MAX};
use crate::hash::ChangeHash;
use crate::judge::{ACTORS_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX};
use crate::living::edits::{Edit, size_of};
use crate::living::error::{Broken, EditError};
use crate::living::path::DocPath;
use crate::living::run::run;
use crate::living::writer::{Limits, Stop, Writer};
use crate::living::{Living, empty, guarded, libraries};

/// The changes of a document, by their hashes.
pub(super) type Known = BTreeMap<ChangeHash, usize>;
/// Writes operations. It is asked a second time, upon the document as it was, where they do not fit into one change.
pub(super) type Work<'a> = dyn FnMut(&mut Writer, &Known) -> Result<(), Stop> + 'a;

/// A change that an edit made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub hash: ChangeHash,
    /// Its bytes, in their plain form.
    pub bytes: Vec<u8>,
}

impl Living {
    /// Makes edits as an actor, at a time in seconds since 1970. All are made, or none. The changes are in the document already;
    /// there is none if nothing differs, and more than one if one would have more than `max_bytes`.
    ///
    /// # Errors
    /// [`EditError`]. Nothing has changed, unless it is [`EditError::Broken`]: then the document must not be used any more.
    pub fn edit(&mut self, actor: &[u8], time: i64, edits: &[Edit], max_bytes: usize) -> Result<Vec<Made>, EditError> {
        self.edit_saying(actor, (time, ""), edits, max_bytes)
    }

    /// The same with a word about the changes beside their time, for the history: up to [`MESSAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`Living::edit`].
    pub fn edit_saying(
        &mut self,
        actor: &[u8],
        (time, message): (i64, &str),
        edits: &[Edit],
        max_bytes: usize,
    ) -> Result<Vec<Made>, EditError> {
        let mut size = 0;
        for edit in edits {
            check(edit, &self.known, &mut size)?;
        }
        self.write(actor, (time, message), size, max_bytes, &mut |writer, _| run(writer, edits))
    }

    /// Has operations written as an actor. `size` is the number of bytes of the values that they may differ in.
    pub(super) fn write(
        &mut self,
        actor: &[u8],
        (time, message): (i64, &str),
        size: u64,
        max_bytes: usize,
        work: &mut Work<'_>,
    ) -> Result<Vec<Made>, EditError> {
        if self.is_broken {
            return Err(Broken::Before.into());
        }
        if actor.is_empty() || actor.len() > ACTOR_BYTES_MAX {
            return Err(EditError::Actor);
        }
        if time.unsigned_abs() > TIME_MAX {
            return Err(EditError::Time(time));
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(EditError::Message);
        }
        let is_full = self.doc.stats().num_actors >= ACTORS_MAX as u64;
        if is_full && self.changes.iter().all(|item| *item.actor != *actor) {
            return Err(EditError::DocumentFull { most: ACTORS_MAX as u64, of: "actors" });
        }
        // the last change of the actor may be named beside the heads
        if self.heads.len() >= DEPS_MAX {
            // on a copy: an edit that fails joins nothing
            let mut copy = self.clone();
            let mut made = copy.join(actor, time, max_bytes).map_err(of_copy)?;
            let edited = copy.write(actor, (time, message), size, max_bytes, work).map_err(of_copy)?;
            if edited.is_empty() {
                return Ok(edited);
            }
            made.extend(edited);
            *self = copy;
            return Ok(made);
        }
        let limits = Limits {
            time,
            most: max_bytes.min(CHANGE_BYTES_MAX),
            splits: false,
            ops: self.total.ops,
            highest: self.total.highest,
        };
        // a value of more bytes than a change may differ in few: a copy costs little beside it
        let in_place = size <= limits.most as u64;
        self.is_broken = true;
        let made = guarded(|| self.attempt(actor, work, (message, in_place), limits))?;
        self.is_broken = matches!(made, Err(EditError::Broken(_) | EditError::Panicked(_)));
        made
    }

    /// Writes in place if all fits into one change, and into a copy otherwise: changes that were ended cannot be taken back. To
    /// take back many operations costs more than a copy.
    fn attempt(
        &mut self,
        actor: &[u8],
        work: &mut Work<'_>,
        (message, in_place): (&str, bool),
        limits: Limits,
    ) -> Result<Vec<Made>, EditError> {
        let before = libraries(&self.heads());
        let is_near_full = self.total.bytes + limits.most as u64 > DOCUMENT_BYTES_MAX;
        if in_place && !is_near_full && self.doc.stats().num_actors < OTHERS_MAX as u64 {
            let mut doc = std::mem::replace(&mut self.doc, empty());
            doc.set_actor(ActorId::from(actor));
            let mut writer = Writer::begin(doc, limits, message)?;
            match work(&mut writer, &self.known) {
                Ok(()) => {
                    let (doc, hashes) = writer.end()?;
                    self.doc = doc;
                    let refused = |error| match error {
                        EditError::Broken(broken) => EditError::Broken(broken),
                        // it is in the document already
                        other => EditError::Broken(Broken::Library(other.to_string())),
                    };
                    let made = made(&self.doc, &before, &hashes, limits.most).map_err(refused)?;
                    self.take_in(&made)?;
                    return Ok(made);
                }
                // the library may have been in the middle of something
                Err(Stop::Error(error @ EditError::Panicked(_))) => return Err(error),
                Err(stop) => {
                    self.doc = writer.undone()?;
                    if let Stop::Error(error) = stop {
                        return Err(error);
                    }
                }
            }
        }
        let mut doc = self.doc.clone();
        doc.set_actor(ActorId::from(actor));
        let mut writer = Writer::begin(doc, Limits { splits: true, ..limits }, message)?;
        match work(&mut writer, &self.known) {
            Ok(()) => {}
            Err(Stop::Error(EditError::Broken(broken))) => return Err(EditError::Library(broken.to_string())),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Full) => {
                return Err(EditError::TooLarge { path: writer.path.clone(), most: limits.most });
            }
        }
        let (doc, hashes) = writer.end()?;
        let made = made(&doc, &before, &hashes, limits.most)?;
        let bytes: u64 = made.iter().map(|made| made.bytes.len() as u64).sum();
        if self.total.bytes + bytes > DOCUMENT_BYTES_MAX {
            return Err(EditError::DocumentFull { most: DOCUMENT_BYTES_MAX, of: "bytes" });
        }
        self.doc = doc;
        self.take_in(&made)?;
        Ok(made)
    }

    fn take_in(&mut self, made: &[Made]) -> Result<(), Broken> {
        for made in made {
            let change = Change::parse(&made.bytes).map_err(Broken::NotJudged)?;
            let ops = ops_of(&change).map_err(Broken::NotJudged)?;
            self.add(&change, ops)?;
        }
        Ok(())
    }
}

/// Checks what can be checked of an edit before anything is written, and adds the bytes of its value.
pub(super) fn check(edit: &Edit, known: &Known, size: &mut u64) -> Result<(), EditError> {
    let path = edit.path();
    if let Edit::Splice { at_heads: Some(heads), .. } | Edit::Mark { at_heads: Some(heads), .. } = edit {
        let unknown: Vec<ChangeHash> = heads.iter().filter(|head| !known.contains_key(head)).copied().collect();
        if !unknown.is_empty() {
            return Err(EditError::UnknownHeads(unknown));
        }
    }
    let bytes = match edit {
        Edit::Set { value, .. } | Edit::Merge { patch: value, .. } | Edit::Insert { value, .. } => {
            size_of(value, DEPTH_MAX + 1).ok_or_else(|| EditError::TooDeep(path.clone()))?
        }
        Edit::Splice { insert, .. } => insert.len() as u64,
        Edit::Mark { name, value, .. } => {
            (name.len() as u64).saturating_add(size_of(value, 1).ok_or_else(|| EditError::MarkValue(path.clone()))?)
        }
        Edit::Delete { .. } | Edit::Increment { .. } | Edit::Counter { .. } => 0,
    };
    *size = size.saturating_add(bytes);
    if *size > DOCUMENT_BYTES_MAX {
        return Err(EditError::DocumentFull { most: DOCUMENT_BYTES_MAX, of: "bytes" });
    }
    Ok(())
}

/// An error that broke a copy has changed nothing.
fn of_copy(error: EditError) -> EditError {
    match error {
        EditError::Broken(Broken::Library(why)) => EditError::Library(why),
        EditError::Broken(broken) => EditError::Library(broken.to_string()),
        other => other,
    }
}

fn ops_of(change: &Change<'_>) -> Result<u64, crate::Fault> {
    let (mut ops, mut number) = (change.ops(), 0);
    while ops.next()?.is_some() {
        number += 1;
    }
    Ok(number)
}

/// The changes of some hashes, once they are read as others read them.
fn made(
    doc: &Automerge,
    before: &[automerge::ChangeHash],
    hashes: &[automerge::ChangeHash],
    most: usize,
) -> Result<Vec<Made>, EditError> {
    // the library looks at the whole document for each question
    let all: BTreeMap<_, _> = match hashes {
        [only] => doc.get_change_by_hash(only).into_iter().map(|change| (*only, change)).collect(),
        [] => BTreeMap::new(),
        _ => doc.get_changes(before).into_iter().map(|change| (change.hash(), change)).collect(),
    };
    let made = |hash: &automerge::ChangeHash| {
        let change = all.get(hash).ok_or_else(|| Broken::Library("a change is not there".to_owned()))?;
        let bytes = change.raw_bytes().to_vec();
        let parsed = Change::parse(&bytes).map_err(EditError::Refused)?;
        ops_of(&parsed).map_err(EditError::Refused)?;
        if bytes.len() > most {
            return Err(EditError::TooLarge { path: DocPath::root(), most });
        }
        Ok(Made { hash: parsed.hash(), bytes })
    };
    hashes.iter().map(made).collect()
}
