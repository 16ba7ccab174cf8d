//! An invariant, what it sees at a moment and at the end, and its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::Frontier;
use nexus_identity::Did;
use nexus_node::blobs::BlobHash;
use nexus_node::tasks::{TaskId, TaskStatus};
use serde::Serialize;

use crate::approvals::ShownApproval;
use crate::documents::ShownDocument;
use crate::ledger::Ledger;
use crate::plan::NodeNo;

/// The verdict of an invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It held at every check.
    Held {
        /// The number of checks.
        looked: u64,
    },
    /// It did not hold.
    Broken {
        /// The time of the first violation, in milliseconds of virtual time.
        at_ms: u64,
        /// The violation.
        what: String,
    },
    /// It could not be decided.
    Undecided {
        /// The reason.
        why: String,
    },
}

/// The content of one node.
#[derive(Clone, Debug)]
pub struct NodeContent {
    /// The node.
    pub node: NodeNo,
    /// The number of its start.
    pub life: u64,
    /// Its frontier.
    pub frontier: Frontier,
    /// Its memories by id, each with a digest of all that it shows.
    pub view: BTreeMap<String, [u8; 16]>,
    /// Ids that it answers to without listing them: of memories shown as one.
    pub answers: BTreeSet<String>,
    /// The former ids of its memories.
    pub former: BTreeSet<String>,
    /// The members of the mesh, as it sees them.
    pub members: BTreeSet<Did>,
    /// Its tasks by id, each with its end if it has one.
    pub tasks: BTreeMap<String, Option<(TaskStatus, String)>>,
    /// Its tasks that need an approval.
    pub approvals: BTreeMap<TaskId, ShownApproval>,
    /// The person whose machine each member is, as it sees them.
    pub persons: BTreeMap<Did, Did>,
    /// The blobs that it has, with the time of the look; `None` where nobody asked.
    pub blobs: Option<(Duration, BTreeSet<BlobHash>)>,
    /// Its documents by key, or why it does not show one.
    pub documents: BTreeMap<String, Result<ShownDocument, String>>,
    /// The ids that some questions find, at the last moment alone; `None` where nobody asked.
    pub hits: Option<BTreeSet<String>>,
    /// The erased memories of which a text is in a row of its store, at the last moment alone.
    pub erased: BTreeSet<String>,
    /// The warnings in its status: code and message.
    pub warnings: Vec<(&'static str, String)>,
}

/// All running nodes at one moment.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The virtual time.
    pub at: Duration,
    /// The nodes.
    pub seen: &'a [NodeContent],
    /// The promises given until then.
    pub ledger: &'a Ledger,
    /// The bytes that strangers got.
    pub outsiders: Outsiders,
    /// Quantities with a bound.
    pub load: Load,
    /// Panics and spinning tasks until then.
    pub panics: &'a [String],
    /// Whether everything has healed, and had time to settle.
    pub last: bool,
}

/// The bytes that reached strangers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outsiders {
    /// The number of strangers.
    pub strangers: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The number of canaries among them.
    pub canaries: u64,
}

/// Quantities that grow.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// The most tasks that each node had.
    pub tasks: Vec<usize>,
    /// The number of dials of each node of the plan.
    pub dials: Vec<u64>,
    /// Bytes in flight in the network, and connections.
    pub under_way: (usize, usize),
    /// Bytes allocated by this process, if it counts them.
    pub allocated: Option<u64>,
    /// Bytes on the disks.
    pub on_disk: u64,
}

/// The result of the liveness phase.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The time until all held the same; `None` if they never did.
    pub settled: Option<Duration>,
    /// The missing entries by node, if they never did.
    pub lacks: String,
    /// The bound.
    pub bound: Duration,
    /// Nodes that do not see all running members up.
    pub unseen: Vec<String>,
    /// Writes in a whole and quiet mesh that were late on some node.
    pub late: Option<String>,
    /// Nodes that take no write.
    pub mute: Vec<String>,
    /// Nodes that did not start again.
    pub dead: Vec<String>,
    /// Panics and spinning tasks.
    pub panics: Vec<String>,
    /// The reason, if the coordinators had no leader in time.
    pub leaderless: Option<String>,
    /// Acknowledged edits that are in no history.
    pub lost_edits: Vec<String>,
    /// The number of edits looked for.
    pub edits_looked_for: u64,
}

/// A watched promise.
pub trait Invariant {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The promise, in one line.
    fn promise(&self) -> &'static str;
    /// Checks the nodes at one moment.
    fn look(&mut self, moment: &Moment<'_>);
    /// Its checks until now.
    fn record(&self) -> &Record;
    /// Gives the verdict.
    fn judge(&mut self, recovery: &Recovery, now: Duration) -> Verdict;
}

/// Counts checks and remembers the first violation.
#[derive(Debug, Default)]
pub struct Record {
    looked: u64,
    broken: Option<(u64, String)>,
}

impl Record {
    pub(crate) fn looked(&mut self, times: u64) {
        self.looked += times;
    }

    pub(crate) fn broke(&mut self, at: Duration, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some((u64::try_from(at.as_millis()).unwrap_or(u64::MAX), what()));
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The first violation until now.
    pub(crate) fn broken(&self) -> Option<Verdict> {
        self.broken.clone().map(|(at_ms, what)| Verdict::Broken { at_ms, what })
    }

    pub(crate) fn verdict(&self, nothing: &str) -> Verdict {
        match self.broken() {
            Some(broken) => broken,
            None if self.looked == 0 => Verdict::Undecided { why: nothing.to_owned() },
            None => Verdict::Held { looked: self.looked },
        }
    }
}
