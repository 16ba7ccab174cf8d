//! The changes that callers on this node want: gathered, signed, and sent to the leader until they are
//! done or the time is over. The numbers of the session make sure that each is done once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Did;
use nexus_identity::plants::planted;
use nexus_mesh::ask::AskError;
use nexus_mesh::{BatchBounds, Gather};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::command::{Command, Group, Proposal, Signed};
use super::format::encode;
use super::format::{self, FORMAT_MAX};
use super::group::NotDone;
use super::limits::{self, COMMANDS_MAX, FormError, KEY_BYTES_MAX, PROPOSAL_BYTES_MAX, RESERVED_PREFIX};
use super::query::Query;
use super::raft::Voter;
use super::requests::{Request, RequestKey};
use super::settled::Settled;
use super::state::{Full, Outcome, Refusal, reply_too_large};
use super::wire::{Body, Bytes, Envelope, Reason, Refused};
use super::{AGAIN, ANSWER_WITHIN, Coordinator};
use crate::error::{AccessError, InputError, NodeError, Resource, StopError};
use crate::request::RequestId;
use crate::world::random;

/// Commands that wait to be proposed. When they are full, callers wait.
pub(super) const WANTED_MAX: usize = 4_096;
/// The most proposals of this node in progress. Meanwhile the next one gathers more. Each costs a
/// signature, its checks and a commit on every disk.
const UNDER_WAY_MAX: usize = 2;
/// The most bytes of commands in one proposal of this node.
const BATCH_BYTES_MAX: usize = PROPOSAL_BYTES_MAX / 2;

/// A command, and the receiver of its outcome.
pub(super) struct PendingCommand {
    command: Command,
    request: Option<RequestKey>,
    bytes: usize,
    /// The end of its time, if it goes alone: its outcome did not fit the answer to a batch.
    alone: Option<Instant>,
    answer: oneshot::Sender<Result<Outcome, NodeError>>,
}

impl PendingCommand {
    /// The part of a batch that it takes, in bytes.
    fn size(&self) -> usize {
        if self.alone.is_some() { BATCH_BYTES_MAX } else { self.bytes }
    }
}

impl Coordinator {
    /// Commits a command. Returns its outcome; for a request that was asked before, its first one.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] if no leader with a quorum took it in time: then it did not happen.
    /// [`NodeError::OutcomeUnknown`] if a leader may have taken it, and did not answer in time.
    /// [`NodeError::Invalid`] and [`NodeError::TooLarge`] for its form, [`NodeError::Refused`] if this node may not
    /// write.
    pub(crate) async fn propose(&self, command: Command, request: Option<RequestKey>) -> Result<Outcome, NodeError> {
        if let Some(gone) = self.headroom.gone() {
            return Err(gone.into());
        }
        limits::check(FORMAT_MAX, std::slice::from_ref(&command))?;
        let bytes = encode(&command).len();
        if bytes > BATCH_BYTES_MAX {
            return Err(NodeError::TooLarge { what: "a command", bytes, max: BATCH_BYTES_MAX });
        }
        if !self.may_propose(&self.identity.me()) {
            let ended = self.identity.members().has_ended(&self.identity.me());
            return Err(if ended { AccessError::Revoked } else { AccessError::CriticalReader }.into());
        }
        if let Some(need) = Need::of([&command], request.is_some())
            && let Some(format) = self.format_without(need).await?
        {
            return Err(need.not_raised(format));
        }
        let (answer, outcome) = oneshot::channel();
        let stopping = || NodeError::from(StopError::CriticalWrites);
        self.proposals
            .send(PendingCommand { command, request, bytes, alone: None, answer })
            .await
            .map_err(|_| stopping())?;
        let outcome = outcome.await.map_err(|_| stopping())?;
        // the log on the disk was looked at for this write, if this node votes
        self.headroom.gone().map_or(outcome, |gone| Err(gone.into()))
    }
}

/// The numbers of this node's proposals.
///
/// The machine keeps the answers of a session until the node says that it had them. After an outcome that stays
/// unknown a new session begins, so that the answer is kept for whoever asks later.
struct Numbers {
    session: u64,
    last: u64,
    under_way: BTreeSet<u64>,
}

impl Numbers {
    fn begin() -> Self {
        Self { session: u64::from_le_bytes(random()), last: 0, under_way: BTreeSet::new() }
    }

