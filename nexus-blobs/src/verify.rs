use std::io::{self, Read, Write};

use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard, decode_ranges, encode_ranges_validated};
use bao_tree::io::{DecodeError, EncodeError, round_up_to_chunks};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges};
use positioned_io::{ReadAt, WriteAt};

use crate::hash::BlobHash;
use crate::parts::{PART_BYTES, Part, Shape};

/// The size of a group, in bytes: the smallest piece that is verified by itself.
pub const GROUP_BYTES: u64 = 16 * 1024;
const GROUP: BlockSize = BlockSize::from_chunk_log(4);
/// The size of two hashes, which a proof has for each node.
const PAIR_BYTES: u64 = 64;
/// The most nodes between a root and a group.
const HEIGHT_MAX: u64 = 64;

/// The reason why a part is not handed out or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// The bytes are not the part of this blob, or the blob does not have this size: their sender is at fault.
    #[error("the bytes are not part {} of that blob", .0.0)]
    Bad(Part),
    /// Content or hashes here are not what they were: the disk is at fault.
    #[error("the content here of part {} is damaged", .0.0)]
    Damaged(Part),
    /// The blob has no such part.
    #[error("the blob has no part {}", .0.0)]
    NoPart(Part),
    /// The store's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The size of a blob's index, in bytes: a pair of hashes for each group but one.
pub fn index_bytes(shape: Shape) -> u64 {
    tree(shape).outboard_size()
}

/// The most bytes of a part with its proof.
pub const fn slice_bytes_max() -> u64 {
    PART_BYTES + (PART_BYTES / GROUP_BYTES + HEIGHT_MAX) * PAIR_BYTES
}

/// Reads content of a known size to its end, and writes its index: the hashes between its root and its groups, in the
/// order of iroh's `obao4` files. Returns its hash.
///
/// # Errors
/// Those of reading and writing; content that ends early is [`io::ErrorKind::UnexpectedEof`].
pub fn index(content: impl Read, shape: Shape, index: impl WriteAt) -> io::Result<BlobHash> {
    let mut outboard = PreOrderOutboard { root: BlobHash::from_bytes([0; 32]).root(), tree: tree(shape), data: index };
    outboard.init_from(content)?;
    Ok(BlobHash::from_bytes(*outboard.root.as_bytes()))
}

/// A part with the hashes that prove it, from content and its index. Both are checked on the way.
///
/// # Errors
/// [`SliceError::NoPart`], [`SliceError::Damaged`], and those of reading.
pub fn slice(
    hash: BlobHash,
    shape: Shape,
    part: Part,
    content: impl ReadAt,
    index: impl ReadAt,
) -> Result<Vec<u8>, SliceError> {
    let mut bytes = Vec::new();
    slice_into(&mut bytes, hash, shape, part, content, index)?;
    Ok(bytes)
}

/// Checks a part that another node sent, and writes its content and hashes to their places. Nothing unproven is
/// written. The last part proves the size; until then a wrong size may pass.
///
/// # Errors
/// [`SliceError::NoPart`], [`SliceError::Bad`], and those of writing.
pub fn accept(
    hash: BlobHash,
    shape: Shape,
    part: Part,
    mut sent: &[u8],
    content: impl WriteAt,
    index: impl ReadAt + WriteAt,
) -> Result<(), SliceError> {
    let outboard = PreOrderOutboard { root: hash.root(), tree: tree(shape), data: index };
    decode_ranges(&mut sent, &chunks(shape, part)?, content, outboard).map_err(|error| match error {
        DecodeError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => SliceError::Io(error),
        _ => SliceError::Bad(part),
    })?;
    // more than was asked for is a lie, too
    if sent.is_empty() { Ok(()) } else { Err(SliceError::Bad(part)) }
}

