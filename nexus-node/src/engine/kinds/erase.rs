//! Kind 10: leaves of entries are erased.

use nexus_crdt::{Erase, Kind};

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::{Engine, LedgerError, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Erasure;

impl EntryKind for Erasure {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::ERASE]
    }

    /// Every member hears it, whichever spaces it reads: it carries entries of the others.
    fn within(&self) -> Within {
        Within::Mesh
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, placed: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let erase = placed.entry.content().and_then(Erase::decode);
        if let Ok(erase) = &erase {
            engine.fold_erase(placed, erase, turn)?;
        }
        Ok(if placed.counts { erase.map(|_| Standing::Applied) } else { Ok(Standing::Cut) })
    }
}

impl Reversible for Erasure {
    /// Its author may have been obeyed elsewhere before its membership ended: entries without those leaves are taken.
    fn folds_all(&self) -> bool {
        true
    }

    fn take_out(
        &self,
        engine: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        _: Standing,
        _: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        match entry.content().and_then(Erase::decode) {
            Ok(erase) => engine.take_erase_out((eno, entry), &erase, turn),
            Err(_) => Ok(()),
        }
    }
}
