//! The rate limit of one peer: a token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Lets through `rate` messages a second on average, and up to one second's worth at once.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    rate: u32,
    /// Thousandths of a message, so that slow refills are not rounded away.
    tokens_milli: u64,
    refilled_at: Instant,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { rate, tokens_milli: u64::from(rate) * 1_000, refilled_at: now }
    }

    /// Takes one message's allowance; `false` if it is used up. `now` never goes back.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled_at).min(Duration::from_secs(1));
        let gained = u64::try_from(elapsed.as_micros()).unwrap_or(0) * u64::from(self.rate) / 1_000;
        if gained > 0 {
            self.tokens_milli = (self.tokens_milli + gained).min(u64::from(self.rate) * 1_000);
            self.refilled_at = now;
        }
        let enough = self.tokens_milli >= 1_000;
        if enough {
            self.tokens_milli -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_rate_plus_one_burst(
            rate in 1_u32..2_000,
            gaps_us in prop::collection::vec(0_u64..5_000, 1..2_000),
        ) {
            let start = Instant::now();
            let mut limit = RateLimit::new(rate, start);
            let mut now = start;
            let mut taken = 0_u64;
            for gap in gaps_us {
                now += Duration::from_micros(gap);
                taken += u64::from(limit.take(now));
            }
            let elapsed_us = u64::try_from((now - start).as_micros()).unwrap();
            prop_assert!(taken <= u64::from(rate) + elapsed_us * u64::from(rate) / 1_000_000 + 1);
        }
    }

    #[test]
    fn what_is_used_up_comes_back_with_time() {
        let start = Instant::now();
        let mut limit = RateLimit::new(10, start);
        assert_eq!((0..20).filter(|_| limit.take(start)).count(), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| limit.take(later)).count(), 5);
    }
}
