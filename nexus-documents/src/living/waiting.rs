//! The part of a draft that values of types need.

use automerge::{Automerge, ObjId};

/// Letters that wait to be written with those that come next.
#[derive(Default)]
pub(super) struct Typed {
    pub(super) waiting: Option<Splice>,
    /// Read where the document was lost, until the program notices that its change has ended.
    pub(super) lost: Automerge,
}

/// Bytes of a text that are replaced.
pub(super) struct Splice {
    pub(super) text: ObjId,
    pub(super) at: usize,
    pub(super) delete: usize,
    pub(super) insert: String,
}
