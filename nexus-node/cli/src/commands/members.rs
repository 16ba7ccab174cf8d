use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::output::{Printer, Style, Table, moment};
use crate::session::CliSession;

/// List the members of the mesh
#[derive(Debug, Args)]
pub(crate) struct Members;

impl Members {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let members: Vec<wire::Member> = session.client()?.get("/v1/members")?;
        session.printer.answer(&members, || text(&members, &session.printer))
    }
}

fn text(members: &[wire::Member], printer: &Printer) -> String {
    let mut table = Table::new(["NAME", "ROLES", "DID", "ADMITTED BY", "EXPIRES"]);
    for member in members {
        let by = members.iter().find(|other| Some(&other.did) == member.admitted_by.as_ref());
        table.row([
            (member.name.clone(), Some(Style::Bold)),
            (member.roles.join(", "), None),
            (member.did.clone(), None),
            (by.map_or_else(|| "the root key".to_owned(), |by| by.name.clone()), None),
            (member.expires_at.as_deref().map_or_else(|| "never".to_owned(), moment), None),
        ]);
    }
    table.show(printer)
}
