use std::io::{BufWriter, Write};

use nexus_sim::outcome::RunOutcome;
use nexus_sim::plan::Plan;
use nexus_sim::scenario::Fidelity;

use super::options::RunOptions;
use super::said::{BROKEN, OK, complain, say};

/// Carries a plan out and shows the outcome.
pub(super) fn run(plan: &Plan, options: &RunOptions) -> Result<u8, String> {
    if let Some(filter) = &options.log {
        super::log::show(filter)?;
    }
    let trace = match &options.trace {
        Some(path) => {
            let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Some(Box::new(BufWriter::new(file)) as Box<dyn Write + Send>)
        }
        None => None,
    };
    let outcome = carry_out(plan, trace)?;
    if let Some(path) = &options.report {
        let page = nexus_sim::report::page(&outcome);
        std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if options.json {
        say(&outcome.line().to_string());
    } else {
        show(&outcome);
    }
    Ok(if outcome.is_ok() { OK } else { BROKEN })
}

/// Runs a plan in this process.
pub(super) fn carry_out(plan: &Plan, trace: Option<Box<dyn Write + Send>>) -> Result<RunOutcome, String> {
    match plan.fidelity {
        Fidelity::Wire => wire(plan, trace),
        Fidelity::Model => nexus_sim::model::run(plan, trace),
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn wire(plan: &Plan, trace: Option<Box<dyn Write + Send>>) -> Result<RunOutcome, String> {
    Ok(nexus_sim::wire::run(plan, trace))
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn wire(_: &Plan, _: Option<Box<dyn Write + Send>>) -> Result<RunOutcome, String> {
    Err("whole nodes are simulated on Linux on x86-64 only; `--fidelity model` works here".to_owned())
}

fn show(outcome: &RunOutcome) {
    let (world, here) = (outcome.virtual_time.as_secs_f64(), outcome.wall.as_secs_f64());
    say(&format!("{}  {world:.0} s in {here:.1} s, {:.0} x real time", outcome.plan.run(), world / here.max(0.001)));
    say(&format!("  {} writes acknowledged, {} operations failed", outcome.acknowledged, outcome.failed));
    if let Some(settled) = outcome.settled {
        say(&format!("  all equal {:.1} s after the heal", settled.as_secs_f64()));
    }
    let fired: Vec<String> = outcome.fired.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
    say(&format!("  faults that did something: {}", fired.join(", ")));
    let wrong = outcome.wrong();
    for (name, promise, _) in &outcome.checks {
        let said = wrong.iter().find(|(check, _)| check == name);
        match said {
            None => say(&format!("  held    {name}: {promise}")),
            Some((_, what)) => say(&format!("  BROKEN  {name}: {what}")),
        }
    }
    for (name, what) in wrong.iter().filter(|(name, _)| outcome.checks.iter().all(|(check, ..)| check != name)) {
        say(&format!("  BROKEN  {name}: {what}"));
    }
    say(&format!("  trace {} ({} lines)", outcome.trace_hash, outcome.trace_lines));
    if !wrong.is_empty() {
        complain(&format!("hint: nexus-sim replay {}", outcome.plan.run()));
    }
}
