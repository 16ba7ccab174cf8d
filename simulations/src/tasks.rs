//! Tasks under faults: submissions and workers at every node, and the answers that they saw.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nexus_node::env::{Usage, UsageOf};
use nexus_node::tasks::{
    ClaimQuery, ClaimedTask, JsonText, Priority, Task, TaskQuery, TaskResult, TaskStatus, TaskWaits,
};
use nexus_node::{NewTask, NodeError};
use serde_json::json;

use crate::approvals::{decide, waiting_at, was_handed_out};
use crate::hooks;
use crate::ledger::{Ledger, TaskPromise};
use crate::plan::{NodeNo, Op, OpKind};
use crate::world::{Sim, SimError};

/// The longest operation; a longer one counts as not acknowledged.
const OP_MAX: Duration = Duration::from_secs(30);
/// The longest wait of a worker for work.
const WAIT: Duration = Duration::from_secs(5);
/// The time without a word after which a worker's claim is over.
const LEASE: Duration = Duration::from_secs(10);
/// The kinds of work.
const KINDS: u64 = 3;
/// The longest work.
const WORK_MAX_MS: u64 = 6_000;
/// The most tasks of a run.
const TASKS_MAX: usize = 1_000;

/// The end of each task that a node shows, by id; `None` while it has none.
pub(crate) type Shown = BTreeMap<String, Option<(TaskStatus, String)>>;

pub(crate) fn capability(n: u64) -> String {
    format!("work{}", n % KINDS)
}

/// Does one operation and records what its client saw.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let done = async {
        match op.kind {
            OpKind::Submit | OpKind::Bequeath => submit(sim, ledger, number, op).await,
            _ => work(sim, ledger, number, op).await,
        }
    };
    match tokio::time::timeout(OP_MAX, done).await {
        Ok(Ok(())) => {}
        _ => ledger.borrow_mut().failed += 1,
    }
}

async fn submit(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) -> Result<(), SimError> {
    let mut new = NewTask::new(capability(op.n), json!(number)).attempts(5);
    if op.kind == OpKind::Bequeath {
        new = with_heirs(new, sim, op);
    } else if number.is_multiple_of(4) {
        // whoever asks again asks for the same
        new = NewTask::new(capability(op.n), json!(op.n)).attempts(5).request(format!("request {}", op.n));
    } else if number.is_multiple_of(3) {
        new = new.once();
    } else if number.is_multiple_of(5) {
        new = new.preemptible();
    } else if !number.is_multiple_of(2) {
        new = with_heirs(new, sim, op);
    }
    if number % 7 == 1 && !number.is_multiple_of(4) {
        new = new.priority(Priority::Critical);
    }
    if number % 6 == 1 {
        // of any node, and perhaps not known at this one
        let before = ledger.borrow().tasks.keys().nth(usize::try_from(op.bytes).unwrap_or_default() % 16).cloned();
        new = before.into_iter().fold(new, NewTask::after);
    }
    submit_this(sim, ledger, op.node, new).await
}

/// Submits tasks of a node that others hand out while it is down.
pub(crate) async fn submit_with_heirs(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, tasks: u64) {
    for n in 0..tasks {
        let others = (1..=2).map(|next| sim.did((no + next) % sim.len()).to_string());
        let new = others.fold(NewTask::new(capability(n), json!(n)).attempts(5), NewTask::heir);
        let _ = tokio::time::timeout(OP_MAX, submit_this(sim, ledger, no, new)).await;
    }
}

async fn submit_this(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, new: NewTask) -> Result<(), SimError> {
    let (has_heirs, after) = (!new.heirs.is_empty(), new.after.first().cloned());
    let task = sim.on(no, async |node| node.tasks().submit(new).await).await?;
    let mut ledger = ledger.borrow_mut();
    ledger.acknowledged += 1;
    let promise = TaskPromise { node: no, at: sim.now(), has_heirs, after, results: Vec::new() };
    ledger.tasks.entry(task.id.to_string()).or_insert(promise);
    Ok(())
}

/// Two other nodes hand it out while this one is down.
fn with_heirs(new: NewTask, sim: &Sim, op: Op) -> NewTask {
    (1..=2).fold(new, |new, next| new.heir(sim.did((op.node + next) % sim.len()).to_string()))
}

async fn claim(sim: &Sim, no: NodeNo, n: u64, wait: Duration, cpu_max: u8) -> Result<Option<ClaimedTask>, SimError> {
    let query = ClaimQuery::of(capability(n)).and(capability(n + 1)).from("member").lease(LEASE).wait(wait);
    let query = query.load_max(cpu_max, 100);
    sim.on(no, async |node| node.tasks().claim(query).await).await
}

