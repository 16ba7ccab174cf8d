//! Counts of durations, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds.
pub(crate) const BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Durations by size, their number and their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    nanos: AtomicU64,
}

/// The counts of a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    /// The durations up to each bound of [`BUCKETS`].
    pub(crate) up_to: [u64; BUCKETS.len()],
    /// All durations.
    pub(crate) all: u64,
    /// Their sum, in seconds.
    pub(crate) seconds: f64,
}

impl Histogram {
    pub(crate) fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut below = 0;
        let up_to = std::array::from_fn(|at| {
            below += self.buckets[at].load(Relaxed);
            below
        });
        // a duration may be noted in between: no bucket has more than all
        let all = self.count.load(Relaxed).max(below);
        Counts { up_to, all, seconds: Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64() }
    }
}
