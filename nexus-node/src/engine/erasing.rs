use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nexus_crdt::{
    ALL_LEAVES, CONFIRMED_TOGETHER_MAX, Confirmation, Dot, ENTRY_FORMAT_FIRST, ERASED_TOGETHER_MAX, EntryId, Erase,
    Erased, Field, Kind, PlacedWrite, SpaceId, Target, TaskId, Verified, writes_of,
};
use nexus_identity::{Did, Role};

use super::append::Commands;
use super::io::{CommandId, Edit, EraseFate, EraseTarget, Outcome};
use super::payload::OwnPayload;
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, unreadable};
use crate::ledger::{
    author_of, begins, each_write, end_of, entries_of_log, entry_of, erased_leaves, find_record, find_space, find_task,
    read_entry, records_that_were, unconfirmed, words_about,
};
use crate::store::{ALL_KEYS, Order, Table, View};

/// The most records of which edits are erased in one turn.
const LATE_TOGETHER: usize = 256;

/// A leaf of an entry.
type LeafId = (EntryId, u16);
/// Writes of this node's member that count no more, by their records.
type CutWrites = BTreeMap<Dot, Vec<(LeafId, Did)>>;

impl Engine {
    /// Erases what is named with all its versions, as far as this node's member may.
    pub(super) fn erase(
        &mut self,
        (place, targets): (usize, &[EraseTarget]),
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        if !self.state.erases {
            return Ok(Outcome::TooEarly);
        }
        let cut = self.cut_writes(turn)?;
        let (mut together, mut named) = (BTreeSet::new(), BTreeSet::new());
        let mut leaves_of = Vec::with_capacity(targets.len());
        for target in targets {
            let leaves = match target {
                EraseTarget::Record(record) => self.leaves_of_record(*record, &cut, turn)?,
                EraseTarget::Task(task) => leaves_of_task(*task, &turn.draft)?,
                EraseTarget::Document { space, document } => self.leaves_of_document((*space, document), turn)?,
            };
            together.extend(leaves.iter().map(|(leaf, _)| *leaf));
            leaves_of.push(leaves);
        }
        let mut fates = Vec::with_capacity(targets.len());
        for (target, leaves) in targets.iter().zip(leaves_of) {
            let fate = match target {
                EraseTarget::Record(record) => match find_record(&turn.draft, *record)? {
                    None if leaves.is_empty() => EraseFate::Missing,
                    None => match leaves.iter().map(|(_, author)| *author).find(|author| !self.may_erase_of(author)) {
                        Some(author) => EraseFate::NotPermitted { author },
                        None => self.name(leaves, &together, &mut named, turn)?,
                    },
                    Some((_, row)) => {
                        let author = author_of(&turn.draft, row.log)?;
                        if self.may_erase_of(&author) {
                            self.name(leaves, &together, &mut named, turn)?
                        } else {
                            let values = BTreeMap::from([(Field::GONE, serde_json::Value::Bool(true))]);
                            self.edit(place, *record, &Edit { values, ..Edit::default() }, run, turn)?;
                            EraseFate::Forgotten { author }
                        }
                    }
                },
                EraseTarget::Task(task) => match find_task(&turn.draft, *task)? {
                    None => EraseFate::Missing,
                    Some((_, row)) if !self.may_erase_of(&row.submitter) => {
                        EraseFate::NotPermitted { author: row.submitter }
                    }
                    Some((_, row)) if end_of(&turn.draft, *task, &row)?.is_none() => EraseFate::Open,
                    Some(_) => self.name(leaves, &together, &mut named, turn)?,
                },
                EraseTarget::Document { .. } if leaves.is_empty() => EraseFate::Missing,
                EraseTarget::Document { space, document } => match self.other_author((*space, document), turn)? {
                    Some(author) => EraseFate::NotPermitted { author },
                    None => self.name(leaves, &together, &mut named, turn)?,
                },
            };
            fates.push(fate);
        }
        // words that a record is forgotten are entries of their own
        self.seal_all(run, turn)?;
        let erasures = self.write_erasures(named.into_iter().collect(), run.id(place), turn)?;
        Ok(Outcome::Erased { fates, erasures })
    }

