//! The memory that callers ask and write.

use std::sync::Arc;

#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::brain::{Brain, Handles};
use crate::node::base::Base;
use crate::search::Search;
use crate::vectors::Vectors;

/// The rooms that it asks.
pub(in crate::node) struct Needs {
    /// The store's names in cursors before it was put back from a copy.
    pub(in crate::node) former_names: Vec<[u8; 8]>,
    pub(in crate::node) search: Arc<Search>,
    pub(in crate::node) vectors: Arc<Vectors>,
    #[cfg(feature = "blobs")]
    pub(in crate::node) blobs: Blobs,
}

pub(in crate::node) fn start(base: &Base, needs: Needs) -> Brain {
    let handles = Handles {
        identity: base.identity.clone(),
        world: base.world.clone(),
        engine: base.engine.clone(),
        store: base.store.clone(),
        store_name: base.store_name,
        former_names: needs.former_names,
        search: needs.search,
        vectors: needs.vectors,
        sessions: base.sessions.clone(),
        clocks: base.clocks.clone(),
        #[cfg(feature = "blobs")]
        blobs: Some(needs.blobs),
    };
    Brain::new(handles, &base.config)
}
