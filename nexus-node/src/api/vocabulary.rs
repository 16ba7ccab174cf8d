//! Words that mean the same: writing a group of them, listing all, forgetting one.

use axum::Json as Answer;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::extract::{Json, Parameters, Path};
use super::memories::TRUNCATED;
use super::problem::Problem;
use super::wire;
use crate::Brain;

pub(super) async fn list(brain: Brain, mut parameters: Parameters) -> Result<Response, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    let vocabulary = brain.vocabulary(space).await?;
    let groups: Vec<wire::Words> = vocabulary.groups.into_iter().map(wire::Words::from).collect();
    let truncated = if vocabulary.more { "true" } else { "false" };
    Ok(([(TRUNCATED, truncated)], Answer(groups)).into_response())
}

pub(super) async fn add(brain: Brain, caller: Caller, Json(new): Json<wire::NewWords>) -> Result<Response, Problem> {
    let written = wire::Words::from(brain.add_words(wire::new_words(new, &caller)?).await?);
    Ok((StatusCode::CREATED, Answer(written)).into_response())
}

pub(super) async fn remove(
    brain: Brain,
    Path(word): Path,
    mut parameters: Parameters,
) -> Result<Answer<Vec<wire::Words>>, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    let gone = brain.remove_words(&word, space).await?;
    Ok(Answer(gone.into_iter().map(wire::Words::from).collect()))
}
