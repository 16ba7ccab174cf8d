//! Kind 16: a member goes on with another key.

use std::sync::Arc;

use nexus_crdt::{FormError, Kind, PlacedSuccession, Succession};

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Turn};
use crate::ledger::rows::Standing;

pub(super) struct NewKey;

impl EntryKind for NewKey {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::SUCCESSION]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// Both keys have signed it.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, Placed { entry, .. }: Placed<'_>, _: &mut Turn<'_>) -> Folded {
        let succession = entry.content().and_then(Succession::decode);
        let taken = succession.and_then(|succession| {
            let header = entry.header();
            let (author, order) = (header.author, (header.seq, entry.id()));
            let placed = PlacedSuccession { author, order, hlc: header.hlc, succession };
            let taken = Arc::make_mut(&mut engine.state.members).succeed(placed);
            taken.map_err(|error| FormError::Content(error.to_string()))
        });
        Ok(taken.map(|changed| {
            engine.state.undecided |= changed;
            Standing::Applied
        }))
    }
}
