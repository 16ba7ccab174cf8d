//! Followers end up with the same, whenever they began, and wherever they stopped.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{
    Core, Dot, Draft, Field, Head, Hlc, Incarnation, Kind, LogId, SpaceId, Target, Verified, Write, Writes,
};
use nexus_identity::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::engine::{Command, Input};
use crate::memory::read::Reader;
use crate::replication::tests::{Dice, Peer, chain, key, mesh};

/// The keys that memories share, so that one is shown in the place of another.
const KEYS: [&str; 2] = ["port", "host"];

/// A room that keeps the texts of memories, and where it is in the log.
#[derive(Clone, Debug, Default)]
struct Keeper {
    at: u64,
    texts: BTreeMap<Dot, String>,
}

impl Keeper {
    /// Follows some portions, or all that there is.
    fn follow(&mut self, peer: &Peer, portions: usize) {
        let snapshot = peer.store.snapshot().unwrap();
        let reader = Reader::new(&snapshot, [0; 8], peer.key.did(), peer.members(), Timestamp::from_ms(0)).unwrap();
        for _ in 0..portions {
            let portion = touched_after(&snapshot, self.at).unwrap();
            let Some((last, _)) = portion.last() else { return };
            self.at = *last;
            for dot in portion.into_iter().flat_map(|(_, touched)| touched.all()) {
                let stands: BTreeSet<Dot> = reader.stand_for(dot).unwrap().all().collect();
                for dot in stands.into_iter().chain([dot]) {
                    match reader.shown(dot).unwrap().filter(|shown| shown.record == dot) {
                        Some(shown) => drop(self.texts.insert(dot, shown.memory.text)),
                        None => drop(self.texts.remove(&dot)),
                    }
                }
            }
        }
    }
}

/// All that a reader of the whole store sees.
fn all_of(peer: &Peer) -> BTreeSet<String> {
    peer.memories().into_iter().map(|memory| format!("{} {}", memory.id, memory.text)).collect()
}

/// An entry of another member with one memory, after one of its entries.
fn entry_of(author: u8, after: Option<&Verified>, core: &Core) -> Verified {
    let log =
        LogId { space: SpaceId::default_of(&mesh()), author: key(author).did(), incarnation: Incarnation([1; 8]) };
    let target = Target::Create { page: 0 };
    let write = Write { target, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] };
    let payload = Writes(vec![write]).encode().into();
    let (after, kind) = (after.map(|entry| Head { seq: entry.header().seq, id: entry.id() }), Kind::WRITES);
    let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc: Hlc(1), kind, refs: vec![], payload };
    Verified::write(draft, &key(author))
}

/// A node, and what two other members write to it.
pub(crate) struct Story {
    pub(crate) peer: Peer,
    pub(crate) dice: Dice,
    logs: BTreeMap<u8, Vec<Verified>>,
    own: Vec<Dot>,
    /// The memory with this number, under this key.
    core: fn(usize, Option<&str>) -> Core,
}

impl Story {
    pub(crate) fn new(seed: u64, core: fn(usize, Option<&str>) -> Core) -> Self {
        let mut peer = Peer::new(0);
        for author in [1, 2] {
            peer.input(Input::Chain(chain(author)));
        }
        let logs = BTreeMap::from([(1, vec![]), (2, vec![])]);
        Self { peer, dice: Dice::new(seed), logs, own: vec![], core }
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.dice.roll(of as u64)).unwrap()
    }

    /// Another member writes a memory: at the end of its log, or in a fork of it, which cuts all that comes after it.
    pub(crate) fn write(&mut self, author: u8, core: Core, forks: bool) -> Dot {
        let entries = self.logs[&author].len();
        let at = if forks { self.pick(entries) } else { entries };
        let after = at.checked_sub(1).map(|at| self.logs[&author][at].clone());
        let entry = entry_of(author, after.as_ref(), &core);
        let id = entry.id();
        if !forks {
            self.logs.get_mut(&author).unwrap().push(entry.clone());
        }
        self.peer.input(Input::Entries { from: key(author).did(), entries: vec![entry] });
        Dot { entry: id, index: 0 }
    }

    /// Something happens: a write here or of another member, now and then a fork of its log, or its revocation.
    pub(crate) fn goes_on(&mut self, n: usize) {
        let name = [None, Some(KEYS[0]), Some(KEYS[1])][self.pick(3)];
        let core = (self.core)(n, name);
        match self.dice.roll(12) {
            0..=2 => self.own.push(self.peer.create(SpaceId::default_of(&mesh()), core)),
            3 if !self.own.is_empty() => {
                let at = self.pick(self.own.len());
                self.peer.edit(self.own[at], &core.text);
            }
            4 if !self.own.is_empty() => {
                let at = self.pick(self.own.len());
                self.peer.command(Command::Forget(self.own[at]));
            }
            5 if n > 20 => {
                self.peer.command(Command::Revoke { member: key(2).did(), keep: None });
            }
            roll => {
                let author = 1 + u8::from(roll % 2 == 0);
                let forks = self.logs[&author].len() > 2 && self.dice.roll(6) == 0;
                self.write(author, core, forks);
            }
        }
    }
}

