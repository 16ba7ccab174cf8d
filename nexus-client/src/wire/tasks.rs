//! Tasks and workers, on the wire.

use super::{Deadline, Span};
use nexus_crdt::JsonText;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A confinement of a worker's command. Each promises all of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Landlock and seccomp.
    Kernel,
    /// The same, in namespaces of its own.
    Full,
}

impl std::str::FromStr for Sandbox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kernel" => Ok(Self::Kernel),
            "full" => Ok(Self::Full),
            _ => Err("a task may ask for kernel or full".to_owned()),
        }
    }
}

/// The order among tasks that wait, the last first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After all others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before most.
    High,
    /// Before all others.
    Critical,
}

/// The text is no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no priority (expected low, normal, high or critical)")]
pub struct PriorityError {
    text: String,
}

impl std::str::FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| PriorityError { text: text.chars().take(40).collect() })
    }
}

/// A task to submit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// The ability that its worker must have: 1 to 64 of `a-z 0-9 . _ - : /`.
    pub capability: String,
    /// The input, at most 4 MiB as JSON; default null. Above 32 KiB a blob has it. Its worker gets the text as it is here:
    /// the digits of numbers, the order of keys, escapes, white space.
    #[serde(default, skip_serializing_if = "JsonText::is_null")]
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    pub input: JsonText,
    /// The DID or name of the only member that may work on it; default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The space whose readers see it; default `tasks`, which every member reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The order among tasks that wait; default `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The time of one attempt, at most 7 days; default `300s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// The end of the whole task; default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// The attempts that may fail before the task has failed, 1 to 100; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u16>,
    /// The caller's own id, at most 128 bytes: a second task of this node with it is the first, if it asks for the same, and
    /// is refused if not. The header `Idempotency-Key` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whether it is done once at most: an attempt begins by the coordinators' word, and where nobody knows what became of
    /// one, the task ends as `unknown`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Whether a person must approve it before somebody works on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_approval: bool,
    /// The rule by which it is approved: `person` (default) or `other`. It needs an approval then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<ApprovalRule>,
    /// Whether a critical task may take its worker; it waits again then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preemptible: bool,
    /// The tasks that must have succeeded before, by their ids or the beginnings of these: at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The DIDs or names of the members whose nodes hand it out while this one is down: at most 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heirs: Vec<String>,
    /// The least confinement in which a worker's command may run; default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// The program's own name; default: the first product in its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// The reason why a task was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskError {
    /// A word for scripts: the worker's own, or `timeout`, `deadline`, `expired`, `cancelled`, `rejected`.
    pub code: String,
    /// The error in words.
    pub message: String,
}

/// Words of lines that say what went wrong.
const TELLING: [&str; 18] = [
    "error",
    "exception",
    "denied",
    "fatal",
    "failed",
    "failure",
    "panicked",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "unable",
    "not found",
    "no such",
    "no module",
    "not permitted",
    "refused",
    "timed out",
];

/// Whether a line of a command's stderr says nothing by itself: a place in the code, a mark, or a line around them.
fn is_beside(line: &str) -> bool {
    let line = line.trim();
    let is_mark = line.chars().all(|letter| "^~-=*| ".contains(letter));
    let begins =
        ["<no Python frame>", "Current thread 0x", "Node.js v", "File \"", "at ", "note: run with `RUST_BACKTRACE"];
    is_mark || begins.iter().any(|begin| line.starts_with(begin)) || line.starts_with(TaskError::SANDBOX)
}

impl TaskError {
    /// The beginning of the line that a worker adds to an error that its sandbox may have caused.
    pub const SANDBOX: &str = "the sandbox lets it";

    /// The line of the message that says most, for a place that has room for one.
    pub fn line(&self) -> &str {
        Self::line_of(&self.message)
    }

    /// The line of a command's words that says most: the last one that speaks of a fault, or else the last one that is no
    /// place in the code.
    pub fn line_of(text: &str) -> &str {
        let lines = || text.lines().rev().filter(|line| !is_beside(line));
        let is_outer = |line: &&str| !line.starts_with([' ', '\t']);
        let tells = |line: &&str| {
            let line = line.to_lowercase();
            TELLING.iter().any(|word| line.contains(word))
        };
        let told = lines().filter(is_outer).find(tells).or_else(|| lines().find(is_outer)).or_else(|| lines().next());
        told.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty())).unwrap_or_default().trim()
    }

    /// A command's words without the lines at their end that say nothing.
    pub fn meaning(text: &str) -> &str {
        let mut text = text.trim_end();
        loop {
            let last = text.rfind('\n').map_or(0, |at| at + 1);
            if last == 0 || !is_beside(&text[last..]) {
                return text;
            }
            text = text[..last].trim_end();
        }
    }
}

