//! The surroundings of a node's rooms: tasks, blocking work, time and randomness.
//!
//! [`NodeEnv`](crate::NodeEnv) brings all but the last. Every room gets them as one [`World`].

mod blocking;
mod tasks;
mod wakes;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Timestamp;
use nexus_mesh::{Clock, Spawner, timers};

pub(crate) use self::blocking::Interrupted;
pub use self::blocking::{Blocking, BlockingPool, Inline};
pub use self::tasks::Tasks;
use self::wakes::{Counting, Wakes};

/// A handle to the surroundings, cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    spawner: Arc<dyn Spawner>,
    blocking: Arc<dyn Blocking>,
    clock: Arc<dyn Clock>,
    wakes: Wakes,
}

impl World {
    pub(crate) fn new(spawner: Arc<dyn Spawner>, blocking: Arc<dyn Blocking>, clock: Arc<dyn Clock>) -> Self {
        let wakes = Wakes::default();
        let spawner = Arc::new(Counting { inner: spawner, wakes: wakes.clone() });
        Self { spawner, blocking, clock, wakes }
    }

    /// How often the tasks were woken so far, by name.
    pub(crate) fn wakeups(&self) -> Vec<(&'static str, u64)> {
        self.wakes.read()
    }

    /// The same world with tasks on another spawner.
    pub(crate) fn with_spawner(&self, spawner: Arc<dyn Spawner>) -> Self {
        Self { spawner, ..self.clone() }
    }

    pub(crate) fn spawner(&self) -> &Arc<dyn Spawner> {
        &self.spawner
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Starts a task of the node; `name` is for people.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(name, task.boxed());
    }

    /// Does work that reads the memory and ends soon, off the async workers. Such works may wait for each
    /// other.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        blocking::run(|work| self.blocking.read(work), work).await
    }

    /// Does work that waits for the disk or takes long, off the async workers.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        blocking::run(|work| self.blocking.run(work), work).await
    }

    /// Does work that may take long and that nobody waits for, with less of the processors than others.
    pub(crate) async fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        blocking::run(|work| self.blocking.background(work), work).await
    }

    /// Monotonic time since a moment that is fixed while the node runs.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The current wall time.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Sleeps until [`World::now`] is `at`, a long sleep up to 64 ms longer. If the clock runs slower than the timers, it wakes before that.
    pub(crate) async fn sleep_until(&self, at: Duration) {
        timers::sleep(at.saturating_sub(self.now())).await;
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl World {
    /// A world that does all work at once and starts no tasks.
    pub(crate) fn inline() -> Self {
        struct NoTasks;
        impl Spawner for NoTasks {
            fn spawn(&self, name: &'static str, _: futures::future::BoxFuture<'static, ()>) {
                panic!("nobody runs the task {name} here");
            }
        }
        Self::new(Arc::new(NoTasks), Arc::new(Inline), Arc::new(nexus_mesh::SystemClock::new()))
    }
}

/// Bytes from the operating system's randomness.
#[expect(clippy::expect_used, reason = "a machine without randomness must not sign")]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
