//! A page about a run: one file, which loads nothing.

use crate::outcome::Outcome;

/// The page.
pub fn page(outcome: &Outcome) -> String {
    outcome.line().to_string()
}
