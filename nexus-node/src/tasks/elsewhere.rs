//! Tasks of one node, workers at another. The settler claims a task for a node at which a worker waits, and offers it. That
//! node says again and again that its worker lives, and in the end what came of the attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use nexus_crdt::{
    EntryFrame, JsonText, Settlement, SpaceId, TASK_ERROR_BYTES_MAX, TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskEnd,
    TaskEvent, TaskId, TaskToken,
};
use nexus_identity::plants::reached;
use nexus_identity::{Did, Role};
use nexus_mesh::Stream;
use nexus_mesh::ask::{self, AskLimits};
use nexus_mesh::quota::Receiver;
use tokio::sync::{broadcast, oneshot};

use super::approved::{Approved, Waits};
use super::board::{Assigned, Held, TaskBoard, cut};
use super::core::{Fault, LEASE_ELSEWHERE};
use super::offered::{self, OfferedTask};
use super::read::{Rights, find, has_ended_so, some, submitted};
use super::route::{REST, Rest};
use super::wire::{Answer, Attempt, Body, Came, Claim, Claims, Envelope, Offer, Serving, Taken};
use super::{AgentRest, Assignee, Renewal, Task, TaskProgress, TaskResult, TaskStatus};
use crate::engine::TaskAnswer;
use crate::error::{AccessError, ConflictError, NodeError};
use crate::formats::RAISES_PERSONS;

/// The longest wait for a peer's answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Claims are renewed three times in a lease.
const BEAT: Duration = Duration::from_secs(5);
/// News of workers here go to their settlers this often at most.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for the entries of a task that a node of an earlier version offers.
const SYNC_MAX: Duration = Duration::from_secs(2);
/// The most capabilities of a peer's workers, and the most claims in a message.
pub(super) const CAPABILITIES_MAX: usize = 256;
const CLAIMS_MAX: usize = 1_000;

/// A task of another node that a worker here has.
pub(super) struct Guest {
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
    pub(super) fn agent(&self) -> &str {
        self.task.assigned_to.as_ref().and_then(|worker| worker.agent.as_deref()).unwrap_or_default()
    }

    pub(super) fn capability(&self) -> &str {
        &self.task.capability
    }

    pub(super) const fn attempt(&self) -> u32 {
        self.task.claims
    }

    /// The member whose node hands it out.
    pub(super) const fn settler(&self) -> Did {
        self.settler
    }
}

impl TaskBoard {
    /// Answers the peers that open streams.
    pub(crate) async fn serve(self, streams: Receiver<Stream>) {
        let spawner = self.here().world.spawner().clone();
        let answer = move |peer, envelope| {
            let board = self.clone();
            async move { board.answer(peer, envelope).await }.boxed()
        };
        ask::serve(streams, "task answer", spawner, AskLimits::default(), answer).await;
    }

    async fn answer(&self, peer: Did, envelope: Envelope) -> Envelope {
        if let Some(Body::LogQuestion(question)) = envelope.body {
            return Body::Log(self.hear_log_question(peer, question).await.unwrap_or_default()).into();
        }
        // a reader does no work for others, and gives none
        let is_writer = self.here().identity.may_write(&peer);
        self.until_taken_up().await;
        let answer = match envelope.body.filter(|_| is_writer) {
            Some(Body::Serving(serving)) => Body::Answer(self.hear_serving(peer, serving).into()),
            Some(Body::Workers(workers)) => Body::Answer(self.hear_workers(peer, workers).await.into()),
            Some(Body::Offer(offer)) => match self.hear_offer(peer, offer).await {
                Some(agent) => Body::Taken(Taken { agent }),
                None => Body::Answer(Answer::default()),
            },
            Some(Body::Alive(claims)) => Body::Over(self.hear_alive(peer, claims)),
            Some(Body::Result(attempt)) => match self.hear_result(peer, attempt).await {
                Some(answer) => Body::Answer(answer),
                // this node stops: whether it counts is not known
                None => return Envelope::default(),
            },
            _ => Body::Answer(Answer::default()),
        };
        answer.into()
    }

    fn hear_serving(&self, peer: Did, serving: Serving) -> bool {
        let Some(waiting) = serving.read() else { return false };
        let is_earlier = self.here().sessions.critical_format_of(&peer).is_none_or(|reads| reads < RAISES_PERSONS);
        let mut held = self.held();
        held.core.note_version(peer, is_earlier);
        let done = held.core.serving(peer, waiting, self.now());
        drop(held);
        self.wake();
        done
    }

