use std::sync::Arc;

use nexus_identity::Keypair;
use nexus_mesh::Mesh;

use crate::config::Config;
use crate::failure::Failure;
use crate::follow::Source;
use crate::formats::WrittenFormat;
use crate::identity::Identity;
use crate::notices::Notices;
use crate::runtime::{Clocks, EngineHandle, Sessions, Shares, Traces};
use crate::store::Store;
use crate::world::World;

/// The node as its rooms find it when they start: each part is cheap to clone, and a room takes those that it uses.
pub(super) struct Base {
    pub(super) key: Keypair,
    pub(super) identity: Identity,
    pub(super) world: World,
    pub(super) mesh: Mesh,
    pub(super) engine: EngineHandle,
    pub(super) store: Store,
    /// The store's name in cursors and in the search index.
    pub(super) store_name: [u8; 8],
    /// The format in which this node writes entries at its start.
    pub(super) written: WrittenFormat,
    pub(super) sessions: Arc<Sessions>,
    pub(super) traces: Arc<Traces>,
    pub(super) shares: Arc<Shares>,
    pub(super) clocks: Arc<Clocks>,
    pub(super) failure: Failure,
    pub(super) notices: Notices,
    pub(super) config: Config,
}

impl Base {
    /// The log, for a room that follows it.
    pub(super) fn source(&self) -> Source {
        Source {
            store: self.store.clone(),
            store_name: self.store_name,
            identity: self.identity.clone(),
            world: self.world.clone(),
            committed: self.engine.committed(),
        }
    }
}
