//! A page about a run: one file, which loads nothing.

use serde_json::{Value, json};

use crate::invariants::Verdict;
use crate::outcome::RunOutcome;

/// The page, without the data.
const PAGE: &str = include_str!("report.html");
/// The place for the data.
const PLACE: &str = "/*DATA*/null";

/// The page.
pub fn page(outcome: &RunOutcome) -> String {
    // no text in a script element may look like its end
    let data = data(outcome).to_string().replace('<', "\\u003c");
    PAGE.replacen(PLACE, &data, 1)
}

fn data(outcome: &RunOutcome) -> Value {
    let from = outcome.safety_from_ms;
    let faults: Vec<Value> = outcome
        .plan
        .faults
        .iter()
        .map(|fault| {
            let nodes = if fault.kind.takes_a_node() || fault.nodes.len() == 1 { fault.nodes.clone() } else { Vec::new() };
            json!({ "kind": fault.kind.as_str(), "from": from + fault.at_ms, "to": from + fault.at_ms + fault.for_ms, "nodes": nodes })
        })
        .collect();
    let checks: Vec<Value> = outcome
        .checks
        .iter()
        .map(|(name, promise, verdict)| match verdict {
            Verdict::Held { looked } => json!({ "name": name, "promise": promise, "held": true, "looked": looked }),
            Verdict::Broken { at_ms, what } => {
                json!({ "name": name, "promise": promise, "held": false, "at": at_ms, "what": what })
            }
            Verdict::Undecided { why } => json!({ "name": name, "promise": promise, "held": false, "what": why }),
        })
        .collect();
    let mut ops = vec![0_u64; usize::try_from(outcome.virtual_time.as_secs() / 2 + 1).unwrap_or(1)];
    for op in &outcome.plan.ops {
        let bucket = usize::try_from((from + op.at_ms) / 2_000).unwrap_or(0);
        if let Some(count) = ops.get_mut(bucket) {
            *count += 1;
        }
    }
    json!({
        "line": outcome.line(),
        "machines": outcome.machines,
        "samples": outcome.samples,
        "down": outcome.down,
        "faults": faults,
        "checks": checks,
        "looked": outcome.looked_ms,
        "safety": [from, from + outcome.plan.safety_ms],
        "end": u64::try_from(outcome.virtual_time.as_millis()).unwrap_or(u64::MAX),
        "ops": ops,
        "recent": outcome.recent,
    })
}
