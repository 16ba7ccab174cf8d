use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{
    ALL_LEAVES, Core, Dot, EntryId, Erase, Erased, Field, Kind, PlacedTaskEvent, PlacedWrite, Target, TaskEvent,
    Verified, task_events_of, writes_of,
};
use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};

use super::kinds::{Placed, kind_of};
use super::recount::note_recount;
use super::writes::{FoldWrites, Undone};
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, ErasedKey, ErasedSince, EraserRow, LogNo, RecountRow, Standing};
use crate::ledger::{
    attached_to, enos_of_log, erased_after, erased_leaves, find_entry, find_task, is_attached, is_erased_already,
    is_erased_by_admin, is_named, read_entry, standing,
};
use crate::store::{Table, View};

impl Engine {
    /// Notes which leaves a member's word erases, and takes them away where it counts.
    pub(super) fn fold_erase(
        &mut self,
        Placed { eno, entry, counts }: Placed<'_>,
        erase: &Erase,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let author = entry.header().author;
        self.note_eraser(author, turn);
        let by_admin = self.state.members.allowed_once(&author, Role::Admin);
        let mut news = BTreeSet::new();
        for (id, index) in erase.leaves() {
            let leaf = Dot { entry: *id, index: *index };
            // a member may say the same again and again, of large entries: these are read once
            let is_news = counts
                && (!is_erased_already(&turn.draft, leaf)? || by_admin && !is_erased_by_admin(&turn.draft, *id)?);
            if is_news {
                news.insert(*id);
            }
            let word = ErasedKey { leaf, void: !counts, author, erasure: eno };
            turn.draft.put(Table::Erased, &word.to_bytes(), &[]);
            turn.draft.delete(Table::Erased, &ErasedKey { void: counts, ..word }.to_bytes());
        }
        for state in [Erased::Hidden, Erased::Gone].into_iter().filter(|_| counts) {
            if turn.draft.contains(Table::Confirmed, &rows::confirmed_key(entry.id(), &self.state.me, state))? {
                continue;
            }
            turn.draft.put(Table::Unconfirmed, &rows::unconfirmed_key(state, entry.id()), &rows::eno_key(eno));
        }
        if counts && !turn.rebuilds {
            let before = turn.draft.get(Table::Meta, rows::meta::ERASED_SINCE)?;
            let since = ErasedSince::and(before.as_deref().and_then(ErasedSince::of_bytes), turn.now, eno);
            turn.draft.put(Table::Meta, rows::meta::ERASED_SINCE, &since.to_bytes());
        }
        self.weigh_entries(&news, turn)
    }

    /// A member's word stops counting. Its leaves are to come again, unless somebody else's word erases them.
    pub(super) fn take_erase_out(
        &mut self,
        (eno, entry): (Eno, &Verified),
        erase: &Erase,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let (id, author) = (entry.id(), entry.header().author);
        for (entry, index) in erase.leaves() {
            let word = ErasedKey { leaf: Dot { entry: *entry, index: *index }, void: true, author, erasure: eno };
            turn.draft.put(Table::Erased, &word.to_bytes(), &[]);
            turn.draft.delete(Table::Erased, &ErasedKey { void: false, ..word }.to_bytes());
        }
        for state in [Erased::Hidden, Erased::Gone] {
            turn.draft.delete(Table::Unconfirmed, &rows::unconfirmed_key(state, id));
        }
        self.weigh_all(erase, turn)
    }

    /// Notes by what a member's words erase. Returns whether that differs from before.
    fn note_eraser(&mut self, author: Did, turn: &mut Turn<'_>) -> bool {
        let members = &self.state.members;
        let admin = members.allowed_once(&author, Role::Admin);
        let row = EraserRow { admin, line: members.keys_of(&author) };
        let differs = self.state.erasers.get(&author) != Some(&row);
        if differs {
            turn.draft.put(Table::Erasers, author.as_bytes(), &rows::encode(&row));
            self.state.erasers.insert(author, row);
        }
        differs
    }

