use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

/// The size of a place for a key in an answer, without the value.
pub(super) const SHOWN_BYTES: u64 = 64;

/// The content of a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// Its value.
    pub value: Vec<u8>,
    /// The revision of its last write.
    pub revision: u64,
    /// The revision of its creation.
    pub created: u64,
    /// The last writer.
    pub by: Did,
    /// The lifetime from its last write on, in milliseconds; `None` for no end.
    pub ttl_ms: Option<u64>,
}

impl Item {
    /// Its value, if that is text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// For a reader that knows texts alone: what is no character is U+FFFD.
    pub(super) fn in_text(&self) -> Self {
        Self { value: String::from_utf8_lossy(&self.value).into_owned().into_bytes(), ..self.clone() }
    }
}

/// The size of a shown key for the bound of an answer, in bytes.
pub(super) fn shown(item: Option<&Item>) -> u64 {
    item.map_or(SHOWN_BYTES, |item| shown_value(&item.value))
}

pub(super) fn shown_value(value: &[u8]) -> u64 {
    SHOWN_BYTES + value.len() as u64
}
