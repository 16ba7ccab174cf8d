//! Approvals under faults: tasks that need one, and the words of members that may give it, and of others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::LogId;
use nexus_identity::{Did, Role};
use nexus_node::node::Whose;
use nexus_node::tasks::{ApprovalRule, Task, TaskId, TaskQuery, TaskStatus};
use nexus_node::{Invite, NewTask, Node, NodeError};
use serde_json::json;

use crate::dice::Dice;
use crate::ledger::{Ledger, TaskPromise};
use crate::people::{People, SaidOf};
use crate::plan::{NodeNo, Op, OpKind};
use crate::tasks::capability;
use crate::world::{Sim, SimError};

/// The longest operation; a longer one counts as not acknowledged.
const OP_MAX: Duration = Duration::from_secs(30);
/// The number of tasks, the latest ones, among which a member chooses.
const LATEST: usize = 8;
/// The most tasks of a run.
const TASKS_MAX: usize = 1_000;
/// The time between two looks of somebody who waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All that the simulator knows of approvals.
#[derive(Clone, Debug, Default)]
pub struct Approvals {
    /// The members.
    pub(crate) people: People,
    /// The tasks that need an approval, in order.
    pub(crate) asked: Vec<(TaskId, Asked)>,
    /// The words of members about them, by number.
    pub(crate) words: BTreeMap<u64, Said>,
    /// The tasks that a worker got.
    pub(crate) handed_out: BTreeMap<TaskId, Duration>,
    /// Nodes that took a member for an approver that is none, or the reverse.
    pub(crate) faults: Vec<String>,
    /// Words about whose machine a member without a node is, which count where its log has this entry.
    pub(crate) written: Vec<Written>,
    /// The questions who may approve a task.
    pub(crate) asked_who_may: u64,
    next: u64,
}

/// A word about whose machine a member is, in its own log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) by: Did,
    pub(crate) said: SaidOf,
}

/// A task that needs an approval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) submitter: Did,
    pub(crate) rule: ApprovalRule,
}

/// A member's word about a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) task: TaskId,
    pub(crate) by: Did,
    pub(crate) approves: bool,
    /// The node that acknowledged it, and the time; `None` if it may be written or not.
    pub(crate) acknowledged: Option<(NodeNo, Duration)>,
}

/// A task that needs an approval, as a node shows it.
#[derive(Clone, Copy, Debug)]
pub struct ShownApproval {
    /// Whether a worker ever had it.
    pub(crate) was_handed_out: bool,
    /// Whether it was approved, and by whom.
    pub(crate) verdict: Option<(bool, Did)>,
}

impl Approvals {
    /// The task of this id, if it needs an approval.
    pub(crate) fn asked(&self, task: TaskId) -> Option<Asked> {
        self.asked.iter().find(|(id, _)| *id == task).map(|(_, asked)| *asked)
    }

    /// A member may say a word from now on. Returns the word's number.
    pub(crate) fn may_say(&mut self, task: TaskId, by: Did, approves: bool) -> u64 {
        self.next += 1;
        self.words.insert(self.next, Said { task, by, approves, acknowledged: None });
        self.next
    }

    /// The words about a task.
    pub(crate) fn words_of(&self, task: TaskId) -> impl Iterator<Item = &Said> {
        self.words.values().filter(move |said| said.task == task)
    }
}

/// The way in which a member of the plan joins: by whom, and the invitation.
pub(crate) fn invited(seed: u64, no: NodeNo) -> (NodeNo, Role, Option<SaidOf>) {
    let mut dice = Dice::fork(seed, &format!("whose machine {no} is"));
    match no {
        // another person, who is an admin as well, and a second machine of theirs
        1 => (0, Role::Admin, Some(SaidOf::Other)),
        2 => (1, Role::Member, Some(SaidOf::Mine)),
        _ => {
            let role = if dice.chance(0.2) { Role::Admin } else { Role::Member };
            (dice.index(2), role, said_by(&mut dice))
        }
    }
}

/// Whose machine a newcomer is: its inviter's person's, somebody else's, or nobody says.
pub(crate) fn said_by(dice: &mut Dice) -> Option<SaidOf> {
    [Some(SaidOf::Mine), Some(SaidOf::Other), None][dice.index(3)]
}

/// An invitation for a machine of that person.
pub(crate) fn invite(role: Role, said: Option<SaidOf>) -> Invite {
    let invite = Invite::default().role(role);
    let name = || "somebody".parse().ok();
    match said {
        Some(SaidOf::Mine) => invite.whose(Whose::Mine),
        Some(SaidOf::Other) => name().map(Whose::Other).into_iter().fold(invite, Invite::whose),
        None => invite,
    }
}

