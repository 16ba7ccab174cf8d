use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;

use crate::session::CliSession;

/// Close all connections and refuse new ones; the node itself goes on
#[derive(Debug, Args)]
pub(crate) struct Offline;

/// Connect again
#[derive(Debug, Args)]
pub(crate) struct Online;

impl Offline {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let state: wire::Offline = session.client()?.post("/v1/offline", &json!({}))?;
        session.printer.answer(&state, || "offline: no connections until `nexus-node online`".to_owned())
    }
}

impl Online {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let state: wire::Offline = session.client()?.post("/v1/online", &json!({}))?;
        session.printer.answer(&state, || "online".to_owned())
    }
}
