//! Quotas: an author that writes too much is not taken, and everybody else goes on.

use std::time::Duration;

use nexus_crdt::sync_frame::{Body, EntriesFrame};
use nexus_crdt::{
    Core, EntryFrame, Field, FrontierPart, Head, LogHead, Pin, Profile, Revocation, Succession, Target, Write,
};

use super::*;
use crate::engine::NoSuccession;
use crate::store::Batch;

fn log(author: u8, incarnation: u64) -> LogId {
    LogId {
        space: SpaceId::default_of(&mesh()),
        author: key(author).did(),
        incarnation: Incarnation(incarnation.to_be_bytes()),
    }
}

fn entry(log: LogId, author: u8, after: Option<&Verified>, kind: Kind, payload: Vec<u8>) -> Verified {
    let after = after.map(|entry| Head { seq: entry.header().seq, id: entry.id() });
    let draft =
        Draft { mesh: mesh(), log, after: after.as_ref(), hlc: Hlc(1), kind, refs: vec![], payload: payload.into() };
    Verified::write(draft, &key(author))
}

fn memory(text: &str) -> Vec<u8> {
    let core = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() };
    let target = Target::Create { page: 0 };
    Writes(vec![Write { target, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] }]).encode()
}

/// A log of so many memories.
fn written(log: LogId, author: u8, count: usize) -> Vec<Verified> {
    let mut entries: Vec<Verified> = Vec::new();
    for n in 0..count {
        entries.push(entry(log, author, entries.last(), Kind::WRITES, memory(&format!("{n}"))));
    }
    entries
}

fn few(entries: u64) -> Quotas {
    Quotas { writer_entries: entries, ..Quotas::default() }
}

/// Two members that know a third one, the first with these quotas.
fn two(quotas: Quotas, author: Role) -> Net {
    let mut net = Net::new(2, 1);
    let first = net.peers.remove(0).within(quotas);
    net.peers.insert(0, first);
    for peer in &mut net.peers {
        peer.input(Input::Chain(chain_as(2, author)));
    }
    // the founder's log has the word for it
    net.peers[0].command(Command::Admit { chain: chain_as(2, author), with: Batch::new(), replaces: None });
    net.connect_all();
    net
}

