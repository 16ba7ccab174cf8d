use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nexus_sim::plan::Plan;
use serde_json::Value;

use super::said::{BROKEN, OK, complain, say};

/// Leaves out faults, then operations, in ever smaller pieces, while one of the broken checks still breaks.
pub(super) fn shrink(plan: Plan, out: Option<PathBuf>) -> Result<u8, String> {
    let wrong = broken(&plan)?;
    if wrong.is_empty() {
        say(&format!("{}: everything held, there is nothing to shrink", plan.run()));
        return Ok(OK);
    }
    say(&format!("{}: {} faults, {} operations; broken: {wrong:?}", plan.run(), plan.faults.len(), plan.ops.len()));
    // a smaller plan is asked whether one of these breaks, so its run ends when one does
    let ends_with: Vec<String> = wrong.iter().cloned().collect();
    let still = |plan: &Plan| {
        let plan = Plan { ends_with: ends_with.clone(), ..plan.clone() };
        Ok::<bool, String>(broken(&plan)?.iter().any(|check| wrong.contains(check)))
    };
    let mut best = plan;
    let faults = smaller(best.faults.clone(), |faults| still(&Plan { faults: faults.to_vec(), ..best.clone() }))?;
    best.faults = faults;
    let ops = smaller(best.ops.clone(), |ops| still(&Plan { ops: ops.to_vec(), ..best.clone() }))?;
    best.ops = ops;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{}.json", best.run().replace(':', "-"))));
    let text = serde_json::to_string_pretty(&best).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    say(&format!("{} faults and {} operations are enough:", best.faults.len(), best.ops.len()));
    for fault in &best.faults {
        say(&format!(
            "  {:>7} ms {} {:?} for {} ms, {}",
            fault.at_ms,
            fault.kind.as_str(),
            fault.nodes,
            fault.for_ms,
            fault.amount
        ));
    }
    complain(&format!("hint: nexus-sim run {}", path.display()));
    Ok(BROKEN)
}

/// Drops pieces, from halves down to single items, while `fails` holds.
fn smaller<T: Clone>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> Result<bool, String>) -> Result<Vec<T>, String> {
    let mut piece = items.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < items.len() {
            let mut fewer = items.clone();
            fewer.drain(at..(at + piece).min(items.len()));
            if fails(&fewer)? {
                items = fewer;
            } else {
                at += piece;
            }
        }
        // single operations are not worth hundreds of runs
        if piece == 1 || (piece <= 4 && items.len() > 64) {
            break;
        }
        piece = piece.div_ceil(2);
    }
    Ok(items)
}

/// The checks that break with a plan, run in a fresh process.
fn broken(plan: &Plan) -> Result<BTreeSet<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = std::env::temp_dir().join(format!("nexus-sim-{}-plan.json", std::process::id()));
    let text = serde_json::to_string(plan).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    let output = Command::new(program).arg("run").arg(&path).arg("--json").stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let _ = std::fs::remove_file(&path);
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()) else {
        return Ok(BTreeSet::from(["no outcome".to_owned()]));
    };
    let mut broken: BTreeSet<String> = BTreeSet::new();
    for (check, said) in line["checks"].as_object().into_iter().flatten() {
        // a smaller plan may leave a check without anything to check: that is another failure
        if said.as_str().is_some_and(|said| said.starts_with("broken")) {
            broken.insert(check.clone());
        }
    }
    if !line["error"].is_null() {
        broken.insert("run".to_owned());
    }
    Ok(broken)
}
