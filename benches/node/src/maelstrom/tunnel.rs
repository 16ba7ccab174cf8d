//! One end of a byte stream over messages that may be lost, late, doubled or out of order. Each part
//! has a number, is sent until the other end confirms it, and is taken in order.
//!
//! Pure: parts to send come out, and the time goes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The most unconfirmed parts. At this number nothing more is taken from the stream.
const UNDER_WAY_MAX: usize = 64;
/// The most parts kept that arrived early, and so the most that come out at once.
pub(super) const EARLY_MAX: usize = UNDER_WAY_MAX;
/// The most parts sent again at once.
const AGAIN_MAX: usize = 8;
/// The first pause before parts are sent again. It doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause, and so the longest delay after a partition.
const PAUSE_MAX: Duration = Duration::from_millis(800);

/// A part of the stream; a part without bytes is its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
}

/// One end of a stream. Time counts from any fixed moment.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// Unconfirmed parts, oldest first.
    under_way: VecDeque<Part>,
    next: u64,
    pause: Duration,
    again_at: Option<Duration>,
    expected: u64,
    early: BTreeMap<u64, Vec<u8>>,
    ended_here: bool,
    ended_there: bool,
}

impl Tunnel {
    pub(super) const fn new() -> Self {
        Self {
            under_way: VecDeque::new(),
            next: 0,
            pause: PAUSE_MIN,
            again_at: None,
            expected: 0,
            early: BTreeMap::new(),
            ended_here: false,
            ended_there: false,
        }
    }

    /// Whether more bytes may be put in.
    pub(super) fn is_open(&self) -> bool {
        !self.ended_here && self.under_way.len() < UNDER_WAY_MAX
    }

    /// Whether both sides have ended it, and the other one knows.
    pub(super) fn is_done(&self) -> bool {
        self.ended_here && self.ended_there && self.under_way.is_empty()
    }

    /// Puts bytes in, or the end if there are none. Returns the part to send.
    pub(super) fn put(&mut self, now: Duration, bytes: Vec<u8>) -> Part {
        self.ended_here |= bytes.is_empty();
        let part = Part { number: self.next, bytes };
        self.next += 1;
        self.under_way.push_back(part.clone());
        self.again_at.get_or_insert(now + self.pause);
        part
    }

    /// Takes a part. Returns all parts that are in order now; `None` if the part is impossible.
    pub(super) fn take(&mut self, part: Part) -> Option<Vec<Vec<u8>>> {
        if part.number >= self.expected + EARLY_MAX as u64 {
            return None;
        }
        if part.number >= self.expected {
            self.early.entry(part.number).or_insert(part.bytes);
        }
        let mut ready = Vec::new();
        while let Some(bytes) = self.early.remove(&self.expected) {
            self.expected += 1;
            if bytes.is_empty() {
                self.ended_there = true;
            } else if !self.ended_there {
                ready.push(bytes);
            }
        }
        Some(ready)
    }

    /// The number of parts taken in order, to confirm to the other end.
    pub(super) const fn taken(&self) -> u64 {
        self.expected
    }

    /// Whether the other end has ended its side.
    pub(super) const fn ended_there(&self) -> bool {
        self.ended_there
    }

    /// Notes that the other end has all parts before this number.
    pub(super) fn confirm(&mut self, now: Duration, upto: u64) {
        let before = self.under_way.len();
        while self.under_way.front().is_some_and(|part| part.number < upto) {
            self.under_way.pop_front();
        }
        if self.under_way.len() < before {
            self.pause = PAUSE_MIN;
            self.again_at = (!self.under_way.is_empty()).then_some(now + self.pause);
        }
    }

    /// The time at which [`again`](Self::again) has parts to send.
    pub(super) const fn timeout(&self) -> Option<Duration> {
        self.again_at
    }

    /// The parts to send again now.
    pub(super) fn again(&mut self, now: Duration) -> Vec<Part> {
        if self.again_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.again_at = Some(now + self.pause);
        self.under_way.iter().take(AGAIN_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    enum InFlight {
        Part(Part),
        Taken(u64),
    }

    /// Sends a text through a network that loses, doubles and reorders by the seed.
    fn carried(text: &[u8], mut seed: u64) -> Vec<u8> {
        let (mut here, mut there) = (Tunnel::new(), Tunnel::new());
        // Knuth's generator, its upper bits
        let mut roll = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut chunks = text.chunks(3).map(<[u8]>::to_vec).chain([Vec::new()]);
        let (mut out, mut air) = (Vec::new(), Vec::new());
        for step in 0..100_000_u64 {
            let now = Duration::from_millis(step * 20);
            if here.is_open()
                && let Some(chunk) = chunks.next()
            {
                air.push(InFlight::Part(here.put(now, chunk)));
            }
            air.extend(here.again(now).into_iter().map(InFlight::Part));
            for sent in std::mem::take(&mut air) {
                let fate = roll() % 5;
                if fate == 4 {
                    air.insert(0, sent);
                    continue;
                }
                let copies = usize::from(fate != 3) + usize::from(fate == 2);
                for _ in 0..copies {
                    match &sent {
                        InFlight::Part(part) => {
                            out.extend(there.take(part.clone()).unwrap_or_default().concat());
                            air.push(InFlight::Taken(there.taken()));
                        }
                        InFlight::Taken(upto) => here.confirm(now, *upto),
                    }
                }
            }
            if there.ended_there() && here.under_way.is_empty() {
                return out;
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
        #[test]
        fn every_byte_arrives_once_and_in_order(
            text in proptest::collection::vec(any::<u8>(), 0..400),
            seed in any::<u64>(),
        ) {
            prop_assert_eq!(carried(&text, seed), text);
        }
    }

    #[test]
    fn what_nobody_confirms_is_sent_again_at_growing_pauses_and_nothing_more_is_taken() {
        let mut tunnel = Tunnel::new();
        for number in 0..UNDER_WAY_MAX {
            assert!(tunnel.is_open(), "{number}");
            tunnel.put(Duration::ZERO, vec![1]);
        }
        assert!(!tunnel.is_open());
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let at = tunnel.timeout().unwrap();
            assert_eq!(tunnel.again(at).len(), AGAIN_MAX);
            pauses.push((tunnel.timeout().unwrap() - at).as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 800, 800]);
        tunnel.confirm(Duration::ZERO, 1);
        assert!(tunnel.is_open());
        // a part of another stream
        assert_eq!(tunnel.take(Part { number: 1_000, bytes: vec![1] }), None);
    }
}