/// The founder's node has a new key take the place of a member's, whose logs count up to these entries.
fn change_key(peer: &mut Peer, former: u8, member: u8, last: &[&Verified]) -> Outcome {
    let pins = last.iter().map(|last| {
        let LogId { space, incarnation, .. } = last.header().log();
        Pin { space, incarnation, last: Head { seq: last.header().seq, id: last.id() } }
    });
    let succession = Succession::new(&mesh(), &key(former), &key(member), pins);
    peer.command(Command::Succeed(Box::new(succession)))
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Net {
    /// Takes entries that their author brought to one node.
    fn bring(&mut self, n: usize, entries: &[Verified]) {
        for entries in entries.chunks(100) {
            let from = entries[0].header().author;
            self.peers[n].input(Input::Entries { from, entries: entries.to_vec() });
        }
    }

    /// Lets everybody talk for so long. Returns the number of entries and of frontier parts that were sent.
    fn talk(&mut self, time: Duration) -> (usize, usize) {
        let (mut entries, mut parts) = (0, 0);
        let until = self.now + time;
        while self.now < until {
            for link in 0..self.links.len() {
                for side in 0..2 {
                    while self.pump(link, side) {
                        match self.links[link].flying[side].back().and_then(|frame| frame.body.as_ref()) {
                            Some(Body::Entries(frame)) => entries += frame.entries.len(),
                            Some(Body::Frontier(_)) => parts += 1,
                            _ => {}
                        }
                        while self.deliver(link, side) {}
                    }
                }
            }
            self.now += Duration::from_millis(100);
        }
        (entries, parts)
    }

    fn seq(&self, n: usize, log: &LogId) -> Option<u64> {
        self.peers[n].frontier().head(log).map(|head| head.seq)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// promise: Bad input | A member that fills its quota: the rest of its entries is left, and everybody else goes on
#[test]
fn a_full_node_and_one_that_holds_more_are_quiet_and_go_on_with_all_else() {
    let mut net = two(few(64), Role::Member);
    net.talk(MINUTE);
    net.bring(1, &written(log(2, 1), 2, 500));
    net.talk(MINUTE);
    // a sixteenth is kept for the space of members
    assert_eq!(net.seq(0, &log(2, 1)), Some(59));
    assert_eq!(net.talk(MINUTE * 10), (0, 0), "nothing is asked for, nothing is sent");
    net.peers[1].remember("from an honest member", None);
    net.peers[0].remember("to an honest member", None);
    assert_eq!(net.talk(MINUTE), (2, 0));
    let texts = |peer: &Peer| peer.memories().into_iter().filter(|memory| memory.text.contains("honest")).count();
    assert_eq!((texts(&net.peers[0]), texts(&net.peers[1])), (2, 2));
    // the author is still a member with a name
    let mesh_log = LogId { space: SpaceId::mesh(&mesh()), ..log(2, 1) };
    let profile = Profile { name: "by-another-name".parse().unwrap() }.encode();
    net.bring(1, &[entry(mesh_log, 2, None, Kind::PROFILE, profile)]);
    net.talk(MINUTE);
    let members = net.peers[0].members();
    assert_eq!(members.get(&key(2).did()).unwrap().name().unwrap().as_str(), "by-another-name");
}

/// promise: Bad input | A member that fills its quota: a new key brings no other one, whenever it changes its key
#[test]
fn a_new_key_brings_no_other_quota() {
    let mut net = two(few(64), Role::Member);
    net.talk(MINUTE);
    let first = written(log(2, 1), 2, 500);
    net.bring(0, &first);
    assert_eq!(net.seq(0, &log(2, 1)), Some(59));
    assert!(matches!(change_key(&mut net.peers[0], 2, 3, &[&first[59]]), Outcome::Succeeded(_)));
    assert!(net.peers[0].members().same_line(&key(2).did(), &key(3).did()));
    net.bring(0, &written(log(3, 1), 3, 500));
    assert_eq!(net.seq(0, &log(3, 1)), None, "its line is full");
    // in the space of members it still says who it is, as far as the quota goes
    let of_mesh = |n: u8| LogId { space: SpaceId::mesh(&mesh()), ..log(n, 1) };
    let profile = |name: &str| Profile { name: name.parse().unwrap() }.encode();
    net.bring(0, &[entry(of_mesh(3), 3, None, Kind::PROFILE, profile("again"))]);
    assert_eq!(net.seq(0, &of_mesh(3)), Some(0));
    // again at once, again a day later, and again over the first of its keys
    let again = change_key(&mut net.peers[0], 3, 4, &[]);
    assert!(matches!(again, Outcome::NotSucceeded(NoSuccession::TooSoon { .. })), "{again:?}");
    net.peers[0].later += DAY;
    assert!(matches!(change_key(&mut net.peers[0], 3, 4, &[]), Outcome::Succeeded(_)));
    net.bring(0, &written(log(4, 1), 4, 500));
    assert_eq!((net.seq(0, &log(4, 1)), net.seq(0, &log(2, 1))), (None, Some(59)));
    // the other node knows it as well, nobody asks in vain, and others go on
    net.talk(MINUTE);
    net.bring(1, &written(log(4, 1), 4, 500));
    net.talk(MINUTE * 10);
    assert_eq!(net.talk(MINUTE * 10), (0, 0), "nothing is asked for, nothing is sent");
    net.peers[1].remember("from an honest member", None);
    net.talk(MINUTE);
    assert!(net.peers[0].memories().iter().any(|memory| memory.text == "from an honest member"));
    // a restart counts the same
    net.peers[0].restart();
    net.bring(0, &written(log(4, 2), 4, 500));
    assert_eq!(net.seq(0, &log(4, 2)), None);
}

/// promise: Bad input | A thief of a former key fills a sixteenth of the quota, and the present key goes on
#[test]
fn whoever_stole_a_former_key_fills_no_quota_of_the_present_one() {
    let mut net = two(Quotas { writer_bytes: 64 << 10, ..Quotas::default() }, Role::Member);
    net.talk(MINUTE);
    let first = written(log(2, 1), 2, 10);
    net.bring(0, &first);
    assert!(matches!(change_key(&mut net.peers[0], 2, 3, &[&first[9]]), Outcome::Succeeded(_)));
    // its memories are over, and in the space of members it writes without end, in one log and in many
    let mut forged: Vec<Verified> = Vec::new();
    let of_mesh = |n: u64| LogId { space: SpaceId::mesh(&mesh()), ..log(2, n) };
    for n in 0..1_000 {
        let profile = Profile { name: format!("forged-{n}").parse().unwrap() }.encode();
        forged.push(entry(of_mesh(1), 2, forged.last(), Kind::PROFILE, profile));
    }
    net.bring(0, &forged);
    net.bring(0, &(2..200).map(|n| entry(of_mesh(n), 2, None, Kind::PROFILE, vec![])).collect::<Vec<_>>());
    let taken = net.seq(0, &of_mesh(1)).unwrap();
    assert!((4..40).contains(&taken), "{taken}");
    net.bring(0, &written(log(3, 1), 3, 60));
    assert_eq!(net.seq(0, &log(3, 1)), Some(59), "the present key goes on");
    net.talk(MINUTE * 10);
    assert_eq!(net.talk(MINUTE * 10), (0, 0));
    assert_eq!(net.seq(1, &log(3, 1)), Some(59));
}

/// promise: Bad input | A key of which nobody's log says who admitted it has a sixteenth of a quota
#[test]
fn a_key_that_was_shown_alone_has_a_sixteenth() {
    let mut net = two(few(64), Role::Member);
    let second = net.peers.remove(1).within(few(64));
    net.peers.push(second);
    net.talk(MINUTE);
    net.links.clear();
    let first = written(log(2, 1), 2, 500);
    net.bring(0, &first);
    net.bring(1, &first);
    let Outcome::Succeeded(chain) = change_key(&mut net.peers[0], 2, 3, &[&first[59]]) else { panic!("not admitted") };
    // the other node has not heard of it: the new key shows its credentials, and publishes them itself
    net.peers[1].input(Input::Chain(*chain.clone()));
    let of_mesh = LogId { space: SpaceId::mesh(&mesh()), ..log(3, 1) };
    net.bring(1, &[entry(of_mesh, 3, None, Kind::CREDENTIAL, chain.to_bytes())]);
    let second = written(log(3, 1), 3, 500);
    net.bring(1, &second);
    assert!(net.seq(1, &log(3, 1)).is_some_and(|seq| seq < 4), "{:?}", net.seq(1, &log(3, 1)));
    net.connect_all();
    net.talk(MINUTE * 5);
    assert!(net.peers[1].members().same_line(&key(2).did(), &key(3).did()));
    net.bring(1, &second);
    assert!(net.seq(1, &log(3, 1)).is_some_and(|seq| seq < 4), "its line is full");
}

/// promise: Bad input | A member that fills its quota: the rest of its entries is taken once there is room
#[test]
fn a_log_that_was_half_taken_goes_on_once_there_is_room() {
    let mut net = two(few(64), Role::Member);
    net.bring(1, &written(log(2, 1), 2, 300));
    net.talk(MINUTE);
    assert_eq!(net.seq(0, &log(2, 1)), Some(59));
    net.links.clear();
    let first = net.peers.remove(0).within(few(200));
    net.peers.insert(0, first);
    net.peers[0].restart();
    net.peers[0].input(Input::Chain(chain(2)));
    net.connect_all();
    net.talk(MINUTE);
    assert_eq!(net.seq(0, &log(2, 1)), Some(187), "the count of before goes on");
    net.links.clear();
    let first = net.peers.remove(0).within(Quotas::default());
    net.peers.insert(0, first);
    net.connect_all();
    net.talk(MINUTE);
    assert_eq!(net.peers[0].frontier(), net.peers[1].frontier());
}

/// promise: Bad input | A member that fills its quota: the rest of its entries is left, and everybody else goes on
#[test]
fn of_many_incarnations_some_are_taken_and_nobody_asks_for_the_rest() {
    let quotas = Quotas { incarnations: 8, ..Quotas::default() };
    let mut net = two(quotas, Role::Member);
    let second = net.peers.remove(1).within(quotas);
    net.peers.push(second);
    // each node holds others of them
    let begun: Vec<Verified> = (0..100).map(|n| written(log(2, n), 2, 1).remove(0)).collect();
    net.bring(0, &begun);
    net.bring(1, &begun.iter().rev().cloned().collect::<Vec<_>>());
    net.talk(MINUTE);
    let held =
        |net: &Net, n: usize| net.peers[n].frontier().iter().filter(|(log, _)| log.author == key(2).did()).count();
    assert_eq!((held(&net, 0), held(&net, 1)), (8, 8));
    assert_eq!(net.talk(MINUTE * 10), (0, 0));
    // a log that both hold goes on
    let both = log(2, 0);
    let next = entry(both, 2, Some(&begun[0]), Kind::WRITES, memory("next"));
    net.bring(0, std::slice::from_ref(&next));
    net.talk(MINUTE);
    assert_eq!((net.seq(0, &both), net.seq(1, &both)), (Some(1), None));
    net.peers[1].remember("from an honest member", None);
    net.talk(MINUTE);
    assert!(net.peers[0].memories().iter().any(|memory| memory.text == "from an honest member"));
}

/// promise: Bad input | Logs beyond an author's number are refused before they are verified, also while the first come
#[test]
fn logs_that_come_count_before_they_are_held() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let audience = Audience::new(key(0).did(), key(1).did(), peer.engine.members().clone());
    let audience = audience.within(Quotas { incarnations: 8, ..Quotas::default() });
    let snapshot = peer.store.snapshot().unwrap();
    let mut session = SyncSession::open(audience, Duration::ZERO, &snapshot).unwrap();
    let mut brings = |entries: &[Verified]| {
        let entries = entries.iter().map(|entry| EntryFrame::new(entry)).collect();
        let frame = SyncFrame { body: Some(Body::Entries(EntriesFrame { entries })) };
        session.receive(frame, &snapshot).unwrap().entries.len()
    };
    let mut begun: Vec<Verified> = (0..6).map(|n| written(log(2, n), 2, 1).remove(0)).collect();
    assert_eq!(brings(&begun), 6);
    begun.extend((6..100).map(|n| written(log(2, n), 2, 1).remove(0)));
    // the first ones come once more, as from a peer that sends them again
    assert_eq!(brings(&begun), 8);
    let next = entry(log(2, 0), 2, Some(&begun[0]), Kind::WRITES, memory("next"));
    assert_eq!((brings(&[next]), brings(&written(log(3, 1), 3, 2))), (1, 2), "known logs and other authors go on");
}

/// promise: Bad input | A reader's entries are taken as far as they say who it is, and within its quota
#[test]
fn a_reader_says_who_it_is_and_nothing_else_is_taken_of_it() {
    let mut net = two(Quotas { reader_bytes: 4_096, ..Quotas::default() }, Role::Reader);
    let of = |n| LogId { space: SpaceId::mesh(&mesh()), ..log(2, n) };
    let profile = |name: &str| Profile { name: name.parse().unwrap() }.encode();
    for (n, kind) in (10_u64..).zip([Kind::SPACE, Kind::WRITES, Kind(4_000)]) {
        net.bring(0, &[entry(of(n), 2, None, kind, memory("no"))]);
        assert_eq!(net.seq(0, &of(n)), None, "{kind:?}");
    }
    let first = entry(of(1), 2, None, Kind::PROFILE, profile("a-reader"));
    net.bring(0, std::slice::from_ref(&first));
    net.talk(MINUTE);
    let members = net.peers[1].members();
    assert_eq!(members.get(&key(2).did()).unwrap().name().unwrap().as_str(), "a-reader");
    let mut named = vec![first];
    for n in 0..100 {
        named.push(entry(of(1), 2, named.last(), Kind::PROFILE, profile(&format!("name-{n}"))));
    }
    net.bring(0, &named);
    let taken = net.seq(0, &of(1)).unwrap();
    assert!((4..40).contains(&taken), "{taken}");
    assert_eq!(net.talk(MINUTE * 10).0 as u64, taken);
}

/// promise: The engine | Nodes that hold different branches go on, and do not spin
#[test]
fn long_branches_that_neither_takes_of_the_other_are_not_sent_for_ever() {
    let mut net = two(Quotas::default(), Role::Member);
    let base = written(log(2, 1), 2, 10);
    let branch = |name: &str, count: usize| {
        let mut entries = base.clone();
        for n in 0..count {
            let text = memory(&format!("{name} {n}"));
            entries.push(entry(log(2, 1), 2, entries.last(), Kind::WRITES, text));
        }
        entries
    };
    net.bring(0, &branch("long", 2_000));
    net.bring(1, &branch("short", 500));
    // each is offered the other's branch as it comes
    net.talk(MINUTE * 5);
    let (entries, parts) = net.talk(MINUTE * 60);
    assert!(entries < 500, "{entries} entries in an hour");
    assert!(parts < 60, "{parts} frontiers in an hour");
    // and what both write meanwhile arrives at once
    net.peers[0].remember("from the one", None);
    net.peers[1].remember("from the other", None);
    net.talk(MINUTE);
    let texts = |peer: &Peer| peer.memories().into_iter().filter(|memory| memory.text.contains("from the")).count();
    assert_eq!((texts(&net.peers[0]), texts(&net.peers[1])), (2, 2));
}

/// promise: Bad input | Branches of a former member's log fill its quota and nothing more, also while the branch is missing that counts
#[test]
fn branches_of_a_former_member_stay_within_its_quota() {
    let mut net = two(few(64), Role::Member);
    let counting = written(log(2, 1), 2, 30);
    let mesh_log = |n: u8| LogId { space: SpaceId::mesh(&mesh()), ..log(n, 9) };
    net.bring(0, &[entry(mesh_log(2), 2, None, Kind::CREDENTIAL, chain(2).to_bytes())]);
    let last = counting.last().map(|entry| Head { seq: entry.header().seq, id: entry.id() }).unwrap();
    let pin = Pin { space: log(2, 1).space, incarnation: log(2, 1).incarnation, last };
    let revocation = Revocation::new(key(2).did(), [pin]).by_root(&key(ROOT)).encode();
    net.bring(0, &[entry(mesh_log(1), 1, None, Kind::REVOCATION, revocation)]);
    assert!(net.peers[0].members().revoked(&key(2).did()).is_some());
    let before = net.peers[0].engine.last_eno();
    // another member passes on branches that somebody with the key writes without end
    for branch in 0..300 {
        let text = memory(&format!("forged {branch}"));
        let entries = [entry(log(2, 1), 2, None, Kind::WRITES, text)];
        net.peers[0].input(Input::Entries { from: key(1).did(), entries: entries.to_vec() });
    }
    // a sixteenth is kept for the space of members, where its credential is
    assert_eq!(net.peers[0].engine.last_eno() - before, 59);
    net.peers[0].remember("from an honest member", None);
    assert!(net.peers[0].memories().iter().any(|memory| memory.text == "from an honest member"));
}

/// promise: Bad input | A node's own entries have no quota
#[test]
fn own_entries_are_never_refused() {
    let mut peer = Peer::new(0).within(few(16));
    let mut elsewhere = Peer::new(1);
    for n in 0..50 {
        peer.remember(&format!("{n}"), None);
    }
    assert_eq!(peer.memories().len(), 50);
    // nor are they when they come back from another node
    elsewhere.input(Input::Chain(chain(0)));
    elsewhere.receive(key(0).did(), peer.everything());
    let mut restored = Peer::new(0).within(few(16));
    restored.input(Input::OwnLogAhead { incarnation: Incarnation([0; 8]), fresh: Incarnation([5; 8]) });
    let fresh = log(0, 77);
    restored.input(Input::Entries { from: key(1).did(), entries: written(fresh, 0, 50) });
    assert_eq!(restored.frontier().head(&fresh).unwrap().seq, 49);
}

/// promise: Bad input | More logs than a frontier holds: cut, and nobody is blamed
#[test]
fn a_frontier_with_more_logs_than_it_may_have_is_cut_and_nobody_is_blamed() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    peer.remember("still sent", None);
    let snapshot = peer.store.snapshot().unwrap();
    let audience = Audience::new(key(0).did(), key(1).did(), peer.engine.members().clone());
    let mut session = SyncSession::open(audience, Duration::ZERO, &snapshot).unwrap();
    let head = Head { seq: 0, id: EntryId::ZERO };
    let heads = (0..(1 << 18) + 5_000).map(|n| LogHead::new(&log(3, n), &head)).collect::<Vec<_>>();
    for (n, heads) in heads.chunks(4_096).enumerate() {
        let part = FrontierPart { heads: heads.to_vec(), last: n == (1 << 18) / 4_096 + 1 };
        session.receive(SyncFrame { body: Some(Body::Frontier(part)) }, &snapshot).unwrap();
    }
    let more = (0..100).map(|n| LogHead::new(&log(4, n), &head)).collect();
    let ack = SyncFrame { body: Some(Body::Ack(nexus_crdt::sync_frame::AckFrame { heads: more })) };
    let received = session.receive(ack, &snapshot).unwrap();
    assert_eq!(received.progress, Some(crate::replication::Progress::Moved(vec![])), "they are not remembered");
    let said = std::iter::from_fn(|| session.next_frame(Duration::from_secs(1), &snapshot).unwrap());
    let sent = said.filter(|frame| matches!(frame.body, Some(Body::Entries(_)))).count();
    assert_eq!(sent, 1, "what it lacks is sent all the same");
}
