use nexus_crdt::{ALL_LEAVES, EntryId, Kind, Verified, writes_of};

use super::kinds::{Placed, kind_of};
use super::writes::{FoldWrites, Undone};
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, Standing};
use crate::ledger::{erased_leaves, find_entry, read_entry, standing, stays_whole};
use crate::store::Table;

impl Engine {
    /// Erases leaves from what is held here, and from what will come.
    ///
    /// Entries that make members and spaces stay whole: a mesh does not stand without them. So do events of tasks: without
    /// its end a task would be done again.
    pub(super) fn erase(&mut self, leaves: Vec<(EntryId, u16)>, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for (id, leaf) in leaves {
            turn.draft.put(Table::Erased, &rows::erased_key(id, leaf), &[]);
            if let Some(eno) = find_entry(&turn.draft, id)? {
                self.empty(eno, turn)?;
            }
        }
        Ok(())
    }

    /// An entry without the leaves that are known here to be erased.
    pub(super) fn left_of(&self, entry: Verified, turn: &Turn<'_>) -> Result<Verified, LedgerError> {
        if stays_whole(&entry) || entry.payload().is_none() {
            return Ok(entry);
        }
        let erased = erased_leaves(&turn.draft, entry.id())?;
        if erased.contains(&ALL_LEAVES) {
            return Ok(entry.without(ALL_LEAVES));
        }
        Ok(erased.into_iter().fold(entry, Verified::without))
    }

    /// Brings a held entry, and what was derived from it, to what is left of it.
    fn empty(&mut self, eno: Eno, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some(entry) = read_entry(&turn.draft, eno)? else { return Ok(()) };
        let left = self.left_of(entry.clone(), turn)?;
        if left == entry {
            return Ok(());
        }
        let before = standing(&turn.draft, eno)?;
        let folded = entry.header().kind == Kind::WRITES && before != Standing::Cut;
        if before == Standing::Applied && folded {
            let mut undone = Undone::default();
            undone.add(eno, entry.id(), writes_of(&entry).unwrap_or_default());
            if let Some(space) = self.state.spaces.get_mut(&entry.header().space) {
                let mut fold = FoldWrites::new(space.no, &mut turn.draft);
                fold.undo(&undone)?;
                space.records = space.records.saturating_add_signed(fold.records());
                turn.draft.put(Table::Spaces, entry.header().space.as_bytes(), &rows::encode(space));
            }
        }
        let counts = before != Standing::Cut;
        let unfolded = kind_of(&self.state.mesh, &entry)
            .is_some_and(|kind| kind.unfold(self, Placed { eno, entry: &entry, counts }, turn));
        match left.payload() {
            Some(payload) => turn.draft.put(Table::Payloads, &rows::eno_key(eno), payload),
            None => turn.draft.delete(Table::Payloads, &rows::eno_key(eno)),
        }
        if unfolded {
            turn.draft.delete(Table::Standing, &rows::eno_key(eno));
            turn.draft.delete(Table::Quarantine, &rows::eno_key(eno));
            self.fold_as_it_counts(eno, &left, counts, turn)?;
        }
        if folded {
            // where its values lie has changed with it
            turn.draft.delete(Table::Standing, &rows::eno_key(eno));
            turn.draft.delete(Table::Quarantine, &rows::eno_key(eno));
            self.fold_as_it_counts(eno, &left, true, turn)?;
            if let Some(space) = self.state.spaces.get(&entry.header().space) {
                turn.draft.put(Table::Spaces, entry.header().space.as_bytes(), &rows::encode(space));
            }
        }
        Ok(())
    }
}