    /// Names those of the leaves that this node's member may erase. An entry in one piece goes as a whole, or not at all.
    fn name(
        &self,
        leaves: Vec<(LeafId, Did)>,
        together: &BTreeSet<LeafId>,
        named: &mut BTreeSet<LeafId>,
        turn: &Turn<'_>,
    ) -> Result<EraseFate, LedgerError> {
        let (own, others): (Vec<_>, Vec<_>) = leaves.into_iter().partition(|(_, author)| self.may_erase_of(author));
        let (mut of_this, mut beside) = (BTreeSet::new(), None);
        for (leaf, _) in own {
            match self.named(leaf, together, turn)? {
                Ok(leaf) => drop(of_this.insert(leaf)),
                Err(rest) => beside = Some(beside.unwrap_or_default() + rest),
            }
        }
        if let Some(others) = beside {
            return Ok(EraseFate::Whole { others });
        }
        let fate = EraseFate::Erased { leaves: of_this.len(), others: others.into_iter().map(|(_, by)| by).collect() };
        named.extend(of_this);
        Ok(fate)
    }

    /// How an erasure names a leaf; else the number of other writes that would go with it.
    fn named(
        &self,
        (id, index): LeafId,
        erased: &BTreeSet<LeafId>,
        turn: &Turn<'_>,
    ) -> Result<Result<LeafId, usize>, LedgerError> {
        let Some(entry) = entry_of(&turn.draft, id)? else { return Ok(Ok((id, index))) };
        if entry.header().kind == Kind::TASKS {
            return Ok(Err(0));
        }
        if entry.header().format() != ENTRY_FORMAT_FIRST {
            return Ok(Ok((id, index)));
        }
        let writes = writes_of(&entry).unwrap_or_default();
        let others = writes
            .iter()
            .filter(|placed| placed.write.field.as_str() != Field::GONE && !erased.contains(&(id, placed.index)));
        Ok(match others.count() {
            0 => Ok((id, ALL_LEAVES)),
            others => Err(others),
        })
    }

    /// Whether this node's member may erase what an author wrote.
    fn may_erase_of(&self, author: &Did) -> bool {
        let members = &self.state.members;
        members.same_line(author, &self.state.me) || members.allows(&self.state.me, Role::Admin)
    }

    /// The leaves of the writes to a record that are here, each with its author. A word that it is forgotten has no text. Of a
    /// record that nobody sees, as its entry does not count, that is the leaf with its beginning.
    fn leaves_of_record(
        &self,
        record: Dot,
        cut: &CutWrites,
        turn: &Turn<'_>,
    ) -> Result<Vec<(LeafId, Did)>, LedgerError> {
        let Some(entry) = entry_of(&turn.draft, record.entry)? else { return Ok(Vec::new()) };
        let Some(space) = find_space(&turn.draft, entry.header().space)? else { return Ok(Vec::new()) };
        let mut leaves = BTreeMap::new();
        let mut beside: BTreeSet<(LeafId, Did)> = cut.get(&record).into_iter().flatten().copied().collect();
        match find_record(&turn.draft, record)? {
            Some((_, row)) => drop(leaves.insert((record.entry, record.index), row.log)),
            None if begins(&entry, record.index) => {
                beside.insert(((record.entry, record.index), entry.header().author));
            }
            None => {}
        }
        for table in [Table::Live, Table::Past] {
            each_write(&turn.draft, table, space.no, record, &mut |field, dot, row| {
                if field.as_str() != Field::GONE {
                    leaves.insert((dot.entry, dot.index), row.log);
                }
                Ok(())
            })?;
        }
        let counting = leaves.into_iter().map(|(leaf, log)| Ok((leaf, author_of(&turn.draft, log)?)));
        counting.chain(beside.into_iter().map(Ok)).collect()
    }

