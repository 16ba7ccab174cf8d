use nexus_crdt::{Content, ENTRY_FORMAT_LEAVES, Write, Writes};

use super::salts::Salts;

/// The bytes of a leaf besides its content: a flag, its salt, a length.
pub(super) const LEAF_FRONT_BYTES: usize = 1 + nexus_crdt::SALT_BYTES + 4;

/// The payload of an entry of our own, in no format yet.
pub(super) enum OwnPayload {
    /// One thing, of any kind but writes.
    One(Vec<u8>),
    /// Writes, each of which can be erased later.
    Writes(Vec<Write>),
    /// Leaves of events of tasks, in format 1 one.
    Events(Vec<Vec<u8>>),
    /// Leaves, which only entries of a later format than 1 have.
    Leaves(Vec<Vec<u8>>),
}

impl OwnPayload {
    /// The same as the payload of an entry of some format.
    pub(super) fn in_format(self, format: u16, salts: &mut Salts) -> Content {
        if format < ENTRY_FORMAT_LEAVES {
            return Content::Whole(match self {
                Self::One(bytes) => bytes,
                Self::Writes(writes) => Writes(writes).encode(),
                Self::Events(leaves) | Self::Leaves(leaves) => leaves.concat(),
            });
        }
        let parts = match self {
            Self::One(bytes) => vec![bytes],
            Self::Writes(writes) => writes.iter().map(Write::encode).collect(),
            Self::Events(leaves) | Self::Leaves(leaves) => leaves,
        };
        Content::Parts(parts.into_iter().map(|part| (salts.next(), part)).collect())
    }
}

/// How much of a payload a write takes, in bytes.
pub(super) fn payload_bytes(write: &Write, format: u16) -> usize {
    write.encoded_bytes() + if format < ENTRY_FORMAT_LEAVES { 0 } else { LEAF_FRONT_BYTES }
}
