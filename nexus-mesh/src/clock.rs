//! The two clocks, read here and nowhere else.
//!
//! Deadlines and failure detection use the monotonic clock, which is tokio's, so that a simulation can
//! pause it. Only the expiry of credentials uses the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_identity::Timestamp;
use tokio::time::Instant;

/// The current monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall time a while ago.
pub(crate) fn wall_ago(ago: Duration) -> Timestamp {
    let ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_ms(wall().as_ms().saturating_sub(ms))
}

/// The current wall time. A clock set before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
