use nexus_crdt::{Origin, Was};
use nexus_identity::Timestamp;

use super::Brain;
use crate::error::{ConflictError, NodeError, Resource};
use crate::memory::Secrets;
use crate::memory::read::Gone;
use crate::memory::{Memory, MemoryRef, NewMemory, time_to};

/// A memory to bring back.
enum Forgotten {
    /// It is there again, as this copy.
    Back(Box<Memory>),
    /// It is to be written again.
    Gone(Box<Gone>),
}

impl Brain {
    /// Brings a forgotten memory back: writes it again under a new id, with its text, kind, tags, metadata, key and end,
    /// and the former id in `was`. Asked again, it answers with the memory that it wrote.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nothing of it is left, [`NodeError::Conflict`] if it is not forgotten or another memory
    /// has its key; else as [`Brain::remember`].
    pub async fn unforget(
        &self,
        id: impl Into<MemoryRef>,
        origin: Origin,
        secrets: Secrets,
    ) -> Result<Memory, NodeError> {
        let id = id.into();
        let (asked, now) = (id.clone(), self.here().world.wall());
        let found = self.reading(move |brain| brain.forgotten(asked.as_str(), now)).await?;
        let Gone { memory, key, proof } = match found {
            Forgotten::Back(memory) => return Ok(*memory),
            Forgotten::Gone(gone) => *gone,
        };
        // others may have written a later date than there is
        let last = |at: Timestamp| at.min(Timestamp::LAST);
        let was = Was::new(memory.id.to_string(), memory.author.to_string(), memory.created_at.as_ms());
        let written = self
            .write(NewMemory {
                text: memory.text,
                attachment: memory.attachment,
                space: Some(memory.space),
                kind: Some(memory.kind),
                tags: memory.tags,
                aliases: memory.aliases,
                meta: memory.meta,
                key,
                valid_from: memory.valid_from.map(last),
                valid_to: memory.valid_to.map(last),
                supersedes: memory.supersedes.map(|id| id.to_string()),
                ttl: memory.expires_at.map(|end| time_to(end, now)),
                was: Some(was),
                proof,
                origin,
                secrets,
                ..NewMemory::default()
            })
            .await?;
        self.get(written.id).await
    }

    fn forgotten(&self, id: &str, now: Timestamp) -> Result<Forgotten, NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        let gone = match reader.forgotten(id) {
            Err(missing @ NodeError::NotFound { .. }) => {
                // it may be there, as it was or under another id
                let there = reader.get_by_id(id).map_err(|_| missing)?;
                return Err(ConflictError::NotForgotten { id: there.id.to_string() }.into());
            }
            found => found?,
        };
        let Gone { memory, key, .. } = &gone;
        if let Some(copy) = reader.copy_of(&memory.id.to_string())? {
            return Ok(Forgotten::Back(Box::new(copy)));
        }
        if memory.expires_at.is_some_and(|end| end <= now) {
            return Err(NodeError::NotFound { what: Resource::Forgotten, name: id.to_owned() });
        }
        if let Some(key) = key
            && let Some(other) = reader.keyed(&memory.space, key)?
        {
            return Err(ConflictError::KeyTaken { id: other.to_string(), key: key.clone() }.into());
        }
        Ok(Forgotten::Gone(Box::new(gone)))
    }
}
