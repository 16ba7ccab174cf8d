//! The book of addresses: which peers to dial, at which addresses, and when. Pure: `now` is an argument.

mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::libp2p::Multiaddr;
use nexus_identity::Did;
use nexus_identity::plants::planted;
use tokio::time::Instant;

use self::peer::{Attempts, KnownPeer, SPOTTED_MAX, dialable, merge};
pub(super) use self::peer::{is_loopback, without_peer};
use crate::redial::{AWAY_FAILURES, Backoff};
use crate::wire::ADDRESSES_PER_PEER_MAX;

/// The most peers that are kept; further ones are not learned.
const PEERS_MAX: usize = 1_024;
/// The most bootstrap addresses that are kept.
const BOOTSTRAPS_MAX: usize = 64;
/// The most peers that are kept on the word of local discovery alone.
const CANDIDATES_MAX: usize = 64;
/// The most dials at a time.
const DIALS_MAX: usize = 16;
/// The most addresses of a peer that worked once; they are kept before those it told.
const PROVEN_MAX: usize = 4;
/// The most dials at a time of peers that local discovery alone knows.
const CANDIDATE_DIALS_MAX: usize = 4;
/// The most dials at a time of peers that were heard of lately, and of all others: neither takes all places.
const KIND_DIALS_MAX: usize = 12;
/// A peer was heard of lately if that was at most this long before the last word of any peer.
const LATELY: Duration = Duration::from_secs(10 * 60);
/// The failures that a refusal counts as. The next try is a slow one: only a person can change a refusal.
const REFUSED_FAILURES: u32 = 7;
/// The wait before a peer is dialled again that is connected to another process of this identity.
const TWIN_WAIT: Duration = Duration::from_secs(5 * 60);

/// The target of a dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A peer by its key.
    Peer(Did),
    /// Any node at an address.
    Bootstrap(Multiaddr),
}

#[derive(Debug, Default)]
struct Bootstrap {
    attempts: Attempts,
    /// The last node that answered there.
    peer: Option<Did>,
}

/// The kinds of dials that have room of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A peer that was heard of lately.
    Lately,
    /// Another peer, or an address without a peer.
    Other,
    /// A peer that local discovery alone knows; it is one of the others, too.
    Candidate,
}

/// The dials that may begin.
#[derive(Clone, Copy, Debug)]
struct Room {
    all: usize,
    lately: usize,
    others: usize,
    candidates: usize,
}

impl Room {
    fn has(&self, kind: Kind) -> bool {
        self.all > 0
            && match kind {
                Kind::Lately => self.lately > 0,
                Kind::Other => self.others > 0,
                Kind::Candidate => self.others > 0 && self.candidates > 0,
            }
    }

    /// Takes a place for a dial, if there is one.
    fn take(&mut self, kind: Kind) -> bool {
        let has = self.has(kind);
        let (lately, others, candidates) = match kind {
            Kind::Lately => (1, 0, 0),
            Kind::Other => (0, 1, 0),
            Kind::Candidate => (0, 1, 1),
        };
        if has {
            self.all -= 1;
            self.lately = self.lately.saturating_sub(lately);
            self.others = self.others.saturating_sub(others);
            self.candidates = self.candidates.saturating_sub(candidates);
        }
        has
    }
}

/// The addresses that this node dials.
#[derive(Debug)]
pub(super) struct Book {
    me: Did,
    seed: u64,
    backoff: Backoff,
    peers: BTreeMap<Did, KnownPeer>,
    bootstraps: BTreeMap<Multiaddr, Bootstrap>,
    open: BTreeSet<Did>,
    /// The last word of any peer.
    last_heard: Option<Instant>,
}

impl Book {
    pub(super) fn new(me: Did, seed: u64, backoff: Backoff) -> Self {
        Self {
            me,
            seed,
            backoff,
            peers: BTreeMap::new(),
            bootstraps: BTreeMap::new(),
            open: BTreeSet::new(),
            last_heard: None,
        }
    }

    fn entry(&mut self, peer: Did) -> Option<&mut KnownPeer> {
        let room = self.peers.len() < PEERS_MAX || self.peers.contains_key(&peer);
        (peer != self.me && room).then(|| self.peers.entry(peer).or_default())
    }

