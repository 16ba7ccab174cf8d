//! Why a task is where it is, and why a node does not get it. The words for it are made where it is shown.

use std::fmt;
use std::time::Duration;

use nexus_crdt::{ApprovalRule, TaskId};
use nexus_identity::{Did, Timestamp};

/// Why a task has not ended, or not here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waits {
    /// All that may hand it out were removed from the mesh: an admin can cancel it.
    Orphan,
    /// It has ended by the word of another node, which is not here yet.
    EndElsewhere,
    /// Another node hands it out.
    HandedOutBy {
        /// That node's member.
        member: Did,
        /// Its name.
        name: Option<String>,
    },
    /// The open tasks before it name as many other members as are looked at: it waits for their ends.
    CrowdedOut {
        /// The number of these members.
        others: usize,
    },
    /// It has heirs, and waits until the coordinators let this node hand it out.
    NoRight,
    /// The coordinators note its end, or it is being written.
    EndWritten,
    /// A person has to approve it.
    Approval,
    /// Somebody has to approve it who may by this rule, here or at one of these nodes.
    ApprovalAt {
        /// The rule.
        rule: ApprovalRule,
        /// The names of the first other members that may.
        others: Vec<String>,
        /// The number of further ones.
        more: usize,
    },
    /// It comes after a task that has not ended.
    After(TaskId),
    /// It is done once, and waits until a quorum of the coordinators answers.
    Quorum,
    /// The workers that wait for it insist on an approval that it does not have.
    Insists {
        /// The name of a node with such a worker.
        node: String,
        /// The rule on which it insists.
        rule: ApprovalRule,
    },
    /// It is tried again after a pause.
    Pause {
        /// The rest of the pause.
        left: Duration,
        /// The failures so far.
        failures: u32,
    },
    /// A worker gets it now.
    GetsWorker,
    /// Each node that could do it has a reason.
    Nodes {
        /// The name of this node.
        me: String,
        /// The first of these nodes by name, each with its reason.
        nodes: Vec<(String, WhyNot)>,
        /// The number of further ones.
        more: usize,
    },
    /// No worker of the member waits that it is for.
    NoWorkerOfMember,
    /// No worker with its capability waits.
    NoWorker {
        /// Its capability.
        capability: String,
        /// The first capabilities that workers have.
        served: Vec<String>,
    },
    /// Its result is kept at its worker's node until the node of this member is reached.
    ResultForSubmitter {
        /// The submitter.
        member: Did,
        /// Its name.
        name: Option<String>,
    },
    /// Its result is kept at its worker's node until a node takes it that settles the task.
    ResultForSettler,
}

/// The rest of workers that failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentRest {
    /// Its end, to a second.
    pub until: Timestamp,
    /// The failures of the minute before it.
    pub failures: usize,
}

impl fmt::Display for AgentRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rests until {}, after {} failures", self.until, self.failures)
    }
}

/// A reason for which a node does not get a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyNot {
    /// Its workers have work.
    HasWork,
    /// Its workers wait for work, and take no tasks of this member.
    TurnsAway,
    /// It failed too often, and rests.
    Rests(AgentRest),
    /// It failed too often, and one task tries it again.
    Tried,
    /// Its machine is busier than its workers allow.
    Overloaded,
    /// Its program is too old for the rule by which the task is approved.
    TooOld,
    /// Its workers insist on an approval by this rule.
    Insists(ApprovalRule),
    /// The task is for another member.
    NotMeant,
    /// Its member may not read the task's space.
    MayNotRead,
    /// Another node has a better score.
    Worse,
}
