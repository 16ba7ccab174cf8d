//! Sleeps that cost a process at rest few wake-ups.
//!
//! The timers of tokio are a wheel of slots. A process wakes at the beginning of a slot of 64 ms in which a timer ends, and
//! again at the end of that timer. Once a program has told when its runtime [begins](begin), the sleeps here that take long end
//! where a slot begins.
//!
//! The wheel is the hashed and hierarchical one of Varghese and Lauck, 1987.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The length of a slot. Those of a higher level have 64 times as much, so they begin with one of these.
const SLOT: Duration = Duration::from_millis(64);
/// A sleep of so long may end a slot later.
const LONG: Duration = Duration::from_secs(1);

static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Tells that the program's runtime is built next. Without that, and for a runtime that is built later, sleeps end as they are
/// asked for, or at other moments within 64 ms.
pub fn begin() {
    let _ = BEGIN.set(Instant::now());
}

/// The first moment, from this one on, at which a slot begins; the same one if it is not known where slots begin.
#[must_use]
pub fn coarse(at: Instant) -> Instant {
    BEGIN.get().map_or(at, |begin| slot_from(*begin, at))
}

fn slot_from(begin: Instant, at: Instant) -> Instant {
    let slots = at.saturating_duration_since(begin).as_nanos().div_ceil(SLOT.as_nanos());
    u32::try_from(slots).ok().and_then(|slots| begin.checked_add(SLOT * slots)).unwrap_or(at)
}

/// Sleeps until this moment, or up to 64 ms longer if it is a second away or more.
pub fn sleep_until(at: Instant) -> Sleep {
    let is_long = at.saturating_duration_since(Instant::now()) >= LONG;
    tokio::time::sleep_until(if is_long { coarse(at) } else { at })
}

/// Sleeps so long, or up to 64 ms longer if that is a second or more.
pub fn sleep(wait: Duration) -> Sleep {
    match Instant::now().checked_add(wait) {
        Some(at) => sleep_until(at),
        None => tokio::time::sleep(wait),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// promise: Nodes | A long sleep of a process at rest ends where a slot of tokio's timers begins, at most 64 ms late
        #[test]
        fn a_coarse_moment_begins_a_slot_and_is_not_earlier(ms in 0_u64..1 << 40, ns in 0_u64..1_000_000) {
            let begin = Instant::now();
            let at = begin + Duration::from_millis(ms) + Duration::from_nanos(ns);
            let coarse = slot_from(begin, at);
            prop_assert!(coarse >= at && coarse - at < SLOT);
            let is_far = ms / 64 >= u64::from(u32::MAX);
            prop_assert!(is_far || (coarse - begin).as_nanos().is_multiple_of(SLOT.as_nanos()));
            prop_assert_eq!(slot_from(begin, coarse), coarse);
        }
    }

    /// The number of waits of a runtime that sleeps until a moment after its begin.
    fn waits(until: fn(Instant) -> Instant) -> usize {
        let waits = Arc::new(AtomicUsize::new(0));
        let counting = waits.clone();
        let begin = Instant::now();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().on_thread_park(move || {
            counting.fetch_add(1, Ordering::Relaxed);
        });
        runtime.build().unwrap().block_on(async { tokio::time::sleep_until(until(begin)).await });
        waits.load(Ordering::Relaxed)
    }

    /// With another wheel in tokio, [`SLOT`] is wrong.
    #[test]
    fn a_sleep_until_a_slot_begins_wakes_once() {
        let later = |begin: Instant| begin + Duration::from_millis(200);
        // on a busy machine a runtime may begin a millisecond later, and wake later than it wanted
        let once_of_many = |until, wakes| (0..40).any(|_| waits(until) == wakes);
        // the first wait takes no time
        assert!(once_of_many(later, 3), "in its slot, and at its end");
        assert!(once_of_many(|begin| slot_from(begin, begin + Duration::from_millis(200)), 2));
    }
}
