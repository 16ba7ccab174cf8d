//! The tools for tasks: to hand work over, to take it, and to say what came of it.
//!
//! A model is not heard of between two calls, which may be minutes apart. So its claim has no lease of its own: it lasts as
//! long as one attempt may take.

use std::fmt::Write;
use std::time::Duration;

use nexus_crdt::TASK_ATTEMPT_MAX;

use super::CoreServer;
use super::arguments::{TaskClaim, TaskCreate, TaskUpdate};
use super::line;
use crate::api::issued::Scope;
use crate::mcp::answer::{Refusal, refused};
use crate::problem::Problem;
use crate::tasks::{self, ClaimQuery, NewTask, Task, TaskProgress, TaskResult, TaskToken};

/// The space of a task that names none.
const TASKS_SPACE: &str = "tasks";
/// The longest wait in one call, in seconds: clients give up after a minute.
const WAIT_MAX: u64 = 50;
/// The wait of a claim unless one is given, in seconds.
const WAIT_DEFAULT: u64 = 20;

fn wait(asked: Option<u64>, default: u64) -> Result<Duration, Refusal> {
    match asked.unwrap_or(default) {
        seconds @ 0..=WAIT_MAX => Ok(Duration::from_secs(seconds)),
        seconds => Err(Problem::new("invalid", format!("wait is 0 to {WAIT_MAX} seconds, not {seconds}"))),
    }
}

impl CoreServer {
    /// Submits a task, and waits for its end if asked to.
    pub(super) async fn task_create(&self, given: TaskCreate) -> Result<String, Refusal> {
        let wait = wait(given.wait, 0)?;
        self.pass.check_space(given.space.as_deref().unwrap_or(TASKS_SPACE))?;
        let agent = self.agent.caller().origin(None, None)?.agent.map(|agent| agent.to_string());
        let new = NewTask::new(given.capability, given.input);
        let task = NewTask {
            to: given.to,
            space: given.space,
            priority: given.priority.map_or(new.priority, Into::into),
            timeout: given.timeout.map_or(new.timeout, |span| span.0),
            request: given.request,
            once: given.once,
            needs_approval: given.needs_approval,
            agent,
            ..new
        };
        let board = self.node.tasks();
        let task = board.submit(task).await.map_err(refused)?;
        let id = task.id.to_string();
        if !wait.is_zero()
            && let Some(over) = self.pass.while_good(board.wait(&id, wait)).await?.map_err(refused)?
        {
            return Ok(shown(&over));
        }
        let task = board.get(&id).await.map_err(refused)?;
        Ok(format!("{}\nReaders: the members that read the space {}.", shown(&task), line::word(&task.space)))
    }

    /// Takes a task to do.
    pub(super) async fn task_claim(&self, given: TaskClaim) -> Result<String, Refusal> {
        let wait = wait(given.wait, WAIT_DEFAULT)?;
        self.pass.check_unbounded()?;
        let mut capabilities = given.capabilities.into_iter();
        let first =
            capabilities.next().ok_or_else(|| Problem::new("invalid", "capabilities: at least one is needed"))?;
        let agent = self.agent.caller().origin(None, None)?.agent;
        let mut query = capabilities.fold(ClaimQuery::of(first), ClaimQuery::and).wait(wait).lease(TASK_ATTEMPT_MAX);
        // a model would read all of it
        query = query.without_blobs();
        query = given.from.into_iter().fold(query, ClaimQuery::from);
        query.approved_by = given.approved_by.map(Into::into);
        if let Some(agent) = agent {
            query = query.agent(agent.to_string());
        }
        let Some(claimed) = self.pass.while_good(self.node.tasks().claim(query)).await?.map_err(refused)? else {
            return Ok("No task now. Ask again.".to_owned());
        };
        let tasks::ClaimedTask { task, token, attempt, fence, .. } = claimed;
        let mut answer = format!(
            "{} {} from {}, attempt {attempt}, at most {} s. token {token}\ninput: {}",
            task.id,
            line::word(&task.capability),
            submitter(&task),
            task.timeout.as_secs(),
            line::json_text(task.input.as_str())
        );
        if let Some(tasks::TaskFence { lock, token }) = fence {
            // writing to a text cannot fail
            let _ = write!(answer, "\nDone once: right before an effect run `nexus-node fence check {lock} {token}`.");
        }
        Ok(answer)
    }

