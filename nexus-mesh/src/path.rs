//! The path of a connection: directly to the peer, or through a relay.
//!
//! libp2p says it by addresses. That of a circuit names its relay: `/ip4/…/p2p/RELAY/p2p-circuit`. The dialling side has it as
//! the peer's address, and the other side as its own.

use std::fmt;
use std::time::Duration;

use crate::libp2p::multiaddr::Protocol;
use crate::libp2p::{Multiaddr, PeerId};

/// The path of a connection, from worse to better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConnectionPath {
    /// Through a relay.
    Relayed,
    /// Between the two nodes.
    Direct,
}

impl ConnectionPath {
    /// The path of a connection with these ends.
    pub(crate) fn between(local: &Multiaddr, remote: &Multiaddr) -> Self {
        if Circuit::between(local, remote).is_some() { Self::Relayed } else { Self::Direct }
    }

    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Direct => "direct",
        }
    }
}

impl fmt::Display for ConnectionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The quality of an open connection, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quality {
    /// Its path: of two connections to a peer the direct one stays.
    pub path: ConnectionPath,
    /// The last ping's round trip on it.
    pub rtt: Option<Duration>,
}

/// A circuit, by the relay that its address names; `None` if it names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Circuit(Option<PeerId>);

impl Circuit {
    /// The circuit of a connection with these ends; `None` if it is direct.
    pub(crate) fn between(local: &Multiaddr, remote: &Multiaddr) -> Option<Self> {
        Self::of(local).or_else(|| Self::of(remote))
    }

    fn of(address: &Multiaddr) -> Option<Self> {
        let mut relay = None;
        for part in address {
            match part {
                Protocol::P2p(peer) => relay = Some(peer),
                Protocol::P2pCircuit => return Some(Self(relay)),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_is_known_at_both_of_its_ends() {
        let (relay, peer) = (PeerId::random(), PeerId::random());
        let address = |text: String| text.parse::<Multiaddr>().unwrap();
        let direct = address(format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}"));
        let circuit = address(format!("/ip4/192.0.2.9/tcp/1/p2p/{relay}/p2p-circuit"));
        let of_peer = address(format!("{circuit}/p2p/{peer}"));
        for (local, remote) in [(&direct, &of_peer), (&circuit, &direct), (&circuit, &of_peer)] {
            assert_eq!(Circuit::between(local, remote), Some(Circuit(Some(relay))));
            assert_eq!(ConnectionPath::between(local, remote), ConnectionPath::Relayed);
        }
        assert_eq!(ConnectionPath::between(&direct, &direct), ConnectionPath::Direct);
        assert_eq!(Circuit::of(&address("/p2p-circuit".to_owned())), Some(Circuit(None)));
        assert!(ConnectionPath::Direct > ConnectionPath::Relayed, "the better one is greater");
    }
}
