//! The settler: it alone has the scheduler of this node, writes what that decides, and says who has a task and that it is over.
//!
//! Others call this handle. None of them sees the scheduler: each method takes its lock for one step.
//!
//! | file | content |
//! |---|---|
//! | `heirs` | the part of this node in tasks with heirs |
//! | `held` | the state behind its lock |
//! | `hand_out` | the loop that writes what the scheduler decides |
//! | `moving` | tasks with heirs, which another node settles while their submitter's is down |
//! | `rights` | the right to a task that is done once |
//! | `offers` | offers to other nodes, and the words of these |
//! | `shown` | its knowledge of a task, for those who look |

mod hand_out;
mod heirs;
mod held;
mod moving;
mod offers;
mod rights;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{TASK_ERROR_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskId, TaskToken};
use nexus_identity::Did;
use tokio::sync::{Notify, oneshot, watch};

use self::held::Held;
pub(super) use self::held::{Assigned, bounded};
use super::agent::Agent;
use super::attached::Attachments;
use super::claim::{Renewal, TaskResult};
use super::here::Here;
use super::scheduler::approved::{Approved, WorkersElsewhere};
use super::scheduler::core::{Call, CallId, Choice, Fault, NotHeld, Said, Scheduler};
use super::scheduler::parked::PARKED_MAX;
use super::task::{TaskProgress, cut};
use super::why::AgentRest;
use crate::critical::Critical;
use crate::error::{AccessError, NodeError};
use crate::load::Load;
use crate::memory::read::Reader;
use crate::store::View;
use crate::world::random;

/// The most tasks of this node that have not ended.
const OPEN_MAX: usize = 100_000;
/// The most workers of this node that wait for work.
const CALLS_MAX: usize = 1_000;
/// So many tokens are drawn at a time, since the scheduler draws no random numbers.
const TOKENS: usize = 128;
/// The most events that are written together.
const BATCH_MAX: usize = 256;

/// A handle to the settler of this node, cheap to clone.
#[derive(Clone)]
pub(super) struct Settler(Arc<Inner>);

struct Inner {
    here: Here,
    attachments: Attachments,
    held: Mutex<Held>,
    /// There may be something to write.
    wake: Notify,
    /// Other workers wait than before.
    calls: Notify,
    /// A task waits for a quorum of the coordinators.
    once: Notify,
    /// There may be tasks with heirs.
    moving: Notify,
    /// Whether the open tasks of this node are taken up: before that nobody knows which claims stand.
    taken_up: watch::Sender<bool>,
}

/// A worker that was taken for another node's task.
pub(super) struct TakenWorker {
    pub(super) agent: String,
    pub(super) lease: Duration,
    /// Where it waits, unless it is gone.
    pub(super) caller: Option<oneshot::Sender<Assigned>>,
}

/// An attempt that ended, until that is written.
pub(super) struct Ending {
    pub(super) written: oneshot::Receiver<bool>,
    /// The rest that its worker has from now on.
    pub(super) rest: Option<AgentRest>,
}

impl Settler {
    pub(super) fn new(here: Here, attachments: Attachments) -> Self {
        let [wake, calls, once, moving] = std::array::from_fn(|_| Notify::new());
        let held = Mutex::new(Held::new(Scheduler::of(here.me(), here.routing)));
        let taken_up = watch::Sender::new(false);
        Self(Arc::new(Inner { here, attachments, held, wake, calls, once, moving, taken_up }))
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
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.core.tokens() < TOKENS {
            let drawn: [u8; 16 * TOKENS] = random();
            let (tokens, _) = drawn.as_chunks::<16>();
            held.core.give_tokens(tokens.iter().map(|bytes| TaskToken::from_bytes(*bytes)));
        }
        held
    }

    fn wake(&self) {
        self.0.wake.notify_one();
    }

    fn critical(&self) -> Result<Critical, NodeError> {
        self.0.here.critical()
    }

