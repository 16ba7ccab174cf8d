//! The network of Nexus nodes.
//!
//! A [`Mesh`] keeps a node connected to the other members of its mesh over QUIC and TCP. Everybody may
//! dial. Before a peer has proven its membership at the *gate*, it reaches only ping, hello and the
//! join door. Members get *rooms* (raw streams for the node's protocols), gossip, heartbeats with an
//! opaque body, and a failure detector that names its causes.
//!
//! The content of frames and messages is the node's matter: this crate knows no entries and no logs.
//! Gossip is a hint. Data that must arrive goes through a room.
//!
//! ```no_run
//! # async fn example(key: nexus_identity::Keypair, membership: nexus_mesh::Membership) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use nexus_mesh::{Mesh, MeshConfig, MeshEvent, Rooms, TokioSpawner, tcp_quic_transport};
//!
//! let transport = tcp_quic_transport(&key)?;
//! let mut config = MeshConfig::new(key);
//! config.membership = Some(membership);
//! config.listen = vec!["/ip4/0.0.0.0/udp/4002/quic-v1".parse()?, "/ip4/0.0.0.0/tcp/4002".parse()?];
//! let (mesh, mut events) = Mesh::start(transport, config, Rooms::new(), Arc::new(TokioSpawner::current()))?;
//! mesh.bootstrap("/ip4/192.0.2.1/tcp/4002".parse()?);
//! while let Some(event) = events.recv().await {
//!     if let MeshEvent::PeerOpen { name, .. } = event {
//!         println!("{} is here", name.as_str());
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! The pure machines (`health`, `redial`, `limit`, `crowd`, the gate's slots, the book of addresses) take `now`
//! and seeds as arguments. Time and tasks come from tokio and the injected [`Spawner`] only, so that a
//! simulator can drive a whole node.

mod abilities;
pub mod ask;
mod clock;
mod config;
mod crowd;
mod error;
mod event;
mod frame;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzed;
mod gate;
mod gather;
mod handover;
mod health;
mod join;
mod libp2p;
mod limit;
mod mesh;
mod net;
mod path;
mod peer;
mod presence;
mod process;
pub mod quota;
mod redial;
mod rooms;
mod spawner;
mod stream;
mod tally;
pub mod timers;
mod wire;

pub use abilities::Abilities;
pub use clock::{Clock, SystemClock};
pub use config::{Limits, Membership, MeshConfig};
pub use error::{ConfigError, JoinError, MeshError, OpenError, PublishError, TransportError};
pub use event::{
    DownCause, MeshEvent, MeshEvents, MessageToken, OpenConnection, PeerState, PeerStatus, Refusal, Verdict,
};
pub use frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameError, read_frame, write_frame};
pub use gate::door::JOIN_ANSWER_TIMEOUT;
pub use gather::{BatchBounds, Gather};
pub use handover::Handover;
pub use join::{JoinRefusal, JoinReply, JoinRequest};
pub use libp2p_core::multiaddr;
pub use libp2p_core::{Multiaddr, PeerId};
pub use libp2p_swarm::StreamProtocol;
pub use limit::RateLimit;
pub use mesh::Mesh;
pub use net::{BoxedTransport, MeshTransport, tcp_quic_transport};
pub use path::{ConnectionPath, Quality};
pub use peer::{did_of, peer_id_of};
pub use presence::BEAT_BODY_BYTES_MAX;
pub use process::{Process, ProcessNumber};
pub use rooms::{Knock, Message, Rooms};
pub use spawner::{Spawner, TokioSpawner};
pub use stream::Stream;
pub use tally::{Direction, Tallied, Tally};
pub use wire::ADDRESSES_PER_PEER_MAX;
