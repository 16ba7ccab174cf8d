use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;
use nexus_identity::{Did, claimed};

use crate::entry::{Entry, Kind, Verified};
use crate::error::FormError;
use crate::json;
use crate::payload::Leaf;
use crate::record::Dot;

/// The id of a task: the dot of the event that submitted it.
pub type TaskId = Dot;

/// The longest name of a capability, in bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// The longest input or output of a task, in bytes of JSON.
pub const TASK_JSON_BYTES_MAX: usize = 32 * 1024;
/// The longest name of an agent and the longest id of a request, in bytes.
pub const TASK_NAME_BYTES_MAX: usize = 128;
/// The longest text of an error or a reason, in bytes.
pub const TASK_ERROR_BYTES_MAX: usize = 2 * 1024;
/// The most tasks after which another one may come.
pub const TASK_AFTER_MAX: usize = 16;
/// The most attempts of a task.
pub const TASK_ATTEMPTS_MAX: u16 = 100;
/// The longest time of one attempt.
pub const TASK_ATTEMPT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The most heirs of a task.
pub const TASK_HEIRS_MAX: usize = 3;
/// The longest text of members that this version does not know, in bytes of JSON.
const MORE_BYTES_MAX: usize = 4 * 1024;

/// The secret of one claim: sixteen random bytes. Every later word about the attempt names it.
///
/// Text form: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TaskToken([u8; 16]);

impl TaskToken {
    /// A token from random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskToken({}…)", HEXLOWER.encode(&self.0[..4]))
    }
}

impl FromStr for TaskToken {
    type Err = BadTaskEvent;

    fn from_str(text: &str) -> Result<Self, BadTaskEvent> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| BadTaskEvent::Token)?;
        bytes.try_into().map(Self).map_err(|_| BadTaskEvent::Token)
    }
}

/// A broken rule of form of a task event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTaskEvent {
    /// The name of a capability.
    #[error("a capability has 1 to 64 of a-z, 0-9 and . _ - : /")]
    Capability,
    /// The token.
    #[error("a token has 32 hexadecimal digits")]
    Token,
    /// Input or output is no JSON.
    #[error("{0} is not JSON, or repeats a key in an object")]
    Json(&'static str),
    /// A text or a list is too long.
    #[error("{part} has {size}, at most {max} are allowed")]
    TooLarge {
        /// The part.
        part: &'static str,
        /// Its bytes or items.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The time of one attempt is out of range.
    #[error("an attempt takes from 1 ms to 7 days")]
    Attempt,
    /// The number of attempts is out of range.
    #[error("a task has 1 to 100 attempts")]
    Attempts,
    /// The tasks before it are not in order.
    #[error("the tasks before it are not ascending")]
    After,
}

impl From<BadTaskEvent> for FormError {
    fn from(bad: BadTaskEvent) -> Self {
        Self::Content(bad.to_string())
    }
}

/// Whether a text is the name of a capability.
pub fn is_capability(text: &str) -> bool {
    let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b':' | b'/');
    (1..=CAPABILITY_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal)
}

/// The order in which tasks are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Priority {
    /// After all others.
    Low = 0,
    /// The usual one.
    #[default]
    Normal = 1,
    /// Before the usual ones.
    High = 2,
    /// Before all others.
    Critical = 3,
}

impl Priority {
    /// All of them, in ascending order.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The word for it in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Work that is handed over. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Submission {
    /// The ability that its worker must have ([`is_capability`]).
    #[borsh(deserialize_with = "claimed::text")]
    pub capability: String,
    /// The input: JSON of at most [`TASK_JSON_BYTES_MAX`] bytes.
    #[borsh(deserialize_with = "claimed::text")]
    pub input: String,
    /// The only member that may work on it.
    pub to: Option<Did>,
    /// The order among tasks that wait.
    pub priority: Priority,
    /// The time of one attempt from its start, in milliseconds.
    pub attempt_ms: u64,
    /// The end of the whole task, in milliseconds since the epoch by the settler's clock.
    pub deadline_ms: Option<u64>,
    /// The number of attempts that may fail before the task has failed.
    pub attempts: u16,
    /// Whether an attempt is claimed by the coordinators, one at a time.
    pub once: bool,
    /// Whether somebody else must approve it first.
    pub needs_approval: bool,
    /// Whether a critical task may take its worker.
    pub preemptible: bool,
    /// The submitter's own id of the request; empty if there is none.
    #[borsh(deserialize_with = "claimed::text")]
    pub request: String,
    /// The program that submitted it; empty if it is not known.
    #[borsh(deserialize_with = "claimed::text")]
    pub agent: String,
    /// The tasks that must have succeeded first, ascending.
    pub after: Vec<TaskId>,
    /// The task that it repeats.
    pub retry_of: Option<TaskId>,
    /// A JSON object with further members, or empty. `heirs` is a list of at most [`TASK_HEIRS_MAX`] DIDs
    /// ([`heirs`](Self::heirs)), `sandbox` a text ([`sandbox`](Self::sandbox)), `rule` a text ([`rule`](Self::rule)),
    /// `deadline_in_ms` a number ([`deadline_in`](Self::deadline_in)). Others are of later versions.
    #[borsh(deserialize_with = "claimed::text")]
    pub more: String,
}

