//! The command line.

mod diff;
mod fuzz;
mod held;
mod plant;
mod run;
mod shrink;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_sim::plan::{Plan, parse_run};
use nexus_sim::plants::Plant;
use nexus_sim::scenario::{BUILT_IN, Fidelity, Scenario};

/// Everything held.
const OK: u8 = 0;
/// An invariant broke, or the run shows nothing.
const BROKEN: u8 = 1;
/// The question was wrong.
const USAGE: u8 = 2;

/// Where bugs inside of a node are planted.
const WITH_PLANTS: &str = "build one that has it:\n  \
    cargo run --release -p nexus-sim --features plants --bin nexus-sim-plants -- plant all";

/// Whole Nexus networks under virtual time, by seed: cut them, crash them, and see what holds.
#[derive(Debug, Parser)]
#[command(name = "nexus-sim", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the scenarios.
    List,
    /// Runs a scenario once.
    Run {
        /// A scenario's name, a scenario's file (.toml), or a plan's (.json).
        scenario: String,
        /// Everything follows from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        how: How,
    },
    /// Runs many seeds, each in a fresh process.
    Fuzz {
        /// Seeds from A up to but not including B.
        #[arg(long, value_name = "A..B", default_value = "1..51")]
        seeds: String,
        /// For so many minutes, from the first seed on.
        #[arg(long, conflicts_with = "seeds")]
        minutes: Option<u64>,
        /// How many at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// How many nodes; as the scenario says if not given.
        #[arg(long)]
        nodes: Option<usize>,
        /// Which scenario.
        #[arg(long, default_value = "anything")]
        scenario: String,
        /// Keeps the seeds that held, and leaves out those that did at this commit.
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
        /// The commit this program was built from; as git says if not given.
        #[arg(long, requires = "into")]
        commit: Option<String>,
        /// One line of JSON per seed, and one for all.
        #[arg(long)]
        json: bool,
    },
    /// Runs again what has this name: SCENARIO:NODES:FIDELITY:SEED.
    Replay {
        /// The run's name.
        run: String,
        #[command(flatten)]
        how: How,
    },
    /// Leaves out faults and operations as long as the same thing still goes wrong.
    Shrink {
        /// The run's name, or a plan's file (.json).
        run: String,
        /// With this known fault planted.
        #[arg(long)]
        plant: Option<String>,
        /// Where the smaller plan goes; `nexus-sim run` takes it.
        #[arg(long, value_name = "FILE.json")]
        out: Option<PathBuf>,
    },
    /// Runs the same twice and shows the first line of the traces that differs.
    Diff {
        /// The run's name.
        run: String,
        /// The second time with this known fault planted: where does it first show?
        #[arg(long)]
        plant: Option<String>,
    },
    /// Puts in known faults and shows that each is caught.
    Plant {
        /// Which; all if not given.
        #[arg(default_value = "all")]
        name: String,
        /// One line of JSON for each.
        #[arg(long)]
        json: bool,
    },
    /// Compares the last lines of two `run --json`, or two summaries of `fuzz --json`.
    Compare {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
}

/// How a run is carried out and shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct How {
    /// How many nodes; as the scenario says if not given.
    #[arg(long)]
    nodes: Option<usize>,
    /// Whole nodes (wire), or engines and sessions alone (model).
    #[arg(long, value_parser = ["wire", "model"])]
    fidelity: Option<String>,
    /// One line of JSON at the end, and nothing else on stdout.
    #[arg(long)]
    json: bool,
    /// Writes a page to look at; it needs no other file.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    /// Plants a known fault, which is to be caught.
    #[arg(long)]
    plant: Option<String>,
    /// Writes every event and every chunk of bytes with its virtual time.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Does what was asked; the exit code says how it went.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::List => list(),
        Command::Run { scenario, seed, how } => {
            let plan = plan(&scenario, seed, &how).and_then(|plan| planted(plan, how.plant.as_deref()));
            plan.and_then(|plan| run::run(&plan, &how))
        }
        Command::Fuzz { seeds, minutes, jobs, nodes, scenario, into, commit, json } => {
            fuzz::fuzz(&fuzz::Fuzz { seeds, minutes, jobs: jobs.max(1), nodes, scenario, into, commit, json })
        }
        Command::Replay { run: name, how } => {
            let plan = named(&name).and_then(|plan| planted(plan, how.plant.as_deref()));
            plan.and_then(|plan| run::run(&plan, &how))
        }
        Command::Shrink { run: name, plant, out } => {
            let plan = if is_plan(&name) { read_plan(&name) } else { named(&name) };
            plan.and_then(|plan| planted(plan, plant.as_deref())).and_then(|plan| shrink::shrink(plan, out))
        }
        Command::Diff { run: name, plant } => named(&name)
            .and_then(|plan| planted(plan, plant.as_deref()))
            .and_then(|_| diff::diff(&name, plant.as_deref())),
        Command::Plant { name, json } => plant::plant(&name, json),
        Command::Compare { a, b } => diff::compare(&a, &b),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(what) => {
            complain(&format!("error: {what}"));
            ExitCode::from(USAGE)
        }
    }
}

/// The plan for a scenario, or out of a file.
fn plan(scenario: &str, seed: u64, how: &How) -> Result<Plan, String> {
    if is_plan(scenario) {
        return read_plan(scenario);
    }
    let scenario = Scenario::named(scenario)?;
    let fidelity = match how.fidelity.as_deref() {
        Some("model") => Fidelity::Model,
        Some(_) => Fidelity::Wire,
        None => scenario.fidelity,
    };
    let nodes = how.nodes.unwrap_or(scenario.nodes);
    if nodes < 2 {
        return Err("a network needs two nodes".to_owned());
    }
    Ok(Plan::of(&scenario, nodes, fidelity, seed))
}

fn is_plan(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|end| end == "json")
}

fn read_plan(file: &str) -> Result<Plan, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
}

fn planted(plan: Plan, name: Option<&str>) -> Result<Plan, String> {
    let plant = match name {
        Some(name) => Some(Plant::named(name).ok_or_else(|| format!("there is no plant {name}"))?),
        None => plan.plant,
    };
    match plant {
        Some(plant) if !plant.is_here() => Err(format!("{} is not in this build; {WITH_PLANTS}", plant.name())),
        plant => Ok(Plan { plant, ..plan }),
    }
}

/// The plan of a run by its name.
fn named(run: &str) -> Result<Plan, String> {
    let wrong = || format!("{run} is no run's name: SCENARIO:NODES:FIDELITY:SEED");
    let (scenario, nodes, fidelity, seed) = parse_run(run).ok_or_else(wrong)?;
    Ok(Plan::of(&Scenario::named(&scenario)?, nodes, fidelity, seed))
}

fn list() -> Result<u8, String> {
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(name, text)?;
        say(&format!("{name:<18} {:>5} nodes, {:<5} {}", scenario.nodes, scenario.fidelity.as_str(), scenario.about));
    }
    Ok(OK)
}

/// To stdout.
#[expect(clippy::print_stdout, reason = "the printer")]
fn say(line: &str) {
    println!("{line}");
}

/// To stderr.
#[expect(clippy::print_stderr, reason = "the printer")]
fn complain(line: &str) {
    eprintln!("{line}");
}
