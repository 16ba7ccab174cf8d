//! The messages of `/nexus/blobs/1`: who has a blob, and its parts.

use std::time::Duration;

use nexus_blobs::WINDOW_MAX;
use nexus_mesh::ask::{AskLimits, Asker, Numbered};
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, Rooms, Stream, StreamProtocol};
use prost::Message;

use crate::world::World;

/// The room of blobs.
pub(crate) const ROOM: &str = "/nexus/blobs/1";
const BLOBS: StreamProtocol = StreamProtocol::new(ROOM);
/// Streams that members opened and that were not taken yet.
const STREAMS_MAX: usize = 64;

/// The most blobs that are asked for at a time.
pub(super) const WANTED_MAX: usize = 256;

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(BLOBS, STREAMS_MAX)
}

/// The bounds of the room. A part is long, and a slow peer says nothing while it sends the one before it. An answer stays in
/// memory until it is written: a peer that asks and does not read has 16 of them, 4 MiB.
pub(super) fn limits() -> AskLimits {
    AskLimits { stalled_after: Duration::from_secs(60), answering_max: WINDOW_MAX, ..AskLimits::default() }
}

/// Asks others in this room.
pub(super) fn asker(mesh: Mesh, world: &World) -> Asker<Envelope> {
    Asker::new(mesh, BLOBS, "blobs link", world.spawner().clone(), limits())
}

/// One frame.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    /// The number of the request.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9")]
    pub(super) body: Option<Body>,
}

impl Numbered for Envelope {
    fn number(&self) -> u64 {
        self.id
    }

    fn set_number(&mut self, number: u64) {
        self.id = number;
    }
}

impl From<Body> for Envelope {
    fn from(body: Body) -> Self {
        Self { id: 0, body: Some(body) }
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Body {
    /// Whether the receiver has these blobs whole. The answer is `Has`.
    #[prost(message, tag = "2")]
    Want(Want),
    /// A part of a blob. The answer is `Slice` or `Lacks`.
    #[prost(message, tag = "3")]
    Part(Part),
    #[prost(message, tag = "4")]
    Has(Has),
    /// The content of a part, between the hashes that prove it.
    #[prost(bytes = "vec", tag = "5")]
    Slice(Vec<u8>),
    /// The sender does not have it.
    #[prost(message, tag = "6")]
    Lacks(Lacks),
    /// The sender wants the receiver to keep a copy. The answer is `Kept`.
    #[prost(message, tag = "7")]
    Keep(Keep),
    #[prost(message, tag = "8")]
    Kept(Kept),
    /// The sender no longer wants the receiver's copy. The answer is `Kept`.
    #[prost(message, tag = "9")]
    Release(Release),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Want {
    /// The 32 bytes of each hash, of at most [`WANTED_MAX`].
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) hashes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Has {
    /// For each blob that was asked for: 0 if the sender lacks it, else its size in bytes and one.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) sizes: Vec<u64>,
    /// For each of them 0, or the size in bytes and one of a copy of which the sender knows that parts are damaged. Left out
    /// if there is none. An earlier version does not read it, and takes the sender for one that lacks the blob.
    #[prost(uint64, repeated, tag = "2")]
    pub(super) damaged: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Part {
    /// The 32 bytes of the blob's hash.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) hash: Vec<u8>,
    /// Its place in the blob, from 0.
    #[prost(uint64, tag = "2")]
    pub(super) part: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Lacks {
    /// The sender has the blob, but this part of its copy is damaged. An earlier version does not read it.
    #[prost(bool, tag = "1")]
    pub(super) damaged: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Keep {
    /// The 32 bytes of the blob's hash.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) hash: Vec<u8>,
    /// Its bytes; of a directory those of all its files.
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    /// The number of files of a directory; 0 for a file.
    #[prost(uint64, tag = "3")]
    pub(super) files: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Release {
    /// The 32 bytes of the blob's hash.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Kept {
    #[prost(enumeration = "KeptState", tag = "1")]
    state: i32,
}

/// The state of a copy at another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum KeptState {
    /// None is kept.
    No = 0,
    /// It is there, and kept.
    Kept = 1,
    /// It is being fetched.
    Coming = 2,
    /// There is no room, or the member that wants it has no more quota.
    Full = 3,
}

impl From<KeptState> for Kept {
    fn from(state: KeptState) -> Self {
        Self { state: state.into() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// promise: Blobs | A version that knows nothing of damage takes a member with a damaged copy for one that lacks it
    #[test]
    fn an_earlier_version_reads_damage_as_a_lack() {
        /// As it was before.
        #[derive(Clone, PartialEq, Message)]
        struct Before {
            #[prost(uint64, repeated, tag = "1")]
            sizes: Vec<u64>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct LacksBefore {}
        let has = Has { sizes: vec![0, 8], damaged: vec![5, 0] };
        assert_eq!(Before::decode(has.encode_to_vec().as_slice()).unwrap().sizes, [0, 8]);
        assert!(LacksBefore::decode(Lacks { damaged: true }.encode_to_vec().as_slice()).is_ok());
        let before = Before { sizes: vec![7] }.encode_to_vec();
        assert_eq!(Has::decode(before.as_slice()).unwrap(), Has { sizes: vec![7], damaged: vec![] });
    }
}
