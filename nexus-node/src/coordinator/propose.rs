//! The changes that callers on this node want: gathered, signed, and sent to the leader until they are
//! done or the time is over. The numbers of the session make sure that each is done once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use nexus_identity::Did;
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
use super::state::{Full, Outcome, Refusal, reply_too_large};
use super::wire::{Body, Bytes, Envelope, Reason, Refused};
use super::{AGAIN, ANSWER_WITHIN, Coordinator};
use crate::error::{AccessError, InputError, NodeError, StopError};
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
    /// Commits a command. Returns its outcome.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] if that was not possible in time. The command may still happen, unless
    /// the error says that it did not. [`NodeError::Invalid`] and [`NodeError::TooLarge`] for its form,
    /// [`NodeError::Refused`] if this node may not write.
    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, NodeError> {
        limits::check(FORMAT_MAX, std::slice::from_ref(&command))?;
        let bytes = encode(&command).len();
        if bytes > BATCH_BYTES_MAX {
            return Err(NodeError::TooLarge { what: "a command", bytes, max: BATCH_BYTES_MAX });
        }
        if !self.may_propose(&self.identity.me()) {
            let ended = self.identity.members().has_ended(&self.identity.me());
            return Err(if ended { AccessError::Revoked } else { AccessError::CriticalReader }.into());
        }
        if command.has_bytes()
            && let Some(format) = self.format_without_bytes().await?
        {
            return Err(not_raised(format));
        }
        let (answer, outcome) = oneshot::channel();
        let stopping = || NodeError::from(StopError::CriticalWrites);
        self.proposals.send(PendingCommand { command, bytes, alone: None, answer }).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())?
    }
}

