//! The sync room: frontiers and entries.

use std::sync::Arc;
use std::time::Duration;

use nexus_identity::Did;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Abilities, Mesh, OpenError, Rooms, Stream, StreamProtocol};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clocks::Clocks;
use super::handle::EngineHandle;
use super::session::{SyncError, sync};
use super::sessions::Sessions;
use super::shares::Shares;
use super::traces::Traces;
use super::vain::{BROKEN_RULE, VainWork};
use crate::identity::Identity;
use crate::ledger::Quotas;
use crate::notices::Notices;
use crate::replication::Holdings;
use crate::store::Store;
use crate::world::World;

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
/// Streams that may wait for their task, which begins at once.
const STREAMS_MAX: usize = 64;
/// Wait before a stream is opened again on an open connection.
const REOPEN_AFTER: Duration = Duration::from_millis(250);

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(SYNC, STREAMS_MAX)
}

async fn sync_over(here: &Syncing, peer: Did, stream: Stream) -> SyncError {
    let tally = stream.tally();
    sync(here, peer, stream, &tally).await
}

/// The parts of the node that sync uses.
pub(crate) struct Syncing {
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
    pub(crate) notices: Notices,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) traces: Arc<Traces>,
    /// The logs of the store, read once for all sessions.
    pub(crate) holdings: Arc<Holdings>,
    /// Bound of the entries taken of one author. The engine has the same.
    pub(crate) quotas: Quotas,
    /// Bound of the frames read from one peer per second.
    pub(crate) frames_per_second: u32,
    pub(crate) vain: Arc<VainWork>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) clocks: Arc<Clocks>,
}

impl Syncing {
    /// Syncs over the streams that peers open.
    pub(crate) async fn serve(self: Arc<Self>, mut streams: Receiver<Stream>) {
        while let Some((peer, stream)) = streams.recv().await {
            let here = self.clone();
            self.world.spawn("sync", async move { here.report(peer, &sync_over(&here, peer, stream).await) });
        }
    }

    /// Opens a stream to a peer again and again until the peer's connection has `closed`.
    pub(super) async fn keep_in_sync(self: Arc<Self>, peer: Did, mut closed: watch::Receiver<()>) {
        loop {
            let once = async {
                match self.mesh.open(peer, &SYNC).await {
                    Ok(stream) => self.report(peer, &sync_over(&self, peer, stream).await),
                    Err(OpenError::NotOpen | OpenError::Stopped) => {}
                    Err(error) => tracing::debug!(peer = %peer.short(), %error, "no sync stream"),
                }
                tokio::time::sleep(REOPEN_AFTER).await;
            };
            tokio::select! {
                () = once => {}
                _ = closed.changed() => return,
            }
        }
    }

    /// The abilities of a peer, by its hello. The mesh is asked: a stream may be here before the event
    /// that its peer is.
    pub(super) async fn abilities_of(&self, peer: Did) -> Abilities {
        let peers = self.mesh.peers().await;
        let abilities = peers.into_iter().find(|status| status.did == peer).and_then(|status| status.abilities);
        abilities.unwrap_or_else(Abilities::first)
    }

    /// Logs the end of a sync. A broken rule also closes the peer's connection.
    fn report(&self, peer: Did, error: &SyncError) {
        if error.is_misbehaviour() {
            let hint = "update that node, or ask its owner what it runs";
            self.vain.note(peer, BROKEN_RULE, Instant::now());
            self.notices.note("misbehaving_peer", peer.to_string(), format!("{peer}: {error}"), hint);
            self.mesh.disconnect(peer);
        } else {
            tracing::debug!(peer = %peer.short(), reason = %error, "sync ended");
        }
    }
}