/// Does one operation and records what its client saw.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let done = async {
        match op.kind {
            OpKind::Ask => {
                let rule = if op.n.is_multiple_of(2) { ApprovalRule::Person } else { ApprovalRule::Other };
                ask(sim, ledger, op.node, (number, op.n, rule)).await
            }
            _ => say_of_one(sim, ledger, op.node, op.n, op.bytes).await,
        }
    };
    match tokio::time::timeout(OP_MAX, done).await {
        Ok(Ok(())) => {}
        _ => ledger.borrow_mut().failed += 1,
    }
}

/// Submits a task that needs an approval by this rule.
async fn ask(
    sim: &Sim,
    ledger: &RefCell<Ledger>,
    no: NodeNo,
    (number, n, rule): (usize, u64, ApprovalRule),
) -> Result<(), SimError> {
    let new = NewTask::new(capability(n), json!(format!("approve {number}"))).attempts(5).approved_by(rule);
    let task = match sim.on(no, async |node| node.tasks().submit(new).await).await {
        // nobody could approve it
        Err(SimError::Node(_, NodeError::Refused(_))) => return Ok(()),
        submitted => submitted?,
    };
    let mut ledger = ledger.borrow_mut();
    ledger.acknowledged += 1;
    let promise = TaskPromise { node: no, at: sim.now(), has_heirs: false, after: None, results: Vec::new() };
    ledger.tasks.entry(task.id.to_string()).or_insert(promise);
    ledger.approvals.asked.push((task.id, Asked { submitter: sim.did(no), rule }));
    Ok(())
}

/// Approves or rejects one of the latest tasks, whether the member may or not.
pub(crate) async fn say_of_one(
    sim: &Sim,
    ledger: &RefCell<Ledger>,
    no: NodeNo,
    n: u64,
    choice: u64,
) -> Result<(), SimError> {
    let task = {
        let asked = &ledger.borrow().approvals.asked;
        let latest = asked.len().min(LATEST);
        let back = usize::try_from(choice).unwrap_or_default() % latest.max(1);
        asked.len().checked_sub(back + 1).map(|place| asked[place].0)
    };
    let Some(task) = task else { return Ok(()) };
    say(sim, ledger, no, task, !n.is_multiple_of(5)).await
}

/// Has a person at a node say a word about a task.
async fn say(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, task: TaskId, approves: bool) -> Result<(), SimError> {
    let number = ledger.borrow_mut().approvals.may_say(task, sim.did(no), approves);
    let id = task.to_string();
    let said = sim.on(no, async |node: Node| match approves {
        true => node.tasks().approve(&id).await,
        false => node.tasks().reject(&id, "not this one").await,
    });
    match said.await {
        Ok(_) => {
            let mut ledger = ledger.borrow_mut();
            ledger.acknowledged += 1;
            if let Some(said) = ledger.approvals.words.get_mut(&number) {
                said.acknowledged = Some((no, sim.now()));
            }
            Ok(())
        }
        // it may not, or the task is not here, or waits for no approval
        Err(
            SimError::Down(_)
            | SimError::Node(_, NodeError::Refused(_) | NodeError::Conflict(_) | NodeError::NotFound { .. }),
        ) => {
            ledger.borrow_mut().approvals.words.remove(&number);
            Ok(())
        }
        // it may be written
        Err(error) => Err(error),
    }
}

/// The tasks that a node shows.
async fn listed(sim: &Sim, no: NodeNo) -> Result<Vec<Task>, SimError> {
    Ok(sim.on(no, async |node| node.tasks().list(TaskQuery::newest(TASKS_MAX)).await).await?.items)
}

/// The tasks with approvals that a node shows.
pub(crate) async fn shown(sim: &Sim, no: NodeNo) -> Result<BTreeMap<TaskId, ShownApproval>, SimError> {
    let tasks = listed(sim, no).await?.into_iter().filter(|task| task.needs_approval);
    let shown = |task: Task| ShownApproval {
        was_handed_out: task.claims > 0,
        verdict: task.verdict.map(|verdict| (verdict.approved, verdict.by)),
    };
    Ok(tasks.map(|task| (task.id, shown(task))).collect())
}

/// The tasks of a node that wait for an approval, as it shows them. It is not asked before any task needs one.
pub(crate) async fn waiting_at(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo) -> BTreeSet<TaskId> {
    if ledger.borrow().approvals.asked.is_empty() {
        return BTreeSet::new();
    }
    let query = TaskQuery::newest(TASKS_MAX).state(TaskStatus::AwaitingApproval);
    let waiting = sim.on(no, async |node| node.tasks().list(query).await).await;
    let (did, waiting) = (sim.did(no), waiting.map(|page| page.items).unwrap_or_default());
    waiting.into_iter().filter(|task| task.submitter == did).map(|task| task.id).collect()
}

