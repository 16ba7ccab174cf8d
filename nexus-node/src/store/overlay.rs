use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use super::snapshot::Opened;
use super::view::{self, KeyRange, Order, View, Visit};
use super::{Batch, Snapshot, Store, StoreError, Table, TableChange};

/// The committed state with the batches on top that are handed out but not committed yet. So the engine
/// reads its own writes at once.
///
/// Batches carry the number of their commit. The numbers never fall, and several batches may share one.
pub struct Overlay {
    store: Store,
    /// It rests while nobody reads, so that no compaction waits for a node at rest.
    committed: RwLock<Arc<Opened>>,
    changes: Changes,
    pending: VecDeque<PushedKeys>,
}

/// The keys of one pushed batch, so that it can be dropped without a search.
#[derive(Debug)]
struct PushedKeys {
    commit_no: u64,
    keys: Vec<(Table, Arc<[u8]>)>,
    cleared: Vec<Table>,
}

impl Overlay {
    /// The committed state of a store, with nothing on top.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let committed = RwLock::new(store.snapshot()?.at_rest());
        Ok(Self { store, committed, changes: Changes::default(), pending: VecDeque::new() })
    }

    /// Lays a batch on top.
    ///
    /// # Panics
    /// In debug builds, if `commit_no` is smaller than that of a batch pushed before.
    pub fn push(&mut self, commit_no: u64, batch: &Batch) {
        debug_assert!(self.pending.back().is_none_or(|last| last.commit_no <= commit_no), "commit numbers go up");
        let mut touched = PushedKeys { commit_no, keys: Vec::with_capacity(batch.len()), cleared: Vec::new() };
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } => {
                    touched.keys.push((table, self.changes.set(commit_no, table, key, Some(value))));
                }
                TableChange::Delete { table, key } => {
                    touched.keys.push((table, self.changes.set(commit_no, table, key, None)));
                }
                TableChange::Clear { table } => {
                    self.changes.clear(commit_no, table);
                    touched.cleared.push(table);
                }
            }
        }
        self.pending.push_back(touched);
    }

    /// Removes the batches up to this commit, which are in the store now, and reads the store anew.
    ///
    /// # Errors
    /// As [`Store::snapshot`]; the overlay is then unchanged.
    pub fn committed(&mut self, up_to: u64) -> Result<(), StoreError> {
        *self.committed.get_mut().unwrap_or_else(PoisonError::into_inner) = self.store.snapshot()?.at_rest();
        while self.pending.front().is_some_and(|touched| touched.commit_no <= up_to) {
            let Some(touched) = self.pending.pop_front() else { break };
            for (table, key) in &touched.keys {
                self.changes.forget(up_to, *table, key);
            }
            for table in touched.cleared {
                self.changes.forget_clear(up_to, table);
            }
        }
        Ok(())
    }

    /// The number of pushed batches that are not committed yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The committed state. After a compaction it is a later one, which may have batches that still lie on top: these say the
    /// same there.
    fn base(&self) -> Result<Snapshot, StoreError> {
        let committed = Arc::clone(&*self.committed.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(snapshot) = Snapshot::of(&committed, &self.store.0) {
            return Ok(snapshot);
        }
        let later = self.store.snapshot()?;
        *self.committed.write().unwrap_or_else(PoisonError::into_inner) = later.at_rest();
        Ok(later)
    }
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("store", &self.store)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl View for Overlay {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.changes.get_over(&self.base()?, table, key)
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.changes.scan_over(&self.base()?, table, range, order, visit)
    }
}

/// A batch in the making on top of a view. Reads see its changes.
pub struct Draft<'a> {
    base: &'a dyn View,
    changes: Changes,
    batch: Batch,
}

impl<'a> Draft<'a> {
    /// A draft without changes on top of `base`.
    pub fn new(base: &'a dyn View) -> Self {
        Self { base, changes: Changes::default(), batch: Batch::new() }
    }

