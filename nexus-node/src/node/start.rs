use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_mesh::{Limits, Membership, Mesh, MeshConfig, Multiaddr};
use tokio::sync::watch;

use super::age::Aging;
use super::base::Base;
use super::compact::{self, Compactor};
use super::coordinate::Coordinating;
use super::listening::Listening;
use super::state::{StartState, open_state};
use super::{Inner, Node, rooms as room};
use super::{erasures, forgetting};
use crate::config::Config;
use crate::datadir::{DataDir, Lock};
use crate::engine::Command;
use crate::env::NodeEnv;
use crate::error::{NetworkError, NodeError};
use crate::failure::Failure;
use crate::headroom::{Files, Headroom};
use crate::identity::Identity;
use crate::notices::Notices;
use crate::runtime::{Origin, Runtime};
use crate::store::{Batch, Store, StoreFile};
use crate::world::{Tasks, World};

/// The parts that only a node in the real world has.
#[derive(Default)]
pub(super) struct Origins {
    pub(super) tasks: Option<Arc<Tasks>>,
    pub(super) dir: Option<DataDir>,
    pub(super) lock: Option<Lock>,
    pub(super) aging: Option<Arc<Aging>>,
}

/// Starts a node. Returns when its sockets are bound and its state is read.
///
/// Each room is registered before the mesh starts, and started after it. [`rooms`](super::rooms) has a file for each.
pub(super) async fn start(env: NodeEnv, origins: Origins) -> Result<Node, NodeError> {
    let NodeEnv {
        keypair: key,
        transport,
        spawner,
        store,
        raft,
        free,
        usage,
        #[cfg(feature = "blobs")]
            blobs: in_memory,
        blocking,
        clock,
        search,
        vectors,
        mut rooms,
        config,
    } = env;
    let Origins { tasks, dir, lock, aging } = origins;
    let world = World::new(spawner, blocking, clock);
    let (started, opener, opened) = (world.now(), key.clone(), store.clone());
    let state = world.blocking(move || open_state(&opener, &opened)).await??;
    let StartState { genesis, engine, overlay, peers, introduced, founder, former_names } = state;
    let engine = engine.within(config.quotas());
    let (store_name, written) = (genesis.store, engine.written_format());
    let search = room::search::Port::open(&world, search, store_name).await?;

    let syncing = room::sync::Port::register(&mut rooms);
    let gossip = room::gossip::Port::register(&mut rooms);
    let beside = room::beside(&mut rooms);
    let offered = room::tasks::Port::register(&mut rooms);
    #[cfg(feature = "blobs")]
    let wanted = room::blobs::Port::register(&mut rooms);
    #[cfg(feature = "documents")]
    let said = room::documents::Port::register(&mut rooms);
    let of_raft = raft.as_ref().map(|raft| raft.store.clone());
    let coordinating = Coordinating::register(raft, &mut rooms);
    let mut mesh_config = mesh_config(&config, &key, &world);
    mesh_config.process = aging.as_ref().map(|aging| aging.process().clone());
    mesh_config.membership = Some(Membership { mesh: genesis.mesh, chain: genesis.chain.clone() });
    let asked: Vec<Multiaddr> = mesh_config.listen.clone();
    let (mesh, mesh_events) = Mesh::start(transport, mesh_config, rooms, world.spawner().clone())?;

    let (notices, failure) = (Notices::default(), Failure::default());
    if let Some(aging) = &aging {
        aging.tell(&notices);
    }
    let headroom = Headroom::new(free, config.disk_reserve_bytes.get());
    let (here, at) = (headroom.clone(), world.now());
    world.blocking(move || here.look(at)).await?;
    let origin = Origin { engine, overlay, store: store.clone(), headroom, has_peers: !peers.is_empty() };
    let runtime = Runtime::start(origin, &world, failure.clone(), notices.clone());
    let Runtime { engine, members, sessions, traces, shares, clocks, gossip: own, unsettled } = runtime;
    let identity = Identity::new(key.did(), genesis.mesh, members);
    let base = Base {
        key,
        identity,
        world,
        mesh,
        engine,
        store,
        store_name,
        written,
        sessions,
        traces,
        shares,
        clocks,
        failure,
        notices,
        config,
    };
    let (mut listening, sockets) = Listening::new();
    gossip.start(&base, own);
    beside.into_iter().for_each(|starts| starts(&base));
    super::forks::start(&base, unsettled);
    syncing.start(&base, mesh_events, sockets);
    let search = search.start(&base);
    let vectors = room::vectors::start(&base, vectors);

    for (peer, addresses) in peers {
        base.mesh.know(peer, addresses);
    }
    for address in base.config.bootstrap.0.iter().cloned() {
        base.mesh.bootstrap(address);
    }
    if let Err(failures) = listening.opened(&asked).await {
        base.mesh.shutdown().await;
        base.engine.stop().await;
        if let Some(tasks) = &tasks {
            tasks.end().await;
        }
        return Err(NetworkError::Listen(failures).into());
    }
    let coordinator = coordinating.start(&base, founder).await?;
    if let Some(aging) = &aging {
        // a voter's new number is on its disk by now
        aging.clone().start(&base, coordinator.clone()).await?;
    }
    #[cfg(feature = "blobs")]
    let blobs = wanted.start(&base, dir.as_ref(), in_memory).await?;
    let needs = compact::Needs {
        search: search.clone(),
        vectors: vectors.clone(),
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
        raft: of_raft.clone(),
        coordinator: coordinator.clone(),
        dir: dir.clone(),
    };
    let compactor = Compactor::new(&base, needs);
    if base.store.is_compactable() {
        base.world.spawn("erasing", compactor.clone().keep_erasing());
    }
    let carries = erasures::carry_out(
        base.source(),
        base.engine.clone(),
        #[cfg(feature = "blobs")]
        blobs.clone(),
        compactor.follow(),
    );
    base.world.spawn("erasures", carries);
    let forget_after = forgetting::ForgetAfter::new(base.config.forget_after.get());
    let forgetting = forgetting::erase_forgotten(base.source(), base.engine.clone(), forget_after.subscribe());
    base.world.spawn("forgetting", forgetting);
    let needs = room::brain::Needs {
        former_names: former_names.clone(),
        search,
        vectors,
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
    };
    let brain = room::brain::start(&base, needs);
    if let Some(dir) = &dir {
        // all of them are open by now
        watch_files(&base, dir.clone(), of_raft).await?;
    }
    let needs = room::tasks::Needs {
        brain: brain.clone(),
        coordinator: coordinator.clone(),
        usage,
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
    };
    let board = offered.start(&base, needs);
    #[cfg(feature = "documents")]
    let documents = said.start(&base, brain.clone());
    let needs = room::events::Needs {
        former_names,
        board: board.clone(),
        coordinator: coordinator.clone(),
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
        #[cfg(feature = "documents")]
        documents: documents.clone(),
    };
    let events = room::events::start(&base, needs);

    let Base { identity, world, mesh, engine, store, sessions, clocks, notices, config, .. } = base;
    let node = Node(Arc::new(Inner {
        identity,
        world,
        mesh,
        engine,
        store,
        sessions,
        clocks,
        notices,
        brain,
        board,
        events,
        #[cfg(feature = "documents")]
        documents,
        #[cfg(feature = "blobs")]
        blobs,
        coordinator,
        tasks,
        dir,
        aging,
        compactor,
        forget_after,
        lock: Mutex::new(lock),
        next: Mutex::default(),
        listening: listening.bound,
        formats: config.formats(),
        quotas: config.quotas(),
        offline: AtomicBool::new(false),
        stopped: watch::Sender::new(None),
        projects: super::projects::Projects::default(),
        #[cfg(feature = "mcp")]
        visits: super::visits::Visits::default(),
        started,
    }));
    node.introduce(genesis.chain, config.name, introduced);
    Ok(node)
}

