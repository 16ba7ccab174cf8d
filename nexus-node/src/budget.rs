//! A budget for what others may have this node do. It fills again with time.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and one more each time.
#[derive(Debug)]
pub(crate) struct Budget {
    most: u32,
    every: Duration,
    left: u32,
    since: Instant,
}

impl Budget {
    /// The whole budget: `most` at once, and one more `every` so often.
    pub(crate) const fn full(most: u32, every: Duration, now: Instant) -> Self {
        Self { most, every, left: most, since: now }
    }

    /// So many are left, as of the last time that some were taken.
    #[cfg(feature = "blobs")]
    pub(crate) const fn left(&self) -> u32 {
        self.left
    }

    /// Takes one. `false` if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_all(1, now)
    }

    /// Takes so many together. `false`, and none is taken, if there are fewer.
    pub(crate) fn take_all(&mut self, count: u32, now: Instant) -> bool {
        while self.left < self.most && now.saturating_duration_since(self.since) >= self.every {
            self.left += 1;
            self.since += self.every;
        }
        if self.left == self.most {
            self.since = now;
        }
        self.left.checked_sub(count).map(|left| self.left = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_fills_again_with_time_and_no_further_than_it_was() {
        const EVERY: Duration = Duration::from_secs(30);
        let start = Instant::now();
        let mut budget = Budget::full(32, EVERY, start);
        let mut take = |count: u32, now| (0..count).filter(|_| budget.take(now)).count();
        assert_eq!(take(100, start), 32);
        assert_eq!(take(100, start + EVERY * 2 + Duration::from_secs(1)), 2);
        assert_eq!(take(100, start + EVERY * 3), 1);
        assert_eq!(take(100, start + Duration::from_secs(90_000)), 32);
        let much_later = start + Duration::from_secs(180_000);
        assert!(!budget.take_all(33, much_later) && budget.take_all(30, much_later));
        assert!(!budget.take_all(3, much_later) && budget.take_all(2, much_later));
    }
}
