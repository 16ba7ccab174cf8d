use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{Core, Dot, FIELDS, Field, OVER_MAX, SpaceId, Target, Write};

use super::append::{Answer, Commands, Pending};
use super::io::{Edit, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::SpaceNo;
use crate::ledger::{
    Replaced, TOGETHER_MAX, VALID_TO, Walked, find_record, holds_until, is_ended_by_another, read_core,
    replaced_by_next, seen_in, shown_together,
};
use crate::store::{StoreError, View};

/// The most records with one caller's key that one command forgets.
const FORGOTTEN_TOGETHER_MAX: usize = 1_024;

/// The live writes of a record as new ones replace them, by field.
type LiveWrites = BTreeMap<Field, Replaced>;

impl Engine {
    /// Writes a keyed memory again: equal fields stay, different ones are edited. Returns whether any differs.
    pub(super) fn write_again(
        &mut self,
        place: usize,
        record: Dot,
        (core, keeps): (&Core, &[&str]),
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        let edited = FIELDS.iter().filter(|field| field.editable && !keeps.contains(&field.name));
        let values = edited.map(|field| (field.name, field.get(core))).collect();
        Ok(self.edit(place, record, &Edit { values, origin: core.origin(), ..Edit::default() }, run, turn)?.1)
    }

    /// Edits a record and those that readers show as one memory with it. Returns
    /// whether anything differs, too.
    pub(super) fn edit(
        &mut self,
        place: usize,
        record: Dot,
        edit: &Edit,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<(Answer, bool), LedgerError> {
        let answer = |outcome| Ok((Answer::Other(Some(outcome)), false));
        let Some((_, row)) = find_record(&turn.draft, record)? else {
            return answer(Outcome::NoRecord);
        };
        let Some(space) = self.state.spaces.iter().find(|(_, space)| space.no == row.space).map(|(id, _)| *id) else {
            return answer(Outcome::NoRecord);
        };
        if !self.may_write(space) {
            return answer(self.not_permitted());
        }
        let forgets = edit.values.contains_key(Field::GONE);
        let most = if forgets { FORGOTTEN_TOGETHER_MAX } else { TOGETHER_MAX };
        let (records, is_settled) = shown_as_one(&turn.draft, record, most)?;
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
        let (mut differs, together) = (false, records.len() > 1);
        for (record, core) in records {
            let lists = is_settled || edit.supersedes;
            let seen =
                if forgets || !lists { BTreeSet::new() } else { seen(&turn.draft, (row.space, record), &core, edit)? };
            let (writes, by) = differing(&turn.draft, (row.space, record), &core, edit, (together, &seen))?;
            differs |= !writes.is_empty();
            for write in writes {
                self.push_edit(space, write, by.as_ref(), (place, run), turn)?;
            }
        }
        let waits = run.pending.get(&space).is_some_and(|pending| pending.edits.contains(&place));
        Ok((Answer::Other((!waits).then_some(Outcome::Done(None))), differs))
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

/// The records that readers show as one memory with this one, at most `most`, each with its core. Also whether one of them
/// is in no dispute. If all are, what replaced them is gone, and a write to them is about the present.
fn shown_as_one(view: &dyn View, record: Dot, most: usize) -> Result<(Vec<(Dot, Core)>, bool), StoreError> {
    let Some((eno, row)) = find_record(view, record)? else {
        return Ok((Vec::new(), false));
    };
    let core = read_core(view, eno, &row)?;
    let ends = shown_together(view, record, &row, &core, most, &Walked::default())?;
    let is_settled = ends.iter().any(|end| !end.disputed);
    let mut dots: Vec<Dot> = ends.into_iter().map(|end| end.record).collect();
    if !dots.contains(&record) {
        dots.push(record);
    }
    let mut records = Vec::with_capacity(dots.len());
    for dot in dots {
        if let Some((eno, row)) = find_record(view, dot)? {
            records.push((dot, read_core(view, eno, &row)?));
        }
    }
    Ok((records, is_settled))
}

/// The dots that the writes of an edit list beside those that they replace: the author has seen these, and knows a
/// record as superseded.
fn seen(
    view: &dyn View,
    (space, record): (SpaceNo, Dot),
    core: &Core,
    edit: &Edit,
) -> Result<BTreeSet<Dot>, StoreError> {
    if edit.supersedes {
        return seen_in(view, space, record);
    }
    let Some((_, row)) = find_record(view, record)? else { return Ok(BTreeSet::new()) };
    let knows = is_ended_by_another(view, record, &row, core)?;
    Ok(if knows { BTreeSet::from([record]) } else { BTreeSet::new() })
}

/// The writes that give a record the values of an edit where they differ, and the write of the origin. `together`: whether
/// the record is one of several that are shown as one memory. `seen`: what the writes list beside those they replace.
fn differing(
    view: &dyn View,
    (space, record): (SpaceNo, Dot),
    core: &Core,
    edit: &Edit,
    (together, seen): (bool, &BTreeSet<Dot>),
) -> Result<(Vec<Write>, Option<Write>), StoreError> {
    let live = |name: &str| replaced_by_next(view, space, record, name);
    let target = Target::Edit { record };
    let mut values: BTreeMap<&'static str, serde_json::Value> = edit.values.clone();
    let is_replaced = together && !seen.is_empty() && !edit.supersedes;
    let says_whether_it_holds = values.get(VALID_TO).is_some_and(serde_json::Value::is_null);
    if is_replaced && (says_whether_it_holds || values.contains_key(Field::TEXT)) {
        // that another one took its place stays true, also against somebody who said apart from that that it holds
        values.remove(VALID_TO);
        if let Some(end) = holds_until(view, space, record, core)? {
            values.insert(VALID_TO, end.into());
        }
    }
    let mut writes = Vec::new();
    for (name, value) in values {
        let field = Field::named(name);
        let Replaced { dots: over, only } = live(name)?;
        let text = value.to_string();
        let same = match only {
            None if over.is_empty() => core.get(name) == value,
            Some(only) => only == text,
            None => false,
        };
        if !same {
            let room = OVER_MAX - over.len().min(OVER_MAX);
            let mut over: Vec<Dot> = over.into_iter().chain(seen.iter().copied().take(room)).collect();
            over.sort_unstable();
            over.dedup();
            writes.push(Write { target, field, value: text, over });
        }
    }
    if edit.origin.is_empty() || writes.is_empty() {
        return Ok((writes, None));
    }
    let mut all = LiveWrites::new();
    for name in FIELDS.iter().filter(|field| field.editable).map(|field| field.name).chain([Field::BY]) {
        all.insert(Field::named(name), live(name)?);
    }
    let (field, value) = (Field::named(Field::BY), edit.origin.to_json());
    let over = outlived(&all, &writes);
    Ok((writes, Some(Write { target, field, value, over })))
}

/// The live origins whose entries have no other live write after these writes.
fn outlived(live: &LiveWrites, writes: &[Write]) -> Vec<Dot> {
    // a write may list those of other fields, too, which live on
    let of_field = |write: &Write, dot: &Dot| live.get(&write.field).is_some_and(|live| live.dots.contains(dot));
    let replaced = writes.iter().flat_map(|write| write.over.iter().filter(|dot| of_field(write, dot)));
    let replaced: BTreeSet<Dot> = replaced.copied().collect();
    let others = live.iter().filter(|(field, _)| field.as_str() != Field::BY).flat_map(|(_, writes)| &writes.dots);
    let alive: BTreeSet<_> = others.filter(|dot| !replaced.contains(dot)).map(|dot| dot.entry).collect();
    let by = live.get(&Field::named(Field::BY)).into_iter().flat_map(|by| &by.dots);
    by.copied().filter(|dot| !alive.contains(&dot.entry)).take(OVER_MAX).collect()
}
