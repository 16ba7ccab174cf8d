use clap::{Args, Command};
use nexus_node::api::Problem;

use crate::session::CliSession;

/// Print the manual page, of the program or of a command
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self, session: &CliSession, program: Command) -> Result<(), Problem> {
        let page = match self.command {
            None => program,
            Some(name) => {
                let found = program.find_subcommand(&name).filter(|command| !command.is_hide_set()).cloned();
                let hint = "`nexus-node --help` lists the commands";
                found.ok_or_else(|| Problem::new("usage", format!("there is no command {name}")).hint(hint))?
            }
        };
        let mut roff = Vec::new();
        let rendered = clap_mangen::Man::new(page).render(&mut roff);
        rendered.map_err(|error| Problem::new("internal", error.to_string()))?;
        session.printer.raw(&roff)
    }
}
