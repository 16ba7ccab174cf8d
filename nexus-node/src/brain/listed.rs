use std::collections::BTreeSet;

use super::projects::is_project_record;
use super::vocabulary::is_words;
use crate::memory::{ListQuery, Memory};
use crate::search::{PROJECT_TAG, matched_form};

/// The conditions of a listing.
pub(super) struct Listed {
    tags: BTreeSet<String>,
    kinds: BTreeSet<String>,
    all: bool,
    no_aliases: bool,
    conflicts: bool,
}

impl Listed {
    pub(super) fn of(query: &ListQuery) -> Self {
        let project = query.project.as_ref().map(|name| format!("{PROJECT_TAG}{name}"));
        Self {
            tags: query.tags.iter().chain(&project).map(|tag| matched_form(tag)).collect(),
            kinds: query.kinds.iter().map(|kind| matched_form(kind)).collect(),
            all: query.all,
            no_aliases: query.no_aliases,
            conflicts: query.conflicts,
        }
    }

    pub(super) fn admits(&self, memory: &Memory) -> bool {
        let is_of_kind = match self.kinds.is_empty() {
            true => self.all || !is_words(memory) && !is_project_record(memory),
            false => self.kinds.contains(&matched_form(&memory.kind)),
        };
        let has = |wanted: &String| memory.tags.iter().any(|tag| matched_form(tag) == *wanted);
        is_of_kind
            && self.tags.iter().all(has)
            && (!self.no_aliases || memory.aliases.is_empty())
            && (!self.conflicts || !memory.conflicts.is_empty())
    }
}
