//! Two and three engines over an injected transport: a node's own engine and session, stepped by a seed.

mod access;
mod erasure;
mod expiry;
mod forks;
mod holdings;
mod persons;
mod quotas;
mod relays;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::sync_frame::Body;
use nexus_crdt::{
    Core, Dot, Draft, EntryFrame, EntryId, Fold, Frontier, Hlc, Incarnation, Kind, LogId, Members, SpaceId, SyncFrame,
    Verified, Writes, writes_of,
};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use proptest::prelude::*;

use super::session::ACK_WITHIN;
use super::{Audience, Holdings, SyncSession};
use crate::engine::{
    Command, CommandId, Edit, Effect, Engine, Event, Genesis, Input, NewRecord, Outcome, Published, Quotas, found,
};
use crate::ledger;
use crate::ledger::rows::{self, EntryRow, Standing};
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory};
use crate::store::{ALL_KEYS, Order, Overlay, Store, Table, View};

/// A small generator (splitmix64, Steele et al. 2014): the same seed gives the same run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

pub(crate) const ROOT: u8 = 100;

pub(crate) fn mesh() -> Did {
    key(ROOT).did()
}

/// The founder is node 0; the others are its members.
pub(crate) fn chain(n: u8) -> Chain {
    chain_as(n, Role::Member)
}

/// The same, with a role for all but the founder.
pub(crate) fn chain_as(n: u8, role: Role) -> Chain {
    let claims = |issuer: u8, subject: u8, role| {
        let name = format!("node{subject}").parse().unwrap();
        Claims::new(mesh(), key(subject).did(), name, [role], Timestamp::from_ms(1)).issued_by(key(issuer).did())
    };
    let founder = Chain::found(claims(ROOT, 0, Role::Admin).sign(&key(ROOT))).unwrap();
    if n == 0 { founder } else { founder.extend(claims(0, n, role).sign(&key(0))).unwrap() }
}

/// One node: the engine and its store, committed input by input.
pub(crate) struct Peer {
    pub(crate) key: Keypair,
    pub(crate) store: Store,
    engine: Engine,
    overlay: Overlay,
    commits: u64,
    next_command: CommandId,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) events: Vec<Event>,
    pub(crate) published: Vec<EntryFrame>,
    /// The last entry when it last wrote one.
    own: u64,
    quotas: Quotas,
    holdings: Arc<Holdings>,
    /// The time that has passed besides that of the commits.
    later: Duration,
}

impl Peer {
    pub(crate) fn new(n: u8) -> Self {
        let mut peer = Self::with(n, chain(n));
        peer.command(Command::Admit { chain: chain(n), with: crate::store::Batch::new(), replaces: None });
        peer
    }

    /// A node with a chain of its own, before it has published anything.
    fn with(n: u8, chain: Chain) -> Self {
        let store = Store::memory().unwrap();
        let genesis =
            Genesis { mesh: mesh(), chain, incarnation: Incarnation([n; 8]), store: [n; 8], fingerprint: None };
        store.commit(&[found(&genesis)]).unwrap();
        Self::over(key(n), store)
    }

    fn over(key: Keypair, store: Store) -> Self {
        let engine = Engine::open(key.clone(), &store.snapshot().unwrap()).unwrap();
        let (overlay, own) = (Overlay::new(store.clone()).unwrap(), engine.last_eno());
        Self {
            key,
            store,
            engine,
            overlay,
            commits: 0,
            next_command: 0,
            outcomes: vec![],
            events: vec![],
            published: vec![],
            own,
            quotas: Quotas::default(),
            holdings: Arc::default(),
            later: Duration::ZERO,
        }
    }

    /// The same node with other quotas, as after a restart.
    fn within(self, quotas: Quotas) -> Self {
        Self { engine: self.engine.within(quotas), quotas, ..self }
    }

    /// Stops and starts again over the same store.
    fn restart(&mut self) {
        let published = std::mem::take(&mut self.published);
        *self = Self::over(self.key.clone(), self.store.clone()).within(self.quotas);
        self.published = published;
    }

