//! This node's answers to other members.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::plants::{planted, reached};
use nexus_identity::{Did, Role};
use nexus_mesh::Stream;
use nexus_mesh::ask::{self, AskLimits};
use nexus_mesh::quota::Receiver;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest};
use tokio::time::Instant;

use super::certificate::Part;
use super::command::{Group, Proposal, ProposalError, Signed};
use super::format::{self, ReadError, TooNew, encode};
use super::group::{NotDone, Running};
use super::limits::PROPOSAL_BYTES_MAX;
use super::manage::Manage;
use super::network::encode_at;
use super::raft::{
    Ballot, Types, Vote, Voter, decode_at, decode_entry, decode_head, decode_vote, index_can_follow, term_can_follow,
};
use super::runtime::scope;
use super::state::Outcome;
use super::wire::{
    Append, AppendResult, Appended, Body, Bytes, Envelope, Hello, Install, Reason, Refused, VoteAsk, Voted,
};
use super::{ANSWER_WITHIN, Coordinator};

/// How long a peer's proposal may take here. The answer that it was not appended must come before the peer gives up.
const PROPOSAL_MAX: Duration = ANSWER_WITHIN.saturating_sub(Duration::from_millis(500));

impl Coordinator {
    /// Answers the peers that open streams.
    pub(crate) async fn serve(self: Arc<Self>, streams: Receiver<Stream>) {
        let spawner = self.world.spawner().clone();
        let answer = move |peer, envelope| {
            let here = self.clone();
            async move { here.answer(peer, envelope).await }.boxed()
        };
        ask::serve(streams, "raft answer", spawner, AskLimits::default(), answer).await;
    }

    async fn answer(&self, peer: Did, envelope: Envelope) -> Envelope {
        let Envelope { id, group, to, format, body } = envelope;
        let format = u16::try_from(format).unwrap_or(u16::MAX);
        let answer = match self.do_for(peer, &group, &to, format, body).await {
            Ok(answer) => answer,
            Err(refused) => Body::Refused(refused),
        };
        let group = self.running().map(|running| encode(&running.group)).unwrap_or_default();
        Envelope { id, group, to: Vec::new(), format: format.min(self.formats.max).into(), body: Some(answer) }
    }

    async fn do_for(
        &self,
        peer: Did,
        group: &[u8],
        to: &[u8],
        asked_in: u16,
        body: Option<Body>,
    ) -> Result<Body, Refused> {
        let max = self.formats.max;
        // a peer of a later version asks what this one does not know: that is no fault of the peer
        let unread = || match asked_in > max {
            true => self.unread(peer, ReadError::TooNew(TooNew::Format { found: asked_in, max })),
            false => malformed(),
        };
        let format = asked_in.min(max);
        let body = body.ok_or_else(unread)?;
        if let Body::Hello(Hello {}) = body {
            return Ok(Body::Overview(self.say()));
        }
        let group = Group::read(group).ok_or_else(|| refused(Reason::Forbidden, "of no group"))?;
        let raft = matches!(body, Body::Append(_) | Body::Vote(_) | Body::Install(_) | Body::Elect(_));
        if raft {
            if !self.may_propose(&peer) {
                return Err(refused(Reason::Forbidden, "a reader does not coordinate"));
            }
            let vote = vote_of(&body);
            if !self.takes_raft(group, &peer, vote.map(|vote| vote.leader_id.node_id).as_ref()) {
                return Err(refused(Reason::Forbidden, "no admin has signed its seat among these coordinators"));
            }
            self.adopt(group).await.map_err(|error| refused(Reason::Busy, &error.to_string()))?;
            // compared after adopting the group, which may draw this node anew
            if borsh::from_slice::<Voter>(to).ok() != Some(self.me()) {
                return Err(refused(Reason::Forbidden, "for another voter than this node is now"));
            }
        }
        let running = self.running().ok_or_else(|| refused(Reason::Busy, "not a coordinator yet"))?;
        if running.group != group {
            return Err(refused(Reason::OtherGroup, "these are other coordinators"));
        }
        if vote_of(&body).is_some_and(|vote| !term_can_follow(vote.leader_id.term, running.term())) {
            return Err(refused(Reason::Forbidden, "a term that no election has reached"));
        }
        match body {
            Body::Append(append) => take_entries(self, &running, peer, append).await,
            Body::Vote(ask) => vote(self, &running, peer, ask).await,
            Body::Install(part) => install(self, &running, peer, part).await,
            Body::Elect(_) => {
                running.end_rest();
                let _ = scope(self.world.spawner().clone(), running.raft.trigger().elect()).await;
                Ok(Body::Answer(Bytes::default()))
            }
            Body::Seat(voter) => {
                let voter: Voter = borsh::from_slice(&voter.bytes).map_err(|_| unread())?;
                let signed = self.sign_for(&running, &peer, &voter).await;
                signed.map_err(|why| refused(Reason::Forbidden, why))?;
                Ok(Body::Answer(Bytes::default()))
            }
            Body::Certify(index) => {
                let index: u64 = borsh::from_slice(&index.bytes).map_err(|_| unread())?;
                let signature = self.certify(&running, &peer, index);
                let signature = signature.ok_or_else(|| refused(Reason::Busy, "no snapshot of that place is here"))?;
                Ok(Body::Answer(Bytes { bytes: encode(&signature) }))
            }
            Body::Propose(signed) => {
                if signed.bytes.len() > PROPOSAL_BYTES_MAX {
                    return Err(refused(Reason::Forbidden, "a proposal is too large"));
                }
                let signed = borsh::from_slice(&signed.bytes).map_err(|_| unread())?;
                self.take_proposal(&running, peer, signed, format).await
            }
            Body::Query(query) => {
                let query = borsh::from_slice(&query.bytes).map_err(|_| unread())?;
                running.prove().await.map_err(|why| not_done(&running, why))?;
                let answer = self.look(&running, &query);
                if !answer.is_for(format) {
                    return Err(refused(Reason::Busy, "values that are no text need a later version"));
                }
                Ok(Body::Answer(Bytes { bytes: answer.encode(format) }))
            }
            Body::Audit(upto) => {
                let upto: u64 = borsh::from_slice(&upto.bytes).map_err(|_| unread())?;
                let page = self.audit_back(&running, upto).await;
                let page = page.map_err(|error| refused(Reason::Busy, &error.to_string()))?;
                Ok(Body::Answer(Bytes { bytes: encode(&page) }))
            }
            Body::Manage(manage) => {
                if self.role(&peer) != Some(Role::Admin) {
                    return Err(refused(Reason::Forbidden, "only an admin changes who coordinates"));
                }
                let manage: Manage = borsh::from_slice(&manage.bytes).map_err(|_| unread())?;
                self.manage_here(&running, manage).await.map_err(|error| match error {
                    super::govern::ManageError::NotDone(why) => not_done(&running, why),
                    super::govern::ManageError::Refused(why) => refused(Reason::Forbidden, &why),
                })?;
                Ok(Body::Answer(Bytes::default()))
            }
            _ => Err(refused(Reason::Forbidden, "not a request")),
        }
    }

