//! Tasks: submitting and following them, claims and ends of workers, and the workers themselves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use nexus_crdt::BadTaskEvent;
use nexus_identity::Did;

use super::caller::Caller;
use super::critical::{limit, names};
use super::extract::{Json, OptionalJson, Parameters, Path, RequestId};
use super::pass::Pass;
use super::problem::Problem;
use super::{Api, passphrase, wire};
use crate::error::{InputError, Resource};
use crate::events::{EventKind, EventsQuery, NodeEvent, NodeEvents, NodeNews};
use crate::tasks::{Task, TaskBoard, TaskId, TaskLogQuery, TaskQuery, TaskStatus, TaskToken, TaskWatch};
use crate::{Brain, Node, NodeError};

/// The space of a task that names none.
const TASKS_SPACE: &str = "tasks";
/// The longest wait for the end of a task.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The time between two signs of life of a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn submit(
    board: TaskBoard,
    caller: Caller,
    pass: Pass,
    RequestId(header): RequestId,
    Json(mut new): Json<wire::NewTask>,
) -> Result<(StatusCode, Answer<wire::Task>), Problem> {
    pass.check_space(new.space.as_deref().unwrap_or(TASKS_SPACE))?;
    if let Some(id) = header {
        if new.request.as_ref().is_some_and(|given| *given != id) {
            let problem = Problem::new("invalid", "`request` and the header Idempotency-Key are two ids");
            return Err(problem.hint("give one of them"));
        }
        new.request = Some(id);
    }
    let task = board.submit(wire::new_task(new, &caller)?).await?;
    Ok((StatusCode::CREATED, Answer(task.into())))
}

pub(super) async fn list(
    board: TaskBoard,
    pass: Pass,
    mut parameters: Parameters,
) -> Result<Answer<wire::TaskPage>, Problem> {
    let states = parameters.many("state").iter().map(|text| state(text)).collect::<Result<_, _>>()?;
    let after = parameters.one("after")?;
    let limit = limit(parameters)?;
    let mut page = board.list(TaskQuery { states, limit, after }).await?;
    // a page may have less than it has room for
    page.items.retain(|task| pass.sees(&task.space));
    Ok(Answer(page.into()))
}

/// Whether a caller may use a task. To one of some spaces, a task of another space is not there.
async fn in_sight(board: &TaskBoard, pass: &Pass, id: &str) -> Result<(), Problem> {
    if !pass.is_bounded() || pass.sees(&board.get(id).await?.space) {
        return Ok(());
    }
    let name = id.chars().take(64).collect();
    Err(NodeError::NotFound { what: Resource::Task, name }.into())
}

fn state(text: &str) -> Result<TaskStatus, Problem> {
    let found = TaskStatus::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        let all = TaskStatus::ALL.map(TaskStatus::as_str).join(", ");
        Problem::new("invalid", format!("state: {text:?} is none")).hint(format!("the states are {all}"))
    })
}

