use tokio::sync::watch;

use super::looks::Looks;
use crate::critical::{Critical, Mode};

/// Changes of the coordinators' mode. It is on no disk: a reader that was away reads it in the status.
pub(super) struct ModeFeed {
    critical: Critical,
    looks: Looks,
    last: Option<Mode>,
}

impl ModeFeed {
    pub(super) async fn new(critical: Critical, contacts: watch::Receiver<()>) -> Self {
        let last = mode(&critical).await;
        Self { critical, looks: Looks::new(contacts), last }
    }

    /// The mode, once it has changed. Dropping it early loses nothing.
    pub(super) async fn next(&mut self) -> Mode {
        loop {
            self.looks.due().await;
            if let Some(mode) = mode(&self.critical).await.filter(|mode| Some(*mode) != self.last) {
                self.last = Some(mode);
                return mode;
            }
        }
    }
}

async fn mode(critical: &Critical) -> Option<Mode> {
    Some(critical.coordinators().await?.mode())
}
