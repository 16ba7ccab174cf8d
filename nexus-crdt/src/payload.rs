use crate::error::EntryError;

/// The longest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The most leaves of a payload.
pub const LEAVES_MAX: usize = 1024;
/// The size of a leaf's salt, in bytes.
pub const SALT_BYTES: usize = 16;

/// Random bytes that keep the text of an erased leaf from being guessed.
pub type Salt = [u8; SALT_BYTES];

/// A leaf that is present: a flag, its salt, the length of its bytes.
const PRESENT_FRONT_BYTES: usize = 1 + SALT_BYTES + 4;
/// A leaf that was erased: a flag, its hash.
const ERASED_BYTES: usize = 1 + 32;
/// The longest encoding: erasing a short leaf makes it longer.
const ENCODED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + LEAVES_MAX * (ERASED_BYTES - PRESENT_FRONT_BYTES);

/// A payload as its author hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One piece, erased as a whole or not at all: entry format 1.
    Whole(Vec<u8>),
    /// Parts that can be erased one by one, each with a salt that nobody can guess: entry format 2.
    Parts(Vec<(Salt, Vec<u8>)>),
}

impl From<Vec<u8>> for Content {
    fn from(payload: Vec<u8>) -> Self {
        Self::Whole(payload)
    }
}

/// One part of a payload of entry format 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// It is here.
    Present {
        /// Sixteen random bytes.
        salt: Salt,
        /// Its content.
        bytes: &'a [u8],
    },
    /// It was erased; its hash is left.
    Erased([u8; 32]),
}

impl Leaf<'_> {
    /// BLAKE3, context `nexus payload leaf v2`, of salt and bytes.
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Self::Present { salt, bytes } => {
                let mut hasher = blake3::Hasher::new_derive_key("nexus payload leaf v2");
                hasher.update(salt).update(bytes);
                *hasher.finalize().as_bytes()
            }
            Self::Erased(hash) => *hash,
        }
    }
}

/// The payload of an entry of format 2: leaves, each of them present or erased.
///
/// Canonical bytes: the count, then for each leaf `0`, salt, length, bytes, or `1`, hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves<'a>(Vec<Leaf<'a>>);

impl<'a> Leaves<'a> {
    /// The leaves of what an author says, all present.
    pub fn of(parts: &'a [(Salt, Vec<u8>)]) -> Self {
        Self(parts.iter().map(|(salt, bytes)| Leaf::Present { salt: *salt, bytes }).collect())
    }

    /// Reads canonical bytes. Nothing is allocated before the count and the size are checked.
    ///
    /// # Errors
    /// [`EntryError::TooLarge`], [`EntryError::Payload`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(EntryError::TooLarge { part: "payload", bytes: bytes.len(), max: ENCODED_BYTES_MAX });
        }
        let (count, mut rest) = split_u32(bytes).ok_or(EntryError::Payload("too short"))?;
        if !(1..=LEAVES_MAX).contains(&count) {
            return Err(EntryError::Payload("a payload has 1 to 1024 leaves"));
        }
        let mut leaves = Vec::with_capacity(count);
        for _ in 0..count {
            let (leaf, after) = split_leaf(rest).ok_or(EntryError::Payload("not a list of leaves"))?;
            leaves.push(leaf);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(EntryError::Payload("bytes are left over"));
        }
        Ok(Self(leaves))
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        bytes.extend(u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes());
        for leaf in &self.0 {
            match leaf {
                Leaf::Present { salt, bytes: said } => {
                    bytes.push(0);
                    bytes.extend(salt);
                    bytes.extend(u32::try_from(said.len()).unwrap_or(u32::MAX).to_le_bytes());
                    bytes.extend(*said);
                }
                Leaf::Erased(hash) => {
                    bytes.push(1);
                    bytes.extend(hash);
                }
            }
        }
        bytes
    }

    /// The leaves in order.
    pub fn iter(&self) -> impl Iterator<Item = &Leaf<'a>> {
        self.0.iter()
    }

    /// Each leaf that is here: its index, where its bytes begin in the encoding, and its bytes.
    pub fn present(&self) -> impl Iterator<Item = (u16, usize, &'a [u8])> {
        let mut at = 4;
        (0_u16..).zip(&self.0).filter_map(move |(index, leaf)| match leaf {
            Leaf::Present { bytes, .. } => {
                let from = at + PRESENT_FRONT_BYTES;
                at = from + bytes.len();
                Some((index, from, *bytes))
            }
            Leaf::Erased(_) => {
                at += ERASED_BYTES;
                None
            }
        })
    }

    /// The indices of the leaves that were erased.
    pub fn erased(&self) -> impl Iterator<Item = u16> {
        let erased = (0_u16..).zip(&self.0).filter(|(_, leaf)| matches!(leaf, Leaf::Erased(_)));
        erased.map(|(index, _)| index)
    }

    /// The same with one leaf erased; nothing happens if there is none at this index.
    #[must_use]
    pub fn without(mut self, index: u16) -> Self {
        if let Some(leaf) = self.0.get_mut(usize::from(index)) {
            *leaf = Leaf::Erased(leaf.hash());
        }
        self
    }

    /// The same with all leaves erased but some.
    #[must_use]
    pub fn only(mut self, kept: &[u16]) -> Self {
        for (index, leaf) in (0_u16..).zip(&mut self.0) {
            if !kept.contains(&index) {
                *leaf = Leaf::Erased(leaf.hash());
            }
        }
        self
    }

    /// The same with those leaves that another copy of it has besides.
    #[must_use]
    pub fn filled_by(mut self, other: &Leaves<'a>) -> Self {
        for (leaf, theirs) in self.0.iter_mut().zip(&other.0) {
            if matches!((&leaf, theirs), (Leaf::Erased(_), Leaf::Present { .. })) {
                *leaf = *theirs;
            }
        }
        self
    }

    /// The hash that a header names: BLAKE3, context `nexus payload root v2`, of the count and the
    /// hashes of all leaves. It stays the same whatever is erased.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("nexus payload root v2");
        hasher.update(&u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes());
        for leaf in &self.0 {
            hasher.update(&leaf.hash());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether these can be what is left of a payload that had this size when it was whole.
    pub fn fits(&self, whole_bytes: usize) -> bool {
        let least = 4 + self.iter().map(least_bytes).sum::<usize>();
        if self.erased().next().is_none() { least == whole_bytes } else { least <= whole_bytes }
    }

    fn encoded_bytes(&self) -> usize {
        4 + self
            .iter()
            .map(|leaf| if matches!(leaf, Leaf::Erased(_)) { ERASED_BYTES } else { least_bytes(leaf) })
            .sum::<usize>()
    }
}

