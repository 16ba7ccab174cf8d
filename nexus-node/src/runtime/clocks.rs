//! The clocks of the members, compared by their beats.
//!
//! A beat says when it was made, by its author's clock. The difference to this node's clock at its arrival, less half a
//! round trip, is how far that clock is ahead. The clock of most members is right: when more than half of all clocks,
//! this node's among them, are within ten seconds of the median, each other one is wrong. Without such a majority
//! nobody is called wrong, and differences are told as such.
//!
//! A member may say any time in its beats. It moves nothing but its own difference: a warning names it. A member
//! through which all beats of others come can delay those, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::DRIFT_MAX;
use nexus_identity::{Did, Timestamp};

use crate::identity::Identity;
use crate::notices::LineBudget;

/// The code of the warnings about clocks.
pub(crate) const CLOCK: &str = "clock";

/// Two clocks that differ by more do not agree. Beats wait in queues, too.
const AGREE_MS: i64 = 10_000;
/// A clock that was not heard for so long counts no more: ten of the slowest beats.
const HEARD_WITHIN: Duration = Duration::from_secs(600);
/// The time between two judgements: each looks at every clock.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// The most members whose clocks are known.
const MEMBERS_MAX: usize = 4_096;
/// The most members that warnings name.
const NAMED_MAX: usize = 8;

/// The members' clocks as far as they are known, for all tasks of a node.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    heard: Mutex<Heard>,
    lines: LineBudget,
}

/// The clocks that were heard. Pure.
#[derive(Debug, Default)]
struct Heard {
    clocks: BTreeMap<Did, Sample>,
    judged_at: Option<Duration>,
    /// The time on which most clocks agreed, beyond the clock that never jumps, in milliseconds; and when they did.
    agreed: Option<(i64, Duration)>,
    /// Whether this node's own clock was found wrong.
    own_wrong: bool,
}

/// A clock, beside the one of this node that never jumps: its own time may be set meanwhile.
#[derive(Clone, Copy, Debug)]
struct Sample {
    beyond_ms: i64,
    at: Duration,
}

/// The clocks that are wrong, each by the milliseconds that it is ahead of the right time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// This node's clock, if most clocks agree on another time.
    own: Option<i64>,
    /// Members' clocks that differ from the time on which most agree.
    wrong: BTreeMap<Did, i64>,
    /// Members' clocks that differ from this node's, if there is no time on which most agree.
    differ: BTreeMap<Did, i64>,
    /// The time on which most clocks agree, ahead of this node's, if at least two members were heard.
    median: Option<i64>,
}

impl Clocks {
    /// Notes the clock of a member, and logs it when this node's own one is found wrong.
    pub(super) fn heard(&self, of: Did, beat: Beat, identity: &Identity) {
        let mut heard = self.lock();
        heard.note(of, beat);
        if heard.judged_at.is_some_and(|at| beat.now.saturating_sub(at) < JUDGE_EVERY) {
            return;
        }
        heard.judged_at = Some(beat.now);
        let verdict = heard.verdict(beat.ours, beat.now, |did| identity.is_member(did));
        heard.agreed = verdict.median.map(|median| (beyond(beat.ours, beat.now).saturating_add(median), beat.now));
        let wrong = std::mem::replace(&mut heard.own_wrong, verdict.own.is_some());
        if let (false, Some(by)) = (wrong, verdict.own)
            && self.lines.take(beat.now).is_some()
        {
            tracing::warn!("{}: {SET_CLOCK}", own_is(by));
        }
    }

    /// How far a member's clock is ahead of this node's, in milliseconds.
    pub(crate) fn ahead_ms(&self, of: &Did, wall: Timestamp, now: Duration) -> Option<i64> {
        let heard = self.lock();
        let sample = heard.clocks.get(of).filter(|sample| is_recent(sample.at, now));
        sample.map(|sample| sample.beyond_ms.saturating_sub(beyond(wall, now)))
    }

    /// The time on which most clocks agree, and how far a foreign stamp may be ahead of this node's clock and still move
    /// its stamps. While no such time is known, it is that of this node's clock, and ten minutes.
    pub(crate) fn agreed(&self, wall: Timestamp, now: Duration) -> (Timestamp, Duration) {
        let agreed = self.lock().agreed.filter(|(_, at)| is_recent(*at, now));
        match agreed.map(|(beyond_ms, _)| beyond_ms.saturating_sub(beyond(wall, now))) {
            None => (wall, DRIFT_MAX),
            Some(ahead) => {
                let agreed = Timestamp::from_ms(wall.as_ms().saturating_add_signed(ahead));
                (agreed, Duration::from_millis(drift_ms(Some(ahead))))
            }
        }
    }