    /// Keeps dialling a peer for ever.
    pub(super) fn know(&mut self, peer: Did, addresses: &[Multiaddr], now: Instant) {
        let open = self.open.contains(&peer);
        let Some(known) = self.entry(peer) else { return };
        known.candidate = false;
        let before = std::mem::take(&mut known.told);
        merge(&mut known.told, addresses, ADDRESSES_PER_PEER_MAX);
        merge(&mut known.told, &before, ADDRESSES_PER_PEER_MAX);
        if !open && !known.attempts.dialing && !known.addresses().is_empty() {
            known.hurry(now);
        }
    }

    /// Notes a node that local discovery saw. A hello will show whether it is a member.
    pub(super) fn spotted(&mut self, peer: Did, address: &Multiaddr, now: Instant) {
        let candidates = self.peers.values().filter(|known| known.candidate).count();
        let new = !self.peers.contains_key(&peer);
        if new && candidates >= CANDIDATES_MAX {
            return;
        }
        let open = self.open.contains(&peer);
        let Some(known) = self.entry(peer) else { return };
        known.candidate |= new;
        let address = without_peer(address);
        if known.addresses().contains(&address) || !dialable(&address) {
            return;
        }
        known.spotted.insert(0, address);
        known.spotted.truncate(SPOTTED_MAX);
        if !open && !known.attempts.dialing {
            known.hurry(now);
        }
    }

    /// Notes an address that local discovery lost.
    pub(super) fn vanished(&mut self, peer: &Did, address: &Multiaddr) {
        let open = self.open.contains(peer);
        let Some(known) = self.peers.get_mut(peer) else { return };
        let address = without_peer(address);
        known.spotted.retain(|spotted| *spotted != address);
        if known.candidate && known.spotted.is_empty() && !open {
            self.peers.remove(peer);
        }
    }

    /// Keeps dialling an address for ever, whatever node is there.
    pub(super) fn bootstrap(&mut self, address: Multiaddr, now: Instant) {
        if self.bootstraps.len() < BOOTSTRAPS_MAX {
            self.bootstraps.entry(address).or_default().attempts.due = Some(now);
        }
    }

    /// Replaces the addresses that a member told before. `near`: it is on this machine, so its loopback
    /// addresses are of use.
    /// Returns all its addresses, to be kept, if they changed; four times a minute at most.
    pub(super) fn told(
        &mut self,
        peer: Did,
        addresses: &[Multiaddr],
        near: bool,
        now: Instant,
    ) -> Option<Vec<Multiaddr>> {
        let known = self.entry(peer)?;
        known.told.clear();
        let useful: Vec<_> = addresses.iter().filter(|address| near || !is_loopback(address)).cloned().collect();
        merge(&mut known.told, &useful, ADDRESSES_PER_PEER_MAX);
        known.report(now)
    }

    /// Notes a member that passed the gate. `dialled`: the address, if we dialled. Returns its
    /// addresses if they are new.
    pub(super) fn opened(&mut self, peer: Did, dialled: Option<&Multiaddr>, now: Instant) -> Option<Vec<Multiaddr>> {
        self.open.insert(peer);
        self.last_heard = Some(now);
        let known = self.entry(peer)?;
        known.candidate = false;
        known.error = None;
        known.rests_until = None;
        known.heard = Some(now);
        known.attempts = Attempts::default();
        let address = without_peer(dialled?);
        known.proven.retain(|proven| *proven != address);
        known.proven.insert(0, address);
        known.proven.truncate(PROVEN_MAX);
        known.report(now)
    }

    /// Notes the end of the open connection to a member. Returns its addresses if some are not reported.
    pub(super) fn closed(&mut self, peer: &Did, now: Instant) -> Option<Vec<Multiaddr>> {
        self.open.remove(peer);
        self.last_heard = Some(now);
        let known = self.peers.get_mut(peer);
        let unreported = known.and_then(|known| {
            known.heard = Some(now);
            known.report(now)
        });
        self.plan_redial(peer, now);
        unreported
    }

