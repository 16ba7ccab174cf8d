use std::collections::BTreeSet;

use nexus_crdt::Dot;
use nexus_identity::{Did, Timestamp};

use super::Span;
use super::group::Group;
use super::words::{each_word, language_of};
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Shown;

/// A memory as it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) record: Dot,
    /// The place of the record.
    pub(crate) place: Place,
    pub(crate) space: SpaceNo,
    /// The words of the text, the tags, the key, the metadata's values and the aliases, separated by spaces; of a group
    /// of words its terms. One allocation, where a list would take dozens.
    pub(crate) words: String,
    /// The number of words.
    pub(crate) length: usize,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) kind: String,
    pub(crate) author: Did,
    /// The time of the last edit.
    pub(crate) stamp: Timestamp,
    /// The time for which it holds.
    pub(crate) valid: Span,
}

impl Document {
    pub(crate) fn of(shown: &Shown) -> Self {
        let Shown { record, space, memory, key, .. } = shown;
        if let Some(group) = Group::read(&memory.kind, &memory.text) {
            let (words, length) = group.terms(*space, &memory.author, record);
            return Self::with(shown, words, length);
        }
        let language = language_of(&memory.text);
        let values = memory.meta.values().filter_map(serde_json::Value::as_str);
        let beside = memory.tags.iter().chain(key).map(String::as_str).chain(values);
        let (mut all, mut length) = (String::with_capacity(memory.text.len()), 0);
        for text in [memory.text.as_str()].into_iter().chain(beside) {
            each_word(text, language, |word| {
                all.push_str(word);
                all.push(' ');
                length += 1;
            });
        }
        // an alias counts as a word of the text does, however often it is said
        let mut others = BTreeSet::new();
        for alias in &memory.aliases {
            each_word(alias, language, |word| {
                if !others.contains(word) {
                    others.insert(word.to_owned());
                }
            });
        }
        if !others.is_empty() {
            for word in all.split_ascii_whitespace() {
                others.remove(word);
            }
        }
        for word in &others {
            all.push_str(word);
            all.push(' ');
        }
        all.shrink_to_fit();
        Self::with(shown, all, length + others.len())
    }

    fn with(shown: &Shown, words: String, length: usize) -> Self {
        let Shown { record, place, space, memory, .. } = shown;
        Self {
            record: *record,
            place: *place,
            space: *space,
            words,
            length,
            tags: memory.tags.iter().map(|tag| tag.to_lowercase()).collect(),
            kind: memory.kind.clone(),
            author: memory.author,
            stamp: memory.updated_at,
            valid: memory.span(),
        }
    }
}
