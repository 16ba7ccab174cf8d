//! A memory that takes the place of another, and the time for which each holds.

use nexus_crdt::{Core, Dot, SpaceId};
use nexus_identity::Timestamp;

use super::Brain;
use crate::engine::Closes;
use crate::error::{InputError, NodeError};
use crate::memory::{Memory, NewMemory};

/// A memory that a new one is to replace.
pub(super) struct Superseded {
    memory: Memory,
    record: Dot,
    pub(super) space: SpaceId,
}

impl Superseded {
    /// Gives a new memory the kind and the tags that it does not say itself.
    pub(super) fn pass_on(&self, memory: &mut NewMemory, not_given: &[&str]) {
        if memory.kind.is_none() {
            memory.kind = Some(self.memory.kind.clone());
        }
        if not_given.contains(&"tags") {
            memory.tags.clone_from(&self.memory.tags);
        }
    }
}

impl Brain {
    /// The memory of an id or a key, as one to replace: the one that took its place, if it was replaced before.
    pub(super) fn superseded(&self, id: &str) -> Result<Superseded, NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        let memory = reader.latest_of(reader.get(id)?)?;
        let (space, _) = reader.space(Some(&memory.space))?;
        let record = reader.resolve(&memory.id.to_string())?;
        Ok(Superseded { memory, record, space })
    }

    /// Makes a core replace a memory: from the time on from which it holds itself. Returns the record that no longer holds
    /// then.
    pub(super) fn supersede(&self, core: &mut Core, space: SpaceId, former: Superseded) -> Result<Closes, NodeError> {
        let Superseded { memory, record, space: of } = former;
        if of != space {
            return Err(InputError::SupersedesElsewhere { id: memory.id.to_string(), space: memory.space }.into());
        }
        let at = *core.valid_from.get_or_insert(self.here().world.wall().as_ms());
        core.supersedes = Some(memory.id.to_string());
        if memory.valid_from.is_some_and(|from| from.as_ms() > at) {
            return Err(InputError::Validity.into());
        }
        let holds = memory.valid_to.is_none_or(|to| to.as_ms() > at);
        Ok(Closes { record, at: holds.then_some(at) })
    }
}

/// Whether a time ends after it begins.
pub(super) fn in_order(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(), NodeError> {
    for (what, at) in [("valid_from", from), ("valid_to", to)] {
        if at.is_some_and(|at| at.dated().is_none()) {
            return Err(InputError::Date { what }.into());
        }
    }
    match (from, to) {
        (Some(from), Some(to)) if to <= from => Err(InputError::Validity.into()),
        _ => Ok(()),
    }
}
