//! The settler's knowledge of a task, for those who look at it.

use super::Settler;
use super::heirs::OTHERS_MAX;
use super::held::Held;
use crate::tasks::scheduler::core::{Choice, NotChosen, Seen};
use crate::tasks::task::{Task, TaskStatus};
use crate::tasks::why::{Waits, WhyNot};

/// The most nodes that are named with their reasons for not taking a task, and the most capabilities that are named.
const REASONS_MAX: usize = 3;
const CAPABILITIES_NAMED: usize = 8;

impl Settler {
    /// Adds to a task what only its submitter's node knows.
    pub(in crate::tasks) fn shown(&self, mut task: Task) -> Task {
        if task.why.is_some() {
            return task;
        }
        let held = self.held();
        let is_open = !task.status.is_over();
        if is_open && !task.heirs.is_empty() && held.settling.is_noted(&task.submitter, task.id) {
            task.why = Some(Waits::EndElsewhere);
            return task;
        }
        if task.settler != self.me() {
            if task.status == TaskStatus::Pending {
                task.why = Some(Waits::HandedOutBy { member: task.settler, name: task.settler_name.clone() });
            }
            return task;
        }
        if is_open && let Some(why) = why_not_taken_up(&held, &task) {
            task.why = Some(why);
            return task;
        }
        task.why = match held.core.seen(task.id) {
            // an approval is on the disk before the scheduler hears so
            Some(Seen::Approval) if task.status != TaskStatus::AwaitingApproval => None,
            // the approvers are looked for among all members: for one task, not for each of a list
            Some(Seen::Approval) => Some(Waits::Approval),
            Some(Seen::After(before)) => Some(Waits::After(before)),
            Some(Seen::Ready) if task.once && !held.core.has_quorum() => Some(Waits::Quorum),
            Some(Seen::Ready) => Some(self.no_worker(&held, &task)),
            Some(Seen::Paused(until)) => {
                let (left, failures) = (until.saturating_sub(self.now()), task.failures + task.expiries);
                Some(Waits::Pause { left, failures })
            }
            // the claim is on the disk before the scheduler hears so, and watchers look then
            Some(Seen::Writing) if task.status != TaskStatus::Assigned => None,
            Some(Seen::Running | Seen::Writing) => {
                task.status = TaskStatus::Running;
                task.progress = held.progress.get(&task.id).cloned();
                None
            }
            None => None,
        };
        task
    }

    /// Why no worker gets a task of this node that waits: the nodes that could, and what keeps each from it.
    fn no_worker(&self, held: &Held, task: &Task) -> Waits {
        if let Some((node, on)) = held.core.insists(task.id) {
            return Waits::Insists { node: self.here().shown_name(node), rule: on.rule() };
        }
        let mut nodes = Vec::new();
        for Choice { node, not, .. } in held.core.explain(task.id, self.now()) {
            match not {
                None => return Waits::GetsWorker,
                // it is no choice of those who wait
                Some(NotChosen::NotMeant | NotChosen::Worse) => {}
                Some(not) => nodes.push((node, not)),
            }
        }
        if !nodes.is_empty() {
            let more = nodes.len().saturating_sub(REASONS_MAX);
            let named = |(node, not)| (self.here().shown_name(node), self.why_not(not));
            let nodes = nodes.into_iter().take(REASONS_MAX).map(named).collect();
            return Waits::Nodes { me: self.here().shown_name(self.me()), nodes, more };
        }
        if task.to.is_some() {
            return Waits::NoWorkerOfMember;
        }
        Waits::NoWorker { capability: task.capability.clone(), served: held.core.capabilities(CAPABILITIES_NAMED) }
    }

    /// The reason for which a node does not get a task, by the clock on the wall.
    pub(in crate::tasks) fn why_not(&self, not: NotChosen) -> WhyNot {
        match not {
            NotChosen::NoneWaits => WhyNot::HasWork,
            NotChosen::TurnsAway => WhyNot::TurnsAway,
            NotChosen::Rests(rest) => WhyNot::Rests(rest.at(self.now(), self.here().world.wall())),
            NotChosen::Tried => WhyNot::Tried,
            NotChosen::Overloaded => WhyNot::Overloaded,
            NotChosen::TooOld => WhyNot::TooOld,
            NotChosen::Insists(on) => WhyNot::Insists(on.rule()),
            NotChosen::NotMeant => WhyNot::NotMeant,
            NotChosen::MayNotRead => WhyNot::MayNotRead,
            NotChosen::Worse => WhyNot::Worse,
        }
    }
}

/// Why an open task of this node is not with the scheduler, or is being ended.
fn why_not_taken_up(held: &Held, task: &Task) -> Option<Waits> {
    if held.settling.is_crowded_out(task.id) {
        return Some(Waits::CrowdedOut { others: OTHERS_MAX });
    }
    if task.heirs.is_empty() {
        return None;
    }
    if !held.core.has(task.id) {
        return Some(Waits::NoRight);
    }
    held.core.is_busy(task.id).then_some(Waits::EndWritten)
}