    /// Weighs again what members erased who may erase more or less by now. They became admins, or have another key.
    pub(super) fn weigh_erasers(&mut self, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let erasers: Vec<Did> = self.state.erasers.keys().copied().collect();
        for author in erasers {
            if !self.note_eraser(author, turn) {
                continue;
            }
            let logs: Vec<LogNo> =
                self.state.logs.iter().filter(|(id, _)| id.author == author).map(|(_, log)| log.no).collect();
            for log in logs {
                for eno in enos_of_log(&turn.draft, log, 0, u64::MAX)? {
                    let Some(entry) = read_entry(&turn.draft, eno)?.filter(|entry| entry.header().kind == Kind::ERASE)
                    else {
                        continue;
                    };
                    if let Ok(Ok(erase)) = entry.content().map(Erase::decode) {
                        self.weigh_all(&erase, turn)?;
                        self.tell_followers(&entry, turn)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn weigh_all(&mut self, erase: &Erase, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        self.weigh_entries(&erase.leaves().iter().map(|(id, _)| *id).collect(), turn)
    }

    /// Weighs all entries of which somebody erases leaves: the derived tables were rebuilt.
    pub(super) fn weigh_every_named(&mut self, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let mut after = None;
        while let Some(id) = erased_after(&turn.draft, after)? {
            self.weigh_entries(&BTreeSet::from([id]), turn)?;
            after = Some(id);
        }
        Ok(())
    }

    fn weigh_entries(&mut self, entries: &BTreeSet<EntryId>, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if turn.rebuilds {
            return Ok(());
        }
        for id in entries {
            if let Some(eno) = find_entry(&turn.draft, *id)? {
                self.weigh(eno, turn)?;
            }
        }
        Ok(())
    }

    /// Brings a held entry to what may be here of it, and notes whether leaves of it are to come again. Entries of which nobody
    /// erases anything are not read.
    fn weigh(&mut self, eno: Eno, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if !is_named(&turn.draft, eno)? && !turn.draft.contains(Table::Lacking, &rows::eno_key(eno))? {
            return Ok(());
        }
        match read_entry(&turn.draft, eno)? {
            Some(entry) => self.weigh_entry(eno, &entry, turn),
            None => Ok(()),
        }
    }

    /// The same for an entry that was read.
    pub(super) fn weigh_entry(&mut self, eno: Eno, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if planted("erases_own_alone") && entry.header().author != self.state.me {
            return Ok(());
        }
        let erased = erased_leaves(&turn.draft, entry)?;
        let left = erased.iter().fold(entry.clone(), |entry, leaf| entry.without(*leaf));
        if left != *entry {
            self.replace(eno, (entry, &left), turn)?;
            if entry.header().kind == Kind::DOCUMENT {
                self.forget_saved_document(entry, turn)?;
                self.tell_followers(entry, turn)?;
            }
        } else {
            // the member that erased it may have become an admin
            self.note_erased_document(eno, entry, turn)?;
        }
        Self::note_lacking(eno, &left, &erased, turn)
    }

    fn note_lacking(eno: Eno, left: &Verified, erased: &[u16], turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let key = rows::eno_key(eno);
        let lacks = left.lacks().iter().any(|leaf| !erased.contains(leaf));
        if lacks == turn.draft.contains(Table::Lacking, &key)? {
            return Ok(());
        }
        if lacks {
            turn.draft.put(Table::Lacking, &key, &[]);
            turn.events.push(Event::Lacking);
        } else {
            turn.draft.delete(Table::Lacking, &key);
        }
        Ok(())
    }

    /// An entry without the leaves that words which count erase.
    pub(super) fn left_of(&self, entry: Verified, turn: &Turn<'_>) -> Result<Verified, LedgerError> {
        if self.state.erasers.is_empty() {
            return Ok(entry);
        }
        let erased = erased_leaves(&turn.draft, &entry)?;
        Ok(erased.into_iter().fold(entry, Verified::without))
    }

    /// Takes leaves of a held entry that were to come again, from another copy of it.
    pub(super) fn fill(&mut self, eno: Eno, copy: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some(entry) = read_entry(&turn.draft, eno)? else { return Ok(()) };
        let filled = entry.clone().filled_by(copy);
        let mut erased = erased_leaves(&turn.draft, &filled)?;
        if planted("takes_erased_again") {
            erased.clear();
        }
        let filled = erased.iter().fold(filled, |entry, leaf| entry.without(*leaf));
        if filled != entry {
            self.replace(eno, (&entry, &filled), turn)?;
            self.tell_followers(&entry, turn)?;
        }
        Self::note_lacking(eno, &filled, &erased, turn)
    }

    /// Has followers look at an entry again, with the next one that is stored.
    fn tell_followers(&mut self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let (header, next) = (entry.header(), self.state.next_eno);
        let log = self.state.log_mut(header.log(), &mut turn.draft).no;
        note_recount(next, log, RecountRow { from: header.seq, to: Some(header.seq + 1) }, turn)
    }

    /// Puts another copy of a held entry in its place, and brings what was derived from it to that.
    fn replace(
        &mut self,
        eno: Eno,
        (entry, left): (&Verified, &Verified),
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let before = standing(&turn.draft, eno)?;
        let counts = before != Standing::Cut;
        let folded = entry.header().kind == Kind::WRITES && counts;
        Self::note_records(entry, left, turn)?;
        let attached = attached_to(entry);
        if before == Standing::Applied && folded {
            let (mut undone, mut writes) = (Undone::default(), writes_of(entry).unwrap_or_default());
            if planted("leaves_rows_of_erased") {
                writes.retain(|placed| matches!(placed.write.target, Target::Create { .. }));
            }
            undone.add(eno, entry.id(), writes);
            if let Some(space) = self.state.spaces.get_mut(&entry.header().space) {
                let mut fold = FoldWrites::new(space.no, &mut turn.draft);
                fold.undo(&undone)?;
                space.records = space.records.saturating_add_signed(fold.records());
                turn.draft.put(Table::Spaces, entry.header().space.as_bytes(), &rows::encode(space));
            }
        }
        let unfolded = match kind_of(&self.state.mesh, entry) {
            Some(kind) => kind.unfold(self, Placed { eno, entry, counts }, turn)?,
            None => false,
        };
        match left.payload() {
            Some(payload) => turn.draft.put(Table::Payloads, &rows::eno_key(eno), payload),
            None => turn.draft.delete(Table::Payloads, &rows::eno_key(eno)),
        }
        if unfolded || folded {
            // where its values lie has changed with it
            turn.draft.delete(Table::Standing, &rows::eno_key(eno));
            turn.draft.delete(Table::Quarantine, &rows::eno_key(eno));
            self.fold_as_it_counts(eno, left, counts, turn)?;
            self.tidy_document(entry, turn)?;
        }
        if folded && let Some(space) = self.state.spaces.get(&entry.header().space) {
            turn.draft.put(Table::Spaces, entry.header().space.as_bytes(), &rows::encode(space));
        }
        let still = attached_to(left);
        for blob in attached.difference(&still) {
            if !is_attached(&turn.draft, blob)? {
                turn.draft.put(Table::Unwanted, blob, &[]);
            }
        }
        Ok(())
    }

    /// Notes to which records the leaves wrote that go now: followers are told of these. A record that goes may have edits of
    /// this node's member, which go with it.
    fn note_records(entry: &Verified, left: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let lacks = left.lacks();
        if entry.header().kind == Kind::TASKS_APART {
            for PlacedTaskEvent { index, event } in task_events_of(entry).unwrap_or_default() {
                if matches!(event, TaskEvent::Submitted(_)) && lacks.contains(&index.saturating_add(1)) {
                    Self::erase_late(Dot { entry: entry.id(), index }, turn);
                }
            }
        }
        if entry.header().kind != Kind::WRITES {
            return Ok(());
        }
        let mut records = BTreeMap::new();
        for placed in writes_of(entry).unwrap_or_default() {
            if !lacks.contains(&placed.index) && lacks != [ALL_LEAVES] {
                continue;
            }
            let own = Dot { entry: entry.id(), index: placed.index };
            let record = match placed.write.target {
                Target::Create { .. } => {
                    Self::erase_late(own, turn);
                    // an import must not bring a copy back
                    if let Some(was) = Core::parse(&placed.write.value).and_then(|core| core.was) {
                        let former = rows::was_prefix(&was.id, &entry.header().author);
                        turn.draft.put(Table::ErasedWas, &former, &[]);
                    }
                    own
                }
                Target::Edit { record } => record,
            };
            records.insert(placed.index, record);
        }
        for (index, record) in records {
            let leaf = Dot { entry: entry.id(), index };
            turn.draft.put(Table::ErasedOf, &leaf.to_bytes(), &record.to_bytes());
        }
        Ok(())
    }

    /// Notes that a record is erased: edits of it that this node's member may erase go, too.
    pub(super) fn erase_late(record: Dot, turn: &mut Turn<'_>) {
        if turn.rebuilds || planted("keeps_edits_of_erased") {
            return;
        }
        turn.draft.put(Table::ErasedLate, &record.to_bytes(), &[]);
    }

    /// Notes events of tasks that were erased before they came.
    pub(super) fn note_events_of_erased(
        &self,
        events: &[PlacedTaskEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        if self.state.erasers.is_empty() {
            return Ok(());
        }
        for task in events.iter().filter_map(|placed| placed.event.task()) {
            if find_task(&turn.draft, task)?.is_some() && self.is_erased(task, turn)? {
                Self::erase_late(task, turn);
            }
        }
        Ok(())
    }

    /// Notes edits of records that were erased before they came. No reader finds them, and they are still on the disk.
    pub(super) fn note_edits_of_erased(&self, writes: &[PlacedWrite], turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if self.state.erasers.is_empty() {
            return Ok(());
        }
        for PlacedWrite { write, .. } in writes {
            if let Target::Edit { record } = write.target
                && write.field.as_str() != Field::GONE
                && self.is_erased(record, turn)?
            {
                Self::erase_late(record, turn);
            }
        }
        Ok(())
    }
}
