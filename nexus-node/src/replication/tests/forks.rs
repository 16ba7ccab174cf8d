//! Forks: branches come together, evidence spreads, and a member's own writes are written again.

use super::*;
use crate::engine::Again;

/// Lets the peers talk for a while.
fn talk(net: &mut Net, for_secs: u64) {
    let until = net.now + Duration::from_secs(for_secs);
    while net.now < until {
        for link in 0..net.links.len() {
            for side in 0..2 {
                while net.pump(link, side) {
                    while net.deliver(link, side) {}
                }
            }
        }
        net.now += Duration::from_millis(100);
    }
}

fn settle_open(peer: &mut Peer, fresh: u8) -> Again {
    match peer.command(Command::Settle { fresh: Incarnation([fresh; 8]) }) {
        Outcome::Settled { again } => again,
        other => panic!("{other:?}"),
    }
}

fn cut_of(peer: &Peer, log: &LogId) -> Option<u64> {
    let held = ledger::read_held(&peer.store.snapshot().unwrap()).unwrap();
    held.iter().find(|(_, id, _)| id == log).unwrap().2.cut
}

/// promise: The engine | Branches of a log come together, whatever their lengths
#[test]
fn branches_of_a_log_come_together_whatever_their_lengths() {
    for (shared, one, other) in [(0, 1, 1), (1, 1, 1), (5, 3, 3), (3, 2, 9), (200, 40, 40), (90, 60, 10), (10, 300, 50)]
    {
        let mut net = Net::new(2, 13);
        let entry = |after: Option<&Verified>, text: &str| forge(2, after, Kind(4_000), text.as_bytes().to_vec());
        let grow = |from: &[Verified], text: &str, count: usize| {
            (0..count).fold(from.to_vec(), |mut log, _| {
                log.push(entry(log.last(), text));
                log
            })
        };
        let base = grow(&[], "base", shared);
        let branches = [grow(&base, "one", one), grow(&base, "other", other)];
        let log = branches[0][0].header().log();
        for (peer, branch) in net.peers.iter_mut().zip(&branches) {
            peer.input(Input::Chain(chain(2)));
            peer.input(Input::Entries { from: key(2).did(), entries: branch.clone() });
        }
        net.connect_all();
        talk(&mut net, 240);
        for peer in &net.peers {
            assert_eq!(cut_of(peer, &log), Some(shared as u64), "{shared} shared, {one} and {other}");
        }
        assert_eq!(net.peers[0].frontier(), net.peers[1].frontier());
    }
}

/// promise: The engine | The evidence of a fork spreads: a log counts as little where one branch of it is held
#[test]
fn the_evidence_of_a_fork_cuts_the_log_where_one_branch_is_held() {
    let entry = |after: Option<&Verified>, text: &str| forge(2, after, Kind(4_000), text.as_bytes().to_vec());
    let base = entry(None, "base");
    let branches = ["one", "other"].map(|text| entry(Some(&base), text));
    let log = base.header().log();
    let mut peers = [0, 1, 3].map(Peer::new);
    for peer in &mut peers {
        for n in [0, 1, 2, 3] {
            peer.input(Input::Chain(chain(n)));
        }
    }
    let [witness, late, early] = &mut peers;
    witness.input(Input::Entries { from: key(2).did(), entries: [&[base.clone()][..], &branches].concat() });
    late.input(Input::Entries { from: key(2).did(), entries: vec![base.clone(), branches[0].clone()] });
    assert_eq!((cut_of(witness, &log), cut_of(late, &log)), (Some(1), None));
    assert_eq!(settle_open(witness, 8), Again::Done);
    let written = witness.engine.last_eno();
    assert_eq!((settle_open(witness, 8), witness.engine.last_eno()), (Again::Done, written), "it is written once");
    // before and after the log
    let of_mesh = |peer: &Peer| {
        let entries = peer.everything().into_iter();
        let of_mesh = entries.filter(|frame| {
            let entry = frame.clone().parse().unwrap();
            entry.header().space == SpaceId::mesh(&mesh())
        });
        of_mesh.collect::<Vec<_>>()
    };
    late.receive(key(0).did(), of_mesh(witness));
    assert_eq!(cut_of(late, &log), Some(1));
    early.receive(key(0).did(), of_mesh(witness));
    early.input(Input::Entries { from: key(2).did(), entries: vec![base, branches[1].clone()] });
    assert_eq!(cut_of(early, &log), Some(1));
    // evidence of another member is not written down once more
    let before = late.engine.last_eno();
    settle_open(late, 8);
    assert_eq!(late.engine.last_eno(), before);
    for peer in &mut peers {
        peer.restart();
        assert_eq!(cut_of(peer, &log), Some(1));
    }
}

