//! Kind 4: a chain of credentials admits its last subject.

use nexus_crdt::{FormError, Kind};
use nexus_identity::Chain;

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Event, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Credential;

impl EntryKind for Credential {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::CREDENTIAL]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// A chain proves itself at any place.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, placed: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let author = placed.entry.header().author;
        let admitted = placed.entry.content().and_then(|content| {
            let chain = Chain::from_bytes(content);
            let admitted = chain.and_then(|chain| engine.state.admit(&chain, Some(&author)));
            admitted.map_err(|error| FormError::Content(error.to_string()))
        });
        Ok(admitted.map(|changed| {
            if changed {
                turn.events.push(Event::Members);
            }
            Standing::Applied
        }))
    }
}