    /// Shows a task, or says something of it.
    pub(super) async fn task_update(&self, given: TaskUpdate) -> Result<String, Refusal> {
        let board = self.node.tasks();
        let wait = wait(given.wait, 0)?;
        let says = [given.output.is_some(), given.error.is_some(), given.release, given.progress.is_some()];
        let says = says.into_iter().filter(|says| *says).count();
        if given.cancel.is_some() && (says > 0 || given.token.is_some()) || says > 1 {
            let problem = Problem::new("invalid", "output, error, release, progress and cancel exclude each other");
            return Err(problem.hint("give one of them"));
        }
        if self.pass.is_bounded() {
            let task = board.get(&given.id).await.map_err(refused)?;
            self.pass.check_space(&task.space)?;
        }
        if let Some(why) = &given.cancel {
            self.pass.check(&[Scope::TasksSubmit])?;
            return Ok(shown(&board.cancel(&given.id, why).await.map_err(refused)?));
        }
        if says == 0 {
            if !wait.is_zero() {
                self.pass.while_good(board.wait(&given.id, wait)).await?.map_err(refused)?;
            }
            return Ok(shown(&board.get(&given.id).await.map_err(refused)?));
        }
        self.pass.check(&[Scope::TasksWork])?;
        let missing = || Problem::new("invalid", "token: it is missing").hint("give the one that task_claim told");
        let token = given.token.as_deref().ok_or_else(missing)?;
        let token: TaskToken = token.parse().map_err(|_| Problem::new("invalid", "token: it is none"))?;
        if let Some(text) = given.progress {
            let renewal = board.renew(&given.id, token, Some(TaskProgress::new(given.percent, text))).await;
            let left = renewal.map_err(refused)?.left.as_secs();
            return Ok(format!("Heard. The attempt may take {left} s more."));
        }
        let result = match (given.output, given.error) {
            (Some(output), _) => TaskResult::Succeeded(output),
            (None, Some(message)) => TaskResult::Failed { code: String::new(), message },
            (None, None) => TaskResult::Released,
        };
        Ok(shown(&board.finish(&given.id, token, result).await.map_err(refused)?))
    }
}

fn submitter(task: &Task) -> String {
    let name = task.submitter_name.as_deref().map_or_else(|| task.submitter.to_string(), line::word);
    match &task.agent {
        Some(agent) => format!("{name} ({})", line::word(agent)),
        None => name,
    }
}

/// A task in a line, and its output as JSON in another one. The words of members and programs are quoted.
fn shown(task: &Task) -> String {
    let mut line = format!("{} {} {}", task.id, line::word(&task.capability), task.status.as_str());
    let worker = task.assigned_to.as_ref().map(|worker| {
        let node = line::member(worker.name.as_deref(), &worker.node);
        worker.agent.as_ref().map_or(node.clone(), |agent| format!("{} at {node}", line::word(agent)))
    });
    // writing to a text cannot fail
    if let Some(worker) = worker {
        let _ = write!(line, ", {worker}");
    }
    if let Some(TaskProgress { percent, text }) = &task.progress {
        let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        let _ = write!(line, "{percent} {}", line::said(text));
    }
    if let Some(why) = &task.why {
        let _ = write!(line, ": {}", line::in_one_line(why));
    }
    if let Some(error) = &task.error {
        let code = if error.code.is_empty() { String::new() } else { line::word(&error.code) };
        let _ = write!(line, ": {code} {}", line::said(&error.message));
    }
    if let Some(output) = task.output.as_ref().filter(|output| !output.is_null()) {
        let _ = write!(line, "\noutput: {}", line::json_text(output.as_str()));
    }
    line
}
