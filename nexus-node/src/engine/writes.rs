use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nexus_crdt::{Core, Dot, EntryId, Field, Hlc, PlacedWrite, Target, Verified, Write};
use nexus_identity::plants::planted;
use nexus_identity::{Did, folded};

use crate::ledger::rows::{self, Eno, LogNo, RecordRow, SpaceNo, TimeKey, WriteRow};
use crate::ledger::{
    self, SUPERSEDES, attachment_in, author_of, find_record, has_any, live_writes, read_core_text, superseded_id,
};
use crate::store::{self, Draft, Order, StoreError, Table, View};

/// The member of a core with the blob of its text.
const ATTACHMENT: &str = "\"attachment\"";
/// The member of a core with the id of the record that it supersedes.
const SUPERSEDES_MEMBER: &str = "\"supersedes\"";

/// Puts the writes of a space into the tables, or takes them out.
///
/// The tables are a function of the set of writes in them, so any write can be taken out again. For
/// each field, *live = writes − the union of their `over`*.
pub(super) struct FoldWrites<'a, 'b> {
    space: SpaceNo,
    /// The number of new memories, less the forgotten ones.
    records: i64,
    draft: &'a mut Draft<'b>,
}

impl<'a, 'b> FoldWrites<'a, 'b> {
    pub(super) const fn new(space: SpaceNo, draft: &'a mut Draft<'b>) -> Self {
        Self { space, records: 0, draft }
    }

    /// The change of the number of visible memories.
    pub(super) const fn records(&self) -> i64 {
        self.records
    }

    /// Folds the writes of one entry.
    pub(super) fn entry(
        &mut self,
        eno: Eno,
        log: LogNo,
        entry: &Verified,
        writes: &[PlacedWrite],
    ) -> Result<(), StoreError> {
        let hlc = entry.header().hlc;
        for PlacedWrite { index, value_at, write } in writes {
            let (dot, offset) = (Dot { entry: entry.id(), index: *index }, *value_at);
            match write.target {
                Target::Create { page } => {
                    let len = u32::try_from(write.value.len()).unwrap_or(u32::MAX);
                    let check = store::checksum(write.value.as_bytes());
                    let row = RecordRow { space: self.space, log, page, hlc, offset, len, check, gone: false };
                    self.create(eno, dot, row, &write.value)?;
                }
                Target::Edit { record } => self.edit(log, hlc, dot, record, write)?,
            }
        }
        Ok(())
    }

