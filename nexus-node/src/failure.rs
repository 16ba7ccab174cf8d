//! The reason why a node has failed.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ledger::LedgerError;
use crate::store::StoreError;

/// An error of a library below, of a type that is no promise: its words and its sources remain.
#[derive(Clone, Debug)]
pub struct OpaqueError(Arc<dyn Error + Send + Sync>);

impl OpaqueError {
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }
}

impl fmt::Display for OpaqueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for OpaqueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The fault for which a node ended itself. Nothing acknowledged is lost.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The store failed, most likely because of its disk.
    #[error(transparent)]
    Store(StoreError),
    /// The rows of the store cannot be read.
    #[error(transparent)]
    Ledger(LedgerError),
    /// A step or a commit was not carried out.
    #[error("a step or a commit was not carried out")]
    Commit,
    /// The log of the coordinators cannot be written.
    #[error("the coordinator's log cannot be written: {0}")]
    CoordinatorLog(#[source] OpaqueError),
}

/// A handle by which any room ends its node, cheap to clone. The first fault stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<watch::Sender<Option<Fault>>>);

impl Failure {
    /// Ends the node: half a node is worse than none.
    pub(crate) fn fail(&self, fault: Fault) {
        tracing::error!(error = %fault, "the node cannot go on");
        self.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(fault);
            first
        });
    }

    /// The fault, if the node has failed.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.borrow().clone()
    }

    /// Whether the node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves with the fault once the node has failed. Cancel-safe.
    pub(crate) fn failed(&self) -> impl Future<Output = Fault> + Send + use<> {
        let (mut failed, kept) = (self.0.subscribe(), self.0.clone());
        async move {
            let fault = failed.wait_for(Option::is_some).await.ok().and_then(|fault| fault.clone());
            drop(kept);
            match fault {
                Some(fault) => fault,
                // the sender is kept, so the channel does not close
                None => std::future::pending().await,
            }
        }
    }
}
