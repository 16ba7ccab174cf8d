//! The backup of a node that runs.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::Api;
use super::problem::Problem;
use crate::Node;

/// The content type of a backup.
pub(super) const BACKUP: &str = "application/vnd.nexus.backup";

/// Sends the backup portion by portion. A slow reader holds one portion. A failure breaks the stream off before its
/// end, so half a backup never passes for a whole one.
pub(super) async fn backup(State(api): State<Api>, node: Node) -> Result<Response, Problem> {
    let backup = node.backup()?;
    let bytes = stream::try_unfold(backup, move |mut backup| {
        let api = api.clone();
        async move {
            let next = tokio::select! {
                next = backup.next() => next?,
                () = api.closing() => return Err(Problem::stopping()),
            };
            Ok::<_, Problem>(next.map(|bytes| (Bytes::from(bytes), backup)))
        }
    });
    Ok(([(header::CONTENT_TYPE, BACKUP)], Body::from_stream(bytes)).into_response())
}
