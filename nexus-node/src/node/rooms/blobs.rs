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
            let (view, mut attached) = (rows.snapshot()?, BTreeSet::new());
            for hash in hashes {
                if ledger::is_attached(&view, hash.as_bytes())? {
                    attached.insert(*hash);
                }
            }
            Ok(attached)
        });
        let (rows, members) = (base.store.clone(), base.identity.clone());
        let may_have = Box::new(move |peer: &Did, hashes: &[BlobHash]| {
            let (view, members, mut may_have) = (rows.snapshot()?, members.members(), BTreeSet::new());
            for hash in hashes {
                if ledger::may_have(&view, &members, peer, hash.as_bytes())? {
                    may_have.insert(*hash);
                }
            }
            Ok(may_have)
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
