//! Tasks and channels around the engine. They move bytes and keep the order *commit → send → emit*.
//!
//! | channel | length | when it is full |
//! |---|---|---|
//! | commands | [`COMMANDS_MAX`] | callers wait |
//! | intake (from peers) | [`INTAKE_MAX`] | sessions stop reading, so peers stop sending; gossip is dropped |
//! | entries of a session that wait for turns | 2 MiB | the session stops reading |
//! | chains (from the gate) | [`CHAINS_MAX`], one of each peer | dropped: shown again, and in sync |
//! | commits | [`COMMITS_MAX`] | the engine takes no input |
//! | gossip out | [`GOSSIP_MAX`] | dropped: gossip is a hint |
//! | addresses of peers | 64 | dropped: they come again |
//!
//! Upstream may wait for downstream, never the reverse: the committer waits for the disk alone. No
//! queue holds entries for a peer. Watchers and sessions have cursors over the store, and the number of
//! the last committed entry wakes them.

mod backlog;
mod clocks;
mod committer;
mod drive;
mod driven;
pub(crate) mod gossip;
mod handle;
mod pace;
mod peers;
mod rebuild;
mod session;
mod sessions;
mod shares;
pub(crate) mod sync;
mod traces;
mod twins;
mod vain;
pub(crate) mod whereabouts;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use nexus_crdt::{Incarnation, Members, SpaceId};
use nexus_identity::plants::planted;
use nexus_mesh::quota::{Bounds, queue};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::committer::{Committer, Progress, Writer};
use self::drive::{Drive, Queues};
use self::driven::Driven;
use self::gossip::Announced;
use self::traces::Arrival;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::headroom::Headroom;
use crate::notices::Notices;
use crate::store::{Overlay, Store};
use crate::world::{World, random};

pub(crate) use self::clocks::{CLOCK, Clocks};
pub(crate) use self::handle::{EngineHandle, Fill};
pub(crate) use self::peers::{Sockets, known_peers, watch_mesh};
pub(crate) use self::rebuild::bring_up_to_date;
pub(crate) use self::sessions::Sessions;
pub(crate) use self::shares::Shares;
pub(crate) use self::traces::Traces;
pub(crate) use self::vain::VainWork;

/// Commands of local callers that may wait for the engine.
const COMMANDS_MAX: usize = 1_024;
/// Batches of entries from peers that may wait for the engine.
const INTAKE_MAX: usize = 16;
/// Chains of peers that may wait for the engine. One has 9 KiB at most.
const CHAINS_MAX: Bounds = Bounds::items(256).bytes(1 << 20).each(1);
/// Commits that may wait for the disk.
const COMMITS_MAX: usize = 16;
/// Our own entries that may wait to be published.
const GOSSIP_MAX: usize = 256;
/// Tasks of which something was said that one who follows them may not have looked at. Beyond that it looks at all.
const TASKS_MAX: usize = 4_096;
/// Longest wait of the first write for a peer's frontier.
const COMPARE_MAX: Duration = Duration::from_secs(2);

/// Inputs to [`Runtime::start`].
pub(crate) struct Origin {
    pub(crate) engine: Engine,
    pub(crate) overlay: Overlay,
    pub(crate) store: Store,
    pub(crate) headroom: Headroom,
    /// Whether other members are known. One of them may hold more of our own log.
    pub(crate) has_peers: bool,
}

/// Handles to the engine and its tasks.
pub(crate) struct Runtime {
    pub(crate) engine: EngineHandle,
    /// The committed members.
    pub(crate) members: watch::Receiver<Arc<Members>>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) clocks: Arc<Clocks>,
    /// Our own new entries, to publish.
    pub(crate) gossip: mpsc::Receiver<Announced>,
    /// Changes when a fork is to be settled. Closes with the committer.
    pub(crate) unsettled: watch::Receiver<()>,
}

impl Runtime {
    /// Starts the engine's tasks.
    pub(crate) fn start(origin: Origin, world: &World, failure: Failure, notices: Notices) -> Self {
        let Origin { engine, overlay, store, headroom, has_peers } = origin;
        let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
        let (intake, intake_in) = mpsc::channel(INTAKE_MAX);
        let (chains, chains_in) = queue(CHAINS_MAX);
        let (commits, commits_in) = mpsc::channel(COMMITS_MAX);
        let (gossip, gossip_in) = mpsc::channel(GOSSIP_MAX);
        let (done, done_seen) = watch::channel(Progress::default());
        let (committed, committed_seen) = watch::channel(engine.last_eno());
        // some of those may be its own
        let (own, own_seen) = watch::channel(engine.last_eno());
        let (members, members_seen) = watch::channel(engine.members().clone());
        let (unsettled, unsettled_seen) = watch::channel(());
        let (tasks, _) = broadcast::channel(TASKS_MAX);
        let (sessions, traces) = (Arc::<Sessions>::default(), Arc::<Traces>::default());
        let (shares, clocks) = (Arc::<Shares>::default(), Arc::<Clocks>::default());
        let compare = has_peers && !planted("writes_without_comparing");
        let mesh = SpaceId::mesh(&engine.members().mesh());
        let driven = Driven {
            engine,
            mesh,
            is_behind: false,
            overlay,
            store: store.clone(),
            headroom: headroom.clone(),
            arrivals: Default::default(),
            traces: traces.clone(),
            epoch: 0,
            ahead: None,
            again: false,
        };
        let (writer, spaces) = (Writer { store, gossip, headroom: headroom.clone() }, Arc::<AtomicU64>::default());
        let (runs, ended) = oneshot::channel::<Infallible>();
        let drive = Drive {
            driven,
            queues: Queues { commands: commands_in, intake: intake_in, chains: chains_in },
            commits,
            writer: writer.clone(),
            done: done_seen,
            hold_until: compare.then(|| Instant::now() + COMPARE_MAX),
            compared: sessions.compared(),
            sessions: sessions.clone(),
            shares: shares.clone(),
            clocks: clocks.clone(),
            world: world.clone(),
            failure: failure.clone(),
            _runs: runs,
        };
        let committer = Committer {
            commits: commits_in,
            epoch: 0,
            done,
            committed,
            own,
            members,
            spaces: spaces.clone(),
            writer,
            world: world.clone(),
            failure: failure.clone(),
            notices,
            sessions: sessions.clone(),
            tasks: tasks.clone(),
            unsettled,
        };
        world.spawn("disk", headroom.clone().watch(world.clone(), ended));
        world.spawn("committer", committer.run());
        world.spawn("engine", drive.run());
        let engine = EngineHandle::new(handle::Parts {
            commands,
            intake,
            chains,
            committed: committed_seen,
            own: own_seen,
            spaces,
            tasks,
            shares: shares.clone(),
            failure,
            headroom,
        });
        Self {
            engine,
            members: members_seen,
            sessions,
            traces,
            shares,
            clocks,
            gossip: gossip_in,
            unsettled: unsettled_seen,
        }
    }
}

/// Eight random bytes for a new incarnation.
pub(crate) fn fresh_incarnation() -> Incarnation {
    Incarnation(random())
}
