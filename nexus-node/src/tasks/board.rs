//! The handle to the tasks of a mesh: a facade over the services of this room.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use nexus_crdt::{
    ApprovalRule, BadTaskEvent, JsonText, SpaceId, SpaceRule, Submission, TASK_AFTER_MAX, TASK_ERROR_BYTES_MAX,
    TASK_HEIRS_MAX, TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskAttachment, TaskEvent, TaskId, TaskPhase, TaskRights,
    TaskToken, TaskVerb, TaskWord,
};
use nexus_identity::{Did, Role, Timestamp};
use nexus_mesh::Stream;
use nexus_mesh::quota::Receiver;

use super::agent::{Agent, TaskCandidate};
use super::attached::{self, Attachments, Shortened};
use super::claim::{ClaimQuery, ClaimedTask, Renewal, TaskResult};
use super::guests::Guests;
use super::here::{Handles, Here};
use super::log::TaskLogs;
use super::peers::Peers;
use super::read;
use super::registry::Registry;
use super::settler::Settler;
use super::shows::{Shows, WAIT_MAX};
use super::task::{
    NewTask, Task, TaskDeadline, TaskLog, TaskLogQuery, TaskPage, TaskProgress, TaskQuery, TaskRef, TaskSandbox, cut,
};
use super::watch::TaskWatch;
use super::workers::Workers;
use crate::engine::TaskAnswer;
use crate::error::{AccessError, ConflictError, InputError, NodeError, Resource, StopError};
use crate::memory::read::Reader;
use crate::store::View;

/// A handle to the tasks of a mesh, cheap to clone: submitting, following and ending them, and work for workers.
#[derive(Clone)]
pub struct TaskBoard {
    here: Here,
    attachments: Attachments,
    settler: Settler,
    guests: Guests,
    shows: Shows,
    workers: Workers,
    registry: Registry,
    logs: TaskLogs,
}

impl TaskBoard {
    pub(crate) fn new(handles: Handles) -> Self {
        let here = Here::new(handles);
        let attachments = Attachments::new(here.clone());
        let settler = Settler::new(here.clone(), attachments.clone());
        let guests = Guests::new(here.clone(), settler.clone());
        let shows = Shows::new(here.clone(), settler.clone());
        let both = (settler.clone(), guests.clone());
        let workers = Workers::new(here.clone(), both, attachments.clone(), shows.clone());
        let registry = Registry::new(here.clone(), settler.clone(), guests.clone(), workers.clone());
        let logs = TaskLogs::new(here.clone(), settler.clone(), guests.clone(), shows.clone());
        Self { here, attachments, settler, guests, shows, workers, registry, logs }
    }

    /// Hands out tasks until the node ends.
    pub(crate) async fn run(self) {
        self.settler.run().await;
    }

    /// Looks for a quorum while a task waits for one, until the node ends.
    pub(crate) async fn watch_quorum(self) {
        self.settler.watch_quorum().await;
    }

    /// Keeps the rights of this node to tasks with heirs, until the node ends.
    pub(crate) async fn keep_settling(self) {
        self.settler.keep_settling().await;
    }

    /// Answers the peers that open streams.
    pub(crate) async fn serve(self, streams: Receiver<Stream>) {
        let Self { here, settler, guests, registry, logs, .. } = self;
        Peers { here, settler, guests, registry, logs }.serve(streams).await;
    }

    /// Tells the peers which workers wait here for their tasks, and of all workers, until the node ends.
    pub(crate) async fn tell_others(self) {
        self.registry.tell_others().await;
    }

    /// Reads the load of this machine while workers are here, until the node ends.
    pub(crate) async fn keep_load(self) {
        self.registry.keep_load().await;
    }

    /// Says for the workers here that they live, and lets go of those that do not, until the node ends.
    pub(crate) async fn keep_guests(self) {
        self.guests.keep().await;
    }

