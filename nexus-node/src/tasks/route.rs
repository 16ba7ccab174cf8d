//! The choice of a node for a task, among those at which workers wait for it. It is pure: the words of the nodes about
//! themselves and the record of their work come in, a score for each comes out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nexus_identity::{Did, Timestamp};

use super::AgentRest;
use crate::config::TaskRouting;
use crate::load::Load;

/// The outcomes that a breaker looks at: those of so long ago, and at most so many.
const LOOKED_BACK: Duration = Duration::from_secs(60);
const OUTCOMES_MAX: usize = 64;
/// Fewer outcomes say nothing.
const OUTCOMES_MIN: usize = 8;
/// The time for which a worker rests that failed too often. One task tries it again then.
pub(super) const REST: Duration = Duration::from_secs(30);
/// The records that are kept; those of workers without an outcome for a minute make room.
const RECORDS_MAX: usize = 4_096;
/// The part of the distance to one by which a success mends a reputation, and the part that a failure leaves of it.
const MENDS: f64 = 0.1;
const LEAVES: f64 = 0.8;
/// The weight of the last success in the expected time of the next.
const LATEST: f64 = 0.3;
/// A round trip of so long is worth half.
const ROUND_TRIP_HALF: Duration = Duration::from_millis(50);
/// Workers beyond these make a node no better.
const WAITING_MAX: u32 = 8;

/// A node's words about itself, and what is known of the way to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About {
    pub(super) load: Load,
    /// Zero for this node; `None` where it is not known.
    pub(super) round_trip: Option<Duration>,
    /// Whether it has the same label `region` as this node; `None` if either has none.
    pub(super) same_region: Option<bool>,
}

/// The parts of a score: points, and the most that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Score {
    pub(super) waiting: f64,
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) round_trip: f64,
    pub(super) region: f64,
    pub(super) reputation: f64,
    pub(super) duration: f64,
    /// Taken off for a node at which this task has failed.
    pub(super) failed_here: f64,
}

impl Score {
    /// Its parts by name.
    pub(super) const fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("waiting", self.waiting),
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("round_trip", self.round_trip),
            ("region", self.region),
            ("reputation", self.reputation),
            ("duration", self.duration),
            ("failed_here", self.failed_here),
        ]
    }

    pub(super) fn sum(&self) -> f64 {
        self.parts().iter().map(|(_, points)| points).sum()
    }
}

/// A node at which workers wait for a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) node: Did,
    pub(super) waiting: u32,
    pub(super) about: About,
    pub(super) seen: Seen,
    /// Whether the last attempt of this task failed there.
    pub(super) failed_here: bool,
}

/// The scores of all nodes at which workers wait for a task, best first. Of equal ones the one wins that has got nothing for
/// the longest time, then the one that comes first.
pub(super) fn ranked(routing: TaskRouting, candidates: &[Candidate]) -> Vec<(Did, Score)> {
    let fastest = candidates.iter().filter_map(|candidate| candidate.seen.expected).min();
    let score = |candidate: &Candidate| {
        let Candidate { waiting, about, seen, failed_here, .. } = candidate;
        let free = |used: Option<u8>| used.map_or(0.5, |used| 1.0 - f64::from(used.min(100)) / 100.0);
        let (cpu, memory) = (free(about.load.cpu), free(about.load.memory));
        let failed_here = if *failed_here { -50.0 } else { 0.0 };
        match routing {
            TaskRouting::Weighted => Score {
                waiting: 15.0 * f64::from((*waiting).min(WAITING_MAX)) / f64::from(WAITING_MAX),
                cpu: 20.0 * cpu,
                memory: 10.0 * memory,
                round_trip: 20.0 * about.round_trip.map_or(0.5, nearness),
                region: about.same_region.map_or(2.5, |same| if same { 5.0 } else { 0.0 }),
                reputation: 20.0 * seen.reputation,
                duration: 10.0 * fastest.zip(seen.expected).map_or(0.5, |(best, own)| ratio(best, own)),
                failed_here,
            },
            TaskRouting::LeastLoaded => {
                Score { cpu: 60.0 * cpu, memory: 40.0 * memory, failed_here, ..Score::default() }
            }
            // the order among equal ones
            TaskRouting::RoundRobin => Score { failed_here, ..Score::default() },
        }
    };
    let mut ranked: Vec<(&Candidate, Score)> = candidates.iter().map(|one| (one, score(one))).collect();
    let by_turn = |one: &Candidate, other: &Candidate| one.seen.turn.cmp(&other.seen.turn);
    ranked.sort_by(|(one, of_one), (other, of_other)| {
        of_other.sum().total_cmp(&of_one.sum()).then_with(|| by_turn(one, other))
    });
    ranked.into_iter().map(|(candidate, score)| (candidate.node, score)).collect()
}

