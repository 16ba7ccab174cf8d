//! The two clocks, read here and nowhere else.
//!
//! Deadlines and failure detection count on the monotonic clock, which is tokio's, so that a
//! simulation can pause it. Expiry of credentials is the only question for the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_identity::Timestamp;
use tokio::time::Instant;

/// Now, monotonic.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What people's clock showed a while ago.
pub(crate) fn wall_ago(ago: Duration) -> Timestamp {
    let ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_ms(wall().as_ms().saturating_sub(ms))
}

/// Now, as people see it. A clock set before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
