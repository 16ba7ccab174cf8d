use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;
use nexus_identity::Did;

use crate::entry::{EntryId, Header};
use crate::frontier::Head;
use crate::space::SpaceId;

/// Which life of an author's store: eight random bytes, never a counter, so that a restored or
/// copied store never continues a log that has moved on without it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Incarnation(pub [u8; 8]);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({})", HEXLOWER.encode(&self.0))
    }
}

/// Names a log: one author's entries in one space in one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct LogId {
    /// The space.
    pub space: SpaceId,
    /// Who writes it.
    pub author: Did,
    /// Which life of the author's store.
    pub incarnation: Incarnation,
}

/// How an entry stands to the log as it is held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one.
    Next,
    /// Its place is taken; by this very entry or, a fork, by another: ask by id.
    Held,
    /// Entries before it are missing.
    Gap {
        /// The next seq that the log here can take.
        want: u64,
    },
    /// It has the next seq but follows an entry that is not in this log: a fork below it.
    Detached,
}

impl Head {
    /// How an entry stands to a log that ends in `head` (`None`: a log that is not held).
    pub fn admit(head: Option<&Self>, entry: &Header) -> Admission {
        let (want, last) = head.map_or((0, EntryId::ZERO), |head| (head.seq + 1, head.id));
        match entry.seq.cmp(&want) {
            std::cmp::Ordering::Less => Admission::Held,
            std::cmp::Ordering::Greater => Admission::Gap { want },
            std::cmp::Ordering::Equal if entry.prev == last => Admission::Next,
            std::cmp::Ordering::Equal => Admission::Detached,
        }
    }
}
