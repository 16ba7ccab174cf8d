use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_crdt::{Incarnation, TaskId, Verified};
use nexus_identity::{Chain, Did};
use nexus_mesh::quota::Sender;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::Arrival;
use super::shares::{Shares, Turn, Wanting};
use crate::engine::{Command, Outcome};
use crate::error::{NodeError, StopError};
use crate::failure::Failure;
use crate::headroom::{Headroom, Room, Unwritten};
use crate::trace::{self, TraceParent};
use crate::world::World;

/// The wait before a node's own work is tried again that the disk had no room for.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A caller's command, and the receiver of its answer.
pub(crate) struct Call {
    pub(crate) command: Command,
    /// The trace of the caller.
    pub(crate) parent: Option<TraceParent>,
    pub(crate) answer: oneshot::Sender<Result<Outcome, Unwritten>>,
}

/// Input from peers.
pub(crate) enum Intake {
    /// Verified entries. The sender is told when the engine has taken them.
    Entries { from: Did, entries: Vec<Verified>, of_traces: Vec<Arrival>, turn: Turn },
    /// The node stops: no later input is taken.
    Stop,
    /// A peer has entries of our own log that are not here.
    OwnLogAhead(Incarnation),
}

/// The engine takes no more input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine takes nothing any more")]
pub(crate) struct Ended;

/// The engine has no place just now, or takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has no place just now")]
pub(crate) struct Busy;

/// A handle on the engine's tasks, cheap to clone. They end with its last clone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Call>,
    intake: mpsc::Sender<Intake>,
    chains: Arc<Sender<Chain>>,
    /// The number of the last committed entry.
    committed: watch::Receiver<u64>,
    /// That number when this node last wrote an entry.
    own: watch::Receiver<u64>,
    /// The number of commits that changed which spaces there are.
    spaces: Arc<AtomicU64>,
    /// The tasks of which something was said.
    tasks: broadcast::Sender<(TaskId, bool)>,
    shares: Arc<Shares>,
    failure: Failure,
    headroom: Headroom,
}

/// The ends of the engine's channels, and what its callers share.
pub(super) struct Parts {
    pub(super) commands: mpsc::Sender<Call>,
    pub(super) intake: mpsc::Sender<Intake>,
    pub(super) chains: Sender<Chain>,
    pub(super) committed: watch::Receiver<u64>,
    pub(super) own: watch::Receiver<u64>,
    pub(super) spaces: Arc<AtomicU64>,
    pub(super) tasks: broadcast::Sender<(TaskId, bool)>,
    pub(super) shares: Arc<Shares>,
    pub(super) failure: Failure,
    pub(super) headroom: Headroom,
}

/// The filling of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) name: &'static str,
    pub(crate) length: usize,
    pub(crate) capacity: usize,
}

impl EngineHandle {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { commands, intake, chains, committed, own, spaces, tasks, shares, failure, headroom } = parts;
        Self { commands, intake, chains: Arc::new(chains), committed, own, spaces, tasks, shares, failure, headroom }
    }

    /// Hands a command to the engine and waits for its outcome, which is on disk then.
    ///
    /// # Errors
    /// [`NodeError::DiskFull`]: it was not done. [`NodeError::FileGone`]: it does not last. [`NodeError::Stopping`]: only the next start tells whether it was.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome, NodeError> {
        let _wanting = self.wanting();
        let (answer, outcome) = oneshot::channel();
        let stopping = || {
            let fault = self.failure.fault();
            NodeError::from(fault.map_or(StopError::Writes, StopError::Failed))
        };
        self.commands.send(Call { command, parent: trace::current(), answer }).await.map_err(|_| stopping())?;
        Ok(outcome.await.map_err(|_| stopping())??)
    }

    /// The same for this node's own keeping: without room on the disk it waits until there is some, and tries again.
    ///
    /// # Errors
    /// [`NodeError::Stopping`].
    pub(crate) async fn run_once_there_is_room(
        &self,
        world: &World,
        command: impl Fn() -> Command,
    ) -> Result<Outcome, NodeError> {
        loop {
            match self.run(command()).await {
                Err(NodeError::DiskFull(_) | NodeError::FileGone(_)) => tokio::select! {
                    () = self.headroom.until_ample() => world.sleep_until(world.now() + TRY_AGAIN).await,
                    () = self.commands.closed() => {}
                },
                outcome => return outcome,
            }
        }
    }

    /// A local caller wants the engine's work until this is dropped: peers' entries wait for it. It is for callers that
    /// look something up before they run a command.
    pub(crate) fn wanting(&self) -> Wanting {
        self.shares.wanting()
    }

    /// Hands a peer's input over. Waits for a place.
    ///
    /// # Errors
    /// [`Ended`].
    pub(crate) async fn take(&self, intake: Intake) -> Result<(), Ended> {
        self.intake.send(intake).await.map_err(|_| Ended)
    }

    /// Hands over what a peer brought, if there is a place for it now and the disk has the room that it needs.
    ///
    /// # Errors
    /// [`Busy`], also while the disk has no room.
    pub(crate) fn offer(&self, intake: Intake, needs: Room) -> Result<(), Busy> {
        if self.headroom.room() < needs {
            return Err(Busy);
        }
        self.intake.try_send(intake).map_err(|_| Busy)
    }

    /// Hands over the chain that a peer showed at the gate. Never waits: a chain that finds no place is shown again at
    /// the next hello, and its credentials come by sync besides.
    pub(crate) fn introduce(&self, peer: Did, chain: Chain) {
        let bytes = chain.to_bytes().len();
        if self.chains.offer(peer, bytes, chain).is_err() {
            tracing::debug!(peer = %peer.short(), "the engine is busy: a chain is left for later");
        }
    }

    /// The room on the disk.
    pub(crate) const fn headroom(&self) -> &Headroom {
        &self.headroom
    }

    /// Whether the disk has room for what can be made anew.
    #[cfg(feature = "documents")]
    pub(crate) fn has_ample_room(&self) -> bool {
        self.headroom.room() == Room::All
    }

    /// Ends the engine after all earlier input.
    pub(crate) async fn stop(&self) {
        // an engine that has ended needs no stop
        let _ = self.take(Intake::Stop).await;
    }

    /// The number of the last committed entry, as a watch.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// That number when this node last wrote an entry itself, as a watch. It changes after the other.
    pub(super) fn own(&self) -> watch::Receiver<u64> {
        self.own.clone()
    }

    /// The number of commits so far that defined or closed a space. It is never ahead of the store.
    pub(crate) fn spaces(&self) -> u64 {
        self.spaces.load(Ordering::Acquire)
    }

    /// The tasks of which something is said from now on, once it is committed, and whether this node said it. Whoever lags
    /// looks at all of them.
    pub(crate) fn tasks(&self) -> broadcast::Receiver<(TaskId, bool)> {
        self.tasks.subscribe()
    }

    /// The handle that ends the node.
    pub(crate) const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The filling of the engine's queues.
    pub(crate) fn queues(&self) -> [Fill; 2] {
        fn fill<T>(name: &'static str, queue: &mpsc::Sender<T>) -> Fill {
            let capacity = queue.max_capacity();
            Fill { name, length: capacity - queue.capacity().min(capacity), capacity }
        }
        [fill("commands", &self.commands), fill("intake", &self.intake)]
    }
}

