//! openraft's requests over the links.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_identity::Did;
use nexus_identity::plants::planted;
use nexus_mesh::OpenConnection;
use nexus_mesh::ask::Asker;
use openraft::error::{
    InstallSnapshotError, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, EmptyNode};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::applied::Applied;
use super::command::Group;
use super::format::{self, encode};
use super::log::{Log, READ_BYTES_MAX};
use super::raft::{
    Ballot, LogId, Position, Seats, SnapshotHead, SnapshotMeta, Types, Vote, Voter, decode_at, decode_vote,
    encode_entry,
};
use super::rest::{Content, Heartbeat, Heartbeats};
use super::runtime::Pace;
use super::wire::{Append, AppendResult, Body, Envelope, Install, VoteAsk};

/// The longest wait for an answer. openraft's own limit, a heartbeat, is too short for a slow disk or
/// another continent. It would gain nothing either: when the peer is gone, the stream ends and requests
/// fail at once.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// The longest wait for a part of a snapshot.
const INSTALL_MAX: Duration = Duration::from_secs(20);
/// The wait before a snapshot is sent again that was not taken: it can be large.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// The wait before an unreachable peer is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// A promise that leaves an earlier one as it is.
pub(super) const REST_UNCHANGED: u32 = u32::MAX;

/// The peers of a group, and whether a voter among them has a seat.
pub(super) struct Peers {
    pub(super) links: Arc<Asker<Envelope>>,
    pub(super) open: Open,
    pub(super) seated: Seated,
}

/// The open connections.
pub(super) type Open = watch::Receiver<BTreeMap<Did, OpenConnection>>;

/// Whether a voter has a seat.
pub(super) type Seated = Arc<dyn Fn(&Voter) -> bool + Send + Sync>;

/// The source of clients for the other voters and learners.
pub(super) struct PeerLinks {
    pub(super) links: Arc<Asker<Envelope>>,
    pub(super) group: Group,
    pub(super) log: Log,
    pub(super) believes: Believes,
    pub(super) votes: Seated,
    pub(super) matched: Matched,
    pub(super) applied: Applied,
    pub(super) silence: Arc<Silence>,
}

/// The silence of a leader, for all its clients.
pub(super) struct Silence {
    heartbeats: Mutex<Heartbeats>,
    /// Set while silence would be in the way.
    held: AtomicBool,
    /// Tells that a promise was made or ended, or that silence is held.
    changed: Notify,
    open: Open,
    applied: Applied,
}

impl Silence {
    pub(super) fn new(open: Open, applied: Applied) -> Arc<Self> {
        let (heartbeats, held) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { heartbeats, held, changed: Notify::new(), open, applied })
    }

    pub(super) fn heartbeats(&self) -> MutexGuard<'_, Heartbeats> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the heartbeats, and tells if that made or ended a promise.
    fn change<T>(&self, change: impl FnOnce(&mut Heartbeats) -> T) -> T {
        let mut heartbeats = self.heartbeats();
        let before = heartbeats.changes();
        let result = change(&mut heartbeats);
        if heartbeats.changes() != before {
            self.changed.notify_one();
        }
        result
    }

    /// Ends all promises: all peers get heartbeats again.
    pub(super) fn wake(&self) {
        self.change(Heartbeats::wake);
    }

    /// Resolves when a promise was made or ended since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The pace of a leader's ticks.
    pub(super) fn pace(&self, me: &Voter, seats: &Seats) -> Pace {
        let open = self.open.borrow();
        self.heartbeats().pace(me, seats, |peer| open.get(&peer.did).copied(), self.may_rest())
    }

    /// Whether silence was promised to a quorum over connections that are open: it lives as far as can be told.
    pub(super) fn rests_with_quorum(&self, me: &Voter, seats: &Seats) -> bool {
        let open = self.open.borrow();
        self.heartbeats().rests_with_quorum(me, &seats.voters, |peer| open.get(&peer.did).copied(), Instant::now())
    }

    /// Promises nothing more until this is called with `false`.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The open connection to a member.
    pub(super) fn open_to(&self, peer: &Did) -> Option<OpenConnection> {
        self.open.borrow().get(peer).copied()
    }

    /// Whether there is nothing to decide: whatever ends in time needs a leader that is missed at once.
    fn may_rest(&self) -> bool {
        !self.held.load(Ordering::Relaxed) && self.applied.read().machine.timed().next().is_none()
    }
}

