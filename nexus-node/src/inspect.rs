//! What tests of other crates read off a store without a node on it (feature `testing`).

use std::sync::Arc;

use nexus_crdt::{Frontier, Members};
use nexus_identity::{Did, Timestamp};

use crate::NodeError;
use crate::brain::read::Reader;
use crate::ledger;
use crate::memory::{ListQuery, Memory};
use crate::store::{StoreError, View};

/// How far a store holds each log.
///
/// # Errors
/// The view's.
pub fn frontier(view: &dyn View) -> Result<Frontier, StoreError> {
    let logs = ledger::read_logs(view)?;
    Ok(logs.into_iter().filter_map(|(_, log, head)| Some((log, head?))).collect())
}

/// Every memory that a store shows to one of its members, newest first; nothing has expired.
///
/// # Errors
/// The view's.
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
