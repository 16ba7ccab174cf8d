//! Workers of this node: they ask for work, say that they live, and what came of it.

mod beginnings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{BadTaskEvent, JsonText, TASK_ATTEMPT_MAX, TASK_NAME_BYTES_MAX, TaskId, TaskToken, is_capability};
use nexus_identity::Did;
use tokio::sync::{Notify, oneshot};

use super::attached::{self, Attachments, Shortened};
use super::claim::{CAPABILITIES_MAX, ClaimQuery, ClaimedTask, Renewal, TaskResult};
use super::guests::Guests;
use super::here::Here;
use super::once::Kept;
use super::read;
use super::scheduler::approved::Approved;
use super::scheduler::core::{Call, CallId, From, Holder, NotHeld};
use super::schema::{SchemaBook, Schemas};
use super::settler::{Assigned, Ending, Settler};
use super::shows::{Shows, WAIT_MAX};
use super::task::{Task, TaskProgress, TaskRef};
use super::why::Waits;
use crate::error::{ConflictError, InputError, NodeError, StopError};
use crate::memory::read::Reader;

/// The shortest time without a word after which a claim is over.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// A handle to the workers of this node, cheap to clone.
#[derive(Clone)]
pub(super) struct Workers(Arc<Inner>);

struct Inner {
    here: Here,
    settler: Settler,
    guests: Guests,
    attachments: Attachments,
    shows: Shows,
    held: Mutex<Held>,
    /// A worker is here.
    arrived: Notify,
}

#[derive(Default)]
struct Held {
    schemas: SchemaBook,
    /// The locks of tasks that are done once, each with its claim: those that workers here have.
    fences: BTreeMap<(TaskId, TaskToken), u64>,
    /// The coordinators' keys that this node keeps for the tasks of others.
    kept: Kept,
}

