//! A task: its routes, and whether it has ended.

use nexus_client::wire;
use nexus_node::tasks::TaskStatus;

use crate::client::escape;

/// The route of a task, or of an action on it.
pub(super) fn path(id: &str, verb: Option<&str>) -> String {
    let verb = verb.map(|verb| format!("/{verb}")).unwrap_or_default();
    format!("/v1/tasks/{}{verb}", escape(id))
}

/// Whether a task has ended.
pub(in crate::commands) fn is_over(task: &wire::Task) -> bool {
    TaskStatus::ALL.into_iter().any(|state| state.is_over() && state.as_str() == task.state)
}
