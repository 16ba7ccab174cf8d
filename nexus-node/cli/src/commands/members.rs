use clap::{Args, Subcommand};
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::output::{Printer, Style, Table, did_in_table, moment};
use crate::session::CliSession;

/// List the members of the mesh, or say whose machine one is
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Members {
    /// The former members instead
    #[arg(long)]
    revoked: bool,
    #[command(subcommand)]
    say: Option<Say>,
}

#[derive(Debug, Subcommand)]
enum Say {
    /// Say that a member is another machine of yours, at the node that admitted it
    Mine {
        /// The member
        #[arg(value_name = "DID|NAME")]
        member: String,
        /// It is the first machine of somebody else
        #[arg(long)]
        not: bool,
    },
}

impl Members {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        if let Some(Say::Mine { member, not }) = self.say {
            let path = format!("/v1/members/{}/person", escape(&member));
            let said: wire::PersonSaid = client.post(&path, &wire::SayPerson { mine: !not })?;
            return session.printer.answer(&said, || {
                let whose = if not { "somebody else's" } else { "yours" };
                let agreed = if said.agreed { "" } else { ", once its own node has heard of it" };
                format!("{} is {whose}{agreed}", said.name)
            });
        }
        if self.revoked {
            let former: Vec<wire::Member> = client.get("/v1/members?revoked=true")?;
            let members: Vec<wire::Member> = client.get("/v1/members")?;
            return session.printer.answer(&former, || ended(&former, &members, &session.printer));
        }
        let members: Vec<wire::Member> = client.get("/v1/members")?;
        session.printer.answer(&members, || text(&members, &session.printer))
    }
}

/// The former members, with the end of each membership.
fn ended(former: &[wire::Member], members: &[wire::Member], printer: &Printer) -> String {
    let mut table = Table::new(["NAME", "DID", "REVOKED", "BY"]);
    for member in former {
        let Some(end) = &member.revoked else { continue };
        let name = |did: &String| members.iter().chain(former).find(|of| of.did == *did).map(|of| of.name.clone());
        // nobody but the root has no name
        let by = if end.by == member.did { "itself" } else { "the root key" }.to_owned();
        let by = name(&end.by).filter(|_| end.by != member.did).unwrap_or(by);
        table.row([
            (member.name.clone(), Some(Style::Bold)),
            (did_in_table(&member.did), None),
            (moment(&end.at), None),
            (by, None),
        ]);
    }
    table.show(printer)
}

/// Whose machine a member is: yours, or that of a person who is known by the first machine.
fn whose(member: &wire::Member) -> String {
    match &member.person {
        Some(person) if person.mine => "yours".to_owned(),
        Some(person) => format!("{}'s", person.first),
        None => "not said".to_owned(),
    }
}

fn text(members: &[wire::Member], printer: &Printer) -> String {
    let mut table = Table::new(["NAME", "ROLES", "DID", "WHOSE", "ADMITTED BY", "EXPIRES"]);
    for member in members {
        let by = members.iter().find(|other| Some(&other.did) == member.admitted_by.as_ref());
        table.row([
            (member.name.clone(), Some(Style::Bold)),
            (member.roles.join(", "), None),
            (did_in_table(&member.did), None),
            (whose(member), None),
            (by.map_or_else(|| "the root key".to_owned(), |by| by.name.clone()), None),
            (member.expires_at.as_deref().map_or_else(|| "never".to_owned(), moment), None),
        ]);
    }
    table.show(printer)
}
