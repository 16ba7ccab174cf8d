//! The edits that a caller can ask for.

use std::ops::Range;

use serde_json::Value as Json;

use crate::hash::ChangeHash;
use crate::living::path::DocPath;

/// An edit. Strings are written as texts, which several can write at once, as automerge-repo does. `{"$bytes": "base64"}` is
/// written as bytes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Edit {
    /// Makes what is at a path equal to a value. Only what differs is written: letters of a text, elements of a list, keys of a
    /// map. A number on a counter counts up or down to it. The map or list that holds it must exist. At `-` in a list the value
    /// is inserted at the end.
    Set {
        /// The path.
        path: DocPath,
        /// The value.
        value: Json,
    },
    /// Merges a JSON Merge Patch (RFC 7396): keys are set, and those that are null are deleted.
    Merge {
        /// The path.
        path: DocPath,
        /// The patch.
        patch: Json,
    },
    /// Deletes letters of a text and inserts others there. Positions count Unicode scalar values.
    Splice {
        /// The text.
        path: DocPath,
        /// The position.
        at: usize,
        /// The number of letters to delete.
        delete: usize,
        /// The letters to insert.
        insert: String,
        /// The version in which the position was read; now if none is given. Letters that others inserted since stay.
        at_heads: Option<Vec<ChangeHash>>,
    },
    /// Marks letters of a text, as bold or as a link. A mark of the same name takes the place of another one.
    Mark {
        /// The text.
        path: DocPath,
        /// The first letter, and the one after the last, in Unicode scalar values.
        range: Range<usize>,
        /// The name of the mark, such as `bold`.
        name: String,
        /// Its value: no list and no map. Null takes the mark away.
        value: Json,
        /// Whether letters that are inserted at its ends belong to it.
        expand: MarkExpand,
        /// The version in which the range was read; now if none is given. Letters that others inserted within it since are marked,
        /// too.
        at_heads: Option<Vec<ChangeHash>>,
    },
    /// Deletes a key or an element.
    Delete {
        /// The path.
        path: DocPath,
    },
    /// Inserts an element into a list.
    Insert {
        /// The list, and the element before which it is inserted; `-` for the end.
        path: DocPath,
        /// The element.
        value: Json,
    },
    /// Counts on.
    Increment {
        /// The counter.
        path: DocPath,
        /// The step, which may be below zero.
        by: i64,
    },
    /// Writes a new counter.
    Counter {
        /// The path.
        path: DocPath,
        /// Its first value.
        value: i64,
    },
}

/// The ends of a mark at which inserted letters belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarkExpand {
    /// The beginning: letters before its first one.
    Before,
    /// The end: letters after its last one, as letters typed after bold ones are bold.
    #[default]
    After,
    /// Both.
    Both,
    /// Neither, as for a link.
    None,
}

impl Edit {
    /// The path that it edits.
    pub const fn path(&self) -> &DocPath {
        match self {
            Self::Set { path, .. }
            | Self::Merge { path, .. }
            | Self::Splice { path, .. }
            | Self::Mark { path, .. }
            | Self::Delete { path }
            | Self::Insert { path, .. }
            | Self::Increment { path, .. }
            | Self::Counter { path, .. } => path,
        }
    }

    /// Its bytes in memory, roughly: of its path, its values, and the heads that it names.
    pub fn bytes(&self) -> u64 {
        /// The bytes of an edit without its path and its value.
        const EDIT_BYTES: u64 = 128;
        let path: usize = self.path().tokens().iter().map(|token| token.len() + 24).sum();
        let value = match self {
            Self::Set { value, .. } | Self::Insert { value, .. } | Self::Merge { patch: value, .. } => {
                size_of(value, u32::MAX).unwrap_or(u64::MAX)
            }
            Self::Splice { insert, at_heads, .. } => {
                (insert.len() + at_heads.as_ref().map_or(0, |heads| heads.len() * 32)) as u64
            }
            Self::Mark { name, value, at_heads, .. } => {
                let rest = name.len() + at_heads.as_ref().map_or(0, |heads| heads.len() * 32);
                size_of(value, u32::MAX).unwrap_or(u64::MAX).saturating_add(rest as u64)
            }
            Self::Delete { .. } | Self::Increment { .. } | Self::Counter { .. } => 0,
        };
        (EDIT_BYTES + path as u64).saturating_add(value)
    }
}

/// The bytes of a value, roughly; nothing if it is too deep.
pub(super) fn size_of(value: &Json, depth: u32) -> Option<u64> {
    let depth = depth.checked_sub(1)?;
    let mut size = 2_u64;
    match value {
        Json::String(text) => size += text.len() as u64,
        Json::Array(items) => {
            for item in items {
                size = size.saturating_add(size_of(item, depth)?);
            }
        }
        Json::Object(items) => {
            for (key, item) in items {
                size = size.saturating_add(key.len() as u64).saturating_add(size_of(item, depth)?);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
    Some(size)
}
