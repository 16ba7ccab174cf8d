use nexus_identity::{Did, Signature};
use prost::Message;

use crate::entry::Entry;
use crate::entry_id::EntryId;
use crate::error::EntryError;
use crate::frontier::{Frontier, Head};
use crate::log_id::{Incarnation, LogId};
use crate::space::SpaceId;

/// A message on a sync stream, in either direction. Protobuf, hop by hop; unknown fields are ignored.
///
/// Each side opens with its frontier in parts, the last one marked. It then sends the entries that the
/// other lacks, and after that its new entries, in the order of its store. Acknowledgements carry the
/// receiver's *durable* frontier.
#[derive(Clone, PartialEq, Message)]
pub struct SyncFrame {
    /// One of the messages.
    #[prost(oneof = "sync_frame::Body", tags = "1, 2, 3, 4, 5")]
    pub body: Option<sync_frame::Body>,
}

/// The most entries in a frame.
pub const FRAME_ENTRIES_MAX: usize = 1_024;

/// The messages of [`SyncFrame`].
pub mod sync_frame {
    use super::{Ack, Digest, Entries, FrontierPart, Full};

    /// One message.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// The logs that the sender holds.
        #[prost(message, tag = "1")]
        Frontier(FrontierPart),
        /// Entries, each log's in order.
        #[prost(message, tag = "2")]
        Entries(Entries),
        /// The heads that became durable at the sender since its last acknowledgement.
        #[prost(message, tag = "3")]
        Ack(Ack),
        /// The digest of the sender's whole frontier, sent when it is idle. A lasting difference starts
        /// the comparison over.
        #[prost(message, tag = "4")]
        Digest(Digest),
        /// The authors of whom the sender takes no more just now. It replaces the one before, and the
        /// sender's frontier follows it.
        #[prost(message, tag = "5")]
        Full(Full),
    }

    pub use super::{Ack as AckFrame, Digest as DigestFrame, Entries as EntriesFrame, Full as FullFrame};
}

/// A part of a frontier.
#[derive(Clone, PartialEq, Message)]
pub struct FrontierPart {
    /// Heads of logs.
    #[prost(message, repeated, tag = "1")]
    pub heads: Vec<LogHead>,
    /// Whether this is the last part.
    #[prost(bool, tag = "2")]
    pub last: bool,
}

/// Entries on their way.
#[derive(Clone, PartialEq, Message)]
pub struct Entries {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<EntryFrame>,
}

/// Durable heads.
#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    /// The logs that moved.
    #[prost(message, repeated, tag = "1")]
    pub heads: Vec<LogHead>,
}

/// The digest of a frontier.
#[derive(Clone, PartialEq, Message)]
pub struct Digest {
    /// [`Frontier::digest`].
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
}

/// The authors of whom a node takes no more just now, since they have filled their quotas there.
#[derive(Clone, PartialEq, Message)]
pub struct Full {
    /// Each author once.
    #[prost(message, repeated, tag = "1")]
    pub authors: Vec<FullAuthor>,
}

/// The part of an author's entries that is not taken.
#[derive(Clone, PartialEq, Message)]
pub struct FullAuthor {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub author: Vec<u8>,
    /// All entries.
    #[prost(bool, tag = "2")]
    pub all: bool,
    /// All entries but those in the mesh's own space.
    #[prost(bool, tag = "3")]
    pub memories: bool,
    /// Every log that the frontier lacks.
    #[prost(bool, tag = "4")]
    pub logs: bool,
    /// Every log that the frontier lacks in these spaces, 32 bytes each.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub spaces: Vec<Vec<u8>>,
    /// Logs in the mesh's own space: those of a former key have a part of its member's quota there.
    #[prost(bool, tag = "6")]
    pub of_mesh: bool,
}

/// One log's head.
#[derive(Clone, PartialEq, Message)]
pub struct LogHead {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub space: Vec<u8>,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub author: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub incarnation: Vec<u8>,
    /// The last seq held.
    #[prost(uint64, tag = "4")]
    pub seq: u64,
    /// The id there, 32 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub id: Vec<u8>,
}

impl LogHead {
    /// A head for the wire.
    pub fn new(log: &LogId, head: &Head) -> Self {
        Self {
            space: log.space.as_bytes().to_vec(),
            author: log.author.as_bytes().to_vec(),
            incarnation: log.incarnation.0.to_vec(),
            seq: head.seq,
            id: head.id.as_bytes().to_vec(),
        }
    }

    /// The head; `None` if a part has the wrong length.
    pub fn parse(&self) -> Option<(LogId, Head)> {
        let log = LogId {
            space: SpaceId::from_bytes(self.space.as_slice().try_into().ok()?),
            author: Did::from_bytes(self.author.as_slice().try_into().ok()?),
            incarnation: Incarnation(self.incarnation.as_slice().try_into().ok()?),
        };
        Some((log, Head { seq: self.seq, id: EntryId::from_bytes(self.id.as_slice().try_into().ok()?) }))
    }
}

