//! Kind 18: a member's node has carried out erasures.

use nexus_crdt::{Confirmation, Kind};

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Carried;

impl EntryKind for Carried {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::CONFIRMATION]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// It says something of its author's own disk, also after the end of its membership.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, Placed { entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let word = entry.content().and_then(Confirmation::decode);
        if let Ok(word) = &word {
            engine.fold_confirmation(entry, word, turn);
        }
        Ok(word.map(|_| Standing::Applied))
    }
}
