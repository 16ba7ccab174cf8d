//! One brain for all your agents, no server: the Nexus node, to embed in a program.
//!
//! A [`Node`] keeps a shared memory with the other nodes of its mesh. It reads and writes offline, and
//! converges by itself when it is connected again. This page is a guide; each part leads to the types.
//!
//! # Open a node
//!
//! A node is its data directory. An empty one becomes a node with a mesh of its own. [`Node::builder`] has
//! the options; all settings are in [`config`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("brain");
//! use nexus_node::Node;
//!
//! // without addresses to listen on the node only dials
//! let node = Node::builder(path).name("agent".parse()?).mdns(false).listen([]).start().await?;
//! println!("{} of the mesh {}", node.did(), node.mesh_did());
//! node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Remember and recall
//!
//! [`Node::brain`] is the memory. A write is on this node's disk when it returns, and reaches the other
//! nodes afterwards. A read needs no other node. Reads wait for the disk off the caller's task; each has a
//! twin `…_blocking` for threads that may wait.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::{NewMemory, Patch, RecallQuery};
//!
//! let brain = node.brain();
//! let written = brain.remember(NewMemory::note("the build needs a C compiler").tag("ci")).await?;
//! brain.edit(written.id, Patch::text("the build needs a C compiler and cmake")).await?;
//!
//! let found = brain.recall(RecallQuery::of("what does the build need?").tag("ci").limit(3)).await?;
//! assert_eq!(found.hits[0].memory.id, written.id);
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! Two nodes that edit one memory apart both keep their text: [`Memory::conflicts`] shows the values until
//! an edit settles them.
//!
//! The answer to [`Brain::remember`] tells whether a memory says nearly the same already, or seems to say something else of the
//! same subject. Nothing is refused for it: a program may ask, edit the other memory, or forget it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::NewMemory;
//!
//! let brain = node.brain();
//! let first = brain.remember(NewMemory::note("the staging database listens on port 5433")).await?;
//! let again = brain.remember(NewMemory::note("The staging database listens on port 5433.")).await?;
//! assert_eq!(again.duplicate_of, Some(first.id));
//! brain.forget(again.id).await?;
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Tell an agent what it should know
//!
//! Before a prompt goes to a model, ask what the memory has to do with it. Few and sure memories help; the rest distracts.
//! Most prompts have none.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::{NewMemory, RecallQuery};
//!
//! let brain = node.brain();
//! brain.remember(NewMemory::note("the staging database listens on port 5433")).await?;
//!
//! let prompt = "Where is the staging database, please?";
//! let mut relevant = Vec::new();
//! if let Some(query) = RecallQuery::of_prompt(prompt) {
//!     let hits = brain.recall(query.limit(20)).await?.hits;
//!     relevant.extend(hits.into_iter().filter(|hit| hit.is_relevant()).take(3));
//! }
//! assert_eq!(relevant.len(), 1);
//! assert!(RecallQuery::of_prompt("ok, go on").is_none());
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! At the start of a session the brief tells an agent who it is here, and what matters: conflicts, unfinished work,
//! preferences, decisions, and the news since it was here. It is the answer of the tool `session_start` (feature `mcp`).
//!
//! ```
//! # #[cfg(feature = "mcp")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::NewMemory;
//! use nexus_node::mcp::brief;
//!
//! let agent = "my-agent".parse()?;
//! node.brain().remember(NewMemory::note("tabs, never spaces").kind("preference")).await?;
//! let brief = brief(&node, Some(&agent), None, 600).await?;
//! assert!(brief.contains("tabs, never spaces"));
//! # node.shutdown().await;
//! # Ok(()) }
//! # #[cfg(not(feature = "mcp"))]
//! # fn main() {}
//! ```
//!
//! # Watch
//!
//! [`Brain::watch`] follows the changes of memories, spaces and members, whoever made them. A [`Watch`](brain::Watch) has
//! `next`, and becomes a stream. The cursor of the last change goes on where an earlier program stopped.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use futures::TryStreamExt;
//! use nexus_node::{NewMemory, WatchQuery};
//!
//! let brain = node.brain();
//! let mut changes = brain.watch(WatchQuery::from_now()).await?.into_stream();
//! let id = brain.remember(NewMemory::note("the deploy is done")).await?.id;
//! while let Some(change) = changes.try_next().await? {
//!     if change.subject.memory() == Some(id) {
//!         println!("{} in space {}", change.kind.as_str(), change.space);
//!         break;
//!     }
//! }
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Join a mesh
//!
//! An admin makes a [`Ticket`] with [`Node::invite`]. Another node redeems it as it is built. A later start
//! with the same ticket finds the node in its mesh, and asks nobody.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = |name| directory.path().join(name);
//! use nexus_node::{Invite, Node};
//!
//! let loopback = "/ip4/127.0.0.1/tcp/0".parse()?;
//! let first = Node::builder(path("first")).mdns(false).listen([loopback]).start().await?;
//! let ticket = first.invite(Invite::default()).await?.ticket;
//!
//! let second = Node::builder(path("second")).mdns(false).listen([]).join(ticket).start().await?;
//! assert_eq!(first.mesh_did(), second.mesh_did());
//! # second.shutdown().await;
//! # first.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Keys and locks
//!
//! A few things must not conflict. [`Node::critical`] has keys and locks, of which a quorum of nodes decides
//! each change. The first node of a mesh decides alone; of three, any one may fail. Without a quorum a
//! request is refused within five seconds, and memory goes on.
//!
//! ```
//! # #[cfg(feature = "coordinators")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::critical::{LockOptions, PutOptions};
//!
//! let critical = node.critical()?;
//! critical.put("deploy/target", "blue", PutOptions::default()).await?;
//!
//! // the guard renews the lease; a write under its token is refused once another has the lock
//! let lock = critical.lock("deploy", LockOptions::default()).await?;
//! critical.put("deploy/state", "running", PutOptions::default().fence(lock.token())).await?;
//! lock.release().await?;
//! # node.shutdown().await;
//! # Ok(()) }
//! # #[cfg(not(feature = "coordinators"))]
//! # fn main() {}
//! ```
//!
//! [`Critical::watch`] follows the changes. [`Critical::txn`] does several steps at once.
//!
//! # Tasks
//!
//! A task is work that is handed over: to a worker on any node that has its ability. [`Node::tasks`] is the board. A task
//! outlives its submitter, its worker and a killed node, and has one end. With an id of the caller's own (`request`), a program
//! that starts again submits no second task.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use std::time::Duration;
//!
//! use nexus_node::NewTask;
//! use nexus_node::tasks::{ClaimQuery, JsonText, TaskResult, TaskStatus};
//!
//! let board = node.tasks();
//! let task = board.submit(NewTask::new("upper", JsonText::text("two words")).request("words-1")).await?;
//!
//! // a worker, on this node or another one: it asks for work, and says what became of it
//! if let Some(claimed) = board.claim(ClaimQuery::of("upper").agent("shouter")).await? {
//!     let text: String = claimed.task.input.read()?;
//!     let done = TaskResult::Succeeded(JsonText::text(text.to_uppercase()));
//!     board.finish(claimed.task.id, claimed.token, done).await?;
//! }
//!
//! let ended = board.wait(task.id, Duration::from_secs(30)).await?.expect("it has ended");
//! assert_eq!(ended.status, TaskStatus::Succeeded);
//! assert_eq!(ended.output.unwrap_or_default().read::<String>()?, "TWO WORDS");
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! Longer work says with [`TaskBoard::renew`] that it goes on; else another worker gets the task. [`TaskBoard::watch`] follows
//! all tasks.
//!
//! # Blobs
//!
//! Content of any size goes by its hash, from all members that have it at once. [`Node::blobs`] keeps it as long as a tag, a pin
//! or a memory leads to it.
//!
//! ```
//! # #[cfg(feature = "blobs")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use futures::TryStreamExt;
//! use nexus_node::blobs::Keep;
//!
//! let blobs = node.blobs();
//! let mut writer = blobs.writer(Keep::Tagged("report".to_owned())).await?;
//! writer.write(b"all went well").await?;
//! let report = writer.finish().await?;
//!
//! // on another node `blobs.fetch` would get it first
//! let reader = blobs.read(report.hash).await?;
//! let pieces: Vec<_> = blobs.stream(reader, 0..report.size).try_collect().await?;
//! assert_eq!(pieces.concat(), b"all went well");
//! # node.shutdown().await;
//! # Ok(()) }
//! # #[cfg(not(feature = "blobs"))]
//! # fn main() {}
//! ```
//!
//! # Documents
//!
//! A document is JSON that several nodes change at once, as Automerge (feature `documents`). [`Node::documents`](Node) has the
//! documents of a space by their keys. `get`, `edit` and `watch` work in JSON. `change` has a program read and write in one step: all
//! of its change is written or nothing, also where it panics.
//!
//! With the feature `typed-documents` a document is a value of a program's own type. The type derives `Hydrate` and `Reconcile` of the
//! crate `autosurgeon` 0.14, which is named beside this one with `automerge` 0.12. Fields are `Text` for texts that others type into, `Counter` for
//! counters, lists, maps, and `i64` for numbers. A `String` is replaced as a whole, and does not read what `doc set` writes, which is a
//! text.
//!
//! ```
//! # #[cfg(feature = "typed-documents")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use autosurgeon::{Counter, Hydrate, Reconcile, Text};
//!
//! #[derive(Default, Hydrate, Reconcile)]
//! struct Plan {
//!     text: Text,
//!     done: Counter,
//!     steps: Vec<String>,
//! }
//!
//! let plan = node.documents().typed::<Plan>(None, "plan");
//! plan.create().await?;
//! plan.change(|plan| {
//!     plan.text.update("ship on Thursday");
//!     plan.steps.push("test".to_owned());
//!     Ok(plan.done.increment(1))
//! })
//! .await?;
//! // others may have written since
//! let plan = plan.get().await?.expect("it has values");
//! assert_eq!((plan.text.as_str(), plan.done.value(), plan.steps.len()), ("ship on Thursday", 1, 1));
//! # node.shutdown().await;
//! # Ok(()) }
//! # #[cfg(not(feature = "typed-documents"))]
//! # fn main() {}
//! ```
//!
//! # A world of one's own
//!
//! [`NodeEnv`] holds everything outside that a node touches: transport, tasks, store, clock. A test or a
//! simulator brings its own; [`Node::with_env`] starts the same node there. Protocols of an embedder are
//! registered in [`NodeEnv::rooms`] and reach the other members with [`Node::open_stream`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use nexus_node::env::Tasks;
//! use nexus_node::net::tcp_quic_transport;
//! use nexus_node::{Keypair, Node, NodeEnv, Timestamp};
//!
//! let key = Keypair::generate();
//! let transport = tcp_quic_transport(&key)?;
//! let tasks = Arc::new(Tasks::current());
//! let mut env = NodeEnv::founder(key, transport, tasks, "in-memory".parse()?, Timestamp::from_ms(0))?;
//! env.config.mdns = false;
//! env.config.listen.0.clear();
//! let node = Node::with_env(env).await?;
//! assert_eq!(node.name(), "in-memory");
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Errors
//!
//! [`NodeError`] has a variant for each kind of failure, and each kind one for each reason, with its data and
//! its source. Nothing changed unless the variant says otherwise: a write that timed out may still happen.
//! [`NodeError::code`] is a word for scripts.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let node = nexus_node::Node::builder(directory.path().join("brain")).mdns(false).listen([]).start().await?;
//! use nexus_node::error::InputError;
//! use nexus_node::{NodeError, RecallQuery};
//!
//! match node.brain().recall(RecallQuery::of("…")).await {
//!     Err(NodeError::Invalid(InputError::NoWords)) => println!("ask with words"),
//!     Err(NodeError::Stopping(reason)) => println!("start the node again: {reason}"),
//!     other => println!("{} hits", other?.hits.len()),
//! }
//! # node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! Without features the library brings 205 crates of others, and 288 by default. `.ci/features` holds both. The last two
//! columns are what a feature adds: to none of them above, to the default below.
//!
//! | feature | without it | crates |
//! |---|---|---|
//! | `blobs` (default) | no blobs: neither kept nor handed to others | 8 |
//! | `coordinators` (default) | no keys and locks: the node never votes, and [`Node::critical`] is refused | 33 |
//! | `search` (default) | recall finds words as they are spelled, not in their other forms | 1 |
//! | `quic` (default) | TCP alone | 42 |
//! | `documents` | no living documents | 4 |
//! | `typed-documents` | no documents as values of a program's own types; brings `documents` | 7 |
//! | `disk-index` | the first recall makes an index of all words in memory, and holds it there | 57 |
//! | `mdns` | members on the local network are found by their addresses alone | 3 |
//! | `models` | no file of static vectors can be the embedder | 41 |
//! | `schemas` | a worker with a JSON schema is refused | 26 |
//! | `http` | no HTTP API, and no embedder at an address | 35 |
//! | `mcp` | no MCP servers; brings `http` | 44 |
//!
//! The folder `examples` of the repository has programs of one idea each.
//!
//! # Rooms
//!
//! | room | content |
//! |---|---|
//! | [`node`] | the handle of a node; starting, joining, admitting |
//! | [`brain`], [`memory`] | writing, reading, watching; the types of memories |
//! | `blobs` | content of any size by its hash (feature `blobs`) |
//! | `documents` | living documents, in JSON and as values of types (features `documents`, `typed-documents`) |
//! | [`critical`] | keys and locks that must not conflict |
//! | [`tasks`] | work that is handed over |
//! | [`events`] | all that happens on a node, as one stream |
//! | [`project`] | the project of a directory |
//! | [`error`] | why something failed |
//! | [`config`], [`datadir`] | settings of a node, and its files |
//! | [`env`](mod@env), [`net`] | the world around a node; the network below it |
//! | `tls` | TLS for the API, bound to the node's key (feature `http`) |
//! | `api`, `mcp` | the HTTP shell and the MCP servers on it (features `http`, `mcp`) |
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
//! | `vectors` | finding memories by their meaning, where somebody has a model |
//! | `request` | the id of a critical request |
//! | `salvage` | a damaged store becomes a new one |
//! | `store` | ordered tables of bytes on disk |
//! | `headroom` | the room on the disk, and what may still be written |
//! | `load` | how busy the machine is |