/// promise: The engine | An entry that follows another one than is held here is evidence, although it is not kept
#[test]
fn an_entry_that_follows_another_than_is_held_is_evidence() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(2)));
    let entry = |after: Option<&Verified>, text: &str| forge(2, after, Kind(4_000), text.as_bytes().to_vec());
    let base = entry(None, "base");
    let (here, there) = (entry(Some(&base), "here"), entry(Some(&base), "there"));
    let next = entry(Some(&there), "next");
    let log = base.header().log();
    peer.input(Input::Entries { from: key(2).did(), entries: vec![base, here, next.clone(), next] });
    assert_eq!(peer.events.iter().filter(|event| matches!(event, Event::Astray { seq: 1, .. })).count(), 1);
    assert_eq!(cut_of(&peer, &log), None, "nothing that it holds shows the fork");
    settle_open(&mut peer, 8);
    assert_eq!(cut_of(&peer, &log), Some(1));
}

/// promise: The engine | A member that forks its logs without end makes others write little
#[test]
fn a_member_that_forks_without_end_makes_others_write_little() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(2)));
    let entry = |after: Option<&Verified>, text: &str| forge(2, after, Kind(4_000), text.as_bytes().to_vec());
    let mut main: Vec<Verified> = Vec::new();
    for _ in 0..200 {
        main.push(entry(main.last(), "main"));
    }
    peer.input(Input::Entries { from: key(2).did(), entries: main.clone() });
    // always below the fork that is known already
    for before in main[..199].iter().rev() {
        peer.input(Input::Entries { from: key(2).did(), entries: vec![entry(Some(before), "fork")] });
        settle_open(&mut peer, 8);
    }
    let evidence = peer
        .everything()
        .into_iter()
        .filter(|frame| frame.clone().parse().is_ok_and(|entry| entry.header().kind == Kind::EVIDENCE));
    assert_eq!(evidence.count(), 64);
    assert_eq!(cut_of(&peer, &main[0].header().log()), Some(1));
}

/// promise: The engine | Our own writes that a fork cuts are written again, with what others wrote to them
#[test]
fn what_a_fork_of_our_own_log_costs_is_written_again() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let kept = peer.remember("before", None);
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(0).did(), incarnation: Incarnation([0; 8]) };
    let base = peer.frontier().head(&log).copied();
    let lost = peer.remember("lost", Some("its key"));
    peer.edit(kept, "before, edited");
    let forgotten = peer.remember("forgotten", None);
    peer.command(Command::Forget(forgotten));
    // another member writes to it
    let mut other = Peer::new(1);
    other.input(Input::Chain(chain(0)));
    other.receive(key(0).did(), peer.everything());
    other.edit(lost, "lost, edited by another");
    peer.receive(key(1).did(), other.everything());
    // a third one forgets it, and nobody hears of that yet
    let mut third = Peer::new(2);
    for n in [0, 1] {
        third.input(Input::Chain(chain(n)));
    }
    third.receive(key(1).did(), other.everything());
    assert!(matches!(third.command(Command::Forget(lost)), Outcome::Done(Some(_))));
    // the other branch: a copy of this store went on before
    let text = Core { text: "by the copy".to_owned(), kind: "note".to_owned(), ..Core::default() }.to_json();
    let field = nexus_crdt::Field::named("core");
    let write = nexus_crdt::Write { target: nexus_crdt::Target::Create { page: 0 }, field, value: text, over: vec![] };
    let (hlc, payload) = (Hlc::at(Timestamp::from_ms(950)), Writes(vec![write]).encode().into());
    let draft = Draft { mesh: mesh(), log, after: base.as_ref(), hlc, kind: Kind::WRITES, refs: vec![], payload };
    let branch = Verified::write(draft, &key(0));
    for peer in [&mut peer, &mut other] {
        peer.input(Input::Entries { from: key(1).did(), entries: vec![branch.clone()] });
        assert_eq!(peer.memories().iter().map(|memory| memory.text.as_str()).collect::<Vec<_>>(), ["before"]);
    }
    assert_eq!(settle_open(&mut peer, 8), Again::Done);
    let texts = |peer: &Peer| {
        let mut texts: Vec<String> = peer.memories().into_iter().map(|memory| memory.text).collect();
        texts.sort();
        texts
    };
    let whole = ["before, edited", "by the copy", "lost, edited by another"];
    assert_eq!(texts(&peer), whole);
    // once, and in a log that is not forked
    peer.restart();
    let written = peer.engine.last_eno();
    assert_eq!((settle_open(&mut peer, 9), peer.engine.last_eno()), (Again::Done, written));
    other.receive(key(0).did(), peer.everything());
    assert_eq!(texts(&other), whole);
    let again = peer.memories().into_iter().find(|memory| memory.text.starts_with("lost")).unwrap();
    assert_eq!(again.was, Some(lost.to_string()));
    assert_eq!(peer.remember("lost, edited by another", Some("its key")).to_string(), again.id.to_string());
    // its former id still finds it
    let snapshot = peer.store.snapshot().unwrap();
    let reader = Reader::new(&snapshot, [0; 8], key(0).did(), peer.members(), Timestamp::from_ms(0)).unwrap();
    assert_eq!(reader.resolve(&lost.to_string()).unwrap().to_string(), again.id.to_string());
    // the forgetting comes by the former id
    peer.input(Input::Chain(chain(2)));
    peer.receive(key(2).did(), third.everything());
    assert_eq!(texts(&peer), whole);
    settle_open(&mut peer, 9);
    assert_eq!(texts(&peer), ["before, edited", "by the copy"]);
}

