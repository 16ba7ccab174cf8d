//! Blobs that are fetched from peers which are fast, slow, silent, broken, gone, or lie.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// The behaviour of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It sends so many bytes in a second.
    Honest(u64),
    /// It takes what it is asked for and never answers.
    Silent,
    /// It sends something else.
    Liar,
    /// It claims a wrong size, and sends what it has.
    Boaster(u64),
    /// It answers every second ask, and breaks on the others.
    Flaky(u64),
    /// It is honest until it goes after so many answers.
    Leaves(u64, u64),
}

/// Peers by number, and the work of each: the asks with the times of their answers.
struct World {
    kinds: Vec<Kind>,
    busy: Vec<Duration>,
    due: BTreeMap<(Duration, u64), Ask<usize>>,
    answers: Vec<u64>,
    now: Duration,
    asks: usize,
    most: usize,
}

fn rate_of(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Honest(rate) | Kind::Boaster(rate) | Kind::Flaky(rate) | Kind::Leaves(rate, _) => Some(rate),
        Kind::Liar => Some(1 << 20),
        Kind::Silent => None,
    }
}

impl World {
    fn new(kinds: Vec<Kind>) -> Self {
        let n = kinds.len();
        let (busy, due, answers) = (vec![Duration::ZERO; n], BTreeMap::new(), vec![0; n]);
        Self { kinds, busy, due, answers, now: Duration::ZERO, asks: 0, most: 0 }
    }

    fn offer(&self, fetch: &mut Fetch<usize>, size: u64) {
        for (peer, kind) in self.kinds.iter().enumerate() {
            fetch.offer(peer, if matches!(kind, Kind::Boaster(_)) { size + PART_BYTES } else { size }, self.now);
        }
    }

    /// Fetches to the end, or until so much time has gone by. Returns the time.
    fn run(&mut self, fetch: &mut Fetch<usize>, size: u64, until: Duration) -> Option<Duration> {
        self.offer(fetch, size);
        while fetch.end() != Some(FetchEnd::Whole) && self.now < until {
            for ask in fetch.asks(IN_FLIGHT_MAX, self.now) {
                self.asks += 1;
                if let Some(rate) = rate_of(self.kinds[ask.peer]) {
                    let bytes = ask.shape.bytes(ask.part);
                    let took = Duration::from_micros((bytes.end - bytes.start) * 1_000_000 / rate + 1);
                    self.busy[ask.peer] = self.busy[ask.peer].max(self.now) + took;
                    self.due.insert((self.busy[ask.peer], ask.no), ask);
                }
            }
            self.most = self.most.max(fetch.asked.len());
            assert!(fetch.asked.len() <= IN_FLIGHT_MAX);
            check(fetch);
            let next = self.due.first_key_value().map(|((at, _), _)| *at);
            let wakes = fetch.wakes_at(self.now);
            let at = [next, wakes].into_iter().flatten().min()?;
            self.now = at.max(self.now);
            if next == Some(at) {
                let (_, ask) = self.due.pop_first().unwrap();
                self.answer(fetch, ask, size);
            }
        }
        (fetch.end() == Some(FetchEnd::Whole)).then_some(self.now)
    }

    fn answer(&mut self, fetch: &mut Fetch<usize>, ask: Ask<usize>, size: u64) {
        self.answers[ask.peer] += 1;
        let count = self.answers[ask.peer];
        match self.kinds[ask.peer] {
            Kind::Liar => fetch.lied(ask),
            _ if ask.shape.size() != size => fetch.lied(ask),
            Kind::Flaky(_) if count.is_multiple_of(2) => fetch.failed(ask, self.now),
            Kind::Leaves(_, after) if count > after => {
                self.due.retain(|_, due| due.peer != ask.peer);
                fetch.gone(ask.peer);
            }
            _ => {
                for moot in fetch.came(ask, self.now) {
                    self.due.retain(|_, due| due.no != moot.no);
                }
            }
        }
        check(fetch);
    }
}

/// Fetches from peers by number, each with the parts that are damaged in its copy. Returns the asks for each.
fn from_damaged(damaged: &[BTreeSet<u64>], parts: u64) -> (Fetch<usize>, Vec<Vec<Part>>) {
    let (mut fetch, mut asked) = (Fetch::new(), vec![Vec::new(); damaged.len()]);
    for peer in 0..damaged.len() {
        fetch.offer(peer, parts * PART_BYTES, Duration::ZERO);
    }
    while fetch.end().is_none() {
        let asks = fetch.asks(IN_FLIGHT_MAX, Duration::ZERO);
        assert!(!asks.is_empty(), "somebody is to be asked");
        for ask in asks {
            asked[ask.peer].push(ask.part);
            if damaged[ask.peer].contains(&ask.part.0) {
                fetch.lacks(ask);
            } else {
                fetch.came(ask, Duration::ZERO);
            }
            check(&fetch);
        }
    }
    (fetch, asked)
}