    /// Takes a peer's own proposal, checked before it enters the log.
    async fn take_proposal(&self, running: &Running, peer: Did, signed: Signed, format: u16) -> Result<Body, Refused> {
        let checked = signed.checked(self.formats.max);
        let signed = checked.map_err(|error| match error {
            ProposalError::Read(error) => self.unread(peer, error),
            error => refused(Reason::Forbidden, &error.to_string()),
        })?;
        let own = |proposal: &&Proposal| proposal.by == peer && self.may_propose(&peer);
        let Some(proposal) = signed.proposal().filter(own).filter(|proposal| proposal.answered < proposal.seq) else {
            return Err(refused(Reason::Forbidden, "not the proposer's own, or a reader's"));
        };
        // this copy may not have applied yet what the proposer knows of
        if proposal.format > running.applied.read().machine.format() {
            return Err(refused(Reason::Busy, "of a format that is not raised here yet"));
        }
        if self.awaits_its_line(running, &peer) {
            return Err(refused(Reason::Busy, "what its former key wrote is not its own here yet"));
        }
        let submitted = running.submit(signed, Instant::now() + PROPOSAL_MAX).await;
        let outcomes = submitted.map_err(|why| match why {
            // an earlier version does not know the other reason
            NotDone::TooLarge(_) if format < format::BYTES => {
                refused(Reason::Forbidden, "the answer would be too large")
            }
            why => not_done(running, why),
        })?;
        Ok(Body::Proposed(Bytes { bytes: Outcome::encode_all(format, &outcomes) }))
    }

    /// Notes that a peer sent bytes of a later version. They were not taken, and nothing stops for them.
    fn meet(&self, peer: Did, too_new: TooNew) {
        tracing::debug!(peer = %peer.short(), error = %too_new, "not taken");
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Some((peer, too_new));
    }

    /// The refusal of bytes that were not read.
    fn unread(&self, peer: Did, error: ReadError) -> Refused {
        match error {
            ReadError::TooNew(too_new) => {
                self.meet(peer, too_new);
                refused(Reason::Busy, "of a later version than this node")
            }
            ReadError::Malformed => malformed(),
        }
    }
}

/// The vote under which a message of Raft speaks. `None` if it names none, or none that can be read.
fn vote_of(body: &Body) -> Option<Vote> {
    let vote = match body {
        Body::Append(append) => &append.vote,
        Body::Vote(ask) => &ask.vote,
        Body::Install(part) => &part.vote,
        _ => return None,
    };
    decode_vote(vote)
}