    fn create(&mut self, eno: Eno, record: Dot, row: RecordRow, core: &str) -> Result<(), StoreError> {
        let gone = self.is_gone(record)? && !planted("late_creation_returns");
        let row = RecordRow { gone, ..row };
        self.draft.put(Table::Records, &rows::record_key(eno, record.index), &rows::encode(&row));
        // also of a forgotten one, which an import must not bring back
        if let Some(former) = former(self.draft, &row, core)? {
            self.draft.put(Table::Was, &rows::with_dot(&former, record), &[]);
        }
        // until it is erased, it can be brought back
        if let Some(attachment) = member(core, ATTACHMENT)?.and_then(|core| core.attachment) {
            self.draft.put(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), record), &[]);
        }
        if let Some(id) = member(core, SUPERSEDES_MEMBER)?.and_then(|core| core.supersedes) {
            self.draft.put(Table::Successors, &rows::successor_key(self.space, &id, record, record), &[]);
        }
        if !gone {
            self.bring_into_sight(eno, record, &row, core)?;
        }
        if self.may_supersede(record, core)? {
            let (author, ids) = self.supersedes(record)?;
            for id in ids {
                self.note_linked_of(&id, author)?;
            }
        }
        self.note_linked_key(record, core)
    }

    /// Whether a record names another one as superseded, in its core or in a write that came before it. Most do not.
    fn may_supersede(&self, record: Dot, core: &str) -> Result<bool, StoreError> {
        let edits = rows::field_prefix(self.space, record, SUPERSEDES);
        Ok(core.contains(SUPERSEDES_MEMBER)
            || has_any(self.draft, Table::Live, &edits)?
            || has_any(self.draft, Table::Past, &edits)?)
    }

    /// The same for the records that an author's `supersedes` means: by their ids, or by former ones in its own words.
    fn note_linked_of(&mut self, superseded: &str, author: Option<Did>) -> Result<(), StoreError> {
        if let Some(record) = ledger::record_called(self.draft, superseded)? {
            return self.note_linked(record);
        }
        let Some(author) = author else { return Ok(()) };
        for record in ledger::former_records(self.draft, superseded, &author)? {
            self.note_linked(record)?;
        }
        Ok(())
    }

    /// The author of a record, and the ids that its core and later writes name as superseded.
    fn supersedes(&self, record: Dot) -> Result<(Option<Did>, BTreeSet<String>), StoreError> {
        let Some((eno, row)) = self.record(record)? else { return Ok((None, BTreeSet::new())) };
        let core = read_core_text(self.draft, eno, &row)?;
        if !self.may_supersede(record, &core)? {
            return Ok((None, BTreeSet::new()));
        }
        let core = member(&core, SUPERSEDES_MEMBER)?.unwrap_or_default();
        let author = author_of(self.draft, row.log)?;
        Ok((Some(author), ledger::superseded_ids(self.draft, self.space, record, &core)?))
    }

    /// Notes that a record with a caller's key is in a chain, or no longer is.
    fn note_linked(&mut self, record: Dot) -> Result<(), StoreError> {
        let Some((eno, row)) = self.record(record)? else { return Ok(()) };
        let core = read_core_text(self.draft, eno, &row)?;
        self.note_linked_key(record, &core)
    }

    fn note_linked_key(&mut self, record: Dot, core: &str) -> Result<(), StoreError> {
        let Some(core) = member(core, "\"key\"")? else { return Ok(()) };
        let (Some(key), Some((_, row))) = (&core.key, self.record(record)?) else { return Ok(()) };
        let key = rows::with_dot(&rows::caller_key_prefix(row.space, key), record);
        let is_linked = !ledger::superseded_ids(self.draft, self.space, record, &core)?.is_empty()
            || !ledger::followers(self.draft, record, &row, &core)?.is_empty();
        if is_linked {
            self.draft.put(Table::LinkedKeys, &key, &[]);
        } else if self.draft.contains(Table::LinkedKeys, &key)? {
            self.draft.delete(Table::LinkedKeys, &key);
        }
        Ok(())
    }

    fn edit(&mut self, log: LogNo, hlc: Hlc, dot: Dot, record: Dot, write: &Write) -> Result<(), StoreError> {
        let field = write.field.as_str();
        let key = rows::write_key(self.space, record, field, dot);
        let row = rows::encode(&WriteRow { log, hlc, value: write.value.clone(), over: write.over.clone() });
        if let Some(attachment) = attachment_in(field, &write.value) {
            // also of one that was replaced: the history shows it
            self.draft.put(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), dot), &[]);
        }
        if let Some(id) = (field == SUPERSEDES).then(|| superseded_id(&write.value)).flatten() {
            self.draft.put(Table::Successors, &rows::successor_key(self.space, &id, record, dot), &[]);
            let author = self.author(record)?;
            self.note_linked_of(&id, author)?;
        }
        if field == Field::GONE {
            // nothing overwrites it
            self.draft.put(Table::Live, &key, &row);
            return self.forget(record);
        }
        for over in &write.over {
            let key = rows::write_key(self.space, record, field, *over);
            if let Some(row) = self.draft.get(Table::Live, &key)? {
                self.draft.delete(Table::Live, &key);
                self.draft.put(Table::Past, &key, &row);
            } else if !self.draft.contains(Table::Past, &key)? {
                // it may still arrive, and will be past then
                self.draft.put(Table::Past, &key, &[]);
            }
        }
        if planted("last_arrival_wins") {
            for (other, _) in live_writes(self.draft, self.space, record, field)? {
                self.draft.delete(Table::Live, &rows::write_key(self.space, record, field, other));
            }
        }
        let overwritten = self.draft.contains(Table::Past, &key)? && !planted("counts_what_was_replaced");
        self.draft.put(if overwritten { Table::Past } else { Table::Live }, &key, &row);
        if field == SUPERSEDES { self.note_linked(record) } else { Ok(()) }
    }

    /// Hides a record, if it is here and visible.
    fn forget(&mut self, record: Dot) -> Result<(), StoreError> {
        let Some((eno, row)) = self.record(record)?.filter(|(_, row)| !row.gone) else {
            return Ok(());
        };
        let edits = rows::field_prefix(self.space, record, Field::TEXT);
        if planted("forget_loses_to_edit") && has_any(self.draft, Table::Live, &edits)? {
            return Ok(());
        }
        self.put_record(eno, record, RecordRow { gone: true, ..row });
        self.take_out_of_sight(eno, record, &row)
    }

    /// Takes writes out. All of them go at once, since they may overwrite one another.
    pub(super) fn undo(&mut self, undone: &Undone) -> Result<(), StoreError> {
        for ((record, field), dots) in &undone.edits {
            self.fold_field_without(*record, field.as_str(), dots)?;
            if field.as_str() == Field::GONE {
                self.forget_no_more(*record)?;
            }
        }
        for (eno, record) in &undone.created {
            let Some((_, row)) = self.record(*record)? else { continue };
            if !row.gone {
                self.take_out_of_sight(*eno, *record, &row)?;
            }
            let core = read_core_text(self.draft, *eno, &row)?;
            if let Some(former) = former(self.draft, &row, &core)? {
                self.draft.delete(Table::Was, &rows::with_dot(&former, *record));
            }
            if let Some(attachment) = member(&core, ATTACHMENT)?.and_then(|core| core.attachment) {
                self.draft.delete(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), *record));
            }
            if let Some(core) = member(&core, "\"key\"")?
                && let Some(key) = core.key
            {
                let key = rows::with_dot(&rows::caller_key_prefix(row.space, &key), *record);
                self.draft.delete(Table::LinkedKeys, &key);
            }
            let (author, ids) = self.supersedes(*record)?;
            if let Some(id) = member(&core, SUPERSEDES_MEMBER)?.and_then(|core| core.supersedes) {
                self.draft.delete(Table::Successors, &rows::successor_key(self.space, &id, *record, *record));
            }
            self.draft.delete(Table::Records, &rows::record_key(*eno, record.index));
            for id in ids {
                self.note_linked_of(&id, author)?;
            }
        }
        Ok(())
    }

    /// Takes these writes out of a field. Of its other writes one is in memory at a time: their number and
    /// their size have no bound.
    fn fold_field_without(&mut self, record: Dot, field: &str, dots: &BTreeSet<Dot>) -> Result<(), StoreError> {
        let space = self.space;
        let key = |dot: Dot| rows::write_key(space, record, field, dot);
        // these may no longer be overwritten by anything
        let mut free = BTreeSet::new();
        for dot in dots {
            for table in [Table::Live, Table::Past] {
                let Some(row) = self.draft.get(table, &key(*dot))? else { continue };
                if !row.is_empty() && field != Field::GONE {
                    let WriteRow { value, over, .. } = rows::decode(table, &row)?;
                    if let Some(attachment) = attachment_in(field, &value) {
                        self.draft.delete(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), *dot));
                    }
                    if let Some(id) = (field == SUPERSEDES).then(|| superseded_id(&value)).flatten() {
                        self.draft.delete(Table::Successors, &rows::successor_key(space, &id, record, *dot));
                        let author = self.author(record)?;
                        self.note_linked_of(&id, author)?;
                    }
                    free.extend(over);
                    free.insert(*dot);
                }
                self.draft.delete(table, &key(*dot));
            }
        }
        let mut returning = Vec::new();
        for table in [Table::Live, Table::Past] {
            self.draft.try_scan_prefix(
                table,
                &rows::field_prefix(space, record, field),
                Order::Forward,
                &mut |_, row| {
                    if free.is_empty() {
                        return Ok(ControlFlow::Break(()));
                    }
                    if !row.is_empty() {
                        let over = rows::decode::<WriteRow>(table, row)?.over;
                        returning.extend(over.into_iter().filter(|dot| free.remove(dot) && dots.contains(dot)));
                    }
                    Ok(ControlFlow::Continue(()))
                },
            )?;
        }
        // overwritten by others before it counts again, if ever
        for dot in returning {
            self.draft.put(Table::Past, &key(dot), &[]);
        }
        for dot in free {
            let Some(row) = self.draft.get(Table::Past, &key(dot))? else { continue };
            self.draft.delete(Table::Past, &key(dot));
            if !row.is_empty() {
                self.draft.put(Table::Live, &key(dot), &row);
            }
        }
        if field == SUPERSEDES { self.note_linked(record) } else { Ok(()) }
    }

    /// Shows a record again if no counting write forgets it.
    fn forget_no_more(&mut self, record: Dot) -> Result<(), StoreError> {
        let Some((eno, row)) = self.record(record)?.filter(|(_, row)| row.gone) else {
            return Ok(());
        };
        if self.is_gone(record)? {
            return Ok(());
        }
        let row = RecordRow { gone: false, ..row };
        self.put_record(eno, record, row);
        let core = read_core_text(self.draft, eno, &row)?;
        self.bring_into_sight(eno, record, &row, &core)
    }

    fn is_gone(&self, record: Dot) -> Result<bool, StoreError> {
        has_any(self.draft, Table::Live, &rows::field_prefix(self.space, record, Field::GONE))
    }

    /// A record of this space. Only writes in its own space can forget it.
    fn record(&self, record: Dot) -> Result<Option<(Eno, RecordRow)>, StoreError> {
        Ok(find_record(self.draft, record)?.filter(|(_, row)| row.space == self.space))
    }

    fn author(&self, record: Dot) -> Result<Option<Did>, StoreError> {
        self.record(record)?.map(|(_, row)| author_of(self.draft, row.log)).transpose()
    }

    fn put_record(&mut self, eno: Eno, record: Dot, row: RecordRow) {
        self.draft.put(Table::Records, &rows::record_key(eno, record.index), &rows::encode(&row));
    }

    fn bring_into_sight(&mut self, eno: Eno, record: Dot, row: &RecordRow, core: &str) -> Result<(), StoreError> {
        self.draft.put(Table::ByTime, &time_key(self.draft, eno, record, row)?, &[]);
        if let Some(key) = key_in(core)? {
            let [own, folded] = key_rows(row.space, &key, record);
            self.draft.put(Table::Keys, &own, &[]);
            self.draft.put(Table::FoldedKeys, &folded, &[]);
        }
        self.records += 1;
        Ok(())
    }

    fn take_out_of_sight(&mut self, eno: Eno, record: Dot, row: &RecordRow) -> Result<(), StoreError> {
        self.draft.delete(Table::ByTime, &time_key(self.draft, eno, record, row)?);
        if let Some(key) = key_in(&read_core_text(self.draft, eno, row)?)? {
            let [own, folded] = key_rows(row.space, &key, record);
            self.draft.delete(Table::Keys, &own);
            self.draft.delete(Table::FoldedKeys, &folded);
        }
        self.records -= 1;
        Ok(())
    }
}

