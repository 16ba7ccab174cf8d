//! Workers at other nodes, and the workers of all nodes as they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::TaskId;
use nexus_identity::{Did, Timestamp};

use super::{Call, CallId, Open, Place, Said, Scheduler, TURN_EVERY, TURNS_MAX};
use crate::tasks::agent::{Agent, AgentHealth};
use crate::tasks::scheduler::approved::{Approved, WorkersElsewhere};

impl Scheduler {
    /// The workers that wait here for tasks which another member hands out, by capability: its own ones, and those of the
    /// submitters whose heir it is.
    pub(in crate::tasks) fn waiting_for(
        &self,
        (member, is_trusted): (&Did, bool),
        submitters: &[(Did, bool)],
    ) -> BTreeMap<String, WorkersElsewhere> {
        let mut waiting: BTreeMap<String, WorkersElsewhere> = BTreeMap::new();
        for call in self.calls.values().filter(|call| !self.is_over(call)) {
            let is_any = call.from.admits(member, is_trusted);
            let admitted = |(submitter, is_trusted): &&(Did, bool)| call.from.admits(submitter, *is_trusted);
            let of: Vec<Did> = submitters.iter().filter(admitted).map(|(submitter, _)| *submitter).collect();
            if !is_any && of.is_empty() {
                continue;
            }
            for capability in &call.capabilities {
                let waits = waiting.entry(capability.clone()).or_default();
                if is_any {
                    waits.any.add(call.insists_on, 1);
                } else {
                    of.iter().for_each(|submitter| waits.of.entry(*submitter).or_default().add(call.insists_on, 1));
                }
            }
        }
        waiting
    }

    /// Gives a task of another node, approved so far, to the worker that has waited longest among those that take tasks of one
    /// of these members.
    pub(in crate::tasks) fn take_offer(
        &mut self,
        capability: &str,
        whose: &[(Did, bool)],
        approved: Approved,
    ) -> Option<(CallId, Call)> {
        let callers = self.callers.get(capability)?;
        let is_of = |call: &Call| whose.iter().any(|(member, is_trusted)| call.from.admits(member, *is_trusted));
        let admits = |call: &Call| is_of(call) && call.insists_on <= approved && !self.is_over(call);
        let call = *callers.iter().find(|call| admits(&self.calls[call]))?;
        let taken = self.calls.get(&call).cloned()?;
        self.hang_up(call);
        Some((call, taken))
    }

    /// Another node says how many of its workers wait for tasks of this one. `false` if it gets none for now, since it
    /// turned down too many.
    pub(in crate::tasks) fn serving(
        &mut self,
        node: Did,
        waiting: BTreeMap<String, WorkersElsewhere>,
        now: Duration,
    ) -> bool {
        self.serves_no_more(&node);
        if self.has_turned_down_too_many(&node, now) {
            return false;
        }
        for (capability, waits) in waiting.into_iter().filter(|(_, waits)| !waits.is_empty()) {
            self.elsewhere.entry(capability.clone()).or_default().insert(node, waits);
            self.assign_ready(&capability, now);
        }
        true
    }

    /// Notes whether a node is of a version that does not judge approvals by persons.
    pub(in crate::tasks) fn note_version(&mut self, node: Did, is_earlier: bool) {
        if is_earlier {
            self.earlier.insert(node);
        } else {
            self.earlier.remove(&node);
        }
    }

    /// Another node says of itself what its workers are, and how it is.
    pub(in crate::tasks) fn hear_of(&mut self, node: Did, mut said: Said) {
        let before = self.said.get(&node).and_then(|before| before.about.round_trip);
        said.about.round_trip = said.about.round_trip.or(before);
        self.said.insert(node, said);
    }

    /// A node whose workers wait for a task that nobody gets, and insist on an approval that it does not have: this node
    /// before others.
    pub(in crate::tasks) fn insists(&self, task: TaskId) -> Option<(Did, Approved)> {
        let open = self.open.get(&task)?;
        let capability = &open.spec.capability;
        let here = self.insists_here(open).map(|on| (self.me, on));
        let elsewhere = self.elsewhere.get(capability).into_iter().flatten();
        let elsewhere = elsewhere.map(|(node, waits)| (*node, waits.least(&open.spec.submitter)));
        let all: Vec<(Did, Option<Approved>)> = here
            .map(|(me, on)| (me, Some(on)))
            .into_iter()
            .chain(elsewhere)
            .filter(|(node, _)| self.is_meant(open, node))
            .collect();
        // while one takes it, it only has to come to it
        if all.iter().any(|(_, on)| on.is_some_and(|on| on <= open.spec.approved)) {
            return None;
        }
        all.into_iter().find_map(|(node, on)| Some((node, on?)))
    }

