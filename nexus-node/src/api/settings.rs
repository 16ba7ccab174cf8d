//! The configuration of the running process.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::extract::Json;
use super::problem::Problem;
use super::{Api, wire};

/// Something that the process around the API counts, for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// Its name; it ends in `_total`.
    pub name: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// How many so far.
    pub value: u64,
}

/// What the API needs of the process around it, above all its configuration.
pub trait Settings: Send + Sync {
    /// Each value with its origin.
    fn show(&self) -> Vec<wire::Setting>;

    /// Changes a value, in the file and, where that is possible, at once.
    ///
    /// # Errors
    /// If there is no such key, or the value does not fit it.
    fn change(&self, key: &str, value: &Value) -> Result<(), Problem>;

    /// How large the body of a request may be, in bytes. Imports stream and have no such bound.
    fn body_bytes_max(&self) -> usize;

    /// What started the process, for whoever finds it running: `up`, or `mcp`.
    fn started_by(&self) -> Option<&'static str> {
        None
    }

    /// Whether the process records the traces of requests somewhere.
    fn traces(&self) -> bool {
        false
    }

    /// What the process counts beside requests.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }
}

pub(super) async fn show(State(api): State<Api>) -> Answer<Vec<wire::Setting>> {
    Answer(api.0.settings.show())
}

/// Answers with the changed values alone.
pub(super) async fn change(
    State(api): State<Api>,
    Json(changes): Json<BTreeMap<String, Value>>,
) -> Result<Answer<Vec<wire::Setting>>, Problem> {
    for (key, value) in &changes {
        api.0.settings.change(key, value)?;
    }
    let changed = |setting: &wire::Setting| changes.contains_key(&setting.key);
    Ok(Answer(api.0.settings.show().into_iter().filter(changed).collect()))
}
