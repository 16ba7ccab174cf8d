use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::hlc::Hlc;

const FORMAT: u16 = 1;

/// A seat among the coordinators of a group: the payload of an entry of kind [`crate::Kind::SEAT`] in the mesh's
/// own space. Canonical bytes: borsh, fields in this order.
///
/// It counts while its author is an admin. Copies of critical state take Raft's messages from such seats alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Seat {
    /// 1; a later format is not read.
    format: u16,
    /// The number of groups before this one.
    pub generation: u32,
    /// The group's random number.
    pub group: u64,
    /// The member that holds the seat.
    pub member: Did,
    /// The number that the member's node drew with its Raft file: one that lost the file holds another seat.
    pub draw: u64,
}

impl Seat {
    /// A seat of a group, named by its generation and its random number.
    pub const fn new(generation: u32, group: u64, member: Did, draw: u64) -> Self {
        Self { format: FORMAT, generation, group, member, draw }
    }

    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let read = borsh::from_slice(payload).ok().filter(|seat: &Self| seat.format == FORMAT);
        read.ok_or(FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a seat encodes")
    }
}

/// The seats that an author signed, each with its latest time. The latest ones are kept, up to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignedSeats {
    kept: BTreeMap<Seat, (Hlc, EntryId)>,
}

impl SignedSeats {
    /// The most seats of one author. Seats of nodes that lost their disk stay among them.
    const COUNT_MAX: usize = 1_024;

    /// Takes one within the bound. Returns whether it is a seat that was not kept before.
    pub(crate) fn take(&mut self, at: (Hlc, EntryId), seat: Seat) -> bool {
        let before = self.kept.insert(seat, at);
        if before.is_some_and(|before| before > at) {
            self.kept.extend(before.map(|before| (seat, before)));
        }
        if self.kept.len() > Self::COUNT_MAX {
            let first = self.kept.iter().min_by_key(|(_, at)| **at).map(|(seat, _)| *seat);
            first.and_then(|first| self.kept.remove(&first));
        }
        before.is_none() && self.contains(&seat)
    }

    pub(crate) fn contains(&self, seat: &Seat) -> bool {
        self.kept.contains_key(seat)
    }

    /// Whether there is a seat of a member in a group.
    pub(crate) fn has_seat_of(&self, generation: u32, group: u64, member: &Did) -> bool {
        let draws = Seat::new(generation, group, *member, 0)..=Seat::new(generation, group, *member, u64::MAX);
        self.kept.range(draws).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat(n: u64) -> Seat {
        Seat::new(0, 7, Did::from_bytes([1; 32]), n)
    }

    #[test]
    fn a_later_format_or_other_bytes_are_no_seat() {
        let bytes = seat(1).encode();
        assert_eq!(Seat::decode(&bytes), Ok(seat(1)));
        let later = Seat { format: 2, ..seat(1) }.encode();
        for bad in [&later[..], &bytes[..bytes.len() - 1], &[bytes.clone(), vec![0]].concat(), &[]] {
            assert_eq!(Seat::decode(bad), Err(FormError::NotCanonical));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// promise: Entries and memories | Of the seats that an admin signs the latest are kept, within a bound, in whichever order they come
        #[test]
        fn the_latest_seats_of_an_author_are_kept_in_any_order(
            order in Just((0..SignedSeats::COUNT_MAX as u64 + 50).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut signed = SignedSeats::default();
            for n in &order {
                signed.take((Hlc(*n), EntryId::of(&n.to_le_bytes())), seat(*n));
            }
            prop_assert_eq!(signed.kept.len(), SignedSeats::COUNT_MAX);
            prop_assert!((0..50).all(|n| !signed.contains(&seat(n))) && signed.contains(&seat(50)));
        }
    }
}