    /// The session, the number of the next proposal, and the last one up to which all are answered.
    fn next(&mut self) -> (u64, u64, u64) {
        self.last += 1;
        self.under_way.insert(self.last);
        (self.session, self.last, self.under_way.first().map_or(0, |first| first - 1))
    }

    fn ended(&mut self, session: u64, seq: u64, is_known: bool) {
        match (session == self.session, is_known) {
            (true, true) => drop(self.under_way.remove(&seq)),
            (true, false) => *self = Self::begin(),
            (false, _) => {}
        }
    }
}

/// Gathers commands into the next proposal while proposals are in progress.
pub(super) async fn run(here: Arc<Coordinator>, wanted: mpsc::Receiver<PendingCommand>) {
    let numbers = Arc::new(Mutex::new(Numbers::begin()));
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let bounds = BatchBounds { items: COMMANDS_MAX, bytes: BATCH_BYTES_MAX };
    let mut wanted = Gather::new(wanted, bounds, PendingCommand::size);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(batch) = wanted.next().await else { return };
        let (session, seq, answered) = numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
        let until = batch.iter().find_map(|one| one.alone).unwrap_or_else(|| Instant::now() + ANSWER_WITHIN);
        let commands: Vec<Command> = batch.iter().map(|one| one.command.clone()).collect();
        let (group, by, at_ms) = (Group::default(), here.identity.me(), here.world.wall().as_ms());
        let requests =
            (0..).zip(&batch).filter_map(|(place, one)| Some(Request { place, key: one.request? })).collect();
        let proposal = Proposal { format: 0, group, by, session, seq, answered, base: 0, at_ms, commands, requests };
        let (deliverer, numbers) = (here.clone(), numbers.clone());
        let deliver = async move {
            let delivered = deliverer.deliver(proposal, until).await;
            let is_known = !matches!(delivered, Err(Undelivered::Unknown { .. }));
            numbers.lock().unwrap_or_else(PoisonError::into_inner).ended(session, seq, is_known);
            drop(place);
            let shared = batch.len() > 1;
            let outcomes: Vec<Result<Outcome, Undelivered>> = match delivered {
                Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
                Err(undelivered) => vec![Err(undelivered); batch.len()],
            };
            for (place, (one, outcome)) in (0..).zip(batch.into_iter().zip(outcomes)) {
                if shared && is_too_large(&outcome) {
                    // nothing of it was done, and alone it has the whole answer
                    let _ = deliverer.proposals.send(PendingCommand { alone: Some(until), ..one }).await;
                } else {
                    let why = |undelivered| deliverer.why(&undelivered, (session, seq, place));
                    let _ = one.answer.send(outcome.map_err(why));
                }
            }
        };
        here.spawn("proposal", deliver.boxed());
    }
}

/// A member's answer, and its format.
pub(super) struct Reply {
    pub(super) format: u16,
    pub(super) body: Body,
}

/// The reason why a proposal was not committed, or is not known to be.
#[derive(Clone)]
enum Undelivered {
    NoQuorum,
    /// A leader of this group may have appended it, with this base.
    Unknown {
        group: Group,
        base: u64,
    },
    /// The coordinators began anew, and their format lacks this.
    NotRaised(Need, u16),
    Refused(String),
    /// The answer would have this many bytes.
    TooLarge(u64),
    Stopping,
}

/// Something of a later format in a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Values that are no text.
    Bytes,
    /// The ids of requests.
    Requests,
}

impl Need {
    /// The latest need of these commands.
    fn of<'a>(commands: impl IntoIterator<Item = &'a Command>, has_requests: bool) -> Option<Self> {
        if has_requests {
            return Some(Self::Requests);
        }
        commands.into_iter().any(Command::has_bytes).then_some(Self::Bytes)
    }

    /// The first format that has it.
    const fn format(self) -> u16 {
        match self {
            Self::Bytes => format::BYTES,
            Self::Requests => format::REQUESTS,
        }
    }

    fn not_raised(self, format: u16) -> NodeError {
        let what = match self {
            Self::Bytes => "values that are no text",
            Self::Requests => "requests with an id",
        };
        NodeError::NotRaised { what, needs: self.format(), format }
    }
}

/// The result of one try.
enum Attempt {
    Done(Vec<Outcome>),
    Failed {
        why: Failed,
        /// Whether a leader may have appended it all the same.
        may_be_appended: bool,
    },
}

