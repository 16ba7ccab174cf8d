//! The tasks of other nodes that workers here have. This node says again and again that their workers live, and in the end
//! what came of each attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use nexus_crdt::{
    Settlement, SpaceId, TASK_ERROR_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskEnd, TaskEvent, TaskId, TaskToken,
};
use nexus_identity::Did;
use tokio::sync::{Notify, broadcast, oneshot};

use super::claim::{Renewal, TaskResult};
use super::here::Here;
use super::offered::OfferedTask;
use super::read::{Rights, find, some, submitted};
use super::scheduler::approved::{Approved, WorkersElsewhere};
use super::scheduler::core::{AFTER_HANG_UP, Fault, LEASE_ELSEWHERE};
use super::scheduler::records::{REST, Rest};
use super::settler::{Assigned, Settler, TakenWorker, bounded};
use super::task::{Assignee, Task, TaskProgress, TaskRef, TaskStatus, cut};
use super::why::{AgentRest, Waits};
use super::wire::{Answer, Attempt, Body, CLAIMS_MAX, Came, Claim, Claims, Offer};
use crate::engine::TaskAnswer;
use crate::error::{AccessError, ConflictError, NodeError};

/// Claims are renewed three times in a lease.
const BEAT: Duration = Duration::from_secs(5);
/// News of workers here go to their settlers this often at most.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for the entries of a task that a node of an earlier version offers.
const SYNC_MAX: Duration = Duration::from_secs(2);

/// A task of another node that a worker here has.
struct Guest {
    settler: Did,
    token: TaskToken,
    task: Task,
    space: SpaceId,
    lease: Duration,
    attempt_until: Duration,
    /// The end of the worker's lease, moved by each of its words.
    worker_until: Duration,
    /// The end of the claim, counted from when the last renewal that its settler accepted was sent.
    accepted_until: Duration,
    progress: Option<TaskProgress>,
    /// Whether its settler has not heard of that.
    is_news: bool,
    /// Those who wait for the end of this claim. They hear it when the guest is dropped.
    waiting: Vec<oneshot::Sender<bool>>,
}

impl Guest {
    /// The name of the worker that has it; empty if it has none.
    fn agent(&self) -> &str {
        self.task.assigned_to.as_ref().and_then(|worker| worker.agent.as_deref()).unwrap_or_default()
    }
}

/// A handle to the guests of this node, cheap to clone.
#[derive(Clone)]
pub(super) struct Guests(Arc<Inner>);

struct Inner {
    here: Here,
    settler: Settler,
    held: Mutex<Held>,
    /// A task of another node is here, or its worker's connection has ended.
    changed: Notify,
}

#[derive(Default)]
struct Held {
    /// The tasks, by their claims. Several settlers of one task may claim it.
    guests: BTreeMap<(TaskId, TaskToken), Guest>,
    /// The peers that offered a task since they were told which workers wait.
    offered: BTreeSet<Did>,
}

