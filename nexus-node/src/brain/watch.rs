use std::collections::BTreeSet;

use nexus_crdt::{
    Dot, Field, Kind, PlacedWrite, Revocation, SpaceId, Target, TaskEvent, Verified, WRITES_MAX, task_events_of,
    writes_of,
};
use nexus_identity::Chain;

use crate::NodeError;
use crate::follow::{Cursor, LogPlace, Steps, shown_instead};
use crate::ledger;
use crate::ledger::rows::Eno;
use crate::memory::cursor::StoreName;
use crate::memory::read::Visible;
use crate::memory::{Change, ChangeKind, Subject};
use crate::store::View;

/// Changes after which a batch ends. An entry may cut millions of others.
const CHANGES_PER_BATCH: usize = 2_048;
/// The places of one entry among the changes of a cut.
const PLACES_PER_ENTRY: u32 = WRITES_MAX as u32;
/// The first place of an entry's own changes, after those that it made to others.
const OWN_PLACES: u32 = u32::MAX - 2 * PLACES_PER_ENTRY;

/// The changes that a reader of the log is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The only space; `None` for all.
    pub(crate) space: Option<SpaceId>,
    pub(crate) memories: bool,
    pub(crate) members: bool,
    pub(crate) spaces: bool,
    pub(crate) tasks: bool,
    pub(crate) documents: bool,
}

impl Told {
    /// The changes that a watcher of the memory is told of.
    pub(crate) const fn of_memory(space: Option<SpaceId>) -> Self {
        Self { space, memories: true, members: true, spaces: true, tasks: false, documents: false }
    }

    /// Whether entries of a kind may have changes for it.
    const fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::WRITES => self.memories,
            Kind::CREDENTIAL | Kind::REVOCATION | Kind::PROFILE => self.members,
            Kind::SPACE => self.spaces,
            Kind::DOCUMENT => self.documents,
            kind => self.tasks && kind.is_tasks(),
        }
    }
}

/// A change, with its place among those that come with an entry.
#[derive(Clone, Copy, Debug)]
struct PlacedChange {
    at: u32,
    /// Whether another change has the same place and comes after it. A reader that stops between the two is told of both
    /// again.
    shares: bool,
    kind: ChangeKind,
    subject: Subject,
}

impl PlacedChange {
    const fn new(at: u32, kind: ChangeKind, subject: Subject) -> Self {
        Self { at, shares: false, kind, subject }
    }

    /// The same after so many other places.
    const fn after(self, places: u32) -> Self {
        Self { at: self.at + places, ..self }
    }
}

/// The same with its space: an entry that ends a membership changes others.
type SpacedChange = (PlacedChange, SpaceId);

