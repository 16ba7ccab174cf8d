use std::collections::BTreeSet;

use nexus_crdt::{
    Dot, HeardEvent, Kind, LEAVES_MAX, PAYLOAD_BYTES_MAX, PlacedTaskEvent, SpaceId, TaskEvent, TaskId, TaskPhase,
    TaskRights, TaskSaid, Verified, task_events_of, task_state,
};
use nexus_identity::Did;

use super::append::{Answer, Commands, PAYLOAD_FRONT_BYTES};
use super::io::TaskAnswer;
use super::payload::{LEAF_FRONT_BYTES, OwnPayload};
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, SpaceNo, TaskRow};
use crate::ledger::{ended_by, find_task, said_by_submitter, task_requested};
use crate::store::{Draft, StoreError, Table};

/// The most bytes of one entry with several events. A read of one event reads its whole payload.
const FILL_BYTES: usize = 10_000;

/// Events of several commands for one entry of a space.
#[derive(Default)]
pub(super) struct PendingTasks {
    events: Vec<Vec<u8>>,
    bytes: usize,
    /// For each event: the command, and its place in it.
    slots: Vec<(usize, usize)>,
    /// The tasks that they are about.
    about: BTreeSet<TaskId>,
    /// The submitter's ids of requests in them.
    requests: BTreeSet<String>,
}

impl PendingTasks {
    /// Whether the answer to an event may depend on what is in it.
    fn concerns(&self, event: &TaskEvent, request: Option<&str>) -> bool {
        event.task().is_some_and(|task| self.about.contains(&task))
            || request.is_some_and(|request| self.requests.contains(request))
    }
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
}

