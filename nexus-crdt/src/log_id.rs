use std::fmt;
use std::ops::RangeInclusive;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;
use nexus_identity::Did;

use crate::space::SpaceId;

/// The incarnation of an author's store: eight random bytes, never a counter. So a restored or copied
/// store never continues a log that has moved on without it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Incarnation(pub [u8; 8]);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({})", HEXLOWER.encode(&self.0))
    }
}

/// The id of a log: one author's entries in one space in one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct LogId {
    /// The space.
    pub space: SpaceId,
    /// The author.
    pub author: Did,
    /// The incarnation of the author's store.
    pub incarnation: Incarnation,
}

impl LogId {
    /// The range of the logs of the same author in the same space, in every incarnation.
    pub fn incarnations(self) -> RangeInclusive<Self> {
        let of = |incarnation| Self { incarnation: Incarnation(incarnation), ..self };
        of([0; 8])..=of([0xff; 8])
    }
}
