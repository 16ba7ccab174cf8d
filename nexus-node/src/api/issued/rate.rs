//! How often a token may ask: a bucket that fills evenly. Pure: `now` is an argument.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The most requests that may come at once.
const BURST_MAX: u32 = 10;
/// The highest rate, in requests within its time.
const REQUESTS_MAX: u32 = 1_000_000;
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3_600))];

/// So many requests within a second, a minute or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    requests: u32,
    within: Duration,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number of requests from 1 to {REQUESTS_MAX} a second, or as 100/s, 100/m, 100/h")]
pub struct BadRate;

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let within = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, within)| *within).ok_or(BadRate)?;
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let requests = number.parse().ok().filter(|requests| plain && (1..=REQUESTS_MAX).contains(requests));
        Ok(Self { requests: requests.ok_or(BadRate)?, within })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, within)| *within == self.within).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.requests)
    }
}

impl Rate {
    /// The time between two requests at this rate.
    fn each(self) -> Duration {
        self.within / self.requests
    }

    /// How far ahead of the even flow a caller may be.
    fn ahead(self) -> Duration {
        self.each() * (self.requests.min(BURST_MAX) - 1)
    }
}

/// The requests of one token so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When the next request is due, if requests came evenly.
    due: Duration,
}

impl Bucket {
    /// Lets a request through at a time, counted from any moment that stays the same.
    ///
    /// # Errors
    /// The time until the next request is let through.
    pub(super) fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let due = self.due.max(now);
        let early = due.saturating_sub(now).saturating_sub(rate.ahead());
        if !early.is_zero() {
            return Err(early);
        }
        self.due = due.saturating_add(rate.each());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for (text, shown) in [("5", "5/s"), ("5/s", "5/s"), ("60/m", "60/m"), ("1/h", "1/h"), ("1000000", "1000000/s")]
        {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
        for wrong in ["", "0", "-1", "+5", "1.5", "5/d", "5/", "/s", "5 /s", "1000001", "5/s/s", "99999999999999"] {
            assert_eq!(wrong.parse::<Rate>(), Err(BadRate), "{wrong}");
        }
    }

    proptest! {
        /// promise: Commands and API | A token asks no more often than its rate, whatever moments it chooses, and waits no longer than it was told
        #[test]
        fn no_choice_of_moments_beats_the_rate(
            requests in 1_u32..200,
            unit in 0_usize..3,
            pauses in proptest::collection::vec(0_u64..2_000_000, 1..300),
        ) {
            let rate: Rate = format!("{requests}/{}", UNITS[unit].0).parse().unwrap();
            let (mut bucket, mut now, mut through) = (Bucket::default(), Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_micros(pause);
                match bucket.take(rate, now) {
                    Ok(()) => through.push(now),
                    Err(wait) => {
                        prop_assert!(!wait.is_zero() && wait <= rate.each());
                        let before = bucket;
                        prop_assert!(bucket.take(rate, now + wait - Duration::from_nanos(1)).is_err());
                        bucket = before;
                        now += wait;
                        prop_assert!(bucket.take(rate, now).is_ok(), "the time that it was told is enough");
                        through.push(now);
                    }
                }
            }
            let burst = requests.min(BURST_MAX) as usize;
            for (first, from) in through.iter().enumerate() {
                for (last, until) in through.iter().enumerate().skip(first) {
                    let evenly = (*until - *from).as_nanos() / rate.each().as_nanos();
                    prop_assert!(last - first < burst + usize::try_from(evenly).unwrap(), "{first} to {last}");
                }
            }
        }
    }
}