    /// Notes a word of a peer that others passed on. Returns whether its dial may come forward.
    pub(super) fn heard(&mut self, peer: &Did, now: Instant) -> bool {
        let open = self.open.contains(peer);
        let Some(known) = self.peers.get_mut(peer) else { return false };
        (known.heard, self.last_heard) = (Some(now), Some(now));
        if known.attempts.failures >= AWAY_FAILURES && !open && !known.attempts.dialing {
            known.attempts.failures = REFUSED_FAILURES;
            known.hurry(now);
        }
        known.attempts.due.is_some()
    }

    fn plan_redial(&mut self, peer: &Did, now: Instant) {
        if planted("never_redials") {
            return;
        }
        let (backoff, seed) = (self.backoff, self.seed);
        if let Some(known) = self.peers.get_mut(peer)
            && !known.addresses().is_empty()
        {
            known.attempts = Attempts { failures: 0, due: Some(now + backoff.wait(1, seed)), dialing: false };
        }
        for bootstrap in self.bootstraps.values_mut().filter(|bootstrap| bootstrap.peer == Some(*peer)) {
            // the peer itself is redialled first; this dial is for a peer that came back with another key
            bootstrap.attempts.due = Some(now + backoff.longest);
        }
    }

    /// Notes the end of a dial. Harmless if the peer is open by now.
    pub(super) fn ended(&mut self, target: &Target, refused: bool, now: Instant) {
        let open = match target {
            Target::Peer(peer) => self.open.contains(peer),
            Target::Bootstrap(address) => {
                self.bootstraps.get(address).and_then(|known| known.peer).is_some_and(|peer| self.open.contains(&peer))
            }
        };
        let (backoff, seed) = (self.backoff, self.seed);
        let Some(attempts) = self.attempts(target) else { return };
        attempts.dialing = false;
        if open {
            attempts.due = None;
            return;
        }
        attempts.failures = attempts.failures.saturating_add(1);
        if refused {
            attempts.failures = attempts.failures.max(REFUSED_FAILURES);
        }
        let wait = match target {
            Target::Peer(_) => backoff.wait_for_peer(attempts.failures, seed),
            Target::Bootstrap(_) => backoff.wait(attempts.failures, seed),
        };
        attempts.due = Some(now + wait);
        if planted("redials_at_once") {
            attempts.due = Some(now);
        }
    }

    /// Waits 5 minutes before the next dial of a peer: another process has this node's identity, and a connection to
    /// that peer. No news of its addresses bring that dial forward.
    pub(super) fn rest(&mut self, peer: &Did, target: Option<&Target>, now: Instant) {
        let due = now + TWIN_WAIT;
        if let Some(known) = self.peers.get_mut(peer) {
            known.rests_until = Some(due);
        }
        let of_peer = Target::Peer(*peer);
        for target in [Some(&of_peer), target].into_iter().flatten() {
            if let Some(attempts) = self.attempts(target).filter(|attempts| !attempts.dialing) {
                attempts.due = Some(due);
            }
        }
    }

    fn attempts(&mut self, target: &Target) -> Option<&mut Attempts> {
        match target {
            Target::Peer(peer) => self.peers.get_mut(peer).map(|known| &mut known.attempts),
            Target::Bootstrap(address) => self.bootstraps.get_mut(address).map(|known| &mut known.attempts),
        }
    }

    /// Notes the node at a bootstrap address.
    pub(super) fn met(&mut self, address: &Multiaddr, peer: Did) {
        if let Some(bootstrap) = self.bootstraps.get_mut(address) {
            bootstrap.peer = Some(peer);
            bootstrap.attempts.failures = 0;
        }
    }

    /// Notes that an address is another node's, or our own.
    pub(super) fn misplaced(&mut self, target: &Target, address: &Multiaddr) {
        let address = without_peer(address);
        if let Target::Peer(peer) = target
            && let Some(known) = self.peers.get_mut(peer)
        {
            known.proven.retain(|known| *known != address);
            known.told.retain(|known| *known != address);
            known.spotted.retain(|known| *known != address);
        }
    }

    /// Drops a bootstrap address that is our own.
    pub(super) fn forget(&mut self, target: &Target) {
        if let Target::Bootstrap(address) = target {
            self.bootstraps.remove(address);
        }
    }

