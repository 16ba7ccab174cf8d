//! The scheduler of one node: which worker gets which of its own tasks, and when an attempt is over. It is pure: the time
//! is an argument, and whatever is to be written or said comes out as an [`Action`].
//!
//! Each task that has not ended is in one place. In each place either a timer is armed for it, or somebody owes the next
//! word: a worker that asks for work, or the shell that is writing an event.

mod assign;
mod others;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use nexus_crdt::{ReturnCause, SpaceId, TaskEnd, TaskId, TaskToken};
use nexus_identity::Did;
use nexus_identity::plants::{planted, reached};

use super::approved::{Approved, WorkersElsewhere};
use super::audience::Audience;
use super::records::{Records, Rest};
use super::route::{About, Score};
use crate::config::TaskRouting;
use crate::load::Load;
use crate::tasks::agent::Agent;

/// The pauses before the second attempt and later ones; the last one is for all that follow.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];
/// An attempt that fails so soon has hardly begun.
const MOMENT: Duration = Duration::from_secs(5);
/// The pauses after the second attempt in a row that failed at once with the same error, and after later ones: another try is
/// likely to end alike.
const PAUSES_ALIKE: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(60)];
/// The pause of a task that is done once, after the coordinators could not be asked.
const PAUSE_ONCE: Duration = Duration::from_secs(10);
/// The attempts whose workers were not heard of in time before nobody knows whether the task was done.
const EXPIRIES_MAX: u32 = 3;
/// The most tasks of a capability that are looked at for a worker: those before may be for other members alone.
const LOOKED_AT_MAX: usize = 1_000;
/// A critical task takes a second worker after this time, if the first one has not come back.
const PREEMPT_EVERY: Duration = Duration::from_secs(10);
/// The choices that are kept, for those who ask why, and the nodes in each.
const CHOICES_MAX: usize = 1_000;
const CHOICE_NODES_MAX: usize = 16;
/// So many tasks a node may turn down at once, and one more each time, before nothing is claimed for it: each turn is
/// two events on the disk.
pub(in crate::tasks) const TURNS_MAX: u32 = 1_024;
const TURN_EVERY: Duration = Duration::from_secs(5);
/// The time in which a worker must be heard of again once its connection has ended.
pub(in crate::tasks) const AFTER_HANG_UP: Duration = Duration::from_secs(1);

/// A worker's question for work.
pub(in crate::tasks) type CallId = u64;

/// The part of a task that decides who gets it and when.
#[derive(Clone, Debug)]
pub(in crate::tasks) struct Spec {
    pub(in crate::tasks) capability: String,
    /// Its space: workers of members that may not read there do not get it.
    pub(in crate::tasks) space: SpaceId,
    /// The member that submitted it: another one if this node is an heir.
    pub(in crate::tasks) submitter: Did,
    /// The only member that may work on it.
    pub(in crate::tasks) to: Option<Did>,
    /// The order among tasks that wait: the lowest first.
    pub(in crate::tasks) rank: u64,
    /// The time of one attempt.
    pub(in crate::tasks) attempt: Duration,
    /// The end of the whole task, on the clock of the scheduler.
    pub(in crate::tasks) deadline: Option<Duration>,
    /// The attempts that may fail before the task has failed.
    pub(in crate::tasks) attempts: u32,
    /// Whether an attempt begins by the coordinators' word, and none after one of which nobody knows.
    pub(in crate::tasks) once: bool,
    /// Whether somebody must approve it before.
    pub(in crate::tasks) awaits_approval: bool,
    /// Whether its approval is by a rule that earlier versions do not know.
    pub(in crate::tasks) by_person: bool,
    /// How far it is approved, for workers that insist.
    pub(in crate::tasks) approved: Approved,
    /// The tasks that must have succeeded before, of which that is not known.
    pub(in crate::tasks) after: BTreeSet<TaskId>,
    /// Whether it may take the worker of a preemptible task.
    pub(in crate::tasks) critical: bool,
    /// Whether a critical task may take its worker.
    pub(in crate::tasks) preemptible: bool,
}

/// The past of a task that is taken up.
#[derive(Clone, Debug, Default)]
pub(in crate::tasks) struct Before {
    pub(in crate::tasks) claims: u32,
    pub(in crate::tasks) failures: u32,
    pub(in crate::tasks) expiries: u32,
    /// The claim that stands.
    pub(in crate::tasks) claim: Option<(TaskToken, Holder)>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tasks) struct Holder {
    /// The member whose node it is at.
    pub(in crate::tasks) node: Did,
    /// Its name; empty if it has none.
    pub(in crate::tasks) agent: String,
}

