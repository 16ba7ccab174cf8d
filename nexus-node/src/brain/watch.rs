use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Dot, Field, Kind, SpaceId, Target, Verified, Writes};
use nexus_identity::Chain;

use crate::NodeError;
use crate::ledger;
use crate::ledger::rows::{self, EntryRow, Standing};
use crate::memory::cursor::{StoreName, WatchCursor};
use crate::memory::{Change, ChangeKind, Subject};
use crate::store::{Order, Table, View};

/// How many entries are looked at for one batch of changes.
const ENTRIES_PER_BATCH: usize = 256;

/// The changes after a cursor, and the cursor after all that was looked at: changes of other
/// spaces are skipped, not looked at again.
pub(crate) fn changes_after(
    view: &dyn View,
    store: StoreName,
    after: WatchCursor,
    space: Option<SpaceId>,
) -> Result<(Vec<Change>, WatchCursor), NodeError> {
    let mut rows_found = Vec::new();
    let start = rows::eno_key(after.eno);
    view.scan(Table::Entries, (Bound::Included(&start), Bound::Unbounded), Order::Forward, &mut |key, value| {
        rows_found.push((rows::read_eno(Table::Entries, key), rows::decode::<EntryRow>(Table::Entries, value)));
        if rows_found.len() < ENTRIES_PER_BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut changes = Vec::new();
    let mut at = after;
    let spaces = ledger::read_spaces(view)?;
    for (eno, row) in rows_found {
        let (eno, row) = (eno?, row?);
        let skip = if eno == after.eno { after.index } else { 0 };
        at = WatchCursor { eno, index: u32::MAX };
        if row.standing != Standing::Applied {
            continue;
        }
        let payload = view.get(Table::Payloads, &rows::eno_key(eno))?;
        let entry = row.into_entry(payload)?;
        let header = entry.header();
        if space.is_some_and(|space| space != header.space) {
            continue;
        }
        let space_name = spaces.get(&header.space).map_or_else(String::new, |row| row.name.to_string());
        for (index, kind, subject) in changes_of(&entry) {
            let cursor = WatchCursor { eno, index: index + 1 };
            if cursor.index > skip {
                let cursor = cursor.render(store);
                changes.push(Change {
                    cursor,
                    kind,
                    subject,
                    space: space_name.clone(),
                    author: header.author,
                    seq: header.seq,
                });
            }
        }
    }
    Ok((changes, at))
}

/// What an entry changed: the writes of one record are one change, at the first one's place.
fn changes_of(entry: &Verified) -> Vec<(u32, ChangeKind, Subject)> {
    let payload = entry.payload();
    match entry.header().kind {
        Kind::WRITES => {
            let Ok(writes) = Writes::decode(payload) else {
                return Vec::new();
            };
            let mut changes: Vec<(u32, ChangeKind, Dot)> = Vec::new();
            for (index, write) in (0_u16..).zip(&writes.0) {
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
            changes.into_iter().map(|(index, kind, record)| (index, kind, Subject::Memory(record.into()))).collect()
        }
        Kind::CREDENTIAL => {
            let subject = payload.and_then(|bytes| Chain::from_bytes(bytes).ok()?.verify(&entry.header().mesh).ok());
            subject.map(|claims| (0, ChangeKind::Member, Subject::Member(claims.subject))).into_iter().collect()
        }
        Kind::PROFILE => vec![(0, ChangeKind::Member, Subject::Member(entry.header().author))],
        Kind::SPACE => vec![(0, ChangeKind::Space, Subject::Space(SpaceId::created_by(entry.id())))],
        _ => Vec::new(),
    }
}
