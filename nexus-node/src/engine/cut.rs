use std::sync::Arc;

use nexus_crdt::{LogId, Profile};
use nexus_identity::Did;

use super::kinds::{Counting, EntryKind, Placed, TakenOut, kind_of};
use super::writes::FoldWrites;
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
        let mut out = TakenOut::default();
        for eno in enos.iter().copied() {
            let before = standing(&turn.draft, eno)?;
            if before == Standing::Cut {
                continue;
            }
            let Some(entry) = read_entry(&turn.draft, eno)? else { continue };
            match kind_of(&self.state.mesh, &entry).map(EntryKind::counting) {
                Some(Counting::Always) => continue,
                Some(Counting::ByVerdict(kind)) => {
                    kind.take_out(self, Placed { eno, entry: &entry, counts: false }, before, &mut out, turn)?;
                }
                None => {}
            }
            if before == Standing::Quarantined {
                turn.draft.delete(Table::Quarantine, &rows::eno_key(eno));
            }
            turn.draft.put(Table::Standing, &rows::eno_key(eno), &rows::encode(&Standing::Cut));
        }
        if let Some(space) = self.state.spaces.get_mut(&log.space) {
            let mut fold = FoldWrites::new(space.no, &mut turn.draft);
            fold.undo(&out.undone)?;
            space.records = space.records.saturating_add_signed(fold.records());
        }
        Ok(out.described)
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
