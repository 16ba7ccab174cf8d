//! Lines of tasks, in the order of their time. An open task is in the line of its submitter and priority, and one that has
//! ended in the line of its end. A question reads the lines that it needs, merged.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Priority, TaskEnd};
use nexus_identity::Did;

use super::rows::{self, SUBMITTER_BYTES, TaskAt, unreadable};
use crate::store::{Order, StoreError, Table, View, prefix_end};

/// The most rows of a line that are read at once. The first read is of one row: most lines give no more to a page.
const READ_MAX: usize = 64;

/// The open tasks that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenTasks {
    /// None.
    None,
    /// Those of which somebody has said something, or that need an approval.
    Noted,
    /// All.
    All,
}

/// The tasks that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedTasks {
    pub(crate) open: OpenTasks,
    /// Those that have ended, by their settlers' words.
    pub(crate) ends: Vec<TaskEnd>,
}

/// Tasks by time, the newest first, before a place in that order, while `each` wants more.
pub(crate) fn newest_tasks(
    view: &dyn View,
    wanted: &WantedTasks,
    before: Option<TaskAt>,
    each: &mut dyn FnMut(TaskAt) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let by_time = |line: Line| (line, Priority::Low);
    let mut lines: Vec<(Line, Priority)> =
        wanted.ends.iter().map(|end| by_time(Line::of(Table::TaskTimes, vec![*end as u8]))).collect();
    match wanted.open {
        OpenTasks::None => {}
        OpenTasks::Noted => lines.push(by_time(Line::of(Table::TasksNoted, Vec::new()))),
        OpenTasks::All => {
            for submitter in submitters(view)? {
                lines.extend(lines_of(&submitter).map(|(line, _)| by_time(line)));
            }
        }
    }
    for (line, _) in &mut lines {
        line.last = before;
    }
    Merged { view, order: Order::Backward, lines, heads: BTreeSet::new(), place: |at: TaskAt, _| at.hlc.0 }.walk(each)
}