/// How far a worker says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskProgress {
    /// The part that is done, in percent.
    pub percent: Option<u8>,
    /// The state in words.
    pub text: String,
}

/// A worker that has or had a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Assignee {
    /// The DID of the member whose node it is at.
    pub node: String,
    /// That member's name.
    pub name: Option<String>,
    /// Its own name.
    pub agent: Option<String>,
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskEvent {
    /// The time, by its author's clock.
    pub at: String,
    /// The word for it: `submitted`, `claimed`, `failed`, `expired`, `released`, `preempted`, `approved`, `rejected`,
    /// `cancelled`, `late`, or the word of its end.
    pub event: String,
    /// Its author's DID.
    pub by: String,
    /// That member's name.
    pub by_name: Option<String>,
    /// The worker of a claim.
    pub worker: Option<Assignee>,
    /// An error or a reason in words.
    pub text: Option<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Task {
    /// Its id.
    pub id: String,
    /// The ability that its worker must have.
    pub capability: String,
    /// Its state: `awaiting_approval`, `pending`, `assigned`, `running`, `succeeded`, `failed`, `cancelled`, `rejected` or
    /// `unknown`.
    pub state: String,
    /// The reason of that state, in a sentence.
    pub why: Option<String>,
    /// The input, as it was submitted.
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    pub input: JsonText,
    /// The output of a task that was done, as its worker gave it.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    pub output: Option<JsonText>,
    /// The reason why it was not done.
    pub error: Option<TaskError>,
    /// Its space's name.
    pub space: String,
    /// The order among tasks that wait.
    pub priority: Priority,
    /// The time of one attempt.
    pub timeout: Span,
    /// The end of the whole task.
    pub deadline: Option<String>,
    /// The attempts that may fail.
    pub attempts: u16,
    /// The submitter's own id of the request.
    pub request: Option<String>,
    /// Whether it is done once at most.
    #[serde(default)]
    pub once: bool,
    /// Whether a person must approve it.
    pub needs_approval: bool,
    /// The rule by which it is approved, and the first word that counts; null if it needs none.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// Whether a critical task may take its worker.
    #[serde(default)]
    pub preemptible: bool,
    /// The tasks that must have succeeded before.
    #[serde(default)]
    pub after: Vec<String>,
    /// The DID of the only member that may work on it.
    pub to: Option<String>,
    /// The id of the task that it repeats.
    pub retry_of: Option<String>,
    /// The DID of the member whose node submitted it.
    pub submitter: String,
    /// That member's name.
    pub submitter_name: Option<String>,
    /// The DIDs of the members whose nodes may hand it out while the submitter's is down.
    #[serde(default)]
    pub heirs: Vec<String>,
    /// The least confinement in which its worker's command may run. A worker that does not know the word must not begin.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// The DID of the member whose node hands it out, and says that it has ended: the submitter, or an heir.
    #[serde(default)]
    pub settler: String,
    /// That member's name.
    #[serde(default)]
    pub settler_name: Option<String>,
    /// The program that submitted it.
    pub agent: Option<String>,
    /// The time of its submission.
    pub submitted_at: String,
    /// The worker that has it, or had it last.
    pub assigned_to: Option<Assignee>,
    /// The claims so far.
    pub claims: u32,
    /// The claims that failed.
    pub failures: u32,
    /// The claims whose workers were not heard of in time.
    pub expiries: u32,
    /// How far its worker is; only the settler's node knows.
    pub progress: Option<TaskProgress>,
    /// The rest that its worker has after a failure; only in the answer to that worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_rest: Option<AgentRest>,
    /// The time of its end.
    pub ended_at: Option<String>,
    /// The events in order; empty in lists.
    pub events: Vec<TaskEvent>,
    /// The nodes that were looked at for it, best first; only if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<TaskCandidate>>,
}

/// The rule by which a task is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ApprovalRule {
    /// A person at a machine of the submitter's person, or at an admin's.
    Person,
    /// A person at an admin's machine that is neither the submitter's nor below it.
    Other,
}

