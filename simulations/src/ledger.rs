//! The ledger of promises: every acknowledgement that a caller got, and every wish without one, which
//! may have come true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_identity::Did;
use nexus_node::blobs::BlobHash;

use crate::approvals::Approvals;
use crate::linearizability::Operation;
use crate::plan::NodeNo;

/// An acknowledged memory.
#[derive(Clone, Debug)]
pub struct Written {
    /// The node.
    pub node: NodeNo,
    /// The number of that node's start.
    pub life: u64,
    /// The time.
    pub at: Duration,
    /// Its key. Memories of one key are shown as one memory, which answers to all their ids and is
    /// forgotten as one.
    pub key: Option<String>,
}

/// An acknowledged edit.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The memory.
    pub id: String,
    /// Its text from then on.
    pub text: String,
    /// The node.
    pub node: NodeNo,
    /// The time.
    pub at: Duration,
}

/// An acknowledged task.
#[derive(Clone, Debug)]
pub struct TaskPromise {
    /// The node that took it.
    pub node: NodeNo,
    /// The time.
    pub at: Duration,
    /// Whether others hand it out while that node is down.
    pub has_heirs: bool,
    /// The task that must have ended before it.
    pub after: Option<String>,
    /// The outputs that workers were told are its end: node, time, JSON.
    pub results: Vec<(NodeNo, Duration, String)>,
}

/// The promises about blobs.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The blobs that were added, in order.
    pub(crate) added: Vec<BlobHash>,
    /// The blobs that a node keeps, by the pin or tag that does; `None` while it is being changed.
    pub(crate) kept: BTreeMap<(NodeNo, String), Option<Kept>>,
    /// The copies that a node has others keep of a blob, its own among them.
    pub(crate) copies: BTreeMap<(NodeNo, BlobHash), usize>,
    /// The copies of which the disk changed a bit.
    pub(crate) damaged: BTreeSet<(NodeNo, BlobHash)>,
    /// Answers that no node may give.
    pub(crate) faults: Vec<String>,
    /// The number of fetches that ended well.
    pub fetched: u64,
}

/// A blob that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its hash.
    pub hash: BlobHash,
    /// It, and all that belongs to it.
    pub all: BTreeSet<BlobHash>,
    /// The time.
    pub at: Duration,
}

impl Files {
    /// The blobs that a node must have had at that moment and had not, each with what keeps it.
    pub(crate) fn lacks(&self, node: NodeNo, shown: &(Duration, BTreeSet<BlobHash>)) -> Vec<(String, BlobHash)> {
        let kept = self.kept.iter().filter(|((no, _), _)| *no == node);
        let kept = kept.filter_map(|((_, by), kept)| kept.as_ref().map(|kept| (by, kept)));
        kept.filter(|(_, kept)| kept.at < shown.0)
            .flat_map(|(by, kept)| kept.all.difference(&shown.1).map(move |hash| (by.clone(), *hash)))
            .collect()
    }

    /// The blobs that are pinned at a node.
    pub(crate) fn pinned_at(&self, node: NodeNo) -> Vec<BlobHash> {
        let pins = self.kept.iter().filter(|((no, by), _)| *no == node && by.starts_with("pin"));
        pins.filter_map(|(_, kept)| Some(kept.as_ref()?.hash)).collect()
    }

    /// The number of promises that stand.
    pub(crate) fn promises(&self) -> u64 {
        self.kept.values().flatten().count() as u64
    }

    /// A blob that was added.
    pub(crate) fn pick(&self, n: u64) -> Option<BlobHash> {
        let len = self.added.len() as u64;
        self.added.get(usize::try_from(n.checked_rem(len)?).ok()?).copied()
    }
}

/// The answer to an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Done,
    /// It is not there.
    Refused,
    /// It may be there.
    Unknown,
}

/// An edit with which a word comes into a document.
#[derive(Clone, Debug)]
pub struct Word {
    /// The key of the document.
    pub key: String,
    /// The node.
    pub node: NodeNo,
    /// The time of the answer.
    pub at: Duration,
    /// The answer.
    pub outcome: Outcome,
}

/// An acknowledged step of a counter.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The key of the document.
    pub key: String,
    /// The node.
    pub node: NodeNo,
    /// The time.
    pub at: Duration,
    /// The step.
    pub by: i64,
}