/// The last entry that each peer has by its own answers to this leader, with the vote of the leadership. openraft
/// takes it for granted that no peer denies what it confirmed: it counts with the difference.
pub(super) type Matched = Arc<Mutex<BTreeMap<Voter, (Vote, LogId)>>>;

/// Whether a vote in a peer's answer is believed. Raft follows whatever vote is higher than its own: any learner
/// could depose the leader by an answer.
pub(super) type Believes = Arc<dyn Fn(&Vote) -> bool + Send + Sync>;

impl RaftNetworkFactory<Types> for PeerLinks {
    type Network = Client;

    async fn new_client(&mut self, target: Voter, _: &EmptyNode) -> Client {
        let (links, log, believes) = (self.links.clone(), self.log.clone(), self.believes.clone());
        let (matched, applied) = (self.matched.clone(), self.applied.clone());
        let (silence, votes) = (self.silence.clone(), self.votes.clone());
        Client {
            links,
            group: self.group,
            log,
            believes,
            votes,
            matched,
            applied,
            silence,
            target,
            refused: None,
            used: false,
        }
    }
}

/// The client of one other voter or learner.
pub(super) struct Client {
    links: Arc<Asker<Envelope>>,
    group: Group,
    log: Log,
    believes: Believes,
    /// Whether one votes.
    votes: Seated,
    matched: Matched,
    applied: Applied,
    silence: Arc<Silence>,
    target: Voter,
    /// Whether it has appended before. openraft proves a leadership by clients of their own, with one message each.
    used: bool,
    /// The time of the last snapshot that the peer did not take.
    refused: Option<Instant>,
}

type Failed<E = openraft::error::Infallible> = RPCError<Voter, EmptyNode, RaftError<Voter, E>>;

impl Client {
    /// The vote that an answer names.
    fn believed(&self, bytes: &[u8]) -> Option<Vote> {
        decode_vote(bytes).filter(|vote| (self.believes)(vote))
    }

    /// The last entry that the peer confirmed in this leadership.
    fn matched(&self, vote: &Vote) -> Option<LogId> {
        let matched = self.matched.lock().unwrap_or_else(PoisonError::into_inner);
        matched.get(&self.target).filter(|(of, _)| of == vote).map(|(_, last)| *last)
    }

    fn note(&self, vote: Vote, last: Option<LogId>) {
        let Some(last) = last else { return };
        let mut matched = self.matched.lock().unwrap_or_else(PoisonError::into_inner);
        // peers of former leaderships may be gone
        matched.retain(|_, (of, _)| *of == vote);
        let (_, known) = matched.entry(self.target).or_insert((vote, last));
        *known = last.max(*known);
    }

    /// The digest of a snapshot's state, and its certificate. Before critical state is of a format of which snapshots
    /// are signed, there may be none. Later, one that would be refused is not sent.
    fn signed(&self, meta: &SnapshotMeta) -> Result<(Vec<u8>, Vec<u8>), Unreachable> {
        let index = meta.last_log_id.map_or(0, |at| at.index);
        let signs = self.applied.read().machine.format() >= format::SEATS;
        match self.applied.checkpoint(index).filter(|checkpoint| checkpoint.enough || !signs) {
            Some(checkpoint) => Ok((checkpoint.state.to_vec(), checkpoint.certificate.write())),
            None if !signs => Ok((Vec::new(), Vec::new())),
            None => Err(Unreachable::new(&AnyError::error("too few coordinators have signed the snapshot yet"))),
        }
    }

    async fn ask<E: std::error::Error>(&self, body: Body, within: Duration) -> Result<Body, Failed<E>> {
        let is_snapshot = matches!(body, Body::Install(_));
        let envelope =
            Envelope { id: 0, group: encode(&self.group), to: encode(&self.target), format: 0, body: Some(body) };
        let answer = self.links.ask(self.target.did, envelope, within).await;
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        match answer.body {
            Some(Body::Refused(refused)) => {
                if is_snapshot {
                    self.applied.was_refused();
                }
                Err(Unreachable::new(&AnyError::error(refused.message)).into())
            }
            Some(body) => Ok(body),
            None => Err(nonsense()),
        }
    }
}

