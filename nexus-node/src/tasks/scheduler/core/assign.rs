//! Tasks that wait meet workers that wait, and the records of workers.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use nexus_crdt::{ReturnCause, TaskId, TaskToken};
use nexus_identity::Did;

use super::{
    Action, CHOICE_NODES_MAX, CHOICES_MAX, Call, CallId, Choice, Claimant, Fault, Holder, LEASE_ELSEWHERE,
    LOOKED_AT_MAX, NotChosen, Open, PREEMPT_EVERY, Place, Running, Scheduler,
};
use crate::tasks::agent::{Agent, AgentHealth};
use crate::tasks::scheduler::approved::{Approved, WorkersElsewhere};
use crate::tasks::scheduler::records::{Breaker, Rest};
use crate::tasks::scheduler::route::{About, Candidate, Score, ranked};

impl Scheduler {
    /// Gives tasks that wait to workers that wait, as long as there are both.
    pub(super) fn assign_ready(&mut self, capability: &str, now: Duration) {
        let mut after: Option<(u64, TaskId)> = None;
        for _ in 0..LOOKED_AT_MAX {
            let Some(ready) = self.ready.get(capability).filter(|_| self.waits_for(capability)) else { return };
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(next) = ready.range((from, Bound::Unbounded)).next().copied() else { return };
            if self.tokens.is_empty() {
                return;
            }
            self.assign(next.1, now);
            after = Some(next);
        }
    }

    /// Gives a task that waits to a worker that waits.
    pub(super) fn assign(&mut self, task: TaskId, now: Duration) {
        let Some(open) = self.open.get(&task).filter(|open| matches!(open.place, Place::Ready)) else { return };
        let here = self.pick(open, now);
        if !self.elsewhere.contains_key(&open.spec.capability) {
            match here {
                Some(call) => self.claim(task, call, now),
                None => self.preempt_for(task, now),
            }
            return;
        }
        let capability = open.spec.capability.clone();
        let ranked = ranked(self.routing, &self.candidates(open, here, now));
        let Some((best, _)) = ranked.first().copied() else { return self.preempt_for(task, now) };
        match here.filter(|call| self.calls[call].holder.node == best) {
            Some(call) => self.claim(task, call, now),
            None => self.claim_elsewhere(task, &capability, best, now),
        }
        let row = |(place, (node, score)): (usize, (Did, Score))| Choice {
            node,
            score: Some(score),
            not: (place > 0).then_some(NotChosen::Worse),
        };
        let rows = ranked.into_iter().take(CHOICE_NODES_MAX).enumerate().map(row).collect();
        if self.choices.insert(task, rows).is_none() {
            self.chosen.push_back(task);
        }
        while self.chosen.len() > CHOICES_MAX {
            if let Some(oldest) = self.chosen.pop_front() {
                self.choices.remove(&oldest);
            }
        }
    }

    /// Takes a worker for a critical task from the least urgent preemptible one. That waits again, and the worker asks again
    /// once it has stopped.
    fn preempt_for(&mut self, task: TaskId, now: Duration) {
        let Some(open) = self.open.get(&task).filter(|open| open.spec.critical && self.may_begin(open)) else { return };
        if self.preempting.get(&task).is_some_and(|at| now < *at + PREEMPT_EVERY) {
            return;
        }
        let running = self.running.get(&open.spec.capability).into_iter().flatten().rev();
        let later = running.take_while(|(rank, _)| *rank > open.spec.rank).take(LOOKED_AT_MAX);
        let victim = later.into_iter().find_map(|(_, victim)| match self.open.get(victim)? {
            Open { spec, place: Place::Running(running), .. }
                if spec.preemptible
                    && self.is_meant(open, &running.holder.node)
                    && running.insists_on <= open.spec.approved =>
            {
                Some((*victim, running.token))
            }
            _ => None,
        });
        let Some((victim, token)) = victim else { return };
        self.not_tried(victim, now);
        self.put(victim, Place::Ending);
        self.preempting.insert(task, now);
        let fault = Fault::new("preempted", format!("{task} is critical"));
        self.actions.push_back(Action::Return { task: victim, token, cause: ReturnCause::Preempted, fault });
    }

