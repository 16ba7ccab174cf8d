//! Kind 7: a log has two entries at one place.

use nexus_crdt::{Evidence, FormError, Kind};

use super::{Counting, EntryKind, Folded, Placed, Within};
use crate::engine::{Engine, Turn};
use crate::ledger::rows::Standing;

pub(super) struct Proof;

impl EntryKind for Proof {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::EVIDENCE]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    /// The author of that log has signed it.
    fn counting(&self) -> Counting {
        Counting::Always
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let evidence = entry.content().and_then(Evidence::decode).and_then(|evidence| {
            let verified = evidence.verify(&engine.state.mesh);
            verified.map(|()| evidence).map_err(|error| FormError::Content(error.to_string()))
        });
        if let Ok(evidence) = &evidence {
            engine.hear_evidence(eno, &entry.header().author, evidence, turn)?;
        }
        Ok(evidence.map(|_| Standing::Applied))
    }
}
