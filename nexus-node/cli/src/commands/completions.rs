use clap::{Args, CommandFactory};
use clap_complete::Shell;
use nexus_node::api::Problem;

use super::Cli;
use crate::session::CliSession;

/// Print the completions for a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nexus-node", &mut script);
        session.printer.raw(&script)
    }
}