/// The promises about documents.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The edits by their words, which nobody else writes or deletes.
    pub(crate) words: BTreeMap<String, Word>,
    /// Words that anybody may delete.
    pub(crate) junk: BTreeSet<String>,
    /// Words of thieves.
    pub(crate) forged: BTreeSet<String>,
    /// The documents in which a thief has typed, and since when: what others typed there after it may be void with it.
    pub(crate) tainted: BTreeMap<String, Duration>,
    /// The acknowledged steps of counters.
    pub(crate) counted: Vec<Counted>,
    /// All steps of each document's counter that anybody asked for, together.
    pub(crate) count_asked: BTreeMap<String, i64>,
    /// Changes with one actor and number, each with its hash as its key, by actor.
    pub(crate) twins: BTreeMap<String, Vec<Word>>,
    /// Changes whose verdict does not hold.
    pub(crate) unsound: BTreeSet<String>,
    /// The number of reads beside an edit.
    pub(crate) read_beside: u64,
    /// Things that no node may show.
    pub(crate) faults: Vec<String>,
}

impl Documents {
    /// Whether what was typed in a document at some time may be void.
    pub(crate) fn is_tainted(&self, key: &str, at: Duration) -> bool {
        self.tainted.get(key).is_some_and(|since| *since <= at)
    }

    /// Whether somebody has written this word, or tried to.
    pub(crate) fn knows(&self, word: &str) -> bool {
        self.words.contains_key(word) || self.junk.contains(word) || self.forged.contains(word)
    }
}

/// All promises of a run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Memories by id.
    pub written: BTreeMap<String, Written>,
    /// The acknowledged edits.
    pub edited: Vec<Edited>,
    /// The acknowledged tasks, by id.
    pub tasks: BTreeMap<String, TaskPromise>,
    /// The promises about blobs.
    pub files: Files,
    /// The promises about documents.
    pub documents: Documents,
    /// The tasks that need approvals, and the members that may give them.
    pub approvals: Approvals,
    /// The beginnings of each task that is done once: the token, and whether its worker said that it is not done.
    pub begun: BTreeMap<String, Vec<(u64, bool)>>,
    /// Memories that somebody wanted forgotten, with any result.
    pub forget_asked: BTreeSet<String>,
    /// Keys of memories that somebody wanted forgotten.
    pub keys_forget_asked: BTreeSet<String>,
    /// Memories acknowledged as forgotten: the first time, and the node.
    pub forgotten: BTreeMap<String, (Duration, NodeNo)>,
    /// Memories and documents acknowledged as erased, each with texts that it had.
    pub erased: BTreeMap<String, BTreeSet<String>>,
    /// The words that were written in documents which are erased at times, by the documents' addresses.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    /// The documents that an admin erased: no word of them stays, whenever it came.
    pub erased_whole: BTreeSet<String>,
    /// Acknowledged operations of any kind.
    pub acknowledged: u64,
    /// Memories written, edited or forgotten by acknowledged operations.
    pub writes: u64,
    /// Operations without an acknowledgement.
    pub failed: u64,
    /// The clients' view of critical state.
    pub critical: History,
    /// Memberships that ended.
    pub thefts: Thefts,
    /// Admins that ended each other's membership.
    pub quarrels: Vec<Quarrel>,
    /// Machines that were put back without a sign, with their members: their logs may fork, and their memories get
    /// other ids.
    pub put_back: BTreeMap<NodeNo, Did>,
    /// Members whose logs fork on purpose.
    pub two_faces: BTreeSet<Did>,
    /// The results of a meddler's task that each node has kept in its own log, by node and task.
    pub kept_for_others: BTreeMap<(NodeNo, String), usize>,
    /// The members that write more than their quota, each with all of its keys.
    pub gluttons: BTreeMap<usize, BTreeSet<Did>>,
    /// Machines that are never up again.
    pub gone: BTreeSet<NodeNo>,
    /// Acknowledgements that no node can keep, since the disk lied: node, from, to.
    pub in_doubt: Vec<(NodeNo, Duration, Duration)>,
}

