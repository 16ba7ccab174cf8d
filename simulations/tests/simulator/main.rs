//! The simulator as a crate and as a program. A subject is a module.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

mod agents;
mod command_line;
mod coordinators;
mod determinism;
mod expiry;
mod findings;
mod regressions;
mod rest;
mod tools;
mod upgrades;
