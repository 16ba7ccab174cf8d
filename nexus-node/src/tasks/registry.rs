//! The workers of all nodes, by their nodes' words: their names and abilities, and how busy their machines are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nexus_crdt::{TASK_NAME_BYTES_MAX, TaskId, is_capability};
use nexus_identity::Did;
use prost::Message;

use super::agent::{Agent, AgentHealth, TaskCandidate};
use super::claim::CAPABILITIES_MAX;
use super::guests::Guests;
use super::here::Here;
use super::scheduler::approved::WorkersElsewhere;
use super::scheduler::core::{Choice, Said};
use super::scheduler::route::{About, Score};
use super::schema;
use super::settler::Settler;
use super::wire::{
    self, Answer, Body, CAPABILITIES_MAX as CAPABILITIES_AT_A_NODE, SUBMITTERS_MAX, Serving, Worker, Workers,
};
use super::workers::Workers as WorkersHere;
use crate::config::Labels;
use crate::error::NodeError;
use crate::ledger;
use crate::load::{self, Load, Meter};

/// Calls of workers gather for so long before others hear of them.
const GATHER: Duration = Duration::from_millis(20);
/// The pause before a peer that did not answer is told again.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Words about workers are put together, and told to a peer, this often at most, and so many bytes of them in a second.
const TELL_EVERY: Duration = Duration::from_secs(1);
const TELL_BYTES_PER_S: usize = 8 * 1024;
/// The most workers of a node by name, and the most bytes of its words about them: as they are sent, and as they are kept of
/// each connected peer.
const WORKERS_MAX: usize = 1_000;
const SENT_BYTES_MAX: usize = 128 * 1024;
const KEPT_BYTES_MAX: usize = 512 * 1024;
/// The bytes that a worker, and each of its capabilities, takes beside its text.
const WORKER_BYTES: usize = 256;
const CAPABILITY_BYTES: usize = 64;
/// The most bytes of a node's labels: they are shown with each of its workers.
const LABELS_BYTES_MAX: usize = 1_024;
/// The label that says where a node is.
const REGION: &str = "region";

/// A handle to the registry, cheap to clone.
#[derive(Clone)]
pub(super) struct Registry(Arc<Inner>);

struct Inner {
    here: Here,
    settler: Settler,
    guests: Guests,
    workers: WorkersHere,
}

impl Registry {
    pub(super) fn new(here: Here, settler: Settler, guests: Guests, workers: WorkersHere) -> Self {
        Self(Arc::new(Inner { here, settler, guests, workers }))
    }

    fn here(&self) -> &Here {
        &self.0.here
    }

    fn me(&self) -> Did {
        self.0.here.me()
    }

    fn now(&self) -> Duration {
        self.0.here.now()
    }

    /// The workers that wait for work, or do some: of this node and of those that are connected.
    pub(super) fn agents(&self) -> Vec<Agent> {
        let mut agents = self.agents_here();
        agents.extend(self.0.settler.agents_elsewhere());
        agents
    }

    fn agents_here(&self) -> Vec<Agent> {
        let (mut agents, load) = (self.0.settler.agents_here(), self.0.settler.load());
        for (name, capability) in self.0.guests.workers() {
            let new = || Agent { load, ..Agent::new(self.me(), &name) };
            let agent = agents.entry(name.clone()).or_insert_with(new);
            agent.capabilities.insert(capability);
            agent.running += 1;
        }
        let schemas = self.0.workers.schemas_of(agents.keys());
        for (agent, schemas) in agents.values_mut().zip(schemas) {
            (agent.input_schema, agent.output_schema) = schemas;
        }
        let labelled = |agent: Agent| Agent { labels: self.here().labels.0.clone(), ..agent };
        agents.into_values().map(labelled).collect()
    }

