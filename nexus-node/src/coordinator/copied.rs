//! A copy's files as rows, for a backup.
//!
//! The rows are those of a store without a journal: opening one moves its entries into a new journal. A restored
//! copy therefore needs no file but the store.

use super::log::{COPIED, Log, committed_row, without_journal};
use crate::store::{Portions, Row, StoreError, Table};

/// About the number of bytes of entries that are read at once.
const PORTION_BYTES: usize = 256 << 10;

/// The rows of a copy, in portions.
///
/// Entries come first. Those that are purged meanwhile are in the snapshot that comes afterwards, and a restored copy
/// drops what that snapshot has.
pub(crate) struct CopiedRows {
    log: Log,
    /// The next entry; `None` once all were handed out.
    next: Option<u64>,
    committed: Option<Row>,
    rest: Option<Portions>,
}

impl CopiedRows {
    pub(super) fn of(log: Log) -> Self {
        let (next, committed) = log.bounds();
        let committed = committed.map(committed_row);
        Self { log, next: Some(next), committed, rest: None }
    }

    /// The next rows, all of one table; `None` after the last ones.
    pub(crate) async fn next(&mut self) -> Result<Option<(Table, Vec<Row>)>, StoreError> {
        if let Some(next) = self.next {
            let found = self.log.stored_entries(next, PORTION_BYTES).await?;
            if let Some((last, _)) = found.last() {
                self.next = Some(last + 1);
                let rows = found.into_iter().map(|(index, entry)| (index.to_be_bytes().to_vec(), entry));
                return Ok(Some((Table::RaftLog, rows.collect())));
            }
            self.next = None;
            if let Some(committed) = self.committed.take() {
                return Ok(Some((Table::RaftMeta, vec![committed])));
            }
        }
        let mut rest = match self.rest.take() {
            Some(rest) => rest,
            None => Portions::new(self.log.view()?, COPIED),
        };
        let (rows, rest) = self.log.reading(move |_| Ok((rest.next_portion()?, rest))).await?;
        self.rest = Some(rest);
        Ok(rows.map(|(table, rows)| (table, without_journal(table, rows))))
    }
}
