//! `nexus-sim` with known bugs in its nodes, for `plant`: a program of its own, so that nobody takes it
//! for the sound one.

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// Counts, so that runs can say how much memory a node takes.
#[global_allocator]
static ALLOCATOR: nexus_sim::memory::Counting = nexus_sim::memory::Counting;

fn main() -> ExitCode {
    commands::run(commands::Arguments::parse(), true)
}