/// The members of [`Submission::more`] that this version knows.
#[derive(serde::Deserialize)]
struct More {
    #[serde(default)]
    heirs: Vec<String>,
    #[serde(default)]
    sandbox: Option<String>,
    #[serde(default)]
    deadline_in_ms: Option<u64>,
    #[serde(default)]
    rule: Option<String>,
}

/// The rule by which a task is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApprovalRule {
    /// `person`: a machine of the submitter's person, its own node among them, or an admin's node.
    Person,
    /// `other`: an admin's node that is neither of the submitter's line nor below it in any chain.
    Other,
    /// A rule of a later version. Nobody approves by it here.
    Later,
}

impl ApprovalRule {
    /// Its name, on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Other => "other",
            Self::Later => "later",
        }
    }
}

impl std::str::FromStr for ApprovalRule {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Person, Self::Other].into_iter().find(|rule| rule.as_str() == text).ok_or(())
    }
}

impl std::fmt::Display for ApprovalRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The members of [`Settlement::more`] that this version knows.
#[derive(serde::Deserialize)]
struct MoreOfEnd {
    #[serde(default)]
    worker: Option<String>,
    #[serde(default)]
    settler: Option<String>,
}

/// A JSON object with one more member.
fn with_member(more: &str, member: &str, value: serde_json::Value) -> String {
    let mut members: serde_json::Map<_, _> = serde_json::from_str(more).unwrap_or_default();
    members.insert(member.to_owned(), value);
    serde_json::Value::Object(members).to_string()
}

impl Submission {
    /// A task of a capability with an input and nothing special.
    pub fn new(capability: impl Into<String>, input: impl Into<String>) -> Self {
        Self {
            capability: capability.into(),
            input: input.into(),
            to: None,
            priority: Priority::default(),
            attempt_ms: 300_000,
            deadline_ms: None,
            attempts: 3,
            once: false,
            needs_approval: false,
            preemptible: false,
            request: String::new(),
            agent: String::new(),
            after: Vec::new(),
            retry_of: None,
            more: String::new(),
        }
    }

    /// The members whose nodes may settle it while its submitter's node is down, each once and without the submitter.
    ///
    /// A list that is too long or no list of DIDs names nobody, since earlier versions took any.
    pub fn heirs(&self, submitter: &Did) -> Vec<Did> {
        if self.once {
            return Vec::new();
        }
        let named = self.further().map(|more| more.heirs).unwrap_or_default();
        let heirs: Result<BTreeSet<Did>, _> = named.iter().take(TASK_HEIRS_MAX + 1).map(|did| did.parse()).collect();
        let heirs = heirs.ok().filter(|heirs| heirs.len() <= TASK_HEIRS_MAX).unwrap_or_default();
        heirs.into_iter().filter(|heir| heir != submitter).collect()
    }

    /// Names its heirs.
    #[must_use]
    pub fn with_heirs(self, heirs: &[Did]) -> Self {
        if heirs.is_empty() {
            return self;
        }
        let heirs: Vec<String> = heirs.iter().map(Did::to_string).collect();
        self.with("heirs", heirs.into())
    }

    /// The least confinement in which its worker's command may run, in words; `None` if any will do.
    ///
    /// A worker that does not know the word cannot promise it.
    pub fn sandbox(&self) -> Option<String> {
        self.further()?.sandbox
    }

