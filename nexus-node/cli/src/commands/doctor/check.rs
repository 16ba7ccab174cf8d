//! A check and its result.

use serde::Serialize;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// The node works; a person should know.
    Warning,
    /// The node does not work, or its data is in danger.
    Failed,
}

/// A check with its result.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) ok: bool,
    pub(super) level: Level,
    pub(super) detail: String,
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, level: Level::Ok, detail: detail.into(), fix: None }
    }

    pub(super) fn warning(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::bad(check, detail, fix) }
    }

    pub(super) fn bad(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, ok: false, level: Level::Failed, detail: detail.into(), fix: Some(fix.into()) }
    }
}
