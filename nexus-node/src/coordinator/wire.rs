//! The messages of `/nexus/raft/1`: requests and answers, matched by number, several at a time.

use std::sync::Arc;

use nexus_mesh::ask::{AskLimits, Asker, Numbered};
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, Rooms, Spawner, Stream, StreamProtocol};
use prost::Message;

/// The room of the coordinators.
const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// Streams that members opened and that were not taken yet.
const STREAMS_MAX: usize = 64;

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(RAFT, STREAMS_MAX)
}

/// Asks others in this room.
pub(super) fn asker(mesh: Mesh, spawner: Arc<dyn Spawner>) -> Asker<Envelope> {
    Asker::new(mesh, RAFT, "raft link", spawner, AskLimits::default())
}

/// One frame.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    /// The number of the request.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// The sender's group: `Group` in borsh; empty if it knows of none.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) group: Vec<u8>,
    /// The `Voter` to which Raft's own requests go: a node that was drawn anew must not answer for its
    /// former self.
    #[prost(bytes = "vec", tag = "18")]
    pub(crate) to: Vec<u8>,
    /// Of a request: the highest format of critical state in which it may be answered. Of an answer: the
    /// format it is in.
    #[prost(uint32, tag = "20")]
    pub(crate) format: u32,
    #[prost(oneof = "Body", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 21, 22")]
    pub(crate) body: Option<Body>,
}

impl Numbered for Envelope {
    fn number(&self) -> u64 {
        self.id
    }

    fn set_number(&mut self, number: u64) {
        self.id = number;
    }

    fn kind(&self) -> &'static str {
        match &self.body {
            Some(Body::Append(append)) if append.entries.is_empty() => "heartbeat",
            Some(Body::Append(_)) => "append",
            Some(Body::Appended(_)) => "appended",
            Some(Body::Vote(_) | Body::Voted(_) | Body::Elect(_)) => "vote",
            Some(Body::Install(_) | Body::Installed(_) | Body::Certify(_)) => "snapshot",
            Some(Body::Propose(_) | Body::Proposed(_)) => "proposal",
            Some(Body::Query(_) | Body::Answer(_)) => "query",
            Some(Body::Hello(_) | Body::Overview(_)) => "report",
            Some(Body::Manage(_) | Body::Refused(_) | Body::Audit(_) | Body::Seat(_)) | None => "message",
        }
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "3")]
    Append(Append),
    #[prost(message, tag = "4")]
    Vote(VoteAsk),
    #[prost(message, tag = "5")]
    Install(Install),
    #[prost(message, tag = "6")]
    Propose(Bytes),
    #[prost(message, tag = "7")]
    Query(Bytes),
    #[prost(message, tag = "8")]
    Hello(Hello),
    #[prost(message, tag = "9")]
    Elect(Hello),
    /// `Manage`.
    #[prost(message, tag = "10")]
    Manage(Bytes),
    #[prost(message, tag = "11")]
    Appended(Appended),
    #[prost(message, tag = "12")]
    Voted(Voted),
    #[prost(message, tag = "13")]
    Installed(Bytes),
    #[prost(message, tag = "14")]
    Proposed(Bytes),
    #[prost(message, tag = "15")]
    Answer(Bytes),
    #[prost(message, tag = "16")]
    Overview(Overview),
    #[prost(message, tag = "17")]
    Refused(Refused),
    /// The number of a deed: asks for the records up to it.
    #[prost(message, tag = "19")]
    Audit(Bytes),
    /// `Voter`: asks an admin's node to sign its seat.
    #[prost(message, tag = "21")]
    Seat(Bytes),
    /// The index of a snapshot: asks for the signature of its digest.
    #[prost(message, tag = "22")]
    Certify(Bytes),
}

/// Entries to append; none for a heartbeat.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Append {
    /// `Ballot`.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    /// `Option<Position>` of the entry before.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) previous: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) entries: Vec<Vec<u8>>,
    /// `Option<Position>` of the last committed entry.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) committed: Vec<u8>,
    /// The silence that is promised from now on, in milliseconds, while this connection lives: see `rest`. 0 ends an
    /// earlier promise, the largest number leaves it as it is. Earlier versions know of none.
    #[prost(uint32, tag = "5")]
    pub(crate) rest_ms: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Appended {
    #[prost(enumeration = "AppendResult", tag = "1")]
    pub(crate) result: i32,
    /// `Ballot` if there is a higher one.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) vote: Vec<u8>,
    /// `Option<Position>` of the last entry taken, if only a part was.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) upto: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum AppendResult {
    Unspecified = 0,
    Success = 1,
    Partial = 2,
    Conflict = 3,
    HigherVote = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VoteAsk {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) last: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Voted {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub(crate) granted: bool,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) last: Vec<u8>,
}

/// Part of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Install {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    /// `SnapshotHead`.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) head: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) data: Vec<u8>,
    #[prost(bool, tag = "5")]
    pub(crate) done: bool,
    /// Of the first part: the digest of the state.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) state: Vec<u8>,
    /// Of the first part: the `Certificate`.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) certificate: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {}

/// A node's report of itself and of the coordinators.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Overview {
    /// `Voter`: the node, also outside of a group.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) voter: Vec<u8>,
    /// Whether it may never vote.
    #[prost(bool, tag = "2")]
    pub(crate) never: bool,
    /// The leader's DID, if it knows one that is in contact.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) leader: Vec<u8>,
    #[prost(uint64, tag = "4")]
    pub(crate) term: u64,
    /// The index of the last entry it knows to be applied.
    #[prost(uint64, tag = "5")]
    pub(crate) applied: u64,
    /// `Seats`, if it has any.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) seats: Vec<u8>,
    /// A digest of its machine's id, to see whether all voters share one machine.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) machine: Vec<u8>,
    /// The number of deeds in its copy, and the hash of the last record; empty without a copy.
    #[prost(uint64, tag = "8")]
    pub(crate) audit_count: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) audit_head: Vec<u8>,
    /// The format of critical state as it knows it: a hint to ask the leader.
    #[prost(uint32, tag = "10")]
    pub(crate) format: u32,
    /// Its copy has stopped where a later version wrote.
    #[prost(bool, tag = "11")]
    pub(crate) stopped: bool,
}

/// The reason why a request was not done.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refused {
    #[prost(enumeration = "Reason", tag = "1")]
    pub(crate) reason: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// The leader's DID, if it is known.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) leader: Vec<u8>,
    /// The size of an answer that is too large, in bytes.
    #[prost(uint64, tag = "4")]
    pub(crate) bytes: u64,
    /// A proposal did not enter the log, and will not. An earlier version never says so.
    #[prost(bool, tag = "5")]
    pub(crate) not_appended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Reason {
    Unspecified = 0,
    /// Another node leads, which may be named.
    NotLeader = 1,
    /// A quorum did not answer.
    NoQuorum = 2,
    /// The request is unknown, or not allowed for this peer.
    Forbidden = 3,
    /// The node is too busy, or about to stop.
    Busy = 4,
    /// The request is for another group than this node's.
    OtherGroup = 5,
    /// The answer would be too large, so nothing was done. To askers that read format 2.
    TooLarge = 6,
}
