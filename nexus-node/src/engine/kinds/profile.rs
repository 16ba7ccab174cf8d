//! Kind 14: a member says how it is called.

use std::sync::Arc;

use nexus_crdt::{Kind, Profile};

use super::{Counting, EntryKind, Folded, Placed, Reversible, TakenOut, Within};
use crate::engine::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, Standing};
use crate::store::Table;

pub(super) struct Description;

impl EntryKind for Description {
    fn numbers(&self) -> &'static [Kind] {
        &[Kind::PROFILE]
    }

    fn within(&self) -> Within {
        Within::Mesh
    }

    fn counting(&self) -> Counting {
        Counting::ByVerdict(&Self)
    }

    fn fold(&self, engine: &mut Engine, Placed { eno, entry, .. }: Placed<'_>, turn: &mut Turn<'_>) -> Folded {
        let (header, profile) = (entry.header(), entry.content().and_then(Profile::decode));
        Ok(profile.map(|profile| {
            let key = rows::profile_key(&header.author, header.hlc, entry.id());
            turn.draft.put(Table::Profiles, &key, &rows::eno_key(eno));
            let members = Arc::make_mut(&mut engine.state.members);
            if members.describe(&header.author, header.hlc, entry.id(), profile) {
                turn.events.push(Event::Members);
            }
            Standing::Applied
        }))
    }
}

impl Reversible for Description {
    fn take_out(
        &self,
        _: &mut Engine,
        Placed { entry, .. }: Placed<'_>,
        _: Standing,
        out: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let header = entry.header();
        turn.draft.delete(Table::Profiles, &rows::profile_key(&header.author, header.hlc, entry.id()));
        out.described = true;
        Ok(())
    }

    fn put_back(
        &self,
        engine: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        engine.fold_as_it_counts(eno, entry, true, turn)?;
        Ok(true)
    }
}