/// Has the files of a data directory watched: nothing is acknowledged once one is not in its place.
async fn watch_files(base: &Base, dir: DataDir, raft: Option<Store>) -> Result<(), NodeError> {
    let store = base.store.clone();
    let files = move || {
        let placed = dir.placed();
        // a store knows by itself which file it has: a compaction exchanges it
        let of_store = move || match store.gone()? {
            StoreFile::Main => Some(DataDir::STORE),
            StoreFile::Log => Some(DataDir::STORE_LOG),
        };
        let of_raft = move || raft.as_ref().and_then(Store::gone).map(|_| DataDir::RAFT);
        move |files: Files| match files {
            Files::Store => of_store(),
            Files::Coordinators => of_raft().or_else(|| placed.gone(Some(&[DataDir::JOURNAL]))),
            Files::All => placed.gone(None).or_else(&of_store).or_else(&of_raft),
        }
    };
    base.engine.headroom().watch_files(Arc::new(base.world.blocking(files).await?));
    Ok(())
}

impl Node {
    /// Publishes this node's credential and name if others do not know them yet. Nothing waits for it:
    /// slow peers do not delay the start.
    fn introduce(&self, chain: nexus_identity::Chain, wanted: Option<nexus_identity::Name>, introduced: bool) {
        let (identity, engine, world) = (self.0.identity.clone(), self.0.engine.clone(), self.0.world.clone());
        let tell = async move {
            if !introduced {
                let admit = || Command::Admit { chain: chain.clone(), with: Batch::new(), replaces: None };
                let _ = engine.run_once_there_is_room(&world, admit).await;
            }
            let known = identity.name_of(&identity.me());
            if let Some(name) = wanted.filter(|name| known.as_deref() != Some(name.as_str())) {
                let _ = engine.run_once_there_is_room(&world, || Command::Describe(name.clone())).await;
            }
        };
        self.0.world.spawn("introduce", tell);
    }
}

#[cfg(feature = "internals")]
impl Node {
    /// Writes credentials that were made beforehand into this node's log, as if it had admitted the member at its door.
    /// For tests: members whose issuer never said so have a small part of a quota.
    ///
    /// # Errors
    /// [`NodeError::Stopping`].
    pub async fn vouch_for(&self, chain: nexus_identity::Chain) -> Result<(), NodeError> {
        self.0.engine.run(Command::Admit { chain, with: Batch::new(), replaces: None }).await.map(drop)
    }
}

fn mesh_config(config: &Config, key: &nexus_identity::Keypair, world: &World) -> MeshConfig {
    let mut mesh = MeshConfig::new(key.clone());
    mesh.clock = world.clock().clone();
    mesh.listen = config.listen.0.clone();
    mesh.mdns = config.mdns;
    mesh.abilities = config.formats().abilities();
    mesh.heartbeat = Duration::from_millis(config.heartbeat_ms.get());
    mesh.down_after = Duration::from_millis(config.down_after_ms.get());
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    mesh.limits = Limits {
        connections: small(config.connections_max.get()),
        pending: small(config.connections_pending_max.get()),
        streams_per_peer: config.streams_per_peer_max.size(),
        messages_per_second: small(config.frames_per_second_max.get()),
        ..Limits::default()
    };
    mesh
}
