//! Reading tasks and their events.

use std::ops::{Bound, ControlFlow};

use nexus_crdt::{
    DOT_BYTES, Dot, EntryId, HeardEvent, LogId, TaskEnd, TaskEvent, TaskId, TaskOwners, TaskPhase, TaskRights,
    TaskSaid, TaskState, Verified, task_event_at, task_state,
};
use nexus_identity::Did;

use super::rows::{self, Eno, TaskRow, unreadable};
use super::view::{entry_id_of, entry_of, find_entry, has_any, read_entry};
use crate::store::{Order, StoreError, Table, View};

/// The most events of a task by its submitter that are read, and by each other member. The earliest count.
const OWN_EVENTS_MAX: usize = 1_024;
const EVENTS_OF_OTHERS_MAX: usize = 8;
/// The most ends of a task by one member that are read.
const ENDS_MAX: usize = 8;
/// The most other members whose words about a task are read.
const OTHERS_MAX: usize = 64;

/// A task as it was submitted, with the number of its entry.
pub(crate) fn find_task(view: &dyn View, task: TaskId) -> Result<Option<(Eno, TaskRow)>, StoreError> {
    let Some(eno) = find_entry(view, task.entry)? else { return Ok(None) };
    Ok(task_row(view, eno, task.index)?.map(|row| (eno, row)))
}

/// The task at a place in an entry.
pub(crate) fn task_row(view: &dyn View, eno: Eno, index: u16) -> Result<Option<TaskRow>, StoreError> {
    let row = view.get(Table::Tasks, &rows::record_key(eno, index))?;
    row.map(|row| rows::decode(Table::Tasks, &row)).transpose()
}

/// The events of a task, by those that may settle it and by others. They depend on the set of events alone, since of each
/// author the earliest are read, and of the others those with the lowest DIDs.
pub(crate) fn said_of_task(view: &dyn View, task: TaskId, row: &TaskRow) -> Result<Vec<HeardEvent>, StoreError> {
    let mut heard = said_by_owners(view, task, row)?;
    let mut after: Vec<u8> = task.to_bytes().to_vec();
    let mut others = 0;
    while others < OTHERS_MAX {
        let bounds = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = view.first(Table::TaskEvents, bounds, Order::Forward)?;
        let Some((key, value)) = next.filter(|(key, _)| key.starts_with(&task.to_bytes())) else { break };
        let by = rows::read_task_event(&key, &value)?.by;
        if !row.may_settle(&by) {
            heard.extend(said_by(view, task, &by, (ENDS_MAX, EVENTS_OF_OTHERS_MAX))?);
            others += 1;
        }
        after = behind_author(task, &by);
    }
    Ok(heard)
}

/// The events of a task by those that may settle it, the earliest of each.
pub(crate) fn said_by_owners(view: &dyn View, task: TaskId, row: &TaskRow) -> Result<Vec<HeardEvent>, StoreError> {
    let mut heard = Vec::new();
    for owner in row.owners() {
        heard.extend(said_by(view, task, &owner, (ENDS_MAX, OWN_EVENTS_MAX))?);
    }
    Ok(heard)
}

/// The earliest events of a task by one member that may not settle it.
pub(crate) fn said_by_member(view: &dyn View, task: TaskId, member: &Did) -> Result<Vec<HeardEvent>, StoreError> {
    said_by(view, task, member, (OWN_EVENTS_MAX, OWN_EVENTS_MAX))
}

/// Nobody has rights: for what depends on the settler alone.
struct Nobody;

impl TaskRights for Nobody {
    fn may_approve(&self, _: &Did) -> bool {
        false
    }

    fn may_cancel(&self, _: &Did) -> bool {
        false
    }

    fn has_left(&self, _: &Did) -> bool {
        false
    }
}

/// The state of a task as far as it depends on its settlers' words.
pub(crate) fn settled_state(row: &TaskRow, heard: &[HeardEvent]) -> TaskState {
    // approvals are the scheduler's concern: it claims nothing that waits for one
    task_state(TaskOwners { submitter: &row.submitter, heirs: &row.heirs() }, false, heard, &Nobody)
}

/// The end of a task by its settlers' words.
pub(crate) fn end_of(view: &dyn View, task: TaskId, row: &TaskRow) -> Result<Option<TaskEnd>, StoreError> {
    if !row.moves() {
        return first_end(view, task, &row.submitter);
    }
    match settled_state(row, &said_by_owners(view, task, row)?).phase {
        TaskPhase::Over(end) => Ok(Some(end)),
        _ => Ok(None),
    }
}

/// Whether somebody has said something of a task that was submitted.
pub(crate) fn is_spoken_of(view: &dyn View, task: TaskId) -> Result<bool, StoreError> {
    has_any(view, Table::TaskEvents, &task.to_bytes())
}

/// A key past all events of a task by one author.
fn behind_author(task: TaskId, author: &Did) -> Vec<u8> {
    let mut key = rows::task_events_prefix(task, author, false).to_vec();
    key.extend([u8::MAX; 9 + DOT_BYTES]);
    key
}

