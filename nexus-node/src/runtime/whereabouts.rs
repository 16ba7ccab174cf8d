//! The addresses of members, told with every beat. So two members whom a third one invited meet without it.

use std::collections::BTreeMap;

use nexus_identity::Did;
use nexus_mesh::multiaddr::Protocol;
use nexus_mesh::{Mesh, Multiaddr};
use prost::Message;

/// The most addresses that are told and heard.
const ADDRESSES_MAX: usize = 8;
/// The most members whose addresses are remembered.
const MEMBERS_MAX: usize = 4_096;

/// The body of a beat.
#[derive(Clone, PartialEq, Message)]
struct Body {
    /// Multiaddresses without `/p2p/…`, best first.
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
}

/// Tells the other members this node's addresses.
pub(super) fn tell(mesh: &Mesh, bound: &[Multiaddr]) {
    let addresses = dialable(bound).into_iter().take(ADDRESSES_MAX).collect();
    // eight addresses are far below the limit of a beat
    let _ = mesh.set_beat(Body { addresses }.encode_to_vec());
}

/// For `nexus-fuzz`: reads the body of any beat, and tells whether it named new addresses.
#[cfg(all(feature = "testing", feature = "coordinators", feature = "mcp"))]
pub(crate) fn fuzzed(body: &[u8]) -> bool {
    let (mut known, peer) = (Whereabouts::default(), Did::from_bytes([1; 32]));
    let Some(addresses) = known.heard(peer, body) else { return false };
    assert!(addresses.len() <= ADDRESSES_MAX, "a beat names few addresses");
    assert!(known.heard(peer, body).is_none(), "what was heard is not new");
    // they are shown, kept as text and dialled
    let texts = dialable(&addresses);
    assert!(texts.iter().all(|text| text.parse::<Multiaddr>().is_ok()), "an address has a text that reads");
    true
}

/// This node's addresses for others: network addresses before loopback, QUIC before TCP.
pub(crate) fn dialable(bound: &[Multiaddr]) -> Vec<String> {
    let tcp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let six = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Ip6(_)));
    let mut sorted: Vec<&Multiaddr> = bound.iter().collect();
    sorted.sort_by_key(|address| (is_loopback(address), six(address), tcp(address)));
    sorted.into_iter().map(ToString::to_string).collect()
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// The members' addresses, so that the mesh hears of changes alone: every change makes it dial.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(BTreeMap<Did, Vec<Multiaddr>>);

impl Whereabouts {
    /// Takes a beat. Returns its addresses, if they are new.
    pub(super) fn heard(&mut self, peer: Did, body: &[u8]) -> Option<Vec<Multiaddr>> {
        let body = Body::decode(body).ok()?;
        let addresses = body.addresses.iter().take(ADDRESSES_MAX).filter_map(|address| address.parse().ok());
        let addresses: Vec<Multiaddr> = addresses.collect();
        let new = self.0.get(&peer) != Some(&addresses) && !addresses.is_empty();
        if !new || (self.0.len() >= MEMBERS_MAX && !self.0.contains_key(&peer)) {
            return None;
        }
        self.0.insert(peer, addresses.clone());
        Some(addresses)
    }

    /// Forgets a member's addresses, so that its next beat makes the mesh dial.
    pub(super) fn lost(&mut self, peer: &Did) {
        self.0.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_tells_is_news_once_and_bounded() {
        let (peer, mut known) = (Did::from_bytes([1; 32]), Whereabouts::default());
        let body = |ports: std::ops::Range<u16>| {
            let addresses = ports.map(|port| format!("/ip4/192.0.2.1/tcp/{port}")).collect();
            Body { addresses }.encode_to_vec()
        };
        assert_eq!(known.heard(peer, &body(1..3)).unwrap().len(), 2);
        assert_eq!(known.heard(peer, &body(1..3)), None);
        assert_eq!(known.heard(peer, &body(1..100)).unwrap().len(), ADDRESSES_MAX);
        assert_eq!(known.heard(peer, &[]), None);
        assert_eq!(known.heard(peer, b"\xff\xff"), None);
        known.lost(&peer);
        assert!(known.heard(peer, &body(1..100)).is_some());
    }

    #[test]
    fn addresses_of_networks_come_before_loopback_and_quic_before_tcp() {
        let bound = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/192.0.2.1/tcp/1",
            "/ip6/2001:db8::1/udp/1/quic-v1",
            "/ip4/192.0.2.1/udp/1/quic-v1",
        ];
        let bound: Vec<Multiaddr> = bound.iter().map(|address| address.parse().unwrap()).collect();
        let told = dialable(&bound);
        assert_eq!(told[0], "/ip4/192.0.2.1/udp/1/quic-v1");
        assert_eq!(told[3], "/ip4/127.0.0.1/tcp/1");
    }
}
