//! Plans: a scenario with a seed, made explicit. A plan has every fault and operation with its time, so
//! that a run can be repeated with some of them left out.

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::link::Quality;
use crate::plants::Plant;
use crate::scenario::{Between, FaultKind, Fidelity, Scenario, Workload};

/// A node in a world: 0, 1, 2, …
pub type NodeNo = usize;

/// The time before the first fault, in which the nodes meet.
pub const QUIET_MS: u64 = 5_000;

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Its beginning, from the start of the safety phase.
    pub at_ms: u64,
    /// Its duration.
    pub for_ms: u64,
    /// Its kind.
    pub kind: FaultKind,
    /// The affected nodes; for a partition all nodes, in the order of division.
    pub nodes: Vec<NodeNo>,
    /// Its strength.
    pub amount: u64,
    /// A random number for further choices.
    pub choice: u64,
}

/// A client's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// Writes `n` memories.
    Remember,
    /// Writes a memory with key number `n`.
    Keyed,
    /// Edits a visible memory.
    Edit,
    /// Forgets a visible memory.
    Forget,
    /// Erases a visible memory.
    Erase,
    /// Reads critical key number `n`.
    KvGet,
    /// Writes that key.
    KvPut,
    /// Writes it if it equals the node's copy.
    KvCas,
    /// Deletes it.
    KvDelete,
    /// Takes lock number `n` and writes under it.
    Lock,
    /// Moves the leadership or changes the voters, by `n`.
    Manage,
    /// Submits a task of kind `n`.
    Submit,
    /// Submits a task of kind `n` that two other nodes hand out while this one is down.
    Bequeath,
    /// Takes a task and works on it, in a way by `n`.
    Work,
    /// Adds, fetches, removes or damages a blob, by `n`.
    Blob,
    /// Edits a document, in a way by `n`.
    Type,
    /// Writes in a document that is erased later, or erases it, by `n`.
    Secret,
    /// A program with Automerge connects to a node and edits a document, in a way by `n`.
    Program,
    /// Submits a task of kind `n` that needs an approval.
    Ask,
    /// Approves or rejects a task, or tries to, by `n`.
    Approve,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Its time, from the start of the safety phase.
    pub at_ms: u64,
    /// The node.
    pub node: NodeNo,
    /// The operation.
    pub kind: OpKind,
    /// A count or a number, by kind.
    pub n: u64,
    /// The length of the text.
    pub bytes: u64,
}

/// All faults and operations of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The fidelity.
    pub fidelity: Fidelity,
    /// The number of nodes at the beginning.
    pub nodes: usize,
    /// The number of them that join through the door.
    pub through_the_door: usize,
    /// The length of the safety phase.
    pub safety_ms: u64,
    /// The bound of the liveness phase.
    pub liveness_ms: u64,
    /// The links.
    pub network: Quality,
    /// Regions.
    pub regions: Vec<String>,
    /// Links between regions.
    pub between: Vec<Between>,
    /// Whether there are coordinators.
    #[serde(default)]
    pub coordinators: bool,
    /// Whether credentials say whose machine a member is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persons: bool,
    /// The faults, in order.
    pub faults: Vec<Fault>,
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// The plant, if any.
    #[serde(default)]
    pub plant: Option<Plant>,
    /// The way in which nodes are chosen for tasks, as the setting `task_routing` has it; none for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// Whether each node checks each signature, also one that another node of this process has checked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checks_all: bool,
    /// Checks with whose first violation a run of whole nodes ends, if it is seen before the end; the others are then
    /// undecided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends_with: Vec<String>,
}

impl Plan {
    /// The plan of a scenario for a seed.
    pub fn of(scenario: &Scenario, nodes: usize, fidelity: Fidelity, seed: u64) -> Self {
        let purpose = |what: &str| Dice::fork(seed, &format!("{what} of {} with {nodes} nodes", scenario.name));
        let safety_ms = scenario.safety_s * 1_000;
        let mut faults = faults(scenario, nodes, &mut purpose("faults"));
        faults.sort_by_key(|fault| fault.at_ms);
        Self {
            scenario: scenario.name.clone(),
            seed,
            fidelity,
            nodes,
            through_the_door: scenario.through_the_door.min(nodes.saturating_sub(1)),
            safety_ms,
            liveness_ms: scenario.liveness_s * 1_000,
            network: scenario.network,
            regions: scenario.regions.clone(),
            between: scenario.between.clone(),
            faults,
            coordinators: scenario.coordinators,
            persons: scenario.persons,
            ops: {
                let mut all = ops(scenario, nodes, &mut purpose("operations"));
                all.extend(critical_ops(scenario, nodes, &mut purpose("critical operations")));
                all.extend(task_ops(scenario, nodes, &mut purpose("tasks")));
                all.extend(approval_ops(scenario, nodes, &mut purpose("approvals")));
                all.extend(blob_ops(scenario, nodes, &mut purpose("blobs")));
                all.extend(document_ops(scenario, nodes, &mut purpose("documents")));
                all.extend(secret_ops(scenario, nodes, &mut purpose("secrets")));
                all.extend(program_ops(scenario, nodes, &mut purpose("programs")));
                all.sort_by_key(|op| op.at_ms);
                all
            },
            plant: None,
            routing: None,
            checks_all: false,
            ends_with: Vec::new(),
        }
    }

