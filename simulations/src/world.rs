//! A world of nodes under virtual time: the handle for scenarios and embedders.

mod arrival;
mod harm;
mod settling;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nexus_identity::{Chain, Did, Keypair, Name};
use nexus_mesh::{Membership, Mesh, MeshConfig, MeshEvents, Multiaddr, Rooms};
use nexus_node::blobs::MemoryBlobs;
use nexus_node::config::TaskRouting;
use nexus_node::internals::formats::Formats;
use nexus_node::internals::store::disk::Disk;
use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::{Node, NodeError};

use crate::hooks;
use crate::link::Quality;
use crate::machine::{Chassis, Life, LifeSpawner, STEPS, lock};
use crate::plan::NodeNo;
use crate::plants::Around;
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

pub(crate) use arrival::Paper;

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
    /// Whether credentials say whose machine a member is.
    persons: AtomicBool,
    /// Whether stores begin with the format of entries that has documents.
    documents: AtomicBool,
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
            persons: AtomicBool::new(false),
            documents: AtomicBool::new(false),
            routing: Mutex::default(),
            formats: Mutex::default(),
            old: Mutex::default(),
        }))
    }

    /// Whether nodes have coordinators.
    pub(crate) fn has_coordinators(&self) -> bool {
        self.0.coordinators.load(Ordering::Relaxed)
    }

    /// Whether members write entries in the format that has documents.
    pub(crate) fn has_documents(&self) -> bool {
        self.0.documents.load(Ordering::Relaxed)
    }

    /// Gives coordinators and critical state to nodes that start from now on.
    pub fn with_coordinators(&self) {
        self.0.coordinators.store(true, Ordering::Relaxed);
    }

    /// The mesh that is founded from now on has credentials that say whose machine a member is.
    pub fn with_persons(&self) {
        self.0.persons.store(true, Ordering::Relaxed);
    }

    /// Machines that become members from now on write entries in the format that has documents, as in a mesh whose
    /// coordinators have raised it.
    pub fn with_documents(&self) {
        self.0.documents.store(true, Ordering::Relaxed);
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
