//! The one place where the node reads a clock. Both clocks follow tokio's under simulation.

#![expect(clippy::disallowed_methods, reason = "this is the clock module")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_identity::Timestamp;
use tokio::time::Instant;

/// The wall clock; the epoch if the machine's is before it.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A monotonic clock that starts when it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// The instant that lies `at` after the start, for sleeping until.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.0 + at
    }
}
