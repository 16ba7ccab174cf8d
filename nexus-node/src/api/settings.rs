//! The configuration of the running process.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::extract::Json;
use super::problem::Problem;
use super::{Api, wire};

/// A counter of the process around the API, for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// Its name; it ends in `_total`.
    pub name: &'static str,
    /// The meaning of the count.
    pub help: &'static str,
    /// The count so far.
    pub value: u64,
}

/// The process around the API, above all its configuration.
pub trait Settings: Send + Sync {
    /// Each value with its origin.
    fn show(&self) -> Vec<wire::Setting>;

    /// Changes a value in the file and, if possible, at once.
    ///
    /// # Errors
    /// If there is no such key, or the value is not allowed.
    fn change(&self, key: &str, value: &Value) -> Result<(), Problem>;

    /// The largest body of a request, in bytes. Imports stream and have no such bound.
    fn body_bytes_max(&self) -> usize;

    /// The command that started the process: `up`, or `mcp`.
    fn started_by(&self) -> Option<&'static str> {
        None
    }

    /// The size of the data directory's files, in bytes. Waits for the disk.
    fn disk_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether the process sends the traces of requests to a collector.
    fn traces(&self) -> bool {
        false
    }

    /// The counters of the process beside requests.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }
}

pub(super) async fn show(State(api): State<Api>) -> Answer<Vec<wire::Setting>> {
    Answer(api.0.settings.show())
}

/// Changes values. Answers with the changed ones alone.
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
