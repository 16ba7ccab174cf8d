//! openraft's types for the coordinators, and their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;
use openraft::{CommittedLeaderId, EmptyNode, EntryPayload, LeaderId};

use super::command::Signed;
use super::format::{self, ReadError, TooNew};
use super::runtime::NodeRuntime;
use super::state::Outcome;

openraft::declare_raft_types!(
    /// The types for openraft.
    pub(crate) Types:
        D = Proposals,
        R = Outcomes,
        NodeId = Voter,
        Node = EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = io::Cursor<Vec<u8>>,
        AsyncRuntime = NodeRuntime,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<Voter>;
pub(crate) type Vote = openraft::Vote<Voter>;
pub(crate) type Membership = openraft::Membership<Voter, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<Voter, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Voter, EmptyNode>;
pub(crate) type StorageError = openraft::StorageError<Voter>;
pub(crate) type Metrics = openraft::RaftMetrics<Voter, EmptyNode>;

/// A node as a voter or learner: its key, and the number drawn with its Raft file. A node that lost
/// that file comes back as another voter, which has promised nothing yet.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Voter {
    pub(crate) did: Did,
    pub(crate) draw: u64,
}

impl Default for Voter {
    fn default() -> Self {
        Self { did: Did::from_bytes([0; 32]), draw: 0 }
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.did.short(), self.draw)
    }
}

impl fmt::Debug for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content of one log entry: signed proposals of one or several nodes, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposals(pub(crate) Arc<Vec<Signed>>);

/// The results of an entry: for each proposal, the outcomes of its commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes(pub(crate) Vec<Vec<Outcome>>);

/// An entry in stored and sent form.
#[derive(BorshSerialize)]
struct EntryBytes {
    at: Position,
    payload: PayloadBytes,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum PayloadBytes {
    Blank,
    Proposals(Vec<Signed>),
    Membership(Seats),
}

impl PayloadBytes {
    /// The number of the last variant.
    const LAST: u8 = 2;
}

/// The place of an entry: its leader's term, the leader, and its index.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) term: u64,
    pub(crate) leader: Voter,
    pub(crate) index: u64,
}

impl Position {
    /// Whether its numbers can be. A member that names one near the end of all numbers could make the next
    /// one overflow.
    fn can_be(&self) -> bool {
        self.term <= NUMBER_MAX && self.index <= NUMBER_MAX
    }
}

impl Ballot {
    /// Whether its term can be.
    pub(super) fn can_be(&self) -> bool {
        self.term <= NUMBER_MAX
    }
}

/// The largest term and the largest index.
const NUMBER_MAX: u64 = 1 << 62;
/// The most terms that a peer may be ahead: more than there can be elections. Otherwise one message could lead
/// to the end of all numbers, and the group would stand still for good.
const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// The most entries that a snapshot may be ahead.
const ENTRIES_AHEAD_MAX: u64 = 1 << 40;

/// Whether a term that a peer names can be, while this node is in term `current`.
pub(super) const fn term_can_follow(term: u64, current: u64) -> bool {
    term <= current.saturating_add(TERMS_AHEAD_MAX)
}

/// Whether the index of a peer's snapshot can be, while this node's log ends at `last`.
pub(super) const fn index_can_follow(index: u64, last: u64) -> bool {
    index <= last.saturating_add(ENTRIES_AHEAD_MAX)
}

/// A vote: the candidate, the term, and whether a quorum gave it.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub(crate) struct Ballot {
    pub(crate) term: u64,
    pub(crate) voter: Voter,
    pub(crate) committed: bool,
}

/// The voters (two sets during a change), and the learners.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub(crate) struct Seats {
    pub(crate) voters: Vec<BTreeSet<Voter>>,
    pub(crate) all: BTreeSet<Voter>,
}

/// The place of a snapshot in the log.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub(crate) struct SnapshotHead {
    pub(crate) at: Option<Position>,
    pub(crate) seats_at: Option<Position>,
    pub(crate) seats: Seats,
    pub(crate) id: String,
}

/// A place in the log that another member names, or none of the log.
pub(super) fn decode_at(bytes: &[u8]) -> Option<Option<LogId>> {
    let at = borsh::from_slice::<Option<Position>>(bytes).ok()?;
    at.as_ref().is_none_or(Position::can_be).then(|| at.map(LogId::from))
}

/// A vote that another member names.
pub(super) fn decode_vote(bytes: &[u8]) -> Option<Vote> {
    borsh::from_slice::<Ballot>(bytes).ok().filter(Ballot::can_be).map(Vote::from)
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

impl From<Position> for LogId {
    fn from(at: Position) -> Self {
        Self::new(CommittedLeaderId::new(at.term, at.leader), at.index)
    }
}

impl From<Vote> for Ballot {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, voter: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<Ballot> for Vote {
    fn from(ballot: Ballot) -> Self {
        Self { leader_id: LeaderId::new(ballot.term, ballot.voter), committed: ballot.committed }
    }
}

impl From<&Membership> for Seats {
    fn from(membership: &Membership) -> Self {
        let voters = membership.get_joint_config().clone();
        Self { voters, all: membership.nodes().map(|(id, _)| *id).collect() }
    }
}

impl Seats {
    /// Whether it votes.
    pub(super) fn has_voter(&self, did: &Did) -> bool {
        self.voters.iter().flatten().any(|voter| voter.did == *did)
    }
}

impl From<Seats> for Membership {
    fn from(seats: Seats) -> Self {
        let nodes: BTreeMap<Voter, EmptyNode> = seats.all.into_iter().map(|id| (id, EmptyNode {})).collect();
        Self::new(seats.voters, nodes)
    }
}

impl From<&SnapshotMeta> for SnapshotHead {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            at: meta.last_log_id.map(Position::from),
            seats_at: meta.last_membership.log_id().map(Position::from),
            seats: meta.last_membership.membership().into(),
            id: meta.snapshot_id.clone(),
        }
    }
}

