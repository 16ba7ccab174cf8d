//! Spaces: listing them, creating one, and their pages as Automerge documents.

use axum::Json as Answer;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use futures::stream;
use nexus_identity::Name;

use super::extract::{Json, Path};
use super::memories::{JSON_LINES, put_line, streamed};
use super::problem::Problem;
use super::wire;
use crate::brain::Pages;
use crate::{Brain, NodeError};

pub(super) async fn list(brain: Brain) -> Result<Answer<Vec<wire::Space>>, Problem> {
    let spaces = brain.spaces().await?;
    Ok(Answer(spaces.into_iter().map(wire::Space::from).collect()))
}

pub(super) async fn create(brain: Brain, Json(space): Json<wire::NewSpace>) -> Result<Response, Problem> {
    let name: Name =
        space.name.parse().map_err(|error: nexus_identity::NameError| Problem::new("invalid", error.to_string()))?;
    let space = wire::Space::from(brain.create_space(name).await?);
    Ok((StatusCode::CREATED, Answer(space)).into_response())
}

/// Sends one page a line. Each page is made once the one before is sent. The last line `{"pages":N}` marks the
/// end; a failure ends the lines without it.
pub(super) async fn pages(brain: Brain, Path(space): Path) -> Result<Response, Problem> {
    let pages = brain.reading(move |brain| brain.pages_of(&space)).await?;
    let first = next_line(&brain, pages, 0).await?;
    let lines = stream::unfold(Some((first, brain)), |state| async move {
        let ((line, rest), brain) = state?;
        let next = match rest {
            Some((pages, count)) => next_line(&brain, pages, count).await,
            None => return Some((line, None)),
        };
        if let Err(error) = &next {
            tracing::debug!(%error, "an export of pages ended early");
        }
        Some((line, next.ok().map(|next| (next, brain))))
    });
    Ok(streamed(JSON_LINES, lines))
}

/// A line, and the pages after it with the number of pages before; `None` after the last line.
type Line = (Bytes, Option<(Pages, u64)>);

async fn next_line(brain: &Brain, mut pages: Pages, count: u64) -> Result<Line, NodeError> {
    let (page, pages) = brain.reading(move |_| Ok((pages.next()?, pages))).await?;
    let mut line = Vec::new();
    match page {
        Some(page) => {
            put_line(&mut line, &wire::Page { page: page.name, automerge: BASE64.encode(&page.automerge) });
            Ok((line.into(), Some((pages, count + 1))))
        }
        None => Ok((Bytes::from(format!("{{\"pages\":{count}}}\n")), None)),
    }
}
