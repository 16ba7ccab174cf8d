//! openraft's tasks on the node's spawner, so that a killed node leaves none behind.
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
use nexus_mesh::Spawner;
use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use tokio::sync::oneshot;

tokio::task_local! {
    static SPAWNER: Arc<dyn Spawner>;
}

/// Runs a future that calls into openraft. Tasks that it spawns run on `spawner`.
pub(crate) async fn scope<F: Future>(spawner: Arc<dyn Spawner>, future: F) -> F::Output {
    SPAWNER.scope(spawner, future).await
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

impl AsyncRuntime for NodeRuntime {
    type JoinError = TaskEnded;
    type JoinHandle<T: OptionalSend + 'static> = Handle<T>;
    type Sleep = tokio::time::Sleep;
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
        let task = scope(spawner.clone(), future).map(|output| drop(done.send(output)));
        spawner.spawn("raft", task.boxed());
        Handle(result)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
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
