//! The loop that hands out tasks: it takes up those that are open, and writes what the core decides.

use std::time::Duration;

use nexus_crdt::{
    ApprovalRule, HeardEvent, Priority, Settlement, SpaceId, TaskClaim, TaskEnd, TaskEvent, TaskId, TaskPhase,
    TaskReturn, TaskSaid, TaskToken, TaskVerb,
};
use nexus_identity::Did;
use nexus_identity::plants::planted;
use tokio::sync::{broadcast, oneshot};

use super::held::{Assigned, Held};
use super::{OPEN_MAX, Settler};
use crate::engine::{Command, Outcome, TaskAnswer};
use crate::error::NodeError;
use crate::ledger::{self, LastEntries, LastId};
use crate::tasks::read::{self, Found};
use crate::tasks::scheduler::core::{Action, Before, Claimant, Fault, Holder, Spec};
use crate::tasks::scheduler::parked::PARKED_MAX;

/// The worker that gets a task.
pub(super) enum Receiver {
    /// A worker of this node that waits, unless it is gone.
    Caller(Option<oneshot::Sender<Assigned>>),
    /// Another node, for its workers.
    Node(Did),
}

/// The most events that are written together.
pub(super) const BATCH_MAX: usize = 256;

impl Settler {
    /// Takes up a task of this node that has not ended.
    pub(super) fn take_up(&self, found: &Found) {
        let Found { id, row, submission, state, heard, rule, .. } = found;
        if matches!(state.phase, TaskPhase::Over(_)) || !self.settles(&mut self.held(), found) {
            return;
        }
        let (now, wall, members) = (self.now(), self.here().world.wall(), self.here().identity.members());
        let deadline = submission.deadline_ms.map(|at| now + Duration::from_millis(at.saturating_sub(wall.as_ms())));
        let spec = Spec {
            capability: submission.capability.clone(),
            space: rule.space,
            submitter: row.submitter,
            to: submission.to,
            rank: row.rank(),
            attempt: Duration::from_millis(submission.attempt_ms),
            deadline,
            attempts: submission.attempts.into(),
            once: submission.once,
            awaits_approval: row.needs_approval
                && !state.approval.is_some_and(|(approved, _)| approved)
                && !planted("needs_no_approval"),
            by_person: row.needs_approval && submission.rule() == ApprovalRule::Person,
            approved: found.approved(&members),
            after: submission.after.iter().copied().collect(),
            critical: submission.priority == Priority::Critical,
            // of a task that is done once nobody would know what became of it
            preemptible: submission.preemptible && !submission.once,
        };
        // the worker's name is shown from the event
        let claim = state.claim.map(|(token, _, node)| (token, Holder { node, agent: String::new() }));
        let before = Before { claims: state.claims, failures: state.failures, expiries: state.expiries, claim };
        let mut held = self.held();
        held.parked.remove(&submission.capability, row.rank(), *id);
        held.note_space(*rule, &members, now);
        held.core.open(*id, spec, before, now);
        // they may have ended before
        held.said.extend(submission.after.iter().copied());
        if submission.once {
            self.0.once.notify_one();
        }
        // a word, or a result that a worker's node has kept, may have come before
        let is_word = |heard: &HeardEvent| !state.is_of_owner(heard) || matches!(heard.said, TaskSaid::Word(_));
        if heard.iter().any(is_word) {
            held.said.insert(*id);
        }
        drop(held);
        self.wake();
    }

    /// Takes up a task of this node that has not ended, or parks it if it only waits, and behind many others.
    pub(in crate::tasks) fn take_up_or_park(&self, found: &Found) {
        if !self.park(found) {
            self.take_up(found);
        }
    }

    /// Parks a task of this node that only waits, and behind many others. Returns whether it did.
    fn park(&self, found: &Found) -> bool {
        let Found { id, row, submission, state, heard, .. } = found;
        let only_waits = state.phase == TaskPhase::Pending && state.claims == 0 && heard.is_empty();
        let has_condition =
            submission.deadline_ms.is_some() || !submission.after.is_empty() || submission.once || row.moves();
        if row.submitter != self.me() || !only_waits || has_condition || submission.to.is_some() {
            return false;
        }
        let mut held = self.held();
        let (ready, last) = held.core.ready_in(&submission.capability);
        let is_behind = held.parked.is_behind(&submission.capability, row.rank(), ready, last);
        if is_behind {
            held.parked.park(&submission.capability, row.rank(), *id);
        }
        is_behind
    }

