use std::fmt;

use futures::future::BoxFuture;

/// The start of every task of a node, so that a node can be killed whole.
///
/// libp2p's own tasks go through it, too. A simulator's spawner drops all tasks of a node at once. The
/// real one hands them to tokio.
pub trait Spawner: Send + Sync + 'static {
    /// Runs `task` until it ends. `name` is for people.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// Spawns on the tokio runtime it was made in.
#[derive(Clone)]
pub struct TokioSpawner(tokio::runtime::Handle);

impl TokioSpawner {
    /// A spawner for the runtime that runs the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }
}

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

impl fmt::Debug for TokioSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokioSpawner")
    }
}
