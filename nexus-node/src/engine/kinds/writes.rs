//! Kind 1: memories are written, edited and forgotten.

use nexus_crdt::{FormError, Kind, PlacedWrite, Verified, writes_of};

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::writes::FoldWrites;
use crate::engine::{Engine, LedgerError, Turn};
use crate::ledger::rows::{Eno, Standing};

pub(super) struct Memories;

impl EntryKind for Memories {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::WRITES]
    }

    fn within(&self) -> Within {
        Within::Others
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        match writes_of(entry) {
            Err(FormError::Absent) => Ok(Ok(Standing::Erased)),
            Ok(writes) if writes.is_empty() => Ok(Ok(Standing::Erased)),
            Ok(writes) => {
                fold_writes(engine, eno, entry, &writes, turn)?;
                Ok(Ok(Standing::Applied))
            }
            Err(why) => Ok(Err(why)),
        }
    }
}

impl Reversible for Memories {
    fn take_out(
        &self,
        _: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        _: Standing,
        out: &mut TakenOut,
        _: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        // a quarantined entry was never folded
        if let Ok(writes) = writes_of(entry) {
            out.undone.add(eno, entry.id(), writes);
        }
        Ok(())
    }
}

fn fold_writes(
    engine: &mut Engine,
    eno: Eno,
    entry: &Verified,
    writes: &[PlacedWrite],
    turn: &mut Turn<'_>,
) -> Result<(), LedgerError> {
    let header = entry.header();
    let log = engine.state.log_mut(header.log(), &mut turn.draft).no;
    let Some(space) = engine.state.spaces.get_mut(&header.space) else {
        return Ok(());
    };
    let mut fold = FoldWrites::new(space.no, &mut turn.draft);
    fold.entry(eno, log, entry, writes)?;
    space.records = space.records.saturating_add_signed(fold.records());
    engine.note_edits_of_erased(writes, turn)?;
    engine.note_late_forgets(writes, turn)
}