impl RaftNetwork<Types> for Client {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Voter>, Failed> {
        if planted("commits_without_quorum") {
            return Ok(AppendEntriesResponse::Success);
        }
        let entries: Vec<Vec<u8>> = request.entries.iter().map(encode_entry).collect();
        let mut bytes = 0;
        let fit = entries.iter().take_while(|entry| {
            bytes += entry.len();
            bytes <= READ_BYTES_MAX
        });
        let fit = fit.count().max(1);
        if fit < entries.len() {
            return Err(PayloadTooLarge::new_entries_hint(fit as u64).into());
        }
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let committed = self.log.sure(request.leader_commit);
        let content: Content = (request.vote, last, committed);
        let (mut over, now) = (self.silence.open_to(&self.target.did), Instant::now());
        if let Some(over) = over.as_mut().filter(|_| !(self.votes)(&self.target)) {
            // it stands for no election, so it need not miss this leader soon
            over.closes = true;
        }
        let is_proof = !std::mem::replace(&mut self.used, true) && entries.is_empty();
        let (mut promise, mut number) = (None, None);
        if !is_proof {
            if entries.is_empty() {
                let may_rest = self.silence.may_rest();
                match self.silence.heartbeats().next(&self.target, content, over, may_rest, now) {
                    Heartbeat::Spared => return Ok(AppendEntriesResponse::Success),
                    Heartbeat::Sent(promised) => promise = promised,
                }
            }
            number = Some(self.silence.change(|heartbeats| heartbeats.sends(self.target, content, now)));
        }
        let rest_ms = match promise {
            Some(promise) => u32::try_from(promise.as_millis()).unwrap_or_default(),
            None if is_proof && over.is_some_and(|over| over.rest > 0) => REST_UNCHANGED,
            None => 0,
        };
        let body = Body::Append(Append {
            vote: encode(&Ballot::from(request.vote)),
            previous: encode_at(request.prev_log_id),
            entries,
            committed: encode_at(committed),
            rest_ms,
        });
        let Body::Appended(answer) = self.ask(body, ANSWER_MAX).await? else { return Err(nonsense()) };
        let answer = match answer.result() {
            AppendResult::HigherVote => self.believed(&answer.vote).map(AppendEntriesResponse::HigherVote),
            AppendResult::Success => Some(AppendEntriesResponse::Success),
            AppendResult::Partial => decode_at(&answer.upto).map(AppendEntriesResponse::PartialSuccess),
            AppendResult::Conflict => Some(AppendEntriesResponse::Conflict),
            AppendResult::Unspecified => None,
        };
        let answer = answer.filter(|answer| can_answer(answer, &request, self.matched(&request.vote)));
        let answer = answer.ok_or_else(nonsense)?;
        match &answer {
            AppendEntriesResponse::Success => {
                self.note(request.vote, last);
                let promised = over.map(|over| over.number).zip(promise);
                self.silence.change(|heartbeats| match number {
                    Some(number) => heartbeats.taken(&self.target, content, number, promised, now),
                    None => heartbeats.answered(&self.target, now),
                });
            }
            AppendEntriesResponse::PartialSuccess(upto) => self.note(request.vote, *upto),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {}
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<Voter>, Failed<InstallSnapshotError>> {
        let (state, certificate) = match request.offset {
            0 if self.refused.is_some_and(|refused| refused.elapsed() < REFUSED_FOR) => {
                return Err(Unreachable::new(&AnyError::error("it did not take a snapshot just now")).into());
            }
            0 => self.signed(&request.meta)?,
            _ => Default::default(),
        };
        let body = Body::Install(Install {
            vote: encode(&Ballot::from(request.vote)),
            head: encode(&SnapshotHead::from(&request.meta)),
            offset: request.offset,
            data: request.data,
            done: request.done,
            state,
            certificate,
        });
        let answer = self.ask(body, INSTALL_MAX).await;
        self.refused = answer.is_err().then(Instant::now);
        match answer? {
            Body::Installed(vote) => {
                if request.done {
                    self.note(request.vote, request.meta.last_log_id);
                }
                Ok(InstallSnapshotResponse { vote: self.believed(&vote.bytes).ok_or_else(nonsense)? })
            }
            // the other side asks for the snapshot from its beginning
            Body::Answer(_) => {
                let mismatch = openraft::error::SnapshotMismatch {
                    expect: openraft::SnapshotSegmentId { id: request.meta.snapshot_id.clone(), offset: 0 },
                    got: openraft::SnapshotSegmentId { id: request.meta.snapshot_id, offset: request.offset },
                };
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.target, error)))
            }
            _ => Err(nonsense()),
        }
    }

    async fn vote(&mut self, request: VoteRequest<Voter>, _: RPCOption) -> Result<VoteResponse<Voter>, Failed> {
        let vote = encode(&Ballot::from(request.vote));
        let body = Body::Vote(VoteAsk { vote, last: encode_at(request.last_log_id) });
        let Body::Voted(answer) = self.ask(body, ANSWER_MAX).await? else { return Err(nonsense()) };
        let vote = self.believed(&answer.vote).ok_or_else(nonsense)?;
        let last_log_id = decode_at(&answer.last).ok_or_else(nonsense)?;
        Ok(VoteResponse { vote, vote_granted: answer.granted, last_log_id })
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(AGAIN))
    }
}

