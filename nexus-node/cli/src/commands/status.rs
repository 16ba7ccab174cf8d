use std::path::Path;

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::output::{Printer, Style, count, moment, sane, sane_lines, short_did, size, span};
use crate::session::CliSession;

/// Show this node and its mesh at a glance
#[derive(Debug, Args)]
pub(crate) struct Status;

impl Status {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let status: wire::Status = client.get("/v1/status")?;
        let directory = if session.elsewhere() { None } else { session.data_dir().ok() };
        session.printer.answer(&status, || text(&status, client.base(), directory.as_deref(), &session.printer))
    }
}

fn text(status: &wire::Status, api: &str, directory: Option<&Path>, printer: &Printer) -> String {
    let mut lines = Vec::new();
    let mut line =
        |label: &str, text: String| lines.push(format!("{}{text}", printer.paint(Style::Dim, &format!("{label:<10}"))));
    line("node", format!("{}  {}", printer.paint(Style::Bold, &sane(&status.name)), status.did));
    line("mesh", status.mesh_did.clone());
    let state = match (status.membership.as_str(), status.offline) {
        ("member", false) => printer.paint(Style::Good, "online"),
        ("member", true) => printer.paint(Style::Odd, "offline (cut off by `nexus-node offline`)"),
        (membership, _) => printer.paint(Style::Bad, membership),
    };
    line("state", format!("{state}, up {}, version {}", span(status.uptime_s), status.version));
    match status.started_by.as_deref() {
        Some("mcp") => line("", "in the background, started for an agent; `nexus-node stop` ends it".to_owned()),
        Some("service") => line("", "a service; `nexus-node service status` tells of it".to_owned()),
        _ => {}
    }
    if let Some(mode) = &status.mode {
        let role = status.role.as_deref().map(|role| format!("; this node is a {role}"));
        let role = if status.role.as_deref() == Some("leader") { Some("; this node leads".to_owned()) } else { role };
        let votes = status.voters_up.zip(status.voters);
        line("mode", format!("{}{}", super::coordinator::mode(mode, votes, printer), role.unwrap_or_default()));
    }
    if let Some(memories) = status.memories {
        let settle = |number| format!("; {number} in conflict: `nexus-node list --conflicts`");
        let conflicts = status.conflicts.filter(|number| *number > 0).map(settle).unwrap_or_default();
        line("memories", format!("{memories}{conflicts}"));
    }
    if let Some(embedder) = status.embedder.as_ref().filter(|embedder| embedder.state != "off") {
        line("vectors", vectors(embedder, status.memories, printer));
    }
    let synced = status.last_sync.as_deref().map(|at| format!("; last exchange {} UTC", moment(at)));
    line("peers", format!("{} connected{}", status.peers, synced.unwrap_or_default()));
    for behind in &status.behind {
        let name = behind.name.as_deref().map_or_else(|| short_did(&behind.did), sane);
        line("", format!("{name} lacks {}", count(behind.entries, "entry", "entries")));
    }
    let disk = status.disk_bytes.map(|bytes| format!("{} on disk", size(bytes)));
    let heap = status.rss_bytes.map(|bytes| format!("{} in memory", size(bytes)));
    let sizes: Vec<String> = disk.into_iter().chain(heap).collect();
    if !sizes.is_empty() {
        line("takes", sizes.join(", "));
    }
    line("api", format!("{api}; `nexus-node web` prints the link to its page"));
    if let Some(directory) = directory {
        line("directory", sane(&directory.display().to_string()));
    }
    for warning in &status.warnings {
        lines.push(format!("{} {}", printer.paint(Style::Odd, "warning:"), sane_lines(&warning.message)));
        if let Some(hint) = &warning.hint {
            lines.push(format!("{} {}", printer.paint(Style::Bold, "hint:"), printer.own(&sane_lines(hint))));
        }
    }
    let is_told = |next: &str| status.warnings.iter().any(|warning| warning.hint.as_deref() == Some(next));
    if let Some(next) = status.next.as_deref().filter(|next| !is_told(next)) {
        lines.push(format!(
            "{} {}",
            printer.paint(Style::Bold, "next:"),
            printer.own(&sane_lines(&step(next, directory)))
        ));
    }
    lines.join("\n")
}

/// The next step. The node does not know which programs were connected.
fn step(next: &str, directory: Option<&Path>) -> String {
    let is_default = |path: &Path| crate::session::default_data_dir().as_deref() == Some(path);
    let connected = directory.is_some_and(|path| !super::connect::using(path, is_default(path)).is_empty());
    if next.contains("connect all") && connected {
        return "restart your agent: it begins with what is remembered here".to_owned();
    }
    next.to_owned()
}

/// The embedder in a line: its state, how far it is, its model, its address, and what is wrong.
fn vectors(embedder: &wire::Embedder, memories: Option<u64>, printer: &Printer) -> String {
    let style = match embedder.state.as_str() {
        "ok" => Style::Good,
        "failing" => Style::Bad,
        _ => Style::Odd,
    };
    let mut parts = vec![printer.paint(style, &sane(&embedder.state))];
    let of = memories.map_or_else(String::new, |memories| format!(" of {memories}"));
    parts.push(format!("{}{of} memories", embedder.embedded));
    parts.extend(embedder.model.as_deref().filter(|model| !model.is_empty()).map(sane));
    parts.extend(embedder.dimension.map(|dimension| format!("{dimension} components")));
    parts.extend(embedder.embedder.as_deref().filter(|at| at.starts_with("http")).map(sane));
    parts.extend(embedder.reason.as_deref().map(sane));
    parts.join(", ")
}