    /// Tells the peers which workers wait here for their tasks, and of all workers, until the node ends.
    pub(super) async fn tell_others(self) {
        let sessions = self.here().sessions.clone();
        // it closes with the engine
        let (mut contacts, mut members) = (sessions.contacts(), self.here().identity.follow());
        let mut told: BTreeMap<Did, Told> = BTreeMap::new();
        let (mut word, mut rebuild) = (Arc::<Workers>::default(), Duration::ZERO);
        let mut again = Duration::MAX;
        loop {
            tokio::select! {
                changed = contacts.changed() => if changed.is_err() { return },
                // others may be admins now
                changed = members.changed() => if changed.is_err() { return },
                () = self.0.settler.until_calls_change() => {}
                () = self.here().world.sleep_until(again) => {}
            }
            self.here().world.sleep_until(self.now() + GATHER).await;
            let peers = sessions.that_serve(wire::ROOM);
            self.0.settler.keep_nodes(&peers);
            told.retain(|peer, _| peers.contains(peer));
            for peer in self.0.guests.take_offered() {
                told.entry(peer).or_default().waiting = None;
            }
            // a reader's workers get no task of others
            if !self.here().identity.may_write(&self.me()) {
                again = Duration::MAX;
                continue;
            }
            let now = self.now();
            again = rebuild;
            if rebuild <= now {
                word = Arc::new(self.word_of_workers());
                (again, rebuild) = (Duration::MAX, now + TELL_EVERY);
            }
            let mut asked = Vec::new();
            let heirs = self.submitters_of(&peers).await;
            for peer in peers {
                let is_trusted = self.here().is_trusted(&peer);
                let submitters = heirs.get(&peer).map_or(&[][..], Vec::as_slice);
                let mut waiting = self.0.settler.waiting_for((&peer, is_trusted), submitters);
                self.0.guests.keep_bulkheads(&peer, &mut waiting);
                while waiting.len() > CAPABILITIES_AT_A_NODE {
                    waiting.pop_last();
                }
                let news = told.entry(peer).or_default().news(waiting, &word, now);
                again = again.min(news.later);
                asked.push(self.tell(peer, news));
            }
            for (peer, heard, all) in join_all(asked).await {
                told.entry(peer).or_default().heard(heard);
                // a peer that does not know this member yet, or will not have its workers for now, is told again
                if !all {
                    again = again.min(self.now() + TELL_AGAIN);
                }
            }
        }
    }

    /// The submitters whose heirs these members are, of open tasks, and whether each is trusted here.
    async fn submitters_of(&self, peers: &BTreeSet<Did>) -> BTreeMap<Did, Vec<(Did, bool)>> {
        if !self.0.settler.has_callers() {
            return BTreeMap::new();
        }
        let peers = peers.clone();
        let read = self.here().reading(move |view, _| {
            let of = |peer: Did| Ok((peer, ledger::moving_submitters(view, &peer, SUBMITTERS_MAX)?));
            peers.into_iter().map(of).collect::<Result<Vec<_>, NodeError>>()
        });
        let trusted = |submitter: Did| (submitter, self.here().is_trusted(&submitter));
        let me = self.me();
        let of = |(peer, submitters): (Did, Vec<Did>)| {
            // this node's own tasks come back to it
            let others = submitters.into_iter().filter(|submitter| *submitter != peer && *submitter != me);
            (peer, others.map(trusted).collect())
        };
        // without the store its workers get what the others' own tasks are
        read.await.unwrap_or_default().into_iter().map(of).collect()
    }

    /// Tells a peer what is new to it. Returns what it heard, and whether that is all.
    async fn tell(&self, peer: Did, mut news: News) -> (Did, News, bool) {
        let is_heard = async |body: Body| {
            let answer = self.here().ask(peer, body).await;
            answer.is_ok_and(|answer| matches!(answer, Some(Body::Answer(Answer { done: true, .. }))))
        };
        let mut all = true;
        if let Some(waiting) = &news.waiting
            && !is_heard(Body::Serving(Serving::of(waiting))).await
        {
            (news.waiting, all) = (None, false);
        }
        if let Some(word) = &news.word
            && !is_heard(Body::Workers(Workers::clone(word))).await
        {
            (news.word, all) = (None, false);
        }
        (peer, news, all)
    }

