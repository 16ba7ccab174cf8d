//! The order of what a node sends: its own entries first, and of those of others so much as the peer takes.

use nexus_crdt::sync_frame::Body;
use nexus_crdt::{Field, Head, Target, Write};

use super::*;

const RELAYER: usize = 0;
const PEER: usize = 1;
/// Bytes of relayed entries on their way at most, and those of the frame that reaches the bound.
const WINDOW: usize = 1 << 20;
const FRAME: usize = 256 << 10;
const ENTRIES: usize = 200;
const SECOND: Duration = Duration::from_secs(1);

/// A log of a third member with two MiB.
fn long_log() -> Vec<Verified> {
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(2).did(), incarnation: Incarnation([2; 8]) };
    let mut entries: Vec<Verified> = Vec::new();
    for n in 0..ENTRIES {
        let core = Core { text: format!("{n:010}").repeat(1_000), kind: "note".to_owned(), ..Core::default() };
        let target = Target::Create { page: 0 };
        let write = Write { target, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] };
        let after = entries.last().map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let payload = Writes(vec![write]).encode().into();
        let (kind, hlc) = (Kind::WRITES, Hlc(1));
        let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc, kind, refs: vec![], payload };
        entries.push(Verified::write(draft, &key(2)));
    }
    entries
}

/// Two nodes that know the author, of which the first one has its log, and a memory of its own after that.
fn stage() -> Net {
    let mut net = Net::new(2, 1);
    for peer in &mut net.peers {
        peer.input(Input::Chain(chain(2)));
    }
    net.peers[RELAYER].input(Input::Entries { from: key(2).did(), entries: long_log() });
    net.peers[RELAYER].remember("of the relayer", None);
    net.connect_all();
    // the peer says what it has
    assert!(net.pump(0, PEER) && net.deliver(0, PEER));
    net
}

/// All that the relayer sends while nothing comes back: the bytes of the author's entries, and the place of the last
/// entry of its own among all.
fn sent(net: &mut Net) -> (usize, Option<usize>) {
    let (mut relayed, mut entries, mut own) = (0, 0, None);
    while net.pump(0, RELAYER) {
        let frame = net.links[0].flying[RELAYER].back().unwrap();
        let Some(Body::Entries(frame)) = &frame.body else { continue };
        for frame in &frame.entries {
            let entry = frame.clone().parse().unwrap();
            entries += 1;
            if entry.header().author == key(2).did() {
                relayed += frame.header.len() + frame.signature.len() + frame.payload.as_ref().map_or(0, Vec::len);
            } else {
                own = Some(entries);
            }
        }
    }
    (relayed, own)
}

fn of_author(peer: &Peer) -> usize {
    peer.memories().iter().filter(|memory| memory.author == key(2).did()).count()
}

/// promise: Bad input | A node sends its own entries first, and of those of others 1 MiB before the peer has them
#[test]
fn relayed_entries_wait_for_the_peer_and_own_ones_go_past_them() {
    let mut net = stage();
    let (relayed, own) = sent(&mut net);
    assert!((WINDOW..=WINDOW + FRAME).contains(&relayed), "{relayed}");
    assert!(own.is_some_and(|place| place <= 5), "{own:?}: its introduction and its memory");
    // a later entry of its own waits for none of them
    net.peers[RELAYER].remember("while they are on their way", None);
    assert_eq!(sent(&mut net), (0, Some(1)));
    while net.deliver(0, RELAYER) {}
    assert!(of_author(&net.peers[PEER]) < ENTRIES);
    // the peer says what it has
    while net.pump(0, PEER) {}
    while net.deliver(0, PEER) {}
    assert!(sent(&mut net).0 > WINDOW / 2);
    while net.deliver(0, RELAYER) {}
    assert_eq!(of_author(&net.peers[PEER]), ENTRIES);
}

/// promise: Bad input | A peer that never says that it has an entry gets the others all the same
#[test]
fn a_peer_that_acknowledges_nothing_gets_the_rest_after_a_while() {
    let mut net = stage();
    let (relayed, _) = sent(&mut net);
    assert!(relayed >= WINDOW);
    let room_at = net.links[0].sessions[RELAYER].poll_timeout();
    assert!(room_at > net.now && room_at <= net.now + 2 * SECOND, "{room_at:?}");
    net.now = room_at;
    assert!(sent(&mut net).0 > WINDOW / 2);
    while net.deliver(0, RELAYER) {}
    assert_eq!(of_author(&net.peers[PEER]), ENTRIES);
}

/// promise: Nodes | A session with nothing to send is woken to compare digests, and for nothing else
#[test]
fn a_session_at_rest_is_woken_for_digests_alone() {
    let mut net = Net::new(2, 1);
    net.connect_all();
    net.peers[RELAYER].remember("one", None);
    let turn = |net: &mut Net| {
        for who in [RELAYER, PEER] {
            while net.pump(0, who) {}
            while net.deliver(0, who) {}
        }
    };
    for _ in 0..20 {
        net.now += SECOND;
        turn(&mut net);
    }
    let (end, mut woken) = (net.now + 60 * SECOND, 0);
    while net.now < end {
        let session = &net.links[0].sessions[RELAYER];
        net.now = session.poll_timeout().max(net.now);
        turn(&mut net);
        woken += 1;
        assert!(woken <= 13, "it is woken at {:?} for nothing", net.now);
    }
    assert!(woken >= 11, "digests are compared each five seconds: {woken}");
}
