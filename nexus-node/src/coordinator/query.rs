//! Questions about critical state, and their answers.

use borsh::{BorshDeserialize, BorshSerialize};

use super::state::{CriticalChange, Item, Lock};

/// A question.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// One key.
    Get(String),
    /// Keys that begin with a prefix, after a key.
    List { prefix: String, after: Option<String>, limit: u32 },
    /// The held locks, after a name.
    Locks { after: Option<String> },
    /// One lock.
    Lock(String),
    /// The changes of keys with a prefix, after a revision.
    Changes { prefix: String, after: u64 },
    /// The revision alone.
    Revision,
}

/// An answer, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) revision: u64,
    /// The index of the log entry it includes.
    pub(crate) index: u64,
    /// The format of critical state; 0 in an answer of format 0, which does not carry it.
    pub(crate) raised: u16,
    pub(crate) found: Content,
}

/// The content of an [`Answer`].
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Items {
        items: Vec<(String, Item)>,
        /// Whether there are more.
        more: bool,
    },
    Locks {
        locks: Vec<(String, Lock)>,
        more: bool,
    },
    /// `None` if some are gone; the asker must read the keys themselves.
    Changes(Option<Vec<CriticalChange>>),
    Nothing,
}

impl CriticalChange {
    /// Whether its key or lock has this prefix.
    pub(crate) fn is_under(&self, prefix: &str) -> bool {
        self.name().starts_with(prefix)
    }
}
