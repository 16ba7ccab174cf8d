use std::collections::BTreeSet;

use nexus_crdt::Dot;
use nexus_identity::{Did, Timestamp};

use super::words::{fingerprint, words};
use crate::engine::rows::SpaceNo;
use crate::memory::Memory;

/// A memory as it is indexed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) record: Dot,
    pub(crate) space: SpaceNo,
    /// The words of the text, the tags, the key and the metadata's values.
    pub(crate) words: Vec<String>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) kind: String,
    pub(crate) author: Did,
    /// When it was last edited.
    pub(crate) stamp: Timestamp,
    pub(crate) fingerprint: u64,
}

impl Document {
    pub(crate) fn new(record: Dot, space: SpaceNo, memory: &Memory, key: Option<&str>) -> Self {
        let mut all = words(&memory.text);
        for text in memory.tags.iter().map(String::as_str).chain(key) {
            all.extend(words(text));
        }
        for value in memory.meta.values().filter_map(serde_json::Value::as_str) {
            all.extend(words(value));
        }
        Self {
            record,
            space,
            words: all,
            tags: memory.tags.iter().map(|tag| tag.to_lowercase()).collect(),
            kind: memory.kind.clone(),
            author: memory.author,
            stamp: memory.updated_at,
            fingerprint: fingerprint(&memory.text),
        }
    }
}
