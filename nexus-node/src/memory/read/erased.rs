//! Memories that are to be erased, or were.

use nexus_crdt::{ALL_LEAVES, Dot, DotPrefix, EntryId, Hlc};
use nexus_identity::Did;

use super::Reader;
use crate::error::{NodeError, Resource};
use crate::ledger;

/// A word that counts and erased a memory.
pub(crate) struct ErasingWord {
    /// The entry with it.
    pub(crate) erasure: EntryId,
    /// Its author.
    pub(crate) author: Did,
    /// Its stamp.
    pub(crate) hlc: Hlc,
}

impl Reader<'_> {
    /// The record that an id or a key names, a forgotten one by its id.
    pub(crate) fn erasable(&self, id: &str) -> Result<Dot, NodeError> {
        match self.resolve(id) {
            Err(missing @ NodeError::NotFound { .. }) => match self.forgotten_record(id) {
                Err(NodeError::NotFound { .. }) => Err(missing),
                found => found,
            },
            found => found,
        }
    }

    /// The record with an id, and the words that count and erased its beginning.
    pub(crate) fn erasures(&self, id: &str) -> Result<(Dot, Vec<ErasingWord>), NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Memory, name: id.chars().take(64).collect() };
        let record = match id.parse::<DotPrefix>() {
            Ok(prefix) => {
                let found = self.entries_beginning_with(&prefix)?;
                let erased = found.iter().filter(|(dot, _)| self.is_erased(*dot).unwrap_or_default());
                let candidates = erased.map(|(dot, _)| (*dot, dot.to_string())).collect();
                match Resource::Memory.the_one(id, candidates) {
                    Err(NodeError::NotFound { .. }) => self.erasable(id)?,
                    found => found?,
                }
            }
            Err(()) => self.erasable(id)?,
        };
        let Some(eno) = ledger::find_entry(self.view, record.entry)? else { return Err(missing()) };
        let Some(entry) = ledger::read_entry(self.view, eno)? else { return Err(missing()) };
        let mut words = Vec::new();
        for word in ledger::erasings_of(self.view, record.entry)? {
            let names = word.leaf.index == record.index || word.leaf.index == ALL_LEAVES;
            if !names || !word.row.counts || !ledger::may_erase(self.view, &word.row.author, &entry.header().author)? {
                continue;
            }
            let Some(erasing) = ledger::read_entry(self.view, word.erasure)? else { continue };
            words.push(ErasingWord { erasure: erasing.id(), author: word.row.author, hlc: erasing.header().hlc });
        }
        Ok((record, words))
    }
}
