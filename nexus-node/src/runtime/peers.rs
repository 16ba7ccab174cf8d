use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{EntryError, EntryFrame};
use nexus_identity::{Did, Keypair};
use nexus_mesh::{DownCause, MeshEvent, MeshEvents, Multiaddr, OpenError, Stream, StreamProtocol, Verdict};
use prost::Message;
use tokio::sync::{mpsc, watch};

use super::handle::{EngineHandle, Intake};
use super::session::{SyncError, Syncing, sync};
use super::traces::{Said, Way};
use super::whereabouts::{self, Whereabouts};
use crate::coordinator::RAFT;
use crate::engine::Command;
use crate::ledger::{self, rows};
use crate::node::admit::Admitter;
use crate::store::{Batch, Table};

/// The room where frontiers and entries go.
pub(crate) const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
/// The topic of new entries.
pub(crate) const ENTRIES: &str = "entries";
/// The largest entry that is gossiped whole.
pub(crate) const GOSSIPED_BYTES_MAX: usize = 32 * 1024;

/// Addresses of peers that wait to be written down.
const KEPT_MAX: usize = 64;
/// How long to wait before a stream is opened again on a connection that stands.
const REOPEN_AFTER: Duration = Duration::from_millis(250);

/// Follows the mesh: a sync with every open peer, gossip into the engine, newcomers at the door.
pub(crate) async fn watch_mesh(
    here: Arc<Syncing>,
    key: Keypair,
    mut events: MeshEvents,
    listening: watch::Sender<Vec<Multiaddr>>,
    failed_to_listen: watch::Sender<Vec<String>>,
    raft: mpsc::Sender<(Did, Stream)>,
) {
    let Syncing { mesh, world, engine, .. } = &*here;
    let mut open: BTreeMap<Did, watch::Sender<()>> = BTreeMap::new();
    let mut whereabouts = Whereabouts::default();
    let (keep, kept) = mpsc::channel(KEPT_MAX);
    world.spawn("keep peers", keep_peers(engine.clone(), kept));
    let admitter = Arc::new(tokio::sync::Mutex::new(Admitter::new(
        here.identity.clone(),
        here.store.clone(),
        engine.clone(),
        world.clone(),
        key,
    )));
    while let Some(event) = events.recv().await {
        match event {
            MeshEvent::Listening { address } => {
                tracing::debug!(%address, "listening");
                listening.send_modify(|all| all.push(address));
                whereabouts::tell(mesh, &listening.borrow());
            }
            MeshEvent::ListenFailed { address, error } => {
                let address = address.map_or_else(|| "a socket".to_owned(), |address| address.to_string());
                tracing::warn!(%address, %error, "cannot listen");
                failed_to_listen.send_modify(|all| all.push(format!("{address}: {error}")));
            }
            MeshEvent::PeerOpen { peer, chain, name, dialer, address, .. } => {
                tracing::info!(peer = %peer.short(), name = %name, %address, "connected");
                let (alive, closed) = watch::channel(());
                open.insert(peer, alive);
                if engine.take(Intake::Chain(chain)).await.is_err() {
                    return;
                }
                if dialer {
                    world.spawn("sync", keep_in_sync(here.clone(), peer, closed));
                }
            }
            MeshEvent::PeerClosed { peer, cause } => {
                // Two that dial each other at once have two connections for a moment: that is no news.
                if matches!(cause, DownCause::Replaced) {
                    tracing::debug!(peer = %peer.short(), %cause, "disconnected");
                } else {
                    tracing::info!(peer = %peer.short(), %cause, "disconnected");
                }
                open.remove(&peer);
                whereabouts.lost(&peer);
            }
            MeshEvent::Stream { peer, room, stream } if room == SYNC => {
                let here = here.clone();
                world.spawn("sync", async move { report(&here, peer, &sync(&here, peer, stream).await) });
            }
            // over the bound the stream is dropped, and the peer asks again
            MeshEvent::Stream { peer, room, stream } if room == RAFT => drop(raft.try_send((peer, stream))),
            MeshEvent::Gossip { from, topic, bytes, token } if topic == ENTRIES => {
                let (verdict, intake) = judge(&here, from, &bytes);
                mesh.settle(token, verdict);
                if let Some(intake) = intake
                    && engine.take(intake).await.is_err()
                {
                    return;
                }
            }
            MeshEvent::Gossip { token, .. } => mesh.settle(token, Verdict::Ignore),
            MeshEvent::Join { peer, request, reply } => {
                let admitter = admitter.clone();
                let admit = async move {
                    // one at a time: a ticket's uses are counted
                    let answer = admitter.lock().await.admit(peer, request).await;
                    let _ = reply.send(answer);
                };
                world.spawn("join", admit);
            }
            MeshEvent::Addresses { peer, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let mut batch = Batch::new();
                batch.put(Table::Peers, peer.as_bytes(), &rows::encode(&addresses));
                // where a peer is can be told again
                let _ = keep.try_send(batch);
            }
            MeshEvent::Beat { peer, body } if !open.contains_key(&peer) => {
                if let Some(addresses) = whereabouts.heard(peer, &body) {
                    mesh.know(peer, addresses);
                }
            }
            MeshEvent::OtherMesh { address, peer } => here.notices.note(
                "other_mesh",
                address.to_string(),
                format!("{address} ({peer}) belongs to another mesh"),
                "remove it from the bootstrap addresses, or join its mesh with a ticket",
            ),
            MeshEvent::Refused { peer, by_us, reason } => {
                let who = if by_us { "this node" } else { "the peer" };
                tracing::info!(peer = %peer.short(), %reason, "{who} refused to open");
            }
            _ => {}
        }
    }
}

