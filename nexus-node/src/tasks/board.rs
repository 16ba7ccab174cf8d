use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{
    BadTaskEvent, HeardEvent, Settlement, SpaceId, Submission, TASK_ATTEMPT_MAX, TASK_ERROR_BYTES_MAX,
    TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskClaim, TaskEnd, TaskEvent, TaskId, TaskPhase, TaskReturn, TaskRights,
    TaskSaid, TaskToken, TaskVerb, TaskWord, is_capability,
};
use nexus_identity::Did;
use nexus_identity::plants::planted;
use nexus_mesh::Mesh;
use nexus_mesh::ask::Asker;
use tokio::sync::{Notify, broadcast, oneshot, watch};

use super::core::{Action, Before, Call, CallId, Claimant, Core, Fault, From, Holder, NotHeld, Seen, Spec};
use super::elsewhere::Guest;
use super::once::Kept;
use super::read::{self, Found, Rights};
use super::wire::{self, Envelope};
use super::{
    CAPABILITIES_MAX, ClaimQuery, ClaimedTask, NewTask, Priority, Renewal, Task, TaskPage, TaskProgress, TaskQuery,
    TaskResult, TaskStatus,
};
use crate::brain::Brain;
use crate::config::{Labels, TaskRouting};
use crate::coordinator::Coordinator;
use crate::engine::{Command, Outcome, TaskAnswer};
use crate::error::{AccessError, ConflictError, InputError, NodeError, StopError};
use crate::identity::Identity;
use crate::ledger;
use crate::load::UsageOf;
use crate::memory::read::Reader;
use crate::runtime::{EngineHandle, Sessions};
use crate::store::View;
use crate::world::{World, random};

/// The most tasks of this node that have not ended.
const OPEN_MAX: usize = 100_000;
/// The most workers of this node that wait for work.
const CALLS_MAX: usize = 1_000;
/// The most events that are written together.
const BATCH_MAX: usize = 256;
/// So many tokens are drawn at a time, since the core draws no random numbers.
const TOKENS: usize = 128;
/// The longest wait of a worker for work, and of a worker's node for the end of a claim.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The shortest time without a word after which a claim is over.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest text about a worker's progress, in bytes.
pub(super) const PROGRESS_BYTES_MAX: usize = 512;
/// A result that came too late is written in the name of an ownership that nobody has.
const LATE: u32 = u32::MAX;

/// The handles that a board uses.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
    pub(crate) brain: Brain,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) coordinator: Option<Arc<Coordinator>>,
    pub(crate) labels: Labels,
    pub(crate) routing: TaskRouting,
    /// Reads the counters of this machine.
    pub(crate) usage: Option<UsageOf>,
}

/// A handle to the tasks of a mesh, cheap to clone: submitting, following and ending them, and work for workers.
#[derive(Clone)]
pub struct TaskBoard(pub(super) Arc<Inner>);

pub(super) struct Inner {
    handles: Handles,
    held: Mutex<Held>,
    /// There may be something to write.
    wake: Notify,
    /// Other workers wait than before.
    pub(super) calls: Notify,
    /// A task of another node is here, or its worker's connection has ended.
    pub(super) guests: Notify,
    /// A worker is here.
    pub(super) workers: Notify,
    /// A task waits for a quorum of the coordinators.
    pub(super) once: Notify,
    pub(super) asker: Asker<Envelope>,
    /// Whether the open tasks of this node are taken up: before that nobody knows which claims stand.
    taken_up: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Held {
    pub(super) core: Core,
    pub(super) callers: BTreeMap<CallId, oneshot::Sender<Assigned>>,
    /// Those who wait for the end of a claim or of a task, and hear whether it was written.
    endings: BTreeMap<TaskId, Vec<oneshot::Sender<bool>>>,
    progress: BTreeMap<TaskId, TaskProgress>,
    /// Tasks of which others have said something, to be looked at.
    said: BTreeSet<TaskId>,
    spaces: BTreeMap<TaskId, SpaceId>,
    /// Tasks of other nodes that workers here have, by their claims. An offer only says that the task with this id is its
    /// sender's.
    pub(super) guests: BTreeMap<(TaskId, TaskToken), Guest>,
    /// The locks of tasks that are done once, each with its claim: those that workers here have.
    pub(super) fences: BTreeMap<(TaskId, TaskToken), u64>,
    /// The coordinators' keys that this node keeps for the tasks of others.
    pub(super) kept: Kept,
}

/// A claim, for the worker that gets it.
pub(super) struct Assigned {
    pub(super) task: TaskId,
    pub(super) token: TaskToken,
    pub(super) attempt: u32,
}

impl Held {
    pub(super) fn fire(&mut self, task: TaskId, written: bool) {
        for waiter in self.endings.remove(&task).into_iter().flatten() {
            // a waiter that is gone needs no word
            let _ = waiter.send(written);
        }
    }

