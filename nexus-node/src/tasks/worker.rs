//! Workers of this node: they ask for work, say that they live, and what came of it.

use std::time::Duration;

use nexus_crdt::{
    BadTaskEvent, Settlement, TASK_ATTEMPT_MAX, TASK_ERROR_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskEnd, TaskEvent, TaskId,
    TaskToken, is_capability,
};
use nexus_identity::Did;
use tokio::sync::oneshot;

use super::approved::Approved;
use super::attached::Shortened;
use super::board::{Assigned, Held, TaskBoard, WAIT_MAX, cut};
use super::core::{Call, CallId, Fault, From, Holder, NotHeld};
use super::read;
use super::schema::Schemas;
use super::{CAPABILITIES_MAX, ClaimQuery, ClaimedTask, Renewal, Task, TaskProgress, TaskResult};
use crate::engine::LATE;
use crate::error::{AccessError, ConflictError, InputError, NodeError, StopError};
use crate::memory::read::Reader;

/// The most workers of this node that wait for work.
const CALLS_MAX: usize = 1_000;
/// The shortest time without a word after which a claim is over.
const LEASE_MIN: Duration = Duration::from_secs(1);

impl TaskBoard {
    /// Waits for a task that a worker of this node can do; `None` if there is none in time.
    ///
    /// The worker must be heard of within its lease, again and again ([`renew`](Self::renew)), until it says what came of
    /// it ([`finish`](Self::finish)).
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for capabilities or a lease out of range, [`NodeError::Refused`] with too many workers.
    pub async fn claim(&self, query: ClaimQuery) -> Result<Option<ClaimedTask>, NodeError> {
        if !(1..=CAPABILITIES_MAX).contains(&query.capabilities.len()) {
            return Err(InputError::Capabilities { max: CAPABILITIES_MAX }.into());
        }
        if query.capabilities.iter().any(|capability| !is_capability(capability)) {
            return Err(InputError::Task(BadTaskEvent::Capability).into());
        }
        if !(LEASE_MIN..=TASK_ATTEMPT_MAX).contains(&query.lease) {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let (ms, min, max) = (ms(query.lease), ms(LEASE_MIN), ms(TASK_ATTEMPT_MAX));
            return Err(InputError::Time { what: "lease", ms, min, max }.into());
        }
        let agent = query.agent.unwrap_or_default();
        if agent.len() > TASK_NAME_BYTES_MAX {
            let (part, size, max) = ("the name of the worker", agent.len(), TASK_NAME_BYTES_MAX);
            return Err(InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into());
        }
        let from = match query.from.is_empty() {
            true => From { admins: true, ..From::default() },
            // those of admins and of its person's machines come without a word
            false => self.reading(move |_, _, reader| from_of(&query.from, reader)).await?,
        };
        if query.cpu_max > 100 || query.memory_max > 100 {
            return Err(InputError::Percent.into());
        }
        let insists_on = Approved::wanted(query.approved_by).ok_or(InputError::ApprovalRule)?;
        let (input, output) = (query.input_schema.as_ref(), query.output_schema.as_ref());
        let before = self.held().schemas.same(&agent, input, output);
        let schemas = match before {
            Some(schemas) => Some(schemas),
            None => Schemas::of(input, output)?,
        };
        let holder = Holder { node: self.me(), agent: agent.clone() };
        let (cpu_max, memory_max) = (query.cpu_max, query.memory_max);
        let capabilities = query.capabilities;
        let call = Call { holder, capabilities, from, lease: query.lease, cpu_max, memory_max, insists_on };
        let (assign, assigned) = oneshot::channel();
        let id = {
            let mut held = self.held();
            if held.callers.len() >= CALLS_MAX {
                return Err(AccessError::TooManyWorkers { max: CALLS_MAX }.into());
            }
            held.schemas.asks(&agent, schemas.as_ref().filter(|_| !agent.is_empty()));
            let id = held.core.call(call, self.now());
            held.callers.insert(id, assign);
            id
        };
        // a worker that is gone gets nothing; what is on its way to it waits again
        let mut waiting = Waiting { board: self.clone(), call: id, assigned, given: None };
        self.wake();
        self.0.calls.notify_one();
        self.0.workers.notify_one();
        let until = self.now().saturating_add(query.wait.min(WAIT_MAX));
        let found = tokio::select! {
            found = &mut waiting.assigned => found.ok(),
            () = self.here().world.sleep_until(until) => match waiting.hang_up() {
                true => None,
                // it is being written: the answer is near
                false => (&mut waiting.assigned).await.ok(),
            },
        };
        let Some(Assigned { task, token, attempt }) = found else { return Ok(None) };
        waiting.given = Some((task, token));
        let lease = query.lease;
        let id = task;
        let task = match self.guest(id, token) {
            Some(task) => task,
            None => {
                let read = self.reading(move |board, view, reader| {
                    let found = read::find(view, reader, id)?.ok_or(ConflictError::ClaimOver)?;
                    Ok(board.shown(read::task(view, reader, found, false)?))
                });
                read.await?
            }
        };
        let mut task = task;
        if query.whole_input {
            match self.whole_input(id, token, lease, task.input).await {
                Ok(input) => task.input = input,
                Err(error) => {
                    waiting.given = None;
                    let (code, message) = ("input_missing".to_owned(), format!("the input is not here: {error}"));
                    self.finish(&id.to_string(), token, TaskResult::Failed { code, message }).await?;
                    return Ok(None);
                }
            }
        }
        if let Some(mismatch) = schemas.as_ref().and_then(|schemas| schemas.refuses(&task.input)) {
            waiting.given = None;
            self.finish(&id.to_string(), token, mismatch).await?;
            return Ok(None);
        }
        if let Some(schemas) = &schemas {
            let mut held = self.held();
            let Held { core, guests, schemas: book, .. } = &mut *held;
            book.keep_claims(|task, token| guests.contains_key(&(task, token)) || core.is_running(task, token));
            book.claims(id, token, schemas);
        }
        let mut fence = None;
        if task.once {
            fence = self.begin_once(id, token).await;
            if fence.is_none() {
                waiting.given = None;
                return Ok(None);
            }
        }
        waiting.given = None;
        Ok(Some(ClaimedTask { task, token, attempt, lease, fence }))
    }

