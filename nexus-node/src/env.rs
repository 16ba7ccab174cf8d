use std::fmt;
use std::sync::Arc;

use nexus_identity::Keypair;
use nexus_mesh::{BoxedTransport, Clock, Rooms, Spawner, SystemClock};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::config::Config;
use crate::store::{Store, StoreError};
use crate::world::{Blocking, BlockingPool};

/// The world of one node: everything outside that it touches. [`Node::builder`](crate::Node)
/// fills in the real one; a simulator brings its own.
#[non_exhaustive]
pub struct NodeEnv {
    /// Who the node is.
    pub keypair: Keypair,
    /// How it reaches others; authenticated with the same key.
    pub transport: BoxedTransport,
    /// Where all its tasks run.
    pub spawner: Arc<dyn Spawner>,
    /// Where it keeps what it knows; initialized.
    pub store: Store,
    /// Where it does what takes long or waits for the disk.
    pub blocking: Arc<dyn Blocking>,
    /// Which time it is. Timers run on tokio's clock whatever this one says.
    pub clock: Arc<dyn Clock>,
    /// What its coordinator keeps; none: it takes no part, and has no critical state.
    pub raft: Option<RaftEnv>,
    /// Where the search index lies on disk; in memory if nowhere.
    pub search: Option<std::path::PathBuf>,
    /// What it serves to other members beside its own: protocols of the embedder's.
    pub rooms: Rooms,
    /// What was configured.
    pub config: Config,
}

impl NodeEnv {
    /// A node in memory with default settings: tokio's blocking pool, the system's clocks, no coordinator.
    pub fn new(keypair: Keypair, transport: BoxedTransport, spawner: Arc<dyn Spawner>, store: Store) -> Self {
        Self {
            keypair,
            transport,
            spawner,
            store,
            blocking: Arc::new(BlockingPool),
            clock: Arc::new(SystemClock::new()),
            raft: None,
            search: None,
            rooms: Rooms::new(),
            config: Config::default(),
        }
    }
}

/// What a node's coordinator keeps.
#[derive(Debug)]
pub struct RaftEnv {
    /// Votes and snapshots: a store of its own.
    pub store: Store,
    /// The log's entries: a file that belongs to the store. One without the other is refused.
    pub journal: Box<dyn StorageBackend>,
    /// They may be copies of ones that are in use: then this node is another voter than they say.
    pub redraw: bool,
    /// What the machine is called, to see whether all voters share one.
    pub machine: Option<[u8; 32]>,
}

impl RaftEnv {
    /// In memory: gone with its node.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn memory() -> Result<Self, StoreError> {
        let journal = Box::new(InMemoryBackend::new());
        Ok(Self { store: Store::memory()?, journal, redraw: false, machine: None })
    }
}

impl fmt::Debug for NodeEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEnv").field("keypair", &self.keypair).finish_non_exhaustive()
    }
}
