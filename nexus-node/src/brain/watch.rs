use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Dot, Field, Kind, PlacedWrite, Revocation, SpaceId, Target, Verified, WRITES_MAX, writes_of};
use nexus_identity::Chain;

use crate::NodeError;
use crate::ledger;
use crate::ledger::rows::{self, Eno, EntryRow};
use crate::memory::cursor::{StoreName, WatchCursor};
use crate::memory::read::Visible;
use crate::memory::{Change, ChangeKind, Subject};
use crate::store::{Order, Table, View};

/// The most entries that are read for one batch of changes.
const ENTRIES_PER_BATCH: usize = 256;
/// Changes after which a batch ends. An entry may cut millions of others.
const CHANGES_PER_BATCH: usize = 2_048;
/// The places of one entry among the changes of a cut.
const PLACES_PER_ENTRY: u32 = WRITES_MAX as u32;
/// The first place of an entry's own changes, after those that it made to others.
const OWN_PLACES: u32 = u32::MAX - 2 * PLACES_PER_ENTRY;

/// A change, with its place among those that come with an entry.
type PlacedChange = (u32, ChangeKind, Subject);

/// The same with its space: an entry that ends a membership changes others.
type SpacedChange = (PlacedChange, SpaceId);

/// The changes after a cursor, of entries up to `until`, and the cursor after all that was looked at. Changes of
/// other spaces, and of those that this node may not read, are skipped and not looked at again.
pub(crate) fn changes_after(
    view: &dyn View,
    known: &Visible,
    store: StoreName,
    after: WatchCursor,
    until: Eno,
    space: Option<SpaceId>,
) -> Result<(Vec<Change>, WatchCursor), NodeError> {
    let mut rows_found = Vec::new();
    let start = rows::eno_key(after.eno);
    view.try_scan(Table::Entries, (Bound::Included(&start), Bound::Unbounded), Order::Forward, &mut |key, value| {
        let eno = rows::read_eno(Table::Entries, key)?;
        if eno > until {
            return Ok(ControlFlow::Break(()));
        }
        rows_found.push((eno, rows::decode::<EntryRow>(Table::Entries, value)?));
        Ok(if rows_found.len() < ENTRIES_PER_BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let mut changes = Vec::new();
    let mut at = after;
    let last = rows_found.last().map_or(after.eno, |(eno, _)| *eno);
    let standings = ledger::standings(view, after.eno, last)?;
    let turned = ledger::Turned::between(view, after.eno, last)?;
    for (eno, row) in rows_found {
        let skip = if eno == after.eno { after.index } else { 0 };
        let applied = !standings.contains_key(&eno);
        let turns_others = turned.by(eno);
        let turns = turns_others && skip < OWN_PLACES;
        at = WatchCursor { eno, index: u32::MAX };
        if !applied && !turns {
            continue;
        }
        let (mut of_entry, ends) =
            if turns { changes_of_others(view, turned.enos(view, eno)?, skip)? } else { (Vec::new(), u32::MAX) };
        let entry = row.into_entry(view.get(Table::Payloads, &rows::eno_key(eno))?)?;
        if applied && ends == u32::MAX {
            // changes of the entry itself come after those that it made to others
            let (before, space) = (if turns_others { OWN_PLACES } else { 0 }, entry.header().space);
            let own = changes_of(&entry).into_iter();
            of_entry.extend(own.map(|(index, kind, id)| ((before + index, kind, id), space)));
        }
        at = WatchCursor { eno, index: ends };
        let header = entry.header();
        for ((index, kind, subject), of) in of_entry {
            let shown = known.readable(of).filter(|_| space.is_none_or(|space| space == of));
            let Some(shown) = shown else { continue };
            let space_name = known.shown_name(&of, shown);
            let cursor = WatchCursor { eno, index: index + 1 };
            if cursor.index > skip {
                let cursor = cursor.render(store);
                changes.push(Change {
                    cursor,
                    kind,
                    subject,
                    space: space_name,
                    author: header.author,
                    seq: header.seq,
                });
            }
        }
        if at.index < u32::MAX || changes.len() >= CHANGES_PER_BATCH {
            break;
        }
    }
    Ok((changes, at))
}

/// Some changes when entries stopped counting or count again, after a place: each record is now out of
/// sight, or another than it was. The second value is the place after the last one, `u32::MAX` if there are
/// no more.
fn changes_of_others(view: &dyn View, enos: Vec<Eno>, after: u32) -> Result<(Vec<SpacedChange>, u32), NodeError> {
    let mut changes = Vec::new();
    let others = (0..OWN_PLACES / PLACES_PER_ENTRY).zip(enos);
    for (nth, other) in others.skip((after / PLACES_PER_ENTRY) as usize) {
        let first = nth * PLACES_PER_ENTRY;
        if changes.len() >= CHANGES_PER_BATCH {
            return Ok((changes, first));
        }
        let Some(entry) = ledger::read_entry(view, other)? else { continue };
        let space = entry.header().space;
        if entry.header().kind == Kind::WRITES {
            for (index, kind, record) in changes_of_writes(&entry) {
                let in_sight = ledger::find_record(view, record)?.is_some_and(|(_, row)| !row.gone);
                // a record that was in sight neither before nor after has not changed
                if in_sight || kind != ChangeKind::Forgotten {
                    let kind = if in_sight { ChangeKind::Edited } else { ChangeKind::Forgotten };
                    changes.push(((first + index, kind, Subject::Memory(record.into())), space));
                }
            }
        } else {
            let of_it = changes_of(&entry).into_iter();
            changes.extend(of_it.map(|(index, kind, id)| ((first + index, kind, id), space)));
        }
    }
    Ok((changes, u32::MAX))
}

/// The changes that an entry makes. The writes of one record are one change, at the first one's place.
fn changes_of(entry: &Verified) -> Vec<PlacedChange> {
    match entry.header().kind {
        Kind::WRITES => {
            let changes = changes_of_writes(entry).into_iter();
            changes.map(|(index, kind, record)| (index, kind, Subject::Memory(record.into()))).collect()
        }
        Kind::CREDENTIAL => {
            let subject =
                entry.content().ok().and_then(|bytes| Chain::from_bytes(bytes).ok()?.verify(&entry.header().mesh).ok());
            subject.map(|claims| (0, ChangeKind::Member, Subject::Member(claims.subject))).into_iter().collect()
        }
        Kind::REVOCATION => {
            let revocation = entry.content().ok().and_then(|bytes| Revocation::decode(bytes).ok());
            revocation.map(|ended| (0, ChangeKind::Member, Subject::Member(ended.member))).into_iter().collect()
        }
        Kind::PROFILE => vec![(0, ChangeKind::Member, Subject::Member(entry.header().author))],
        Kind::SPACE => vec![(0, ChangeKind::Space, Subject::Space(SpaceId::created_by(entry.id())))],
        _ => Vec::new(),
    }
}

fn changes_of_writes(entry: &Verified) -> Vec<(u32, ChangeKind, Dot)> {
    let Ok(writes) = writes_of(entry) else {
        return Vec::new();
    };
    let mut changes: Vec<(u32, ChangeKind, Dot)> = Vec::new();
    for PlacedWrite { index, write, .. } in writes {
        let (record, kind) = match write.target {
            Target::Create { .. } => (Dot { entry: entry.id(), index }, ChangeKind::Remembered),
            Target::Edit { record } if write.field.as_str() == Field::GONE => (record, ChangeKind::Forgotten),
            Target::Edit { record } => (record, ChangeKind::Edited),
        };
        let again = changes.last().is_some_and(|(_, last, of)| *of == record && *last == kind);
        if !again {
            changes.push((u32::from(index), kind, record));
        }
    }
    changes
}
