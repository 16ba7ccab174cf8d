//! The command line.

mod diff;
mod fuzz;
mod held;
mod log;
mod options;
mod plant;
mod rare;
mod run;
mod said;
mod shrink;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_sim::plan::{Plan, parse_run};
use nexus_sim::plants::Plant;
use nexus_sim::scenario::{BUILT_IN, Scenario};

use self::options::{ROUTINGS, RunOptions, has, is_plan, plan, read_plan};
use self::said::{OK, USAGE, WITH_PLANTS, complain, say};

/// Whole Nexus networks under virtual time, by seed: cut them, crash them, and see which promises hold.
#[derive(Debug, Parser)]
#[command(name = "nexus-sim", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    /// Lists the scenarios.
    List,
    /// Runs a scenario once.
    Run {
        /// A scenario's name or file (.toml), or a plan's file (.json).
        scenario: String,
        /// The seed of the run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Runs many seeds, each in a fresh process.
    Fuzz {
        /// Seeds from A up to but not including B.
        #[arg(long, value_name = "A..B", default_value = "1..51")]
        seeds: String,
        /// Ends after this number of minutes; starts from the first seed.
        #[arg(long, conflicts_with = "seeds")]
        minutes: Option<u64>,
        /// The number of processes at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// The number of nodes [default: the scenario's]
        #[arg(long)]
        nodes: Option<usize>,
        /// The scenario.
        #[arg(long, default_value = "anything")]
        scenario: String,
        /// The way in which nodes are chosen for tasks.
        #[arg(long, value_parser = ROUTINGS, conflicts_with = "into")]
        routing: Option<String>,
        /// Keeps the seeds that held, and leaves out those that did at this commit.
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
        /// The commit of this program [default: git's]
        #[arg(long, requires = "into")]
        commit: Option<String>,
        /// One line of JSON per seed, and one for all of them.
        #[arg(long)]
        json: bool,
    },
    /// Runs a named run again: SCENARIO:NODES:FIDELITY:SEED.
    Replay {
        /// The run's name.
        run: String,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Leaves out faults and operations while the same check still breaks.
    Shrink {
        /// The run's name, or a plan's file (.json).
        run: String,
        /// Plants this known fault.
        #[arg(long)]
        plant: Option<String>,
        /// The file for the smaller plan; `nexus-sim run` takes it.
        #[arg(long, value_name = "FILE.json")]
        out: Option<PathBuf>,
    },
    /// Runs the same twice and shows the first different line of the traces.
    Diff {
        /// The run's name.
        run: String,
        /// Plants this known fault the second time, and shows its first effect.
        #[arg(long)]
        plant: Option<String>,
    },
    /// Plants known faults and shows that each is caught.
    Plant {
        /// The fault [default: all]
        #[arg(default_value = "all")]
        name: String,
        /// The number of faults at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// One line of JSON for each fault.
        #[arg(long)]
        json: bool,
    },
    /// Shows which rare places the runs of records reached (`fuzz --into`, or the lines of `run --json`).
    Rare {
        /// The records.
        #[arg(required = true)]
        records: Vec<PathBuf>,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compares the last lines of two `run --json`, or two summaries of `fuzz --json`.
    Compare {
        /// The first file.
        a: PathBuf,
        /// The second file.
        b: PathBuf,
    },
}

/// Runs the command. The exit code is its result. `wakes`: whether it may wake bugs inside of nodes. In a build with plants
/// `nexus-sim` has them, too, and lets them sleep.
pub(crate) fn run(arguments: Arguments, wakes: bool) -> ExitCode {
    let done = match arguments.command {
        SimCommand::List => list(),
        SimCommand::Run { scenario, seed, options } => {
            let plan = plan(&scenario, seed, &options).and_then(|plan| planted(plan, options.plant.as_deref(), wakes));
            plan.and_then(|plan| run::run(&plan, &options))
        }
        SimCommand::Fuzz { seeds, minutes, jobs, nodes, scenario, routing, into, commit, json } => {
            fuzz::fuzz(&fuzz::Fuzz { seeds, minutes, jobs: jobs.max(1), nodes, scenario, routing, into, commit, json })
        }
        SimCommand::Replay { run: name, options } => {
            let plan = named(&name).and_then(|plan| planted(plan, options.plant.as_deref(), wakes));
            plan.and_then(|plan| run::run(&options.onto(plan), &options))
        }
        SimCommand::Shrink { run: name, plant, out } => {
            let plan = if is_plan(&name) { read_plan(&name) } else { named(&name) };
            plan.and_then(|plan| planted(plan, plant.as_deref(), wakes)).and_then(|plan| shrink::shrink(plan, out))
        }
        SimCommand::Diff { run: name, plant } => named(&name)
            .and_then(|plan| planted(plan, plant.as_deref(), wakes))
            .and_then(|_| diff::diff(&name, plant.as_deref())),
        SimCommand::Plant { name, jobs, json } => plant::plant(&name, jobs, json, wakes),
        SimCommand::Rare { records, json } => rare::rare(&records, json),
        SimCommand::Compare { a, b } => diff::compare(&a, &b),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(what) => {
            complain(&format!("error: {what}"));
            ExitCode::from(USAGE)
        }
    }
}

fn planted(plan: Plan, name: Option<&str>, wakes: bool) -> Result<Plan, String> {
    let plant = match name {
        Some(name) => Some(Plant::named(name).ok_or_else(|| format!("there is no plant {name}"))?),
        None => plan.plant,
    };
    match plant {
        Some(plant) if !has(plant, wakes) => Err(format!("{} is not in this program; {WITH_PLANTS}", plant.name())),
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
