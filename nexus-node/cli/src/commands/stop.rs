use std::time::{Duration, Instant};

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::datadir::DataDir;
use serde_json::json;

use crate::client::Client;
use crate::output::sane;
use crate::session::CliSession;

/// The longest end of a node: longer than the node's own limit.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The time between two looks at it. It is another process, and nothing tells of its end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Stop the node, also one that an agent started in the background
#[derive(Debug, Args)]
pub(crate) struct Stop;

impl Stop {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let status: wire::Status = client.get("/v1/status")?;
        let stopping: wire::Stopping = client.post("/v1/stop", &json!({}))?;
        let end = Instant::now() + TIMEOUT;
        while !gone(session, &client, stopping.pid) {
            if Instant::now() > end {
                let message = format!("the node (process {}) has not ended in {} s", stopping.pid, TIMEOUT.as_secs());
                return Err(Problem::new("timed_out", message).hint("what it acknowledged is on disk: end the process"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let document = json!({ "stopped": true, "did": status.did, "name": status.name, "pid": stopping.pid });
        session.printer.answer(&document, || format!("stopped {} (process {})", sane(&status.name), stopping.pid))?;
        match status.started_by.as_deref() {
            Some("mcp") => session.printer.note("an agent that needs it starts it again"),
            Some("service") => {
                session
                    .printer
                    .note("its service starts it with the machine; `nexus-node service install` starts it now");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the process has ended. Its directory is then free, or has a new node, since a working agent
/// starts one at once. A node elsewhere then does not answer.
fn gone(session: &CliSession, client: &Client, pid: u32) -> bool {
    if session.elsewhere() {
        return client.get::<serde_json::Value>("/healthz").is_err();
    }
    let directory = session.data_dir().ok().and_then(|path| DataDir::open_any(&path).ok());
    if directory.is_some_and(|directory| directory.lock().is_ok()) {
        return true;
    }
    let status = session.client().and_then(|client| client.get::<wire::Status>("/v1/status"));
    status.is_ok_and(|status| status.pid != Some(pid))
}
