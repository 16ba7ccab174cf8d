//! The options of a run, and its plan.

use std::path::PathBuf;

use nexus_sim::invariants::{self, With};
use nexus_sim::plan::Plan;
use nexus_sim::plants::Plant;
use nexus_sim::scenario::{Fidelity, Scenario};

/// The ways in which nodes are chosen for tasks.
pub(super) const ROUTINGS: [&str; 3] = ["weighted", "least-loaded", "round-robin"];

/// Options for carrying out and showing a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunOptions {
    /// The number of nodes [default: the scenario's]
    #[arg(long)]
    pub(super) nodes: Option<usize>,
    /// Whole nodes (wire), or engines and sessions alone (model).
    #[arg(long, value_parser = ["wire", "model"])]
    pub(super) fidelity: Option<String>,
    /// One line of JSON at the end, and nothing else on stdout.
    #[arg(long)]
    pub(super) json: bool,
    /// Writes a page about the run, in one file.
    #[arg(long, value_name = "OUT.html")]
    pub(super) report: Option<PathBuf>,
    /// Plants a known fault, which must be caught.
    #[arg(long)]
    pub(super) plant: Option<String>,
    /// The way in which nodes are chosen for tasks.
    #[arg(long, value_parser = ROUTINGS)]
    pub(super) routing: Option<String>,
    /// Has each node check each signature, also one that another node of the process has checked.
    #[arg(long)]
    pub(super) check_all: bool,
    /// Ends at the first violation of one of these checks, at which a run else goes on to its end.
    #[arg(long, value_name = "CHECK,…", value_delimiter = ',', value_parser = check)]
    pub(super) ends_with: Vec<String>,
    /// Shows on stderr what the nodes log, with virtual time: FILTER is as in `nexus-node --log`.
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Writes every event and every chunk of bytes with its virtual time.
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
}

impl RunOptions {
    /// A plan with what these options say of its nodes.
    pub(super) fn onto(&self, plan: Plan) -> Plan {
        Plan { routing: self.routing.clone(), checks_all: self.check_all, ends_with: self.ends_with.clone(), ..plan }
    }
}

/// The name of a check.
pub(super) fn check(name: &str) -> Result<String, String> {
    let all = invariants::all(&|_| true, With::ALL);
    let names: Vec<&str> = all.iter().map(|check| check.name()).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("there is no check {name}, but {}", names.join(", ")))
}

/// Whether a program has a plant. `wakes`: whether it wakes bugs inside of nodes, if its build has some.
pub(super) fn has(plant: Plant, wakes: bool) -> bool {
    matches!(plant, Plant::Around(_)) || wakes && plant.is_here()
}

/// The plan of a scenario, or from a file.
pub(super) fn plan(scenario: &str, seed: u64, options: &RunOptions) -> Result<Plan, String> {
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

pub(super) fn is_plan(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|end| end == "json")
}

pub(super) fn read_plan(file: &str) -> Result<Plan, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
}
