//! A node: the handle for embedders, and the ways to make one.
//!
//! | module | content |
//! |---|---|
//! | `backup` | a copy of the directory while the node runs |
//! | `builder` | a node in the real world: data directory, sockets, ports |
//! | `compact` | deleted bytes leave the disk |
//! | `age` | noticing that the data directory is a copy or an earlier state |
//! | `start` | a node over any world ([`NodeEnv`]): the list of its rooms |
//! | `base` | the parts that rooms take when they start |
//! | `rooms` | a file for each room: its registration, its tasks and its handle |
//! | `state` | reading the store when a node starts |
//! | `listening` | the sockets of a node that starts |
//! | `found` | the first node of a new mesh |
//! | `join` | becoming a member of another's mesh |
//! | `admit` | the other side of that: tickets and their use |
//! | `coordinate` | this node's part in the coordinators; `no_coordinate` without the feature |
//! | `revoke` | ending memberships |
//! | `rotate` | another key for this node |
//! | `forks` | settling forks, and the ends of members that left |
//! | `raise` | writing in the formats that every member reads |
//! | `status` | the state of this node and of the others |
//! | `projects` | which project a directory belongs to, as this node said it first |
//! | `visits` | when agents began their sessions here |

mod admit;
mod age;
mod backup;
mod base;
mod builder;
mod compact;
#[cfg_attr(not(feature = "coordinators"), path = "node/no_coordinate.rs")]
mod coordinate;
mod erasures;
mod expiry;
mod forgetting;
mod forks;
mod found;
mod join;
mod listening;
mod persons;
mod ports;
mod projects;
#[cfg(feature = "coordinators")]
mod raise;
mod revoke;
mod rooms;
mod rotate;
mod start;
mod state;
mod status;
#[cfg(feature = "mcp")]
mod visits;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_identity::{Did, Keypair, Name};
use nexus_mesh::multiaddr::Protocol;
use nexus_mesh::{Mesh, Multiaddr, OpenError, Stream, StreamProtocol};
use tokio::sync::watch;

pub use admit::{Invitation, Invite};
pub use backup::Backup;
pub use builder::Builder;
pub use compact::{CompactState, CompactedPart, Compaction, compact_directory};
#[cfg(feature = "http")]
pub(crate) use found::machine_name;
pub use found::{Initialized, init};
pub use join::{JoinOptions, Joined, join};
pub use nexus_crdt::{Frontier, Head, LogId, RevocationDraft, RootRevocation};
pub use nexus_identity::{Role, TicketPerson};
pub use persons::{PersonSaid, Whose};
pub use revoke::{MembershipEnd, RevokedMember};
pub use rotate::{RotatedKey, RotationAllowed};
pub use status::{AwayCause, Behind, MemberInfo, Peer, PeerPath, PersonOf, Queue, Status, Warning};

use crate::brain::Brain;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::critical::Critical;
use crate::datadir::{DataDir, Lock};
use crate::engine::{Command, Outcome};
use crate::env::NodeEnv;
use crate::error::{AccessError, ConflictError, InputError, NodeError, StopError};
use crate::events::{EventKind, Events, EventsQuery, NodeEvents};
use crate::failure::Fault;
use crate::formats::Formats;
use crate::identity::Identity;
use crate::ledger::Quotas;
use crate::notices::Notices;
use crate::runtime::{Clocks, EngineHandle, Sessions};
use crate::store::{Batch, Store};
use crate::tasks::TaskBoard;
use crate::world::{Tasks, World};

/// How long there must be room on the disk before a node starts again for it.
const ROOM_LASTS: Duration = Duration::from_secs(5);

/// Reason why a node has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stopped {
    /// The user stopped it.
    Asked,
    /// It joined another mesh. Build it again on the same directory.
    Rejoined,
    /// Its key was to be changed. Build it again on the same directory.
    Rotated,
    /// Its part in the coordinators had ended for lack of room on the disk, and there is room again. Build it again on
    /// the same directory.
    RoomAgain,
    /// It failed, most likely because of its disk. Nothing acknowledged is lost.
    Failed(Fault),
}