/// The reason why a try did not commit a proposal.
#[derive(Debug)]
enum Failed {
    /// Another node leads; with its name, if it is known.
    Elsewhere(Option<Did>),
    /// There was no answer, or an empty one.
    Nothing,
    Refused(String),
    /// The answer would have this many bytes.
    TooLarge(u64),
}

impl Failed {
    const fn before_the_log(self) -> Attempt {
        Attempt::Failed { why: self, may_be_appended: false }
    }

    const fn perhaps_after_it(self) -> Attempt {
        Attempt::Failed { why: self, may_be_appended: true }
    }
}

impl Coordinator {
    /// Sends a proposal to the leader until it is committed.
    async fn deliver(&self, mut proposal: Proposal, until: Instant) -> Result<Vec<Outcome>, Undelivered> {
        let mut signed: Option<Signed> = None;
        let mut hint = None;
        let need = Need::of(&proposal.commands, !proposal.requests.is_empty());
        // where a leader may have appended it
        let mut appended = None;
        let ended = loop {
            if let Some((group, base)) = self.where_it_stands() {
                if signed.is_none() || proposal.group != group {
                    (proposal.format, proposal.group, proposal.base) = (self.writes(group), group, base);
                    if let Some(need) = need.filter(|need| proposal.format < need.format()) {
                        break Undelivered::NotRaised(need, proposal.format);
                    }
                    signed = Some(Signed::new(&proposal, &self.key));
                }
                let leader = hint.take().or_else(|| self.leader());
                if let (Some(leader), Some(signed)) = (leader, signed.clone()) {
                    let (failed, may_be_appended) = match self.try_with(leader, group, signed, until).await {
                        Attempt::Done(outcomes) => match refusal_of_all(&outcomes) {
                            // the proposal expired unapplied and never will be applied: sign it again
                            Some(Refusal::TooLate) if base_moved(&proposal, self.where_it_stands()) => {
                                proposal.base = 0;
                                proposal.group = Group::default();
                                continue;
                            }
                            Some(refusal) => {
                                return Ok(vec![Outcome::Refused(refusal.clone()); proposal.commands.len()]);
                            }
                            None if outcomes.len() == proposal.commands.len() => return Ok(outcomes),
                            // an answer to something else says nothing about this proposal
                            None => (Failed::Nothing, true),
                        },
                        Attempt::Failed { why, may_be_appended } => (why, may_be_appended),
                    };
                    if may_be_appended {
                        tracing::debug!(leader = %leader.short(), failed = ?failed, "a proposal may be appended there");
                        // in the first of several groups: what began anew from its copy may have it
                        let first = appended.filter(|(of, _)| *of != group);
                        appended = first.or(Some((group, proposal.base)));
                    }
                    match failed {
                        Failed::Elsewhere(next) => {
                            hint = next.filter(|next| *next != leader && self.may_lead(next));
                            if hint.is_some() {
                                continue;
                            }
                        }
                        Failed::Nothing => {}
                        Failed::Refused(why) => break Undelivered::Refused(why),
                        Failed::TooLarge(bytes) => break Undelivered::TooLarge(bytes),
                    }
                }
            }
            if Instant::now() >= until {
                break Undelivered::NoQuorum;
            }
            if self.failure.has_failed() {
                break Undelivered::Stopping;
            }
            let _ = tokio::time::timeout_at(until, self.look_around()).await;
            tokio::time::sleep(AGAIN).await;
        };
        Err(appended.map_or(ended, |(group, base)| Undelivered::Unknown { group, base }))
    }

    /// One try. A leader that dies never answers; sending it to another is safe: the session makes it happen once.
    async fn try_with(&self, leader: Did, group: Group, signed: Signed, until: Instant) -> Attempt {
        tokio::select! {
            tried = self.bring(leader, group, signed, until) => tried,
            next = self.another_leads(leader) => Failed::Elsewhere(Some(next)).perhaps_after_it(),
        }
    }

    /// Resolves once this node follows a leader other than `than`.
    pub(super) async fn another_leads(&self, than: Did) -> Did {
        let Some(running) = self.running() else { return std::future::pending().await };
        running.another_leads(than).await
    }

