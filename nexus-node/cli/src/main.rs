//! `nexus-node`: the node of a Nexus mesh, and the command line that talks to it.
//!
//! Each command is a file in `commands/`. It asks the node on this machine through its HTTP API
//! ([`client`]), and hands the answer to the [`output::Printer`], the only place that writes to stdout
//! and stderr. `docs/cli.md` is the contract.

#![allow(clippy::disallowed_methods, reason = "around the node is the real world: nothing here is ever simulated")]

mod address;
mod allocator;
mod client;
mod commands;
mod holder;
mod log;
mod otlp;
mod output;
mod proof;
mod session;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use nexus_node::api::Problem;

use self::commands::Cli;
use self::output::Printer;
use self::session::CliSession;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let session = CliSession::new(cli.global);
    match cli.command.run(&session) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            session.printer.problem(&problem);
            ExitCode::from(problem.exit())
        }
    }
}

/// Help and version are answers. Any other message of clap is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // If this cannot be printed, there is nobody to tell.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let problem = Problem::new("usage", message).hint("`nexus-node --help` lists the commands");
    if json {
        Printer::new(true, false).problem_document(&problem);
    }
    ExitCode::from(problem.exit())
}
