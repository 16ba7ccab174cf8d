//! What was promised: every acknowledgement that a caller got, and every wish that may or may not
//! have come true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::linearizability::Operation;
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
    /// What clients saw of critical state.
    pub critical: History,
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

/// What clients saw of critical state.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of each key.
    pub keys: BTreeMap<String, Vec<Operation>>,
    /// Of each lock.
    pub grants: BTreeMap<String, Vec<Grant>>,
    /// Operations that had an answer.
    pub answered: u64,
    /// Operations that were refused for want of a quorum, and how long the longest took.
    pub refused: u64,
    /// The longest time to such a refusal.
    pub longest_refusal: Duration,
    /// How often an index was seen with two digests: the machines differ.
    pub forks: Vec<String>,
    digests: BTreeMap<(u32, u64), [u8; 32]>,
}

/// A lock that somebody was given, and what was written under it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token.
    pub token: u64,
    /// When it was asked for, and when it was there, in microseconds.
    pub began: u64,
    /// See `began`.
    pub ended: u64,
    /// When writes under the token began that were acknowledged.
    pub wrote: Vec<u64>,
    /// When its holder last looked and was sure to have it.
    pub sure: u64,
}

impl History {
    /// Takes a node's copy as it is.
    pub fn see(&mut self, node: NodeNo, generation: u32, copy: (u64, [u8; 32])) {
        let (index, digest) = copy;
        let known = self.digests.entry((generation, index)).or_insert(digest);
        if *known != digest {
            self.forks.push(format!("n{node} has another state at entry {index} than others had"));
        }
    }
}
