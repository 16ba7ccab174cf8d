//! Showing the settings, and changing them.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use crate::api::extract::Json;
use crate::api::problem::Problem;
use crate::api::{Api, wire};

pub(in crate::api) async fn show(State(api): State<Api>) -> Answer<Vec<wire::Setting>> {
    Answer(api.0.settings.show())
}

/// Changes values. Answers with the changed ones alone.
pub(in crate::api) async fn change(
    State(api): State<Api>,
    Json(changes): Json<BTreeMap<String, Value>>,
) -> Result<Answer<Vec<wire::Setting>>, Problem> {
    if changes.contains_key("approve_with") {
        return Err(Problem::new("refused", "a person sets the passphrase for approving, in a session of their own")
            .hint("`nexus-node config set approve_with passphrase` on a terminal"));
    }
    for (key, value) in &changes {
        api.0.settings.change(key, value)?;
    }
    let changed = |setting: &wire::Setting| changes.contains_key(&setting.key);
    Ok(Answer(api.0.settings.show().into_iter().filter(changed).collect()))
}
