use nexus_identity::{Did, Timestamp};

use super::salts::Salts;
use super::{Engine, Turn};
use crate::ledger::rows::{Eno, VIEW_VERSION, meta};
use crate::ledger::{LedgerError, read_entry, write_builtin_spaces};
use crate::store::{Batch, Table, View};

/// Empties the derived tables. They count as missing until [`derived_stands`] is written.
pub(crate) fn clear_derived(mesh: &Did) -> Batch {
    let mut batch = Batch::new();
    batch.delete(Table::Meta, meta::VIEW);
    for table in Table::ALL.iter().filter(|table| table.derived()) {
        batch.clear(*table);
    }
    write_builtin_spaces(&mut batch, mesh);
    batch
}

/// Whether the derived tables are complete and of this version.
pub(crate) fn is_derived(view: &dyn View) -> Result<bool, LedgerError> {
    let version = view.get(Table::Meta, meta::VIEW)?;
    Ok(version.as_deref() == Some(VIEW_VERSION.to_le_bytes().as_slice()))
}

/// Marks the derived tables as complete.
pub(crate) fn derived_stands() -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::VIEW, &VIEW_VERSION.to_le_bytes());
    batch
}

impl Engine {
    /// Settles stored entries again, in the order of their arrival.
    pub(crate) fn settle_again(&mut self, enos: &[Eno], view: &dyn View) -> Result<Batch, LedgerError> {
        let mut turn = Turn::new(Timestamp::from_ms(0), Salts::of(&[0; 32]), view);
        turn.rebuilds = true;
        for eno in enos {
            if let Some(entry) = read_entry(&turn.draft, *eno)? {
                self.settle(*eno, &entry, &mut turn)?;
            }
        }
        // watchers have seen these changes already
        self.decide(&mut turn)?;
        self.weigh_erasers(&mut turn)?;
        if enos.last().is_some_and(|last| *last >= self.last_eno()) {
            turn.rebuilds = false;
            self.weigh_every_named(&mut turn)?;
        }
        Ok(turn.draft.finish())
    }
}
