use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::parts::{PART_BYTES, Part, PartSet, Shape};

/// The largest blob, in bytes: 1 TiB. A larger one is not fetched, whatever a peer claims.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;
/// The most parts that are asked of one peer at a time.
pub const WINDOW_MAX: usize = 16;
/// The most parts that are asked for at a time: 16 MiB.
pub const IN_FLIGHT_MAX: usize = 64;
/// The most peers that one blob is fetched from.
pub const PEERS_MAX: usize = 64;
/// The time after which a part is asked of another peer, too.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The first rest of a peer that failed. Each further failure in a row doubles it, up to [`REST_MAX`].
pub const REST: Duration = Duration::from_secs(1);
/// The longest rest of a peer that failed.
pub const REST_MAX: Duration = Duration::from_secs(300);
/// The most parts that a peer may say are damaged in its copy. One with more has nothing to give.
pub const DAMAGED_MAX: usize = 1_024;
/// The most peers that are asked for the same part at a time, while none of them is late.
const ASKERS_MAX: usize = 2;
/// The most peers that are asked at a time to prove the sizes that they claim.
const PROVERS_MAX: usize = 4;
/// A peer has no more parts to send than those of so much time, in ms.
const AHEAD_MS: u64 = 2_000;
/// The rate of a peer that has not sent anything yet, in bytes per second.
const RATE_UNKNOWN: u64 = 4 * PART_BYTES;

/// A part that is to be asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<P> {
    /// Its number, never used twice in one fetch.
    pub no: u64,
    /// The peer.
    pub peer: P,
    /// The part.
    pub part: Part,
    /// The shape of the blob, which is proven by the first answer.
    pub shape: Shape,
}

/// The state of a peer in a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPeer<P> {
    /// The peer.
    pub peer: P,
    /// The number of parts that came from it.
    pub parts: u64,
    /// The number of parts that are asked of it now.
    pub asked: usize,
    /// Whether it sent something else than it was asked for, or claimed a wrong size. It is asked no more.
    pub lied: bool,
    /// Whether it said that parts of its copy are damaged.
    pub damaged: bool,
}

/// The end of a fetch as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchEnd {
    /// All parts are here.
    Whole,
    /// Nobody is left to ask. It goes on with the next [`Fetch::offer`].
    Starved,
}

#[derive(Clone, Debug)]
struct Peer {
    size: u64,
    /// The asks that it has not answered.
    asks: BTreeSet<u64>,
    window: usize,
    parts: u64,
    /// In bytes per second, once it has sent something.
    rate: Option<u64>,
    last_came: Duration,
    lied: bool,
    /// The parts that are damaged in its copy, as it says itself: [`DAMAGED_MAX`] at most.
    damaged: BTreeSet<Part>,
    /// Whether it is connected.
    is_here: bool,
    failures: u32,
    rests_until: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Asked<P> {
    peer: P,
    part: Part,
    at: Duration,
    /// Whether others may be asked for it, too.
    is_late: bool,
}

/// Which part of a blob is asked of which peer.
///
/// The first part asked for is the last of the blob, from a few peers, since it proves the size that a peer claims. Then
/// all peers are asked: each for as much as it sends in two seconds. Once every part is asked for, those that a slow
/// peer has are asked of a faster one, too. A peer that sends something wrong is asked no more; one that fails rests.
#[derive(Clone, Debug)]
pub struct Fetch<P> {
    /// The parts that are here, once the size is proven.
    parts: Option<PartSet>,
    peers: BTreeMap<P, Peer>,
    asked: BTreeMap<u64, Asked<P>>,
    /// The parts below `next` that are missing and not asked for.
    returned: BTreeSet<Part>,
    /// All parts below it are here, asked for or returned.
    next: Part,
    asks: u64,
}

impl<P: Copy + Ord> Default for Fetch<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Copy + Ord> Fetch<P> {
    /// A fetch of a blob of which nothing is here.
    pub fn new() -> Self {
        let (peers, asked, returned) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { parts: None, peers, asked, returned, next: Part(0), asks: 0 }
    }

    /// A fetch that goes on: these parts are here, and the size is proven.
    pub fn resume(parts: PartSet) -> Self {
        Self { parts: Some(parts), ..Self::new() }
    }

