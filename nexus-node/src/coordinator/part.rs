//! This node's part in the coordinators.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_identity::{Did, Keypair, Role};
use nexus_mesh::ask::Asker;
use nexus_mesh::{Mesh, Spawner};
use redb::StorageBackend;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::command::Group;
use super::copied::CopiedRows;
use super::format::TooNew;
use super::group::{Raised, Running, Timing};
use super::log::{self, Log};
use super::network::Peers;
use super::raft::Voter;
use super::seats::{SeatWish, seat_budget};
use super::wire::{self, Envelope};
use super::{audit, certificate, govern, propose};
use crate::budget::Budget;
use crate::config::Config;
use crate::error::{NodeError, OpaqueError, Resource, StopError};
use crate::failure::{Failure, Fault};
use crate::headroom::Headroom;
use crate::identity::Identity;
use crate::store::{Store, StoreError};
use crate::world::{World, random};

/// This node's part in the coordinators: a service with a state of its own.
pub(crate) struct Coordinator {
    pub(super) identity: Identity,
    pub(super) mesh: Mesh,
    /// Its tasks end with this node's part.
    pub(super) world: World,
    pub(super) failure: Failure,
    pub(super) key: Keypair,
    pub(super) links: Arc<Asker<Envelope>>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) log: Log,
    pub(super) headroom: Headroom,
    pub(super) timing: Timing,
    /// Whether this node may vote.
    pub(super) may_vote: bool,
    /// A digest of the machine, to see whether all voters share one.
    pub(super) machine: Option<[u8; 32]>,
    pub(super) formats: Raised,
    /// The format of a group, as its leader answered after it had proven that it leads.
    pub(super) exact: Mutex<Option<(Group, u16)>>,
    /// The last bytes of a later version that a peer sent. They were not taken.
    pub(super) met: Mutex<Option<(Did, TooNew)>>,
    /// This node as a voter, in its group or in one to come.
    pub(super) me: Mutex<Voter>,
    pub(super) running: watch::Sender<Option<Arc<Running>>>,
    /// One beginning or end of a group at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) heard: Mutex<govern::Reports>,
    pub(super) proposals: mpsc::Sender<propose::PendingCommand>,
    /// The reason why this node's copy cannot go on.
    broken: Arc<OnceLock<OpaqueError>>,
    /// Whether that is for lack of room on the disk.
    full: watch::Sender<bool>,
    /// Whether a task of this part panicked.
    pub(super) panicked: watch::Receiver<bool>,
    /// Seats that this node is to sign.
    pub(super) seats: mpsc::Sender<SeatWish>,
    /// The seats that others may still have it sign.
    pub(super) signs_left: Mutex<Budget>,
    pub(super) begun: Instant,
    /// Whether this node leads, and could not promote a member for want of an admin's signature.
    pub(super) unsigned: AtomicBool,
}

fn told_too_new(too_new: TooNew) {
    tracing::warn!(error = %too_new, "this copy of critical state stops until the node is updated; memory goes on");
}

fn log_failed(error: log::WriteFailed) -> StopError {
    StopError::CoordinatorLog(OpaqueError::new(error))
}

/// Notes that this node's copy cannot go on. It votes no more; memory goes on.
fn break_off(broken: &OnceLock<OpaqueError>, error: OpaqueError) {
    tracing::error!(%error, "this node's part in the coordinators cannot go on; memory does");
    // the first reason is the cause
    let _ = broken.set(error);
}

/// Runs tasks on the node's spawner until this node's part has ended, openraft's own among them. A task that
/// panics is told apart from one that is dropped with its node.
struct UntilEnded {
    inner: Arc<dyn Spawner>,
    ended: watch::Receiver<bool>,
    panicked: watch::Sender<bool>,
}