    /// The worker of this node that gets a task, if this node does: the one that has waited longest. A worker that failed at
    /// it comes last.
    fn pick(&self, open: &Open, now: Duration) -> Option<CallId> {
        let callers = self.callers.get(&open.spec.capability)?;
        let fits = |call: &&CallId| {
            let call = &self.calls[*call];
            self.fits_open(open, call) && self.may_have(call, &open.spec.capability, now)
        };
        let mut fitting = callers.iter().filter(fits);
        let Some(failed_at) = &open.failed_at else { return fitting.next().copied() };
        let first = fitting.next().copied()?;
        let is_other = |call: &CallId| self.calls[call].holder != *failed_at;
        if is_other(&first) { Some(first) } else { fitting.copied().find(is_other).or(Some(first)) }
    }

    /// The nodes that could get a task: this one, with the worker that was picked, and others.
    fn candidates(&self, open: &Open, here: Option<CallId>, now: Duration) -> Vec<Candidate> {
        let capability = &open.spec.capability;
        let failed_here = |node: Did| open.failed_at.as_ref().is_some_and(|holder| holder.node == node);
        let here = here.map(|call| {
            let holder = &self.calls[&call].holder;
            let fits = |call: &&CallId| self.calls[*call].insists_on <= open.spec.approved;
            let waiting = self.callers.get(capability).map_or(1, |callers| callers.iter().filter(fits).count());
            Candidate {
                node: holder.node,
                waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
                about: self.about_me(),
                seen: self.records.seen(capability, &holder.node, &holder.agent),
                failed_here: open.failed_at.as_ref() == Some(holder),
            }
        });
        let elsewhere = self.elsewhere.get(capability).into_iter().flatten();
        let is_meant = |node: &Did| self.is_meant(open, node) && self.may_begin(open) && !self.is_too_old(open, node);
        let is_well = |node: &Did| self.records.breaker(capability, node, "", now) == Breaker::Closed;
        let waiting = |waits: &WorkersElsewhere| waits.for_approved(&open.spec.submitter, open.spec.approved);
        let elsewhere = elsewhere.filter(|(node, waits)| waiting(waits) > 0 && is_meant(node) && is_well(node));
        let elsewhere = elsewhere.map(|(node, waits)| Candidate {
            node: *node,
            waiting: waiting(waits),
            about: self.said.get(node).map_or_else(About::default, |said| said.about),
            seen: self.records.seen(capability, node, ""),
            failed_here: failed_here(*node),
        });
        here.into_iter().chain(elsewhere).collect()
    }

    /// Whether a task may go to the workers of a member: it may read it, and the task is for no other one.
    pub(super) fn is_meant(&self, open: &Open, member: &Did) -> bool {
        open.spec.to.is_none_or(|to| to == *member) && self.may_read(open, member)
    }

    fn is_too_old(&self, open: &Open, node: &Did) -> bool {
        open.spec.by_person && self.earlier.contains(node)
    }

    fn about_me(&self) -> About {
        About { load: self.load, round_trip: Some(Duration::ZERO), same_region: Some(true) }
    }