async fn take_entries(here: &Coordinator, running: &Running, peer: Did, append: Append) -> Result<Body, Refused> {
    let vote = decode_vote(&append.vote).filter(|vote| vote.leader_id.node_id.did == peer).ok_or_else(malformed)?;
    let entries: Result<Vec<_>, _> = append.entries.iter().map(|bytes| decode_entry(bytes)).collect();
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: decode_at(&append.previous).ok_or_else(malformed)?,
        entries: entries.map_err(|error| here.unread(peer, error))?,
        leader_commit: decode_at(&append.committed).ok_or_else(malformed)?,
    };
    if !follow_each_other(&request) && !planted("entries_with_gaps") {
        return Err(malformed());
    }
    let request_vote = request.vote;
    let answer = scope(here.world.spawner().clone(), running.raft.append_entries(request)).await;
    let answer = answer.map_err(|error| refused(Reason::Busy, &error.to_string()))?;
    let (result, vote, upto) = match answer {
        AppendEntriesResponse::Success => (AppendResult::Success, Vec::new(), Vec::new()),
        AppendEntriesResponse::PartialSuccess(upto) => (AppendResult::Partial, Vec::new(), encode_at(upto)),
        AppendEntriesResponse::Conflict => (AppendResult::Conflict, Vec::new(), Vec::new()),
        AppendEntriesResponse::HigherVote(vote) => (AppendResult::HigherVote, encode(&Ballot::from(vote)), Vec::new()),
    };
    if result != AppendResult::HigherVote {
        running.hear();
        // only a peer that has all of it may be left alone
        running.rest(request_vote, if result == AppendResult::Success { append.rest_ms } else { 0 });
    }
    Ok(Body::Appended(Appended { result: result.into(), vote, upto }))
}

/// Whether a leader's entries follow the one before without a gap, and none is of a term after the leader's. openraft
/// relies on that.
fn follow_each_other(request: &AppendEntriesRequest<Types>) -> bool {
    let mut last = request.prev_log_id;
    request.entries.iter().all(|entry| {
        let follows = entry.log_id.index == last.map_or(0, |last| last.index + 1) && Some(entry.log_id) > last;
        last = Some(entry.log_id);
        follows && entry.log_id.leader_id.term <= request.vote.leader_id.term
    })
}

async fn vote(here: &Coordinator, running: &Running, peer: Did, ask: VoteAsk) -> Result<Body, Refused> {
    let vote = decode_vote(&ask.vote).filter(|vote| vote.leader_id.node_id.did == peer).ok_or_else(malformed)?;
    if planted("votes_for_everybody") {
        return Ok(Body::Voted(Voted { vote: ask.vote, granted: true, last: ask.last }));
    }
    let request = VoteRequest { vote, last_log_id: decode_at(&ask.last).ok_or_else(malformed)? };
    // openraft knows of the leader by its heartbeats alone, of which there are none while this node rests
    if let Some(leader) = here.resting_leader(running).await {
        let (vote, last) = (encode(&Ballot::from(leader)), encode_at(running.metrics().last_applied));
        return Ok(Body::Voted(Voted { vote, granted: false, last }));
    }
    let answer = scope(here.world.spawner().clone(), running.raft.vote(request)).await;
    let answer = answer.map_err(|error| refused(Reason::Busy, &error.to_string()))?;
    let vote = encode(&Ballot::from(answer.vote));
    Ok(Body::Voted(Voted { vote, granted: answer.vote_granted, last: encode_at(answer.last_log_id) }))
}

async fn install(here: &Coordinator, running: &Running, peer: Did, part: Install) -> Result<Body, Refused> {
    let vote = decode_vote(&part.vote).filter(|vote| vote.leader_id.node_id.did == peer).ok_or_else(malformed)?;
    let head = decode_head(&part.head).map_err(|error| here.unread(peer, error))?;
    let last = running.metrics().last_log_index.unwrap_or_default();
    if head.at.is_some_and(|at| !index_can_follow(at.index, last)) {
        return Err(malformed());
    }
    // bytes of a later version are not taken at all
    if part.offset == 0 {
        format::split(&part.data, here.formats.max).map_err(|error| here.unread(peer, error))?;
    }
    match here.takes_part(running, peer, &part, &head) {
        Part::Taken if part.done => {
            reached("snapshot_taken");
            if head.at.is_some_and(|at| here.identity.members().has_ended(&at.leader.did)) {
                reached("snapshot_of_a_revoked_leader");
            }
        }
        Part::Taken => {}
        Part::Astray => return Ok(Body::Answer(Bytes::default())),
        Part::Refused => return Err(refused(Reason::Forbidden, "too few coordinators have signed this snapshot")),
    }
    let request =
        InstallSnapshotRequest { vote, meta: head.into(), offset: part.offset, data: part.data, done: part.done };
    match scope(here.world.spawner().clone(), running.raft.install_snapshot(request)).await {
        Ok(answer) => {
            running.hear();
            Ok(Body::Installed(Bytes { bytes: encode(&Ballot::from(answer.vote)) }))
        }
        // the parts do not follow each other: ask for the snapshot from its beginning
        Err(openraft::error::RaftError::APIError(_)) => Ok(Body::Answer(Bytes::default())),
        Err(error) => Err(refused(Reason::Busy, &error.to_string())),
    }
}

fn malformed() -> Refused {
    refused(Reason::Forbidden, "a request that does not read")
}

fn refused(reason: Reason, message: &str) -> Refused {
    Refused { reason: reason.into(), message: message.to_owned(), leader: Vec::new(), bytes: 0, not_appended: true }
}