impl Spawner for UntilEnded {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let (mut ended, panicked) = (self.ended.clone(), self.panicked.clone());
        let until = async move {
            tokio::select! {
                done = AssertUnwindSafe(task).catch_unwind() => if let Err(panic) = done {
                    panicked.send_replace(true);
                    resume_unwind(panic);
                },
                _ = ended.wait_for(|ended| *ended) => {}
            }
        };
        self.inner.spawn(name, until.boxed());
    }
}

/// The handles that a coordinator uses.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) world: World,
    pub(crate) failure: Failure,
    pub(crate) headroom: Headroom,
    /// Seats that this node is to sign.
    pub(crate) seats: mpsc::Sender<SeatWish>,
}

/// The files and facts that a coordinator begins with.
pub(crate) struct Origin {
    /// Votes and snapshots.
    pub(crate) store: Store,
    /// The entries.
    pub(crate) journal: Box<dyn StorageBackend>,
    /// This node begins the mesh's first group, if the store knows of none.
    pub(crate) founder: bool,
    /// The files may be copies of ones that are in use: this node is another voter than they say.
    pub(crate) redraw: bool,
    pub(crate) machine: Option<[u8; 32]>,
}

impl Coordinator {
    /// Whether this build has coordinators.
    pub(crate) const BUILT: bool = true;

    /// Starts this node's part.
    pub(crate) async fn start(
        handles: Handles,
        key: Keypair,
        config: &Config,
        origin: Origin,
    ) -> Result<Arc<Self>, NodeError> {
        let Handles { identity, mesh, world, failure, headroom, seats } = handles;
        let Origin { store, journal, founder, redraw, machine } = origin;
        let (me, mesh_did, draw) = (identity.me(), identity.mesh(), || u64::from_le_bytes(random()));
        let seam = world.clone();
        let open = move || Log::open(seam, store, journal, me, mesh_did, redraw, draw);
        let (log, writer, place) = world.blocking(open).await??;
        let (failing, broken, full) =
            (failure.clone(), Arc::<OnceLock<OpaqueError>>::default(), watch::Sender::new(false));
        let (breaking, filling) = (broken.clone(), full.clone());
        let formats = Raised {
            max: config.formats().critical,
            raised: watch::Sender::new(0),
            snapshot_every: config.snapshot_every(),
        };
        let ended = watch::Sender::new(false);
        let (panicking, panicked) = watch::channel(false);
        let inner = world.spawner().clone();
        let spawner = UntilEnded { inner, ended: ended.subscribe(), panicked: panicking };
        let world = world.with_spawner(Arc::new(spawner));
        world.spawn(
            "raft log",
            writer.run(world.clone(), headroom.clone(), move |error| {
                if error.is_full() {
                    break_off(&breaking, OpaqueError::new(error));
                    filling.send_replace(true);
                } else {
                    failing.fail(Fault::CoordinatorLog(OpaqueError::new(error)));
                }
            }),
        );
        let (proposals, wanted) = mpsc::channel(propose::WANTED_MAX);
        let coordinator = Arc::new(Self {
            links: Arc::new(wire::asker(mesh.clone(), world.spawner().clone())),
            identity,
            mesh,
            world,
            failure,
            ended,
            key,
            log,
            headroom,
            timing: Timing {
                heartbeat: Duration::from_millis(config.raft_heartbeat_ms.get()),
                election: Duration::from_millis(config.raft_election_ms.get()),
                settle: Duration::from_millis(config.voter_settle_ms.get()),
            },
            may_vote: config.labels.0.get("voter").is_none_or(|voter| voter != "never"),
            machine,
            formats,
            exact: Mutex::default(),
            met: Mutex::default(),
            me: Mutex::new(place.me),
            running: watch::Sender::new(None),
            changing: tokio::sync::Mutex::default(),
            heard: Mutex::default(),
            proposals,
            broken,
            full,
            panicked,
            seats,
            signs_left: Mutex::new(seat_budget(Instant::now())),
            begun: Instant::now(),
            unsigned: AtomicBool::new(false),
        });
        match place.group {
            Some(group) => coordinator.take_part(group).await?,
            None if founder => {
                let group = Group { generation: 0, id: u64::from_le_bytes(random()) };
                coordinator.log.adopt(group).await.map_err(log_failed)?;
                coordinator.take_part(group).await?;
                if let Some(running) = coordinator.running() {
                    running.found().await?;
                    // nobody else has a copy, so there is nothing to wait for
                    coordinator.raise_alone(&running).await;
                }
            }
            None => {}
        }
        coordinator.spawn("proposals", propose::run(coordinator.clone(), wanted).boxed());
        coordinator.spawn("govern", govern::run(coordinator.clone()).boxed());
        coordinator.spawn("audit", audit::run(coordinator.clone()).boxed());
        coordinator.spawn("certificates", certificate::run(coordinator.clone()).boxed());
        coordinator.spawn("expiry", govern::expire(coordinator.clone()).boxed());
        Ok(coordinator)
    }

