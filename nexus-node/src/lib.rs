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
//! | `identity`, `world`, `failure`, `notices` | handles that rooms take: who, with what means, why it ended, what to tell |
//! | [`critical`] | keys and locks, for those who embed a node |
//! | [`coordinator`] | the few writes that must not conflict: a Raft group among members |
//! | `trace` | which trace a task works for |
//! | `search` | which memories speak of something |
//! | [`store`] | ordered tables of bytes on disk |
//! | [`datadir`], [`config`] | files and settings of a node on a machine |
//! | `api` | the HTTP shell (feature `http`) |
//! | `problem` | refusals in words and codes (feature `http`) |
//! | [`mcp`] | the memory for agents, a guest of the HTTP shell (feature `mcp`) |

#[cfg(feature = "http")]
pub mod api;
pub mod brain;
pub mod config;
pub mod coordinator;
pub mod critical;
pub mod datadir;
pub mod engine;
mod env;
mod error;
mod failure;
mod identity;
#[cfg(feature = "testing")]
pub mod inspect;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod memory;
pub mod node;
mod notices;
#[cfg(feature = "http")]
mod problem;
pub mod replication;
mod runtime;
mod search;
pub mod store;
mod trace;
mod world;

pub use brain::{Brain, Watch};
pub use critical::{Changes, Critical, Grant, LockGuard, LockOptions, PutOptions};
pub use env::{NodeEnv, RaftEnv};
pub use error::{NodeError, Resource, SearchError};
pub use memory::{
    Change, ChangeKind, ConflictValue, Durability, Hit, ListQuery, Listing, Memory, NewMemory, Patch, RecallQuery,
    Recalled, Remembered, Revision, SpaceInfo,
};
pub use node::{
    Behind, Builder, Initialized, Invitation, Invite, Joined, MemberInfo, Node, Peer, Queue, Status, Stopped, Warning,
};
pub use world::{Blocking, BlockingPool, Inline, Tasks};
