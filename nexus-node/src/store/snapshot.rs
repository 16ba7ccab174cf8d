use std::ops::Range;
use std::sync::{Arc, OnceLock};

use redb::ReadableTableMetadata;

use super::guard::guarded;
use super::readers::{Reader, Readers};
use super::seal::{unseal, unsealed};
use super::view::{self, KeyRange, Order, View, Visit};
use super::{Checksum, OpenStore, StoreDamage, StoreError, Table};

type ReadTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// How often a read goes on in a store that was opened again. A writer waits for seconds after a commit without room.
const TRIES: usize = 64;

/// The committed state at one moment. Later commits do not change it.
///
/// Cheap to take: the snapshots between two commits share one state, whose tables are opened when they
/// are first read. A snapshot keeps its pages in the file: hold it for the time of one question, not
/// for hours.
pub struct Snapshot {
    opened: Arc<Opened>,
    store: Arc<OpenStore>,
    /// Keeps the file of this state whole, although a compaction has replaced it.
    _reader: Reader,
}

/// A committed state with the tables that were read so far.
pub(super) struct Opened {
    /// `None` inside is a table that does not exist yet, and has no rows.
    tables: [OnceLock<Option<ReadTable>>; Table::COUNT],
    transaction: redb::ReadTransaction,
    number: u64,
    /// The number of times that the store had been opened again.
    reopened: u64,
    /// The number of commits that this state has, at least.
    commits: u64,
    readers: Arc<Readers>,
}

impl Opened {
    pub(super) fn new(
        transaction: redb::ReadTransaction,
        number: u64,
        reopened: u64,
        commits: u64,
        readers: Arc<Readers>,
    ) -> Self {
        Self { tables: [const { OnceLock::new() }; Table::COUNT], transaction, number, reopened, commits, readers }
    }
}

impl Snapshot {
    pub(super) fn new(store: &Arc<OpenStore>) -> Result<Self, StoreError> {
        let mut since = store.times_opened_again();
        let mut opened = store.latest();
        for _ in 0..TRIES {
            // a commit has just found no room
            if opened.is_ok() || !store.is_opened_again_since(since) {
                break;
            }
            store.wait_for_commit();
            since = store.times_opened_again();
            opened = store.latest();
        }
        for _ in 0..TRIES {
            if let Some(snapshot) = Self::of(&opened?, store) {
                return Ok(snapshot);
            }
            // a compaction has replaced the file since
            opened = store.latest();
        }
        Err(StoreError::Reopened { file: store.file.clone() })
    }

    /// A state that was read before; `None` once a compaction has taken its file away.
    pub(super) fn of(opened: &Arc<Opened>, store: &Arc<OpenStore>) -> Option<Self> {
        let reader = opened.readers.enter()?;
        Some(Self { opened: Arc::clone(opened), store: Arc::clone(store), _reader: reader })
    }

    /// The state, which keeps no file.
    pub(super) fn at_rest(&self) -> Arc<Opened> {
        Arc::clone(&self.opened)
    }

    /// The number of rows of a table.
    pub(super) fn count(&self, table: Table) -> Result<u64, StoreError> {
        let Some(rows) = self.table(table)? else { return Ok(0) };
        guarded(&self.store.file, Some(table), || rows.len().map_err(|error| self.fault(table, error)))
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
            Err(error) => Err(self.fault(table, error)),
        })?;
        Ok(slot.get_or_init(|| opened).as_ref())
    }

    /// The same state in the database that is open now, if a full disk has the store opened again.
    fn again(&self) -> Option<Self> {
        let again = self.store.opened_again(self.opened.reopened)?;
        (again.opened.commits == self.opened.commits).then_some(again)
    }

    /// The answer of this state, or of the same state once the store was opened again.
    fn answer<T>(&self, ask: impl Fn(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut answer = ask(self);
        for _ in 0..TRIES {
            let Err(StoreError::Reopened { .. }) = answer else { break };
            let Some(again) = self.again() else { break };
            answer = ask(&again);
        }
        answer
    }

    /// The fault of a read. A store that a full disk has opened again lost nothing, but reads this state no more.
    fn fault(&self, table: Table, error: impl Into<redb::Error>) -> StoreError {
        if self.store.is_opened_again_since(self.opened.reopened) {
            return StoreError::Reopened { file: self.store.file.clone() };
        }
        StoreError::from_redb(&self.store.file, Some(table), error)
    }

    fn verified<'a>(&self, table: Table, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
        unseal(table, key, stored).ok_or_else(|| StoreError::damaged(&self.store.file, Some(table), StoreDamage::Value))
    }
}

impl View for Snapshot {
    fn state(&self) -> Option<u64> {
        Some(self.opened.number)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.answer(|this| {
            let Some(rows) = this.table(table)? else { return Ok(None) };
            guarded(&this.store.file, Some(table), || {
                let found = rows.get(key).map_err(|error| this.fault(table, error))?;
                found.map(|stored| this.verified(table, key, stored.value()).map(<[u8]>::to_vec)).transpose()
            })
        })
    }

    fn get_part(
        &self,
        table: Table,
        key: &[u8],
        part: Range<usize>,
        checksum: Checksum,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.answer(|this| {
            let Some(rows) = this.table(table)? else { return Ok(None) };
            let file = &this.store.file;
            guarded(file, Some(table), || {
                let found = rows.get(key).map_err(|error| this.fault(table, error))?;
                let Some(stored) = found else { return Ok(None) };
                let part = unsealed(stored.value()).and_then(|value| view::checked_part(value, part.clone(), checksum));
                part.map(Some).ok_or_else(|| StoreError::damaged(file, Some(table), StoreDamage::Part))
            })
        })
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if view::is_empty(range) {
            return Ok(());
        }
        let mut shown = 0;
        let mut scanned = self.scan_past(0, table, range, order, &mut shown, visit);
        for _ in 0..TRIES {
            let Err(StoreError::Reopened { .. }) = scanned else { break };
            let Some(again) = self.again() else { break };
            // the same rows in the same order
            scanned = again.scan_past(shown, table, range, order, &mut shown, visit);
        }
        scanned
    }
}

impl Snapshot {
    /// Shows the rows behind so many first ones, and counts those that it shows.
    fn scan_past(
        &self,
        mut first: u64,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        shown: &mut u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let Some(rows) = self.table(table)? else { return Ok(()) };
        let file = &self.store.file;
        let damage = |error| self.fault(table, error);
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
            let value = self.verified(table, key, value)?;
            if let Some(left) = first.checked_sub(1) {
                first = left;
                continue;
            }
            *shown += 1;
            if visit(key, value).is_break() {
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
