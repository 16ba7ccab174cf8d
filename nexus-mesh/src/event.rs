use std::fmt;
use std::time::Duration;

use crate::libp2p::gossipsub::MessageId;
use crate::libp2p::{Multiaddr, PeerId};
use nexus_identity::{Chain, Did, Name, Roles, Timestamp};
use tokio::sync::mpsc;

use crate::abilities::Abilities;
use crate::path::Quality;

/// An event of the mesh. All bytes in here came over the wire: decode with care.
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshEvent {
    /// A socket is bound; the address has a concrete port and no `/p2p/…`.
    Listening {
        /// The address.
        address: Multiaddr,
    },
    /// A socket could not be bound, or was lost. The others go on.
    ListenFailed {
        /// The address, if it is known.
        address: Option<Multiaddr>,
        /// The operating system's error.
        error: String,
    },
    /// A member passed the gate; both sides may open rooms.
    PeerOpen {
        /// The member.
        peer: Did,
        /// Its verified credentials.
        chain: Chain,
        /// Its name in them.
        name: Name,
        /// Its roles in them.
        roles: Roles,
        /// Whether this node dialled: then this side opens the lasting streams.
        dialer: bool,
        /// The peer's end of the connection.
        address: Multiaddr,
        /// Its abilities.
        abilities: Abilities,
    },
    /// The open connection to a member ended. Paired with an earlier `PeerOpen`.
    PeerClosed {
        /// The member.
        peer: Did,
        /// The cause.
        cause: DownCause,
    },
    /// The failure detector changed a peer's state.
    PeerState {
        /// The peer.
        peer: Did,
        /// The new state.
        state: PeerState,
        /// The cause; `None` for `Up`.
        cause: Option<DownCause>,
    },
    /// A member's beat, verified and newer than all before. It may have come over several hops.
    ///
    /// A hint: left out while half of the events wait.
    Beat {
        /// The author of the beat.
        peer: Did,
        /// The body that its node set ([`Mesh::set_beat`](crate::Mesh::set_beat)).
        body: Vec<u8>,
        /// The time at which it was made, by its author's clock; earlier versions do not say.
        clock: Option<Timestamp>,
        /// The last round trip to the author, while there is a connection to it.
        rtt: Option<Duration>,
    },
    /// The addresses of a member, worth keeping: proven by a finished hello, or told by the member
    /// afterwards. They replace the ones before.
    ///
    /// A hint: left out while half of the events wait.
    Addresses {
        /// The member.
        peer: Did,
        /// Best first, at most [`ADDRESSES_PER_PEER_MAX`](crate::ADDRESSES_PER_PEER_MAX).
        addresses: Vec<Multiaddr>,
    },
    /// A bootstrap address belongs to a node of another mesh. Never fatal; it is dialled again later.
    OtherMesh {
        /// The address.
        address: Multiaddr,
        /// The node there.
        peer: PeerId,
    },
    /// A hello ended in a refusal.
    Refused {
        /// The peer.
        peer: Did,
        /// Whether this node refused, or the peer.
        by_us: bool,
        /// The reason.
        reason: Refusal,
    },
}

/// The receiving end of a mesh: a bounded channel.
///
/// Only news of sockets and peers come here. Streams, gossip and newcomers go to the queues of their
/// [`Rooms`](crate::Rooms), so no peer can fill this one with them. When it is full, the mesh stops reading from the
/// network until there is room, since none of this news may be lost: read it without waiting for anything else.
/// Commands on [`Mesh`](crate::Mesh) are still served meanwhile. Dropping the receiver ends the mesh.
#[derive(Debug)]
pub struct MeshEvents(pub(crate) mpsc::Receiver<MeshEvent>);

impl MeshEvents {
    /// The next event; `None` once the mesh has ended.
    pub async fn recv(&mut self) -> Option<MeshEvent> {
        self.0.recv().await
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<MeshEvent> {
        self.0.try_recv().ok()
    }
}

impl futures::Stream for MeshEvents {
    type Item = MeshEvent;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<MeshEvent>> {
        self.0.poll_recv(cx)
    }
}

/// A peer's state in the failure detector, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Signs of life arrive.
    Up,
    /// No sign of life lately, or the connection was lost.
    Suspect,
    /// No sign of life for too long.
    Down,
}