/// A task. Waits for its end if asked to.
pub(super) async fn get(
    State(api): State<Api>,
    node: Node,
    pass: Pass,
    Path(id): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::Task>, Problem> {
    let wait = parameters.one_as::<wire::Span>("wait")?;
    let why = parameters.one_as::<bool>("why")?.unwrap_or(false);
    let is_whole = parameters.one_as::<bool>("whole")?.unwrap_or(false);
    parameters.end()?;
    let board = node.tasks();
    in_sight(&board, &pass, &id).await?;
    let shown = async |mut task: crate::tasks::Task| {
        if is_whole {
            task.input = board.whole(task.input).await?;
            task.output = match task.output {
                Some(output) => Some(board.whole(output).await?),
                None => None,
            };
        }
        Ok::<wire::Task, Problem>(task.into())
    };
    if let Some(wire::Span(wait)) = wait {
        let ended = tokio::select! {
            ended = board.wait(&id, wait.min(WAIT_MAX)) => ended?,
            () = api.closing() => return Err(Problem::stopping()),
        };
        if let Some(task) = ended {
            return shown(task).await.map(Answer);
        }
    }
    let task = board.get(&id).await?;
    let candidates = why.then(|| {
        let names = names(&node);
        let named = |one: crate::tasks::TaskCandidate| {
            let name = names.get(&one.node).cloned();
            wire::candidate(one, name)
        };
        board.candidates(task.id).into_iter().map(named).collect()
    });
    Ok(Answer(wire::Task { candidates, ..shown(task).await? }))
}

/// The stderr of a task's last attempt.
pub(super) async fn log(
    State(api): State<Api>,
    board: TaskBoard,
    pass: Pass,
    Path(id): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::TaskLog>, Problem> {
    let attempt = parameters.one_as::<u32>("attempt")?.unwrap_or_default();
    let from = parameters.one_as::<u64>("from")?.unwrap_or_default();
    let wait = parameters.one_as::<wire::Span>("wait")?.map_or(Duration::ZERO, |wire::Span(wait)| wait);
    parameters.end()?;
    in_sight(&board, &pass, &id).await?;
    let query = TaskLogQuery { attempt, from, wait };
    tokio::select! {
        log = board.log(&id, query) => Ok(Answer(log?.into())),
        () = api.closing() => Err(Problem::stopping()),
    }
}

pub(super) async fn cancel(
    board: TaskBoard,
    pass: Pass,
    Path(id): Path,
    OptionalJson(word): OptionalJson<wire::TaskWord>,
) -> Result<Answer<wire::Task>, Problem> {
    in_sight(&board, &pass, &id).await?;
    Ok(Answer(board.cancel(&id, word.why.as_deref().unwrap_or_default()).await?.into()))
}

pub(super) async fn approve(
    State(api): State<Api>,
    board: TaskBoard,
    brain: Brain,
    Path(id): Path,
    OptionalJson(word): OptionalJson<wire::ApproveTask>,
) -> Result<Answer<wire::Task>, Problem> {
    passphrase::check(&api, &brain, word.passphrase).await?;
    Ok(Answer(board.approve(&id).await?.into()))
}

pub(super) async fn reject(
    board: TaskBoard,
    Path(id): Path,
    OptionalJson(word): OptionalJson<wire::TaskWord>,
) -> Result<Answer<wire::Task>, Problem> {
    Ok(Answer(board.reject(&id, word.why.as_deref().unwrap_or_default()).await?.into()))
}

pub(super) async fn retry(
    board: TaskBoard,
    pass: Pass,
    Path(id): Path,
    OptionalJson(_): OptionalJson<wire::TaskWord>,
) -> Result<(StatusCode, Answer<wire::Task>), Problem> {
    in_sight(&board, &pass, &id).await?;
    Ok((StatusCode::CREATED, Answer(board.retry(&id).await?.into())))
}

/// Gives a worker a task; no content if there was none in time.
pub(super) async fn claim(
    State(api): State<Api>,
    board: TaskBoard,
    caller: Caller,
    pass: Pass,
    Json(claim): Json<wire::ClaimTask>,
) -> Result<Response, Problem> {
    // if the caller goes away, or its token ends, this is dropped, and it waits no longer
    let claimed = tokio::select! {
        claimed = pass.while_good(board.claim(wire::claim_query(claim, &caller)?)) => claimed??,
        () = api.closing() => return Err(Problem::stopping()),
    };
    Ok(match claimed {
        Some(claimed) => Answer(wire::ClaimedTask::from(claimed)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

pub(super) async fn renew(
    State(api): State<Api>,
    board: TaskBoard,
    pass: Pass,
    Path(id): Path,
    Json(renew): Json<wire::RenewTask>,
) -> Result<Answer<wire::TaskRenewal>, Problem> {
    in_sight(&board, &pass, &id).await?;
    let (token, progress) = (token(&renew.token)?, wire::progress(&renew));
    if let Some(log) = &renew.log {
        board.note_log(&id, token, renew.log_from.unwrap_or_default(), log).await?;
    }
    let Some(wire::Span(wait)) = renew.wait else {
        return Ok(Answer(board.renew(&id, token, progress).await?.into()));
    };
    let held = tokio::select! {
        held = pass.while_good(board.hold(&id, token, progress, wait)) => Some(held??),
        () = api.closing() => None,
    };
    match held {
        Some(renewal) => Ok(Answer(renewal.into())),
        // the node hung up, not the worker: its whole lease is left to find the node again
        None => Ok(Answer(board.renew(&id, token, None).await?.into())),
    }
}

pub(super) async fn finish(
    board: TaskBoard,
    pass: Pass,
    Path(id): Path,
    Json(finish): Json<wire::FinishTask>,
) -> Result<Answer<wire::Task>, Problem> {
    in_sight(&board, &pass, &id).await?;
    let token = token(&finish.token)?;
    Ok(Answer(board.finish(&id, token, wire::result(finish)?).await?.into()))
}

fn token(text: &str) -> Result<TaskToken, Problem> {
    text.parse().map_err(|error: BadTaskEvent| NodeError::from(InputError::Task(error)).into())
}

pub(super) async fn agents(node: Node) -> Answer<Vec<wire::Agent>> {
    let members: BTreeMap<Did, crate::node::MemberInfo> =
        node.members().into_iter().map(|member| (member.did, member)).collect();
    let agent = |agent: crate::tasks::Agent| {
        let member = members.get(&agent.node);
        wire::agent(agent, member)
    };
    Answer(node.tasks().agents().into_iter().map(agent).collect())
}

/// Tasks as something happens to them: a part of the events of the node. Of one task, its present state comes first, and the
/// stream ends with the task.
pub(super) async fn events(
    State(api): State<Api>,
    node: Node,
    brain: Brain,
    board: TaskBoard,
    pass: Pass,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let id = parameters.one("task")?;
    let after = super::events::after(&headers, &mut parameters)?;
    parameters.end()?;
    let feed = match id {
        Some(id) => {
            in_sight(&board, &pass, &id).await?;
            let watch = board.watch();
            let first = board.get(&id).await?;
            Feed::Only { id: first.id, watch, first: Some(Box::new(first)), over: false }
        }
        None => {
            let mut query = EventsQuery::from_now().kinds([EventKind::Tasks]);
            query.after = after;
            Feed::All(Box::new(node.events_for(brain, query).await?))
        }
    };
    let tasks = stream::unfold((feed, api), |(mut feed, api)| async move {
        let (news, cursor) = tokio::select! {
            news = feed.next() => news?,
            () = api.closing() => return None,
        };
        // Our documents have string keys, so writing them as JSON cannot fail.
        let event = match news {
            Some(task) => {
                let task = wire::Task::from(*task);
                // a line that ends within a JSON, between its tokens, would end the line of the event
                let line = serde_json::to_string(&task).map(|task| task.replace(['\n', '\r'], " "));
                line.map(|line| Event::default().event(task.state.clone()).data(line))
            }
            None => {
                let line = serde_json::to_string(&wire::TasksMissed { missed: 0 });
                line.map(|line| Event::default().event("missed").data(line))
            }
        };
        let event = event.unwrap_or_default();
        let event = match cursor {
            Some(cursor) => event.id(cursor),
            None => event,
        };
        Some((Ok::<_, Infallible>(event), (feed, api)))
    });
    Ok(Sse::new(tasks).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Tasks for one reader.
enum Feed {
    All(Box<NodeEvents>),
    Only {
        id: TaskId,
        watch: TaskWatch,
        /// The task, as it was at the beginning.
        first: Option<Box<Task>>,
        /// It has ended.
        over: bool,
    },
}

/// A task, or none if some were missed, with the cursor after it.
type Told = (Option<Box<Task>>, Option<String>);

impl Feed {
    /// The next of them; `None` at the end of the only task, or of the node.
    async fn next(&mut self) -> Option<Told> {
        match self {
            Self::All(events) => loop {
                let NodeEvent { cursor, news, .. } = events.next().await.ok()??;
                match news {
                    NodeNews::Task(_, task) => return Some((Some(task), Some(cursor))),
                    NodeNews::Missed(_) => return Some((None, Some(cursor))),
                    _ => {}
                }
            },
            Self::Only { over: true, .. } => None,
            Self::Only { id, watch, first, over } => {
                let task = match first.take() {
                    Some(first) => first,
                    None => Box::new(watch.next_of(*id).await.ok()?),
                };
                *over = task.status.is_over();
                Some((Some(task), None))
            }
        }
    }
}
