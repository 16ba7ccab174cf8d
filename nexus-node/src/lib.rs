//! The Nexus node.

pub mod store;
