use std::collections::BTreeSet;

use nexus_crdt::{EntryId, Erased, Hlc};
use nexus_identity::{Did, Timestamp};

use super::{Brain, refused};
use crate::engine::{Command, EraseFate, EraseTarget, Outcome};
use crate::error::{InputError, NodeError};
use crate::memory::read::erased::Erasable;
use crate::memory::{MemoryId, MemoryRef};

/// The most memories that one call erases.
pub const ERASED_AT_ONCE_MAX: usize = 1_024;

/// The fate of something that was to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedThing {
    /// Its id: of a task as of a memory.
    pub id: MemoryId,
    /// Whether it is a task.
    pub is_task: bool,
    /// Its fate.
    pub fate: EraseFate,
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

impl Brain {
    /// Erases memories with all their versions, and the texts of tasks that have ended. They leave this node's tables at once, and
    /// those of every other node when it hears of it. They leave the disks when these are compacted. A forgotten memory is named
    /// by its id. A memory that somebody else wrote is only forgotten, unless this node's member is an admin.
    ///
    /// # Errors
    /// [`NodeError::NoErasures`] in a mesh whose coordinators have an earlier version, [`NodeError::Input`] unless there are 1 to
    /// [`ERASED_AT_ONCE_MAX`]; else as [`Brain::forget`]. Nothing is erased then.
    pub async fn erase(&self, ids: Vec<MemoryRef>) -> Result<Vec<ErasedThing>, NodeError> {
        if !(1..=ERASED_AT_ONCE_MAX).contains(&ids.len()) {
            return Err(InputError::Erased { count: ids.len(), max: ERASED_AT_ONCE_MAX }.into());
        }
        let things = self.reading(move |brain| {
            let snapshot = brain.snapshot()?;
            let reader = brain.reader(&snapshot)?;
            ids.iter().map(|id| reader.erasable(id.as_str())).collect::<Result<Vec<Erasable>, NodeError>>()
        });
        let things = things.await?;
        let target = |thing: &Erasable| match *thing {
            Erasable::Memory(record) => EraseTarget::Record(record),
            Erasable::Task(task) => EraseTarget::Task(task),
        };
        match self.here().engine.run(Command::Erase(things.iter().map(target).collect())).await? {
            Outcome::Erased { fates, .. } => {
                let erased = |(thing, fate): (Erasable, EraseFate)| ErasedThing {
                    id: thing.dot().into(),
                    is_task: matches!(thing, Erasable::Task(_)),
                    fate,
                };
                Ok(things.into_iter().zip(fates).map(erased).collect())
            }
            Outcome::TooEarly => Err(NodeError::NoErasures),
            other => Err(refused(&other, "")),
        }
    }

    /// The name of a member, or its DID.
    #[cfg(feature = "http")]
    pub(crate) fn name_of(&self, member: &Did) -> String {
        self.here().identity.shown_name_of(member).unwrap_or_else(|| member.to_string())
    }

    /// How far the members are with the erasure of a memory, by its id.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if there is no such memory here, erased or not.
    pub async fn erasure(&self, id: impl Into<MemoryRef>) -> Result<(MemoryId, ErasureStatus), NodeError> {
        let id = id.into();
        self.reading(move |brain| {
            let snapshot = brain.snapshot()?;
            let (record, words) = brain.reader(&snapshot)?.erasures(id.as_str())?;
            let members = brain.here().identity.members();
            let mut status = ErasureStatus::default();
            let confirmed = |words: &[EntryId], state: Erased| {
                let all = words.iter().map(|word| crate::ledger::confirmed_by(&snapshot, *word, state));
                all.collect::<Result<Vec<BTreeSet<Did>>, _>>()
            };
            let ids: Vec<EntryId> = words.iter().map(|word| word.erasure).collect();
            let (hidden, gone) = (confirmed(&ids, Erased::Hidden)?, confirmed(&ids, Erased::Gone)?);
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
            Ok((record.into(), status))
        })
        .await
    }
}