    /// Submits a task. It is on this node's disk when this returns, and outlives the caller.
    ///
    /// With an id of a request that a task of this node has, the answer is that task, if it asks for the same.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a broken rule of form, [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for the space
    /// or the member. [`NodeError::Refused`] if this node may not write there or has too many open tasks, or if the member that
    /// it is for, or an heir, may not read the space.
    /// [`ConflictError::OtherRequest`] if the task with that id asks for something else. [`NodeError::DiskFull`],
    /// [`NodeError::Stopping`].
    pub async fn submit(&self, mut task: NewTask) -> Result<Task, NodeError> {
        let wanted = self.here.approval.rule_of(&task.capability);
        task.needs_approval |= wanted.is_some();
        let stricter = [wanted.flatten(), self.here.approved_by].contains(&Some(ApprovalRule::Other));
        // a submitter may ask for more than the settings do, never for less
        task.approved_by = if stricter { Some(ApprovalRule::Other) } else { task.approved_by };
        let Shortened { json, blob } = self.attachments.shortened("the input", std::mem::take(&mut task.input)).await?;
        let now = self.here.world.wall();
        let (space, submission) =
            self.here.reading(move |view, reader| submission(task, json, now, view, reader)).await?;
        let submitted = self.submit_this(space, submission).await;
        // the event refers to it by now
        drop(blob);
        submitted
    }