    /// Warnings about clocks, each with its remedy.
    pub(crate) fn warnings(&self, wall: Timestamp, now: Duration, identity: &Identity) -> Vec<(String, &'static str)> {
        let Verdict { own, wrong, differ, .. } = self.lock().verdict(wall, now, |did| identity.is_member(did));
        let name = |of: &Did| identity.shown_name_of(of).unwrap_or_else(|| of.to_string());
        let wrong = wrong.iter().map(|(of, by)| {
            (format!("the clock of {} is {} the others'", name(of), by_how_much(*by)), SET_CLOCK_THERE)
        });
        let differ = differ.iter().map(|(of, by)| {
            let message =
                format!("the clock of {} is {} this machine's: one of them is wrong", name(of), by_how_much(*by));
            (message, SET_ONE)
        });
        own.map(|by| (own_is(by), SET_CLOCK)).into_iter().chain(wrong.chain(differ).take(NAMED_MAX)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A beat, as far as clocks are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// The time at which it was made, by its author's clock.
    pub(crate) theirs: Timestamp,
    /// The time at which it arrived, by this node's clock.
    pub(crate) ours: Timestamp,
    /// The last round trip to its author, where it is known.
    pub(crate) rtt: Option<Duration>,
    /// The time at which it arrived, by the clock that never jumps.
    pub(crate) now: Duration,
}

/// Whether a clock that was heard then still counts.
fn is_recent(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) <= HEARD_WITHIN
}

/// How far a time is beyond the clock that never jumps, in milliseconds.
fn beyond(time: Timestamp, now: Duration) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(time.as_ms()).saturating_sub(signed(ms(now)))
}

impl Heard {
    fn note(&mut self, of: Did, Beat { theirs, rtt, now, .. }: Beat) {
        if self.clocks.len() >= MEMBERS_MAX && !self.clocks.contains_key(&of) {
            return;
        }
        let travelled = i64::try_from(ms(rtt.unwrap_or_default() / 2)).unwrap_or_default();
        let beyond_ms = beyond(theirs, now).saturating_add(travelled);
        self.clocks.insert(of, Sample { beyond_ms, at: now });
    }

    fn verdict(&self, wall: Timestamp, now: Duration, is_member: impl Fn(&Did) -> bool) -> Verdict {
        let heard = self.clocks.iter().filter(|(of, sample)| is_recent(sample.at, now) && is_member(of));
        let own = beyond(wall, now);
        let others: Vec<(Did, i64)> = heard.map(|(of, sample)| (*of, sample.beyond_ms.saturating_sub(own))).collect();
        let apart = |from: i64| {
            let apart = others.iter().map(move |(of, ahead)| (*of, ahead.saturating_sub(from)));
            apart.filter(|(_, by)| by.saturating_abs() > AGREE_MS).collect::<BTreeMap<_, _>>()
        };
        // this node's own clock is one of them, and no difference to itself
        let mut all: Vec<i64> = others.iter().map(|(_, ahead)| *ahead).chain([0]).collect();
        all.sort_unstable();
        let median = all[(all.len() - 1) / 2];
        let agree = all.iter().filter(|ahead| ahead.saturating_sub(median).saturating_abs() <= AGREE_MS).count();
        if agree * 2 <= all.len() {
            return Verdict { differ: apart(0), ..Verdict::default() };
        }
        Verdict {
            own: (median.saturating_abs() > AGREE_MS).then(|| median.saturating_neg()),
            wrong: apart(median),
            median: (others.len() >= 2).then_some(median),
            ..Verdict::default()
        }
    }
}

/// Stamps up to the time on which most clocks agree move this node's own; until that is known, up to ten minutes.
fn drift_ms(median: Option<i64>) -> u64 {
    let most = ms(DRIFT_MAX);
    let known = median.map(|median| u64::try_from(median.max(0).saturating_add(AGREE_MS)).unwrap_or(most));
    known.map_or(most, |known| known.min(most))
}

const SET_CLOCK: &str = "set it: `timedatectl set-ntp true` on most Linux machines; until then this machine writes wrong \
                         times";
const SET_CLOCK_THERE: &str = "set it there: `timedatectl set-ntp true` on most Linux machines; until then its new \
                               memories are listed by when they came";
const SET_ONE: &str =
    "look at both with `date`, and set the wrong one: `timedatectl set-ntp true` on most Linux machines";

fn own_is(by_ms: i64) -> String {
    format!("the clock of this machine is {} the others'", by_how_much(by_ms))
}