    /// Dials everybody at once: the network is back, or this node is.
    pub(super) fn dial_all(&mut self, now: Instant) {
        let open = &self.open;
        self.peers.values_mut().for_each(|known| known.rests_until = None);
        let peers = self.peers.iter_mut().filter(|(peer, known)| !open.contains(peer) && !known.addresses().is_empty());
        let bootstraps = self.bootstraps.values_mut();
        let bootstraps = bootstraps.filter(|known| known.peer.is_none_or(|peer| !open.contains(&peer)));
        for attempts in peers.map(|(_, known)| &mut known.attempts).chain(bootstraps.map(|known| &mut known.attempts)) {
            attempts.failures = 0;
            if !attempts.dialing {
                attempts.due = Some(now);
            }
        }
    }

    /// The dials that are due, those that were heard of last first. Each is in progress from now on, until it
    /// [`ended`](Self::ended) or the peer [`opened`](Self::opened).
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Target, Vec<Multiaddr>)> {
        let mut room = self.room();
        let peers = self.peers.iter().map(|(peer, known)| {
            (known.heard, known.attempts.due, self.kind(known), Target::Peer(*peer), known.addresses())
        });
        let bootstraps = self.bootstraps.iter().map(|(address, known)| {
            let heard = known.peer.and_then(|peer| self.peers.get(&peer)?.heard);
            (heard, known.attempts.due, Kind::Other, Target::Bootstrap(address.clone()), vec![address.clone()])
        });
        let is_due = |due: &Option<Instant>| due.is_some_and(|due| due <= now);
        let mut due: Vec<_> = peers.chain(bootstraps).filter(|(_, due, ..)| is_due(due)).collect();
        due.sort_by_key(|(heard, due, ..)| (std::cmp::Reverse(*heard), *due));
        due.retain(|(_, _, kind, ..)| room.take(*kind));
        for (_, _, _, target, _) in &due {
            if let Some(attempts) = self.attempts(target) {
                attempts.due = None;
                attempts.dialing = true;
            }
        }
        due.into_iter().map(|(_, _, _, target, addresses)| (target, addresses)).collect()
    }

    /// The next time at which [`Book::due`] has something; `None` while all dials are taken.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let room = self.room();
        let peers = self.peers.values().filter(|known| room.has(self.kind(known)));
        let bootstraps = self.bootstraps.values().filter(|_| room.has(Kind::Other));
        let attempts = peers.map(|known| &known.attempts).chain(bootstraps.map(|known| &known.attempts));
        attempts.filter_map(|one| one.due).min()
    }

    fn kind(&self, known: &KnownPeer) -> Kind {
        match known.heard {
            _ if known.candidate => Kind::Candidate,
            // it does not pass while this node hears of nobody
            Some(heard) if self.last_heard.is_some_and(|last| last <= heard + LATELY) => Kind::Lately,
            _ => Kind::Other,
        }
    }

    /// The dials that may begin.
    fn room(&self) -> Room {
        let mut room =
            Room { all: DIALS_MAX, lately: KIND_DIALS_MAX, others: KIND_DIALS_MAX, candidates: CANDIDATE_DIALS_MAX };
        let peers = self.peers.values().filter(|known| known.attempts.dialing).map(|known| self.kind(known));
        let bootstraps = self.bootstraps.values().filter(|known| known.attempts.dialing).map(|_| Kind::Other);
        for kind in peers.chain(bootstraps) {
            // a peer that was heard of lately as its dial began may not be so now
            if !room.take(kind) {
                room.all = room.all.saturating_sub(1);
            }
        }
        room
    }

    /// Notes why a dial of a peer failed.
    pub(super) fn blame(&mut self, target: &Target, error: String) {
        if let Target::Peer(peer) = target
            && let Some(known) = self.peers.get_mut(peer)
        {
            known.error = Some(error);
        }
    }

    /// Why the last dial of a peer failed.
    pub(super) fn error(&self, peer: &Did) -> Option<String> {
        self.peers.get(peer)?.error.clone()
    }

    pub(super) fn addresses(&self, peer: &Did) -> Vec<Multiaddr> {
        self.peers.get(peer).map(KnownPeer::addresses).unwrap_or_default()
    }

    /// All peers but those known from local discovery alone.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Did> {
        self.peers.iter().filter(|(_, known)| !known.candidate).map(|(peer, _)| peer)
    }
}

