//! Kind 15: a member has a seat among the coordinators.

use std::sync::Arc;

use nexus_crdt::{Kind, Seat};

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Event, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Seating;

impl EntryKind for Seating {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::SEAT]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// It proves itself at any place, as long as its author is an admin.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, Placed { entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let header = entry.header();
        Ok(entry.content().and_then(Seat::decode).map(|seat| {
            if Arc::make_mut(&mut engine.state.members).seat(&header.author, header.hlc, entry.id(), seat) {
                turn.events.push(Event::Members);
            }
            Standing::Applied
        }))
    }
}