/// Handle to a running node, cheap to clone. The node ends with [`Node::shutdown`] or with its last handle.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nexus_node::{NewMemory, Node};
///
/// let node = Node::builder("./brain").start().await?;
/// let written = node.brain().remember(NewMemory::note("the build needs a C compiler")).await?;
/// println!("{} on {} other machines", written.id, written.durability.replicated);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    identity: Identity,
    world: World,
    mesh: Mesh,
    engine: EngineHandle,
    store: Store,
    sessions: Arc<Sessions>,
    clocks: Arc<Clocks>,
    notices: Notices,
    brain: Brain,
    board: TaskBoard,
    events: Events,
    #[cfg(feature = "documents")]
    documents: crate::documents::Documents,
    coordinator: Option<Arc<Coordinator>>,
    #[cfg(feature = "blobs")]
    blobs: crate::blobs::Blobs,
    tasks: Option<Arc<Tasks>>,
    dir: Option<DataDir>,
    aging: Option<Arc<age::Aging>>,
    compactor: compact::Compactor,
    forget_after: forgetting::ForgetAfter,
    lock: Mutex<Option<Lock>>,
    /// The key that is to take the place of this node's key, once it was asked for.
    next: Mutex<Option<Keypair>>,
    listening: watch::Receiver<Vec<Multiaddr>>,
    /// The highest formats that this node reads.
    formats: Formats,
    quotas: Quotas,
    offline: AtomicBool,
    stopped: watch::Sender<Option<Stopped>>,
    projects: projects::Projects,
    #[cfg(feature = "mcp")]
    visits: visits::Visits,
    /// Start time on the monotonic clock.
    started: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(tasks) = &self.tasks {
            tasks.kill();
        }
    }
}

impl Node {
    /// Builds a node in the real world, on a data directory.
    pub fn builder(data_dir: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(data_dir.into())
    }

    /// Starts a node in the caller's world.
    ///
    /// # Errors
    /// The store's errors, or the mesh's.
    pub async fn with_env(env: NodeEnv) -> Result<Self, NodeError> {
        Self::boxed_with_env(env).await
    }