#[cfg(test)]
mod tests {
    use super::peer::{HURRY_EVERY, REPORTS_PER_MINUTE};
    use super::*;

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn book() -> (Book, Instant) {
        (Book::new(did(0), 7, Backoff::default()), Instant::now())
    }

    /// promise: Meeting | A known peer is redialled for ever, more and more slowly; a failing one delays no other
    #[test]
    fn a_known_peer_is_dialled_for_ever_more_and_more_slowly() {
        let (mut book, mut now) = book();
        book.know(did(1), &[address(1)], now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let due = book.next_due().unwrap();
            waits.push(due - now);
            now = due;
            assert_eq!(book.due(now), vec![(Target::Peer(did(1)), vec![address(1)])]);
            assert_eq!(book.next_due(), None);
            book.ended(&Target::Peer(did(1)), false, now);
        }
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits[1] <= Duration::from_secs(1) && waits[11] >= Duration::from_secs(30), "{waits:?}");
    }

    #[test]
    fn an_open_peer_is_left_alone_until_it_closes() {
        let (mut book, now) = book();
        book.know(did(1), &[address(1)], now);
        book.due(now);
        book.opened(did(1), Some(&address(1)), now);
        book.ended(&Target::Peer(did(1)), false, now);
        book.know(did(1), &[address(2)], now);
        assert_eq!(book.next_due(), None);
        book.closed(&did(1), now);
        assert!(book.next_due().unwrap() <= now + Duration::from_secs(1));
    }

    #[test]
    fn coming_online_dials_all_at_once() {
        let (mut book, now) = book();
        book.know(did(1), &[address(1)], now);
        book.bootstrap(address(2), now);
        for _ in 0..9 {
            for (target, _) in book.due(now + Duration::from_secs(3_600)) {
                book.ended(&target, true, now);
            }
        }
        assert!(book.due(now).is_empty());
        book.dial_all(now);
        assert_eq!(book.due(now).len(), 2);
    }

    #[test]
    fn we_do_not_dial_ourselves_nor_addresses_for_listening() {
        let (mut book, now) = book();
        book.know(did(0), &[address(1)], now);
        book.know(did(1), &["/ip4/0.0.0.0/tcp/4002".parse().unwrap(), address(0)], now);
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn a_distant_peer_s_loopback_addresses_are_not_ours_to_dial() {
        let (mut book, now) = book();
        let lan: Multiaddr = "/ip4/192.0.2.7/tcp/4002".parse().unwrap();
        assert_eq!(book.told(did(1), &[address(1), lan.clone()], false, now), Some(vec![lan.clone()]));
        assert_eq!(book.told(did(2), &[address(1), lan.clone()], true, now), Some(vec![address(1), lan]));
    }

    /// promise: Bad input | A flood
    #[test]
    fn what_peers_tell_is_bounded() {
        let (mut book, now) = book();
        let many: Vec<_> = (1..=200).map(address).collect();
        book.know(did(1), &many, now);
        assert_eq!(book.addresses(&did(1)).len(), ADDRESSES_PER_PEER_MAX);
        for n in 0..=255_u8 {
            for m in 0..=255_u8 {
                let mut key = [0; 32];
                (key[0], key[1]) = (n, m);
                book.spotted(Did::from_bytes(key), &address(1), now);
                book.know(Did::from_bytes(key), &[address(1)], now);
            }
        }
        assert!(book.peers.len() <= PEERS_MAX);
        assert!(book.due(now).len() <= DIALS_MAX);
    }

    /// promise: Meeting | A known peer is redialled for ever, more and more slowly; a failing one delays no other
    #[test]
    fn a_failing_peer_does_not_delay_another() {
        let (mut book, now) = book();
        book.know(did(1), &[address(1)], now);
        book.due(now);
        book.know(did(2), &[address(2)], now);
        assert_eq!(book.due(now).len(), 1);
    }

    /// promise: Meeting | Members that left for good delay no dial of those that were heard of lately
    #[test]
    fn the_dead_delay_no_dial_of_the_living() {
        let (mut book, start) = book();
        for n in 1..=200 {
            book.know(did(n), &[address(n.into())], start);
        }
        // five of them answer, are heard of, and are lost with the network
        for n in [7, 50, 101, 150, 200] {
            book.opened(did(n), None, start);
            book.closed(&did(n), start);
        }
        let later = start + Duration::from_secs(3 * 86_400);
        book.dial_all(later);
        let first: Vec<Target> = book.due(later).into_iter().map(|(target, _)| target).collect();
        for n in [7, 50, 101, 150, 200] {
            assert!(first[..5].contains(&Target::Peer(did(n))), "{n} is among the first five: {first:?}");
        }
        assert_eq!(first.len(), DIALS_MAX, "the rest of the room is for the others");
        // all dials of the dead hang, and one of the living is lost again
        book.opened(did(7), None, later);
        book.closed(&did(7), later);
        let due = book.next_due().unwrap();
        assert!(due <= later + Duration::from_secs(1));
        assert_eq!(book.due(due), [(Target::Peer(did(7)), vec![address(7)])]);
    }

    /// promise: Meeting | Members that left for good delay no dial of those that were heard of lately
    #[test]
    fn neither_the_living_nor_the_dead_take_all_dials() {
        let (mut book, now) = book();
        for n in 1..=100 {
            book.know(did(n), &[address(n.into())], now);
        }
        assert_eq!(book.due(now).len(), KIND_DIALS_MAX, "there is room for somebody that is heard of");
        assert_eq!(book.next_due(), None);
        book.heard(&did(90), now);
        assert_eq!(book.due(now), [(Target::Peer(did(90)), vec![address(90)])]);
        for n in 1..=100 {
            book.heard(&did(n), now);
        }
        book.know(did(101), &[address(101)], now);
        for n in 1..=100 {
            book.ended(&Target::Peer(did(n)), false, now);
        }
        let soon = now + Duration::from_secs(60);
        let due = book.due(soon);
        assert_eq!(due.len(), KIND_DIALS_MAX + 1);
        assert!(due.contains(&(Target::Peer(did(101)), vec![address(101)])), "a newcomer has its turn");
    }

    /// promise: Meeting | A member that is away for days is dialled every ten minutes, and at once when others hear of it
    #[test]
    fn who_is_away_for_days_is_dialled_rarely_until_others_hear_of_it() {
        let (mut book, mut now) = book();
        let (peer, start) = (Target::Peer(did(1)), now);
        book.know(did(1), &[address(1)], now);
        book.bootstrap(address(2), now);
        let (mut dials, mut bootstraps) = (Vec::new(), 0);
        while now < start + Duration::from_secs(3 * 86_400) {
            now = book.next_due().unwrap();
            for (target, _) in book.due(now) {
                match target == peer {
                    true => dials.push(now),
                    false => bootstraps += 1,
                }
                book.ended(&target, false, now);
            }
        }
        let wait = |n: usize| dials[n + 1] - dials[n];
        assert!(wait(1_000) <= Duration::from_secs(60));
        let last = wait(dials.len() - 2);
        assert!(last >= Duration::from_secs(300) && last <= Duration::from_secs(600), "{last:?}");
        assert!(bootstraps > 3 * 86_400 / 60, "an address that a person gave is tried each minute");
        assert!(book.heard(&did(1), now));
        assert!(book.due(now).iter().any(|(target, _)| *target == peer));
        book.ended(&peer, false, now);
        assert!(book.peers[&did(1)].attempts.due.unwrap() <= now + Duration::from_secs(60));
    }

    #[test]
    fn a_peer_of_another_process_of_this_identity_is_dialled_every_five_minutes() {
        let (mut book, start) = book();
        let (peer, address_of_it) = (Target::Peer(did(1)), Target::Bootstrap(address(2)));
        book.know(did(1), &[address(1)], start);
        book.bootstrap(address(2), start);
        for target in book.due(start).into_iter().map(|(target, _)| target) {
            book.ended(&target, true, start);
            book.rest(&did(1), Some(&target), start);
        }
        let soon = start + TWIN_WAIT - Duration::from_secs(1);
        for minute in 0..4 {
            let now = start + Duration::from_secs(60 * minute);
            book.know(did(1), &[address(100)], now);
            book.heard(&did(1), now);
        }
        assert!(book.due(soon).is_empty());
        assert_eq!(book.next_due(), Some(start + TWIN_WAIT));
        let due: Vec<Target> = book.due(start + TWIN_WAIT).into_iter().map(|(target, _)| target).collect();
        assert_eq!(due, [peer.clone(), address_of_it]);
        // it is free now, and lost later: dialled at once as any other
        book.opened(did(1), None, start + TWIN_WAIT);
        book.closed(&did(1), start + TWIN_WAIT);
        assert!(book.peers[&did(1)].attempts.due.unwrap() <= start + TWIN_WAIT + Duration::from_secs(1));
        book.rest(&did(1), Some(&peer), start + TWIN_WAIT);
        book.dial_all(start + TWIN_WAIT);
        assert_eq!(book.due(start + TWIN_WAIT), [(peer, book.addresses(&did(1)))], "the network is back");
    }

    /// promise: Bad input | Members and the local network do not aim this node's dials: one change a minute counts
    #[test]
    fn new_addresses_bring_a_failing_dial_forward_once_a_minute() {
        let (mut book, start) = book();
        book.know(did(1), &[address(1)], start);
        let target = Target::Peer(did(1));
        for _ in 0..8 {
            book.due(book.next_due().unwrap());
            book.ended(&target, true, start);
        }
        // the first change is dialled at once, in case the peer has moved
        book.know(did(1), &[address(100)], start);
        assert_eq!(book.due(start).len(), 1);
        book.ended(&target, false, start);
        for second in 1..60_u16 {
            let now = start + Duration::from_secs(second.into());
            book.know(did(1), &[address(100 + second)], now);
            book.spotted(did(1), &address(300 + second), now);
            assert!(book.next_due().unwrap() > start + Duration::from_secs(29), "the backoff stays");
        }
        let now = start + HURRY_EVERY;
        book.know(did(1), &[address(200)], now);
        let due = book.due(now);
        assert_eq!(due.len(), 1);
        assert!(due[0].1.contains(&address(200)), "the newest is among them: {due:?}");
        assert!(due[0].1.len() <= ADDRESSES_PER_PEER_MAX);
    }

    /// promise: Bad input | Made-up sightings on the local network displace no address and no dial
    #[test]
    fn sightings_displace_neither_addresses_nor_dials() {
        let (mut book, now) = book();
        for n in 0..200_u8 {
            book.spotted(did(n.saturating_add(10)), &address(u16::from(n) + 1), now);
            book.spotted(did(250), &address(u16::from(n) + 1_000), now);
        }
        assert_eq!(book.due(now).len(), CANDIDATE_DIALS_MAX, "few of them are dialled at a time");
        assert_eq!(book.next_due(), None, "and no other is due until one of these ends");
        assert_eq!(book.addresses(&did(250)).len(), SPOTTED_MAX);
        book.know(did(250), &(1..=16).map(address).collect::<Vec<_>>(), now);
        assert_eq!(book.next_due(), Some(now), "a known member is dialled");
        assert!(book.addresses(&did(250)).starts_with(&[address(1), address(2)]));
        for n in 0..200_u16 {
            book.vanished(&did(250), &address(1_000 + n));
        }
        assert_eq!(book.addresses(&did(250)), (1..=16).map(address).collect::<Vec<_>>());
    }

    /// promise: Bad input | A member's changing addresses are written to the disk four times a minute at most
    #[test]
    fn changing_addresses_are_reported_a_few_times_a_minute_and_at_the_end() {
        let (mut book, start) = book();
        book.opened(did(1), None, start);
        let mut reports = 0;
        for second in 0..120_u16 {
            let now = start + Duration::from_secs(second.into());
            reports += u32::from(book.told(did(1), &[address(second + 1)], true, now).is_some());
        }
        assert_eq!(reports, 2 * REPORTS_PER_MINUTE);
        assert_eq!(book.closed(&did(1), start + Duration::from_secs(120)), Some(vec![address(120)]));
    }
}
