//! Tasks as something happens to them.

use std::fmt;

use nexus_crdt::TaskId;
use tokio::sync::broadcast;

use super::shows::Shows;
use super::task::Task;
use crate::error::{NodeError, StopError};

/// Something that happened to tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskNews {
    /// A task of which something was said, as it is then.
    Task(Box<Task>),
    /// So many words about tasks were missed.
    Missed(u64),
}

/// The events of tasks, as they are committed.
pub struct TaskWatch {
    said: broadcast::Receiver<(TaskId, bool)>,
    shows: Shows,
}

impl TaskWatch {
    pub(super) const fn new(said: broadcast::Receiver<(TaskId, bool)>, shows: Shows) -> Self {
        Self { said, shows }
    }

    /// The next task of which something was said, as it is then. Several things said at once may come as one. Words that
    /// were missed are left out ([`news`](Self::news)).
    ///
    /// # Errors
    /// As [`news`](Self::news).
    pub async fn next(&mut self) -> Result<Task, NodeError> {
        loop {
            if let TaskNews::Task(task) = self.news().await? {
                return Ok(*task);
            }
        }
    }

    /// The next task of which something was said, or the number of words that were missed. A reader that is 4,096 of them
    /// behind misses the first ones, and has to look at the tasks again.
    ///
    /// # Errors
    /// [`NodeError::Stopping`] at the node's end.
    pub async fn news(&mut self) -> Result<TaskNews, NodeError> {
        loop {
            let task = match self.said.recv().await {
                Ok((task, _)) => task,
                Err(broadcast::error::RecvError::Lagged(words)) => return Ok(TaskNews::Missed(words)),
                Err(broadcast::error::RecvError::Closed) => return Err(StopError::Writes.into()),
            };
            match self.shows.get(task).await {
                // of another's space, or no longer there
                Err(NodeError::NotFound { .. }) => {}
                found => return found.map(|task| TaskNews::Task(Box::new(task))),
            }
        }
    }

    /// The next state of one task, after something was said of it, or may have been.
    ///
    /// # Errors
    /// As [`next`](Self::next); [`NodeError::NotFound`] if it is no longer there.
    pub async fn next_of(&mut self, id: TaskId) -> Result<Task, NodeError> {
        self.until_said(id).await?;
        self.shows.get(id).await
    }

    /// Waits until something is said of a task, or may have been.
    pub(super) async fn until_said(&mut self, id: TaskId) -> Result<(), NodeError> {
        loop {
            match self.said.recv().await {
                Ok((task, _)) if task != id => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Err(StopError::Writes.into()),
            }
        }
    }
}

impl fmt::Debug for TaskWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskWatch").finish_non_exhaustive()
    }
}
