use std::fmt;
use std::sync::Arc;

use nexus_documents::PatchJson;
use tokio::sync::watch;

use super::open::Shared;
use super::shown::{DocumentInfo, missing};
use super::version::Version;
use crate::brain::Brain;
use crate::error::{NodeError, StopError};

/// The difference between two versions of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentChange {
    /// The version before.
    pub before: Version,
    /// The version now. A watch that begins there goes on.
    pub version: Version,
    /// The changes, to be made in this order.
    pub patches: Vec<PatchJson>,
}

/// Follows a document ([`Documents::watch`](super::Documents::watch)).
pub struct DocumentWatch {
    info: DocumentInfo,
    shared: Arc<Shared>,
    brain: Brain,
    committed: watch::Receiver<u64>,
    version: Version,
}

impl DocumentWatch {
    pub(super) async fn begin(
        info: DocumentInfo,
        shared: Arc<Shared>,
        brain: Brain,
        committed: watch::Receiver<u64>,
        from: Option<Version>,
    ) -> Result<Self, NodeError> {
        let Some(Version(from)) = from else {
            let version = shared.version(&brain).await?;
            return Ok(Self { info, shared, brain, committed, version });
        };
        let version = shared
            .read(&brain, move |replica| {
                // an unknown version is an error now, not at the first change
                replica.living().patches(&from, &from).map_err(missing)?;
                Ok(Version(from))
            })
            .await?;
        Ok(Self { info, shared, brain, committed, version })
    }

    /// The document's name.
    pub fn info(&self) -> &DocumentInfo {
        &self.info
    }

    /// The version that was told last.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Waits for the next change. Changes that come together are one. A version whose changes count no more is followed by
    /// the whole document.
    ///
    /// # Errors
    /// [`NodeError::Stopping`] once the node stops.
    pub async fn next(&mut self) -> Result<DocumentChange, NodeError> {
        loop {
            self.committed.borrow_and_update();
            // a commit that does not concern it does not have it built
            let now = self.shared.of_page(&self.brain, |page| Version(page.heads())).await?;
            if now.is_some_and(|now| now == self.version) {
                self.more().await?;
                continue;
            }
            let before = self.version.clone();
            let change = self.shared.read(&self.brain, move |replica| {
                let living = replica.living();
                let after = living.heads();
                if after == before.0 {
                    return Ok(None);
                }
                let from = if before.0.iter().all(|head| living.knows(head)) { before.0.as_slice() } else { &[] };
                let patches = living.patches(from, &after).map_err(missing)?;
                Ok(Some(DocumentChange { before: Version(from.to_vec()), version: Version(after), patches }))
            });
            if let Some(change) = change.await? {
                self.version = change.version.clone();
                return Ok(change);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), NodeError> {
        self.committed.changed().await.map_err(|_| StopError::Writes.into())
    }
}

impl fmt::Debug for DocumentWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentWatch").field("version", &self.version).finish_non_exhaustive()
    }
}
