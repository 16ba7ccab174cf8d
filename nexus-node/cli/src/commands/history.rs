use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::output::{Printer, Style, Table, called, first_line, in_a_line, moment, width};
use crate::session::CliSession;

/// Show the changes of a memory, oldest first
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Its id, or its key
    id: String,
}

impl History {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let path = format!("/v1/memories/{}/history", escape(&self.id));
        let client = session.client()?;
        let revisions: Vec<wire::Revision> = client.get(&path)?;
        session.printer.answer(&revisions, || {
            // without names it is told all the same
            let members: Vec<wire::Member> = client.get("/v1/members").unwrap_or_default();
            text(&revisions, &members, &session.printer)
        })
    }
}

fn text(revisions: &[wire::Revision], members: &[wire::Member], printer: &Printer) -> String {
    let mut table = Table::new(["WHEN", "BY", "VERSION", "CHANGED"]);
    let rest = width().saturating_sub(60).max(20);
    for revision in revisions {
        let changed: Vec<String> = revision.changed.iter().map(|(field, value)| format!("{field}: {value}")).collect();
        table.row([
            (moment(&revision.at), None),
            (called(members, &revision.by), None),
            (first_line(&revision.version, 16), Some(Style::Dim)),
            (in_a_line(&changed.join(", "), rest), None),
        ]);
    }
    let table = table.show(printer);
    match revisions.first() {
        Some(first) if first.earlier => format!("earlier changes are not shown\n{table}"),
        _ => table,
    }
}
