//! Kind 5: a membership ends.

use std::sync::Arc;

use nexus_crdt::Kind;

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Turn};
use crate::ledger::placed_revocation;
use crate::ledger::rows::Standing;

pub(super) struct Ending;

impl EntryKind for Ending {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::REVOCATION]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// Whether it is in force is a part of the verdict.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, placed: Placed<'_>, _: &mut Turn<'_>) -> Folded {
        Ok(placed_revocation(&engine.state.mesh, placed.entry).map(|placed| {
            engine.state.undecided |= Arc::make_mut(&mut engine.state.members).revoke(placed);
            Standing::Applied
        }))
    }
}
