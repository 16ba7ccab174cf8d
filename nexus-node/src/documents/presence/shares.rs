use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Budget;

/// The units of one node in a second, both ways: 256 KiB.
pub(super) const UNITS_PER_SECOND_MAX: u32 = 1_024;

/// The units of all members in a second, first come, first served: 896 KiB.
const ALL_PER_SECOND_MAX: u32 = 3_584;
/// The units in a second beside them for members that say little: 128 KiB.
const LITTLE_PER_SECOND_MAX: u32 = 512;
/// The units of one member in a second that count as little: 8 KiB, a program that moves its cursor.
const LITTLE_OF_ONE_PER_SECOND_MAX: u32 = 32;

/// Units as they come in a second, all of them at once.
pub(super) fn budget(units_per_second: u32, now: Instant) -> Budget {
    Budget::full(units_per_second, Duration::from_secs(1) / units_per_second, now)
}

/// The words that this node hears of all members together. Members that say little have a part of their own: others do not take it.
#[derive(Debug)]
pub(super) struct Shares {
    all: Budget,
    little: Budget,
}

/// The words that it hears of one member.
#[derive(Debug)]
pub(super) struct Share {
    all: Budget,
    little: Budget,
}

impl Shares {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: budget(ALL_PER_SECOND_MAX, now), little: budget(LITTLE_PER_SECOND_MAX, now) }
    }

    /// Takes so many units of a member's. `false` if it, or all together, said too much.
    pub(super) fn take(&mut self, share: &mut Share, units: u32, now: Instant) -> bool {
        share.all.take_all(units, now)
            && (self.all.take_all(units, now)
                || (share.little.take_all(units, now) && self.little.take_all(units, now)))
    }
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: budget(UNITS_PER_SECOND_MAX, now), little: budget(LITTLE_OF_ONE_PER_SECOND_MAX, now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Documents | However many members flood a node with words, it hears 1 MiB a second of all, and those that say little
    #[test]
    fn members_that_flood_together_leave_room_for_those_that_say_little() {
        const SECONDS: u32 = 10;
        let start = Instant::now();
        let mut shares = Shares::new(start);
        let mut floods: Vec<Share> = (0..14).map(|_| Share::new(start)).collect();
        let mut quiet = Share::new(start);
        let (mut heard, mut refused) = (0, 0);
        for tick in 0..20 * SECONDS {
            let now = start + Duration::from_millis(50) * tick;
            for flood in &mut floods {
                heard += (0..64).map(|_| 16 * u32::from(shares.take(flood, 16, now))).sum::<u32>();
            }
            refused += u32::from(!shares.take(&mut quiet, 1, now));
            heard += 1;
        }
        assert_eq!(refused, 0, "a cursor that moves 20 times a second is heard");
        // a full budget at once, and then its seconds
        let most = (ALL_PER_SECOND_MAX + LITTLE_PER_SECOND_MAX) * (SECONDS + 1);
        assert!((most / 2..=most).contains(&heard), "{heard} of at most {most}");
    }

    #[test]
    fn one_member_alone_is_heard_up_to_its_own_bound() {
        let now = Instant::now();
        let (mut shares, mut one) = (Shares::new(now), Share::new(now));
        let heard = (0..10_000).filter(|_| shares.take(&mut one, 1, now)).count();
        assert_eq!(heard, UNITS_PER_SECOND_MAX as usize);
    }
}