    pub(crate) fn input(&mut self, input: Input) {
        let now = Timestamp::from_ms(1_000 + self.commits).saturating_add(self.later);
        self.engine.handle(now, [7; 32], input, &self.overlay).unwrap();
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Write(batch) => {
                    self.commits += 1;
                    self.overlay.push(self.commits, &batch);
                    self.store.commit(&[batch]).unwrap();
                    self.overlay.committed(self.commits).unwrap();
                }
                Effect::Reply(_, outcome) => self.outcomes.push(outcome),
                Effect::Publish(Published { entry, to_all, .. }) => {
                    self.own = self.engine.last_eno();
                    if to_all {
                        let eno = ledger::find_entry(&self.store.snapshot().unwrap(), entry).unwrap().unwrap();
                        let entry = ledger::read_entry(&self.store.snapshot().unwrap(), eno).unwrap().unwrap();
                        self.published.push(EntryFrame::new(&entry));
                    }
                }
                Effect::Emit(event) => self.events.push(event),
            }
        }
    }

    pub(crate) fn command(&mut self, command: Command) -> Outcome {
        self.next_command += 1;
        self.input(Input::Commands(vec![(self.next_command, command)]));
        self.outcomes.pop().unwrap()
    }

    pub(crate) fn remember(&mut self, text: &str, key: Option<&str>) -> Dot {
        let core =
            Core { text: text.to_owned(), kind: "note".to_owned(), key: key.map(str::to_owned), ..Core::default() };
        self.create(SpaceId::default_of(&mesh()), core)
    }

    pub(crate) fn create(&mut self, space: SpaceId, core: Core) -> Dot {
        match self.command(Command::Remember(vec![NewRecord::whole(space, core)])) {
            Outcome::Remembered(written) => written[0].record,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the first entry of another member's log of a space.
    pub(crate) fn take_first(&mut self, author: u8, space: SpaceId, kind: Kind, payload: Vec<u8>) -> EntryId {
        let log = LogId { space, author: key(author).did(), incarnation: Incarnation([author; 8]) };
        let hlc = Hlc::at(Timestamp::from_ms(900));
        let draft = Draft { mesh: mesh(), log, after: None, hlc, kind, refs: vec![], payload: payload.into() };
        let entry = Verified::write(draft, &key(author));
        let id = entry.id();
        self.input(Input::Entries { from: key(author).did(), entries: vec![entry] });
        id
    }

    pub(crate) fn edit(&mut self, record: Dot, text: &str) -> Outcome {
        self.command(Command::Edit {
            record,
            edit: Edit { values: BTreeMap::from([("text", text.into())]), ..Edit::default() },
        })
    }

    pub(crate) fn receive(&mut self, from: Did, entries: Vec<EntryFrame>) {
        let verified = |frame: EntryFrame| frame.parse().unwrap().verify(&mesh()).unwrap();
        self.input(Input::Entries { from, entries: entries.into_iter().map(verified).collect() });
    }

    /// All entries, in the order in which they were stored.
    fn everything(&self) -> Vec<EntryFrame> {
        let snapshot = self.store.snapshot().unwrap();
        let entries = (1..=self.engine.last_eno()).map(|eno| ledger::read_entry(&snapshot, eno).unwrap().unwrap());
        entries.map(|entry| EntryFrame::new(&entry)).collect()
    }

    pub(crate) fn members(&self) -> Arc<Members> {
        self.engine.members().clone()
    }

    pub(crate) fn memories(&self) -> Vec<Memory> {
        let snapshot = self.store.snapshot().unwrap();
        let members = self.engine.members().clone();
        let reader = Reader::new(&snapshot, [0; 8], self.key.did(), members, Timestamp::from_ms(0)).unwrap();
        let mut all = reader.list(&ListQuery { limit: 1_000, ..ListQuery::default() }).unwrap().items;
        all.sort_by_key(|memory| memory.id);
        all
    }

    pub(crate) fn frontier(&self) -> Frontier {
        let logs = ledger::read_logs(&self.store.snapshot().unwrap()).unwrap();
        logs.into_iter().filter_map(|(_, log, head)| Some((log, head?))).collect()
    }

    /// The plain fold over everything in the default space.
    fn reference(&self) -> Fold {
        let snapshot = self.store.snapshot().unwrap();
        let mut fold = Fold::default();
        snapshot
            .scan(Table::Entries, ALL_KEYS, Order::Forward, &mut |key, value| {
                let row: EntryRow = rows::decode(Table::Entries, value).unwrap();
                let payload = snapshot.get(Table::Payloads, key).unwrap();
                let standing = ledger::standing(&snapshot, rows::read_eno(Table::Entries, key).unwrap()).unwrap();
                let entry = row.into_entry(payload).unwrap();
                if standing == Standing::Applied && entry.header().kind == Kind::WRITES {
                    fold.insert_placed(entry.id(), &writes_of(&entry).unwrap());
                }
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        fold
    }
}

/// A connection between two peers: a session on each side, ordered frames in flight.
struct Link {
    ends: [usize; 2],
    sessions: [SyncSession; 2],
    flying: [VecDeque<SyncFrame>; 2],
}

/// Peers, their connections, and gossip in any order, doubled or lost.
struct Net {
    peers: Vec<Peer>,
    links: Vec<Link>,
    gossip: Vec<(usize, usize, EntryFrame)>,
    now: Duration,
    dice: Dice,
    trace: blake3::Hasher,
    /// The entry format that all say they read.
    reads: u16,
    /// Whether one lost its disk, so that others have more of its log.
    lost_a_disk: bool,
}

impl Net {
    fn new(nodes: u8, seed: u64) -> Self {
        let peers = (0..nodes).map(Peer::new).collect();
        Self {
            peers,
            links: vec![],
            gossip: vec![],
            now: Duration::ZERO,
            dice: Dice::new(seed),
            trace: blake3::Hasher::new(),
            reads: nexus_crdt::ENTRY_FORMAT_MAX,
            lost_a_disk: false,
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.links.iter().any(|link| link.ends == [a, b]) {
            return;
        }
        let open = |n: usize, other: usize| {
            let (me, peer) = (self.peers[n].key.did(), self.peers[other].key.did());
            let audience = Audience::new(me, peer, self.peers[n].engine.members().clone()).reading(self.reads);
            let audience = audience.within(self.peers[n].quotas);
            let (holdings, snapshot) = (self.peers[n].holdings.clone(), self.peers[n].store.snapshot().unwrap());
            SyncSession::open_beside(audience, holdings, self.now, &snapshot).unwrap()
        };
        let sessions = [open(a, b), open(b, a)];
        self.links.push(Link { ends: [a, b], sessions, flying: Default::default() });
        // the gate shows each side the other's chain
        for (n, other) in [(a, b), (b, a)] {
            self.peers[n].input(Input::Chain(chain(u8::try_from(other).unwrap())));
        }
    }

    fn connect_all(&mut self) {
        for a in 0..self.peers.len() {
            for b in a + 1..self.peers.len() {
                self.connect(a, b);
            }
        }
    }

    /// Lets one side of a link send at most one frame.
    fn pump(&mut self, link: usize, side: usize) -> bool {
        let Link { ends, sessions, flying } = &mut self.links[link];
        let snapshot = self.peers[ends[side]].store.snapshot().unwrap();
        let members = self.peers[ends[side]].engine.members();
        sessions[side].follow(members, self.now, &snapshot).unwrap();
        let last = ledger::last_eno(&snapshot).unwrap();
        let rest = sessions[side].look(self.now, last, self.peers[ends[side]].own);
        let frame = sessions[side].next_frame(self.now, &snapshot).unwrap();
        assert!(frame.is_none() || rest.until <= self.now, "{rest:?} at {:?}, but there was {frame:?}", self.now);
        let Some(frame) = frame else { return false };
        self.trace.update(format!("{} {side} {frame:?}", self.now.as_millis()).as_bytes());
        flying[side].push_back(frame);
        true
    }

    /// Delivers one frame that a side sent, if one is in flight.
    fn deliver(&mut self, link: usize, side: usize) -> bool {
        let Link { ends, sessions, flying } = &mut self.links[link];
        let Some(frame) = flying[side].pop_front() else {
            return false;
        };
        let (from, to) = (ends[side], ends[1 - side]);
        let from = self.peers[from].key.did();
        let snapshot = self.peers[to].store.snapshot().unwrap();
        let received = sessions[1 - side].receive(frame, &snapshot).unwrap();
        assert!(self.lost_a_disk || received.own_log_ahead.is_none());
        let entries: Vec<Verified> = received.entries.into_iter().map(|entry| entry.verify(&mesh()).unwrap()).collect();
        if !entries.is_empty() {
            self.peers[to].input(Input::Entries { from, entries });
            let events: Vec<Event> = self.peers[to].events.drain(..).collect();
            if events.iter().any(|event| matches!(event, Event::Behind { .. })) {
                self.links[link].sessions[1 - side].ask_again();
            }
            if events.contains(&Event::Lacking) {
                for link in &mut self.links {
                    for (end, session) in link.ends.iter().zip(&mut link.sessions) {
                        if *end == to {
                            session.ask_again();
                        }
                    }
                }
            }
        }
        true
    }

    fn collect_gossip(&mut self) {
        for n in 0..self.peers.len() {
            for frame in std::mem::take(&mut self.peers[n].published) {
                for to in (0..self.peers.len()).filter(|to| *to != n) {
                    self.gossip.push((n, to, frame.clone()));
                }
            }
        }
    }

    /// One random step of the world.
    fn step(&mut self) {
        match self.dice.roll(12) {
            0..=2 => self.write(),
            3 => {
                self.collect_gossip();
                if !self.gossip.is_empty() {
                    let at = usize::try_from(self.dice.roll(self.gossip.len() as u64)).unwrap();
                    let (from, to, frame) = self.gossip[at].clone();
                    // sometimes it arrives twice, sometimes never
                    if self.dice.roll(3) > 0 {
                        self.gossip.swap_remove(at);
                    }
                    if self.dice.roll(4) > 0 {
                        let from = self.peers[from].key.did();
                        self.peers[to].receive(from, vec![frame]);
                    }
                }
            }
            4 if !self.links.is_empty() && self.dice.roll(6) == 0 => {
                let at = usize::try_from(self.dice.roll(self.links.len() as u64)).unwrap();
                // a reset: frames in flight are lost
                self.links.swap_remove(at);
            }
            5 if self.dice.roll(3) == 0 => self.connect_all(),
            6 if self.dice.roll(20) == 0 => {
                let n = usize::try_from(self.dice.roll(self.peers.len() as u64)).unwrap();
                self.links.retain(|link| !link.ends.contains(&n));
                self.peers[n].restart();
            }
            _ if !self.links.is_empty() => {
                let (link, side) = (self.dice.roll(self.links.len() as u64), self.dice.roll(2));
                let (link, side) = (usize::try_from(link).unwrap(), usize::try_from(side).unwrap());
                if self.dice.roll(2) == 0 {
                    self.pump(link, side);
                } else {
                    self.deliver(link, side);
                }
                self.now += Duration::from_millis(self.dice.roll(200));
            }
            _ => self.now += Duration::from_millis(50),
        }
    }

    fn write(&mut self) {
        let n = usize::try_from(self.dice.roll(self.peers.len() as u64)).unwrap();
        let known: Vec<String> = self.peers[n].memories().into_iter().map(|memory| memory.id.to_string()).collect();
        let pick = |dice: &mut Dice| usize::try_from(dice.roll(known.len() as u64)).unwrap();
        let text = format!("{n}-{}", self.dice.roll(1 << 30));
        match self.dice.roll(6) {
            0 | 1 if !known.is_empty() => {
                let at = pick(&mut self.dice);
                let record = self.dot(n, &known[at]);
                self.peers[n].edit(record, &text);
            }
            2 if !known.is_empty() && self.dice.roll(2) == 0 => {
                let at = pick(&mut self.dice);
                let record = self.dot(n, &known[at]);
                self.peers[n].command(Command::Forget(record));
            }
            3 => {
                let key = format!("key{}", self.dice.roll(3));
                self.peers[n].remember(&text, Some(&key));
            }
            _ => {
                self.peers[n].remember(&text, None);
            }
        }
    }

    fn dot(&self, n: usize, id: &str) -> Dot {
        let snapshot = self.peers[n].store.snapshot().unwrap();
        let members = self.peers[n].engine.members().clone();
        Reader::new(&snapshot, [0; 8], self.peers[n].key.did(), members, Timestamp::from_ms(0))
            .unwrap()
            .resolve(id)
            .unwrap()
    }

    /// Connects everybody without losses, until nobody has a frame to send.
    fn settle(&mut self) {
        self.gossip.clear();
        self.connect_all();
        let mut quiet = 0;
        while quiet < 30 {
            let mut busy = false;
            for link in 0..self.links.len() {
                for side in 0..2 {
                    busy |= self.pump(link, side);
                    while self.deliver(link, side) {
                        busy = true;
                    }
                }
            }
            quiet = if busy { 0 } else { quiet + 1 };
            self.now += Duration::from_millis(100);
            assert!(self.now < Duration::from_secs(600), "no quiet");
            // digests are exchanged for ever; equal frontiers are the end
            if self.peers.windows(2).all(|pair| pair[0].frontier() == pair[1].frontier()) {
                return;
            }
        }
    }
}

fn run(nodes: u8, steps: u32, seed: u64) -> Net {
    let mut net = Net::new(nodes, seed);
    for _ in 0..steps {
        net.step();
    }
    net.settle();
    net
}

fn assert_converged(net: &Net) {
    let first = &net.peers[0];
    for peer in &net.peers[1..] {
        assert_eq!(peer.frontier(), first.frontier());
        assert_eq!(peer.memories(), first.memories());
    }
    let fold = first.reference();
    let shown: BTreeSet<String> = first.memories().into_iter().map(|memory| memory.id.to_string()).collect();
    let in_sight: BTreeSet<String> = fold.records().map(|dot| dot.to_string()).collect();
    assert!(shown.is_subset(&in_sight));
    for memory in first.memories() {
        let record = net.dot(0, &memory.id.to_string());
        let live = fold.live(record, "text");
        let texts: BTreeSet<&str> = live.iter().map(|live| live.value.as_str()).collect();
        if let Some(conflict) = memory.conflicts.get("text") {
            let shown: BTreeSet<String> = conflict.iter().map(|value| value.value.to_string()).collect();
            assert!(texts.iter().all(|text| shown.contains(*text)));
        } else if let [only] = texts.iter().collect::<Vec<_>>().as_slice() {
            assert_eq!(**only, serde_json::Value::from(memory.text.clone()).to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// promise: The engine | Two and three replicas converge under any order, loss and duplication of delivery
    #[test]
    fn two_replicas_converge_under_any_order_loss_and_duplication(seed: u64) {
        assert_converged(&run(2, 250, seed));
    }

    /// promise: The engine | Two and three replicas converge under any order, loss and duplication of delivery
    #[test]
    fn three_replicas_converge_under_any_order_loss_and_duplication(seed: u64) {
        assert_converged(&run(3, 350, seed));
    }

    /// promise: The engine | Equal seeds give equal traces
    #[test]
    fn the_same_seed_gives_the_same_trace(seed: u64) {
        let (a, b) = (run(3, 200, seed), run(3, 200, seed));
        prop_assert_eq!(a.trace.finalize(), b.trace.finalize());
    }
}

/// promise: Entries and memories | Forget beats concurrent edits
#[test]
fn a_forgotten_memory_never_returns_whatever_was_edited_meanwhile() {
    let mut net = Net::new(2, 1);
    net.settle();
    let record = net.peers[0].remember("secret", None);
    net.settle();
    net.links.clear();
    net.peers[0].command(Command::Forget(record));
    assert!(matches!(net.peers[1].edit(record, "still here"), Outcome::Done(Some(_))));
    net.settle();
    assert_converged(&net);
    assert!(net.peers[0].memories().is_empty());
}

/// promise: Entries and memories | Concurrent edits are a conflict in sight until a later write overwrites them
#[test]
fn concurrent_edits_show_both_values_until_one_settles_them() {
    let mut net = Net::new(2, 1);
    let record = net.peers[0].remember("first", None);
    net.settle();
    net.links.clear();
    net.peers[0].edit(record, "left");
    net.peers[1].edit(record, "right");
    net.settle();
    assert_converged(&net);
    let values: BTreeSet<String> = net.peers[1].memories()[0].conflicts["text"]
        .iter()
        .map(|value| value.value.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(values, BTreeSet::from(["left".to_owned(), "right".to_owned()]));
    net.peers[1].edit(record, "settled");
    net.settle();
    for peer in &net.peers {
        let memories = peer.memories();
        assert_eq!((memories[0].text.as_str(), memories[0].conflicts.len()), ("settled", 0));
    }
}

/// promise: The engine | A key written twice apart is one memory with a conflict
#[test]
fn a_key_written_twice_apart_is_one_memory_with_a_conflict() {
    let mut net = Net::new(2, 1);
    net.settle();
    net.links.clear();
    net.peers[0].remember("left", Some("config"));
    net.peers[1].remember("right", Some("config"));
    net.settle();
    assert_converged(&net);
    let memories = net.peers[0].memories();
    assert_eq!((memories.len(), memories[0].conflicts["text"].len()), (1, 2));
    net.peers[0].remember("both", Some("config"));
    net.settle();
    let memories = net.peers[1].memories();
    assert_eq!((memories.len(), memories[0].text.as_str(), memories[0].conflicts.len()), (1, "both", 0));
}

/// promise: The engine | The same key and content is answered as the first time
#[test]
fn the_same_key_and_content_is_answered_as_the_first_time() {
    let mut peer = Peer::new(0);
    let first = peer.remember("same", Some("k"));
    let entries = peer.frontier();
    assert_eq!(peer.remember("same", Some("k")), first);
    assert_eq!(peer.frontier(), entries);
}

/// An entry with any content in a log of node `n`, after the given one.
fn forge(n: u8, after: Option<&Verified>, kind: Kind, payload: Vec<u8>) -> Verified {
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(n).did(), incarnation: Incarnation([9; 8]) };
    let after = after.map(|entry| nexus_crdt::Head { seq: entry.header().seq, id: entry.id() });
    let draft =
        Draft { mesh: mesh(), log, after: after.as_ref(), hlc: Hlc(1), kind, refs: vec![], payload: payload.into() };
    Verified::write(draft, &key(n))
}

/// promise: Bad input | A second entry at a held seq: kept, applied nowhere, reported
#[test]
fn a_forked_log_is_known_until_its_author_goes_on_in_another_incarnation() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let forking = |peer: &Peer| crate::ledger::forking_authors(&peer.store.snapshot().unwrap()).unwrap();
    let empty = || Writes(vec![]).encode();
    let base = forge(1, None, Kind::WRITES, empty());
    let branches = [b"one", b"two"].map(|name| forge(1, Some(&base), Kind::WRITES, name.to_vec()));
    peer.input(Input::Entries { from: key(1).did(), entries: vec![base, branches[0].clone()] });
    assert_eq!(forking(&peer), BTreeMap::new());
    peer.input(Input::Entries { from: key(1).did(), entries: vec![branches[1].clone()] });
    assert_eq!(forking(&peer), BTreeMap::from([(key(1).did(), 1)]));
    let incarnation =
        |n| LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation: Incarnation([n; 8]) };
    let write = |n, hlc| {
        let (log, payload) = (incarnation(n), empty().into());
        let draft = Draft { mesh: mesh(), log, after: None, hlc: Hlc(hlc), kind: Kind::WRITES, refs: vec![], payload };
        vec![Verified::write(draft, &key(1))]
    };
    peer.input(Input::Entries { from: key(1).did(), entries: write(1, 0) });
    assert_eq!(forking(&peer).len(), 1, "an earlier one");
    peer.input(Input::Entries { from: key(1).did(), entries: write(2, 2) });
    assert_eq!(forking(&peer), BTreeMap::new());
}

/// promise: Bad input | A second entry at a held seq: kept, applied nowhere, reported
#[test]
fn a_log_counts_up_to_where_it_forked_and_the_fork_is_reported_once() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let payload = |text: &str| {
        let value = Core { text: text.to_owned(), ..Core::default() }.to_json();
        let field = nexus_crdt::Field::named("core");
        Writes(vec![nexus_crdt::Write { target: nexus_crdt::Target::Create { page: 0 }, field, value, over: vec![] }])
            .encode()
    };
    let base = forge(1, None, Kind::WRITES, payload("base"));
    let one = forge(1, Some(&base), Kind::WRITES, payload("one"));
    let two = forge(1, Some(&base), Kind::WRITES, payload("two"));
    peer.input(Input::Entries { from: key(1).did(), entries: vec![base, one.clone()] });
    assert_eq!(peer.memories().len(), 2);
    peer.input(Input::Entries { from: key(1).did(), entries: vec![two.clone(), one.clone(), two.clone()] });
    let forks = peer.events.iter().filter(|event| matches!(event, Event::Fork { seq: 1, .. })).count();
    assert_eq!(forks, 1);
    let texts = |peer: &Peer| peer.memories().into_iter().map(|memory| memory.text).collect::<Vec<_>>();
    assert_eq!(texts(&peer), ["base"]);
    assert!(ledger::find_entry(&peer.store.snapshot().unwrap(), two.id()).unwrap().is_some());
    // both branches go on, and neither counts
    let next = forge(1, Some(&one), Kind::WRITES, payload("three"));
    let off = forge(1, Some(&two), Kind::WRITES, payload("off the branch"));
    peer.input(Input::Entries { from: key(1).did(), entries: vec![off.clone(), next] });
    assert_eq!(texts(&peer), ["base"]);
    assert!(ledger::find_entry(&peer.store.snapshot().unwrap(), off.id()).unwrap().is_some());
}

/// promise: The engine | Nodes that hold different branches go on, and do not spin
#[test]
fn a_newcomer_is_sent_all_branches_of_a_log_and_counts_as_little_of_it() {
    let mut net = Net::new(2, 7);
    let payload = |n: usize| {
        let value = Core { text: format!("{n} {}", "x".repeat(30_000)), ..Core::default() }.to_json();
        let field = nexus_crdt::Field::named("core");
        Writes(vec![nexus_crdt::Write { target: nexus_crdt::Target::Create { page: 0 }, field, value, over: vec![] }])
            .encode()
    };
    let base = forge(2, None, Kind::WRITES, payload(0));
    // more at one seq than a frame takes
    let branches: Vec<Verified> = (1..40).map(|n| forge(2, Some(&base), Kind::WRITES, payload(n))).collect();
    let after: Vec<Verified> = branches.iter().map(|entry| forge(2, Some(entry), Kind::WRITES, payload(99))).collect();
    for peer in &mut net.peers {
        peer.input(Input::Chain(chain(2)));
    }
    let entries = [vec![base.clone()], branches, after].concat();
    net.peers[0].input(Input::Entries { from: key(2).did(), entries });
    net.settle();
    assert_eq!(net.peers[0].frontier(), net.peers[1].frontier());
    for peer in &net.peers {
        let snapshot = peer.store.snapshot().unwrap();
        let (no, ..) =
            ledger::read_logs(&snapshot).unwrap().into_iter().find(|(_, log, _)| *log == base.header().log()).unwrap();
        let held = ledger::read_branches(&snapshot, no).unwrap().unwrap();
        assert_eq!((held.cut, held.aside()), (Some(1), nexus_crdt::ASIDE_MAX));
        assert_eq!(peer.memories().len(), 1);
    }
}

/// promise: The engine | Nodes that hold different branches go on, and do not spin
#[test]
fn two_that_hold_different_branches_go_on_talking_and_do_not_spin() {
    let mut net = Net::new(2, 11);
    let entry = |after: Option<&Verified>, text: &str| forge(2, after, Kind(4_000), text.as_bytes().to_vec());
    let (a, b) = (entry(None, "a"), entry(None, "b"));
    let (on_a, on_b) = (entry(Some(&a), "on a"), entry(Some(&b), "on b"));
    let further = entry(Some(&on_b), "further");
    for peer in &mut net.peers {
        peer.input(Input::Chain(chain(2)));
    }
    net.peers[0].input(Input::Entries { from: key(2).did(), entries: vec![a, on_a] });
    net.peers[1].input(Input::Entries { from: key(2).did(), entries: vec![b, on_b, further] });
    net.connect_all();
    let (mut frames, minute) = (0, Duration::from_secs(60));
    while net.now < minute {
        for side in 0..2 {
            while net.pump(0, side) {
                frames += 1;
                assert!(frames < 400, "{frames} frames in {:?}", net.now);
                while net.deliver(0, side) {}
            }
        }
        net.now += Duration::from_millis(100);
    }
    // and what both write meanwhile arrives
    net.peers[0].remember("from the one", None);
    net.peers[1].remember("from the other", None);
    for _ in 0..20 {
        for side in 0..2 {
            while net.pump(0, side) {
                while net.deliver(0, side) {}
            }
        }
        net.now += Duration::from_millis(100);
    }
    assert!(net.peers.iter().all(|peer| peer.memories().len() == 2));
}

/// promise: Bad input | Payloads that break a rule of form: quarantined
#[test]
fn what_breaks_a_rule_of_form_stays_in_the_chain_and_does_not_count() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let bad = forge(1, None, Kind::WRITES, b"not writes".to_vec());
    let good = forge(1, Some(&bad), Kind(4_000), b"a kind of a later version".to_vec());
    peer.input(Input::Entries { from: key(1).did(), entries: vec![bad.clone(), good.clone()] });
    assert!(peer.events.iter().any(|event| matches!(event, Event::Quarantined { entry, .. } if *entry == bad.id())));
    assert_eq!(peer.frontier().head(&good.header().log()).unwrap().id, good.id());
    assert!(peer.memories().is_empty());
}

/// promise: Bad input | Entries of strangers: wait within a bound
#[test]
fn entries_of_strangers_wait_within_a_bound_and_count_once_they_are_members() {
    let mut peer = Peer::new(0);
    let entry = forge(1, None, Kind(4_000), vec![]);
    peer.input(Input::Entries { from: key(2).did(), entries: vec![entry.clone()] });
    assert!(peer.frontier().head(&entry.header().log()).is_none());
    assert_eq!(peer.engine.waiting(), 1);
    let mut flood = vec![entry.clone()];
    for _ in 0..5_000 {
        flood.push(forge(1, flood.last(), Kind(4_000), vec![]));
    }
    peer.input(Input::Entries { from: key(2).did(), entries: flood });
    assert!(peer.engine.waiting() <= 4_096);
    peer.input(Input::Chain(chain(1)));
    assert!(peer.frontier().head(&entry.header().log()).unwrap().seq >= 4_000);
    assert_eq!(peer.engine.waiting(), 0);
}

/// promise: The engine | Derived tables can be deleted and are rebuilt
#[test]
fn derived_tables_can_be_deleted_and_are_rebuilt() {
    let net = run(3, 300, 7);
    let peer = &net.peers[0];
    let before = peer.memories();
    let mut batch = crate::store::Batch::new();
    batch.delete(Table::Meta, rows::meta::VIEW);
    for table in Table::ALL.iter().filter(|table| table.derived()) {
        batch.clear(*table);
    }
    peer.store.commit(&[batch]).unwrap();
    assert!(crate::runtime::bring_up_to_date(&peer.key, &peer.store).unwrap() > 0);
    assert_eq!(crate::runtime::bring_up_to_date(&peer.key, &peer.store).unwrap(), 0);
    assert!(!before.is_empty());
    assert_eq!(peer.memories(), before);
}

/// promise: The engine | A log of ours that is ahead elsewhere is not continued: a new incarnation begins
#[test]
fn a_peer_that_holds_more_of_our_log_makes_us_go_on_in_a_new_incarnation() {
    let mut peer = Peer::new(0);
    peer.remember("before", None);
    let own = LogId { space: SpaceId::default_of(&mesh()), author: key(0).did(), incarnation: Incarnation([0; 8]) };
    let ahead = nexus_crdt::Head { seq: 7, id: nexus_crdt::EntryId::of(b"theirs") };
    let part = nexus_crdt::FrontierPart { heads: vec![nexus_crdt::LogHead::new(&own, &ahead)], last: true };
    let snapshot = peer.store.snapshot().unwrap();
    let audience = Audience::new(key(0).did(), key(1).did(), peer.engine.members().clone());
    let mut session = SyncSession::open(audience, Duration::ZERO, &snapshot).unwrap();
    let frame = SyncFrame { body: Some(Body::Frontier(part)) };
    assert_eq!(session.receive(frame, &snapshot).unwrap().own_log_ahead, Some(own));
    peer.input(Input::OwnLogAhead { incarnation: Incarnation([0; 8]), fresh: Incarnation([5; 8]) });
    peer.remember("after", None);
    assert_eq!(peer.frontier().head(&own).unwrap().seq, 0);
    let fresh = LogId { incarnation: Incarnation([5; 8]), ..own };
    assert_eq!(peer.frontier().head(&fresh).unwrap().seq, 0);
    assert_eq!(peer.memories().len(), 2);
}

#[test]
fn a_fresh_replica_gets_everything_across_many_frames() {
    let mut net = Net::new(2, 1);
    let text = "x".repeat(30_000);
    for n in 0..60 {
        net.peers[0].remember(&format!("{n} {text}"), None);
    }
    net.peers[0].published.clear();
    net.settle();
    assert_converged(&net);
    assert_eq!(net.peers[1].memories().len(), 60);
}

/// promise: Nodes | A node in a whole mesh looks at its store for a peer when it wrote something itself, or something is due
#[test]
fn entries_of_others_are_gathered_without_a_look_at_the_store() {
    let mut net = Net::new(3, 1);
    net.connect_all();
    net.settle();
    let mut session = std::mem::replace(&mut net.links[0].sessions[0], {
        let audience = Audience::new(key(0).did(), key(1).did(), net.peers[0].engine.members().clone());
        SyncSession::open(audience, net.now, &net.peers[0].store.snapshot().unwrap()).unwrap()
    })
    .resting(true);
    session.in_whole_circle(true);
    let snapshot = net.peers[0].store.snapshot().unwrap();
    let (last, own) = (ledger::last_eno(&snapshot).unwrap(), net.peers[0].own);
    let now = net.now + Duration::from_secs(100);
    while session.next_frame(now, &snapshot).unwrap().is_some() {}
    let rest = session.look(now, last, own);
    assert!(rest.notes_commits && rest.until > now, "{rest:?}");
    let rest = session.look(now, last + 1, own);
    assert!(!rest.notes_commits && rest.until > now && rest.until <= now + ACK_WITHIN, "it is gathered: {rest:?}");
    let (due, ms) = (rest.until, Duration::from_millis(1));
    assert_eq!(due.as_millis() % ACK_WITHIN.as_millis(), 0, "with those to other peers");
    assert_eq!(session.look(due - ms, last + 1, own).until, due);
    assert!(session.look(due, last + 1, own).until <= due, "the acknowledgement is due");
    assert!(session.look(now, last + 2, last + 2).until <= now, "an own entry goes at once");
}

/// promise: The engine | Own entries that follow on each other quickly go to a peer of many in one frame, the first one at once
#[test]
fn own_entries_in_quick_succession_share_a_frame_in_a_crowd() {
    let mut net = Net::new(2, 1);
    net.connect_all();
    net.settle();
    let mut now = net.now + Duration::from_secs(100);
    let Net { peers, links, .. } = &mut net;
    let peer = &mut peers[0];
    let fresh = SyncSession::open(
        Audience::new(key(0).did(), key(1).did(), peer.engine.members().clone()),
        now,
        &peer.store.snapshot().unwrap(),
    );
    let mut session = std::mem::replace(&mut links[0].sessions[0], fresh.unwrap()).resting(true);
    // acknowledgements come later there
    session.in_whole_circle(true);
    let sends = |session: &mut SyncSession, now, peer: &Peer| loop {
        match session.next_frame(now, &peer.store.snapshot().unwrap()).unwrap().map(|frame| frame.body) {
            Some(Some(Body::Entries(frame))) => return frame.entries.len(),
            Some(_) => {}
            None => return 0,
        }
    };
    assert_eq!(sends(&mut session, now, peer), 0);
    for (others, pause) in [(38_u32, 38), (1_000, 50), (0, 0)] {
        // between two acknowledgements
        now = ACK_WITHIN * (now.as_secs() / ACK_WITHIN.as_secs() + 1) as u32 + Duration::from_millis(100);
        session.among(others as usize);
        peer.remember(&format!("the first one of {others}"), None);
        assert_eq!(sends(&mut session, now, peer), 1);
        let until = now + Duration::from_millis(pause);
        for n in 0..2 {
            peer.remember(&format!("another one of {others}, {n}"), None);
            let last = ledger::last_eno(&peer.store.snapshot().unwrap()).unwrap();
            assert_eq!(session.look(now, last, last).until, until, "{n} of {others}");
            if pause > 0 {
                assert_eq!(sends(&mut session, now, peer), 0);
                assert_eq!(session.poll_timeout(), until);
            }
        }
        assert_eq!(sends(&mut session, until, peer), 2);
        // the machine is busy
        let (end, took) = (until + Duration::from_millis(5), Duration::from_millis(5));
        session.sent(end, took);
        peer.remember(&format!("the last one of {others}"), None);
        let last = ledger::last_eno(&peer.store.snapshot().unwrap()).unwrap();
        let busy = end + took.saturating_mul(others).min(Duration::from_millis(250));
        assert_eq!(session.look(end, last, last).until, busy, "{others}");
        assert_eq!(sends(&mut session, busy, peer), 1);
        session.sent(busy + Duration::from_secs(9), Duration::from_secs(9));
        peer.remember(&format!("one on a link that stood, of {others}"), None);
        now = busy + Duration::from_secs(9) + Duration::from_millis(250);
        assert_eq!(sends(&mut session, now, peer), 1);
    }
}

/// promise: The engine | A session whose store lost what it had committed waits for the next commit
#[test]
fn what_a_store_has_lost_is_not_looked_for_again_and_again() {
    let mut net = Net::new(2, 1);
    net.connect_all();
    net.settle();
    let snapshot = net.peers[0].store.snapshot().unwrap();
    let (last, now) = (ledger::last_eno(&snapshot).unwrap(), net.now + Duration::from_secs(100));
    let session = &mut net.links[0].sessions[0];
    while session.next_frame(now, &snapshot).unwrap().is_some() {}
    // the engine told of five more, its own among them, and the disk had no room
    assert!(session.look(now, last + 5, last + 5).until <= now, "they are news");
    assert_eq!(session.next_frame(now, &snapshot).unwrap(), None);
    for _ in 0..2 {
        let rest = session.look(now, last + 5, last + 5);
        assert!(rest.until > now && rest.notes_commits, "{rest:?}");
    }
    assert!(session.look(now, last + 6, last + 6).until <= now, "the next commit is news again");
}

#[test]
fn a_session_that_has_heard_nothing_yet_does_not_ask_to_be_woken_at_once() {
    let mut peer = Peer::new(0);
    let second = Duration::from_secs(1);
    peer.input(Input::Chain(chain(1)));
    let audience = Audience::new(peer.key.did(), key(1).did(), peer.engine.members().clone());
    let mut session = SyncSession::open(audience, Duration::ZERO, &peer.store.snapshot().unwrap()).unwrap();
    peer.remember("written while the peer is silent", None);
    for now in [second, second * 2, second * 3] {
        while session.next_frame(now, &peer.store.snapshot().unwrap()).unwrap().is_some() {}
        assert!(session.poll_timeout() > now, "at {now:?} it wants to be woken at {:?}", session.poll_timeout());
    }
}
