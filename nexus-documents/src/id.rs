//! Names of documents.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::change::chunk;

const SCHEME: &str = "automerge:";

/// The name of a document: 16 bytes. Its text is automerge-repo's address, `automerge:` and base58 with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId([u8; 16]);

/// A text that is no document's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no address of a document: it is `automerge:` and 16 bytes in base58 with a checksum")]
pub struct BadDocumentUrl;

impl DocumentId {
    /// The name of the document that a space has under a key. Two nodes that create it apart create the same one. After each
    /// erasure or compaction of that key, which are counted, it is another one.
    pub fn of_key(space: &[u8; 32], key: &str, times_begun_anew: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nexus document of a key");
        hasher.update(space);
        hasher.update(&times_begun_anew.to_le_bytes());
        hasher.update(key.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// A document by its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its address without the scheme, as automerge-repo's messages have it.
    #[cfg(feature = "repo")]
    pub fn bare(&self) -> String {
        let address = self.to_string();
        address.strip_prefix(SCHEME).map_or_else(|| address.clone(), str::to_owned)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let twice: [u8; 32] = Sha256::digest(Sha256::digest(bytes)).into();
    [twice[0], twice[1], twice[2], twice[3]]
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.0.as_slice(), &checksum(&self.0)].concat();
        write!(f, "{SCHEME}{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DocumentId {
    type Err = BadDocumentUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(SCHEME).unwrap_or(text);
        let mut bytes = [0; 20];
        // a longer text is not decoded
        if bs58::decode(encoded).onto(&mut bytes) != Ok(20) {
            return Err(BadDocumentUrl);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        if bytes[16..] == checksum(&id) { Ok(Self(id)) } else { Err(BadDocumentUrl) }
    }
}

/// The first change of a document that a key names. It is the same on each node, and has no operation: with it a document
/// that nobody wrote yet has heads, so that others find it.
pub fn genesis(document: DocumentId) -> Vec<u8> {
    let mut data = vec![0, 16];
    data.extend_from_slice(document.as_bytes());
    // number 1, first operation 1, time 0, no message, no other actors, no columns
    data.extend_from_slice(&[1, 1, 0, 0, 0, 0]);
    chunk(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written_and_no_other_is() {
        let id = DocumentId::of_key(&[1; 32], "plan", 0);
        assert_ne!(id, DocumentId::of_key(&[1; 32], "plan", 1));
        assert_ne!(id, DocumentId::of_key(&[2; 32], "plan", 0));
        let url = id.to_string();
        assert_eq!(url.parse(), Ok(id));
        assert_eq!(url["automerge:".len()..].parse(), Ok(id));
        let mut wrong = url.clone().into_bytes();
        let last = wrong.last_mut().unwrap();
        *last = if *last == b'2' { b'3' } else { b'2' };
        let long = "2".repeat(1_000_000);
        for bad in [String::from_utf8(wrong).unwrap().as_str(), "", "automerge:", "automerge:0OIl", &url[..20], &long] {
            assert_eq!(bad.parse::<DocumentId>(), Err(BadDocumentUrl), "{bad:.40}");
        }
    }
}
