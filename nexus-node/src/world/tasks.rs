use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use nexus_mesh::Spawner;
use tokio::task::AbortHandle;

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