    /// Whether tasks are handed over in it.
    pub fn has_tasks(&self) -> bool {
        self.ops.iter().any(|op| matches!(op.kind, OpKind::Submit | OpKind::Bequeath | OpKind::Ask))
    }

    /// Whether tasks need approvals in it.
    pub fn has_approvals(&self) -> bool {
        self.ops.iter().any(|op| op.kind == OpKind::Ask)
    }

    /// Whether files are added in it.
    pub fn has_blobs(&self) -> bool {
        self.ops.iter().any(|op| op.kind == OpKind::Blob)
    }

    /// Whether documents are edited in it.
    pub fn has_documents(&self) -> bool {
        self.ops.iter().any(|op| op.kind == OpKind::Type)
    }

    /// Whether memories or documents are erased.
    pub fn has_erasures(&self) -> bool {
        self.ops.iter().any(|op| matches!(op.kind, OpKind::Erase | OpKind::Secret))
    }

    /// Whether a kind of fault is among its faults.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.faults.iter().any(|fault| fault.kind == kind)
    }

    /// The run's name: `SCENARIO:NODES:FIDELITY:SEED`.
    pub fn run(&self) -> String {
        format!("{}:{}:{}:{}", self.scenario, self.nodes, self.fidelity.as_str(), self.seed)
    }
}

/// Reads a run's name.
pub fn parse_run(run: &str) -> Option<(String, usize, Fidelity, u64)> {
    let mut parts = run.rsplitn(4, ':');
    let seed = parts.next()?.parse().ok()?;
    let fidelity = match parts.next()? {
        "wire" => Fidelity::Wire,
        "model" => Fidelity::Model,
        _ => return None,
    };
    let nodes = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), nodes, fidelity, seed))
}

fn faults(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Fault> {
    let end_ms = scenario.safety_s * 1_000;
    let mut faults: Vec<Fault> = Vec::new();
    // the end of each node's own fault
    let mut taken_ms = vec![0_u64; nodes];
    for stream in &scenario.fault {
        let mut at_ms = QUIET_MS + dice.between(0, stream.every_s[0].max(1) * 1_000);
        let mut times = 0;
        // each kind once before any comes twice
        let mut deck = Vec::new();
        while at_ms < end_ms && stream.times.is_none_or(|most| times < most) {
            times += 1;
            if deck.is_empty() {
                deck.clone_from(&stream.kinds);
                dice.shuffle(&mut deck);
            }
            let Some(kind) = deck.pop() else { break };
            let for_ms = dice.between(stream.for_s[0] * 1_000, stream.for_s[1] * 1_000).min(end_ms - at_ms).max(500);
            let [low, high] = stream.amount.unwrap_or_else(|| usual_amount(kind));
            let (amount, choice) = (dice.between(low, high), dice.next() >> 16);
            let mut among: Vec<NodeNo> = match stream.nodes.as_slice() {
                [] => (0..nodes).collect(),
                some => some.iter().copied().filter(|node| *node < nodes).collect(),
            };
            dice.shuffle(&mut among);
            if kind.takes_a_node() {
                // a restart takes time, too
                let free = |node: &NodeNo| taken_ms[*node] < at_ms;
                among = among.into_iter().filter(free).take(1).collect();
                if let Some(node) = among.first() {
                    taken_ms[*node] = at_ms + for_ms + 15_000;
                }
            }
            if !among.is_empty() {
                faults.push(Fault { at_ms, for_ms, kind, nodes: among, amount, choice });
            }
            at_ms += dice.between(stream.every_s[0] * 1_000, stream.every_s[1] * 1_000).max(100);
        }
    }
    faults
}

/// The strength of a fault if the scenario gives none.
const fn usual_amount(kind: FaultKind) -> [u64; 2] {
    match kind {
        FaultKind::Loss => [2, 30],
        FaultKind::Delay => [50, 800],
        FaultKind::Bandwidth => [4, 64],
        FaultKind::SlowNode => [1, 20],
        FaultKind::SlowDisk => [20, 1_500],
        FaultKind::ClockSkew => [1, 3_600],
        FaultKind::ClockJump => [10, 86_400],
        _ => [0, 0],
    }
}

/// The least number of forgotten memories, in a plan with any.
const FORGETS_MIN: usize = 3;

/// Operations at random times, so many a second on average, from the first second to the end of the safety phase.
fn paced(per_second: f64, safety_s: u64, dice: &mut Dice, mut each: impl FnMut(u64, &mut Dice) -> Op) -> Vec<Op> {
    let mut ops = Vec::new();
    if per_second <= 0.0 {
        return ops;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of people and agents")]
    let gap_us = ((2_000_000.0 / per_second) as u64).max(1);
    let mut at_us = 1_000_000;
    while at_us < safety_s * 1_000_000 {
        ops.push(each(at_us / 1_000, dice));
        at_us += dice.between(1, gap_us);
    }
    ops
}

fn ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    let workload = scenario.workload;
    let mut ops = paced(workload.per_second, scenario.safety_s, dice, |at_ms, dice| {
        let edit = workload.edits;
        let forget = edit + workload.forgets;
        let erase = forget + workload.erasures;
        let keyed = erase + workload.keyed;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let share = dice.below(10_000) as f64 / 10_000.0;
        let (kind, n) = match share {
            share if share < edit => (OpKind::Edit, dice.below(24)),
            share if share < forget => (OpKind::Forget, dice.below(24)),
            share if share < erase => (OpKind::Erase, dice.below(24)),
            share if share < keyed => (OpKind::Keyed, dice.below(12)),
            _ => (OpKind::Remember, dice.between(1, workload.batch_max)),
        };
        let bytes = dice.between(16, workload.text_bytes_max);
        Op { at_ms, node: dice.index(nodes), kind, n, bytes }
    });
    if !ops.is_empty() && workload.forgets > 0.0 {
        forget_something(&mut ops);
    }
    ops
}

/// Makes the last few memories of a plan forgotten ones if chance forgets hardly any. Otherwise the
/// promise about forgetting would not be tested.
fn forget_something(ops: &mut [Op]) {
    let forgets = |op: &&Op| op.kind == OpKind::Forget;
    if ops.iter().filter(forgets).count() < FORGETS_MIN {
        let last = ops.iter_mut().rev().filter(|op| op.kind == OpKind::Remember);
        last.take(FORGETS_MIN).for_each(|op| op.kind = OpKind::Forget);
    }
}

fn critical_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    let mut ops = paced(scenario.workload.critical_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let kind = match dice.below(20) {
            0..7 => OpKind::KvGet,
            7..12 => OpKind::KvPut,
            12..17 => OpKind::KvCas,
            17 => OpKind::KvDelete,
            _ => OpKind::Lock,
        };
        let (n, bytes) = (dice.below(64), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind, n, bytes }
    });
    if ops.is_empty() {
        return ops;
    }
    // the founder, an admin, changes the voters now and then
    let mut at_ms = 5_000;
    while nodes > 3 && at_ms < scenario.safety_s * 1_000 {
        at_ms += dice.between(5_000, 25_000);
        ops.push(Op { at_ms, node: 0, kind: OpKind::Manage, n: dice.below(64), bytes: 0 });
    }
    ops
}

