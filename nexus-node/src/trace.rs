//! The trace of a piece of work (W3C Trace Context).
//!
//! A task has at most one. It is no argument of an embedder's calls: a request is handled [`within`]
//! its trace, and a command to the engine takes the [`current`] one.

use std::fmt;

/// The length of a `traceparent` of version 00, in bytes.
const TEXT_BYTES: usize = 55;

/// A place in a trace: a span that can be a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// Whether the sender records the trace.
    pub(crate) sampled: bool,
}

impl TraceParent {
    /// Parses a `traceparent`. Of an unknown version the known part is read, as the standard says.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.split('-');
        let mut part = |len: usize| parts.next().filter(|part| part.len() == len && hex(part));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace, span, sampled })
    }

    /// The trace beside an entry: only one that is recorded, and no longer than our own.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == TEXT_BYTES)?;
        Self::parse(text).filter(|parent| parent.sampled)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// Does some work as a part of a trace; with `None`, of the current one.
#[cfg(feature = "http")]
pub(crate) async fn within<F: Future>(parent: Option<TraceParent>, work: F) -> F::Output {
    match parent {
        Some(parent) => CURRENT.scope(parent, work).await,
        None => work.await,
    }
}

/// The trace of this task.
pub(crate) fn current() -> Option<TraceParent> {
    CURRENT.try_with(|parent| *parent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
    #[test]
    fn what_comes_beside_an_entry_is_taken_in_one_form_only() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::from_wire(good.as_bytes()).unwrap();
        assert_eq!((parent.to_string(), parent.sampled), (good.to_owned(), true));
        let long = format!("{}-{}", good.replacen("00", "cc", 1), "x".repeat(1 << 20));
        for bad in [
            b"".as_slice(),
            b"\xff\xfe",
            &good.as_bytes()[..54],
            good.replace("-01", "-00").as_bytes(),
            good.replace("4b", "4B").as_bytes(),
            good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)).as_bytes(),
            long.as_bytes(),
        ] {
            assert_eq!(TraceParent::from_wire(bad), None, "{}", String::from_utf8_lossy(&bad[..bad.len().min(80)]));
        }
    }
}
