use std::collections::BTreeSet;
use std::fmt;

use nexus_crdt::{EntryId, Erased, Hlc};
#[cfg(feature = "documents")]
use nexus_documents::DocumentId;
use nexus_identity::{Did, Timestamp};

use crate::brain::Brain;
use crate::engine::EraseTarget;
use crate::error::NodeError;
use crate::memory::MemoryId;
use crate::memory::read::erased::{Erasable, ErasingWord};
use crate::store::View;

/// The name of something that can be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErasableId {
    /// A memory.
    Memory(MemoryId),
    /// A task.
    Task(MemoryId),
    /// A document.
    #[cfg(feature = "documents")]
    Document(DocumentId),
}

impl ErasableId {
    /// `memory`, `task` or `document`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Task(_) => "task",
            #[cfg(feature = "documents")]
            Self::Document(_) => "document",
        }
    }
}

impl fmt::Display for ErasableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(id) | Self::Task(id) => id.fmt(f),
            #[cfg(feature = "documents")]
            Self::Document(id) => id.fmt(f),
        }
    }
}

impl From<Erasable> for ErasableId {
    fn from(thing: Erasable) -> Self {
        match thing {
            Erasable::Memory(record) => Self::Memory(record.into()),
            Erasable::Task(task) => Self::Task(task.into()),
        }
    }
}

/// How far the members are with the erasure of a memory, by their signed words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasureStatus {
    /// The members whose words erased it; nobody if it is not erased.
    pub by: BTreeSet<Did>,
    /// The time of the first word, by its author's clock.
    pub at: Option<Timestamp>,
    /// The members on whose nodes no reader finds it.
    pub hidden: BTreeSet<Did>,
    /// The members from whose disks its bytes are gone.
    pub gone: BTreeSet<Did>,
    /// The present members of whom no word has come here.
    pub missing: BTreeSet<Did>,
}

impl ErasureStatus {
    /// Reads the words of the members about erasures. A member has done its part once it has carried out all of them.
    pub(super) fn of(brain: &Brain, view: &dyn View, words: &[ErasingWord]) -> Result<Self, NodeError> {
        let members = brain.here().identity.members();
        let mut status = Self::default();
        let ids: BTreeSet<EntryId> = words.iter().map(|word| word.erasure).collect();
        let confirmed = |state: Erased| {
            let all = ids.iter().map(|word| crate::ledger::confirmed_by(view, *word, state));
            all.collect::<Result<Vec<BTreeSet<Did>>, _>>()
        };
        let (hidden, gone) = (confirmed(Erased::Hidden)?, confirmed(Erased::Gone)?);
        status.by = words.iter().map(|word| members.last_key(&word.author)).collect();
        status.at = words.iter().map(|word| word.hlc).min().map(Hlc::time);
        for (member, _) in members.iter().filter(|_| !ids.is_empty()) {
            let keys = members.keys_of(member);
            let by_all = |words: &[BTreeSet<Did>]| words.iter().all(|by| !by.is_disjoint(&keys));
            if by_all(&gone) {
                status.gone.insert(*member);
            }
            if by_all(&hidden) {
                status.hidden.insert(*member)
            } else {
                status.missing.insert(*member)
            };
        }
        Ok(status)
    }
}

/// Something to erase, as it was found: all that goes with it.
pub(super) struct Wanted {
    pub(super) id: ErasableId,
    pub(super) targets: Vec<EraseTarget>,
}
