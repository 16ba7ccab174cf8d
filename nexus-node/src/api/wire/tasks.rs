//! Tasks and workers, on the wire.

use std::time::Duration;

use nexus_client::wire::{
    Agent, AgentLoad, AgentRest, Approval, Assignee, AttemptError, ClaimTask, ClaimedTask, FinishTask, NewTask,
    RenewTask, Sandbox, Span, Task, TaskCandidate, TaskError, TaskEvent, TaskLog, TaskPage, TaskProgress, TaskRenewal,
};

use crate::api::Problem;
use crate::api::caller::Caller;
use crate::api::why;
use crate::tasks;

impl From<Sandbox> for tasks::TaskSandbox {
    fn from(sandbox: Sandbox) -> Self {
        match sandbox {
            Sandbox::Kernel => Self::Kernel,
            Sandbox::Full => Self::Full,
        }
    }
}

/// The task, with its caller as agent.
pub(in crate::api) fn new_task(given: NewTask, caller: &Caller) -> Result<crate::NewTask, Problem> {
    let agent = agent_of(caller, given.agent.as_deref())?;
    let new = crate::NewTask::new(given.capability, given.input);
    Ok(crate::NewTask {
        space: given.space,
        to: given.to,
        priority: given.priority.map_or(new.priority, Into::into),
        timeout: given.timeout.map_or(new.timeout, |Span(time)| time),
        deadline: given.deadline.map(Into::into),
        attempts: given.attempts.unwrap_or(new.attempts),
        request: given.request,
        once: given.once,
        needs_approval: given.needs_approval || given.approved_by.is_some(),
        approved_by: given.approved_by.map(Into::into),
        preemptible: given.preemptible,
        after: given.after,
        heirs: given.heirs,
        sandbox: given.sandbox.map(Into::into),
        agent,
        ..new
    })
}

/// The name of the program, given or from the connection.
fn agent_of(caller: &Caller, given: Option<&str>) -> Result<Option<String>, Problem> {
    Ok(caller.origin(given, None)?.agent.map(|agent| agent.to_string()))
}

impl From<tasks::Assignee> for Assignee {
    fn from(worker: tasks::Assignee) -> Self {
        Self { node: worker.node.to_string(), name: worker.name, agent: worker.agent }
    }
}

impl From<tasks::TaskHistory> for TaskEvent {
    fn from(event: tasks::TaskHistory) -> Self {
        Self {
            at: event.at.to_string(),
            event: event.event.to_owned(),
            by: event.by.to_string(),
            by_name: event.by_name,
            worker: event.worker.map(Assignee::from),
            text: event.text,
        }
    }
}

fn approval(rule: tasks::ApprovalRule, here: bool, verdict: Option<tasks::ApprovalGiven>) -> Approval {
    let given = verdict.as_ref();
    Approval {
        rule: rule.to_string(),
        here,
        approved: given.map(|given| given.approved),
        by: given.map(|given| given.by.to_string()),
        by_name: given.and_then(|given| given.name.clone()),
        person: given.map(|given| given.person.to_string()),
    }
}

pub(in crate::api) fn candidate(candidate: tasks::TaskCandidate, node_name: Option<String>) -> TaskCandidate {
    let tasks::TaskCandidate { node, score, parts, why_not } = candidate;
    let rounded = |points: f64| (points * 10.0).round() / 10.0;
    let parts = parts.into_iter().map(|(part, points)| (part.to_owned(), rounded(points))).collect();
    TaskCandidate {
        node: node.to_string(),
        node_name,
        score: score.map(rounded),
        parts,
        why_not: why_not.map(why::why_not),
    }
}

impl From<tasks::Task> for Task {
    fn from(task: tasks::Task) -> Self {
        let progress = |progress: tasks::TaskProgress| TaskProgress { percent: progress.percent, text: progress.text };
        Self {
            id: task.id.to_string(),
            capability: task.capability,
            state: task.status.as_str().to_owned(),
            why: task.why.as_ref().map(why::waits),
            input: task.input,
            output: task.output,
            error: task.error.map(|error| TaskError { code: error.code, message: error.message }),
            space: task.space,
            priority: task.priority.into(),
            timeout: Span(task.timeout),
            deadline: task.deadline.map(|at| at.to_string()),
            attempts: task.attempts,
            request: task.request,
            once: task.once,
            needs_approval: task.needs_approval,
            approval: task.rule.map(|rule| approval(rule, task.is_approvable_here, task.verdict)),
            preemptible: task.preemptible,
            after: task.after.into_iter().map(|id| id.to_string()).collect(),
            to: task.to.map(|did| did.to_string()),
            retry_of: task.retry_of.map(|id| id.to_string()),
            submitter: task.submitter.to_string(),
            submitter_name: task.submitter_name,
            heirs: task.heirs.into_iter().map(|did| did.to_string()).collect(),
            sandbox: task.sandbox,
            settler: task.settler.to_string(),
            settler_name: task.settler_name,
            agent: task.agent,
            submitted_at: task.submitted_at.to_string(),
            assigned_to: task.assigned_to.map(Assignee::from),
            claims: task.claims,
            failures: task.failures,
            expiries: task.expiries,
            progress: task.progress.map(progress),
            worker_rest: task.worker_rest.map(AgentRest::from),
            ended_at: task.ended_at.map(|at| at.to_string()),
            events: task.events.into_iter().map(TaskEvent::from).collect(),
            candidates: None,
        }
    }
}

