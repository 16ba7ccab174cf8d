use nexus_client::wire;
use nexus_node::api::{Problem, Settings};
use serde_json::Value;

/// Settings of an API that serves a test.
pub(crate) struct NoSettings;

impl Settings for NoSettings {
    fn show(&self) -> Vec<wire::Setting> {
        Vec::new()
    }

    fn change(&self, key: &str, _: &Value) -> Result<(), Problem> {
        Err(Problem::new("invalid", format!("no setting {key}")))
    }

    fn body_bytes_max(&self) -> usize {
        1 << 20
    }
}
