use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use nexus_crdt::Dot;

/// The bytes of an entry's id that a memory's id has.
const ENTRY_BYTES: usize = 15;
/// The letters that they make.
const LETTERS: usize = ENTRY_BYTES * 8 / 5;

/// The id of a memory: 24 letters and digits, with `.` and a number after them for those that were
/// written together with others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryId {
    entry: [u8; ENTRY_BYTES],
    index: u16,
}

impl From<Dot> for MemoryId {
    fn from(dot: Dot) -> Self {
        let mut entry = [0; ENTRY_BYTES];
        entry.copy_from_slice(&dot.entry.as_bytes()[..ENTRY_BYTES]);
        Self { entry, index: dot.index }
    }
}

impl fmt::Display for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.entry).to_ascii_lowercase())?;
        if self.index > 0 {
            write!(f, ".{}", self.index)?;
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryId({self})")
    }
}

/// A text is not the id of a memory; the beginning of one is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a memory's id has 24 letters and digits, and perhaps a number after a dot")]
pub struct NotAMemoryId;

impl FromStr for MemoryId {
    type Err = NotAMemoryId;

    fn from_str(text: &str) -> Result<Self, NotAMemoryId> {
        let (letters, index) = match text.split_once('.') {
            Some((_, number)) if number.starts_with(['0', '+']) => return Err(NotAMemoryId),
            Some((letters, number)) => (letters, number.parse().map_err(|_| NotAMemoryId)?),
            None => (text, 0),
        };
        if letters.len() != LETTERS {
            return Err(NotAMemoryId);
        }
        let bytes = BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).map_err(|_| NotAMemoryId)?;
        Ok(Self { entry: bytes.try_into().map_err(|_| NotAMemoryId)?, index })
    }
}

/// The name of a memory for a lookup: its id, at least four characters from the beginning of it, or
/// a former id. [`MemoryId`] and texts become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRef(String);

impl MemoryRef {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<MemoryId> for MemoryRef {
    fn from(id: MemoryId) -> Self {
        Self(id.to_string())
    }
}

impl From<&MemoryId> for MemoryRef {
    fn from(id: &MemoryId) -> Self {
        Self(id.to_string())
    }
}

impl From<&str> for MemoryRef {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&String> for MemoryRef {
    fn from(text: &String) -> Self {
        Self(text.clone())
    }
}

impl From<String> for MemoryRef {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::EntryId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_memory_s_id_reads_as_its_record_s_and_back(entry in any::<[u8; 32]>(), index in any::<u16>()) {
            let dot = Dot { entry: EntryId::from_bytes(entry), index };
            let id = MemoryId::from(dot);
            prop_assert_eq!(id.to_string(), dot.to_string());
            prop_assert_eq!(dot.to_string().parse(), Ok(id));
            prop_assert_eq!(dot.to_string().to_uppercase().parse(), Ok(id));
        }

        #[test]
        fn any_text_is_a_memory_s_id_or_an_error(text in "([a-z2-7]{22,26}|\\PC{0,30})(\\.[0-9+]{0,6})?") {
            if let Ok(id) = text.parse::<MemoryId>() {
                prop_assert_eq!(id.to_string(), text.to_lowercase());
            }
        }
    }
}