    /// Hands out tasks until the node ends.
    pub(in crate::tasks) async fn run(self) {
        let mut said = self.here().engine.tasks();
        let mut members = self.here().identity.follow();
        let mut behind = true;
        loop {
            if std::mem::take(&mut behind) {
                if self.take_up_all().await.is_err() {
                    return;
                }
                self.0.taken_up.send_replace(true);
            }
            let (actions, to_look, timer) = {
                let mut held = self.held();
                held.core.due(self.now());
                let actions: Vec<Action> = std::iter::from_fn(|| held.core.next_action()).take(BATCH_MAX).collect();
                let to_look: Vec<TaskId> =
                    held.said.iter().copied().filter(|task| !held.core.is_busy(*task)).take(BATCH_MAX).collect();
                for task in &to_look {
                    held.said.remove(task);
                }
                let Held { core, parked, .. } = &mut *held;
                let next = parked.next(|capability| core.ready_in(capability).0);
                let to_look: Vec<TaskId> = to_look.into_iter().chain(next).collect();
                (actions, to_look, held.core.next_timer())
            };
            let idle = actions.is_empty() && to_look.is_empty();
            if !to_look.is_empty() && self.look_at(to_look).await.is_err() {
                return;
            }
            if !actions.is_empty() && self.write(actions).await.is_err() {
                return;
            }
            if idle {
                let at = timer.unwrap_or(Duration::MAX);
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = self.here().world.sleep_until(at) => {}
                    heard = said.recv() => behind |= !self.hear(heard),
                    // more or less of our own log may count now, and others may approve
                    changed = members.changed() => match changed {
                        Ok(()) => behind = true,
                        Err(_) => return,
                    },
                }
            }
            loop {
                match said.try_recv() {
                    Ok(heard) => behind |= !self.hear(Ok(heard)),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => behind = true,
                    Err(_) => break,
                }
            }
        }
    }

    /// Notes what was said of a task. Returns whether nothing was missed.
    fn hear(&self, heard: Result<(TaskId, bool), broadcast::error::RecvError>) -> bool {
        match heard {
            Ok((task, own)) => {
                let mut held = self.held();
                if !own && held.settling.note_news() {
                    self.0.moving.notify_one();
                }
                // tasks of others are their own nodes' concern
                let is_here = held.core.has(task) || held.parked.has(task);
                if !own && is_here || held.core.is_awaited(task) && !planted("ends_unheard") {
                    held.said.insert(task);
                }
                true
            }
            Err(broadcast::error::RecvError::Lagged(_)) => false,
            Err(broadcast::error::RecvError::Closed) => true,
        }
    }

    /// Takes up all tasks of this node that have not ended.
    async fn take_up_all(&self) -> Result<(), NodeError> {
        self.reading(|settler, view, reader| {
            let me = settler.me();
            settler.held().note_members(&settler.here().identity.members(), settler.now());
            let most = if planted("takes_up_no_tasks") { 0 } else { OPEN_MAX + PARKED_MAX };
            let (mut last, mut entries) = (LastEntries::default(), LastId::default());
            for at in ledger::open_tasks(view, &me, most)? {
                // its event is read only if it is not known yet
                let Some(entry) = entries.of(view, at.eno)? else { continue };
                let task = TaskId { entry, index: at.index };
                let is_parked = settler.held().parked.has(task);
                if settler.held().core.has(task) {
                    settler.held().said.insert(task);
                } else if !is_parked && let Some(found) = read::find_at(view, reader, at, &mut last)? {
                    settler.take_up_or_park(&found);
                }
            }
            let mut held = settler.held();
            let awaited: Vec<TaskId> = held.core.awaited().collect();
            held.said.extend(awaited);
            drop(held);
            Ok(())
        })
        .await
    }

    /// Looks at what others have said of tasks, and at the ends of those that come before others.
    async fn look_at(&self, tasks: Vec<TaskId>) -> Result<(), NodeError> {
        self.reading(move |settler, view, reader| {
            for task in tasks {
                let known = settler.held().core.has(task);
                let found = read::find(view, reader, task)?;
                if let Some(TaskPhase::Over(end)) = found.as_ref().map(|found| found.state.phase) {
                    settler.held().core.before_ended(task, end, settler.now());
                }
                let found = found.filter(|found| settler.settles(&mut settler.held(), found));
                let Some(found) = found.filter(|found| !matches!(found.state.phase, TaskPhase::Over(_))) else {
                    if known {
                        settler.held().forget(task, true);
                    }
                    continue;
                };
                if !known {
                    settler.take_up(&found);
                }
                let kept = read::result_of_worker(view, &found)?;
                let mut held = settler.held();
                if let Some((token, end, output, fault)) = kept {
                    let _ = match end {
                        TaskEnd::Succeeded if found.state.claim.is_none() => held.core.adopt(task, token, output),
                        TaskEnd::Succeeded => held.core.succeed(task, token, output, settler.now()),
                        _ => held.core.fail(task, token, fault, settler.now()),
                    };
                }
                match read::word_of(view, &found)? {
                    Some((TaskVerb::Cancel, why)) => {
                        held.core.end(task, TaskEnd::Cancelled, "cancelled", why, settler.now())
                    }
                    Some((_, why)) => held.core.end(task, TaskEnd::Rejected, "rejected", why, settler.now()),
                    None if found.state.approval.is_some() => {
                        held.core.approve(task, found.approved(reader.members()), settler.now());
                    }
                    None if found.row.needs_approval
                        && !planted("needs_no_approval")
                        && !planted("keeps_lost_approvals") =>
                    {
                        held.core.unapprove(task);
                    }
                    None => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Writes what the core decided. The ends of tasks with heirs are noted before.
    async fn write(&self, actions: Vec<Action>) -> Result<(), NodeError> {
        let (mut moving, mut own) = (Vec::new(), Vec::new());
        {
            let (mut held, now) = (self.held(), self.now());
            for action in actions {
                let task = action.task();
                if matches!(action, Action::Settle { .. }) && held.settling.moves(task) {
                    moving.push(action);
                } else if let Some(ownership) = held.settling.ownership(task, now) {
                    own.push((action, ownership));
                } else {
                    held.claim_is_off(&action);
                    held.lose(task);
                }
            }
        }
        if !moving.is_empty() {
            self.end_moving(moving);
        }
        if own.is_empty() { Ok(()) } else { self.write_now(own).await.map(drop) }
    }

    /// Writes what the core decided, each in the name of an ownership, in one go, and lets those know who wait for it.
    pub(super) async fn write_now(&self, actions: Vec<(Action, u32)>) -> Result<Vec<TaskAnswer>, NodeError> {
        let (actions, events): (Vec<Action>, Vec<(SpaceId, TaskEvent)>) = {
            let held = self.held();
            let tasks = SpaceId::tasks_of(&self.here().identity.mesh());
            let with_event = |(action, ownership): (Action, u32)| {
                let space = held.core.space_of(action.task()).unwrap_or(tasks);
                let event = event_of(&action, ownership);
                (action, (space, event))
            };
            actions.into_iter().map(with_event).unzip()
        };
        let engine = &self.here().engine;
        let outcome = engine.run_once_there_is_room(&self.here().world, || Command::Tasks(events.clone())).await?;
        let answers = match outcome {
            Outcome::Tasks(answers) => answers,
            // this node is no member any more: its tasks are nobody's concern here
            _ => {
                let mut held = self.held();
                let tasks: Vec<TaskId> = actions.iter().map(Action::task).collect();
                actions.iter().for_each(|action| held.claim_is_off(action));
                tasks.into_iter().for_each(|task| held.forget(task, false));
                return Ok(Vec::new());
            }
        };
        let now = self.now();
        let mut held = self.held();
        let mut goes_back = false;
        for (action, answer) in actions.into_iter().zip(&answers) {
            let (task, written) = (action.task(), matches!(answer, TaskAnswer::Written(_)));
            if !written {
                // the ledger knows better: it is taken up again as it is there
                held.claim_is_off(&action);
                held.forget(task, false);
                held.said.insert(task);
                continue;
            }
            match action {
                Action::Claim { to, token, attempt, holder, .. } => {
                    held.core.claimed(task, now);
                    let to = match to {
                        Claimant::Node(node) => Receiver::Node(node),
                        Claimant::Call(call) => Receiver::Caller(held.callers.remove(&call)),
                    };
                    if held.core.is_once(task) {
                        self.give_right(task, token, attempt, holder.node, to);
                    } else {
                        self.hand(&mut held, to, task, token, attempt);
                    }
                }
                // its submitter hands it out from here on
                Action::Return { .. } if held.settling.is_asked_for(task) => {
                    goes_back = true;
                    held.forget(task, true);
                }
                Action::Return { cause, .. } => {
                    held.progress.remove(&task);
                    held.core.returned(task, cause, now);
                    self.0.once.notify_one();
                    held.fire(task, true);
                }
                Action::Settle { .. } => {
                    goes_back |= held.settling.is_asked_for(task);
                    held.forget(task, true);
                }
            }
        }
        drop(held);
        if goes_back {
            self.ask_to_settle();
        }
        Ok(answers)
    }

    /// Hands a task over whose claim is on the disk.
    pub(super) fn hand(&self, held: &mut Held, to: Receiver, task: TaskId, token: TaskToken, attempt: u32) {
        match to {
            Receiver::Node(node) => self.offer(node, task, token, attempt),
            Receiver::Caller(caller) => {
                let taken = caller.is_some_and(|caller| caller.send(Assigned { task, token, attempt }).is_ok());
                if !taken {
                    // the worker is gone
                    let _ = held.core.release(task, token, self.now());
                }
            }
        }
    }
}

fn event_of(action: &Action, ownership: u32) -> TaskEvent {
    match action.clone() {
        Action::Claim { task, token, attempt, holder: Holder { node, agent }, .. } => {
            TaskEvent::Claimed(TaskClaim { task, ownership, attempt, token, worker: node, agent })
        }
        Action::Return { task, token, cause, fault } => {
            TaskEvent::Returned(TaskReturn { task, ownership, token, cause, error: fault.error })
        }
        Action::Settle { task, token, end, output, fault: Fault { code, error } } => {
            let (outcome, more) = (end, String::new());
            TaskEvent::Settled(Box::new(Settlement { task, ownership, token, outcome, output, code, error, more }))
        }
    }
}
