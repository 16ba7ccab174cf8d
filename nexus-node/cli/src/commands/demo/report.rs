//! The result of a step.

use serde::Serialize;

/// The result of a step.
#[derive(Debug, Serialize)]
pub(super) struct StepReport {
    pub(super) step: &'static str,
    pub(super) ok: bool,
    pub(super) ms: u64,
    pub(super) detail: String,
}
