//! The exchange of entries with each peer, and the news of the mesh that begin and end it.

use std::sync::Arc;

use nexus_mesh::quota::Receiver;
use nexus_mesh::{MeshEvents, Rooms, Stream};

use crate::node::base::Base;
use crate::runtime::sync::{self, Syncing};
use crate::runtime::{Sockets, watch_mesh};

pub(in crate::node) struct Port(Receiver<Stream>);

impl Port {
    pub(in crate::node) fn register(rooms: &mut Rooms) -> Self {
        Self(sync::register(rooms))
    }

    /// Serves streams, and follows the mesh. `sockets` hears which of the mesh's sockets are bound and which have failed.
    pub(in crate::node) fn start(self, base: &Base, events: MeshEvents, sockets: Sockets) {
        let syncing = Arc::new(Syncing {
            identity: base.identity.clone(),
            mesh: base.mesh.clone(),
            store: base.store.clone(),
            world: base.world.clone(),
            engine: base.engine.clone(),
            notices: base.notices.clone(),
            sessions: base.sessions.clone(),
            traces: base.traces.clone(),
            holdings: Arc::default(),
            quotas: base.config.quotas(),
            frames_per_second: u32::try_from(base.config.frames_per_second_max.get()).unwrap_or(u32::MAX),
            vain: Arc::default(),
            shares: base.shares.clone(),
            clocks: base.clocks.clone(),
        });
        base.world.spawn("sync streams", syncing.clone().serve(self.0));
        base.world.spawn("mesh events", watch_mesh(syncing, events, sockets));
    }
}
