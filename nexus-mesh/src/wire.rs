//! The messages between two peers, as protobuf. Unknown fields are ignored. Every frame is bounded
//! before it is decoded, and every field is checked when it becomes a domain type.

use crate::libp2p::Multiaddr;
use prost::{Message, Oneof};

/// The most addresses of one peer that are sent, read and kept.
pub const ADDRESSES_PER_PEER_MAX: usize = 16;

/// One message of a hello. A frame has at most [`HELLO_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(oneof = "HelloStep", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) step: Option<HelloStep>,
}

/// Room for the longest chain (8 links), abilities of a few KiB, and more.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum HelloStep {
    #[prost(message, tag = "1")]
    Knock(Knock),
    #[prost(message, tag = "2")]
    Show(Show),
    #[prost(message, tag = "3")]
    Welcome(Empty),
    #[prost(message, tag = "4")]
    Duplicate(Empty),
    #[prost(message, tag = "5")]
    Refused(Refused),
    #[prost(message, tag = "6")]
    Opened(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

/// Proof of knowing the mesh, worthless to a peer that does not know it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Knock {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) tag: Vec<u8>,
}

/// The credentials, and the facts for deciding which connection stays.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Show {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) chain: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) version_min: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) version_max: u32,
    /// Whether the sender holds an open connection to the reader.
    #[prost(bool, tag = "4")]
    pub(crate) holding: bool,
    /// Whether the sender decided to open this one.
    #[prost(bool, tag = "5")]
    pub(crate) welcome: bool,
    /// The sender's abilities; absent from older nodes.
    #[prost(message, optional, tag = "6")]
    pub(crate) abilities: Option<Abilities>,
    /// The number of the sender's process; empty from older nodes.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) process: Vec<u8>,
    /// Those of the processes before it on the same data directory, the latest first.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) former: Vec<Vec<u8>>,
}

/// The abilities of a node.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Abilities {
    #[prost(uint32, tag = "1")]
    pub(crate) entry_format_max: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) critical_format_max: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) kinds: Vec<u32>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) rooms: Vec<String>,
    /// Names of derived spaces.
    #[prost(string, repeated, tag = "5")]
    pub(crate) spaces: Vec<String>,
    #[prost(uint32, tag = "6")]
    pub(crate) entry_format_now: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) critical_format_now: u32,
    #[prost(uint32, tag = "8")]
    pub(crate) rest: u32,
    #[prost(uint32, tag = "9")]
    pub(crate) sync: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refused {
    #[prost(uint32, tag = "1")]
    pub(crate) reason: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) ticket_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) secret: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) succession: Vec<u8>,
}

/// The longest join request: a succession with all its pins.
pub(crate) const JOIN_REQUEST_BYTES_MAX: usize = 24 * 1024;
/// The longest join reply: a chain and addresses.
pub(crate) const JOIN_REPLY_BYTES_MAX: usize = 32 * 1024;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinReply {
    #[prost(oneof = "JoinAnswer", tags = "1, 2")]
    pub(crate) answer: Option<JoinAnswer>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum JoinAnswer {
    #[prost(message, tag = "1")]
    Admitted(Admitted),
    #[prost(message, tag = "2")]
    Refused(JoinRefused),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Admitted {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) chain: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) addresses: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinRefused {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// One heartbeat.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Beat {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) chain: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) run: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) count: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) body: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) signature: Vec<u8>,
}

/// The mesh's own words in a beat: fields of the body, which the signature covers. Both are at its end, and of one
/// size.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BeatClock {
    /// The author's circle: the one that it beats in, and whether all in it hear it from the author itself.
    #[prost(fixed64, optional, tag = "14")]
    pub(crate) circle: Option<u64>,
    /// The author's clock.
    #[prost(fixed64, optional, tag = "15")]
    pub(crate) clock_ms: Option<u64>,
}

pub(crate) fn addresses_to_wire(addresses: &[Multiaddr]) -> Vec<Vec<u8>> {
    addresses.iter().take(ADDRESSES_PER_PEER_MAX).map(Multiaddr::to_vec).collect()
}

/// The addresses among them that can be read.
pub(crate) fn addresses_from_wire(wire: &[Vec<u8>]) -> Vec<Multiaddr> {
    wire.iter().take(ADDRESSES_PER_PEER_MAX).filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok()).collect()
}
