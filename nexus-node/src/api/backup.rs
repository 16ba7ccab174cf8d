//! The backup of a node that runs.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;

use serde::Deserialize;

use super::Api;
use super::extract::Query;
use super::problem::Problem;
use crate::Node;

/// The content type of a backup.
pub(super) const BACKUP: &str = "application/vnd.nexus.backup";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Whether blobs are wanted. A reader of an earlier version does not ask for them, and would not know them.
    #[serde(default)]
    blobs: bool,
}

/// Sends the backup portion by portion. A slow reader holds one portion. A failure breaks the stream off before its
/// end, so half a backup never passes for a whole one.
pub(super) async fn backup(
    State(api): State<Api>,
    node: Node,
    Query(Wanted { blobs }): Query<Wanted>,
) -> Result<Response, Problem> {
    let backup = if blobs { node.backup()? } else { node.backup_without_blobs()? };
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
