use clap::{Args, Command};
use clap_complete::Shell;
use nexus_node::api::Problem;

use crate::session::CliSession;

/// Print the completions for a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, session: &CliSession, program: Command) -> Result<(), Problem> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut without_hidden(program), "nexus-node", &mut script);
        if self.shell == Shell::Bash {
            script = in_step(&String::from_utf8_lossy(&script)).into_bytes();
        }
        session.printer.raw(&script)
    }
}

/// A command without those that are hidden. clap offers them all the same.
fn without_hidden(command: Command) -> Command {
    // a name lives as long as the program, which ends after this
    let name: &'static str = String::leak(command.get_name().to_owned());
    let mut kept = Command::new(name);
    if let Some(about) = command.get_about() {
        kept = kept.about(about.clone());
    }
    kept = kept.args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned());
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned();
    kept.subcommands(below.map(without_hidden)).disable_help_subcommand(true)
}

/// A script for bash in which a command's name is the same where it is set and where it is looked for. clap writes a name with
/// a dash in two ways, and completes nothing below the first word then.
fn in_step(script: &str) -> String {
    script.replace("nexus__node__subcmd__", "nexus__subcmd__node__subcmd__")
}
