//! One brain for all your agents, no server: the Nexus node.
//!
//! A [`Node`] keeps a shared memory with the other nodes of its mesh: readable and writable
//! offline, converging by itself on reconnection. [`Node::builder`] starts one on a data
//! directory; [`Node::brain`] writes, reads and watches memories.
//!
//! | room | what is in it |
//! |---|---|
//! | [`node`] | the handle, and how a node is made, joins and admits |
//! | [`brain`], [`memory`] | writing, reading, watching; what goes in and comes out |
//! | [`engine`] | the pure machine where entries become state |
//! | [`replication`] | the pure machine that keeps two nodes in step |
//! | `runtime` | the shell around both: tasks, channels, streams |
//! | [`critical`] | keys and locks, for those who embed a node |
//! | [`coordinator`] | the few writes that must not conflict: a Raft group among members |
//! | `trace` | which trace a task works for |
//! | `search` | which memories speak of something |
//! | [`store`] | ordered tables of bytes on disk |
//! | [`datadir`], [`config`] | files and settings of a node on a machine |
//! | `api` | the HTTP shell (feature `http`) |
//! | `mcp` | the memory for agents, on the HTTP shell (feature `mcp`) |

#[cfg(feature = "http")]
pub mod api;
pub mod brain;
mod clock;
pub mod config;
pub mod coordinator;
pub mod critical;
pub mod datadir;
pub mod engine;
mod env;
mod error;
mod formats;
#[cfg(feature = "testing")]
pub mod inspect;
#[cfg(feature = "mcp")]
mod mcp;
pub mod memory;
pub mod node;
pub mod replication;
mod runtime;
mod search;
pub mod store;
mod trace;

pub use brain::{Brain, Watch};
pub use critical::{Changes, Critical, Grant, LockGuard, LockOptions, PutOptions};
pub use env::{Blocking, BlockingPool, Inline, NodeEnv, RaftEnv, Tasks};
pub use error::NodeError;
pub use formats::Formats;
pub use memory::{
    Change, ChangeKind, ConflictValue, Durability, Hit, ListQuery, Listing, Memory, NewMemory, Patch, RecallQuery,
    Recalled, Remembered, Revision, SpaceInfo,
};
pub use node::{
    Behind, Builder, Initialized, Invitation, Invite, Joined, MemberInfo, Node, Peer, Queue, Status, Stopped, Warning,
};
