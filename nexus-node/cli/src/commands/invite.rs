use clap::{Args, ValueEnum};
use nexus_node::api::{Problem, wire};

use crate::output::{count, moment};
use crate::session::CliSession;

/// Make a ticket, and print the line to paste on the other machine
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// The new member's role
    #[arg(long, value_enum, default_value_t = Role::Member)]
    role: Role,
    /// The number of nodes that may join with it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// The lifetime of the ticket
    #[arg(long, default_value = "1h")]
    ttl: wire::Span,
    /// The lifetime of the membership [default: no end]
    #[arg(long)]
    valid: Option<wire::Span>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Admin,
    Member,
    Reader,
}

impl Invite {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let role = match self.role {
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Reader => "reader",
        };
        let Self { uses, ttl, valid, .. } = self;
        let invite = wire::Invite { role: Some(role.to_owned()), uses: Some(uses), ttl: Some(ttl), valid };
        let invitation: wire::Invitation = session.client()?.post("/v1/invite", &invite)?;
        session.printer.answer(&invitation, || invitation.join.clone())?;
        let uses = count(uses.into(), "use", "uses");
        let until = moment(&invitation.expires_at);
        session.printer.note(&format!("{uses}, until {until} UTC; whoever holds it can join as {role}"));
        Ok(())
    }
}