#![cfg_attr(
    not(all(feature = "internals", feature = "coordinators")),
    expect(
        unreachable_pub,
        unused_imports,
        dead_code,
        reason = "public in `internals`, for the program and the simulator"
    )
)]

#[cfg(feature = "http")]
pub mod api;
mod backup;
#[cfg(feature = "blobs")]
pub mod blobs;
pub mod brain;
mod budget;
pub mod config;
mod coordinator;
pub mod critical;
pub mod datadir;
#[cfg(feature = "documents")]
pub mod documents;
mod engine;
pub mod env;
pub mod error;
pub mod events;
mod failure;
mod filter;
mod follow;
mod formats;
#[cfg(all(feature = "testing", feature = "coordinators", feature = "mcp"))]
mod fuzzed;
#[cfg(feature = "mcp")]
mod graph;
mod headroom;
#[cfg_attr(not(feature = "http"), expect(dead_code, reason = "for `/metrics`"))]
mod histogram;
mod identity;
#[cfg(feature = "testing")]
mod inspect;
mod ledger;
mod load;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod memory;
pub mod node;
mod notices;
mod own_store;
#[cfg(feature = "http")]
mod problem;
pub mod project;
mod recent;
mod replication;
mod request;
mod runtime;
mod salvage;
mod search;
mod store;
pub mod tasks;
#[cfg(feature = "http")]
pub mod tls;
mod trace;
mod vectors;
mod words;
mod world;

