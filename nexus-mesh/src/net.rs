//! The shell: libp2p's swarm, driven by one task.

mod behaviour;
mod book;
mod discovery;
mod swarm;
mod transport;

pub(crate) use swarm::{MeshCommand, MeshShared, Net};
pub use transport::{BoxedTransport, tcp_quic_transport};
