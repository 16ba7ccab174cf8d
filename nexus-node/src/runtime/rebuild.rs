use std::ops::{Bound, ControlFlow};

use nexus_identity::Keypair;

use crate::engine::{self, Engine};
use crate::ledger::rows::{self, Eno};
use crate::ledger::{LedgerError, last_eno, next_migration, read_genesis};
use crate::store::{Order, Store, Table, View};

/// Entries settled, or rows migrated, per commit.
const CHUNK_ENTRIES: usize = 1_000;
/// Stores with at least this many entries report their progress.
const LARGE_ENTRIES: u64 = 20_000;

/// Migrates a store's rows to the current format. Rebuilds the derived tables if they are missing or of
/// another version. Returns the number of settled entries.
///
/// An interrupted run goes on at the next start.
///
/// # Errors
/// An error of the store, or unreadable entries.
pub(crate) fn bring_up_to_date(key: &Keypair, store: &Store) -> Result<u64, LedgerError> {
    let genesis = read_genesis(&store.snapshot()?)?.ok_or(LedgerError::NoGenesis)?;
    let of = last_eno(&store.snapshot()?)?;
    let mut progress = Progress::of("rows are brought to this version's format", of);
    while let Some(batch) = next_migration(&store.snapshot()?, CHUNK_ENTRIES)? {
        progress.more(batch.len() as u64);
        store.commit(&[batch])?;
    }
    if engine::is_derived(&store.snapshot()?)? {
        return Ok(0);
    }
    store.commit(&[engine::clear_derived(&genesis.mesh)])?;

    let mut progress = Progress::of("memories are derived anew from their entries", of);
    let mut engine = Engine::open(key.clone(), &store.snapshot()?)?;
    let mut settled = 0;
    let mut next = 1;
    loop {
        let snapshot = store.snapshot()?;
        let enos = some_enos(&snapshot, next)?;
        let Some(last) = enos.last() else { break };
        next = last + 1;
        settled += enos.len() as u64;
        store.commit(&[engine.settle_again(&enos, &snapshot)?])?;
        progress.more(enos.len() as u64);
    }
    store.commit(&[engine::derived_stands()])?;
    Ok(settled)
}

/// Logs the progress of a long task, at most ten times.
struct Progress {
    task: &'static str,
    done: u64,
    of: u64,
}

impl Progress {
    const fn of(task: &'static str, of: u64) -> Self {
        Self { task, done: 0, of }
    }

    fn more(&mut self, entries: u64) {
        if let Some(done) = self.step(entries) {
            tracing::info!(done, of = self.of, "{}", self.task);
        }
    }

    /// Counts so many more entries. The count so far, if it is to be told.
    fn step(&mut self, entries: u64) -> Option<u64> {
        let tenth = |done: u64| done.saturating_mul(10) / self.of.max(1);
        let before = tenth(self.done);
        self.done = self.done.saturating_add(entries).min(self.of);
        (self.of >= LARGE_ENTRIES && tenth(self.done) > before).then_some(self.done)
    }
}

fn some_enos(view: &dyn View, from: Eno) -> Result<Vec<Eno>, LedgerError> {
    let mut enos = Vec::new();
    let start = rows::eno_key(from);
    view.try_scan(Table::Entries, (Bound::Included(&start), Bound::Unbounded), Order::Forward, &mut |key, _| {
        enos.push(rows::read_eno(Table::Entries, key)?);
        Ok(if enos.len() < CHUNK_ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(enos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(of: u64, steps: &[u64]) -> Vec<u64> {
        let mut progress = Progress::of("", of);
        steps.iter().filter_map(|step| progress.step(*step)).collect()
    }

    /// promise: Store and data directory | A long rebuild tells ten times how far it is, a short one does not
    #[test]
    fn a_long_task_tells_ten_times_how_far_it_is() {
        let all = told(LARGE_ENTRIES, &[100; 200]);
        assert_eq!(all, (1..=10).map(|tenth| LARGE_ENTRIES / 10 * tenth).collect::<Vec<_>>());
        assert_eq!(told(LARGE_ENTRIES, &[LARGE_ENTRIES * 2, 1]), [LARGE_ENTRIES], "never more than all");
        assert!(told(LARGE_ENTRIES - 1, &[100; 200]).is_empty());
        assert!(told(0, &[1]).is_empty());
    }
}
