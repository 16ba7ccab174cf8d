use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

use super::view::{ALL_KEYS, Order, Row, View};
use super::{Snapshot, StoreError, Table};

/// The size from which on a portion is full, in bytes. A row is never split.
const PORTION_BYTES: usize = 256 << 10;

/// The rows of some tables at one moment, in portions of about 256 KiB.
///
/// It keeps the pages of that moment in the file until it is dropped.
#[derive(Debug)]
pub struct Portions {
    view: Snapshot,
    tables: VecDeque<Table>,
    /// The last key handed out of the first table.
    after: Option<Vec<u8>>,
}

impl Portions {
    /// All rows of these tables in one state, in the order of the tables and of the keys.
    pub fn new(view: Snapshot, tables: impl IntoIterator<Item = Table>) -> Self {
        Self { view, tables: tables.into_iter().collect(), after: None }
    }

    /// The next rows, all of one table; `None` after the last ones. Blocks for the disk.
    ///
    /// # Errors
    /// An error of the store.
    pub fn next_portion(&mut self) -> Result<Option<(Table, Vec<Row>)>, StoreError> {
        while let Some(&table) = self.tables.front() {
            let range = match self.after.as_deref() {
                Some(after) => (Bound::Excluded(after), Bound::Unbounded),
                None => ALL_KEYS,
            };
            let (mut rows, mut bytes) = (Vec::new(), 0);
            self.view.scan(table, range, Order::Forward, &mut |key, value| {
                bytes += key.len() + value.len();
                rows.push((key.to_vec(), value.to_vec()));
                if bytes < PORTION_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if bytes < PORTION_BYTES {
                self.tables.pop_front();
                self.after = None;
            } else {
                self.after = rows.last().map(|(key, _)| key.clone());
            }
            if !rows.is_empty() {
                return Ok(Some((table, rows)));
            }
        }
        Ok(None)
    }
}
