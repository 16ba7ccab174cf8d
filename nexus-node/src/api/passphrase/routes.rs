//! Asking for the passphrase, and changing it.

use axum::Json as Answer;
use axum::extract::State;

use crate::Brain;
use crate::api::extract::Json;
use crate::api::problem::Problem;
use crate::api::{Api, wire};

/// Checks the passphrase that came with a word, off the tasks that answer.
pub(in crate::api) async fn check(api: &Api, brain: &Brain, given: Option<String>) -> Result<(), Problem> {
    let (api, now) = (api.clone(), api.0.guard.monotonic());
    brain.reading(move |_| Ok(api.0.passphrase.check(given.as_deref(), now))).await?
}

pub(in crate::api) async fn show(State(api): State<Api>) -> Answer<wire::Approving> {
    Answer(shown(&api))
}

pub(in crate::api) async fn change(
    State(api): State<Api>,
    brain: Brain,
    Json(change): Json<wire::ChangeApproving>,
) -> Result<Answer<wire::Approving>, Problem> {
    let (of, now) = (api.clone(), api.0.guard.monotonic());
    let wire::ChangeApproving { passphrase, former } = change;
    let changed = brain.reading(move |_| Ok(of.0.passphrase.change(passphrase.as_deref(), former.as_deref(), now)));
    changed.await??;
    Ok(Answer(shown(&api)))
}

fn shown(api: &Api) -> wire::Approving {
    let with = if api.0.passphrase.is_set() { "passphrase" } else { "session" };
    wire::Approving { approve_with: with.to_owned() }
}