/// The approval of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Approval {
    /// `person`, `other`, or `later` for a rule of a later version.
    pub rule: String,
    /// Whether it waits for a person, and one at the node that answers may approve it.
    #[serde(default)]
    pub here: bool,
    /// Whether it was approved; null while it waits.
    pub approved: Option<bool>,
    /// The DID of the member on whose node a person said so.
    pub by: Option<String>,
    /// That member's name.
    pub by_name: Option<String>,
    /// The id of that member's person.
    pub person: Option<String>,
}

/// A node that was looked at for a task, or is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskCandidate {
    /// The DID of the member whose node it is.
    pub node: String,
    /// That member's name.
    pub node_name: Option<String>,
    /// Its points, of about 100; null if it cannot get the task.
    pub score: Option<f64>,
    /// The points by part: `waiting`, `cpu`, `memory`, `round_trip`, `region`, `reputation`, `duration`,
    /// `failed_here`.
    pub parts: BTreeMap<String, f64>,
    /// The reason for which it does not get the task; null for the one that does, or could.
    pub why_not: Option<String>,
}

/// Words about tasks that a reader was too slow for: it has to look at the tasks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TasksMissed {
    /// The number of them; 0 if it is not known.
    pub missed: u64,
}

/// A page of tasks, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskPage {
    /// The tasks, without their events.
    pub items: Vec<Task>,
    /// The place to go on after; null at the end.
    pub next: Option<String>,
}

/// A word about a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskWord {
    /// The reason in words; more than 2 KiB are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A worker's question for work.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimTask {
    /// Its abilities: 1 to 64.
    pub capabilities: BTreeSet<String>,
    /// Its name; default: the first product in its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The longest wait for work, at most 60 s; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// The time without a word after which its claim is over, 1 s to 7 days; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// Further members whose tasks it takes, beside this node's, those of admins and of machines of this node's person: DIDs,
    /// names, or the role `member` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Above this use of the processors it gets no work, in percent, 0 to 100; default: no bound. Only Linux can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<u8>,
    /// The same of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u8>,
    /// It takes only tasks that were approved: `person`, by the task's own rule; `other`, by the rule `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<ApprovalRule>,
    /// The JSON schema of the inputs that it takes, at most 16 KiB, without references to other documents. A task with another
    /// input fails (`input_mismatch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// The same of its outputs (`output_mismatch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// A task that a worker has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ClaimedTask {
    /// The task, without its events.
    pub task: Task,
    /// The token of the claim: each later word about it names it.
    pub token: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The time without a word after which the claim is over.
    pub lease_ms: u64,
    /// The lock of a task that is done once.
    #[serde(default)]
    pub lock: Option<String>,
    /// The lock's token, for `fence` of a key and for `fence check`.
    #[serde(default)]
    pub fence: Option<u64>,
}

/// A worker's word that it lives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewTask {
    /// The token of the claim.
    pub token: String,
    /// The part that is done, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The state in words; more than 512 bytes are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The time to wait for the end of the claim, at most half of its lease and 60 s; default: no wait. A worker that
    /// hangs up while it waits must be heard of again within a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// A part of what the command wrote to its stderr. The last 64 KiB of an attempt are kept, for `GET /v1/tasks/{id}/log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The bytes before that part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_from: Option<u64>,
}

/// A part of what the command of a task's last attempt wrote to its stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskLog {
    /// The task's id.
    pub id: String,
    /// The worker of the attempt; null before the first one.
    pub worker: Option<Assignee>,
    /// The number of the attempt, from 1; 0 if nothing is kept.
    pub attempt: u32,
    /// The bytes before this part. More than were asked for have been dropped, or are of another attempt.
    pub from: u64,
    /// The text, as the command wrote it: it may have control characters.
    pub text: String,
    /// The bytes up to the end of this part: the next question's `from`.
    pub next: u64,
    /// Whether more may follow.
    pub open: bool,
}

/// A claim that stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TaskRenewal {
    /// The time from now on without a word after which it is over.
    pub lease_ms: u64,
    /// The rest of the attempt's time.
    pub left_ms: u64,
}

/// The end of an attempt: `output`, `error` or `release`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FinishTask {
    /// The token of the claim.
    pub token: String,
    /// It was done: the output, at most 4 MiB as JSON; default null. Above 32 KiB a blob has it. Readers get the text as it is
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    pub output: Option<JsonText>,
    /// It was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// The worker gives it back untried; this counts as no attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub release: bool,
}

