//! The crates of libp2p that a mesh is made of, under the names that libp2p gives them. `libp2p` itself would bring more
//! crates.

pub(crate) use libp2p_connection_limits as connection_limits;
pub(crate) use libp2p_core as core;
pub(crate) use libp2p_core::multiaddr::{self, Multiaddr};
pub(crate) use libp2p_core::transport::Transport;
pub(crate) use libp2p_gossipsub as gossipsub;
pub(crate) use libp2p_identify as identify;
pub(crate) use libp2p_identity as identity;
pub(crate) use libp2p_identity::PeerId;
#[cfg(feature = "mdns")]
pub(crate) use libp2p_mdns as mdns;
pub(crate) use libp2p_noise as noise;
#[cfg(feature = "quic")]
pub(crate) use libp2p_quic as quic;
pub(crate) use libp2p_swarm as swarm;
pub(crate) use libp2p_swarm::{Stream, StreamProtocol};
pub(crate) use libp2p_tcp as tcp;
pub(crate) use libp2p_yamux as yamux;
