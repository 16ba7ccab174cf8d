//! Entries whose payloads are erased in parts: by whom, on all nodes, in any order, and when the word stops counting.

use std::ops::ControlFlow;

use nexus_crdt::{ALL_LEAVES, ENTRY_FORMAT_FIRST, ENTRY_FORMAT_LEAVES, ENTRY_FORMAT_MAX, Erase, Erased, Head};

use super::*;
use crate::engine::{EraseFate, EraseTarget};
use crate::memory::MemoryId;

const SECRET: &str = "the secret that must go";

fn raise(format: u16) -> Command {
    Command::Raise { format, tasks_apart: true, persons: false, erases: true }
}

fn raised() -> Command {
    raise(ENTRY_FORMAT_LEAVES)
}

impl Peer {
    /// Remembers 40 memories in one entry; one of them is the secret.
    fn remember_forty(&mut self) -> EntryId {
        let record = |n: u16| {
            let text = if n == 17 { SECRET.to_owned() } else { format!("memory {n}") };
            let core = Core { text, kind: "note".to_owned(), ..Core::default() };
            NewRecord::whole(SpaceId::default_of(&mesh()), core)
        };
        match self.command(Command::Remember((0..40).map(record).collect())) {
            Outcome::Remembered(written) => {
                assert!(written.iter().all(|at| at.record.entry == written[0].record.entry), "one batch");
                written[0].record.entry
            }
            other => panic!("{other:?}"),
        }
    }

