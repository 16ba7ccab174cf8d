use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;

/// The id of an entry: BLAKE3 in key-derivation mode, context `nexus entry v1`, over the header bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct EntryId([u8; 32]);

impl EntryId {
    /// The id before every log's first entry, and a placeholder.
    pub const ZERO: Self = Self([0; 32]);

    /// The id of header bytes.
    pub fn of(header: &[u8]) -> Self {
        Self(blake3::derive_key("nexus entry v1", header))
    }

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Eight hexadecimal digits, for logs.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({})", self.short())
    }
}