/// A worker that waits for work.
#[derive(Clone, Debug)]
pub(in crate::tasks) struct Call {
    pub(in crate::tasks) holder: Holder,
    pub(in crate::tasks) capabilities: BTreeSet<String>,
    /// The members whose tasks it takes, beside those of its own node.
    pub(in crate::tasks) from: TakesFrom,
    /// The time without a word after which its claim is over.
    pub(in crate::tasks) lease: Duration,
    /// Above this use of processors, or of memory, in percent, it gets nothing.
    pub(in crate::tasks) cpu_max: u8,
    pub(in crate::tasks) memory_max: u8,
    /// The approval on which it insists.
    pub(in crate::tasks) insists_on: Approved,
}

/// The members whose tasks a worker takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tasks) struct TakesFrom {
    /// Whether it takes those of every admin, and of machines of its own node's person.
    pub(in crate::tasks) admins: bool,
    /// Whether it takes those of every member.
    pub(in crate::tasks) members: bool,
    /// Others.
    pub(in crate::tasks) others: BTreeSet<Did>,
}

impl TakesFrom {
    /// Whether it takes tasks of a member, which may be an admin or a machine of its own node's person.
    pub(in crate::tasks) fn admits(&self, member: &Did, is_trusted: bool) -> bool {
        self.members || self.admins && is_trusted || self.others.contains(member)
    }
}

/// An end of an attempt, or of the task, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tasks) struct Fault {
    pub(in crate::tasks) code: String,
    pub(in crate::tasks) error: String,
}

/// The beginning of the name of an attempt's directory, in the errors of commands.
const ATTEMPT_DIRECTORY: &str = "nexus-task-";

impl Fault {
    fn new(code: &str, error: String) -> Self {
        Self { code: code.to_owned(), error }
    }

    /// A number that faults have in common which differ in numbers and in the directory of the attempt alone.
    fn likeness(&self) -> u64 {
        // FNV-1a: the same in each run
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for part in [&self.code, &self.error] {
            for (n, rest) in part.split(ATTEMPT_DIRECTORY).enumerate() {
                // the letters after it are drawn for each attempt
                let drawn = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let rest = if n == 0 { rest } else { &rest[drawn..] };
                hash = rest.bytes().filter(|byte| !byte.is_ascii_digit()).fold(hash, mix);
            }
            hash = mix(hash, 0);
        }
        hash
    }
}

/// The one that a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Claimant {
    /// A worker that asks this node.
    Call(CallId),
    /// Another node, which has a worker that waits.
    Node(Did),
}

/// Something for the shell to do. A task has one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Action {
    /// Write that a worker has the task, then answer its call.
    Claim { task: TaskId, to: Claimant, token: TaskToken, attempt: u32, holder: Holder },
    /// Write that an attempt is over.
    Return { task: TaskId, token: TaskToken, cause: ReturnCause, fault: Fault },
    /// Write that the task is over.
    Settle { task: TaskId, token: Option<TaskToken>, end: TaskEnd, output: String, fault: Fault },
}

impl Action {
    /// The task that it is about.
    pub(in crate::tasks) const fn task(&self) -> TaskId {
        match self {
            Self::Claim { task, .. } | Self::Return { task, .. } | Self::Settle { task, .. } => *task,
        }
    }
}

/// A claim that stands.
#[derive(Clone, Debug)]
struct Running {
    token: TaskToken,
    holder: Holder,
    lease: Duration,
    /// The end of its lease, moved by each word of the worker.
    lease_until: Duration,
    /// The end of the attempt.
    attempt_until: Duration,
    /// The approval on which its worker insists.
    insists_on: Approved,
}

/// Where a task is.
#[derive(Clone, Debug)]
enum Place {
    /// Somebody has to approve it.
    Approval,
    /// It waits for the end of other tasks.
    After,
    /// It waits for a worker.
    Ready,
    /// It waits for some time before it is tried again.
    Paused { until: Duration },
    /// Its claim is being written.
    Claiming(Running),
    /// A worker has it.
    Running(Running),
    /// Its return or its end is being written.
    Ending,
}

#[derive(Debug)]
struct Open {
    spec: Spec,
    place: Place,
    claims: u32,
    failures: u32,
    expiries: u32,
    /// The worker of the last attempt, if that failed.
    failed_at: Option<Holder>,
    /// The last error, if its attempt failed at once, and how many attempts in a row did so alike.
    alike: Option<(u64, u32)>,
    /// The armed timer.
    timer: Option<Duration>,
}

/// A node that was looked at for a task.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::tasks) struct Choice {
    pub(in crate::tasks) node: Did,
    pub(in crate::tasks) score: Option<Score>,
    /// The reason for which it does not get the task.
    pub(in crate::tasks) not: Option<NotChosen>,
}

