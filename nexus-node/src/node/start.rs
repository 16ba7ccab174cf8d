use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use nexus_crdt::SpaceId;
use nexus_identity::plants::{Plant, planted};
use nexus_mesh::{Limits, Membership, Mesh, MeshConfig, Multiaddr};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Inner, Node, raise};
use crate::NodeError;
use crate::brain::{BrainLimits, Reads};
use crate::clock::Monotonic;
use crate::config::Config;
use crate::coordinator::{Coordinator, Origin, RAFT};
use crate::datadir::{DataDir, Lock};
use crate::engine::{self, Command, Engine, EngineError};
use crate::env::{NodeEnv, RaftEnv, Tasks, blocking};
use crate::runtime::{
    COMMANDS_MAX, COMMITS_MAX, Committer, Drive, ENTRIES, GOSSIP_MAX, INTAKE_MAX, Intake, SYNC, Shared, known_peers,
    publish, watch_mesh,
};
use crate::search::{DiskIndex, Search, Source, keep_up};
use crate::store::{Batch, Overlay, Table, View};

/// How long the first write waits for a peer's frontier.
const COMPARE_MAX: Duration = Duration::from_secs(2);
/// How long sockets may take to be bound.
const LISTEN_MAX: Duration = Duration::from_secs(5);

/// Streams that members opened to the coordinator here and that it did not take yet.
const RAFT_STREAMS_MAX: usize = 64;

/// What a node in the real world holds besides.
#[derive(Default)]
pub(super) struct Origins {
    pub(super) tasks: Option<Arc<Tasks>>,
    pub(super) dir: Option<DataDir>,
    pub(super) lock: Option<Lock>,
}

/// Starts a node. Returns when its sockets are bound and its state is read.
pub(super) async fn start(env: NodeEnv, origins: Origins) -> Result<Node, NodeError> {
    let NodeEnv { keypair, transport, spawner, store, raft, blocking: pool, search, config } = env;
    let me = keypair.did();
    let (key, opened) = (keypair.clone(), store.clone());
    let state = blocking(&*pool, move || open_state(&key, &opened)).await;
    let State { genesis, engine, overlay, peers, introduced } =
        state.ok_or_else(|| NodeError::Stopping("the start was interrupted".to_owned()))??;

    let store_name = genesis.store;
    let search = blocking(&*pool, move || open_search(search, store_name)).await.unwrap_or_else(|| Search::new(None));
    let search = Arc::new(search);
    let mut mesh_config = mesh_config(&config, &keypair);
    mesh_config.membership = Some(Membership { mesh: genesis.mesh, chain: genesis.chain.clone() });
    let asked: Vec<Multiaddr> = mesh_config.listen.clone();
    let (mesh, events) =
        Mesh::start(transport, mesh_config, spawner.clone()).map_err(|error| NodeError::Mesh(error.to_string()))?;

    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (intake, intake_in) = mpsc::channel(INTAKE_MAX);
    let (commits, commits_in) = mpsc::channel(COMMITS_MAX);
    let (gossip, gossip_in) = mpsc::channel(GOSSIP_MAX);
    let (done, done_seen) = watch::channel(0);
    let (committed, committed_seen) = watch::channel(engine.last_eno());
    let (members, members_seen) = watch::channel(Arc::new(engine.members().clone()));
    let (listening, listening_seen) = watch::channel(Vec::new());
    let (failed_to_listen, mut failed_seen) = watch::channel(Vec::new());
    let (compared, compared_seen) = watch::channel(false);

    let shared = Arc::new(Shared {
        me,
        mesh_did: genesis.mesh,
        mesh,
        store,
        store_name: genesis.store,
        spawner: spawner.clone(),
        blocking: pool,
        clock: Monotonic::start(),
        commands,
        intake,
        committed: committed_seen,
        members: members_seen,
        failed: watch::Sender::new(None),
        sessions: Default::default(),
        traces: Default::default(),
        notices: Default::default(),
        search,
        reads: Reads::default(),
        limits: BrainLimits::new(&config),
        rate: u32::try_from(config.frames_per_second_max.get()).unwrap_or(u32::MAX),
    });
    let compare = !peers.is_empty() && !planted(Plant::WritesWithoutComparing);
    let hold_until = compare.then(|| Instant::now() + COMPARE_MAX);
    let drive = Drive {
        engine,
        overlay,
        commands: commands_in,
        intake: intake_in,
        commits,
        done: done_seen,
        hold_until,
        compared: compared_seen,
        arrivals: Default::default(),
    };
    let committer = Committer { commits: commits_in, done, committed, members, gossip };
    spawner.spawn("committer", committer.run(shared.clone()).boxed());
    spawner.spawn("engine", drive.run(shared.clone()).boxed());
    spawner.spawn("gossip", publish(shared.clone(), gossip_in).boxed());
    let (raft_streams, mut raft_opened) = mpsc::channel(RAFT_STREAMS_MAX);
    let watching =
        watch_mesh(shared.clone(), keypair.clone(), events, listening, failed_to_listen, compared, raft_streams);
    spawner.spawn("mesh events", watching.boxed());

    let source = Source {
        store: shared.store.clone(),
        store_name: shared.store_name,
        members: shared.members.clone(),
        committed: shared.committed.clone(),
        blocking: shared.blocking.clone(),
    };
    spawner.spawn("search index", keep_up(shared.search.clone(), source).boxed());

    for (peer, addresses) in peers {
        shared.mesh.know(peer, addresses);
    }
    for address in config.bootstrap.0.iter().cloned() {
        shared.mesh.bootstrap(address);
    }
    let mut bound = listening_seen.clone();
    tokio::time::timeout(LISTEN_MAX, all_bound(&asked, &mut bound, &mut failed_seen)).await.ok();
    let failures = failed_seen.borrow().clone();
    if !asked.is_empty() && bound.borrow().is_empty() {
        shared.mesh.shutdown().await;
        let _ = shared.intake.send(Intake::Stop).await;
        if let Some(tasks) = &origins.tasks {
            tasks.end().await;
        }
        return Err(NodeError::Mesh(format!("cannot listen anywhere: {}", failures.join("; "))));
    }

    let coordinator = match raft {
        Some(RaftEnv { store, journal, redraw, machine }) => {
            let founder = founds(&shared.store, &genesis.chain)?;
            let origin = Origin { store, journal, founder, redraw, machine };
            let coordinator = Coordinator::start(shared.clone(), keypair, &config, origin).await?;
            if founder {
                let mut batch = Batch::new();
                batch.put(Table::Meta, engine::rows::meta::COORDINATED, &[]);
                shared.store.commit(&[batch])?;
            }
            let serving = coordinator.clone();
            let serve = async move {
                while let Some((peer, stream)) = raft_opened.recv().await {
                    serving.spawn("raft peer", serving.clone().serve(peer, stream).boxed());
                }
            };
            coordinator.spawn("raft peers", serve.boxed());
            let raised = raise::follow(shared.clone(), config.formats(), coordinator.raised());
            coordinator.spawn("raise formats", raised.boxed());
            Some(coordinator)
        }
        None => None,
    };

    let Origins { tasks, dir, lock } = origins;
    let node = Node(Arc::new(Inner {
        shared,
        coordinator,
        tasks,
        dir,
        lock: Mutex::new(lock),
        listening: listening_seen,
        formats: config.formats(),
        offline: AtomicBool::new(false),
        stopped: watch::Sender::new(None),
    }));
    node.introduce(genesis.chain, config.name, introduced);
    Ok(node)
}