impl Engine {
    /// Writes events of tasks. Each is checked against all that came before it: what no longer holds is not written.
    pub(super) fn write_task_events(
        &mut self,
        place: usize,
        events: Vec<(SpaceId, TaskEvent)>,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, LedgerError> {
        // filled as entries are made, which may be before this command is through
        run.set(place, Answer::Tasks(vec![None; events.len()]));
        for (slot, (space, event)) in events.into_iter().enumerate() {
            let request = match &event {
                TaskEvent::Submitted(submission) if !submission.request.is_empty() => Some(submission.request.clone()),
                _ => None,
            };
            let pending = run.tasks.get(&space);
            if pending.is_some_and(|pending| pending.concerns(&event, request.as_deref())) {
                self.seal_tasks(space, run, turn)?;
            }
            if let Some(answer) = self.task_answer(&event, request.as_deref(), turn)? {
                run.answer_task(place, slot, answer);
                continue;
            }
            let bytes = event.encode();
            let size = LEAF_FRONT_BYTES + bytes.len();
            if size + PAYLOAD_FRONT_BYTES > PAYLOAD_BYTES_MAX {
                run.answer_task(place, slot, TaskAnswer::TooLarge);
                continue;
            }
            let is_full = |pending: &PendingTasks| {
                !self.writes_leaves()
                    || pending.events.len() == LEAVES_MAX
                    || pending.bytes + size + PAYLOAD_FRONT_BYTES > FILL_BYTES
            };
            if run.tasks.get(&space).is_some_and(is_full) {
                self.seal_tasks(space, run, turn)?;
            }
            let pending = run.tasks.entry(space).or_default();
            pending.about.extend(event.task());
            pending.requests.extend(request);
            pending.bytes += size;
            pending.slots.push((place, slot));
            pending.events.push(bytes);
        }
        Ok(run.take(place))
    }

    fn writes_leaves(&self) -> bool {
        self.state.entry_format >= nexus_crdt::ENTRY_FORMAT_LEAVES
    }

    /// The answer to an event that is not written; `None` if it is to be.
    fn task_answer(
        &self,
        event: &TaskEvent,
        request: Option<&str>,
        turn: &Turn<'_>,
    ) -> Result<Option<TaskAnswer>, LedgerError> {
        let me = self.state.me;
        if let Some(request) = request {
            return Ok(task_requested(&turn.draft, &me, request)?.map(TaskAnswer::Joined));
        }
        let Some(task) = event.task() else { return Ok(None) };
        let Some(row) = find_task(&turn.draft, task)? else { return Ok(Some(TaskAnswer::NoTask)) };
        if matches!(event, TaskEvent::Word(_)) || row.submitter != me {
            return Ok(None);
        }
        let heard = said_by_submitter(&turn.draft, task, &me)?;
        // approvals are the scheduler's concern: it claims nothing that waits for one
        let state = task_state(&me, false, &heard, &Nobody);
        let holds = |token| state.claim.is_some_and(|(held, ..)| held == token);
        let stale = match event {
            // a result that came too late is kept once, if it is of a claim that there was
            TaskEvent::Settled(settled) if settled.ownership != 0 => {
                let of = |said: &TaskSaid| match said {
                    TaskSaid::Claimed { token, .. } => (Some(*token) == settled.token, false),
                    TaskSaid::Settled { token, .. } => (false, *token == settled.token),
                    _ => (false, false),
                };
                let said = || heard.iter().map(|heard| of(&heard.said));
                !said().any(|(claimed, _)| claimed) || said().any(|(_, ended)| ended)
            }
            _ if matches!(state.phase, TaskPhase::Over(_)) => true,
            TaskEvent::Claimed(_) => state.claim.is_some(),
            TaskEvent::Returned(returned) => !holds(returned.token),
            TaskEvent::Settled(settled) => settled.token.is_some_and(|token| !holds(token)),
            _ => false,
        };
        Ok(stale.then_some(TaskAnswer::Stale))
    }

    /// Makes one entry of the pending events of a space, and answers the commands in it.
    pub(super) fn seal_tasks(
        &mut self,
        space: SpaceId,
        run: &mut Commands,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let Some(PendingTasks { events, slots, .. }) = run.tasks.remove(&space) else { return Ok(()) };
        let places: BTreeSet<usize> = slots.iter().map(|(place, _)| *place).collect();
        let of = places.into_iter().map(|place| run.id(place)).collect();
        let entry = self.append(space, Kind::TASKS, OwnPayload::Events(events), of, turn)?;
        let id = entry.id();
        for (index, (place, slot)) in (0_u16..).zip(slots) {
            run.answer_task(place, slot, TaskAnswer::Written(Dot { entry: id, index }));
        }
        Ok(())
    }

    /// Folds the events of an entry.
    pub(super) fn fold_task_events(
        &self,
        space: SpaceNo,
        entry: &Verified,
        events: &[PlacedTaskEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        for PlacedTaskEvent { index, event } in events {
            let dot = Dot { entry: entry.id(), index: *index };
            put_event(space, entry, dot, event, &mut turn.draft)?;
            note(dot, event, entry.header().author == self.state.me, turn);
        }
        Ok(())
    }

    /// Takes the events of an entry out again.
    pub(super) fn unfold_task_events(&self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for PlacedTaskEvent { index, event } in task_events_of(entry).unwrap_or_default() {
            let dot = Dot { entry: entry.id(), index };
            take_event(entry, dot, &event, &mut turn.draft)?;
            note(dot, &event, false, turn);
        }
        Ok(())
    }
}

/// Tells those who follow a task.
fn note(dot: Dot, event: &TaskEvent, own: bool, turn: &mut Turn<'_>) {
    if !matches!(event, TaskEvent::Later(_)) {
        turn.events.push(Event::Task { task: event.task().unwrap_or(dot), own });
    }
}

/// Puts an event into the tables. They are a function of the set of events in them.
fn put_event(
    space: SpaceNo,
    entry: &Verified,
    dot: Dot,
    event: &TaskEvent,
    draft: &mut Draft<'_>,
) -> Result<(), StoreError> {
    let header = entry.header();
    let (author, hlc) = (header.author, header.hlc);
    if let TaskEvent::Submitted(submission) = event {
        let request = (!submission.request.is_empty()).then(|| rows::request_hash(&submission.request));
        let (priority, needs_approval) = (submission.priority, submission.needs_approval);
        let row = TaskRow { space, submitter: author, hlc, priority, needs_approval, request };
        draft.put(Table::Tasks, &dot.to_bytes(), &rows::encode(&row));
        draft.put(Table::TaskTimes, &rows::task_time_key(hlc, dot), &[]);
        if let Some(request) = &request {
            draft.put(Table::TaskRequests, &rows::with_dot(&rows::task_request_prefix(&author, request), dot), &[]);
        }
        // its end may have come before it
        if !ended_by(draft, dot, &author)? {
            draft.put(Table::TasksOpen, &rows::task_open_key(&row, dot), &[]);
        }
        return Ok(());
    }
    let Some((task, said)) = TaskSaid::of(event) else { return Ok(()) };
    let heard = HeardEvent { by: author, hlc, dot, said };
    draft.put(Table::TaskEvents, &rows::task_event_key(task, &heard), &rows::encode(&said));
    if rows::is_end(&said)
        && let Some(row) = find_task(draft, task)?.filter(|row| row.submitter == author)
    {
        draft.delete(Table::TasksOpen, &rows::task_open_key(&row, task));
    }
    Ok(())
}

/// Takes an event out of the tables.
fn take_event(entry: &Verified, dot: Dot, event: &TaskEvent, draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let header = entry.header();
    let (author, hlc) = (header.author, header.hlc);
    if let TaskEvent::Submitted(_) = event {
        let Some(row) = find_task(draft, dot)? else { return Ok(()) };
        draft.delete(Table::Tasks, &dot.to_bytes());
        draft.delete(Table::TaskTimes, &rows::task_time_key(hlc, dot));
        draft.delete(Table::TasksOpen, &rows::task_open_key(&row, dot));
        if let Some(request) = &row.request {
            draft.delete(Table::TaskRequests, &rows::with_dot(&rows::task_request_prefix(&author, request), dot));
        }
        return Ok(());
    }
    let Some((task, said)) = TaskSaid::of(event) else { return Ok(()) };
    draft.delete(Table::TaskEvents, &rows::task_event_key(task, &HeardEvent { by: author, hlc, dot, said }));
    if rows::is_end(&said)
        && let Some(row) = find_task(draft, task)?.filter(|row| row.submitter == author)
        && !ended_by(draft, task, &author)?
    {
        draft.put(Table::TasksOpen, &rows::task_open_key(&row, task), &[]);
    }
    Ok(())
}
