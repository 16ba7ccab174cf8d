use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Timestamp;

/// The most that a foreign stamp may lie ahead of our clock and still move our own stamps. A later
/// one moves nothing.
pub const DRIFT_MAX: Duration = Duration::from_secs(600);

/// A stamp of a hybrid logical clock (Kulkarni et al. 2014): 48 bits of milliseconds since the epoch,
/// 16 bits of a counter. It serves people and recency. No verdict depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The bits of the counter, the lowest ones.
    pub const COUNTER_BITS: u32 = 16;

    /// The first stamp of a moment.
    pub const fn at(now: Timestamp) -> Self {
        let ms = now.as_ms();
        let max = u64::MAX >> Self::COUNTER_BITS;
        Self((if ms > max { max } else { ms }) << Self::COUNTER_BITS)
    }

    /// Its moment.
    pub const fn time(self) -> Timestamp {
        Timestamp::from_ms(self.0 >> Self::COUNTER_BITS)
    }
}

/// A clock whose stamps only grow: later than all its own, and later than all observed ones that are not too far ahead.
#[derive(Clone, Copy, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock whose stamps come after `last`.
    pub const fn after(last: Hlc) -> Self {
        Self { last }
    }

    /// The next stamp. If the wall clock goes back, the time here stands still until it has caught up.
    pub fn tick(&mut self, now: Timestamp) -> Hlc {
        self.last = Hlc::at(now).max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// Notes a foreign stamp, unless it is more than `ahead` ahead of `now`, or more than [`DRIFT_MAX`].
    pub fn observe(&mut self, seen: Hlc, now: Timestamp, ahead: Duration) {
        if seen <= Hlc::at(now.saturating_add(ahead.min(DRIFT_MAX))) {
            self.last = self.last.max(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// promise: Entries and memories | Stamps only grow; one from the far future does not move us
        /// promise: Bad input | A clock that jumps: stamps
        #[test]
        fn stamps_only_grow_whatever_the_clocks_do(steps in prop::collection::vec((any::<bool>(), 0_u64..1 << 40), 1..50)) {
            let mut clock = HlcClock::default();
            let mut last = Hlc::default();
            for (local, ms) in steps {
                let now = Timestamp::from_ms(ms);
                if local {
                    let stamp = clock.tick(now);
                    prop_assert!(stamp > last);
                    last = stamp;
                } else {
                    clock.observe(Hlc::at(Timestamp::from_ms(ms * 2)), now, DRIFT_MAX);
                }
            }
        }
    }

    /// promise: Entries and memories | Stamps only grow; one from the far future does not move us
    #[test]
    fn a_stamp_from_the_far_future_does_not_move_us() {
        let mut clock = HlcClock::default();
        let now = Timestamp::from_ms(1_000_000);
        let at = |ahead: Duration| Hlc::at(now.saturating_add(ahead));
        clock.observe(Hlc(u64::MAX), now, Duration::MAX);
        assert_eq!(clock.tick(now).time(), now);
        clock.observe(at(DRIFT_MAX), now, Duration::from_secs(10));
        assert_eq!(clock.tick(now).time(), now);
        clock.observe(at(DRIFT_MAX), now, DRIFT_MAX);
        assert!(clock.tick(now) > at(DRIFT_MAX));
    }
}
