use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{
    ApprovalRule, BadTaskEvent, SpaceId, Submission, TASK_AFTER_MAX, TASK_ERROR_BYTES_MAX, TASK_HEIRS_MAX,
    TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskEvent, TaskId, TaskPhase, TaskRights, TaskToken, TaskVerb, TaskWord,
};
use nexus_identity::{Did, Role, Timestamp};
use nexus_mesh::Mesh;
use nexus_mesh::ask::Asker;
use tokio::sync::{Notify, oneshot, watch};

use super::attached::{Outputs, Shortened};
use super::core::{Action, CallId, Choice, Claimant, Core, NotChosen, Seen};
use super::elsewhere::Guest;
use super::log::Logs;
use super::once::Kept;
use super::parked::{PARKED_MAX, Parked};
use super::read::{self, Rights};
use super::schema::SchemaBook;
use super::settling::{OTHERS_MAX, Settling};
use super::watch::TaskWatch;
use super::wire::{self, Envelope};
use super::{NewTask, Task, TaskDeadline, TaskPage, TaskProgress, TaskQuery, TaskSandbox, TaskStatus};
#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::brain::Brain;
use crate::config::{Approvals, Labels, TaskRouting};
use crate::coordinator::Coordinator;
use crate::engine::{Command, Outcome, TaskAnswer};
use crate::error::{AccessError, ConflictError, InputError, NodeError, StopError};
use crate::identity::Identity;
use crate::load::UsageOf;
use crate::memory::read::Reader;
use crate::runtime::{EngineHandle, Sessions};
use crate::store::View;
use crate::world::{World, random};

/// The most tasks of this node that have not ended.
pub(super) const OPEN_MAX: usize = 100_000;
/// So many tokens are drawn at a time, since the core draws no random numbers.
const TOKENS: usize = 128;
/// The longest wait of a worker for work, and of a worker's node for the end of a claim.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most members that are named where they could approve a task.
const APPROVERS_NAMED: usize = 5;
/// The most nodes that are named with their reasons for not taking a task, and the most capabilities that are named.
const REASONS_MAX: usize = 3;
const CAPABILITIES_NAMED: usize = 8;
/// The longest text about a worker's progress, in bytes.
pub(super) const PROGRESS_BYTES_MAX: usize = 512;

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
    /// The capabilities whose tasks an admin must approve.
    pub(crate) approval: Approvals,
    /// The rule by which this node's tasks are approved unless they name one.
    pub(crate) approved_by: Option<ApprovalRule>,
    /// The most tasks of one other member and capability that workers here do at a time.
    pub(crate) bulkhead: usize,
    /// The silence of this node after which heirs may take its tasks over.
    pub(crate) takeover: Duration,
    /// Reads the counters of this machine.
    pub(crate) usage: Option<UsageOf>,
    #[cfg(feature = "blobs")]
    pub(crate) blobs: Blobs,
}

/// A handle to the tasks of a mesh, cheap to clone: submitting, following and ending them, and work for workers.
#[derive(Clone)]
pub struct TaskBoard(pub(super) Arc<Inner>);

pub(super) struct Inner {
    handles: Handles,
    held: Mutex<Held>,
    /// There may be something to write.
    pub(super) wake: Notify,
    /// Other workers wait than before.
    pub(super) calls: Notify,
    /// A task of another node is here, or its worker's connection has ended.
    pub(super) guests: Notify,
    /// A worker is here.
    pub(super) workers: Notify,
    /// A task waits for a quorum of the coordinators.
    pub(super) once: Notify,
    /// There may be tasks with heirs.
    pub(super) moving: Notify,
    pub(super) asker: Asker<Envelope>,
    pub(super) outputs: Outputs,
    /// Whether the open tasks of this node are taken up: before that nobody knows which claims stand.
    pub(super) taken_up: watch::Sender<bool>,
}

pub(super) struct Held {
    pub(super) core: Core,
    pub(super) callers: BTreeMap<CallId, oneshot::Sender<Assigned>>,
    /// Those who wait for the end of a claim or of a task, and hear whether it was written.
    endings: BTreeMap<TaskId, Vec<oneshot::Sender<bool>>>,
    pub(super) progress: BTreeMap<TaskId, TaskProgress>,
    /// Tasks of which others have said something, to be looked at.
    pub(super) said: BTreeSet<TaskId>,
    pub(super) spaces: BTreeMap<TaskId, SpaceId>,
    /// Tasks of other nodes that workers here have, by their claims. Several settlers of one task may claim it.
    pub(super) guests: BTreeMap<(TaskId, TaskToken), Guest>,
    /// The locks of tasks that are done once, each with its claim: those that workers here have.
    pub(super) fences: BTreeMap<(TaskId, TaskToken), u64>,
    /// The coordinators' keys that this node keeps for the tasks of others.
    pub(super) kept: Kept,
    /// Open tasks of this node that are not taken up yet.
    pub(super) parked: Parked,
    pub(super) schemas: SchemaBook,
    /// The stderr of commands that workers here run.
    pub(super) logs: Logs,
    /// The part of this node in tasks with heirs.
    pub(super) settling: Settling,
    /// The peers that offered a task since they were told which workers wait.
    pub(super) offered: BTreeSet<Did>,
}

