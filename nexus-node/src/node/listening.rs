use std::time::Duration;

use nexus_mesh::Multiaddr;
use tokio::sync::watch;

use super::ports;
use crate::error::ListenError;
use crate::runtime::Sockets;

/// Longest wait for sockets to be bound.
const LISTEN_MAX: Duration = Duration::from_secs(5);

/// The sockets of a node that starts.
pub(super) struct Listening {
    /// The sockets that are bound.
    pub(super) bound: watch::Receiver<Vec<Multiaddr>>,
    failed: watch::Receiver<Vec<ListenError>>,
}

impl Listening {
    /// No sockets yet, and the senders by which the mesh tells of them.
    pub(super) fn new() -> (Self, Sockets) {
        let (bound, seen) = watch::channel(Vec::new());
        let (failed, failures) = watch::channel(Vec::new());
        (Self { bound: seen, failed: failures }, Sockets { bound, failed })
    }

    /// Waits until the sockets that were asked for are bound or have failed.
    ///
    /// # Errors
    /// Their failures, if none of them is bound.
    pub(super) async fn opened(&mut self, asked: &[Multiaddr]) -> Result<(), Vec<ListenError>> {
        // a family that is switched off has nothing to wait for
        let audible: Vec<Multiaddr> = asked.iter().filter(|address| !ports::is_silent(address)).cloned().collect();
        let bound = all_bound(&audible, &mut self.bound, &mut self.failed);
        tokio::time::timeout(LISTEN_MAX, bound).await.ok();
        if !asked.is_empty() && self.bound.borrow().is_empty() {
            return Err(self.failed.borrow().clone());
        }
        Ok(())
    }
}

/// Waits until every address is bound or has failed.
async fn all_bound(
    asked: &[Multiaddr],
    bound: &mut watch::Receiver<Vec<Multiaddr>>,
    failed: &mut watch::Receiver<Vec<ListenError>>,
) {
    /// Protocols of an address without values, to tell sockets apart.
    fn shape(address: &Multiaddr) -> Vec<&'static str> {
        address.protocol_stack().collect()
    }
    loop {
        let missing =
            asked.iter().filter(|asked| !bound.borrow().iter().any(|bound| shape(bound) == shape(asked))).count();
        if missing <= failed.borrow().len() {
            return;
        }
        tokio::select! {
            changed = bound.changed() => if changed.is_err() { return },
            changed = failed.changed() => if changed.is_err() { return },
        }
    }
}
