use std::time::Duration;

use nexus_identity::ChainError;

/// Why a mesh did not start. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This node's own credentials do not hold.
    #[error("own credentials do not hold: {0}")]
    Chain(#[from] ChainError),
    /// The credentials are of another key.
    #[error("own credentials are for another key")]
    NotOurs,
    /// The key is not usable.
    #[error("own key is not usable")]
    Key,
    /// A protocol could not be set up.
    #[error("{0} could not be set up: {1}")]
    Protocol(&'static str, String),
}

/// Why a configuration contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `down_after` is too short: one lost heartbeat would evict a healthy peer.
    #[error("down_after ({down_after:?}) must be more than twice the heartbeat ({heartbeat:?})")]
    SuspicionTooShort {
        /// The heartbeat.
        heartbeat: Duration,
        /// The configured `down_after`.
        down_after: Duration,
    },
    /// The topic is reserved for beats.
    #[error("topic {0:?} is reserved or given twice")]
    Topic(String),
    /// The room is registered twice.
    #[error("room {0} is registered twice")]
    Room(String),
    /// A limit is zero.
    #[error("limit {0} must not be zero")]
    Zero(&'static str),
}

/// Why a transport could not be made. The machine's fault; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The key is not usable.
    #[error("own key is not usable")]
    Key,
    /// Noise could not be set up.
    #[error("noise could not be set up: {0}")]
    Noise(String),
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No open connection to that peer: wait for `PeerOpen`.
    #[error("peer is not connected")]
    NotOpen,
    /// The peer does not serve that room.
    #[error("peer does not serve that protocol")]
    NoSuchRoom,
    /// This node holds its limit of streams to that peer.
    #[error("too many streams to that peer")]
    TooMany,
    /// It took too long.
    #[error("opening the stream took too long")]
    TimedOut,
    /// The connection ended first.
    #[error("connection ended: {0}")]
    Broken(String),
    /// The mesh is shut down.
    #[error("the mesh is shut down")]
    Stopped,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The caller's fault: send it another way.
    #[error("message of {bytes} bytes is longer than {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Not one of the registered topics.
    #[error("no topic {0:?}")]
    NoSuchTopic(String),
    /// All peers are slow. Gossip is a hint: a peer that misses it syncs.
    #[error("all peers are busy")]
    Busy,
    /// The node has no membership, so no peer would listen.
    #[error("not a member of a mesh")]
    NotAMember,
    /// The mesh is shut down.
    #[error("the mesh is shut down")]
    Stopped,
}

/// Why a join got no answer. Safe to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No address answered, or another key answered there.
    #[error("inviter cannot be reached: {0}")]
    Unreachable(String),
    /// The node there serves no join door.
    #[error("inviter does not admit anybody")]
    NoDoor,
    /// The connection ended before the answer.
    #[error("connection ended before the answer: {0}")]
    Broken(String),
    /// This node is offline.
    #[error("this node is offline")]
    Offline,
    /// The mesh is shut down.
    #[error("the mesh is shut down")]
    Stopped,
}
