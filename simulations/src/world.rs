//! A world of nodes under virtual time: the handle for scenarios and embedders.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nexus_crdt::{Frontier, Incarnation, Pin};
use nexus_identity::{Chain, Claims, Did, Keypair, Name, Role, Ticket, Timestamp};
use nexus_mesh::{JoinReply, JoinRequest, Membership, Mesh, MeshConfig, MeshEvents, Multiaddr, Rooms};
use nexus_node::blobs::MemoryBlobs;
use nexus_node::config::{Bounded, Config, TaskRouting};
use nexus_node::internals::engine::{Engine, Genesis, found};
use nexus_node::internals::formats::Formats;
use nexus_node::internals::store::disk::{Disk, Fault};
use nexus_node::internals::store::{ALL_KEYS, Batch, Order as Scan, Store, StoreOptions, Table, View};
use nexus_node::{Invite, Node, NodeEnv, NodeError, RaftEnv, Stopped};
use tokio::sync::oneshot;

use crate::dice::Dice;
use crate::hooks::{self, Wall};
use crate::link::Quality;
use crate::machine::{Chassis, DiskWork, Life, LifeSpawner, STEPS, lock};
use crate::plan::NodeNo;
use crate::plants::{Around, Plant};
use crate::tap::TapLog;
use crate::trace::Trace;
use crate::transport::{SimNetwork, address_of};

/// The bytes of one member's entries that a node takes: more than the honest ones write.
pub(crate) const WRITER_BYTES: u64 = 2 << 20;
/// The stack of the simulating thread: unoptimized futures are large.
const STACK_BYTES: usize = 64 << 20;
/// The longest join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest real time in which no task of any node moves, by default.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// The time between two checks of a condition.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The number of first machines that a later one knows from the beginning.
pub(crate) const KNOWN: usize = 3;

/// A world that is not running yet: a seed, and the network's quality.
///
/// ```no_run
/// use std::time::Duration;
/// use nexus_sim::World;
/// use nexus_node::NewMemory;
///
/// World::new(7).run(async |sim| {
///     let laptop = sim.found("laptop").await?;
///     let office = sim.add("office").await?;
///     sim.cut(laptop, office);
///     sim.on(laptop, async |node| node.brain().remember(NewMemory::note("written offline")).await).await?;
///     sim.sleep(Duration::from_secs(60)).await;
///     sim.mend(laptop, office);
///     sim.settled(Duration::from_secs(60)).await?;
///     Ok::<(), nexus_sim::SimError>(())
/// }).unwrap();
/// ```
pub struct World {
    seed: u64,
    quality: Quality,
    trace: Option<Box<dyn Write + Send>>,
    stuck_after: Duration,
    checks_all: bool,
}

/// An error of a world.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// An error of a node.
    #[error("node n{0}: {1}")]
    Node(NodeNo, #[source] NodeError),
    /// The node is not running.
    #[error("node n{0} is not running")]
    Down(NodeNo),
    /// A store did not open.
    #[error("the store of n{0} does not open: {1}")]
    Store(NodeNo, #[source] nexus_node::internals::store::StoreError),
    /// A condition was not met in time.
    #[error("after {0:?} {1}")]
    TooLate(Duration, String),
    /// Any other failure.
    #[error("{0}")]
    Failed(String),
}

impl World {
    /// A world that follows from `seed`, on a good local network.
    pub fn new(seed: u64) -> Self {
        Self { seed, quality: Quality::default(), trace: None, stuck_after: STUCK_AFTER, checks_all: false }
    }

    /// The default quality of the links.
    #[must_use]
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Writes the trace, line by line.
    #[must_use]
    pub fn trace(mut self, out: Box<dyn Write + Send>) -> Self {
        self.trace = Some(out);
        self
    }

    /// Has each node check each signature, as real nodes do. Else the process checks no signature twice: the outcome is the
    /// same, sooner.
    #[must_use]
    pub fn checks_all(mut self, checks_all: bool) -> Self {
        self.checks_all = checks_all;
        self
    }

    /// The longest real time in which no task of any node moves, before the world is given up. A task
    /// that never gives way lets no time pass, and would run for ever. Default: 120 s.
    #[must_use]
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = time;
        self
    }

    /// Runs a story to its end, on a thread of its own and under virtual time.
    ///
    /// A process runs one world at a time. For two runs of a seed to be equal to the bit, each needs a
    /// fresh process: libp2p counts connections per process. `nexus_sim::isolated` does that for a
    /// test.
    ///
    /// # Errors
    /// The story's.
    ///
    /// # Panics
    /// If the story panics, if some task never gives way, if the hooks are not in place, or if
    /// another world is running.
    #[expect(clippy::disallowed_methods, reason = "a fresh thread: std draws a thread's hash keys once")]
    pub fn run<T, E, F>(self, story: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: AsyncFnOnce(Sim) -> Result<T, E> + Send + 'static,
    {
        let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(STACK_BYTES);
        // dropped at the end of the thread, in every case
        let (alive, ended) = std::sync::mpsc::channel::<()>();
        let running = thread.spawn(move || {
            let _alive = alive;
            let _entered = hooks::enter(self.seed);
            nexus_identity::memo::remember(!self.checks_all);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            #[expect(clippy::expect_used, reason = "a runtime without I/O needs nothing of the system")]
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let sim = Sim::new(self.seed, self.quality, self.trace);
                let told = story(sim.clone()).await;
                sim.end();
                told
            })
        });
        match running {
            Ok(running) => match watch(&ended, running, self.stuck_after).join() {
                Ok(told) => told,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(error) => panic!("no thread for the simulation: {error}"),
        }
    }
}