    /// Asks for a confinement of its worker's command.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Option<&str>) -> Self {
        match sandbox {
            Some(sandbox) => self.with("sandbox", sandbox.into()),
            None => self,
        }
    }

    /// The rule by which it is approved. Submissions of earlier versions name none: [`ApprovalRule::Other`] is theirs.
    pub fn rule(&self) -> ApprovalRule {
        match self.further().and_then(|more| more.rule) {
            Some(rule) => rule.parse().unwrap_or(ApprovalRule::Later),
            None => ApprovalRule::Other,
        }
    }

    /// Names the rule by which it is approved.
    #[must_use]
    pub fn with_rule(self, rule: ApprovalRule) -> Self {
        self.with("rule", rule.as_str().into())
    }

    /// The time from its submission to its deadline, if its submitter gave that and an id of the request.
    pub fn deadline_in(&self) -> Option<Duration> {
        self.further()?.deadline_in_ms.map(Duration::from_millis)
    }

    /// Notes the time from its submission to its deadline, by which it is known if it is submitted again.
    #[must_use]
    pub fn with_deadline_in(self, time: Option<Duration>) -> Self {
        let ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        ms.map_or(self.clone(), |ms| self.with("deadline_in_ms", ms.into()))
    }

    fn further(&self) -> Option<More> {
        if self.more.is_empty() { None } else { serde_json::from_str(&self.more).ok() }
    }

    fn with(mut self, member: &str, value: serde_json::Value) -> Self {
        self.more = with_member(&self.more, member, value);
        self
    }

    /// Checks its rules of form.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self) -> Result<(), BadTaskEvent> {
        self.check_facts()?;
        is_json("the input", &self.input)
    }

    /// The rules of form that do not concern the input.
    fn check_facts(&self) -> Result<(), BadTaskEvent> {
        if !is_capability(&self.capability) {
            return Err(BadTaskEvent::Capability);
        }
        if !(1..=u64::try_from(TASK_ATTEMPT_MAX.as_millis()).unwrap_or(u64::MAX)).contains(&self.attempt_ms) {
            return Err(BadTaskEvent::Attempt);
        }
        if !(1..=TASK_ATTEMPTS_MAX).contains(&self.attempts) {
            return Err(BadTaskEvent::Attempts);
        }
        fits("the id of the request", self.request.len(), TASK_NAME_BYTES_MAX)?;
        fits("the name of the program", self.agent.len(), TASK_NAME_BYTES_MAX)?;
        fits("the list of tasks before it", self.after.len(), TASK_AFTER_MAX)?;
        if !self.after.is_sorted_by(|a, b| a < b) {
            return Err(BadTaskEvent::After);
        }
        is_more(&self.more)
    }
}

/// A worker has an attempt of a task, by the word of its settler. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskClaim {
    /// The task.
    pub task: TaskId,
    /// The settler's ownership.
    pub ownership: u32,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The token of the claim.
    pub token: TaskToken,
    /// The member whose node has the worker.
    pub worker: Did,
    /// The worker's name; empty if it has none.
    #[borsh(deserialize_with = "claimed::text")]
    pub agent: String,
}

/// The reason why an attempt is over and its task is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum ReturnCause {
    /// The worker said that it failed.
    Failed = 0,
    /// The worker was not heard of in time.
    Expired = 1,
    /// The worker gave it back.
    Released = 2,
    /// A critical task took its worker.
    Preempted = 3,
}

impl ReturnCause {
    /// The word for it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Preempted => "preempted",
        }
    }
}

/// An attempt is over and its task waits again, by the word of its settler.
///
/// The first one of an ownership makes its author the settler, and ends all attempts of earlier ownerships: its token is
/// that of the attempt that stands, or zeros. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskReturn {
    /// The task.
    pub task: TaskId,
    /// The settler's ownership.
    pub ownership: u32,
    /// The token of the claim.
    pub token: TaskToken,
    /// The cause.
    pub cause: ReturnCause,
    /// The error in words, at most [`TASK_ERROR_BYTES_MAX`] bytes; may be empty.
    #[borsh(deserialize_with = "claimed::text")]
    pub error: String,
}

/// The end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum TaskEnd {
    /// It was done.
    Succeeded = 0,
    /// It was tried and not done.
    Failed = 1,
    /// Somebody took it back.
    Cancelled = 2,
    /// An approver said no.
    Rejected = 3,
    /// Its deadline came first.
    DeadlineExceeded = 4,
    /// It may or may not have been done.
    Unknown = 5,
}

impl TaskEnd {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Succeeded, Self::Failed, Self::Cancelled, Self::Rejected, Self::DeadlineExceeded, Self::Unknown];

    /// The word for the state of a task with this end. A deadline that passed is a failure.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed | Self::DeadlineExceeded => "failed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// The end of a task by the word of its settler, or a result that its worker kept. Canonical bytes: borsh, fields in this
/// order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settlement {
    /// The task.
    pub task: TaskId,
    /// The settler's ownership.
    pub ownership: u32,
    /// The token of the claim whose result it is.
    pub token: Option<TaskToken>,
    /// The end.
    pub outcome: TaskEnd,
    /// The output: JSON of at most [`TASK_JSON_BYTES_MAX`] bytes; empty if there is none.
    #[borsh(deserialize_with = "claimed::text")]
    pub output: String,
    /// The error's code; empty if there is none.
    #[borsh(deserialize_with = "claimed::text")]
    pub code: String,
    /// The error in words, at most [`TASK_ERROR_BYTES_MAX`] bytes.
    #[borsh(deserialize_with = "claimed::text")]
    pub error: String,
    /// A JSON object with further members, or empty. `worker` is the DID of the member whose result it is, where the
    /// settler only keeps it ([`worker`](Self::worker)). `settler` is the DID of the member for which a worker's node
    /// keeps it ([`settler`](Self::settler)). Others are of later versions.
    #[borsh(deserialize_with = "claimed::text")]
    pub more: String,
}