/// An entry on the wire: the exact signed bytes, and the data beside them from node to node.
#[derive(Clone, PartialEq, Message)]
pub struct EntryFrame {
    /// The header's canonical bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub header: Vec<u8>,
    /// 64 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    /// The payload; absent where it was erased or pruned.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub payload: Option<Vec<u8>>,
    /// The trace of the write: a `traceparent` of W3C Trace Context, or empty. It is unsigned and no
    /// part of the entry, so nothing depends on it. Bytes, since a string that is not UTF-8 would make
    /// the whole frame unreadable.
    #[prost(bytes = "vec", tag = "4")]
    pub traceparent: Vec<u8>,
    /// The number of its log on this stream, if `header` lacks what the receiver knows. See
    /// [`Shortener`](crate::Shortener).
    #[prost(uint32, optional, tag = "5")]
    pub follows: Option<u32>,
}

impl EntryFrame {
    /// An entry for the wire, without a trace.
    pub fn new(entry: &Entry) -> Self {
        Self {
            header: entry.header_bytes().to_vec(),
            signature: entry.signature().as_bytes().to_vec(),
            payload: entry.payload().map(<[u8]>::to_vec),
            traceparent: Vec::new(),
            follows: None,
        }
    }

    /// The entry: sizes and form checked, nothing verified.
    ///
    /// # Errors
    /// As [`Entry::decode`]; a signature of another length is malformed.
    pub fn parse(self) -> Result<Entry, EntryError> {
        if self.follows.is_some() {
            return Err(EntryError::Malformed("a part of a header"));
        }
        let signature =
            self.signature.as_slice().try_into().map_err(|_| EntryError::Malformed("signature is not 64 bytes"))?;
        Entry::decode(self.header, Signature::from_bytes(signature), self.payload)
    }
}

/// Entries of one log that a peer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The log.
    pub log: LogId,
    /// The first seq it lacks.
    pub from: u64,
    /// The last seq held here.
    pub to: u64,
}

/// The entries to send to a peer that holds `theirs`: one range per log. The logs of the `first` space
/// (the mesh's own, which introduces the members) come first.
pub fn plan(ours: &Frontier, theirs: &Frontier, first: SpaceId) -> Vec<Range> {
    let lacking = |(log, head): (&LogId, &Head)| {
        let from = theirs.head(log).map_or(0, |their| their.seq.saturating_add(1));
        (from <= head.seq).then_some(Range { log: *log, from, to: head.seq })
    };
    let mut ranges: Vec<Range> = ours.iter().filter_map(lacking).collect();
    ranges.sort_by_key(|range| range.log.space != first);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(space: u8, author: u8) -> LogId {
        LogId {
            space: SpaceId::from_bytes([space; 32]),
            author: Did::from_bytes([author; 32]),
            incarnation: Incarnation([0; 8]),
        }
    }

    fn frontier(heads: &[(u8, u8, u64)]) -> Frontier {
        let head = |seq: u64| Head { seq, id: EntryId::of(&seq.to_le_bytes()) };
        heads.iter().map(|&(space, author, seq)| (log(space, author), head(seq))).collect()
    }

    fn heads() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
        prop::collection::vec((0_u8..3, 0_u8..4, 0_u64..9), 0..9)
    }

    proptest! {
        /// promise: Entries and memories | Sync sends exactly what the other lacks, the mesh's own space first
        #[test]
        fn sending_what_is_planned_leaves_nobody_behind(ours in heads(), theirs in heads()) {
            let (ours, mut theirs) = (frontier(&ours), frontier(&theirs));
            let ranges = plan(&ours, &theirs, SpaceId::from_bytes([1; 32]));
            let planned: u64 = ranges.iter().map(|range| range.to - range.from + 1).sum();
            prop_assert_eq!(planned, ours.ahead_of(&theirs));
            prop_assert!(ranges.is_sorted_by_key(|range| range.log.space != SpaceId::from_bytes([1; 32])));
            for range in ranges {
                prop_assert_eq!(range.from, theirs.head(&range.log).map_or(0, |head| head.seq + 1));
                theirs.advance(range.log, Head { seq: range.to, id: EntryId::of(&range.to.to_le_bytes()) });
            }
            prop_assert_eq!(ours.ahead_of(&theirs), 0);
            prop_assert_eq!(theirs.ahead_of(&ours) == 0, theirs.digest() == ours.digest());
        }
    }

    #[test]
    fn a_head_survives_the_wire_and_a_short_one_is_refused() {
        let (log, head) = (log(1, 2), Head { seq: 7, id: EntryId::of(b"x") });
        let mut wire = LogHead::new(&log, &head);
        assert_eq!(wire.parse(), Some((log, head)));
        wire.author.pop();
        assert_eq!(wire.parse(), None);
    }
}
