use std::collections::BTreeSet;

use nexus_crdt::{
    Dot, HeardEvent, Hlc, Kind, LEAVES_MAX, PAYLOAD_BYTES_MAX, PlacedTaskEvent, SpaceId, TASK_OWNERSHIP_MAX, TaskEnd,
    TaskEvent, TaskId, TaskPhase, TaskSaid, Verified, task_events_of,
};

use super::append::{Answer, Commands, PAYLOAD_FRONT_BYTES};
use super::io::TaskAnswer;
use super::payload::{LEAF_FRONT_BYTES, OwnPayload};
use super::{Engine, Event, LedgerError, Turn, kept, requested};
use crate::ledger::rows::{self, Eno, SpaceNo, TaskRow};
use crate::ledger::{
    end_of, find_entry, find_task, is_spoken_of, said_by_owners, settled_state, task_requested, task_row,
};
use crate::store::{Draft, StoreError, Table};

/// A result that came too late is written in the name of an ownership that nobody has.
pub(crate) const LATE: u32 = TASK_OWNERSHIP_MAX + 1;
/// The most bytes of one entry with several events: with its key they fill two pages of the store, which takes pages by
/// powers of two. A read of one event reads its whole payload.
const FILL_BYTES: usize = 8_000;

/// Events of several commands for one entry of a space.
#[derive(Default)]
pub(super) struct PendingTasks {
    leaves: Vec<Vec<u8>>,
    bytes: usize,
    /// For each event: the command, its place in it, and the index of its leaf.
    slots: Vec<(usize, usize, u16)>,
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
            if let Some(answer) = self.task_answer(&event, space, request.as_deref(), turn)? {
                run.answer_task(place, slot, answer);
                continue;
            }
            let about = event.task();
            let leaves = if self.writes_apart() { event.into_leaves() } else { vec![event.encode()] };
            let size: usize = leaves.iter().map(|leaf| LEAF_FRONT_BYTES + leaf.len()).sum();
            if size + PAYLOAD_FRONT_BYTES > PAYLOAD_BYTES_MAX {
                run.answer_task(place, slot, TaskAnswer::TooLarge);
                continue;
            }
            let is_full = |pending: &PendingTasks| {
                !self.writes_leaves()
                    || pending.leaves.len() + leaves.len() > LEAVES_MAX
                    || pending.bytes + size + PAYLOAD_FRONT_BYTES > FILL_BYTES
            };
            if run.tasks.get(&space).is_some_and(is_full) {
                self.seal_tasks(space, run, turn)?;
            }
            let pending = run.tasks.entry(space).or_default();
            pending.about.extend(about);
            pending.requests.extend(request);
            pending.bytes += size;
            let index = u16::try_from(pending.leaves.len()).unwrap_or(u16::MAX);
            pending.slots.push((place, slot, index));
            pending.leaves.extend(leaves);
        }
        Ok(run.take(place))
    }

    fn writes_leaves(&self) -> bool {
        self.state.entry_format >= nexus_crdt::ENTRY_FORMAT_LEAVES
    }

    /// Whether texts of events are leaves of their own.
    fn writes_apart(&self) -> bool {
        self.state.tasks_apart && self.writes_leaves()
    }

    /// The answer to an event that is not written; `None` if it is to be.
    fn task_answer(
        &self,
        event: &TaskEvent,
        space: SpaceId,
        request: Option<&str>,
        turn: &Turn<'_>,
    ) -> Result<Option<TaskAnswer>, LedgerError> {
        let me = self.state.me;
        if let Some(request) = request {
            let former = task_requested(&turn.draft, &me, request)?;
            return former.map(|task| requested::answer(&turn.draft, task, space, event)).transpose();
        }
        let Some(task) = event.task() else { return Ok(None) };
        let Some((_, row)) = find_task(&turn.draft, task)? else { return Ok(Some(TaskAnswer::NoTask)) };
        if matches!(event, TaskEvent::Word(_)) {
            return Ok(None);
        }
        let ownership = TaskSaid::of(event).and_then(|(_, said)| said.ownership());
        let is_owners = row.submitter == me || row.heirs.contains(&Some(me)) && ownership != Some(0);
        let whose = (me, &*self.state.members);
        let at = (Hlc::at(turn.now), &turn.draft);
        if !is_owners {
            return match event {
                TaskEvent::Settled(kept) => Ok(kept::of_other_settler(task, &row, kept, whose, at)?),
                // nobody else's word counts as a claim, or ends one
                _ => Ok(Some(TaskAnswer::Stale)),
            };
        }
        let heard = said_by_owners(&turn.draft, task, &row)?;
        let state = settled_state(&row, &heard);
        let owner = state.owner().filter(|_| ownership != Some(LATE));
        if let Some((owned, _)) = owner.filter(|owner| ownership.is_some_and(|of| *owner != (of, me))) {
            // a task is taken over in the name of a later ownership, by whoever may have it
            let takes_over = matches!(event, TaskEvent::Returned(_)) && row.moves() && ownership > Some(owned);
            let is_over = matches!(state.phase, TaskPhase::Over(_));
            return Ok((!takes_over || is_over).then_some(TaskAnswer::Stale));
        }
        let holds = |token| state.claim.is_some_and(|(held, ..)| held == token);
        let stale = match event {
            // a result that came too late is kept once, if it is of a claim that there was
            TaskEvent::Settled(settled) if settled.ownership == LATE => {
                return Ok(kept::late(settled, &heard, whose, at)?);
            }
            _ if matches!(state.phase, TaskPhase::Over(_)) => true,
            TaskEvent::Claimed(_) => state.claim.is_some(),
            TaskEvent::Returned(returned) => !holds(returned.token),
            TaskEvent::Settled(settled) => {
                let was_held = |token| state.taken_from.is_some_and(|(held, _)| held == token);
                settled.token.is_some_and(|token| !holds(token) && !was_held(token))
            }
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
        let Some(PendingTasks { leaves, slots, .. }) = run.tasks.remove(&space) else { return Ok(()) };
        let places: BTreeSet<usize> = slots.iter().map(|(place, ..)| *place).collect();
        let of = places.into_iter().map(|place| run.id(place)).collect();
        let kind = if self.writes_apart() { Kind::TASKS_APART } else { Kind::TASKS };
        let entry = self.append(space, kind, OwnPayload::Events(leaves), of, turn)?;
        let id = entry.id();
        for (place, slot, index) in slots {
            run.answer_task(place, slot, TaskAnswer::Written(Dot { entry: id, index }));
        }
        Ok(())
    }

    /// Folds the events of an entry.
    pub(super) fn fold_task_events(
        &self,
        (eno, space): (Eno, SpaceNo),
        entry: &Verified,
        events: &[PlacedTaskEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        for PlacedTaskEvent { index, event } in events {
            let dot = Dot { entry: entry.id(), index: *index };
            put_event((eno, space), entry, dot, event, &mut turn.draft)?;
            let is_own = entry.header().author == self.state.me;
            if is_own {
                kept::count(event, entry.header().hlc, true, &mut turn.draft)?;
            }
            note(dot, event, is_own, turn);
        }
        Ok(())
    }

    /// Takes the events of an entry out again.
    pub(super) fn unfold_task_events(&self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let Some(eno) = find_entry(&turn.draft, entry.id())? else { return Ok(()) };
        for PlacedTaskEvent { index, event } in task_events_of(entry).unwrap_or_default() {
            let dot = Dot { entry: entry.id(), index };
            take_event(eno, entry, dot, &event, &mut turn.draft)?;
            if entry.header().author == self.state.me {
                kept::count(&event, entry.header().hlc, false, &mut turn.draft)?;
            }
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

/// The line in which a task is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It has not ended.
    Open {
        /// Somebody has said something of it, or it needs an approval.
        noted: bool,
    },
    /// It has ended, by its settlers' words.
    Ended(TaskEnd),
}

/// A task in the tables.
struct Placed {
    task: TaskId,
    eno: Eno,
    row: TaskRow,
}

impl Placed {
    fn find(task: TaskId, draft: &Draft<'_>) -> Result<Option<Self>, StoreError> {
        Ok(find_task(draft, task)?.map(|(eno, row)| Self { task, eno, row }))
    }

    /// The line in which it is to be.
    fn line(&self, draft: &Draft<'_>) -> Result<Line, StoreError> {
        let Self { task, row, .. } = self;
        if !is_spoken_of(draft, *task)? {
            return Ok(Line::Open { noted: row.needs_approval });
        }
        Ok(end_of(draft, *task, row)?.map_or(Line::Open { noted: true }, Line::Ended))
    }

    /// The keys of its rows in a line.
    fn keys(&self, line: Line) -> Vec<(Table, Vec<u8>)> {
        let Self { task, eno, row } = self;
        let at = row.at(*eno, task.index);
        match line {
            Line::Ended(end) => vec![(Table::TaskTimes, rows::task_end_key(end, at))],
            Line::Open { noted } => {
                let open = [(Table::TasksOpen, rows::task_open_key(row, at))];
                let noted = noted.then(|| (Table::TasksNoted, at.to_bytes().to_vec()));
                let moving = row.moving_keys(*task).into_iter().map(|key| (Table::TasksMoving, key));
                open.into_iter().chain(noted).chain(moving).collect()
            }
        }
    }

    /// Moves it from a line to another one.
    fn change(&self, from: Option<Line>, to: Option<Line>, draft: &mut Draft<'_>) {
        if from == to {
            return;
        }
        let [from, to] = [from, to].map(|line| line.map_or_else(Vec::new, |line| self.keys(line)));
        for (table, key) in from.iter().filter(|key| !to.contains(key)) {
            draft.delete(*table, key);
        }
        for (table, key) in to.iter().filter(|key| !from.contains(key)) {
            draft.put(*table, key, &[]);
        }
    }
}

/// Puts an event into the tables. They are a function of the set of events in them.
fn put_event(
    (eno, space): (Eno, SpaceNo),
    entry: &Verified,
    dot: Dot,
    event: &TaskEvent,
    draft: &mut Draft<'_>,
) -> Result<(), StoreError> {
    let header = entry.header();
    let (author, hlc) = (header.author, header.hlc);
    if let Some(attachment) = event.attachment() {
        draft.put(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), dot), &[]);
    }
    if let TaskEvent::Submitted(submission) = event {
        let request = (!submission.request.is_empty()).then(|| rows::request_hash(&submission.request));
        let (priority, needs_approval) = (submission.priority, submission.needs_approval);
        let heirs = TaskRow::heirs_of(&submission.heirs(&author));
        let row = TaskRow { space, submitter: author, hlc, priority, needs_approval, request, heirs };
        draft.put(Table::Tasks, &rows::record_key(eno, dot.index), &rows::encode(&row));
        if let Some(request) = &request {
            draft.put(Table::TaskRequests, &rows::with_dot(&rows::task_request_prefix(&author, request), dot), &[]);
        }
        let placed = Placed { task: dot, eno, row };
        // its end may have come before it
        let line = placed.line(draft)?;
        placed.change(None, Some(line), draft);
        return Ok(());
    }
    let Some((task, said)) = TaskSaid::of(event) else { return Ok(()) };
    let heard = HeardEvent { by: author, hlc, dot, said };
    let (key, value) = (rows::task_event_key(task, &heard), rows::encode(&said));
    in_its_line(task, draft, |draft| draft.put(Table::TaskEvents, &key, &value))
}

/// Changes what was said of a task, and has it in the line where it belongs then.
fn in_its_line(task: TaskId, draft: &mut Draft<'_>, change: impl FnOnce(&mut Draft<'_>)) -> Result<(), StoreError> {
    let placed = Placed::find(task, draft)?;
    let before = placed.as_ref().map(|placed| placed.line(draft)).transpose()?;
    change(draft);
    if let Some(placed) = placed {
        let after = placed.line(draft)?;
        placed.change(before, Some(after), draft);
    }
    Ok(())
}

/// Takes an event out of the tables.
fn take_event(
    eno: Eno,
    entry: &Verified,
    dot: Dot,
    event: &TaskEvent,
    draft: &mut Draft<'_>,
) -> Result<(), StoreError> {
    let header = entry.header();
    let (author, hlc) = (header.author, header.hlc);
    if let Some(attachment) = event.attachment() {
        draft.delete(Table::BlobRefs, &rows::blob_ref_key(attachment.blob(), dot));
    }
    if let TaskEvent::Submitted(_) = event {
        let Some(row) = task_row(draft, eno, dot.index)? else { return Ok(()) };
        if let Some(request) = &row.request {
            draft.delete(Table::TaskRequests, &rows::with_dot(&rows::task_request_prefix(&author, request), dot));
        }
        draft.delete(Table::Tasks, &rows::record_key(eno, dot.index));
        let placed = Placed { task: dot, eno, row };
        let line = placed.line(draft)?;
        placed.change(Some(line), None, draft);
        return Ok(());
    }
    let Some((task, said)) = TaskSaid::of(event) else { return Ok(()) };
    let key = rows::task_event_key(task, &HeardEvent { by: author, hlc, dot, said });
    in_its_line(task, draft, |draft| draft.delete(Table::TaskEvents, &key))
}
