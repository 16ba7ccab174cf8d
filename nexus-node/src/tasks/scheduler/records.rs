//! The records of workers: what became of the tasks that they had, and the rests of those that fail too often.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nexus_identity::{Did, Timestamp};

use crate::tasks::why::AgentRest;

/// The outcomes that a breaker looks at: those of so long ago, and at most so many.
const LOOKED_BACK: Duration = Duration::from_secs(60);
const OUTCOMES_MAX: usize = 64;
/// Fewer outcomes say nothing.
const OUTCOMES_MIN: usize = 8;
/// The time for which a worker rests that failed too often. One task tries it again then.
pub(in crate::tasks) const REST: Duration = Duration::from_secs(30);
/// The records that are kept; those of workers without an outcome for a minute make room.
const RECORDS_MAX: usize = 4_096;
/// The part of the distance to one by which a success mends a reputation, and the part that a failure leaves of it.
const MENDS: f64 = 0.1;
const LEAVES: f64 = 0.8;
/// The weight of the last success in the expected time of the next.
const LATEST: f64 = 0.3;

/// A record, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tasks) struct Seen {
    /// From 1 down to 0.
    pub(in crate::tasks) reputation: f64,
    /// The expected time of an attempt, longer by what it was wrong before.
    pub(in crate::tasks) expected: Option<Duration>,
    /// The number of the last task that it was given; 0 for none.
    pub(in crate::tasks) turn: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { reputation: 1.0, expected: None, turn: 0 }
    }
}

/// The rest of a worker that failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) struct Rest {
    pub(in crate::tasks) until: Duration,
    /// The failures of the last minute.
    pub(in crate::tasks) failures: usize,
}

impl Rest {
    /// It on the wall clock, in whole seconds: that of one rest is the same whenever it is asked for, or nearly.
    pub(in crate::tasks) fn at(self, now: Duration, wall: Timestamp) -> AgentRest {
        let left = u64::try_from(self.until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp::from_ms(wall.as_ms().saturating_add(left).saturating_add(500) / 1_000 * 1_000);
        AgentRest { until, failures: self.failures }
    }
}

/// Whether a worker gets work, by its last outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Breaker {
    Closed,
    /// It rests until then.
    Resting(Duration),
    /// It has the one task that tries it again.
    Tried,
}

/// The recent outcomes of one worker of this node, or of all workers of another node.
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
pub(in crate::tasks) struct Records {
    of: BTreeMap<Did, BTreeMap<String, BTreeMap<String, Record>>>,
    len: usize,
    turns: u64,
}

impl Records {
    fn find(&self, capability: &str, node: &Did, agent: &str) -> Option<&Record> {
        self.of.get(node)?.get(agent)?.get(capability)
    }

    pub(in crate::tasks) fn seen(&self, capability: &str, node: &Did, agent: &str) -> Seen {
        self.find(capability, node, agent).map_or_else(Seen::default, |record| record.seen)
    }

    pub(in crate::tasks) fn breaker(&self, capability: &str, node: &Did, agent: &str, now: Duration) -> Breaker {
        self.find(capability, node, agent).map_or(Breaker::Closed, |record| record.breaker(now))
    }

    /// The rest of a worker from tasks of a capability.
    pub(in crate::tasks) fn rest(&self, capability: &str, node: &Did, agent: &str, now: Duration) -> Option<Rest> {
        self.find(capability, node, agent)?.rest(now)
    }

    /// The worst reputation of a worker among its capabilities, whether it failed too often for one of them, and the longest
    /// rest that it has.
    pub(in crate::tasks) fn of_worker(&self, node: &Did, agent: &str, now: Duration) -> (f64, bool, Option<Rest>) {
        let records = self.of.get(node).and_then(|agents| agents.get(agent)).into_iter().flat_map(BTreeMap::values);
        records.fold((1.0, false, None), |(reputation, fails, rest), record| {
            let longest = rest.into_iter().chain(record.rest(now)).max_by_key(|rest: &Rest| rest.until);
            (record.seen.reputation.min(reputation), fails || record.breaker(now) != Breaker::Closed, longest)
        })
    }

    /// A worker gets a task. Returns the time by which that must have tried it, if it rested before.
    pub(in crate::tasks) fn given(
        &mut self,
        capability: &str,
        node: Did,
        agent: &str,
        now: Duration,
    ) -> Option<Duration> {
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
    pub(in crate::tasks) fn succeeded(
        &mut self,
        capability: &str,
        node: Did,
        agent: &str,
        took: Duration,
        now: Duration,
    ) {
        self.change(capability, node, agent, now, |record| record.succeeded(took, now));
    }

    /// A worker has failed, or is gone. Returns the end of its rest, if it has one.
    pub(in crate::tasks) fn failed(
        &mut self,
        capability: &str,
        node: Did,
        agent: &str,
        now: Duration,
    ) -> Option<Duration> {
        self.change(capability, node, agent, now, |record| record.failed(now));
        self.find(capability, &node, agent)?.rests_until
    }

    /// A worker has given its task back, or it was taken from it: that says nothing of it.
    pub(in crate::tasks) fn released(&mut self, capability: &str, node: Did, agent: &str, now: Duration) {
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
