//! The shell: libp2p's swarm, driven by one task.

mod behaviour;
mod book;
mod discovery;
mod handshakes;
mod narrow;
mod paced;
mod posted;
mod pulse;
mod swarm;
mod transport;

pub(crate) use posted::MeshShared;
pub(crate) use swarm::{MeshCommand, Net};
pub use transport::{BoxedTransport, MeshTransport, tcp_quic_transport};
