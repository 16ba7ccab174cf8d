//! The rooms of a node, a file each: what a room registers before the mesh starts, and the tasks and handles that it has
//! from then on. [`start`](super::start) lists them.
//!
//! A room that no other room uses is a line of [`BESIDE`]. A room with a handle is a `Port` with `register` and `start`.

#[cfg(feature = "blobs")]
pub(super) mod blobs;
pub(super) mod brain;
#[cfg(feature = "documents")]
pub(super) mod documents;
mod door;
pub(super) mod events;
pub(super) mod gossip;
mod members;
pub(super) mod search;
pub(super) mod sync;
pub(super) mod tasks;
pub(super) mod vectors;

use nexus_mesh::Rooms;

use super::base::Base;

/// Starts a registered room, which spawns its own tasks.
pub(super) type Starts = Box<dyn FnOnce(&Base) + Send>;

/// The rooms that run beside the others and that none of them uses. Each registers what it serves, if anything.
const BESIDE: &[fn(&mut Rooms) -> Starts] = &[door::room, members::room];

/// Registers the rooms of [`BESIDE`].
pub(super) fn beside(rooms: &mut Rooms) -> Vec<Starts> {
    BESIDE.iter().map(|room| room(rooms)).collect()
}
