//! Tasks as callers see them, and as they submit them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use nexus_crdt::{ApprovalRule, JsonText, Priority, TaskId};
use nexus_identity::{Did, Timestamp};

use super::why::{AgentRest, Waits};

/// A confinement of a worker's command. Each promises all of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskSandbox {
    /// Landlock and seccomp: no file, socket or process beyond those that the worker's owner allows.
    Kernel,
    /// The same, in namespaces of its own.
    Full,
}

impl TaskSandbox {
    /// The word for it in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Full => "full",
        }
    }
}

/// The end of a whole task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskDeadline {
    /// This moment.
    At(Timestamp),
    /// So long after it is submitted. Submitted again with the id of its request, it is the same task.
    In(Duration),
}

impl From<Timestamp> for TaskDeadline {
    fn from(at: Timestamp) -> Self {
        Self::At(at)
    }
}

impl From<Duration> for TaskDeadline {
    fn from(time: Duration) -> Self {
        Self::In(time)
    }
}

/// A task to submit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewTask {
    /// The ability that its worker must have: 1 to 64 of `a-z 0-9 . _ - : /`.
    pub capability: String,
    /// The input, at most 4 MiB as JSON; above 32 KiB a blob has it. `{"$blob": HASH}` stands for the JSON in that blob. Its
    /// worker gets the text as it is here.
    pub input: JsonText,
    /// The space's name or id, whose readers see it; default `tasks`, which every member reads.
    pub space: Option<String>,
    /// The DID or name of the only member that may work on it.
    pub to: Option<String>,
    /// The order among tasks that wait; default `normal`. Each step is worth a minute of waiting.
    pub priority: Priority,
    /// The time of one attempt from its start; default 300 s, at most 7 days.
    pub timeout: Duration,
    /// The end of the whole task; `None` for no end.
    pub deadline: Option<TaskDeadline>,
    /// The attempts that may fail before the task has failed; default 3, at most 100.
    pub attempts: u16,
    /// The caller's own id, of at most 128 bytes: a second task of this node with it is the first, if it asks for the same.
    /// If not it is refused ([`ConflictError::OtherRequest`](crate::error::ConflictError::OtherRequest)).
    pub request: Option<String>,
    /// Whether it is done once at most: an attempt begins by the coordinators' word, and where nobody knows what became of
    /// one, the task ends as unknown.
    pub once: bool,
    /// Whether a person must approve it before somebody works on it.
    pub needs_approval: bool,
    /// The rule by which it is approved; `None` for that of this node, which is `person` unless a setting says otherwise.
    pub approved_by: Option<ApprovalRule>,
    /// Whether a critical task may take its worker; it waits again then.
    pub preemptible: bool,
    /// The tasks that must have succeeded before, by their ids or the beginnings of these: at most 16.
    pub after: Vec<String>,
    /// The DIDs or names of the members whose nodes hand it out while this one is down: at most 3.
    pub heirs: Vec<String>,
    /// The least confinement in which a worker's command may run; `None` for any.
    pub sandbox: Option<TaskSandbox>,
    /// The program that submits it.
    pub agent: Option<String>,
}

impl NewTask {
    /// A task of a capability with an input, and nothing special.
    pub fn new(capability: impl Into<String>, input: impl Into<JsonText>) -> Self {
        Self {
            capability: capability.into(),
            input: input.into(),
            space: None,
            to: None,
            priority: Priority::default(),
            timeout: Duration::from_secs(300),
            deadline: None,
            attempts: 3,
            request: None,
            once: false,
            needs_approval: false,
            approved_by: None,
            preemptible: false,
            after: Vec::new(),
            heirs: Vec::new(),
            sandbox: None,
            agent: None,
        }
    }

    /// Sets the caller's own id.
    #[must_use]
    pub fn request(mut self, id: impl Into<String>) -> Self {
        self.request = Some(id.into());
        self
    }

