//! The structure of all crates of the workspace, held by tests that read the sources. Each rule has a list of what
//! breaks it, with a reason. A list is exactly what is found, and only becomes shorter.
//!
//! `map.rs` makes the map of rooms in ARCHITECTURE.md: `NEXUS_MAP=write cargo test -p nexus-identity --test house`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod circles;
mod map;
mod modules;
mod names;
mod sizes;
mod source;
mod surface;
