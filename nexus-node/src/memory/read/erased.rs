//! Memories that are to be erased, or were.

use std::collections::BTreeMap;

use nexus_crdt::{ALL_LEAVES, Dot, DotPrefix, EntryId, Hlc, Kind, TaskId, Verified};
use nexus_identity::Did;

use super::Reader;
use crate::error::{NodeError, Resource};
use crate::ledger;
use crate::ledger::rows::Eno;
use crate::store::{StoreError, View};

/// A word that counts and erased a memory.
pub(crate) struct ErasingWord {
    /// The entry with it.
    pub(crate) erasure: EntryId,
    /// Its author.
    pub(crate) author: Did,
    /// Its stamp.
    pub(crate) hlc: Hlc,
}

/// Something that can be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erasable {
    /// A memory.
    Memory(Dot),
    /// A task.
    Task(TaskId),
}

impl Erasable {
    const fn dot(self) -> Dot {
        match self {
            Self::Memory(dot) | Self::Task(dot) => dot,
        }
    }
}

impl Reader<'_> {
    /// The memory that an id or a key names; by its id also one that nobody sees any more, as it was forgotten, has expired or
    /// counts no more. Else the task that an id names.
    pub(crate) fn erasable(&self, id: &str) -> Result<Erasable, NodeError> {
        let missing = match self.resolve(id) {
            Err(missing @ NodeError::NotFound { .. }) => missing,
            found => return found.map(Erasable::Memory),
        };
        match self.forgotten_record(id) {
            Err(NodeError::NotFound { .. }) => {}
            found => return found.map(Erasable::Memory),
        }
        let Ok(prefix) = id.parse::<DotPrefix>() else { return Err(missing) };
        let (mut unseen, mut tasks) = (Vec::new(), Vec::new());
        for (dot, _) in self.entries_beginning_with(&prefix)? {
            if self.is_on_disk(dot)? {
                unseen.push((dot, dot.to_string()));
            }
            let task = ledger::find_task(self.view, dot)?;
            if task.is_some_and(|(_, row)| self.known.numbered(row.space).is_some()) {
                tasks.push((dot, dot.to_string()));
            }
        }
        match Resource::Memory.the_one(id, unseen) {
            Err(NodeError::NotFound { .. }) => {}
            found => return found.map(Erasable::Memory),
        }
        match Resource::Task.the_one(id, tasks) {
            Err(NodeError::NotFound { .. }) => Err(missing),
            found => found.map(Erasable::Task),
        }
    }

    /// Whether a memory begins at a place of a space in sight, and its beginning is on this disk.
    fn is_on_disk(&self, dot: Dot) -> Result<bool, NodeError> {
        let Some(entry) = ledger::entry_of(self.view, dot.entry)? else { return Ok(false) };
        let is_in_sight = self.known.readable(entry.header().space).is_some();
        Ok(is_in_sight && ledger::begins(&entry, dot.index))
    }

    /// The memory or task with an id, and the words that count and erased its beginning.
    pub(crate) fn erasures(&self, id: &str) -> Result<(Erasable, Vec<ErasingWord>), NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.chars().take(64).collect() };
        let dot = match id.parse::<DotPrefix>() {
            Ok(prefix) => {
                let found = self.entries_beginning_with(&prefix)?;
                let erased = found.iter().filter(|(dot, _)| self.is_erased(*dot).unwrap_or_default());
                let candidates = erased.map(|(dot, _)| (*dot, dot.to_string())).collect();
                match Resource::Memory.the_one(id, candidates) {
                    Err(NodeError::NotFound { .. }) => self.erasable(id)?.dot(),
                    found => found?,
                }
            }
            Err(()) => self.erasable(id)?.dot(),
        };
        let Some(entry) = ledger::entry_of(self.view, dot.entry)? else { return Err(missing()) };
        // the facts of a task stay, and its texts are behind them
        let (thing, leaf) = match entry.header().kind {
            Kind::TASKS_APART => (Erasable::Task(dot), dot.index.saturating_add(1)),
            kind if kind.is_tasks() => (Erasable::Task(dot), dot.index),
            _ => (Erasable::Memory(dot), dot.index),
        };
        let mut words = BTreeMap::new();
        add_words_about(self.view, &entry, [leaf, ALL_LEAVES], &mut words)?;
        Ok((thing, words.into_values().collect()))
    }
}

/// Adds the words that count and erased leaves of an entry, by the numbers of their entries. Each of these is read once.
pub(crate) fn add_words_about(
    view: &dyn View,
    entry: &Verified,
    leaves: impl IntoIterator<Item = u16>,
    words: &mut BTreeMap<Eno, ErasingWord>,
) -> Result<(), StoreError> {
    for index in leaves {
        for word in ledger::words_about(view, Dot { entry: entry.id(), index })? {
            let is_known = words.contains_key(&word.erasure);
            if is_known || !ledger::may_erase(view, &word.author, &entry.header().author)? {
                continue;
            }
            let Some(erasing) = ledger::read_entry(view, word.erasure)? else { continue };
            let (erasure, hlc) = (erasing.id(), erasing.header().hlc);
            words.insert(word.erasure, ErasingWord { erasure, author: word.author, hlc });
        }
    }
    Ok(())
}
