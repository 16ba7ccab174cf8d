use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_identity::Did;
use nexus_mesh::{Mesh, StreamProtocol, write_frame};
use tokio::sync::mpsc;

use crate::world::World;

/// The frames that wait for a node; more are dropped.
const WAITING_MAX: usize = 64;
/// The time in which a node takes a frame. After it the stream is given up.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// The time without a frame after which a stream is closed.
const IDLE_AFTER: Duration = Duration::from_secs(60);

type Frame = Arc<[u8]>;

/// A stream to each node to which something was said, in one direction.
pub(super) struct Links {
    mesh: Mesh,
    room: StreamProtocol,
    world: World,
    to: Mutex<BTreeMap<Did, mpsc::Sender<Frame>>>,
}

impl Links {
    pub(super) fn new(mesh: Mesh, room: StreamProtocol, world: World) -> Self {
        Self { mesh, room, world, to: Mutex::default() }
    }

    /// Sends a frame to a node, or drops it.
    pub(super) fn send(&self, peer: Did, frame: Frame) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = match to.get(&peer).map(|link| link.try_send(frame.clone())) {
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => return,
            Some(Err(mpsc::error::TrySendError::Closed(frame))) => frame,
            None => frame,
        };
        to.retain(|_, link| !link.is_closed());
        let (link, frames) = mpsc::channel(WAITING_MAX);
        // a new queue has room
        let _ = link.try_send(frame);
        to.insert(peer, link);
        self.world.spawn("presence out", carry(self.mesh.clone(), peer, self.room.clone(), frames));
    }
}

async fn carry(mesh: Mesh, peer: Did, room: StreamProtocol, mut frames: mpsc::Receiver<Frame>) {
    let Ok(mut stream) = mesh.open(peer, &room).await else { return };
    while let Ok(Some(frame)) = tokio::time::timeout(IDLE_AFTER, frames.recv()).await {
        match tokio::time::timeout(WRITE_WITHIN, write_frame(&mut stream, &frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
