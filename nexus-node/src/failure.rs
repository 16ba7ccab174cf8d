//! The reason why a node has failed.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// A handle by which any room ends its node, cheap to clone. The first reason stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<watch::Sender<Option<String>>>);

impl Failure {
    /// Ends the node: half a node is worse than none.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(error = %reason, "the node cannot go on");
        self.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(reason);
            first
        });
    }

    /// The reason, if the node has failed.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Whether the node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves with the reason once the node has failed. Cancel-safe.
    pub(crate) fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let (mut failed, kept) = (self.0.subscribe(), self.0.clone());
        async move {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            drop(kept);
            reason.unwrap_or_default()
        }
    }
}