impl PeerState {
    /// The word for the state on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a peer is not up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownCause {
    /// This node went offline.
    Offline,
    /// This node is shutting down.
    Shutdown,
    /// The other side closed the connection.
    RemoteClosed,
    /// The connection broke.
    Broken(String),
    /// No sign of life for `down_after`.
    Silent,
    /// A newer connection replaced it.
    Replaced,
    /// This node hung up on it ([`Mesh::disconnect`](crate::Mesh::disconnect)).
    Dismissed,
    /// Its membership was revoked.
    Revoked,
    /// Its credentials expired.
    Expired,
    /// The peer was not reached since this mesh started; with the error of the last try, if there was one.
    Unreachable(Option<String>),
}

impl DownCause {
    /// Whether waiting and redialling cannot mend it.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Offline | Self::Shutdown | Self::Silent | Self::Revoked | Self::Expired)
    }
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("this node is offline"),
            Self::Shutdown => f.write_str("this node is stopping"),
            Self::RemoteClosed => f.write_str("closed by the peer"),
            Self::Broken(error) => write!(f, "connection broke: {error}"),
            Self::Silent => f.write_str("no heartbeat"),
            Self::Replaced => f.write_str("replaced by a newer connection"),
            Self::Dismissed => f.write_str("closed by this node"),
            Self::Revoked => f.write_str("revoked"),
            Self::Expired => f.write_str("credentials expired"),
            Self::Unreachable(None) => f.write_str("not met yet"),
            Self::Unreachable(Some(error)) => write!(f, "cannot be reached: {error}"),
        }
    }
}

/// Why one side of a hello does not open to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Not of the same mesh.
    OtherMesh,
    /// The credentials do not hold, or are not the peer's own.
    BadCredentials,
    /// The credentials expired (5 minutes of clock difference are forgiven).
    Expired,
    /// The membership was revoked.
    Revoked,
    /// No protocol version in common.
    Version,
    /// Another process with the same identity has the connection, and lives.
    Twin,
    /// The side has no credentials yet, or is too busy.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherMesh => "not of the same mesh",
            Self::BadCredentials => "credentials do not hold",
            Self::Expired => "credentials expired",
            Self::Revoked => "revoked",
            Self::Version => "no protocol version in common",
            Self::Twin => "another process with the same identity is connected",
            Self::Unavailable => "unavailable",
        })
    }
}

/// Identifies a gossip message that waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToken {
    pub(crate) id: MessageId,
    pub(crate) from: PeerId,
}

/// The verdict on a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: passed on.
    Accept,
    /// Not passed on, and nobody's fault.
    Ignore,
    /// Not passed on, and the fault of the peer that sent it.
    Reject,
}

/// An open connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its number, of all connections that this node's mesh has opened: another connection has another one.
    pub number: u64,
    /// The peer's manners at rest: see [`Abilities::rest`](crate::Abilities::rest).
    pub rest: u16,
    /// Whether its end is told at once when the peer's process is killed. Over QUIC nobody tells.
    pub closes: bool,
}

/// The known state of another member.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The member.
    pub did: Did,
    /// Its name, once its credentials were seen.
    pub name: Option<Name>,
    /// Its roles, once its credentials were seen.
    pub roles: Option<Roles>,
    /// Its state in the failure detector.
    pub state: PeerState,
    /// The cause, if it is not up.
    pub cause: Option<DownCause>,
    /// Whether a connection is open.
    pub open: bool,
    /// The quality of that connection.
    pub quality: Option<Quality>,
    /// The peer's end of it.
    pub address: Option<Multiaddr>,
    /// The last sign of life since this mesh started, on this node's wall clock.
    pub last_seen: Option<Timestamp>,
    /// The addresses at which it is dialled.
    pub addresses: Vec<Multiaddr>,
    /// Its abilities, while a connection is open.
    pub abilities: Option<Abilities>,
}