/// Waits for the simulating thread.
///
/// # Panics
/// If no task of any node moves for too long. No virtual time passes then, so nothing inside of the
/// simulation could notice it.
#[expect(clippy::disallowed_methods, reason = "watches from outside, by the real clock")]
fn watch<T>(ended: &Receiver<()>, running: JoinHandle<T>, stuck_after: Duration) -> JoinHandle<T> {
    let mut last = (STEPS.load(Ordering::Relaxed), Instant::now());
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(stuck_after / 10) {
        let steps = STEPS.load(Ordering::Relaxed);
        if steps != last.0 {
            last = (steps, Instant::now());
        }
        let still = last.1.elapsed();
        assert!(still < stuck_after, "sound: nothing has moved for {still:.0?}: some task never gives way");
    }
    running
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("quality", &self.quality).finish_non_exhaustive()
    }
}

/// A running world; clones are the same one.
#[derive(Clone)]
pub struct Sim(Arc<Inner>);

struct Inner {
    seed: u64,
    network: SimNetwork,
    root: Keypair,
    machines: Mutex<Vec<Machine>>,
    /// Panics of nodes that have ended.
    panics: Mutex<Vec<String>>,
    cuts: Mutex<BTreeMap<String, Vec<(NodeNo, NodeNo)>>>,
    heals: Mutex<u64>,
    plant: Mutex<Option<Around>>,
    /// Whether nodes have coordinators.
    coordinators: AtomicBool,
    /// The way in which nodes are chosen for tasks.
    routing: Mutex<TaskRouting>,
    /// The formats that the nodes of new machines read.
    formats: Mutex<Formats>,
    /// The content of disks at the time of a plant.
    old: Mutex<BTreeMap<NodeNo, Disk>>,
}

struct Machine {
    name: Name,
    key: Keypair,
    chain: Option<Chain>,
    chassis: Arc<Chassis>,
    disk: Disk,
    /// The disk for the coordinator's promises.
    raft: Disk,
    /// The disk for the entries of the coordinator's log.
    journal: Disk,
    /// Its files and directories.
    blobs: MemoryBlobs,
    life: Option<Arc<Life>>,
    node: Option<Node>,
    bootstrap: Vec<Multiaddr>,
    /// The formats that its node reads from its next start on.
    formats: Formats,
    starts: u64,
    dark: bool,
    /// Whether it is no machine of the mesh any more.
    cast_out: bool,
    most_tasks: usize,
}

/// A sudden end of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed. Its writes are there, and its peers see closed connections.
    Process,
    /// The power goes. Unsynced writes are lost or torn, and its peers see nothing.
    Power,
}

impl Sim {
    fn new(seed: u64, quality: Quality, out: Option<Box<dyn Write + Send>>) -> Self {
        let network = SimNetwork::new(seed, quality, Trace::new(out));
        Self(Arc::new(Inner {
            seed,
            network,
            root: seeded_key(seed, "root"),
            machines: Mutex::default(),
            panics: Mutex::default(),
            cuts: Mutex::default(),
            heals: Mutex::default(),
            plant: Mutex::default(),
            coordinators: AtomicBool::new(false),
            routing: Mutex::default(),
            formats: Mutex::default(),
            old: Mutex::default(),
        }))
    }

    /// Whether nodes have coordinators.
    pub(crate) fn has_coordinators(&self) -> bool {
        self.0.coordinators.load(Ordering::Relaxed)
    }

    /// Gives coordinators and critical state to nodes that start from now on.
    pub fn with_coordinators(&self) {
        self.0.coordinators.store(true, Ordering::Relaxed);
    }

    /// Nodes that start from now on choose nodes for tasks in this way.
    pub(crate) fn with_routing(&self, routing: TaskRouting) {
        *lock(&self.0.routing) = routing;
    }