    pub(super) fn note_progress(&mut self, task: TaskId, TaskProgress { percent, text }: TaskProgress) {
        let (percent, text) = (percent.map(|percent| percent.min(100)), cut(&text, PROGRESS_BYTES_MAX));
        self.progress.insert(task, TaskProgress { percent, text });
    }

    pub(super) fn until_end(&mut self, task: TaskId) -> oneshot::Receiver<bool> {
        let (ended, end) = oneshot::channel();
        let waiters = self.endings.entry(task).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(ended);
        end
    }

    fn forget(&mut self, task: TaskId, written: bool) {
        self.core.ended(task);
        self.progress.remove(&task);
        self.spaces.remove(&task);
        self.fire(task, written);
    }
}

impl TaskBoard {
    pub(crate) fn new(handles: Handles) -> Self {
        let asker = wire::asker(handles.mesh.clone(), &handles.world);
        let [wake, calls, guests, workers, once] = std::array::from_fn(|_| Notify::new());
        let taken_up = watch::Sender::new(false);
        let core = Core::of(handles.identity.me(), handles.routing);
        let held = Mutex::new(Held { core, ..Held::default() });
        Self(Arc::new(Inner { handles, held, wake, calls, guests, workers, once, asker, taken_up }))
    }

    pub(super) fn wake(&self) {
        self.0.wake.notify_one();
    }

    pub(super) fn here(&self) -> &Handles {
        &self.0.handles
    }

    pub(super) fn me(&self) -> Did {
        self.here().identity.me()
    }

    pub(super) fn now(&self) -> Duration {
        self.here().world.now()
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.core.tokens() < TOKENS {
            let drawn: [u8; 16 * TOKENS] = random();
            let (tokens, _) = drawn.as_chunks::<16>();
            held.core.give_tokens(tokens.iter().map(|bytes| TaskToken::from_bytes(*bytes)));
        }
        held
    }

    /// Waits until this node knows which claims stand, right after its start.
    pub(super) async fn until_taken_up(&self) {
        // the sender lives as long as this handle
        let _ = self.0.taken_up.subscribe().wait_for(|taken_up| *taken_up).await;
    }

    /// Reads a committed state, off the tasks that answer.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self, &dyn View, &Reader<'_>) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let board = self.clone();
        let read = move |brain: &Brain| {
            let snapshot = brain.snapshot()?;
            read(&board, &snapshot, &brain.reader(&snapshot)?)
        };
        self.here().brain.reading(read).await
    }

    /// Submits a task. It is on this node's disk when this returns, and outlives the caller.
    ///
    /// With an id of a request that a task of this node has, the answer is that task.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a broken rule of form, [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for the space
    /// or the member. [`NodeError::Refused`] if this node may not write there or has too many open tasks.
    /// [`NodeError::DiskFull`], [`NodeError::Stopping`].
    pub async fn submit(&self, task: NewTask) -> Result<Task, NodeError> {
        let (space, submission) = self.reading(move |_, view, reader| submission(task, view, reader)).await?;
        self.submit_this(space, submission).await
    }