    /// A peer says that it has the whole blob, of so many bytes. A peer that lied before is not believed, nor a size
    /// over [`BLOB_BYTES_MAX`], nor more than [`PEERS_MAX`] peers.
    pub fn offer(&mut self, peer: P, size: u64, now: Duration) {
        let count = self.peers.values().filter(|peer| peer.counts()).count();
        if let Some(known) = self.peers.get_mut(&peer) {
            known.is_here = known.damaged.len() < DAMAGED_MAX;
            // its asks were lost with its connection
            known.size = if known.asks.is_empty() { size } else { known.size };
        } else if size <= BLOB_BYTES_MAX && count < PEERS_MAX {
            let new = Peer {
                size,
                asks: BTreeSet::new(),
                window: 1,
                parts: 0,
                rate: None,
                last_came: now,
                lied: false,
                damaged: BTreeSet::new(),
                is_here: true,
                failures: 0,
                rests_until: now,
            };
            self.peers.insert(peer, new);
        }
        self.judge_sizes();
    }

    /// A peer is gone, with all that it was asked for.
    pub fn gone(&mut self, peer: P) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.is_here = false;
        known.window = 1;
        for no in std::mem::take(&mut known.asks) {
            self.drop_ask(no);
        }
    }

    /// The parts to ask for now, so that at most so many are asked for at a time, and never over [`IN_FLIGHT_MAX`]. Each
    /// is answered by [`came`](Self::came), [`lied`](Self::lied) or [`failed`](Self::failed), or by
    /// [`gone`](Self::gone).
    pub fn asks(&mut self, most: usize, now: Duration) -> Vec<Ask<P>> {
        self.note_late(now);
        let mut asks = Vec::new();
        while self.asked.len() < most.min(IN_FLIGHT_MAX) {
            let Some((peer, part, shape)) = self.choose(now) else { break };
            asks.push(self.ask(peer, part, shape, now));
        }
        asks
    }

    /// The time at which [`asks`](Self::asks) may have something new without an event. `None` if it will not.
    pub fn wakes_at(&self, now: Duration) -> Option<Duration> {
        let late = self.asked.values().filter(|asked| !asked.is_late).map(|asked| asked.at + PATIENCE);
        let rested = self.peers.values().filter(|peer| peer.counts() && peer.rests_until > now);
        late.chain(rested.map(|peer| peer.rests_until)).min()
    }

    /// A part was verified and is on the disk. Returns the other asks for the same part, which are to be cancelled and
    /// are no longer counted.
    pub fn came(&mut self, ask: Ask<P>, now: Duration) -> Vec<Ask<P>> {
        let asked = self.asked.get(&ask.no).copied();
        self.answered(&ask);
        if let Some(peer) = self.peers.get_mut(&ask.peer) {
            let begin = asked.map_or(now, |asked| asked.at.max(peer.last_came));
            let ms = u64::try_from(now.saturating_sub(begin).as_millis()).unwrap_or(u64::MAX).max(1);
            let bytes = ask.shape.bytes(ask.part);
            let rate = (bytes.end - bytes.start).saturating_mul(1_000) / ms;
            peer.rate = Some(
                peer.rate.map_or(rate, |known| (known.saturating_mul(7).saturating_add(rate.saturating_mul(3))) / 10),
            );
            (peer.last_came, peer.failures) = (now, 0);
            peer.parts += 1;
            peer.window = (peer.window + 1).min(WINDOW_MAX);
        }
        if self.parts.is_none() {
            self.parts = Some(PartSet::none(ask.shape));
            self.judge_sizes();
        }
        let Some(parts) = self.parts.as_mut().filter(|parts| parts.shape() == ask.shape) else { return Vec::new() };
        parts.add(ask.part);
        self.returned.remove(&ask.part);
        let moot: Vec<Ask<P>> = (self.asked.iter().filter(|(_, asked)| asked.part == ask.part))
            .map(|(no, asked)| Ask { no: *no, peer: asked.peer, part: asked.part, shape: ask.shape })
            .collect();
        for ask in &moot {
            self.answered(ask);
        }
        moot
    }

    /// A peer sent something else than the part it was asked for. It is asked no more.
    pub fn lied(&mut self, ask: Ask<P>) {
        self.ban(ask.peer);
    }

