//! The words of a command, and its exit code.

use std::io::Write;

/// Everything held.
pub(super) const OK: u8 = 0;
/// An invariant broke, or the run proves nothing.
pub(super) const BROKEN: u8 = 1;
/// The question was wrong.
pub(super) const USAGE: u8 = 2;
/// Nobody reads the output: the code of a program that SIGPIPE ended.
pub(super) const UNREAD: u8 = 141;
/// The way to a build with bugs inside of its nodes.
pub(super) const WITH_PLANTS: &str = "build one that has it:\n  \
    cargo run --release -p nexus-sim --features plants --bin nexus-sim-plants -- plant all";

/// Prints to stdout. If its reader has closed it (`| head`), the program ends: nobody would see the rest.
pub(super) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(UNREAD.into());
    }
}

/// Prints to stderr.
#[expect(clippy::print_stderr, reason = "the printer")]
pub(super) fn complain(line: &str) {
    eprintln!("{line}");
}
