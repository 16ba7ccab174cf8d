use nexus_mesh::{JoinError, MeshError, Multiaddr, TransportError};

/// The reason why another node was not reached. Safe to try again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// The inviter gave no answer.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// No admin's node answers that could admit a new key.
    #[error("no admin's node is up that could admit the new key")]
    NoAdmin,
    /// The node of a task's worker does not answer, or its version keeps no logs.
    #[error("the log of the task is at {name}, which gives no answer")]
    NoLog {
        /// Its name.
        name: String,
    },
    /// The inviter cannot decide now.
    #[error("{message}")]
    Busy {
        /// The reason in the inviter's words.
        message: String,
    },
}

/// The reason why the network was not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The transport could not be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The mesh did not start.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// No address could be listened on.
    #[error("cannot listen anywhere: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Listen(Vec<ListenError>),
}

/// A socket that could not be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .address.as_ref().map_or_else(|| "a socket".to_owned(), ToString::to_string))]
#[non_exhaustive]
pub struct ListenError {
    /// The address, if it is known.
    pub address: Option<Multiaddr>,
    /// The operating system's words.
    pub reason: String,
}

impl ListenError {
    pub(crate) fn new(address: Option<Multiaddr>, reason: String) -> Self {
        // some sockets fail without a word
        let reason = if reason.trim().is_empty() { "this machine has no such address".to_owned() } else { reason };
        Self { address, reason }
    }
}
