//! Words that mean the same in a mesh: writing them, listing them, and asking with them.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::Did;

use super::Brain;
use crate::error::{InputError, NodeError, Resource};
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Reader;
use crate::memory::{Memory, NewMemory, NewWords, Vocabulary, Words};
use crate::search::{GROUPS_MAX, Group, GroupFilter, GroupWord, Phrase, Question, Search, VOCABULARY};
use crate::store::View;

/// The most groups of a listing.
const LISTED_MAX: usize = 10_000;
/// The groups with one word that count in a question: of each author, and in all.
const COUNTED_OF_EACH: usize = 4;
const COUNTED_MAX: usize = 8;
/// The most groups that are read for a question.
const READ_MAX: usize = 256;

impl Brain {
    /// Writes a group of words that mean the same: `deploy`, `ship it`. Where the words of a question find little, the
    /// others of their groups are looked for, too. A group whose first word one of this node's has replaces that one.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for words that make no group, or if this node has 500 groups; as
    /// [`remember`](Self::remember).
    pub async fn add_words(&self, new: NewWords) -> Result<Words, NodeError> {
        let NewWords { words, space, origin, secrets } = new;
        let group = Group::of(words.iter().map(String::as_str))?;
        let key = group.key(&self.here().identity.me());
        let own = self.whole().reading(Self::own_groups).await?;
        let count = own.iter().filter(|(_, other)| other.key(&self.here().identity.me()) != key).count();
        if count >= GROUPS_MAX {
            return Err(InputError::Groups { count, max: GROUPS_MAX }.into());
        }
        let memory = NewMemory { text: group.text(), space, origin, secrets, ..NewMemory::default() };
        let written = self.write(memory.kind(VOCABULARY).key(key)).await?;
        let memory = self.get(written.id).await?;
        Ok(shown((memory, group)))
    }

    /// The groups of words of a space, or of all readable ones.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for the space.
    pub async fn vocabulary(&self, space: Option<String>) -> Result<Vocabulary, NodeError> {
        self.reading(move |brain| brain.vocabulary_blocking(space.as_deref())).await
    }

    /// [`Brain::vocabulary`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::vocabulary`].
    pub fn vocabulary_blocking(&self, space: Option<&str>) -> Result<Vocabulary, NodeError> {
        let mut read = self.groups(space, None, LISTED_MAX + 1)?;
        let more = read.len() > LISTED_MAX;
        read.truncate(LISTED_MAX);
        let mut groups: Vec<Words> = read.into_iter().map(shown).collect();
        groups.sort_by_cached_key(|group| (group.words.first().map(|word| word.to_lowercase()), group.id));
        Ok(Vocabulary { groups, more })
    }

    /// Forgets this node's groups with a word, in a space or in all readable ones.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if it has none; as [`forget`](Self::forget).
    pub async fn remove_words(&self, word: &str, space: Option<String>) -> Result<Vec<Words>, NodeError> {
        let wanted = GroupWord::of(word)?;
        let me = self.here().identity.me();
        let own = self.reading(move |brain| brain.groups(space.as_deref(), Some(me), GROUPS_MAX)).await?;
        let mut gone = Vec::new();
        for (memory, group) in own.into_iter().filter(|(_, group)| group.has(&wanted)) {
            self.forget(memory.id).await?;
            gone.push(shown((memory, group)));
        }
        if gone.is_empty() {
            return Err(NodeError::NotFound { what: Resource::Words, name: wanted.spelled });
        }
        Ok(gone)
    }

    fn own_groups(&self) -> Result<Vec<(Memory, Group)>, NodeError> {
        self.groups(None, Some(self.here().identity.me()), GROUPS_MAX + 1)
    }

    /// The groups that count, of each author at most so many.
    fn groups(&self, space: Option<&str>, by: Option<Did>, most: usize) -> Result<Vec<(Memory, Group)>, NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        let spaces: BTreeSet<SpaceNo> = match space {
            Some(_) => BTreeSet::from([reader.space(space)?.1.no]),
            None => reader.space_numbers().collect(),
        };
        let filter = GroupFilter { spaces, by, without: BTreeSet::new(), of_each: GROUPS_MAX, most };
        let all = BTreeSet::from([String::new()]);
        let found = self.here().search.groups(&all, &filter, &reader, &snapshot)?;
        let read = found.into_values().flatten().map(|place| group_at(place, &reader));
        read.filter_map(Result::transpose).collect()
    }
}

/// Whether a memory is a group of words.
pub(crate) fn is_words(memory: &Memory) -> bool {
    Group::read(&memory.kind, &memory.text).is_some()
}

/// The group at a place, if there still is one.
fn group_at(place: Place, reader: &Reader<'_>) -> Result<Option<(Memory, Group)>, NodeError> {
    let memory = reader.memory_at(place)?;
    let memory = memory.filter(|memory| memory.expires_at.is_none_or(|end| end > reader.now()));
    Ok(memory.and_then(|memory| Group::read(&memory.kind, &memory.text).map(|group| (memory, group))))
}

/// Adds to the phrasings of a question the other words of the groups that have its words: one step, since a group of a
/// group's words may mean another thing. Whether there are any.
pub(super) fn add_groups(
    phrasings: &mut [Question],
    spaces: &BTreeSet<SpaceNo>,
    without: &BTreeSet<Did>,
    search: &Search,
    reader: &Reader<'_>,
    view: &dyn View,
) -> Result<bool, NodeError> {
    if !search.has_groups(reader, view)? {
        return Ok(false);
    }
    let phrases: Vec<Vec<Phrase>> = phrasings.iter().map(Question::phrases).collect();
    let keys: BTreeSet<String> = phrases.iter().flatten().flat_map(|phrase| phrase.keys.iter().cloned()).collect();
    let filter = GroupFilter {
        spaces: spaces.clone(),
        by: None,
        without: without.clone(),
        of_each: COUNTED_OF_EACH,
        most: COUNTED_MAX,
    };
    let found = search.groups(&keys, &filter, reader, view)?;
    let mut read: BTreeMap<Place, Option<(Group, String)>> = BTreeMap::new();
    let mut added = false;
    for (phrasing, phrases) in phrasings.iter_mut().zip(&phrases) {
        for phrase in phrases {
            for place in phrase.keys.iter().filter_map(|key| found.get(key)).flatten() {
                if read.len() >= READ_MAX && !read.contains_key(place) {
                    return Ok(added);
                }
                if !read.contains_key(place) {
                    let group = group_at(*place, reader)?.filter(|(memory, _)| !without.contains(&memory.author));
                    read.insert(*place, group.map(|(memory, group)| (group, called(&memory))));
                }
                if let Some(Some((group, author))) = read.get(place) {
                    added |= phrasing.add_group(phrase, group, author);
                }
            }
        }
    }
    Ok(added)
}

/// A group as it is shown.
fn shown((memory, group): (Memory, Group)) -> Words {
    Words::of(memory, group.words.into_iter().map(|word| word.spelled).collect())
}

fn called(memory: &Memory) -> String {
    memory.author_name.clone().unwrap_or_else(|| format!("…{}", memory.author.short()))
}
