//! The two clocks of a node.
//!
//! Deadlines and failure detection count on tokio's monotonic clock, so that a simulation can pause it. Expiry of
//! credentials, and all other time that people see, comes from the [`Clock`] that the node was given.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_identity::Timestamp;
use tokio::time::Instant;

/// The time as one node sees it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since a moment that stays the same for as long as the clock exists. Never goes back.
    fn monotonic(&self) -> Duration;

    /// The time as people see it. It may jump, in both directions.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks: tokio's monotonic one, which a test may pause, and the system's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    /// A clock set before 1970 reads as 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The current monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall time a while ago.
pub(crate) fn wall_ago(clock: &dyn Clock, ago: Duration) -> Timestamp {
    let ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_ms(clock.wall().as_ms().saturating_sub(ms))
}