/// Whether a peer can answer this: what it confirms was sent, what it denies it did not confirm before, and a vote
/// that it names is higher. openraft relies on all three, and stops where one does not hold.
fn can_answer(
    answer: &AppendEntriesResponse<Voter>,
    request: &AppendEntriesRequest<Types>,
    matched: Option<LogId>,
) -> bool {
    match answer {
        AppendEntriesResponse::Success => true,
        AppendEntriesResponse::PartialSuccess(upto) => {
            *upto == request.prev_log_id || request.entries.iter().any(|entry| Some(entry.log_id) == *upto)
        }
        AppendEntriesResponse::Conflict => request.prev_log_id.is_some() && request.prev_log_id > matched,
        AppendEntriesResponse::HigherVote(vote) => *vote > request.vote,
    }
}

/// The error for an answer that makes no sense.
fn nonsense<E: std::error::Error>() -> Failed<E> {
    RPCError::Network(NetworkError::new(&AnyError::error("the answer does not read")))
}

pub(super) fn encode_at(at: Option<LogId>) -> Vec<u8> {
    encode(&at.map(Position::from))
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, Entry, EntryPayload};

    use super::*;

    fn vote(term: u64) -> Vote {
        Vote::new_committed(term, Voter::default())
    }

    fn at(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, Voter::default()), index)
    }

    /// promise: Keys and locks | A peer's answer that cannot be ends no leader: it is as if the peer had not answered
    #[test]
    fn an_answer_that_openraft_does_not_expect_does_not_reach_it() {
        let entries = (5..8).map(|index| Entry { log_id: at(index), payload: EntryPayload::Blank }).collect();
        let request = |prev: Option<u64>| AppendEntriesRequest::<Types> {
            vote: vote(3),
            prev_log_id: prev.map(at),
            entries,
            leader_commit: None,
        };
        let (request, matched) = (request(Some(4)), Some(at(2)));
        let can = |answer, matched| can_answer(&answer, &request, matched);
        let partial = |index: Option<u64>| AppendEntriesResponse::PartialSuccess(index.map(at));
        assert!([4, 5, 7].into_iter().all(|index| can(partial(Some(index)), matched)));
        assert!(
            [3, 8, 1 << 40].into_iter().all(|index| !can(partial(Some(index)), matched))
                && !can(partial(None), matched)
        );
        assert!(can(AppendEntriesResponse::Conflict, matched) && can(AppendEntriesResponse::Conflict, None));
        assert!(!can(AppendEntriesResponse::Conflict, Some(at(4))), "it confirmed that entry");
        assert!(!can(AppendEntriesResponse::Conflict, Some(at(6))));
        let nothing_before =
            AppendEntriesRequest::<Types> { prev_log_id: None, entries: Vec::new(), ..request.clone() };
        assert!(!can_answer(&AppendEntriesResponse::Conflict, &nothing_before, None));
        let higher = |term| AppendEntriesResponse::HigherVote(vote(term));
        assert!(can(higher(4), matched) && !can(higher(3), matched) && !can(higher(2), matched));
    }
}