    /// The words of this node about its workers and itself, to every member; none if it has no workers.
    fn word_of_workers(&self) -> Workers {
        let workers: Vec<Worker> = self.agents_here().into_iter().map(said).collect();
        if workers.is_empty() {
            return Workers::default();
        }
        let Load { cpu, memory } = self.0.settler.load();
        // in steps of ten: a load that changes a little is no news
        let told = |used: Option<u8>| used.map_or(0, |used| (u32::from(used) + 5) / 10 * 10 + 1);
        let labels = shown_labels(&self.here().labels);
        let mut word = Workers { workers, cpu: told(cpu), memory: told(memory), labels };
        word.workers.truncate(WORKERS_MAX);
        while !is_small(&word) && !word.workers.is_empty() {
            word.workers.truncate(word.workers.len() / 2);
        }
        word
    }

    /// Notes what another node says of its workers. `false` if it breaks a rule.
    pub(super) async fn hear_workers(&self, peer: Did, word: Workers) -> bool {
        let Some(said) = self.read_word(peer, word) else { return false };
        if self.0.settler.hear_of(peer, said) {
            let peers = self.here().mesh.peers().await;
            if let Some(round_trip) = peers.iter().find(|met| met.did == peer).and_then(|met| met.quality?.rtt) {
                self.0.settler.answered(&peer, round_trip);
            }
        }
        true
    }

    fn read_word(&self, node: Did, word: Workers) -> Option<Said> {
        let fits = |worker: &Worker| {
            worker.name.len() <= TASK_NAME_BYTES_MAX
                && worker.capabilities.len() <= CAPABILITIES_MAX
                && worker.capabilities.iter().all(|capability| is_capability(capability))
                && [&worker.input_schema, &worker.output_schema].into_iter().all(|text| schema::is_told(text))
        };
        if word.workers.len() > WORKERS_MAX || !is_small(&word) || !word.workers.iter().all(fits) {
            return None;
        }
        let labels = Labels::checked(word.labels).filter(|labels| bytes_of(&labels.0) <= LABELS_BYTES_MAX)?;
        let percent = |told: u32| told.checked_sub(1).map(|used| u8::try_from(used.min(100)).unwrap_or(100));
        let load = Load { cpu: percent(word.cpu), memory: percent(word.memory) };
        let region = self.here().labels.0.get(REGION).zip(labels.0.get(REGION));
        let about = About { load, round_trip: None, same_region: region.map(|(ours, theirs)| ours == theirs) };
        let agent = |worker: Worker| {
            let schema = |text: String| (!text.is_empty()).then_some(text);
            let count = |told: u32| usize::try_from(told).unwrap_or(usize::MAX);
            Agent {
                capabilities: worker.capabilities.into_iter().collect(),
                waiting: count(worker.waiting),
                running: count(worker.running),
                health: if worker.overloaded { AgentHealth::Overloaded } else { AgentHealth::Ok },
                input_schema: schema(worker.input_schema),
                output_schema: schema(worker.output_schema),
                ..Agent::new(node, &worker.name)
            }
        };
        Some(Said { agents: word.workers.into_iter().map(agent).collect(), labels: labels.0, about })
    }

