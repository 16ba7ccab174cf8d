//! The beginning of an id that names its memory alone.

use nexus_crdt::DotPrefix;

use super::Reader;
use crate::error::NodeError;
use crate::memory::MemoryId;

/// The lengths of such a beginning, in letters. Eight are what forgetting asks for; others find more by trying for hours.
const LETTERS: [usize; 3] = [8, 12, 16];

impl Reader<'_> {
    /// The beginning of an id that means nothing else on this node: no other entry, and no caller's key.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn short_id(&self, id: &MemoryId) -> Result<String, NodeError> {
        let whole = id.to_string();
        let (letters, _) = whole.split_once('.').unwrap_or((&whole, ""));
        let index = &whole[letters.len()..];
        for length in LETTERS {
            let Some(short) = letters.get(..length).map(|letters| format!("{letters}{index}")) else { break };
            let Ok(prefix) = short.parse::<DotPrefix>() else { break };
            if self.entries_beginning_with(&prefix)?.len() <= 1 && self.with_key(&short)?.is_empty() {
                return Ok(short);
            }
        }
        Ok(whole)
    }
}
