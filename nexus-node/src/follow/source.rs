use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::Members;
use nexus_identity::{Did, Timestamp};
use tokio::sync::watch;

use crate::NodeError;
use crate::identity::Identity;
use crate::ledger::rows::Eno;
use crate::memory::cursor::StoreName;
use crate::memory::read::Reader;
use crate::store::{Snapshot, Store};
use crate::world::World;

/// The state that a follower reads.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Store,
    pub(crate) store_name: StoreName,
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) committed: watch::Receiver<Eno>,
}

impl Source {
    /// The source as this node sees it now, for work on another thread.
    pub(crate) fn vantage(&self) -> Vantage {
        let (me, members, now) = (self.identity.me(), self.identity.members(), self.world.wall());
        Vantage { store: self.store.clone(), store_name: self.store_name, me, members, now }
    }

    /// All that is committed until now counts as seen: [`more`](Self::more) waits for what comes after it.
    pub(crate) fn mark_seen(&mut self) {
        self.committed.mark_unchanged();
    }

    /// Waits until more is committed. Returns whether the node goes on.
    pub(crate) async fn moved(&mut self) -> bool {
        self.committed.changed().await.is_ok()
    }

    /// The same, and then so long for further commits, which are followed together.
    pub(crate) async fn more(&mut self, gather: Duration) -> bool {
        if !self.moved().await {
            return false;
        }
        tokio::time::sleep(gather).await;
        true
    }
}

/// The committed state, and how this node sees it at a time.
pub(crate) struct Vantage {
    store: Store,
    store_name: StoreName,
    me: Did,
    members: Arc<Members>,
    now: Timestamp,
}

impl Vantage {
    /// Reads the state as it is committed now. May block.
    pub(crate) fn read<T, E: From<NodeError>>(
        &self,
        read: impl FnOnce(&Snapshot, &Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let snapshot = self.store.snapshot().map_err(NodeError::from)?;
        let reader = Reader::new(&snapshot, self.store_name, self.me, self.members.clone(), self.now);
        read(&snapshot, &reader?)
    }

    /// The number of the last entry. May block.
    pub(crate) fn last_eno(&self) -> Result<Eno, NodeError> {
        Ok(crate::ledger::last_eno(&self.store.snapshot()?)?)
    }
}