/// Writes down where peers are, one after the other.
async fn keep_peers(engine: EngineHandle, mut kept: mpsc::Receiver<Batch>) {
    while let Some(batch) = kept.recv().await {
        if engine.run(Command::Keep(batch)).await.is_err() {
            return;
        }
    }
}

/// Opens the sync stream and opens it again whenever it breaks, as long as the peer is open.
async fn keep_in_sync(here: Arc<Syncing>, peer: Did, mut closed: watch::Receiver<()>) {
    loop {
        let once = async {
            match here.mesh.open(peer, &SYNC).await {
                Ok(stream) => report(&here, peer, &sync(&here, peer, stream).await),
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

/// Says why a sync ended; one that broke a rule costs the peer its connection.
fn report(here: &Syncing, peer: Did, error: &SyncError) {
    if error.is_misbehaviour() {
        let hint = "update that node, or ask its owner what it runs";
        here.notices.note("misbehaving_peer", peer.to_string(), format!("{peer}: {error}"), hint);
        here.mesh.disconnect(peer);
    } else {
        tracing::debug!(peer = %peer.short(), reason = %error, "sync ended");
    }
}

/// Whether a gossiped entry is worth passing on, and taking.
fn judge(here: &Syncing, from: Did, bytes: &[u8]) -> (Verdict, Option<Intake>) {
    let Ok(frame) = EntryFrame::decode(bytes) else { return (Verdict::Reject, None) };
    let said = Said::beside(std::slice::from_ref(&frame));
    let entry = match frame.parse() {
        Ok(entry) => entry,
        Err(EntryError::TooNew { .. }) => return (Verdict::Ignore, None),
        Err(_) => return (Verdict::Reject, None),
    };
    let held = here.store.snapshot().and_then(|snapshot| ledger::find_entry(&snapshot, entry.id()));
    match held {
        Ok(None) => {}
        Ok(Some(_)) => return (Verdict::Accept, None),
        Err(_) => return (Verdict::Ignore, None),
    }
    // what was emptied says nothing, and what of ours is not here is for sync to show
    if entry.payload().is_none() || entry.header().author == here.identity.me() {
        return (Verdict::Ignore, None);
    }
    match entry.verify(&here.identity.mesh()) {
        Ok(entry) => {
            // a newcomer's credential may still be on its way; others' are nobody's to pass on
            let verdict =
                if here.identity.is_member(&entry.header().author) { Verdict::Accept } else { Verdict::Ignore };
            let entries = vec![entry];
            let of_traces = said.of(&entries, from, Way::Gossip);
            (verdict, Some(Intake::Entries { from, entries, of_traces }))
        }
        Err(_) => (Verdict::Reject, None),
    }
}

/// Publishes our own new entries, as far as there is somebody who would not get them by sync.
pub(crate) async fn publish(here: Arc<Syncing>, mut entries: mpsc::Receiver<Vec<u8>>) {
    while let Some(entry) = entries.recv().await {
        let others = here.identity.members().len().saturating_sub(1);
        if entry.len() <= GOSSIPED_BYTES_MAX && here.sessions.live() < others {
            // a hint: whoever misses it gets it by sync
            let _ = here.mesh.publish(ENTRIES, entry).await;
        }
    }
}

/// The peers kept from earlier, to dial.
pub(crate) fn known_peers(
    view: &dyn crate::store::View,
) -> Result<Vec<(Did, Vec<Multiaddr>)>, crate::store::StoreError> {
    let mut peers = Vec::new();
    view.scan(Table::Peers, crate::store::ALL_KEYS, crate::store::Order::Forward, &mut |key, value| {
        if let (Ok(did), Ok(addresses)) = (key.try_into(), rows::decode::<Vec<String>>(Table::Peers, value)) {
            let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
            peers.push((Did::from_bytes(did), addresses));
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(peers)
}
