//! Reading tasks and their events.

use std::ops::{Bound, ControlFlow};

use nexus_crdt::{DOT_BYTES, Dot, HeardEvent, Hlc, Kind, TaskEvent, TaskId, task_event_at};
use nexus_identity::Did;

use super::rows::{self, TaskRow, unreadable};
use super::view::{find_entry, has_any, read_entry};
use crate::store::{Order, StoreError, Table, View};

/// The most events of a task by its submitter that are read, and by each other member. The earliest count.
const OWN_EVENTS_MAX: usize = 1_024;
const EVENTS_OF_OTHERS_MAX: usize = 8;
/// The most ends of a task by one member that are read.
const ENDS_MAX: usize = 8;
/// The most other members whose words about a task are read.
const OTHERS_MAX: usize = 64;

/// A task as it was submitted.
pub(crate) fn find_task(view: &dyn View, task: TaskId) -> Result<Option<TaskRow>, StoreError> {
    view.get(Table::Tasks, &task.to_bytes())?.map(|row| rows::decode(Table::Tasks, &row)).transpose()
}

/// The events of a task, by its submitter and by others. They depend on the set of events alone, since of each author
/// the earliest are read, and of the others those with the lowest DIDs.
pub(crate) fn said_of_task(view: &dyn View, task: TaskId, submitter: &Did) -> Result<Vec<HeardEvent>, StoreError> {
    let mut heard = said_by_submitter(view, task, submitter)?;
    let mut after: Vec<u8> = task.to_bytes().to_vec();
    let mut others = 0;
    while others < OTHERS_MAX {
        let bounds = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = view.first(Table::TaskEvents, bounds, Order::Forward)?;
        let Some((key, value)) = next.filter(|(key, _)| key.starts_with(&task.to_bytes())) else { break };
        let by = rows::read_task_event(&key, &value)?.by;
        if by != *submitter {
            heard.extend(said_by(view, task, &by, EVENTS_OF_OTHERS_MAX)?);
            others += 1;
        }
        after = behind_author(task, &by);
    }
    Ok(heard)
}

/// The events of a task by its submitter, the earliest.
pub(crate) fn said_by_submitter(view: &dyn View, task: TaskId, submitter: &Did) -> Result<Vec<HeardEvent>, StoreError> {
    said_by(view, task, submitter, OWN_EVENTS_MAX)
}

/// A key past all events of a task by one author.
fn behind_author(task: TaskId, author: &Did) -> Vec<u8> {
    let mut key = rows::task_events_prefix(task, author, false).to_vec();
    key.extend([u8::MAX; 9 + DOT_BYTES]);
    key
}

/// The earliest events of a task by one author: its ends, and so many others at most.
fn said_by(view: &dyn View, task: TaskId, author: &Did, most: usize) -> Result<Vec<HeardEvent>, StoreError> {
    let mut heard = Vec::new();
    for (ends, most) in [(true, ENDS_MAX), (false, most)] {
        let (prefix, mut left) = (rows::task_events_prefix(task, author, ends), most);
        view.try_scan_prefix(Table::TaskEvents, &prefix, Order::Forward, &mut |key, value| {
            heard.push(rows::read_task_event(key, value)?);
            left -= 1;
            Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(heard)
}

/// Whether an author has said that a task is over.
pub(crate) fn ended_by(view: &dyn View, task: TaskId, author: &Did) -> Result<bool, StoreError> {
    has_any(view, Table::TaskEvents, &rows::task_events_prefix(task, author, true))
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
    let Some(eno) = find_entry(view, dot.entry)? else { return Ok(None) };
    let Some(entry) = read_entry(view, eno)?.filter(|entry| entry.header().kind == Kind::TASKS) else {
        return Ok(None);
    };
    Ok(task_event_at(&entry, dot.index))
}

/// The open tasks of a submitter in the order in which they are handed out, at most so many.
pub(crate) fn open_tasks(view: &dyn View, submitter: &Did, most: usize) -> Result<Vec<TaskId>, StoreError> {
    let mut found = Vec::new();
    view.try_scan_prefix(Table::TasksOpen, submitter.as_bytes(), Order::Forward, &mut |key, _| {
        found.push(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::TasksOpen))?);
        Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

/// Tasks by time, the newest first, before a place in that order, while `each` wants more.
pub(crate) fn newest_tasks(
    view: &dyn View,
    before: Option<(Hlc, TaskId)>,
    each: &mut dyn FnMut(TaskId) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let end = before.map(|(hlc, task)| rows::task_time_key(hlc, task));
    let end = end.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
    view.try_scan(Table::TaskTimes, (Bound::Unbounded, end), Order::Backward, &mut |key, _| {
        each(rows::dot_at_end(key).ok_or_else(|| unreadable(Table::TaskTimes))?)
    })
}
