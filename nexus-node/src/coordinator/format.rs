//! Formats of critical state: of proposals, snapshots, outcomes and answers.
//!
//! Format 0 has no mark; it is older than format numbers. Bytes of a later format begin with a
//! mark, which format 0 never begins with, and the number.
//!
//! A group begins with format 0. A committed command raises it once every copy can read the later
//! format. It is never lowered. A copy that meets bytes of an unknown format does not refuse them: it
//! stops, and goes on after an update of the program.

use std::io;

use borsh::BorshSerialize;

pub use crate::formats::{CRITICAL_FORMAT_MAX as FORMAT_MAX, TooNew};

/// The mark. Format 0 has a group's generation in this place, which never gets so large.
const MARK: [u8; 4] = [0xff; 4];

/// The first format whose values may be any bytes. In earlier ones they are text.
pub(super) const BYTES: u16 = 2;

/// The first format with a command that ends what a former member holds.
pub(super) const ENDS: u16 = 2;

/// The first format of which every copy knows of seats: Raft's messages come from seats alone, and a quorum of them
/// signs each snapshot.
pub(super) const SEATS: u16 = 2;

/// The first format whose proposals may have the keys of requests: asked again, they are answered as the first time.
pub(super) const REQUESTS: u16 = 3;

/// The first format in which names that begin with a member's DID are that member's alone
/// ([`OWN_PREFIX`](super::limits::OWN_PREFIX)).
pub(super) const OWN: u16 = 4;

/// The first format with a command that gives what a former key wrote to the key that took its place.
pub(super) const LINES: u16 = 5;

/// The bytes of a mark and its number.
pub(super) const MARKED_BYTES: usize = MARK.len() + size_of::<u16>();

/// The reason why bytes were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    /// Only a later version can read them.
    #[error(transparent)]
    TooNew(#[from] TooNew),
    /// They break the rules of their format, which this version knows.
    #[error("the bytes break the rules of their format")]
    Malformed,
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Malformed
    }
}

/// The format of some bytes, and the bytes after the mark. The format must be at most `max`.
pub(super) fn split(bytes: &[u8], max: u16) -> Result<(u16, &[u8]), ReadError> {
    let Some(rest) = bytes.strip_prefix(&MARK) else { return Ok((0, bytes)) };
    let (number, rest) = rest.split_first_chunk().ok_or(ReadError::Malformed)?;
    match u16::from_le_bytes(*number) {
        0 => Err(ReadError::Malformed),
        found if found > max => Err(TooNew::Format { found, max }.into()),
        format => Ok((format, rest)),
    }
}

/// The canonical bytes of a value.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
pub(super) fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("a value encodes")
}

/// The canonical bytes of a value, behind the mark of their format.
pub(super) fn encode_marked<T: BorshSerialize>(format: u16, value: &T) -> Vec<u8> {
    let mut bytes = begin(format);
    bytes.append(&mut encode(value));
    bytes
}

/// The mark of a format.
fn begin(format: u16) -> Vec<u8> {
    match format {
        0 => Vec::new(),
        format => [&MARK[..], &format.to_le_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_is_read_as_it_was_written(format in 0..10u16, body in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assume!(!body.starts_with(&MARK));
            let bytes = [begin(format), body.clone()].concat();
            prop_assert_eq!(split(&bytes, 9), Ok((format, body.as_slice())));
            let low = split(&bytes, 0);
            if format > 0 {
                prop_assert_eq!(low, Err(TooNew::Format { found: format, max: 0 }.into()));
            }
        }
    }

    #[test]
    fn a_mark_without_a_later_format_is_malformed() {
        assert_eq!(split(&[0xff; 4], 1), Err(ReadError::Malformed));
        assert_eq!(split(&[0xff, 0xff, 0xff, 0xff, 0, 0, 7], 1), Err(ReadError::Malformed));
    }
}
