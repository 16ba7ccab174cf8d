//! Real nodes in this process, through the public API, and rogue members beside them.
//!
//! A subject is a module, and all are one program: each program links everything once more. A subject alone runs as
//! `cargo test -p nexus-node --test nodes tasks::`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../support/echo.rs"]
mod echo;
#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../support/rogue.rs"]
mod rogue;
#[path = "../support/settings.rs"]
mod settings;
#[path = "../support/stalling.rs"]
mod stalling;
#[path = "../support/world.rs"]
mod world;

mod access;
mod access_walk;
mod blob_copies;
mod blobs;
mod clocks;
mod coordinator;
#[cfg(feature = "documents")]
mod documents;
mod events;
mod flooded_rooms;
mod hostile;
mod long_texts;
mod names;
mod own_world;
mod persons;
#[cfg(feature = "documents")]
mod presence;
mod recall;
mod revocation;
mod rooms;
mod shares;
mod stalled_disk;
mod stranger;
mod succession;
mod tasks;
mod tasks_heirs;
mod tasks_hostile;
mod tasks_logs;
mod tasks_words;
mod toy_protocol;
mod two_nodes;
mod vocabulary;