/// A note of its number.
fn note(n: usize, key: Option<&str>) -> Core {
    Core { text: format!("{n}"), kind: "note".to_owned(), key: key.map(str::to_owned), ..Core::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// promise: The engine | A room that follows the log ends up with the same, whether it was there all along, began late or stopped and went on: turned verdicts reach all
    #[test]
    fn followers_end_up_with_the_same_whenever_they_began(seed in any::<u64>(), many in 1_usize..80) {
        let mut story = Story::new(seed, note);
        let (mut early, mut late, mut fitful) = (Keeper::default(), Keeper::default(), Keeper::default());
        for n in 0..many {
            story.goes_on(n);
            early.follow(&story.peer, usize::MAX);
            if story.dice.roll(7) == 0 {
                // stopped, and started again from what it had kept
                fitful = fitful.clone();
                fitful.follow(&story.peer, 1);
            }
        }
        late.follow(&story.peer, usize::MAX);
        fitful.follow(&story.peer, usize::MAX);
        prop_assert_eq!(&early.texts, &late.texts);
        prop_assert_eq!(&fitful.texts, &late.texts);
        prop_assert!(early.at == late.at && early.at == fitful.at);
        let kept = late.texts.iter().map(|(dot, text)| format!("{} {text}", crate::memory::MemoryId::from(*dot)));
        prop_assert_eq!(kept.collect::<BTreeSet<_>>(), all_of(&story.peer));
    }
}

#[test]
fn a_portion_is_bounded_and_the_next_one_goes_on_behind_it() {
    let mut peer = Peer::new(0);
    for n in 0..600 {
        peer.remember(&format!("{n}"), None);
    }
    let (snapshot, mut at, mut seen, mut portions) = (peer.store.snapshot().unwrap(), 0, Vec::new(), 0);
    loop {
        let portion = touched_after(&snapshot, at).unwrap();
        let Some((last, _)) = portion.last() else { break };
        assert!(portion.len() <= 256 && portion[0].0 == at + 1, "{} after {at}", portion.len());
        at = *last;
        portions += 1;
        seen.extend(portion.into_iter().flat_map(|(_, touched)| touched.all()));
    }
    assert_eq!((seen.len(), portions), (600, 3));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 600);
}

#[test]
fn nothing_behind_the_last_number_that_was_announced_is_read() {
    let mut peer = Peer::new(0);
    for n in 0..9 {
        peer.remember(&format!("{n}"), None);
    }
    let snapshot = peer.store.snapshot().unwrap();
    let enos = |after, until| {
        let (mut steps, mut enos) = (Steps::after(&snapshot, after, until).unwrap(), Vec::new());
        while let Some(step) = steps.next() {
            enos.push((step.eno, step.skip));
        }
        enos
    };
    assert_eq!(enos(LogPlace::after(3), 5), [(4, 0), (5, 0)]);
    assert_eq!(enos(LogPlace::after(5), 5), []);
    // in the middle of an entry: it is read again, and what was seen of it is known
    assert_eq!(enos(LogPlace { eno: 4, index: 2 }, 5), [(4, 2), (5, 0)]);
}