/// The earliest events of a task by one author: so many ends and so many others at most.
fn said_by(
    view: &dyn View,
    task: TaskId,
    author: &Did,
    (ends_max, others_max): (usize, usize),
) -> Result<Vec<HeardEvent>, StoreError> {
    let mut heard = Vec::new();
    for (ends, most) in [(true, ends_max), (false, others_max)] {
        let (prefix, mut left) = (rows::task_events_prefix(task, author, ends), most);
        view.try_scan_prefix(Table::TaskEvents, &prefix, Order::Forward, &mut |key, value| {
            heard.push(rows::read_task_event(key, value)?);
            left -= 1;
            Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(heard)
}

/// The end of a task that only its submitter may settle: its first word of an end.
fn first_end(view: &dyn View, task: TaskId, submitter: &Did) -> Result<Option<TaskEnd>, StoreError> {
    let mut end = None;
    let prefix = rows::task_events_prefix(task, submitter, true);
    view.try_scan_prefix(Table::TaskEvents, &prefix, Order::Forward, &mut |key, value| {
        let TaskSaid::Settled { outcome, .. } = rows::read_task_event(key, value)?.said else {
            return Err(unreadable(Table::TaskEvents));
        };
        end = Some(outcome);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(end)
}

/// The task that a submitter made with an id of its own; of several the one with the lowest id.
pub(crate) fn task_requested(view: &dyn View, submitter: &Did, request: &str) -> Result<Option<TaskId>, StoreError> {
    let prefix = rows::task_request_prefix(submitter, &rows::request_hash(request));
    let mut found = None;
    view.try_scan_prefix(Table::TaskRequests, &prefix, Order::Forward, &mut |key, _| {
        found = Some(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::TaskRequests))?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The event of a dot, if it is here.
pub(crate) fn task_event(view: &dyn View, dot: Dot) -> Result<Option<TaskEvent>, StoreError> {
    LastEntries::default().event(view, dot)
}

/// The entries that are kept of those that were read last.
const LAST_ENTRIES: usize = 4;

/// The entries that were read last, the latest at the end. Tasks that are read in their order are often of the same one,
/// and so are the events of one task.
#[derive(Default)]
pub(crate) struct LastEntries(Vec<(Eno, Option<Verified>)>);

impl LastEntries {
    /// The event of a dot, if it is here.
    pub(crate) fn event(&mut self, view: &dyn View, dot: Dot) -> Result<Option<TaskEvent>, StoreError> {
        let is_read =
            |(_, entry): &(Eno, Option<Verified>)| entry.as_ref().is_some_and(|entry| entry.id() == dot.entry);
        let eno = match self.0.iter().find(|last| is_read(last)) {
            Some((eno, _)) => *eno,
            None => match find_entry(view, dot.entry)? {
                Some(eno) => eno,
                None => return Ok(None),
            },
        };
        Ok(self.event_at(view, eno, dot.index)?.map(|(_, event)| event))
    }

    /// The event at a place in an entry, with its dot.
    pub(crate) fn event_at(
        &mut self,
        view: &dyn View,
        eno: Eno,
        index: u16,
    ) -> Result<Option<(Dot, TaskEvent)>, StoreError> {
        let place = match self.0.iter().position(|(last, _)| *last == eno) {
            Some(place) => place,
            None => {
                let entry = read_entry(view, eno)?.filter(|entry| entry.header().kind.is_tasks());
                if self.0.len() == LAST_ENTRIES {
                    self.0.remove(0);
                }
                self.0.push((eno, entry));
                self.0.len() - 1
            }
        };
        let Some(entry) = &self.0[place].1 else { return Ok(None) };
        Ok(task_event_at(entry, index).map(|event| (Dot { entry: entry.id(), index }, event)))
    }
}

/// The id of the entry that was asked for last.
#[derive(Default)]
pub(crate) struct LastId(Option<(Eno, Option<EntryId>)>);

impl LastId {
    /// The id of an entry, if it is here.
    pub(crate) fn of(&mut self, view: &dyn View, eno: Eno) -> Result<Option<EntryId>, StoreError> {
        if self.0.is_none_or(|(last, _)| last != eno) {
            self.0 = Some((eno, entry_id_of(view, eno)?));
        }
        Ok(self.0.and_then(|(_, id)| id))
    }
}

/// The submitters of open tasks with heirs that a member may settle, at most so many.
pub(crate) fn moving_submitters(view: &dyn View, owner: &Did, most: usize) -> Result<Vec<Did>, StoreError> {
    let (mut found, mut after) = (Vec::new(), owner.as_bytes().to_vec());
    while found.len() < most {
        let bounds = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = view.first(Table::TasksMoving, bounds, Order::Forward)?;
        let Some((key, _)) = next.filter(|(key, _)| key.starts_with(owner.as_bytes())) else { break };
        let submitter = key.get(32..64).and_then(|did| did.try_into().ok()).map(Did::from_bytes);
        found.push(submitter.ok_or_else(|| unreadable(Table::TasksMoving))?);
        after = [&key[..64], &[u8::MAX; 9 + DOT_BYTES]].concat();
    }
    Ok(found)
}

/// The open tasks of a submitter with heirs that a member may settle, in the order in which they are handed out, at most so
/// many.
pub(crate) fn moving_tasks(
    view: &dyn View,
    owner: &Did,
    submitter: &Did,
    most: usize,
) -> Result<Vec<TaskId>, StoreError> {
    let (prefix, mut found) = ([owner.as_bytes().as_slice(), submitter.as_bytes()].concat(), Vec::new());
    view.try_scan_prefix(Table::TasksMoving, &prefix, Order::Forward, &mut |key, _| {
        found.push(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::TasksMoving))?);
        Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// The place of an entry in its log.
pub(crate) fn entry_place(view: &dyn View, entry: EntryId) -> Result<Option<(LogId, u64)>, StoreError> {
    Ok(entry_of(view, entry)?.map(|entry| (entry.header().log(), entry.header().seq)))
}
