//! The events of a node, as one stream.

use std::sync::Arc;

#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::coordinator::Coordinator;
use crate::critical::Critical;
#[cfg(feature = "documents")]
use crate::documents::Documents;
use crate::events::{Events, Handles};
use crate::node::base::Base;
use crate::tasks::TaskBoard;

/// The rooms whose events it has.
pub(in crate::node) struct Needs {
    /// The store's names in cursors before it was put back from a copy.
    pub(in crate::node) former_names: Vec<[u8; 8]>,
    pub(in crate::node) board: TaskBoard,
    pub(in crate::node) coordinator: Option<Arc<Coordinator>>,
    #[cfg(feature = "blobs")]
    pub(in crate::node) blobs: Blobs,
    #[cfg(feature = "documents")]
    pub(in crate::node) documents: Documents,
}

pub(in crate::node) fn start(base: &Base, needs: Needs) -> Events {
    let events = Events::new(Handles {
        store_name: base.store_name,
        former_names: needs.former_names,
        board: needs.board,
        critical: needs.coordinator.map(Critical::new),
        sessions: base.sessions.clone(),
        committed: base.engine.committed(),
        #[cfg(feature = "blobs")]
        blobs: needs.blobs,
        #[cfg(feature = "documents")]
        documents: needs.documents,
    });
    base.world.spawn("events of peers", events.clone().keep_peers(base.identity.follow()));
    events
}