    /// Sets the time of one attempt.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the end of the whole task: a moment, or a time from now on.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<TaskDeadline>) -> Self {
        self.deadline = Some(deadline.into());
        self
    }

    /// Sets the attempts that may fail.
    #[must_use]
    pub const fn attempts(mut self, attempts: u16) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the order among tasks that wait.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// It is done once at most.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// A person must approve it first.
    #[must_use]
    pub const fn needs_approval(mut self) -> Self {
        self.needs_approval = true;
        self
    }

    /// It must be approved first, by this rule.
    #[must_use]
    pub const fn approved_by(mut self, rule: ApprovalRule) -> Self {
        (self.needs_approval, self.approved_by) = (true, Some(rule));
        self
    }

    /// Only this member's workers may have it: a DID or a name.
    #[must_use]
    pub fn to(mut self, member: impl Into<String>) -> Self {
        self.to = Some(member.into());
        self
    }

    /// A critical task may take its worker.
    #[must_use]
    pub const fn preemptible(mut self) -> Self {
        self.preemptible = true;
        self
    }

    /// Sets the least confinement of a worker's command.
    #[must_use]
    pub const fn sandbox(mut self, least: TaskSandbox) -> Self {
        self.sandbox = Some(least);
        self
    }

    /// A member's node hands it out while this one is down: its DID or name.
    #[must_use]
    pub fn heir(mut self, member: impl Into<String>) -> Self {
        self.heirs.push(member.into());
        self
    }

    /// Another task must have succeeded before: its id, or the beginning of it.
    #[must_use]
    pub fn after(mut self, task: impl Into<String>) -> Self {
        self.after.push(task.into());
        self
    }
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TaskStatus {
    /// A person has to approve it first.
    AwaitingApproval,
    /// It waits for a worker.
    Pending,
    /// A worker has it.
    Assigned,
    /// A worker has it and is heard of: only its submitter's node knows.
    Running,
    /// It was done.
    Succeeded,
    /// It was tried and not done, or its deadline came first.
    Failed,
    /// Somebody took it back.
    Cancelled,
    /// An approver said no.
    Rejected,
    /// It may or may not have been done.
    Unknown,
}

impl TaskStatus {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AwaitingApproval,
        Self::Pending,
        Self::Assigned,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Rejected,
        Self::Unknown,
    ];

    /// The word for it in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a task in this state has ended.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Rejected | Self::Unknown)
    }
}

/// A worker that has or had a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignee {
    /// The member whose node it is at.
    pub node: Did,
    /// That member's name.
    pub name: Option<String>,
    /// Its own name.
    pub agent: Option<String>,
}

/// The reason why a task was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskError {
    /// A word for scripts: the worker's own, or `timeout`, `deadline`, `expired`, `cancelled`, `rejected`.
    pub code: String,
    /// The error in words.
    pub message: String,
}

/// How far a worker says that it is.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TaskProgress {
    /// The part that is done, in percent.
    pub percent: Option<u8>,
    /// The state in words.
    pub text: String,
}

impl TaskProgress {
    /// A part in percent, and words; more than 512 bytes of them are cut off.
    pub fn new(percent: Option<u8>, text: impl Into<String>) -> Self {
        Self { percent, text: text.into() }
    }
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskHistory {
    /// The time, by its author's clock.
    pub at: Timestamp,
    /// The word for it: `submitted`, `claimed`, `failed`, `expired`, `released`, `preempted`, `approved`, `rejected`,
    /// `cancelled`, `late`, or the word of its end.
    pub event: &'static str,
    /// Its author.
    pub by: Did,
    /// That member's name.
    pub by_name: Option<String>,
    /// The worker of a claim.
    pub worker: Option<Assignee>,
    /// An error or a reason in words.
    pub text: Option<String>,
}

/// An approval or a rejection that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApprovalGiven {
    /// Whether it was approved.
    pub approved: bool,
    /// The member on whose node a person said so.
    pub by: Did,
    /// That member's name.
    pub name: Option<String>,
    /// The id of that member's person.
    pub person: Did,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The ability that its worker must have.
    pub capability: String,
    /// The input, or what stands for one in a blob ([`TaskBoard::whole`](crate::TaskBoard::whole)).
    pub input: JsonText,
    /// Its space's name.
    pub space: String,
    /// The order among tasks that wait.
    pub priority: Priority,
    /// The time of one attempt.
    pub timeout: Duration,
    /// The end of the whole task.
    pub deadline: Option<Timestamp>,
    /// The attempts that may fail.
    pub attempts: u16,
    /// The submitter's own id of the request.
    pub request: Option<String>,
    /// Whether it is done once at most.
    pub once: bool,
    /// Whether a person must approve it.
    pub needs_approval: bool,
    /// The rule by which it is approved, if it must be.
    pub rule: Option<ApprovalRule>,
    /// Whether it waits for an approval that a person at this node may give.
    pub is_approvable_here: bool,
    /// The first approval or rejection that counts.
    pub verdict: Option<ApprovalGiven>,
    /// Whether a critical task may take its worker.
    pub preemptible: bool,
    /// The tasks that must have succeeded before.
    pub after: Vec<TaskId>,
    /// The only member that may work on it.
    pub to: Option<Did>,
    /// The task that it repeats.
    pub retry_of: Option<TaskId>,
    /// The member whose node submitted it.
    pub submitter: Did,
    /// That member's name.
    pub submitter_name: Option<String>,
    /// The members whose nodes may hand it out while the submitter's is down.
    pub heirs: Vec<Did>,
    /// The least confinement in which its worker's command may run. A worker that does not know the word must not begin.
    pub sandbox: Option<String>,
    /// The member whose node hands it out, and says that it has ended: the submitter, or an heir.
    pub settler: Did,
    /// That member's name.
    pub settler_name: Option<String>,
    /// The program that submitted it.
    pub agent: Option<String>,
    /// The time of its submission.
    pub submitted_at: Timestamp,
    /// Its state.
    pub status: TaskStatus,
    /// The reason of that state.
    pub why: Option<Waits>,
    /// The worker that has it, or had it last.
    pub assigned_to: Option<Assignee>,
    /// The claims so far.
    pub claims: u32,
    /// The claims that failed.
    pub failures: u32,
    /// The claims whose workers were not heard of in time.
    pub expiries: u32,
    /// How far its worker is: only the settler's node knows.
    pub progress: Option<TaskProgress>,
    /// The output of a task that was done, or what stands for one in a blob ([`TaskBoard::whole`](crate::TaskBoard::whole)).
    pub output: Option<JsonText>,
    /// The reason why it was not done.
    pub error: Option<TaskError>,
    /// The rest that its worker has after a failure; only in the answer to that worker.
    pub worker_rest: Option<AgentRest>,
    /// The time of its end.
    pub ended_at: Option<Timestamp>,
    /// Its history, in order; empty in lists.
    pub events: Vec<TaskHistory>,
}

