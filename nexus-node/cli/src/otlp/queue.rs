//! The queue of waiting spans: bounded, with counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// The most waiting spans; further ones are dropped. OpenTelemetry's own default.
const WAITING_MAX: usize = 2_048;
/// The most spans of a batch. Also OpenTelemetry's default.
const BATCH_MAX: usize = 512;
/// The longest wait of a batch's first span for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);

/// The kind of a span; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is internal to this process.
    Internal = 1,
    /// It answers a request.
    Server = 2,
    /// It takes a message.
    Consumer = 5,
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) begun: SystemTime,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// The queue between the ends of spans and the one thread that sends them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    sent: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<Finished>,
    closing: bool,
    ended: bool,
}

impl Queue {
    /// Adds a span, or drops it. Never waits for the network.
    pub(super) fn push(&self, span: Finished) {
        let mut state = self.lock();
        if state.closing || state.waiting.len() >= WAITING_MAX {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        state.waiting.push(span);
        let worth_waking = matches!(state.waiting.len(), 1 | BATCH_MAX);
        drop(state);
        if worth_waking {
            self.changed.notify_all();
        }
    }

    /// The next batch, once it is full or has waited long enough; `None` after the last one.
    pub(super) fn take(&self) -> Option<Vec<Finished>> {
        let empty = |state: &mut QueueState| state.waiting.is_empty() && !state.closing;
        let state = self.changed.wait_while(self.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        let small = |state: &mut QueueState| state.waiting.len() < BATCH_MAX && !state.closing;
        let waited = self.changed.wait_timeout_while(state, BATCH_WAIT, small);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let batch = state.waiting.len().min(BATCH_MAX);
        (batch > 0).then(|| state.waiting.drain(..batch).collect())
    }

    /// Waits before another try. Returns `false` if the node stops.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let open = |state: &mut QueueState| !state.closing;
        let waited = self.changed.wait_timeout_while(self.lock(), time, open);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// Takes no more spans, and waits until those here are sent, at most for this time.
    pub(super) fn close(&self, time: Duration) {
        let mut state = self.lock();
        state.closing = true;
        self.changed.notify_all();
        let running = |state: &mut QueueState| !state.ended;
        drop(self.changed.wait_timeout_while(state, time, running));
    }

    /// Notes that nothing is sent from here on.
    pub(super) fn ended(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    pub(super) fn count(&self, sent: u64, dropped: u64) {
        self.sent.fetch_add(sent, Relaxed);
        self.dropped.fetch_add(dropped, Relaxed);
    }

    /// The numbers of sent and of dropped spans.
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.sent.load(Relaxed), self.dropped.load(Relaxed)]
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(span: u64) -> Finished {
        Finished {
            trace: 1,
            span,
            parent: None,
            name: "request".to_owned(),
            kind: Kind::Internal,
            begun: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            attributes: Vec::new(),
            failed: false,
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
        let queue = Queue::default();
        for number in 0..WAITING_MAX as u64 + 7 {
            queue.push(span(number));
        }
        assert_eq!(queue.counts(), [0, 7]);
        let batch = queue.take().unwrap();
        assert_eq!((batch.len(), batch[0].span), (BATCH_MAX, 0), "the oldest first");
    }

    #[test]
    fn a_queue_that_closes_gives_what_it_has_and_then_nothing() {
        let queue = Queue::default();
        queue.push(span(1));
        queue.close(Duration::ZERO);
        queue.push(span(2));
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.take().is_none());
        assert!(!queue.pause(Duration::from_secs(60)));
        assert_eq!(queue.counts(), [0, 1]);
    }
}
