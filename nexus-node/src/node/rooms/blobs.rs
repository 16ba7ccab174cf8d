//! Content by its hash.

use std::collections::BTreeSet;

use nexus_identity::Did;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Rooms, Stream};

use crate::blobs::{self, BlobHash, Blobs, Handles, MemoryBlobs, Shelf};
use crate::datadir::DataDir;
use crate::error::NodeError;
use crate::ledger;
use crate::node::base::Base;
use crate::store::StoreError;

pub(in crate::node) struct Port(Receiver<Stream>);

impl Port {
    pub(in crate::node) fn register(rooms: &mut Rooms) -> Self {
        Self(blobs::register(rooms))
    }

    /// Opens the blobs of a data directory, or takes those of a node without a disk.
    pub(in crate::node) async fn start(
        self,
        base: &Base,
        dir: Option<&DataDir>,
        in_memory: MemoryBlobs,
    ) -> Result<Blobs, NodeError> {
        let (world, root) = (&base.world, dir.map(DataDir::blobs_path));
        let shelf = world.blocking(move || root.map_or_else(|| Ok(Shelf::Memory(in_memory)), Shelf::open)).await??;
        let rows = base.store.clone();
        let attached = Box::new(move |hashes: &[BlobHash]| {
            let view = rows.snapshot()?;
            chosen(hashes, |hash| ledger::is_attached(&view, hash))
        });
        let (rows, identity) = (base.store.clone(), base.identity.clone());
        let may_have = Box::new(move |peer: &Did, hashes: &[BlobHash]| {
            let (view, members) = (rows.snapshot()?, identity.members());
            chosen(hashes, |hash| ledger::may_have(&view, &members, peer, hash))
        });
        let blobs = Blobs::new(Handles {
            identity: base.identity.clone(),
            world: world.clone(),
            mesh: base.mesh.clone(),
            sessions: base.sessions.clone(),
            shelf,
            headroom: base.engine.headroom().clone(),
            attached,
            may_have,
            kept_for_each: base.config.blob_copies_bytes.get(),
        });
        world.spawn("blobs", blobs.clone().serve(self.0));
        world.spawn("copies of blobs", blobs.clone().keep_copies());
        world.spawn("whole blobs", blobs.clone().keep_whole());
        world.spawn("room for blobs", blobs.clone().keep_bound(base.config.blob_cache_bytes.get()));
        Ok(blobs)
    }
}

/// The blobs of which something holds.
fn chosen(
    hashes: &[BlobHash],
    holds: impl Fn(&[u8; 32]) -> Result<bool, StoreError>,
) -> Result<BTreeSet<BlobHash>, StoreError> {
    let mut chosen = BTreeSet::new();
    for hash in hashes {
        if holds(hash.as_bytes())? {
            chosen.insert(*hash);
        }
    }
    Ok(chosen)
}
