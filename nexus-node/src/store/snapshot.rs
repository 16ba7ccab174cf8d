use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::guard::guarded;
use super::seal::{unseal, unsealed};
use super::view::{self, KeyRange, Order, View, Visit};
use super::{Checksum, OpenStore, StoreDamage, StoreError, Table};

type ReadTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The committed state at one moment. Later commits do not change it.
///
/// Cheap to take: the snapshots between two commits share one state, whose tables are opened when they
/// are first read. A snapshot keeps its pages in the file: hold it for the time of one question, not
/// for hours.
pub struct Snapshot {
    opened: Arc<Opened>,
    store: Arc<OpenStore>,
}

/// A committed state with the tables that were read so far.
pub(super) struct Opened {
    /// `None` inside is a table that does not exist yet, and has no rows.
    tables: [OnceLock<Option<ReadTable>>; Table::COUNT],
    transaction: redb::ReadTransaction,
    number: u64,
}

impl Opened {
    pub(super) fn new(transaction: redb::ReadTransaction, number: u64) -> Self {
        Self { tables: [const { OnceLock::new() }; Table::COUNT], transaction, number }
    }
}

impl Snapshot {
    pub(super) fn new(store: &Arc<OpenStore>) -> Result<Self, StoreError> {
        Ok(Self { opened: store.latest()?, store: Arc::clone(store) })
    }

    /// The number of this state within the store. Snapshots of one number show the same state. Every
    /// commit begins another number.
    pub fn number(&self) -> u64 {
        self.opened.number
    }

    fn table(&self, table: Table) -> Result<Option<&ReadTable>, StoreError> {
        self.store.check()?;
        let slot = &self.opened.tables[table.index()];
        if let Some(opened) = slot.get() {
            return Ok(opened.as_ref());
        }
        let file = &self.store.file;
        let transaction = &self.opened.transaction;
        let opened = guarded(file, Some(table), || match transaction.open_table(table.definition()) {
            Ok(opened) => Ok(Some(opened)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(StoreError::from_redb(file, Some(table), error)),
        })?;
        Ok(slot.get_or_init(|| opened).as_ref())
    }

    fn verified<'a>(&self, table: Table, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
        unseal(table, key, stored).ok_or_else(|| StoreError::damaged(&self.store.file, Some(table), StoreDamage::Value))
    }
}

impl View for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(rows) = self.table(table)? else { return Ok(None) };
        let file = &self.store.file;
        guarded(file, Some(table), || {
            let found = rows.get(key).map_err(|error| StoreError::from_redb(file, Some(table), error))?;
            found.map(|stored| self.verified(table, key, stored.value()).map(<[u8]>::to_vec)).transpose()
        })
    }

    fn get_part(
        &self,
        table: Table,
        key: &[u8],
        part: Range<usize>,
        checksum: Checksum,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(rows) = self.table(table)? else { return Ok(None) };
        let file = &self.store.file;
        guarded(file, Some(table), || {
            let found = rows.get(key).map_err(|error| StoreError::from_redb(file, Some(table), error))?;
            let Some(stored) = found else { return Ok(None) };
            let part = unsealed(stored.value()).and_then(|value| view::checked_part(value, part, checksum));
            part.map(Some).ok_or_else(|| StoreError::damaged(file, Some(table), StoreDamage::Part))
        })
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if view::is_empty(range) {
            return Ok(());
        }
        let Some(rows) = self.table(table)? else { return Ok(()) };
        let file = &self.store.file;
        let damage = |error| StoreError::from_redb(file, Some(table), error);
        let mut rows = guarded(file, Some(table), || rows.range::<&[u8]>(range).map_err(damage))?;
        // Only the reading is guarded: a panic of the visitor is passed on.
        loop {
            let row = guarded(file, Some(table), || {
                let row = match order {
                    Order::Forward => rows.next(),
                    Order::Backward => rows.next_back(),
                };
                row.transpose().map_err(damage)
            })?;
            let Some((key, stored)) = row else { return Ok(()) };
            let (key, value) = guarded(file, Some(table), || Ok((key.value(), stored.value())))?;
            if visit(key, self.verified(table, key, value)?).is_break() {
                return Ok(());
            }
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("file", &self.store.file).finish_non_exhaustive()
    }
}