    /// Machines that come into the world from now on have nodes that read formats up to these: of another
    /// version.
    pub fn with_formats(&self, formats: Formats) {
        *lock(&self.0.formats) = formats;
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The network between the nodes.
    pub fn network(&self) -> &SimNetwork {
        &self.0.network
    }

    /// The mesh that [`Sim::found`] makes.
    pub fn mesh(&self) -> Did {
        self.0.root.did()
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        hooks::elapsed()
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The number of machines.
    pub fn len(&self) -> usize {
        lock(&self.0.machines).len()
    }

    /// Whether there are no machines yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, no: NodeNo, change: impl FnOnce(&mut Machine) -> T) -> T {
        change(&mut lock(&self.0.machines)[no])
    }

    /// Adds a machine without a node.
    ///
    /// # Errors
    /// If the name is not valid.
    pub fn machine(&self, name: &str) -> Result<NodeNo, SimError> {
        let parsed: Name = name.parse().map_err(|error| SimError::Failed(format!("{name}: {error}")))?;
        let mut machines = lock(&self.0.machines);
        let no = machines.len();
        // without its own address: a node does not dial itself
        let bootstrap = (0..no.min(KNOWN)).map(address_of).collect();
        machines.push(Machine {
            name: parsed,
            key: seeded_key(self.0.seed, &format!("node {no}")),
            chain: None,
            chassis: Arc::default(),
            disk: Disk::new(),
            raft: Disk::new(),
            blobs: MemoryBlobs::default(),
            journal: Disk::new(),
            life: None,
            node: None,
            bootstrap,
            formats: *lock(&self.0.formats),
            starts: 0,
            dark: false,
            cast_out: false,
            most_tasks: 0,
        });
        Ok(no)
    }

    /// Founds the mesh: the first node, an admin.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn found(&self, name: &str) -> Result<NodeNo, SimError> {
        let no = self.machine(name)?;
        let (key, name) = self.with(no, |machine| (machine.key.clone(), machine.name.clone()));
        let claims = Claims::new(self.mesh(), key.did(), name, [Role::Admin], Timestamp::from_ms(1));
        let chain = Chain::found(claims.sign(&self.0.root)).map_err(|error| SimError::Failed(error.to_string()))?;
        self.equip(no, chain)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Adds a member with credentials made beforehand, as if it had joined before this story.
    ///
    /// # Errors
    /// [`SimError`]; also if the mesh is not founded yet.
    pub async fn add(&self, name: &str) -> Result<NodeNo, SimError> {
        let no = self.machine(name)?;
        self.equip(no, self.chain_for(no)?)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Credentials for a machine, issued by the founder.
    ///
    /// # Errors
    /// If the mesh is not founded yet.
    pub fn chain_for(&self, no: NodeNo) -> Result<Chain, SimError> {
        let (key, name) = self.with(no, |machine| (machine.key.clone(), machine.name.clone()));
        let (founder, chain) = self.with(0, |machine| (machine.key.clone(), machine.chain.clone()));
        let chain = chain.ok_or_else(|| SimError::Failed("found a mesh first".to_owned()))?;
        let claims = Claims::new(self.mesh(), key.did(), name, [Role::Member], Timestamp::from_ms(1));
        let claims = claims.issued_by(founder.did()).sign(&founder);
        chain.extend(claims).map_err(|error| SimError::Failed(error.to_string()))
    }

    /// Adds a member through another one's join door, with a ticket.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn join(&self, name: &str, inviter: NodeNo) -> Result<NodeNo, SimError> {
        let invited = self.on(inviter, async |node| node.invite(Invite::default()).await).await?;
        let no = self.machine(name)?;
        let chain = self.knock(no, &invited.ticket).await?;
        self.equip(no, chain)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Makes a machine a member with a ticket, and starts its node.
    ///
    /// # Errors
    /// If the door does not open, or the node does not start.
    pub async fn knock_and_move_in(&self, no: NodeNo, ticket: &Ticket) -> Result<(), SimError> {
        let chain = self.knock(no, ticket).await?;
        self.move_in(no, chain).await
    }

    /// Starts a machine with a new store and these credentials.
    pub(crate) async fn move_in(&self, no: NodeNo, chain: Chain) -> Result<(), SimError> {
        self.equip(no, chain)?;
        self.start(no).await
    }

    /// The last entries of a machine's own logs that count, as its disk has them.
    pub(crate) fn own_pins(&self, no: NodeNo) -> Result<Vec<Pin>, SimError> {
        let failed = |error: &dyn std::fmt::Display| SimError::Failed(format!("the logs of n{no}: {error}"));
        let store = self.store_of(no)?;
        let view = store.snapshot().map_err(|error| failed(&error))?;
        let engine = Engine::open(self.key(no), &view).map_err(|error| failed(&error))?;
        engine.own_pins(&view).map_err(|error| failed(&error))
    }

    /// Shows a ticket at its inviter's door.
    ///
    /// # Errors
    /// If the door does not open.
    pub async fn knock(&self, no: NodeNo, ticket: &Ticket) -> Result<Chain, SimError> {
        self.knock_with(no, ticket, Vec::new()).await
    }

    /// The same with the request of a member's key in the place of the ticket, which names the inviter alone.
    pub(crate) async fn knock_with(&self, no: NodeNo, ticket: &Ticket, succession: Vec<u8>) -> Result<Chain, SimError> {
        let failed = |what: &dyn std::fmt::Display| SimError::Failed(format!("n{no} did not get in: {what}"));
        let (key, name, chassis) =
            self.with(no, |machine| (machine.key.clone(), machine.name.clone(), machine.chassis.clone()));
        let life = Life::new(no, chassis, self.0.network.clone());
        let transport = self.0.network.transport(no, &key, None).map_err(|error| failed(&error))?;
        let started = Mesh::start(transport, MeshConfig::new(key), Rooms::new(), Arc::new(LifeSpawner(life.clone())));
        let (mesh, mut events) = started.map_err(|error| failed(&error))?;
        let addresses = ticket.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        let request =
            JoinRequest { ticket_id: ticket.id, secret: ticket.secret, name, version: "0".to_owned(), succession };
        let asked = async {
            tokio::select! {
                reply = mesh.join(ticket.inviter, addresses, request) => Some(reply),
                () = async { while events.recv().await.is_some() {} } => None,
            }
        };
        let reply = tokio::time::timeout(JOIN_TIMEOUT, asked).await;
        mesh.shutdown().await;
        life.end();
        match reply.map_err(|_| failed(&"no answer"))?.ok_or_else(|| failed(&"the network ended"))? {
            Ok(JoinReply::Admitted { chain, .. }) => Ok(chain),
            Ok(JoinReply::Refused { message, .. }) => Err(failed(&message)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Writes the first content of a store to a machine's disk.
    fn equip(&self, no: NodeNo, chain: Chain) -> Result<(), SimError> {
        let disk = Disk::new();
        let store = open(no, &disk)?;
        let (mut incarnation, mut name) = ([0; 8], [0; 8]);
        for bytes in [&mut incarnation, &mut name] {
            getrandom::fill(bytes).map_err(|error| SimError::Failed(error.to_string()))?;
        }
        let genesis = Genesis {
            mesh: self.mesh(),
            chain: chain.clone(),
            incarnation: Incarnation(incarnation),
            store: name,
            fingerprint: None,
        };
        store.commit(&[found(&genesis)]).map_err(|error| SimError::Store(no, error))?;
        store.close();
        self.with(no, |machine| {
            machine.chain = Some(chain);
            machine.disk = disk;
            machine.raft = Disk::new();
            machine.journal = Disk::new();
        });
        Ok(())
    }

    /// Starts the node of a machine from the content of its disk.
    ///
    /// # Errors
    /// [`SimError::Store`] if the store does not open, [`SimError::Node`].
    pub async fn start(&self, no: NodeNo) -> Result<(), SimError> {
        let (key, name, chassis, disk, raft, journal, bootstrap) = self.with(no, |machine| {
            machine.starts += 1;
            if std::mem::take(&mut machine.dark) {
                self.0.network.lighten(no);
            }
            let Machine { key, name, chassis, disk, raft, journal, bootstrap, .. } = machine;
            let disks = (disk.clone(), raft.clone(), journal.clone());
            (key.clone(), name.clone(), chassis.clone(), disks.0, disks.1, disks.2, bootstrap.clone())
        });
        self.0.network.note(Some(no), format_args!("starts"));
        let disk = self.tamper(no, disk)?;
        let store = open(no, &disk)?;
        let raft = match self.0.coordinators.load(Ordering::Relaxed) {
            true => Some(RaftEnv::new(open(no, &raft)?, Box::new(journal))),
            false => None,
        };
        let transport =
            self.0.network.transport(no, &key, None).map_err(|error| SimError::Failed(error.to_string()))?;
        let mut config = Config::default();
        config.listen.0 = vec![address_of(no)];
        config.bootstrap.0 = bootstrap.into_iter().filter(|address| *address != address_of(no)).collect();
        config.mdns = false;
        config.name = Some(name);
        config.cache_bytes = Bounded::of::<{ 1 << 20 }>();
        config.voter_settle_ms = Bounded::of::<2_000>();
        config.task_routing = *lock(&self.0.routing);
        config.task_takeover_ms = Bounded::of::<6_000>();
        config.formats = self.with(no, |machine| machine.formats);
        // few entries are written in a run, and copies that lag must meet snapshots
        config.snapshot_every = 100;
        config.writer_bytes_max = Bounded::of::<WRITER_BYTES>();
        let life = Life::new(no, chassis.clone(), self.0.network.clone());
        let spawner = Arc::new(LifeSpawner(life.clone()));
        let blocking = Arc::new(DiskWork { chassis: chassis.clone(), network: self.0.network.clone() });
        let mut env = NodeEnv::new(key, transport, spawner.clone(), store);
        env.raft = raft;
        env.blocking = blocking;
        env.usage = Some(crate::tasks::usage_of(no));
        env.blobs = self.blobs(no);
        env.config = config;
        self.with(no, |machine| machine.life = Some(life));
        let (tell, told) = oneshot::channel();
        let starting = async move {
            let _ = tell.send(Node::with_env(env).await);
        };
        nexus_mesh::Spawner::spawn(&*spawner, "start", Box::pin(starting));
        let node = told.await.map_err(|_| SimError::Down(no))?.map_err(|error| SimError::Node(no, error))?;
        self.with(no, |machine| machine.node = Some(node));
        self.0.network.note(Some(no), format_args!("is up"));
        Ok(())
    }

    /// Plants a known fault in the world.
    pub(crate) fn plant(&self, plant: Option<Plant>) {
        let around = match plant {
            Some(Plant::Around(around)) => Some(around),
            _ => None,
        };
        *lock(&self.0.plant) = around;
        if let Some(Plant::Inside(bug)) = plant {
            nexus_identity::plants::choose(Some(bug));
        }
        match around {
            Some(Around::SyncLies) => (0..self.len()).for_each(|no| self.set_disk_fault(no, Fault::SyncLies)),
            Some(Around::OldDisk) => {
                *lock(&self.0.old) = (0..self.len()).map(|no| (no, self.disk(no).as_read())).collect();
            }
            Some(Around::NeverHeals) => {
                let all: Vec<_> = (1..self.len()).flat_map(|other| [(0, other), (other, 0)]).collect();
                all.iter().for_each(|(from, to)| self.0.network.cut(*from, *to, "planted"));
            }
            Some(Around::TasksPileUp) => {
                for _ in 0..2_000 {
                    let _ = self.spawn(0, |_| std::future::pending());
                }
            }
            Some(Around::Spins) => {
                let _ = self.spawn(0, |_| async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                });
            }
            _ => {}
        }
    }

    /// The plant around the nodes, if any.
    pub(crate) fn planted(&self) -> Option<Around> {
        *lock(&self.0.plant)
    }

    /// Changes a disk before its node starts, as the plant demands.
    fn tamper(&self, no: NodeNo, disk: Disk) -> Result<Disk, SimError> {
        match self.planted() {
            Some(Around::SyncLies) => disk.set_fault(Fault::SyncLies),
            Some(Around::OldDisk) => {
                let Some(disk) = lock(&self.0.old).remove(&no) else { return Ok(disk) };
                self.with(no, |machine| machine.disk = disk.clone());
                let all: Vec<_> =
                    (0..self.len()).filter(|other| *other != no).flat_map(|other| [(no, other), (other, no)]).collect();
                self.cut_all(&format!("planted#{no}"), &all);
                return Ok(disk);
            }
            Some(Around::LostRow) => {
                let store = open(no, &disk)?;
                let row = store.snapshot().and_then(|view| view.first(Table::Records, ALL_KEYS, Scan::Forward));
                if let Ok(Some((key, _))) = row {
                    let mut batch = Batch::new();
                    batch.delete(Table::Records, &key);
                    store.commit(&[batch]).map_err(|error| SimError::Store(no, error))?;
                }
                store.close();
            }
            Some(Around::StaysDown) => return Err(SimError::Failed("it was planted so".to_owned())),
            _ => {}
        }
        Ok(disk)
    }

    /// The node of a machine, if it runs.
    pub fn node(&self, no: NodeNo) -> Option<Node> {
        self.with(no, |machine| machine.node.clone())
    }

    /// The machines of the mesh whose nodes run.
    pub fn up(&self) -> Vec<NodeNo> {
        let machines = lock(&self.0.machines);
        let runs = |machine: &Machine| machine.node.is_some() && !machine.cast_out;
        machines.iter().enumerate().filter(|(_, machine)| runs(machine)).map(|(no, _)| no).collect()
    }

    /// Counts a machine as none of the mesh from now on.
    pub(crate) fn cast_out(&self, no: NodeNo) {
        self.with(no, |machine| machine.cast_out = true);
    }

    /// Puts another content on the disk of a machine whose node does not run.
    pub(crate) fn put_disk(&self, no: NodeNo, disk: Disk) {
        self.with(no, |machine| machine.disk = disk);
    }

    /// The DID of a machine's node.
    pub fn did(&self, no: NodeNo) -> Did {
        self.with(no, |machine| machine.key.did())
    }

    /// The key of a machine, for playing its node falsely.
    pub fn key(&self, no: NodeNo) -> Keypair {
        self.with(no, |machine| machine.key.clone())
    }

    /// The name of a machine.
    pub fn name(&self, no: NodeNo) -> String {
        self.with(no, |machine| machine.name.to_string())
    }

    /// The number of starts of a machine's node.
    pub fn starts(&self, no: NodeNo) -> u64 {
        self.with(no, |machine| machine.starts)
    }

    /// Limits the addresses that a machine knows, from its next start on.
    pub fn knows(&self, no: NodeNo, others: &[NodeNo]) {
        self.with(no, |machine| machine.bootstrap = others.iter().copied().map(address_of).collect());
    }

    /// From its next start on, a machine's node reads formats up to these: it is of another version.
    pub fn reads(&self, no: NodeNo, formats: Formats) {
        self.with(no, |machine| machine.formats = formats);
    }

    /// The disk of a machine.
    pub fn disk(&self, no: NodeNo) -> Disk {
        self.with(no, |machine| machine.disk.clone())
    }

    /// A copy of the store on the disk of a machine, as a start would find it after a kill.
    ///
    /// # Errors
    /// [`SimError::Store`].
    pub fn store_of(&self, no: NodeNo) -> Result<Store, SimError> {
        open(no, &self.disk(no).as_read())
    }

    /// The blobs of a machine, which outlive its nodes.
    pub fn blobs(&self, no: NodeNo) -> MemoryBlobs {
        self.with(no, |machine| machine.blobs.clone())
    }

    /// Does some work with a machine's node, under that machine's clocks.
    ///
    /// # Errors
    /// [`SimError::Down`] if it does not run, else the error of `work`.
    pub async fn on<T>(&self, no: NodeNo, work: impl AsyncFnOnce(Node) -> Result<T, NodeError>) -> Result<T, SimError> {
        let (node, chassis) = self.with(no, |machine| (machine.node.clone(), machine.chassis.clone()));
        let node = node.ok_or(SimError::Down(no))?;
        Life::seen_from(chassis, work(node)).await.map_err(|error| SimError::Node(no, error))
    }

    /// Runs a task on a machine while its node lives: an agent beside it.
    ///
    /// # Errors
    /// [`SimError::Down`].
    pub fn spawn<F>(&self, no: NodeNo, agent: impl FnOnce(Node) -> F) -> Result<(), SimError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (node, life) = self.with(no, |machine| (machine.node.clone(), machine.life.clone()));
        let (Some(node), Some(life)) = (node, life) else { return Err(SimError::Down(no)) };
        nexus_mesh::Spawner::spawn(&LifeSpawner(life), "agent", Box::pin(agent(node)));
        Ok(())
    }

    /// Ends a node suddenly. Returns whether unsynced writes were lost.
    pub fn crash(&self, no: NodeNo, crash: Crash) -> bool {
        self.0.network.note(Some(no), format_args!("crashes ({crash:?})"));
        let (life, node, disk, [raft, journal], starts) = self.with(no, |machine| {
            let promised = [machine.raft.clone(), machine.journal.clone()];
            (machine.life.take(), machine.node.take(), machine.disk.clone(), promised, machine.starts)
        });
        if crash == Crash::Power {
            self.with(no, |machine| machine.dark = true);
            self.0.network.darken(no);
        }
        if let Some(life) = life {
            life.end();
            lock(&self.0.panics).extend(life.panics());
            self.with(no, |machine| machine.most_tasks = machine.most_tasks.max(life.tasks().1));
        }
        let as_read = disk.as_read();
        // also for a killed process: a holder of the old disk must not write on it
        let mut seed = self.0.seed ^ (no as u64) << 32 ^ starts;
        // a lying disk keeps nothing at all: with some sectors kept, no store would open
        while disk.fault() == Fault::SyncLies && !Dice::new(seed).next().is_multiple_of(257) {
            seed = seed.wrapping_add(1);
        }
        let after = disk.lose_power(seed);
        let promised_before = [raft.as_read(), journal.as_read()];
        let promised_after = [raft.lose_power(!seed), journal.lose_power(seed.rotate_left(32))];
        drop(node);
        let (disk, [raft, journal], lost) = match crash {
            Crash::Process => (as_read, promised_before, false),
            Crash::Power => {
                let lost = [after.image(), after.log().image()] != [as_read.image(), as_read.log().image()];
                (after, promised_after, lost)
            }
        };
        self.with(no, |machine| (machine.disk, machine.raft, machine.journal) = (disk, raft, journal));
        lost
    }

    /// Stops a node in an orderly way.
    pub async fn stop(&self, no: NodeNo) {
        let (node, life, chassis) =
            self.with(no, |machine| (machine.node.take(), machine.life.take(), machine.chassis.clone()));
        if let Some(node) = node {
            Life::seen_from(chassis, node.shutdown()).await;
            self.0.network.note(Some(no), format_args!("stopped"));
        }
        if let Some(life) = life {
            life.end();
            lock(&self.0.panics).extend(life.panics());
            self.with(no, |machine| machine.most_tasks = machine.most_tasks.max(life.tasks().1));
        }
    }

    /// Waits until a node ends by itself. Returns the reason.
    pub async fn failed(&self, no: NodeNo, within: Duration) -> Option<String> {
        let node = self.node(no)?;
        match tokio::time::timeout(within, node.stopped()).await {
            Ok(Stopped::Failed(fault)) => Some(fault.to_string()),
            _ => None,
        }
    }

    /// Stops all tasks of a node, as `SIGSTOP` does, or lets them go on.
    pub fn pause(&self, no: NodeNo, paused: bool) {
        if let Some(life) = self.with(no, |machine| machine.life.clone()) {
            life.pause(paused);
        }
    }

    /// Makes each step of a node's tasks take this much longer.
    pub fn slow_down(&self, no: NodeNo, step: Duration) {
        if let Some(life) = self.with(no, |machine| machine.life.clone()) {
            life.slow_down(step);
        }
    }

    /// Makes work that waits for a machine's disk take this long.
    pub fn set_disk_delay(&self, no: NodeNo, delay: Duration) {
        self.with(no, |machine| *lock(&machine.chassis.disk_delay) = delay);
    }

    /// Gives a machine's disk a fault.
    pub fn set_disk_fault(&self, no: NodeNo, fault: Fault) {
        self.with(no, |machine| {
            machine.disk.set_fault(fault);
            // the larger disk decides when it is full
            if !matches!(fault, Fault::FullAt(_)) {
                machine.raft.set_fault(fault);
                machine.journal.set_fault(fault);
            }
        });
    }

    /// Sets a machine's wall clock.
    pub fn set_wall(&self, no: NodeNo, wall: Wall) {
        self.with(no, |machine| *lock(&machine.chassis.wall) = wall);
    }

    /// A machine's wall clock.
    pub fn wall(&self, no: NodeNo) -> Wall {
        self.with(no, |machine| *lock(&machine.chassis.wall))
    }

    /// Cuts two nodes off from each other. Bytes between them wait.
    pub fn cut(&self, a: NodeNo, b: NodeNo) {
        self.cut_all("cut", &[(a, b), (b, a)]);
    }

    /// Undoes [`Sim::cut`].
    pub fn mend(&self, a: NodeNo, b: NodeNo) {
        for (from, to) in [(a, b), (b, a)] {
            self.0.network.mend(from, to, "cut");
        }
    }

    /// Cuts links, each in one direction, under a name for counting and mending.
    pub fn cut_all(&self, name: &str, links: &[(NodeNo, NodeNo)]) {
        for (from, to) in links {
            self.0.network.cut(*from, *to, name.split('#').next().unwrap_or(name));
        }
        lock(&self.0.cuts).entry(name.to_owned()).or_default().extend(links);
    }

    /// Mends all cuts of a name.
    pub fn mend_all(&self, name: &str) {
        let links = lock(&self.0.cuts).remove(name).unwrap_or_default();
        *lock(&self.0.heals) += u64::from(!links.is_empty());
        for (from, to) in links {
            self.0.network.mend(from, to, name.split('#').next().unwrap_or(name));
        }
    }

    /// The number of mended cuts.
    pub fn heals(&self) -> u64 {
        *lock(&self.0.heals)
    }

    /// Heals everything: mends every cut and link, sets every clock right, makes every disk fast, lets
    /// every node go on.
    pub fn heal(&self) {
        self.0.network.note(None, format_args!("everything heals"));
        *lock(&self.0.heals) += 1;
        let names: Vec<String> = lock(&self.0.cuts).keys().cloned().collect();
        for name in names {
            self.mend_all(&name);
        }
        for a in 0..self.len() {
            for b in 0..self.len() {
                self.0.network.set_quality(a, b, None);
            }
            self.pause(a, false);
            self.slow_down(a, Duration::ZERO);
            self.set_disk_delay(a, Duration::ZERO);
            self.set_disk_fault(a, Fault::None);
            self.set_wall(a, Wall::default());
        }
    }

    /// The frontier of a node.
    ///
    /// # Errors
    /// [`SimError::Down`], or the store's.
    pub fn frontier(&self, no: NodeNo) -> Result<Frontier, SimError> {
        let node = self.node(no).ok_or(SimError::Down(no))?;
        node.frontier_blocking().map_err(|error| SimError::Node(no, error))
    }

    /// Whether all running nodes hold the same entries.
    pub fn is_settled(&self) -> bool {
        let mut digests = self.up().into_iter().map(|no| self.frontier(no).map(|frontier| frontier.digest()).ok());
        let first = digests.next();
        digests.all(|digest| digest.is_some() && Some(digest) == first)
    }

    /// Waits until all running nodes hold the same entries. Returns the time that it took.
    ///
    /// # Errors
    /// [`SimError::TooLate`] with the missing entries by node.
    pub async fn settled(&self, within: Duration) -> Result<Duration, SimError> {
        let start = self.now();
        loop {
            if self.is_settled() {
                return Ok(self.now() - start);
            }
            if self.now() - start >= within {
                return Err(SimError::TooLate(within, self.who_lacks_what()));
            }
            self.sleep(LOOK_EVERY).await;
        }
    }

    /// The number of missing entries by node, for people.
    pub fn who_lacks_what(&self) -> String {
        let mut all = Frontier::default();
        let frontiers: Vec<(NodeNo, Frontier)> =
            self.up().into_iter().filter_map(|no| Some((no, self.frontier(no).ok()?))).collect();
        for (_, frontier) in &frontiers {
            for (log, head) in frontier.iter() {
                all.advance(*log, *head);
            }
        }
        let lacks = frontiers.iter().map(|(no, frontier)| (no, all.ahead_of(frontier))).filter(|(_, lacks)| *lacks > 0);
        let lacks: Vec<String> = lacks.map(|(no, lacks)| format!("n{no} lacks {lacks} entries")).collect();
        if lacks.is_empty() { "all hold the same".to_owned() } else { lacks.join(", ") }
    }

    /// Panics of nodes' tasks.
    pub fn panics(&self) -> Vec<String> {
        let mut panics = lock(&self.0.panics).clone();
        let machines = lock(&self.0.machines);
        panics.extend(machines.iter().filter_map(|machine| machine.life.as_ref()).flat_map(|life| life.panics()));
        panics
    }

    /// The most tasks that each machine's node had at a time.
    pub fn most_tasks(&self) -> Vec<usize> {
        let machines = lock(&self.0.machines);
        let most = |machine: &Machine| machine.life.as_ref().map_or(0, |life| life.tasks().1).max(machine.most_tasks);
        machines.iter().map(most).collect()
    }

    /// A machine that is no node of the mesh, with a transport whose decrypted bytes are recorded.
    ///
    /// # Errors
    /// If the name is not valid.
    pub(crate) fn outsider(&self, name: &str, heard: TapLog) -> Result<Outsider, SimError> {
        Ok(self.in_its_place(self.machine(name)?, heard))
    }

    /// Another program with the key of a machine whose node does not run.
    pub(crate) fn in_its_place(&self, no: NodeNo, heard: TapLog) -> Outsider {
        let (key, chassis) = self.with(no, |machine| (machine.key.clone(), machine.chassis.clone()));
        let life = Life::new(no, chassis, self.0.network.clone());
        self.with(no, |machine| machine.life = Some(life.clone()));
        Outsider { no, key, heard, network: self.0.network.clone(), spawner: Arc::new(LifeSpawner(life)) }
    }

    /// Ends every node.
    fn end(&self) {
        let lives: Vec<_> = lock(&self.0.machines).iter_mut().filter_map(|machine| machine.life.take()).collect();
        for life in lives {
            life.end();
        }
        let nodes: Vec<_> = lock(&self.0.machines).iter_mut().filter_map(|machine| machine.node.take()).collect();
        drop(nodes);
    }
}

/// The tools of a dishonest party.
pub(crate) struct Outsider {
    pub(crate) no: NodeNo,
    pub(crate) key: Keypair,
    heard: TapLog,
    network: SimNetwork,
    spawner: Arc<LifeSpawner>,
}

impl Outsider {
    /// Starts a swarm with a member's credentials.
    pub(crate) fn as_member(&self, sim: &Sim, rooms: Rooms, nodes: usize) -> Option<(Mesh, MeshEvents)> {
        let mut config = MeshConfig::new(self.key.clone());
        config.membership = Some(Membership { mesh: sim.mesh(), chain: sim.chain_for(self.no).ok()? });
        self.mesh(config, rooms, nodes)
    }

    /// Starts a swarm that knows the addresses of the first `nodes` machines.
    pub(crate) fn mesh(&self, config: MeshConfig, rooms: Rooms, nodes: usize) -> Option<(Mesh, MeshEvents)> {
        let transport = self.network.transport(self.no, &self.key, Some(self.heard.clone())).ok()?;
        let (mesh, events) = Mesh::start(transport, config, rooms, self.spawner.clone()).ok()?;
        (0..nodes).for_each(|node| mesh.bootstrap(address_of(node)));
        Some((mesh, events))
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("seed", &self.0.seed).field("machines", &self.len()).finish_non_exhaustive()
    }
}

/// The size of a segment of a store's log: of some dozen commits, so that the segments change often.
const LOG_SEGMENT_BYTES: u64 = 1 << 20;

fn open(no: NodeNo, disk: &Disk) -> Result<Store, SimError> {
    let options = StoreOptions::default().cache_bytes(1 << 20).segment_bytes(LOG_SEGMENT_BYTES);
    Store::with_log(format!("n{no}"), disk.clone(), disk.log(), options).map_err(|error| SimError::Store(no, error))
}

fn seeded_key(seed: u64, purpose: &str) -> Keypair {
    let mut hasher = blake3::Hasher::new_derive_key("nexus-sim key v1");
    hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
    Keypair::from_seed(hasher.finalize().as_bytes())
}