proptest! {
    /// promise: Blobs | A part comes if a copy of somebody has it sound; who says that it is damaged is not asked for it again
    #[test]
    fn damaged_copies_give_their_sound_parts(
        damaged in prop::collection::vec(prop::collection::btree_set(0..40_u64, 0..40), 1..5),
        parts in 1..40_u64,
    ) {
        let (fetch, asked) = from_damaged(&damaged, parts);
        let last = damaged.iter().any(|damaged| !damaged.contains(&(parts - 1)));
        let lost = (0..parts).filter(|part| damaged.iter().all(|damaged| damaged.contains(part))).count();
        let end = if lost == 0 { FetchEnd::Whole } else { FetchEnd::Starved };
        prop_assert_eq!(fetch.end(), Some(end));
        // without a proof of the size nothing is asked
        let here = fetch.parts().map_or(0, PartSet::count);
        prop_assert_eq!(here, if last { parts - lost as u64 } else { 0 });
        for (peer, asked) in asked.into_iter().enumerate() {
            for part in &damaged[peer] {
                prop_assert!(asked.iter().filter(|asked| asked.0 == *part).count() <= 1);
            }
        }
    }
}

/// promise: Blobs | A member that says of each part that it is damaged is asked for a bounded number
#[test]
fn whoever_has_nothing_but_damage_is_asked_no_more() {
    let parts = 3 * DAMAGED_MAX as u64;
    let all: BTreeSet<u64> = (0..parts - 1).collect();
    let (mut fetch, asked) = from_damaged(std::slice::from_ref(&all), parts);
    assert_eq!((fetch.end(), asked[0].len() <= DAMAGED_MAX + IN_FLIGHT_MAX), (Some(FetchEnd::Starved), true));
    fetch.offer(0, parts * PART_BYTES, Duration::ZERO);
    assert!(fetch.asks(IN_FLIGHT_MAX, Duration::ZERO).is_empty());
    fetch.mended(0);
    fetch.offer(0, parts * PART_BYTES, Duration::ZERO);
    assert!(!fetch.asks(IN_FLIGHT_MAX, Duration::ZERO).is_empty(), "its word that it is whole counts");
}