/// A question for a list of tasks, the newest first.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TaskQuery {
    /// Only those in one of these states; all if there are none.
    pub states: BTreeSet<TaskStatus>,
    /// At most so many: 1 to 1,000.
    pub limit: usize,
    /// The `next` of an earlier page.
    pub after: Option<String>,
}

impl TaskQuery {
    /// The newest tasks.
    pub fn newest(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Only those in this state, too.
    #[must_use]
    pub fn state(mut self, state: TaskStatus) -> Self {
        self.states.insert(state);
        self
    }

    /// Goes on where an earlier page ended.
    #[must_use]
    pub fn after(mut self, next: impl Into<String>) -> Self {
        self.after = Some(next.into());
        self
    }
}

/// A question for what the command of a task wrote to its stderr.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TaskLogQuery {
    /// The attempt of which so many bytes are known; of another one all that is kept is asked for.
    pub attempt: u32,
    /// The `next` of an earlier part.
    pub from: u64,
    /// The longest wait for more; at most 60 s.
    pub wait: Duration,
}

impl TaskLogQuery {
    /// All that is kept, from its beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on after an earlier part, and waits for more.
    #[must_use]
    pub const fn after(mut self, log: &TaskLog, wait: Duration) -> Self {
        (self.attempt, self.from, self.wait) = (log.attempt, log.next, wait);
        self
    }
}

/// A part of what the command of a task's last attempt wrote to its stderr.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskLog {
    /// The task.
    pub id: TaskId,
    /// The worker of the attempt.
    pub worker: Option<Assignee>,
    /// The number of the attempt, from 1; 0 if nothing is kept.
    pub attempt: u32,
    /// The bytes before this part. More than were asked for have been dropped, or are of another attempt.
    pub from: u64,
    /// The text: whole characters, bytes that are none replaced. It is a command's: it may have control characters.
    pub text: String,
    /// The bytes up to the end of this part.
    pub next: u64,
    /// Whether more may follow.
    pub open: bool,
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskPage {
    /// The tasks, without their events.
    pub items: Vec<Task>,
    /// The place of the next page; `None` after the last.
    pub next: Option<String>,
}

/// The name of a task for a lookup: its id, or a text that is its id or at least four characters from the beginning of it.
/// [`TaskId`] and texts become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskRef {
    /// Its id.
    Id(TaskId),
    /// Its id in words, or the beginning of it.
    Text(String),
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<TaskId> for TaskRef {
    fn from(id: TaskId) -> Self {
        Self::Id(id)
    }
}

impl From<&TaskId> for TaskRef {
    fn from(id: &TaskId) -> Self {
        Self::Id(*id)
    }
}

impl From<&str> for TaskRef {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for TaskRef {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for TaskRef {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A text of at most so many bytes, in whole characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
