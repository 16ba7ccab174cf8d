use super::state::Outcome;

/// The end of a request, once it is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was answered so.
    Answered(Outcome),
    /// It did not happen, and never will.
    Never,
    /// Nobody knows any more: the answer was let go of, or the coordinators began anew since.
    Forgotten,
}
