//! Entries whose payloads can be erased in parts: written, erased, sent, and kept from older peers.

use std::ops::ControlFlow;

use nexus_crdt::{ALL_LEAVES, ENTRY_FORMAT_FIRST, ENTRY_FORMAT_LEAVES, ENTRY_FORMAT_MAX, EntryId};

use super::*;
use crate::memory::MemoryId;

const SECRET: &str = "the secret that must go";

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

    fn entry(&self, id: EntryId) -> Option<Verified> {
        let snapshot = self.store.snapshot().unwrap();
        let eno = ledger::find_entry(&snapshot, id).unwrap()?;
        ledger::read_entry(&snapshot, eno).unwrap()
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

#[test]
fn entries_are_written_in_parts_once_the_format_was_raised_and_never_back() {
    let mut peer = Peer::new(0);
    peer.remember("before", None);
    assert_eq!(peer.last_format(), ENTRY_FORMAT_FIRST);
    assert!(matches!(
        peer.command(Command::Raise { format: ENTRY_FORMAT_LEAVES, tasks_apart: false, persons: false }),
        Outcome::Done(None)
    ));
    peer.remember("after", Some("key"));
    assert_eq!(peer.last_format(), ENTRY_FORMAT_LEAVES);
    assert!(matches!(
        peer.command(Command::Raise { format: ENTRY_FORMAT_FIRST, tasks_apart: false, persons: false }),
        Outcome::Done(None)
    ));
    peer.restart();
    peer.remember("after", Some("key"));
    peer.remember("after, edited", Some("key"));
    assert_eq!(peer.last_format(), ENTRY_FORMAT_LEAVES);
    let too_new = peer.command(Command::Raise { format: ENTRY_FORMAT_MAX + 1, tasks_apart: false, persons: false });
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
    peer.command(Command::Raise { format: ENTRY_FORMAT_LEAVES, tasks_apart: false, persons: false });
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

#[test]
fn one_of_40_memories_of_a_batch_is_erased_and_39_are_left() {
    let mut net = Net::new(3, 3);
    for peer in &mut net.peers {
        peer.command(Command::Raise { format: ENTRY_FORMAT_LEAVES, tasks_apart: false, persons: false });
    }
    let id = net.peers[0].remember_forty();
    let record = |index| nexus_crdt::Dot { entry: id, index };
    net.peers[0].edit(record(16), "memory 16, edited");
    net.peers[0].edit(record(17), &format!("{SECRET}, edited"));
    // one has it whole, before it is erased
    net.connect(0, 1);
    for _ in 0..100 {
        for side in 0..2 {
            net.pump(0, side);
            net.deliver(0, side);
        }
        net.now += Duration::from_millis(50);
    }
    assert_eq!(net.peers[1].memories().len(), 40);

    // the memory is two writes: it was created, and edited
    let edit = net.peers[0].frontier().iter().find(|(log, _)| log.space == SpaceId::default_of(&mesh())).unwrap().1.id;
    let erased = vec![(id, 17), (edit, 0)];
    net.peers[0].input(Input::Erase(erased.clone()));
    let left = net.peers[0].memories();
    assert_eq!(left.len(), 39);
    assert!(left.iter().any(|memory| memory.text == "memory 16, edited"));
    assert!((0..40).filter(|n| ![16, 17].contains(n)).all(|n| left.iter().any(|m| m.text == format!("memory {n}"))));
    assert_eq!(net.peers[0].rows_with(SECRET), 0, "in no row of any table");
    net.peers[0].assert_equals_a_rebuild();
    // the others can be edited and forgotten as ever
    net.peers[0].edit(record(18), "memory 18, edited");
    net.peers[0].command(Command::Forget(record(19)));
    assert_eq!(net.peers[0].memories().len(), 38);

    // a newcomer that knows of it takes the emptied entries by sync
    net.peers[2].input(Input::Erase(erased.clone()));
    net.links.clear();
    net.connect(0, 2);
    for _ in 0..100 {
        for side in 0..2 {
            net.pump(0, side);
            net.deliver(0, side);
        }
        net.now += Duration::from_millis(50);
    }
    assert_eq!(net.peers[2].memories(), net.peers[0].memories());
    assert_eq!(net.peers[2].entry(id).unwrap(), net.peers[0].entry(id).unwrap());
    assert_eq!(net.peers[2].entry(id).unwrap().lacks(), [17]);

    // a peer that had it whole erases it, too, once it knows
    net.peers[1].input(Input::Erase(erased));
    net.links.clear();
    net.settle();
    assert_converged(&net);
    assert_eq!(net.peers[1].memories(), net.peers[0].memories());
    assert_eq!(net.peers[1].rows_with(SECRET), 0);
}

#[test]
fn what_somebody_emptied_on_the_way_does_not_keep_the_whole_out() {
    let mut author = Peer::new(0);
    author.command(Command::Raise { format: ENTRY_FORMAT_LEAVES, tasks_apart: false, persons: false });
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
    let mut knows = Peer::new(2);
    knows.input(Input::Chain(chain(0)));
    knows.input(Input::Erase(vec![(id, 17)]));
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
    peer.input(Input::Erase(vec![(id, 17)]));
    assert_eq!(peer.memories().len(), 41);
    peer.input(Input::Erase(vec![(id, ALL_LEAVES)]));
    assert_eq!(peer.memories().iter().map(|memory| memory.id).collect::<Vec<_>>(), [MemoryId::from(after)]);
    assert_eq!(peer.rows_with(SECRET), 0);
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Quarantined { .. })), "nobody broke a rule");
    peer.assert_equals_a_rebuild();
    peer.remember("the log goes on", None);
    // its place in the chain is sent as it is, to whoever knows
    let mut other = Peer::new(1);
    other.input(Input::Chain(chain(0)));
    other.input(Input::Erase(vec![(id, ALL_LEAVES)]));
    let snapshot = peer.store.snapshot().unwrap();
    let entries =
        (1..=ledger::last_eno(&snapshot).unwrap()).map(|eno| ledger::read_entry(&snapshot, eno).unwrap().unwrap());
    other.receive(key(0).did(), entries.map(|entry| EntryFrame::new(&entry)).collect());
    assert_eq!(other.memories(), peer.memories());
}

#[test]
fn what_makes_members_is_not_erased() {
    let mut peer = Peer::new(0);
    let snapshot = peer.store.snapshot().unwrap();
    let introduction = ledger::read_entry(&snapshot, 1).unwrap().unwrap();
    drop(snapshot);
    peer.input(Input::Erase(vec![(introduction.id(), ALL_LEAVES)]));
    assert_eq!(peer.entry(introduction.id()).unwrap(), introduction);
    let mut other = Peer::new(1);
    other.input(Input::Chain(chain(0)));
    other.input(Input::Erase(vec![(introduction.id(), ALL_LEAVES)]));
    other.receive(key(0).did(), vec![EntryFrame::new(&introduction.clone().without(ALL_LEAVES))]);
    assert_eq!(other.entry(introduction.id()), None);
}

#[test]
fn a_peer_that_reads_the_first_format_gets_each_log_up_to_the_first_later_entry_and_nobody_spins() {
    let mut net = Net::new(2, 5);
    net.reads = ENTRY_FORMAT_FIRST;
    for n in 0..3 {
        net.peers[0].remember(&format!("old {n}"), None);
    }
    net.connect_all();
    net.peers[0].command(Command::Raise { format: ENTRY_FORMAT_LEAVES, tasks_apart: false, persons: false });
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
