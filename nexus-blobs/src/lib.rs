//! Blobs: content of any size under its hash, verified part by part, fetched from several peers at once.
//!
//! This crate decides and verifies. It opens no socket and no file, reads no clock and starts no task: bytes come from
//! and go to whatever can be read and written at a place.
//!
//! | items | decision |
//! |---|---|
//! | [`BlobHash`] | the name of content: its BLAKE3 hash, as `b3sum` prints it |
//! | [`Shape`], [`Part`] | the parts of a blob of some size, and the bytes of each |
//! | [`index()`], [`slice()`], [`accept()`] | the hashes between the root and the content, a part with its proof, and its check |
//! | [`Collection`] | a directory as two blobs, in iroh's format |
//! | [`Fetch`] | which part is asked of which peer |
//! | [`Copies`] | which member is asked to keep a copy |

mod collection;
mod copies;
mod fetch;
mod hash;
mod parts;
mod verify;

pub use collection::{
    BadCollection, Collection, CollectionFile, FILES_MAX, FileKind, LINKS_BYTES_MAX, NAMES_BYTES_MAX, PATH_BYTES_MAX,
};
pub use copies::{COPIES_MAX, Copies, CopyStep, HOLDER_ASKED_EVERY, HOLDER_GONE};
pub use fetch::{
    Ask, BLOB_BYTES_MAX, DAMAGED_MAX, Fetch, FetchEnd, FetchPeer, IN_FLIGHT_MAX, PATIENCE, PEERS_MAX, REST, REST_MAX,
    WINDOW_MAX,
};
pub use hash::{BadHash, BlobHash};
pub use parts::{PART_BYTES, Part, PartSet, Shape};
pub use verify::{GROUP_BYTES, SliceError, accept, check, index, index_bytes, read_part, slice, slice_bytes_max};