    /// A worker's word that it lives, and how far it is. Returns what is left of its claim.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if the claim no longer stands: stop the work.
    pub async fn renew(
        &self,
        id: &str,
        token: TaskToken,
        progress: Option<TaskProgress>,
    ) -> Result<Renewal, NodeError> {
        let task = self.task_id(id).await?;
        self.until_taken_up().await;
        self.heard(task, token, progress)
    }

    /// Hands over what the command of a claim wrote to its stderr: the part after so many bytes. The last 64 KiB are kept.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn note_log(&self, id: &str, token: TaskToken, from: u64, text: &str) -> Result<Renewal, NodeError> {
        let task = self.task_id(id).await?;
        self.until_taken_up().await;
        let renewal = self.heard(task, token, None)?;
        let (me, now) = (self.me(), self.now());
        self.held().hear_log(task, token, me, (from, text), now);
        Ok(renewal)
    }

    /// As [`renew`](Self::renew), and waits: it returns when the claim is over, or after a while. If the caller hangs up,
    /// the worker must be heard of again within a second.
    ///
    /// # Errors
    /// As [`renew`](Self::renew), as soon as the claim no longer stands.
    pub async fn hold(
        &self,
        id: &str,
        token: TaskToken,
        progress: Option<TaskProgress>,
        wait: Duration,
    ) -> Result<Renewal, NodeError> {
        let task = self.task_id(id).await?;
        self.until_taken_up().await;
        let renewal = self.heard(task, token, progress)?;
        let ended = self.held().until_over(task, token);
        let line = Line { board: self.clone(), task, token, is_open: true };
        let until = self.now().saturating_add(wait.min(renewal.lease / 2).min(WAIT_MAX));
        tokio::select! {
            _ = ended => {}
            () = self.here().world.sleep_until(until) => {}
        }
        line.close();
        self.heard(task, token, None)
    }

    pub(super) fn heard(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<TaskProgress>,
    ) -> Result<Renewal, NodeError> {
        if let Some(heard) = self.heard_guest(task, token, progress.as_ref()) {
            return heard;
        }
        let now = self.now();
        let mut held = self.held();
        let standing = held.core.heard(task, token, now).map_err(|NotHeld| ConflictError::ClaimOver)?;
        if let Some(progress) = progress {
            held.note_progress(task, progress);
        }
        Ok(Renewal { lease: standing.lease, left: standing.attempt_left })
    }

    async fn task_id(&self, id: &str) -> Result<TaskId, NodeError> {
        // it may be here before its submission is
        if let Some(task) = self.guest_called(id) {
            return Ok(task);
        }
        let id = id.to_owned();
        self.reading(move |_, view, reader| read::resolve_id(view, reader, &id)).await
    }

    /// A worker's word of what came of its attempt. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if the claim no longer stands: a result is kept then, marked as late.
    /// [`NodeError::Invalid`] for an output that is too large.
    pub async fn finish(&self, id: &str, token: TaskToken, result: TaskResult) -> Result<Task, NodeError> {
        let task = self.task_id(id).await?;
        self.until_taken_up().await;
        let result = self.held().schemas.checked(task, token, result);
        let (result, output) = match result {
            TaskResult::Succeeded(value) => {
                let output = self.shortened("the output", value.clone()).await?;
                let event = if output.blob.is_none() { value } else { output.json.parse().unwrap_or_default() };
                (TaskResult::Succeeded(event), output)
            }
            other => (other, Shortened::default()),
        };
        self.note_once(task, token, &result).await;
        if let Some(finished) = self.finish_guest(task, token, &result, &output.json).await {
            self.use_for_a_while(output);
            return finished;
        }
        let Shortened { json: output, blob: _in_use } = output;
        let written = {
            let now = self.now();
            let mut held = self.held();
            let taken = match result.clone() {
                TaskResult::Succeeded(_) => held.core.succeed(task, token, output.clone(), now),
                TaskResult::Failed { code, message } => {
                    let code = if code.is_empty() { "failed".to_owned() } else { cut(&code, TASK_NAME_BYTES_MAX) };
                    held.core.fail(task, token, Fault { code, error: cut(&message, TASK_ERROR_BYTES_MAX) }, now)
                }
                TaskResult::Released => held.core.release(task, token, now),
            };
            let rest = held.core.rest_after(task, now).filter(|_| matches!(result, TaskResult::Failed { .. }));
            let rest = rest.map(|rest| rest.at(now, self.here().world.wall()));
            taken.map(|()| (held.until_end(task), rest))
        };
        let Ok((written, rest)) = written else {
            let said = result.clone();
            if self
                .reading(move |board, view, _| Ok(read::has_ended_so(view, task, (token, board.me()), &said)?))
                .await?
            {
                return self.get(&task.to_string()).await;
            }
            if let TaskResult::Succeeded(_) = result {
                self.keep_late(task, token, output, self.me()).await?;
                return self.kept(task).await;
            }
            return Err(ConflictError::ClaimOver.into());
        };
        self.wake();
        match written.await {
            Ok(true) => Ok(Task { worker_rest: rest, ..self.get(&task.to_string()).await? }),
            // the ledger knew better
            Ok(false) => Err(ConflictError::ClaimOver.into()),
            // another node may settle it by now, or this one stops
            Err(_) if matches!(result, TaskResult::Succeeded(_)) => {
                self.keep_late(task, token, output, self.me()).await?;
                self.kept(task).await
            }
            Err(_) => Err(StopError::Writes.into()),
        }
    }

    /// The answer to a result that is kept: whoever settles the task may take it, if that is another node by now.
    async fn kept(&self, task: TaskId) -> Result<Task, NodeError> {
        let mut task = self.get(&task.to_string()).await?;
        if task.heirs.is_empty() || task.status.is_over() || task.settler == self.me() && self.held().core.has(task.id)
        {
            return Err(ConflictError::ClaimOver.into());
        }
        task.why = Some("its result is kept here, until a node takes it that settles the task".to_owned());
        Ok(task)
    }

    /// Keeps a result that came too late to count, as the word of the member whose node had the claim.
    pub(super) async fn keep_late(
        &self,
        task: TaskId,
        token: TaskToken,
        output: String,
        whose: Did,
    ) -> Result<(), NodeError> {
        let space = self.reading(move |board, view, reader| {
            let found = read::find(view, reader, task)?.filter(|found| found.row.may_settle(&board.me()));
            Ok(found.map(|found| found.space.0))
        });
        let Some(space) = space.await? else { return Ok(()) };
        let settlement = Settlement {
            task,
            ownership: LATE,
            token: Some(token),
            outcome: TaskEnd::Succeeded,
            output,
            code: String::new(),
            error: String::new(),
            more: String::new(),
        };
        let settlement = Box::new(settlement.of_worker(&whose));
        self.write_one(vec![(space, TaskEvent::Settled(settlement))]).await.map(drop)
    }
}

