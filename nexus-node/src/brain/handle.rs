//! Short names of memories, for readers who pay for each word.

use super::Brain;
use crate::error::NodeError;
use crate::memory::MemoryId;

/// A memory's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    /// The beginning of its id that means it alone here.
    pub(crate) short: String,
    /// The caller's key.
    pub(crate) key: Option<String>,
}

impl Brain {
    /// The names of memories, in order. A memory that is forgotten meanwhile has its whole id.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn handles_blocking(&self, ids: &[MemoryId]) -> Result<Vec<Handle>, NodeError> {
        let snapshot = self.snapshot()?;
        let reader = self.reader(&snapshot)?;
        let handle = |id: &MemoryId| {
            Ok(Handle { short: reader.short_id(id)?, key: reader.key_to(&id.to_string()).ok().flatten() })
        };
        ids.iter().map(handle).collect()
    }
}
