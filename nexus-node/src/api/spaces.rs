//! Spaces: listing them, creating one, and their pages as Automerge documents.

use axum::Json as Answer;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use nexus_identity::Name;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::{Json, Path};
use super::memories::{JSON_LINES, put_line, streamed};
use super::problem::Problem;
use super::{blocking, wire};
use crate::{Brain, NodeError};

/// The most pages made ahead of a reader.
const PAGES_AHEAD: usize = 4;

pub(super) async fn list(brain: Brain) -> Result<Answer<Vec<wire::Space>>, Problem> {
    let spaces = blocking(move || brain.spaces()).await?;
    Ok(Answer(spaces.into_iter().map(wire::Space::from).collect()))
}

pub(super) async fn create(brain: Brain, Json(space): Json<wire::NewSpace>) -> Result<Response, Problem> {
    let name: Name =
        space.name.parse().map_err(|error: nexus_identity::NameError| Problem::new("invalid", error.to_string()))?;
    let space = wire::Space::from(brain.create_space(name).await?);
    Ok((StatusCode::CREATED, Answer(space)).into_response())
}

#[allow(clippy::disallowed_methods, reason = "pages are made while they are sent, outside the node")]
/// Sends one page a line. The last line `{"pages":N}` marks the end.
pub(super) async fn pages(brain: Brain, Path(space): Path) -> Result<Response, Problem> {
    let (sender, receiver) = mpsc::channel::<Bytes>(PAGES_AHEAD);
    let (first_sender, first) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let mut begun = Some(first_sender);
        let mut count = 0_u64;
        let result = brain.pages(&space, &mut |page, automerge| {
            let mut line = Vec::new();
            put_line(&mut line, &wire::Page { page, automerge: BASE64.encode(&automerge) });
            if let Some(begun) = begun.take() {
                let _ = begun.send(Ok(()));
            }
            count += 1;
            let gone = |_| NodeError::Stopping("the reader is gone".to_owned());
            sender.blocking_send(Bytes::from(line)).map_err(gone)
        });
        match result {
            Ok(()) => {
                if let Some(begun) = begun.take() {
                    let _ = begun.send(Ok(()));
                }
                let _ = sender.blocking_send(Bytes::from(format!("{{\"pages\":{count}}}\n")));
            }
            Err(error) => {
                if let Some(begun) = begun.take() {
                    let _ = begun.send(Err(error));
                } else {
                    tracing::debug!(%error, "an export of pages ended early");
                }
            }
        }
    });
    match first.await {
        Ok(Ok(())) => Ok(streamed(JSON_LINES, ReceiverStream::new(receiver))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::new("internal", "the pages could not be made")),
    }
}