    /// Gives a peer's task to a worker that waits here, if signed entries show whose it is and that the peer claimed it for
    /// this node. Returns the worker's name.
    async fn hear_offer(&self, peer: Did, offer: Offer) -> Option<String> {
        let Offer { claim, entries, .. } = offer;
        let (task, token) = claim?.read()?;
        let (mesh, me) = (self.here().identity.mesh(), self.me());
        let offered = match entries.is_empty() {
            false => OfferedTask::of_entries(entries, (task, token), (mesh, peer, me)),
            // of an earlier version: this node waits a moment for the entries
            true => self.offered_in_ledger(peer, task, token).await,
        };
        let offered = offered.and_then(|offered| Some((self.may_begin(&offered)?, offered)));
        if offered.is_none() {
            tracing::debug!(%task, peer = %peer.short(), "a task is offered without the entries that show whose it is");
        }
        self.take_offer(peer, (task, token), offered?)
    }

    /// How far a task is approved, if its submitter may write, and somebody who may approve it did, if it needs that.
    fn may_begin(&self, offered: &OfferedTask) -> Option<Approved> {
        let identity = &self.here().identity;
        let (members, submitter) = (identity.members(), offered.submitter);
        let rights = Rights::on(&offered.submission, submitter, &members);
        let is_member = identity.may_write(&submitter) || members.has_ended(&submitter);
        let approved = offered.approved(&rights);
        (is_member && (approved > Approved::Not || !offered.submission.needs_approval)).then_some(approved)
    }