/// The open tasks of a submitter in the order in which they are handed out, at most so many.
pub(crate) fn open_tasks(view: &dyn View, submitter: &Did, most: usize) -> Result<Vec<TaskAt>, StoreError> {
    let mut found = Vec::new();
    let lines = lines_of(&rows::submitter_key(submitter)).collect();
    let place = |at: TaskAt, priority| rows::task_rank(at.hlc, priority);
    Merged { view, order: Order::Forward, lines, heads: BTreeSet::new(), place }.walk(&mut |at| {
        if found.len() == most {
            return Ok(ControlFlow::Break(()));
        }
        found.push(at);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The submitters of open tasks.
fn submitters(view: &dyn View) -> Result<Vec<[u8; SUBMITTER_BYTES]>, StoreError> {
    let (mut found, mut from) = (Vec::new(), Some(Vec::new()));
    while let Some(bound) = from {
        let bounds = (Bound::Included(bound.as_slice()), Bound::Unbounded);
        let Some((key, _)) = view.first(Table::TasksOpen, bounds, Order::Forward)? else { break };
        let submitter = key.first_chunk().ok_or_else(|| unreadable(Table::TasksOpen))?;
        found.push(*submitter);
        from = prefix_end(submitter);
    }
    Ok(found)
}

fn lines_of(submitter: &[u8; SUBMITTER_BYTES]) -> impl Iterator<Item = (Line, Priority)> {
    let line = |priority| Line::of(Table::TasksOpen, rows::tasks_open_prefix(submitter, priority));
    Priority::ALL.map(|priority| (line(priority), priority)).into_iter()
}

/// The rows of a table that begin with a prefix, as far as they were read.
struct Line {
    table: Table,
    prefix: Vec<u8>,
    rows: VecDeque<TaskAt>,
    /// The last row that was read, or the place from which the line is wanted.
    last: Option<TaskAt>,
    /// The rows of the next read.
    most: usize,
    is_through: bool,
}

impl Line {
    const fn of(table: Table, prefix: Vec<u8>) -> Self {
        Self { table, prefix, rows: VecDeque::new(), last: None, most: 1, is_through: false }
    }

    fn next(&mut self, view: &dyn View, order: Order) -> Result<Option<TaskAt>, StoreError> {
        if self.rows.is_empty() && !self.is_through {
            self.read(view, order)?;
        }
        Ok(self.rows.pop_front())
    }

    fn read(&mut self, view: &dyn View, order: Order) -> Result<(), StoreError> {
        let last = self.last.map(|last| [self.prefix.as_slice(), &last.to_bytes()].concat());
        let end = prefix_end(&self.prefix);
        let (begin, end) =
            (Bound::Included(self.prefix.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let range = match (&last, order) {
            (None, _) => (begin, end),
            (Some(last), Order::Forward) => (Bound::Excluded(last.as_slice()), end),
            (Some(last), Order::Backward) => (begin, Bound::Excluded(last.as_slice())),
        };
        let (rows, most, table) = (&mut self.rows, self.most, self.table);
        view.try_scan(table, range, order, &mut |key, _| {
            rows.push_back(TaskAt::at_end(key).ok_or_else(|| unreadable(table))?);
            Ok(if rows.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        self.is_through = self.rows.len() < self.most;
        self.last = self.rows.back().copied().or(self.last);
        self.most = READ_MAX;
        Ok(())
    }
}

/// Several lines as one. `place` says where a task is in their order.
struct Merged<'a, P> {
    view: &'a dyn View,
    order: Order,
    lines: Vec<(Line, Priority)>,
    /// The first task of each line.
    heads: BTreeSet<(u64, TaskAt, usize)>,
    place: P,
}

impl<P: Fn(TaskAt, Priority) -> u64> Merged<'_, P> {
    fn walk(mut self, each: &mut dyn FnMut(TaskAt) -> Result<ControlFlow<()>, StoreError>) -> Result<(), StoreError> {
        for number in 0..self.lines.len() {
            self.advance(number)?;
        }
        while let Some((_, at, number)) = match self.order {
            Order::Forward => self.heads.pop_first(),
            Order::Backward => self.heads.pop_last(),
        } {
            if each(at)?.is_break() {
                break;
            }
            self.advance(number)?;
        }
        Ok(())
    }

    fn advance(&mut self, number: usize) -> Result<(), StoreError> {
        let (line, priority) = &mut self.lines[number];
        if let Some(at) = line.next(self.view, self.order)? {
            self.heads.insert(((self.place)(at, *priority), at, number));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::Hlc;

    use super::*;
    use crate::ledger::rows::TaskRow;
    use crate::store::{Batch, Store};

    fn at(n: u64) -> TaskAt {
        TaskAt { hlc: Hlc(n << 24), eno: n, index: 0 }
    }

    /// Puts an open task of a submitter into its line.
    fn open(n: u64, submitter: u8, priority: Priority, batch: &mut Batch) {
        let submitter = Did::from_bytes([submitter; 32]);
        let row = TaskRow {
            space: 1,
            submitter,
            hlc: at(n).hlc,
            priority,
            needs_approval: false,
            request: None,
            heirs: [None; 3],
        };
        batch.put(Table::TasksOpen, &rows::task_open_key(&row, at(n)), &[]);
    }

    fn newest(view: &dyn View, wanted: &WantedTasks, before: Option<TaskAt>, most: usize) -> Vec<u64> {
        let mut found = Vec::new();
        newest_tasks(view, wanted, before, &mut |at| {
            found.push(at.eno);
            Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .unwrap();
        found
    }

    /// promise: Tasks | A list of tasks in a state looks at the tasks that may be in it, and not at all others
    #[test]
    fn a_rare_state_is_found_without_all_others() {
        let (store, mut batch) = (Store::memory().unwrap(), Batch::new());
        for n in 0..20_000 {
            open(n, 1, Priority::Normal, &mut batch);
        }
        for n in [17, 18_000] {
            batch.put(Table::TasksNoted, &at(n).to_bytes(), &[]);
        }
        for n in 30_000..40_000 {
            batch.put(Table::TaskTimes, &rows::task_end_key(TaskEnd::Succeeded, at(n)), &[]);
        }
        batch.put(Table::TaskTimes, &rows::task_end_key(TaskEnd::Failed, at(35)), &[]);
        batch.put(Table::TaskTimes, &rows::task_end_key(TaskEnd::DeadlineExceeded, at(25_000)), &[]);
        store.commit(&[batch]).unwrap();
        let view = store.snapshot().unwrap();
        let wanted = |open, ends: &[TaskEnd]| WantedTasks { open, ends: ends.to_vec() };
        let of = |open, ends: &[TaskEnd]| newest(&view, &wanted(open, ends), None, usize::MAX);
        assert_eq!(of(OpenTasks::Noted, &[]), [18_000, 17]);
        assert_eq!(of(OpenTasks::None, &[TaskEnd::Failed, TaskEnd::DeadlineExceeded]), [25_000, 35]);
        assert_eq!(of(OpenTasks::Noted, &[TaskEnd::Failed]), [18_000, 35, 17]);
        assert_eq!(of(OpenTasks::None, &[TaskEnd::Rejected]), Vec::<u64>::new());
        let all = of(OpenTasks::All, &TaskEnd::ALL);
        assert_eq!(all.len(), 30_002);
        assert!(all.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn lines_are_merged_from_any_place() {
        let (store, mut batch) = (Store::memory().unwrap(), Batch::new());
        for n in 0..1_000 {
            let priority = Priority::ALL[usize::try_from(n * 7 % 4).unwrap()];
            open(n, u8::try_from(n * 3 % 5).unwrap(), priority, &mut batch);
        }
        store.commit(&[batch]).unwrap();
        let view = store.snapshot().unwrap();
        let wanted = WantedTasks { open: OpenTasks::All, ends: vec![] };
        assert_eq!(newest(&view, &wanted, None, 2_000), (0..1_000).rev().collect::<Vec<_>>());
        assert_eq!(newest(&view, &wanted, Some(at(500)), 300), (200..500).rev().collect::<Vec<_>>());
        assert_eq!(newest(&view, &wanted, Some(at(0)), 300), Vec::<u64>::new());
    }

    #[test]
    fn a_submitters_tasks_come_in_the_order_of_their_ranks() {
        let (store, mut batch) = (Store::memory().unwrap(), Batch::new());
        let minute = Hlc::at(nexus_identity::Timestamp::from_ms(60_000)).0;
        let mut ranks = Vec::new();
        for n in 1..400 {
            let priority = Priority::ALL[usize::try_from(n % 4).unwrap()];
            let at = TaskAt { hlc: Hlc(n * minute / 20 + 10 * minute), eno: n, index: 0 };
            let key = [rows::tasks_open_prefix(&[1; 16], priority).as_slice(), &at.to_bytes()].concat();
            batch.put(Table::TasksOpen, &key, &[]);
            ranks.push((rows::task_rank(at.hlc, priority), at));
        }
        open(7, 2, Priority::Critical, &mut batch);
        store.commit(&[batch]).unwrap();
        ranks.sort_unstable();
        let wanted: Vec<TaskAt> = ranks.into_iter().map(|(_, at)| at).collect();
        let view = store.snapshot().unwrap();
        assert_eq!(open_tasks(&view, &Did::from_bytes([1; 32]), 1_000).unwrap(), wanted);
        assert_eq!(open_tasks(&view, &Did::from_bytes([1; 32]), 5).unwrap(), wanted[..5]);
        assert!(open_tasks(&view, &Did::from_bytes([3; 32]), 5).unwrap().is_empty());
    }
}
