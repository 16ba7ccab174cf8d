use std::sync::Arc;
use std::time::Duration;

use super::{Search, Source};
use crate::NodeError;
use crate::memory::read::Reader;

/// Memories written to disk at a time: a bound on memory.
const MEMORIES_PER_PASS: usize = 2_000;
/// How long changes gather before they are written to disk.
const GATHER: Duration = Duration::from_millis(500);
/// The time without changes after which the writer is dropped.
const REST_AFTER: Duration = Duration::from_secs(5);

/// Brings the index on disk up to the committed state again and again, until the node stops.
pub(crate) async fn keep_up(search: Arc<Search>, mut source: Source) {
    if search.disk.is_none() {
        return;
    }
    loop {
        source.committed.mark_unchanged();
        let (at, reading) = (search.clone(), source.reading());
        match source.world.blocking(move || at.write_some(&reading)).await {
            Ok(Ok(true)) => continue,
            Ok(Ok(false)) => {}
            Ok(Err(NodeError::Stopping(_))) | Err(_) => return,
            Ok(Err(error)) => tracing::warn!(%error, "the search index stands still"),
        }
        match tokio::time::timeout(REST_AFTER, source.committed.changed()).await {
            Ok(Ok(())) => tokio::time::sleep(GATHER).await,
            Ok(Err(_)) => return,
            Err(_) => {
                let at = search.clone();
                let _ = source.world.blocking(move || at.rest()).await;
                if source.committed.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
            }
        }
    }
}

/// The sources of one pass.
struct Reading {
    store: crate::store::Store,
    store_name: [u8; 8],
    me: nexus_identity::Did,
    members: Arc<nexus_crdt::Members>,
    now: nexus_identity::Timestamp,
}

impl Source {
    fn reading(&self) -> Reading {
        let (me, members, now) = (self.identity.me(), self.identity.members(), self.world.wall());
        Reading { store: self.store.clone(), store_name: self.store_name, me, members, now }
    }
}

impl Search {
    /// Moves some changes to disk. Returns whether more are left.
    fn write_some(&self, from: &Reading) -> Result<bool, NodeError> {
        let Some(disk) = self.disk.as_ref().map(super::Kept::index) else { return Ok(false) };
        let snapshot = from.store.snapshot()?;
        let reader = Reader::new(&snapshot, from.store_name, from.me, from.members.clone(), from.now)?;
        let (stock, covers) = {
            let mut tail = self.tail();
            tail.catch_up(&snapshot, &reader, MEMORIES_PER_PASS)?;
            tail.take_stock()
        };
        if covers > disk.covered() {
            if let Err(error) = super::disk::guarded(|| disk.update(stock, covers)) {
                // a full disk is no damage: what is there is searched on
                let Some(kept) = self.disk.as_ref().filter(|_| disk.is_damaged()) else {
                    disk.rest();
                    return Err(error.into());
                };
                self.renew(kept, &disk, &error)?;
                return Ok(true);
            }
            self.tail().prune(covers);
        }
        let last = crate::ledger::last_eno(&snapshot)?;
        Ok(last > covers)
    }

    fn rest(&self) {
        if let Some(disk) = &self.disk {
            disk.index().rest();
        }
    }
}
