//! Living documents.

#[cfg(feature = "http")]
use nexus_mesh::quota::Receiver;
#[cfg(feature = "http")]
use nexus_mesh::{Rooms, Stream};

use crate::brain::Brain;
use crate::documents::{Documents, Handles};
#[cfg(feature = "http")]
use crate::documents::{Presence, PresenceHandles, register_presence};
use crate::node::base::Base;

/// The room of words of programs. Without the API there are no programs.
pub(in crate::node) struct Port(#[cfg(feature = "http")] Receiver<Stream>);

impl Port {
    #[cfg(feature = "http")]
    pub(in crate::node) fn register(rooms: &mut Rooms) -> Self {
        Self(register_presence(rooms))
    }

    #[cfg(not(feature = "http"))]
    pub(in crate::node) const fn register(_: &mut nexus_mesh::Rooms) -> Self {
        Self()
    }

    pub(in crate::node) fn start(self, base: &Base, brain: Brain) -> Documents {
        let handles =
            Handles { identity: base.identity.clone(), world: base.world.clone(), engine: base.engine.clone() };
        #[cfg(feature = "http")]
        let presence = Presence::new(PresenceHandles {
            identity: base.identity.clone(),
            world: base.world.clone(),
            store: base.store.clone(),
            mesh: base.mesh.clone(),
            sessions: base.sessions.clone(),
        });
        #[cfg(feature = "http")]
        base.world.spawn("presence of programs", presence.clone().serve(self.0));
        let documents = Documents::new(
            handles,
            brain,
            #[cfg(feature = "http")]
            presence,
        );
        base.world.spawn("saved documents", documents.clone().keep_saved());
        documents
    }
}