impl From<tasks::TaskPage> for TaskPage {
    fn from(page: tasks::TaskPage) -> Self {
        Self { items: page.items.into_iter().map(Task::from).collect(), next: page.next }
    }
}

/// The question, with its caller as worker.
pub(in crate::api) fn claim_query(given: ClaimTask, caller: &Caller) -> Result<crate::tasks::ClaimQuery, Problem> {
    let agent = agent_of(caller, given.agent.as_deref())?;
    let query = crate::tasks::ClaimQuery::of("");
    let time = |given: Option<Span>, default: Duration| given.map_or(default, |Span(time)| time);
    let (wait, lease) = (time(given.wait, query.wait), time(given.lease, query.lease));
    let (cpu_max, memory_max) = (given.cpu_max.unwrap_or(query.cpu_max), given.memory_max.unwrap_or(query.memory_max));
    let (capabilities, from) = (given.capabilities, given.from);
    let (input_schema, output_schema) = (given.input_schema, given.output_schema);
    Ok(crate::tasks::ClaimQuery {
        capabilities,
        agent,
        wait,
        lease,
        from,
        cpu_max,
        memory_max,
        approved_by: given.approved_by.map(Into::into),
        input_schema,
        output_schema,
        ..query
    })
}

impl From<tasks::ClaimedTask> for ClaimedTask {
    fn from(claimed: tasks::ClaimedTask) -> Self {
        let (task, token) = (claimed.task.into(), claimed.token.to_string());
        let (lock, fence) = claimed.fence.map(|fence| (fence.lock, fence.token)).unzip();
        Self { task, token, attempt: claimed.attempt, lease_ms: ms(claimed.lease), lock, fence }
    }
}

/// The progress that it tells of.
pub(in crate::api) fn progress(given: &RenewTask) -> Option<crate::tasks::TaskProgress> {
    let tells = given.percent.is_some() || given.text.is_some();
    tells.then(|| crate::tasks::TaskProgress::new(given.percent, given.text.clone().unwrap_or_default()))
}

impl From<tasks::TaskLog> for TaskLog {
    fn from(log: tasks::TaskLog) -> Self {
        let tasks::TaskLog { id, worker, attempt, from, text, next, open } = log;
        Self { id: id.to_string(), worker: worker.map(Assignee::from), attempt, from, text, next, open }
    }
}

impl From<tasks::Renewal> for TaskRenewal {
    fn from(renewal: tasks::Renewal) -> Self {
        Self { lease_ms: ms(renewal.lease), left_ms: ms(renewal.left) }
    }
}

/// The end, if it is one.
pub(in crate::api) fn result(given: FinishTask) -> Result<crate::tasks::TaskResult, Problem> {
    match (given.output, given.error, given.release) {
        (output, None, false) => Ok(crate::tasks::TaskResult::Succeeded(output.unwrap_or_default())),
        (None, Some(AttemptError { code, message }), false) => {
            Ok(crate::tasks::TaskResult::Failed { code: code.unwrap_or_default(), message })
        }
        (None, None, true) => Ok(crate::tasks::TaskResult::Released),
        _ => Err(Problem::new("invalid", "an attempt has one end").hint("give `output`, `error` or `release`")),
    }
}

impl From<tasks::AgentRest> for AgentRest {
    fn from(rest: tasks::AgentRest) -> Self {
        Self { until: rest.until.to_string(), failures: rest.failures }
    }
}

pub(in crate::api) fn agent(agent: tasks::Agent, member: Option<&crate::node::MemberInfo>) -> Agent {
    let tasks::Agent { name, node, capabilities, waiting, running, load, health, rest, reputation, labels, .. } = agent;
    let rest = rest.map(AgentRest::from);
    // it was checked when it was heard
    let schema = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    let (input_schema, output_schema) = (schema(agent.input_schema), schema(agent.output_schema));
    let (node, health) = (node.to_string(), health.to_string());
    let load = AgentLoad { cpu: load.cpu, memory: load.memory };
    let reputation = (reputation * 1_000.0).round() / 1_000.0;
    let node_name = member.map(|member| member.name.clone());
    let roles = member.map(|member| member.roles.iter().map(ToString::to_string).collect()).unwrap_or_default();
    Agent {
        name,
        node,
        node_name,
        roles,
        capabilities,
        waiting,
        running,
        load,
        health,
        rest,
        reputation,
        labels,
        input_schema,
        output_schema,
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
