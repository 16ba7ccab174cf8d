//! Two honest nodes, and a third member that attacks them: the honest work for each second of their processor, beside
//! the same work of two nodes without an attacker.
//!
//! ```console
//! cargo build --release -p nexus-node-cli -p nexus-hostile
//! target/release/nexus-hostile measure [--rounds 5] [--writes 10000] [--only KIND,…]
//! ```
//!
//! The attacker is a process of its own (`nexus-hostile attack`) with the credentials of a member. It takes half a
//! core: it measures its own processor time and sleeps ([`pace`]).

#![allow(clippy::disallowed_methods, reason = "a bench measures the machine that it runs on")]

mod args;
mod attack;
mod honest;
mod measure;
mod pace;
mod rogue;
mod text;

use std::io::Write;
use std::process::ExitCode;

use self::args::Args;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = Args::read(words).and_then(|args| match command.as_str() {
        "measure" => measure::run(&args),
        "attack" => attack::run(&args),
        _ => Err("commands: measure, attack".into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "nexus-hostile: {error}");
            ExitCode::FAILURE
        }
    }
}
