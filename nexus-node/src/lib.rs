//! The Nexus node.

pub mod datadir;
pub mod store;