/// A worker got a task at a node. The node's own tasks that waited for an approval before were approved since.
pub(crate) fn was_handed_out(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, waited: &BTreeSet<TaskId>, task: &Task) {
    if waited.contains(&task.id) && !task.verdict.as_ref().is_some_and(|verdict| verdict.approved) {
        let (at, id) = (sim.now().as_millis(), task.id);
        let fault = format!("n{no} handed {id} out at {at} ms, and shows that it has no approval");
        ledger.borrow_mut().approvals.faults.push(fault);
    }
}

/// Whose machine each member is, as a node shows it.
pub(crate) fn persons(node: &Node) -> BTreeMap<Did, Did> {
    let members = node.members().into_iter();
    members.map(|member| (member.did, member.person.map_or(member.did, |person| person.id))).collect()
}

/// Brings approvals to an end on whole nodes. Waits until all agree on persons, and has each node submit two tasks. Every
/// node says which of them it may approve.
pub(crate) async fn conclude(sim: &Sim, ledger: &RefCell<Ledger>, within: Duration) {
    let end = sim.now() + within;
    // all hold the same by now
    if let Some(frontier) = sim.up().first().and_then(|no| sim.frontier(*no).ok()) {
        let approvals = &mut ledger.borrow_mut().approvals;
        for Written { log, seq, by, said } in std::mem::take(&mut approvals.written) {
            if frontier.iter().any(|(held, head)| *held == log && head.seq >= seq) {
                approvals.people.said(&log.author, &by, said);
            }
        }
    }
    let agree = || {
        let people = &ledger.borrow().approvals.people;
        let shown = |no: &NodeNo| sim.node(*no).map(|node| persons(&node)).unwrap_or_default();
        sim.up().iter().all(|no| people.mistaken(&shown(no)).is_none())
    };
    while !agree() && sim.now() < end {
        sim.sleep(LOOK_EVERY).await;
    }
    for no in sim.up() {
        for (n, rule) in [ApprovalRule::Person, ApprovalRule::Other].into_iter().enumerate() {
            let asked = ask(sim, ledger, no, (1_000_000 + no, n as u64, rule));
            let _ = tokio::time::timeout(OP_MAX, asked).await;
        }
    }
    let _ = sim.settled(within).await;
    for no in sim.up() {
        let Ok(tasks) = listed(sim, no).await else { continue };
        for task in tasks.into_iter().filter(|task| task.status == TaskStatus::AwaitingApproval) {
            let mut ledger = ledger.borrow_mut();
            let Approvals { people, faults, asked_who_may, .. } = &mut ledger.approvals;
            let (did, rule) = (sim.did(no), task.rule.unwrap_or(ApprovalRule::Later));
            let may = people.may(rule, &did, &task.submitter);
            *asked_who_may += 1;
            if may != task.is_approvable_here {
                let (is, by) = (if may { "may not" } else { "may" }, task.submitter.short());
                faults.push(format!("n{no} says that it {is} approve {} of {by} by the rule {rule}", task.id));
            }
        }
    }
}

/// Has each task approved or rejected that waits for it, or cancelled if nobody may.
///
/// One may come to that late: its approver is no member any more, and its worker was not heard of again.
pub(crate) async fn decide(sim: &Sim, ledger: &RefCell<Ledger>) {
    let mut waiting = BTreeMap::new();
    for no in sim.up() {
        let tasks = listed(sim, no).await.unwrap_or_default().into_iter();
        let tasks = tasks.filter(|task| task.status == TaskStatus::AwaitingApproval);
        waiting.extend(tasks.map(|task| (task.id, (task.submitter, task.rule.unwrap_or(ApprovalRule::Later)))));
    }
    for (n, (task, (submitter, rule))) in waiting.into_iter().enumerate() {
        let up = sim.up();
        let may = |no: &&NodeNo| ledger.borrow().approvals.people.may(rule, &sim.did(**no), &submitter);
        let approvers: Vec<NodeNo> = up.iter().filter(may).copied().collect();
        if !approvers.is_empty() && ledger.borrow().approvals.asked(task).is_some() {
            let said = say(sim, ledger, approvers[n % approvers.len()], task, !n.is_multiple_of(3));
            let _ = tokio::time::timeout(OP_MAX, said).await;
        } else if let Some(no) = up.into_iter().find(|no| sim.did(*no) == submitter) {
            let cancelled = sim.on(no, async |node| node.tasks().cancel(&task.to_string(), "").await);
            let _ = tokio::time::timeout(OP_MAX, cancelled).await;
        }
    }
}
