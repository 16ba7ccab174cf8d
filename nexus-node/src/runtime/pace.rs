use std::time::Duration;

/// The time without such commits for each that they take, for long: they have a third of the whole.
const BETWEEN: u32 = 2;
/// The time that they may take at once.
const AT_ONCE: Duration = Duration::from_millis(20);
/// The longest pause before the next one.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The pace of commits of peers' entries.
///
/// Each costs a synced write and some changes of threads, however little it holds. So on a busy machine, or a slow disk, they
/// come more rarely, and each takes whatever came meanwhile. It is a token bucket over their time, as for vain work.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The time until which they took too much, less what they may take at once.
    until: Duration,
}

impl Pace {
    /// Notes a commit.
    pub(super) fn note(&mut self, begun: Duration, end: Duration) {
        let taken = end.saturating_sub(begun) * (1 + BETWEEN);
        self.until = (self.until.max(begun) + taken).min(end + AT_ONCE * BETWEEN + PAUSE_MAX);
    }

    /// When the next one may begin.
    pub(super) fn next(&self) -> Duration {
        self.until.saturating_sub(AT_ONCE * BETWEEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Commits that take `each` follow on each other at a pace. Returns the pauses before them.
    fn pauses(each: Duration, count: usize) -> Vec<Duration> {
        let (mut pace, mut now) = (Pace::default(), Duration::from_secs(1));
        let mut one = || {
            let begun = now.max(pace.next());
            let pause = begun - now;
            now = begun + each;
            pace.note(begun, now);
            pause
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn commits_that_are_rare_or_fast_never_wait() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        for _ in 0..1_000 {
            assert!(pace.next() <= now, "at {now:?}");
            pace.note(now, now + MS);
            now += 4 * MS;
        }
        assert!(pauses(Duration::ZERO, 1_000).iter().all(Duration::is_zero), "as in a simulator");
    }

    #[test]
    fn commits_without_end_take_a_third_of_the_time_after_the_first_ones() {
        let pauses = pauses(2 * MS, 1_000);
        assert!(pauses[..10].iter().all(Duration::is_zero), "{:?}", &pauses[..10]);
        assert!(pauses[20..].iter().all(|pause| *pause == 4 * MS), "{:?}", &pauses[20..30]);
    }

    #[test]
    fn no_pause_is_long_however_slow_the_disk() {
        let pauses = pauses(Duration::from_secs(1), 10);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX), "{pauses:?}");
        assert!(pauses[1..].iter().all(|pause| *pause > PAUSE_MAX - MS), "{pauses:?}");
    }
}
