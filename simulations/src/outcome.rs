//! What came of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::invariants::Verdict;
use crate::plan::{NodeNo, Plan};

/// One point of a run's timeline.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// When.
    pub at_ms: u64,
    /// How many entries each node lacks that some node has; those that are down are not in it.
    pub lag: BTreeMap<NodeNo, u64>,
    /// Bytes that reached each node so far.
    pub bytes: BTreeMap<NodeNo, u64>,
    /// Links that are cut, one way each.
    pub cut: Vec<(NodeNo, NodeNo)>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// How long it took, in the world.
    pub virtual_time: Duration,
    /// How long it took here.
    pub wall: Duration,
    /// Equal for equal runs.
    pub trace_hash: String,
    /// Events and chunks in the trace.
    pub trace_lines: u64,
    /// How often each fault really did something.
    pub fired: BTreeMap<String, u64>,
    /// Faults of the plan that never did.
    pub never: Vec<String>,
    /// The invariants: name, promise, verdict.
    pub checks: Vec<(&'static str, &'static str, Verdict)>,
    /// Why the run could not be carried out, if it could not.
    pub error: Option<String>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Operations that were not.
    pub failed: u64,
    /// How often something was mended that had been cut, the heal of everything among them.
    pub heals: u64,
    /// How long after the heal all held the same.
    pub settled: Option<Duration>,
    /// When the safety phase began.
    pub safety_from_ms: u64,
    /// The timeline.
    pub samples: Vec<Sample>,
    /// When the invariants looked.
    pub looked_ms: Vec<u64>,
    /// Which nodes were down, from and to.
    pub down: Vec<(NodeNo, u64, u64)>,
    /// The last lines of the trace.
    pub recent: Vec<String>,
    /// What the machines are called.
    pub machines: Vec<String>,
    /// The most memory that was allocated, if it was counted.
    pub allocated_max: Option<u64>,
}

impl Outcome {
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

    /// What is wrong: names of checks with what they say.
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
            "heals": self.heals,
            "settled_s": self.settled.map(round),
            "allocated_max_bytes": self.allocated_max,
            "never_fired": self.never,
            "error": self.error,
            "ok": self.is_ok(),
        })
    }
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}
