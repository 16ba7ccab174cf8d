use std::time::Duration;

use clap::Args;
use nexus_client::wire;
use nexus_identity::{Name, Ticket, TicketError};
use nexus_node::api::Problem;
use nexus_node::config::LogFormat;
use nexus_node::datadir::{Contents, DataDir};
use nexus_node::node::JoinOptions;

use crate::problems::data_dir_problem;
use crate::session::{CliSession, text};

/// The time that a running node may take beyond the join itself: it starts again inside.
const RESTART: Duration = Duration::from_secs(45);

/// Join the mesh of a ticket
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The ticket that `nexus-node invite` printed on a machine of that mesh; `-` reads stdin, which keeps it
    /// out of the list of processes. White space in it, quotes around it and the whole line of `invite` are taken, too
    #[arg(required = true, num_args = 1.., value_name = "TICKET")]
    ticket: Vec<String>,
    /// This node's name in that mesh [default: its name, or the machine's]
    #[arg(long)]
    name: Option<Name>,
    /// The longest try
    #[arg(long, default_value = "30s")]
    timeout: wire::Span,
}

impl Join {
    /// Has a running node do the join. Without one, does it here, for the next `up`.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        // without quotes a shell hands a wrapped ticket over in pieces
        let ticket: Ticket = text(self.ticket.join(" "))?.parse().map_err(|error: TicketError| {
            let hint = "copy the whole line that `nexus-node invite` printed";
            Problem::new("not_a_ticket", error.to_string()).hint(hint)
        })?;
        let joined = match self.ask(session, &ticket)? {
            Some(joined) => joined,
            None => self.join_here(session, &ticket)?,
        };
        session
            .printer
            .answer(&joined, || format!("{} joined {}\ninvited by {}", joined.name, joined.mesh_did, joined.inviter))
    }

    /// The answer of a running node; `None` if none is running.
    fn ask(&self, session: &CliSession, ticket: &Ticket) -> Result<Option<wire::Joined>, Problem> {
        let client = match session.client() {
            Ok(client) => client,
            Err(problem) if problem.code == "no_node" && !session.elsewhere() => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let join = wire::Join {
            ticket: ticket.to_string(),
            name: self.name.as_ref().map(ToString::to_string),
            timeout: Some(self.timeout),
        };
        match client.patient(self.timeout.0.saturating_add(RESTART)).post("/v1/join", &join) {
            Ok(joined) => Ok(Some(joined)),
            Err(problem) if problem.code == "no_node" && !session.elsewhere() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn join_here(&self, session: &CliSession, ticket: &Ticket) -> Result<wire::Joined, Problem> {
        let _log = session.log("warn", LogFormat::Text);
        let directory = session.data_dir()?;
        let fresh = DataDir::inspect(&directory).map_err(data_dir_problem)? == Contents::Empty;
        let mut options = JoinOptions::default().timeout(self.timeout.0);
        options.name = self.name.clone();
        let join = nexus_node::node::join(&directory, ticket, options);
        let joined = CliSession::runtime()?.block_on(join)?;
        if fresh {
            session.printer.note(&format!("next: `{} up`", session.program()));
        }
        Ok(joined.into())
    }
}
