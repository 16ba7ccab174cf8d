use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::SpaceId;
use nexus_documents::DocumentId;

use super::find::Found;
use super::open::Shared;
use crate::world::World;

/// The most documents that stay open, and the most bytes of their changes, but for the latest one.
const OPEN_MAX: usize = 64;
const OPEN_BYTES_MAX: u64 = 64 << 20;

/// The documents that are open, cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<(SpaceId, DocumentId), (Arc<Shared>, u64)>,
    /// The number of times that a document was asked for.
    times: u64,
}

impl Opened {
    /// The open document of a place. The ones that nobody asked for the longest are closed for it.
    pub(super) fn open(&self, found: &Found, world: &World) -> Arc<Shared> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.times += 1;
        let times = open.times;
        let entry = open.by_id.entry((found.space, found.document));
        let (shared, used) =
            entry.or_insert_with(|| (Arc::new(Shared::new(world.clone(), found.space, found.no, found.document)), 0));
        *used = times;
        let shared = shared.clone();
        while open.by_id.len() > OPEN_MAX || open.by_id.len() > 1 && open.bytes() > OPEN_BYTES_MAX {
            // one in use stays: two of one document would let an edit pass by its end
            let unused = open.by_id.iter().filter(|(_, (shared, _))| Arc::strong_count(shared) == 1);
            let Some(oldest) = unused.min_by_key(|(_, (_, used))| *used).map(|(of, _)| *of) else { break };
            open.by_id.remove(&oldest);
        }
        shared
    }

    /// The document of a place, if it is open.
    pub(super) fn if_open(&self, space: SpaceId, document: DocumentId) -> Option<Arc<Shared>> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_id.get(&(space, document)).map(|(shared, _)| shared.clone())
    }

    /// All documents that are open.
    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_id.values().map(|(shared, _)| shared.clone()).collect()
    }
}

impl Inner {
    /// The bytes of the changes of all documents.
    fn bytes(&self) -> u64 {
        self.by_id.values().map(|(shared, _)| shared.bytes()).sum()
    }
}
