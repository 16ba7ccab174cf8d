//! A span for every request, so that all its log lines can be found together.
//!
//! The ids are those of W3C Trace Context. A caller that sends a `traceparent` finds its trace id in
//! our logs, and every answer carries the id of our span.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::trace::TraceParent;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The place of a request in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace: u128,
    /// The caller's span.
    pub(crate) parent: Option<u64>,
    /// This node's span.
    pub(crate) span: u64,
    sampled: bool,
}

impl Trace {
    /// Continues the caller's trace, or begins one. An unreadable header counts as none, as the
    /// standard says.
    ///
    /// `recorded` tells whether traces that begin here are recorded.
    pub(super) fn of(headers: &HeaderMap, recorded: bool) -> Self {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let given = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(TraceParent::parse),
            _ => None,
        };
        Self::new(given, recorded)
    }

    /// Continues the trace of a `traceparent`, if the text is one.
    #[cfg(feature = "mcp")]
    pub(crate) fn going_on(text: &str) -> Option<Self> {
        Some(Self::new(Some(TraceParent::parse(text)?), false))
    }

    fn new(given: Option<TraceParent>, recorded: bool) -> Self {
        let mut random = [0; 24];
        // Colliding ids confuse a reader of logs at most.
        let _ = getrandom::fill(&mut random);
        let (trace, span) = random.split_at(16);
        let fresh = u128::from_be_bytes(trace.try_into().unwrap_or_default()).max(1);
        let span = u64::from_be_bytes(span.try_into().unwrap_or_default()).max(1);
        match given {
            Some(TraceParent { trace, span: parent, sampled }) => Self { trace, parent: Some(parent), span, sampled },
            None => Self { trace: fresh, parent: None, span, sampled: recorded },
        }
    }

    /// Whether the caller's trace continues here without being recorded.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.parent.is_some() && !self.sampled
    }

    /// The trace context for entries written by this request: our span, if the trace is recorded.
    pub(crate) fn for_entries(&self) -> Option<TraceParent> {
        self.sampled.then_some(self.as_parent())
    }

    const fn as_parent(&self) -> TraceParent {
        TraceParent { trace: self.trace, span: self.span, sampled: self.sampled }
    }

    /// The header of the answer.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.as_parent().to_string()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: &str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, value.parse().unwrap());
        Trace::of(&headers, false)
    }

    #[test]
    fn a_trace_of_the_caller_goes_on_with_a_span_of_ours() {
        let trace = of(GOOD);
        assert_eq!(
            (trace.trace, trace.parent),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7))
        );
        let answer = trace.as_parent().to_string();
        assert_eq!((&answer[..36], &answer[52..]), (&GOOD[..36], "-01"));
        assert_ne!(&answer[36..52], &GOOD[36..52]);
        assert!(of(&GOOD.replacen("00", "01", 1)).parent.is_some(), "a later version");
        assert!(of(&format!("{}-more", GOOD.replacen("00", "cc", 1))).parent.is_some(), "with more to it");
    }

    /// promise: Commands and API | Requests are counted by route; the lag of peers and a caller's trace are told
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
        assert_eq!(of("").for_entries(), None, "nobody records it");
        let begun = Trace::of(&HeaderMap::new(), true);
        assert_eq!(begun.for_entries().map(|parent| parent.span), Some(begun.span));
        let mut two = HeaderMap::new();
        two.append(TRACEPARENT, GOOD.parse().unwrap());
        two.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(Trace::of(&two, false).parent, None);
    }
}
