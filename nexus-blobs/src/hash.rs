use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

/// The name of a blob: the BLAKE3 hash of its content. Its text has 64 hexadecimal digits, as `b3sum` prints them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash([u8; 32]);

/// The reason why a text is no [`BlobHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash of a blob has 64 hexadecimal digits")]
pub struct BadHash;

impl BlobHash {
    /// The hash of content that is in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first ten digits, for people.
    pub fn short(&self) -> String {
        HEXLOWER_PERMISSIVE.encode(&self.0[..5])
    }

    pub(crate) fn root(self) -> bao_tree::blake3::Hash {
        self.0.into()
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

impl FromStr for BlobHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| BadHash)?;
        bytes.try_into().map(Self).map_err(|_| BadHash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// promise: Blobs | The hash of a blob is the one that `b3sum` prints
    #[test]
    fn a_hash_is_that_of_b3sum() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(BlobHash::of(b"").to_string(), empty);
        assert_eq!(empty.to_uppercase().parse(), Ok(BlobHash::of(b"")));
    }

    /// promise: Bad input | A text that is no hash of a blob is refused
    #[test]
    fn other_texts_are_refused() {
        for text in ["", "af13", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66), "../../etc/passwd"] {
            assert_eq!(text.parse::<BlobHash>(), Err(BadHash), "{text}");
        }
    }
}
