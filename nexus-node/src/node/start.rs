use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_crdt::SpaceId;
use nexus_mesh::{Limits, Membership, Mesh, MeshConfig, Multiaddr};
use tokio::sync::watch;

use super::admit::{self, Admitter};
use super::age::Aging;
use super::coordinate::{Coordinating, CoordinatorParts};
use super::{Inner, Node, ports};
#[cfg(feature = "blobs")]
use crate::blobs::{self, Blobs, Shelf};
use crate::brain::{self, Brain};
use crate::budget::Budget;
use crate::config::Config;
use crate::critical::Critical;
use crate::datadir::{DataDir, Lock};
use crate::engine::{Command, Engine};
use crate::env::NodeEnv;
use crate::error::{ListenError, NetworkError, NodeError};
use crate::events::{self, Events};
use crate::failure::Failure;
use crate::follow::Source;
use crate::headroom::{Files, Headroom};
use crate::identity::Identity;
use crate::ledger::{self, LedgerError};
use crate::notices::{LineBudget, Notices};
use crate::runtime::gossip::{Gossip, publish};
use crate::runtime::sync::Syncing;
use crate::runtime::{self, Runtime, Sockets, known_peers, watch_mesh};
use crate::search::{Kept, Search, keep_up};
use crate::store::{Batch, Overlay, Store, Table, View};
use crate::tasks::{self, TaskBoard};
use crate::vectors::{self, Vectors};
use crate::world::{Tasks, World};

/// Longest wait for sockets to be bound.
const LISTEN_MAX: Duration = Duration::from_secs(5);

/// The parts that only a node in the real world has.
#[derive(Default)]
pub(super) struct Origins {
    pub(super) tasks: Option<Arc<Tasks>>,
    pub(super) dir: Option<DataDir>,
    pub(super) lock: Option<Lock>,
    pub(super) aging: Option<Arc<Aging>>,
}

