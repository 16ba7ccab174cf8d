//! Tasks as they are shown: what the ledger says, and what the settler knows.

use std::time::Duration;

use nexus_crdt::{ApprovalRule, SpaceRule, TaskId};

use super::here::Here;
use super::read;
use super::settler::Settler;
use super::task::{Task, TaskPage, TaskQuery, TaskRef, TaskStatus};
use super::why::Waits;
use crate::error::{NodeError, Resource};

/// The longest wait of a worker for work, and of a worker's node for the end of a claim.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most members that are named where they could approve a task.
const APPROVERS_NAMED: usize = 5;

/// A handle to tasks as they are shown, cheap to clone.
#[derive(Clone)]
pub(super) struct Shows {
    here: Here,
    settler: Settler,
}

impl Shows {
    pub(super) const fn new(here: Here, settler: Settler) -> Self {
        Self { here, settler }
    }

    /// The id of the task that a name stands for.
    pub(super) async fn resolve(&self, name: TaskRef) -> Result<TaskId, NodeError> {
        match name {
            TaskRef::Id(id) => Ok(id),
            TaskRef::Text(text) => self.here.reading(move |view, reader| read::resolve_id(view, reader, &text)).await,
        }
    }

    /// The task that a name stands for.
    pub(super) async fn of(&self, name: TaskRef) -> Result<Task, NodeError> {
        let shows = self.clone();
        let read = self.here.reading(move |view, reader| {
            let found = read::resolve(view, reader, &name)?;
            let space = found.rule;
            Ok(shows.alone(read::task(view, reader, found, true)?, &space))
        });
        read.await
    }

    /// A task that there is.
    ///
    /// # Errors
    /// [`NodeError::NotFound`].
    pub(super) async fn get(&self, id: TaskId) -> Result<Task, NodeError> {
        let shows = self.clone();
        let read = self.here.reading(move |view, reader| {
            let Some(found) = read::find(view, reader, id)? else {
                return Err(NodeError::NotFound { what: Resource::Task, name: id.to_string() });
            };
            let space = found.rule;
            Ok(shows.alone(read::task(view, reader, found, true)?, &space))
        });
        read.await
    }

    /// A task, if there is one, with its events or without.
    pub(super) async fn find(&self, id: TaskId, with_events: bool) -> Result<Option<Task>, NodeError> {
        let shows = self.clone();
        let read = self.here.reading(move |view, reader| {
            let Some(found) = read::find(view, reader, id)? else { return Ok(None) };
            Ok(Some(shows.settler.shown(read::task(view, reader, found, with_events)?)))
        });
        read.await
    }

    /// A page of tasks, the newest first.
    pub(super) async fn list(&self, query: TaskQuery) -> Result<TaskPage, NodeError> {
        let settler = self.settler.clone();
        let read = self.here.reading(move |view, reader| {
            let mut page = read::list(view, reader, &query)?;
            let items = std::mem::take(&mut page.items).into_iter().map(|task| settler.shown(task));
            let wanted = |task: &Task| query.states.is_empty() || query.states.contains(&task.status);
            page.items = items.filter(wanted).collect();
            Ok(page)
        });
        read.await
    }

    /// A task that is shown alone, with those who could approve it by name.
    pub(super) fn alone(&self, task: Task, space: &SpaceRule) -> Task {
        let (task, me) = (self.settler.shown(task), self.here.me());
        if task.status != TaskStatus::AwaitingApproval || task.submitter != me || task.settler != me {
            return task;
        }
        let why = Some(self.who_could_approve(task.rule.unwrap_or(ApprovalRule::Other), space));
        Task { why, ..task }
    }

    /// The members that could approve a task of this node.
    fn who_could_approve(&self, rule: ApprovalRule, space: &SpaceRule) -> Waits {
        let (all, me) = (self.here.approvers(rule, space), self.here.me());
        let mut others: Vec<String> = all.into_iter().filter(|(did, _)| *did != me).map(|(_, name)| name).collect();
        let more = others.len().saturating_sub(APPROVERS_NAMED);
        others.truncate(APPROVERS_NAMED);
        Waits::ApprovalAt { rule, others, more }
    }
}
