use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::libp2p::Multiaddr;
use nexus_identity::{Chain, Did, Keypair};

use crate::abilities::Abilities;
use crate::clock::{Clock, SystemClock};
use crate::error::ConfigError;
use crate::process::Process;
use crate::rooms::Rooms;

/// The topic of beats.
pub(crate) const PRESENCE_TOPIC: &str = "presence";

/// The configuration of a mesh.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// This node's key.
    pub keypair: Keypair,
    /// The credentials to show at the gate. Without them only the doors are of use: for joining.
    pub membership: Option<Membership>,
    /// Addresses to listen on. Port 0 takes a free port.
    pub listen: Vec<Multiaddr>,
    /// Whether to look for peers on the local network. Runs tasks of its own on tokio, past the
    /// injected spawner: off in simulations.
    pub mdns: bool,
    /// The time between two beats. Default 5 s.
    pub heartbeat: Duration,
    /// The silence after which a peer counts as down and its connection is closed. Default 15 s, three
    /// heartbeats. A peer is suspect from two thirds of it on.
    ///
    /// Must exceed `2 * heartbeat`, or one lost heartbeat evicts a healthy peer.
    pub down_after: Duration,
    /// The bounds of everything that peers can fill.
    pub limits: Limits,
    /// The software's name and version, shown to members.
    pub agent: String,
    /// This node's abilities. Its rooms are those registered in [`Rooms`](crate::Rooms).
    pub abilities: Abilities,
    /// This process, after those before it on the same data directory. Default: one after none.
    pub process: Option<Process>,
    /// Decides when credentials have expired. Default [`SystemClock`].
    pub clock: Arc<dyn Clock>,
}

impl MeshConfig {
    /// The defaults for a key: no membership, no sockets.
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            membership: None,
            listen: Vec::new(),
            mdns: false,
            heartbeat: Duration::from_secs(5),
            down_after: Duration::from_secs(15),
            limits: Limits::default(),
            agent: concat!("nexus/", env!("CARGO_PKG_VERSION")).to_owned(),
            abilities: Abilities::first(),
            process: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// The silence after which a peer is suspect.
    pub(crate) fn suspect_after(&self) -> Duration {
        (self.down_after * 2 / 3).max(self.heartbeat + self.heartbeat / 2)
    }

    /// The silence after which the end that was dialled pings, too. The other end's ping was late by then, and nobody is
    /// suspect yet.
    pub(crate) fn ping_patience(&self) -> Duration {
        let every = self.ping_every();
        every + self.suspect_after().saturating_sub(every) / 3
    }

    /// The time between two pings of a connection: as rare as it can be while a lost one makes nobody suspect.
    pub(crate) fn ping_every(&self) -> Duration {
        (self.suspect_after() * 2 / 3).min(self.heartbeat * 7 / 5).max(self.heartbeat)
    }

    pub(crate) fn check(&self, rooms: &Rooms) -> Result<(), ConfigError> {
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
            ("strangers_per_network", limits.strangers_per_network == 0),
            ("streams_per_peer", limits.streams_per_peer == 0),
            ("messages_per_second", limits.messages_per_second == 0),
            ("events", limits.events == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero(name));
            }
        }
        let mut seen = BTreeSet::from([PRESENCE_TOPIC]);
        for topic in rooms.topics() {
            if !seen.insert(topic) {
                return Err(ConfigError::Topic(topic.to_owned()));
            }
        }
        let mut seen = BTreeSet::new();
        for room in rooms.protocols() {
            if !seen.insert(room.as_ref()) {
                return Err(ConfigError::Room(room.to_string()));
            }
        }
        Ok(())
    }
}

/// The credentials of a member.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The mesh: the DID of its root key.
    pub mesh: Did,
    /// This node's credentials.
    pub chain: Chain,
}

/// The bounds of everything that peers can fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established connections, in and out. Default 128.
    pub connections: u32,
    /// Connections in their handshake, in each direction. Default 32. A further inbound one ends the oldest.
    pub pending: u32,
    /// Inbound connections that have not passed the gate. Default 32. A further one takes the place of the
    /// oldest that has said nothing.
    pub strangers: usize,
    /// Those of one network (24 bits of IPv4, 56 of IPv6), and inbound handshakes of it. Default 24.
    pub strangers_per_network: usize,
    /// Streams that a peer may hold to this node, and this node to a peer. Default 64 each.
    pub streams_per_peer: usize,
    /// Gossip messages a second taken from one peer; more are ignored. Default 1,000.
    pub messages_per_second: u32,
    /// The longest gossip message. Default 40 KiB: an entry of 32 KiB and its envelope.
    pub message_bytes_max: usize,
    /// Events that wait for the node. When they are full, the mesh stops reading. Default 1,024.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            pending: 32,
            strangers: 32,
            strangers_per_network: 24,
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
    use crate::libp2p::StreamProtocol;
    use crate::quota::Bounds;

    #[test]
    fn a_configuration_that_contradicts_itself_is_refused() {
        let good = MeshConfig::new(Keypair::from_seed(&[1; 32]));
        assert_eq!(good.check(&Rooms::new()), Ok(()));
        let short = MeshConfig { down_after: Duration::from_secs(10), ..good.clone() };
        assert!(matches!(short.check(&Rooms::new()), Err(ConfigError::SuspicionTooShort { .. })));
        let mut reserved = Rooms::new();
        let _presence = reserved.topic("presence", Bounds::items(1));
        assert!(matches!(good.check(&reserved), Err(ConfigError::Topic(_))));
        let mut twice = Rooms::new();
        let _both = [1, 2].map(|places| twice.register(StreamProtocol::new("/test/room/1"), places));
        assert!(matches!(good.check(&twice), Err(ConfigError::Room(_))));
        let mut zero = good;
        zero.limits.pending = 0;
        assert_eq!(zero.check(&Rooms::new()), Err(ConfigError::Zero("pending")));
    }
}
