use std::collections::BTreeSet;

use nexus_crdt::Dot;
use nexus_identity::{Did, Timestamp};

use super::words::{each_word, fingerprint, words};
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Shown;

/// A memory as it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) record: Dot,
    /// The place of the record.
    pub(crate) place: Place,
    pub(crate) space: SpaceNo,
    /// The words of the text, the tags, the key and the metadata's values, separated by spaces. One
    /// allocation, where a list would take dozens.
    pub(crate) words: String,
    /// The number of words.
    pub(crate) length: usize,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) kind: String,
    pub(crate) author: Did,
    /// The time of the last edit.
    pub(crate) stamp: Timestamp,
    pub(crate) fingerprint: u64,
}

impl Document {
    pub(crate) fn of(shown: &Shown) -> Self {
        let Shown { record, place, space, memory, key } = shown;
        let of_text = words(&memory.text);
        let values = memory.meta.values().filter_map(serde_json::Value::as_str);
        let beside = memory.tags.iter().chain(key).map(String::as_str).chain(values);
        let (mut all, mut length) = (String::with_capacity(memory.text.len()), of_text.len());
        let mut add = |word: &str| {
            all.push_str(word);
            all.push(' ');
        };
        of_text.iter().for_each(|word| add(word));
        for text in beside {
            each_word(text, |word, _| {
                add(&word);
                length += 1;
            });
        }
        all.shrink_to_fit();
        Self {
            record: *record,
            place: *place,
            space: *space,
            words: all,
            length,
            tags: memory.tags.iter().map(|tag| tag.to_lowercase()).collect(),
            kind: memory.kind.clone(),
            author: memory.author,
            stamp: memory.updated_at,
            fingerprint: fingerprint(&of_text),
        }
    }
}
