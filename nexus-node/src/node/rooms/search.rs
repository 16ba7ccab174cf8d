//! The index of words.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::NodeError;
use crate::node::base::Base;
use crate::search::{Kept, Search, keep_up};
use crate::world::World;

/// An index that is open, and does not follow the log yet.
pub(in crate::node) struct Port(Arc<Search>);

impl Port {
    /// Opens the index on disk, or in memory if that fails. In memory it only costs time and memory.
    pub(in crate::node) async fn open(
        world: &World,
        dir: Option<PathBuf>,
        store_name: [u8; 8],
    ) -> Result<Self, NodeError> {
        let open = move || {
            let disk = dir.filter(|_| Search::ON_DISK).and_then(|dir| match Kept::open(&dir, store_name) {
                Ok(disk) => Some(disk),
                Err(error) => {
                    tracing::warn!(%error, dir = %dir.display(), "the search index is kept in memory");
                    None
                }
            });
            Search::new(disk)
        };
        Ok(Self(Arc::new(world.blocking(open).await?)))
    }

    pub(in crate::node) fn start(self, base: &Base) -> Arc<Search> {
        base.world.spawn("search index", keep_up(self.0.clone(), base.source()));
        self.0
    }
}
