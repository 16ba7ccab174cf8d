use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::HEXLOWER;
use nexus_identity::Did;

use crate::entry::{EntryId, Header};
use crate::frontier::Head;
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

/// The most entries of a log kept beside its longest branch. They suffice to prove a fork.
pub const ASIDE_MAX: u64 = 64;

/// The relation of an entry to its log here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It follows the head.
    Next,
    /// Its place is taken, or it follows another entry than the head: a held entry or a branch.
    Aside,
    /// Earlier entries are missing.
    Gap {
        /// The next seq that the log here can take.
        want: u64,
    },
}

impl Head {
    /// The relation of an entry to a log that ends in `head`; `None` for a log that is not held.
    pub fn admit(head: Option<&Self>, entry: &Header) -> Admission {
        let (want, last) = head.map_or((0, EntryId::ZERO), |head| (head.seq.saturating_add(1), head.id));
        match entry.seq.cmp(&want) {
            std::cmp::Ordering::Greater => Admission::Gap { want },
            std::cmp::Ordering::Equal if entry.prev == last => Admission::Next,
            _ => Admission::Aside,
        }
    }
}

/// The held part of a log, with all its branches.
///
/// It is a function of the set of entries if each seq below the head's has one. The order of their
/// arrival decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Branches {
    /// The entry with the greatest seq; of several, the one with the lowest id.
    pub head: Head,
    /// The number of entries.
    pub entries: u64,
    /// The lowest seq with two entries. No entry from there on counts.
    pub cut: Option<u64>,
}

impl Branches {
    /// The log with one more entry that was not in it.
    pub fn with(held: Option<Self>, entry: Head) -> Self {
        let Some(Self { head, entries, cut }) = held else {
            return Self { head: entry, entries: 1, cut: None };
        };
        let twice = (entry.seq <= head.seq).then_some(entry.seq);
        let higher = (entry.seq, std::cmp::Reverse(entry.id)) > (head.seq, std::cmp::Reverse(head.id));
        Self {
            head: if higher { entry } else { head },
            entries: entries.saturating_add(1),
            cut: cut.into_iter().chain(twice).min(),
        }
    }

    /// Whether an entry at this seq counts.
    pub fn counts(&self, seq: u64) -> bool {
        self.cut.is_none_or(|cut| seq < cut)
    }

    /// The number of entries beside the longest branch.
    pub const fn aside(&self) -> u64 {
        self.entries.saturating_sub(self.head.seq.saturating_add(1))
    }

    /// Whether there is room for one more entry at this seq that does not follow the head.
    pub const fn has_room_at(&self, seq: u64) -> bool {
        seq > self.head.seq || self.aside() < ASIDE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(seq: u64, branch: u8) -> Head {
        Head { seq, id: EntryId::of(&[u8::try_from(seq).unwrap(), branch]) }
    }

    fn held(entries: &[Head]) -> Branches {
        entries.iter().fold(None, |held, entry| Some(Branches::with(held, *entry))).unwrap()
    }

    proptest! {
        /// promise: The engine | Nodes that hold the same show the same, whichever branch of a forked log came first
        /// Two branches, each in its own order, mixed.
        #[test]
        fn where_a_log_is_cut_depends_on_the_set_of_entries_alone(
            fork in 1_u64..6, long in 6_u64..12, other in 0_u64..6, turns in prop::collection::vec(any::<bool>(), 24)
        ) {
            let main: Vec<Head> = (0..long).map(|seq| head(seq, 0)).collect();
            let branch: Vec<Head> = (fork..fork + other).map(|seq| head(seq, 1)).collect();
            let (mut mixed, mut rest) = (main[..usize::try_from(fork).unwrap()].to_vec(), [&main[usize::try_from(fork).unwrap()..], &branch]);
            for turn in turns {
                if let [first, others @ ..] = rest[usize::from(turn)] {
                    mixed.push(*first);
                    rest[usize::from(turn)] = others;
                }
            }
            mixed.extend(rest[0]);
            mixed.extend(rest[1]);
            let in_order = held(&[main, branch].concat());
            prop_assert_eq!(held(&mixed), in_order);
            prop_assert_eq!(in_order.cut, (other > 0).then_some(fork));
            let shorter = (fork + other).min(long) - fork;
            prop_assert_eq!(in_order.aside(), shorter);
        }
    }

    #[test]
    fn of_two_heads_the_lower_id_stands_for_the_log() {
        let (a, b) = (head(0, 0), head(0, 1));
        let lowest = if a.id < b.id { a } else { b };
        assert_eq!(held(&[a, b]), held(&[b, a]));
        assert_eq!(held(&[a, b]).head, lowest);
        assert!(!held(&[a, b]).counts(0));
        assert!(held(&[a]).counts(0));
    }

    #[test]
    fn what_stands_aside_is_bounded_and_the_longest_branch_is_not() {
        let mut log = held(&[head(0, 0)]);
        for branch in 1..=64 {
            assert!(log.has_room_at(0));
            log = Branches::with(Some(log), head(0, branch));
        }
        assert!(!log.has_room_at(0));
        assert!(log.has_room_at(1));
        assert_eq!(Branches::with(Some(log), head(1, 7)).aside(), ASIDE_MAX);
    }
}
