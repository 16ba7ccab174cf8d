//! The outcome of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::invariants::Verdict;
use crate::ledger::{Ledger, TaskPromise};
use crate::plan::{NodeNo, Plan};

/// One point of a run's timeline.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// The virtual time, in milliseconds.
    pub at_ms: u64,
    /// The number of entries that each running node lacks and another has.
    pub lag: BTreeMap<NodeNo, u64>,
    /// Bytes that have reached each node.
    pub bytes: BTreeMap<NodeNo, u64>,
    /// The cut links, each in one direction.
    pub cut: Vec<(NodeNo, NodeNo)>,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The plan.
    pub plan: Plan,
    /// Its virtual time.
    pub virtual_time: Duration,
    /// Its real time.
    pub wall: Duration,
    /// The hash of the trace, equal for equal runs.
    pub trace_hash: String,
    /// Events and chunks in the trace.
    pub trace_lines: u64,
    /// The number of effects of each fault.
    pub fired: BTreeMap<String, u64>,
    /// Planned faults without an effect.
    pub never: Vec<String>,
    /// The invariants: name, promise, verdict.
    pub checks: Vec<(&'static str, &'static str, Verdict)>,
    /// The reason, if the run could not be carried out.
    pub error: Option<String>,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Operations without an acknowledgement.
    pub failed: u64,
    /// The tasks that were done, if there were tasks.
    pub tasks: Option<TaskTimes>,
    /// The number of mended cuts, with the final heal.
    pub heals: u64,
    /// The time from the heal until all held the same.
    pub settled: Option<Duration>,
    /// The start of the safety phase.
    pub safety_from_ms: u64,
    /// The timeline.
    pub samples: Vec<Sample>,
    /// The times at which the invariants were checked.
    pub looked_ms: Vec<u64>,
    /// Times in which nodes were down: node, from, to.
    pub down: Vec<(NodeNo, u64, u64)>,
    /// The last lines of the trace.
    pub recent: Vec<String>,
    /// The names of the machines.
    pub machines: Vec<String>,
    /// The most allocated memory, if it was counted.
    pub allocated_max: Option<u64>,
}

/// The tasks that were done, by the answers that their workers got, and the times from their submissions to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTimes {
    /// The number of them.
    pub done: usize,
    /// The mean time.
    pub mean: Duration,
    /// The time within which 95 of 100 were done.
    pub p95: Duration,
}

impl TaskTimes {
    /// The times in a ledger; `None` if no task was done.
    pub fn of(ledger: &Ledger) -> Option<Self> {
        let done = ledger.tasks.values();
        let took = |task: &TaskPromise| task.results.first().map(|(_, at, _)| at.saturating_sub(task.at));
        let mut took: Vec<Duration> = done.filter_map(took).collect();
        took.sort_unstable();
        let sum: Duration = took.iter().sum();
        let mean = sum.checked_div(u32::try_from(took.len()).unwrap_or(u32::MAX))?;
        let p95 = *took.get((took.len() * 95).div_ceil(100).saturating_sub(1))?;
        Some(Self { done: took.len(), mean, p95 })
    }
}

impl RunOutcome {
    /// A run that could not be carried out.
    pub fn failed(plan: &Plan, why: String) -> Self {
        Self {
            plan: plan.clone(),
            virtual_time: Duration::ZERO,
            wall: Duration::ZERO,
            trace_hash: String::new(),
            trace_lines: 0,
            fired: BTreeMap::new(),
            never: Vec::new(),
            checks: Vec::new(),
            error: Some(why),
            acknowledged: 0,
            failed: 0,
            tasks: None,
            heals: 0,
            settled: None,
            safety_from_ms: 0,
            samples: Vec::new(),
            looked_ms: Vec::new(),
            down: Vec::new(),
            recent: Vec::new(),
            machines: Vec::new(),
            allocated_max: None,
        }
    }

    /// The failures: names of checks with their violations.
    pub fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong: Vec<(String, String)> = Vec::new();
        wrong.extend(self.error.iter().map(|why| ("run".to_owned(), why.clone())));
        for (name, _, verdict) in &self.checks {
            match verdict {
                Verdict::Held { .. } => {}
                Verdict::Broken { at_ms, what } => wrong.push(((*name).to_owned(), format!("at {at_ms} ms: {what}"))),
                Verdict::Undecided { why } => wrong.push(((*name).to_owned(), format!("undecided: {why}"))),
            }
        }
        if !self.never.is_empty() {
            wrong.push((
                "faults".to_owned(),
                format!("never happened, so the run shows nothing: {}", self.never.join(", ")),
            ));
        }
        wrong
    }

    /// Whether everything held.
    pub fn is_ok(&self) -> bool {
        self.wrong().is_empty()
    }

    /// The line that ends `run --json`.
    pub fn line(&self) -> Value {
        let verdict = |verdict: &Verdict| match verdict {
            Verdict::Held { .. } => "held".to_owned(),
            Verdict::Broken { at_ms, what } => format!("broken at {at_ms} ms: {what}"),
            Verdict::Undecided { why } => format!("undecided: {why}"),
        };
        let checks: BTreeMap<&str, String> = self.checks.iter().map(|(name, _, said)| (*name, verdict(said))).collect();
        json!({
            "run": self.plan.run(),
            "scenario": self.plan.scenario,
            "seed": self.plan.seed,
            "fidelity": self.plan.fidelity.as_str(),
            "nodes": self.plan.nodes,
            "virtual_s": round(self.virtual_time),
            "wall_s": round(self.wall),
            "trace_hash": self.trace_hash,
            "faults_fired": self.fired,
            "checks": checks,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "tasks": self.tasks.map(|tasks| json!({
                "done": tasks.done,
                "mean_s": round(tasks.mean),
                "p95_s": round(tasks.p95),
            })),
            "heals": self.heals,
            "settled_s": self.settled.map(round),
            "allocated_max_bytes": self.allocated_max,
            "never_fired": self.never,
            // of this process, which runs one world; none in a build that notes none
            "reached": nexus_identity::plants::all_reached(),
            "error": self.error,
            "ok": self.is_ok(),
        })
    }
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}
