//! The workers of all nodes, by their nodes' words: their names and abilities, and how busy their machines are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{TASK_NAME_BYTES_MAX, is_capability};
use nexus_identity::Did;
use prost::Message;

use super::board::TaskBoard;
use super::core::{Choice, NotChosen, Said};
use super::route::{About, Score};
use super::wire::{Serving, Worker};
use super::{Agent, AgentHealth, CAPABILITIES_MAX, TaskCandidate, TaskId};
use crate::config::Labels;
use crate::load::{self, Load, Meter};

/// The most workers of a node by name, and the most bytes of what it says of them: so much each connected peer makes this
/// node keep.
const AGENTS_MAX: usize = 1_000;
const SAID_BYTES_MAX: usize = 128 * 1024;
/// The label that says where a node is.
const REGION: &str = "region";

impl TaskBoard {
    /// The workers that wait for work, or do some: of this node and of those that are connected.
    pub fn agents(&self) -> Vec<Agent> {
        let now = self.now();
        let mut agents = self.agents_here();
        agents.extend(self.held().core.agents_elsewhere(now));
        agents
    }

    fn agents_here(&self) -> Vec<Agent> {
        let (me, now, held) = (self.me(), self.now(), self.held());
        let mut agents = held.core.agents_of(me, now);
        for guest in held.guests.values() {
            let name = guest.agent();
            let agent = agents
                .entry(name.to_owned())
                .or_insert_with(|| Agent { load: held.core.load(), ..Agent::new(me, name) });
            agent.capabilities.insert(guest.capability().to_owned());
            agent.running += 1;
        }
        drop(held);
        let labels = &self.here().labels.0;
        let labelled = |mut agent: Agent| {
            agent.labels.clone_from(labels);
            agent
        };
        agents.into_values().map(labelled).collect()
    }

    /// The words of this node about its workers and itself, to every member; none if it has no workers.
    pub(super) fn word_of_workers(&self) -> Serving {
        let agents: Vec<Worker> = self.agents_here().into_iter().map(said).collect();
        if agents.is_empty() {
            return Serving::default();
        }
        let Load { cpu, memory } = self.held().core.load();
        // in steps of ten: a load that changes a little is no news
        let told = |used: Option<u8>| used.map_or(0, |used| (u32::from(used) + 5) / 10 * 10 + 1);
        let labels = self.here().labels.0.clone();
        let mut serving = Serving { agents, cpu: told(cpu), memory: told(memory), labels, ..Serving::default() };
        serving.agents.truncate(AGENTS_MAX);
        while serving.encoded_len() > SAID_BYTES_MAX && !serving.agents.is_empty() {
            serving.agents.truncate(serving.agents.len() / 2);
        }
        serving
    }

    /// Reads what another node says of its workers. `None` if it breaks a rule.
    pub(super) fn read_word(&self, node: Did, serving: Serving) -> Option<Said> {
        let fits = |worker: &Worker| {
            worker.name.len() <= TASK_NAME_BYTES_MAX
                && worker.capabilities.len() <= CAPABILITIES_MAX
                && worker.capabilities.iter().all(|capability| is_capability(capability))
        };
        if serving.encoded_len() > SAID_BYTES_MAX
            || serving.agents.len() > AGENTS_MAX
            || !serving.agents.iter().all(fits)
        {
            return None;
        }
        let labels = Labels::checked(serving.labels)?;
        let percent = |told: u32| told.checked_sub(1).map(|used| u8::try_from(used.min(100)).unwrap_or(100));
        let load = Load { cpu: percent(serving.cpu), memory: percent(serving.memory) };
        let region = self.here().labels.0.get(REGION).zip(labels.0.get(REGION));
        let about = About { load, round_trip: None, same_region: region.map(|(ours, theirs)| ours == theirs) };
        let agent = |worker: Worker| {
            let mut agent = Agent::new(node, &worker.name);
            agent.capabilities = BTreeSet::from_iter(worker.capabilities);
            let count = |told: u32| usize::try_from(told).unwrap_or(usize::MAX);
            (agent.waiting, agent.running) = (count(worker.waiting), count(worker.running));
            if worker.overloaded {
                agent.health = AgentHealth::Overloaded;
            }
            agent
        };
        Some(Said { agents: serving.agents.into_iter().map(agent).collect(), labels: labels.0, about })
    }

