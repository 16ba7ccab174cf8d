//! Whole processes under load: killed, cut off from each other, upgraded one by one. A subject is a module.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../../../../simulations/src/linearizability.rs"]
#[allow(dead_code, unreachable_pub, reason = "the checker is judged where it belongs; here it judges")]
mod linearizability;
#[path = "../support/mod.rs"]
mod support;

mod blobs;
mod coordinators;
mod documents;
mod heirs;
mod memories;
mod previous;
#[cfg(target_os = "linux")]
mod sandbox;
mod tasks;
