use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, StreamProtocol};
use nexus_identity::{Chain, Did, Keypair};

use crate::clock::{Clock, SystemClock};
use crate::error::ConfigError;

/// The topic of beats.
pub(crate) const PRESENCE_TOPIC: &str = "presence";

/// What a mesh needs to know of its node.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Who this node is.
    pub keypair: Keypair,
    /// What it shows at the gate. Without it the doors alone are of use: for joining.
    pub membership: Option<Membership>,
    /// Where to listen. Port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    /// Whether to look for peers on the local network. Runs tasks of its own on tokio, past the
    /// injected spawner: off in simulations.
    pub mdns: bool,
    /// The stream protocols served to open peers, such as `/nexus/sync/1`.
    pub rooms: Vec<StreamProtocol>,
    /// The gossip topics besides the mesh's own `presence`.
    pub topics: Vec<String>,
    /// How often this node says that it is alive. Default 5 s.
    pub heartbeat: Duration,
    /// How long a silent peer may stay suspect before it counts as down and its connection is
    /// closed. Default 15 s, three heartbeats; suspicion begins at two thirds of it.
    ///
    /// Must exceed `2 * heartbeat`, or one lost heartbeat evicts a healthy peer.
    pub down_after: Duration,
    /// The bounds of everything that peers feed.
    pub limits: Limits,
    /// The software's name and version, shown to members.
    pub agent: String,
    /// Decides when credentials have expired. Default [`SystemClock`].
    pub clock: Arc<dyn Clock>,
}

impl MeshConfig {
    /// The defaults for a key: no membership, no sockets, no rooms, no topics.
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            membership: None,
            listen: Vec::new(),
            mdns: false,
            rooms: Vec::new(),
            topics: Vec::new(),
            heartbeat: Duration::from_secs(5),
            down_after: Duration::from_secs(15),
            limits: Limits::default(),
            agent: concat!("nexus/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// When silence begins to be suspicious.
    pub(crate) fn suspect_after(&self) -> Duration {
        (self.down_after * 2 / 3).max(self.heartbeat + self.heartbeat / 2)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Self { heartbeat, down_after, limits, .. } = self;
        if *down_after <= *heartbeat * 2 {
            let (heartbeat, down_after) = (*heartbeat, *down_after);
            return Err(ConfigError::SuspicionTooShort { heartbeat, down_after });
        }
        for (name, zero) in [
            ("heartbeat", heartbeat.is_zero()),
            ("connections", limits.connections == 0),
            ("pending", limits.pending == 0),
            ("strangers", limits.strangers == 0),
            ("streams_per_peer", limits.streams_per_peer == 0),
            ("messages_per_second", limits.messages_per_second == 0),
            ("events", limits.events == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero(name));
            }
        }
        let mut seen = BTreeSet::from([PRESENCE_TOPIC]);
        for topic in &self.topics {
            if !seen.insert(topic) {
                return Err(ConfigError::Topic(topic.clone()));
            }
        }
        Ok(())
    }
}

/// What makes this node a member.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The mesh: the DID of its root key.
    pub mesh: Did,
    /// This node's credentials.
    pub chain: Chain,
}

/// The bounds of everything that peers feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established connections, both ways. Default 128.
    pub connections: u32,
    /// Connections in their handshake, each way. Default 32.
    pub pending: u32,
    /// Inbound connections that have not passed the gate. Default 32.
    pub strangers: usize,
    /// Streams that a peer may hold, and that this node may hold to it. Default 64 each.
    pub streams_per_peer: usize,
    /// Gossip messages a second that one peer may pass on; more are ignored. Default 1,000.
    pub messages_per_second: u32,
    /// The longest gossip message. Default 40 KiB: an entry of 32 KiB and what surrounds it.
    pub message_bytes_max: usize,
    /// How many events wait for the node; then the mesh stops reading. Default 1,024.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            pending: 32,
            strangers: 32,
            streams_per_peer: 64,
            messages_per_second: 1_000,
            message_bytes_max: 40 * 1024,
            events: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_contradicts_itself_is_refused() {
        let good = MeshConfig::new(Keypair::from_seed(&[1; 32]));
        assert_eq!(good.check(), Ok(()));
        let short = MeshConfig { down_after: Duration::from_secs(10), ..good.clone() };
        assert!(matches!(short.check(), Err(ConfigError::SuspicionTooShort { .. })));
        let reserved = MeshConfig { topics: vec!["presence".to_owned()], ..good.clone() };
        assert!(matches!(reserved.check(), Err(ConfigError::Topic(_))));
        let mut zero = good;
        zero.limits.pending = 0;
        assert_eq!(zero.check(), Err(ConfigError::Zero("pending")));
    }
}
