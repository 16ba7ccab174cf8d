#[cfg(feature = "documents")]
mod documents;
mod status;

#[cfg(feature = "documents")]
use nexus_documents::DocumentId;
#[cfg(feature = "http")]
use nexus_identity::Did;

use self::status::Wanted;
pub use self::status::{ErasableId, ErasureStatus};
use super::{Brain, refused};
use crate::engine::{Command, EraseFate, EraseTarget, Outcome};
use crate::error::{InputError, NodeError};
use crate::memory::MemoryRef;
use crate::memory::read::erased::Erasable;

/// The most memories, tasks and documents that one call erases.
pub const ERASED_AT_ONCE_MAX: usize = 1_024;

/// The fate of something that was to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedThing {
    /// Its name.
    pub id: ErasableId,
    /// Its fate.
    pub fate: EraseFate,
}

impl Brain {
    /// Erases memories with all their versions, documents with all their changes, and the texts of tasks that have ended. They
    /// leave this node's tables at once, and those of every other node when it hears of it. They leave the disks when these are
    /// compacted. A forgotten memory is named by its id, and a document by its address; the documents from which it began anew
    /// go with it. A memory that somebody else wrote is only forgotten, unless this node's member is an admin.
    ///
    /// # Errors
    /// [`NodeError::NoErasures`] in a mesh whose coordinators have an earlier version, [`NodeError::Invalid`] unless there are 1 to
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