    /// Whether a word that counts erased the beginning of a record, or the input of a task.
    pub(super) fn is_erased(&self, record: Dot, turn: &Turn<'_>) -> Result<bool, LedgerError> {
        if find_record(&turn.draft, record)?.is_some() {
            return Ok(false);
        }
        let Some(entry) = entry_of(&turn.draft, record.entry)? else { return Ok(false) };
        let erased = erased_leaves(&turn.draft, &entry)?;
        // the facts of a task stay, and its texts are behind them
        let leaf = record.index.saturating_add(u16::from(entry.header().kind == Kind::TASKS_APART));
        Ok(erased.contains(&leaf) || erased.contains(&ALL_LEAVES))
    }

    /// Erases what came late, and tells the mesh what this node has carried out. The bytes of erasures up to entry `gone` are
    /// gone from its files.
    pub(super) fn carry_out(&mut self, gone: Eno, of: CommandId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        if !self.state.erases {
            return Ok(());
        }
        self.erase_what_came_late(of, turn)?;
        let hidden = unconfirmed(&turn.draft, Erased::Hidden)?;
        self.confirm(Erased::Hidden, &hidden.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), of, turn)?;
        let until = unconfirmed(&turn.draft, Erased::Gone)?.into_iter().filter(|(_, eno)| *eno <= gone);
        self.confirm(Erased::Gone, &until.map(|(id, _)| id).collect::<Vec<_>>(), of, turn)
    }

    /// Erases what this node's member wrote to records that were erased meanwhile, and what others wrote to those that it
    /// erased as an admin.
    fn erase_what_came_late(&mut self, of: CommandId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let mut records = Vec::new();
        turn.draft.try_scan(Table::ErasedLate, ALL_KEYS, Order::Forward, &mut |key, _| {
            records.push(Dot::from_bytes(key).ok_or_else(|| unreadable(Table::ErasedLate))?);
            let more = records.len() < LATE_TOGETHER;
            Ok(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if records.is_empty() {
            return Ok(());
        }
        let (mut leaves, cut) = (BTreeSet::new(), self.cut_writes(turn)?);
        for record in records {
            turn.draft.delete(Table::ErasedLate, &record.to_bytes());
            if let Some(entry) = self.entry_about_document(record.entry, turn)? {
                leaves.extend(self.late_changes(&entry, turn)?);
                continue;
            }
            if !self.is_erased(record, turn)? {
                continue;
            }
            let is_task = find_task(&turn.draft, record)?.is_some();
            let mut all =
                if is_task { leaves_of_task(record, &turn.draft)? } else { self.leaves_of_record(record, &cut, turn)? };
            // its author's log forked, and its author wrote it again
            for again in self.written_again(record, turn)? {
                all.extend(self.leaves_of_record(again, &cut, turn)?);
            }
            let written: BTreeSet<LeafId> = all.iter().map(|(leaf, _)| *leaf).collect();
            for (leaf, author) in all {
                if self.state.members.same_line(&author, &self.state.me) || self.erased_it_as_admin(record, turn)? {
                    leaves.extend(self.named(leaf, &written, turn)?);
                }
            }
        }
        self.write_erasures(leaves.into_iter().collect(), of, turn)?;
        Ok(())
    }

    /// The records that the author of another one wrote in place of that.
    fn written_again(&self, record: Dot, turn: &Turn<'_>) -> Result<Vec<Dot>, LedgerError> {
        let Some(entry) = entry_of(&turn.draft, record.entry)? else { return Ok(Vec::new()) };
        Ok(records_that_were(&turn.draft, &record.to_string(), &entry.header().author)?)
    }

    /// The writes in entries of this node's member that count no more, since its log forked, by the records to which they are.
    fn cut_writes(&self, turn: &Turn<'_>) -> Result<CutWrites, LedgerError> {
        let mut found = CutWrites::new();
        for (id, log) in &self.state.logs {
            let Some(cut) = log.held.and_then(|held| held.cut) else { continue };
            if !self.state.members.same_line(&id.author, &self.state.me) {
                continue;
            }
            for (eno, entry) in entries_of_log(&turn.draft, log.no, cut, u64::MAX)? {
                let Some(held) = read_entry(&turn.draft, eno)?.filter(|held| held.header().kind == Kind::WRITES) else {
                    continue;
                };
                for PlacedWrite { index, write, .. } in writes_of(&held).unwrap_or_default() {
                    let record = match write.target {
                        Target::Create { .. } => Dot { entry, index },
                        Target::Edit { record } => record,
                    };
                    if write.field.as_str() != Field::GONE {
                        found.entry(record).or_default().push(((entry, index), id.author));
                    }
                }
            }
        }
        Ok(found)
    }

    fn erased_it_as_admin(&self, record: Dot, turn: &Turn<'_>) -> Result<bool, LedgerError> {
        if !self.state.members.allows(&self.state.me, Role::Admin) {
            return Ok(false);
        }
        let is_task = u16::from(find_task(&turn.draft, record)?.is_some());
        for index in [record.index.saturating_add(is_task), ALL_LEAVES] {
            let words = words_about(&turn.draft, Dot { entry: record.entry, index })?;
            if words.iter().any(|word| word.author == self.state.me) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says which leaves are to be erased, in as many entries as that takes.
    fn write_erasures(
        &mut self,
        leaves: Vec<LeafId>,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<EntryId>, LedgerError> {
        let (space, mut written) = (SpaceId::mesh(&self.state.mesh), Vec::new());
        for some in leaves.chunks(ERASED_TOGETHER_MAX) {
            if let Ok(erase) = Erase::of(some.to_vec()) {
                let payload = OwnPayload::One(erase.encode());
                written.push(self.append(space, Kind::ERASE, payload, vec![of], turn)?.id());
            }
        }
        Ok(written)
    }

    fn confirm(
        &mut self,
        state: Erased,
        erasures: &[EntryId],
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        for some in erasures.chunks(CONFIRMED_TOGETHER_MAX) {
            if let Ok(word) = Confirmation::of(state, some.to_vec()) {
                self.write_of_mesh(Kind::CONFIRMATION, word.encode(), of, turn)?;
            }
        }
        Ok(())
    }

    /// Notes that a member has carried out erasures.
    pub(super) fn fold_confirmation(&self, entry: &Verified, word: &Confirmation, turn: &mut Turn<'_>) {
        let (author, stamp) = (entry.header().author, entry.header().hlc.0.to_le_bytes());
        for erasure in word.erasures() {
            turn.draft.put(Table::Confirmed, &rows::confirmed_key(*erasure, &author, word.state()), &stamp);
            if author == self.state.me {
                turn.draft.delete(Table::Unconfirmed, &rows::unconfirmed_key(word.state(), *erasure));
            }
        }
    }
}

/// The leaves with the texts of a task's events, each with its author. For events of an earlier format the facts stand in.
fn leaves_of_task(task: TaskId, view: &dyn View) -> Result<Vec<(LeafId, Did)>, LedgerError> {
    let mut events = vec![task];
    view.try_scan_prefix(Table::TaskEvents, &task.to_bytes(), Order::Forward, &mut |key, value| {
        events.push(rows::read_task_event(key, value)?.dot);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut leaves = Vec::with_capacity(events.len());
    for Dot { entry: id, index } in events {
        let Some(entry) = entry_of(view, id)? else { continue };
        let author = entry.header().author;
        let texts = index.saturating_add(1);
        if entry.header().kind == Kind::TASKS {
            leaves.push(((id, index), author));
        } else if entry.may_lose(texts) && !entry.lacks().contains(&texts) {
            leaves.push(((id, texts), author));
        }
    }
    Ok(leaves)
}