    /// Compiled here, as the builder's.
    #[inline(never)]
    fn boxed_with_env(env: NodeEnv) -> BoxFuture<'static, Result<Self, NodeError>> {
        start::start(env, start::Origins::default()).boxed()
    }

    /// The node's DID.
    pub fn did(&self) -> Did {
        self.0.identity.me()
    }

    /// The node's libp2p peer id.
    pub fn peer_id(&self) -> String {
        peer_id(&self.did())
    }

    /// The node's name in the mesh.
    pub fn name(&self) -> String {
        self.0.identity.name_of(&self.did()).unwrap_or_default()
    }

    /// The mesh's DID: its root key.
    pub fn mesh_did(&self) -> Did {
        self.0.identity.mesh()
    }

    /// The node's memory.
    pub fn brain(&self) -> Brain {
        self.0.brain.clone()
    }

    /// The tasks of the mesh: submitting work, following it, and doing it.
    pub fn tasks(&self) -> TaskBoard {
        self.0.board.clone()
    }

    /// All that happens on this node and in its mesh, as one stream with one cursor.
    ///
    /// ```no_run
    /// # async fn example(node: nexus_node::Node) -> Result<(), nexus_node::NodeError> {
    /// use nexus_node::events::{EventKind, EventsQuery};
    ///
    /// let mut events = node.events(EventsQuery::from_now().kinds([EventKind::Tasks, EventKind::Peers])).await?;
    /// while let Some(event) = events.next().await? {
    ///     println!("{:?}; to go on after it: {}", event.news, event.cursor);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a cursor of another node or of another kind, and for kinds without a space beside one. So
    /// are keys and locks if the node was made without a coordinator. [`NodeError::NotFound`] for the space.
    pub async fn events(&self, query: EventsQuery) -> Result<NodeEvents, NodeError> {
        self.events_for(self.brain(), query).await
    }

    /// The same, of the log what this handle of the memory may read.
    pub(crate) async fn events_for(&self, brain: Brain, query: EventsQuery) -> Result<NodeEvents, NodeError> {
        if query.kinds.contains(&EventKind::Critical) && query.kinds.len() < EventKind::ALL.len() {
            self.critical()?;
        }
        self.0.events.open(brain, query).await
    }

    /// The revision of critical state in a cursor of events, if it has one.
    #[cfg(feature = "http")]
    pub(crate) fn revision_in(&self, cursor: &str) -> Result<Option<u64>, NodeError> {
        self.0.events.revision_in(cursor)
    }

    /// The living documents of this node: JSON that several members change at once.
    #[cfg(feature = "documents")]
    pub fn documents(&self) -> crate::documents::Documents {
        self.0.documents.clone()
    }

    /// The blobs of this node, and those of the mesh that it can fetch.
    #[cfg(feature = "blobs")]
    pub fn blobs(&self) -> crate::blobs::Blobs {
        self.0.blobs.clone()
    }

    /// The node's critical state, for the few writes that must not conflict.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if the node was made without a coordinator, or this build has none.
    pub fn critical(&self) -> Result<Critical, NodeError> {
        let none = if Coordinator::BUILT { InputError::NoCoordinator } else { InputError::CoordinatorsNotBuilt };
        Ok(Critical::new(self.0.coordinator.clone().ok_or(none)?))
    }

    /// Addresses that other nodes can dial: multiaddresses that end in `/p2p/…`.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let listening = self.0.listening.borrow();
        let Some(id) = nexus_mesh::peer_id_of(&self.did()) else { return listening.clone() };
        listening.iter().map(|address| address.clone().with(Protocol::P2p(id))).collect()
    }

    /// Applies the settings that may change while the node runs (`name`, `text_bytes_max`, `spaces_max`, `disk_reserve_bytes`,
    /// `recall_ignores`, `embedder`, `embedder_model`, `erase_after`, `forget_after`). The others wait for the next start.
    pub fn configure(&self, config: &Config) {
        self.0.brain.configure(config);
        self.0.engine.headroom().set_reserve(config.disk_reserve_bytes.get());
        self.0.compactor.configure(config.erase_after.get());
        let forget_after = config.forget_after.get();
        self.0.forget_after.send_if_modified(|before| std::mem::replace(before, forget_after) != forget_after);
        if let Some(name) = config.name.clone() {
            let node = self.clone();
            self.0.world.spawn("rename", async move {
                if let Err(error) = node.rename(name).await {
                    tracing::warn!(%error, "this node's name is as it was");
                }
            });
        }
    }

    /// Gives this node another name among the members, unless it has it already.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if another member's name is like it, [`NodeError::Refused`] for a reader or a former
    /// member, [`NodeError::Stopping`].
    pub async fn rename(&self, name: Name) -> Result<(), NodeError> {
        if self.name() == name.as_str() {
            return Ok(());
        }
        let (members, me) = (self.0.identity.members(), self.did());
        let is_like = |(did, member): (&Did, &nexus_crdt::Member)| {
            *did != me && member.name().is_some_and(|other| other.is_like(name.as_str()))
        };
        if members.iter().any(is_like) {
            return Err(ConflictError::NameTaken(name).into());
        }
        match self.0.engine.run(Command::Describe(name)).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::NotPermitted { member: false } => Err(AccessError::Revoked.into()),
            _ => Err(AccessError::Reader.into()),
        }
    }

    /// Opens a stream to a member in a room that it serves ([`NodeEnv::rooms`](crate::NodeEnv)).
    ///
    /// # Errors
    /// [`OpenError`], after 10 s at the latest.
    pub async fn open_stream(&self, member: Did, room: &StreamProtocol) -> Result<Stream, OpenError> {
        self.0.mesh.open(member, room).await
    }

    /// Takes the node offline: closes all connections and refuses new ones in both directions. `false`
    /// takes it online, and it dials everybody at once.
    ///
    /// # Errors
    /// [`NodeError::Stopping`].
    pub async fn set_offline(&self, offline: bool) -> Result<(), NodeError> {
        self.check_running()?;
        self.0.mesh.set_offline(offline).await;
        self.0.offline.store(offline, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the user took the node offline.
    pub fn is_offline(&self) -> bool {
        self.0.offline.load(Ordering::Relaxed)
    }

    /// Stops the node: refuses new writes, finishes those it has, closes. Returns when that is done.
    pub async fn shutdown(&self) {
        self.stop(Stopped::Asked).await;
    }

    /// Resolves with the reason when the node has ended. It also ends the node when it is time for
    /// [`Stopped::RoomAgain`].
    pub async fn stopped(&self) -> Stopped {
        let mut stopped = self.0.stopped.subscribe();
        tokio::select! {
            stopped = stopped.wait_for(Option::is_some) => {
                stopped.ok().and_then(|stopped| stopped.clone()).unwrap_or(Stopped::Asked)
            }
            fault = self.0.engine.failure().failed() => Stopped::Failed(fault),
            () = self.room_again() => {
                self.stop(Stopped::RoomAgain).await;
                Stopped::RoomAgain
            }
        }
    }

    /// Resolves once there is room for a part in the coordinators that had ended for lack of it.
    async fn room_again(&self) {
        let Some(coordinator) = &self.0.coordinator else { return std::future::pending().await };
        let mut ran_full = coordinator.ran_full();
        if ran_full.wait_for(|ran_full| *ran_full).await.is_err() {
            return std::future::pending().await;
        }
        // a disk that takes some bytes and no more would have it start again and again
        self.0.engine.headroom().until_ample_for(ROOM_LASTS, &self.0.world).await;
    }

    /// Names of the node's running tasks. Empty for a node in the caller's world.
    pub fn running_tasks(&self) -> Vec<&'static str> {
        self.0.tasks.as_ref().map(|tasks| tasks.running()).unwrap_or_default()
    }

    /// Ends the whole node: tasks, store, lock. Remaining handles answer that it stopped.
    async fn stop(&self, why: Stopped) {
        self.end_tasks().await;
        self.close(why).await;
    }

    /// Finishes the writes that were taken, then ends every task.
    async fn end_tasks(&self) {
        if let Some(coordinator) = &self.0.coordinator {
            coordinator.stop().await;
        }
        self.0.mesh.shutdown().await;
        // when this is answered, every earlier write is on disk
        let _ = self.0.engine.run(Command::Keep(Batch::new())).await;
        self.0.engine.stop().await;
        if let Some(tasks) = &self.0.tasks {
            tasks.end().await;
        }
        if let Some(aging) = &self.0.aging {
            // a store that has failed says so itself
            let _ = aging.grow(&self.0.world, &self.0.store).await;
        }
    }

    fn close_files(&self) {
        self.0.store.close();
        if let Some(coordinator) = &self.0.coordinator {
            coordinator.close();
        }
    }

    async fn close(&self, why: Stopped) {
        let node = self.clone();
        // closing waits for the disk
        if self.0.world.blocking(move || node.close_files()).await.is_err() {
            self.close_files();
        }
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(why);
            first
        });
    }

    /// Whether the node has ended.
    #[cfg(feature = "http")]
    pub(crate) fn has_stopped(&self) -> bool {
        self.0.stopped.borrow().is_some()
    }

    fn check_running(&self) -> Result<(), NodeError> {
        match &*self.0.stopped.borrow() {
            Some(_) => Err(StopError::Stopped.into()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.did().short())
    }
}

/// The libp2p peer id of a DID. Empty if its bytes are no key.
pub(crate) fn peer_id(did: &Did) -> String {
    nexus_mesh::peer_id_of(did).map_or_else(String::new, |peer| peer.to_string())
}