    /// The nodes with workers for a task, and why each has it or not: at the last choice, or for one that waits, now.
    pub(in crate::tasks) fn explain(&self, task: TaskId, now: Duration) -> Vec<Choice> {
        let waits =
            |open: &&Open| matches!(open.place, Place::Ready | Place::Paused { .. } | Place::Approval | Place::After);
        let Some(open) = self.open.get(&task).filter(waits) else {
            return self.choices.get(&task).cloned().unwrap_or_default();
        };
        let capability = &open.spec.capability;
        let ranked = ranked(self.routing, &self.candidates(open, self.pick(open, now), now));
        let mut rows: Vec<Choice> =
            ranked.into_iter().map(|(node, score)| Choice { node, score: Some(score), not: None }).collect();
        let able = |agent: &&Agent| agent.capabilities.contains(capability);
        let others = self.said.iter().filter_map(|(node, said)| {
            let mut able = said.agents.iter().filter(able).peekable();
            able.peek()?;
            let (mut is_over, mut waits) = (true, false);
            for agent in able {
                is_over &= agent.health == AgentHealth::Overloaded;
                waits |= agent.waiting > 0 && agent.health != AgentHealth::Overloaded;
            }
            // it says of each that waits for tasks of this node
            let serves = |waits: &WorkersElsewhere| waits.serves(&open.spec.submitter);
            let serves = self.elsewhere.get(capability).and_then(|nodes| nodes.get(node)).is_some_and(serves);
            Some((*node, "", is_over, waits && !serves))
        });
        // all calls of this node have the same machine
        let here = self.callers.get(capability).map(|callers| {
            let calls = || callers.iter().map(|call| &self.calls[call]);
            let is_over = calls().all(|call| self.is_over(call));
            (self.me, calls().next().map_or("", |call| &call.holder.agent), is_over, false)
        });
        for (node, agent, is_over, turns_away) in here.into_iter().chain(others).take(CHOICE_NODES_MAX) {
            if rows.iter().any(|row| row.node == node) {
                continue;
            }
            let insists_on = self.insists_on_more(open, &node);
            let rest = self.records.rest(capability, &node, agent, now);
            let not = match (self.records.breaker(capability, &node, agent, now), rest) {
                _ if open.spec.to.is_some_and(|to| to != node) => NotChosen::NotMeant,
                _ if !self.may_read(open, &node) => NotChosen::MayNotRead,
                _ if self.is_too_old(open, &node) => NotChosen::TooOld,
                (_, Some(rest)) => NotChosen::Rests(rest),
                (Breaker::Tried, None) => NotChosen::Tried,
                _ if is_over => NotChosen::Overloaded,
                _ if turns_away => NotChosen::TurnsAway,
                _ => insists_on.map_or(NotChosen::NoneWaits, NotChosen::Insists),
            };
            rows.push(Choice { node, score: None, not: Some(not) });
        }
        rows
    }

    /// The capabilities that workers have, here and elsewhere: the first of them.
    pub(in crate::tasks) fn capabilities(&self, most: usize) -> Vec<String> {
        let elsewhere = self.said.values().flat_map(|said| &said.agents).flat_map(|agent| &agent.capabilities);
        let all: BTreeSet<&String> = self.callers.keys().chain(elsewhere).collect();
        all.into_iter().take(most).cloned().collect()
    }

    /// The rest of the worker whose attempt at a task has just failed.
    pub(in crate::tasks) fn rest_after(&self, task: TaskId, now: Duration) -> Option<Rest> {
        let open = self.open.get(&task)?;
        let Holder { node, agent } = open.failed_at.clone()?;
        self.records.rest(&open.spec.capability, &node, &self.record_name(node, agent), now)
    }

    /// The least approval on which the workers of a node insist that wait for a task, if that is more than it has.
    fn insists_on_more(&self, open: &Open, node: &Did) -> Option<Approved> {
        let elsewhere = || self.elsewhere.get(&open.spec.capability)?.get(node)?.least(&open.spec.submitter);
        let least = if *node == self.me { self.insists_here(open) } else { elsewhere() };
        least.filter(|least| *least > open.spec.approved)
    }

    fn claim_elsewhere(&mut self, task: TaskId, capability: &str, node: Did, now: Duration) {
        let Some(token) = self.tokens.pop() else { return };
        let Some(Open { spec, .. }) = self.open.get(&task) else { return };
        let (submitter, approved) = (spec.submitter, spec.approved);
        let mut insists_on = Approved::Not;
        if let Some(nodes) = self.elsewhere.get_mut(capability) {
            if let Some(waits) = nodes.get_mut(&node) {
                insists_on = waits.take(&submitter, approved);
            }
            nodes.retain(|_, waits| !waits.is_empty());
            if nodes.is_empty() {
                self.elsewhere.remove(capability);
            }
        }
        self.record_given(capability, node, String::new(), now);
        let holder = Holder { node, agent: String::new() };
        self.put_claim(task, Claimant::Node(node), token, (holder, LEASE_ELSEWHERE, insists_on), now);
    }

