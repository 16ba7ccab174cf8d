//! `nexus-node`: the node of a Nexus mesh, and the command line that talks to it. The program is [`main`] alone, so that
//! its code is made beside that of the library below it.
//!
//! Each command is a file in `commands/`. It asks the node on this machine through its HTTP API
//! (`client`), and hands the answer to the `output::Printer`, the only place that writes to stdout
//! and stderr. `docs/cli.md` is the contract.

#![allow(clippy::disallowed_methods, reason = "around the node is the real world: nothing here is ever simulated")]

mod address;
mod client;
mod commands;
#[cfg(target_os = "linux")]
mod descendants;
mod global;
mod help;
mod holder;
mod listener;
mod log;
mod names;
mod otlp;
mod outfile;
mod output;
mod pinned;
mod problems;
mod program;
mod project;
mod proof;
mod sandbox;
mod session;
mod signals;
mod task_directory;

/// The ground of the other programs of this repository, which measure a node or put it under another's harness. No promise
/// holds for it.
#[doc(hidden)]
pub mod ground {
    pub use indicatif::ProgressBar;

    pub use crate::client::{Client, Lines};
    pub use crate::commands::demo::stage::{Node, Stage};
    pub use crate::commands::mcp::lines;
    pub use crate::global::Global;
    pub use crate::log::Log;
    pub use crate::output::{Printer, Style, Table};
    pub use crate::problems::config_problem;
    pub use crate::session::CliSession;
}

use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use nexus_node::api::Problem;
use nexus_node::internals::store::panics_are_caught;

use self::commands::Cli;
use self::output::Printer;
use self::session::CliSession;

/// Gives memory back to the system within seconds of a burst. Its settings for a small node are in `.cargo/config.toml`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs the program.
pub fn main() -> ExitCode {
    quiet_caught_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // a variable of the environment is no argument
        Err(error) if std::env::args_os().len() <= 1 => {
            // If this cannot be printed, there is nobody to tell.
            let _ = write!(std::io::stderr(), "{}", help::program(Cli::command()).render_help());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
        // the words of the help are made for those who ask for it
        Err(error) if HELPS.contains(&error.kind()) => {
            return usage(&help::program(Cli::command()).try_get_matches().err().unwrap_or(error));
        }
        Err(error) => return usage(&error),
    };
    let session = CliSession::new(cli.global);
    session.ends(cli.command.run(&session))
}

/// The errors that show the help: it was asked for, or nothing was.
const HELPS: [ErrorKind; 2] = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];

/// Keeps panics off stderr that become an error: the database panics on damaged pages.
fn quiet_caught_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panics_are_caught() {
            before(panic);
        }
    }));
}

/// Help and version are answers. Any other message of clap is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // If this cannot be printed, there is nobody to tell.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let meant = meant(error);
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let hint = meant.clone().unwrap_or_else(|| "`nexus-node --help` lists the commands".to_owned());
    let problem = Problem::new("usage", first.trim_start_matches("error: ")).hint(hint);
    // If this cannot be printed, there is nobody to tell.
    match &meant {
        _ if json => Printer::new(true, false).problem_document(&problem),
        // the nearest spelling says less than the meaning
        Some(hint) => drop(write!(std::io::stderr(), "{first}\nhint: {hint}\n")),
        None => drop(error.print()),
    }
    ExitCode::from(problem.exit())
}

/// Words of other programs, and the commands that do that here: after the command before it, if there is one.
const MEANT: &[(&str, &[&str], &str)] = &[
    ("", &["search", "find", "query", "ask", "grep"], "recall"),
    ("", &["ls", "show", "all", "memories"], "list"),
    ("", &["delete", "rm", "remove", "del"], "forget"),
    ("", &["add", "save", "store", "note", "write", "put"], "remember"),
    ("", &["cat", "read", "view"], "get"),
    ("", &["update", "change", "modify"], "edit"),
    ("", &["replace", "obsolete"], "supersede"),
    ("", &["start", "run", "serve", "daemon"], "up"),
    ("", &["shutdown", "kill", "down", "quit", "exit"], "stop"),
    ("", &["new", "create", "setup"], "init"),
    ("", &["tail", "follow", "subscribe", "events"], "watch"),
    ("", &["dump", "backup"], "export"),
    ("", &["load"], "import"),
    ("", &["log", "versions"], "history"),
    ("", &["version"], "--version"),
    ("", &["logs"], "status"),
    ("", &["rename"], "config set name"),
    ("", &["conflicts"], "list --conflicts"),
    ("", &["settle", "resolve", "merge"], "edit"),
    ("", &["sync", "agents-md"], "mirror"),
    ("", &["projects", "project"], "list --project"),
    ("config", &["get", "ls", "list"], "config show"),
    ("", &["kick", "ban", "expel"], "revoke"),
    ("", &["ticket"], "invite"),
    ("", &["tokens", "apikey", "api-key"], "token list"),
    ("token", &["new", "add", "make", "issue"], "token create"),
    ("token", &["ls", "show"], "token list"),
    ("token", &["rm", "remove", "delete"], "token revoke"),
    ("", &["users", "nodes", "devices"], "members"),
    ("", &["health", "check", "diagnose"], "doctor"),
    ("", &["settings", "set"], "config"),
    ("", &["ui", "open", "dashboard"], "web"),
    ("", &["bench", "benchmark", "maelstrom"], BENCH),
    ("", &["autostart", "systemd", "boot"], "service install"),
    ("kv", &["set", "write", "add"], "kv put"),
    ("kv", &["ls", "keys", "all"], "kv list"),
    ("kv", &["rm", "del", "remove"], "kv delete"),
    ("kv", &["read", "cat", "show"], "kv get"),
    ("lock", &["take", "lock", "get"], "lock acquire"),
    ("lock", &["unlock", "free", "drop"], "lock release"),
    ("lock", &["ls", "show"], "lock list"),
    ("space", &["new", "add", "make"], "space create"),
    ("space", &["ls", "show"], "space list"),
    ("service", &["add", "create", "enable", "start"], "service install"),
    ("service", &["delete", "rm", "uninstall", "disable"], "service remove"),
    ("service", &["show"], "service status"),
];

/// The program that measures, which stands apart.
const BENCH: &str = "nexus-bench";

/// A hint for a command of another program.
fn meant(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let given: Vec<String> = std::env::args().skip(1).filter(|given| !given.starts_with('-')).collect();
    let at = given.iter().position(|given| given == word)?;
    // the word before it may be the value of a global flag
    let before = at.checked_sub(1).and_then(|at| given.get(at)).map_or("", String::as_str);
    let before = if MEANT.iter().any(|(group, ..)| *group == before) { before } else { "" };
    let word = word.to_lowercase();
    let (.., command) = MEANT.iter().find(|(group, words, _)| *group == before && words.contains(&word.as_str()))?;
    if *command == BENCH {
        let of_it = if word == "maelstrom" { " maelstrom" } else { "" };
        return Some(format!(
            "`{BENCH}{of_it}` does that, a program of its own: in a checkout, `cargo run --release -p {BENCH} --{of_it} --help`"
        ));
    }
    if command.starts_with('-') {
        return Some(format!("`nexus-node {command}` does that here"));
    }
    Some(format!("`nexus-node {command}` does that here; `nexus-node {command} --help` tells how"))
}