/// The laws of every state.
fn check(fetch: &Fetch<usize>) {
    let mut askers: BTreeMap<Part, usize> = BTreeMap::new();
    for (no, asked) in &fetch.asked {
        *askers.entry(asked.part).or_default() += 1;
        assert!(fetch.peers[&asked.peer].asks.contains(no));
        assert!(!fetch.peers[&asked.peer].lied, "a liar is asked");
    }
    assert!(askers.iter().all(|(part, count)| fetch.askers(*part) == *count));
    assert_eq!(fetch.peers.values().map(|peer| peer.asks.len()).sum::<usize>(), fetch.asked.len());
    assert!(fetch.peers.values().all(|peer| peer.asks.len() <= WINDOW_MAX));
    if let Some(parts) = &fetch.parts {
        // each part is here, asked for, returned, or still ahead
        for part in (0..fetch.next.0).map(Part) {
            let known = parts.contains(part) || askers.contains_key(&part) || fetch.returned.contains(&part);
            assert!(known, "{part:?} is forgotten");
        }
        assert!(fetch.returned.iter().all(|part| !parts.contains(*part)));
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    let rate = prop_oneof![Just(1_000), Just(100_000), 1_000_000..50_000_000u64];
    prop_oneof![
        3 => rate.clone().prop_map(Kind::Honest),
        1 => Just(Kind::Silent),
        1 => Just(Kind::Liar),
        1 => rate.clone().prop_map(Kind::Boaster),
        1 => rate.clone().prop_map(Kind::Flaky),
        1 => (rate, 0..20u64).prop_map(|(rate, after)| Kind::Leaves(rate, after)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// promise: Blobs | A blob comes over whole if one peer that has it stays, whatever the others do
    #[test]
    fn one_honest_peer_is_enough(
        kinds in prop::collection::vec(kind(), 0..6),
        size in 0..40 * PART_BYTES,
        place in any::<prop::sample::Index>(),
    ) {
        let mut kinds = kinds;
        kinds.insert(place.index(kinds.len() + 1), Kind::Honest(500_000));
        let (mut fetch, mut world) = (Fetch::new(), World::new(kinds));
        let took = world.run(&mut fetch, size, Duration::from_secs(3_600));
        prop_assert!(took.is_some(), "{:?}", fetch);
        for (peer, kind) in fetch.peers().zip(&world.kinds) {
            let may = matches!(kind, Kind::Liar | Kind::Boaster(_));
            prop_assert!(!peer.lied || may, "{:?} is blamed", kind);
        }
        // a claim is only judged once a size is proven, and all claims have come
        let boasters = fetch.peers().zip(&world.kinds).filter(|(_, kind)| matches!(kind, Kind::Boaster(_)));
        prop_assert!(boasters.into_iter().all(|(peer, _)| peer.lied));
    }

    /// promise: Blobs | A fetch that goes on asks for exactly the parts that are missing
    #[test]
    fn what_is_here_is_not_asked_for(here in prop::collection::btree_set(0..40u64, 0..40), rate in 1_000_000..9_000_000u64) {
        let shape = Shape::of(40 * PART_BYTES);
        let mut parts = PartSet::none(shape);
        here.iter().for_each(|part| assert!(parts.add(Part(*part))));
        let (mut fetch, mut world) = (Fetch::resume(parts), World::new(vec![Kind::Honest(rate)]));
        prop_assert!(world.run(&mut fetch, shape.size(), Duration::from_secs(3_600)).is_some());
        prop_assert_eq!(world.asks, 40 - here.len());
    }
}

/// The time in which a blob of 200 parts comes from these peers, in ms.
fn took(kinds: &[Kind]) -> u128 {
    let (mut fetch, mut world) = (Fetch::new(), World::new(kinds.to_vec()));
    world.run(&mut fetch, 200 * PART_BYTES, Duration::from_secs(36_000)).unwrap().as_millis()
}

/// promise: Blobs | Two peers send a blob nearly twice as fast as one, and a slow one beside a fast one delays nothing
#[test]
fn peers_share_the_work() {
    const FAST: Kind = Kind::Honest(10_000_000);
    let alone = took(&[FAST]);
    assert!(took(&[FAST, FAST]) * 18 < alone * 10, "{} of {alone}", took(&[FAST, FAST]));
    for slow in [Kind::Honest(1_000), Kind::Honest(100_000), Kind::Silent, Kind::Flaky(10_000)] {
        for kinds in [[FAST, slow], [slow, FAST]] {
            let beside = took(&kinds);
            let begin = if kinds[0] == slow { PATIENCE.as_millis() } else { 0 };
            assert!(beside < alone * 11 / 10 + begin + 100, "{kinds:?}: {beside} of {alone}");
        }
    }
}

/// promise: Blobs | Peers that take questions and never answer delay a blob by seconds each, and never stop it
#[test]
fn silent_peers_stop_nothing() {
    for silent in 1..12 {
        let kinds = [vec![Kind::Silent; silent], vec![Kind::Honest(10_000_000)]].concat();
        let took = took(&kinds);
        let rounds = (silent / PROVERS_MAX + 1) as u128;
        assert!(took < 7_000 + PATIENCE.as_millis() * (rounds + 1), "{silent} silent: {took} ms");
    }
}

/// promise: Blobs | A peer of 1 KB/s that is alone sends a blob, too
#[test]
fn one_slow_peer_is_enough() {
    let (mut fetch, mut world) = (Fetch::new(), World::new(vec![Kind::Honest(1_000)]));
    let took = world.run(&mut fetch, 3 * PART_BYTES, Duration::from_secs(3_600));
    assert!(took.is_some_and(|took| took < Duration::from_secs(800)), "{took:?}");
    assert_eq!(world.asks, 3);
}

/// promise: Blobs | A size that no blob has, and more peers than are asked, cost nothing
#[test]
fn claims_are_bounded() {
    let mut fetch = Fetch::new();
    for peer in 0..1_000 {
        fetch.offer(peer, if peer % 2 == 0 { u64::MAX } else { 5 }, Duration::ZERO);
    }
    assert_eq!(fetch.peers().count(), PEERS_MAX);
    assert_eq!(fetch.asks(IN_FLIGHT_MAX, Duration::ZERO).len(), PROVERS_MAX);
    // nobody is believed before the size is proven
    assert!(fetch.parts().is_none());
}

/// promise: Blobs | A part that is found damaged is fetched again
#[test]
fn a_damaged_part_is_fetched_again() {
    let (mut fetch, mut world) = (Fetch::new(), World::new(vec![Kind::Honest(1_000_000)]));
    world.run(&mut fetch, 5 * PART_BYTES, Duration::from_secs(60)).unwrap();
    fetch.damaged(Part(2));
    assert_eq!(fetch.end(), None);
    world.run(&mut fetch, 5 * PART_BYTES, Duration::from_secs(60)).unwrap();
    assert_eq!(world.asks, 6);
}

/// promise: Blobs | A connection that breaks is one failure, however many parts were asked for over it: its peer rests for a second
#[test]
fn asks_that_fail_together_are_one_failure() {
    let (mut fetch, mut world) = (Fetch::new(), World::new(vec![Kind::Honest(100_000_000)]));
    world.run(&mut fetch, 400 * PART_BYTES, Duration::from_secs(1));
    let now = world.now;
    let mut asked: Vec<Ask<usize>> = std::mem::take(&mut world.due).into_values().collect();
    asked.extend(fetch.asks(IN_FLIGHT_MAX, now));
    assert!(asked.len() >= WINDOW_MAX, "{asked:?}");
    for ask in asked {
        fetch.failed(ask, now);
    }
    assert!(fetch.asks(IN_FLIGHT_MAX, now).is_empty());
    // it is asked for one part then, and rests longer if that fails, too
    let again = fetch.asks(IN_FLIGHT_MAX, now + REST);
    assert_eq!(again.len(), 1);
    fetch.failed(again[0], now + REST);
    assert!(fetch.asks(IN_FLIGHT_MAX, now + REST * 2).is_empty());
    assert_eq!(fetch.asks(IN_FLIGHT_MAX, now + REST * 3).len(), 1);
}
