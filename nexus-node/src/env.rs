use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_identity::Keypair;
use nexus_mesh::{BoxedTransport, Spawner};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::store::{Store, StoreError};

/// The world of one node: everything outside that it touches. [`Node::builder`](crate::Node)
/// fills in the real one; a simulator brings its own.
pub struct NodeEnv {
    /// Who the node is.
    pub keypair: Keypair,
    /// How it reaches others; authenticated with the same key.
    pub transport: BoxedTransport,
    /// Where all its tasks run.
    pub spawner: Arc<dyn Spawner>,
    /// Where it keeps what it knows; initialized.
    pub store: Store,
    /// Where it does what takes long or waits for the disk.
    pub blocking: Arc<dyn Blocking>,
    /// What its coordinator keeps; none: it takes no part, and has no critical state.
    pub raft: Option<RaftEnv>,
    /// Where the search index lies on disk; in memory if nowhere.
    pub search: Option<std::path::PathBuf>,
    /// What was configured.
    pub config: Config,
}

/// What a node's coordinator keeps.
#[derive(Debug)]
pub struct RaftEnv {
    /// Votes and snapshots: a store of its own.
    pub store: Store,
    /// The log's entries: a file that belongs to the store. One without the other is refused.
    pub journal: Box<dyn StorageBackend>,
    /// They may be copies of ones that are in use: then this node is another voter than they say.
    pub redraw: bool,
    /// What the machine is called, to see whether all voters share one.
    pub machine: Option<[u8; 32]>,
}

impl RaftEnv {
    /// In memory: gone with its node.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn memory() -> Result<Self, StoreError> {
        let journal = Box::new(InMemoryBackend::new());
        Ok(Self { store: Store::memory()?, journal, redraw: false, machine: None })
    }
}

impl fmt::Debug for NodeEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEnv").field("keypair", &self.keypair).finish_non_exhaustive()
    }
}

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

/// Runs work on the node's blocking seam and hands its result back.
pub(crate) async fn blocking<T: Send + 'static>(
    on: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let slot = Arc::new(Mutex::new(None));
    let filled = slot.clone();
    on.run(Box::new(move || *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(work()))).await;
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Spawns on tokio, and can end everything it spawned: a node that is dropped leaves no task
/// behind.
#[derive(Debug)]
pub struct Tasks {
    runtime: tokio::runtime::Handle,
    running: Mutex<Vec<(&'static str, AbortHandle)>>,
}

impl Tasks {
    /// For the runtime that runs the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn current() -> Self {
        Self { runtime: tokio::runtime::Handle::current(), running: Mutex::new(Vec::new()) }
    }

    /// Ends every task at its next await.
    pub fn kill(&self) {
        for (_, task) in self.running.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Ends every task and waits until they are gone.
    pub(crate) async fn end(&self) {
        let ending: Vec<AbortHandle> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.drain(..).map(|(_, task)| task).collect()
        };
        for task in &ending {
            task.abort();
        }
        while ending.iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    /// The tasks that have not ended, by name.
    pub fn running(&self) -> Vec<&'static str> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, task)| !task.is_finished());
        running.iter().map(|(name, _)| *name).collect()
    }
}

impl Spawner for Tasks {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let handle = self.runtime.spawn(task).abort_handle();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // keeps the list as long as what runs, at little cost per task
        if running.len() == running.capacity() {
            running.retain(|(_, task)| !task.is_finished());
        }
        running.push((name, handle));
    }
}