impl From<SnapshotHead> for SnapshotMeta {
    fn from(head: SnapshotHead) -> Self {
        Self {
            last_log_id: head.at.map(LogId::from),
            last_membership: StoredMembership::new(head.seats_at.map(LogId::from), head.seats.into()),
            snapshot_id: head.id,
        }
    }
}

/// An entry's bytes.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadBytes::Blank,
        EntryPayload::Normal(proposals) => PayloadBytes::Proposals(proposals.0.to_vec()),
        EntryPayload::Membership(membership) => PayloadBytes::Membership(membership.into()),
    };
    format::encode(&EntryBytes { at: entry.log_id.into(), payload })
}

/// Decodes an entry.
///
/// # Errors
/// The bytes are no entry, or an entry of a later version.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, ReadError> {
    let mut rest = bytes;
    let at = Position::deserialize(&mut rest)?;
    if !at.can_be() {
        return Err(ReadError::Malformed);
    }
    if let Some(number) = rest.first().filter(|number| **number > PayloadBytes::LAST) {
        return Err(TooNew::LogEntry(*number).into());
    }
    let payload = match borsh::from_slice(rest)? {
        PayloadBytes::Blank => EntryPayload::Blank,
        PayloadBytes::Proposals(signed) => EntryPayload::Normal(Proposals(Arc::new(signed))),
        PayloadBytes::Membership(seats) => EntryPayload::Membership(seats.into()),
    };
    Ok(Entry { log_id: at.into(), payload })
}

/// The position of an entry in bytes of any version.
///
/// # Errors
/// The bytes are no entry.
pub(super) fn decode_log_id(mut bytes: &[u8]) -> Result<LogId, ReadError> {
    Ok(Position::deserialize(&mut bytes)?.into())
}

/// Decodes the head of a snapshot.
///
/// # Errors
/// The bytes are no head, or a head of a later version.
pub(super) fn decode_head(bytes: &[u8]) -> Result<SnapshotHead, ReadError> {
    // a head of a later version does not begin with the flag of a position
    match bytes.first() {
        Some(2..) => Err(TooNew::Snapshot.into()),
        _ => {
            let head: SnapshotHead = borsh::from_slice(bytes)?;
            let can_be = [head.at, head.seats_at].iter().flatten().all(Position::can_be);
            if can_be { Ok(head) } else { Err(ReadError::Malformed) }
        }
    }
}

/// The size of an entry in bytes, about.
pub(crate) fn entry_size(entry: &Entry) -> usize {
    const OVERHEAD: usize = 128;
    match &entry.payload {
        EntryPayload::Blank => OVERHEAD,
        EntryPayload::Normal(proposals) => {
            OVERHEAD + proposals.0.iter().map(|signed| signed.bytes.len() + OVERHEAD).sum::<usize>()
        }
        EntryPayload::Membership(membership) => OVERHEAD * (1 + membership.nodes().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | Terms, indices and generations near the end of all numbers are refused
    #[test]
    fn numbers_near_their_end_are_refused() {
        let voter = Voter { did: Did::from_bytes([1; 32]), draw: 1 };
        let at = |term, index| format::encode(&Position { term, leader: voter, index });
        let ballot = |term| format::encode(&Ballot { term, voter, committed: true });
        let head = |at| {
            let seats = Seats { voters: vec![BTreeSet::from([voter])], all: BTreeSet::from([voter]) };
            format::encode(&SnapshotHead { at: Some(at), seats_at: None, seats, id: String::new() })
        };
        let place = |term, index| Position { term, leader: voter, index };
        for (term, index) in [(u64::MAX, 1), (1, u64::MAX), (NUMBER_MAX + 1, 1), (1, NUMBER_MAX + 1)] {
            assert_eq!(decode_at(&[vec![1], at(term, index)].concat()), None);
            assert!(decode_entry(&[at(term, index), vec![0]].concat()).is_err());
            assert!(decode_head(&head(place(term, index))).is_err());
        }
        assert!(decode_vote(&ballot(u64::MAX)).is_none() && decode_vote(&ballot(NUMBER_MAX + 1)).is_none());
        assert!(decode_vote(&ballot(9)).is_some() && decode_head(&head(place(9, 9))).is_ok());
        assert!(decode_entry(&[at(9, 9), vec![0]].concat()).is_ok());
        assert_eq!(decode_at(&[0]), Some(None));
        let group = |generation| super::super::command::Group { generation, id: 7 };
        let read = |generation| super::super::command::Group::read(&format::encode(&group(generation)));
        assert_eq!((read(8_191), read(8_192), read(u32::MAX)), (Some(group(8_191)), None, None));
    }
}
