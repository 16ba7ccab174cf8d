//! One peer of the book: its addresses, by their origin, and the next dial.

use std::time::Duration;

use crate::libp2p::Multiaddr;
use crate::libp2p::multiaddr::Protocol;
use tokio::time::Instant;

use crate::wire::ADDRESSES_PER_PEER_MAX;

/// The most addresses of a peer from local discovery, the newest ones.
pub(super) const SPOTTED_MAX: usize = 4;
/// The shortest time between two dials of a peer that news of its addresses bring forward. Whoever tells
/// many addresses, or new ones all the time, must not aim this node's dials.
pub(super) const HURRY_EVERY: Duration = Duration::from_secs(60);
/// The most reports of a peer's addresses in a minute. Each one is written to the disk.
pub(super) const REPORTS_PER_MINUTE: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) failures: u32,
    /// The time of the next dial; `None` during a dial, or if none is needed.
    pub(super) due: Option<Instant>,
    pub(super) dialing: bool,
}

/// The reports of a peer's addresses.
#[derive(Debug, Default)]
struct Reported {
    last: Vec<Multiaddr>,
    /// The begin of the current minute, and the reports in it.
    minute: Option<(Instant, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct KnownPeer {
    /// Addresses at which the peer answered our dial, the last one first.
    pub(super) proven: Vec<Multiaddr>,
    /// Addresses that the peer, or another, told us, the newest first.
    pub(super) told: Vec<Multiaddr>,
    /// Addresses from local discovery, the newest first. Anybody on the network can make them up.
    pub(super) spotted: Vec<Multiaddr>,
    pub(super) attempts: Attempts,
    /// Known only from local discovery.
    pub(super) candidate: bool,
    /// Why the last dial failed.
    pub(super) error: Option<String>,
    /// The last time at which it was connected, or others passed on a word of it.
    pub(super) heard: Option<Instant>,
    /// The time before which no news brings a dial forward.
    pub(super) rests_until: Option<Instant>,
    /// The last time at which news brought a dial forward.
    hurried: Option<Instant>,
    reported: Reported,
}

impl KnownPeer {
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        self.lasting().chain(&self.spotted).fold(Vec::new(), |mut all, address| {
            if !all.contains(address) {
                all.push(address.clone());
            }
            all
        })
    }

    /// The addresses without those of local discovery, which leave room for them.
    fn lasting(&self) -> impl Iterator<Item = &Multiaddr> {
        let told = self.told.iter().filter(|address| !self.proven.contains(address));
        self.proven.iter().chain(told).take(ADDRESSES_PER_PEER_MAX - self.spotted.len())
    }

    /// Brings the next dial forward, unless news did so within the last minute. A peer without a dial
    /// to come is dialled at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        let waiting = self.attempts.due.is_some();
        if waiting && self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        if waiting && self.hurried.is_some_and(|last| now < last + HURRY_EVERY) {
            return;
        }
        if self.attempts.failures > 0 {
            self.hurried = Some(now);
        }
        self.attempts.due = Some(now);
    }

    /// The addresses, if they changed and were not reported too often.
    pub(super) fn report(&mut self, now: Instant) -> Option<Vec<Multiaddr>> {
        let addresses: Vec<Multiaddr> = self.lasting().cloned().collect();
        let (since, count) = match self.reported.minute {
            Some((since, count)) if now < since + Duration::from_secs(60) => (since, count),
            _ => (now, 0),
        };
        if addresses.is_empty() || addresses == self.reported.last || count >= REPORTS_PER_MINUTE {
            return None;
        }
        self.reported = Reported { last: addresses.clone(), minute: Some((since, count + 1)) };
        Some(addresses)
    }
}

/// Adds addresses that can be dialled and are new, up to `max`.
pub(super) fn merge(addresses: &mut Vec<Multiaddr>, more: &[Multiaddr], max: usize) {
    for address in more.iter().map(without_peer).filter(dialable) {
        if addresses.len() < max && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
}

/// Excludes "any interface" and port 0, which are for listening only.
pub(super) fn dialable(address: &Multiaddr) -> bool {
    let listening_only = |protocol: Protocol<'_>| match protocol {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        Protocol::Tcp(port) | Protocol::Udp(port) => port == 0,
        _ => false,
    };
    !address.is_empty() && !address.iter().any(listening_only)
}

/// Whether an address leads back to its own machine.
pub(in crate::net) fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|protocol| match protocol {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// The address without `/p2p/…` at its end.
pub(in crate::net) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}
