//! The topic of new entries.

use nexus_mesh::quota::Receiver;
use nexus_mesh::{Message, Rooms};
use tokio::sync::mpsc;

use crate::node::base::Base;
use crate::runtime::VainWork;
use crate::runtime::gossip::{self, Announced, Gossip, Publisher};

pub(in crate::node) struct Port(Receiver<Message>);

impl Port {
    pub(in crate::node) fn register(rooms: &mut Rooms) -> Self {
        Self(gossip::register(rooms))
    }

    /// Hears others, and publishes the entries of `own`.
    pub(in crate::node) fn start(self, base: &Base, own: mpsc::Receiver<Announced>) {
        let publisher = Publisher {
            identity: base.identity.clone(),
            mesh: base.mesh.clone(),
            store: base.store.clone(),
            world: base.world.clone(),
            sessions: base.sessions.clone(),
            traces: base.traces.clone(),
        };
        let hearing = Gossip {
            identity: base.identity.clone(),
            mesh: base.mesh.clone(),
            store: base.store.clone(),
            world: base.world.clone(),
            engine: base.engine.clone(),
            sessions: base.sessions.clone(),
            vain: VainWork::default(),
            shares: base.shares.clone(),
        };
        base.world.spawn("gossip out", publisher.publish(own));
        base.world.spawn("gossip in", hearing.hear(self.0));
    }
}