/// The reason why an attempt failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AttemptError {
    /// A word for scripts, at most 128 bytes; default `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The error in words; more than 2 KiB are cut off.
    pub message: String,
}

/// The workers of one name at a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Agent {
    /// Their name; null for those without one.
    pub name: Option<String>,
    /// The DID of the member whose node they are at.
    pub node: String,
    /// That member's name.
    pub node_name: Option<String>,
    /// That member's roles: `admin`, `member` or `reader`; none once its membership has ended.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Their abilities.
    pub capabilities: BTreeSet<String>,
    /// The number of those that wait for work.
    pub waiting: usize,
    /// The number of tasks that they have.
    pub running: usize,
    /// How busy their machine is.
    pub load: AgentLoad,
    /// `ok`; `overloaded`, if their machine is busier than they allow; `failing`, if they failed too often and rest.
    pub health: String,
    /// Their rest, if they failed too often: this node gives them no tasks of its own meanwhile. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<AgentRest>,
    /// The share of their work that this node was content with, newer work counting more: from 1 down to 0. Workers of
    /// another node have one together.
    pub reputation: f64,
    /// The labels of their node.
    pub labels: BTreeMap<String, String>,
    /// The JSON schema of the inputs that they take, by their own word; absent if they have none, or one over 4 KiB elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// The same of their outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// The rest of workers that failed too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AgentRest {
    /// The moment of its end.
    pub until: String,
    /// The failures of the minute before it.
    pub failures: usize,
}

/// How busy a machine is, in percent; null where it cannot be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AgentLoad {
    /// The processors, as a mean of about 10 s.
    pub cpu: Option<u8>,
    /// The memory that is not available.
    pub memory: Option<u8>,
}

impl From<nexus_crdt::Priority> for Priority {
    fn from(priority: nexus_crdt::Priority) -> Self {
        match priority {
            nexus_crdt::Priority::Low => Self::Low,
            nexus_crdt::Priority::Normal => Self::Normal,
            nexus_crdt::Priority::High => Self::High,
            nexus_crdt::Priority::Critical => Self::Critical,
        }
    }
}

impl From<Priority> for nexus_crdt::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
            Priority::Critical => Self::Critical,
        }
    }
}

impl Priority {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        nexus_crdt::Priority::from(self).as_str()
    }
}

impl From<ApprovalRule> for nexus_crdt::ApprovalRule {
    fn from(rule: ApprovalRule) -> Self {
        match rule {
            ApprovalRule::Person => Self::Person,
            ApprovalRule::Other => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Tasks | The line that is shown of an error is the one that says what went wrong, not a place in the code after it
    #[test]
    fn the_line_that_says_most_is_found() {
        let python = "Python path configuration:\n  PYTHONHOME = (not set)\nModuleNotFoundError: No module named 'encodings'\n\n\
            Current thread 0x00007f2b (most recent call first):\n  <no Python frame>\n";
        let node = "node:internal/modules/cjs/loader:1148\n  throw err;\n  ^\n\nError: Cannot find module '/tmp/n.js'\n    \
            at Module._load (node:internal:1)\n  code: 'MODULE_NOT_FOUND'\n}\n\nNode.js v20.11.1\n";
        for (text, line) in [
            (python, "ModuleNotFoundError: No module named 'encodings'"),
            (node, "Error: Cannot find module '/tmp/n.js'"),
            ("Traceback:\n  File \"a.py\", line 1\nKeyError: 'x'\n", "KeyError: 'x'"),
            ("it broke\n", "it broke"),
            ("sh: 1: nope: not found\nbye\n", "sh: 1: nope: not found"),
            ("  File \"a.py\"\n", "File \"a.py\""),
            ("cat: x: Permission denied\nthe sandbox lets it read /usr\n", "cat: x: Permission denied"),
            ("one\n^^^\n", "one"),
            ("", ""),
            ("\n \n", ""),
        ] {
            assert_eq!(TaskError::line_of(text), line, "{text}");
        }
        assert!(TaskError::meaning(python).ends_with("'encodings'"));
        assert!(TaskError::meaning(node).ends_with('}'));
        assert_eq!(TaskError::meaning("  <no Python frame>\n"), "  <no Python frame>", "something stays");
    }
}
