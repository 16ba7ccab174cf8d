use std::path::Path;

use redb::ReadableTableMetadata;

use super::seal::{SEAL_BYTES, seal};
use super::{Batch, StoreError, Table, TableChange};

type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A write transaction in progress: each table is opened once, when the first change needs it.
pub(super) struct Writing<'t> {
    file: &'t Path,
    transaction: &'t redb::WriteTransaction,
    opened: [Option<WriteTable<'t>>; Table::COUNT],
}

impl<'t> Writing<'t> {
    pub(super) fn new(file: &'t Path, transaction: &'t redb::WriteTransaction) -> Self {
        Self { file, transaction, opened: [const { None }; Table::COUNT] }
    }

    pub(super) fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } => self.put(table, key, value)?,
                TableChange::Delete { table, key } => {
                    let file = self.file;
                    self.rows(table)?.remove(key).map_err(|error| StoreError::from_redb(file, Some(table), error))?;
                }
                TableChange::Clear { table } => {
                    self.opened[table.index()] = None;
                    let deleted = self.transaction.delete_table(table.definition());
                    deleted.map_err(|error| StoreError::from_redb(self.file, Some(table), error))?;
                }
            }
        }
        Ok(())
    }

    /// The number of rows of a table.
    pub(super) fn count(&mut self, table: Table) -> Result<u64, StoreError> {
        let file = self.file;
        self.rows(table)?.len().map_err(|error| StoreError::from_redb(file, Some(table), error))
    }

    pub(super) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let file = self.file;
        let reserved = self.rows(table)?.insert_reserve(key, value.len() + SEAL_BYTES);
        let mut stored = reserved.map_err(|error| StoreError::from_redb(file, Some(table), error))?;
        let (to_value, to_seal) = stored.as_mut().split_at_mut(value.len());
        to_value.copy_from_slice(value);
        to_seal.copy_from_slice(&seal(table, key, value));
        Ok(())
    }

    fn rows(&mut self, table: Table) -> Result<&mut WriteTable<'t>, StoreError> {
        match &mut self.opened[table.index()] {
            Some(rows) => Ok(rows),
            slot => {
                let opened = self.transaction.open_table(table.definition());
                Ok(slot.insert(opened.map_err(|error| StoreError::from_redb(self.file, Some(table), error))?))
            }
        }
    }
}