    /// A peer refused, was too slow by its own stream, or its stream broke. It rests for a while. All asks that a broken
    /// connection takes along are one failure.
    pub fn failed(&mut self, ask: Ask<P>, now: Duration) {
        if !self.answered(&ask) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&ask.peer).filter(|peer| peer.rests_until <= now) {
            let rest = REST.saturating_mul(1 << peer.failures.min(16)).min(REST_MAX);
            peer.rests_until = now + rest;
            peer.failures = peer.failures.saturating_add(1);
            peer.window = 1;
        }
    }

    /// A peer says that this part of its copy is damaged. It is not asked for that part again, and for the others as ever.
    pub fn lacks(&mut self, ask: Ask<P>) {
        self.answered(&ask);
        if let Some(peer) = self.peers.get_mut(&ask.peer) {
            peer.damaged.insert(ask.part);
            peer.failures = 0;
            if peer.damaged.len() >= DAMAGED_MAX {
                self.gone(ask.peer);
            }
        }
    }

    /// A peer says that its copy is whole, after parts of it were damaged.
    pub fn mended(&mut self, peer: P) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.damaged.clear();
        }
    }

    /// A part that was here is found damaged: it is fetched again.
    pub fn damaged(&mut self, part: Part) {
        if let Some(parts) = self.parts.as_mut().filter(|parts| parts.contains(part)) {
            parts.remove(part);
            if part < self.next {
                self.returned.insert(part);
            }
        }
    }

    /// The parts that are here; `None` while no size is proven.
    pub const fn parts(&self) -> Option<&PartSet> {
        self.parts.as_ref()
    }

    /// Whether it is at an end; `None` while somebody can be asked, rests, or is asked.
    pub fn end(&self) -> Option<FetchEnd> {
        if self.parts.as_ref().is_some_and(PartSet::is_whole) {
            return Some(FetchEnd::Whole);
        }
        let somebody = self.peers.values().any(|peer| peer.counts() && self.is_of_use(peer));
        (!somebody).then_some(FetchEnd::Starved)
    }

    /// Whether a peer has a part that is missing here.
    fn is_of_use(&self, peer: &Peer) -> bool {
        match &self.parts {
            None => !peer.damaged.contains(&Shape::of(peer.size).last()),
            Some(parts) => {
                let missing = parts.shape().parts().saturating_sub(parts.count());
                let lacks = peer.damaged.iter().filter(|part| parts.shape().has(**part) && !parts.contains(**part));
                peer.damaged.is_empty() || missing > lacks.count() as u64
            }
        }
    }

    /// The peers that were ever asked, with those that lied.
    pub fn peers(&self) -> impl Iterator<Item = FetchPeer<P>> {
        self.peers.iter().map(|(peer, state)| FetchPeer {
            peer: *peer,
            parts: state.parts,
            asked: state.asks.len(),
            lied: state.lied,
            damaged: !state.damaged.is_empty(),
        })
    }

    /// The next part and the peer to ask for it.
    fn choose(&mut self, now: Duration) -> Option<(P, Part, Shape)> {
        let Some(shape) = self.parts.as_ref().map(PartSet::shape) else {
            // a few peers prove their own claims; those that take long are not waited for
            let proving = self.asked.values().filter(|asked| !asked.is_late).count();
            let mut able = self.peers.iter().filter(|(_, peer)| {
                peer.has_room(now) && peer.asks.is_empty() && !peer.damaged.contains(&Shape::of(peer.size).last())
            });
            let (peer, claim) = able.next().filter(|_| proving < PROVERS_MAX)?;
            let shape = Shape::of(claim.size);
            return Some((*peer, shape.last(), shape));
        };
        let mut able: Vec<(u64, P)> = (self.peers.iter().filter(|(_, peer)| peer.has_room(now)))
            .map(|(peer, state)| (state.ms_for(state.asks.len() + 1), *peer))
            .collect();
        able.sort_unstable();
        able.into_iter().find_map(|(ms, peer)| self.part_for(peer, ms).map(|part| (peer, part, shape)))
    }

    /// A part for a peer that would have sent it after so many ms.
    fn part_for(&mut self, peer: P, ms: u64) -> Option<Part> {
        let parts = self.parts.as_ref()?;
        let lacks = self.peers.get(&peer).map(|peer| &peer.damaged)?;
        while let Some(part) = parts.first_missing(self.next) {
            self.next = Part(part.0 + 1);
            if self.askers(part) > 0 {
                continue;
            }
            if !lacks.contains(&part) {
                return Some(part);
            }
            self.returned.insert(part);
        }
        self.next = Part(parts.shape().parts());
        let is_asked = |part: &Part| self.asked.values().any(|asked| asked.peer == peer && asked.part == *part);
        if let Some(part) = self.returned.iter().copied().find(|part| !is_asked(part) && !lacks.contains(part)) {
            return Some(part);
        }
        // of those asked of others, the one that would take longest, if this peer is twice as fast
        let mut slowest: Option<(u64, Part)> = None;
        for asked in self.asked.values() {
            if self.askers(asked.part) >= ASKERS_MAX || is_asked(&asked.part) || lacks.contains(&asked.part) {
                continue;
            }
            let theirs = self.peers.get(&asked.peer).map_or(u64::MAX, |peer| peer.ms_for(peer.asks.len()));
            if theirs / 2 > ms && slowest.is_none_or(|(most, _)| theirs > most) {
                slowest = Some((theirs, asked.part));
            }
        }
        slowest.map(|(_, part)| part)
    }

    fn ask(&mut self, peer: P, part: Part, shape: Shape, now: Duration) -> Ask<P> {
        let no = self.asks;
        self.asks += 1;
        self.returned.remove(&part);
        self.asked.insert(no, Asked { peer, part, at: now, is_late: false });
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.asks.insert(no);
        }
        Ask { no, peer, part, shape }
    }

    /// Parts that take long may be asked of others, too.
    fn note_late(&mut self, now: Duration) {
        let mut late = Vec::new();
        for asked in self.asked.values_mut().filter(|asked| !asked.is_late && asked.at + PATIENCE <= now) {
            asked.is_late = true;
            late.push(asked.part);
        }
        late.into_iter().for_each(|part| self.give_back(part));
    }

    /// A part that is missing may be asked for again, unless somebody may still send it soon.
    fn give_back(&mut self, part: Part) {
        let is_missing = self.parts.as_ref().is_some_and(|parts| !parts.contains(part));
        let is_awaited = self.asked.values().any(|asked| asked.part == part && !asked.is_late);
        if is_missing && !is_awaited {
            self.returned.insert(part);
        }
    }

    /// The number of asks for a part.
    fn askers(&self, part: Part) -> usize {
        self.asked.values().filter(|asked| asked.part == part).count()
    }

    /// Takes an ask out. Returns whether it was still waited for.
    fn answered(&mut self, ask: &Ask<P>) -> bool {
        if let Some(peer) = self.peers.get_mut(&ask.peer) {
            peer.asks.remove(&ask.no);
        }
        self.drop_ask(ask.no)
    }

    fn drop_ask(&mut self, no: u64) -> bool {
        let Some(asked) = self.asked.remove(&no) else { return false };
        self.give_back(asked.part);
        true
    }

    fn ban(&mut self, peer: P) {
        self.gone(peer);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.lied = true;
        }
    }

    /// Once a size is proven, whoever claimed another one has lied.
    fn judge_sizes(&mut self) {
        let Some(size) = self.parts.as_ref().map(|parts| parts.shape().size()) else { return };
        let wrong: Vec<P> =
            self.peers.iter().filter(|(_, peer)| peer.size != size && !peer.lied).map(|(peer, _)| *peer).collect();
        wrong.into_iter().for_each(|peer| self.ban(peer));
    }
}

impl Peer {
    /// Whether it is connected and has not lied.
    const fn counts(&self) -> bool {
        self.is_here && !self.lied
    }

    fn has_room(&self, now: Duration) -> bool {
        let ahead = (self.rate().saturating_mul(AHEAD_MS) / 1_000 / PART_BYTES).max(1);
        let window = self.window.min(usize::try_from(ahead).unwrap_or(usize::MAX));
        self.counts() && self.rests_until <= now && self.asks.len() < window
    }

    fn rate(&self) -> u64 {
        self.rate.unwrap_or(RATE_UNKNOWN).max(1)
    }

    /// The time in which it sends so many parts, in ms.
    fn ms_for(&self, parts: usize) -> u64 {
        (parts as u64).saturating_mul(PART_BYTES).saturating_mul(1_000) / self.rate()
    }
}

#[cfg(test)]
mod tests;
