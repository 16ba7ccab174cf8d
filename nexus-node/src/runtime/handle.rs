use nexus_crdt::{Incarnation, Verified};
use nexus_identity::{Chain, Did};
use tokio::sync::{mpsc, oneshot, watch};

use super::Arrival;
use crate::NodeError;
use crate::engine::{Command, Outcome};
use crate::failure::Failure;
use crate::trace::{self, TraceParent};

/// A caller's command, and the receiver of its answer.
pub(crate) struct Call {
    pub(crate) command: Command,
    /// The trace of the caller.
    pub(crate) parent: Option<TraceParent>,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// Input from peers.
pub(crate) enum Intake {
    /// Verified entries. The sender is told when the engine has taken them.
    Entries { from: Did, entries: Vec<Verified>, of_traces: Vec<Arrival> },
    /// A chain that was shown at the gate.
    Chain(Chain),
    /// The node stops: no later input is taken.
    Stop,
    /// A peer has entries of our own log that are not here.
    OwnLogAhead(Incarnation),
}

/// The engine takes no more input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine takes nothing any more")]
pub(crate) struct Ended;

/// A handle to the engine's tasks, cheap to clone. They end with its last clone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Call>,
    intake: mpsc::Sender<Intake>,
    /// The number of the last committed entry.
    committed: watch::Receiver<u64>,
    failure: Failure,
}

/// The filling of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) name: &'static str,
    pub(crate) length: usize,
    pub(crate) capacity: usize,
}

impl EngineHandle {
    pub(super) const fn new(
        commands: mpsc::Sender<Call>,
        intake: mpsc::Sender<Intake>,
        committed: watch::Receiver<u64>,
        failure: Failure,
    ) -> Self {
        Self { commands, intake, committed, failure }
    }

    /// Hands a command to the engine and waits for its outcome, which is on disk then.
    ///
    /// # Errors
    /// [`NodeError::Stopping`]: only the next start tells whether it was done.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome, NodeError> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || {
            let reason = self.failure.reason();
            NodeError::Stopping(reason.unwrap_or_else(|| "no more writes are taken".to_owned()))
        };
        self.commands.send(Call { command, parent: trace::current(), answer }).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())
    }

    /// Hands a peer's input over. Waits for a place.
    ///
    /// # Errors
    /// [`Ended`].
    pub(crate) async fn take(&self, intake: Intake) -> Result<(), Ended> {
        self.intake.send(intake).await.map_err(|_| Ended)
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