impl Guests {
    pub(super) fn new(here: Here, settler: Settler) -> Self {
        Self(Arc::new(Inner { here, settler, held: Mutex::default(), changed: Notify::new() }))
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

    /// Gives a peer's task to a worker that waits here, if signed entries show whose it is and that the peer claimed it for
    /// this node. Returns the worker's name.
    pub(super) async fn hear_offer(&self, peer: Did, offer: Offer) -> Option<String> {
        let Offer { claim, entries, .. } = offer;
        let (task, token) = claim?.read()?;
        let (mesh, me) = (self.here().identity.mesh(), self.me());
        let offered = match entries.is_empty() {
            false => OfferedTask::of_entries(entries, (task, token), (mesh, peer, me)),
            // of an earlier version: this node waits a moment for the entries
            true => self.offered_in_ledger(peer, task, token).await,
        };
        let offered = match offered {
            Some(offered) => self.may_begin(&offered).await.map(|approved| (approved, offered)),
            None => None,
        };
        if offered.is_none() {
            tracing::debug!(%task, peer = %peer.short(), "a task is offered without the entries that show whose it is");
        }
        self.take_offer(peer, (task, token), offered?)
    }

    /// How far a task is approved, if its submitter may write in its space, this node may read there, and somebody who may
    /// approve it did, if it needs that.
    async fn may_begin(&self, offered: &OfferedTask) -> Option<Approved> {
        let space = self.here().rule_of(offered.space).await.ok()??;
        let (members, submitter) = (self.here().identity.members(), offered.submitter);
        let rights = Rights::on(&offered.submission, submitter, space, &members);
        let is_member = members.may_write(&submitter, &space) || members.has_ended(&submitter);
        let approved = offered.approved(&rights);
        (is_member
            && members.may_read(&self.me(), &space)
            && (approved > Approved::Not || !offered.submission.needs_approval))
            .then_some(approved)
    }

    /// An offered task as this node's ledger has it, which may take a moment.
    async fn offered_in_ledger(&self, peer: Did, task: TaskId, token: TaskToken) -> Option<OfferedTask> {
        let mut heard = self.here().engine.tasks();
        let until = self.now() + SYNC_MAX;
        loop {
            let me = self.me();
            let offered = self.here().reading(move |view, reader| match find(view, reader, task)? {
                Some(found) => OfferedTask::of_ledger(view, found, token, (peer, me)),
                None => Ok(None),
            });
            if let Some(offered) = offered.await.ok()? {
                return Some(offered);
            }
            loop {
                tokio::select! {
                    news = heard.recv() => match news {
                        Ok((of, _)) if of != task => {}
                        Err(broadcast::error::RecvError::Closed) => return None,
                        Ok(_) | Err(_) => break,
                    },
                    () = self.here().world.sleep_until(until) => return None,
                }
            }
        }
    }

    /// Gives a peer's task to a worker that waits here, and insists on no more than its approval. Returns the worker's name.
    fn take_offer(
        &self,
        peer: Did,
        (task, token): (TaskId, TaskToken),
        (approved, offered): (Approved, OfferedTask),
    ) -> Option<String> {
        let OfferedTask { submission, submitter, submitted_at, space, claim, .. } = offered;
        let whose = (submitter, self.here().identity.name_of(&submitter));
        let given = submitted(task, submission, whose, submitted_at.time(), "tasks".to_owned());
        let settler_name = self.here().identity.name_of(&peer);
        let given = Task { settler: peer, settler_name, ..given };
        let attempt = claim.attempt;
        // a submitter that names an heir trusts it with its tasks; those of this node come back to it
        let whose = [peer, submitter].into_iter().filter(|member| *member != self.me());
        let whose: Vec<(Did, bool)> = whose.map(|member| (member, self.here().is_trusted(&member))).collect();
        let now = self.now();
        let mut held = self.held();
        held.offered.insert(peer);
        self.0.settler.calls_changed();
        // an heir may offer the same task: it keeps its other settlers' offers from no worker
        if held.guests_of(task).any(|guest| guest.settler == peer || guest.token == token) || self.0.settler.has(task) {
            return None;
        }
        if held.running_for(&peer, &given.capability) >= self.here().bulkhead {
            return None;
        }
        loop {
            let TakenWorker { agent, lease, caller } =
                self.0.settler.take_worker(&given.capability, &whose, approved)?;
            let worker = Assignee { node: self.me(), name: None, agent: some(&agent) };
            let guest = Guest {
                settler: peer,
                token,
                task: Task { status: TaskStatus::Running, assigned_to: Some(worker), claims: attempt, ..given.clone() },
                space,
                lease,
                attempt_until: now.saturating_add(given.timeout),
                worker_until: now.saturating_add(lease),
                accepted_until: now + LEASE_ELSEWHERE,
                progress: None,
                is_news: false,
                waiting: Vec::new(),
            };
            held.guests.insert((task, token), guest);
            if caller.is_some_and(|caller| caller.send(Assigned { task, token, attempt }).is_ok()) {
                drop(held);
                self.0.changed.notify_one();
                return Some(agent);
            }
            held.guests.remove(&(task, token));
        }
    }

    /// Leaves of the workers that wait for a peer's tasks as many as may have one, so that no member takes all.
    pub(super) fn keep_bulkheads(&self, peer: &Did, waiting: &mut BTreeMap<String, WorkersElsewhere>) {
        let held = self.held();
        waiting.retain(|capability, waits| {
            let left = self.here().bulkhead.saturating_sub(held.running_for(peer, capability));
            waits.truncate(u32::try_from(left).unwrap_or(u32::MAX));
            !waits.is_empty()
        });
    }

    /// Says for the workers here that they live, and lets go of those that do not, until the node ends.
    pub(super) async fn keep(self) {
        let (mut beat, mut last) = (Duration::ZERO, None::<Duration>);
        // it closes with the engine
        let mut members = self.here().identity.follow();
        loop {
            let now = self.now();
            let (lost, next) = {
                let mut held = self.held();
                let dead = |guest: &Guest| guest.worker_until <= now || guest.accepted_until <= now;
                let dead: Vec<(TaskId, TaskToken)> =
                    held.guests.iter().filter(|(_, guest)| dead(guest)).map(|(claim, _)| *claim).collect();
                let lost: Vec<Guest> = dead.into_iter().filter_map(|(task, token)| held.let_go(task, token)).collect();
                let ends = held.guests.values().map(|guest| guest.worker_until.min(guest.accepted_until)).min();
                if held.guests.values().any(|guest| guest.is_news) {
                    beat = beat.min(last.map_or(now, |last| last + NEWS_EVERY));
                }
                (lost, ends.map_or(Duration::MAX, |end| end.min(beat)))
            };
            for guest in lost {
                let guests = self.clone();
                self.here().world.spawn("task lost", async move { guests.tell_lost(&guest).await });
            }
            tokio::select! {
                () = self.0.changed.notified() => {}
                changed = members.changed() => if changed.is_err() { return },
                () = self.here().world.sleep_until(next) => {}
            }
            if self.now() >= beat {
                (beat, last) = (self.now() + BEAT, Some(self.now()));
                self.renew().await;
            }
        }
    }

    async fn renew(&self) {
        let mut of: BTreeMap<Did, Vec<Claim>> = BTreeMap::new();
        for ((task, token), guest) in &mut self.held().guests {
            guest.is_news = false;
            let mut claim = Claim::new(*task, *token);
            if let Some(TaskProgress { percent, text }) = &guest.progress {
                claim.percent = percent.map_or(0, |percent| u32::from(percent) + 1);
                claim.text.clone_from(text);
            }
            let claims = of.entry(guest.settler).or_default();
            if claims.len() < CLAIMS_MAX {
                claims.push(claim);
            }
        }
        let asked = of.into_iter().map(|(settler, claims)| async move {
            // counted from here: the settler may have heard it as early
            let sent = self.now();
            let alive = Body::Alive(Claims { claims: claims.clone() });
            let Ok(Some(Body::Over(Claims { claims: over }))) = self.here().ask(settler, alive).await else { return };
            let over: BTreeSet<(TaskId, TaskToken)> = over.iter().filter_map(Claim::read).collect();
            let mut held = self.held();
            for (task, token) in claims.iter().filter_map(Claim::read) {
                let Some(guest) = held.guests.get_mut(&(task, token)) else { continue };
                guest.accepted_until = sent + LEASE_ELSEWHERE;
                if over.contains(&(task, token)) {
                    held.let_go(task, token);
                }
            }
        });
        join_all(asked).await;
    }

    /// The word of a worker here that has another node's task; `None` if the task is of this node.
    pub(super) fn heard(&self, task: TaskId, token: TaskToken, progress: Option<&TaskProgress>) -> Option<Renewal> {
        let now = self.now();
        let mut held = self.held();
        let guest = held.guests.get_mut(&(task, token))?;
        guest.worker_until = now.saturating_add(guest.lease);
        if let Some(told) = progress.map(bounded).filter(|told| guest.progress.as_ref() != Some(told)) {
            (guest.progress, guest.is_news) = (Some(told), true);
            self.0.changed.notify_one();
        }
        Some(Renewal { lease: guest.lease, left: guest.attempt_until.saturating_sub(now) })
    }

    /// The connection of a worker here has ended.
    pub(super) fn disconnected(&self, task: TaskId, token: TaskToken) {
        let now = self.now();
        if let Some(guest) = self.held().guests.get_mut(&(task, token)) {
            guest.worker_until = guest.worker_until.min(now + AFTER_HANG_UP);
            self.0.changed.notify_one();
        }
    }

    /// A worker's word of what came of another node's task; `None` if the task is of this node.
    ///
    /// If its settler is not reached the result is kept in this node's log, where the settler finds it.
    pub(super) async fn finish(
        &self,
        task: TaskId,
        token: TaskToken,
        result: &TaskResult,
        output: &str,
    ) -> Option<Result<Task, NodeError>> {
        let guest = self.held().let_go(task, token)?;
        let (came, output, fault) = match result {
            TaskResult::Succeeded(_) => (Came::Succeeded, output.to_owned(), Fault::default()),
            TaskResult::Failed { code, message } => {
                let code = if code.is_empty() { "failed" } else { code };
                let fault = Fault { code: cut(code, TASK_NAME_BYTES_MAX), error: cut(message, TASK_ERROR_BYTES_MAX) };
                (Came::Failed, String::new(), fault)
            }
            TaskResult::Released => (Came::Released, String::new(), Fault::default()),
        };
        let mut shown = guest.task.clone();
        let heard = self.tell_result(&guest, came, output.clone(), fault.clone()).await;
        match heard {
            Some(answer @ Answer { done: true, .. }) => {
                shown.worker_rest = self.rest_in(&answer);
                match result {
                    TaskResult::Succeeded(output) => {
                        (shown.status, shown.output) = (TaskStatus::Succeeded, Some(output.clone()));
                    }
                    TaskResult::Failed { .. } | TaskResult::Released => {
                        (shown.status, shown.assigned_to) = (TaskStatus::Pending, None);
                    }
                }
                Some(Ok(shown))
            }
            Some(_) => Some(Err(ConflictError::ClaimOver.into())),
            None if came == Came::Released => Some(Ok(shown)),
            None => Some(self.keep_for_settler(&guest, output, fault).await.map(|()| {
                let (member, name) = (shown.submitter, shown.submitter_name.clone());
                shown.why = Some(Waits::ResultForSubmitter { member, name });
                shown
            })),
        }
    }

    /// The rest that a settler gives the workers here, in its own words.
    fn rest_in(&self, answer: &Answer) -> Option<AgentRest> {
        if answer.rests_ms == 0 {
            return None;
        }
        // nobody rests for longer
        let left = Duration::from_millis(answer.rests_ms).min(REST);
        let failures = usize::try_from(answer.failures).unwrap_or(usize::MAX);
        let now = self.now();
        Some(Rest { until: now.saturating_add(left), failures }.at(now, self.here().world.wall()))
    }

    /// Tells a settler what came of an attempt. Returns whether it counts; `None` if nobody knows that.
    async fn tell_result(&self, guest: &Guest, came: Came, output: String, fault: Fault) -> Option<Answer> {
        let Fault { code, error } = fault;
        let claim = Some(Claim::new(guest.task.id, guest.token));
        let attempt = Attempt { claim, came: came.into(), output, code, error };
        match self.here().ask(guest.settler, Body::Result(attempt)).await.ok()? {
            Some(Body::Answer(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Tells a settler that a worker is gone. If it does not hear that, it finds out by itself.
    async fn tell_lost(&self, guest: &Guest) {
        let _ = self.tell_result(guest, Came::Lost, String::new(), Fault::default()).await;
    }

    /// Writes a result into this node's own log, from which its settler takes it.
    async fn keep_for_settler(&self, guest: &Guest, output: String, fault: Fault) -> Result<(), NodeError> {
        let outcome = if output.is_empty() { TaskEnd::Failed } else { TaskEnd::Succeeded };
        let settlement = Settlement {
            task: guest.task.id,
            ownership: 0,
            token: Some(guest.token),
            outcome,
            output,
            code: fault.code,
            error: fault.error,
            more: String::new(),
        };
        let settlement = Box::new(settlement.for_settler(&guest.settler));
        match self.here().write_one(vec![(guest.space, TaskEvent::Settled(settlement))]).await? {
            TaskAnswer::Written(_) => Ok(()),
            TaskAnswer::KeptEnough => Err(AccessError::KeptEnough { member: guest.settler }.into()),
            // its settler has answered meanwhile, or this node keeps a result of the task already
            _ => Err(ConflictError::ClaimOver.into()),
        }
    }

    /// Nobody knows what became of an attempt at another node's task. `false` if the task is of this node.
    pub(super) async fn lose(&self, task: TaskId, token: TaskToken) -> bool {
        let lost = self.held().let_go(task, token);
        match lost {
            Some(guest) => {
                self.tell_lost(&guest).await;
                true
            }
            None => false,
        }
    }

    /// The task of another node that a worker here has just been given.
    pub(super) fn task(&self, task: TaskId, token: TaskToken) -> Option<Task> {
        self.held().guests.get(&(task, token)).map(|guest| guest.task.clone())
    }

    /// The task of another node that a worker here has, by its id.
    pub(super) fn called(&self, name: &TaskRef) -> Option<TaskId> {
        let is_called = |task: &TaskId| match name {
            TaskRef::Id(id) => id == task,
            TaskRef::Text(text) => task.to_string() == *text,
        };
        self.held().guests.keys().map(|(task, _)| *task).find(is_called)
    }

    pub(super) fn has(&self, task: TaskId, token: TaskToken) -> bool {
        self.held().guests.contains_key(&(task, token))
    }

    pub(super) fn has_some(&self) -> bool {
        !self.held().guests.is_empty()
    }

    /// The number of an attempt at another node's task, and the member whose node hands that out.
    pub(super) fn attempt_of(&self, task: TaskId, token: TaskToken) -> Option<(u32, Did)> {
        self.held().guests.get(&(task, token)).map(|guest| (guest.task.claims, guest.settler))
    }

    /// The workers that have a task of another node, by name, each with the capability.
    pub(super) fn workers(&self) -> Vec<(String, String)> {
        let held = self.held();
        held.guests.values().map(|guest| (guest.agent().to_owned(), guest.task.capability.clone())).collect()
    }

    /// The peers that offered a task since this was last asked.
    pub(super) fn take_offered(&self) -> BTreeSet<Did> {
        std::mem::take(&mut self.held().offered)
    }

    /// Waits for the end of the claim of another node's task; `None` if the task is of this node.
    ///
    /// Another settler may have claimed the same task for a worker here: its end does not end this claim.
    pub(super) fn until_over(&self, task: TaskId, token: TaskToken) -> Option<oneshot::Receiver<bool>> {
        let mut held = self.held();
        let guest = held.guests.get_mut(&(task, token))?;
        let (ended, end) = oneshot::channel();
        guest.waiting.retain(|waiter| !waiter.is_closed());
        guest.waiting.push(ended);
        Some(end)
    }
}

impl Held {
    /// The claims of another node's task that workers here have: one of each settler.
    fn guests_of(&self, task: TaskId) -> impl Iterator<Item = &Guest> {
        let (first, last) = (TaskToken::from_bytes([0; 16]), TaskToken::from_bytes([0xff; 16]));
        self.guests.range((task, first)..=(task, last)).map(|(_, guest)| guest)
    }

    /// The number of a member's tasks of a capability that workers here do.
    fn running_for(&self, settler: &Did, capability: &str) -> usize {
        self.guests.values().filter(|guest| guest.settler == *settler && guest.task.capability == capability).count()
    }

    /// Lets go of another node's task. Those who wait for the end of its claim hear that.
    fn let_go(&mut self, task: TaskId, token: TaskToken) -> Option<Guest> {
        let mut guest = self.guests.remove(&(task, token))?;
        guest.waiting.clear();
        Some(guest)
    }
}
