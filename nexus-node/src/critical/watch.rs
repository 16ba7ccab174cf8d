use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Critical, CriticalChange, CriticalChanges, CriticalWatchQuery};
use crate::error::NodeError;

/// The longest single wait for changes.
const WAIT: Duration = Duration::from_secs(60);

/// Changes of critical state as this node learns of them. A slow reader costs nothing: it is a place in
/// the state.
#[derive(Debug)]
pub struct CriticalWatch {
    critical: Critical,
    prefix: String,
    after: u64,
    ready: VecDeque<CriticalNews>,
}

/// News for a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CriticalNews {
    /// A key or a lock changed.
    Change(CriticalChange),
    /// Changes up to this revision are lost to this watcher, which was away for too long. Read the keys
    /// themselves; the watch goes on after it.
    Missed {
        /// The revision.
        revision: u64,
    },
}

impl Critical {
    /// Follows the changes of keys and locks, oldest first: from now on, or from a revision on.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] if the current revision is asked for and nobody tells it.
    pub async fn watch(&self, query: CriticalWatchQuery) -> Result<CriticalWatch, NodeError> {
        let after = match query.after {
            Some(revision) => revision,
            None => self.revision().await?,
        };
        Ok(CriticalWatch { critical: self.clone(), prefix: query.prefix, after, ready: VecDeque::new() })
    }
}

impl CriticalWatch {
    /// The next change; waits for one. `None` once the node has stopped.
    ///
    /// Cancel-safe: a change is handed out or comes again.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] on a node without a copy, while no leader answers. Ask again then.
    pub async fn next(&mut self) -> Result<Option<CriticalNews>, NodeError> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(Some(news));
            }
            let coordinator = &self.critical.coordinator;
            let CriticalChanges { changes, revision, missed } = tokio::select! {
                changes = self.critical.changes(&self.prefix, self.after, WAIT) => changes?,
                () = coordinator.ended() => return Ok(None),
            };
            self.after = revision;
            self.ready = changes.into_iter().map(CriticalNews::Change).collect();
            if missed {
                self.ready.push_back(CriticalNews::Missed { revision });
            }
        }
    }

    /// The revision to continue after, in another watch. It counts once all changes are handed out.
    pub fn revision(&self) -> u64 {
        self.after
    }

    /// The changes as a stream, which ends once the node has stopped, or with an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<CriticalNews, NodeError>> {
        let next = async |mut watch: Self| Ok(watch.next().await?.map(|news| (news, watch)));
        stream::try_unfold(self, next).boxed()
    }
}