impl Settlement {
    /// The member whose result a settler keeps beside the task's end; `None` if it is the settler's own word.
    pub fn worker(&self) -> Option<Did> {
        self.further()?.worker?.parse().ok()
    }

    /// The member for which a worker's node keeps this result; `None` if it is nobody's, or of an earlier version.
    pub fn settler(&self) -> Option<Did> {
        self.further()?.settler?.parse().ok()
    }

    /// Names the member whose result it is.
    #[must_use]
    pub fn of_worker(self, worker: &Did) -> Self {
        Self { more: with_member(&self.more, "worker", worker.to_string().into()), ..self }
    }

    /// Names the member for which it is kept.
    #[must_use]
    pub fn for_settler(self, settler: &Did) -> Self {
        Self { more: with_member(&self.more, "settler", settler.to_string().into()), ..self }
    }

    fn further(&self) -> Option<MoreOfEnd> {
        if self.more.is_empty() { None } else { serde_json::from_str(&self.more).ok() }
    }
}

/// A member's word about a task that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum TaskVerb {
    /// It may be done.
    Approve = 0,
    /// It must not be done.
    Reject = 1,
    /// It is to be done no more.
    Cancel = 2,
}

impl TaskVerb {
    /// The word for it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Cancel => "cancelled",
        }
    }
}

/// An approval, a rejection or a cancellation. The task's id is a hash of all that was submitted, so the word is about
/// exactly this. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskWord {
    /// The task.
    pub task: TaskId,
    /// The verb.
    pub verb: TaskVerb,
    /// The reason in words, at most [`TASK_ERROR_BYTES_MAX`] bytes; may be empty.
    #[borsh(deserialize_with = "claimed::text")]
    pub why: String,
}

/// An event of a task. Canonical bytes: its number, one byte, and the borsh encoding of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// 0: a task is submitted.
    Submitted(Box<Submission>),
    /// 1: a worker has it.
    Claimed(TaskClaim),
    /// 2: its worker has it no more.
    Returned(TaskReturn),
    /// 3: it is over.
    Settled(Box<Settlement>),
    /// 4: somebody else's word about it.
    Word(TaskWord),
    /// Any other number: an event of a later version, which changes nothing here.
    Later(u8),
}

