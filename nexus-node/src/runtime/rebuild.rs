use std::ops::{Bound, ControlFlow};

use nexus_identity::Keypair;

use crate::engine::{self, Engine};
use crate::ledger::rows::{self, Eno};
use crate::ledger::{LedgerError, read_genesis};
use crate::store::{Order, Store, Table, View};

/// How many entries are folded per commit.
const CHUNK_ENTRIES: usize = 1_000;

/// Makes the derived tables anew from the entries, if they are missing or of another version.
/// Returns how many entries were folded.
///
/// Interrupted, it starts over at the next start: the version is written last.
///
/// # Errors
/// The store's, or entries that do not read.
pub(crate) fn rebuild(key: &Keypair, store: &Store) -> Result<u64, LedgerError> {
    let snapshot = store.snapshot()?;
    let genesis = read_genesis(&snapshot)?.ok_or(LedgerError::NoGenesis)?;
    if engine::is_derived(&snapshot)? {
        return Ok(0);
    }
    store.commit(&[engine::clear_derived(&genesis.mesh)])?;

    let mut engine = Engine::open(key.clone(), &store.snapshot()?)?;
    let mut folded = 0;
    let mut next = 1;
    loop {
        let snapshot = store.snapshot()?;
        let enos = some_enos(&snapshot, next)?;
        let Some(last) = enos.last() else { break };
        next = last + 1;
        folded += enos.len() as u64;
        store.commit(&[engine.fold_again(&enos, &snapshot)?])?;
    }
    store.commit(&[engine::derived_stands()])?;
    Ok(folded)
}

fn some_enos(view: &dyn View, from: Eno) -> Result<Vec<Eno>, LedgerError> {
    let mut enos = Vec::new();
    let start = rows::eno_key(from);
    let mut bad = false;
    view.scan(Table::Entries, (Bound::Included(&start), Bound::Unbounded), Order::Forward, &mut |key, _| {
        match rows::read_eno(Table::Entries, key) {
            Ok(eno) => enos.push(eno),
            Err(_) => bad = true,
        }
        if enos.len() < CHUNK_ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if bad { Err(rows::unreadable(Table::Entries).into()) } else { Ok(enos) }
}