/// Checks a part that another node sent, and keeps nothing of it: it shows that the node has it.
///
/// # Errors
/// [`SliceError::NoPart`], [`SliceError::Bad`].
pub fn check(hash: BlobHash, shape: Shape, part: Part, sent: &[u8]) -> Result<(), SliceError> {
    accept(hash, shape, part, sent, Nowhere, Nowhere)
}

/// A place where nothing stays.
struct Nowhere;

impl ReadAt for Nowhere {
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl WriteAt for Nowhere {
    fn write_at(&mut self, _: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The content of a part without its proof, checked on the way.
///
/// # Errors
/// [`SliceError::NoPart`], [`SliceError::Damaged`], and those of reading.
pub fn read_part(
    hash: BlobHash,
    shape: Shape,
    part: Part,
    content: impl ReadAt,
    index: impl ReadAt,
) -> Result<Vec<u8>, SliceError> {
    if !shape.has(part) {
        return Err(SliceError::NoPart(part));
    }
    let long = shape.bytes(part);
    let mut piece = Piece { begin: long.start, bytes: vec![0; usize::try_from(long.end - long.start).unwrap_or(0)] };
    content.read_exact_at(piece.begin, &mut piece.bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SliceError::Damaged(part),
        _ => SliceError::Io(error),
    })?;
    // the bytes in memory are those that are checked: the disk is not asked twice
    slice_into(io::sink(), hash, shape, part, &piece, index)?;
    Ok(piece.bytes)
}

/// A piece of a blob at its place.
struct Piece {
    begin: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Piece {
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = at.checked_sub(self.begin).ok_or(io::ErrorKind::InvalidInput)?;
        self.bytes.as_slice().read_at(at, buf)
    }
}

fn slice_into(
    to: impl Write,
    hash: BlobHash,
    shape: Shape,
    part: Part,
    content: impl ReadAt,
    index: impl ReadAt,
) -> Result<(), SliceError> {
    let outboard = PreOrderOutboard { root: hash.root(), tree: tree(shape), data: index };
    encode_ranges_validated(content, outboard, &chunks(shape, part)?, to).map_err(|error| match error {
        EncodeError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => SliceError::Io(error),
        _ => SliceError::Damaged(part),
    })
}

fn tree(shape: Shape) -> BaoTree {
    BaoTree::new(shape.size(), GROUP)
}

fn chunks(shape: Shape, part: Part) -> Result<ChunkRanges, SliceError> {
    if !shape.has(part) {
        return Err(SliceError::NoPart(part));
    }
    let bytes = shape.bytes(part);
    // the one part of an empty blob is its first chunk
    let bytes = bytes.start..bytes.end.max(bytes.start + 1);
    Ok(round_up_to_chunks(&ByteRanges::from(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn content(size: usize, seed: u8) -> Vec<u8> {
        (0..size).map(|n| (n as u64).wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ seed).collect()
    }

    /// A blob with its hash and index.
    fn blob(size: usize) -> (Vec<u8>, BlobHash, Shape, Vec<u8>) {
        let (content, shape) = (content(size, 7), Shape::of(size as u64));
        let mut hashes = vec![0; index_bytes(shape) as usize];
        let hash = index(content.as_slice(), shape, hashes.as_mut_slice()).unwrap();
        assert_eq!(hash, BlobHash::of(&content));
        (content, hash, shape, hashes)
    }

    fn sizes() -> impl Strategy<Value = usize> {
        let part = PART_BYTES as usize;
        let group = GROUP_BYTES as usize;
        prop_oneof![Just(0), Just(1), Just(group), Just(group + 1), Just(part), Just(part + 1), 0..3 * part]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// promise: Blobs | A blob comes over part by part in any order, and is the same
        #[test]
        fn parts_make_the_blob_again(size in sizes(), order in any::<prop::sample::Index>()) {
            let (content, hash, shape, hashes) = blob(size);
            let (mut got, mut got_hashes) = (vec![0; size], vec![0; hashes.len()]);
            let first = order.index(shape.parts() as usize) as u64;
            for n in 0..shape.parts() {
                let part = Part((first + n) % shape.parts());
                let sent = slice(hash, shape, part, content.as_slice(), hashes.as_slice()).unwrap();
                prop_assert!(sent.len() as u64 <= slice_bytes_max());
                prop_assert!(check(hash, shape, part, &sent).is_ok());
                accept(hash, shape, part, &sent, got.as_mut_slice(), got_hashes.as_mut_slice()).unwrap();
                let bytes = shape.bytes(part);
                let read = read_part(hash, shape, part, content.as_slice(), hashes.as_slice()).unwrap();
                prop_assert_eq!(read, &content[bytes.start as usize..bytes.end as usize]);
            }
            prop_assert_eq!(got, content);
            prop_assert_eq!(got_hashes, hashes);
        }

        /// promise: Blobs | A part in which one bit is wrong, or that is too short or too long, is refused, and nothing unproven is written
        #[test]
        fn a_wrong_part_is_refused(size in sizes(), at in any::<prop::sample::Index>(), bit in 0..8u8, kind in 0..3) {
            let (content, hash, shape, hashes) = blob(size.max(1));
            let part = Part(at.index(shape.parts() as usize) as u64);
            let mut sent = slice(hash, shape, part, content.as_slice(), hashes.as_slice()).unwrap();
            let place = at.index(sent.len());
            match kind {
                0 => sent[place] ^= 1 << bit,
                1 => sent.truncate(place),
                _ => sent.push(0),
            }
            let (mut got, mut got_hashes) = (vec![0; content.len()], vec![0; hashes.len()]);
            prop_assert!(check(hash, shape, part, &sent).is_err());
            let refused = accept(hash, shape, part, &sent, got.as_mut_slice(), got_hashes.as_mut_slice());
            prop_assert!(matches!(refused, Err(SliceError::Bad(_))), "{:?}", refused);
            let unproven = got.iter().zip(&content).filter(|(got, whole)| **got != 0 && got != whole).count();
            prop_assert_eq!(unproven, 0);
        }

        /// promise: Blobs | Content that changed on the disk is never handed out
        #[test]
        fn damaged_content_is_not_handed_out(size in sizes(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let (mut content, hash, shape, hashes) = blob(size.max(1));
            let place = at.index(content.len());
            content[place] ^= 1 << bit;
            let part = Part(place as u64 / PART_BYTES);
            let damaged = slice(hash, shape, part, content.as_slice(), hashes.as_slice());
            prop_assert!(matches!(damaged, Err(SliceError::Damaged(_))), "{:?}", damaged);
            let damaged = read_part(hash, shape, part, content.as_slice(), hashes.as_slice());
            prop_assert!(matches!(damaged, Err(SliceError::Damaged(_))), "{:?}", damaged);
        }

        /// promise: Blobs | The last part of a blob proves its size
        #[test]
        fn a_wrong_size_is_found_by_its_last_part(size in sizes(), claimed in sizes()) {
            prop_assume!(size != claimed);
            let (content, hash, shape, hashes) = blob(size);
            let claimed = Shape::of(claimed as u64);
            let (mut got, mut got_hashes) = (vec![0; claimed.size() as usize], vec![0; index_bytes(claimed) as usize]);
            for part in (0..shape.parts()).map(Part) {
                let sent = slice(hash, shape, part, content.as_slice(), hashes.as_slice()).unwrap();
                let taken = accept(hash, claimed, claimed.last(), &sent, got.as_mut_slice(), got_hashes.as_mut_slice());
                prop_assert!(taken.is_err());
            }
        }
    }

    /// promise: Blobs | An index is iroh's: of 16 KiB groups, in pre-order
    #[test]
    fn an_index_has_a_pair_of_hashes_for_each_group_but_one() {
        for groups in [1, 2, 3, 64, 1_000] {
            assert_eq!(index_bytes(Shape::of(groups * GROUP_BYTES)), (groups - 1) * PAIR_BYTES);
        }
    }
}