    pub(super) fn claim(&mut self, task: TaskId, call: CallId, now: Duration) {
        let (Some(token), Some(Call { holder, lease, insists_on, .. })) =
            (self.tokens.pop(), self.calls.get(&call).cloned())
        else {
            return;
        };
        self.hang_up(call);
        if let Some(open) = self.open.get(&task) {
            let capability = open.spec.capability.clone();
            self.record_given(&capability, holder.node, holder.agent.clone(), now);
        }
        self.put_claim(task, Claimant::Call(call), token, (holder, lease, insists_on), now);
    }

    fn put_claim(
        &mut self,
        task: TaskId,
        to: Claimant,
        token: TaskToken,
        (holder, lease, insists_on): (Holder, Duration, Approved),
        now: Duration,
    ) {
        let Some(open) = self.open.get(&task) else { return };
        let (attempt, attempt_until) = (open.claims + 1, now.saturating_add(open.spec.attempt));
        let lease_until = now + lease;
        let running = Running { token, holder: holder.clone(), lease, lease_until, attempt_until, insists_on };
        self.preempting.remove(&task);
        self.put(task, Place::Claiming(running));
        self.actions.push_back(Action::Claim { task, to, token, attempt, holder });
    }

    /// The name under which the record of a worker is kept: other nodes choose their workers themselves.
    fn record_name(&self, node: Did, agent: String) -> String {
        if self.me == node { agent } else { String::new() }
    }

    /// The record of the worker that has a task: its capability, node and name.
    fn record_of(&self, task: TaskId) -> Option<(String, Did, String)> {
        let Open { spec, place: Place::Running(running), .. } = self.open.get(&task)? else { return None };
        let Holder { node, agent } = running.holder.clone();
        Some((spec.capability.clone(), node, self.record_name(node, agent)))
    }

    pub(super) fn record_success(&mut self, task: TaskId, now: Duration) {
        let Some((capability, node, agent)) = self.record_of(task) else { return };
        let Some(Open { spec, place: Place::Running(running), .. }) = self.open.get(&task) else { return };
        let begun = running.attempt_until.saturating_sub(spec.attempt);
        let rested = self.records.breaker(&capability, &node, &agent, now) != Breaker::Closed;
        self.records.succeeded(&capability, node, &agent, now.saturating_sub(begun), now);
        if rested {
            self.rests.insert((now, capability));
        }
    }

    pub(super) fn record_failure(&mut self, task: TaskId, now: Duration) {
        let Some((capability, node, agent)) = self.record_of(task) else { return };
        if let Some(Open { place: Place::Running(running), failed_at, .. }) = self.open.get_mut(&task) {
            *failed_at = Some(running.holder.clone());
        }
        if let Some(until) = self.records.failed(&capability, node, &agent, now) {
            self.rests.insert((until, capability));
        }
    }

    /// An attempt is over which says nothing of its worker.
    pub(super) fn not_tried(&mut self, task: TaskId, now: Duration) {
        let Some((capability, node, agent)) = self.record_of(task) else { return };
        if self.records.breaker(&capability, &node, &agent, now) != Breaker::Closed {
            self.records.released(&capability, node, &agent, now);
            self.rests.insert((now, capability));
        }
    }

    /// A worker gets a task: one that rested has to show that it is well again.
    fn record_given(&mut self, capability: &str, node: Did, agent: String, now: Duration) {
        let agent = self.record_name(node, agent);
        if let Some(until) = self.records.given(capability, node, &agent, now) {
            self.rests.insert((until, capability.to_owned()));
        }
    }

    /// Whether a worker gets work of a capability now.
    pub(super) fn may_have(&self, call: &Call, capability: &str, now: Duration) -> bool {
        let Holder { node, agent } = &call.holder;
        !self.is_over(call) && self.records.breaker(capability, node, agent, now) == Breaker::Closed
    }

    pub(super) fn fits(&self, task: TaskId, call: &Call) -> bool {
        self.open.get(&task).is_some_and(|open| self.fits_open(open, call))
    }

    fn fits_open(&self, open: &Open, call: &Call) -> bool {
        self.is_meant(open, &call.holder.node) && call.insists_on <= open.spec.approved && self.may_begin(open)
    }

    pub(super) fn may_begin(&self, open: &Open) -> bool {
        self.quorum || !open.spec.once
    }
}