fn nearness(round_trip: Duration) -> f64 {
    let half = ROUND_TRIP_HALF.as_secs_f64();
    half / (half + round_trip.as_secs_f64())
}

fn ratio(best: Duration, own: Duration) -> f64 {
    if own.is_zero() { 1.0 } else { best.as_secs_f64() / own.as_secs_f64() }
}

/// A record, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// From 1 down to 0.
    pub(super) reputation: f64,
    /// The expected time of an attempt, longer by what it was wrong before.
    pub(super) expected: Option<Duration>,
    /// The number of the last task that it was given; 0 for none.
    pub(super) turn: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { reputation: 1.0, expected: None, turn: 0 }
    }
}

/// The rest of a worker that failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) until: Duration,
    /// The failures of the last minute.
    pub(super) failures: usize,
}

impl Rest {
    /// It on the wall clock, in whole seconds: that of one rest is the same whenever it is asked for, or nearly.
    pub(super) fn at(self, now: Duration, wall: Timestamp) -> AgentRest {
        let left = u64::try_from(self.until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp::from_ms(wall.as_ms().saturating_add(left).saturating_add(500) / 1_000 * 1_000);
        AgentRest { until, failures: self.failures }
    }
}

/// Whether a worker gets work, by its last outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed,
    /// It rests until then.
    Resting(Duration),
    /// It has the one task that tries it again.
    Tried,
}

/// Of a worker, or of another node's workers together: what became of the tasks that it had.
#[derive(Clone, Debug)]
struct Record {
    seen: Seen,
    mean: f64,
    error: f64,
    outcomes: VecDeque<(Duration, bool)>,
    rests_until: Option<Duration>,
    /// The time until which one task tries it again.
    tried_until: Option<Duration>,
    last: Duration,
}

impl Record {
    fn new(now: Duration) -> Self {
        let outcomes = VecDeque::new();
        let (rests_until, tried_until) = (None, None);
        Self { seen: Seen::default(), mean: 0.0, error: 0.0, outcomes, rests_until, tried_until, last: now }
    }

    fn breaker(&self, now: Duration) -> Breaker {
        match self.rests_until {
            None => Breaker::Closed,
            Some(until) if until > now => Breaker::Resting(until),
            Some(_) if self.tried_until.is_some_and(|until| until > now) => Breaker::Tried,
            Some(_) => Breaker::Closed,
        }
    }

    /// The rest that it has now.
    fn rest(&self, now: Duration) -> Option<Rest> {
        let failures = self.outcomes.iter().filter(|(_, succeeded)| !succeeded).count();
        self.rests_until.filter(|until| *until > now).map(|until| Rest { until, failures })
    }

    fn succeeded(&mut self, took: Duration, now: Duration) {
        let took = took.as_secs_f64();
        match self.seen.expected {
            None => self.mean = took,
            Some(_) => {
                self.error += LATEST * ((took - self.mean).abs() - self.error);
                self.mean += LATEST * (took - self.mean);
            }
        }
        self.seen.expected = Duration::try_from_secs_f64(self.mean + self.error).ok();
        self.seen.reputation += MENDS * (1.0 - self.seen.reputation);
        if self.rests_until.take().is_some() {
            (self.tried_until, self.outcomes) = (None, VecDeque::new());
        }
        self.note(true, now);
    }

