//! openraft's tasks on the node's spawner, so that a killed node leaves none behind, and its ticks at the node's pace.
//!
//! openraft spawns through a function without a receiver, so the spawner travels with the tasks. A call
//! into openraft must be inside of [`scope`], and every task that openraft spawns runs inside of one,
//! too.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_mesh::{Spawner, timers};
use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

tokio::task_local! {
    static SPAWNER: Arc<dyn Spawner>;
    static PACE: watch::Receiver<Pace>;
}

/// Runs a future that calls into openraft. Tasks that it spawns run on `spawner`.
pub(crate) async fn scope<F: Future>(spawner: Arc<dyn Spawner>, future: F) -> F::Output {
    SPAWNER.scope(spawner, future).await
}

/// The same, for the future that starts openraft: its ticks come at this pace.
pub(super) async fn paced<F: Future>(spawner: Arc<dyn Spawner>, pace: watch::Receiver<Pace>, future: F) -> F::Output {
    PACE.scope(pace, SPAWNER.scope(spawner, future)).await
}

/// The pace of openraft's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// They come as openraft asks for them.
    #[default]
    Runs,
    /// Those before this time would do nothing, and are left out; without one, all would, until the pace changes.
    Stands(Option<Instant>),
}

impl Pace {
    /// The time of the next tick, of which openraft asks for one at `at` and one after each `interval`; `None` while
    /// none is due. The ticks that come are at the times at which they would have come anyway, so those of several
    /// nodes stay apart. Pure.
    fn next_tick(self, at: Instant, interval: Duration, now: Instant) -> Option<Instant> {
        let from = match self {
            Self::Runs => now,
            Self::Stands(until) => until?.max(now),
        };
        let missed = from.saturating_duration_since(at).as_nanos().div_ceil(interval.as_nanos().max(1));
        Some(at + interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)))
    }
}

/// tokio, with tasks on the node's spawner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeRuntime;

/// A task ended early: it panicked, or its node was stopped.
#[derive(Debug)]
pub(crate) struct TaskEnded;

impl fmt::Display for TaskEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ended before it was done")
    }
}

/// Waits for a task's result.
#[derive(Debug)]
pub(crate) struct Handle<T>(oneshot::Receiver<T>);

impl<T> Future for Handle<T> {
    type Output = Result<T, TaskEnded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| TaskEnded)
    }
}

/// A sleep of openraft. Its ticks, and they alone, sleep until a moment; all else sleeps for a while.
pub(crate) enum NodeSleep {
    Plain(Pin<Box<tokio::time::Sleep>>),
    /// The mutex is never locked: it makes the future one that may be shared, as openraft wants it.
    Tick(std::sync::Mutex<BoxFuture<'static, ()>>),
}

impl NodeSleep {
    fn plain(sleep: tokio::time::Sleep) -> Self {
        Self::Plain(Box::pin(sleep))
    }

    fn tick(at: Instant, mut pace: watch::Receiver<Pace>) -> Self {
        let interval = at.saturating_duration_since(Instant::now());
        let until = async move {
            loop {
                let now = *pace.borrow_and_update();
                let next = now.next_tick(at, interval, Instant::now());
                if now == Pace::Runs {
                    return tokio::time::sleep_until(next.unwrap_or(at)).await;
                }
                tokio::select! {
                    biased;
                    // without anybody who sets it, openraft ticks as it likes
                    changed = pace.changed() => if changed.is_err() { return tokio::time::sleep_until(at).await },
                    () = timers::sleep_until(next.unwrap_or(at)), if next.is_some() => return,
                }
            }
        };
        Self::Tick(std::sync::Mutex::new(until.boxed()))
    }
}

impl Future for NodeSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Plain(sleep) => sleep.as_mut().poll(cx),
            Self::Tick(until) => match until.get_mut() {
                Ok(until) => until.as_mut().poll(cx),
                Err(_) => Poll::Ready(()),
            },
        }
    }
}

impl AsyncRuntime for NodeRuntime {
    type JoinError = TaskEnded;
    type JoinHandle<T: OptionalSend + 'static> = Handle<T>;
    type Sleep = NodeSleep;
    type Instant = tokio::time::Instant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = oneshot::Receiver<T>;
    type OneshotReceiverError = oneshot::error::RecvError;

    /// # Panics
    /// Outside of [`scope`]: a task that no node owns would outlive its node.
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let spawner = SPAWNER.with(Clone::clone);
        let (done, result) = oneshot::channel();
        let tell = |output| drop(done.send(output));
        let task = match PACE.try_with(Clone::clone) {
            Ok(pace) => paced(spawner.clone(), pace, future).map(tell).boxed(),
            Err(_) => scope(spawner.clone(), future).map(tell).boxed(),
        };
        spawner.spawn("raft", task);
        Handle(result)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        NodeSleep::plain(tokio::time::sleep(duration))
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        match PACE.try_with(Clone::clone) {
            Ok(pace) => NodeSleep::tick(deadline, pace),
            Err(_) => NodeSleep::plain(tokio::time::sleep_until(deadline)),
        }
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(_: &Self::JoinError) -> bool {
        false
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(150);

    #[test]
    fn a_tick_that_comes_is_one_that_openraft_would_have_sent() {
        let (at, ms) = (Instant::now() + INTERVAL, Duration::from_millis);
        let next = |pace: Pace, now| pace.next_tick(at, INTERVAL, now);
        assert_eq!(next(Pace::Runs, at - INTERVAL), Some(at));
        assert_eq!(next(Pace::Runs, at + ms(400)), Some(at + 3 * INTERVAL), "the pace stood until now");
        assert_eq!(next(Pace::Stands(None), at), None);
        assert_eq!(next(Pace::Stands(Some(at - ms(10))), at - INTERVAL), Some(at));
        assert_eq!(next(Pace::Stands(Some(at + ms(7_000))), at), Some(at + 47 * INTERVAL));
        assert_eq!(Pace::Runs.next_tick(at, Duration::ZERO, at), Some(at));
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_are_left_out_while_the_pace_stands_and_come_when_it_runs() {
        let (pace, paced) = watch::channel(Pace::Stands(None));
        let begun = Instant::now();
        let mut tick = NodeSleep::tick(begun + INTERVAL, paced);
        let while_it_stands = tokio::time::timeout(Duration::from_millis(9_010), &mut tick).await;
        assert!(while_it_stands.is_err());
        pace.send_replace(Pace::Runs);
        tick.await;
        assert_eq!(begun.elapsed(), 61 * INTERVAL);
    }
}
