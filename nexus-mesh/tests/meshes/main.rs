//! Meshes over real sockets, and over links of this process. A subject is a module.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod both_dial;
mod isolation;
mod joining;
mod local;
mod meeting;
mod parting;
mod paths;
mod spawning;
mod strangers;
mod talking;
