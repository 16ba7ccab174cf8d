//! Mesh news: sockets, and peers that come and go. Nothing here waits for the disk or the engine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use nexus_identity::Did;
use nexus_mesh::{DownCause, MeshEvent, MeshEvents, Multiaddr, Refusal};
use tokio::sync::{mpsc, watch};

use super::clocks::Beat;
use super::handle::EngineHandle;
use super::sync::Syncing;
use super::twins::Twins;
use super::whereabouts::{self, Whereabouts};
use crate::engine::Command;
use crate::error::{ListenError, NodeError};
use crate::ledger::rows;
use crate::notices::LineBudget;
use crate::store::{ALL_KEYS, Batch, Order, StoreError, Table, View};

/// Peer addresses that may wait to be stored.
const KEPT_MAX: usize = 64;

/// The sockets: bound or failed.
pub(crate) struct Sockets {
    pub(crate) bound: watch::Sender<Vec<Multiaddr>>,
    pub(crate) failed: watch::Sender<Vec<ListenError>>,
}

/// Follows the mesh's news. For a new peer it starts a sync if this node dialled, gives its chain to
/// the engine and keeps its addresses for the next start.
pub(crate) async fn watch_mesh(syncing: Arc<Syncing>, mut events: MeshEvents, sockets: Sockets) {
    let Syncing { mesh, world, engine, notices, .. } = &*syncing;
    let mut open: BTreeMap<Did, watch::Sender<()>> = BTreeMap::new();
    let (mut whereabouts, mut twins, lines) = (Whereabouts::default(), Twins::default(), LineBudget::default());
    let (keep, kept) = mpsc::channel(KEPT_MAX);
    world.spawn("keep peers", keep_peers(engine.clone(), kept));
    while let Some(event) = events.recv().await {
        let opened = if let MeshEvent::PeerOpen { peer, .. } = &event { Some(*peer) } else { None };
        twins.look(opened, &syncing.identity, notices, world.now());
        match event {
            MeshEvent::Listening { address } => {
                tracing::debug!(%address, "listening");
                sockets.bound.send_modify(|all| all.push(address));
                whereabouts::tell(mesh, &sockets.bound.borrow());
            }
            MeshEvent::ListenFailed { address, error } => {
                let failed = ListenError::new(address, error);
                tracing::warn!(error = %failed, "cannot listen");
                sockets.failed.send_modify(|all| all.push(failed));
            }
            MeshEvent::PeerOpen { peer, chain, name, dialer, address, abilities, .. } => {
                tracing::info!(peer = %peer.short(), name = %name, %address, "connected");
                let (alive, closed) = watch::channel(());
                open.insert(peer, alive);
                syncing.sessions.opened(peer, abilities);
                engine.introduce(peer, chain);
                if dialer {
                    world.spawn("sync", syncing.clone().keep_in_sync(peer, closed));
                }
            }
            MeshEvent::PeerClosed { peer, cause } => {
                // two nodes that dial each other at once replace one of two connections: only debug
                if matches!(cause, DownCause::Replaced) {
                    tracing::debug!(peer = %peer.short(), %cause, "disconnected");
                } else {
                    tracing::info!(peer = %peer.short(), %cause, "disconnected");
                }
                open.remove(&peer);
                syncing.sessions.closed(peer);
                whereabouts.lost(&peer);
            }
            MeshEvent::Addresses { peer, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let mut batch = Batch::new();
                batch.put(Table::Peers, peer.as_bytes(), &rows::encode(&addresses));
                // a dropped address comes again
                let _ = keep.try_send(batch);
            }
            MeshEvent::Beat { peer, body, clock, rtt } => {
                if let Some(theirs) = clock {
                    let beat = Beat { theirs, ours: world.wall(), rtt, now: world.now() };
                    syncing.clocks.heard(peer, beat, &syncing.identity);
                }
                if !open.contains_key(&peer)
                    && let Some(addresses) = whereabouts.heard(peer, &body)
                {
                    mesh.know(peer, addresses);
                }
            }
            MeshEvent::OtherMesh { address, peer } => notices.note(
                "other_mesh",
                address.to_string(),
                format!("{address} ({peer}) belongs to another mesh"),
                "remove it from the bootstrap addresses, or join its mesh with a ticket",
            ),
            MeshEvent::Refused { peer, by_us, reason } => {
                let who = if by_us { "this node" } else { "the peer" };
                if let Some(left_out) = lines.take(world.now()) {
                    tracing::info!(peer = %peer.short(), %reason, left_out, "{who} refused to open");
                }
                match reason {
                    Refusal::Revoked if !by_us => note_revoked(&syncing, &peer),
                    Refusal::Twin => twins.refused(peer, by_us, &syncing.identity, notices, world.now()),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// Warns that a member no longer takes this node for one. Its word is no proof: this node goes on.
fn note_revoked(syncing: &Syncing, peer: &Did) {
    let Some(name) = syncing.identity.shown_name_of(peer).filter(|_| syncing.identity.is_member(peer)) else { return };
    syncing.notices.note(
        "revoked",
        peer.to_string(),
        format!("{name} refuses this node: its membership was revoked"),
        "ask an admin; the memories here stay, and a new directory can join with a new ticket",
    );
}

/// Stores the addresses of peers, one batch after the other.
async fn keep_peers(engine: EngineHandle, mut kept: mpsc::Receiver<Batch>) {
    while let Some(batch) = kept.recv().await {
        match engine.run(Command::Keep(batch)).await {
            // addresses come again
            Ok(_) | Err(NodeError::DiskFull(_) | NodeError::FileGone(_)) => {}
            Err(_) => return,
        }
    }
}

/// Stored peers to dial.
pub(crate) fn known_peers(view: &dyn View) -> Result<Vec<(Did, Vec<Multiaddr>)>, StoreError> {
    let mut peers = Vec::new();
    view.scan(Table::Peers, ALL_KEYS, Order::Forward, &mut |key, value| {
        if let (Ok(did), Ok(addresses)) = (key.try_into(), rows::decode::<Vec<String>>(Table::Peers, value)) {
            let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
            peers.push((Did::from_bytes(did), addresses));
        }
        ControlFlow::Continue(())
    })?;
    Ok(peers)
}
