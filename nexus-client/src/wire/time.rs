//! Times in the forms of people and JSON.

use nexus_identity::Timestamp;
use std::time::Duration;

/// The text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a length of time (expected one like 30s, 5m, 1h or 7d)")]
pub struct DurationError {
    text: String,
}

/// The text is no timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a moment (expected one like 2026-11-20T08:31:12Z)")]
pub struct TimestampError {
    text: String,
}

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads `30s`, `5m`, `1h`, `7d`, also `500ms` and `2w`.
///
/// # Errors
/// [`DurationError`] for anything else: no unit, a fraction, a sign, or too large.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| error())?;
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    count.checked_mul(*ms).map(Duration::from_millis).ok_or_else(error)
}

/// The shortest text that [`parse_duration`] reads as this duration, to the millisecond.
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, length) =
        UNITS[..5].iter().rev().find(|(_, length)| ms % length == 0 && ms >= *length).unwrap_or(&UNITS[1]);
    format!("{}{unit}", ms / length)
}

/// The most digits of a year that a timestamp can name.
const YEAR_DIGITS_MAX: usize = 9;

/// Reads an RFC 3339 timestamp in UTC (`Z`), with or without a fraction. A year may have more than four digits, as
/// [`Timestamp`] prints it.
///
/// # Errors
/// [`TimestampError`] for anything else, also for a time before 1970.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    parse(text).map(Timestamp::from_ms).ok_or_else(|| TimestampError { text: text.to_owned() })
}

fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<u64> {
        let digits = bytes.get(from..from + len)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |sum, d| sum * 10 + u64::from(d - b'0')))
    };
    // a member's stamp may name a later year than RFC 3339 has
    let digits = bytes.iter().take(YEAR_DIGITS_MAX + 1).take_while(|digit| digit.is_ascii_digit()).count();
    if !(4..=YEAR_DIGITS_MAX).contains(&digits) || (digits > 4 && bytes.first() == Some(&b'0')) {
        return None;
    }
    let more = digits - 4;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| bytes.get(at + more) != Some(&separator)) {
        return None;
    }
    let (year, month, day) = (number(0, digits)?, number(5 + more, 2)?, number(8 + more, 2)?);
    let (hour, minute, second) = (number(11 + more, 2)?, number(14 + more, 2)?, number(17 + more, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = text.get(19 + more..)?.strip_suffix('Z')?;
    let ms = match fraction.strip_prefix('.') {
        None => fraction.is_empty().then_some(0)?,
        Some(digits) => {
            let valid = (1..=9).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
            let padded = format!("{digits:0<3}");
            valid.then(|| padded[..3].parse().ok())??
        }
    };
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute;
    (minutes * 60 + second).checked_mul(1_000)?.checked_add(ms)
}

/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day.saturating_sub(1);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, ms) in [("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000), ("500ms", 500)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(parse_duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        for text in ["", "5", "h", "1.5h", "-1s", "1 h", "1H", "99999999999999999999s", "999999999999999999d", "1é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_read_as_they_are_printed() {
        for ms in
            [0, 951_782_400_000, 1_795_163_472_123, 4_107_542_399_999, 253_402_300_800_000, u64::MAX >> 16, u64::MAX]
        {
            let timestamp = Timestamp::from_ms(ms);
            assert_eq!(parse_timestamp(&timestamp.to_string()), Ok(timestamp));
        }
        assert_eq!(parse_timestamp("2026-11-20T08:31:12Z").unwrap().as_ms() % 1_000, 0);
        assert_eq!(parse_timestamp("2026-11-20T08:31:12.1Z").unwrap().as_ms() % 1_000, 100);
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T08:31:12",
            "2026-11-20T08:31:12.Z",
            "2026-13-20T08:31:12Z",
            "2026-02-29T08:31:12Z",
            "2026-11-20T24:31:12Z",
            "1969-12-31T23:59:59Z",
            "02026-11-20T08:31:12Z",
            "999999999-11-20T08:31:12Z",
            "1000000000-11-20T08:31:12Z",
            "0000-01-01T00:00:00Z",
            "2026-11-20T08:31:12+01:00",
            "2026-00-20T08:31:12Z",
            "2026-11-20T08:31:12.12éZ",
        ] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
    }
}
