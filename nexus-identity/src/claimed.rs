//! Bytes and texts behind their length. borsh alone would allocate up to 1 MiB for a length that somebody
//! only claims.

use std::io::{self, Read};

use borsh::BorshDeserialize;

/// The most that is allocated before the bytes are there.
const BEFORE_BYTES: u32 = 4_096;

/// Reads bytes, for `#[borsh(deserialize_with)]`. Memory grows with the bytes that are there.
///
/// # Errors
/// There are fewer bytes than claimed.
pub fn bytes<R: Read>(reader: &mut R) -> io::Result<Vec<u8>> {
    let length = u32::deserialize_reader(reader)?;
    let mut bytes = Vec::with_capacity(length.min(BEFORE_BYTES) as usize);
    reader.by_ref().take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() == length as usize { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Reads a text, like [`bytes`].
///
/// # Errors
/// There are fewer bytes than claimed, or they are not UTF-8.
pub fn text<R: Read>(reader: &mut R) -> io::Result<String> {
    String::from_utf8(bytes(reader)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_and_texts_are_read_as_borsh_reads_them(given in prop::collection::vec(any::<u8>(), 0..40), said: String) {
            let of_borsh = |mut from: &[u8]| Vec::<u8>::deserialize(&mut from).map(|read| (read, from.len())).ok();
            let of_ours = |mut from: &[u8]| bytes(&mut from).map(|read| (read, from.len())).ok();
            prop_assert_eq!(of_ours(&given), of_borsh(&given));
            let whole = borsh::to_vec(&given).unwrap();
            prop_assert_eq!(of_ours(&whole), of_borsh(&whole));
            prop_assert_eq!(text(&mut borsh::to_vec(&said).unwrap().as_slice()).unwrap(), said);
            prop_assert_eq!(text(&mut whole.as_slice()).ok(), String::try_from_slice(&whole).ok());
        }
    }
}