    /// Reads a committed state, off the tasks that answer.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self, &dyn View, &Reader<'_>) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let settler = self.clone();
        self.0.here.reading(move |view, reader| read(&settler, view, reader)).await
    }

    /// Waits until this node knows which claims stand, right after its start.
    pub(super) async fn until_taken_up(&self) {
        // the sender lives as long as this handle
        let _ = self.0.taken_up.subscribe().wait_for(|taken_up| *taken_up).await;
    }

    /// Whether this node may have one more open task.
    ///
    /// # Errors
    /// [`AccessError::TooManyTasks`].
    pub(super) fn has_room(&self) -> Result<(), AccessError> {
        let (open, parked) = {
            let held = self.held();
            (held.core.len(), held.parked.len())
        };
        let full = [(open, OPEN_MAX), (parked, PARKED_MAX)].into_iter().find(|(count, max)| count >= max);
        full.map_or(Ok(()), |(_, max)| Err(AccessError::TooManyTasks { max }))
    }

    /// Whether this node hands a task out, and has taken it up.
    pub(super) fn has(&self, task: TaskId) -> bool {
        self.held().core.has(task)
    }

    /// Somebody has said something of a task.
    pub(super) fn look_at_soon(&self, task: TaskId) {
        self.held().said.insert(task);
        self.wake();
    }
}

/// The workers of this node.
impl Settler {
    /// A worker asks for work.
    ///
    /// # Errors
    /// [`AccessError::TooManyWorkers`].
    pub(super) fn call(&self, call: Call, assign: oneshot::Sender<Assigned>) -> Result<CallId, AccessError> {
        let mut held = self.held();
        if held.callers.len() >= CALLS_MAX {
            return Err(AccessError::TooManyWorkers { max: CALLS_MAX });
        }
        let id = held.core.call(call, self.now());
        held.callers.insert(id, assign);
        drop(held);
        self.wake();
        self.0.calls.notify_one();
        Ok(id)
    }

    /// A worker asks no longer. Returns whether nothing was on its way to it.
    pub(super) fn hang_up(&self, call: CallId) -> bool {
        let mut held = self.held();
        let waited = held.core.hang_up(call);
        if waited {
            held.callers.remove(&call);
            drop(held);
            self.0.calls.notify_one();
        }
        waited
    }

    /// The connection on which a worker was heard of has ended.
    pub(super) fn disconnected(&self, task: TaskId, token: TaskToken) {
        let now = self.now();
        self.held().core.disconnected(task, token, now);
        self.wake();
    }

    /// The word of a worker that it lives.
    pub(super) fn heard(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<&TaskProgress>,
    ) -> Result<Renewal, NotHeld> {
        let now = self.now();
        let mut held = self.held();
        let standing = held.core.heard(task, token, now)?;
        if let Some(progress) = progress {
            held.note_progress(task, progress);
        }
        Ok(Renewal { lease: standing.lease, left: standing.attempt_left })
    }

    /// The word of a worker of what came of its attempt.
    pub(super) fn take_result(
        &self,
        task: TaskId,
        token: TaskToken,
        result: &TaskResult,
        output: &str,
    ) -> Result<Ending, NotHeld> {
        let now = self.now();
        let mut held = self.held();
        let taken = match result {
            TaskResult::Succeeded(_) => held.core.succeed(task, token, output.to_owned(), now),
            TaskResult::Failed { code, message } => {
                let code = if code.is_empty() { "failed".to_owned() } else { cut(code, TASK_NAME_BYTES_MAX) };
                held.core.fail(task, token, Fault { code, error: cut(message, TASK_ERROR_BYTES_MAX) }, now)
            }
            TaskResult::Released => held.core.release(task, token, now),
        };
        let rest = held.core.rest_after(task, now).filter(|_| matches!(result, TaskResult::Failed { .. }));
        let rest = rest.map(|rest| rest.at(now, self.here().world.wall()));
        taken?;
        let written = held.until_end(task);
        drop(held);
        self.wake();
        Ok(Ending { written, rest })
    }

    /// A worker gives back what it could not begin.
    pub(super) fn release(&self, task: TaskId, token: TaskToken) {
        let now = self.now();
        // another one may have it by now
        let _ = self.held().core.release(task, token, now);
        self.wake();
    }

