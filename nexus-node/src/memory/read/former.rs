//! Memories by ids that they had before they were copied: those that live, and those that were forgotten.

use nexus_crdt::Dot;

use super::Reader;
use crate::error::NodeError;
use crate::ledger;
use crate::ledger::rows;
use crate::memory::Memory;
use crate::store::Table;

/// The most copies of copies that are followed.
const COPIES_MAX: usize = 64;
/// The longest id that is looked for, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The fate of a memory of which this node may have a copy.
pub(crate) enum Fate {
    /// It, or a copy of it, is here.
    Here(Box<Memory>),
    /// It, or the last copy of it, was forgotten here.
    Forgotten,
    /// Nothing is known of it.
    Unknown,
}

impl Reader<'_> {
    /// The fate of the memory with this whole id, here or in the mesh that it came from. Anybody can claim to have copied
    /// anything, so only copies that this node wrote count.
    pub(crate) fn fate(&self, id: &str) -> Result<Fate, NodeError> {
        let mut fate = Fate::Unknown;
        let mut ids = vec![id.to_owned()];
        let mut followed = 0;
        while let Some(id) = ids.pop().filter(|id| followed < COPIES_MAX && id.len() <= ID_BYTES_MAX) {
            followed += 1;
            for dot in self.with_id(&id)? {
                let live = self.memory(dot)?.filter(|memory| memory.expires_at.is_none_or(|end| end > self.now));
                if let Some(memory) = live {
                    return Ok(Fate::Here(Box::new(memory)));
                }
                if self.is_gone(dot)? {
                    fate = Fate::Forgotten;
                    // a person may have brought it back, as a copy
                    ids.extend(Some(dot.to_string()).filter(|other| *other != id));
                }
            }
        }
        let is_erased = |fate: &Fate| {
            let copy = rows::was_prefix(id, &self.known.me);
            Ok::<_, NodeError>(matches!(fate, Fate::Unknown) && self.view.contains(Table::ErasedWas, &copy)?)
        };
        Ok(if is_erased(&fate)? { Fate::Forgotten } else { fate })
    }

    /// The records with this whole id, or with this former id by this node's own word.
    fn with_id(&self, id: &str) -> Result<Vec<Dot>, NodeError> {
        let mut dots = Vec::new();
        if let Ok(prefix) = id.parse() {
            let found = self.entries_beginning_with(&prefix)?.into_iter().map(|(dot, _)| dot);
            dots.extend(found.filter(|dot| dot.to_string() == id));
        }
        dots.extend(ledger::records_that_were(self.view, id, &self.known.me)?);
        Ok(dots)
    }

    /// Whether a record that this node may see was forgotten.
    fn is_gone(&self, dot: Dot) -> Result<bool, NodeError> {
        match ledger::find_record(self.view, dot)? {
            Some((_, row)) => Ok(row.gone && self.known.numbered(row.space).is_some()),
            None => self.is_erased(dot),
        }
    }
}
