//! A span for every request, so that all that is logged on its behalf can be found together.
//!
//! The ids are those of W3C Trace Context: a caller that sends a `traceparent` finds its own trace
//! id in our logs, and everybody is answered with ours.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The place of a request in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace: u128,
    /// The caller's span.
    pub(crate) parent: Option<u64>,
    /// Ours.
    pub(crate) span: u64,
    flags: u8,
}

impl Trace {
    /// Goes on with the caller's trace, or begins one. What cannot be understood is as good as
    /// nothing, as the standard has it.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let given = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(parse),
            _ => None,
        };
        Self::new(given)
    }

    /// Goes on with the trace of a `traceparent`, if it is one.
    #[cfg(feature = "mcp")]
    pub(crate) fn going_on(text: &str) -> Option<Self> {
        Some(Self::new(Some(parse(text)?)))
    }

    fn new(given: Option<(u128, u64, u8)>) -> Self {
        let mut random = [0; 24];
        // Ids that collide confuse a reader of logs and nobody else.
        let _ = getrandom::fill(&mut random);
        let (trace, span) = random.split_at(16);
        let fresh = u128::from_be_bytes(trace.try_into().unwrap_or_default()).max(1);
        let span = u64::from_be_bytes(span.try_into().unwrap_or_default()).max(1);
        match given {
            Some((trace, parent, flags)) => Self { trace, parent: Some(parent), span, flags },
            None => Self { trace: fresh, parent: None, span, flags: 0 },
        }
    }

    /// Whether the caller goes on with a trace that it does not record.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.parent.is_some() && self.flags & 1 == 0
    }

    /// What the caller is answered.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Trace id, parent id and flags. Of a version that is not known yet the known part is read.
fn parse(text: &str) -> Option<(u128, u64, u8)> {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let mut part = |len: usize| parts.next().filter(|part| part.len() == len && hex(part));
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()? & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: &str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, value.parse().unwrap());
        Trace::of(&headers)
    }

    #[test]
    fn a_trace_of_the_caller_goes_on_with_a_span_of_ours() {
        let trace = of(GOOD);
        assert_eq!(
            (trace.trace, trace.parent),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7))
        );
        let answer = trace.to_string();
        assert_eq!((&answer[..36], &answer[52..]), (&GOOD[..36], "-01"));
        assert_ne!(&answer[36..52], &GOOD[36..52]);
        assert!(of(&GOOD.replacen("00", "01", 1)).parent.is_some(), "a later version");
        assert!(of(&format!("{}-more", GOOD.replacen("00", "cc", 1))).parent.is_some(), "with more to it");
    }

    #[test]
    fn what_is_no_trace_is_ignored() {
        for text in [
            "",
            "hello",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(text).parent, None, "{text}");
        }
        let mut two = HeaderMap::new();
        two.append(TRACEPARENT, GOOD.parse().unwrap());
        two.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(Trace::of(&two).parent, None);
    }
}
