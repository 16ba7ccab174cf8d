use std::collections::BTreeSet;

use nexus_crdt::Dot;
use nexus_identity::{Did, Timestamp};

use super::Span;
use super::group::{Group, as_memory};
use super::passage;
use super::project::ProjectRecord;
use crate::filter::{PROPOSAL, tags_of};
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Shown;
use crate::words::{each_word, language_of, matched_form};

/// A memory as it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) record: Dot,
    /// The place of the record.
    pub(crate) place: Place,
    pub(crate) space: SpaceNo,
    /// At least one.
    pub(crate) passages: Vec<Passage>,
    /// Tags and the kind in the form in which they are compared.
    pub(crate) tags: BTreeSet<String>,
    pub(crate) kind: String,
    pub(crate) author: Did,
    /// The time of the last edit.
    pub(crate) stamp: Timestamp,
    /// The time for which it holds.
    pub(crate) valid: Span,
}

/// A passage of a memory: of a short one all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Passage {
    /// The words of the passage and of the title, the tags, the key, the metadata's values and the aliases, separated by
    /// spaces; of a group of words its terms. One allocation, where a list would take dozens.
    pub(crate) words: String,
    /// The number of words.
    pub(crate) length: usize,
}

impl Document {
    /// The number of words in all passages.
    pub(crate) fn length(&self) -> usize {
        self.passages.iter().map(|passage| passage.length).sum()
    }

    /// Bytes of the words of all passages.
    pub(super) fn bytes(&self) -> usize {
        self.passages.iter().map(|passage| passage.words.len()).sum()
    }

    pub(crate) fn of(shown: &Shown) -> Self {
        let Shown { record, space, memory, key, .. } = shown;
        if let Some(group) = Group::read(&memory.kind, &memory.text) {
            let (words, length) = group.terms(*space, &memory.author, record);
            return Self::with(shown, vec![Passage { words, length }]);
        }
        if let Some(project) = ProjectRecord::read(&memory.kind, &memory.text) {
            let (words, length) = project.terms(*space, &memory.author, record);
            return Self::with(shown, vec![Passage { words, length }]);
        }
        let text = &memory.text;
        let language = language_of(text);
        let values = memory.meta.values().filter_map(serde_json::Value::as_str);
        let beside: Vec<&str> = memory.tags.iter().chain(key).map(String::as_str).chain(values).collect();
        let mut aliases = BTreeSet::new();
        for alias in &memory.aliases {
            each_word(alias, language, |word| {
                if !aliases.contains(word) {
                    aliases.insert(word.to_owned());
                }
            });
        }
        let passages = passage::passages(text).into_iter().map(|at| {
            let mut passage = Passage { words: String::with_capacity(at.len()), length: 0 };
            let is_first = at.start == 0;
            if !is_first {
                each_word(passage::title(text), language, |word| passage.add(word));
            }
            each_word(&text[at], language, |word| passage.add(word));
            // members choose how much there is beside a text
            let most = if is_first { usize::MAX } else { passage.words.len() + BESIDE_BYTES_MAX };
            if is_first {
                beside.iter().for_each(|text| each_word(text, language, |word| passage.add(word)));
            }
            if !aliases.is_empty() {
                // an alias counts as a word of the text does, however often it is said
                let own: BTreeSet<&str> = passage.words.split_ascii_whitespace().collect();
                let others: Vec<&String> = aliases.iter().filter(|word| !own.contains(word.as_str())).collect();
                others.into_iter().for_each(|word| passage.add_within(word, most));
            }
            for text in beside.iter().filter(|_| !is_first) {
                each_word(text, language, |word| passage.add_within(word, most));
            }
            passage.words.shrink_to_fit();
            passage
        });
        let mut passages: Vec<Passage> = passages.collect();
        if matched_form(&memory.kind) == PROPOSAL {
            passages.iter_mut().for_each(Passage::set_apart);
        }
        Self::with(shown, passages)
    }

    fn with(shown: &Shown, passages: Vec<Passage>) -> Self {
        let Shown { record, place, space, memory, .. } = shown;
        Self {
            record: *record,
            place: *place,
            space: *space,
            passages,
            tags: tags_of(&memory.tags),
            kind: matched_form(&memory.kind),
            author: memory.author,
            stamp: memory.updated_at,
            valid: memory.span(),
        }
    }
}

/// The most of tags, key, metadata and aliases that each passage but the first has, in bytes: a text of 128 passages takes
/// no more than twice its room.
const BESIDE_BYTES_MAX: usize = 600;

impl Passage {
    /// Adds a word, unless more than so many bytes are there.
    fn add_within(&mut self, word: &str, most: usize) {
        if self.words.len() + word.len() < most {
            self.add(word);
        }
    }

    /// Puts its words where a question finds them that asks for such memories alone.
    fn set_apart(&mut self) {
        let words = self.words.split_ascii_whitespace().map(as_memory);
        self.words = words.collect::<Vec<_>>().join(" ");
    }

    fn add(&mut self, word: &str) {
        self.words.push_str(word);
        self.words.push(' ');
        self.length += 1;
    }
}
