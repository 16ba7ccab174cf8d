use clap::{Args, ValueEnum};
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::datadir::DataDir;

use crate::output::{count, moment, sane};
use crate::session::CliSession;

/// Make a ticket, and print the line to paste on the other machine
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// The new member's role [default: member, or that of the one to replace]
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// The number of nodes that may join with it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// The lifetime of the ticket
    #[arg(long, default_value = "1h")]
    ttl: wire::Span,
    /// The lifetime of the membership [default: no end]
    #[arg(long)]
    valid: Option<wire::Span>,
    /// A member that is down: its membership ends when the ticket is used
    #[arg(long, value_name = "DID|NAME", conflicts_with = "uses")]
    replace: Option<String>,
    /// Another machine of yours: its tasks and approvals count as yours [default: asked at a terminal, else not said]
    #[arg(long)]
    mine: bool,
    /// The first machine of somebody else, by a name for people
    #[arg(long = "for", value_name = "NAME", conflicts_with = "mine")]
    for_whom: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Admin,
    Member,
    Reader,
}

impl Invite {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let role = self.role.map(|role| match role {
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Reader => "reader",
        });
        let Self { uses, ttl, valid, replace, mut mine, mut for_whom, .. } = self;
        if !mine && for_whom.is_none() && session.printer.asks() {
            mine = session.printer.ask("Is it another machine of yours? [Y/n] ", true)?;
            if !mine {
                let name = session.printer.line("Whose is it? A name for people; nothing leaves it open: ")?;
                for_whom = Some(name).filter(|name| !name.is_empty());
            }
        }
        let invite = wire::Invite {
            role: role.map(str::to_owned),
            uses: Some(uses),
            ttl: Some(ttl),
            valid,
            replace: replace.clone(),
            mine,
            for_whom: for_whom.clone(),
        };
        let invitation: wire::Invitation = session.client()?.post("/v1/invite", &invite)?;
        session.printer.answer(&invitation, || invitation.join.clone())?;
        let uses = count(uses.into(), "use", "uses");
        let until = moment(&invitation.expires_at);
        let does = replace.map_or_else(
            || format!("can join as {}", role.unwrap_or("member")),
            |replace| format!("takes the place of {}, whose membership ends then", sane(&replace)),
        );
        session.printer.note(&format!("{uses}, until {until} UTC; whoever holds it {does}"));
        session.printer.note(&match (invitation.person.as_deref(), &for_whom) {
            (Some("mine"), _) => "it is another machine of yours".to_owned(),
            (Some(_), Some(name)) => format!("it is the first machine of {}", sane(name)),
            _ => "whose machine it is was not said: `--mine`, `--for NAME`, or later `nexus-node members mine NAME`"
                .to_owned(),
        });
        let root = session.data_dir().ok().filter(|_| !session.elsewhere()).map(|path| DataDir::open_any(&path));
        if root.is_some_and(|dir| dir.is_ok_and(|dir| dir.root().is_ok_and(|root| root.is_some()))) {
            session.printer.note(
                "this machine has the mesh's root key: `nexus-node root export FILE` and keep FILE elsewhere; with it another \
                 machine can shut this one out if it is stolen",
            );
        }
        Ok(())
    }
}
