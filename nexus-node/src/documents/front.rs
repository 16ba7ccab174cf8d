use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::find::Names;
use crate::error::DocumentError;

/// The most edits that wait for one document, and the most bytes of them. One larger edit is taken where no other waits.
pub(super) const WAITING_MAX: usize = 1_024;
pub(super) const WAITING_BYTES_MAX: u64 = 16 << 20;
/// The most bytes of edits that wait for all documents of a node, in the same way.
const ALL_BYTES_MAX: u64 = 64 << 20;

/// The entrance to an open document, for edits.
#[derive(Default)]
pub(super) struct Front {
    waiting: Arc<Mutex<Waiting>>,
    /// The keys that began anew from this document while it is open. Edits hold it together until they are written; a key begins
    /// anew while nothing else holds it.
    pub(super) anew: Arc<RwLock<BTreeSet<String>>>,
    pub(super) names: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Waiting {
    edits: usize,
    bytes: u64,
}

/// Edits that may wait. They make room again once they are dropped.
pub(super) struct Admitted {
    waiting: Arc<Mutex<Waiting>>,
    all: Arc<AtomicU64>,
    bytes: u64,
}

/// The things that edits hold until they are written.
pub(super) struct Held {
    pub(super) _admitted: Admitted,
    pub(super) _anew: OwnedRwLockReadGuard<BTreeSet<String>>,
}

impl Front {
    /// Takes room for edits of so many bytes, here and among those of all documents.
    pub(super) fn admit(&self, bytes: u64, all: &Arc<AtomicU64>) -> Result<Admitted, DocumentError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = DocumentError::Busy { edits: waiting.edits, bytes: waiting.bytes };
        let fits = |before: u64, most: u64| before == 0 || before.saturating_add(bytes) <= most;
        if waiting.edits >= WAITING_MAX || !fits(waiting.bytes, WAITING_BYTES_MAX) {
            return Err(busy);
        }
        let take = |before| fits(before, ALL_BYTES_MAX).then(|| before.saturating_add(bytes));
        if all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(busy);
        }
        (waiting.edits, waiting.bytes) = (waiting.edits + 1, waiting.bytes.saturating_add(bytes));
        Ok(Admitted { waiting: self.waiting.clone(), all: all.clone(), bytes })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting.edits, waiting.bytes) = (waiting.edits - 1, waiting.bytes - self.bytes);
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_wait_up_to_a_number_and_up_to_some_bytes() {
        let (all, front, other) = (Arc::default(), Front::default(), Front::default());
        let many: Vec<Admitted> = (0..WAITING_MAX).map(|_| front.admit(1, &all).unwrap()).collect();
        assert!(matches!(front.admit(1, &all), Err(DocumentError::Busy { edits: WAITING_MAX, bytes: 1_024 })));
        assert!(other.admit(1, &all).is_ok(), "each document has its own number");
        drop(many);
        // a larger one waits alone
        let large = front.admit(WAITING_BYTES_MAX + 1, &all).unwrap();
        assert!(matches!(front.admit(1, &all), Err(DocumentError::Busy { edits: 1, .. })));
        drop(large);
        let full = front.admit(WAITING_BYTES_MAX - 1, &all).unwrap();
        assert!(front.admit(2, &all).is_err());
        assert!(front.admit(1, &all).is_ok());
        // and all documents have a bound together
        let fronts: Vec<Front> = (0..4).map(|_| Front::default()).collect();
        let waiting: Vec<_> = fronts.iter().map(|front| front.admit(WAITING_BYTES_MAX, &all)).collect();
        assert_eq!(waiting.iter().filter(|admitted| admitted.is_ok()).count(), 3);
        drop((full, waiting));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