/// A reason for which a node does not get a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum NotChosen {
    /// Its workers have work.
    NoneWaits,
    /// Its workers wait for work, and take no tasks of this member.
    TurnsAway,
    /// It failed too often, and rests.
    Rests(Rest),
    /// One task tries it again.
    Tried,
    /// It uses more of its processors or memory than its workers allow.
    Overloaded,
    /// The task is for another member.
    NotMeant,
    /// Its member may not read the task's space.
    MayNotRead,
    /// Its version does not know the rule by which the task is approved.
    TooOld,
    /// Its workers insist on this approval, which the task does not have.
    Insists(Approved),
    /// Another one has a better score.
    Worse,
}

/// The words of another node about its workers.
#[derive(Clone, Debug, Default)]
pub(in crate::tasks) struct Said {
    pub(in crate::tasks) agents: Vec<Agent>,
    pub(in crate::tasks) labels: BTreeMap<String, String>,
    pub(in crate::tasks) about: About,
}

/// A worker's word about a claim that does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) struct NotHeld;

/// The rest of a claim that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tasks) struct Standing {
    pub(in crate::tasks) lease: Duration,
    pub(in crate::tasks) attempt_left: Duration,
}

/// Where a task is, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Seen {
    Approval,
    After(TaskId),
    Ready,
    Paused(Duration),
    /// A claim or an end of it is being written. A claim that is in the log is on the disk.
    Writing,
    Running,
}

/// The scheduler.
#[derive(Debug)]
pub(in crate::tasks) struct Scheduler {
    open: BTreeMap<TaskId, Open>,
    /// The tasks that wait for a worker, by capability.
    ready: BTreeMap<String, BTreeSet<(u64, TaskId)>>,
    /// The tasks that workers have, by capability.
    running: BTreeMap<String, BTreeSet<(u64, TaskId)>>,
    timers: BTreeSet<(Duration, TaskId)>,
    calls: BTreeMap<CallId, Call>,
    /// The calls for each capability, those that have waited longest first.
    callers: BTreeMap<String, BTreeSet<CallId>>,
    next_call: CallId,
    /// The workers that wait at other nodes for tasks of this one, by capability: by the nodes' own words.
    elsewhere: BTreeMap<String, BTreeMap<Did, WorkersElsewhere>>,
    /// The words of other nodes about themselves.
    said: BTreeMap<Did, Said>,
    /// The nodes with workers whose version does not judge approvals by persons.
    earlier: BTreeSet<Did>,
    /// The members that may read the spaces of open tasks. Nobody gets a task of another space.
    audiences: BTreeMap<SpaceId, Audience>,
    /// The load of this node's machine.
    load: Load,
    /// This node.
    me: Did,
    routing: TaskRouting,
    records: Records,
    /// The ends of the rests of workers, each with the capability.
    rests: BTreeSet<(Duration, String)>,
    /// The tasks whose end others wait for, with these.
    awaited: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// The critical tasks for which another one was preempted, and when.
    preempting: BTreeMap<TaskId, Duration>,
    /// The last choices, by task, where there was one among several nodes.
    choices: BTreeMap<TaskId, Vec<Choice>>,
    /// The tasks of these, the earliest first.
    chosen: VecDeque<TaskId>,
    /// The nodes that turned tasks down, each with the time at which its last turn is forgiven.
    turned_down: BTreeMap<Did, Duration>,
    /// The tasks that are done once and wait for a worker, and whether a quorum of the coordinators answers.
    once: BTreeSet<TaskId>,
    quorum: bool,
    actions: VecDeque<Action>,
    /// Tokens drawn beforehand by the shell.
    tokens: Vec<TaskToken>,
}

impl Scheduler {
    /// The number of tasks that have not ended.
    pub(in crate::tasks) fn len(&self) -> usize {
        self.open.len()
    }

    /// The number of tasks of a capability that are ready, and the rank of the last one.
    pub(in crate::tasks) fn ready_in(&self, capability: &str) -> (usize, Option<u64>) {
        self.ready.get(capability).map_or((0, None), |ready| (ready.len(), ready.last().map(|(rank, _)| *rank)))
    }

    pub(in crate::tasks) fn has(&self, task: TaskId) -> bool {
        self.open.contains_key(&task)
    }

    /// Whether somebody is writing about a task: it is looked at after that.
    pub(in crate::tasks) fn is_busy(&self, task: TaskId) -> bool {
        let place = self.open.get(&task).map(|open| &open.place);
        matches!(place, Some(Place::Claiming(_) | Place::Ending))
    }

