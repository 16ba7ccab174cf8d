//! One brain for all your agents, no server: the Nexus node.
//!
//! A [`Node`] keeps a shared memory with the other nodes of its mesh. It reads and writes offline, and
//! converges by itself when it is connected again. [`Node::builder`] starts one on a data directory.
//! [`Node::brain`] writes, reads and watches memories.
//!
//! | room | content |
//! |---|---|
//! | [`node`] | the handle of a node; starting, joining, admitting |
//! | [`brain`], [`memory`] | writing, reading, watching; the types of memories |
//! | [`critical`] | keys and locks that must not conflict |
//! | [`config`] | settings of a node |
//! | `api` | the HTTP shell (feature `http`) |
//!
//! Rooms behind these, not part of the public API:
//!
//! | room | content |
//! |---|---|
//! | `engine` | the pure machine that turns entries into state |
//! | `ledger` | the stored entries, and the tables derived from them |
//! | `replication` | the pure machine that keeps two nodes in step |
//! | `runtime` | the shell around both: tasks, channels, streams |
//! | `identity`, `world`, `failure`, `notices` | handles for other rooms: members, surroundings, the reason of a failure, warnings |
//! | `problem` | refusals in words and codes (feature `http`) |
//! | `coordinator` | critical state: a Raft group among members |
//! | `trace` | the trace of a task |
//! | `search` | finding memories by their words |
//! | `store` | ordered tables of bytes on disk |
//! | `datadir` | files of a node on a machine |
//! | [`mcp`] | the memory for agents, a guest of the HTTP shell (feature `mcp`) |

#![cfg_attr(
    not(feature = "internals"),
    expect(
        unreachable_pub,
        unused_imports,
        dead_code,
        reason = "public in `internals`, for the program and the simulator"
    )
)]

#[cfg(feature = "http")]
pub mod api;
pub mod brain;
pub mod config;
mod coordinator;
pub mod critical;
mod datadir;
mod engine;
mod env;
mod error;
mod failure;
mod formats;
mod identity;
#[cfg(feature = "testing")]
mod inspect;
mod ledger;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod memory;
pub mod node;
mod notices;
#[cfg(feature = "http")]
mod problem;
mod replication;
mod runtime;
mod search;
mod store;
mod trace;
mod world;

pub use brain::{Brain, Watch};
pub use coordinator::TooNew;
pub use critical::{
    Critical, CriticalChange, CriticalEvent, CriticalNews, CriticalWatch, CriticalWatchQuery, DeleteOptions, Grant,
    KeyQuery, LockGuard, LockOptions, PutOptions,
};
pub use datadir::{DataDirError, FileDamage, KeyFileError, KeyKind};
pub use env::{NodeEnv, RaftEnv};
pub use error::{
    AccessError, AdminDuty, ConflictError, ContactError, CriticalBound, InputError, ListenError, NetworkError,
    NodeError, OpaqueError, Resource, SearchError, StopError,
};
pub use failure::Fault;
pub use ledger::LedgerError;
pub use memory::{
    AgentName, Change, ChangeKind, ConflictValue, Durability, Hit, ListQuery, Listing, Memory, MemoryId, MemoryRef,
    NewMemory, Origin, Patch, Provenance, RecallQuery, Recalled, Remembered, Revision, Source, SpaceInfo, Subject, Was,
    WatchQuery,
};
pub use node::{
    AwayCause, Behind, Builder, Initialized, Invitation, Invite, JoinOptions, Joined, MemberInfo, Node, Peer, PeerPath,
    Queue, Status, Stopped, Warning,
};
pub use store::{PoisonCause, Store, StoreDamage, StoreError};
pub use world::{Blocking, BlockingPool, Inline, Tasks};

// types of the crates below that public signatures name
pub use nexus_crdt::{Frontier, SpaceId};
pub use nexus_identity::{ChainError, Did, DidError, Keypair, Name, NameError, Role, Ticket, TicketError, Timestamp};
pub use nexus_mesh::{
    BoxedTransport, Clock, DownCause, JoinError, JoinRefusal, MeshError, Multiaddr, OpenError, PeerState, Rooms,
    Spawner, Stream, StreamProtocol, SystemClock, TransportError, tcp_quic_transport,
};

/// Rooms behind the public API, for the program and the simulator. No promise holds for them.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub mod coordinator {
        pub use crate::coordinator::*;
    }
    pub mod datadir {
        pub use crate::datadir::*;
    }
    pub mod engine {
        pub use crate::engine::*;
    }
    #[cfg(feature = "testing")]
    pub mod formats {
        pub use crate::formats::*;
    }
    #[cfg(feature = "testing")]
    pub mod inspect {
        pub use crate::inspect::*;
    }
    pub mod replication {
        pub use crate::replication::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
}