/// Submissions and workers' turns.
fn task_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    paced(scenario.workload.tasks_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let Workload { workers, heirs, .. } = scenario.workload;
        let kind = match dice.chance(1.0 - workers) {
            // other plans stay as they were
            true if heirs > 0.0 && dice.chance(heirs) => OpKind::Bequeath,
            true => OpKind::Submit,
            false => OpKind::Work,
        };
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind, n, bytes }
    })
}

/// Tasks that need an approval, words about them, and workers' turns.
fn approval_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    paced(scenario.workload.approvals_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let kind = [OpKind::Ask, OpKind::Approve, OpKind::Approve, OpKind::Work][dice.index(4)];
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind, n, bytes }
    })
}

/// Operations on blobs.
fn blob_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    paced(scenario.workload.blobs_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind: OpKind::Blob, n, bytes }
    })
}

/// Edits of documents.
fn document_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    paced(scenario.workload.documents_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind: OpKind::Type, n, bytes }
    })
}

/// Words in documents that are erased, and their erasures.
fn secret_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    let Workload { per_second, erasures, .. } = scenario.workload;
    paced(2.0 * per_second * erasures, scenario.safety_s, dice, |at_ms, dice| {
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind: OpKind::Secret, n, bytes }
    })
}

/// Visits of programs with Automerge.
fn program_ops(scenario: &Scenario, nodes: usize, dice: &mut Dice) -> Vec<Op> {
    paced(scenario.workload.programs_per_second, scenario.safety_s, dice, |at_ms, dice| {
        let (n, bytes) = (dice.below(48), dice.below(1 << 20));
        Op { at_ms, node: dice.index(nodes), kind: OpKind::Program, n, bytes }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BUILT_IN;

    #[test]
    fn every_scenario_reads_and_gives_a_plan_that_depends_on_the_seed_alone() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::parse(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let plan = |seed| Plan::of(&scenario, scenario.nodes, scenario.fidelity, seed);
            assert_eq!(plan(1), plan(1));
            assert_ne!(plan(1), plan(2), "{name}");
            let text = serde_json::to_string(&plan(1)).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan(1));
        }
    }

    #[test]
    fn a_run_s_name_reads_back() {
        let name = "laptop-offline:3:wire:77";
        let (scenario, nodes, fidelity, seed) = parse_run(name).unwrap();
        assert_eq!(format!("{scenario}:{nodes}:{}:{seed}", fidelity.as_str()), name);
        assert_eq!(parse_run("laptop-offline:3:77"), None);
    }
}
