//! The strangers at the door: how many wait, from which networks, and which one goes when it is full.
//!
//! A stranger that says nothing costs its sender nothing, so places are not given away for good. When
//! they are taken, the oldest silent stranger of the most crowded network makes room. One network never
//! has all the places.

use std::collections::{BTreeMap, VecDeque};

use crate::libp2p::Multiaddr;
use crate::libp2p::multiaddr::Protocol;

use crate::path::Circuit;

/// The network of an address, as far as one party usually holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    /// IPv4, by 24 bits.
    V4([u8; 3]),
    /// IPv6, by the 56 bits that a provider gives to a household.
    V6([u8; 7]),
    /// The circuits of one relay. Their ends are behind it, whose own network they are not.
    Relay(Circuit),
    /// All other addresses together.
    Other,
}

impl Network {
    /// The network of whoever is at the remote end of a connection.
    pub(crate) fn of(local: &Multiaddr, remote: &Multiaddr) -> Self {
        match Circuit::between(local, remote) {
            Some(circuit) => Self::Relay(circuit),
            None => Self::of_address(remote),
        }
    }

    fn of_address(address: &Multiaddr) -> Self {
        let v4 = |ip: std::net::Ipv4Addr| {
            let [a, b, c, _] = ip.octets();
            Self::V4([a, b, c])
        };
        match address.iter().next() {
            Some(Protocol::Ip4(ip)) => v4(ip),
            Some(Protocol::Ip6(ip)) => match ip.to_ipv4_mapped() {
                Some(ip) => v4(ip),
                None => {
                    let [a, b, c, d, e, f, g, ..] = ip.octets();
                    Self::V6([a, b, c, d, e, f, g])
                }
            },
            _ => Self::Other,
        }
    }
}

/// The answer to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission<C> {
    /// There was a place.
    Free,
    /// The newcomer has the place of this one, which is to be closed.
    Instead(C),
    /// All places are taken by strangers that have spoken. The newcomer has none.
    Full,
}

struct Stranger<C> {
    id: C,
    network: Network,
    silent: bool,
}

/// The strangers that wait, the oldest first. Pure; `C` names connections.
pub(crate) struct Crowd<C> {
    waiting: VecDeque<Stranger<C>>,
    max: usize,
    per_network_max: usize,
}

impl<C: Copy + Eq> Crowd<C> {
    /// At most `max` strangers, and at most `per_network_max` of one network; each at least one.
    pub(crate) fn new(max: usize, per_network_max: usize) -> Self {
        Self { waiting: VecDeque::new(), max: max.max(1), per_network_max: per_network_max.clamp(1, max.max(1)) }
    }

    /// Takes a newcomer in, unless all that could go for it have spoken.
    pub(crate) fn admit(&mut self, id: C, network: Network) -> Admission<C> {
        let mut counts: BTreeMap<Network, usize> = BTreeMap::new();
        for known in &self.waiting {
            *counts.entry(known.network).or_default() += 1;
        }
        let own = counts.get(&network).copied().unwrap_or_default();
        let goes = if own >= self.per_network_max {
            self.oldest_silent(|known| known.network == network)
        } else if self.waiting.len() >= self.max {
            let silent = |of: Network| self.waiting.iter().any(|known| known.network == of && known.silent);
            let most = counts.iter().filter(|(of, _)| silent(**of)).max_by_key(|(_, count)| **count);
            most.map(|(of, _)| *of).and_then(|of| self.oldest_silent(|known| known.network == of))
        } else {
            self.waiting.push_back(Stranger { id, network, silent: true });
            return Admission::Free;
        };
        let Some(goes) = goes.and_then(|at| self.waiting.remove(at)) else { return Admission::Full };
        self.waiting.push_back(Stranger { id, network, silent: true });
        Admission::Instead(goes.id)
    }

    fn oldest_silent(&self, of: impl Fn(&Stranger<C>) -> bool) -> Option<usize> {
        self.waiting.iter().position(|known| known.silent && of(known))
    }

    /// Notes that a stranger has said something: it keeps its place until it leaves.
    pub(crate) fn spoke(&mut self, id: C) {
        if let Some(known) = self.waiting.iter_mut().find(|known| known.id == id) {
            known.silent = false;
        }
    }

    /// Frees the place of a stranger, if it has one.
    pub(crate) fn leave(&mut self, id: C) {
        self.waiting.retain(|known| known.id != id);
    }
}

