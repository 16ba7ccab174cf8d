//! Half a core: this process sleeps whenever it has taken more.

use std::time::{Duration, Instant};

/// The share of a core.
const SHARE: f64 = 0.5;
/// The time over which the share is kept.
const WINDOW: Duration = Duration::from_secs(1);

/// The processor time that this process may take. All of its work is on its first thread.
pub(crate) struct Pace {
    begin: Instant,
    before: Duration,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), before: taken() }
    }

    /// Sleeps as long as the share is used up.
    pub(crate) async fn keep(&mut self) {
        tokio::task::yield_now().await;
        let due = (taken() - self.before).div_f64(SHARE);
        if let Some(ahead) = due.checked_sub(self.begin.elapsed()).filter(|ahead| !ahead.is_zero()) {
            tokio::time::sleep(ahead).await;
        }
        if self.begin.elapsed() > WINDOW {
            *self = Self::new();
        }
    }
}

/// The time on a processor so far: the first field of `schedstat`, in nanoseconds.
fn taken() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or_default())
}
