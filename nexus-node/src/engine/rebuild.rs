use nexus_identity::{Did, Timestamp};

use super::{Engine, Turn};
use crate::ledger::rows::{self, Eno, EntryRow, Standing, VIEW_VERSION, meta};
use crate::ledger::{LedgerError, write_builtin_spaces};
use crate::store::{Batch, Draft, Table, View};

/// Empties the derived tables; until [`derived_stands`] is written they count as missing.
pub(crate) fn clear_derived(mesh: &Did) -> Batch {
    let mut batch = Batch::new();
    batch.delete(Table::Meta, meta::VIEW);
    for table in Table::ALL.iter().filter(|table| table.derived()) {
        batch.clear(*table);
    }
    write_builtin_spaces(&mut batch, mesh);
    batch
}

/// Whether the derived tables are there, and of this version.
pub(crate) fn is_derived(view: &dyn View) -> Result<bool, LedgerError> {
    let version = view.get(Table::Meta, meta::VIEW)?;
    Ok(version.as_deref() == Some(VIEW_VERSION.to_le_bytes().as_slice()))
}

/// Says that the derived tables are whole.
pub(crate) fn derived_stands() -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::VIEW, &VIEW_VERSION.to_le_bytes());
    batch
}

impl Engine {
    /// Folds stored entries once more, in the order in which they came.
    pub(crate) fn fold_again(&mut self, enos: &[Eno], view: &dyn View) -> Result<Batch, LedgerError> {
        let now = Timestamp::from_ms(0);
        let mut turn = Turn { now, draft: Draft::new(view), events: Vec::new(), after: Vec::new() };
        for eno in enos {
            self.fold_one_again(*eno, &mut turn)?;
        }
        Ok(turn.draft.finish())
    }

    fn fold_one_again(&mut self, eno: Eno, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
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
