use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_crdt::{Kind, LogId, SpaceId};

use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, LogNo, RecountRow, Standing};
use crate::ledger::{enos_of_log, read_entry, standing};
use crate::store::Table;

impl Engine {
    /// Finds again which memberships stand, if something came that they depend on. Changes what counts of
    /// the logs concerned, and returns their parts.
    pub(super) fn decide(&mut self, turn: &mut Turn<'_>) -> Result<Vec<(LogNo, RecountRow)>, LedgerError> {
        if !std::mem::take(&mut self.state.undecided) || !self.state.members.has_revocations() {
            return Ok(Vec::new());
        }
        let before = self.state.members.clone();
        let logs = &self.state.logs;
        let forked_at = |log: &LogId| logs.get(log)?.held?.cut;
        if !Arc::make_mut(&mut self.state.members).decide(&forked_at) {
            return Ok(Vec::new());
        }
        turn.events.push(Event::Members);
        let after = self.state.members.clone();
        let turned = logs.iter().filter_map(|(id, log)| {
            let end = |cut: Option<u64>| cut.into_iter().chain(log.held?.cut).min();
            let (was, is) = (end(before.cut_of(id)), end(after.cut_of(id)));
            let recount = match (was, is) {
                (was, Some(is)) if was.is_none_or(|was| is < was) => RecountRow { from: is, to: was, counts: false },
                (Some(was), is) if is != Some(was) => RecountRow { from: was, to: is, counts: true },
                _ => return None,
            };
            Some((*id, log.no, recount))
        });
        let turned: Vec<(LogId, LogNo, RecountRow)> = turned.collect();
        let mut described = BTreeSet::new();
        for (id, no, recount) in &turned {
            let last = recount.to.map_or(u64::MAX, |to| to.saturating_sub(1));
            let enos = enos_of_log(&turn.draft, *no, recount.from, last)?;
            let profiles = if recount.counts { self.count_again(&enos, turn)? } else { self.uncount(id, &enos, turn)? };
            if profiles {
                described.insert(id.author);
            }
            if let Some(space) = self.state.spaces.get(&id.space) {
                turn.draft.put(Table::Spaces, id.space.as_bytes(), &rows::encode(space));
            }
        }
        for author in described {
            self.describe_again(&author, turn)?;
        }
        Ok(turned.into_iter().map(|(_, no, recount)| (no, recount)).collect())
    }

    /// Folds entries that did not count. Returns whether profiles are among them.
    fn count_again(&mut self, enos: &[Eno], turn: &mut Turn<'_>) -> Result<bool, LedgerError> {
        let mut profiles = false;
        for eno in enos {
            if standing(&turn.draft, *eno)? != Standing::Cut {
                continue;
            }
            let Some(entry) = read_entry(&turn.draft, *eno)? else { continue };
            turn.draft.delete(Table::Standing, &rows::eno_key(*eno));
            let in_mesh_space = entry.header().space == SpaceId::mesh(&self.state.mesh);
            profiles |= in_mesh_space && entry.header().kind == Kind::PROFILE;
            match entry.header().kind {
                Kind::SPACE if in_mesh_space => self.show_space(SpaceId::created_by(entry.id()), true, turn),
                _ => self.fold_as_it_counts(*eno, &entry, true, turn)?,
            }
        }
        Ok(profiles)
    }
}
