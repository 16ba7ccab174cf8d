//! The node that has a data directory, if that can be told.

use std::path::Path;
use std::time::Duration;

use nexus_client::wire;
use nexus_node::datadir::DataDirError;

use crate::client::Client;
use crate::output::{sane, span};

/// The longest wait for the name of a node that has a directory.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The node that has a directory, for people. `None` if it does not answer soon, or if that is not the error.
pub(crate) fn of_directory(error: &DataDirError) -> Option<String> {
    let DataDirError::InUse { path, .. } = error else { return None };
    let node = answering(path)?;
    let pid = node.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let by = match node.started_by.as_deref() {
        Some("mcp") => " in the background by `nexus-node mcp`, for an agent,",
        Some("service") => " as a service",
        Some("up") => " with `nexus-node up`",
        _ => "",
    };
    let (name, since) = (sane(&node.name), span(node.uptime_s));
    Some(format!("the node of {} runs already: {name}{pid}, started{by} {since} ago", path.display()))
}

/// The node on a directory, if it answers soon.
pub(crate) fn answering(directory: &Path) -> Option<wire::Status> {
    Client::in_directory(directory).ok()?.patient(ASK_TIMEOUT).get("/v1/status").ok()
}
