//! `nexus-bench`: measures this machine's nodes beside the machine's own floors, and runs a node under an outside harness.
//! It stands apart from `nexus-node`, so that nobody who runs a node has to build or carry it.

#![allow(clippy::disallowed_methods, reason = "it measures the real world: nothing here is ever simulated")]

mod bench;
mod maelstrom;
mod program;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_node_cli::ground::{CliSession, Global};

/// Measure this machine against its own floors, or run a node under a harness
#[derive(Debug, Parser)]
#[command(name = "nexus-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    bench: bench::Bench,
    #[command(subcommand)]
    command: Option<Other>,
}

#[derive(Debug, Subcommand)]
enum Other {
    Maelstrom(maelstrom::Maelstrom),
    #[command(hide = true)]
    Hold(bench::Hold),
}

fn main() -> ExitCode {
    let Cli { global, bench, command } = Cli::parse();
    let session = CliSession::new(global);
    let result = match command {
        Some(Other::Maelstrom(maelstrom)) => maelstrom.run(&session),
        Some(Other::Hold(hold)) => hold.run(&session),
        None => bench.run(&session),
    };
    session.ends(result)
}
