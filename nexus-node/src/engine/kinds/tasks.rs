//! Kinds 11 and 17: events of tasks.

use nexus_crdt::{FormError, Kind, task_events_of};

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::{Engine, LedgerError, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Events;

impl EntryKind for Events {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::TASKS, Kind::TASKS_APART]
    }

    fn within(&self) -> Within {
        Within::Others
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        match task_events_of(entry) {
            Err(FormError::Absent) => Ok(Ok(Standing::Erased)),
            Ok(events) => {
                if let Some(space) = engine.state.spaces.get(&entry.header().space).map(|space| space.no) {
                    engine.fold_task_events((eno, space), entry, &events, turn)?;
                    engine.note_events_of_erased(&events, turn)?;
                }
                Ok(Ok(Standing::Applied))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    fn unfold(
        &self,
        engine: &mut Engine,
        Placed { entry, counts, .. }: Placed<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        // its rows are taken out by what it said when it was whole
        if counts {
            engine.unfold_task_events(entry, turn)?;
        }
        Ok(counts)
    }
}

impl Reversible for Events {
    fn take_out(
        &self,
        engine: &mut Engine,
        Placed { entry, .. }: Placed<'_>,
        before: Standing,
        _: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        if before == Standing::Applied {
            engine.unfold_task_events(entry, turn)?;
        }
        Ok(())
    }
}