    async fn submit_this(&self, space: SpaceId, submission: Submission) -> Result<Task, NodeError> {
        if self.held().core.len() >= OPEN_MAX {
            return Err(AccessError::TooManyTasks { max: OPEN_MAX }.into());
        }
        let events = vec![(space, TaskEvent::Submitted(Box::new(submission)))];
        let id = match self.write_one(events).await? {
            TaskAnswer::Written(dot) | TaskAnswer::Joined(dot) => dot,
            TaskAnswer::TooLarge => {
                return Err(InputError::Task(BadTaskEvent::TooLarge {
                    part: "the task",
                    size: TASK_JSON_BYTES_MAX,
                    max: TASK_JSON_BYTES_MAX,
                })
                .into());
            }
            TaskAnswer::Stale | TaskAnswer::NoTask => return Err(StopError::NoAnswer.into()),
        };
        self.reading(move |board, view, reader| {
            let found = read::find(view, reader, id)?.ok_or(StopError::NoAnswer)?;
            board.take_up(&found);
            Ok(board.shown(read::task(view, reader, found, true)?))
        })
        .await
    }

    /// Writes an event of this node, for a caller.
    pub(super) async fn write_one(&self, events: Vec<(SpaceId, TaskEvent)>) -> Result<TaskAnswer, NodeError> {
        match self.here().engine.run(Command::Tasks(events)).await? {
            Outcome::Tasks(answers) => answers.into_iter().next().ok_or_else(|| StopError::NoAnswer.into()),
            Outcome::NotPermitted { member } => Err(not_permitted(member).into()),
            _ => Err(StopError::NoAnswer.into()),
        }
    }

    /// A task, by its id or at least four characters from its beginning.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ambiguous`].
    pub async fn get(&self, id: &str) -> Result<Task, NodeError> {
        let id = id.to_owned();
        self.reading(move |board, view, reader| {
            let found = read::resolve(view, reader, &id)?;
            Ok(board.shown(read::task(view, reader, found, true)?))
        })
        .await
    }

    /// A page of tasks, the newest first.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a limit or a place that is none.
    pub async fn list(&self, query: TaskQuery) -> Result<TaskPage, NodeError> {
        self.reading(move |board, view, reader| {
            let mut page = read::list(view, reader, &query)?;
            let items = std::mem::take(&mut page.items).into_iter().map(|task| board.shown(task));
            let wanted = |task: &Task| query.states.is_empty() || query.states.contains(&task.status);
            page.items = items.filter(wanted).collect();
            Ok(page)
        })
        .await
    }

    /// Takes a task back. A worker that has it is told at its next word.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Refused`] for whoever is neither its submitter nor an admin,
    /// [`NodeError::Conflict`] if it has ended.
    pub async fn cancel(&self, id: &str, why: &str) -> Result<Task, NodeError> {
        self.say(id, TaskVerb::Cancel, why).await
    }

    /// Lets a task be worked on that waits for an approval.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`NodeError::Refused`] also for the submitter's own node and those that it admitted.
    pub async fn approve(&self, id: &str) -> Result<Task, NodeError> {
        self.say(id, TaskVerb::Approve, "").await
    }