/// A worker's turn: most do what they get, some fail, give it back, or are never heard of again.
async fn work(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) -> Result<(), SimError> {
    // every other one leaves a busy machine alone
    let cpu_max = if op.n.is_multiple_of(2) { 80 } else { 100 };
    let waited = waiting_at(sim, ledger, op.node).await;
    let Some(claimed) = claim(sim, op.node, op.n, WAIT, cpu_max).await? else { return Ok(()) };
    was_handed_out(sim, ledger, op.node, &waited, &claimed.task);
    begins(sim, ledger, &claimed);
    let id = claimed.task.id.to_string();
    let long = Duration::from_millis(op.bytes % WORK_MAX_MS);
    for _ in 0..2 {
        sim.sleep(long / 2).await;
        let renewed = sim.on(op.node, async |node| node.tasks().renew(&id, claimed.token, None).await).await;
        if let Err(SimError::Node(_, NodeError::Conflict(_))) = renewed {
            return Ok(());
        }
    }
    let result = match op.n % 8 {
        // the workers of one machine fail too often
        3..=6 if op.node == 1 => TaskResult::Failed { code: "bad".to_owned(), message: "it never works".to_owned() },
        0 => return Ok(()),
        1 => TaskResult::Failed { code: "bad".to_owned(), message: "it does not work".to_owned() },
        2 => TaskResult::Released,
        _ => TaskResult::Succeeded(JsonText::text(format!("operation {number}"))),
    };
    finish(sim, ledger, op.node, &claimed, result).await
}

/// Notes that a worker begins a task that is done once, or that needs an approval.
fn begins(sim: &Sim, ledger: &RefCell<Ledger>, claimed: &ClaimedTask) {
    if claimed.task.needs_approval {
        ledger.borrow_mut().approvals.handed_out.entry(claimed.task.id).or_insert_with(|| sim.now());
    }
    if let Some(fence) = &claimed.fence {
        let mut ledger = ledger.borrow_mut();
        ledger.begun.entry(claimed.task.id.to_string()).or_default().push((fence.token, false));
    }
}

async fn finish(
    sim: &Sim,
    ledger: &RefCell<Ledger>,
    no: NodeNo,
    claimed: &ClaimedTask,
    result: TaskResult,
) -> Result<(), SimError> {
    let (id, token) = (claimed.task.id.to_string(), claimed.token);
    if !matches!(result, TaskResult::Succeeded(_))
        && let Some(last) = ledger.borrow_mut().begun.get_mut(&id).and_then(|begun| begun.last_mut())
    {
        // from here on another one may begin it
        last.1 = true;
    }
    let over = sim.on(no, async |node| node.tasks().finish(&id, token, result).await).await?;
    let mut ledger = ledger.borrow_mut();
    ledger.acknowledged += 1;
    if let (TaskStatus::Succeeded, Some(output)) = (over.status, over.output) {
        let (at, has_heirs) = (sim.now(), !over.heirs.is_empty());
        let after = over.after.first().map(ToString::to_string);
        let unknown = TaskPromise { node: no, at, has_heirs, after, results: Vec::new() };
        let promise = ledger.tasks.entry(id).or_insert(unknown);
        promise.results.push((no, sim.now(), output.to_string()));
    }
    Ok(())
}

/// The counters of a machine: it is busy for 20 s of each minute, in its turn.
pub(crate) fn usage_of(no: NodeNo) -> UsageOf {
    const ROUND_S: u64 = 60;
    const BUSY_S: u64 = 20;
    let offset = Duration::from_secs(u64::try_from(no).unwrap_or_default() * 13);
    Arc::new(move || {
        let all = hooks::elapsed() + offset;
        let within = all - Duration::from_secs(all.as_secs() / ROUND_S * ROUND_S);
        let busy = Duration::from_secs(all.as_secs() / ROUND_S * BUSY_S) + within.min(Duration::from_secs(BUSY_S));
        Some(Usage { busy, all, memory: Some(50) })
    })
}

/// The tasks that a node shows. Where a machine is gone, so may be its word about an end.
pub(crate) async fn shown(sim: &Sim, no: NodeNo) -> Result<Shown, SimError> {
    let page = sim.on(no, async |node| node.tasks().list(TaskQuery::newest(TASKS_MAX)).await).await?;
    let end = |status: TaskStatus, output: Option<JsonText>| {
        status.is_over().then(|| (status, output.map(|output| output.to_string()).unwrap_or_default()))
    };
    let is_here = |task: &Task| task.why != Some(TaskWaits::EndElsewhere);
    Ok(page
        .items
        .into_iter()
        .filter(is_here)
        .map(|task| (task.id.to_string(), end(task.status, task.output)))
        .collect())
}

/// Works at all nodes until every node shows an end of every task, or time is over.
pub(crate) async fn work_off(sim: &Sim, ledger: &RefCell<Ledger>, within: Duration) {
    let begin = sim.now();
    while sim.now() - begin < within {
        if !ledger.borrow().approvals.asked.is_empty() {
            decide(sim, ledger).await;
        }
        let mut open = false;
        for no in sim.up() {
            let lasts = |promise: &&TaskPromise| !ledger.borrow().is_in_doubt(promise.node, promise.at);
            let promised = ledger.borrow().tasks.values().filter(lasts).count();
            let shown = shown(sim, no).await;
            let is_open = |(id, end): (&String, &Option<_>)| end.is_none() && ledger.borrow().must_end(id);
            open |= shown.is_ok_and(|shown| shown.len() < promised || shown.iter().any(is_open));
        }
        if !open {
            return;
        }
        join_all(sim.up().into_iter().flat_map(|no| (0..KINDS).map(move |n| (no, n))).map(|(no, n)| async move {
            if let Ok(Some(claimed)) = claim(sim, no, n, Duration::from_secs(2), 100).await {
                begins(sim, ledger, &claimed);
                let output = TaskResult::Succeeded(JsonText::text(format!("after the heal, by n{no}")));
                let _ = tokio::time::timeout(OP_MAX, finish(sim, ledger, no, &claimed, output)).await;
            }
        }))
        .await;
    }
}