    /// This node's part in the group it belongs to, if it belongs to one.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.borrow().clone()
    }

    /// This node as a voter, in its group or in one to come.
    pub(super) fn me(&self) -> Voter {
        *self.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in a group; not at all where a later version wrote what is on the disk, or where this copy
    /// cannot go on.
    pub(super) async fn take_part(&self, group: Group) -> Result<(), NodeError> {
        let (links, spawner, formats) = (self.links.clone(), self.world.spawner().clone(), self.formats.clone());
        if let Some(too_new) = self.log.stopped() {
            told_too_new(too_new);
            return Ok(());
        }
        let peers = Peers { links, open: self.mesh.connections(), seated: self.seated_in(group) };
        let start = Running::start(&self.log, peers, spawner, &self.timing, self.me(), group, formats);
        let running = match AssertUnwindSafe(start).catch_unwind().await {
            Ok(Ok(running)) => running,
            Ok(Err(NodeError::TooNew(too_new))) => {
                told_too_new(too_new);
                return Ok(());
            }
            Ok(Err(NodeError::Stopping(StopError::Coordinator(error)))) => {
                break_off(&self.broken, error);
                return Ok(());
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                break_off(&self.broken, OpaqueError::new("it panicked at its start"));
                return Ok(());
            }
        };
        self.running.send_replace(Some(running.clone()));
        let (broken, panicked) = (self.broken.clone(), self.panicked.clone());
        let (parts, log) = (self.running.clone(), self.log.clone());
        let watch = async move {
            let fatal = running.clone().failed(panicked).await;
            // the writing of others is no reason for this node to end, and neither is a bug of this part
            match log.stopped() {
                Some(too_new) => told_too_new(too_new),
                None => break_off(&broken, OpaqueError::new(fatal)),
            }
            parts.send_if_modified(|part| part.take_if(|part| Arc::ptr_eq(part, &running)).is_some());
        };
        self.spawn("raft watch", watch.boxed());
        Ok(())
    }

    /// The reason why this node's copy cannot go on.
    pub(crate) fn broken(&self) -> Option<OpaqueError> {
        self.broken.get().cloned()
    }

    /// Looks whether Raft's files can be read.
    ///
    /// # Errors
    /// Their damage.
    pub(crate) fn examine(
        store: &Store,
        journal: Box<dyn StorageBackend>,
        did: Did,
        mesh: Did,
    ) -> Result<(), StoreError> {
        Log::examine(store, journal, did, mesh, || u64::from_le_bytes(random()))
    }

    /// Whether this part ended for lack of room on the disk, as a watch. It goes on at the node's next start.
    pub(crate) fn ran_full(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    /// The bytes of a later version at which this node's copy has stopped.
    pub(crate) fn stopped(&self) -> Option<TooNew> {
        self.log.stopped()
    }

    /// The format of critical state, as a copy of this node applied it or a leader answered: the format
    /// in which this node may write.
    pub(crate) fn raised(&self) -> watch::Receiver<u16> {
        self.formats.raised.subscribe()
    }

    /// The error for a node without a copy to read.
    pub(crate) fn no_copy(&self, of: &str) -> NodeError {
        match (self.stopped(), self.broken()) {
            (Some(too_new), _) => NodeError::TooNew(too_new),
            (None, Some(error)) => NodeError::Coordinator(error),
            (None, None) => NodeError::NotFound { what: Resource::Replica, name: of.to_owned() },
        }
    }

    /// A member speaks for a group to which this node does not belong yet. This node belongs to it from
    /// now on, if it belonged to none, or to one that the other has replaced.
    pub(super) async fn adopt(&self, group: Group) -> Result<(), NodeError> {
        let _one = self.changing.lock().await;
        if let Some(error) = self.broken() {
            return Err(NodeError::Coordinator(error));
        }
        if let Some(too_new) = self.stopped() {
            return Err(NodeError::TooNew(too_new));
        }
        match self.running() {
            Some(running) if running.group.generation >= group.generation => return Ok(()),
            Some(running) => {
                tracing::warn!(from = %running.group, to = %group, "the coordinators were begun anew");
                self.running.send_replace(None);
                running.stop().await;
                let draw = u64::from_le_bytes(random());
                self.log.reset(self.identity.mesh(), draw, group).await.map_err(log_failed)?;
                self.me.lock().unwrap_or_else(PoisonError::into_inner).draw = draw;
            }
            None => self.log.adopt(group).await.map_err(log_failed)?,
        }
        self.take_part(group).await
    }

    /// The role of a member.
    pub(super) fn role(&self, did: &Did) -> Option<Role> {
        self.identity.role_of(did)
    }

    /// Whether a member may write, and so propose.
    pub(super) fn may_propose(&self, did: &Did) -> bool {
        self.identity.may_write(did)
    }

    /// The name of a member, for people.
    pub(super) fn name(&self, did: &Did) -> String {
        self.identity.shown_name_of(did).unwrap_or_else(|| did.short())
    }

    /// The world in which this node's part lives.
    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// This node.
    pub(crate) fn did(&self) -> Did {
        self.identity.me()
    }

    pub(crate) fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.world.spawner().spawn(name, task);
    }

    /// Resolves once this node's part has ended.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// A digest of the state of this node's copy, with the index of the last entry.
    pub(crate) fn digest(&self) -> Option<(u64, [u8; 32])> {
        self.running().map(|running| running.digest())
    }

    /// This node as a voter, in bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn voter(&self) -> [u8; 40] {
        let Voter { did, draw } = self.me();
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(did.as_bytes());
        bytes[32..].copy_from_slice(&draw.to_le_bytes());
        bytes
    }

    /// The generation of the group that this node has a copy of.
    pub(crate) fn generation(&self) -> Option<u32> {
        self.running().map(|running| running.generation())
    }

    /// The index of the last entry that this node's copy has applied, as a watch.
    pub(crate) fn applied_index(&self) -> Option<watch::Receiver<u64>> {
        self.running().map(|running| running.applied_index())
    }

    /// Ends this node's part.
    pub(crate) async fn stop(&self) {
        let running = self.running.send_replace(None);
        if let Some(running) = running {
            running.stop().await;
        }
        self.ended.send_replace(true);
    }

    /// The rows of this node's copy, for a backup.
    pub(crate) fn copied(&self) -> CopiedRows {
        CopiedRows::of(self.log.clone())
    }

    /// Overwrites what is left of dropped entries in the log's file.
    pub(crate) async fn scrub_log(&self) {
        if let Err(error) = self.log.scrub().await {
            tracing::warn!(%error, "entries that were dropped are still in the coordinators' log");
        }
    }

    /// Closes Raft's store.
    pub(crate) fn close(&self) {
        self.log.close();
    }
}