    /// Ends a task that waits for an approval.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn reject(&self, id: &str, why: &str) -> Result<Task, NodeError> {
        self.say(id, TaskVerb::Reject, why).await
    }

    /// Submits a task that has ended once more, as another one.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`NodeError::Conflict`] if it has not ended.
    pub async fn retry(&self, id: &str) -> Result<Task, NodeError> {
        let (id, me) = (id.to_owned(), self.me());
        let (space, submission) = self
            .reading(move |_, view, reader| {
                let found = read::resolve(view, reader, &id)?;
                let rights = Rights { members: reader.members(), submitter: found.row.submitter };
                if !rights.may_cancel(&me) {
                    return Err(AccessError::NotYourTask("retries").into());
                }
                if !matches!(found.state.phase, TaskPhase::Over(_)) {
                    return Err(ConflictError::TaskOpen.into());
                }
                let (retry_of, deadline_ms, request) = (Some(found.id), None, String::new());
                // another try of those before has another id
                let after = Vec::new();
                Ok((found.space.0, Submission { retry_of, deadline_ms, request, after, ..found.submission }))
            })
            .await?;
        self.submit_this(space, submission).await
    }

    async fn say(&self, id: &str, verb: TaskVerb, why: &str) -> Result<Task, NodeError> {
        let (id, why, me) = (id.to_owned(), cut(why, TASK_ERROR_BYTES_MAX), self.me());
        let (task, space) = self
            .reading(move |_, view, reader| {
                let found = read::resolve(view, reader, &id)?;
                let rights = Rights { members: reader.members(), submitter: found.row.submitter };
                if let TaskPhase::Over(end) = found.state.phase {
                    return Err(ConflictError::TaskOver { state: end.as_str() }.into());
                }
                match verb {
                    TaskVerb::Cancel if !rights.may_cancel(&me) => {
                        return Err(AccessError::NotYourTask("cancel").into());
                    }
                    TaskVerb::Cancel => {}
                    TaskVerb::Approve | TaskVerb::Reject => {
                        if found.row.submitter == me {
                            return Err(AccessError::NoApprover("it submitted it").into());
                        }
                        if !rights.may_approve(&me) {
                            return Err(AccessError::NoApprover("it is no admin, or its submitter admitted it").into());
                        }
                        if found.state.phase != TaskPhase::AwaitingApproval {
                            return Err(ConflictError::NotWaiting.into());
                        }
                    }
                }
                Ok((found.id, found.space.0))
            })
            .await?;
        self.write_one(vec![(space, TaskEvent::Word(TaskWord { task, verb, why }))]).await?;
        let ended = {
            let mut held = self.held();
            held.said.insert(task);
            let is_ours = held.core.has(task);
            (is_ours && verb != TaskVerb::Approve).then(|| held.until_end(task))
        };
        self.wake();
        if let Some(ended) = ended {
            // its own node ends it at once
            let _ = tokio::time::timeout(WAIT_MAX, ended).await;
        }
        self.get(&task.to_string()).await
    }

    /// Waits until a task has ended; `None` if it has not in that time.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn wait(&self, id: &str, timeout: Duration) -> Result<Option<Task>, NodeError> {
        let mut watch = self.watch();
        let task = self.get(id).await?;
        if task.status.is_over() {
            return Ok(Some(task));
        }
        let (id, until) = (task.id, self.now().saturating_add(timeout));
        loop {
            tokio::select! {
                said = watch.until_said(id) => said?,
                () = self.here().world.sleep_until(until) => return Ok(None),
            }
            if self.reading(move |_, view, _| Ok(read::is_over(view, id)?)).await? == Some(true) {
                return self.get(&id.to_string()).await.map(Some);
            }
        }
    }

    /// Follows what happens to tasks from now on.
    pub fn watch(&self) -> TaskWatch {
        TaskWatch { said: self.here().engine.tasks(), board: self.clone() }
    }

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
            false => self.reading(move |_, _, reader| from_of(&query.from, reader)).await?,
        };
        if query.cpu_max > 100 || query.memory_max > 100 {
            return Err(InputError::Percent.into());
        }
        let holder = Holder { node: self.me(), agent };
        let (cpu_max, memory_max) = (query.cpu_max, query.memory_max);
        let call = Call { holder, capabilities: query.capabilities, from, lease: query.lease, cpu_max, memory_max };
        let (assign, assigned) = oneshot::channel();
        let id = {
            let mut held = self.held();
            if held.callers.len() >= CALLS_MAX {
                return Err(AccessError::TooManyWorkers { max: CALLS_MAX }.into());
            }
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
        let output = match &result {
            TaskResult::Succeeded(output) => output.to_string(),
            TaskResult::Failed { .. } | TaskResult::Released => String::new(),
        };
        if output.len() > TASK_JSON_BYTES_MAX {
            let (part, size, max) = ("the output", output.len(), TASK_JSON_BYTES_MAX);
            return Err(InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into());
        }
        self.note_once(task, token, &result).await;
        if let Some(finished) = self.finish_guest(task, token, &result).await {
            return finished;
        }
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
            taken.map(|()| held.until_end(task))
        };
        let Ok(written) = written else {
            let said = result.clone();
            if self.reading(move |_, view, _| Ok(read::has_ended_so(view, task, token, &said)?)).await? {
                return self.get(&task.to_string()).await;
            }
            if let TaskResult::Succeeded(_) = result {
                self.keep_late(task, token, output).await?;
            }
            return Err(ConflictError::ClaimOver.into());
        };
        self.wake();
        match written.await {
            Ok(true) => self.get(&task.to_string()).await,
            // the ledger knew better
            Ok(false) => Err(ConflictError::ClaimOver.into()),
            Err(_) => Err(StopError::Writes.into()),
        }
    }

    /// Keeps a result that came too late to count.
    pub(super) async fn keep_late(&self, task: TaskId, token: TaskToken, output: String) -> Result<(), NodeError> {
        let space = self.reading(move |board, view, reader| {
            let found = read::find(view, reader, task)?.filter(|found| found.row.submitter == board.me());
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
        self.write_one(vec![(space, TaskEvent::Settled(Box::new(settlement)))]).await.map(drop)
    }

    /// Adds to a task what only its submitter's node knows.
    fn shown(&self, mut task: Task) -> Task {
        let held = self.held();
        if task.submitter != self.me() {
            if task.status == TaskStatus::Pending {
                let name = task.submitter_name.clone().unwrap_or_else(|| task.submitter.to_string());
                task.why = Some(format!("{name} hands it out"));
            }
            return task;
        }
        task.why = match held.core.seen(task.id) {
            Some(Seen::Approval) => Some("an admin that did not submit it has to approve it".to_owned()),
            Some(Seen::After(before)) => Some(format!("it comes after {before}, which has not ended")),
            Some(Seen::Ready) if task.once && !held.core.has_quorum() => {
                Some("it is done once, and waits until a quorum of the coordinators answers".to_owned())
            }
            Some(Seen::Ready) => Some(match (task.to, held.core.waits_for(&task.capability)) {
                (Some(_), _) => "no worker of that member waits for it".to_owned(),
                (None, false) => format!("no worker for {} waits", task.capability),
                (None, true) => "a worker gets it now".to_owned(),
            }),
            Some(Seen::Paused(until)) => {
                let pause = until.saturating_sub(self.now()).as_secs_f64();
                Some(format!("it is tried again in {pause:.1} s, after {} failures", task.failures + task.expiries))
            }
            Some(Seen::Running) => {
                task.status = TaskStatus::Running;
                task.progress = held.progress.get(&task.id).cloned();
                None
            }
            None => None,
        };
        task
    }

    /// Takes up a task of this node that has not ended.
    fn take_up(&self, found: &Found) {
        let Found { id, row, submission, state, heard, space } = found;
        if row.submitter != self.me() || matches!(state.phase, TaskPhase::Over(_)) {
            return;
        }
        let (now, wall) = (self.now(), self.here().world.wall());
        let deadline = submission.deadline_ms.map(|at| now + Duration::from_millis(at.saturating_sub(wall.as_ms())));
        let spec = Spec {
            capability: submission.capability.clone(),
            to: submission.to,
            rank: row.rank(),
            attempt: Duration::from_millis(submission.attempt_ms),
            deadline,
            attempts: submission.attempts.into(),
            once: submission.once,
            awaits_approval: row.needs_approval && !state.approval.is_some_and(|(approved, _)| approved),
            after: submission.after.iter().copied().collect(),
            critical: submission.priority == Priority::Critical,
            // of a task that is done once nobody would know what became of it
            preemptible: submission.preemptible && !submission.once,
        };
        // the worker's name is shown from the event
        let claim = state.claim.map(|(token, _, node)| (token, Holder { node, agent: String::new() }));
        let before = Before { claims: state.claims, failures: state.failures, expiries: state.expiries, claim };
        let mut held = self.held();
        held.spaces.insert(*id, space.0);
        held.core.open(*id, spec, before, now);
        // they may have ended before
        held.said.extend(submission.after.iter().copied());
        if submission.once {
            self.0.once.notify_one();
        }
        // a word, or a result that a worker's node has kept, may have come before
        let is_word = |heard: &HeardEvent| heard.by != row.submitter || matches!(heard.said, TaskSaid::Word(_));
        if heard.iter().any(is_word) {
            held.said.insert(*id);
        }
        drop(held);
        self.wake();
    }

    /// Hands out tasks until the node ends.
    pub(crate) async fn run(self) {
        let mut said = self.here().engine.tasks();
        let mut members = self.here().identity.follow();
        let mut behind = true;
        loop {
            if std::mem::take(&mut behind) {
                if self.take_up_all().await.is_err() {
                    return;
                }
                self.0.taken_up.send_replace(true);
            }
            let (actions, to_look, timer) = {
                let mut held = self.held();
                held.core.due(self.now());
                let actions: Vec<Action> = std::iter::from_fn(|| held.core.next_action()).take(BATCH_MAX).collect();
                let to_look: Vec<TaskId> =
                    held.said.iter().copied().filter(|task| !held.core.is_busy(*task)).take(BATCH_MAX).collect();
                for task in &to_look {
                    held.said.remove(task);
                }
                (actions, to_look, held.core.next_timer())
            };
            let idle = actions.is_empty() && to_look.is_empty();
            if !to_look.is_empty() && self.look_at(to_look).await.is_err() {
                return;
            }
            if !actions.is_empty() && self.write(actions).await.is_err() {
                return;
            }
            if idle {
                let at = timer.unwrap_or(Duration::MAX);
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = self.here().world.sleep_until(at) => {}
                    heard = said.recv() => behind |= !self.hear(heard),
                    // more or less of our own log may count now, and others may approve
                    changed = members.changed() => match changed {
                        Ok(()) => behind = true,
                        Err(_) => return,
                    },
                }
            }
            loop {
                match said.try_recv() {
                    Ok(heard) => behind |= !self.hear(Ok(heard)),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => behind = true,
                    Err(_) => break,
                }
            }
        }
    }

    /// Notes what was said of a task. Returns whether nothing was missed.
    fn hear(&self, heard: Result<(TaskId, bool), broadcast::error::RecvError>) -> bool {
        match heard {
            Ok((task, own)) => {
                let mut held = self.held();
                // tasks of others are their own nodes' concern
                if !own && held.core.has(task) || held.core.is_awaited(task) && !planted("ends_unheard") {
                    held.said.insert(task);
                }
                true
            }
            Err(broadcast::error::RecvError::Lagged(_)) => false,
            Err(broadcast::error::RecvError::Closed) => true,
        }
    }

    /// Takes up all tasks of this node that have not ended.
    async fn take_up_all(&self) -> Result<(), NodeError> {
        self.reading(|board, view, reader| {
            let me = board.me();
            let most = if planted("takes_up_no_tasks") { 0 } else { OPEN_MAX };
            for task in ledger::open_tasks(view, &me, most)? {
                if board.held().core.has(task) {
                    board.held().said.insert(task);
                } else if let Some(found) = read::find(view, reader, task)? {
                    board.take_up(&found);
                }
            }
            let mut held = board.held();
            let awaited: Vec<TaskId> = held.core.awaited().collect();
            held.said.extend(awaited);
            drop(held);
            Ok(())
        })
        .await
    }

    /// Looks at what others have said of tasks, and at the ends of those that come before others.
    async fn look_at(&self, tasks: Vec<TaskId>) -> Result<(), NodeError> {
        self.reading(move |board, view, reader| {
            for task in tasks {
                let known = board.held().core.has(task);
                let found = read::find(view, reader, task)?;
                if let Some(TaskPhase::Over(end)) = found.as_ref().map(|found| found.state.phase) {
                    board.held().core.before_ended(task, end, board.now());
                }
                let found = found.filter(|found| found.row.submitter == board.me());
                let Some(found) = found.filter(|found| !matches!(found.state.phase, TaskPhase::Over(_))) else {
                    if known {
                        board.held().forget(task, true);
                    }
                    continue;
                };
                if !known {
                    board.take_up(&found);
                }
                let kept = read::result_of_worker(view, &found)?;
                let mut held = board.held();
                if let Some((token, end, output, fault)) = kept {
                    let _ = match end {
                        TaskEnd::Succeeded => held.core.succeed(task, token, output, board.now()),
                        _ => held.core.fail(task, token, fault, board.now()),
                    };
                }
                match read::word_of(view, &found)? {
                    Some((TaskVerb::Cancel, why)) => {
                        held.core.end(task, TaskEnd::Cancelled, "cancelled", why, board.now())
                    }
                    Some((_, why)) => held.core.end(task, TaskEnd::Rejected, "rejected", why, board.now()),
                    None if found.state.approval.is_some() => held.core.approve(task, board.now()),
                    None => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Writes what the core decided, in one go, and lets those know who wait for it.
    async fn write(&self, actions: Vec<Action>) -> Result<(), NodeError> {
        let events: Vec<(SpaceId, TaskEvent)> = {
            let held = self.held();
            let tasks = SpaceId::tasks_of(&self.here().identity.mesh());
            let space = |task: TaskId| held.spaces.get(&task).copied().unwrap_or(tasks);
            actions.iter().map(|action| event_of(action, &space)).collect()
        };
        let engine = &self.here().engine;
        let outcome = engine.run_once_there_is_room(&self.here().world, || Command::Tasks(events.clone())).await?;
        let answers = match outcome {
            Outcome::Tasks(answers) => answers,
            // this node is no member any more: its tasks are nobody's concern here
            _ => {
                let mut held = self.held();
                let tasks: Vec<TaskId> = actions.iter().map(Action::task).collect();
                tasks.into_iter().for_each(|task| held.forget(task, false));
                return Ok(());
            }
        };
        let now = self.now();
        let mut held = self.held();
        for (action, answer) in actions.into_iter().zip(answers) {
            let (task, written) = (action.task(), matches!(answer, TaskAnswer::Written(_)));
            if !written {
                // the ledger knows better: it is taken up again as it is there
                held.forget(task, false);
                held.said.insert(task);
                continue;
            }
            match action {
                Action::Claim { to: Claimant::Node(node), token, attempt, .. } => {
                    held.core.claimed(task, now);
                    self.offer(node, task, token, attempt);
                }
                Action::Claim { to: Claimant::Call(call), token, attempt, .. } => {
                    held.core.claimed(task, now);
                    let caller = held.callers.remove(&call);
                    let taken = caller.is_some_and(|caller| caller.send(Assigned { task, token, attempt }).is_ok());
                    if !taken {
                        // the worker is gone
                        let _ = held.core.release(task, token, self.now());
                    }
                }
                Action::Return { cause, .. } => {
                    held.progress.remove(&task);
                    held.core.returned(task, cause, now);
                    self.0.once.notify_one();
                    held.fire(task, true);
                }
                Action::Settle { .. } => held.forget(task, true),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TaskBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskBoard({})", self.me().short())
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

/// The events of tasks, as they are committed.
pub struct TaskWatch {
    said: broadcast::Receiver<(TaskId, bool)>,
    board: TaskBoard,
}

impl TaskWatch {
    /// The next task of which something was said, as it is then. Several things said at once may come as one.
    ///
    /// # Errors
    /// [`NodeError::Stopping`] at the node's end.
    pub async fn next(&mut self) -> Result<Task, NodeError> {
        loop {
            let task = match self.said.recv().await {
                Ok((task, _)) => task,
                // of the tasks that were missed the later words are seen, too
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Err(StopError::Writes.into()),
            };
            match self.board.get(&task.to_string()).await {
                // of another's space, or no longer there
                Err(NodeError::NotFound { .. } | NodeError::Ambiguous { .. }) => {}
                found => return found,
            }
        }
    }

    /// The next state of one task, after something was said of it, or may have been.
    ///
    /// # Errors
    /// As [`next`](Self::next); [`NodeError::NotFound`] if it is no longer there.
    pub async fn next_of(&mut self, id: TaskId) -> Result<Task, NodeError> {
        self.until_said(id).await?;
        self.board.get(&id.to_string()).await
    }

    /// Waits until something is said of a task, or may have been.
    async fn until_said(&mut self, id: TaskId) -> Result<(), NodeError> {
        loop {
            match self.said.recv().await {
                Ok((task, _)) if task != id => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Err(StopError::Writes.into()),
            }
        }
    }
}

impl fmt::Debug for TaskWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskWatch").finish_non_exhaustive()
    }
}

fn event_of(action: &Action, space: &impl Fn(TaskId) -> SpaceId) -> (SpaceId, TaskEvent) {
    let ownership = 0;
    let event = match action.clone() {
        Action::Claim { task, token, attempt, holder: Holder { node, agent }, .. } => {
            TaskEvent::Claimed(TaskClaim { task, ownership, attempt, token, worker: node, agent })
        }
        Action::Return { task, token, cause, fault } => {
            TaskEvent::Returned(TaskReturn { task, ownership, token, cause, error: fault.error })
        }
        Action::Settle { task, token, end, output, fault: Fault { code, error } } => {
            let (outcome, more) = (end, String::new());
            TaskEvent::Settled(Box::new(Settlement { task, ownership, token, outcome, output, code, error, more }))
        }
    };
    (space(action.task()), event)
}

fn submission(task: NewTask, view: &dyn View, reader: &Reader<'_>) -> Result<(SpaceId, Submission), NodeError> {
    let NewTask {
        capability,
        input,
        space,
        to,
        priority,
        timeout,
        deadline,
        attempts,
        request,
        once,
        needs_approval,
        preemptible,
        after,
        agent,
    } = task;
    let space = match &space {
        Some(name) => reader.space(Some(name))?.0,
        None => SpaceId::tasks_of(&reader.members().mesh()),
    };
    let to = to.map(|name| reader.member(&name)).transpose()?;
    if once && preemptible {
        return Err(InputError::OncePreempted.into());
    }
    let after: BTreeSet<TaskId> =
        after.iter().map(|id| read::resolve_id(view, reader, id)).collect::<Result<_, NodeError>>()?;
    let submission = Submission {
        to,
        priority,
        attempt_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        deadline_ms: deadline.map(|at| at.as_ms()),
        attempts,
        once,
        needs_approval,
        preemptible,
        after: after.into_iter().collect(),
        request: request.unwrap_or_default(),
        agent: agent.unwrap_or_default(),
        ..Submission::new(capability, input.to_string())
    };
    submission.check().map_err(InputError::Task)?;
    Ok((space, submission))
}

/// The members whose tasks a worker takes: of roles, names and DIDs.
fn from_of(names: &[String], reader: &Reader<'_>) -> Result<From, NodeError> {
    let mut from = From::default();
    for name in names {
        match name.as_str() {
            "admin" => from.admins = true,
            "member" => from.members = true,
            name => drop(from.others.insert(reader.member(name)?)),
        }
    }
    Ok(from)
}

/// A text of at most so many bytes, in whole characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

const fn not_permitted(member: bool) -> AccessError {
    if member { AccessError::Reader } else { AccessError::Revoked }
}