/// promise: Revocations | Whoever has the key of a member that left cannot make void what it wrote, once an admin has heard of it
#[test]
fn the_key_of_a_member_that_left_makes_nothing_void_once_an_admin_has_heard_of_it() {
    let mut founder = Peer::new(0);
    let mut guest = Peer::new(1);
    guest.input(Input::Chain(chain(0)));
    guest.remember("by the guest", None);
    guest.remember("more by the guest", None);
    let before = guest.everything().len();
    guest.command(Command::Revoke { member: key(1).did(), keep: None });
    let all = guest.everything();
    // the founder hears of the end before it has what was written until then
    let (first, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|frame| frame.clone().parse().unwrap().header().space == SpaceId::mesh(&mesh()));
    founder.receive(key(1).did(), first);
    let unsettled = founder.events.contains(&Event::Unsettled);
    assert!(unsettled && before > 2);
    let said = founder.engine.last_eno();
    settle_open(&mut founder, 8);
    settle_open(&mut founder, 8);
    assert_eq!(founder.engine.last_eno(), said + 1, "it says so once");
    founder.receive(key(1).did(), rest);
    assert_eq!(founder.memories().len(), 2);
    let mut another = Peer::new(2);
    another.input(Input::Chain(chain(0)));
    another.input(Input::Chain(chain(1)));
    another.receive(key(1).did(), guest.everything());
    assert_eq!(another.memories().len(), 2);
    // the thief leaves once more, in a new log and in a branch of the old one
    for (incarnation, after) in [(7, None), (1, Some(0))] {
        let log =
            LogId { space: SpaceId::mesh(&mesh()), author: key(1).did(), incarnation: Incarnation([incarnation; 8]) };
        let first = guest.everything().into_iter().map(|frame| frame.parse().unwrap()).find(|entry| {
            after.is_some() && entry.header().space == log.space && entry.header().author == key(1).did()
        });
        let after = first.map(|entry| nexus_crdt::Head { seq: entry.header().seq, id: entry.id() });
        let payload = nexus_crdt::Revocation::new(key(1).did(), []).encode().into();
        let (hlc, kind) = (Hlc(1), Kind::REVOCATION);
        let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc, kind, refs: vec![], payload };
        let again = Verified::write(draft, &key(1));
        for peer in [&mut founder, &mut another] {
            peer.input(Input::Entries { from: key(2).did(), entries: vec![again.clone()] });
        }
        assert_eq!(founder.memories().len(), 2);
    }
    // where nobody above has said so, it is void, until somebody has
    assert_eq!(another.memories().len(), 0);
    another.receive(key(0).did(), founder.everything());
    assert_eq!(another.memories().len(), 2);
}
