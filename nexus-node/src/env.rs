//! All that a node gets from outside: its store, its transport, its clocks, its settings.

use std::fmt;
use std::sync::Arc;

use nexus_crdt::Incarnation;
use nexus_identity::{Chain, Claims, Keypair, Name, Role, Timestamp};
use nexus_mesh::{MeshTransport, Rooms};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::config::Config;
use crate::error::NodeError;
pub use crate::headroom::FreeBytes;
use crate::ledger::{self, Genesis, LedgerError};
pub use crate::load::{Load, Usage, UsageOf};
use crate::store::StoreError;
pub use crate::store::{Store, StoreOptions, Table};
use crate::world::random;
pub use crate::world::{Blocking, BlockingPool, Inline, Tasks};
pub use nexus_mesh::{Clock, Spawner, SystemClock, timers};

/// The environment of one node: everything outside that it touches. [`Node::builder`](crate::Node)
/// fills in the real one; a simulator brings its own.
#[non_exhaustive]
pub struct NodeEnv {
    /// The node's key.
    pub keypair: Keypair,
    /// The transport to other nodes, authenticated with the same key.
    pub transport: MeshTransport,
    /// The spawner of all its tasks.
    pub spawner: Arc<dyn Spawner>,
    /// The initialized store of its entries.
    pub store: Store,
    /// The pool for work that takes long or waits for the disk.
    pub blocking: Arc<dyn Blocking>,
    /// The clock. Timers follow tokio's clock in every case.
    pub clock: Arc<dyn Clock>,
    /// The stores of its coordinator. Without them the node takes no part, and has no critical state.
    pub raft: Option<RaftEnv>,
    /// Tells the free bytes of the disk below the stores. Without it only a failed write tells that the disk is full.
    pub free: Option<FreeBytes>,
    /// Reads the counters of the machine's processors and memory. Without it no worker refuses work for their load.
    pub usage: Option<UsageOf>,
    /// The directory of the search index; `None` for an index in memory.
    pub search: Option<std::path::PathBuf>,
    /// The directory of vectors, models of vectors and the embedder's key; without one there are no vectors.
    pub vectors: Option<std::path::PathBuf>,
    /// The blobs of a node without a disk.
    #[cfg(feature = "blobs")]
    pub blobs: crate::blobs::MemoryBlobs,
    /// Protocols of the embedder, served to other members beside the node's own.
    pub rooms: Rooms,
    /// The configuration.
    pub config: Config,
}

impl NodeEnv {
    /// A node in memory with default settings: tokio's blocking pool, the system's clocks, no coordinator.
    pub fn new(keypair: Keypair, transport: impl Into<MeshTransport>, spawner: Arc<dyn Spawner>, store: Store) -> Self {
        Self {
            keypair,
            transport: transport.into(),
            spawner,
            store,
            blocking: Arc::new(BlockingPool::default()),
            clock: Arc::new(SystemClock::new()),
            raft: None,
            free: None,
            usage: None,
            search: None,
            vectors: None,
            #[cfg(feature = "blobs")]
            blobs: crate::blobs::MemoryBlobs::default(),
            rooms: Rooms::new(),
            config: Config::default(),
        }
    }

    /// The first member of a new mesh, in memory: an environment that ends with its node. The caller
    /// changes what it likes before [`Node::with_env`](crate::Node::with_env).
    ///
    /// The mesh's root key is not kept: only this node, as an admin, can admit others. `now` is the time
    /// in its credentials.
    ///
    /// # Errors
    /// No error that a caller can cause.
    pub fn founder(
        keypair: Keypair,
        transport: impl Into<MeshTransport>,
        spawner: Arc<dyn Spawner>,
        name: Name,
        now: Timestamp,
    ) -> Result<Self, NodeError> {
        let root = Keypair::generate();
        let claims = Claims::new(root.did(), keypair.did(), name, [Role::Admin], now);
        let chain = Chain::found(claims.sign(&root)).map_err(LedgerError::Chain)?;
        let (incarnation, store_name) = (Incarnation(random()), random());
        let genesis = Genesis { mesh: root.did(), chain, incarnation, store: store_name, fingerprint: None };
        let store = Store::memory()?;
        store.commit(&[ledger::found(&genesis)])?;
        Ok(Self::new(keypair, transport, spawner, store))
    }
}

/// The stores of a node's coordinator.
#[derive(Debug)]
#[non_exhaustive]
pub struct RaftEnv {
    /// The store of votes and snapshots.
    pub store: Store,
    /// The file of the log's entries, which belongs to the store. One without the other is refused.
    pub journal: Box<dyn StorageBackend>,
    /// Whether these may be copies of stores in use. The node then becomes another voter.
    pub redraw: bool,
    /// A digest of the machine's id, to see whether all voters share one machine.
    pub machine: Option<[u8; 32]>,
}

impl RaftEnv {
    /// These stores of a node, no copies of others, on an unnamed machine.
    pub fn new(store: Store, journal: Box<dyn StorageBackend>) -> Self {
        Self { store, journal, redraw: false, machine: None }
    }

    /// Stores in memory, which end with the node.
    ///
    /// # Errors
    /// No error that a caller can cause.
    pub fn memory() -> Result<Self, StoreError> {
        Ok(Self::new(Store::memory()?, Box::new(InMemoryBackend::new())))
    }
}

impl fmt::Debug for NodeEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEnv").field("keypair", &self.keypair).finish_non_exhaustive()
    }
}
