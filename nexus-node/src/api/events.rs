//! Events as they happen: as server-sent events, over a WebSocket, or by long polls.
//!
//! All three are cursors over what the node keeps. They pull: a slow reader has one event in flight, the rest
//! stays where it is. A caller gets the kinds that its token may read, in the spaces that it may read.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, close_code};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use nexus_identity::Did;

use super::critical::names;
use super::extract::Parameters;
use super::guard::Shown;
use super::issued::Scope;
use super::pass::Pass;
use super::problem::Problem;
use super::websocket::{KEEP_ALIVE, STOPPING, SocketOut, is_websocket, upgrade};
use super::{Api, wire};
use crate::events::{EventKind, EventsQuery, NoEventKind, NodeEvent, NodeEvents};
use crate::{Brain, Node};

/// The word for all kinds that a caller may be told of.
const ALL: &str = "all";
/// The longest message of a client over a WebSocket. Its messages are not read.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// The longest wait of a poll.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most changes of one poll.
const CHANGES_PER_POLL: usize = 1_000;

/// Events after a cursor, or from now on. A browser's `Last-Event-ID` wins over the cursor in the
/// address, which is older.
pub(super) async fn events(
    State(api): State<Api>,
    node: Node,
    brain: Brain,
    pass: Pass,
    mut parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let after = after(request.headers(), &mut parameters)?;
    let (space, wait) = (parameters.one("space")?, parameters.one_as::<wire::Span>("wait")?);
    let asked: Vec<String> = parameters.many("kinds");
    parameters.end()?;
    let on_page = request.extensions().get::<Shown>() == Some(&Shown::Cookie);
    let kinds = kinds(&asked, space.is_some(), on_page, &pass, &node)?;
    let mut query = EventsQuery::from_now().kinds(kinds);
    (query.after, query.space) = (after, space);
    let feed = Feed { events: node.events_for(brain, query).await?, node };
    if let Some(wait) = wait {
        return poll(&api, feed, wait.0.min(WAIT_MAX)).await.map(IntoResponse::into_response);
    }
    if is_websocket(request.headers()) {
        let upgrade = upgrade(request, MESSAGE_BYTES_MAX).await?;
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

/// The cursor after which a caller wants to go on.
pub(super) fn after(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Option<String>, Problem> {
    let after = match last_event(headers)? {
        Some(last) => Some(last),
        None => parameters.one("from")?,
    };
    parameters.many("from");
    Ok(after)
}

/// The kinds without any named: what there was before there were kinds.
const DEFAULT: [EventKind; 4] = [EventKind::Memories, EventKind::Members, EventKind::Spaces, EventKind::Mode];

/// The scopes that a caller needs for events of a kind: those of the routes that tell the same.
const fn needs(kind: EventKind) -> &'static [Scope] {
    match kind {
        EventKind::Memories | EventKind::Members | EventKind::Spaces => &[Scope::MemoryRead],
        EventKind::Tasks => &[Scope::TasksRead],
        EventKind::Documents => &[Scope::DocumentsRead],
        EventKind::Critical => &[Scope::KvRead, Scope::LocksRead],
        EventKind::Peers => &[Scope::MeshRead],
        EventKind::Blobs => &[Scope::BlobsRead],
        // `/readyz` tells it without any proof
        EventKind::Mode => &[],
    }
}

/// Whether a caller may be told of events of a kind.
///
/// # Errors
/// `refused`, with what it takes.
fn check(kind: EventKind, on_page: bool, pass: &Pass) -> Result<(), Problem> {
    if on_page && kind == EventKind::Critical {
        return Err(Problem::new("refused", "the page does not show keys and locks")
            .hint("`nexus-node kv watch` shows their changes"));
    }
    pass.check(needs(kind))?;
    if kind == EventKind::Blobs { pass.check_unbounded() } else { Ok(()) }
}

/// The kinds that a caller asks for. `all` are those that it may be told of.
///
/// # Errors
/// `invalid` for a word that is none, `refused` for a kind that the token may not read.
fn kinds(
    asked: &[String],
    in_space: bool,
    on_page: bool,
    pass: &Pass,
    node: &Node,
) -> Result<BTreeSet<EventKind>, Problem> {
    let words: Vec<&str> = asked.iter().flat_map(|words| words.split(',')).map(str::trim).collect();
    let fits = |kind: &EventKind| {
        let is_there = *kind != EventKind::Critical || node.critical().is_ok();
        is_there && (!in_space || kind.has_space())
    };
    if words.is_empty() {
        let kinds: BTreeSet<EventKind> = DEFAULT.into_iter().filter(fits).collect();
        return kinds.into_iter().map(|kind| check(kind, on_page, pass).map(|()| kind)).collect();
    }
    let mut kinds = BTreeSet::new();
    for word in words {
        if word == ALL {
            kinds.extend(EventKind::ALL.into_iter().filter(|kind| fits(kind) && check(*kind, on_page, pass).is_ok()));
            continue;
        }
        let kind: EventKind = word.parse().map_err(|error: NoEventKind| {
            let word: String = word.chars().take(40).collect();
            Problem::new("invalid", format!("kinds: {word:?} is none"))
                .hint(format!("{error}; `all` is for all of them"))
        })?;
        check(kind, on_page, pass)?;
        kinds.insert(kind);
    }
    Ok(kinds)
}

fn last_event(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match headers.get("last-event-id").map(|id| id.to_str()) {
        None => Ok(None),
        Some(Ok(id)) => Ok(Some(id.to_owned()).filter(|id| !id.is_empty())),
        Some(Err(_)) => Err(Problem::new("malformed", "the Last-Event-ID header cannot be read")),
    }
}

/// The events for one reader.
struct Feed {
    events: NodeEvents,
    node: Node,
}

impl Feed {
    /// An event as it is shown.
    fn shown(&self, event: NodeEvent) -> wire::Change {
        let by_name = |did: &Did| names(&self.node).remove(did);
        wire::change(event, self.node.did(), by_name)
    }
}

/// The next event; `None` when the API or the node stops.
async fn next(api: &Api, feed: &mut Feed) -> Option<wire::Change> {
    let event = tokio::select! {
        biased;
        () = api.closing() => return None,
        event = feed.events.next() => event,
    };
    match event {
        Ok(event) => event.map(|event| feed.shown(event)),
        Err(error) => {
            tracing::debug!(%error, "a stream of events ended");
            None
        }
    }
}

/// Returns the events that are there already, and waits for one if there is none.
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
    let cursor = changes.last().map_or_else(|| feed.events.cursor(), |last| last.cursor.clone());
    Ok(axum::Json(wire::Changes { changes, cursor }))
}

/// Adds the events that are there, as many as a poll may have. Events of the log are read on the blocking seam, so a wait of
/// zero would never see them.
async fn fill(changes: &mut Vec<wire::Change>, feed: &mut Feed) -> Result<(), Problem> {
    while changes.len() < CHANGES_PER_POLL
        && let Some(more) = feed.events.at_hand().await?
    {
        changes.push(feed.shown(more));
    }
    Ok(())
}

/// Sends each change as a text. Messages of the client are ignored, except for the close.
async fn talk(api: Api, mut feed: Feed, pass: Pass, socket: WebSocket) {
    let (sink, mut source) = socket.split();
    let mut out = SocketOut::new(sink);
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
                return out.close(close_code::POLICY, "the token has ended").await;
            }
        };
        if out.put(message).await.is_err() {
            return;
        }
    }
    out.close(close_code::AWAY, STOPPING).await;
}
