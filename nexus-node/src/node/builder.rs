use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_identity::{Name, Ticket};
use nexus_mesh::{Multiaddr, tcp_quic_transport};

use super::age::Aging;
use super::start::{Origins, start};
use super::{JoinOptions, Node, found, ports, rotate};
use crate::NodeError;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::datadir::{Contents, DataDir};
use crate::env::{NodeEnv, RaftEnv};
use crate::headroom;
use crate::load;
use crate::store::{self, Store, StoreOptions};
use crate::world::Tasks;

/// The cache of Raft's store. It is read at the start and for peers that were away; the rest is in
/// memory anyway.
const RAFT_CACHE_BYTES: usize = 1 << 20;

/// Makes a node in the real world. Unset options have the defaults of [`Config`].
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    config: Config,
    join: Option<(Ticket, JoinOptions)>,
    state: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, config: Config::default(), join: None, state: None }
    }

    /// Sets the whole configuration. Later calls change it.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Sets the node's name.
    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        self.config.name = Some(name);
        self
    }

    /// Sets the addresses to listen on. Without any the node only dials.
    #[must_use]
    pub fn listen(mut self, addresses: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.config.listen.0 = addresses.into_iter().collect();
        self
    }

    /// Sets whether to look for members on the local network.
    #[must_use]
    pub fn mdns(mut self, mdns: bool) -> Self {
        self.config.mdns = mdns;
        self
    }

    /// Adds an address to dial besides the known ones.
    #[must_use]
    pub fn bootstrap(mut self, address: Multiaddr) -> Self {
        self.config.bootstrap.0.push(address);
        self
    }

    /// Joins the mesh of a ticket before the start, unless the directory's node is in it already: the
    /// same program starts again without its inviter. As [`node::join`](super::join) it waits 30 s.
    #[must_use]
    pub fn join(self, ticket: Ticket) -> Self {
        self.join_with(ticket, JoinOptions::default())
    }

    /// Joins as [`Builder::join`], with options. A name among them is for the mesh; else the node's
    /// [`name`](Builder::name) counts.
    #[must_use]
    pub fn join_with(mut self, ticket: Ticket, options: JoinOptions) -> Self {
        self.join = Some((ticket, options));
        self
    }

    /// Sets a directory outside of the data directory for a few bytes about it: its age.
    ///
    /// With it a start also notices a backup that was written into the very files that were there. Without it the
    /// start notices only other files, another directory or another machine.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// Starts the node. In an empty directory it makes a node first, in the mesh of the ticket or in a
    /// new one. Returns when the sockets are bound and the state is read.
    ///
    /// # Errors
    /// With a ticket those of [`node::join`](super::join). Else
    /// [`NodeError::DataDir`] if the directory cannot be used: another node runs there, or its files
    /// are damaged or of a newer version. [`NodeError::Store`] likewise for the store.
    /// [`NodeError::Conflict`] if a requested port is taken. [`NodeError::Mesh`].
    pub async fn start(self) -> Result<Node, NodeError> {
        self.start_boxed().await
    }

    /// A function that is not async itself is compiled in this crate with all that it boxes. So what a node does is not
    /// compiled once more in each program that starts one.
    #[inline(never)]
    fn start_boxed(self) -> BoxFuture<'static, Result<Node, NodeError>> {
        self.start_here().boxed()
    }

    async fn start_here(self) -> Result<Node, NodeError> {
        let Self { path, mut config, join, state } = self;
        if let Some((ticket, mut options)) = join
            && !found::is_of(&path, &ticket.mesh)?
        {
            options.name = options.name.or_else(|| config.name.clone());
            super::join(&path, &ticket, options).await?;
        }
        if DataDir::inspect(&path)? == Contents::Empty {
            found::init(&path, config.name.clone())?;
        }
        let dir = DataDir::open(&path)?;
        let lock = dir.lock()?;
        let options = StoreOptions { cache_bytes: config.cache_bytes.size(), ..StoreOptions::default() };
        let store = found::open_store(&dir, options)?;
        let dir = rotate::resume(dir, &store).await?;
        found::complete(&dir, &store, config.name.clone())?;
        let aging = Aging::notice(dir.clone(), &store, state.as_deref())?;
        let raft = Coordinator::BUILT.then(|| raft_of(&dir, options, aging.is_copied())).transpose()?;

        let mut ports = dir.ports();
        config.listen.0 = ports::settle(&config.listen.0, &mut ports)?;
        dir.write_ports(ports)?;

        let keypair = dir.identity().clone();
        let transport = tcp_quic_transport(&keypair)?;
        let tasks = Arc::new(Tasks::current());
        let mut env = NodeEnv::new(keypair, transport, tasks.clone(), store);
        env.raft = raft;
        env.search = Some(dir.search_path());
        env.vectors = Some(dir.path().to_owned());
        env.free = Some(headroom::of_directory(dir.path()));
        env.usage = Some(load::of_machine());
        env.config = config;
        start(env, Origins { tasks: Some(tasks), dir: Some(dir), lock: Some(lock), aging: Some(Arc::new(aging)) }).await
    }
}

/// Opens the stores of a directory's coordinator.
fn raft_of(dir: &DataDir, options: StoreOptions, copied: bool) -> Result<RaftEnv, NodeError> {
    let store =
        Store::open(dir.raft_path(), StoreOptions { cache_bytes: RAFT_CACHE_BYTES, segment_bytes: 0, ..options })?;
    let journal = Box::new(store::open_file(&dir.journal_path())?);
    Ok(RaftEnv { store, journal, redraw: copied, machine: dir.machine() })
}
