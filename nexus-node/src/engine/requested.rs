//! Tasks whose submitters gave an id of the request: a second one with it is the first, if it asks for the same.

use nexus_crdt::{JsonText, SpaceId, Submission, TaskEvent, TaskId, inexact};

use super::LedgerError;
use super::io::TaskAnswer;
use crate::ledger::{find_space, find_task, task_event};
use crate::store::View;

/// The answer to a task whose id of a request another one has.
pub(super) fn answer(
    view: &dyn View,
    former: TaskId,
    space: SpaceId,
    event: &TaskEvent,
) -> Result<TaskAnswer, LedgerError> {
    let is_there = find_task(view, former)?.map(|(_, row)| row.space) == find_space(view, space)?.map(|row| row.no);
    Ok(match (task_event(view, former)?, event) {
        (Some(TaskEvent::Submitted(former_one)), TaskEvent::Submitted(new))
            if !is_there || !asks_the_same(&former_one, new) =>
        {
            TaskAnswer::OtherRequest
        }
        // of an erased one nobody can tell
        _ => TaskAnswer::Joined(former),
    })
}

/// Whether two tasks ask for the same. The program that submits it again may be another one.
fn asks_the_same(one: &Submission, other: &Submission) -> bool {
    let deadline = |task: &Submission| task.deadline_in().map_or((task.deadline_ms, None), |time| (None, Some(time)));
    let rest = |task: &Submission| {
        let (input, agent, deadline_ms) = (String::new(), String::new(), None);
        Submission { input, agent, deadline_ms, ..task.clone() }
    };
    rest(one) == rest(other) && deadline(one) == deadline(other) && is_same_json(&one.input, &other.input)
}

/// Whether two texts are one JSON. Earlier versions wrote an input in their own spelling.
fn is_same_json(one: &str, other: &str) -> bool {
    let value = |text: &str| match inexact(text) {
        None => JsonText::parse(text).ok().map(|json| json.value()),
        Some(_) => None,
    };
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}
