use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::output::{Printer, Style, count, sane, sane_lines, short_did, size, span};
use crate::session::CliSession;

/// Show this node and its mesh at a glance
#[derive(Debug, Args)]
pub(crate) struct Status;

impl Status {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let status: wire::Status = session.client()?.get("/v1/status")?;
        session.printer.answer(&status, || text(&status, &session.printer))
    }
}

fn text(status: &wire::Status, printer: &Printer) -> String {
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
    line("peers", format!("{} connected", status.peers));
    for behind in &status.behind {
        let name = behind.name.as_deref().map_or_else(|| short_did(&behind.did), sane);
        line("", format!("{name} lacks {}", count(behind.entries, "entry", "entries")));
    }
    if let Some(bytes) = status.rss_bytes {
        line("memory", size(bytes));
    }
    for warning in &status.warnings {
        lines.push(format!("{} {}", printer.paint(Style::Odd, "warning:"), sane_lines(&warning.message)));
        if let Some(hint) = &warning.hint {
            lines.push(format!("{} {}", printer.paint(Style::Bold, "hint:"), sane_lines(hint)));
        }
    }
    lines.join("\n")
}
