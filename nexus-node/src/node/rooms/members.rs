//! The duties that follow from changes of the members: former ones are shut out, and words about persons are agreed to.

use nexus_mesh::Rooms;

use super::Starts;
use crate::node::{expiry, persons, revoke};

pub(super) fn room(_: &mut Rooms) -> Starts {
    Box::new(|base| {
        let (world, engine, identity) = (&base.world, &base.engine, &base.identity);
        world.spawn("revocations", revoke::shut_out(identity.follow(), base.mesh.clone()));
        world.spawn("persons", persons::agree(world.clone(), engine.clone(), identity.clone()));
        world.spawn("expired memberships", expiry::end_expired(world.clone(), engine.clone(), identity.clone()));
    })
}
