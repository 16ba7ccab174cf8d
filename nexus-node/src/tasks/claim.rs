//! Questions of workers for work, and their words about it.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_crdt::{ApprovalRule, JsonText, TaskToken};
use serde_json::Value;

use super::once::TaskFence;
use super::task::Task;

/// The most capabilities of a worker.
pub(super) const CAPABILITIES_MAX: usize = 64;

/// A worker's question for work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimQuery {
    /// Its abilities: 1 to 64.
    pub capabilities: BTreeSet<String>,
    /// Its name.
    pub agent: Option<String>,
    /// The longest wait for work; at most 60 s.
    pub wait: Duration,
    /// The time without a word after which its claim is over: 1 s to 7 days; default 30 s.
    pub lease: Duration,
    /// The members whose tasks it takes beside those of its own node: DIDs, names, or the roles `admin` and `member`.
    /// Without any, those of admins.
    pub from: Vec<String>,
    /// Above this use of the processors it gets no work, in percent; 100 for no bound. Only Linux can tell.
    pub cpu_max: u8,
    /// The same of memory.
    pub memory_max: u8,
    /// The rule on which it insists: it takes only tasks that somebody approved who may by that rule. By
    /// [`ApprovalRule::Person`] that is the task's own rule.
    pub approved_by: Option<ApprovalRule>,
    /// The JSON schema of the inputs that it takes, at most [`SCHEMA_BYTES_MAX`](super::SCHEMA_BYTES_MAX) bytes, without references to other
    /// documents. A task with another input fails (`input_mismatch`).
    pub input_schema: Option<Value>,
    /// The same of its outputs (`output_mismatch`).
    pub output_schema: Option<Value>,
    /// Whether an input that is in a blob is put in its place; default true. A task whose input nobody in reach has fails
    /// (`input_missing`).
    pub whole_input: bool,
}

impl ClaimQuery {
    /// A worker with one ability that waits 30 s for work.
    pub fn of(capability: impl Into<String>) -> Self {
        let (wait, lease) = (Duration::from_secs(30), Duration::from_secs(30));
        let (capabilities, from) = (BTreeSet::from([capability.into()]), Vec::new());
        let (input_schema, output_schema) = (None, None);
        Self {
            capabilities,
            agent: None,
            wait,
            lease,
            from,
            cpu_max: 100,
            memory_max: 100,
            approved_by: None,
            input_schema,
            output_schema,
            whole_input: true,
        }
    }

    /// With another ability, too.
    #[must_use]
    pub fn and(mut self, capability: impl Into<String>) -> Self {
        self.capabilities.insert(capability.into());
        self
    }

    /// Sets its name.
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = Some(name.into());
        self
    }

    /// It takes tasks of this member, too: a DID, a name, or the role `admin` or `member`.
    #[must_use]
    pub fn from(mut self, member: impl Into<String>) -> Self {
        self.from.push(member.into());
        self
    }

    /// It takes only tasks that somebody approved who may by this rule; by [`ApprovalRule::Person`], by the task's own.
    #[must_use]
    pub const fn approved_by(mut self, rule: ApprovalRule) -> Self {
        self.approved_by = Some(rule);
        self
    }

    /// It gets no work while its machine uses more of its processors or memory than this, in percent.
    #[must_use]
    pub const fn load_max(mut self, cpu: u8, memory: u8) -> Self {
        (self.cpu_max, self.memory_max) = (cpu, memory);
        self
    }

    /// It gets what stands for an input in a blob, and not the input ([`TaskBoard::whole`](crate::TaskBoard::whole)).
    #[must_use]
    pub const fn without_blobs(mut self) -> Self {
        self.whole_input = false;
        self
    }

    /// Sets the longest wait.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the time without a word after which its claim is over.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

/// A task that a worker has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClaimedTask {
    /// The task.
    pub task: Task,
    /// The token of the claim: each later word about it names it.
    pub token: TaskToken,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The time without a word after which the claim is over.
    pub lease: Duration,
    /// The right to its effects, of a task that is done once.
    pub fence: Option<TaskFence>,
}

/// A claim that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewal {
    /// The time from now on without a word after which it is over.
    pub lease: Duration,
    /// The rest of the attempt's time.
    pub left: Duration,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskResult {
    /// It was done, with this output of at most 4 MiB as JSON; above 32 KiB a blob has it. Readers get the text as it is here.
    Succeeded(JsonText),
    /// It was not done.
    Failed {
        /// A word for scripts, of at most 128 bytes.
        code: String,
        /// The error in words; more than 2 KiB are cut off.
        message: String,
    },
    /// The worker gives it back untried; this counts as no attempt.
    Released,
}