/// A worker that waits. Dropped, it waits no longer, and what it was given meanwhile waits again.
struct Waiting {
    board: TaskBoard,
    call: CallId,
    assigned: oneshot::Receiver<Assigned>,
    /// The claim that it was given, until its caller has it.
    given: Option<(TaskId, TaskToken)>,
}

impl Waiting {
    /// Stops waiting. Returns whether nothing was on its way.
    fn hang_up(&self) -> bool {
        let mut held = self.board.held();
        let waited = held.core.hang_up(self.call);
        if waited {
            held.callers.remove(&self.call);
            drop(held);
            self.board.0.calls.notify_one();
        }
        waited
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hang_up();
        let given = self.given.or_else(|| self.assigned.try_recv().ok().map(|given| (given.task, given.token)));
        if let Some((task, token)) = given {
            let now = self.board.now();
            self.board.held().core.disconnected(task, token, now);
            self.board.disconnected_guest(task, token);
            self.board.wake();
        }
    }
}

/// A worker's connection. Dropped while it is open, the worker must be heard of soon.
struct Line {
    board: TaskBoard,
    task: TaskId,
    token: TaskToken,
    is_open: bool,
}

impl Line {
    fn close(mut self) {
        self.is_open = false;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_open {
            let now = self.board.now();
            self.board.held().core.disconnected(self.task, self.token, now);
            self.board.disconnected_guest(self.task, self.token);
            self.board.wake();
        }
    }
}

/// The members whose tasks a worker takes: of roles, names and DIDs.
fn from_of(names: &[String], reader: &Reader<'_>) -> Result<From, NodeError> {
    let mut from = From { admins: true, ..From::default() };
    for name in names {
        match name.as_str() {
            "admin" => from.admins = true,
            "member" => from.members = true,
            name => drop(from.others.insert(reader.member(name)?)),
        }
    }
    Ok(from)
}
