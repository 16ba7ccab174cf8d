//! Backoff between dials: exponential with jitter, for ever.

use std::time::Duration;

/// The bounds of a backoff. Invariant: `first <= longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The longest wait after the first failure. Default 1 s.
    pub(crate) first: Duration,
    /// The longest wait after many failures. Default 60 s: a peer that comes back is found within a minute.
    pub(crate) longest: Duration,
    /// The longest wait after [`AWAY_FAILURES`]. Default 10 min. A peer that is heard of through others is dialled
    /// sooner.
    pub(crate) away: Duration,
}

/// The failures in a row after which a peer counts as away: dials of more than a day.
pub(crate) const AWAY_FAILURES: u32 = 2_000;

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60), away: Duration::from_secs(600) }
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (1 is the first): between half and the whole
    /// of `first * 2^(failures - 1)`, at most `longest`. The same arguments give the same wait. Peers
    /// with different seeds do not dial in step.
    pub(crate) fn wait(&self, failures: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole = doubled.clamp(self.first.min(self.longest), self.longest);
        self.spread(whole, failures, seed)
    }

    /// The same for a peer, which may be away for days.
    pub(crate) fn wait_for_peer(&self, failures: u32, seed: u64) -> Duration {
        if failures < AWAY_FAILURES { self.wait(failures, seed) } else { self.spread(self.away, failures, seed) }
    }

    /// Between half and the whole of a wait.
    fn spread(&self, whole: Duration, failures: u32, seed: u64) -> Duration {
        let half = whole / 2;
        let jitter = mix(seed ^ u64::from(failures).rotate_left(32)) % 1_000;
        half + (whole - half) * u32::try_from(jitter).unwrap_or(0) / 1_000
    }
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): spreads a seed over all bits.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_the_whole_of_its_step(failures in 1_u32..200, seed: u64) {
            let backoff = Backoff::default();
            let whole = Duration::from_secs(1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX).clamp(1, 60));
            let wait = backoff.wait(failures, seed);
            prop_assert!(wait >= whole / 2 && wait <= whole, "{:?} for {:?}", wait, whole);
            prop_assert_eq!(wait, backoff.wait(failures, seed));
        }
    }

    /// promise: Meeting | A known peer is redialled for ever, more and more slowly; a failing one delays no other
    #[test]
    fn seeds_spread_the_waits() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|seed| Backoff::default().wait(7, seed)).collect();
        assert!(waits.len() > 80, "{} different waits of 100", waits.len());
    }
}
