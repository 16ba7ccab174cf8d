//! Why a change is refused.

use crate::hash::ChangeHash;

/// Why a change is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are no change: they end too early, or a number in them is malformed.
    #[error("these bytes are no Automerge change: {0}")]
    Bytes(&'static str),
    /// The bytes are a change in a form that Automerge does not write: written again, they would be others.
    #[error("this change is not in the form that Automerge writes: {0}")]
    Form(&'static str),
    /// The change, or the document with it, is over a bound.
    #[error("this change is too large: more than {most} {of}")]
    TooLarge {
        /// The bound.
        most: u64,
        /// The thing that is bounded.
        of: &'static str,
    },
    /// An operation makes no sense after the ancestors of the change.
    #[error("operation {at} of this change is refused: {why}")]
    Operation {
        /// The number of the operation in the change, from 0.
        at: u32,
        /// The reason.
        why: &'static str,
    },
    /// The change does not continue its ancestors.
    #[error("this change does not continue its ancestors: {0}")]
    Place(&'static str),
    /// Changes before this one are not known. It can be judged once they are.
    #[error("{} changes before this one are missing", .0.len())]
    MissingDeps(Vec<ChangeHash>),
}