/// Gathers commands into the next proposal while proposals are in progress.
pub(super) async fn run(here: Arc<Coordinator>, wanted: mpsc::Receiver<PendingCommand>) {
    let session = u64::from_le_bytes(random());
    let under_way: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let bounds = BatchBounds { items: COMMANDS_MAX, bytes: BATCH_BYTES_MAX };
    let mut wanted = Gather::new(wanted, bounds, PendingCommand::size);
    for seq in 1.. {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(batch) = wanted.next().await else { return };
        let answered = {
            let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.insert(seq);
            under_way.first().map_or(0, |first| first - 1)
        };
        let until = batch.iter().find_map(|one| one.alone).unwrap_or_else(|| Instant::now() + ANSWER_WITHIN);
        let commands: Vec<Command> = batch.iter().map(|one| one.command.clone()).collect();
        let (group, by, at_ms) = (Group::default(), here.identity.me(), here.world.wall().as_ms());
        let proposal = Proposal { format: 0, group, by, session, seq, answered, base: 0, at_ms, commands };
        let (deliverer, under_way) = (here.clone(), under_way.clone());
        let deliver = async move {
            let delivered = deliverer.deliver(proposal, until).await;
            under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
            drop(place);
            let shared = batch.len() > 1;
            let outcomes: Vec<Result<Outcome, Undelivered>> = match delivered {
                Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
                Err(undelivered) => vec![Err(undelivered); batch.len()],
            };
            for (one, outcome) in batch.into_iter().zip(outcomes) {
                if shared && is_too_large(&outcome) {
                    // nothing of it was done, and alone it has the whole answer
                    let _ = deliverer.proposals.send(PendingCommand { alone: Some(until), ..one }).await;
                } else {
                    let _ = one.answer.send(outcome.map_err(|undelivered| deliverer.why(&undelivered)));
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
    /// The coordinators began anew, and their format has no such values.
    NotRaised(u16),
    Refused(String),
    /// The answer would have this many bytes.
    TooLarge(u64),
    Stopping,
}

/// The result of one try.
enum Attempt {
    Done(Vec<Outcome>),
    /// Another node leads; with its name, if it is known.
    Elsewhere(Option<Did>),
    /// There was no answer, or an empty one.
    Nothing,
    Refused(String),
    /// The answer would have this many bytes.
    TooLarge(u64),
}

impl Coordinator {
    /// Sends a proposal to the leader until it is committed.
    async fn deliver(&self, mut proposal: Proposal, until: Instant) -> Result<Vec<Outcome>, Undelivered> {
        let mut signed: Option<Signed> = None;
        let mut hint = None;
        let has_bytes = proposal.commands.iter().any(Command::has_bytes);
        loop {
            if let Some((group, base)) = self.where_it_stands() {
                if signed.is_none() || proposal.group != group {
                    (proposal.format, proposal.group, proposal.base) = (self.writes(group), group, base);
                    if has_bytes && proposal.format < format::BYTES {
                        return Err(Undelivered::NotRaised(proposal.format));
                    }
                    signed = Some(Signed::new(&proposal, &self.key));
                }
                let leader = hint.take().or_else(|| self.leader());
                if let (Some(leader), Some(signed)) = (leader, signed.clone()) {
                    // a leader that dies never answers; sending it to another is safe: the session
                    // makes it happen once
                    let brought = async {
                        tokio::select! {
                            tried = self.bring(leader, group, signed) => tried,
                            next = self.another_leads(leader) => Attempt::Elsewhere(Some(next)),
                        }
                    };
                    let tried = tokio::time::timeout_at(until, brought).await;
                    match tried.unwrap_or(Attempt::Nothing) {
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
                            None => {}
                        },
                        Attempt::Elsewhere(next) => {
                            hint = next.filter(|next| *next != leader && self.may_lead(next));
                            if hint.is_some() {
                                continue;
                            }
                        }
                        Attempt::Nothing => {}
                        Attempt::Refused(why) => return Err(Undelivered::Refused(why)),
                        Attempt::TooLarge(bytes) => return Err(Undelivered::TooLarge(bytes)),
                    }
                }
            }
            if Instant::now() >= until {
                return Err(Undelivered::NoQuorum);
            }
            if self.failure.has_failed() {
                return Err(Undelivered::Stopping);
            }
            self.look_around().await;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Resolves once this node follows a leader other than `than`.
    async fn another_leads(&self, than: Did) -> Did {
        let Some(running) = self.running() else { return std::future::pending().await };
        running.another_leads(than).await
    }

    async fn bring(&self, leader: Did, group: Group, signed: Signed) -> Attempt {
        if leader == self.identity.me() {
            let Some(running) = self.running().filter(|running| running.group == group) else {
                return Attempt::Nothing;
            };
            return match running.submit(signed).await {
                Ok(outcomes) => Attempt::Done(outcomes),
                Err(NotDone::NotLeader(leader)) => Attempt::Elsewhere(leader.map(|leader| leader.did)),
                Err(NotDone::TooLarge(bytes)) => Attempt::TooLarge(bytes),
                Err(NotDone::NoQuorum | NotDone::Stopping) => Attempt::Nothing,
            };
        }
        let body = Body::Propose(Bytes { bytes: encode(&signed) });
        match self.ask(leader, group, body).await {
            Ok(Reply { format, body: Body::Proposed(outcomes) }) => {
                Outcome::decode_all(format, &outcomes.bytes).map_or(Attempt::Nothing, Attempt::Done)
            }
            Ok(Reply { body: Body::Refused(refused), .. }) => refused.into(),
            Ok(_) | Err(_) => Attempt::Nothing,
        }
    }

    /// Asks a member something that is not Raft's own.
    pub(super) async fn ask(&self, member: Did, group: Group, body: Body) -> Result<Reply, AskError> {
        let format = self.formats.max.into();
        let envelope = Envelope { id: 0, group: encode(&group), to: Vec::new(), format, body: Some(body) };
        let Envelope { format, body, .. } = self.links.ask(member, envelope, ANSWER_WITHIN).await?;
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

    /// The format of critical state, if it has no values but texts. Asks the leader unless this node knows
    /// better.
    async fn format_without_bytes(&self) -> Result<Option<u16>, NodeError> {
        let known = || self.where_it_stands().map_or(0, |(group, _)| self.writes(group));
        if known() >= format::BYTES {
            return Ok(None);
        }
        let raised = self.read(&Query::Revision).await?.raised.max(known());
        Ok(Some(raised).filter(|raised| *raised < format::BYTES))
    }

    fn why(&self, undelivered: &Undelivered) -> NodeError {
        match undelivered {
            Undelivered::NoQuorum => self.no_quorum(),
            Undelivered::NotRaised(format) => not_raised(*format),
            Undelivered::Refused(why) => AccessError::Leader { message: why.clone() }.into(),
            Undelivered::TooLarge(bytes) => reply_too_large(*bytes),
            Undelivered::Stopping => StopError::CriticalWrites.into(),
        }
    }
}

impl From<Refused> for Attempt {
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
        }
    }
}

fn not_raised(format: u16) -> NodeError {
    NodeError::NotRaised { what: "values that are no text", needs: format::BYTES, format }
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

/// Whether a command's outcome did not fit the answer, so that nothing of it was done.
fn is_too_large(outcome: &Result<Outcome, Undelivered>) -> bool {
    matches!(outcome, Ok(Outcome::Refused(Refusal::Full(Full::Reply { .. }))) | Err(Undelivered::TooLarge(_)))
}

/// Whether a proposal that came too late may count with a later index.
fn base_moved(proposal: &Proposal, stands: Option<(Group, u64)>) -> bool {
    stands.is_some_and(|(_, base)| base > proposal.base)
}