    /// Whether workers of this node wait for work.
    pub(in crate::tasks) fn has_callers(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(in crate::tasks) const fn load(&self) -> Load {
        self.load
    }

    /// The machine has another load: workers may get work again.
    pub(in crate::tasks) fn set_load(&mut self, load: Load, now: Duration) {
        self.load = load;
        let capabilities: Vec<String> = self.callers.keys().cloned().collect();
        for capability in capabilities {
            self.assign_ready(&capability, now);
        }
    }

    /// The core of a node, which chooses nodes in this way.
    pub(in crate::tasks) fn of(me: Did, routing: TaskRouting) -> Self {
        Self {
            me,
            routing,
            load: Load::default(),
            open: BTreeMap::new(),
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
            timers: BTreeSet::new(),
            calls: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_call: 0,
            elsewhere: BTreeMap::new(),
            said: BTreeMap::new(),
            earlier: BTreeSet::new(),
            audiences: BTreeMap::new(),
            records: Records::default(),
            rests: BTreeSet::new(),
            awaited: BTreeMap::new(),
            preempting: BTreeMap::new(),
            choices: BTreeMap::new(),
            chosen: VecDeque::new(),
            turned_down: BTreeMap::new(),
            once: BTreeSet::new(),
            quorum: false,
            actions: VecDeque::new(),
            tokens: Vec::new(),
        }
    }

    /// Notes which members may read a space. Workers of others get none of its tasks; an attempt that began goes on.
    pub(in crate::tasks) fn set_audience(&mut self, space: SpaceId, audience: Audience, now: Duration) {
        if self.audiences.insert(space, audience.clone()).is_none_or(|before| before == audience) {
            return;
        }
        let capabilities: Vec<String> = self.ready.keys().cloned().collect();
        for capability in capabilities {
            self.assign_ready(&capability, now);
        }
    }

    /// Whether it is known which members may read a space.
    pub(in crate::tasks) fn knows_audience(&self, space: SpaceId) -> bool {
        self.audiences.contains_key(&space)
    }

    /// Whether a member may read a task.
    fn may_read(&self, open: &Open, member: &Did) -> bool {
        self.audiences.get(&open.spec.space).is_some_and(|audience| audience.has(member))
    }

    /// The space of an open task.
    pub(in crate::tasks) fn space_of(&self, task: TaskId) -> Option<SpaceId> {
        self.open.get(&task).map(|open| open.spec.space)
    }

    fn is_over(&self, call: &Call) -> bool {
        !self.load.is_within(call.cpu_max, call.memory_max)
    }

    /// Whether workers wait for work of a capability, here or elsewhere.
    pub(in crate::tasks) fn waits_for(&self, capability: &str) -> bool {
        self.callers.contains_key(capability) || self.elsewhere.contains_key(capability)
    }

    /// Hands over random tokens for claims to come.
    pub(in crate::tasks) fn give_tokens(&mut self, tokens: impl Iterator<Item = TaskToken>) {
        self.tokens.extend(tokens);
    }

    pub(in crate::tasks) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The next thing for the shell to do.
    pub(in crate::tasks) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The time at which [`due`](Self::due) has something to do.
    pub(in crate::tasks) fn next_timer(&self) -> Option<Duration> {
        let rests = self.rests.first().map(|(at, _)| *at);
        self.timers.first().map(|(at, _)| *at).into_iter().chain(rests).min()
    }

    /// Takes up a task that has not ended. Without a claim it waits; a claim that stands has its whole lease again.
    pub(in crate::tasks) fn open(&mut self, task: TaskId, spec: Spec, before: Before, now: Duration) {
        if self.open.contains_key(&task) {
            return;
        }
        let Before { claims, failures, expiries, claim } = before;
        let place = match claim {
            Some((token, holder)) => {
                let (lease, attempt_until) = (FIRST_LEASE, now.saturating_add(spec.attempt));
                // the approval on which its worker insists is not in the log
                let insists_on = Approved::Not;
                Place::Running(Running { token, holder, lease, lease_until: now + lease, attempt_until, insists_on })
            }
            None if spec.awaits_approval => Place::Approval,
            None if !spec.after.is_empty() => Place::After,
            None => Place::Ready,
        };
        for before in &spec.after {
            self.awaited.entry(*before).or_default().insert(task);
        }
        self.open.insert(
            task,
            Open { spec, place: Place::Ending, claims, failures, expiries, failed_at: None, alike: None, timer: None },
        );
        self.put(task, place);
        self.assign(task, now);
    }

    /// Somebody has approved a task, so far. Workers that insist on more do not get it.
    pub(in crate::tasks) fn approve(&mut self, task: TaskId, approved: Approved, now: Duration) {
        let Some(open) = self.open.get_mut(&task) else { return };
        open.spec.awaits_approval = false;
        let is_more = open.spec.approved < approved;
        open.spec.approved = approved;
        if is_more && matches!(open.place, Place::Ready) {
            self.assign(task, now);
            return;
        }
        if !matches!(open.place, Place::Approval) {
            return;
        }
        if open.spec.after.is_empty() {
            self.put(task, Place::Ready);
            self.assign(task, now);
        } else {
            self.put(task, Place::After);
        }
    }

    /// Nobody who may has approved a task: its approver is no member any more. An attempt that began goes on.
    pub(in crate::tasks) fn unapprove(&mut self, task: TaskId) {
        let Some(open) = self.open.get_mut(&task) else { return };
        (open.spec.awaits_approval, open.spec.approved) = (true, Approved::Not);
        if matches!(open.place, Place::After | Place::Ready | Place::Paused { .. }) {
            self.put(task, Place::Approval);
        }
    }

    /// The tasks whose end others wait for.
    pub(in crate::tasks) fn awaited(&self) -> impl Iterator<Item = TaskId> {
        self.awaited.keys().copied()
    }

    pub(in crate::tasks) fn is_awaited(&self, task: TaskId) -> bool {
        self.awaited.contains_key(&task)
    }

    /// A task has ended for which others wait: they go on if it succeeded, and have failed if not.
    pub(in crate::tasks) fn before_ended(&mut self, before: TaskId, end: TaskEnd, now: Duration) {
        for task in self.awaited.get(&before).cloned().unwrap_or_default() {
            let Some(open) = self.open.get_mut(&task) else {
                self.no_longer_awaits(task, before);
                continue;
            };
            if end == TaskEnd::Succeeded {
                open.spec.after.remove(&before);
                let is_next = open.spec.after.is_empty() && matches!(open.place, Place::After);
                self.no_longer_awaits(task, before);
                if is_next {
                    self.put(task, Place::Ready);
                    self.assign(task, now);
                }
            } else if matches!(open.place, Place::Approval | Place::After) {
                self.no_longer_awaits(task, before);
                let error = format!("it comes after {before}, which did not succeed");
                self.end(task, TaskEnd::Failed, "after", error, now);
            }
        }
    }

    fn no_longer_awaits(&mut self, task: TaskId, before: TaskId) {
        if let Some(tasks) = self.awaited.get_mut(&before) {
            tasks.remove(&task);
            if tasks.is_empty() {
                self.awaited.remove(&before);
            }
        }
    }

    /// Ends a task, whoever has it. Nothing happens while its end is being written already.
    pub(in crate::tasks) fn end(&mut self, task: TaskId, end: TaskEnd, code: &str, error: String, now: Duration) {
        let Some(open) = self.open.get(&task) else { return };
        if matches!(open.place, Place::Ending | Place::Claiming(_)) {
            // the shell looks again once that is written
            return;
        }
        self.not_tried(task, now);
        self.put(task, Place::Ending);
        self.actions.push_back(Action::Settle {
            task,
            token: None,
            end,
            output: String::new(),
            fault: Fault::new(code, error),
        });
    }

    /// The task is over, on the disk.
    pub(in crate::tasks) fn ended(&mut self, task: TaskId) {
        self.put(task, Place::Ending);
        self.preempting.remove(&task);
        for before in self.open.remove(&task).map(|open| open.spec.after).unwrap_or_default() {
            self.no_longer_awaits(task, before);
        }
    }

    /// A worker asks for work.
    pub(in crate::tasks) fn call(&mut self, call: Call, now: Duration) -> CallId {
        let id = self.next_call;
        self.next_call += 1;
        for capability in &call.capabilities {
            self.callers.entry(capability.clone()).or_default().insert(id);
        }
        self.calls.insert(id, call);
        let may = |capability: &&String| self.may_have(&self.calls[&id], capability, now);
        let heads = self.calls[&id].capabilities.iter().filter(may);
        let heads = heads.filter_map(|capability| self.ready.get(capability));
        let fits = |task: &TaskId| self.fits(*task, &self.calls[&id]);
        let best =
            heads.filter_map(|ready| ready.iter().take(LOOKED_AT_MAX).find(|(_, task)| fits(task))).min().copied();
        if let Some((_, task)) = best {
            self.claim(task, id, now);
        }
        id
    }

    /// A worker asks no longer. Returns whether it was still waiting.
    pub(in crate::tasks) fn hang_up(&mut self, call: CallId) -> bool {
        let Some(Call { capabilities, .. }) = self.calls.remove(&call) else { return false };
        for capability in capabilities {
            if let Some(callers) = self.callers.get_mut(&capability) {
                callers.remove(&call);
                if callers.is_empty() {
                    self.callers.remove(&capability);
                }
            }
        }
        true
    }

    /// The claim is on the disk.
    pub(in crate::tasks) fn claimed(&mut self, task: TaskId, now: Duration) {
        let Some(open) = self.open.get_mut(&task) else { return };
        if let Place::Claiming(running) = &open.place {
            let mut running = running.clone();
            open.claims += 1;
            (running.lease_until, running.attempt_until) = (now + running.lease, now.saturating_add(open.spec.attempt));
            self.put(task, Place::Running(running));
        }
    }

    /// The worker of a claim is heard of.
    pub(in crate::tasks) fn heard(
        &mut self,
        task: TaskId,
        token: TaskToken,
        now: Duration,
    ) -> Result<Standing, NotHeld> {
        let mut running = self.running(task, token)?.clone();
        running.lease_until = now + running.lease;
        let standing = Standing { lease: running.lease, attempt_left: running.attempt_until.saturating_sub(now) };
        self.put(task, Place::Running(running));
        Ok(standing)
    }

    /// The connection on which a worker was heard of has ended: it must be heard of again soon.
    pub(in crate::tasks) fn disconnected(&mut self, task: TaskId, token: TaskToken, now: Duration) {
        let Ok(running) = self.running(task, token) else { return };
        let mut running = running.clone();
        running.lease_until = running.lease_until.min(now + AFTER_HANG_UP);
        self.put(task, Place::Running(running));
    }

    /// The member whose node has the worker of a claim that stands.
    pub(in crate::tasks) fn holder_of(&self, task: TaskId, token: TaskToken) -> Option<Did> {
        self.running(task, token).ok().map(|running| running.holder.node)
    }

    /// The number of the attempt that a worker makes by this claim, from 1.
    pub(in crate::tasks) fn attempt_of(&self, task: TaskId, token: TaskToken) -> Option<u32> {
        self.running(task, token).ok().and_then(|_| self.open.get(&task)).map(|open| open.claims)
    }

    /// A node has given a task to a worker of this name.
    pub(in crate::tasks) fn taken(&mut self, task: TaskId, token: TaskToken, agent: String) {
        if let Some(Open { place: Place::Running(running), .. }) = self.open.get_mut(&task)
            && running.token == token
        {
            running.holder.agent = agent;
        }
    }

    /// The worker of a claim is gone.
    pub(in crate::tasks) fn lose(&mut self, task: TaskId, token: TaskToken, now: Duration) -> Result<(), NotHeld> {
        self.running(task, token)?;
        self.expired(task, token, now);
        Ok(())
    }

    /// A task that is done once is not handed to the worker that it was claimed for: another one has begun it, or the
    /// coordinators could not be asked. The worker still waits.
    pub(in crate::tasks) fn withhold(&mut self, task: TaskId, token: TaskToken, has_begun: bool, now: Duration) {
        let Ok(running) = self.running(task, token) else { return };
        let (node, insists_on) = (running.holder.node, running.insists_on);
        let Some(capability) = self.open.get(&task).map(|open| open.spec.capability.clone()) else { return };
        self.not_tried(task, now);
        self.put(task, Place::Ending);
        self.actions.push_back(if has_begun {
            let error = "a worker of which this node did not know has begun it: it may or may not have run".to_owned();
            let (token, fault) = (Some(token), Fault::new("expired", error));
            Action::Settle { task, token, end: TaskEnd::Unknown, output: String::new(), fault }
        } else {
            Action::Return { task, token, cause: ReturnCause::Released, fault: Fault::default() }
        });
        if node != self.me && !self.has_turned_down_too_many(&node, now) {
            let waits = self.elsewhere.entry(capability.clone()).or_default().entry(node).or_default();
            waits.any.add(insists_on, 1);
            self.assign_ready(&capability, now);
        }
    }

    /// A worker has done its task: its end is to be written.
    pub(in crate::tasks) fn succeed(
        &mut self,
        task: TaskId,
        token: TaskToken,
        output: String,
        now: Duration,
    ) -> Result<(), NotHeld> {
        self.running(task, token)?;
        self.record_success(task, now);
        self.put(task, Place::Ending);
        let (token, fault) = (Some(token), Fault::default());
        self.actions.push_back(Action::Settle { task, token, end: TaskEnd::Succeeded, output, fault });
        Ok(())
    }

    /// A task that waits was done by an attempt of the settler before.
    pub(in crate::tasks) fn adopt(&mut self, task: TaskId, token: TaskToken, output: String) -> Result<(), NotHeld> {
        let waits = |open: &&Open| matches!(open.place, Place::Ready | Place::Paused { .. });
        self.open.get(&task).filter(waits).ok_or(NotHeld)?;
        reached("result_of_the_settler_before");
        self.put(task, Place::Ending);
        let (token, fault) = (Some(token), Fault::default());
        self.actions.push_back(Action::Settle { task, token, end: TaskEnd::Succeeded, output, fault });
        Ok(())
    }

    /// A worker's attempt has failed.
    pub(in crate::tasks) fn fail(
        &mut self,
        task: TaskId,
        token: TaskToken,
        fault: Fault,
        now: Duration,
    ) -> Result<(), NotHeld> {
        self.running(task, token)?;
        self.failed(task, token, fault, now);
        Ok(())
    }

    /// A worker gives its task back.
    pub(in crate::tasks) fn release(&mut self, task: TaskId, token: TaskToken, now: Duration) -> Result<(), NotHeld> {
        self.running(task, token)?;
        self.not_tried(task, now);
        self.put(task, Place::Ending);
        self.actions.push_back(Action::Return { task, token, cause: ReturnCause::Released, fault: Fault::default() });
        Ok(())
    }

    /// An attempt is over, on the disk: the task waits again.
    pub(in crate::tasks) fn returned(&mut self, task: TaskId, cause: ReturnCause, now: Duration) {
        let Some(open) = self.open.get_mut(&task) else { return };
        match cause {
            ReturnCause::Failed => open.failures += 1,
            ReturnCause::Expired => open.expiries += 1,
            ReturnCause::Released | ReturnCause::Preempted => {}
        }
        if cause == ReturnCause::Preempted && planted("preempted_is_lost") {
            return;
        }
        let tries = usize::try_from(open.failures + open.expiries).unwrap_or(usize::MAX);
        let alike = open.alike.map_or(0, |(_, count)| usize::try_from(count).unwrap_or(usize::MAX));
        let pause = match cause {
            // the coordinators could not be asked
            ReturnCause::Released if open.spec.once => PAUSE_ONCE,
            ReturnCause::Failed if alike > 1 => {
                let pause = PAUSES_ALIKE[(alike - 2).min(PAUSES_ALIKE.len() - 1)];
                // an attempt before the deadline is left
                let left = open.spec.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(now));
                pause.min(left / 2)
            }
            ReturnCause::Failed | ReturnCause::Expired => PAUSES[tries.clamp(1, PAUSES.len()) - 1],
            ReturnCause::Released | ReturnCause::Preempted => Duration::ZERO,
        };
        let place = if pause.is_zero() { Place::Ready } else { Place::Paused { until: now + pause } };
        self.put(task, place);
        self.assign(task, now);
    }

