//! One brain for all your agents, no server: the Nexus node.

pub mod brain;
pub mod config;
pub mod datadir;
pub mod engine;
mod error;
pub mod memory;
pub mod replication;
pub mod store;

pub use error::NodeError;