    async fn submit_this(&self, space: SpaceRule, submission: Submission) -> Result<Task, NodeError> {
        if submission.needs_approval && self.here.approvers(submission.rule(), &space).is_empty() {
            return Err(AccessError::NobodyApproves.into());
        }
        self.settler.has_room()?;
        let events = vec![(space.space, TaskEvent::Submitted(Box::new(submission)))];
        let id = match self.here.write_one(events).await? {
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
        let (settler, shows) = (self.settler.clone(), self.shows.clone());
        let read = self.here.reading(move |view, reader| {
            let found = read::find(view, reader, id)?.ok_or(StopError::NoAnswer)?;
            settler.take_up_or_park(&found);
            if found.row.moves() && !settler.has(id) {
                settler.ask_to_settle();
            }
            Ok(shows.alone(read::task(view, reader, found, true)?, &space))
        });
        read.await
    }

    /// A task, by its id or at least four characters from its beginning.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ambiguous`].
    pub async fn get(&self, id: impl Into<TaskRef>) -> Result<Task, NodeError> {
        self.shows.of(id.into()).await
    }

    /// A page of tasks, the newest first.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a limit or a place that is none.
    pub async fn list(&self, query: TaskQuery) -> Result<TaskPage, NodeError> {
        self.shows.list(query).await
    }

    /// Takes a task back. A worker that has it is told at its next word.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Refused`] for whoever is neither its submitter nor an admin,
    /// [`NodeError::Conflict`] if it has ended.
    pub async fn cancel(&self, id: impl Into<TaskRef>, why: &str) -> Result<Task, NodeError> {
        self.say(id.into(), TaskVerb::Cancel, why).await
    }

    /// Lets a task be worked on that waits for an approval: the word of a person at this node. Whether one is there is for
    /// the caller to know.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`NodeError::Refused`] also for a node that may not by the task's rule.
    /// [`ConflictError::InputDiffers`] for an input in a blob that is not what its submitter says, and the errors of
    /// [`whole`](Self::whole): nobody approves what cannot be read.
    pub async fn approve(&self, id: impl Into<TaskRef>) -> Result<Task, NodeError> {
        let task = self.shows.resolve(id.into()).await?;
        self.check_input(task).await?;
        self.say(task.into(), TaskVerb::Approve, "").await
    }

    /// Ends a task that waits for an approval.
    ///
    /// # Errors
    /// As [`approve`](Self::approve).
    pub async fn reject(&self, id: impl Into<TaskRef>, why: &str) -> Result<Task, NodeError> {
        self.say(id.into(), TaskVerb::Reject, why).await
    }

    /// Submits a task that has ended once more, as another one.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`NodeError::Conflict`] if it has not ended.
    pub async fn retry(&self, id: impl Into<TaskRef>) -> Result<Task, NodeError> {
        let (id, me) = (id.into(), self.here.me());
        let (space, submission) = self
            .here
            .reading(move |view, reader| {
                let found = read::resolve(view, reader, &id)?;
                let rights = found.rights(reader.members());
                if !rights.may_cancel(&me) {
                    return Err(AccessError::NotYourTask("retries").into());
                }
                if !matches!(found.state.phase, TaskPhase::Over(_)) {
                    return Err(ConflictError::TaskOpen.into());
                }
                let (retry_of, deadline_ms, request) = (Some(found.id), None, String::new());
                // another try of those before has another id
                let after = Vec::new();
                check_named(&found.submission, &found.rule, reader)?;
                Ok((found.rule, Submission { retry_of, deadline_ms, request, after, ..found.submission }))
            })
            .await?;
        self.submit_this(space, submission).await
    }

    /// Checks that an input in a blob can be read here, and that it is what its submitter says of it: whoever approves the
    /// task may have seen no more.
    async fn check_input(&self, id: TaskId) -> Result<(), NodeError> {
        let input = self.shows.get(id).await?.input;
        let Some(said) = attached::attachment(&input) else { return Ok(()) };
        let whole = self.attachments.whole(input.clone()).await?.to_string();
        let stand_in = JsonText::parse(TaskAttachment::stand_in(said.blob(), &whole)).unwrap_or_default().value();
        let said = input.value();
        let agrees = |member: &str| said.get(member).is_none_or(|said| stand_in.get(member) == Some(said));
        if agrees("bytes") && agrees("begin") { Ok(()) } else { Err(ConflictError::InputDiffers.into()) }
    }

    async fn say(&self, id: TaskRef, verb: TaskVerb, why: &str) -> Result<Task, NodeError> {
        let (why, me) = (cut(why, TASK_ERROR_BYTES_MAX), self.here.me());
        let (task, space, is_ours) = self
            .here
            .reading(move |view, reader| {
                let found = read::resolve(view, reader, &id)?;
                let rights = found.rights(reader.members());
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
        self.here.write_one(vec![(space, TaskEvent::Word(TaskWord { task, verb, why }))]).await?;
        self.settler.look_at_soon(task);
        if is_ours && verb != TaskVerb::Approve {
            // its own node ends it at once, and may have done so already
            if let Some(over) = self.wait(task, WAIT_MAX).await? {
                return Ok(over);
            }
        }
        self.shows.get(task).await
    }

    /// Waits until a task has ended; `None` if it has not in that time.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn wait(&self, id: impl Into<TaskRef>, timeout: Duration) -> Result<Option<Task>, NodeError> {
        let mut watch = self.watch();
        let task = self.shows.of(id.into()).await?;
        if task.status.is_over() {
            return Ok(Some(task));
        }
        let (id, until) = (task.id, self.here.now().saturating_add(timeout));
        loop {
            tokio::select! {
                said = watch.until_said(id) => said?,
                () = self.here.world.sleep_until(until) => return Ok(None),
            }
            if self.here.reading(move |view, reader| Ok(read::is_over(view, reader, id)?)).await? == Some(true) {
                return self.shows.get(id).await.map(Some);
            }
        }
    }

    /// Follows what happens to tasks from now on.
    pub fn watch(&self) -> TaskWatch {
        TaskWatch::new(self.here.engine.tasks(), self.shows.clone())
    }

    /// The whole of an input or an output: itself, or the JSON in the blob for which it stands.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has the blob. [`NodeError::Invalid`] if it is too large or no JSON. Those of
    /// `Blobs::fetch`.
    pub async fn whole(&self, json: JsonText) -> Result<JsonText, NodeError> {
        self.attachments.whole(json).await
    }

    /// The stderr of the command of a task's last attempt: the last 64 KiB, from the worker's node. It is kept for
    /// an hour after its last word. With a time to wait, it returns once there is more, or the attempt is over.
    ///
    /// # Errors
    /// As [`get`](Self::get). [`NodeError::Unreachable`] if the worker's node does not answer.
    pub async fn log(&self, id: impl Into<TaskRef>, query: TaskLogQuery) -> Result<TaskLog, NodeError> {
        self.logs.read(id.into(), query).await
    }

    /// The workers that wait for work, or do some: of this node and of those that are connected.
    pub fn agents(&self) -> Vec<Agent> {
        self.registry.agents()
    }

    /// The nodes with workers for a task of this node, best first: as they were when it was handed out, and for a task that
    /// waits, as they are now. Nothing is known of tasks of others.
    pub fn candidates(&self, task: TaskId) -> Vec<TaskCandidate> {
        self.registry.candidates(task)
    }
}

/// The questions and words of workers.
impl TaskBoard {
    /// Waits for a task that a worker of this node can do; `None` if there is none in time.
    ///
    /// The worker must be heard of within its lease, again and again ([`renew`](Self::renew)), until it says what came of
    /// it ([`finish`](Self::finish)).
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for capabilities or a lease out of range, [`NodeError::Refused`] with too many workers.
    pub async fn claim(&self, query: ClaimQuery) -> Result<Option<ClaimedTask>, NodeError> {
        self.workers.claim(query).await
    }

    /// A worker's word that it lives, and how far it is. Returns what is left of its claim.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if the claim no longer stands: stop the work.
    pub async fn renew(
        &self,
        id: impl Into<TaskRef>,
        token: TaskToken,
        progress: Option<TaskProgress>,
    ) -> Result<Renewal, NodeError> {
        let task = self.workers.task_called(id.into()).await?;
        self.workers.renew(task, token, progress).await
    }

    /// Hands over what the command of a claim wrote to its stderr: the part after so many bytes. The last 64 KiB are kept.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn note_log(
        &self,
        id: impl Into<TaskRef>,
        token: TaskToken,
        from: u64,
        text: &str,
    ) -> Result<Renewal, NodeError> {
        let task = self.workers.task_called(id.into()).await?;
        let renewal = self.workers.renew(task, token, None).await?;
        self.logs.hear(task, token, (from, text));
        Ok(renewal)
    }

    /// As [`renew`](Self::renew), and waits: it returns when the claim is over, or after a while. If the caller hangs up,
    /// the worker must be heard of again within a second.
    ///
    /// # Errors
    /// As [`renew`](Self::renew), as soon as the claim no longer stands.
    pub async fn hold(
        &self,
        id: impl Into<TaskRef>,
        token: TaskToken,
        progress: Option<TaskProgress>,
        wait: Duration,
    ) -> Result<Renewal, NodeError> {
        let task = self.workers.task_called(id.into()).await?;
        self.workers.hold(task, token, progress, wait).await
    }

    /// A worker's word of what came of its attempt. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if the claim no longer stands: a result is kept then, marked as late.
    /// [`NodeError::Invalid`] for an output that is too large.
    pub async fn finish(
        &self,
        id: impl Into<TaskRef>,
        token: TaskToken,
        result: TaskResult,
    ) -> Result<Task, NodeError> {
        let task = self.workers.task_called(id.into()).await?;
        self.workers.finish(task, token, result).await
    }
}

impl fmt::Debug for TaskBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskBoard({})", self.here.me().short())
    }
}

fn submission(
    task: NewTask,
    input: String,
    now: Timestamp,
    view: &dyn View,
    reader: &Reader<'_>,
) -> Result<(SpaceRule, Submission), NodeError> {
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
    let missing = || NodeError::NotFound { what: Resource::Space, name: space.to_string() };
    let space = reader.rule_of(space).ok_or_else(missing)?;
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
    check_named(&submission, &space, reader)?;
    Ok((space, submission))
}

/// Checks that the members that a task names may read it: the one that it is for, and its heirs.
fn check_named(submission: &Submission, space: &SpaceRule, reader: &Reader<'_>) -> Result<(), NodeError> {
    let may_read = |member: &Did| reader.members().may_read(member, space);
    let heirs = submission.heirs(&reader.me());
    let named = submission.to.iter().chain(&heirs).find(|member| !may_read(member));
    named.map_or(Ok(()), |member| {
        let name = reader.name_of(member).unwrap_or_else(|| member.to_string());
        let space = reader.name_of_space(space.space).unwrap_or_default();
        Err(AccessError::MayNotRead { name, space }.into())
    })
}