impl TaskEvent {
    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`], or the first rule of form that is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let (number, rest) = bytes.split_first().ok_or(FormError::NotCanonical)?;
        let event = Self::read(*number, rest)?;
        event.check()?;
        Ok(event)
    }

    /// The last number of an event that this version knows.
    const KNOWN_MAX: u8 = 4;

    fn read(number: u8, rest: &[u8]) -> Result<Self, FormError> {
        fn read<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, FormError> {
            borsh::from_slice(bytes).map_err(|_| FormError::NotCanonical)
        }
        Ok(match number {
            0 => Self::Submitted(read(rest)?),
            1 => Self::Claimed(read(rest)?),
            2 => Self::Returned(read(rest)?),
            3 => Self::Settled(read(rest)?),
            4 => Self::Word(read(rest)?),
            later => Self::Later(later),
        })
    }

    /// The canonical bytes. One of a later version has none but its number.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = match self {
            Self::Submitted(submission) => borsh::to_writer(&mut bytes, &(0_u8, submission)),
            Self::Claimed(claim) => borsh::to_writer(&mut bytes, &(1_u8, claim)),
            Self::Returned(returned) => borsh::to_writer(&mut bytes, &(2_u8, returned)),
            Self::Settled(settlement) => borsh::to_writer(&mut bytes, &(3_u8, settlement)),
            Self::Word(word) => borsh::to_writer(&mut bytes, &(4_u8, word)),
            Self::Later(number) => borsh::to_writer(&mut bytes, number),
        };
        written.expect("an event encodes");
        bytes
    }

    /// The leaves of an entry of kind [`crate::Kind::TASKS_APART`] for this event: its facts, and its texts if it has any.
    ///
    /// The facts are the number, a byte that is 1 if texts follow and 0 else, and the content with empty texts. The texts
    /// are the byte 255 and each text in the order of its field.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn into_leaves(mut self) -> Vec<Vec<u8>> {
        let texts: Vec<String> = self.texts().into_iter().map(std::mem::take).collect();
        let has_texts = texts.iter().any(|text| !text.is_empty());
        let mut facts = self.encode();
        facts.insert(1, u8::from(has_texts));
        if !has_texts {
            return vec![facts];
        }
        let mut apart = vec![TEXTS];
        for text in &texts {
            borsh::to_writer(&mut apart, text).expect("a text encodes");
        }
        vec![facts, apart]
    }

    /// Reads an event from its leaves. `texts` is the leaf behind the facts: `None` if it was erased.
    fn from_leaves(facts: &[u8], texts: Option<&[u8]>) -> Result<(Self, Texts), FormError> {
        let [number, has_texts, rest @ ..] = facts else { return Err(FormError::NotCanonical) };
        if *number > Self::KNOWN_MAX {
            return Ok((Self::Later(*number), Texts::None));
        }
        let mut event = Self::read(*number, rest)?;
        let is_empty = event.texts().iter().all(|text| text.is_empty());
        let read = match (has_texts, texts) {
            (0, _) => Texts::None,
            (1, None) => Texts::Erased,
            (1, Some([TEXTS, apart @ ..])) => {
                let mut apart = apart;
                for text in event.texts() {
                    *text = claimed::text(&mut apart).map_err(|_| FormError::NotCanonical)?;
                }
                if !apart.is_empty() || event.texts().iter().all(|text| text.is_empty()) {
                    return Err(FormError::NotCanonical);
                }
                Texts::Here
            }
            _ => return Err(FormError::NotCanonical),
        };
        if !is_empty {
            return Err(FormError::NotCanonical);
        }
        match (&event, read) {
            (Self::Submitted(submission), Texts::Erased) => submission.check_facts()?,
            _ => event.check()?,
        }
        Ok((event, read))
    }

    /// The texts of it: people and programs wrote them, and they can be erased while its facts stay.
    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Submitted(submission) => vec![&mut submission.input],
            Self::Returned(returned) => vec![&mut returned.error],
            Self::Settled(settlement) => vec![&mut settlement.output, &mut settlement.error],
            Self::Word(word) => vec![&mut word.why],
            Self::Claimed(_) | Self::Later(_) => Vec::new(),
        }
    }

    /// Checks its rules of form.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self) -> Result<(), BadTaskEvent> {
        match self {
            Self::Submitted(submission) => submission.check(),
            Self::Claimed(claim) => fits("the name of the worker", claim.agent.len(), TASK_NAME_BYTES_MAX),
            Self::Returned(returned) => fits("the error", returned.error.len(), TASK_ERROR_BYTES_MAX),
            Self::Settled(settlement) => {
                if !settlement.output.is_empty() {
                    is_json("the output", &settlement.output)?;
                }
                fits("the error's code", settlement.code.len(), TASK_NAME_BYTES_MAX)?;
                fits("the error", settlement.error.len(), TASK_ERROR_BYTES_MAX)?;
                is_more(&settlement.more)
            }
            Self::Word(word) => fits("the reason", word.why.len(), TASK_ERROR_BYTES_MAX),
            Self::Later(_) => Ok(()),
        }
    }

    /// The task that it is about; `None` if it makes one, or is of a later version.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Submitted(_) | Self::Later(_) => None,
            Self::Claimed(claim) => Some(claim.task),
            Self::Returned(returned) => Some(returned.task),
            Self::Settled(settlement) => Some(settlement.task),
            Self::Word(word) => Some(word.task),
        }
    }
}

/// An event and its index in its entry: with the entry's id its dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedTaskEvent {
    /// The index of its leaf, or of the leaf of its facts, whatever else of the entry was erased.
    pub index: u16,
    /// The event.
    pub event: TaskEvent,
}

/// The first byte of a leaf of texts. No event has this number.
const TEXTS: u8 = u8::MAX;

/// Whether a leaf of an entry of kind [`crate::Kind::TASKS_APART`] has the facts of an event with texts, which are in the next
/// leaf.
pub(crate) const fn has_texts(leaf: &[u8]) -> bool {
    matches!(leaf, [number, 1, ..] if *number != TEXTS)
}

/// The texts of an event whose leaves were read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// It has none.
    None,
    /// They are here.
    Here,
    /// They were erased: they read as empty.
    Erased,
}

/// The events of an entry of kind [`crate::Kind::TASKS`] or [`crate::Kind::TASKS_APART`] that are here.
///
/// An entry of format 1 is one event. In format 2 an entry of kind `TASKS` has an event in each leaf. One of kind
/// `TASKS_APART` has the facts of an event in a leaf, and its texts in the next one. An event whose texts were erased has empty ones.
///
/// # Errors
/// The first rule of form that they break: the entry is quarantined. [`FormError::Absent`] if the payload is not here.
pub fn task_events_of(entry: &Entry) -> Result<Vec<PlacedTaskEvent>, FormError> {
    let leaves = entry.leaves().map_err(|_| FormError::NotCanonical)?;
    let placed = |(index, bytes): (u16, &[u8])| Ok(PlacedTaskEvent { index, event: TaskEvent::decode(bytes)? });
    match leaves {
        None => placed((0, entry.payload().ok_or(FormError::Absent)?)).map(|event| vec![event]),
        Some(leaves) if entry.header().kind == Kind::TASKS_APART => {
            let leaves: Vec<&Leaf<'_>> = leaves.iter().collect();
            let (mut events, mut at) = (Vec::new(), 0);
            // whether texts may come whose facts are not known here: those of an event that was erased, or of a later version
            let mut unknown = false;
            while let Some(leaf) = leaves.get(at) {
                let index = u16::try_from(at).map_err(|_| FormError::NotCanonical)?;
                at += 1;
                let next = leaves.get(at).copied();
                match leaf {
                    Leaf::Present { bytes: [TEXTS, ..], .. } if unknown => unknown = false,
                    Leaf::Present { bytes, .. } => {
                        let (event, texts) = TaskEvent::from_leaves(bytes, bytes_of(next))?;
                        at += usize::from(texts != Texts::None);
                        unknown = matches!(event, TaskEvent::Later(_));
                        events.push(PlacedTaskEvent { index, event });
                    }
                    Leaf::Erased(_) => unknown = true,
                }
            }
            Ok(events)
        }
        Some(leaves) => leaves.present().map(|(index, _, bytes)| placed((index, bytes))).collect(),
    }
}

/// The bytes of the leaf behind an event's facts, which are needed only if it has texts; `None` if they were erased.
fn bytes_of<'a>(leaf: Option<&Leaf<'a>>) -> Option<&'a [u8]> {
    match leaf {
        Some(Leaf::Present { bytes, .. }) => Some(bytes),
        Some(Leaf::Erased(_)) => None,
        // an event that names texts breaks a rule of form then
        None => Some(&[]),
    }
}

/// The same entry with the leaves of one event, all others erased: enough to show that its author said this.
pub fn task_event_alone(entry: Verified, index: u16) -> Verified {
    let next = index.saturating_add(1);
    let is_texts = |leaf: &Leaf<'_>| matches!(leaf, Leaf::Present { bytes: [TEXTS, ..], .. });
    let leaves = entry.leaves().ok().flatten().filter(|_| entry.header().kind == Kind::TASKS_APART);
    if leaves.is_some_and(|leaves| leaves.iter().nth(next.into()).is_some_and(is_texts)) {
        return entry.only(&[index, next]);
    }
    entry.only(&[index])
}

/// One event of an entry of kind [`crate::Kind::TASKS`] or [`crate::Kind::TASKS_APART`]; `None` if there is none at this
/// index, or it breaks a rule of form.
pub fn task_event_at(entry: &Entry, index: u16) -> Option<TaskEvent> {
    let Some(leaves) = entry.leaves().ok()? else {
        return TaskEvent::decode(entry.payload().filter(|_| index == 0)?).ok();
    };
    let mut leaves = leaves.iter().skip(index.into());
    let Leaf::Present { bytes, .. } = leaves.next()? else { return None };
    if entry.header().kind != Kind::TASKS_APART {
        return TaskEvent::decode(bytes).ok();
    }
    if bytes.first() == Some(&TEXTS) {
        return None;
    }
    TaskEvent::from_leaves(bytes, bytes_of(leaves.next())).ok().map(|(event, _)| event)
}

fn fits(part: &'static str, size: usize, max: usize) -> Result<(), BadTaskEvent> {
    if size <= max { Ok(()) } else { Err(BadTaskEvent::TooLarge { part, size, max }) }
}

fn is_json(part: &'static str, text: &str) -> Result<(), BadTaskEvent> {
    fits(part, text.len(), TASK_JSON_BYTES_MAX)?;
    if json::is_strict(text) { Ok(()) } else { Err(BadTaskEvent::Json(part)) }
}

fn is_more(text: &str) -> Result<(), BadTaskEvent> {
    const PART: &str = "the members of later versions";
    fits(PART, text.len(), MORE_BYTES_MAX)?;
    let is_object = text.is_empty() || text.starts_with('{') && json::is_strict(text);
    if is_object { Ok(()) } else { Err(BadTaskEvent::Json(PART)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::EntryId;
    use proptest::prelude::*;

    fn task() -> TaskId {
        Dot { entry: EntryId::of(b"a task"), index: 3 }
    }

    fn examples() -> Vec<TaskEvent> {
        let token = TaskToken::from_bytes([7; 16]);
        vec![
            TaskEvent::Submitted(Box::new(Submission::new("review.code", "{\"pr\":7}"))),
            TaskEvent::Claimed(TaskClaim {
                task: task(),
                ownership: 0,
                attempt: 1,
                token,
                worker: Did::from_bytes([1; 32]),
                agent: "codex".to_owned(),
            }),
            TaskEvent::Returned(TaskReturn {
                task: task(),
                ownership: 0,
                token,
                cause: ReturnCause::Expired,
                error: "not heard of".to_owned(),
            }),
            TaskEvent::Settled(Box::new(Settlement {
                task: task(),
                ownership: 0,
                token: Some(token),
                outcome: TaskEnd::Succeeded,
                output: "[1,2]".to_owned(),
                code: String::new(),
                error: String::new(),
                more: String::new(),
            })),
            TaskEvent::Word(TaskWord { task: task(), verb: TaskVerb::Approve, why: String::new() }),
        ]
    }

    #[test]
    fn events_are_read_as_they_were_written_and_nothing_else_is() {
        for event in examples() {
            let bytes = event.encode();
            assert_eq!(TaskEvent::decode(&bytes), Ok(event));
            for bad in [&bytes[..bytes.len() - 1], &[bytes.clone(), vec![0]].concat()] {
                assert!(TaskEvent::decode(bad).is_err());
            }
        }
        assert_eq!(TaskEvent::decode(&[]), Err(FormError::NotCanonical));
        assert_eq!(TaskEvent::decode(&[200, 1, 2]), Ok(TaskEvent::Later(200)), "of a later version");
    }

    /// An entry whose events have their texts apart.
    fn apart(leaves: Vec<Vec<u8>>) -> Verified {
        let key = nexus_identity::Keypair::from_seed(&[1; 32]);
        let mesh = key.did();
        let space = crate::SpaceId::tasks_of(&mesh);
        let log = crate::LogId { space, author: mesh, incarnation: crate::Incarnation([0; 8]) };
        let payload = crate::Content::Parts(leaves.into_iter().map(|leaf| ([5; 16], leaf)).collect());
        let (hlc, kind) = (crate::Hlc(1), Kind::TASKS_APART);
        Verified::write(crate::Draft { mesh, log, after: None, hlc, kind, refs: vec![], payload }, &key)
    }

    fn read(entry: &Entry) -> Vec<(u16, TaskEvent)> {
        let events = task_events_of(entry).unwrap();
        let events: Vec<(u16, TaskEvent)> = events.into_iter().map(|placed| (placed.index, placed.event)).collect();
        for (index, event) in &events {
            assert_eq!(task_event_at(entry, *index).as_ref(), Some(event));
        }
        events
    }

    /// promise: Tasks | The texts of an event can be erased while its facts stay, and the signed entry still verifies
    #[test]
    fn texts_stand_apart_from_facts_and_go_alone() {
        let entry = apart(examples().into_iter().flat_map(TaskEvent::into_leaves).collect());
        let all = read(&entry);
        assert_eq!(all.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), examples());
        // a claim and a word without a reason have no texts
        assert_eq!(all.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3, 5, 7]);
        for index in [1, 4, 6] {
            assert_eq!(task_event_at(&entry, index), None, "a leaf of texts is no event");
            let left = entry.clone().without(index);
            let verified = Entry::clone(&left).verify(&entry.header().mesh).unwrap();
            let (before, after) = (read(&entry), read(&verified));
            assert_eq!(before.len(), after.len());
            for ((at, event), (still_at, left)) in before.into_iter().zip(after) {
                assert_eq!(at, still_at);
                let mut without = event.clone();
                without.texts().into_iter().for_each(String::clear);
                assert_eq!(left, if at + 1 == index { without } else { event });
            }
        }
        // without its facts an event is gone, and its texts are nobody's
        let left = read(&entry.clone().without(5));
        assert_eq!(left.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3, 7]);
        for (index, event) in all {
            let alone = task_event_alone(entry.clone(), index);
            let verified = Entry::clone(&alone).verify(&entry.header().mesh).unwrap();
            assert_eq!(read(&verified), [(index, event)]);
        }
    }

    #[test]
    fn leaves_of_events_have_one_spelling() {
        let leaves = |event: &TaskEvent| event.clone().into_leaves();
        let of_kind = |leaves: &[Vec<u8>]| task_events_of(&apart(leaves.to_vec()));
        let [submitted, claimed, _, settled, word]: [TaskEvent; 5] = examples().try_into().unwrap();
        let (facts, texts) = (leaves(&submitted)[0].clone(), leaves(&submitted)[1].clone());
        for bad in [
            vec![facts.clone()],
            vec![facts.clone(), facts.clone()],
            vec![facts.clone(), [texts.clone(), vec![0]].concat()],
            vec![facts.clone(), texts[..texts.len() - 1].to_vec()],
            vec![facts.clone(), vec![TEXTS]],
            // texts that are all empty
            vec![[&[0, 1], &leaves(&claimed)[0][2..]].concat(), texts.clone()],
            // texts in the facts
            vec![[&[0, 1], &submitted.encode()[1..]].concat(), texts.clone()],
            vec![[&[0, 0], &submitted.encode()[1..]].concat()],
            // texts that nobody names
            vec![leaves(&claimed)[0].clone(), texts.clone(), Vec::new()],
            vec![vec![0]],
            vec![Vec::new()],
        ] {
            assert!(of_kind(&bad).is_err(), "{bad:?}");
        }
        // an event of a later version may have texts, too
        let later = of_kind(&[vec![99, 1, 7], texts, leaves(&word)[0].clone()]).unwrap();
        assert_eq!(later.iter().map(|placed| placed.index).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(leaves(&settled).len(), 2);
    }

    #[test]
    fn a_result_that_is_kept_names_whose_word_it_is() {
        let TaskEvent::Settled(settled) = examples().remove(3) else { panic!("a settlement") };
        let settler = nexus_identity::Keypair::from_seed(&[2; 32]).did();
        assert_eq!((settled.worker(), settled.settler()), (None, None));
        let kept = settled.clone().for_settler(&settler);
        assert_eq!((kept.worker(), kept.settler()), (None, Some(settler)));
        let late = Settlement { more: "{\"later\":1}".to_owned(), ..*settled }.of_worker(&settler);
        assert_eq!((late.worker(), late.settler()), (Some(settler), None));
        assert!(late.more.contains("later"));
        assert_eq!(Settlement { more: "{\"worker\":7}".to_owned(), ..late }.worker(), None);
    }

    /// promise: Tasks | A task with an unknown form of capability, an input that is no JSON or over 32 KiB, or a time that is none is refused with its rule
    #[test]
    fn a_submission_that_breaks_a_rule_is_refused() {
        let good = Submission::new("a", "null");
        assert_eq!(good.check(), Ok(()));
        let broken = |change: fn(&mut Submission)| {
            let mut bad = good.clone();
            change(&mut bad);
            let rule = bad.check().expect_err("refused");
            assert!(TaskEvent::decode(&TaskEvent::Submitted(Box::new(bad)).encode()).is_err(), "{rule}");
            rule
        };
        assert_eq!(broken(|bad| bad.capability = String::new()), BadTaskEvent::Capability);
        assert_eq!(broken(|bad| bad.capability = "Two Words".to_owned()), BadTaskEvent::Capability);
        assert_eq!(broken(|bad| bad.capability = "a".repeat(65)), BadTaskEvent::Capability);
        assert_eq!(broken(|bad| bad.input = "{\"a\":1,\"a\":2}".to_owned()), BadTaskEvent::Json("the input"));
        assert!(matches!(
            broken(|bad| bad.input = format!("\"{}\"", "x".repeat(TASK_JSON_BYTES_MAX))),
            BadTaskEvent::TooLarge { .. }
        ));
        assert_eq!(broken(|bad| bad.attempt_ms = 0), BadTaskEvent::Attempt);
        assert_eq!(broken(|bad| bad.attempt_ms = u64::MAX), BadTaskEvent::Attempt);
        assert_eq!(broken(|bad| bad.attempts = 0), BadTaskEvent::Attempts);
        assert_eq!(broken(|bad| bad.after = vec![task(), task()]), BadTaskEvent::After);
        assert!(matches!(broken(|bad| bad.request = "r".repeat(129)), BadTaskEvent::TooLarge { .. }));
        assert!(matches!(broken(|bad| bad.more = "[]".to_owned()), BadTaskEvent::Json(_)));
    }

    #[test]
    fn heirs_are_read_from_what_was_submitted() {
        let did = |n| nexus_identity::Keypair::from_seed(&[n; 32]).did();
        let named = Submission::new("a", "1").with_heirs(&[did(2), did(1), did(9)]);
        assert_eq!(named.check(), Ok(()));
        assert_eq!(named.heirs(&did(9)), BTreeSet::from([did(1), did(2)]).into_iter().collect::<Vec<Did>>());
        assert!(Submission { once: true, ..named }.heirs(&did(9)).is_empty());
        for more in ["{\"heirs\":7}", "{\"heirs\":[\"bob\"]}", "{\"later\":1}", ""] {
            assert!(
                Submission { more: more.to_owned(), ..Submission::new("a", "1") }.heirs(&did(9)).is_empty(),
                "{more}"
            );
        }
        let both = Submission::new("a", "1").with_heirs(&[did(1)]).with_sandbox(Some("kernel"));
        assert_eq!((both.heirs(&did(9)), both.sandbox().as_deref()), (vec![did(1)], Some("kernel")));
        assert_eq!((both.check(), Submission::new("a", "1").sandbox()), (Ok(()), None));
        let four: Vec<Did> = (1..=4).map(did).collect();
        assert!(Submission::new("a", "1").with_heirs(&four).heirs(&did(9)).is_empty());
    }

    #[test]
    fn a_token_is_read_from_its_text() {
        let token = TaskToken::from_bytes([0xab; 16]);
        assert_eq!(token.to_string().parse(), Ok(token));
        assert_eq!("ab".parse::<TaskToken>(), Err(BadTaskEvent::Token));
    }

    proptest! {
        #[test]
        fn bytes_of_strangers_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(event) = TaskEvent::decode(&bytes) && !matches!(event, TaskEvent::Later(_)) {
                prop_assert_eq!(event.encode(), bytes);
            }
        }
    }
}