    /// Erases a record. Returns what became of it.
    fn erase(&mut self, record: Dot) -> EraseFate {
        match self.command(Command::Erase(vec![EraseTarget::Record(record)])) {
            Outcome::Erased { fates, .. } => fates.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Does what a node does after erasures came; those up to an entry are gone from its files.
    fn carry_out(&mut self, gone: u64) {
        self.command(Command::CarryOut { gone });
    }

    /// A word of this peer's member, written by another program with its key.
    fn word(&self, kind: Kind, payload: Vec<u8>) -> EntryFrame {
        let log = LogId { space: SpaceId::mesh(&mesh()), author: self.key.did(), incarnation: self.incarnation() };
        let after = self.frontier().head(&log).copied();
        let (hlc, payload) = (Hlc::at(Timestamp::from_ms(2_000)), payload.into());
        let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc, kind, refs: vec![], payload };
        EntryFrame::new(&Verified::write(draft, &self.key))
    }

    fn incarnation(&self) -> Incarnation {
        self.frontier().iter().find(|(log, _)| log.author == self.key.did()).unwrap().0.incarnation
    }

    fn entry(&self, id: EntryId) -> Option<Verified> {
        let snapshot = self.store.snapshot().unwrap();
        let eno = ledger::find_entry(&snapshot, id).unwrap()?;
        ledger::read_entry(&snapshot, eno).unwrap()
    }

    fn lacks(&self, id: EntryId) -> Vec<u16> {
        self.entry(id).unwrap().lacks()
    }

    fn last_format(&self) -> u16 {
        let snapshot = self.store.snapshot().unwrap();
        let last = ledger::last_eno(&snapshot).unwrap();
        ledger::read_entry(&snapshot, last).unwrap().unwrap().header().format()
    }

    /// In how many rows of the store a text is.
    fn rows_with(&self, text: &str) -> usize {
        let snapshot = self.store.snapshot().unwrap();
        let mut rows = 0;
        for table in Table::ALL {
            snapshot
                .scan(*table, ALL_KEYS, Order::Forward, &mut |_, value| {
                    rows += usize::from(value.windows(text.len()).any(|bytes| bytes == text.as_bytes()));
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
        rows
    }

    /// The members that confirmed an erasure.
    fn confirmed(&self, state: Erased) -> usize {
        let snapshot = self.store.snapshot().unwrap();
        let mut members = BTreeSet::new();
        snapshot
            .scan(Table::Confirmed, ALL_KEYS, Order::Forward, &mut |key, _| {
                if key[64] == state as u8 {
                    members.insert(key[32..64].to_vec());
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        members.len()
    }

    fn assert_equals_a_rebuild(&mut self) {
        let before = self.memories();
        let mut batch = crate::store::Batch::new();
        batch.delete(Table::Meta, rows::meta::VIEW);
        self.store.commit(&[batch]).unwrap();
        assert!(crate::runtime::bring_up_to_date(&self.key, &self.store).unwrap() > 0);
        self.restart();
        assert_eq!(self.memories(), before);
    }
}

impl Net {
    /// Peers that write entries in leaves, and may erase them.
    fn raised(nodes: u8, seed: u64) -> Self {
        let mut net = Self::new(nodes, seed);
        for peer in &mut net.peers {
            peer.command(raised());
        }
        net
    }

    /// Lets two peers sync, alone.
    fn sync(&mut self, one: usize, other: usize) {
        self.links.clear();
        self.connect(one, other);
        for _ in 0..100 {
            for side in 0..2 {
                self.pump(0, side);
                self.deliver(0, side);
            }
            self.now += Duration::from_millis(50);
        }
    }

    /// Lets all sync with each other.
    fn sync_all(&mut self) {
        self.links.clear();
        self.settle();
        // equal frontiers say nothing of leaves that are to come again
        for _ in 0..60 {
            for link in 0..self.links.len() {
                for side in 0..2 {
                    self.pump(link, side);
                    while self.deliver(link, side) {}
                }
            }
            self.now += Duration::from_millis(100);
        }
        assert_converged(self);
    }
}

#[test]
fn entries_are_written_in_parts_once_the_format_was_raised_and_never_back() {
    let mut peer = Peer::new(0);
    peer.remember("before", None);
    assert_eq!(peer.last_format(), ENTRY_FORMAT_FIRST);
    assert!(matches!(peer.command(raised()), Outcome::Done(None)));
    peer.remember("after", Some("key"));
    assert_eq!(peer.last_format(), ENTRY_FORMAT_LEAVES);
    assert!(matches!(peer.command(raise(ENTRY_FORMAT_FIRST)), Outcome::Done(None)));
    peer.restart();
    peer.remember("after", Some("key"));
    peer.remember("after, edited", Some("key"));
    assert_eq!(peer.last_format(), ENTRY_FORMAT_LEAVES);
    let too_new = peer.command(raise(ENTRY_FORMAT_MAX + 1));
    assert!(matches!(too_new, Outcome::TooNew { known: ENTRY_FORMAT_MAX }), "{too_new:?}");
    let name = "plans".parse().unwrap();
    assert!(matches!(peer.command(Command::CreateSpace { name, salt: [1; 16] }), Outcome::Space(_)));
    assert!(matches!(peer.command(Command::Describe("laptop".parse().unwrap())), Outcome::Done(Some(_))));
    assert_eq!(peer.last_format(), ENTRY_FORMAT_LEAVES);
    assert_eq!(peer.engine.members().get(&peer.key.did()).unwrap().name().unwrap().as_str(), "laptop");
    peer.assert_equals_a_rebuild();
    let mut texts: Vec<String> = peer.memories().into_iter().map(|memory| memory.text).collect();
    texts.sort();
    assert_eq!(texts, ["after, edited", "before"]);
    assert_eq!(peer.engine.members().get(&peer.key.did()).unwrap().name().unwrap().as_str(), "laptop");
}

#[test]
fn every_leaf_has_a_salt_of_its_own() {
    let mut peer = Peer::new(0);
    peer.command(raised());
    let id = peer.remember_forty();
    let entry = peer.entry(id).unwrap();
    let leaves = entry.leaves().unwrap().unwrap();
    let salts: BTreeSet<[u8; 16]> = leaves
        .iter()
        .map(|leaf| match leaf {
            nexus_crdt::Leaf::Present { salt, .. } => *salt,
            nexus_crdt::Leaf::Erased(_) => panic!("nothing was erased"),
        })
        .collect();
    assert_eq!(salts.len(), 40);
}

/// promise: Erasure | One of 40 memories that were written together is erased with its versions on every node, and 39 stay
#[test]
fn one_of_40_memories_of_a_batch_is_erased_and_39_are_left() {
    let mut net = Net::raised(3, 3);
    let id = net.peers[0].remember_forty();
    let record = |index| nexus_crdt::Dot { entry: id, index };
    net.peers[0].edit(record(16), "memory 16, edited");
    net.peers[0].edit(record(17), &format!("{SECRET}, edited"));
    // one has it whole, before it is erased
    net.sync(0, 1);
    assert_eq!(net.peers[1].memories().len(), 40);

    // the memory is two writes: it was created, and edited
    assert_eq!(net.peers[0].erase(record(17)), EraseFate::Erased { leaves: 2, others: BTreeSet::new() });
    let left = net.peers[0].memories();
    assert_eq!(left.len(), 39);
    assert!(left.iter().any(|memory| memory.text == "memory 16, edited"));
    assert!((0..40).filter(|n| ![16, 17].contains(n)).all(|n| left.iter().any(|m| m.text == format!("memory {n}"))));
    assert_eq!(net.peers[0].rows_with(SECRET), 0, "in no row of any table");
    net.peers[0].assert_equals_a_rebuild();
    assert!(matches!(net.peers[0].erase(record(17)), EraseFate::Missing), "it is erased already");
    // the others can be edited and forgotten as ever
    net.peers[0].edit(record(18), "memory 18, edited");
    net.peers[0].command(Command::Forget(record(19)));
    assert_eq!(net.peers[0].memories().len(), 38);

    // a newcomer takes the emptied entries by sync
    net.sync(0, 2);
    assert_eq!(net.peers[2].memories(), net.peers[0].memories());
    assert_eq!(net.peers[2].entry(id).unwrap(), net.peers[0].entry(id).unwrap());
    assert_eq!(net.peers[2].lacks(id), [17]);

    // a peer that had it whole erases it, too, once it hears of that
    net.sync_all();
    assert_eq!(net.peers[1].memories(), net.peers[0].memories());
    assert_eq!(net.peers[1].rows_with(SECRET), 0);
    // a forgotten memory is erased as well
    assert!(matches!(net.peers[0].erase(record(19)), EraseFate::Erased { .. }));
    net.sync_all();
    assert!(net.peers.iter().all(|peer| peer.rows_with("memory 19") == 0));
}

/// promise: Erasure | A member that empties entries on the way keeps nothing from others, and nothing that is erased comes back
#[test]
fn what_somebody_emptied_on_the_way_does_not_keep_the_whole_out() {
    let mut author = Peer::new(0);
    author.command(raised());
    let id = author.remember_forty();
    let whole = author.entry(id).unwrap();
    let emptied = whole.clone().without(17);
    let mut peer = Peer::new(1);
    peer.input(Input::Chain(chain(0)));
    for entry in [&emptied, &whole.clone().without(ALL_LEAVES)] {
        peer.receive(key(2).did(), vec![EntryFrame::new(entry)]);
        assert_eq!(peer.entry(id), None);
    }
    peer.receive(key(0).did(), vec![EntryFrame::new(&whole)]);
    assert_eq!(peer.memories().len(), 40);
    // and what is known to be erased is not taken back
    author.erase(Dot { entry: id, index: 17 });
    let mut knows = Peer::new(2);
    let words = author.everything().into_iter().filter(|frame| EntryId::of(&frame.header) != id).collect();
    knows.receive(key(0).did(), words);
    knows.receive(key(0).did(), vec![EntryFrame::new(&whole)]);
    assert_eq!((knows.memories().len(), knows.rows_with(SECRET)), (39, 0));
    assert_eq!(knows.entry(id).unwrap(), emptied);
    knows.assert_equals_a_rebuild();
}

#[test]
fn an_entry_of_the_first_format_is_erased_as_a_whole_or_not_at_all() {
    let mut peer = Peer::new(0);
    let id = peer.remember_forty();
    let after = peer.remember("after it", None);
    let record = |index| Dot { entry: id, index };
    assert!(matches!(peer.command(Command::Erase(vec![EraseTarget::Record(record(17))])), Outcome::TooEarly));
    peer.command(raised());
    assert_eq!(peer.erase(record(17)), EraseFate::Whole { others: 39 });
    assert_eq!(peer.memories().len(), 41);
    let all = peer.command(Command::Erase((0..40).map(|n| EraseTarget::Record(record(n))).collect()));
    let Outcome::Erased { fates, erasures } = all else { panic!("{all:?}") };
    assert!(fates.iter().all(|fate| matches!(fate, EraseFate::Erased { .. })) && erasures.len() == 1);
    assert_eq!(peer.memories().iter().map(|memory| memory.id).collect::<Vec<_>>(), [MemoryId::from(after)]);
    assert_eq!(peer.rows_with(SECRET), 0);
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Quarantined { .. })), "nobody broke a rule");
    peer.assert_equals_a_rebuild();
    peer.remember("the log goes on", None);
    // its place in the chain is sent as it is, and taken by peers that know
    let mut net = Net::raised(1, 4);
    net.peers = vec![peer, Peer::new(1)];
    net.sync_all();
    assert_eq!(net.peers[1].memories(), net.peers[0].memories());
}

#[test]
fn what_makes_members_and_the_facts_of_tasks_are_not_erased() {
    let mut peer = Peer::new(0);
    peer.command(raised());
    let introduction = EntryId::of(&peer.everything()[0].header);
    let task = nexus_crdt::Submission::new("review", format!("\"{SECRET}\""));
    let events = vec![(SpaceId::tasks_of(&mesh()), nexus_crdt::TaskEvent::Submitted(Box::new(task)))];
    let Outcome::Tasks(answers) = peer.command(Command::Tasks(events)) else { panic!() };
    let [crate::engine::TaskAnswer::Written(task)] = answers[..] else { panic!("{answers:?}") };
    let all = [introduction, task.entry].into_iter().map(|id| (id, ALL_LEAVES)).collect();
    let word = peer.word(Kind::ERASE, Erase::of(all).unwrap().encode());
    peer.receive(key(0).did(), vec![word]);
    assert!(peer.lacks(introduction).is_empty());
    assert_eq!(peer.lacks(task.entry), [1], "the texts alone");
    assert_eq!(peer.rows_with(SECRET), 0);
    assert!(ledger::find_task(&peer.store.snapshot().unwrap(), task).unwrap().is_some());
    peer.assert_equals_a_rebuild();
    // a copy without the facts is not taken
    let mut other = Peer::new(1);
    let whole = peer.everything();
    // before it knows of the erasure, it waits
    other.receive(key(0).did(), whole.clone());
    other.receive(key(0).did(), whole.clone());
    assert_eq!(other.lacks(task.entry), [1]);
    let mut another = Peer::new(2);
    let bare =
        |frame: EntryFrame| EntryFrame::new(&frame.parse().unwrap().verify(&mesh()).unwrap().without(ALL_LEAVES));
    let (of_mesh, mut rest): (Vec<_>, Vec<_>) =
        whole.into_iter().partition(|frame| frame.clone().parse().unwrap().header().space == SpaceId::mesh(&mesh()));
    another.receive(key(0).did(), of_mesh);
    let bare: Vec<_> = rest.iter().cloned().map(bare).collect();
    another.receive(key(0).did(), bare);
    assert_eq!(another.entry(task.entry), None);
    another.receive(key(0).did(), std::mem::take(&mut rest));
    assert_eq!(another.lacks(task.entry), [1]);
}

/// promise: Erasure | A member erases what it wrote itself; of others' memories it only forgets, and an admin erases all
#[test]
fn a_stranger_to_a_memory_only_forgets_it_and_an_admin_erases_it() {
    let mut net = Net::raised(3, 9);
    let secret = net.peers[1].remember(SECRET, None);
    let other = net.peers[1].remember("another one", None);
    net.sync_all();
    let author = key(1).did();
    assert_eq!(net.peers[2].erase(secret), EraseFate::Forgotten { author });
    // nor by a program of its own
    let word = net.peers[2].word(Kind::ERASE, Erase::of(vec![(secret.entry, secret.index)]).unwrap().encode());
    for peer in &mut net.peers {
        peer.receive(key(2).did(), vec![word.clone()]);
        assert!(peer.rows_with(SECRET) > 0);
    }
    net.sync_all();
    assert!(net.peers.iter().all(|peer| peer.memories().len() == 1 && peer.rows_with(SECRET) > 0));
    assert!(matches!(net.peers[0].erase(secret), EraseFate::Erased { .. }));
    assert!(matches!(net.peers[1].erase(other), EraseFate::Erased { .. }));
    net.sync_all();
    for peer in &mut net.peers {
        assert_eq!((peer.rows_with(SECRET), peer.rows_with("another one")), (0, 0));
        peer.assert_equals_a_rebuild();
    }
}

/// promise: Erasure | A word counts on every node alike, whether its author was an admin already when it came or not
#[test]
fn the_word_of_an_admin_counts_also_where_it_came_before_the_admin() {
    let mut net = Net::raised(3, 21);
    let secret = net.peers[1].remember(SECRET, None);
    net.sync_all();
    let word = net.peers[2].word(Kind::ERASE, Erase::of(vec![(secret.entry, secret.index)]).unwrap().encode());
    for peer in &mut net.peers {
        peer.receive(key(2).did(), vec![word.clone()]);
        assert!(peer.rows_with(SECRET) > 0);
    }
    let admin = chain_as(2, Role::Admin);
    net.peers[0].command(Command::Admit { chain: admin, with: crate::store::Batch::new(), replaces: None });
    net.sync_all();
    for peer in &mut net.peers {
        assert_eq!((peer.memories().len(), peer.rows_with(SECRET)), (0, 0));
        peer.assert_equals_a_rebuild();
    }
}

/// promise: Erasure | Where a member was revoked before its word was heard, what it erased elsewhere comes back from those that have it
#[test]
fn what_a_revoked_member_erased_comes_back_from_nodes_that_have_it() {
    for nobody_has_it in [false, true] {
        let mut net = Net::raised(5, 33);
        let secret = net.peers[4].remember(SECRET, None);
        for n in 0..30 {
            net.peers[4].remember(&format!("after it {n}"), None);
        }
        net.peers[1].remember("of another one", None);
        for other in [0, 1] {
            net.sync(other, 4);
        }
        // one hears of the erasure, and the one that ends the membership does not
        assert!(matches!(net.peers[4].erase(secret), EraseFate::Erased { .. }));
        net.sync(1, 4);
        assert_eq!(net.peers[1].rows_with(SECRET), 0);
        let ended = net.peers[0].command(Command::Revoke { member: key(4).did(), keep: None });
        assert!(matches!(ended, Outcome::Revoked { .. }), "{ended:?}");
        net.peers.pop();
        let snapshot = net.peers[0].everything();
        if nobody_has_it {
            // the other one tells of the end, and loses its disk
            let told = snapshot.into_iter().filter(|frame| EntryId::of(&frame.header) != secret.entry).collect();
            net.peers[1].receive(key(0).did(), told);
            net.peers[1].events.clear();
            net.peers[0] = Peer::with(0, chain(0));
            net.lost_a_disk = true;
        }
        net.sync_all();
        for peer in &mut net.peers {
            let lacks: &[u16] = if nobody_has_it { &[0] } else { &[] };
            assert_eq!(peer.lacks(secret.entry), lacks, "nobody has it: {nobody_has_it}");
            assert_eq!(peer.memories().len(), 32 - usize::from(nobody_has_it));
            peer.assert_equals_a_rebuild();
        }
    }
}

/// promise: Erasure | Edits of an erased memory by others are erased by their nodes, also those that come later
#[test]
fn edits_by_others_are_erased_by_their_nodes_and_those_that_come_late() {
    let mut net = Net::raised(3, 12);
    let record = net.peers[1].remember("a plan", None);
    net.sync_all();
    net.peers[2].edit(record, SECRET);
    net.sync_all();
    // it does not know of this one
    net.peers[0].edit(record, &format!("{SECRET}, late"));
    let others = BTreeSet::from([key(2).did()]);
    assert_eq!(net.peers[1].erase(record), EraseFate::Erased { leaves: 1, others });
    for _ in 0..2 {
        net.sync_all();
        for peer in &mut net.peers {
            assert!(peer.memories().is_empty());
            peer.carry_out(0);
        }
    }
    net.sync_all();
    for peer in &mut net.peers {
        assert_eq!(peer.rows_with(SECRET), 0);
        peer.assert_equals_a_rebuild();
    }
}

/// promise: Erasure | Each node says once that it has carried out an erasure, and once that the bytes are gone
#[test]
fn every_node_confirms_an_erasure_once() {
    let mut net = Net::raised(3, 14);
    let record = net.peers[1].remember(SECRET, None);
    net.sync_all();
    net.peers[1].erase(record);
    for round in 0..3 {
        for peer in &mut net.peers {
            peer.carry_out(0);
        }
        net.sync_all();
        let heads: u64 = net.peers[0].frontier().iter().map(|(_, head)| head.seq).sum();
        if round == 1 {
            assert_eq!(net.peers[0].confirmed(Erased::Hidden), 3);
            assert_eq!(net.peers[0].confirmed(Erased::Gone), 0);
            for peer in &mut net.peers {
                let last = peer.engine.last_eno();
                peer.carry_out(last);
            }
            net.sync_all();
            assert!(net.peers.iter().all(|peer| peer.confirmed(Erased::Gone) == 3));
            let more: u64 = net.peers[0].frontier().iter().map(|(_, head)| head.seq).sum();
            assert_eq!(more, heads + 3);
        }
    }
    for peer in &mut net.peers {
        let before = peer.engine.last_eno();
        peer.carry_out(0);
        let last = peer.engine.last_eno();
        peer.carry_out(last);
        assert_eq!(peer.engine.last_eno(), before, "everything is confirmed");
        peer.restart();
        peer.carry_out(0);
        assert_eq!(peer.engine.last_eno(), before);
    }
}

#[test]
fn a_peer_that_reads_the_first_format_gets_each_log_up_to_the_first_later_entry_and_nobody_spins() {
    let mut net = Net::new(2, 5);
    net.reads = ENTRY_FORMAT_FIRST;
    for n in 0..3 {
        net.peers[0].remember(&format!("old {n}"), None);
    }
    net.connect_all();
    net.peers[0].command(raised());
    let (mut frames, mut entries) = (0, 0);
    for step in 0..600 {
        if step % 100 == 0 {
            net.peers[0].remember(&format!("new {step}"), None);
            net.peers[1].remember(&format!("of the older one {step}"), None);
        }
        for side in 0..2 {
            while net.pump(0, side) {
                frames += 1;
                entries += match &net.links[0].flying[side].back().unwrap().body {
                    Some(nexus_crdt::sync_frame::Body::Entries(some)) => some.entries.len(),
                    _ => 0,
                };
                while net.deliver(0, side) {}
            }
        }
        net.now += Duration::from_millis(100);
    }
    let texts = |peer: &Peer| peer.memories().into_iter().map(|memory| memory.text).collect::<Vec<_>>();
    assert_eq!(texts(&net.peers[1]).iter().filter(|text| text.starts_with("old")).count(), 3);
    assert!(!texts(&net.peers[1]).iter().any(|text| text.starts_with("new")));
    assert_eq!(net.peers[0].memories().len(), 15, "it gets all that the older one writes");
    // digests every five seconds, and each entry once
    assert!(frames < 80, "{frames} frames in a minute");
    assert_eq!(entries, 3 + 6 + 2, "three old ones, those of the older one, two introductions");

    // upgraded, it catches up
    net.reads = ENTRY_FORMAT_MAX;
    net.links.clear();
    net.settle();
    assert_converged(&net);
    assert_eq!(net.peers[1].memories().len(), 15);
}

/// An entry of a copy of a store of member 1.
fn by_a_copy(log: LogId, after: Option<Head>) -> Verified {
    let write = nexus_crdt::Write {
        target: nexus_crdt::Target::Create { page: 0 },
        field: nexus_crdt::Field::named("core"),
        value: Core { text: "by the copy".to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json(),
        over: vec![],
    };
    let (hlc, payload) = (Hlc::at(Timestamp::from_ms(950)), nexus_crdt::Writes(vec![write]).encode().into());
    let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc, kind: Kind::WRITES, refs: vec![], payload };
    Verified::write(draft, &key(1))
}

/// promise: Erasure | A memory that counts no more is erased by its id, by its author or an admin and by nobody else
#[test]
fn a_memory_that_counts_no_more_is_erased_by_its_id() {
    let mut net = Net::raised(3, 41);
    let (admin, author, stranger) = (0, 1, 2);
    net.peers[author].remember("before", None);
    let incarnation = net.peers[author].incarnation();
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation };
    let base = net.peers[author].frontier().head(&log).copied();
    let secret = net.peers[author].remember(SECRET, None);
    net.sync_all();
    for no in [admin, stranger] {
        let entries = vec![by_a_copy(log, base)];
        net.peers[no].input(Input::Entries { from: key(1).did(), entries });
        assert!(net.peers[no].memories().iter().all(|memory| memory.text != SECRET), "its log has forked");
        assert!(net.peers[no].rows_with(SECRET) > 0);
    }
    assert_eq!(net.peers[stranger].erase(secret), EraseFate::NotPermitted { author: key(1).did() });
    assert_eq!(net.peers[admin].erase(Dot { index: 1, ..secret }), EraseFate::Missing);
    assert!(matches!(net.peers[admin].erase(secret), EraseFate::Erased { leaves: 1, .. }));
    let all = net.peers[admin].everything();
    net.peers[stranger].receive(key(0).did(), all);
    for no in [admin, stranger] {
        assert_eq!(net.peers[no].rows_with(SECRET), 0);
        net.peers[no].assert_equals_a_rebuild();
    }
    assert_eq!(net.peers[admin].erase(secret), EraseFate::Missing);
}

/// promise: Erasure | A memory that its author wrote again after a fork is erased by the id that it had before
#[test]
fn a_memory_that_was_written_again_is_erased_by_its_former_id() {
    let (mut author, mut admin) = (Peer::new(1), Peer::new(0));
    author.input(Input::Chain(chain(0)));
    admin.input(Input::Chain(chain(1)));
    author.command(raised());
    admin.command(raised());
    author.remember("before", None);
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation: Incarnation([1; 8]) };
    let base = author.frontier().head(&log).copied();
    let secret = author.remember(SECRET, None);
    author.edit(secret, &format!("{SECRET}, edited"));
    admin.receive(key(1).did(), author.everything());
    admin.edit(secret, &format!("{SECRET}, edited by the admin"));
    author.receive(key(0).did(), admin.everything());
    assert!(matches!(admin.erase(secret), EraseFate::Erased { .. }));
    assert_eq!(admin.rows_with(SECRET), 0);

    // a copy of the author's store went on before, and the author hears of that first
    let branch = by_a_copy(log, base);
    author.input(Input::Entries { from: key(0).did(), entries: vec![branch] });
    author.command(Command::Settle { fresh: Incarnation([8; 8]) });
    let again = author.memories().into_iter().find(|memory| memory.text.starts_with(SECRET)).unwrap();
    assert_eq!(again.was, Some(secret.to_string()));

    author.receive(key(0).did(), admin.everything());
    author.carry_out(0);
    assert_eq!(author.rows_with(SECRET), 0);
    for _ in 0..3 {
        admin.receive(key(1).did(), author.everything());
        admin.carry_out(0);
        author.receive(key(0).did(), admin.everything());
        author.carry_out(0);
    }
    assert_eq!((author.rows_with(SECRET), admin.rows_with(SECRET)), (0, 0));
    author.assert_equals_a_rebuild();
    admin.assert_equals_a_rebuild();
}