/// Writes that no longer count.
#[derive(Default)]
pub(super) struct Undone {
    created: Vec<(Eno, Dot)>,
    edits: BTreeMap<(Dot, Field), BTreeSet<Dot>>,
}

impl Undone {
    /// Adds the writes of an entry.
    pub(super) fn add(&mut self, eno: Eno, entry: EntryId, writes: Vec<PlacedWrite>) {
        for PlacedWrite { index, write, .. } in writes {
            let dot = Dot { entry, index };
            match write.target {
                Target::Create { .. } => self.created.push((eno, dot)),
                Target::Edit { record } => {
                    self.edits.entry((record, write.field)).or_default().insert(dot);
                }
            }
        }
    }
}

/// The place of a record in the listings. One whose stamp was ahead when it came stands where it came.
fn time_key(view: &dyn View, eno: Eno, record: Dot, row: &RecordRow) -> Result<[u8; 22], StoreError> {
    let hlc = ledger::seen_at(view, eno)?.map_or(row.hlc, Hlc::at);
    Ok(TimeKey { space: row.space, hlc, eno, index: record.index }.to_bytes())
}

/// The caller's key in a core.
fn key_in(core: &str) -> Result<Option<String>, StoreError> {
    Ok(member(core, "\"key\"")?.and_then(|core| core.key))
}

/// The rows by which a record is found under its caller's key: in its own form, and without case.
fn key_rows(space: SpaceNo, key: &str, record: Dot) -> [Vec<u8>; 2] {
    let prefixes = [rows::caller_key_prefix(space, key), rows::caller_key_prefix(space, &folded(key))];
    prefixes.map(|prefix| rows::with_dot(&prefix, record).to_vec())
}

/// The prefix of the row by which a record is found under its former id, by its author's word.
fn former(view: &dyn View, row: &RecordRow, core: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let was = member(core, "\"was\"")?.and_then(|core| core.was);
    was.map(|was| Ok(rows::was_prefix(&was.id, &author_of(view, row.log)?))).transpose()
}

/// A core that may have a member. Most have not, and parsing JSON costs more than searching for the name.
fn member(core: &str, quoted: &str) -> Result<Option<Core>, StoreError> {
    let parse = |core| Core::parse(core).ok_or_else(|| rows::unreadable(Table::Payloads));
    core.contains(quoted).then(|| parse(core)).transpose()
}
