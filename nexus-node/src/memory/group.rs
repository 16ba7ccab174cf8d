use nexus_crdt::Origin;
use nexus_identity::{Did, Timestamp};

use super::{Memory, MemoryId};
use crate::memory::Secrets;

/// A group of words to write, which mean the same in this mesh.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewWords {
    /// The words: 2 to 8, each of at most four words and 64 characters.
    pub words: Vec<String>,
    /// The space's name or id; default `default`.
    pub space: Option<String>,
    /// Which program writes it, and on whose word; a program's own (`tool`) unless said otherwise.
    pub origin: Origin,
    /// The way with credentials in it.
    pub secrets: Secrets,
}

impl NewWords {
    /// These words.
    pub fn of(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// In this space, by name or id.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }
}

/// A group of words that mean the same in this mesh. It is a memory of kind `vocabulary`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Words {
    /// The memory's id.
    pub id: MemoryId,
    /// The words, as the author spells them.
    pub words: Vec<String>,
    /// Its space's name.
    pub space: String,
    /// The author.
    pub author: Did,
    /// That member's name.
    pub author_name: Option<String>,
    /// The time of the last edit, by the author's clock.
    pub at: Timestamp,
}

impl Words {
    pub(crate) fn of(memory: Memory, words: Vec<String>) -> Self {
        let Memory { id, space, author, author_name, updated_at: at, .. } = memory;
        Self { id, words, space, author, author_name, at }
    }
}

/// The groups of words of a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vocabulary {
    /// The groups, by their first words: of each author the 500 with the lowest ids, and at most 10,000.
    pub groups: Vec<Words>,
    /// Whether there are more, whose words do not count.
    pub more: bool,
}
