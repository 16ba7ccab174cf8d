//! Payloads of kind 10 and 18: what is erased, and who has done so.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::entry::{ALL_LEAVES, ENTRY_FORMAT_FIRST, Entry, Kind};
use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::payload::Leaf;
use crate::space::SpaceId;
use crate::task;

/// The most leaves that one entry erases.
pub const ERASED_TOGETHER_MAX: usize = 1_024;
/// The most erasures that one entry confirms.
pub const CONFIRMED_TOGETHER_MAX: usize = 1_024;

const FORMAT: u16 = 1;
/// The bytes of a format and of a count.
const FRONT_BYTES: usize = 2 + 4;

/// Leaves of entries that are to be erased: the payload of an entry of kind [`Kind::ERASE`] in the mesh's own space.
/// Canonical bytes: borsh, fields in this order.
///
/// It counts for a leaf if its author is the author of that leaf's entry, or is an admin.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Erase {
    format: u16,
    leaves: Vec<(EntryId, u16)>,
}

impl Erase {
    /// An erasure of some leaves ([`ALL_LEAVES`] for all that an entry may lose), each named once.
    ///
    /// # Errors
    /// [`FormError::Count`] unless there are 1 to [`ERASED_TOGETHER_MAX`].
    pub fn of(mut leaves: Vec<(EntryId, u16)>) -> Result<Self, FormError> {
        leaves.sort_unstable();
        leaves.dedup();
        within("leaves to erase", leaves.len(), ERASED_TOGETHER_MAX)?;
        Ok(Self { format: FORMAT, leaves })
    }

    /// The leaves, ascending.
    pub fn leaves(&self) -> &[(EntryId, u16)] {
        &self.leaves
    }

    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`] or [`FormError::Count`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let read: Self = read(payload, ERASED_TOGETHER_MAX * (32 + 2))?;
        within("leaves to erase", read.leaves.len(), ERASED_TOGETHER_MAX)?;
        let is_canonical = read.format == FORMAT && read.leaves.is_sorted_by(|one, next| one < next);
        is_canonical.then_some(read).ok_or(FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("an erasure encodes")
    }
}

/// How far a node is with an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Erased {
    /// No reader of the node finds it any more.
    Hidden = 0,
    /// Its bytes were overwritten in the node's files.
    Gone = 1,
}

/// The word of a node that it has carried out erasures: the payload of an entry of kind [`Kind::CONFIRMATION`] in the mesh's
/// own space. Canonical bytes: borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Confirmation {
    format: u16,
    state: Erased,
    erasures: Vec<EntryId>,
}

impl Confirmation {
    /// A node's word on some erasures, by the ids of their entries.
    ///
    /// # Errors
    /// [`FormError::Count`] unless there are 1 to [`CONFIRMED_TOGETHER_MAX`].
    pub fn of(state: Erased, mut erasures: Vec<EntryId>) -> Result<Self, FormError> {
        erasures.sort_unstable();
        erasures.dedup();
        within("erasures to confirm", erasures.len(), CONFIRMED_TOGETHER_MAX)?;
        Ok(Self { format: FORMAT, state, erasures })
    }

    /// How far the node is with them.
    pub const fn state(&self) -> Erased {
        self.state
    }

    /// The ids of the erasures, ascending.
    pub fn erasures(&self) -> &[EntryId] {
        &self.erasures
    }

    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`] or [`FormError::Count`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let read: Self = read(payload, 1 + CONFIRMED_TOGETHER_MAX * 32)?;
        within("erasures to confirm", read.erasures.len(), CONFIRMED_TOGETHER_MAX)?;
        let is_canonical = read.format == FORMAT && read.erasures.is_sorted_by(|one, next| one < next);
        is_canonical.then_some(read).ok_or(FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a confirmation encodes")
    }
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), FormError> {
    if (1..=max).contains(&count) { Ok(()) } else { Err(FormError::Count { what, count, max }) }
}

/// Reads borsh that has at most so many bytes behind its front.
fn read<T: BorshDeserialize>(payload: &[u8], bytes_max: usize) -> Result<T, FormError> {
    let fits = payload.len() <= FRONT_BYTES + bytes_max;
    fits.then(|| borsh::from_slice(payload).ok()).flatten().ok_or(FormError::NotCanonical)
}

