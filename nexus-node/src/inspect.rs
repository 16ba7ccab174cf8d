//! Reads a store without a node, for tests of other crates (feature `testing`).

use std::sync::Arc;

use nexus_crdt::{Frontier, Members};
use nexus_identity::{Did, Timestamp};

use crate::NodeError;
use crate::ledger;
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory};
use crate::store::{StoreError, View};

/// The frontier of a store.
///
/// # Errors
/// An error of the view.
pub fn frontier(view: &dyn View) -> Result<Frontier, StoreError> {
    let logs = ledger::read_logs(view)?;
    Ok(logs.into_iter().filter_map(|(_, log, head)| Some((log, head?))).collect())
}

/// Every memory that a store shows to one of its members, newest first. Expired ones are included.
///
/// # Errors
/// An error of the view.
pub fn memories(view: &dyn View, me: Did, members: Arc<Members>) -> Result<Vec<Memory>, NodeError> {
    let reader = Reader::new(view, [0; 8], me, members, Timestamp::from_ms(0))?;
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = reader.list(&ListQuery { limit: 1_000, after, ..ListQuery::default() })?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
