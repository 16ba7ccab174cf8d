//! openraft's requests over the links.

use std::sync::Arc;
use std::time::Duration;

use nexus_identity::plants::planted;
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

use super::command::Group;
use super::format::encode;
use super::log::{Log, READ_BYTES_MAX};
use super::raft::{Ballot, LogId, Position, SnapshotHead, Types, Vote, Voter, decode_at, decode_vote, encode_entry};
use super::wire::{Append, AppendResult, Body, Envelope, Install, VoteAsk};

/// The longest wait for an answer. openraft's own limit, a heartbeat, is too short for a slow disk or
/// another continent. It would gain nothing either: when the peer is gone, the stream ends and requests
/// fail at once.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// The longest wait for a part of a snapshot.
const INSTALL_MAX: Duration = Duration::from_secs(20);
/// The wait before an unreachable peer is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// The peers of a group, and whether a voter among them has a seat.
pub(super) struct Peers {
    pub(super) links: Arc<Asker<Envelope>>,
    pub(super) seated: Seated,
}

/// Whether a voter has a seat.
pub(super) type Seated = Arc<dyn Fn(&Voter) -> bool + Send + Sync>;

/// The source of clients for the other voters and learners.
pub(super) struct PeerLinks {
    pub(super) links: Arc<Asker<Envelope>>,
    pub(super) group: Group,
    pub(super) log: Log,
    pub(super) believes: Believes,
}

/// Whether a vote in a peer's answer is believed. Raft follows whatever vote is higher than its own: any learner
/// could depose the leader by an answer.
pub(super) type Believes = Arc<dyn Fn(&Vote) -> bool + Send + Sync>;

impl RaftNetworkFactory<Types> for PeerLinks {
    type Network = Client;

    async fn new_client(&mut self, target: Voter, _: &EmptyNode) -> Client {
        let (links, log, believes) = (self.links.clone(), self.log.clone(), self.believes.clone());
        Client { links, group: self.group, log, believes, target }
    }
}

/// The client of one other voter or learner.
pub(super) struct Client {
    links: Arc<Asker<Envelope>>,
    group: Group,
    log: Log,
    believes: Believes,
    target: Voter,
}

type Failed<E = openraft::error::Infallible> = RPCError<Voter, EmptyNode, RaftError<Voter, E>>;

impl Client {
    /// The vote that an answer names.
    fn believed(&self, bytes: &[u8]) -> Option<Vote> {
        decode_vote(bytes).filter(|vote| (self.believes)(vote))
    }

    async fn ask<E: std::error::Error>(&self, body: Body, within: Duration) -> Result<Body, Failed<E>> {
        let envelope =
            Envelope { id: 0, group: encode(&self.group), to: encode(&self.target), format: 0, body: Some(body) };
        let answer = self.links.ask(self.target.did, envelope, within).await;
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        match answer.body {
            Some(Body::Refused(refused)) => Err(Unreachable::new(&AnyError::error(refused.message)).into()),
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
        let body = Body::Append(Append {
            vote: encode(&Ballot::from(request.vote)),
            previous: encode_at(request.prev_log_id),
            entries,
            committed: encode_at(self.log.sure(request.leader_commit)),
        });
        let Body::Appended(answer) = self.ask(body, ANSWER_MAX).await? else { return Err(nonsense()) };
        match answer.result() {
            AppendResult::Success => Ok(AppendEntriesResponse::Success),
            AppendResult::Partial => {
                Ok(AppendEntriesResponse::PartialSuccess(decode_at(&answer.upto).ok_or_else(nonsense)?))
            }
            AppendResult::Conflict => Ok(AppendEntriesResponse::Conflict),
            AppendResult::HigherVote => {
                Ok(AppendEntriesResponse::HigherVote(self.believed(&answer.vote).ok_or_else(nonsense)?))
            }
            AppendResult::Unspecified => Err(nonsense()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<Voter>, Failed<InstallSnapshotError>> {
        let body = Body::Install(Install {
            vote: encode(&Ballot::from(request.vote)),
            head: encode(&SnapshotHead::from(&request.meta)),
            offset: request.offset,
            data: request.data,
            done: request.done,
        });
        match self.ask(body, INSTALL_MAX).await? {
            Body::Installed(vote) => {
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

/// The error for an answer that makes no sense.
fn nonsense<E: std::error::Error>() -> Failed<E> {
    RPCError::Network(NetworkError::new(&AnyError::error("the answer does not read")))
}

pub(super) fn encode_at(at: Option<LogId>) -> Vec<u8> {
    encode(&at.map(Position::from))
}
