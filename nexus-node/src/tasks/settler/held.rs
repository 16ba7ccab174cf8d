//! The state behind the settler's lock: the scheduler, and those who wait for its decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{Members, SpaceId, SpaceRule, TaskId, TaskToken};
use nexus_identity::Did;
use tokio::sync::oneshot;

use super::heirs::{GivenBack, Settling};
use crate::tasks::scheduler::audience::Audience;
use crate::tasks::scheduler::core::{Action, CallId, Claimant, Scheduler, Seen};
use crate::tasks::scheduler::parked::Parked;
use crate::tasks::task::{TaskProgress, cut};

/// The longest text about a worker's progress, in bytes.
const PROGRESS_BYTES_MAX: usize = 512;

/// A claim, for the worker that gets it.
pub(in crate::tasks) struct Assigned {
    pub(in crate::tasks) task: TaskId,
    pub(in crate::tasks) token: TaskToken,
    pub(in crate::tasks) attempt: u32,
}

pub(super) struct Held {
    pub(super) core: Scheduler,
    pub(super) callers: BTreeMap<CallId, oneshot::Sender<Assigned>>,
    /// The callers that wait for the end of a claim or of a task, and hear whether it was written.
    endings: BTreeMap<TaskId, Vec<oneshot::Sender<bool>>>,
    pub(super) progress: BTreeMap<TaskId, TaskProgress>,
    /// Tasks of which others have said something, to be looked at.
    pub(super) said: BTreeSet<TaskId>,
    /// The access rules of the spaces of its tasks.
    pub(super) rules: BTreeMap<SpaceId, SpaceRule>,
    /// Open tasks of this node that are not taken up yet.
    pub(super) parked: Parked,
    /// The part of this node in tasks with heirs.
    pub(super) settling: Settling,
}

impl Held {
    pub(super) fn new(core: Scheduler) -> Self {
        Self {
            core,
            callers: BTreeMap::new(),
            endings: BTreeMap::new(),
            progress: BTreeMap::new(),
            said: BTreeSet::new(),
            rules: BTreeMap::new(),
            parked: Parked::default(),
            settling: Settling::default(),
        }
    }

    /// Has the scheduler know who may read the tasks of a space.
    pub(super) fn note_space(&mut self, rule: SpaceRule, members: &Members, now: Duration) {
        self.rules.insert(rule.space, rule);
        if !self.core.knows_audience(rule.space) {
            self.core.set_audience(rule.space, Audience::of(members, &rule), now);
        }
    }

    /// Others may be members now, or have other roles.
    pub(super) fn note_members(&mut self, members: &Members, now: Duration) {
        for (space, rule) in &self.rules {
            self.core.set_audience(*space, Audience::of(members, rule), now);
        }
    }

    pub(super) fn fire(&mut self, task: TaskId, written: bool) {
        for waiter in self.endings.remove(&task).into_iter().flatten() {
            // a waiter that is gone needs no word
            let _ = waiter.send(written);
        }
    }

    pub(super) fn note_progress(&mut self, task: TaskId, progress: &TaskProgress) {
        self.progress.insert(task, bounded(progress));
    }

    pub(super) fn until_end(&mut self, task: TaskId) -> oneshot::Receiver<bool> {
        let (ended, end) = oneshot::channel();
        let waiters = self.endings.entry(task).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(ended);
        end
    }

    pub(super) fn forget(&mut self, task: TaskId, written: bool) {
        self.core.ended(task);
        self.progress.remove(&task);
        self.settling.forget(task);
        self.fire(task, written);
    }

    /// A claim that is not written: the worker of this node that it was for gets nothing, and may ask again.
    pub(super) fn claim_is_off(&mut self, action: &Action) {
        if let Action::Claim { to: Claimant::Call(call), .. } = action {
            self.callers.remove(call);
        }
    }

    /// Lets go of a task that another node may settle by now: whoever waits for a word of it learns that nobody here knows.
    pub(super) fn lose(&mut self, task: TaskId) {
        self.endings.remove(&task);
        self.forget(task, false);
    }

    /// Lets go of the tasks of a submitter that this node may settle no more.
    pub(super) fn lose_those_of(&mut self, submitter: &Did) {
        // whoever writes about a task now sees to the rest
        for task in self.settling.tasks_of(submitter) {
            if !self.core.is_busy(task) {
                self.lose(task);
            }
        }
    }

    /// Lets go of the tasks of a submitter that asks for them, but for those that somebody works on or writes about. `None`
    /// if it does not ask.
    pub(super) fn give_back_those_of(&mut self, submitter: &Did) -> Option<GivenBack> {
        self.settling.rights.get(submitter).filter(|right| right.is_asked_for)?;
        let mut given_back = GivenBack::All;
        for task in self.settling.tasks_of(submitter) {
            match self.core.seen(task) {
                Some(Seen::Running | Seen::Writing) => given_back = GivenBack::Some,
                _ => self.lose(task),
            }
        }
        Some(given_back)
    }
}

/// How far a worker says that it is, within the bounds of what is kept.
pub(in crate::tasks) fn bounded(TaskProgress { percent, text }: &TaskProgress) -> TaskProgress {
    TaskProgress { percent: percent.map(|percent| percent.min(100)), text: cut(text, PROGRESS_BYTES_MAX) }
}
