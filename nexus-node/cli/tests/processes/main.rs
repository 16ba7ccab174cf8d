//! The built program as its users meet it: commands, the API, the page, agents, files on disk.
//!
//! A subject is a module, and all are one program: each program links everything once more. A subject alone runs as
//! `cargo test -p nexus-node-cli --test processes backup::`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../../../tests/support/embedder.rs"]
mod embedder;
#[path = "../../../tests/support/rogue.rs"]
mod rogue;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/unit_file.rs"]
mod unit_file;
#[path = "../../../tests/support/world.rs"]
mod world;

mod approvals;
mod backup;
mod bad_input;
mod blobs;
mod browser;
mod cli;
mod compact;
mod connect_tokens;
mod critical;
mod demo;
mod disk;
mod docs;
mod documents;
#[cfg(target_os = "linux")]
mod erasure;
mod escapes;
mod events;
mod flood;
mod found;
mod habits;
mod hook;
mod http;
mod http_strain;
mod mcp;
mod mcp_connect;
mod mcp_log;
mod metrics;
mod mirrored;
mod model;
mod old_directory;
mod openapi;
mod origins;
mod otlp;
mod own_files;
mod page;
mod plants;
mod projects;
mod proof;
mod recall;
mod restore;
mod rotate;
mod sandbox;
mod service;
mod slips;
mod tasks;
#[cfg(target_os = "linux")]
mod terminal;
mod thread;
mod tls;
mod token_spaces;
mod tokens;
mod tools;
mod values;
mod vocabulary;
#[cfg(target_os = "linux")]
mod workplaces;
