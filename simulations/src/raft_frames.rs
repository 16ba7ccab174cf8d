//! The frames between coordinators, as far as a dishonest member writes and reads them. They are declared apart from
//! those of the node on purpose: such a member runs a program of its own, and a changed number shows here.

use std::time::Duration;

use libp2p::StreamProtocol;
use nexus_mesh::{FRAME_BYTES_MAX, Stream, read_frame, write_frame};
use prost::Message;

pub(crate) const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The part of a frame that is used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// Generation and random number.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) group: Vec<u8>,
    #[prost(bytes = "vec", tag = "18")]
    pub(crate) to: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(crate) append: Option<Append>,
    #[prost(message, optional, tag = "4")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "5")]
    pub(crate) install: Option<Install>,
    #[prost(message, optional, tag = "8")]
    pub(crate) hello: Option<Nothing>,
    #[prost(message, optional, tag = "9")]
    pub(crate) elect: Option<Nothing>,
    #[prost(message, optional, tag = "16")]
    pub(crate) overview: Option<Overview>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Append {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) previous: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) entries: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) committed: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Vote {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) last: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Install {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) vote: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) head: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) data: Vec<u8>,
    #[prost(bool, tag = "5")]
    pub(crate) done: bool,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) state: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) certificate: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Overview {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) voter: Vec<u8>,
    #[prost(uint64, tag = "4")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) applied: u64,
}

/// Asks over a stream.
pub(crate) async fn ask(stream: &mut Stream, envelope: Envelope) -> Option<Envelope> {
    write_frame(stream, &envelope.encode_to_vec()).await.ok()?;
    let answer = tokio::time::timeout(ANSWER_MAX, read_frame(stream, FRAME_BYTES_MAX)).await.ok()?.ok()??;
    Envelope::decode(answer.as_slice()).ok()
}
