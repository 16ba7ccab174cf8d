use std::ops::{Bound, ControlFlow};

use nexus_identity::{Keypair, Timestamp};

use super::rows::{self, EntryRow, Standing, VIEW_VERSION, meta};
use super::state::{State, write_builtin_spaces};
use super::{Engine, EngineError, Turn};
use crate::store::{Batch, Draft, Order, Store, Table, View};

/// How many entries are folded per commit.
const CHUNK_ENTRIES: usize = 1_000;

/// Makes the derived tables anew from the entries, if they are missing or of another version.
/// Returns how many entries were folded.
///
/// Interrupted, it starts over at the next start: the version is written last.
///
/// # Errors
/// The store's, or entries that do not read.
pub fn rebuild(key: &Keypair, store: &Store) -> Result<u64, EngineError> {
    let snapshot = store.snapshot()?;
    let Some(mesh) = snapshot.get(Table::Meta, meta::MESH)? else {
        return Err(EngineError::NoGenesis);
    };
    let version = snapshot.get(Table::Meta, meta::VIEW)?;
    if version.as_deref() == Some(VIEW_VERSION.to_le_bytes().as_slice()) {
        return Ok(0);
    }
    let mut batch = Batch::new();
    batch.delete(Table::Meta, meta::VIEW);
    for table in Table::ALL.iter().filter(|table| table.derived()) {
        batch.clear(*table);
    }
    write_builtin_spaces(&mut batch, &rows::read_did(&mesh)?);
    store.commit(&[batch])?;

    let state = State::read(key.did(), &store.snapshot()?)?;
    let mut engine = Engine { key: key.clone(), state, effects: std::collections::VecDeque::new() };
    let mut folded = 0;
    let mut next = 1;
    loop {
        let snapshot = store.snapshot()?;
        let enos = some_enos(&snapshot, next)?;
        let Some(last) = enos.last() else { break };
        next = last + 1;
        let now = Timestamp::from_ms(0);
        let mut turn = Turn { now, draft: Draft::new(&snapshot), events: Vec::new(), after: Vec::new() };
        for eno in enos {
            engine.fold_again(eno, &mut turn)?;
            folded += 1;
        }
        store.commit(&[turn.draft.finish()])?;
    }
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::VIEW, &VIEW_VERSION.to_le_bytes());
    store.commit(&[batch])?;
    Ok(folded)
}

fn some_enos(view: &dyn View, from: u64) -> Result<Vec<u64>, EngineError> {
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

impl Engine {
    /// Folds a stored entry once more.
    fn fold_again(&mut self, eno: u64, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(row) = turn.draft.get(Table::Entries, &rows::eno_key(eno))? else {
            return Ok(());
        };
        let row: EntryRow = rows::decode(Table::Entries, &row)?;
        if row.standing == Standing::Fork {
            return Ok(());
        }
        let payload = turn.draft.get(Table::Payloads, &rows::eno_key(eno))?;
        let (log, mut row_again) = (row.log, row.clone());
        let entry = row.into_entry(payload)?;
        let standing = match self.fold(eno, log, &entry, turn)? {
            Ok(standing) => standing,
            Err(why) => {
                turn.draft.put(Table::Quarantine, &rows::eno_key(eno), why.to_string().as_bytes());
                Standing::Quarantined
            }
        };
        if standing != row_again.standing {
            // a version that knows more kinds, or stricter rules, sees it anew
            row_again.standing = standing;
            turn.draft.put(Table::Entries, &rows::eno_key(eno), &rows::encode(&row_again));
        }
        let header = entry.header();
        if let Some(space) = self.state.spaces.get_mut(&header.space) {
            space.entries += 1;
            space.bytes += u64::from(header.payload_len);
            turn.draft.put(Table::Spaces, header.space.as_bytes(), &rows::encode(space));
        }
        Ok(())
    }
}
