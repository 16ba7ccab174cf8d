use super::OpaqueError;
use crate::failure::Fault;
use crate::store::PoisonCause;

/// The reason why a node takes no more work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The user stopped it.
    #[error("it was stopped")]
    Stopped,
    /// It failed.
    #[error(transparent)]
    Failed(#[from] Fault),
    /// An earlier commit of a store failed.
    #[error(transparent)]
    Poisoned(PoisonCause),
    /// Work was not carried out, since the node is being stopped.
    #[error("the work was interrupted")]
    Interrupted,
    /// The queue of writes is closed.
    #[error("no more writes are taken")]
    Writes,
    /// The queue of critical writes is closed.
    #[error("no more critical writes are taken")]
    CriticalWrites,
    /// A write was not answered.
    #[error("no answer")]
    NoAnswer,
    /// The network ended.
    #[error("the network ended")]
    Network,
    /// A lock cannot be released any more. It runs out of time.
    #[error("the lock runs out of time by itself")]
    Lock,
    /// The log of the coordinators cannot be written.
    #[error(transparent)]
    CoordinatorLog(OpaqueError),
    /// This node's part in the coordinators failed.
    #[error("the coordinator: {0}")]
    Coordinator(#[source] OpaqueError),
}