    /// Notes how long messages take to a node that has workers, if that is not known yet.
    pub(super) async fn learn_way_to(&self, node: Did) {
        if self.held().core.knows_way_to(&node) {
            return;
        }
        let peers = self.here().mesh.peers().await;
        if let Some(round_trip) = peers.iter().find(|peer| peer.did == node).and_then(|peer| peer.rtt) {
            self.held().core.answered(&node, round_trip);
        }
    }

    /// Reads the load of this machine while workers are here, until the node ends.
    pub(crate) async fn keep_load(self) {
        let Some(usage) = self.here().usage.clone() else { return };
        let mut meter = Meter::default();
        // it closes with the engine
        let mut members = self.here().identity.follow();
        loop {
            let has_workers = {
                let held = self.held();
                held.core.has_workers() || !held.guests.is_empty()
            };
            let until = if has_workers { self.now() + load::EVERY } else { Duration::MAX };
            if has_workers {
                let usage = usage.clone();
                let Ok(usage) = self.here().world.reading(move || usage()).await else { return };
                let load = meter.read(usage);
                let (now, mut held) = (self.now(), self.held());
                if held.core.load() != load {
                    held.core.set_load(load, now);
                    drop(held);
                    self.wake();
                    self.0.calls.notify_one();
                }
            } else {
                meter.clear();
            }
            loop {
                tokio::select! {
                    () = self.0.workers.notified() => if !has_workers { break },
                    () = self.here().world.sleep_until(until) => break,
                    changed = members.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// The nodes with workers for a task of this node, best first: as they were when it was handed out, and for a task that
    /// waits, as they are now. Nothing is known of tasks of others.
    pub fn candidates(&self, task: TaskId) -> Vec<TaskCandidate> {
        let now = self.now();
        self.held().core.explain(task, now).into_iter().map(in_words).collect()
    }
}

fn said(agent: Agent) -> Worker {
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    Worker {
        name: agent.name.unwrap_or_default(),
        capabilities: agent.capabilities.into_iter().collect(),
        waiting: count(agent.waiting),
        running: count(agent.running),
        overloaded: agent.health == AgentHealth::Overloaded,
    }
}

fn in_words(Choice { node, score, not }: Choice) -> TaskCandidate {
    let parts = |score: Score| {
        let Score { waiting, cpu, memory, round_trip, region, reputation, duration, failed_here } = score;
        [
            ("waiting", waiting),
            ("cpu", cpu),
            ("memory", memory),
            ("round_trip", round_trip),
            ("region", region),
            ("reputation", reputation),
            ("duration", duration),
            ("failed_here", failed_here),
        ]
    };
    let why_not = not.map(|not| match not {
        NotChosen::NoneWaits => "its workers have work, or take no tasks of this member".to_owned(),
        NotChosen::Rests(left) => format!("it failed too often, and rests for {:.0} s", left.as_secs_f64().ceil()),
        NotChosen::Tried => "it failed too often, and one task tries it again".to_owned(),
        NotChosen::Overloaded => "its machine is busier than its workers allow".to_owned(),
        NotChosen::NotMeant => "the task is for another member".to_owned(),
        NotChosen::Worse => "another one has a better score".to_owned(),
    });
    let points = score.map_or_else(Vec::new, |score| parts(score).into_iter().filter(|(_, one)| *one != 0.0).collect());
    TaskCandidate { node, score: score.map(|score| score.sum()), parts: points, why_not }
}

/// The words of this node that a peer has heard, and when it may hear others.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) waiting: BTreeMap<String, u32>,
    pub(super) word: Serving,
    /// A word about workers alone is said at this time at the earliest: 8 KiB a second, and one a second.
    pub(super) next: Duration,
}

impl Told {
    /// Notes that a word was heard.
    pub(super) fn hear(waiting: BTreeMap<String, u32>, word: Serving, now: Duration) -> Self {
        let bytes = u64::try_from(word.encoded_len()).unwrap_or(u64::MAX);
        let pause = Duration::from_secs(1).max(Duration::from_millis(bytes / 8));
        Self { waiting, word, next: now.saturating_add(pause) }
    }
}