#[cfg(test)]
mod tests {
    use nexus_mesh::quota::{Receiver, queue};

    use super::*;
    use crate::runtime::CHAINS_MAX;

    /// A handle on no engine, and the end of its queue of chains.
    fn handle() -> (EngineHandle, Receiver<Chain>) {
        let (chains, waiting) = queue(CHAINS_MAX);
        let parts = Parts {
            commands: mpsc::channel(1).0,
            intake: mpsc::channel(1).0,
            chains,
            committed: watch::channel(0).1,
            own: watch::channel(0).1,
            spaces: Arc::default(),
            tasks: broadcast::channel(1).0,
            shares: Arc::default(),
            failure: Failure::default(),
            headroom: Headroom::new(None, 0),
        };
        (EngineHandle::new(parts), waiting)
    }

    fn peer(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    /// A chain of one credential with so many bytes of claims. Nothing in it is signed.
    fn chain(bytes: usize) -> Chain {
        let length = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let encoded = [&length(1)[..], &length(bytes), &vec![7; bytes], &[0; 64]].concat();
        Chain::from_bytes(&encoded).unwrap()
    }

    /// promise: Bad input | Credentials that wait are bounded in bytes, and each sender has its own place
    #[test]
    fn a_sender_has_one_place_for_its_chain_and_others_get_theirs() {
        let (engine, mut waiting) = handle();
        for n in 0..100 {
            engine.introduce(peer(1), chain(200 + n));
        }
        engine.introduce(peer(2), chain(300));
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting.try_recv(), Some((peer(1), chain(200))), "the first one");
        assert_eq!(waiting.try_recv(), Some((peer(2), chain(300))));
        engine.introduce(peer(1), chain(500));
        assert_eq!(waiting.try_recv(), Some((peer(1), chain(500))), "its place came back");
    }

    /// promise: Bad input | Credentials that wait are bounded in bytes, and each sender has its own place
    #[test]
    fn chains_fill_their_queue_by_bytes_and_the_chain_of_another_sender_still_gets_through() {
        const LARGE: usize = 9_000;
        let (engine, mut waiting) = handle();
        for n in 0..200 {
            engine.introduce(peer(n), chain(LARGE));
        }
        let bytes = chain(LARGE).to_bytes().len();
        assert_eq!(waiting.len(), CHAINS_MAX.bytes / bytes, "fewer than the places");
        assert!(waiting.len() < CHAINS_MAX.items && waiting.len() < 200);
        // an ordinary chain is short
        engine.introduce(peer(250), chain(600));
        let senders: Vec<Did> = std::iter::from_fn(|| waiting.try_recv()).map(|(sender, _)| sender).collect();
        assert_eq!(senders.last(), Some(&peer(250)));
        // bytes come back with the chains that are taken
        engine.introduce(peer(251), chain(LARGE));
        assert_eq!(waiting.len(), 1);
    }
}