    /// Reads the load of this machine while workers are here, until the node ends.
    pub(super) async fn keep_load(self) {
        let Some(usage) = self.here().usage.clone() else { return };
        let mut meter = Meter::default();
        // it closes with the engine
        let mut members = self.here().identity.follow();
        loop {
            let has_workers = self.0.settler.has_callers() || self.0.guests.has_some();
            let until = if has_workers { self.now() + load::EVERY } else { Duration::MAX };
            if has_workers {
                let usage = usage.clone();
                let Ok(usage) = self.here().world.reading(move || usage()).await else { return };
                self.0.settler.set_load(meter.read(usage));
            } else {
                meter.clear();
            }
            loop {
                tokio::select! {
                    () = self.0.workers.until_one_arrives() => if !has_workers { break },
                    () = self.here().world.sleep_until(until) => break,
                    changed = members.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// The nodes with workers for a task of this node, best first: as they were when it was handed out, and for a task that
    /// waits, as they are now. Nothing is known of tasks of others.
    pub(super) fn candidates(&self, task: TaskId) -> Vec<TaskCandidate> {
        let candidate = |Choice { node, score, not }: Choice| {
            let parts = score.iter().flat_map(Score::parts).filter(|(_, points)| *points != 0.0).collect();
            let why_not = not.map(|not| self.0.settler.why_not(not));
            TaskCandidate { node, score: score.map(|score| score.sum()), parts, why_not }
        };
        self.0.settler.explain(task).into_iter().map(candidate).collect()
    }
}

fn said(agent: Agent) -> Worker {
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    let schema = |of: Option<String>| of.filter(|text| text.len() <= schema::TOLD_BYTES_MAX).unwrap_or_default();
    Worker {
        name: agent.name.unwrap_or_default(),
        capabilities: agent.capabilities.into_iter().collect(),
        waiting: count(agent.waiting),
        running: count(agent.running),
        overloaded: agent.health == AgentHealth::Overloaded,
        input_schema: schema(agent.input_schema),
        output_schema: schema(agent.output_schema),
    }
}

/// Whether words about workers are within the bounds of what is sent and kept.
fn is_small(word: &Workers) -> bool {
    let of_capability = |capability: &String| CAPABILITY_BYTES + capability.len();
    let of_worker = |worker: &Worker| {
        let schemas = worker.input_schema.len() + worker.output_schema.len();
        WORKER_BYTES + schemas + worker.name.len() + worker.capabilities.iter().map(of_capability).sum::<usize>()
    };
    word.encoded_len() <= SENT_BYTES_MAX && word.workers.iter().map(of_worker).sum::<usize>() <= KEPT_BYTES_MAX
}

fn bytes_of(labels: &BTreeMap<String, String>) -> usize {
    labels.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The labels of a node that others are told: the region, and as many as fit.
fn shown_labels(Labels(labels): &Labels) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let region = labels.get_key_value(REGION);
    for (key, value) in region.into_iter().chain(labels) {
        if bytes_of(&shown) + key.len() + value.len() <= LABELS_BYTES_MAX {
            shown.insert(key.clone(), value.clone());
        }
    }
    shown
}

/// The words of this node that a peer has heard, and when it may hear others.
#[derive(Debug)]
struct Told {
    /// `None` after an offer of the peer: it counts one less since, whether a worker took it or not.
    waiting: Option<BTreeMap<String, WorkersElsewhere>>,
    word: Arc<Workers>,
    /// The next word about workers is said at this time at the earliest.
    next: Duration,
}

/// Something that a peer is to be told.
#[derive(Clone, Debug, PartialEq)]
struct News {
    waiting: Option<BTreeMap<String, WorkersElsewhere>>,
    word: Option<Arc<Workers>>,
    /// The time at which there is more.
    later: Duration,
}

impl Default for Told {
    /// Without a word, no worker waits.
    fn default() -> Self {
        Self { waiting: Some(BTreeMap::new()), word: Arc::default(), next: Duration::ZERO }
    }
}

impl Told {
    /// The news for the peer. Changes of the workers that wait are said at once. A word about all workers is said after a
    /// pause, also after one that was not heard.
    fn news(&mut self, waiting: BTreeMap<String, WorkersElsewhere>, word: &Arc<Workers>, now: Duration) -> News {
        let (is_other, may_say) = (self.word != *word, self.next <= now);
        if is_other && may_say {
            let bytes = word.encoded_len().saturating_mul(1_000) / TELL_BYTES_PER_S;
            let pause = Duration::from_millis(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.next = now.saturating_add(TELL_EVERY.max(pause));
        }
        News {
            waiting: (self.waiting.as_ref() != Some(&waiting)).then_some(waiting),
            word: (is_other && may_say).then(|| word.clone()),
            later: if is_other && !may_say { self.next } else { Duration::MAX },
        }
    }

    fn heard(&mut self, News { waiting, word, .. }: News) {
        self.waiting = waiting.or_else(|| self.waiting.take());
        self.word = word.unwrap_or_else(|| self.word.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::scheduler::approved::WaitingWorkers;

    fn words(workers: usize) -> Arc<Workers> {
        let worker = |n| Worker { name: format!("worker-number-{n}"), ..Worker::default() };
        Arc::new(Workers { workers: (0..workers).map(worker).collect(), ..Workers::default() })
    }

    fn waiting(workers: u32) -> BTreeMap<String, WorkersElsewhere> {
        BTreeMap::from([("build".to_owned(), WaitingWorkers::of(workers).into())])
    }

    /// promise: Tasks | Workers that wait are told of at once; words about all workers are said once a second and 8 KiB a second at most
    #[test]
    fn words_about_workers_keep_their_pace() {
        let ms = Duration::from_millis;
        for hears in [true, false] {
            let (mut told, mut bytes, mut said) = (Told::default(), 0, 0);
            assert_eq!(
                told.news(BTreeMap::new(), &words(0), ms(0)).word,
                None,
                "without workers there is nothing to say"
            );
            for n in 0..6_000_u32 {
                // others wait, and other workers are there, each 20 ms
                let news = told.news(waiting(n + 1), &words(1_000 + usize::from(n % 2 == 0)), ms(u64::from(n) * 20));
                assert_eq!(news.waiting, Some(waiting(n + 1)));
                bytes += news.word.as_ref().map_or(0, |word| word.encoded_len());
                said += usize::from(news.word.is_some());
                if hears {
                    told.heard(news);
                }
            }
            let most = 120 * TELL_BYTES_PER_S + words(1_001).encoded_len();
            assert!((most * 9 / 10..=most).contains(&bytes), "{bytes} of {most}");
            assert!(said > 10, "{said}");
        }
    }

    #[test]
    fn what_is_not_said_now_is_said_later() {
        let (ms, word) = (Duration::from_millis, words(3));
        let mut told = Told::default();
        assert_eq!(
            told.news(BTreeMap::new(), &Arc::default(), ms(0)).waiting,
            None,
            "a node without workers says nothing"
        );
        let news = told.news(waiting(1), &word, ms(0));
        assert_eq!(news, News { waiting: Some(waiting(1)), word: Some(word.clone()), later: Duration::MAX });
        told.heard(news);
        let nothing = News { waiting: None, word: None, later: Duration::MAX };
        assert_eq!(told.news(waiting(1), &word, ms(10)), nothing);
        told.waiting = None;
        assert_eq!(told.news(waiting(1), &word, ms(10)).waiting, Some(waiting(1)), "it offered a task meanwhile");
        told.heard(News { waiting: Some(waiting(1)), ..nothing.clone() });
        let other = words(4);
        assert_eq!(told.news(waiting(1), &other, ms(10)), News { later: ms(1_000), ..nothing });
        assert_eq!(told.news(waiting(1), &other, ms(1_000)).word, Some(other));
    }

    #[test]
    fn labels_that_are_told_are_few_and_have_the_region() {
        let long = |n: u8| (format!("{n}"), "x".repeat(250));
        let labels = (0..9).map(long).chain([("region".to_owned(), "cellar".to_owned())]);
        let shown = shown_labels(&Labels(labels.collect()));
        assert_eq!((shown.len(), shown["region"].as_str()), (5, "cellar"));
        assert!(bytes_of(&shown) <= LABELS_BYTES_MAX);
    }
}
