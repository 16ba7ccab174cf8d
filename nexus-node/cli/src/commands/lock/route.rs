//! The routes of the locks, and the time of their answers.

use std::time::Duration;

use crate::client::escape;

/// The time that an answer may take beyond the wait itself.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// The route of an action on a lock.
pub(super) fn path(name: &str, verb: &str) -> String {
    format!("/v1/locks/{}/{verb}", escape(name))
}
