use nexus_crdt::{Branches, DRIFT_MAX, Hlc, Verified};

use super::kinds::{Folded, Placed, kind_of};
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::evidence_of;
use crate::ledger::rows::{self, CutRow, Eno, EntryRow, Standing, meta};
use crate::store::Table;

impl Engine {
    /// Stores an entry of a log and settles its effects.
    pub(super) fn store(&mut self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let header = entry.header();
        let eno = self.state.next_eno;
        self.state.next_eno = eno + 1;
        let log = self.state.log_mut(header.log(), &mut turn.draft).no;
        let row =
            EntryRow { log, seq: header.seq, header: entry.header_bytes().to_vec(), signature: *entry.signature() };
        turn.draft.put(Table::Entries, &rows::eno_key(eno), &rows::encode(&row));
        if let Some(payload) = entry.payload() {
            turn.draft.put(Table::Payloads, &rows::eno_key(eno), payload);
        }
        turn.draft.put(Table::Ids, entry.id().as_bytes(), &rows::eno_key(eno));
        turn.draft.put(Table::LogIndex, &rows::log_index_key(log, header.seq, entry.id()), &rows::eno_key(eno));
        let seen_at = self.state.agreed.unwrap_or(turn.now);
        // this node's own stamps go on from its clock of before, and stay in the order of its writes
        if header.author != self.key.did() && header.hlc > Hlc::at(seen_at.saturating_add(DRIFT_MAX)) {
            turn.draft.put(Table::Ahead, &rows::eno_key(eno), &seen_at.as_ms().to_le_bytes());
        }
        self.settle(eno, entry, turn)?;
        self.state.clock.observe(header.hlc, turn.now, self.state.drift);
        Ok(())
    }

    /// Changes the derived tables from the set of entries before this one to the set with it. A rebuild
    /// does the same, entry by entry in the order of their enos.
    pub(super) fn settle(&mut self, eno: Eno, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let header = entry.header();
        let held = self.place(eno, entry, turn)?;
        self.count(entry, held.entries == 1, turn);
        self.note_again(entry, turn);
        let reach = self.state.reach_of(&header.log());
        if reach.branch.is_some_and(|last| last.id == entry.id()) {
            self.state.branched.insert(header.log());
        }
        self.fold_as_it_counts(eno, entry, header.seq < reach.below, turn)?;
        // a rebuild weighs at its end: what is void in the end must take nothing away
        if !turn.rebuilds && (!self.state.erasers.is_empty() || !entry.lacks().is_empty()) {
            self.weigh_entry(eno, entry, turn)?;
        }
        if let Some(space) = self.state.spaces.get_mut(&header.space) {
            space.entries += 1;
            space.bytes += u64::from(header.payload_len);
            turn.draft.put(Table::Spaces, header.space.as_bytes(), &rows::encode(space));
        }
        Ok(())
    }

    /// Folds an entry, and notes whether it counts.
    pub(super) fn fold_as_it_counts(
        &mut self,
        eno: Eno,
        entry: &Verified,
        counts: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let standing = match self.fold(eno, entry, counts, turn)? {
            Ok(standing) => standing,
            Err(why) => {
                let why = why.to_string();
                turn.draft.put(Table::Quarantine, &rows::eno_key(eno), why.as_bytes());
                turn.events.push(Event::Quarantined { entry: entry.id(), author: entry.header().author, why });
                Standing::Quarantined
            }
        };
        if standing == Standing::Cut && entry.header().author == self.state.me {
            self.state.unsettled.insert(entry.header().log());
            turn.events.push(Event::Unsettled);
        }
        if standing != Standing::Applied {
            turn.draft.put(Table::Standing, &rows::eno_key(eno), &rows::encode(&standing));
        }
        Ok(())
    }

    /// Gives an entry its place in its log. If another entry has that place, the log is cut there.
    fn place(&mut self, eno: Eno, entry: &Verified, turn: &mut Turn<'_>) -> Result<Branches, LedgerError> {
        let id = entry.header().log();
        let log = self.state.log_mut(id, &mut turn.draft);
        let (no, before) = (log.no, log.held);
        let mut held = Branches::with(before, entry.id(), entry.header());
        if before.is_none()
            && let Some(proven) = evidence_of(&turn.draft, &id)?
        {
            held = held.cut_at(proven.cut);
        }
        self.state.log_mut(id, &mut turn.draft).held = Some(held);
        turn.draft.put(Table::Frontier, &rows::log_key(no), &rows::encode(&held));
        let below = before.and_then(|held| held.cut);
        if let Some(from) = held.cut.filter(|_| held.cut != below) {
            let cut = CutRow { log: no, from, below };
            turn.draft.put(Table::Cuts, &rows::eno_key(eno), &rows::encode(&cut));
            self.cut(eno, id, cut, turn)?;
        }
        Ok(held)
    }

    /// Folds an entry's payload as its kind says.
    fn fold(&mut self, eno: Eno, entry: &Verified, counts: bool, turn: &mut Turn<'_>) -> Folded {
        match kind_of(&self.state.mesh, entry) {
            Some(kind) if counts || kind.counting().folds_all() => kind.fold(self, Placed { eno, entry, counts }, turn),
            _ if !counts => Ok(Ok(Standing::Cut)),
            _ => Ok(Ok(Standing::Unknown)),
        }
    }

    /// Notes the latest stamp, so that stamps grow across restarts.
    pub(super) fn note_stamp(&self, stamp: nexus_crdt::Hlc, turn: &mut Turn<'_>) {
        turn.draft.put(Table::Meta, meta::HLC, &stamp.0.to_le_bytes());
    }
}
