//! The choice of a node for a task, among those at which workers wait for it. It is pure: the words of the nodes about
//! themselves and the record of their work come in, a score for each comes out.

use std::time::Duration;

use nexus_identity::Did;

use super::records::Seen;
use crate::config::TaskRouting;
use crate::load::Load;

/// A round trip of so long is worth half.
const ROUND_TRIP_HALF: Duration = Duration::from_millis(50);
/// Workers beyond these make a node no better.
const WAITING_MAX: u32 = 8;

/// A node's words about itself, and what is known of the way to it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tasks) struct About {
    pub(in crate::tasks) load: Load,
    /// Zero for this node; `None` where it is not known.
    pub(in crate::tasks) round_trip: Option<Duration>,
    /// Whether it has the same label `region` as this node; `None` if either has none.
    pub(in crate::tasks) same_region: Option<bool>,
}

/// The parts of a score: points, and the most that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::tasks) struct Score {
    pub(in crate::tasks) waiting: f64,
    pub(in crate::tasks) cpu: f64,
    pub(in crate::tasks) memory: f64,
    pub(in crate::tasks) round_trip: f64,
    pub(in crate::tasks) region: f64,
    pub(in crate::tasks) reputation: f64,
    pub(in crate::tasks) duration: f64,
    /// Taken off for a node at which this task has failed.
    pub(in crate::tasks) failed_here: f64,
}

impl Score {
    /// Its parts by name.
    pub(in crate::tasks) const fn parts(&self) -> [(&'static str, f64); 8] {
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

    pub(in crate::tasks) fn sum(&self) -> f64 {
        self.parts().iter().map(|(_, points)| points).sum()
    }
}

/// A node at which workers wait for a task.
#[derive(Clone, Copy, Debug)]
pub(in crate::tasks) struct Candidate {
    pub(in crate::tasks) node: Did,
    pub(in crate::tasks) waiting: u32,
    pub(in crate::tasks) about: About,
    pub(in crate::tasks) seen: Seen,
    /// Whether the last attempt of this task failed there.
    pub(in crate::tasks) failed_here: bool,
}

/// The scores of all nodes at which workers wait for a task, best first. Of equal ones the one wins that has got nothing for
/// the longest time, then the one that comes first.
pub(in crate::tasks) fn ranked(routing: TaskRouting, candidates: &[Candidate]) -> Vec<(Did, Score)> {
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

#[cfg(test)]
mod tests {
    use super::super::records::Records;
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
}