impl Workers {
    pub(super) fn new(
        here: Here,
        (settler, guests): (Settler, Guests),
        attachments: Attachments,
        shows: Shows,
    ) -> Self {
        let (held, arrived) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { here, settler, guests, attachments, shows, held, arrived }))
    }

    fn here(&self) -> &Here {
        &self.0.here
    }

    fn me(&self) -> Did {
        self.0.here.me()
    }

    fn now(&self) -> Duration {
        self.0.here.now()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a worker asks for work.
    pub(super) async fn until_one_arrives(&self) {
        self.0.arrived.notified().await;
    }

    /// Whether a worker here has a task by this claim.
    pub(super) fn has(&self, task: TaskId, token: TaskToken) -> bool {
        self.0.guests.has(task, token) || self.0.settler.is_running(task, token)
    }

    /// The schemas of each of these workers, by name: those of others are forgotten.
    pub(super) fn schemas_of<'a>(
        &self,
        names: impl Iterator<Item = &'a String> + Clone,
    ) -> Vec<(Option<String>, Option<String>)> {
        let mut held = self.held();
        held.schemas.keep(|name| names.clone().any(|of| of == name));
        names.map(|name| held.schemas.of(name)).collect()
    }

    /// Waits for a task that a worker of this node can do; `None` if there is none in time.
    ///
    /// The worker must be heard of within its lease, again and again ([`renew`](Self::renew)), until it says what came of
    /// it ([`finish`](Self::finish)).
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for capabilities or a lease out of range, [`NodeError::Refused`] with too many workers.
    pub(super) async fn claim(&self, query: ClaimQuery) -> Result<Option<ClaimedTask>, NodeError> {
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
            false => self.here().reading(move |_, reader| from_of(&query.from, reader)).await?,
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
        let id = self.0.settler.call(call, assign)?;
        self.held().schemas.asks(&agent, schemas.as_ref().filter(|_| !agent.is_empty()));
        // a worker that is gone gets nothing; what is on its way to it waits again
        let mut waiting = Waiting { workers: self.clone(), call: id, assigned, given: None };
        self.0.arrived.notify_one();
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
        let mut task = match self.0.guests.task(id, token) {
            Some(task) => task,
            None => self.0.shows.find(id, false).await?.ok_or(ConflictError::ClaimOver)?,
        };
        if query.whole_input {
            match self.whole_input(id, token, lease, task.input).await {
                Ok(input) => task.input = input,
                Err(error) => {
                    waiting.given = None;
                    let (code, message) = ("input_missing".to_owned(), format!("the input is not here: {error}"));
                    self.finish(id, token, TaskResult::Failed { code, message }).await?;
                    return Ok(None);
                }
            }
        }
        if let Some(mismatch) = schemas.as_ref().and_then(|schemas| schemas.refuses(&task.input)) {
            waiting.given = None;
            self.finish(id, token, mismatch).await?;
            return Ok(None);
        }
        if let Some(schemas) = &schemas {
            let book = &mut self.held().schemas;
            book.keep_claims(|task, token| self.has(task, token));
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
    pub(super) async fn renew(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<TaskProgress>,
    ) -> Result<Renewal, NodeError> {
        self.0.settler.until_taken_up().await;
        Ok(self.heard(task, token, progress.as_ref())?)
    }

    /// As [`renew`](Self::renew), and waits: it returns when the claim is over, or after a while. If the caller hangs up,
    /// the worker must be heard of again within a second.
    ///
    /// # Errors
    /// As [`renew`](Self::renew), as soon as the claim no longer stands.
    pub(super) async fn hold(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<TaskProgress>,
        wait: Duration,
    ) -> Result<Renewal, NodeError> {
        self.0.settler.until_taken_up().await;
        let renewal = self.heard(task, token, progress.as_ref())?;
        let ended = self.until_over(task, token);
        let line = Line { workers: self.clone(), task, token, is_open: true };
        let until = self.now().saturating_add(wait.min(renewal.lease / 2).min(WAIT_MAX));
        tokio::select! {
            _ = ended => {}
            () = self.here().world.sleep_until(until) => {}
        }
        line.close();
        Ok(self.heard(task, token, None)?)
    }

    /// The word of a worker that it lives, about a task of this node or of another one.
    pub(super) fn heard(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<&TaskProgress>,
    ) -> Result<Renewal, ConflictError> {
        match self.0.guests.heard(task, token, progress) {
            Some(renewal) => Ok(renewal),
            None => self.0.settler.heard(task, token, progress).map_err(|NotHeld| ConflictError::ClaimOver),
        }
    }

    /// Waits for the end of a claim, of this node's task or of another's.
    fn until_over(&self, task: TaskId, token: TaskToken) -> oneshot::Receiver<bool> {
        self.0.guests.until_over(task, token).unwrap_or_else(|| self.0.settler.until_end(task))
    }

    /// The connection of a worker has ended.
    fn disconnected(&self, task: TaskId, token: TaskToken) {
        self.0.guests.disconnected(task, token);
        self.0.settler.disconnected(task, token);
    }

    /// The task that a worker names. It may be here before its submission is.
    pub(super) async fn task_called(&self, name: TaskRef) -> Result<TaskId, NodeError> {
        match self.0.guests.called(&name) {
            Some(task) => Ok(task),
            None => self.0.shows.resolve(name).await,
        }
    }

    /// A worker's word of what came of its attempt. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if the claim no longer stands: a result is kept then, marked as late.
    /// [`NodeError::Invalid`] for an output that is too large.
    pub(super) async fn finish(&self, task: TaskId, token: TaskToken, result: TaskResult) -> Result<Task, NodeError> {
        self.0.settler.until_taken_up().await;
        let result = self.held().schemas.checked(task, token, result);
        let (result, output) = match result {
            TaskResult::Succeeded(value) => {
                let output = self.0.attachments.shortened("the output", value.clone()).await?;
                let event = if output.blob.is_none() { value } else { output.json.parse().unwrap_or_default() };
                (TaskResult::Succeeded(event), output)
            }
            other => (other, Shortened::default()),
        };
        self.note_once(task, token, &result).await;
        if let Some(finished) = self.0.guests.finish(task, token, &result, &output.json).await {
            self.0.attachments.use_for_a_while(output);
            return finished;
        }
        let Shortened { json: output, blob: _in_use } = output;
        let Ok(Ending { written, rest }) = self.0.settler.take_result(task, token, &result, &output) else {
            let (said, me) = (result.clone(), self.me());
            let again = self.here().reading(move |view, _| Ok(read::has_ended_so(view, task, (token, me), &said)?));
            if again.await? {
                return self.0.shows.get(task).await;
            }
            if let TaskResult::Succeeded(_) = result {
                self.0.settler.keep_late(task, token, output, self.me()).await?;
                return self.kept(task).await;
            }
            return Err(ConflictError::ClaimOver.into());
        };
        match written.await {
            Ok(true) => Ok(Task { worker_rest: rest, ..self.0.shows.get(task).await? }),
            // the ledger knew better
            Ok(false) => Err(ConflictError::ClaimOver.into()),
            // another node may settle it by now, or this one stops
            Err(_) if matches!(result, TaskResult::Succeeded(_)) => {
                self.0.settler.keep_late(task, token, output, self.me()).await?;
                self.kept(task).await
            }
            Err(_) => Err(StopError::Writes.into()),
        }
    }

    /// The answer to a result that is kept: whoever settles the task may take it, if that is another node by now.
    async fn kept(&self, task: TaskId) -> Result<Task, NodeError> {
        let mut task = self.0.shows.get(task).await?;
        if task.heirs.is_empty() || task.status.is_over() || task.settler == self.me() && self.0.settler.has(task.id) {
            return Err(ConflictError::ClaimOver.into());
        }
        task.why = Some(Waits::ResultForSettler);
        Ok(task)
    }

    /// The whole input of a claimed task. The worker is said to live meanwhile.
    async fn whole_input(
        &self,
        task: TaskId,
        token: TaskToken,
        lease: Duration,
        input: JsonText,
    ) -> Result<JsonText, NodeError> {
        if attached::attachment(&input).is_none() {
            return Ok(input);
        }
        let world = &self.here().world;
        let mut whole = std::pin::pin!(self.0.attachments.whole(input));
        loop {
            let beat = world.now().saturating_add(lease / 3);
            tokio::select! {
                whole = &mut whole => return whole,
                () = world.sleep_until(beat) => drop(self.heard(task, token, None)?),
            }
        }
    }
}

/// A worker that waits. Dropped, it waits no longer, and what it was given meanwhile waits again.
struct Waiting {
    workers: Workers,
    call: CallId,
    assigned: oneshot::Receiver<Assigned>,
    /// The claim that it was given, until its caller has it.
    given: Option<(TaskId, TaskToken)>,
}

impl Waiting {
    /// Stops waiting. Returns whether nothing was on its way.
    fn hang_up(&self) -> bool {
        self.workers.0.settler.hang_up(self.call)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hang_up();
        let given = self.given.or_else(|| self.assigned.try_recv().ok().map(|given| (given.task, given.token)));
        if let Some((task, token)) = given {
            self.workers.disconnected(task, token);
        }
    }
}

/// A worker's connection. Dropped while it is open, the worker must be heard of soon.
struct Line {
    workers: Workers,
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
            self.workers.disconnected(self.task, self.token);
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
