//! The door at which strangers ask to join.

use nexus_mesh::Rooms;

use super::Starts;
use crate::node::admit::{self, Admitter};

pub(super) fn room(rooms: &mut Rooms) -> Starts {
    let knocks = admit::register(rooms);
    Box::new(move |base| {
        let parts = (base.identity.clone(), base.store.clone(), base.engine.clone());
        let admitter = Admitter::new(parts, base.world.clone(), base.key.clone(), base.mesh.clone());
        base.world.spawn("join door", admitter.serve(knocks));
    })
}