/// Two admins that fell out, of whom one is above the other.
#[derive(Clone, Debug)]
pub struct Quarrel {
    /// The one above, whose membership somebody above it ended.
    pub out: Did,
    /// The one below, and whom it had admitted. They are kept.
    pub stays: Vec<Did>,
    /// Whether the node of the one below ended the membership of the one above.
    pub upwards: bool,
}

/// Stolen members, and the deeds of their thieves.
#[derive(Clone, Debug, Default)]
pub struct Thefts {
    /// The stolen members.
    pub thieves: BTreeSet<Did>,
    /// Memories that thieves wrote after the end of the membership.
    pub forged: BTreeSet<String>,
    /// The number of looks at a thief's copy, when all others knew of the theft.
    pub spied: u64,
    /// Memories that a thief learnt then.
    pub leaks: Vec<String>,
}

impl Ledger {
    /// Counts an operation of one write.
    pub(crate) fn count_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                self.acknowledged += 1;
                self.writes += 1;
            }
            Outcome::Refused => {}
            Outcome::Unknown => self.failed += 1,
        }
    }

    /// Whether a memory may be missing somewhere.
    pub fn may_be_gone(&self, id: &str) -> bool {
        let written = self.written.get(id);
        let key = written.and_then(|written| written.key.as_ref());
        self.forget_asked.contains(id)
            || key.is_some_and(|key| self.keys_forget_asked.contains(key))
            || written.is_some_and(|written| self.is_in_doubt(written.node, written.at))
    }

    /// Whether an edit must be found in the history of its memory.
    pub fn must_last(&self, edited: &Edited) -> bool {
        let stays = match self.written.get(&edited.id) {
            // it may go by another id
            Some(written) => !self.put_back.contains_key(&written.node),
            // it may be a thief's, and void with all that others wrote to it
            None => self.thefts.thieves.is_empty(),
        };
        stays && !self.may_be_gone(&edited.id) && !self.is_in_doubt(edited.node, edited.at)
    }

    /// Whether a forgotten memory may still be visible.
    pub fn may_return(&self, id: &str) -> bool {
        self.forgotten.get(id).is_some_and(|(at, by)| self.is_in_doubt(*by, *at))
    }

    /// Whether a task has to end: not one that only a machine could end which is gone, nor one that comes after such a task.
    pub fn must_end(&self, task: &str) -> bool {
        let Some(promise) = self.tasks.get(task) else { return true };
        let comes = promise.after.as_ref().is_none_or(|before| before != task && self.must_end(before));
        comes && (promise.has_heirs || !self.gone.contains(&promise.node))
    }

    /// Whether an acknowledgement of a node at some time may be lost through its disk's fault.
    pub fn is_in_doubt(&self, node: NodeNo, at: Duration) -> bool {
        self.in_doubt.iter().any(|(doubtful, from, to)| *doubtful == node && (*from..=*to).contains(&at))
    }
}

/// The clients' view of critical state.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations on each key.
    pub keys: BTreeMap<String, Vec<Operation>>,
    /// The grants of each lock.
    pub grants: BTreeMap<String, Vec<Grant>>,
    /// Operations with an answer.
    pub answered: u64,
    /// Operations refused for want of a quorum: they did not happen.
    pub refused: u64,
    /// The longest time to such a refusal.
    pub longest_refusal: Duration,
    /// The requests about keys that each member's clients made.
    pub asked: BTreeMap<(Did, String), u64>,
    /// The requests that an audit was replayed with, and the differences from the keys.
    pub replayed: (u64, Vec<String>),
    /// Indices that were seen with two digests: the machines differ.
    pub forks: Vec<String>,
    digests: BTreeMap<(u32, u64), [u8; 32]>,
}

/// A granted lock, and the writes under it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token.
    pub token: u64,
    /// The time of the request, in microseconds.
    pub began: u64,
    /// The time of the grant, in microseconds.
    pub ended: u64,
    /// The start times of acknowledged writes under the token.
    pub wrote: Vec<u64>,
    /// The last time at which its holder was sure to have it.
    pub sure: u64,
}

impl History {
    /// Records a node's copy.
    pub fn see(&mut self, node: NodeNo, generation: u32, copy: (u64, [u8; 32])) {
        let (index, digest) = copy;
        let known = self.digests.entry((generation, index)).or_insert(digest);
        if *known != digest {
            self.forks.push(format!("n{node} has another state at entry {index} than others had"));
        }
    }
}