fn not_done(running: &Running, why: NotDone) -> Refused {
    let another = |leader: Option<Voter>| {
        let leader = leader.filter(|leader| *leader != running.me).map(|leader| encode(&leader.did));
        Refused { leader: leader.unwrap_or_default(), ..refused(Reason::NotLeader, "another node leads") }
    };
    match why {
        NotDone::NotLeader(leader) => another(leader),
        NotDone::Unknown(leader) => Refused { not_appended: false, ..another(leader) },
        NotDone::NoQuorum => refused(Reason::NoQuorum, "a quorum did not answer"),
        NotDone::TooLarge(bytes) => Refused { bytes, ..refused(Reason::TooLarge, "the answer would be too large") },
        NotDone::Stopping => refused(Reason::Busy, "the node is stopping"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nexus_crdt::{EntryId, Hlc};
    use nexus_mesh::{Mesh, MeshConfig, Rooms, Spawner, SystemClock, TokioSpawner, tcp_quic_transport};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::config::Config;
    use crate::coordinator::certificate::{Certificate, Checkpoint};
    use crate::coordinator::command::{Command, Group, Proposal, Put, Step, Txn};
    use crate::coordinator::format::FORMAT_MAX;
    use crate::coordinator::govern::ManageError;
    use crate::coordinator::limits::VALUE_BYTES_MAX;
    use crate::coordinator::part::{Handles, Origin};
    use crate::coordinator::query::Query;
    use crate::coordinator::raft::{Ballot, Position, Seats, SnapshotHead};
    use crate::coordinator::runtime::scope;
    use crate::coordinator::seats::SeatWish;
    use crate::coordinator::state::{Full, LogPlace, Machine, Refusal};
    use crate::coordinator::voters::VoterChange;
    use crate::error::NodeError;
    use crate::failure::Failure;
    use crate::identity::Identity;
    use crate::replication::tests::{Peer, chain, key, mesh};
    use crate::store::disk::Disk;
    use crate::store::{Store, StoreOptions};
    use crate::world::{Inline, Tasks, World};

    const LATER: u16 = FORMAT_MAX + 1;
    const GARBAGE: &[u8] = &[0xee; 3];

    /// The coordinator of a mesh's first node. Node 1 is a member.
    async fn coordinator() -> Arc<Coordinator> {
        coordinator_of(FORMAT_MAX).await
    }

    /// The same, in a mesh whose members read this format of critical state.
    async fn coordinator_of(format: u16) -> Arc<Coordinator> {
        coordinator_on(&Disk::new(), &Disk::new(), format).await
    }

    /// The same, on these disks.
    async fn coordinator_on(raft: &Disk, journal: &Disk, format: u16) -> Arc<Coordinator> {
        coordinator_with(0, Arc::new(TokioSpawner::current()), raft, journal, format).await
    }

    /// The same of a node, with its tasks on this spawner. Only node 0 is an admin's.
    async fn coordinator_with(
        n: u8,
        spawner: Arc<dyn Spawner>,
        raft: &Disk,
        journal: &Disk,
        format: u16,
    ) -> Arc<Coordinator> {
        let mut config = Config::default();
        config.formats.critical = format;
        let mut peer = Peer::new(0);
        peer.input(crate::engine::Input::Chain(chain(1)));
        let transport = tcp_quic_transport(&key(n)).unwrap();
        let (mesh_handle, _) = Mesh::start(transport, MeshConfig::new(key(n)), Rooms::new(), spawner.clone()).unwrap();
        let (seats, mut wishes) = mpsc::channel::<SeatWish>(1);
        let (members, following) = watch::channel(peer.members());
        let sign = async move {
            while let Some(SeatWish { seat, signed }) = wishes.recv().await {
                let id = EntryId::of(&seat.encode());
                members.send_modify(|members| {
                    Arc::make_mut(members).seat(&key(0).did(), Hlc(1), id, seat);
                });
                let _ = signed.send(true);
            }
        };
        spawner.spawn("seats", sign.boxed());
        let handles = Handles {
            identity: Identity::new(key(n).did(), mesh(), following),
            mesh: mesh_handle,
            world: World::new(spawner, Arc::new(Inline), Arc::new(SystemClock::new())),
            failure: Failure::default(),
            headroom: crate::headroom::Headroom::new(None, 0),
            seats,
        };
        let store = Store::with_backend("raft.redb", raft.clone(), StoreOptions::default()).unwrap();
        let journal = Box::new(journal.clone());
        let origin = Origin { store, journal, founder: true, redraw: false, machine: None };
        Coordinator::start(handles, key(n), &config, origin).await.unwrap()
    }

    /// promise: Keys and locks | A copy that cannot go on takes neither the memory nor the start with it: keys and locks say `failed`, with the way out
    #[tokio::test]
    async fn a_copy_that_cannot_be_read_does_not_stop_the_start() {
        let (raft, journal) = (Disk::new(), Disk::new());
        let here = coordinator_on(&raft, &journal, FORMAT_MAX).await;
        let running = here.running.send_replace(None).unwrap();
        running.stop().await;
        // a state that breaks the rules of its format
        let (group, me) = (running.group, here.me());
        let at = Some(Position { term: 9, leader: me, index: 9 });
        let seats = Seats { voters: vec![BTreeSet::from([me])], all: BTreeSet::from([me]) };
        let head = SnapshotHead { at, seats_at: at, seats, id: "bad".to_owned() };
        let vote = Ballot { term: 9, voter: me, committed: false };
        here.log.found(mesh(), group, me, vote, head, GARBAGE).await.unwrap();
        here.stop().await;
        here.close();

        let here = coordinator_on(&raft, &journal, FORMAT_MAX).await;
        assert!(here.running().is_none() && here.broken().is_some());
        for error in [here.no_copy("on this node"), here.no_quorum()] {
            assert_eq!(error.code(), "failed", "{error}");
            assert!(crate::api::Problem::from(error).hint.is_some_and(|hint| hint.contains("raft.redb")));
        }
        // nobody makes it take part again before the next start
        let refused = here.adopt(Group { generation: 7, id: 7 }).await.unwrap_err();
        assert_eq!(refused.code(), "failed");
        here.stop().await;
    }

    /// promise: Keys and locks | A task of the coordinators that panics ends this node's part alone; a node whose tasks are ended has not failed
    #[tokio::test]
    async fn a_panic_ends_the_part_and_the_end_of_all_tasks_is_none() {
        let here = coordinator().await;
        let (running, mut parts) = (here.running().unwrap(), here.running.subscribe());
        let bug = running.raft.with_raft_state(|_| panic!("a bug"));
        assert!(scope(here.world().spawner().clone(), bug).await.is_err());
        parts.wait_for(Option::is_none).await.unwrap();
        assert_eq!(here.broken().unwrap().to_string(), "panicked");
        here.stop().await;

        let tasks = Arc::new(Tasks::current());
        let here = coordinator_with(0, tasks.clone(), &Disk::new(), &Disk::new(), FORMAT_MAX).await;
        let running = here.running().unwrap();
        tasks.end().await;
        assert!(running.raft.server_metrics().has_changed().is_err(), "openraft's core has ended");
        assert!(running.failed(here.panicked.clone()).now_or_never().is_none());
        assert!(here.broken().is_none());
    }

    /// The reason why node 1 is refused, and the data of a later version that was met.
    async fn refusal(here: &Coordinator, format: u16, body: Option<Body>) -> (Reason, Vec<TooNew>) {
        *here.met.lock().unwrap() = None;
        let group = encode(&here.running().unwrap().group);
        let envelope = Envelope { id: 1, group, to: Vec::new(), format: format.into(), body };
        let answer = here.answer(key(1).did(), envelope).await;
        let Some(Body::Refused(refused)) = answer.body else { panic!("{answer:?}") };
        let met = here.too_new().into_iter().map(|(from, too_new)| {
            assert_eq!(from, Some(key(1).did()));
            too_new
        });
        (refused.reason(), met.collect())
    }

    /// Messages of Raft from node 1 with this draw: one vote, one empty append, one snapshot, one call to stand.
    fn of_raft(term: u64, draw: u64) -> [Body; 4] {
        let voter = Voter { did: key(1).did(), draw };
        let ballot = |committed| encode(&Ballot { term, voter, committed });
        let at = Some(Position { term, leader: voter, index: 900 });
        let seats = Seats { voters: vec![BTreeSet::from([voter])], all: BTreeSet::from([voter]) };
        let head = encode(&SnapshotHead { at, seats_at: at, seats, id: "forged".to_owned() });
        let append = Append {
            vote: ballot(true),
            previous: encode_at(None),
            entries: vec![],
            committed: encode_at(None),
            rest_ms: 0,
        };
        let install = Install { vote: ballot(true), head, data: GARBAGE.to_vec(), done: true, ..Install::default() };
        [
            Body::Vote(VoteAsk { vote: ballot(false), last: encode(&at) }),
            Body::Append(append),
            Body::Install(install),
            Body::Elect(Hello {}),
        ]
    }

    /// promise: Keys and locks | Raft's messages are taken from seats that an admin signed, and a later group is one of such seats
    #[tokio::test]
    async fn a_member_without_a_seat_leads_nobody_and_begins_no_other_group() {
        let here = coordinator().await;
        let (group, term) = (here.running().unwrap().group, here.running().unwrap().metrics().current_term);
        here.identity.follow().wait_for(|members| members.has_seats()).await.unwrap();
        let me = here.me();
        assert!(here.is_seated(group, &me), "the founder's node signs its own seat");
        let send = async |group: Group, body: Body| {
            let (group, to) = (encode(&group), encode(&here.me()));
            here.answer(key(1).did(), Envelope { id: 1, group, to, format: 0, body: Some(body) }).await.body.unwrap()
        };
        let later = Group { generation: group.generation + 1, id: 9 };
        for group in [group, later] {
            for body in of_raft(term + 5, 3) {
                let answer = send(group, body.clone()).await;
                let Body::Refused(refused) = answer else { panic!("{body:?}: {answer:?}") };
                assert_eq!(refused.reason(), Reason::Forbidden, "{body:?}");
            }
        }
        let running = here.running().unwrap();
        assert_eq!((running.group, running.metrics().current_term, here.me()), (group, term, me), "nothing changed");

        // an answer in its name deposes nobody either: only a seat's vote is followed
        let stranger = Voter { did: key(1).did(), draw: 3 };
        let follows = here.seated_in(group);
        assert!(follows(&me) && !follows(&stranger));

        // a seat is that of a draw and of a group
        let (seated, last) =
            (Voter { did: key(1).did(), draw: 3 }, encode(&running.metrics().last_applied.map(Position::from)));
        assert!(here.have_signed(&running, &BTreeSet::from([seated])).await);
        for (group, draw) in [(group, 4), (later, 3)] {
            let answer = send(group, of_raft(term + 5, draw)[0].clone()).await;
            assert!(matches!(answer, Body::Refused(_)), "{answer:?}");
        }
        let ballot = encode(&Ballot { term: term + 5, voter: seated, committed: false });
        let answer = send(group, Body::Vote(VoteAsk { vote: ballot, last })).await;
        assert!(matches!(answer, Body::Voted(_)), "{answer:?}");
        assert!(follows(&stranger), "by the same rule its answers count");
        // and no term leads to the end of all numbers
        let far = of_raft(term + (1 << 33), 3);
        for body in &far[..3] {
            let answer = send(group, body.clone()).await;
            let Body::Refused(refused) = answer else { panic!("{body:?}: {answer:?}") };
            assert_eq!(refused.reason(), Reason::Forbidden, "{body:?}");
        }
        here.stop().await;
    }

    /// A snapshot of node 1's making with this draw, in which it owns a key, and signed by these.
    fn forged(group: Group, term: u64, draw: u64, index: u64, signers: &[u8]) -> Install {
        let voter = Voter { did: key(1).did(), draw };
        let at = Some(Position { term, leader: voter, index });
        let seats = Seats { voters: vec![BTreeSet::from([voter])], all: BTreeSet::from([voter]) };
        let head = SnapshotHead { at, seats_at: at, seats, id: "forged".to_owned() };
        let mut machine = Machine::new(group);
        let put = Put::new("stolen", b"mine".to_vec());
        let commands = vec![Command::Raise(FORMAT_MAX), Command::Put(put)];
        let (by, format) = (key(1).did(), FORMAT_MAX);
        let proposal = Proposal {
            format,
            group,
            by,
            session: 1,
            seq: 1,
            answered: 0,
            base: 0,
            at_ms: 0,
            commands,
            requests: Vec::new(),
        };
        machine.apply(LogPlace { index: 9, leader: key(1).did() }, &proposal);
        let data = machine.encode();
        let checkpoint = Checkpoint::of(group, head, &data);
        let mut certificate = Certificate::default();
        for n in signers {
            certificate.sign(&checkpoint.digest, &key(*n));
        }
        Install {
            vote: encode(&Ballot { term, voter, committed: true }),
            head: encode(&checkpoint.head),
            offset: 0,
            data,
            done: true,
            state: checkpoint.state.to_vec(),
            certificate: certificate.write(),
        }
    }

    /// promise: Keys and locks | A voter cannot replace a copy by a snapshot of its own making: a majority of the voters must have signed it
    #[tokio::test]
    async fn a_snapshot_that_no_majority_of_the_seats_has_signed_is_refused() {
        let here = coordinator().await;
        let running = here.running().unwrap();
        here.identity.follow().wait_for(|members| members.has_seats()).await.unwrap();
        let rogue = Voter { did: key(1).did(), draw: 3 };
        assert!(here.have_signed(&running, &BTreeSet::from([rogue])).await);
        let before = running.digest();
        let send = async |install: Install| {
            let (group, to) = (encode(&running.group), encode(&here.me()));
            let body = Some(Body::Install(install));
            here.answer(key(1).did(), Envelope { id: 1, group, to, format: 0, body }).await.body.unwrap()
        };
        let term = running.term() + 5;
        for signers in [&[][..], &[1], &[1, 2, 3, 4]] {
            let answer = send(forged(running.group, term, 3, 900, signers)).await;
            let Body::Refused(refused) = answer else { panic!("{signers:?}: {answer:?}") };
            assert_eq!(refused.reason(), Reason::Forbidden, "{signers:?}");
        }
        // with a first part that names no format, a later part that writes over the first, or no first part
        let whole = forged(running.group, term, 3, 900, &[1]);
        let part = |offset: u64, data: &[u8], done| Install { offset, data: data.to_vec(), done, ..whole.clone() };
        for parts in [
            vec![part(0, &whole.data[..3], false), part(3, &whole.data[3..], true)],
            vec![part(1, &whole.data[1..], true)],
            vec![part(7, &[], true)],
        ] {
            for part in parts {
                assert!(!matches!(send(part).await, Body::Installed(_)));
            }
        }
        assert_eq!((running.digest(), running.term()), (before, term - 5), "nothing changed");
        // signed by both seats it is taken
        let answer = send(forged(running.group, term, 3, 900, &[0, 1])).await;
        assert!(matches!(answer, Body::Installed(_)), "{answer:?}");
        running.applied_index().wait_for(|index| *index == 900).await.unwrap();
        here.stop().await;
    }

    /// promise: Keys and locks | A leader's entries that do not follow each other are refused, and stop no copy
    #[tokio::test]
    async fn entries_that_do_not_follow_each_other_are_refused() {
        let here = coordinator().await;
        let running = here.running().unwrap();
        let rogue = Voter { did: key(1).did(), draw: 3 };
        assert!(here.have_signed(&running, &BTreeSet::from([rogue])).await);
        let (term, before) = (running.term() + 5, running.digest());
        let last = running.metrics().last_log_index.unwrap();
        let at = |term, index| Position { term, leader: rogue, index };
        let blank = |at: Position| [encode(&at), vec![0]].concat();
        let append = |previous: Option<Position>, entries: &[Position]| Append {
            vote: encode(&Ballot { term, voter: rogue, committed: true }),
            previous: encode(&previous),
            entries: entries.iter().map(|at| blank(*at)).collect(),
            committed: encode(&entries.last()),
            rest_ms: 0,
        };
        let follows = running.metrics().last_applied.map(Position::from);
        for (previous, entries) in [
            (None, vec![at(term, 5)]),
            (follows, vec![at(term, last + 2)]),
            (follows, vec![at(term, last + 1), at(term, last + 3)]),
            (follows, vec![at(term, last + 1), at(term, last + 1)]),
            (follows, vec![at(term, last + 1), at(term - 1, last + 2)]),
            (follows, vec![at(term + 1, last + 1)]),
        ] {
            let (group, to) = (encode(&running.group), encode(&here.me()));
            let body = Some(Body::Append(append(previous, &entries)));
            let answer = here.answer(key(1).did(), Envelope { id: 1, group, to, format: 0, body }).await.body;
            let Some(Body::Refused(refused)) = answer else { panic!("{entries:?}: {answer:?}") };
            assert_eq!(refused.reason(), Reason::Forbidden);
        }
        assert_eq!((running.digest(), here.broken().is_none()), (before, true), "nothing changed");
        here.stop().await;
    }

    /// promise: Keys and locks | Without an admin's node that is up nobody gets a vote, and the leader names whom to start
    #[tokio::test]
    async fn without_an_admin_nobody_gets_a_vote_and_the_leader_says_so() {
        let spawner = Arc::new(TokioSpawner::current());
        let here = coordinator_with(1, spawner, &Disk::new(), &Disk::new(), FORMAT_MAX).await;
        let (running, voters) = (here.running().unwrap(), BTreeSet::from([here.me()]));
        assert_eq!(here.waits_for_admins(), None);
        let refused = here.change(&running, VoterChange::Vote(voters)).await;
        let Err(ManageError::Refused(why)) = refused else { panic!("no admin's node is there") };
        assert!(why.contains("node0"), "{why}");
        assert_eq!(here.waits_for_admins(), Some(vec!["node0".to_owned()]));
        // it signs nothing itself, and nothing for others
        assert!(!here.is_seated(running.group, &here.me()));
        let for_itself = here.sign_for(&running, &key(1).did(), &here.me()).await;
        assert_eq!(for_itself, Err("only an admin's node signs seats"));
        here.stop().await;
    }

    /// promise: Keys and locks | An admin's node signs seats for voters of its group, within a budget, and for members that may write
    #[tokio::test]
    async fn an_admins_node_signs_few_seats_and_only_for_voters() {
        let here = coordinator().await;
        let running = here.running().unwrap();
        here.identity.follow().wait_for(|members| members.has_seats()).await.unwrap();
        let seat = |n: u8, draw| Voter { did: key(n).did(), draw };
        assert_eq!(here.sign_for(&running, &key(1).did(), &seat(1, 1)).await, Err("only a voter asks for seats"));
        let me = here.did();
        assert_eq!(here.sign_for(&running, &me, &seat(9, 1)).await, Err("the seat was not signed"), "no member");
        let mut signed = 0;
        for draw in 0..100 {
            signed += usize::from(here.sign_for(&running, &me, &seat(1, draw)).await.is_ok());
        }
        assert!((10..20).contains(&signed), "{signed}");
        here.stop().await;
    }

    /// A proposal of node 1.
    fn proposal(here: &Coordinator, format: u16) -> Signed {
        let commands = vec![Command::Expire(Vec::new())];
        Signed::new(&Proposal { format, commands, ..empty_proposal(here) }, &key(1))
    }

    /// A proposal of node 1 in format 0, without a command.
    fn empty_proposal(here: &Coordinator) -> Proposal {
        let (group, by, commands) = (here.running().unwrap().group, key(1).did(), Vec::new());
        Proposal {
            format: 0,
            group,
            by,
            session: 1,
            seq: 1,
            answered: 0,
            base: 0,
            at_ms: 0,
            commands,
            requests: Vec::new(),
        }
    }

    fn refused_as_too_large(outcome: &Result<Outcome, NodeError>) -> bool {
        matches!(outcome, Ok(Outcome::Refused(Refusal::Full(Full::Reply { .. }))))
    }

    #[tokio::test]
    async fn a_request_of_a_later_version_is_put_off_and_told_and_never_forbidden() {
        let here = coordinator().await;
        let bytes = |bytes: &[u8]| Bytes { bytes: bytes.to_vec() };
        let garbled = |body: fn(Bytes) -> Body| Some(body(bytes(GARBAGE)));
        let later = (Reason::Busy, vec![TooNew::Format { found: LATER, max: FORMAT_MAX }]);
        for body in [None, garbled(Body::Query), garbled(Body::Propose), garbled(Body::Audit)] {
            assert_eq!(refusal(&here, LATER, body.clone()).await, later, "{body:?}");
            assert_eq!(refusal(&here, FORMAT_MAX, body.clone()).await, (Reason::Forbidden, vec![]), "{body:?}");
        }
        // an old peer knows no format at all, and its requests read or do not
        assert_eq!(refusal(&here, 0, garbled(Body::Query)).await, (Reason::Forbidden, vec![]));

        // the proposal itself says its format, whatever the answer may be in
        let propose = |signed: &Signed| Some(Body::Propose(bytes(&encode(signed))));
        for format in [FORMAT_MAX, LATER] {
            assert_eq!(refusal(&here, format, propose(&proposal(&here, LATER))).await, later);
        }
        let mut forged = proposal(&here, FORMAT_MAX);
        forged.bytes.push(0);
        assert_eq!(refusal(&here, FORMAT_MAX, propose(&forged)).await, (Reason::Forbidden, vec![]));
        here.stop().await;
    }

    /// promise: Bad input | A proposal beyond its bounds is refused before it enters the log
    #[tokio::test]
    async fn a_proposal_beyond_its_bounds_does_not_enter_the_log() {
        let here = coordinator().await;
        let of = |bytes: Vec<u8>| Some(Body::Propose(Bytes { bytes }));
        let too_large = vec![0; PROPOSAL_BYTES_MAX + 1];
        assert_eq!(refusal(&here, FORMAT_MAX, of(too_large)).await, (Reason::Forbidden, vec![]));
        for answered in [1, u64::MAX] {
            let bytes = encode(&Signed::new(&Proposal { answered, ..empty_proposal(&here) }, &key(1)));
            assert_eq!(refusal(&here, FORMAT_MAX, of(bytes)).await, (Reason::Forbidden, vec![]), "{answered}");
        }
        here.stop().await;
    }

    fn reads(count: usize) -> Command {
        Command::Txn(Txn { then: vec![Step::Get("a".to_owned()); count], ..Txn::default() })
    }

    async fn with_a_large_key(format: u16) -> Arc<Coordinator> {
        let here = coordinator_of(format).await;
        here.propose(Command::Put(Put::new("a", vec![b'a'; VALUE_BYTES_MAX])), None).await.unwrap();
        here
    }

    /// promise: Bad input | A proposal that asks for more than one answer holds: nothing beyond the bound is done
    #[tokio::test]
    async fn before_format_2_a_proposal_whose_answer_is_too_large_does_not_enter_the_log() {
        let here = with_a_large_key(0).await;
        let wrong = Command::Cas { expect: None, put: Put::new("a", "b") };
        let many = vec![reads(128); 9];
        for commands in [vec![reads(9)], vec![wrong; 9], many] {
            let signed = Signed::new(&Proposal { commands, ..empty_proposal(&here) }, &key(1));
            let body = Some(Body::Propose(Bytes { bytes: encode(&signed) }));
            let before = *here.running().unwrap().applied.index().borrow();
            assert_eq!(refusal(&here, 0, body).await, (Reason::Forbidden, vec![]));
            assert_eq!(*here.running().unwrap().applied.index().borrow(), before);
        }
        here.stop().await;
    }

    /// promise: Keys and locks | Requests whose answers together are too large are answered apart
    #[tokio::test]
    async fn callers_whose_answers_do_not_fit_one_proposal_are_answered_apart() {
        for format in [0, FORMAT_MAX] {
            let here = with_a_large_key(format).await;
            let asked = (0..20).map(|_| here.propose(reads(7), None));
            let too_large = here.propose(reads(9), None);
            let (answered, too_large) = futures::join!(futures::future::join_all(asked), too_large);
            for outcome in answered {
                assert!(
                    matches!(&outcome, Ok(Outcome::Txn { items, .. }) if items.len() == 7),
                    "{format}: {outcome:?}"
                );
            }
            assert!(matches!(too_large, Err(NodeError::TooLarge { .. })) || refused_as_too_large(&too_large));
            here.stop().await;
        }
    }

    #[tokio::test]
    async fn a_request_of_a_later_version_that_reads_is_answered() {
        let here = coordinator().await;
        let group = encode(&here.running().unwrap().group);
        let body = Some(Body::Query(Bytes { bytes: encode(&Query::Revision) }));
        let envelope = Envelope { id: 1, group, to: Vec::new(), format: LATER.into(), body };
        let answer = here.answer(key(1).did(), envelope).await;
        assert!(matches!(answer.body, Some(Body::Answer(_))), "{answer:?}");
        assert_eq!(answer.format, u32::from(FORMAT_MAX), "in the highest format that this node knows");
        assert!(here.too_new().is_empty());
        here.stop().await;
    }
}