    fn failed(&mut self, now: Duration) {
        self.seen.reputation *= LEAVES;
        self.note(false, now);
        let failures = self.outcomes.iter().filter(|(_, succeeded)| !succeeded).count();
        let is_bad = self.outcomes.len() >= OUTCOMES_MIN && failures * 2 > self.outcomes.len();
        if is_bad || self.rests_until.is_some() {
            (self.rests_until, self.tried_until) = (Some(now + REST), None);
        }
    }

    fn note(&mut self, succeeded: bool, now: Duration) {
        self.last = now;
        self.outcomes.retain(|(at, _)| *at + LOOKED_BACK > now);
        if self.outcomes.len() == OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((now, succeeded));
    }
}

/// The records of all workers: by node, name, and capability. Other nodes choose their workers themselves: their records
/// have no name.
#[derive(Debug, Default)]
pub(super) struct Records {
    of: BTreeMap<Did, BTreeMap<String, BTreeMap<String, Record>>>,
    len: usize,
    turns: u64,
}

impl Records {
    fn find(&self, capability: &str, node: &Did, agent: &str) -> Option<&Record> {
        self.of.get(node)?.get(agent)?.get(capability)
    }

    pub(super) fn seen(&self, capability: &str, node: &Did, agent: &str) -> Seen {
        self.find(capability, node, agent).map_or_else(Seen::default, |record| record.seen)
    }

    pub(super) fn breaker(&self, capability: &str, node: &Did, agent: &str, now: Duration) -> Breaker {
        self.find(capability, node, agent).map_or(Breaker::Closed, |record| record.breaker(now))
    }

    /// The rest of a worker from tasks of a capability.
    pub(super) fn rest(&self, capability: &str, node: &Did, agent: &str, now: Duration) -> Option<Rest> {
        self.find(capability, node, agent)?.rest(now)
    }

    /// The worst reputation of a worker among its capabilities, whether it failed too often for one of them, and the longest
    /// rest that it has.
    pub(super) fn of_worker(&self, node: &Did, agent: &str, now: Duration) -> (f64, bool, Option<Rest>) {
        let records = self.of.get(node).and_then(|agents| agents.get(agent)).into_iter().flat_map(BTreeMap::values);
        records.fold((1.0, false, None), |(reputation, fails, rest), record| {
            let longest = rest.into_iter().chain(record.rest(now)).max_by_key(|rest: &Rest| rest.until);
            (record.seen.reputation.min(reputation), fails || record.breaker(now) != Breaker::Closed, longest)
        })
    }

    /// A worker gets a task. Returns the time by which that must have tried it, if it rested before.
    pub(super) fn given(&mut self, capability: &str, node: Did, agent: &str, now: Duration) -> Option<Duration> {
        self.turns += 1;
        let turn = self.turns;
        self.change(capability, node, agent, now, |record| {
            record.seen.turn = turn;
            record.last = now;
            record.tried_until = record.rests_until.map(|_| now + REST);
        });
        self.find(capability, &node, agent)?.tried_until
    }

    /// A worker has done a task.
    pub(super) fn succeeded(&mut self, capability: &str, node: Did, agent: &str, took: Duration, now: Duration) {
        self.change(capability, node, agent, now, |record| record.succeeded(took, now));
    }

    /// A worker has failed, or is gone. Returns the end of its rest, if it has one.
    pub(super) fn failed(&mut self, capability: &str, node: Did, agent: &str, now: Duration) -> Option<Duration> {
        self.change(capability, node, agent, now, |record| record.failed(now));
        self.find(capability, &node, agent)?.rests_until
    }