    /// The least approval on which the workers of this node insist that wait for a task.
    pub(super) fn insists_here(&self, open: &Open) -> Option<Approved> {
        let callers = self.callers.get(&open.spec.capability)?;
        callers.iter().map(|call| self.calls[call].insists_on).min()
    }

    /// Whether a node has workers, and it is not known how long messages take to it.
    pub(in crate::tasks) fn lacks_way_to(&self, node: &Did) -> bool {
        self.said.get(node).is_some_and(|said| said.about.round_trip.is_none())
    }

    /// An answer of another node came after so long.
    pub(in crate::tasks) fn answered(&mut self, node: &Did, round_trip: Duration) {
        if let Some(said) = self.said.get_mut(node) {
            let before = said.about.round_trip.unwrap_or(round_trip);
            said.about.round_trip = Some((before * 3 + round_trip) / 4);
        }
    }

    /// A node is not connected any more.
    pub(in crate::tasks) fn is_gone(&mut self, node: &Did) {
        self.serves_no_more(node);
        self.said.remove(node);
        self.earlier.remove(node);
    }

    /// A node has turned down a task that was claimed for it, or given it back.
    pub(in crate::tasks) fn turned_down(&mut self, node: Did, now: Duration) {
        self.turned_down.retain(|_, forgiven| *forgiven > now);
        let forgiven = self.turned_down.entry(node).or_insert(now);
        *forgiven = forgiven.saturating_add(TURN_EVERY);
        if self.has_turned_down_too_many(&node, now) {
            self.serves_no_more(&node);
        }
    }

    pub(super) fn has_turned_down_too_many(&self, node: &Did, now: Duration) -> bool {
        self.turned_down.get(node).is_some_and(|forgiven| *forgiven > now + TURN_EVERY * (TURNS_MAX - 1))
    }

    /// No workers wait at a node any more.
    pub(in crate::tasks) fn serves_no_more(&mut self, node: &Did) {
        self.elsewhere.retain(|_, nodes| {
            nodes.remove(node);
            !nodes.is_empty()
        });
    }

    /// The nodes that said that workers wait there.
    pub(in crate::tasks) fn nodes_elsewhere(&self) -> BTreeSet<Did> {
        let waiting = self.elsewhere.values().flat_map(|nodes| nodes.keys());
        waiting.chain(self.said.keys()).chain(&self.earlier).copied().collect()
    }

    /// The workers of this node that wait for work or do some of its own tasks, by name.
    pub(in crate::tasks) fn agents_here(&self, now: Duration, wall: Timestamp) -> BTreeMap<String, Agent> {
        let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
        for call in self.calls.values() {
            let agent = self.agent_in(&mut agents, &call.holder.agent);
            agent.capabilities.extend(call.capabilities.iter().cloned());
            agent.waiting += 1;
            if self.is_over(call) {
                agent.health = AgentHealth::Overloaded;
            }
        }
        for (_, task) in self.running.values().flatten() {
            let Some(Open { spec, place: Place::Running(running), .. }) = self.open.get(task) else { continue };
            if running.holder.node == self.me {
                let agent = self.agent_in(&mut agents, &running.holder.agent);
                agent.capabilities.insert(spec.capability.clone());
                agent.running += 1;
            }
        }
        for (name, agent) in &mut agents {
            let (reputation, fails, rest) = self.records.of_worker(&self.me, name, now);
            agent.reputation = reputation;
            if fails {
                agent.health = AgentHealth::Failing;
            }
            agent.rest = rest.map(|rest| rest.at(now, wall));
        }
        agents
    }

    /// The worker of this node with a name, among these.
    pub(in crate::tasks) fn agent_in<'a>(&self, agents: &'a mut BTreeMap<String, Agent>, name: &str) -> &'a mut Agent {
        agents.entry(name.to_owned()).or_insert_with(|| Agent { load: self.load, ..Agent::new(self.me, name) })
    }

    /// The workers of other nodes, by their nodes' words, with what this node has seen of them.
    pub(in crate::tasks) fn agents_elsewhere(&self, now: Duration, wall: Timestamp) -> impl Iterator<Item = Agent> {
        self.said.iter().flat_map(move |(node, said)| {
            let (reputation, fails, rest) = self.records.of_worker(node, "", now);
            said.agents.iter().cloned().map(move |mut agent| {
                (agent.load, agent.labels, agent.reputation) = (said.about.load, said.labels.clone(), reputation);
                if fails {
                    agent.health = AgentHealth::Failing;
                }
                agent.rest = rest.map(|rest| rest.at(now, wall));
                agent
            })
        })
    }
}