/// The changes after a place, of entries up to `until`, and the place after all that was looked at. Changes of
/// other spaces, and of those that this node may not read, are skipped and not looked at again.
pub(crate) fn changes_after(
    view: &dyn View,
    known: &Visible,
    store: StoreName,
    after: LogPlace,
    until: Eno,
    told: Told,
) -> Result<(Vec<Change>, LogPlace), NodeError> {
    let (mut changes, mut at) = (Vec::new(), after);
    let mut steps = Steps::after(view, after, until)?;
    while let Some(step) = steps.next() {
        let (eno, skip, applied, turns_others) = (step.eno, step.skip, step.counts, step.turns);
        let turns = turns_others && skip < OWN_PLACES;
        at = LogPlace::after(eno);
        if !applied && !turns {
            continue;
        }
        let (mut of_entry, ends) =
            if turns { changes_of_others(view, step.turned()?, skip, told)? } else { (Vec::new(), u32::MAX) };
        let entry = step.entry()?;
        if applied && ends == u32::MAX {
            // changes of the entry itself come after those that it made to others
            let (before, space) = (if turns_others { OWN_PLACES } else { 0 }, entry.header().space);
            let own = changes_of(&entry, told).into_iter();
            of_entry.extend(own.map(|change| (change.after(before), space)));
        }
        at = LogPlace { eno, index: ends };
        let header = entry.header();
        for (PlacedChange { at, shares, kind, subject }, of) in of_entry {
            let shown = known.readable(of).filter(|_| told.space.is_none_or(|space| space == of));
            let Some(shown) = shown else { continue };
            if at >= skip {
                let place = LogPlace { eno, index: if shares { at } else { at + 1 } };
                changes.push(Change {
                    cursor: Cursor::of_log(place).render(store),
                    kind,
                    subject,
                    space: known.shown_name(&of, shown),
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
fn changes_of_others(
    view: &dyn View,
    enos: Vec<Eno>,
    after: u32,
    told: Told,
) -> Result<(Vec<SpacedChange>, u32), NodeError> {
    let mut changes = Vec::new();
    let others = (0..OWN_PLACES / PLACES_PER_ENTRY).zip(enos);
    for (nth, other) in others.skip((after / PLACES_PER_ENTRY) as usize) {
        let first = nth * PLACES_PER_ENTRY;
        if changes.len() >= CHANGES_PER_BATCH {
            return Ok((changes, first));
        }
        let Some(entry) = ledger::read_entry(view, other)? else { continue };
        let space = entry.header().space;
        if entry.header().kind == Kind::WRITES && told.memories {
            let mut instead = shown_instead(view, &entry)?.into_iter().peekable();
            for (index, kind, record) in changes_of_writes(&entry) {
                let at = first + index;
                while let Some((_, shown)) = instead.next_if(|(of, _)| u32::from(*of) <= index) {
                    if shown != record {
                        let edited = PlacedChange::new(at, ChangeKind::Edited, Subject::Memory(shown.into()));
                        changes.push((PlacedChange { shares: true, ..edited }, space));
                    }
                }
                let in_sight = ledger::find_record(view, record)?.is_some_and(|(_, row)| !row.gone);
                // a record that was in sight neither before nor after has not changed
                if in_sight || kind != ChangeKind::Forgotten {
                    let kind = if in_sight { ChangeKind::Edited } else { ChangeKind::Forgotten };
                    changes.push((PlacedChange::new(at, kind, Subject::Memory(record.into())), space));
                }
            }
        } else {
            let of_it = changes_of(&entry, told).into_iter();
            changes.extend(of_it.map(|change| (change.after(first), space)));
        }
    }
    Ok((changes, u32::MAX))
}

/// The changes that an entry makes. The writes of one record are one change, at the first one's place, and so is what is
/// said of one task.
fn changes_of(entry: &Verified, told: Told) -> Vec<PlacedChange> {
    let member = |did| PlacedChange::new(0, ChangeKind::Member, Subject::Member(did));
    match entry.header().kind {
        kind if !told.has(kind) => Vec::new(),
        kind if kind.is_tasks() => changes_of_tasks(entry),
        Kind::WRITES => {
            let changes = changes_of_writes(entry).into_iter();
            changes.map(|(at, kind, record)| PlacedChange::new(at, kind, Subject::Memory(record.into()))).collect()
        }
        Kind::CREDENTIAL => {
            let subject =
                entry.content().ok().and_then(|bytes| Chain::from_bytes(bytes).ok()?.verify(&entry.header().mesh).ok());
            subject.map(|claims| member(claims.subject)).into_iter().collect()
        }
        Kind::REVOCATION => {
            let revocation = entry.content().ok().and_then(|bytes| Revocation::decode(bytes).ok());
            revocation.map(|ended| member(ended.member)).into_iter().collect()
        }
        Kind::PROFILE => vec![member(entry.header().author)],
        #[cfg(feature = "documents")]
        Kind::DOCUMENT => {
            let said = nexus_crdt::document_of(entry).ok();
            let subject = said.map(|said| Subject::Document(nexus_documents::DocumentId::from_bytes(said.document)));
            subject.map(|subject| PlacedChange::new(0, ChangeKind::Document, subject)).into_iter().collect()
        }
        Kind::SPACE => vec![PlacedChange::new(0, ChangeKind::Space, Subject::Space(SpaceId::created_by(entry.id())))],
        _ => Vec::new(),
    }
}

fn changes_of_tasks(entry: &Verified) -> Vec<PlacedChange> {
    let (mut said, mut changes) = (BTreeSet::new(), Vec::new());
    for event in task_events_of(entry).unwrap_or_default() {
        if matches!(event.event, TaskEvent::Later(_)) {
            continue;
        }
        let task = event.event.task().unwrap_or(Dot { entry: entry.id(), index: event.index });
        if said.insert(task) {
            changes.push(PlacedChange::new(event.index.into(), ChangeKind::Task, Subject::Task(task)));
        }
    }
    changes
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
