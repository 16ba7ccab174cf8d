#[cfg(feature = "documents")]
mod documents;

use std::collections::BTreeSet;
use std::fmt;

use nexus_crdt::{EntryId, Erased, Hlc};
#[cfg(feature = "documents")]
use nexus_documents::DocumentId;
use nexus_identity::{Did, Timestamp};

use super::{Brain, refused};
use crate::engine::{Command, EraseFate, EraseTarget, Outcome};
use crate::error::{InputError, NodeError};
use crate::memory::read::erased::{Erasable, ErasingWord};
use crate::memory::{MemoryId, MemoryRef};

/// The most memories, tasks and documents that one call erases.
pub const ERASED_AT_ONCE_MAX: usize = 1_024;

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

/// The fate of something that was to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedThing {
    /// Its name.
    pub id: ErasableId,
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

impl ErasureStatus {
    /// Reads the words of the members about erasures. A member has done its part once it has carried out all of them.
    fn of(brain: &Brain, view: &dyn crate::store::View, words: &[ErasingWord]) -> Result<Self, NodeError> {
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
struct Wanted {
    id: ErasableId,
    targets: Vec<EraseTarget>,
}

impl Brain {
    /// Erases memories with all their versions, documents with all their changes, and the texts of tasks that have ended. They
    /// leave this node's tables at once, and those of every other node when it hears of it. They leave the disks when these are
    /// compacted. A forgotten memory is named by its id, and a document by its address; the documents from which it began anew
    /// go with it. A memory that somebody else wrote is only forgotten, unless this node's member is an admin.
    ///
    /// # Errors
    /// [`NodeError::NoErasures`] in a mesh whose coordinators have an earlier version, [`NodeError::Input`] unless there are 1 to
    /// [`ERASED_AT_ONCE_MAX`]; else as [`Brain::forget`]. Nothing is erased then.
    pub async fn erase(&self, ids: Vec<MemoryRef>) -> Result<Vec<ErasedThing>, NodeError> {
        if !(1..=ERASED_AT_ONCE_MAX).contains(&ids.len()) {
            return Err(InputError::Erased { count: ids.len(), max: ERASED_AT_ONCE_MAX }.into());
        }
        let wanted = self.reading(move |brain| ids.iter().map(|id| wanted(brain, id.as_str())).collect());
        let wanted: Vec<Wanted> = wanted.await?;
        let targets: Vec<EraseTarget> = wanted.iter().flat_map(|wanted| wanted.targets.iter().copied()).collect();
        let mut fates = self.erase_targets(targets.clone()).await?;
        // a large document takes several turns of the engine, so that others' writes go on
        let is_part = |fate: &EraseFate| matches!(fate, EraseFate::Erased { leaves, .. } if *leaves > 0);
        for (target, fate) in targets.iter().zip(&mut fates) {
            while matches!(target, EraseTarget::Document { .. }) && is_part(fate) {
                match self.erase_targets(vec![*target]).await?.pop() {
                    Some(next) if is_part(&next) => {}
                    _ => break,
                }
            }
        }
        let mut fates = fates.into_iter();
        let things = wanted.into_iter().filter_map(|Wanted { id, targets }| {
            let of_this: Vec<EraseFate> = fates.by_ref().take(targets.len()).collect();
            // a document that is gone already is one thing, and a former one of it that is not is another
            let fate = of_this.iter().find(|fate| !matches!(fate, EraseFate::Missing)).or(of_this.first())?;
            Some(ErasedThing { id, fate: fate.clone() })
        });
        Ok(things.collect())
    }

    async fn erase_targets(&self, targets: Vec<EraseTarget>) -> Result<Vec<EraseFate>, NodeError> {
        match self.here().engine.run(Command::Erase(targets)).await? {
            Outcome::Erased { fates, .. } => Ok(fates),
            Outcome::TooEarly => Err(NodeError::NoErasures),
            other => Err(refused(&other, "")),
        }
    }

    /// The name of a member, or its DID.
    #[cfg(feature = "http")]
    pub(crate) fn name_of(&self, member: &Did) -> String {
        self.here().identity.shown_name_of(member).unwrap_or_else(|| member.to_string())
    }

    /// How far the members are with the erasure of a memory, a task or a document, by its id.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if there is no such thing here, erased or not.
    pub async fn erasure(&self, id: impl Into<MemoryRef>) -> Result<(ErasableId, ErasureStatus), NodeError> {
        let id = id.into();
        self.reading(move |brain| {
            #[cfg(feature = "documents")]
            if let Ok(document) = id.as_str().parse::<DocumentId>() {
                return documents::erasure(brain, document);
            }
            let snapshot = brain.snapshot()?;
            let (thing, words) = brain.reader(&snapshot)?.erasures(id.as_str())?;
            Ok((thing.into(), ErasureStatus::of(brain, &snapshot, &words)?))
        })
        .await
    }
}

fn wanted(brain: &Brain, id: &str) -> Result<Wanted, NodeError> {
    #[cfg(feature = "documents")]
    if let Ok(document) = id.parse::<DocumentId>() {
        return documents::wanted(brain, document);
    }
    let snapshot = brain.snapshot()?;
    let thing = brain.reader(&snapshot)?.erasable(id)?;
    let target = match thing {
        Erasable::Memory(record) => EraseTarget::Record(record),
        Erasable::Task(task) => EraseTarget::Task(task),
    };
    Ok(Wanted { id: thing.into(), targets: vec![target] })
}
