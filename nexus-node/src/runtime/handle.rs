use std::sync::Arc;

use nexus_crdt::{Incarnation, Verified};
use nexus_identity::{Chain, Did};
use nexus_mesh::quota::Sender;
use tokio::sync::{mpsc, oneshot, watch};

use super::Arrival;
use crate::NodeError;
use crate::engine::{Command, Outcome};
use crate::failure::Failure;
use crate::trace::{self, TraceParent};

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
    /// The node stops: nothing after this is taken.
    Stop,
    /// Entries of our own log are elsewhere that are not here.
    OwnLogAhead(Incarnation),
}

/// The engine takes nothing any more.
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
    /// The last committed entry's number.
    committed: watch::Receiver<u64>,
    failure: Failure,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) name: &'static str,
    pub(crate) length: usize,
    pub(crate) capacity: usize,
}

impl EngineHandle {
    pub(super) fn new(
        commands: mpsc::Sender<Call>,
        intake: mpsc::Sender<Intake>,
        chains: Sender<Chain>,
        committed: watch::Receiver<u64>,
        failure: Failure,
    ) -> Self {
        Self { commands, intake, chains: Arc::new(chains), committed, failure }
    }

    /// Hands a command to the engine and waits for what became of it, which is on disk then.
    ///
    /// # Errors
    /// [`NodeError::Stopping`]: whether it was done is known at the next start.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome, NodeError> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || {
            let reason = self.failure.reason();
            NodeError::Stopping(reason.unwrap_or_else(|| "no more writes are taken".to_owned()))
        };
        self.commands.send(Call { command, parent: trace::current(), answer }).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())
    }

    /// Hands over what a peer brought; waits for a place.
    ///
    /// # Errors
    /// [`Ended`].
    pub(crate) async fn take(&self, intake: Intake) -> Result<(), Ended> {
        self.intake.send(intake).await.map_err(|_| Ended)
    }

    /// Hands over what a peer brought, if there is a place for it now.
    ///
    /// # Errors
    /// [`Busy`].
    pub(crate) fn offer(&self, intake: Intake) -> Result<(), Busy> {
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

    /// Ends the engine after what was handed over before this.
    pub(crate) async fn stop(&self) {
        // one that has ended needs no telling
        let _ = self.take(Intake::Stop).await;
    }

    /// The number of the last committed entry, as it moves.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// How the node ends.
    pub(crate) const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// How full the queues to the engine are.
    pub(crate) fn queues(&self) -> [Fill; 2] {
        fn fill<T>(name: &'static str, queue: &mpsc::Sender<T>) -> Fill {
            let capacity = queue.max_capacity();
            Fill { name, length: capacity - queue.capacity().min(capacity), capacity }
        }
        [fill("commands", &self.commands), fill("intake", &self.intake)]
    }
}