    /// An offered task as this node's ledger has it, which may take a moment.
    async fn offered_in_ledger(&self, peer: Did, task: TaskId, token: TaskToken) -> Option<OfferedTask> {
        let mut heard = self.here().engine.tasks();
        let until = self.now() + SYNC_MAX;
        loop {
            let offered = self.reading(move |board, view, reader| match find(view, reader, task)? {
                Some(found) => OfferedTask::of_ledger(view, found, token, (peer, board.me())),
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
        let is_trusted = self.is_trusted(&peer);
        let now = self.now();
        let mut held = self.held();
        held.offered.insert(peer);
        self.0.calls.notify_one();
        // an heir may offer the same task: it keeps its other settlers' offers from no worker
        if held.guests_of(task).any(|guest| guest.settler == peer || guest.token == token) || held.core.has(task) {
            return None;
        }
        if held.running_for(&peer, &given.capability) >= self.here().bulkhead {
            return None;
        }
        loop {
            let (call, taken) = held.core.take_offer(&given.capability, (&peer, is_trusted), approved)?;
            let agent = taken.holder.agent;
            let worker = Assignee { node: self.me(), name: None, agent: some(&agent) };
            let guest = Guest {
                settler: peer,
                token,
                task: Task { status: TaskStatus::Running, assigned_to: Some(worker), claims: attempt, ..given.clone() },
                space,
                lease: taken.lease,
                attempt_until: now.saturating_add(given.timeout),
                worker_until: now.saturating_add(taken.lease),
                accepted_until: now + LEASE_ELSEWHERE,
                progress: None,
                is_news: false,
                waiting: Vec::new(),
            };
            let caller = held.callers.remove(&call);
            held.guests.insert((task, token), guest);
            if caller.is_some_and(|caller| caller.send(Assigned { task, token, attempt }).is_ok()) {
                drop(held);
                self.0.guests.notify_one();
                return Some(agent);
            }
            held.guests.remove(&(task, token));
        }
    }

    /// Whether workers take a member's tasks unless they are told otherwise: it is an admin, or a machine of this node's
    /// person.
    pub(super) fn is_trusted(&self, member: &Did) -> bool {
        let (identity, me) = (&self.here().identity, self.me());
        identity.role_of(member) == Some(Role::Admin) || identity.members().same_person(member, &me)
    }

    /// Leaves of the workers that wait for a peer's tasks as many as may have one, so that no member takes all.
    pub(super) fn keep_bulkheads(&self, peer: &Did, waiting: &mut BTreeMap<String, Waits>) {
        let held = self.held();
        waiting.retain(|capability, waits| {
            let left = self.here().bulkhead.saturating_sub(held.running_for(peer, capability));
            waits.truncate(u32::try_from(left).unwrap_or(u32::MAX));
            !waits.is_empty()
        });
    }

    /// Notes that workers of a peer live. Returns the claims that no longer stand.
    fn hear_alive(&self, peer: Did, Claims { claims }: Claims) -> Claims {
        let now = self.now();
        let mut held = self.held();
        let mut over = Vec::new();
        for claim in claims.into_iter().take(CLAIMS_MAX) {
            let Some((task, token)) = claim.read() else { continue };
            if held.core.holder_of(task, token) != Some(peer) || held.core.heard(task, token, now).is_err() {
                over.push(Claim::new(task, token));
                continue;
            }
            if claim.percent > 0 || !claim.text.is_empty() {
                let percent = claim.percent.checked_sub(1).map(|percent| u8::try_from(percent.min(100)).unwrap_or(100));
                held.note_progress(task, TaskProgress { percent, text: claim.text });
            }
        }
        Claims { claims: over }
    }

    /// Takes what came of an attempt of a peer's worker. Returns whether it counts; it is on the disk then. `None` if this
    /// node stops before that.
    async fn hear_result(&self, peer: Did, attempt: Attempt) -> Option<Answer> {
        let came = attempt.came();
        let Attempt { claim, output, code, error, .. } = attempt;
        let Some((task, token)) = claim.and_then(|claim| claim.read()) else { return Some(false.into()) };
        let is_json = output.len() <= TASK_JSON_BYTES_MAX && JsonText::check(&output).is_ok();
        if came == Came::Succeeded && !is_json {
            return Some(false.into());
        }
        let fault = Fault { code: cut(&code, TASK_NAME_BYTES_MAX), error: cut(&error, TASK_ERROR_BYTES_MAX) };
        let written = {
            let now = self.now();
            let mut held = self.held();
            match held.core.holder_of(task, token) == Some(peer) {
                true => {
                    if came == Came::Released {
                        held.core.turned_down(peer, self.now());
                    }
                    let taken = match came {
                        Came::Succeeded => held.core.succeed(task, token, output.clone(), now),
                        Came::Failed => held.core.fail(task, token, fault, now),
                        Came::Released => held.core.release(task, token, now),
                        Came::Lost | Came::Unspecified => held.core.lose(task, token, now),
                    };
                    let rest = held.core.rest_after(task, now).filter(|_| came == Came::Failed);
                    taken.map(|()| (held.until_end(task), rest.map(|rest| (rest.until.saturating_sub(now), rest)))).ok()
                }
                false => None,
            }
        };
        let Some((written, rest)) = written else {
            let said = match came {
                Came::Succeeded => TaskResult::Succeeded(JsonText::default()),
                Came::Failed => TaskResult::Failed { code: String::new(), message: String::new() },
                Came::Released | Came::Lost | Came::Unspecified => TaskResult::Released,
            };
            let again = self.reading(move |_, view, _| Ok(has_ended_so(view, task, (token, peer), &said)?)).await;
            if again.ok()? {
                reached("result_told_twice");
                return Some(true.into());
            }
            if came == Came::Succeeded {
                // it is refused in any case
                // only the worker to which the claim was given has a word here
                reached("result_after_its_claim");
                let _ = self.keep_late(task, token, output, peer).await;
            }
            return Some(false.into());
        };
        self.wake();
        let counts = written.await.ok()?;
        if counts && came == Came::Succeeded {
            self.keep_output(peer, &output);
        }
        let (rests_ms, failures) = rest.map_or((0, 0), |(left, rest)| {
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            (ms, u32::try_from(rest.failures).unwrap_or(u32::MAX))
        });
        Some(Answer { done: counts, rests_ms, failures })
    }

    /// Offers a task that is claimed for another node, on the disk.
    pub(super) fn offer(&self, node: Did, task: TaskId, token: TaskToken, attempt: u32) {
        let board = self.clone();
        self.here().world.spawn("task offer", async move {
            let offer = board.reading(move |_, view, reader| {
                let found = find(view, reader, task)?.ok_or(ConflictError::ClaimOver)?;
                let entries = offered::entries_of(view, &found, token)?;
                let mut offer = Offer {
                    claim: Some(Claim::new(task, token)),
                    attempt,
                    lease_ms: u64::try_from(LEASE_ELSEWHERE.as_millis()).unwrap_or(u64::MAX),
                    entries: entries.iter().map(|entry| EntryFrame::new(entry)).collect(),
                    ..Offer::default()
                };
                if offered::is_for_earlier_versions(&entries) {
                    offer.event = TaskEvent::Submitted(Box::new(found.submission)).encode();
                    offer.submitted_ms = found.row.hlc.time().as_ms();
                    offer.space = found.space.0.as_bytes().to_vec();
                }
                Ok(offer)
            });
            let Ok(offer) = offer.await else { return };
            let asked = board.now();
            match board.0.asker.ask(node, Body::Offer(offer).into(), ANSWER_MAX).await.map(|answer| answer.body) {
                Ok(Some(Body::Taken(Taken { agent }))) => {
                    let mut held = board.held();
                    held.core.answered(&node, board.now().saturating_sub(asked));
                    held.core.taken(task, token, cut(&agent, TASK_NAME_BYTES_MAX));
                }
                // it has the task, or not: the lease tells
                Err(error) if error.may_have_asked() => {}
                Ok(_) | Err(_) => {
                    let mut held = board.held();
                    held.core.turned_down(node, board.now());
                    let _ = held.core.release(task, token, board.now());
                    drop(held);
                    board.wake();
                }
            }
        });
    }

    /// Says for the workers here that they live, and lets go of those that do not, until the node ends.
    pub(crate) async fn keep_guests(self) {
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
                let board = self.clone();
                self.here().world.spawn("task lost", async move { board.tell_lost(&guest).await });
            }
            tokio::select! {
                () = self.0.guests.notified() => {}
                changed = members.changed() => if changed.is_err() { return },
                () = self.here().world.sleep_until(next) => {}
            }
            if self.now() >= beat {
                (beat, last) = (self.now() + BEAT, Some(self.now()));
                self.renew_guests().await;
            }
        }
    }

    async fn renew_guests(&self) {
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
            let Ok(answer) = self.0.asker.ask(settler, alive.into(), ANSWER_MAX).await else { return };
            let Some(Body::Over(Claims { claims: over })) = answer.body else { return };
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
    pub(super) fn heard_guest(
        &self,
        task: TaskId,
        token: TaskToken,
        progress: Option<&TaskProgress>,
    ) -> Option<Result<Renewal, NodeError>> {
        let now = self.now();
        let mut held = self.held();
        let guest = held.guests.get_mut(&(task, token))?;
        guest.worker_until = now.saturating_add(guest.lease);
        if let Some(TaskProgress { percent, text }) = progress {
            let text = cut(text, super::board::PROGRESS_BYTES_MAX);
            let told = TaskProgress { percent: percent.map(|percent| percent.min(100)), text };
            if guest.progress.as_ref() != Some(&told) {
                (guest.progress, guest.is_news) = (Some(told), true);
                self.0.guests.notify_one();
            }
        }
        Some(Ok(Renewal { lease: guest.lease, left: guest.attempt_until.saturating_sub(now) }))
    }

    /// The connection of a worker here has ended.
    pub(super) fn disconnected_guest(&self, task: TaskId, token: TaskToken) {
        let now = self.now();
        if let Some(guest) = self.held().guests.get_mut(&(task, token)) {
            guest.worker_until = guest.worker_until.min(now + super::core::AFTER_HANG_UP);
            self.0.guests.notify_one();
        }
    }

    /// A worker's word of what came of another node's task; `None` if the task is of this node.
    ///
    /// If its settler is not reached the result is kept in this node's log, where the settler finds it.
    pub(super) async fn finish_guest(
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
                let name = shown.submitter_name.clone().unwrap_or_else(|| shown.submitter.to_string());
                shown.why = Some(format!("its result is kept here, until {name} is reached"));
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
        let answer = self.0.asker.ask(guest.settler, Body::Result(attempt).into(), ANSWER_MAX).await.ok()?;
        match answer.body {
            Some(Body::Answer(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Tells a settler that a worker is gone. If it does not hear that, it finds out by itself.
    pub(super) async fn tell_lost(&self, guest: &Guest) {
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
        match self.write_one(vec![(guest.space, TaskEvent::Settled(settlement))]).await? {
            TaskAnswer::Written(_) => Ok(()),
            TaskAnswer::KeptEnough => Err(AccessError::KeptEnough { member: guest.settler }.into()),
            // its settler has answered meanwhile, or this node keeps a result of the task already
            _ => Err(ConflictError::ClaimOver.into()),
        }
    }

    /// The task of another node that a worker here has just been given.
    pub(super) fn guest(&self, task: TaskId, token: TaskToken) -> Option<Task> {
        self.held().guests.get(&(task, token)).map(|guest| guest.task.clone())
    }

    /// The task of another node that a worker here has, by its id or the beginning of it.
    pub(super) fn guest_called(&self, id: &str) -> Option<TaskId> {
        let held = self.held();
        held.guests.keys().map(|(task, _)| *task).find(|task| task.to_string() == id)
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
        self.guests.values().filter(|guest| guest.settler == *settler && guest.capability() == capability).count()
    }

    /// Lets go of another node's task. Those who wait for the end of its claim hear that.
    pub(super) fn let_go(&mut self, task: TaskId, token: TaskToken) -> Option<Guest> {
        let mut guest = self.guests.remove(&(task, token))?;
        guest.waiting.clear();
        Some(guest)
    }

    /// Waits for the end of a claim, of this node's task or of another's.
    ///
    /// Another settler may have claimed the same task for a worker here: its end does not end this claim.
    pub(super) fn until_over(&mut self, task: TaskId, token: TaskToken) -> oneshot::Receiver<bool> {
        let Some(guest) = self.guests.get_mut(&(task, token)) else { return self.until_end(task) };
        let (ended, end) = oneshot::channel();
        guest.waiting.retain(|waiter| !waiter.is_closed());
        guest.waiting.push(ended);
        end
    }
}
