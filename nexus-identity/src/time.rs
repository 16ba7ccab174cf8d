use std::fmt;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};

/// A moment on a wall clock: milliseconds since 1970-01-01T00:00:00Z.
///
/// For people and for validity periods. No decision about conflicts depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment with a date as RFC 3339 has them: the end of the year 9999.
    pub const LAST: Self = Self(253_402_300_799_999);

    /// The moment `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This moment plus `duration`, or the largest timestamp if that is out of range.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This moment plus `duration`, if that has a date ([`LAST`](Self::LAST)).
    pub fn date_after(self, duration: Duration) -> Option<Self> {
        self.saturating_add(duration).dated()
    }

    /// This moment, if it has a date ([`LAST`](Self::LAST)).
    pub fn dated(self) -> Option<Self> {
        (self <= Self::LAST).then_some(self)
    }

    /// The time since `earlier`; zero if `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-20T08:31:12.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// The proleptic Gregorian date of a day count since 1970-01-01
/// (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_date_is_the_end_of_the_year_9999() {
        assert_eq!(Timestamp::LAST.to_string(), "9999-12-31T23:59:59.999Z");
        let before = Timestamp::from_ms(Timestamp::LAST.as_ms() - 1_000);
        assert_eq!(before.date_after(Duration::from_secs(1)), Some(Timestamp::LAST));
        assert_eq!(before.date_after(Duration::from_millis(1_001)), None);
        assert_eq!(before.date_after(Duration::MAX), None);
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_163_472_123, "2026-11-20T08:31:12.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_ms(ms).to_string(), text);
        }
    }
}
