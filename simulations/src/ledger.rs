//! What was promised: every acknowledgement that a caller got, and every wish that may or may not
//! have come true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::NodeNo;

/// A memory that was acknowledged.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where.
    pub node: NodeNo,
    /// In which life of that node.
    pub life: u64,
    /// When.
    pub at: Duration,
    /// It was written with this key: where others wrote the same one, they are shown as one
    /// memory, which answers to all its ids and is forgotten as one.
    pub key: Option<String>,
}

/// An edit that was acknowledged.
#[derive(Clone, Debug)]
pub struct Edited {
    /// Of which memory.
    pub id: String,
    /// Its text from then on.
    pub text: String,
    /// Where.
    pub node: NodeNo,
    /// When.
    pub at: Duration,
}

/// All promises of a run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Memories by id.
    pub written: BTreeMap<String, Written>,
    /// Edits that were acknowledged.
    pub edited: Vec<Edited>,
    /// Somebody wanted it forgotten, whatever came of it.
    pub forget_asked: BTreeSet<String>,
    /// Keys of memories that somebody wanted forgotten.
    pub keys_forget_asked: BTreeSet<String>,
    /// It was acknowledged that it is forgotten: when first, and where.
    pub forgotten: BTreeMap<String, (Duration, NodeNo)>,
    /// Acknowledged operations of any kind, and those that failed.
    pub acknowledged: u64,
    /// Memories written, edited or forgotten by acknowledged operations.
    pub writes: u64,
    /// Operations without an acknowledgement.
    pub failed: u64,
    /// Acknowledgements that no node can keep: where, from when to when. The disk lied.
    pub in_doubt: Vec<(NodeNo, Duration, Duration)>,
}

impl Ledger {
    /// Whether a memory may be missing somewhere.
    pub fn may_be_gone(&self, id: &str) -> bool {
        let written = self.written.get(id);
        let key = written.and_then(|written| written.key.as_ref());
        self.forget_asked.contains(id)
            || key.is_some_and(|key| self.keys_forget_asked.contains(key))
            || written.is_some_and(|written| self.is_in_doubt(written.node, written.at))
    }

    /// Whether a memory that was forgotten may be seen all the same.
    pub fn may_return(&self, id: &str) -> bool {
        self.forgotten.get(id).is_some_and(|(at, by)| self.is_in_doubt(*by, *at))
    }

    /// Whether what a node acknowledged at some time may be lost through its disk's fault.
    pub fn is_in_doubt(&self, node: NodeNo, at: Duration) -> bool {
        self.in_doubt.iter().any(|(doubtful, from, to)| *doubtful == node && (*from..=*to).contains(&at))
    }
}
