use std::sync::Arc;

use nexus_crdt::{Kind, LogId, Profile, SpaceId, writes_of};
use nexus_identity::Did;

use super::writes::{FoldWrites, Undone};
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, CutRow, Eno, Standing};
use crate::ledger::{enos_cut_by, holds, latest_profile, read_entry, standing};
use crate::store::Table;

impl Engine {
    /// Makes entries of a log stop counting, since entry `eno` shows a fork below them, lower than was known.
    ///
    /// Each entry is cut once, so all cuts of a log together cost no more than its entries did.
    pub(super) fn cut(&mut self, eno: Eno, log: LogId, cut: CutRow, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let from = cut.from;
        self.state.undecided = true;
        turn.events.push(Event::Fork { log, seq: from });
        self.state.unsettled.insert(log);
        turn.events.push(Event::Unsettled);
        // whatever counts there is on the branch that leads to the pin
        let pin = self.state.members.pin_of(&log).filter(|pin| from <= pin.seq);
        if let Some(pin) = pin
            && holds(&turn.draft, &log, &pin)?
        {
            return Ok(());
        }
        let enos = enos_cut_by(&turn.draft, eno, &cut)?;
        if self.uncount(&log, &enos, turn)? {
            self.describe_again(&log.author, turn)?;
        }
        if let Some(space) = self.state.spaces.get(&log.space) {
            turn.draft.put(Table::Spaces, log.space.as_bytes(), &rows::encode(space));
        }
        Ok(())
    }

    /// Takes entries of a log out of all that they changed. Returns whether profiles are among them.
    pub(super) fn uncount(&mut self, log: &LogId, enos: &[Eno], turn: &mut Turn<'_>) -> Result<bool, LedgerError> {
        let in_mesh_space = log.space == SpaceId::mesh(&self.state.mesh);
        let mut undone = Undone::default();
        let mut described = false;
        for other in enos.iter().copied() {
            let before = standing(&turn.draft, other)?;
            if before == Standing::Cut {
                continue;
            }
            let Some(entry) = read_entry(&turn.draft, other)? else { continue };
            match entry.header().kind {
                // these prove themselves and still count
                Kind::CREDENTIAL | Kind::SEAT | Kind::SUCCESSION | Kind::EVIDENCE if in_mesh_space => continue,
                // whether it counts is part of the verdict
                Kind::REVOCATION if in_mesh_space => continue,
                Kind::PROFILE if in_mesh_space => {
                    let header = entry.header();
                    turn.draft.delete(Table::Profiles, &rows::profile_key(&header.author, header.hlc, entry.id()));
                    described = true;
                }
                Kind::SPACE if in_mesh_space => self.show_space(SpaceId::created_by(entry.id()), false, turn),
                Kind::WRITES if !in_mesh_space => {
                    // a quarantined entry was never folded
                    if let Ok(writes) = writes_of(&entry) {
                        undone.add(other, entry.id(), writes);
                    }
                }
                kind if kind.is_tasks() && !in_mesh_space && before == Standing::Applied => {
                    self.unfold_task_events(&entry, turn)?;
                }
                _ => {}
            }
            if before == Standing::Quarantined {
                turn.draft.delete(Table::Quarantine, &rows::eno_key(other));
            }
            turn.draft.put(Table::Standing, &rows::eno_key(other), &rows::encode(&Standing::Cut));
        }
        if let Some(space) = self.state.spaces.get_mut(&log.space) {
            let mut fold = FoldWrites::new(space.no, &mut turn.draft);
            fold.undo(&undone)?;
            space.records = space.records.saturating_add_signed(fold.records());
        }
        Ok(described)
    }

    /// Shows a space whose definition counts again, or hides it.
    pub(super) fn show_space(&mut self, id: SpaceId, counts: bool, turn: &mut Turn<'_>) {
        if let Some(space) = self.state.spaces.get_mut(&id) {
            space.cut = !counts;
            turn.draft.put(Table::Spaces, id.as_bytes(), &rows::encode(space));
            turn.events.push(Event::Spaces);
        }
    }

    /// Shows an author by its latest profile that counts.
    pub(super) fn describe_again(&mut self, author: &Did, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let members = Arc::make_mut(&mut self.state.members);
        members.undescribe(author);
        turn.events.push(Event::Members);
        let Some(eno) = latest_profile(&turn.draft, author)? else { return Ok(()) };
        let Some(entry) = read_entry(&turn.draft, eno)? else { return Ok(()) };
        if let Ok(Ok(profile)) = entry.content().map(Profile::decode) {
            members.describe(author, entry.header().hlc, entry.id(), profile);
        }
        Ok(())
    }
}
