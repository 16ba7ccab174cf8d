//! Payloads of kind 2: names and changes of living documents. The changes stay opaque here.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::entry::Entry;
use crate::error::FormError;
use crate::payload::{LEAVES_MAX, Leaf, PAYLOAD_BYTES_MAX, SALT_BYTES};

/// The longest key of a document, in bytes.
pub const DOCUMENT_KEY_BYTES_MAX: usize = 256;
/// The most parts of an entry about a document.
pub const DOCUMENT_PARTS_MAX: usize = LEAVES_MAX - 1;
/// The most bytes of a change that an entry holds: room for the head and one part, in leaves.
pub const DOCUMENT_CHANGE_BYTES_MAX: usize =
    PAYLOAD_BYTES_MAX - 4 - 2 * (1 + SALT_BYTES + 4) - (16 + 4 + PART_HEAD_BYTES);

/// The bytes of a part's line in the head: its tag and its mark.
const PART_HEAD_BYTES: usize = 1 + 32;
const KEY: u8 = 0;
const CHANGE: u8 = 1;

/// A part of what an entry says of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentPart {
    /// The document has this key in its space.
    Key {
        /// How often the key began anew before: 0 for its first document.
        generation: u64,
        /// 1 to [`DOCUMENT_KEY_BYTES_MAX`] bytes without control characters.
        key: String,
    },
    /// A change of the document.
    Change {
        /// Its hash, as the author says.
        hash: [u8; 32],
        /// Its bytes, 1 to [`DOCUMENT_CHANGE_BYTES_MAX`].
        bytes: Vec<u8>,
    },
}

impl DocumentPart {
    fn mark(&self) -> (u8, [u8; 32]) {
        match self {
            Self::Key { generation, .. } => {
                let mut mark = [0; 32];
                mark[..8].copy_from_slice(&generation.to_le_bytes());
                (KEY, mark)
            }
            Self::Change { hash, .. } => (CHANGE, *hash),
        }
    }

    /// The bytes of it that can be erased.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Key { key, .. } => key.as_bytes(),
            Self::Change { bytes, .. } => bytes,
        }
    }

    /// The bytes that it takes of a payload.
    pub fn payload_bytes(&self) -> usize {
        PART_HEAD_BYTES + 1 + SALT_BYTES + 4 + self.bytes().len()
    }
}

/// The words of one entry about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentWords {
    /// The document's id.
    pub document: [u8; 16],
    /// Its parts that are here and that this version knows, each with the index of its leaf.
    pub parts: Vec<(u16, DocumentPart)>,
    /// The hashes of changes that were erased.
    pub erased: Vec<[u8; 32]>,
}

impl DocumentWords {
    /// Whether it has changes that are here.
    pub fn has_changes(&self) -> bool {
        self.parts.iter().any(|(_, part)| matches!(part, DocumentPart::Change { .. }))
    }
}

/// The first leaf: borsh, fields in this order. Leaf `n` holds the bytes of part `n - 1`.
#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    document: [u8; 16],
    parts: Vec<(u8, [u8; 32])>,
}

/// The leaves of an entry about a document: the head, then a leaf for each part. There are 1 to [`DOCUMENT_PARTS_MAX`]
/// parts, within their limits.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
pub fn document_leaves(document: [u8; 16], parts: &[DocumentPart]) -> Vec<Vec<u8>> {
    let head = Head { document, parts: parts.iter().map(DocumentPart::mark).collect() };
    let head = borsh::to_vec(&head).expect("a head encodes");
    std::iter::once(head).chain(parts.iter().map(|part| part.bytes().to_vec())).collect()
}

/// The words of an entry of kind 2. Parts of a later version are left out.
///
/// # Errors
/// [`FormError::Absent`] if its head is not here; else the broken rule of form.
pub fn document_of(entry: &Entry) -> Result<DocumentWords, FormError> {
    let leaves = entry.leaves().map_err(|_| FormError::NotCanonical)?;
    let Some(leaves) = leaves else {
        // an entry of the first format has no leaves
        return Err(if entry.payload().is_some() { FormError::NotCanonical } else { FormError::Absent });
    };
    let mut leaves = leaves.iter();
    let head = match leaves.next() {
        Some(Leaf::Present { bytes, .. }) => read_head(bytes)?,
        Some(Leaf::Erased(_)) => return Err(FormError::Absent),
        None => return Err(FormError::NotCanonical),
    };
    let leaves: Vec<&Leaf<'_>> = leaves.collect();
    if leaves.len() != head.parts.len() || leaves.is_empty() {
        return Err(FormError::Count { what: "parts of a document", count: leaves.len(), max: head.parts.len() });
    }
    let mut said = DocumentWords { document: head.document, parts: Vec::new(), erased: Vec::new() };
    for ((index, leaf), (tag, mark)) in (1_u16..).zip(leaves).zip(head.parts) {
        match (tag, leaf) {
            (KEY | CHANGE, Leaf::Present { bytes, .. }) => said.parts.push((index, read_part(tag, mark, bytes)?)),
            (CHANGE, Leaf::Erased(_)) => said.erased.push(mark),
            _ => {}
        }
    }
    Ok(said)
}

