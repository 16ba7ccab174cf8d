use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::critical::{Critical, CriticalChange, CriticalChanges, CriticalNews};
use crate::follow::CriticalPlace;

/// The longest single wait for changes.
const WAIT: Duration = Duration::from_secs(60);
/// The wait before a question is asked again that nobody answered.
const AGAIN: Duration = Duration::from_secs(1);

/// Changes of keys and locks after a place in critical state.
pub(super) struct KeyFeed {
    critical: Critical,
    /// After all that was handed out; `None` until it is known where critical state is now.
    at: Option<CriticalPlace>,
    /// After all that was read.
    read: Option<CriticalPlace>,
    ready: VecDeque<CriticalChange>,
    /// The question that is under way. It goes on if the reader does something else meanwhile.
    asking: Option<BoxFuture<'static, Asked>>,
}

/// An answer.
enum Asked {
    /// Where critical state is now.
    Here(CriticalPlace),
    /// Changes, and the place after them.
    Changes(Vec<CriticalChange>, CriticalPlace),
    /// Changes before this place are lost.
    Missed(CriticalPlace),
}

impl KeyFeed {
    /// After a place, or from now on: from what this node's copy has.
    pub(super) fn new(critical: Critical, after: Option<CriticalPlace>) -> Self {
        let here = || Some(behind(critical.generation(), critical.copied()?));
        let at = after.or_else(here);
        Self { critical, at, read: at, ready: VecDeque::new(), asking: None }
    }

    /// After all that was handed out; `None` if it is not known.
    pub(super) const fn place(&self) -> Option<CriticalPlace> {
        self.at
    }

    /// The next change. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<CriticalNews> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.pass(change.revision);
                return Some(CriticalNews::Change(change));
            }
            let asking = self.asking.get_or_insert_with(|| ask(self.critical.clone(), self.read).boxed());
            let asked = asking.await;
            self.asking = None;
            match asked {
                Asked::Here(place) => (self.at, self.read) = (Some(place), Some(place)),
                Asked::Changes(changes, place) => {
                    self.ready = changes.into();
                    self.read = Some(place);
                    if self.ready.is_empty() {
                        self.at = self.read;
                    }
                }
                Asked::Missed(place) => {
                    (self.at, self.read) = (Some(place), Some(place));
                    return Some(CriticalNews::Missed { revision: place.revision });
                }
            }
        }
    }

    /// Moves the place behind a change. Others of the same transaction may follow.
    fn pass(&mut self, revision: u64) {
        self.at = match self.ready.front() {
            None => self.read,
            Some(next) if next.revision == revision => self.at.map(|at| CriticalPlace { part: at.part + 1, ..at }),
            Some(_) => self.read.map(|read| behind(read.generation, revision)),
        };
    }
}

/// Behind all changes of a revision.
const fn behind(generation: Option<u32>, revision: u64) -> CriticalPlace {
    CriticalPlace { generation, revision, part: 0 }
}

/// Asks until there is an answer.
async fn ask(critical: Critical, after: Option<CriticalPlace>) -> Asked {
    loop {
        let generation = critical.generation();
        let place = |revision| behind(generation, revision);
        match after {
            None => {
                if let Ok(revision) = critical.revision().await {
                    return Asked::Here(place(revision));
                }
            }
            // the group began anew since: it may have given these revisions to other changes
            Some(after) if after.generation.is_some() && generation.is_some() && after.generation != generation => {
                if let Some(revision) = critical.copied() {
                    return Asked::Missed(place(revision));
                }
            }
            Some(after) => {
                if let Ok(CriticalChanges { mut changes, revision, missed }) =
                    critical.changes("", after.revision, WAIT).await
                {
                    if missed {
                        return Asked::Missed(place(revision));
                    }
                    let seen = changes.len().min(usize::try_from(after.part).unwrap_or(usize::MAX));
                    changes.drain(..seen);
                    return Asked::Changes(changes, place(revision));
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