/// Starts a node. Returns when its sockets are bound and its state is read.
pub(super) async fn start(env: NodeEnv, origins: Origins) -> Result<Node, NodeError> {
    let NodeEnv {
        keypair,
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
    let world = World::new(spawner, blocking, clock);
    let (started, me) = (world.now(), keypair.did());
    let (key, opened) = (keypair.clone(), store.clone());
    let state = world.blocking(move || open_state(&key, &opened)).await??;
    let StartState { genesis, engine, overlay, peers, introduced, founder, former_names } = state;
    let quotas = config.quotas();
    let engine = engine.within(quotas);

    let (store_name, written) = (genesis.store, engine.written_format());
    let search = Arc::new(world.blocking(move || open_search(search, store_name)).await?);
    let mut mesh_config = mesh_config(&config, &keypair, &world);
    mesh_config.process = origins.aging.as_ref().map(|aging| aging.process().clone());
    mesh_config.membership = Some(Membership { mesh: genesis.mesh, chain: genesis.chain.clone() });
    let asked: Vec<Multiaddr> = mesh_config.listen.clone();
    // one line for each room that serves others
    let sync_streams = runtime::sync::register(&mut rooms);
    let gossiped = runtime::gossip::register(&mut rooms);
    let knocks = admit::register(&mut rooms);
    let offered = tasks::register(&mut rooms);
    #[cfg(feature = "blobs")]
    let wanted = blobs::register(&mut rooms);
    let coordinating = Coordinating::register(raft, &mut rooms);
    let (mesh, events) = Mesh::start(transport, mesh_config, rooms, world.spawner().clone())?;

    let (notices, failure) = (Notices::default(), Failure::default());
    if let Some(aging) = &origins.aging {
        aging.tell(&notices);
    }
    let headroom = Headroom::new(free, config.disk_reserve_bytes.get());
    let (here, at) = (headroom.clone(), world.now());
    world.blocking(move || here.look(at)).await?;
    let has_peers = !peers.is_empty();
    let origin = runtime::Origin { engine, overlay, store: store.clone(), headroom, has_peers };
    let runtime = Runtime::start(origin, &world, failure.clone(), notices.clone());
    let Runtime { engine, members, sessions, traces, shares, clocks, gossip, unsettled } = runtime;
    let identity = Identity::new(me, genesis.mesh, members);
    let syncing = Arc::new(Syncing {
        identity: identity.clone(),
        mesh: mesh.clone(),
        store: store.clone(),
        world: world.clone(),
        engine: engine.clone(),
        notices: notices.clone(),
        sessions: sessions.clone(),
        traces,
        quotas,
        frames_per_second: u32::try_from(config.frames_per_second_max.get()).unwrap_or(u32::MAX),
        vain: Arc::default(),
        shares: shares.clone(),
        clocks: clocks.clone(),
    });
    let (bound, listening) = watch::channel(Vec::new());
    let (failed, mut failed_to_listen) = watch::channel(Vec::new());
    let hearing = Gossip {
        identity: identity.clone(),
        mesh: mesh.clone(),
        store: store.clone(),
        world: world.clone(),
        engine: engine.clone(),
        sessions: sessions.clone(),
        vain: runtime::VainWork::default(),
        shares,
    };
    let admitter = Admitter {
        identity: identity.clone(),
        store: store.clone(),
        engine: engine.clone(),
        world: world.clone(),
        key: keypair.clone(),
        mesh: mesh.clone(),
        lines: LineBudget::default(),
        new_keys: Mutex::new(Budget::full(admit::KEYS_AT_ONCE, admit::KEY_EVERY, tokio::time::Instant::now())),
    };
    world.spawn("gossip out", publish(identity.clone(), mesh.clone(), sessions.clone(), gossip));
    world.spawn("gossip in", hearing.hear(gossiped));
    world.spawn("sync streams", syncing.clone().serve(sync_streams));
    world.spawn("join door", admitter.serve(knocks));
    world.spawn("revocations", super::revoke::shut_out(identity.follow(), mesh.clone()));
    world.spawn("persons", super::persons::agree(world.clone(), engine.clone(), identity.clone()));
    world.spawn("expired memberships", super::expiry::end_expired(world.clone(), engine.clone(), identity.clone()));
    let settling = super::forks::settle(world.clone(), engine.clone(), unsettled, notices.clone());
    world.spawn("forks", settling);
    world.spawn("mesh events", watch_mesh(syncing, events, Sockets { bound, failed }));

    let source = || Source {
        store: store.clone(),
        store_name,
        identity: identity.clone(),
        world: world.clone(),
        committed: engine.committed(),
    };
    world.spawn("search index", keep_up(search.clone(), source()));
    let vectors = Arc::new(Vectors::new(world.clone(), vectors, &config));
    world.spawn("vectors", vectors::keep(vectors.clone(), source()));

    for (peer, addresses) in peers {
        mesh.know(peer, addresses);
    }
    for address in config.bootstrap.0.iter().cloned() {
        mesh.bootstrap(address);
    }
    let mut bound = listening.clone();
    // a family that is switched off has nothing to wait for
    let audible: Vec<Multiaddr> = asked.iter().filter(|address| !ports::is_silent(address)).cloned().collect();
    tokio::time::timeout(LISTEN_MAX, all_bound(&audible, &mut bound, &mut failed_to_listen)).await.ok();
    let failures = failed_to_listen.borrow().clone();
    if !asked.is_empty() && bound.borrow().is_empty() {
        mesh.shutdown().await;
        engine.stop().await;
        if let Some(tasks) = &origins.tasks {
            tasks.end().await;
        }
        return Err(NetworkError::Listen(failures).into());
    }

    let coordinator = coordinating.start(CoordinatorParts {
        identity: identity.clone(),
        mesh: mesh.clone(),
        world: world.clone(),
        failure,
        engine: engine.clone(),
        written,
        founder,
        key: keypair,
        config: &config,
    });
    let coordinator = coordinator.await?;
    if let Some(aging) = &origins.aging {
        // a voter's new number is on its disk by now
        aging.settle(&world, &store).await?;
        let growing = aging.clone().follow(world.clone(), store.clone(), engine.committed(), coordinator.clone());
        world.spawn("aging", growing);
    }

    let Origins { tasks, dir, lock, aging } = origins;
    #[cfg(feature = "blobs")]
    let blobs = {
        let root = dir.as_ref().map(DataDir::blobs_path);
        let shelf = world.blocking(move || root.map_or_else(|| Ok(Shelf::Memory(in_memory)), Shelf::open)).await??;
        let (identity, world, mesh) = (identity.clone(), world.clone(), mesh.clone());
        let (sessions, headroom) = (sessions.clone(), engine.headroom().clone());
        let (rows, kept_for_each) = (store.clone(), config.blob_copies_bytes.get());
        let attached = Box::new(move |hashes: &[blobs::BlobHash]| {
            let (view, mut attached) = (rows.snapshot()?, BTreeSet::new());
            for hash in hashes {
                if ledger::is_attached(&view, hash.as_bytes())? {
                    attached.insert(*hash);
                }
            }
            Ok(attached)
        });
        let (rows, members) = (store.clone(), identity.clone());
        let may_have = Box::new(move |peer: &nexus_identity::Did, hashes: &[blobs::BlobHash]| {
            let (view, members, mut may_have) = (rows.snapshot()?, members.members(), BTreeSet::new());
            for hash in hashes {
                if ledger::may_have(&view, &members, peer, hash.as_bytes())? {
                    may_have.insert(*hash);
                }
            }
            Ok(may_have)
        });
        let places =
            blobs::Handles { identity, world, mesh, sessions, shelf, headroom, attached, may_have, kept_for_each };
        Blobs::new(places)
    };
    let handles = brain::Handles {
        identity: identity.clone(),
        world: world.clone(),
        engine: engine.clone(),
        store: store.clone(),
        store_name,
        former_names: former_names.clone(),
        search,
        vectors,
        sessions: sessions.clone(),
        clocks: clocks.clone(),
        #[cfg(feature = "blobs")]
        blobs: Some(blobs.clone()),
    };
    let brain = Brain::new(handles, &config);
    if let Some(dir) = dir.clone() {
        // all of them are open by now
        let store = store.clone();
        let files = move || {
            let placed = dir.placed();
            let log = move || store.gone().map(|_| DataDir::STORE_LOG);
            move |files: Files| match files {
                Files::Store => placed.gone(Some(&[DataDir::STORE])).or_else(&log),
                Files::Coordinators => placed.gone(Some(&[DataDir::RAFT, DataDir::JOURNAL])),
                Files::All => placed.gone(None).or_else(&log),
            }
        };
        engine.headroom().watch_files(Arc::new(world.blocking(files).await?));
    }
    let board = TaskBoard::new(tasks::Handles {
        identity: identity.clone(),
        world: world.clone(),
        engine: engine.clone(),
        brain: brain.clone(),
        mesh: mesh.clone(),
        sessions: sessions.clone(),
        coordinator: coordinator.clone(),
        labels: config.labels.clone(),
        routing: config.task_routing,
        approval: config.task_approval.clone(),
        approved_by: Some(config.task_approved_by),
        bulkhead: usize::try_from(config.task_bulkhead.get()).unwrap_or(usize::MAX),
        takeover: Duration::from_millis(config.task_takeover_ms.get()),
        usage,
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
    });
    let events = Events::new(events::Handles {
        store_name,
        former_names,
        board: board.clone(),
        critical: coordinator.clone().map(Critical::new),
        sessions: sessions.clone(),
        committed: engine.committed(),
        #[cfg(feature = "blobs")]
        blobs: blobs.clone(),
    });
    world.spawn("events of peers", events.clone().keep_peers());
    world.spawn("tasks that wait for a quorum", board.clone().watch_quorum());
    world.spawn("tasks", board.clone().run());
    world.spawn("task peers", board.clone().serve(offered));
    world.spawn("load", board.clone().keep_load());
    world.spawn("tasks elsewhere", board.clone().tell_others());
    world.spawn("tasks of others", board.clone().keep_guests());
    world.spawn("tasks with heirs", board.clone().keep_settling());
    #[cfg(feature = "blobs")]
    world.spawn("blobs", blobs.clone().serve(wanted));
    #[cfg(feature = "blobs")]
    world.spawn("copies of blobs", blobs.clone().keep_copies());
    #[cfg(feature = "blobs")]
    world.spawn("whole blobs", blobs.clone().keep_whole());
    #[cfg(feature = "blobs")]
    world.spawn("room for blobs", blobs.clone().keep_bound(config.blob_cache_bytes.get()));
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
        #[cfg(feature = "blobs")]
        blobs,
        coordinator,
        tasks,
        dir,
        aging,
        lock: Mutex::new(lock),
        next: Mutex::default(),
        listening,
        formats: config.formats(),
        quotas,
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

/// State read from the store at start.
struct StartState {
    genesis: ledger::Genesis,
    engine: Engine,
    overlay: Overlay,
    peers: Vec<(nexus_identity::Did, Vec<Multiaddr>)>,
    /// The store's names in cursors before it was put back from a copy.
    former_names: Vec<[u8; 8]>,
    /// Whether this node's own credential and name are in the log.
    introduced: bool,
    /// Whether this node founds the coordinators: the mesh's first member that has not done so.
    founder: bool,
}

fn open_state(key: &nexus_identity::Keypair, store: &Store) -> Result<StartState, NodeError> {
    let settled = runtime::bring_up_to_date(key, store)?;
    if settled > 0 {
        tracing::info!(entries = settled, "derived tables were rebuilt");
    }
    let snapshot = store.snapshot()?;
    let genesis = ledger::read_genesis(&snapshot)?.ok_or(LedgerError::NoGenesis)?;
    let engine = Engine::open(key.clone(), &snapshot)?;
    let logs = ledger::read_logs(&snapshot)?;
    let mesh_space = SpaceId::mesh(&genesis.mesh);
    let introduced =
        logs.iter().any(|(_, log, head)| log.space == mesh_space && log.author == key.did() && head.is_some());
    let founder = genesis.chain.len() == 1 && !snapshot.contains(Table::Meta, ledger::rows::meta::COORDINATED)?;
    let former = snapshot.get(Table::Meta, ledger::rows::meta::FORMER_STORES)?.unwrap_or_default();
    Ok(StartState {
        founder,
        former_names: former.as_chunks().0.to_vec(),
        genesis,
        engine,
        overlay: Overlay::new(store.clone())?,
        peers: known_peers(&snapshot)?,
        introduced,
    })
}

/// Opens the search index on disk, or in memory if that fails. In memory it only costs time and memory.
fn open_search(dir: Option<std::path::PathBuf>, store: [u8; 8]) -> Search {
    let disk = dir.filter(|_| Search::ON_DISK).and_then(|dir| match Kept::open(&dir, store) {
        Ok(disk) => Some(disk),
        Err(error) => {
            tracing::warn!(%error, dir = %dir.display(), "the search index is kept in memory");
            None
        }
    });
    Search::new(disk)
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

/// Waits until every address is bound or has failed.
async fn all_bound(
    asked: &[Multiaddr],
    bound: &mut watch::Receiver<Vec<Multiaddr>>,
    failed: &mut watch::Receiver<Vec<ListenError>>,
) {
    /// Protocols of an address without values, to tell sockets apart.
    fn shape(address: &Multiaddr) -> Vec<&'static str> {
        address.protocol_stack().collect()
    }
    loop {
        let missing =
            asked.iter().filter(|asked| !bound.borrow().iter().any(|bound| shape(bound) == shape(asked))).count();
        if missing <= failed.borrow().len() {
            return;
        }
        tokio::select! {
            changed = bound.changed() => if changed.is_err() { return },
            changed = failed.changed() => if changed.is_err() { return },
        }
    }
}
