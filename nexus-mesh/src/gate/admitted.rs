use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::libp2p::PeerId;

/// The peers that the gate has opened for. The gate writes it, the connections read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admitted(Arc<Mutex<BTreeSet<PeerId>>>);

impl Admitted {
    pub(crate) fn add(&self, peer: PeerId) {
        self.lock().insert(peer);
    }

    pub(crate) fn remove(&self, peer: &PeerId) {
        self.lock().remove(peer);
    }

    pub(crate) fn has(&self, peer: &PeerId) -> bool {
        self.lock().contains(peer)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PeerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