    /// Nobody knows what became of an attempt of a worker here.
    pub(super) fn lose(&self, task: TaskId, token: TaskToken) {
        let now = self.now();
        // its claim may be over
        let _ = self.held().core.lose(task, token, now);
        self.wake();
    }

    pub(super) fn is_running(&self, task: TaskId, token: TaskToken) -> bool {
        self.held().core.is_running(task, token)
    }

    /// The number of the attempt that a worker makes by this claim, from 1.
    pub(super) fn attempt_of(&self, task: TaskId, token: TaskToken) -> Option<u32> {
        self.held().core.attempt_of(task, token)
    }

    /// Waits for the end of a claim or of a task: it hears whether that was written.
    pub(super) fn until_end(&self, task: TaskId) -> oneshot::Receiver<bool> {
        self.held().until_end(task)
    }

    /// Takes the worker that has waited longest for a task of one of these members, approved so far.
    pub(super) fn take_worker(
        &self,
        capability: &str,
        whose: &[(Did, bool)],
        approved: Approved,
    ) -> Option<TakenWorker> {
        let mut held = self.held();
        let (call, Call { holder, lease, .. }) = held.core.take_offer(capability, whose, approved)?;
        let caller = held.callers.remove(&call);
        Some(TakenWorker { agent: holder.agent, lease, caller })
    }

    /// Fewer workers wait, or others.
    pub(super) fn calls_changed(&self) {
        self.0.calls.notify_one();
    }

    pub(super) async fn until_calls_change(&self) {
        self.0.calls.notified().await;
    }

    /// Whether workers of this node wait for work.
    pub(super) fn has_callers(&self) -> bool {
        self.held().core.has_callers()
    }

    /// The workers that wait here for tasks which another member hands out, by capability: its own ones, and those of the
    /// submitters whose heir it is.
    pub(super) fn waiting_for(
        &self,
        member: (&Did, bool),
        submitters: &[(Did, bool)],
    ) -> BTreeMap<String, WorkersElsewhere> {
        self.held().core.waiting_for(member, submitters)
    }

    /// The workers of this node that wait for work or do some of its own tasks, by name.
    pub(super) fn agents_here(&self) -> BTreeMap<String, Agent> {
        let (now, wall) = (self.now(), self.here().world.wall());
        self.held().core.agents_here(now, wall)
    }

    pub(super) fn load(&self) -> Load {
        self.held().core.load()
    }

    /// The machine has this load.
    pub(super) fn set_load(&self, load: Load) {
        let (now, mut held) = (self.now(), self.held());
        if held.core.load() != load {
            held.core.set_load(load, now);
            drop(held);
            self.wake();
            self.0.calls.notify_one();
        }
    }
}

/// The workers of other nodes.
impl Settler {
    /// The workers of other nodes, by their nodes' words.
    pub(super) fn agents_elsewhere(&self) -> Vec<Agent> {
        let (now, wall) = (self.now(), self.here().world.wall());
        self.held().core.agents_elsewhere(now, wall).collect()
    }

    /// Lets go of what nodes said that are connected no more.
    pub(super) fn keep_nodes(&self, connected: &BTreeSet<Did>) {
        let mut held = self.held();
        let gone: Vec<Did> = held.core.nodes_elsewhere().difference(connected).copied().collect();
        gone.iter().for_each(|peer| held.core.is_gone(peer));
    }

    /// Another node says what its workers are. Returns whether it is not known how long messages take to it.
    pub(super) fn hear_of(&self, peer: Did, said: Said) -> bool {
        let mut held = self.held();
        held.core.hear_of(peer, said);
        held.core.lacks_way_to(&peer)
    }

    /// An answer of another node came after so long.
    pub(super) fn answered(&self, peer: &Did, round_trip: Duration) {
        self.held().core.answered(peer, round_trip);
    }

    /// The nodes with workers for a task of this node, and why each has it or not.
    pub(super) fn explain(&self, task: TaskId) -> Vec<Choice> {
        let now = self.now();
        self.held().core.explain(task, now)
    }
}