    /// As [`Batch::put`].
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.changes.set(0, table, key, Some(value));
        self.batch.put(table, key, value);
    }

    /// As [`Batch::delete`].
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.set(0, table, key, None);
        self.batch.delete(table, key);
    }

    /// As [`Batch::clear`].
    pub fn clear(&mut self, table: Table) {
        self.changes.clear(0, table);
        self.batch.clear(table);
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The changes as a batch.
    pub fn finish(self) -> Batch {
        self.batch
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("changes", &self.batch.len()).finish_non_exhaustive()
    }
}

impl View for Draft<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.changes.get_over(self.base, table, key)
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.changes.scan_over(self.base, table, range, order, visit)
    }
}

/// The newest change of each key, and of each table as a whole.
#[derive(Debug)]
struct Changes {
    tables: [TableChanges; Table::COUNT],
}

#[derive(Debug, Default)]
struct TableChanges {
    /// The last commit that cleared the table, which hides all rows below.
    cleared: Option<u64>,
    rows: BTreeMap<Arc<[u8]>, Row>,
}

#[derive(Debug)]
struct Row {
    commit_no: u64,
    /// `None` for a deleted key, which hides the row below.
    value: Option<Box<[u8]>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { tables: std::array::from_fn(|_| TableChanges::default()) }
    }
}

impl Changes {
    fn set(&mut self, commit_no: u64, table: Table, key: &[u8], value: Option<&[u8]>) -> Arc<[u8]> {
        let key: Arc<[u8]> = key.into();
        let row = Row { commit_no, value: value.map(Into::into) };
        self.tables[table.index()].rows.insert(Arc::clone(&key), row);
        key
    }

    fn clear(&mut self, commit_no: u64, table: Table) {
        self.tables[table.index()] = TableChanges { cleared: Some(commit_no), rows: BTreeMap::new() };
    }

    fn forget(&mut self, up_to: u64, table: Table, key: &[u8]) {
        let rows = &mut self.tables[table.index()].rows;
        if rows.get(key).is_some_and(|row| row.commit_no <= up_to) {
            rows.remove(key);
        }
    }

    fn forget_clear(&mut self, up_to: u64, table: Table) {
        self.tables[table.index()].cleared.take_if(|commit_no| *commit_no <= up_to);
    }

    fn get_over(&self, base: &dyn View, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let changes = &self.tables[table.index()];
        match changes.rows.get(key) {
            Some(row) => Ok(row.value.as_deref().map(<[u8]>::to_vec)),
            None if changes.cleared.is_some() => Ok(None),
            None => base.get(table, key),
        }
    }

    /// Merges both sides while walking the base: changed rows come at their place in the order, and
    /// replace base rows of the same key.
    fn scan_over(
        &self,
        base: &dyn View,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        if view::is_empty(range) {
            return Ok(());
        }
        let changes = &self.tables[table.index()];
        if changes.rows.is_empty() && changes.cleared.is_none() {
            return base.scan(table, range, order, visit);
        }
        let mut rows = changes.rows.range::<[u8], _>(range);
        let mut next = move || match order {
            Order::Forward => rows.next(),
            Order::Backward => rows.next_back(),
        };
        let mut upper = next();
        let mut flow = ControlFlow::Continue(());
        if changes.cleared.is_none() {
            base.scan(table, range, order, &mut |key, value| {
                while let Some((changed, row)) = upper {
                    let precedes = match order {
                        Order::Forward => **changed < *key,
                        Order::Backward => **changed > *key,
                    };
                    if !precedes {
                        break;
                    }
                    upper = next();
                    if let Some(value) = &row.value {
                        flow = visit(changed, value);
                        flow?;
                    }
                }
                flow = match upper {
                    Some((changed, row)) if **changed == *key => {
                        upper = next();
                        row.value.as_deref().map_or(ControlFlow::Continue(()), |value| visit(key, value))
                    }
                    _ => visit(key, value),
                };
                flow
            })?;
        }
        while let (ControlFlow::Continue(()), Some((key, row))) = (flow, upper) {
            if let Some(value) = &row.value {
                flow = visit(key, value);
            }
            upper = next();
        }
        Ok(())
    }
}
