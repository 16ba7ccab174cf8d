//! The program that measures: its answers about quality, and nodes under a harness.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../../../../simulations/src/linearizability.rs"]
#[allow(dead_code, unreachable_pub, reason = "the checker is judged where it belongs; here it judges")]
mod linearizability;
#[path = "../../../../nexus-node/cli/tests/support/mod.rs"]
mod support;

mod maelstrom;
mod quality;
