use std::ops::Range;

/// The size of a part, in bytes: of what is asked of a peer at a time. The last part of a blob is shorter.
pub const PART_BYTES: u64 = 256 * 1024;

/// The place of a part in its blob, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(pub u64);

/// The parts of a blob of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    size: u64,
}

impl Shape {
    /// The shape of a blob of so many bytes.
    pub const fn of(size: u64) -> Self {
        Self { size }
    }

    /// The size of the blob, in bytes.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// The number of its parts: at least one, so that the size of an empty blob is proven, too.
    pub const fn parts(self) -> u64 {
        let parts = self.size.div_ceil(PART_BYTES);
        if parts == 0 { 1 } else { parts }
    }

    /// The last part. Its proof is the proof of the size.
    pub const fn last(self) -> Part {
        Part(self.parts() - 1)
    }

    /// Whether the blob has this part.
    pub const fn has(self, part: Part) -> bool {
        part.0 < self.parts()
    }

    /// The bytes of a part; empty for one that the blob does not have.
    pub fn bytes(self, part: Part) -> Range<u64> {
        let begin = part.0.saturating_mul(PART_BYTES).min(self.size);
        begin..begin.saturating_add(PART_BYTES).min(self.size)
    }
}

/// Some of the parts of a blob: one bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSet {
    shape: Shape,
    words: Vec<u64>,
    count: u64,
}

impl PartSet {
    /// None of the parts of a blob.
    pub fn none(shape: Shape) -> Self {
        let words = usize::try_from(shape.parts().div_ceil(64)).unwrap_or(usize::MAX);
        Self { shape, words: vec![0; words], count: 0 }
    }

    /// The shape of the blob.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Adds a part. Returns whether it was missing. A part that the blob does not have is not added.
    pub fn add(&mut self, part: Part) -> bool {
        let (word, bit) = Self::place(part);
        let has = self.shape.has(part);
        let Some(word) = self.words.get_mut(word).filter(|_| has) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    /// Takes a part out.
    pub fn remove(&mut self, part: Part) {
        let (word, bit) = Self::place(part);
        if let Some(word) = self.words.get_mut(word) {
            self.count -= u64::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Whether a part is among them.
    pub fn contains(&self, part: Part) -> bool {
        let (word, bit) = Self::place(part);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The number of the parts.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether these are all parts of the blob.
    pub const fn is_whole(&self) -> bool {
        self.count == self.shape.parts()
    }

    /// The number of bytes in the parts.
    pub fn bytes(&self) -> u64 {
        let last = self.shape.last();
        let last_bytes = self.shape.bytes(last);
        let short = if self.contains(last) { PART_BYTES - (last_bytes.end - last_bytes.start) } else { 0 };
        (self.count * PART_BYTES).saturating_sub(short)
    }

    /// The first part from a place on that is not among them.
    pub fn first_missing(&self, from: Part) -> Option<Part> {
        let (first, bit) = Self::place(from);
        let mut below = bit - 1;
        for (word, bits) in self.words.iter().enumerate().skip(first) {
            let free = !(bits | below);
            below = 0;
            if free != 0 {
                let part = Part(word as u64 * 64 + u64::from(free.trailing_zeros()));
                return self.shape.has(part).then_some(part);
            }
        }
        None
    }

    /// The bits, for a file: part 0 is the lowest bit of the first byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The parts of bytes from [`PartSet::to_bytes`]. Bits of parts that the blob does not have, and bytes that are
    /// missing, count as none.
    pub fn from_bytes(shape: Shape, bytes: &[u8]) -> Self {
        let mut set = Self::none(shape);
        for (word, bytes) in set.words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        let beyond = shape.parts() % 64;
        if let Some(last) = set.words.last_mut().filter(|_| beyond != 0) {
            *last &= (1 << beyond) - 1;
        }
        set.count = set.words.iter().map(|word| u64::from(word.count_ones())).sum();
        set
    }

    const fn place(part: Part) -> (usize, u64) {
        ((part.0 / 64) as usize, 1 << (part.0 % 64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// promise: Blobs | The parts of a blob cover each of its bytes once, whatever its size
        #[test]
        fn parts_cover_a_blob(size in prop_oneof![0..4 * PART_BYTES, Just(PART_BYTES), Just(7 * PART_BYTES)]) {
            let shape = Shape::of(size);
            let mut at = 0;
            for part in 0..shape.parts() {
                let bytes = shape.bytes(Part(part));
                prop_assert_eq!(bytes.start, at);
                at = bytes.end;
            }
            prop_assert_eq!(at, size);
            prop_assert!(shape.bytes(Part(shape.parts())).is_empty() && shape.bytes(Part(u64::MAX)).is_empty());
        }

        /// promise: Blobs | A set of parts is a set: the same after it was written and read, with the right count of bytes
        #[test]
        fn a_set_of_parts_is_a_set(parts in 1..200u64, ops in prop::collection::vec((any::<bool>(), 0..220u64), 0..300)) {
            let shape = Shape::of(parts * PART_BYTES - 1);
            let (mut set, mut model) = (PartSet::none(shape), BTreeSet::new());
            for (adds, part) in ops {
                if adds {
                    prop_assert_eq!(set.add(Part(part)), part < parts && model.insert(part));
                } else {
                    set.remove(Part(part));
                    model.remove(&part);
                }
                let missing = (part..parts).find(|part| !model.contains(part)).map(Part);
                prop_assert_eq!(set.first_missing(Part(part)), missing);
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            let bytes = model.iter().map(|part| shape.bytes(Part(*part))).map(|bytes| bytes.end - bytes.start).sum::<u64>();
            prop_assert_eq!(set.bytes(), bytes);
            prop_assert_eq!(PartSet::from_bytes(shape, &set.to_bytes()), set);
            prop_assert_eq!(PartSet::from_bytes(shape, &[0xff; 64]).count(), parts);
        }
    }
}