    async fn bring(&self, leader: Did, group: Group, signed: Signed, until: Instant) -> Attempt {
        if leader == self.identity.me() {
            let Some(running) = self.running().filter(|running| running.group == group) else {
                return Failed::Nothing.before_the_log();
            };
            let named = |leader: Option<Voter>| Failed::Elsewhere(leader.map(|leader| leader.did));
            return match running.submit(signed, until).await {
                Ok(outcomes) => Attempt::Done(outcomes),
                Err(NotDone::NotLeader(leader)) => named(leader).before_the_log(),
                Err(NotDone::Unknown(leader)) => named(leader).perhaps_after_it(),
                Err(NotDone::TooLarge(bytes)) => Failed::TooLarge(bytes).before_the_log(),
                Err(NotDone::NoQuorum | NotDone::Stopping) => Failed::Nothing.before_the_log(),
            };
        }
        let body = Body::Propose(Bytes { bytes: encode(&signed) });
        let within = until.saturating_duration_since(Instant::now()).min(ANSWER_WITHIN);
        match self.ask_within(leader, group, body, within).await {
            Ok(Reply { format, body: Body::Proposed(outcomes) }) => {
                let read = Outcome::decode_all(format, &outcomes.bytes);
                read.map_or_else(|_| Failed::Nothing.perhaps_after_it(), Attempt::Done)
            }
            Ok(Reply { body: Body::Refused(refused), .. }) => {
                Attempt::Failed { may_be_appended: !refused.not_appended, why: refused.into() }
            }
            Ok(_) => Failed::Nothing.perhaps_after_it(),
            Err(error) => Attempt::Failed { why: Failed::Nothing, may_be_appended: error.may_have_asked() },
        }
    }

    /// The outcome of a request that this node made, settled once and for all: if it did not happen yet, it never will.
    ///
    /// The proposal of its number with no commands takes its place. Of two proposals with one number the first one that
    /// is applied counts, and the second one gets the same answer.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] if nobody can say yet. [`NodeError::NotFound`] for the id of another node.
    pub(crate) async fn outcome(&self, id: &RequestId) -> Result<Settled, NodeError> {
        let by = self.identity.me();
        if !id.is_of(&by) {
            return Err(NodeError::NotFound { what: Resource::Request, name: "of this node with that id".to_owned() });
        }
        if planted("settles_nothing") {
            return Ok(Settled::Never);
        }
        let until = Instant::now() + ANSWER_WITHIN;
        let RequestId { group: of, session, seq, base, place, .. } = *id;
        let group = Group { generation: of.0, id: of.1 };
        let mut hint = None;
        loop {
            if let Some((now, _)) = self.where_it_stands() {
                if now != group {
                    return Ok(Settled::Forgotten);
                }
                let at_ms = self.world.wall().as_ms();
                let (format, commands, requests) = (self.writes(group), Vec::new(), Vec::new());
                let proposal =
                    Proposal { format, group, by, session, seq, answered: 0, base, at_ms, commands, requests };
                let signed = Signed::new(&proposal, &self.key);
                if let Some(leader) = hint.take().or_else(|| self.leader()) {
                    match self.try_with(leader, group, signed, until).await {
                        Attempt::Done(outcomes) => return Ok(settled(outcomes, place)),
                        Attempt::Failed { why: Failed::Elsewhere(next), .. } => {
                            hint = next.filter(|next| *next != leader && self.may_lead(next));
                        }
                        Attempt::Failed { why: Failed::Refused(why), .. } => {
                            return Err(AccessError::Leader { message: why }.into());
                        }
                        Attempt::Failed { .. } => {}
                    }
                }
            }
            if Instant::now() >= until {
                return Err(self.no_quorum());
            }
            if hint.is_none() {
                let _ = tokio::time::timeout_at(until, self.look_around()).await;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Asks a member something that is not Raft's own.
    pub(super) async fn ask(&self, member: Did, group: Group, body: Body) -> Result<Reply, AskError> {
        self.ask_within(member, group, body, ANSWER_WITHIN).await
    }

    async fn ask_within(&self, member: Did, group: Group, body: Body, within: Duration) -> Result<Reply, AskError> {
        let format = self.formats.max.into();
        let envelope = Envelope { id: 0, group: encode(&group), to: Vec::new(), format, body: Some(body) };
        let asked = self.links.ask(member, envelope, within);
        let Envelope { format, body, .. } = tokio::select! {
            answer = asked => answer?,
            () = self.doubt() => return Err(AskError::Unreachable),
        };
        // one above what was asked for reads as none
        let format = u16::try_from(format).ok().filter(|format| *format <= self.formats.max);
        Ok(Reply { format: format.ok_or(AskError::Unreachable)?, body: body.ok_or(AskError::Unreachable)? })
    }

    /// The format in which a proposal for this group may be: lower ones than the group's count as well.
    fn writes(&self, group: Group) -> u16 {
        let exact = *self.exact.lock().unwrap_or_else(PoisonError::into_inner);
        let exact = exact.filter(|(of, _)| *of == group).map_or(0, |(_, format)| format);
        match self.running() {
            // a copy may not have applied the raise yet that the leader answered
            Some(running) if running.group == group => running.applied.read().machine.format().max(exact),
            _ => exact,
        }
    }

    /// The format of critical state, if it lacks this. Asks the leader unless this node knows better.
    async fn format_without(&self, need: Need) -> Result<Option<u16>, NodeError> {
        let known = || self.where_it_stands().map_or(0, |(group, _)| self.writes(group));
        if known() >= need.format() {
            return Ok(None);
        }
        let raised = self.read(&Query::Revision).await?.raised.max(known());
        Ok(Some(raised).filter(|raised| *raised < need.format()))
    }

    /// The error for a command, by the session, the number of its proposal and its place there.
    fn why(&self, undelivered: &Undelivered, (session, seq, place): (u64, u64, u16)) -> NodeError {
        match undelivered {
            Undelivered::NoQuorum => self.no_quorum(),
            Undelivered::Unknown { group, base } => {
                let id = RequestId::new(&self.identity.me(), (group.generation, group.id), session, seq, *base, place);
                NodeError::OutcomeUnknown { id, missing: self.missing() }
            }
            Undelivered::NotRaised(need, format) => need.not_raised(*format),
            Undelivered::Refused(why) => AccessError::Leader { message: why.clone() }.into(),
            Undelivered::TooLarge(bytes) => reply_too_large(*bytes),
            Undelivered::Stopping => StopError::CriticalWrites.into(),
        }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        match refused.reason() {
            Reason::NotLeader => Self::Elsewhere(borsh::from_slice(&refused.leader).ok()),
            Reason::Forbidden => Self::Refused(refused.message),
            Reason::TooLarge => Self::TooLarge(refused.bytes),
            Reason::NoQuorum | Reason::Busy | Reason::OtherGroup | Reason::Unspecified => Self::Nothing,
        }
    }
}

impl From<FormError> for NodeError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::TooLarge { what, size, max } => Self::TooLarge { what, bytes: size, max },
            FormError::Reserved => AccessError::ReservedKey { prefix: RESERVED_PREFIX }.into(),
            FormError::Name { what } => InputError::KeyName { what, max: KEY_BYTES_MAX }.into(),
            FormError::Time { what, ms, min, max } => InputError::Time { what, ms, min, max }.into(),
            FormError::Format { format } => InputError::CommandFormat { format }.into(),
            FormError::Requests => InputError::RequestId { max: RequestKey::ID_BYTES_MAX }.into(),
        }
    }
}

