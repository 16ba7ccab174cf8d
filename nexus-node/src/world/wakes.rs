//! How often the tasks of a node are woken: the tasks of a node at rest should sleep.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_mesh::Spawner;

/// The counts by the names of the tasks. Names are words in the code, so there are few.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes(Arc<Mutex<BTreeMap<&'static str, Arc<AtomicU64>>>>);

impl Wakes {
    fn of(&self, name: &'static str) -> Arc<AtomicU64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
    }

    /// All counts.
    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, count)| (*name, count.load(Relaxed))).collect()
    }
}

/// Starts tasks on another spawner, and counts how often they are woken.
pub(super) struct Counting {
    pub(super) inner: Arc<dyn Spawner>,
    pub(super) wakes: Wakes,
}

impl Spawner for Counting {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.inner.spawn(name, Counted { task, wakes: self.wakes.of(name) }.boxed());
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}

struct Counted {
    task: BoxFuture<'static, ()>,
    wakes: Arc<AtomicU64>,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.fetch_add(1, Relaxed);
        self.task.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Tasks;

    #[tokio::test]
    async fn each_time_that_a_task_is_woken_counts_under_its_name() {
        let wakes = Wakes::default();
        let spawner = Counting { inner: Arc::new(Tasks::current()), wakes: wakes.clone() };
        let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
        let (done, seen) = tokio::sync::oneshot::channel();
        let waits = async move {
            for _ in 0..2 {
                woken.recv().await;
            }
            let _ = done.send(());
        };
        spawner.spawn("waits", waits.boxed());
        tokio::task::yield_now().await;
        assert_eq!(wakes.read(), [("waits", 1)]);
        for _ in 0..2 {
            wake.send(()).await.unwrap();
            tokio::task::yield_now().await;
        }
        seen.await.unwrap();
        assert_eq!(wakes.read(), [("waits", 3)]);
    }
}