/// A claim, for the worker that gets it.
pub(super) struct Assigned {
    pub(super) task: TaskId,
    pub(super) token: TaskToken,
    pub(super) attempt: u32,
}

impl Held {
    fn new(core: Core) -> Self {
        let (callers, endings, progress, spaces) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (said, guests, fences, kept) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new(), Kept::default());
        Self {
            core,
            callers,
            endings,
            progress,
            said,
            spaces,
            guests,
            fences,
            kept,
            parked: Parked::default(),
            schemas: SchemaBook::default(),
            logs: Logs::default(),
            settling: Settling::default(),
            offered: BTreeSet::new(),
        }
    }

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

    pub(super) fn forget(&mut self, task: TaskId, written: bool) {
        self.core.ended(task);
        self.progress.remove(&task);
        self.spaces.remove(&task);
        self.settling.forget(task);
        self.fire(task, written);
    }

    /// A claim that is not written: the worker of this node that it was for gets nothing, and may ask again.
    pub(super) fn claim_is_off(&mut self, action: &Action) {
        if let Action::Claim { to: Claimant::Call(call), .. } = action {
            self.callers.remove(call);
        }
    }

    /// Lets go of a task that another node may settle by now: whoever waits for a word of it learns that nobody here knows.
    pub(super) fn lose(&mut self, task: TaskId) {
        self.endings.remove(&task);
        self.forget(task, false);
    }
}

