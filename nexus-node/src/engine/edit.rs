use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{Core, Dot, FIELDS, Field, OVER_MAX, SpaceId, Target, Write};

use super::append::{Answer, Commands, Pending};
use super::io::{Edit, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{SpaceNo, WriteRow};
use crate::ledger::{find_record, read_core, read_writes, records_with_key};
use crate::store::{StoreError, Table, View};

/// The live writes of a record, by field.
type LiveWrites = BTreeMap<Field, Vec<(Dot, WriteRow)>>;

impl Engine {
    /// Writes a keyed memory again: equal fields stay, different ones are edited.
    pub(super) fn write_again(
        &mut self,
        place: usize,
        record: Dot,
        core: &Core,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let values = FIELDS.iter().filter(|field| field.editable).map(|field| (field.name, field.get(core)));
        let edit = Edit { values: values.collect(), origin: core.origin() };
        self.edit(place, record, &edit, run, turn).map(|_| ())
    }

    /// Edits a record and all records that share its caller's key; they are one memory to readers.
    pub(super) fn edit(
        &mut self,
        place: usize,
        record: Dot,
        edit: &Edit,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        let answer = |outcome| Ok(Answer::Other(Some(outcome)));
        let Some((_, row)) = find_record(&turn.draft, record)? else {
            return answer(Outcome::NoRecord);
        };
        let Some(space) = self.state.spaces.iter().find(|(_, space)| space.no == row.space).map(|(id, _)| *id) else {
            return answer(Outcome::NoRecord);
        };
        if !self.may_write(space) {
            return answer(self.not_permitted());
        }
        let records = shown_as_one(&turn.draft, record)?;
        // effects of earlier commands in this turn must be visible
        let touched = |record: &Dot| {
            run.pending.get(&space).is_some_and(|pending| pending.writes_to(Target::Edit { record: *record }))
        };
        if records.iter().any(|(record, _)| touched(record)) {
            self.seal(space, run, turn)?;
        }
        if find_record(&turn.draft, record)?.is_none_or(|(_, row)| row.gone) {
            return answer(Outcome::NoRecord);
        }
        for (record, core) in records {
            let (writes, by) = differing(&turn.draft, (row.space, record), &core, edit)?;
            for write in writes {
                self.push_edit(space, write, by.as_ref(), (place, run), turn)?;
            }
        }
        let waits = run.pending.get(&space).is_some_and(|pending| pending.edits.contains(&place));
        Ok(Answer::Other((!waits).then_some(Outcome::Done(None))))
    }

    /// Queues a write for the next entry. Adds the origin once per record.
    fn push_edit(
        &mut self,
        space: SpaceId,
        write: Write,
        by: Option<&Write>,
        (place, run): (usize, &mut Commands),
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let is_full = run.pending.get(&space).is_some_and(|pending| {
            let both = [Some(&write), by.filter(|by| !pending.writes_to(by.target))];
            !pending.has_room_for(&both.into_iter().flatten().collect::<Vec<_>>())
        });
        if is_full {
            self.seal(space, run, turn)?;
        }
        let format = self.state.entry_format;
        let pending = run.pending.entry(space).or_insert_with(|| Pending::of(format));
        if let Some(by) = by.filter(|by| !pending.writes_to(by.target)) {
            pending.push(by.clone());
        }
        pending.push(write);
        pending.edits.push(place);
        Ok(())
    }
}

/// A record and those that share its caller's key, each with its core.
fn shown_as_one(view: &dyn View, record: Dot) -> Result<Vec<(Dot, Core)>, StoreError> {
    let Some((eno, row)) = find_record(view, record)? else {
        return Ok(Vec::new());
    };
    let core = read_core(view, eno, &row)?;
    let mut dots = match &core.key {
        Some(key) => records_with_key(view, row.space, key)?,
        None => Vec::new(),
    };
    if !dots.contains(&record) {
        dots.push(record);
    }
    let mut records = Vec::with_capacity(dots.len());
    for dot in dots {
        if let Some((eno, row)) = find_record(view, dot)? {
            records.push((dot, read_core(view, eno, &row)?));
        }
    }
    Ok(records)
}

/// The writes that give a record the values of an edit where they differ, and the write of the origin.
fn differing(
    view: &dyn View,
    (space, record): (SpaceNo, Dot),
    core: &Core,
    edit: &Edit,
) -> Result<(Vec<Write>, Option<Write>), StoreError> {
    let mut live = LiveWrites::new();
    for (field, dot, row) in read_writes(view, Table::Live, space, record)? {
        live.entry(field).or_default().push((dot, row));
    }
    let target = Target::Edit { record };
    let mut writes = Vec::new();
    for (name, value) in &edit.values {
        let (field, value) = (Field::named(name), value.clone());
        let live = live.get(&field).map_or(&[][..], Vec::as_slice);
        let text = value.to_string();
        let same = match live {
            [] => core.get(name) == value,
            [(_, row)] => row.value == text,
            _ => false,
        };
        if !same {
            let over = live.iter().map(|(dot, _)| *dot).take(OVER_MAX).collect();
            writes.push(Write { target, field, value: text, over });
        }
    }
    let says = !edit.origin.is_empty() && !writes.is_empty();
    let by = says.then(|| {
        let (field, value) = (Field::named(Field::BY), edit.origin.to_json());
        Write { target, field, value, over: outlived(&live, &writes) }
    });
    Ok((writes, by))
}

/// The live origins whose entries have no other live write after these writes.
fn outlived(live: &LiveWrites, writes: &[Write]) -> Vec<Dot> {
    let replaced: BTreeSet<Dot> = writes.iter().flat_map(|write| write.over.iter().copied()).collect();
    let others = live.iter().filter(|(field, _)| field.as_str() != Field::BY).flat_map(|(_, writes)| writes);
    let alive: BTreeSet<_> = others.map(|(dot, _)| *dot).filter(|dot| !replaced.contains(dot)).collect();
    let alive: BTreeSet<_> = alive.into_iter().map(|dot| dot.entry).collect();
    let by = live.get(&Field::named(Field::BY)).into_iter().flatten();
    by.map(|(dot, _)| *dot).filter(|dot| !alive.contains(&dot.entry)).take(OVER_MAX).collect()
}