/// The refusal of a proposal as a whole.
fn refusal_of_all(outcomes: &[Outcome]) -> Option<&Refusal> {
    match outcomes {
        [
            Outcome::Refused(
                refusal @ (Refusal::TooLate
                | Refusal::OtherGroup { .. }
                | Refusal::Malformed(_)
                | Refusal::Full(Full::Answers)),
            ),
        ] => Some(refusal),
        _ => None,
    }
}

/// The end of the command at a place, by the answer to a proposal of its number without commands.
fn settled(outcomes: Vec<Outcome>, place: u16) -> Settled {
    match refusal_of_all(&outcomes) {
        Some(Refusal::TooLate | Refusal::OtherGroup { .. } | Refusal::Full(Full::Answers)) => Settled::Forgotten,
        _ if outcomes.is_empty() => Settled::Never,
        _ => outcomes.into_iter().nth(usize::from(place)).map_or(Settled::Forgotten, Settled::Answered),
    }
}

/// Whether a command's outcome did not fit the answer, so that nothing of it was done.
fn is_too_large(outcome: &Result<Outcome, Undelivered>) -> bool {
    matches!(outcome, Ok(Outcome::Refused(Refusal::Full(Full::Reply { .. }))) | Err(Undelivered::TooLarge(_)))
}

/// Whether a proposal that came too late may count with a later index.
fn base_moved(proposal: &Proposal, stands: Option<(Group, u64)>) -> bool {
    stands.is_some_and(|(_, base)| base > proposal.base)
}