impl Node {
    /// Publishes what others must know of this node, if they do not yet. Not waited for: a node
    /// whose peers are slow to answer is ready all the same.
    fn introduce(&self, chain: nexus_identity::Chain, wanted: Option<nexus_identity::Name>, introduced: bool) {
        let shared = self.0.shared.clone();
        let tell = async move {
            if !introduced {
                let _ = shared.run(Command::Admit { chain, with: Batch::new() }).await;
            }
            let known = shared.name_of(&shared.me);
            if let Some(name) = wanted.filter(|name| known.as_deref() != Some(name.as_str())) {
                let _ = shared.run(Command::Describe(name)).await;
            }
        };
        self.0.shared.spawner.spawn("introduce", tell.boxed());
    }
}

/// Whether this node begins the coordinators: it is the mesh's first member, and never did.
fn founds(store: &crate::store::Store, chain: &nexus_identity::Chain) -> Result<bool, NodeError> {
    let first = chain.len() == 1;
    Ok(first && !store.snapshot()?.contains(Table::Meta, engine::rows::meta::COORDINATED)?)
}

/// What the store says at start.
struct State {
    genesis: engine::Genesis,
    engine: Engine,
    overlay: Overlay,
    peers: Vec<(nexus_identity::Did, Vec<Multiaddr>)>,
    introduced: bool,
}

fn open_state(key: &nexus_identity::Keypair, store: &crate::store::Store) -> Result<State, NodeError> {
    let folded = engine::rebuild(key, store)?;
    if folded > 0 {
        tracing::info!(entries = folded, "derived tables were rebuilt");
    }
    let snapshot = store.snapshot()?;
    let genesis = engine::read_genesis(&snapshot)?.ok_or(EngineError::NoGenesis)?;
    let engine = Engine::open(key.clone(), &snapshot)?;
    let logs = engine::rows::read_logs(&snapshot)?;
    let mesh_space = SpaceId::mesh(&genesis.mesh);
    let introduced =
        logs.iter().any(|(_, log, head)| log.space == mesh_space && log.author == key.did() && head.is_some());
    Ok(State { genesis, engine, overlay: Overlay::new(store.clone())?, peers: known_peers(&snapshot)?, introduced })
}

/// The search index; in memory where it cannot be on disk, which costs time and memory only.
fn open_search(dir: Option<std::path::PathBuf>, store: [u8; 8]) -> Search {
    let disk = dir.and_then(|dir| match DiskIndex::open(&dir, store) {
        Ok(disk) => Some(disk),
        Err(error) => {
            tracing::warn!(%error, dir = %dir.display(), "the search index is kept in memory");
            None
        }
    });
    Search::new(disk)
}

fn mesh_config(config: &Config, key: &nexus_identity::Keypair) -> MeshConfig {
    let mut mesh = MeshConfig::new(key.clone());
    mesh.listen = config.listen.0.clone();
    mesh.mdns = config.mdns;
    mesh.rooms = vec![SYNC, RAFT];
    mesh.topics = vec![ENTRIES.to_owned()];
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

/// Waits until every address was bound or failed.
async fn all_bound(
    asked: &[Multiaddr],
    bound: &mut watch::Receiver<Vec<Multiaddr>>,
    failed: &mut watch::Receiver<Vec<String>>,
) {
    /// The protocols of an address without the values: what tells sockets apart.
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