impl TaskBoard {
    pub(crate) fn new(handles: Handles) -> Self {
        let asker = wire::asker(handles.mesh.clone(), &handles.world);
        let [wake, calls, guests, workers, once, moving] = std::array::from_fn(|_| Notify::new());
        let taken_up = watch::Sender::new(false);
        let core = Core::of(handles.identity.me(), handles.routing);
        let held = Mutex::new(Held::new(core));
        let outputs = Outputs::default();
        Self(Arc::new(Inner { handles, held, wake, calls, guests, workers, once, moving, asker, outputs, taken_up }))
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
    /// With an id of a request that a task of this node has, the answer is that task, if it asks for the same.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a broken rule of form, [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for the space
    /// or the member. [`NodeError::Refused`] if this node may not write there or has too many open tasks.
    /// [`ConflictError::OtherRequest`] if the task with that id asks for something else. [`NodeError::DiskFull`],
    /// [`NodeError::Stopping`].
    pub async fn submit(&self, mut task: NewTask) -> Result<Task, NodeError> {
        let wanted = self.here().approval.rule_of(&task.capability);
        task.needs_approval |= wanted.is_some();
        let stricter = [wanted.flatten(), self.here().approved_by].contains(&Some(ApprovalRule::Other));
        // a submitter may ask for more than the settings do, never for less
        task.approved_by = if stricter { Some(ApprovalRule::Other) } else { task.approved_by };
        let Shortened { json, blob } = self.shortened("the input", std::mem::take(&mut task.input)).await?;
        let now = self.here().world.wall();
        let (space, submission) =
            self.reading(move |_, view, reader| submission(task, json, now, view, reader)).await?;
        let submitted = self.submit_this(space, submission).await;
        // the event refers to it by now
        drop(blob);
        submitted
    }

    async fn submit_this(&self, space: SpaceId, submission: Submission) -> Result<Task, NodeError> {
        if submission.needs_approval && self.approvers(submission.rule()).next().is_none() {
            return Err(AccessError::NobodyApproves.into());
        }
        let (open, parked) = {
            let held = self.held();
            (held.core.len(), held.parked.len())
        };
        for (count, max) in [(open, OPEN_MAX), (parked, PARKED_MAX)] {
            if count >= max {
                return Err(AccessError::TooManyTasks { max }.into());
            }
        }
        let events = vec![(space, TaskEvent::Submitted(Box::new(submission)))];
        let id = match self.write_one(events).await? {
            TaskAnswer::Written(dot) | TaskAnswer::Joined(dot) => dot,
            TaskAnswer::OtherRequest => return Err(ConflictError::OtherRequest.into()),
            TaskAnswer::TooLarge => {
                return Err(InputError::Task(BadTaskEvent::TooLarge {
                    part: "the task",
                    size: TASK_JSON_BYTES_MAX,
                    max: TASK_JSON_BYTES_MAX,
                })
                .into());
            }
            TaskAnswer::Stale | TaskAnswer::NoTask | TaskAnswer::KeptEnough => return Err(StopError::NoAnswer.into()),
        };
        self.reading(move |board, view, reader| {
            let found = read::find(view, reader, id)?.ok_or(StopError::NoAnswer)?;
            board.take_up_or_park(&found);
            if found.row.moves() && !board.held().core.has(id) {
                board.ask_to_settle();
            }
            Ok(board.shown_alone(read::task(view, reader, found, true)?))
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
            Ok(board.shown_alone(read::task(view, reader, found, true)?))
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

    /// Lets a task be worked on that waits for an approval: the word of a person at this node. Whether one is there is for
    /// the caller to know.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`NodeError::Refused`] also for a node that may not by the task's rule.
    /// [`ConflictError::InputDiffers`] for an input in a blob that is not what its submitter says, and the errors of
    /// [`whole`](Self::whole): nobody approves what cannot be read.
    pub async fn approve(&self, id: &str) -> Result<Task, NodeError> {
        self.check_input(id).await?;
        self.say(id, TaskVerb::Approve, "").await
    }

    /// The members that may approve what this node submits by this rule, this node among them.
    fn approvers(&self, rule: ApprovalRule) -> impl Iterator<Item = (Did, String)> {
        let (members, me) = (self.here().identity.members(), self.me());
        let may: Vec<_> = members
            .iter()
            .map(|(did, _)| *did)
            .filter(|did| members.may_approve_by(rule, did, &me))
            .map(|did| (did, members.shown_name(&did).unwrap_or_else(|| did.short())))
            .collect();
        may.into_iter()
    }

    /// The members that could approve a task of this node, in a sentence.
    fn who_could_approve(&self, rule: ApprovalRule) -> String {
        let me = self.me();
        let others: Vec<String> = self.approvers(rule).filter(|(did, _)| *did != me).map(|(_, name)| name).collect();
        let named = others.iter().take(APPROVERS_NAMED).map(|name| quoted_unless_plain(name)).collect::<Vec<_>>();
        let more = others.len().saturating_sub(APPROVERS_NAMED);
        let others = if more > 0 { format!("{} and {more} others", named.join(", ")) } else { named.join(", ") };
        match (rule, others.is_empty()) {
            (ApprovalRule::Person, true) => "a person has to approve it, here on the page or at a terminal".to_owned(),
            (ApprovalRule::Person, false) => {
                format!("a person has to approve it, on the page or at a terminal: here, or at {others}")
            }
            (_, true) => "nobody in the mesh may approve it by its rule `other`".to_owned(),
            (_, false) => format!("another person has to approve it, on the page or at a terminal at {others}"),
        }
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
                let rights = Rights::on(&found.submission, found.row.submitter, reader.members());
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
        let (task, space, is_ours) = self
            .reading(move |_, view, reader| {
                let found = read::resolve(view, reader, &id)?;
                let rights = Rights::on(&found.submission, found.row.submitter, reader.members());
                if let TaskPhase::Over(end) = found.state.phase {
                    return Err(ConflictError::TaskOver { state: end.as_str() }.into());
                }
                match verb {
                    TaskVerb::Cancel if !rights.may_cancel(&me) => {
                        return Err(AccessError::NotYourTask("cancel").into());
                    }
                    TaskVerb::Cancel => {}
                    TaskVerb::Approve | TaskVerb::Reject => {
                        if !rights.may_approve(&me) {
                            return Err(AccessError::NoApprover(rights.why_not(&me)).into());
                        }
                        if found.state.phase != TaskPhase::AwaitingApproval {
                            return Err(ConflictError::NotWaiting.into());
                        }
                    }
                }
                Ok((found.id, found.space.0, found.state.owner().is_some_and(|(_, owner)| owner == me)))
            })
            .await?;
        self.write_one(vec![(space, TaskEvent::Word(TaskWord { task, verb, why }))]).await?;
        self.held().said.insert(task);
        self.wake();
        if is_ours && verb != TaskVerb::Approve {
            // its own node ends it at once, and may have done so already
            let _ = self.wait(&task.to_string(), WAIT_MAX).await?;
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
            if self.reading(move |_, view, reader| Ok(read::is_over(view, reader, id)?)).await? == Some(true) {
                return self.get(&id.to_string()).await.map(Some);
            }
        }
    }

    /// Follows what happens to tasks from now on.
    pub fn watch(&self) -> TaskWatch {
        TaskWatch::new(self.here().engine.tasks(), self.clone())
    }

    /// The same of one task alone, with those who could approve it by name.
    fn shown_alone(&self, task: Task) -> Task {
        let task = self.shown(task);
        if task.status != TaskStatus::AwaitingApproval || task.submitter != self.me() || task.settler != self.me() {
            return task;
        }
        let why = Some(self.who_could_approve(task.rule.unwrap_or(ApprovalRule::Other)));
        Task { why, ..task }
    }

    /// Adds to a task what only its submitter's node knows.
    pub(super) fn shown(&self, mut task: Task) -> Task {
        if task.why.is_some() {
            return task;
        }
        let held = self.held();
        if !task.heirs.is_empty() && !task.status.is_over() && held.settling.is_noted(&task.submitter, task.id) {
            task.why = Some("it has ended by the word of another node, which is not here yet".to_owned());
            return task;
        }
        if task.settler != self.me() {
            if task.status == TaskStatus::Pending {
                // a member chose its name, and the reason is read by models
                let name = task
                    .settler_name
                    .as_ref()
                    .map_or_else(|| task.settler.to_string(), |name| quoted_unless_plain(name));
                task.why = Some(format!("{name} hands it out"));
            }
            return task;
        }
        if !task.status.is_over() && held.settling.is_crowded_out(task.id) {
            let why = format!(
                "the open tasks before it name {OTHERS_MAX} other members that may settle them; it waits for their ends"
            );
            task.why = Some(why);
            return task;
        }
        if !task.heirs.is_empty() && !task.status.is_over() && !held.core.has(task.id) {
            let why = "it has heirs, and waits until the coordinators let this node hand it out";
            task.why = Some(why.to_owned());
            return task;
        }
        if !task.heirs.is_empty() && !task.status.is_over() && held.core.is_busy(task.id) {
            task.why = Some("the coordinators note its end, or it is being written".to_owned());
            return task;
        }
        let insists = || {
            let (node, on) = held.core.insists(task.id)?;
            Some(format!("{}'s worker {}", self.named(node), on.in_words()))
        };
        task.why = match held.core.seen(task.id) {
            // an approval is on the disk before the scheduler hears so
            Some(Seen::Approval) if task.status != TaskStatus::AwaitingApproval => None,
            Some(Seen::Approval) => {
                // the approvers are looked for among all members: for one task, not for each of a list
                task.why = Some("a person has to approve it".to_owned());
                return task;
            }
            Some(Seen::After(before)) => Some(format!("it comes after {before}, which has not ended")),
            Some(Seen::Ready) if task.once && !held.core.has_quorum() => {
                Some("it is done once, and waits until a quorum of the coordinators answers".to_owned())
            }
            Some(Seen::Ready) => Some(insists().unwrap_or_else(|| self.no_worker(&held, &task))),
            Some(Seen::Paused(until)) => {
                let pause = until.saturating_sub(self.now()).as_secs_f64();
                Some(format!("it is tried again in {pause:.1} s, after {} failures", task.failures + task.expiries))
            }
            // the claim is on the disk before the scheduler hears so, and watchers look then
            Some(Seen::Writing) if task.status != TaskStatus::Assigned => None,
            Some(Seen::Running | Seen::Writing) => {
                task.status = TaskStatus::Running;
                task.progress = held.progress.get(&task.id).cloned();
                None
            }
            None => None,
        };
        task
    }
}

impl TaskBoard {
    /// The name of a member in a sentence.
    fn named(&self, node: Did) -> String {
        let name = self.here().identity.shown_name_of(&node).unwrap_or_else(|| node.short());
        quoted_unless_plain(&name)
    }

    /// Why no worker gets a task of this node that waits: the nodes that could, and what keeps each from it.
    fn no_worker(&self, held: &Held, task: &Task) -> String {
        let (now, wall) = (self.now(), self.here().world.wall());
        let mut reasons = Vec::new();
        for Choice { node, not, .. } in held.core.explain(task.id, now) {
            let name = self.named(node);
            reasons.push(match not {
                None => return "a worker gets it now".to_owned(),
                // it is no choice of those who wait
                Some(NotChosen::NotMeant | NotChosen::Worse) => continue,
                Some(NotChosen::TurnsAway) => {
                    let me = self.named(self.me());
                    format!("{name}'s worker takes no tasks of {me}: `nexus-node worker --from {me}` there")
                }
                Some(NotChosen::NoneWaits) => format!("{name}'s worker has work"),
                Some(NotChosen::Rests(rest)) => format!("{name}'s worker {}", rest.at(now, wall)),
                Some(NotChosen::Tried) => format!("{name}'s worker failed too often, and one task tries it again"),
                Some(NotChosen::Overloaded) => {
                    format!("{name}'s machine is busier than its worker allows: `nexus-node worker --cpu-max` there")
                }
                Some(NotChosen::Insists(on)) => format!("{name}'s worker {}", on.in_words()),
                Some(NotChosen::TooOld) => format!("{name}'s program is too old for the rule of its approval"),
            });
        }
        if !reasons.is_empty() {
            let more = reasons.len().saturating_sub(REASONS_MAX);
            reasons.truncate(REASONS_MAX);
            let more = if more > 0 { format!("; and {more} more nodes") } else { String::new() };
            return format!("{}{more}", reasons.join("; "));
        }
        if task.to.is_some() {
            return "no worker of that member waits for it".to_owned();
        }
        let served = held.core.capabilities(CAPABILITIES_NAMED);
        let none = format!("no worker for {} waits", task.capability);
        match served.is_empty() {
            true => none,
            false => format!("{none}; the workers that are here serve {}", served.join(", ")),
        }
    }
}

impl fmt::Debug for TaskBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskBoard({})", self.me().short())
    }
}

/// A member's name in a sentence: in quotes, unless it is one plain word.
fn quoted_unless_plain(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.chars().all(plain) { name.to_owned() } else { serde_json::Value::from(name).to_string() }
}

fn submission(
    task: NewTask,
    input: String,
    now: Timestamp,
    view: &dyn View,
    reader: &Reader<'_>,
) -> Result<(SpaceId, Submission), NodeError> {
    let NewTask {
        capability,
        input: _,
        space,
        to,
        priority,
        timeout,
        deadline,
        attempts,
        request,
        once,
        needs_approval,
        approved_by,
        preemptible,
        after,
        heirs,
        sandbox,
        agent,
    } = task;
    let space = match &space {
        Some(name) => reader.space(Some(name))?.0,
        None => SpaceId::tasks_of(&reader.members().mesh()),
    };
    let to = to.map(|name| reader.member(&name)).transpose()?;
    if request.as_ref().is_some_and(String::is_empty) {
        // a script whose id came out empty would submit it twice
        return Err(InputError::RequestId { max: TASK_NAME_BYTES_MAX }.into());
    }
    if once && preemptible {
        return Err(InputError::OncePreempted.into());
    }
    let heirs: BTreeSet<Did> = heirs.iter().map(|name| reader.member(name)).collect::<Result<_, NodeError>>()?;
    if heirs.len() > TASK_HEIRS_MAX {
        let (part, size, max) = ("the list of heirs", heirs.len(), TASK_HEIRS_MAX);
        return Err(InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into());
    }
    if let Some(heir) = heirs.iter().find(|heir| !reader.members().allows(heir, Role::Member)) {
        return Err(InputError::HeirReads { name: heir.to_string() }.into());
    }
    if once && !heirs.is_empty() {
        return Err(InputError::OnceInherited.into());
    }
    // each id is looked up
    if after.len() > TASK_AFTER_MAX {
        let (part, size, max) = ("the list of tasks before it", after.len(), TASK_AFTER_MAX);
        return Err(InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into());
    }
    let after: BTreeSet<TaskId> =
        after.iter().map(|id| read::resolve_id(view, reader, id)).collect::<Result<_, NodeError>>()?;
    let (deadline, deadline_in) = match deadline {
        None => (None, None),
        Some(TaskDeadline::At(at)) => (Some(at.dated()), None),
        // by it the same task is known later on
        Some(TaskDeadline::In(time)) => (Some(now.date_after(time)), request.as_ref().map(|_| time)),
    };
    if deadline == Some(None) {
        return Err(InputError::Date { what: "the deadline" }.into());
    }
    let submission = Submission {
        to,
        priority,
        attempt_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        deadline_ms: deadline.flatten().map(Timestamp::as_ms),
        attempts,
        once,
        needs_approval,
        preemptible,
        after: after.into_iter().collect(),
        request: request.unwrap_or_default(),
        agent: agent.unwrap_or_default(),
        ..Submission::new(capability, input)
    }
    .with_heirs(&heirs.into_iter().collect::<Vec<_>>())
    .with_sandbox(sandbox.map(TaskSandbox::as_str))
    .with_deadline_in(deadline_in);
    let submission = match needs_approval {
        true => submission.with_rule(approved_by.unwrap_or(ApprovalRule::Person)),
        false => submission,
    };
    submission.check().map_err(InputError::Task)?;
    Ok((space, submission))
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
