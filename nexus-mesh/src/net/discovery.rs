//! Discovery on the local network by multicast DNS; without feature `mdns`, none.

use crate::libp2p::swarm::NetworkBehaviour;
use crate::libp2p::{Multiaddr, PeerId};

/// The behaviour that finds members.
#[cfg(feature = "mdns")]
pub(super) type Discovery = crate::libp2p::mdns::tokio::Behaviour;
#[cfg(not(feature = "mdns"))]
pub(super) type Discovery = crate::libp2p::swarm::dummy::Behaviour;

/// The behaviour's events.
pub(super) type Event = <Discovery as NetworkBehaviour>::ToSwarm;

/// Members that came or went.
#[cfg_attr(not(feature = "mdns"), expect(dead_code, reason = "nobody is sighted"))]
pub(super) enum Sighting {
    Came(Vec<(PeerId, Multiaddr)>),
    Went(Vec<(PeerId, Multiaddr)>),
}

/// Starts discovery; none where the machine does not allow multicast.
#[cfg(feature = "mdns")]
pub(super) fn discovery(me: PeerId) -> Option<Discovery> {
    Discovery::new(crate::libp2p::mdns::Config::default(), me)
        .inspect_err(|error| tracing::warn!(%error, "no discovery on the local network"))
        .ok()
}

#[cfg(not(feature = "mdns"))]
pub(super) fn discovery(_: PeerId) -> Option<Discovery> {
    tracing::debug!("no discovery on the local network: built without it");
    None
}

#[cfg(feature = "mdns")]
pub(super) fn sighting(event: Event) -> Sighting {
    match event {
        Event::Discovered(found) => Sighting::Came(found),
        Event::Expired(lost) => Sighting::Went(lost),
    }
}

#[cfg(not(feature = "mdns"))]
pub(super) fn sighting(event: Event) -> Sighting {
    match event {}
}