    /// A worker has given its task back, or it was taken from it: that says nothing of it.
    pub(super) fn released(&mut self, capability: &str, node: Did, agent: &str, now: Duration) {
        self.change(capability, node, agent, now, |record| record.tried_until = None);
    }

    fn change(&mut self, capability: &str, node: Did, agent: &str, now: Duration, change: impl FnOnce(&mut Record)) {
        if self.find(capability, &node, agent).is_none() {
            if self.len >= RECORDS_MAX {
                self.make_room(now);
            }
            if self.len >= RECORDS_MAX {
                return;
            }
            let of_worker = self.of.entry(node).or_default().entry(agent.to_owned()).or_default();
            of_worker.insert(capability.to_owned(), Record::new(now));
            self.len += 1;
        }
        let record = self.of.get_mut(&node).and_then(|agents| agents.get_mut(agent)?.get_mut(capability));
        if let Some(record) = record {
            change(record);
        }
    }

    fn make_room(&mut self, now: Duration) {
        let mut len = 0;
        self.of.retain(|_, agents| {
            agents.retain(|_, capabilities| {
                capabilities.retain(|_, record| record.last + LOOKED_BACK > now);
                len += capabilities.len();
                !capabilities.is_empty()
            });
            !agents.is_empty()
        });
        self.len = len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const fn node(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn candidate(n: u8) -> Candidate {
        let about = About { load: Load { cpu: Some(50), memory: Some(50) }, ..About::default() };
        Candidate { node: node(n), waiting: 1, about, seen: Seen::default(), failed_here: false }
    }

    fn best(routing: TaskRouting, candidates: &[Candidate]) -> Did {
        ranked(routing, candidates)[0].0
    }

    /// promise: Tasks | The better of two nodes gets a task: by workers that wait, load, round trip, region, record, expected time, or an attempt that failed there
    #[test]
    fn each_part_counts() {
        let with = |change: &dyn Fn(&mut Candidate)| {
            let mut changed = candidate(2);
            change(&mut changed);
            changed
        };
        let better = [
            with(&|one| one.waiting = 2),
            with(&|one| one.about.load.cpu = Some(49)),
            with(&|one| one.about.load.memory = Some(49)),
            with(&|one| one.about.round_trip = Some(Duration::from_millis(49))),
            with(&|one| one.about.same_region = Some(true)),
        ];
        for better in better {
            assert_eq!(best(TaskRouting::Weighted, &[candidate(1), better, candidate(3)]), node(2), "{better:?}");
        }
        let worse = [
            with(&|one| one.seen.reputation = 0.99),
            with(&|one| one.failed_here = true),
            with(&|one| one.about.load = Load { cpu: Some(100), memory: Some(100) }),
        ];
        for worse in worse {
            assert_eq!(ranked(TaskRouting::Weighted, &[worse, candidate(1)])[1].0, node(2), "{worse:?}");
        }
        let expected =
            |n, expected| Candidate { seen: Seen { expected: Some(expected), ..Seen::default() }, ..candidate(n) };
        assert_eq!(best(TaskRouting::Weighted, &[expected(1, secs(2)), expected(2, secs(1))]), node(2));
        let loaded = |n, cpu, waiting| Candidate {
            waiting,
            about: About { load: Load { cpu: Some(cpu), memory: None }, ..About::default() },
            ..candidate(n)
        };
        assert_eq!(best(TaskRouting::LeastLoaded, &[loaded(1, 30, 8), loaded(2, 29, 1)]), node(2));
    }

    /// promise: Tasks | In turn, each node gets its task before one gets a second
    #[test]
    fn round_robin_gives_each_its_turn() {
        let mut records = Records::default();
        let mut got = Vec::new();
        for now in 0..6 {
            let candidate = |n| Candidate { seen: records.seen("build", &node(n), ""), ..candidate(n) };
            let best = best(TaskRouting::RoundRobin, &[candidate(1), candidate(2), candidate(3)]);
            records.given("build", best, "", secs(now));
            got.push(best);
        }
        assert_eq!(got, [1, 2, 3, 1, 2, 3].map(node));
    }

    /// promise: Tasks | A worker that fails more than half of its tasks of a capability in a minute rests for 30 s, then one task tries it again
    #[test]
    fn a_breaker_opens_and_tries_again() {
        let mut records = Records::default();
        let breaker = |records: &Records, now| records.breaker("build", &node(1), "w", secs(now));
        for now in 0..4 {
            records.succeeded("build", node(1), "w", secs(1), secs(now));
            assert_eq!(records.failed("build", node(1), "w", secs(now)), None);
        }
        // half of eight is not more than half
        assert_eq!(breaker(&records, 4), Breaker::Closed);
        assert_eq!(records.failed("build", node(1), "w", secs(4)), Some(secs(34)));
        assert_eq!(breaker(&records, 33), Breaker::Resting(secs(34)));
        assert_eq!(records.breaker("test", &node(1), "w", secs(33)), Breaker::Closed, "it is good at other things");
        assert!(records.of_worker(&node(1), "w", secs(33)).1);
        assert_eq!(records.rest("build", &node(1), "w", secs(33)), Some(Rest { until: secs(34), failures: 5 }));
        assert_eq!(records.rest("build", &node(1), "w", secs(34)), None);
        assert_eq!(breaker(&records, 34), Breaker::Closed);
        records.given("build", node(1), "w", secs(34));
        assert_eq!(breaker(&records, 34), Breaker::Tried, "one task at a time");
        records.released("build", node(1), "w", secs(35));
        assert_eq!(breaker(&records, 35), Breaker::Closed, "that said nothing");
        assert_eq!(records.given("build", node(1), "w", secs(35)), Some(secs(65)));
        assert_eq!(breaker(&records, 65), Breaker::Closed, "a task without an end keeps it from nothing");
        records.given("build", node(1), "w", secs(36));
        assert_eq!(records.failed("build", node(1), "w", secs(37)), Some(secs(67)));
        records.given("build", node(1), "w", secs(67));
        records.succeeded("build", node(1), "w", secs(1), secs(68));
        // the failures before are forgotten
        assert_eq!(records.failed("build", node(1), "w", secs(69)), None);
        assert_eq!(breaker(&records, 69), Breaker::Closed);
        // old failures do not count
        let mut records = Records::default();
        for n in 0..100 {
            assert_eq!(records.failed("build", node(1), "w", secs(n * 10)), None);
        }
    }

    #[test]
    fn a_reputation_moves_with_outcomes() {
        let mut records = Records::default();
        let seen = |records: &Records| records.seen("build", &node(1), "w").reputation;
        assert!((seen(&records) - 1.0).abs() < 1e-9);
        records.failed("build", node(1), "w", secs(1));
        assert!((seen(&records) - 0.8).abs() < 1e-9);
        records.succeeded("build", node(1), "w", secs(1), secs(1));
        assert!((seen(&records) - 0.82).abs() < 1e-9);
        for _ in 0..1_000 {
            records.failed("build", node(1), "w", secs(1));
        }
        assert!((0.0..0.01).contains(&seen(&records)));
    }

    #[test]
    fn an_expected_time_is_longer_by_its_error() {
        let mut records = Records::default();
        records.succeeded("build", node(1), "w", secs(10), secs(1));
        assert_eq!(records.seen("build", &node(1), "w").expected, Some(secs(10)));
        records.succeeded("build", node(1), "w", secs(20), secs(1));
        assert_eq!(records.seen("build", &node(1), "w").expected, Some(secs(16)));
    }

    #[test]
    fn records_are_bounded() {
        let mut records = Records::default();
        for n in 0..10_000_u32 {
            records.failed(&format!("c{n}"), node(1), "w", secs(1));
        }
        assert_eq!(records.len, RECORDS_MAX);
        records.failed("later", node(1), "w", secs(100));
        assert_eq!((records.len, records.of.len()), (1, 1));
    }
}