#[cfg(feature = "blobs")]
pub use blobs::Blobs;
pub use brain::Brain;
pub use critical::Critical;
pub use datadir::DataDir;
pub use env::NodeEnv;
pub use error::NodeError;
pub use memory::{Memory, MemoryId, NewMemory, Patch, RecallQuery, WatchQuery};
pub use nexus_identity::{Did, Keypair, Name, Ticket, Timestamp};
pub use node::{Builder, Invite, Node};
pub use tasks::{NewTask, TaskBoard};

/// The network below a node: addresses, transports, and protocols of an embedder's own.
pub mod net {
    pub use nexus_mesh::quota::{Bounds, Receiver};
    pub use nexus_mesh::{
        BoxedTransport, ConfigError as MeshConfigError, DownCause, JoinError, JoinRefusal, JoinReply, JoinRequest,
        Knock, MeshError, MeshTransport, Message, MessageToken, Multiaddr, OpenError, PeerState, Rooms, Stream,
        StreamProtocol, TransportError, read_frame, tcp_quic_transport, write_frame,
    };
}

/// Rooms behind the public API, for the program and the simulator. No promise holds for them.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub mod backup {
        pub use crate::backup::*;
    }
    pub mod coordinator {
        pub use crate::coordinator::*;
    }
    pub mod engine {
        pub use crate::engine::*;
    }
    pub mod formats {
        pub use crate::formats::*;
    }
    /// The decoders of what others send, for `nexus-fuzz`.
    #[cfg(all(feature = "testing", feature = "coordinators", feature = "mcp"))]
    pub mod fuzzed {
        pub use crate::api::fuzzed as api;
        pub use crate::coordinator::fuzzed as coordinator;
        pub use crate::fuzzed::*;
        pub use crate::mcp::fuzzed as mcp;
    }
    #[cfg(feature = "testing")]
    pub mod inspect {
        pub use crate::inspect::*;
    }
    pub mod own_store {
        pub use crate::own_store::*;
    }
    pub mod replication {
        pub use crate::replication::*;
    }
    pub mod salvage {
        pub use crate::salvage::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
}
