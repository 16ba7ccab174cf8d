//! Kind 3: a space begins.

use nexus_crdt::{Kind, SpaceDefinition, SpaceId};
use nexus_identity::Did;

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, SpaceNo, SpaceRow, Standing};
use crate::store::Table;

pub(super) struct Definition;

impl EntryKind for Definition {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::SPACE]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, counts }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let definition = entry.content().and_then(SpaceDefinition::decode);
        if let Ok(definition) = &definition {
            let id = SpaceId::created_by(entry.id());
            define(engine, (eno, id), entry.header().author, definition, !counts, turn);
        }
        Ok(if counts { definition.map(|_| Standing::Applied) } else { Ok(Standing::Cut) })
    }
}

impl Reversible for Definition {
    /// The space is known nevertheless: nodes that do not see the fork send entries for it.
    fn folds_all(&self) -> bool {
        true
    }

    fn take_out(
        &self,
        engine: &mut Engine,
        Placed { entry, .. }: Placed<'_>,
        _: Standing,
        _: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        show(engine, SpaceId::created_by(entry.id()), false, turn);
        Ok(())
    }

    fn put_back(
        &self,
        engine: &mut Engine,
        Placed { entry, .. }: Placed<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        show(engine, SpaceId::created_by(entry.id()), true, turn);
        Ok(false)
    }
}

fn define(
    engine: &mut Engine,
    (eno, id): (Eno, SpaceId),
    author: Did,
    definition: &SpaceDefinition,
    cut: bool,
    turn: &mut Turn<'_>,
) {
    let no = SpaceNo::try_from(eno + 1).unwrap_or(SpaceNo::MAX);
    let (name, access) = (definition.name.clone(), definition.access);
    let row = SpaceRow { no, name, access, author, records: 0, entries: 0, bytes: 0, cut };
    turn.draft.put(Table::Spaces, id.as_bytes(), &rows::encode(&row));
    engine.state.spaces.insert(id, row);
    turn.events.push(Event::Spaces);
}

/// Shows a space whose definition counts again, or hides it.
fn show(engine: &mut Engine, id: SpaceId, counts: bool, turn: &mut Turn<'_>) {
    if let Some(space) = engine.state.spaces.get_mut(&id) {
        space.cut = !counts;
        turn.draft.put(Table::Spaces, id.as_bytes(), &rows::encode(space));
        turn.events.push(Event::Spaces);
    }
}
