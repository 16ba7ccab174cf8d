//! The part of a node in tasks with heirs: its rights, its notes, and the tasks that it settles by them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{LogId, TaskId};
use nexus_identity::Did;

use crate::ledger::rows::TaskRow;

/// The most members whose keys are looked at for the tasks of one submitter. Tasks that name others wait.
pub(super) const OTHERS_MAX: usize = 16;

/// The right to settle the tasks of a submitter.
#[derive(Debug)]
pub(super) struct Right {
    /// The ownership in whose name tasks are taken over.
    pub(super) ownership: u32,
    /// The end of the right on this node's clock, unless the key is written anew.
    pub(super) until: Duration,
    /// The time at which the key was last written.
    pub(super) asked: Duration,
    /// The members that have no such key meanwhile.
    pub(super) others: BTreeSet<Did>,
    /// The tasks that have ended by the word of another settler, which may not be here yet.
    pub(super) ended: BTreeSet<TaskId>,
    /// Whether the submitter asks for its tasks: nothing of them begins here any more.
    pub(super) is_asked_for: bool,
}

impl Right {
    /// Whether a task is not noted as ended, and all others that may settle it have no key meanwhile.
    pub(super) fn allows(&self, me: &Did, task: TaskId, row: &TaskRow) -> bool {
        !self.ended.contains(&task) && row.owners().all(|owner| owner == *me || self.others.contains(&owner))
    }
}

/// A note that tasks have ended, until all that may settle them have their ends.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) key: String,
    pub(super) others: BTreeSet<Did>,
    /// The places of the ends in this node's log, once they are written.
    pub(super) at: Option<Vec<(LogId, u64)>>,
}

/// The part of a submitter's tasks that goes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenBack {
    All,
    /// Somebody works on others, or writes about them.
    Some,
}

/// The part of this node in tasks with heirs.
#[derive(Debug, Default)]
pub(super) struct Settling {
    pub(super) rights: BTreeMap<Did, Right>,
    /// The open tasks with heirs that this node hands out, with their submitters and ownerships.
    pub(super) tasks: BTreeMap<TaskId, (Did, u32)>,
    /// The submitters without a session, each with the time since when.
    pub(super) unheard: BTreeMap<Did, Duration>,
    pub(super) notes: Vec<Note>,
    /// Whether the notes that this node made before its start were read.
    pub(super) has_recalled: bool,
    /// The open tasks that wait because those before them name as many settlers as are looked at.
    pub(super) crowded_out: BTreeSet<TaskId>,
    /// Whether to look at once, and whether tasks of others may be new.
    pub(super) is_urgent: bool,
    pub(super) has_news: bool,
}

impl Settling {
    pub(super) fn right(&self, submitter: &Did, now: Duration) -> Option<&Right> {
        self.rights.get(submitter).filter(|right| right.until > now)
    }

    /// The ownership in whose name this node settles a task: 0 for one without heirs. `None` if it may not now.
    pub(super) fn ownership(&self, task: TaskId, now: Duration) -> Option<u32> {
        match self.tasks.get(&task) {
            None => Some(0),
            Some((submitter, ownership)) => self.right(submitter, now).map(|_| *ownership),
        }
    }

    /// Whether the submitter of a task asks for it: after the attempt that runs it is for the submitter to hand out.
    pub(super) fn is_asked_for(&self, task: TaskId) -> bool {
        let right = self.tasks.get(&task).and_then(|(submitter, _)| self.rights.get(submitter));
        right.is_some_and(|right| right.is_asked_for)
    }

    /// The tasks of a submitter that this node hands out.
    pub(super) fn tasks_of(&self, submitter: &Did) -> Vec<TaskId> {
        let of = |(_, (whose, _)): &(&TaskId, &(Did, u32))| whose == submitter;
        self.tasks.iter().filter(of).map(|(task, _)| *task).collect()
    }

    /// Whether a task has heirs.
    pub(super) fn moves(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    pub(super) fn forget(&mut self, task: TaskId) {
        self.tasks.remove(&task);
    }

    pub(super) fn note(&mut self, key: &str, others: BTreeSet<Did>) {
        self.notes.retain(|note| note.key != key);
        self.notes.push(Note { key: key.to_owned(), others, at: None });
    }

    /// Tasks of others may be new.
    pub(super) const fn note_news(&mut self) -> bool {
        !std::mem::replace(&mut self.has_news, true)
    }

    /// Whether a task waits because the open tasks before it name [`OTHERS_MAX`] settlers.
    pub(super) fn is_crowded_out(&self, task: TaskId) -> bool {
        self.crowded_out.contains(&task)
    }

    /// Whether another member has ended a task by a word that may not be here yet.
    pub(super) fn is_noted(&self, submitter: &Did, task: TaskId) -> bool {
        self.rights.get(submitter).is_some_and(|right| right.ended.contains(&task))
    }
}
