//! Moments that a caller names: for how long a memory holds.

use super::Span;
use super::time::{TimestampError, parse_duration, parse_timestamp};
use nexus_identity::Timestamp;
#[cfg(feature = "schema")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
#[cfg(feature = "schema")]
use std::borrow::Cow;
use std::str::FromStr;

/// The words for this moment, for none, and for all of them.
const NOW: &str = "now";

const NEVER: &str = "never";

const EVER: &str = "ever";

/// A moment: RFC 3339 in UTC, or a date, for its first moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

/// A moment to write, `now` by the clock of the node, or `never` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentOrNever {
    /// Now.
    Now,
    /// No moment.
    Never,
    /// This moment.
    At(Timestamp),
}

impl MomentOrNever {
    /// The moment, of a node whose clock is at `now`.
    pub const fn at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Now => Some(now),
            Self::Never => None,
            Self::At(at) => Some(at),
        }
    }
}

/// A moment to come: a moment, or a time from now on by the clock of the node, as `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// This moment.
    At(Timestamp),
    /// So long from now on.
    In(Span),
}

/// The text is neither a moment nor a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a length of time like 30s or 1h, nor a moment like 2026-11-20T08:31:12Z")]
pub struct DeadlineError {
    text: String,
}

impl FromStr for Deadline {
    type Err = DeadlineError;

    fn from_str(text: &str) -> Result<Self, DeadlineError> {
        let moment = || text.parse().map(|Moment(at)| Self::At(at));
        let read = parse_duration(text).map(|time| Self::In(Span(time)));
        read.or_else(|_| moment()).map_err(|_| DeadlineError { text: text.to_owned() })
    }
}

impl Serialize for Deadline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(at) => serializer.collect_str(at),
            Self::In(time) => time.serialize(serializer),
        }
    }
}

/// The moment for which a question asks: a moment, or `ever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidAt {
    /// Now, by the clock of the node.
    Now,
    /// This moment.
    At(Timestamp),
    /// Whenever: also memories that hold no more, or not yet.
    Ever,
}

impl FromStr for ValidAt {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        match text {
            EVER => Ok(Self::Ever),
            text => text.parse().map(|Moment(at)| Self::At(at)),
        }
    }
}

impl Serialize for ValidAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => serializer.serialize_str(NOW),
            Self::At(at) => serializer.collect_str(at),
            Self::Ever => serializer.serialize_str(EVER),
        }
    }
}

impl<'de> Deserialize<'de> for ValidAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl FromStr for Moment {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let is_date = text.len() == "2026-11-20".len() && text.is_ascii();
        let of_date = is_date.then(|| parse_timestamp(&format!("{text}T00:00:00Z")).ok()).flatten();
        of_date.map_or_else(|| parse_timestamp(text), Ok).map(Self)
    }
}

impl FromStr for MomentOrNever {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        match text {
            NOW => Ok(Self::Now),
            NEVER => Ok(Self::Never),
            text => text.parse().map(|Moment(at)| Self::At(at)),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for MomentOrNever {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => serializer.serialize_str(NOW),
            Self::Never => serializer.serialize_str(NEVER),
            Self::At(at) => serializer.collect_str(at),
        }
    }
}

fn parsed<'de, T: FromStr<Err = TimestampError>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for MomentOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Deadline {
    fn schema_name() -> Cow<'static, str> {
        "Deadline".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A moment as RFC 3339 in UTC, a date for its first moment in UTC, or a time from now on.",
            "examples": ["2026-11-20T08:31:12Z", "1h"],
        })
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A moment as RFC 3339 in UTC, or a date for its first moment in UTC.",
            "examples": ["2026-11-20T08:31:12Z", "2026-11-20"],
        })
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for MomentOrNever {
    fn schema_name() -> Cow<'static, str> {
        "MomentOrNever".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A moment as RFC 3339 in UTC, a date for its first moment in UTC, `now`, or `never` for none.",
            "examples": ["2026-11-20T08:31:12Z", "now", "never"],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_is_its_first_moment() {
        let moment = |text: &str| text.parse::<Moment>().map(|Moment(at)| at.to_string());
        assert_eq!(moment("2026-03-01").unwrap(), "2026-03-01T00:00:00.000Z");
        assert_eq!(moment("2026-03-01T09:30:00Z").unwrap(), "2026-03-01T09:30:00.000Z");
        for text in ["", "never", "2026-13-01", "2026-3-1", "yesterday", "2026-03-01T", "２０２６-03"] {
            assert!(moment(text).is_err(), "{text}");
        }
        let now = Timestamp::from_ms(7);
        let bound = |text: &str| text.parse::<MomentOrNever>().map(|at| at.at(now));
        assert_eq!((bound("now"), bound("never")), (Ok(Some(now)), Ok(None)));
    }

    #[test]
    fn a_deadline_is_a_moment_or_a_time_from_now_on() {
        let at = |text: &str| text.parse::<Deadline>();
        assert_eq!(at("1s"), Ok(Deadline::In(Span(Duration::from_secs(1)))));
        let Deadline::At(moment) = at("2026-03-01T09:30:00Z").unwrap() else { panic!() };
        assert_eq!(moment.to_string(), "2026-03-01T09:30:00.000Z");
        for text in ["", "soon", "-1s", "5"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
