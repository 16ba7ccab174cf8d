//! Changes as they happen: as server-sent events, over a WebSocket, or by long polls.
//!
//! All three are cursors over the store. They pull: a slow reader has one change in flight, the rest
//! stays on disk. Changes of the coordinators' mode come in between. The mode is on no disk, so a
//! client that was away reads it in the status.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use futures::{FutureExt, SinkExt};

use super::extract::Parameters;
use super::looks::Looks;
use super::pass::Pass;
use super::problem::Problem;
use super::websocket::{SUBPROTOCOL, is_websocket};
use super::{Api, wire};
use crate::coordinator::Mode;
use crate::{Brain, Node, Watch, WatchQuery};

/// The time between two signs of life of a silent stream. A client that vanished is noticed as soon.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest time that a WebSocket may leave a change unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest message of a client over a WebSocket. Its messages are not read.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// The longest wait of a poll.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most changes of one poll.
const CHANGES_PER_POLL: usize = 1_000;

/// Changes after a cursor, or from now on. A browser's `Last-Event-ID` wins over the cursor in the
/// address, which is older.
pub(super) async fn events(
    State(api): State<Api>,
    node: Node,
    brain: Brain,
    pass: Pass,
    mut parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let from = match last_event(request.headers())? {
        Some(last) => Some(last),
        None => parameters.one("from")?,
    };
    let (space, wait) = (parameters.one("space")?, parameters.one_as::<wire::Span>("wait")?);
    parameters.many("from");
    parameters.end()?;
    let follows_mode = space.is_none();
    let watch = brain.watch(WatchQuery { after: from, space }).await?;
    let feed = Feed::new(watch, node, follows_mode).await;
    if let Some(wait) = wait {
        return poll(&api, feed, wait.0.min(WAIT_MAX)).await.map(IntoResponse::into_response);
    }
    if is_websocket(request.headers()) {
        let (mut parts, _) = request.into_parts();
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &api).await;
        let upgrade = upgrade.map_err(|rejection| Problem::new("malformed", rejection.body_text()))?;
        let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MESSAGE_BYTES_MAX);
        return Ok(upgrade.on_upgrade(move |socket| talk(api, feed, pass, socket)));
    }
    let changes = stream::unfold((feed, api), |(mut feed, api)| async move {
        let change = next(&api, &mut feed).await?;
        let event = Event::default().id(change.cursor.clone()).event(change.kind.clone());
        // Our documents have string keys, so writing them as JSON cannot fail.
        let event = event.json_data(&change).unwrap_or_default();
        Some((Ok::<_, Infallible>(event), (feed, api)))
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn last_event(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match headers.get("last-event-id").map(|id| id.to_str()) {
        None => Ok(None),
        Some(Ok(id)) => Ok(Some(id.to_owned()).filter(|id| !id.is_empty())),
        Some(Err(_)) => Err(Problem::new("malformed", "the Last-Event-ID header cannot be read")),
    }
}

/// Changes of the store and of the mode.
struct Feed {
    watch: Watch,
    node: Node,
    mode: Option<Mode>,
    /// `None` for a feed of one space.
    looks: Option<Looks>,
}

impl Feed {
    async fn new(watch: Watch, node: Node, follows_mode: bool) -> Self {
        let looks = follows_mode.then(|| Looks::new(node.contacts()));
        let mode = if follows_mode { mode(&node).await } else { None };
        Self { watch, node, mode, looks }
    }

    /// Resolves when the mode has changed. Dropping it early loses nothing.
    async fn mode_changes(looks: &mut Option<Looks>, node: &Node, was: Option<Mode>) -> Mode {
        let Some(looks) = looks else { return std::future::pending().await };
        loop {
            looks.due().await;
            if let Some(mode) = mode(node).await.filter(|mode| Some(*mode) != was) {
                return mode;
            }
        }
    }

    /// The mode in the form of a change, with the cursor of the last change.
    fn tell(&mut self, mode: Mode) -> wire::Change {
        self.mode = Some(mode);
        wire::Change {
            cursor: self.watch.cursor(),
            kind: "mode".to_owned(),
            id: mode.as_str().to_owned(),
            space: String::new(),
            author: self.node.did().to_string(),
            seq: 0,
        }
    }
}

async fn mode(node: &Node) -> Option<Mode> {
    let seen = node.critical().ok()?.coordinators().await?;
    Some(seen.mode())
}

/// The next change; `None` when the API or the node stops.
async fn next(api: &Api, feed: &mut Feed) -> Option<wire::Change> {
    let change = tokio::select! {
        // In this order: a mode is told after every change before it.
        biased;
        () = api.closing() => return None,
        change = feed.watch.next() => change,
        mode = Feed::mode_changes(&mut feed.looks, &feed.node, feed.mode) => return Some(feed.tell(mode)),
    };
    match change {
        Ok(change) => change.map(wire::Change::from),
        Err(error) => {
            tracing::debug!(%error, "a stream of changes ended");
            None
        }
    }
}

/// Returns the changes that are there already, and waits for one if there is none.
async fn poll(api: &Api, mut feed: Feed, wait: Duration) -> Result<axum::Json<wire::Changes>, Problem> {
    let mut changes = Vec::new();
    fill(&mut changes, &mut feed).await?;
    if changes.is_empty() {
        match tokio::time::timeout(wait, next(api, &mut feed)).await {
            Ok(Some(first)) => changes.push(first),
            Ok(None) => return Err(Problem::stopping()),
            Err(_) => {}
        }
        fill(&mut changes, &mut feed).await?;
    }
    // a mode is told after every change before it
    while !changes.is_empty()
        && changes.len() < CHANGES_PER_POLL
        && let Some(Some(more)) = next(api, &mut feed).now_or_never()
    {
        changes.push(more);
    }
    let cursor = changes.last().map_or_else(|| feed.watch.cursor(), |last| last.cursor.clone());
    Ok(axum::Json(wire::Changes { changes, cursor }))
}

/// Adds the changes of memories and members that are there, as many as a poll may have. They are read
/// on the blocking seam, so a wait of zero would never see them.
async fn fill(changes: &mut Vec<wire::Change>, feed: &mut Feed) -> Result<(), Problem> {
    while changes.len() < CHANGES_PER_POLL
        && let Some(more) = feed.watch.at_hand().await?
    {
        changes.push(wire::Change::from(more));
    }
    Ok(())
}

/// Sends each change as a text. Messages of the client are ignored, except for the close.
async fn talk(api: Api, mut feed: Feed, pass: Pass, socket: WebSocket) {
    let (mut sink, mut source) = socket.split();
    let mut over = Box::pin(pass.over());
    let mut alive = tokio::time::interval(KEEP_ALIVE);
    loop {
        let message = tokio::select! {
            change = next(&api, &mut feed) => match change.map(|change| serde_json::to_string(&change)) {
                Some(Ok(text)) => Message::text(text),
                Some(Err(_)) => continue,
                None => break,
            },
            heard = source.next() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = alive.tick() => Message::Ping(Vec::new().into()),
            () = &mut over => {
                let goodbye = CloseFrame { code: close_code::POLICY, reason: "the token has ended".into() };
                let _ = tokio::time::timeout(KEEP_ALIVE, sink.send(Message::Close(Some(goodbye)))).await;
                return;
            }
        };
        match tokio::time::timeout(SEND_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => {}
            // The client is gone, or does not read.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let goodbye = CloseFrame { code: close_code::AWAY, reason: "the node is stopping".into() };
    let _ = tokio::time::timeout(KEEP_ALIVE, sink.send(Message::Close(Some(goodbye)))).await;
}
