//! The API of `futures-timer` over tokio's clock.
//!
//! libp2p arms its timers through `futures-timer`, which runs a thread of its own on the
//! operating system's clock. Over tokio's clock there is one clock in the process, no extra
//! thread, and virtual time (`tokio::time::pause`) moves libp2p's timers as well.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A future that is ready once a duration has passed.
///
/// The deadline counts from the call of [`Delay::new`] or [`Delay::reset`]; the tokio timer
/// behind it is made on the first poll, so a `Delay` may be built outside a runtime.
pub struct Delay {
    after: Duration,
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Delay {
    /// A delay that ends `after` from now.
    pub fn new(after: Duration) -> Self {
        Self { after, deadline: deadline(after), sleep: None }
    }

    /// Starts over: ready `after` from now, whether or not it was ready before.
    pub fn reset(&mut self, after: Duration) {
        *self = Self::new(after);
    }
}

/// The deadline, if there is a runtime that knows the time; else the first poll sets it.
fn deadline(after: Duration) -> Option<Instant> {
    tokio::runtime::Handle::try_current().ok()?;
    Some(far(after))
}

/// Durations beyond the clock's range mean "not in this lifetime", not a panic.
fn far(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now + Duration::from_secs(60 * 60 * 24 * 365 * 30))
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.sleep.is_none() {
            let deadline = *this.deadline.get_or_insert_with(|| far(this.after));
            this.sleep = Some(Box::pin(sleep_until(deadline)));
        }
        match &mut this.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").field("after", &self.after).finish_non_exhaustive()
    }
}