impl Entry {
    /// Whether an erasure that counts takes a leaf away ([`ALL_LEAVES`] for a payload in one piece).
    ///
    /// Entries that make members and spaces stay whole: a mesh does not stand without them. So do the facts of tasks, since a
    /// task without its end would be done again, and the head of words about a document, which has hashes alone.
    pub fn may_lose(&self, leaf: u16) -> bool {
        let header = self.header();
        if header.space == SpaceId::mesh(&header.mesh) || header.kind == Kind::TASKS {
            return false;
        }
        if leaf == ALL_LEAVES {
            return header.format() == ENTRY_FORMAT_FIRST;
        }
        match header.kind {
            Kind::DOCUMENT => leaf > 0,
            Kind::TASKS_APART => self.is_texts_of_a_task(leaf),
            _ => true,
        }
    }

    /// Whether a leaf has the texts of an event of a task. The facts before it say so.
    fn is_texts_of_a_task(&self, leaf: u16) -> bool {
        let Ok(Some(leaves)) = self.leaves() else { return false };
        let before = leaf.checked_sub(1).and_then(|before| leaves.iter().nth(before.into()));
        matches!(before, Some(Leaf::Present { bytes, .. }) if task::has_texts(bytes))
    }

    /// The leaves of this entry that go where these are erased: those that it may lose. [`ALL_LEAVES`] stands for all of
    /// them.
    pub fn losing(&self, erased: &[u16]) -> Vec<u16> {
        let count = match self.leaves() {
            Ok(Some(leaves)) => u16::try_from(leaves.iter().count()).unwrap_or(u16::MAX),
            _ if erased.contains(&ALL_LEAVES) && self.may_lose(ALL_LEAVES) => return vec![ALL_LEAVES],
            _ => return Vec::new(),
        };
        let all = erased.contains(&ALL_LEAVES);
        (0..count).filter(|leaf| (all || erased.contains(leaf)) && self.may_lose(*leaf)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> EntryId {
        EntryId::of(&[n])
    }

    #[test]
    fn an_erasure_has_one_spelling_and_a_bound() {
        let erase = Erase::of(vec![(id(2), 7), (id(1), ALL_LEAVES), (id(2), 7), (id(2), 3)]).unwrap();
        assert_eq!(erase.leaves().len(), 3);
        let bytes = erase.encode();
        assert_eq!(Erase::decode(&bytes), Ok(erase.clone()));
        let mut turned = erase.clone();
        turned.leaves.reverse();
        let mut twice = erase.clone();
        twice.leaves.push(erase.leaves[2]);
        let later = Erase { format: 2, ..erase };
        let bad = [turned.encode(), twice.encode(), later.encode(), bytes[..bytes.len() - 1].to_vec(), Vec::new()];
        for bad in bad {
            assert_eq!(Erase::decode(&bad), Err(FormError::NotCanonical));
        }
        assert!(matches!(Erase::of(Vec::new()), Err(FormError::Count { .. })));
        let many = (0..=ERASED_TOGETHER_MAX as u64).map(|n| (EntryId::of(&n.to_le_bytes()), 0)).collect::<Vec<_>>();
        assert!(matches!(Erase::of(many.clone()), Err(FormError::Count { .. })));
        assert!(Erase::of(many[1..].to_vec()).is_ok());
    }

    #[test]
    fn a_confirmation_has_one_spelling_and_a_bound() {
        let word = Confirmation::of(Erased::Gone, vec![id(2), id(1), id(2)]).unwrap();
        let bytes = word.encode();
        assert_eq!(Confirmation::decode(&bytes), Ok(word.clone()));
        let mut turned = word.clone();
        turned.erasures.reverse();
        let state = [&bytes[..2], &[7], &bytes[3..]].concat();
        for bad in [turned.encode(), state, bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            assert_eq!(Confirmation::decode(&bad), Err(FormError::NotCanonical));
        }
        assert!(matches!(Confirmation::of(Erased::Hidden, Vec::new()), Err(FormError::Count { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_erasure_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(erase) = Erase::decode(&bytes) {
                prop_assert_eq!(erase.encode(), bytes.clone());
            }
            if let Ok(word) = Confirmation::decode(&bytes) {
                prop_assert_eq!(word.encode(), bytes);
            }
        }
    }
}
