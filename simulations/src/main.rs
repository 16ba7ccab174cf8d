//! Whole Nexus networks under virtual time, by seed.

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// Counts, so that runs can report a node's memory.
#[global_allocator]
static ALLOCATOR: nexus_sim::memory::Counting = nexus_sim::memory::Counting;

fn main() -> ExitCode {
    commands::run(commands::Arguments::parse(), false)
}
