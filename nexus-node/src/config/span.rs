//! A length of time, or none.

use std::fmt;
use std::time::Duration;

use super::setting::Setting;
use super::value::Value;

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// A time after which something is done by itself; `off` or `never` if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoneAfter(Option<u64>);

impl DoneAfter {
    const SECONDS_MAX: u64 = 365 * 86_400;

    /// After so many seconds.
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Some(seconds))
    }

    /// The time; `None` for never.
    pub const fn get(self) -> Option<Duration> {
        match self.0 {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        }
    }

    fn of(text: &str) -> Option<Self> {
        if matches!(text, "off" | "never") {
            return Some(Self(None));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let seconds = count.parse::<u64>().ok()?.checked_mul(*length)?;
        (seconds <= Self::SECONDS_MAX).then_some(Self(Some(seconds)))
    }
}

impl fmt::Display for DoneAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.0 else { return f.write_str("off") };
        let (unit, length) = UNITS
            .iter()
            .rev()
            .find(|(_, length)| seconds >= *length && seconds.is_multiple_of(*length))
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", seconds / length)
    }
}

impl Setting for DoneAfter {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(texts.last()?.trim())
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(value.as_str()?)
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }

    fn allowed() -> String {
        "a length of time such as 30m, 24h or 7d, at most 365d, or off".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_it_is_read() {
        for (text, shown) in [
            ("24h", "1d"),
            ("90m", "90m"),
            ("0s", "0s"),
            ("3600s", "1h"),
            ("365d", "365d"),
            ("off", "off"),
            ("never", "off"),
        ] {
            let read = DoneAfter::of(text).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(DoneAfter::of(shown), Some(read));
        }
        for text in ["", "24", "h", "-1h", "1.5h", "1 h", "366d", "99999999999999999999d", "NEVER", "OFF"] {
            assert_eq!(DoneAfter::of(text), None, "{text}");
        }
    }
}