/// `2 min ahead of`, `3 d behind`.
fn by_how_much(by_ms: i64) -> String {
    let seconds = by_ms.unsigned_abs().saturating_add(500) / 1_000;
    let (of, unit) = match seconds {
        0..120 => (1, "s"),
        120..7_200 => (60, "min"),
        7_200..172_800 => (3_600, "h"),
        _ => (86_400, "d"),
    };
    // the nearest: a beat that travelled longer than half of a round trip makes no "2 d" of three days
    let number = (seconds + of / 2) / of;
    format!("{number} {unit} {}", if by_ms > 0 { "ahead of" } else { "behind" })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;

    /// Clocks that are so far ahead of this node's.
    fn heard(ahead: &[i64]) -> Heard {
        let mut heard = Heard::default();
        for (n, ahead) in (1..).zip(ahead) {
            let theirs = Timestamp::from_ms(WALL.as_ms().saturating_add_signed(*ahead));
            heard.note(Did::from_bytes([n; 32]), Beat { theirs, ours: WALL, rtt: None, now: Duration::ZERO });
        }
        heard
    }

    const WALL: Timestamp = Timestamp::from_ms(1 << 40);

    fn verdict(ahead: &[i64]) -> Verdict {
        heard(ahead).verdict(WALL, Duration::ZERO, |_| true)
    }

    fn drift(ahead: &[i64]) -> u64 {
        drift_ms(verdict(ahead).median)
    }

    fn named(clocks: &BTreeMap<Did, i64>) -> Vec<(u8, i64)> {
        clocks.iter().map(|(of, by)| (of.as_bytes()[0], *by)).collect()
    }

    /// promise: Nodes | A wrong clock is named by most of the others, and no minority has a right one called wrong
    #[test]
    fn the_clock_of_most_is_right() {
        let one = verdict(&[0, 3 * DAY, 400]);
        assert_eq!((one.own, named(&one.wrong), one.median.is_some()), (None, vec![(2, 3 * DAY)], true));
        let own = verdict(&[3 * DAY, 3 * DAY + 900]);
        assert_eq!((own.own.map(|by| by / DAY), own.wrong.len()), (Some(-3), 0));
        let two = verdict(&[-DAY]);
        assert_eq!((two.own, named(&two.differ), two.median), (None, vec![(1, -DAY)], None));
        assert_eq!(verdict(&[3_000, -3_000]), Verdict { median: Some(0), ..Verdict::default() });
    }

    #[test]
    fn a_clock_is_known_for_a_while_less_its_way_and_only_of_members() {
        let mut clocks = heard(&[DAY, DAY]);
        assert_eq!(clocks.verdict(WALL, Duration::ZERO, |_| false), Verdict::default());
        let late = HEARD_WITHIN + Duration::from_secs(1);
        assert_eq!(clocks.verdict(WALL, late, |_| true), Verdict::default());
        let theirs = Timestamp::from_ms(WALL.as_ms() - 20_000);
        let far = Beat { theirs, ours: WALL, rtt: Some(Duration::from_secs(40)), now: Duration::ZERO };
        clocks.note(Did::from_bytes([1; 32]), far);
        let clocks = Clocks { heard: Mutex::new(clocks), ..Clocks::default() };
        assert_eq!(clocks.ahead_ms(&Did::from_bytes([1; 32]), WALL, Duration::ZERO), Some(0));
    }

    #[test]
    fn the_agreed_time_goes_on_while_this_clock_is_set_and_ends_when_nobody_is_heard() {
        let agreed = |now| (beyond(WALL, Duration::ZERO), now);
        let heard = Heard { agreed: Some(agreed(Duration::ZERO)), ..Heard::default() };
        let clocks = Clocks { heard: Mutex::new(heard), ..Clocks::default() };
        let (second, ahead) = (Duration::from_secs(1), WALL.saturating_add(Duration::from_secs(86_400)));
        // this node's clock was three days ahead when they agreed, and is one day ahead now
        assert_eq!(clocks.agreed(ahead, second), (WALL.saturating_add(second), Duration::from_secs(10)));
        let late = HEARD_WITHIN + second;
        assert_eq!(clocks.agreed(ahead, late), (ahead, DRIFT_MAX));
    }

    /// promise: Entries and memories | Once most clocks are known, a stamp ahead of them moves nobody's clock
    #[test]
    fn stamps_move_this_clock_as_far_as_most_clocks_are_ahead() {
        assert_eq!(drift(&[]), ms(DRIFT_MAX));
        assert_eq!(drift(&[5 * 60_000]), ms(DRIFT_MAX), "nobody knows which of the two is right");
        assert_eq!(drift(&[0, 5 * 60_000]), 10_000);
        assert_eq!(drift(&[5 * 60_000, 5 * 60_000]), 310_000);
        assert_eq!(drift(&[DAY, DAY]), ms(DRIFT_MAX));
    }

    #[test]
    fn differences_are_told_in_units_of_people() {
        let told: Vec<String> = [11_000, -140_000, -150_000, 7_200_000, 3 * DAY, 3 * DAY - 1].map(by_how_much).into();
        let three = "3 d ahead of";
        assert_eq!(told, ["11 s ahead of", "2 min behind", "3 min behind", "2 h ahead of", three, three]);
    }

    proptest! {
        /// promise: Nodes | A wrong clock is named by most of the others, and no minority has a right one called wrong
        #[test]
        fn no_minority_has_a_right_clock_called_wrong(
            right in prop::collection::vec(-4_000_i64..4_000, 0..6),
            lies in prop::collection::vec(any::<i64>(), 0..6),
        ) {
            // this node's own clock is right, too
            prop_assume!(lies.len() < right.len() + 1);
            let verdict = verdict(&[right.as_slice(), &lies].concat());
            prop_assert_eq!(verdict.own, None);
            let called = |clocks: &BTreeMap<Did, i64>| clocks.keys().any(|of| usize::from(of.as_bytes()[0]) <= right.len());
            prop_assert!(!called(&verdict.wrong) && !called(&verdict.differ));
            prop_assert!(drift_ms(verdict.median) <= ms(DRIFT_MAX));
        }
    }
}