#[cfg(test)]
mod tests {
    use crate::libp2p::PeerId;
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        Network::of(&"/ip4/192.0.2.7/tcp/1".parse().unwrap(), &text.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_party_are_one_network() {
        assert_eq!(network("/ip4/192.0.2.1/tcp/1"), network("/ip4/192.0.2.255/udp/9/quic-v1"));
        assert_ne!(network("/ip4/192.0.2.1/tcp/1"), network("/ip4/192.0.3.1/tcp/1"));
        assert_eq!(network("/ip6/::ffff:192.0.2.1/tcp/1"), network("/ip4/192.0.2.9/tcp/1"));
        assert_eq!(network("/ip6/2001:db8:0:1::1/tcp/1"), network("/ip6/2001:db8:0:ff::2/tcp/1"));
        assert_ne!(network("/ip6/2001:db8:0:100::1/tcp/1"), network("/ip6/2001:db8:0:200::1/tcp/1"));
        assert_eq!(network("/memory/1"), Network::Other);
    }

    /// promise: Bad input | Strangers that come through a relay have its share of the door, not that of its network, and leave the others theirs
    #[test]
    fn circuits_are_counted_by_their_relay() {
        let [one, two] = [PeerId::random(), PeerId::random()];
        let circuit =
            |relay: PeerId| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}/p2p-circuit").parse().unwrap() };
        let from = |local: &Multiaddr| Network::of(local, &format!("/p2p/{}", PeerId::random()).parse().unwrap());
        let (first, second) = (from(&circuit(one)), from(&circuit(two)));
        assert_eq!((from(&circuit(one)), first == second), (first, false));
        assert_ne!(first, network("/ip4/192.0.2.1/tcp/1"), "the relay's own network");
        let mut crowd = Crowd::new(4, 2);
        assert_eq!([1, 2].map(|id| crowd.admit(id, first)), [Admission::Free; 2]);
        assert_eq!(crowd.admit(3, first), Admission::Instead(1));
        assert_eq!(crowd.admit(4, network("/ip4/192.0.2.1/tcp/1")), Admission::Free);
        assert_eq!(crowd.admit(5, second), Admission::Free);
    }

    #[test]
    fn the_oldest_silent_stranger_of_the_most_crowded_network_goes() {
        let (a, b, c) = (Network::V4([1; 3]), Network::V4([2; 3]), Network::V4([3; 3]));
        let mut crowd = Crowd::new(4, 3);
        for (id, of) in [(1, b), (2, a), (3, a), (4, a)] {
            assert_eq!(crowd.admit(id, of), Admission::Free);
        }
        assert_eq!(crowd.admit(5, a), Admission::Instead(2), "its own network has its share");
        crowd.spoke(3);
        assert_eq!(crowd.admit(6, c), Admission::Instead(4));
        assert_eq!(crowd.admit(7, c), Admission::Instead(5));
        crowd.spoke(7);
        crowd.spoke(6);
        assert_eq!(crowd.admit(8, c), Admission::Instead(1));
        crowd.spoke(8);
        assert_eq!(crowd.admit(9, b), Admission::Full, "all have spoken");
        crowd.leave(3);
        assert_eq!(crowd.admit(10, b), Admission::Free);
    }

    proptest! {
        /// promise: Bad input | Silent strangers never shut the door: the oldest goes, and no network has all places
        #[test]
        fn a_newcomer_finds_a_place_while_a_silent_stranger_has_one(
            acts in prop::collection::vec((0_u8..6, any::<bool>(), any::<bool>()), 0..80),
        ) {
            let (max, share) = (8, 6);
            let mut crowd = Crowd::new(max, share);
            let mut here: Vec<(usize, u8, bool)> = Vec::new();
            for (id, (of, speaks, leaves)) in acts.into_iter().enumerate() {
                let silent = |here: &[(usize, u8, bool)]| here.iter().any(|(_, _, silent)| *silent);
                let own = here.iter().filter(|(_, network, _)| *network == of).count();
                match crowd.admit(id, Network::V4([of; 3])) {
                    Admission::Free => here.push((id, of, true)),
                    Admission::Instead(old) => {
                        let at = here.iter().position(|(id, ..)| *id == old).unwrap();
                        prop_assert!(here[at].2, "it was silent");
                        here.remove(at);
                        here.push((id, of, true));
                    }
                    Admission::Full => prop_assert!(own >= share || !silent(&here)),
                }
                prop_assert!(here.len() <= max);
                for network in 0..6 {
                    prop_assert!(here.iter().filter(|(_, known, _)| *known == network).count() <= share);
                }
                if speaks && let Some(last) = here.last_mut() {
                    crowd.spoke(last.0);
                    last.2 = false;
                }
                if leaves && !here.is_empty() {
                    crowd.leave(here.remove(0).0);
                }
            }
        }
    }
}
