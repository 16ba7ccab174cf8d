use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Interrupted;

/// Runs work that waits for the disk or takes long, off the tasks that answer.
pub trait Blocking: Send + Sync + 'static {
    /// Runs `work`; the future ends when it has ended.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// On tokio's blocking threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockingPool;

impl Blocking for BlockingPool {
    #[expect(clippy::disallowed_methods, reason = "this is the real world's blocking pool")]
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let done = tokio::task::spawn_blocking(work);
        async move {
            if let Err(error) = done.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        .boxed()
    }
}

/// On the spot: for simulators, which have one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Blocking for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        futures::future::ready(()).boxed()
    }
}

/// Runs work on a node's blocking seam and hands its result back.
pub(super) async fn run<T: Send + 'static>(
    on: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    let slot = Arc::new(Mutex::new(None));
    let filled = slot.clone();
    on.run(Box::new(move || *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(work()))).await;
    slot.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Interrupted)
}
