//! The command line.

mod diff;
mod fuzz;
mod held;
mod log;
mod plant;
mod rare;
mod run;
mod shrink;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_sim::invariants::{self, With};
use nexus_sim::plan::{Plan, parse_run};
use nexus_sim::plants::Plant;
use nexus_sim::scenario::{BUILT_IN, Fidelity, Scenario};

/// Everything held.
const OK: u8 = 0;
/// An invariant broke, or the run proves nothing.
const BROKEN: u8 = 1;
/// The question was wrong.
const USAGE: u8 = 2;
/// Nobody reads the output: the code of a program that SIGPIPE ended.
const UNREAD: u8 = 141;

/// The way to a build with bugs inside of its nodes.
const WITH_PLANTS: &str = "build one that has it:\n  \
    cargo run --release -p nexus-sim --features plants --bin nexus-sim-plants -- plant all";

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

/// The ways in which nodes are chosen for tasks.
const ROUTINGS: [&str; 3] = ["weighted", "least-loaded", "round-robin"];

/// Options for carrying out and showing a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunOptions {
    /// The number of nodes [default: the scenario's]
    #[arg(long)]
    nodes: Option<usize>,
    /// Whole nodes (wire), or engines and sessions alone (model).
    #[arg(long, value_parser = ["wire", "model"])]
    fidelity: Option<String>,
    /// One line of JSON at the end, and nothing else on stdout.
    #[arg(long)]
    json: bool,
    /// Writes a page about the run, in one file.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    /// Plants a known fault, which must be caught.
    #[arg(long)]
    plant: Option<String>,
    /// The way in which nodes are chosen for tasks.
    #[arg(long, value_parser = ROUTINGS)]
    routing: Option<String>,
    /// Has each node check each signature, also one that another node of the process has checked.
    #[arg(long)]
    check_all: bool,
    /// Ends at the first violation of one of these checks, at which a run else goes on to its end.
    #[arg(long, value_name = "CHECK,…", value_delimiter = ',', value_parser = check)]
    ends_with: Vec<String>,
    /// Shows on stderr what the nodes log, with virtual time: FILTER is as in `nexus-node --log`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Writes every event and every chunk of bytes with its virtual time.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl RunOptions {
    /// A plan with what these options say of its nodes.
    fn onto(&self, plan: Plan) -> Plan {
        Plan { routing: self.routing.clone(), checks_all: self.check_all, ends_with: self.ends_with.clone(), ..plan }
    }
}

/// The name of a check.
fn check(name: &str) -> Result<String, String> {
    let all = invariants::all(&|_| true, With { coordinators: true, tasks: true, approvals: true, blobs: true });
    let names: Vec<&str> = all.iter().map(|check| check.name()).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("there is no check {name}, but {}", names.join(", ")))
}

/// Whether a program has a plant. `wakes`: whether it wakes bugs inside of nodes, if its build has some.
fn has(plant: Plant, wakes: bool) -> bool {
    matches!(plant, Plant::Around(_)) || wakes && plant.is_here()
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

/// The plan of a scenario, or from a file.
fn plan(scenario: &str, seed: u64, options: &RunOptions) -> Result<Plan, String> {
    if is_plan(scenario) {
        return read_plan(scenario);
    }
    let scenario = Scenario::named(scenario)?;
    let fidelity = match options.fidelity.as_deref() {
        Some("model") => Fidelity::Model,
        Some(_) => Fidelity::Wire,
        None => scenario.fidelity,
    };
    let nodes = options.nodes.unwrap_or(scenario.nodes);
    if nodes < 2 {
        return Err("a network needs two nodes".to_owned());
    }
    Ok(options.onto(Plan::of(&scenario, nodes, fidelity, seed)))
}

fn is_plan(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|end| end == "json")
}

fn read_plan(file: &str) -> Result<Plan, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
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

/// Prints to stdout. If its reader has closed it (`| head`), the program ends: nobody would see the rest.
fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(UNREAD.into());
    }
}

/// Prints to stderr.
#[expect(clippy::print_stderr, reason = "the printer")]
fn complain(line: &str) {
    eprintln!("{line}");
}