fn read_head(bytes: &[u8]) -> Result<Head, FormError> {
    // borsh reserves no more than a head of a payload can have
    let fits = bytes.len() <= 16 + 4 + DOCUMENT_PARTS_MAX * PART_HEAD_BYTES;
    fits.then(|| borsh::from_slice(bytes).ok()).flatten().ok_or(FormError::NotCanonical)
}

fn read_part(tag: u8, mark: [u8; 32], bytes: &[u8]) -> Result<DocumentPart, FormError> {
    if tag == CHANGE {
        return match bytes.is_empty() {
            true => Err(FormError::NotCanonical),
            false => Ok(DocumentPart::Change { hash: mark, bytes: bytes.to_vec() }),
        };
    }
    let [generation, rest @ ..] = &mark.as_chunks::<8>().0 else { return Err(FormError::NotCanonical) };
    if rest.iter().flatten().any(|byte| *byte != 0) {
        return Err(FormError::NotCanonical);
    }
    let key = std::str::from_utf8(bytes).ok().filter(|key| is_document_key(key));
    let key = key.ok_or_else(|| FormError::Content("a document's key is out of range".to_owned()))?;
    Ok(DocumentPart::Key { generation: u64::from_le_bytes(*generation), key: key.to_owned() })
}

/// Whether a text can be the key of a document.
pub fn is_document_key(key: &str) -> bool {
    (1..=DOCUMENT_KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;

    use super::*;
    use crate::{Content, Draft, Hlc, Incarnation, Kind, LogId, SpaceId, Verified};

    fn entry(leaves: Vec<Vec<u8>>) -> Verified {
        let key = Keypair::from_seed(&[7; 32]);
        let mesh = key.did();
        let log = LogId { space: SpaceId::mesh(&mesh), author: mesh, incarnation: Incarnation([1; 8]) };
        let parts = leaves.into_iter().map(|leaf| ([1; SALT_BYTES], leaf)).collect();
        let draft = Draft {
            mesh,
            log,
            after: None,
            hlc: Hlc(1),
            kind: Kind::DOCUMENT,
            refs: Vec::new(),
            payload: Content::Parts(parts),
        };
        Verified::write(draft, &key)
    }

    fn parts() -> Vec<DocumentPart> {
        vec![
            DocumentPart::Key { generation: 3, key: "plan".to_owned() },
            DocumentPart::Change { hash: [9; 32], bytes: vec![1, 2, 3] },
            DocumentPart::Change { hash: [8; 32], bytes: vec![4; DOCUMENT_CHANGE_BYTES_MAX / 2] },
        ]
    }

    #[test]
    fn an_entry_says_what_was_written_also_after_a_change_of_it_was_erased() {
        let whole = entry(document_leaves([5; 16], &parts()));
        let said = document_of(&whole).unwrap();
        let all: Vec<_> = (1_u16..).zip(parts()).collect();
        assert_eq!(said, DocumentWords { document: [5; 16], parts: all.clone(), erased: Vec::new() });
        let left = document_of(&whole.clone().only(&[0, 1, 3])).unwrap();
        assert_eq!(left.parts, [all[0].clone(), all[2].clone()]);
        assert_eq!(left.erased, [[9; 32]]);
        assert_eq!(document_of(&whole.only(&[1, 2])), Err(FormError::Absent));
    }

    #[test]
    fn parts_of_a_later_version_are_left_out_and_broken_ones_refused() {
        let mut leaves = document_leaves([5; 16], &parts());
        leaves[0][16 + 4 + PART_HEAD_BYTES] = 77;
        let said = document_of(&entry(leaves.clone())).unwrap();
        assert_eq!(said.parts.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
        leaves.pop();
        assert!(matches!(document_of(&entry(leaves)), Err(FormError::Count { .. })));
        let broken = |key: &str| {
            let part = DocumentPart::Key { generation: 0, key: key.to_owned() };
            document_of(&entry(document_leaves([5; 16], &[part])))
        };
        assert!(broken("").is_err() && broken("a\nb").is_err() && broken(&"k".repeat(257)).is_err());
        assert!(broken(&"k".repeat(256)).is_ok());
        let empty = DocumentPart::Change { hash: [1; 32], bytes: Vec::new() };
        assert!(document_of(&entry(document_leaves([5; 16], &[empty]))).is_err());
        assert!(document_of(&entry(vec![vec![0; 19]])).is_err());
    }

    #[test]
    fn a_longest_change_fits_an_entry() {
        let part = DocumentPart::Change { hash: [1; 32], bytes: vec![7; DOCUMENT_CHANGE_BYTES_MAX] };
        let entry = entry(document_leaves([5; 16], &[part]));
        assert_eq!(entry.payload().map(<[u8]>::len), Some(PAYLOAD_BYTES_MAX));
        assert!(document_of(&entry).is_ok());
    }
}
