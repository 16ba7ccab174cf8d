//! The shell around the engine: moves bytes and keeps the order *commit → send → emit*.
//!
//! | channel | length | when it is full |
//! |---|---|---|
//! | commands | [`COMMANDS_MAX`] | callers wait |
//! | intake (from peers) | [`INTAKE_MAX`] | sessions stop reading, so peers stop sending |
//! | commits | [`COMMITS_MAX`] | the engine takes no input |
//! | gossip out | [`GOSSIP_MAX`] | dropped: gossip is a hint |
//! | addresses of peers | 64 | dropped: they are told again |
//!
//! Upstream may wait on downstream, never the reverse: the committer waits for the disk alone.
//! There is no queue of entries to a peer; watchers and sessions have cursors over the store and
//! are woken by the number of the last committed entry.

mod committer;
mod drive;
mod peers;
mod rebuild;
mod session;
mod traces;
pub(crate) mod whereabouts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::{Frontier, Incarnation, Members, Verified};
use nexus_identity::{Chain, Did};
use nexus_mesh::{Mesh, Spawner};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::NodeError;
use crate::clock::Monotonic;
use crate::engine::{Command, Outcome};
use crate::env::Blocking;
use crate::replication::Progress;
use crate::store::Store;
use crate::trace::{self, TraceParent};

pub(crate) use committer::Committer;
pub(crate) use drive::{Drive, fresh_incarnation, random};
pub(crate) use peers::{ENTRIES, SYNC, known_peers, publish, watch_mesh};
pub(crate) use rebuild::rebuild;
pub(crate) use traces::{Arrival, Arrivals, Traces};

/// Commands of callers on this machine that wait for the engine.
pub(crate) const COMMANDS_MAX: usize = 1_024;
/// Batches of entries from peers that wait for the engine.
pub(crate) const INTAKE_MAX: usize = 16;
/// Batches that wait for the disk.
pub(crate) const COMMITS_MAX: usize = 16;
/// Entries of our own that wait to be published.
pub(crate) const GOSSIP_MAX: usize = 256;

/// A caller's command and where its answer goes.
pub(crate) struct Call {
    pub(crate) command: Command,
    /// The trace that the caller works for.
    pub(crate) parent: Option<TraceParent>,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// What peers bring.
pub(crate) enum Intake {
    /// Verified entries; the sender is told when the engine has taken them.
    Entries { from: Did, entries: Vec<Verified>, of_traces: Vec<Arrival> },
    /// A chain that was shown at the gate.
    Chain(Chain),
    /// The node stops: nothing after this is taken.
    Stop,
    /// Entries of our own log are elsewhere that are not here.
    OwnLogAhead(Incarnation),
}

/// What the parts of a running node share: handles and watches, no state of each other's.
pub(crate) struct Shared {
    pub(crate) me: Did,
    pub(crate) mesh_did: Did,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) store_name: [u8; 8],
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) blocking: Arc<dyn Blocking>,
    pub(crate) clock: Monotonic,
    pub(crate) commands: mpsc::Sender<Call>,
    pub(crate) intake: mpsc::Sender<Intake>,
    /// The last committed entry's number.
    pub(crate) committed: watch::Receiver<u64>,
    pub(crate) members: watch::Receiver<Arc<Members>>,
    /// Why the node cannot go on, once it cannot.
    pub(crate) failed: watch::Sender<Option<String>>,
    pub(crate) sessions: Sessions,
    pub(crate) traces: Traces,
    pub(crate) notices: Notices,
    pub(crate) search: Arc<crate::search::Search>,
    pub(crate) reads: crate::brain::Reads,
    pub(crate) limits: crate::brain::BrainLimits,
    pub(crate) rate: u32,
}

impl Shared {
    /// Hands a command to the engine and waits for what became of it, which is on disk then.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome, NodeError> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || {
            let why = self.failed.borrow().clone();
            NodeError::Stopping(why.unwrap_or_else(|| "no more writes are taken".to_owned()))
        };
        self.commands.send(Call { command, parent: trace::current(), answer }).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())
    }

    /// Ends the node: what it could not do must not be done by halves.
    pub(crate) fn fail(&self, why: String) {
        tracing::error!(error = %why, "the node cannot go on");
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(why);
            first
        });
    }
}

/// The syncs with peers: what each has on its disk, and how to wake its session.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<Did, PeerSync>>);

/// What is known of one peer's sync.
#[derive(Clone, Default)]
struct PeerSync {
    durable: Frontier,
    /// Which session speaks; a later one takes its place.
    generation: u64,
    live: bool,
    poke: Arc<Poke>,
}

/// Wakes a session.
#[derive(Default)]
pub(crate) struct Poke {
    wake: Notify,
    behind: std::sync::atomic::AtomicBool,
}

impl Sessions {
    fn with<T>(&self, peer: Did, change: impl FnOnce(&mut PeerSync) -> T) -> T {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default())
    }

    /// Begins a session: an older one with the same peer ends.
    pub(crate) fn begin(&self, peer: Did) -> (u64, Arc<Poke>) {
        self.with(peer, |sync| {
            sync.generation += 1;
            sync.live = true;
            sync.poke.wake.notify_one();
            sync.poke = Arc::default();
            (sync.generation, sync.poke.clone())
        })
    }

    pub(crate) fn is_current(&self, peer: Did, generation: u64) -> bool {
        self.with(peer, |sync| sync.generation == generation)
    }

    pub(crate) fn end(&self, peer: Did, generation: u64) {
        self.with(peer, |sync| sync.live &= sync.generation != generation);
    }

    /// Takes a peer's word on what is on its disk.
    pub(crate) fn progress(&self, peer: Did, progress: Progress) {
        self.with(peer, |sync| match progress {
            Progress::Whole(frontier) => sync.durable = frontier,
            Progress::Moved(heads) => heads.into_iter().for_each(|(log, head)| sync.durable.advance(log, head)),
        });
    }

    /// Has a peer's session compare frontiers again.
    pub(crate) fn behind(&self, peer: Did) {
        self.with(peer, |sync| {
            sync.poke.behind.store(true, std::sync::atomic::Ordering::Relaxed);
            sync.poke.wake.notify_one();
        });
    }

    /// How many other members have an entry on their disk, of those who may.
    pub(crate) fn replicas(&self, log: &nexus_crdt::LogId, seq: u64, may_read: impl Fn(&Did) -> bool) -> usize {
        let syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.iter().filter(|(peer, sync)| sync.durable.covers(log, seq) && may_read(peer)).count()
    }

    /// How many peers are being kept in sync.
    pub(crate) fn live(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|sync| sync.live).count()
    }

    /// A peer's durable frontier as last heard, and whether a session is live.
    pub(crate) fn of(&self, peer: Did) -> Option<(Frontier, bool)> {
        let syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.get(&peer).map(|sync| (sync.durable.clone(), sync.live))
    }
}

/// Something that a person should know.
#[derive(Clone)]
pub(crate) struct Notice {
    pub(crate) code: &'static str,
    subject: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What a person should know: kept for `status`, at most [`Notices::MAX`], the first of each kind.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Vec<Notice>>);

impl Notices {
    const MAX: usize = 64;

    /// Notes something about `subject` once.
    pub(crate) fn note(&self, code: &'static str, subject: String, message: String, hint: &str) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notices.iter().any(|notice| notice.code == code && notice.subject == subject);
        if notices.len() < Self::MAX && !known {
            tracing::warn!(code, %message);
            notices.push(Notice { code, subject, message, hint: hint.to_owned() });
        }
    }

    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
