//! Changes as they happen, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use serde::Deserialize;

use super::extract::Query;
use super::problem::Problem;
use super::{Api, wire};
use crate::Brain;

/// How often a silent stream shows that it is alive; also how soon a client that went away
/// without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    from: Option<String>,
    space: Option<String>,
}

/// A stream of changes, from a cursor or from now on. A browser's `Last-Event-ID` is newer than
/// the address it first asked, so it wins.
///
/// The stream is pulled: a slow reader has one change in flight, the rest stays in the store.
pub(super) async fn events(
    State(api): State<Api>,
    brain: Brain,
    headers: HeaderMap,
    Query(From { from, space }): Query<From>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = match headers.get("last-event-id").map(|id| id.to_str()) {
        None => None,
        Some(Ok(id)) => Some(id.to_owned()),
        Some(Err(_)) => return Err(Problem::new("malformed", "the Last-Event-ID header cannot be read")),
    };
    let from = last.filter(|id| !id.is_empty()).or(from);
    let watch = brain.watch(from.as_deref(), space.as_deref())?;
    let changes = stream::unfold((watch, api), |(mut watch, api)| async move {
        let change = tokio::select! {
            change = watch.next() => change,
            () = api.closing() => return None,
        };
        let change = match change {
            Ok(change) => wire::Change::from(change?),
            Err(error) => {
                tracing::debug!(%error, "a stream of changes ended");
                return None;
            }
        };
        let event = Event::default().id(change.cursor.clone()).event(change.kind.clone());
        // Our documents have string keys, so they can be written as JSON.
        let event = event.json_data(&change).unwrap_or_default();
        Some((Ok(event), (watch, api)))
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