    /// Does what is due.
    pub(in crate::tasks) fn due(&mut self, now: Duration) {
        while self.rests.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, capability)) = self.rests.pop_first() {
                self.assign_ready(&capability, now);
            }
        }
        while let Some((at, task)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let Some(open) = self.open.get(&task) else {
                self.timers.remove(&(at, task));
                continue;
            };
            if open.spec.deadline.is_some_and(|deadline| deadline <= now) {
                self.end(task, TaskEnd::DeadlineExceeded, "deadline", "its deadline has passed".to_owned(), now);
                continue;
            }
            match &open.place {
                Place::Paused { .. } if planted("pauses_for_ever") => drop(self.timers.remove(&(at, task))),
                Place::Paused { .. } => {
                    self.put(task, Place::Ready);
                    self.assign(task, now);
                }
                Place::Running(running) if running.attempt_until <= now && open.spec.once => {
                    let token = running.token;
                    self.expired(task, token, now);
                }
                Place::Running(running) if running.attempt_until <= now => {
                    let error = format!("the attempt took longer than {} s", open.spec.attempt.as_secs_f64());
                    let (token, fault) = (running.token, Fault::new("timeout", error));
                    self.failed(task, token, fault, now);
                }
                Place::Running(running) => {
                    let token = running.token;
                    self.expired(task, token, now);
                }
                // nothing is armed there but a deadline
                Place::Approval | Place::After | Place::Ready | Place::Claiming(_) | Place::Ending => {
                    self.timers.remove(&(at, task));
                }
            }
        }
    }

    /// Where a task is; `None` if it is not open here, or somebody is writing about it.
    pub(in crate::tasks) fn seen(&self, task: TaskId) -> Option<Seen> {
        let open = self.open.get(&task)?;
        match &open.place {
            Place::Approval => Some(Seen::Approval),
            Place::After => open.spec.after.first().map(|before| Seen::After(*before)),
            Place::Ready => Some(Seen::Ready),
            Place::Paused { until } => Some(Seen::Paused(*until)),
            Place::Running(_) => Some(Seen::Running),
            Place::Claiming(_) | Place::Ending => Some(Seen::Writing),
        }
    }

    /// Whether a worker has a task by this claim.
    pub(in crate::tasks) fn is_running(&self, task: TaskId, token: TaskToken) -> bool {
        self.running(task, token).is_ok()
    }

    fn running(&self, task: TaskId, token: TaskToken) -> Result<&Running, NotHeld> {
        match self.open.get(&task).map(|open| &open.place) {
            Some(Place::Running(running)) if running.token == token => Ok(running),
            _ => Err(NotHeld),
        }
    }

    fn failed(&mut self, task: TaskId, token: TaskToken, fault: Fault, now: Duration) {
        self.record_failure(task, now);
        let Some(open) = self.open.get_mut(&task) else { return };
        if let Place::Running(running) = &open.place {
            let begun = running.attempt_until.saturating_sub(open.spec.attempt);
            let before = open.alike.take();
            if now.saturating_sub(begun) < MOMENT {
                let fault = fault.likeness();
                let count = before.filter(|(before, _)| *before == fault).map_or(0, |(_, count)| count);
                open.alike = Some((fault, count.saturating_add(1)));
            }
        }
        let last = open.failures + 1 >= open.spec.attempts;
        self.put(task, Place::Ending);
        self.actions.push_back(match last {
            true => Action::Settle { task, token: Some(token), end: TaskEnd::Failed, output: String::new(), fault },
            false => Action::Return { task, token, cause: ReturnCause::Failed, fault },
        });
    }

    fn expired(&mut self, task: TaskId, token: TaskToken, now: Duration) {
        self.record_failure(task, now);
        let Some(open) = self.open.get(&task) else { return };
        let most = if open.spec.once && !planted("begins_again") { 1 } else { EXPIRIES_MAX };
        let last = open.expiries + 1 >= most;
        self.put(task, Place::Ending);
        let error = "its worker was not heard of in time".to_owned();
        self.actions.push_back(match last {
            true => {
                reached("attempt_ends_unknown");
                let times = if most > 1 { format!(", {most} times") } else { String::new() };
                let fault = Fault::new("expired", format!("{error}{times}: it may or may not have run"));
                Action::Settle { task, token: Some(token), end: TaskEnd::Unknown, output: String::new(), fault }
            }
            false => Action::Return { task, token, cause: ReturnCause::Expired, fault: Fault::new("expired", error) },
        });
    }

    /// Whether an open task is done once.
    pub(in crate::tasks) fn is_once(&self, task: TaskId) -> bool {
        self.open.get(&task).is_some_and(|open| open.spec.once)
    }

    /// Whether a task waits that is done once.
    pub(in crate::tasks) fn waits_for_quorum(&self) -> bool {
        !self.once.is_empty()
    }

    pub(in crate::tasks) const fn has_quorum(&self) -> bool {
        self.quorum
    }

    /// A quorum of the coordinators answers, or does not.
    pub(in crate::tasks) fn set_quorum(&mut self, quorum: bool, now: Duration) {
        self.quorum = quorum;
        for task in self.once.clone() {
            self.assign(task, now);
        }
    }

    /// Moves a task, and arms its timer.
    fn put(&mut self, task: TaskId, place: Place) {
        let Some(open) = self.open.get_mut(&task) else { return };
        let place = match place {
            Place::After | Place::Ready | Place::Paused { .. } if open.spec.awaits_approval => Place::Approval,
            place => place,
        };
        let key = (open.spec.rank, task);
        if matches!(open.place, Place::Ready)
            && let Some(ready) = self.ready.get_mut(&open.spec.capability)
        {
            ready.remove(&key);
            self.once.remove(&task);
            if ready.is_empty() {
                self.ready.remove(&open.spec.capability);
            }
        }
        if matches!(open.place, Place::Running(_))
            && let Some(running) = self.running.get_mut(&open.spec.capability)
        {
            running.remove(&key);
            if running.is_empty() {
                self.running.remove(&open.spec.capability);
            }
        }
        if let Some(at) = open.timer.take() {
            self.timers.remove(&(at, task));
        }
        let (deadline, own) = (
            open.spec.deadline,
            match &place {
                Place::Paused { until } => Some(*until),
                Place::Running(running) if planted("leases_never_end") => Some(running.attempt_until),
                Place::Running(running) => Some(running.lease_until.min(running.attempt_until)),
                Place::Approval | Place::After | Place::Ready | Place::Claiming(_) | Place::Ending => None,
            },
        );
        // while an event is being written the shell has the next word
        let is_written = matches!(place, Place::Claiming(_) | Place::Ending);
        open.timer = own.into_iter().chain(deadline).min().filter(|_| !is_written);
        if let Some(at) = open.timer {
            self.timers.insert((at, task));
        }
        if matches!(place, Place::Running(_)) {
            self.running.entry(open.spec.capability.clone()).or_default().insert(key);
        }
        if matches!(place, Place::Ready) {
            if open.spec.once {
                self.once.insert(task);
            }
            self.ready.entry(open.spec.capability.clone()).or_default().insert(key);
        }
        open.place = place;
    }
}

/// The time without a word of another node after which the claims of its workers are over.
pub(in crate::tasks) const LEASE_ELSEWHERE: Duration = Duration::from_secs(15);
/// The lease of a claim that is taken up at a start: nobody knows the one before.
const FIRST_LEASE: Duration = Duration::from_secs(30);