/// The fewest bytes of a leaf while it was present.
const fn least_bytes(leaf: &Leaf<'_>) -> usize {
    match leaf {
        Leaf::Present { bytes, .. } => PRESENT_FRONT_BYTES + bytes.len(),
        Leaf::Erased(_) => PRESENT_FRONT_BYTES,
    }
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

fn split_leaf(bytes: &[u8]) -> Option<(Leaf<'_>, &[u8])> {
    let (flag, rest) = bytes.split_first()?;
    match flag {
        0 => {
            let (salt, rest) = rest.split_first_chunk()?;
            let (len, rest) = split_u32(rest)?;
            let (bytes, rest) = rest.split_at_checked(len)?;
            Some((Leaf::Present { salt: *salt, bytes }, rest))
        }
        1 => {
            let (hash, rest) = rest.split_first_chunk()?;
            Some((Leaf::Erased(*hash), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts() -> impl Strategy<Value = Vec<(Salt, Vec<u8>)>> {
        prop::collection::vec((any::<Salt>(), prop::collection::vec(any::<u8>(), 0..40)), 1..12)
    }

    proptest! {
        #[test]
        fn a_payload_has_one_spelling_and_one_root_whatever_is_erased(
            parts in parts(), erased in prop::collection::vec(0_u16..14, 0..6)
        ) {
            let whole = Leaves::of(&parts);
            let bytes = whole.encode();
            prop_assert_eq!(Leaves::decode(&bytes).unwrap(), whole.clone());
            prop_assert!(whole.fits(bytes.len()));
            let left = erased.iter().fold(whole.clone(), |leaves, index| leaves.without(*index));
            prop_assert_eq!(left.root(), whole.root());
            let emptied = left.encode();
            let read = Leaves::decode(&emptied).unwrap();
            prop_assert_eq!(&read, &left);
            prop_assert!(read.fits(bytes.len()));
            // each leaf that is left is where it was said to be, under the index that it had
            for (index, at, said) in read.present() {
                prop_assert_eq!(&emptied[at..at + said.len()], said);
                prop_assert_eq!(&parts[usize::from(index)].1, said);
                prop_assert!(!erased.contains(&index));
            }
        }

        #[test]
        fn any_bytes_are_leaves_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(leaves) = Leaves::decode(&bytes) {
                prop_assert_eq!(leaves.encode(), bytes);
            }
        }

        #[test]
        fn another_leaf_another_order_or_another_count_has_another_root(parts in parts(), at in any::<prop::sample::Index>()) {
            let root = Leaves::of(&parts).root();
            let at = at.index(parts.len());
            let mut tampered = parts.clone();
            tampered[at].1.push(7);
            prop_assert_ne!(Leaves::of(&tampered).root(), root);
            let mut salted = parts.clone();
            salted[at].0[3] ^= 1;
            prop_assert_ne!(Leaves::of(&salted).root(), root);
            let mut swapped = parts.clone();
            swapped.swap(0, at);
            prop_assert_eq!(Leaves::of(&swapped).root() == root, parts[0] == parts[at]);
            let fewer = &parts[..parts.len() - 1];
            prop_assert_ne!(Leaves::of(fewer).root(), root);
        }
    }

    #[test]
    fn a_count_is_believed_only_as_far_as_there_are_bytes() {
        let refused = |bytes: &[u8]| Leaves::decode(bytes).unwrap_err();
        assert!(matches!(refused(&[]), EntryError::Payload(_)));
        assert!(matches!(refused(&0_u32.to_le_bytes()), EntryError::Payload(_)));
        assert!(matches!(refused(&u32::MAX.to_le_bytes()), EntryError::Payload(_)));
        assert!(matches!(refused(&1_024_u32.to_le_bytes()), EntryError::Payload(_)));
        let long = [1_u32.to_le_bytes().as_slice(), &[0], &[0; SALT_BYTES], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(refused(&long), EntryError::Payload(_)));
        assert!(matches!(refused(&vec![0; ENCODED_BYTES_MAX + 1]), EntryError::TooLarge { .. }));
        let parts = vec![([0; SALT_BYTES], vec![]); LEAVES_MAX];
        let all_erased = (0..1_024).fold(Leaves::of(&parts), Leaves::without);
        assert_eq!(Leaves::decode(&all_erased.encode()).unwrap().erased().count(), LEAVES_MAX);
    }

    #[test]
    fn what_is_left_says_nothing_of_what_was_erased() {
        let parts = [([1; SALT_BYTES], b"kept".to_vec()), ([2; SALT_BYTES], b"yes".to_vec())];
        let emptied = Leaves::of(&parts).without(1).encode();
        // of two answers neither can be told from the hash: its salt is gone, too
        assert!(!emptied.windows(SALT_BYTES).any(|bytes| bytes == [2; SALT_BYTES]));
        let guess = Leaf::Present { salt: [0; SALT_BYTES], bytes: b"yes" }.hash();
        assert_ne!(Leaves::decode(&emptied).unwrap().iter().nth(1), Some(&Leaf::Erased(guess)));
    }

    #[test]
    fn a_payload_of_64_kib_may_grow_by_its_erased_leaves_and_no_further() {
        // erasing an empty leaf makes it twelve bytes longer
        assert_eq!(ENCODED_BYTES_MAX, 64 * 1_024 + 1_024 * 12);
        let mut parts = vec![([7; SALT_BYTES], vec![]); LEAVES_MAX];
        parts[0].1 = vec![1; PAYLOAD_BYTES_MAX - 4 - LEAVES_MAX * PRESENT_FRONT_BYTES];
        let whole = Leaves::of(&parts);
        assert_eq!(whole.encode().len(), PAYLOAD_BYTES_MAX);
        let left = (1..1_024).fold(whole, Leaves::without).encode();
        assert_eq!(left.len(), ENCODED_BYTES_MAX - 12);
        let read = Leaves::decode(&left).unwrap();
        assert!(read.fits(PAYLOAD_BYTES_MAX));

        let of_length = |bytes: usize| {
            let parts = [([7; SALT_BYTES], vec![1; bytes - 4 - PRESENT_FRONT_BYTES])];
            Leaves::decode(&Leaves::of(&parts).encode()).map(drop)
        };
        assert_eq!(of_length(ENCODED_BYTES_MAX), Ok(()));
        assert!(matches!(of_length(ENCODED_BYTES_MAX + 1), Err(EntryError::TooLarge { .. })));
    }

    #[test]
    fn what_is_left_fits_what_there_was_or_more() {
        let parts = [([1; SALT_BYTES], b"one".to_vec()), ([2; SALT_BYTES], b"three".to_vec())];
        let whole = Leaves::of(&parts);
        let bytes = whole.encode().len();
        assert_eq!(bytes, 4 + 2 * PRESENT_FRONT_BYTES + 3 + 5);
        for (claimed, fits) in [(bytes - 1, false), (bytes, true), (bytes + 1, false)] {
            assert_eq!(whole.fits(claimed), fits, "{claimed}");
        }
        // the erased one had any length
        let left = whole.without(1);
        for (claimed, fits) in [(bytes - 6, false), (bytes - 5, true), (bytes, true), (PAYLOAD_BYTES_MAX, true)] {
            assert_eq!(left.fits(claimed), fits, "{claimed}");
        }
        assert_eq!(left.encode().capacity(), left.encode().len(), "no more room is taken than it needs");
    }
}
