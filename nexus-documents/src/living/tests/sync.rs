//! Sync with programs that have Automerge, and with programs that lie.

use automerge::sync::{Message, State, SyncDoc};
use automerge::{ChangeHash as LibraryHash, ReadDoc};
use proptest::prelude::*;

use super::*;

use crate::living::{FileError, SyncMessage, SyncPeer};

/// Both sides of a document, and what each knows of the other one.
struct Sides {
    ours: Replica,
    theirs: AutoCommit,
    peer: SyncPeer,
    state: State,
}

impl Sides {
    /// Each side says what it has to say, once. Returns the number of messages.
    fn turn(&mut self) -> usize {
        let Self { ours, theirs, peer, state } = self;
        let out = ours.doc.say(peer).unwrap();
        if let Some(bytes) = &out {
            theirs.sync().receive_sync_message(state, Message::decode(bytes).unwrap()).unwrap();
        }
        let back = theirs.sync().generate_sync_message(state).map(Message::encode);
        if let Some(bytes) = &back {
            let message = SyncMessage::read(bytes).unwrap();
            for change in &message.changes {
                ours.judge.accept(&Change::parse(change).unwrap()).unwrap();
            }
            ours.doc.apply(message.changes.iter().map(Vec::as_slice)).unwrap();
            ours.doc.hear(peer, &message).unwrap();
            if !message.changes.is_empty() {
                peer.owe_answer();
            }
        }
        usize::from(out.is_some()) + usize::from(back.is_some())
    }
}

/// Lets both sides talk from the beginning, until both are silent.
fn settle(ours: Replica, theirs: AutoCommit) -> (Replica, AutoCommit) {
    let mut sides = Sides { ours, theirs, peer: SyncPeer::default(), state: State::new() };
    let turns = (0..20).take_while(|_| sides.turn() > 0).count();
    assert!(turns < 20, "both go on without an end");
    (sides.ours, sides.theirs)
}

fn theirs() -> AutoCommit {
    let mut theirs = AutoCommit::new().with_actor(ActorId::from([9; 16]));
    let text = theirs.put_object(automerge::ROOT, "notes", ObjType::Text).unwrap();
    theirs.splice_text(&text, 0, 0, "written by a program").unwrap();
    theirs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// promise: Documents | A program with Automerge and a node end with one document, whichever of them wrote what
    #[test]
    fn a_program_and_a_node_settle(steps in prop::collection::vec((any::<bool>(), 0_usize..60, any::<bool>()), 0..25)) {
        let (mut ours, mut theirs) = (Replica::new(1), theirs());
        for (step, (is_ours, at, settles)) in steps.into_iter().enumerate() {
            let time = i64::try_from(step).unwrap();
            if is_ours {
                ours.edit(time, &[set(&format!("/k{at}"), json!(step)), set("/last", json!("ours"))]).unwrap();
            } else {
                theirs.put(automerge::ROOT, format!("k{at}"), format!("theirs {step}")).unwrap();
            }
            if settles {
                (ours, theirs) = settle(ours, theirs);
            }
        }
        let (ours, mut theirs) = settle(ours, theirs);
        let heads: Vec<LibraryHash> = ours.doc.heads().iter().map(|hash| LibraryHash(hash.0)).collect();
        let mut their_heads = theirs.get_heads();
        their_heads.sort_unstable();
        prop_assert_eq!(heads, their_heads);
        let notes = shown(&ours.doc)["notes"].clone();
        prop_assert_eq!(notes, json!("written by a program"));
    }

    /// promise: Documents | No bytes of a program's sync message panic, whatever they are
    #[test]
    fn a_mutated_message_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut theirs = theirs();
        let mut state = State::new();
        let first = Message::decode(&Living::new().say(&mut SyncPeer::default()).unwrap().unwrap()).unwrap();
        theirs.sync().receive_sync_message(&mut state, first).unwrap();
        let mut bytes = theirs.sync().generate_sync_message(&mut state).unwrap().encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.index(3));
        if let Ok(message) = SyncMessage::read(&bytes) {
            let (mut ours, mut peer) = (Replica::new(1), SyncPeer::default());
            ours.edit(1, &[set("/a", json!(1))]).unwrap();
            let heard = ours.doc.hear(&mut peer, &message);
            prop_assert!(heard.is_ok(), "{:?}", heard);
            prop_assert!(ours.doc.say(&mut peer).is_ok());
        }
    }
}

/// promise: Documents | A program hears that a change of it is on the disk, also when nobody has more to say
#[test]
fn a_program_hears_that_its_changes_are_here() {
    let mut sides = Sides { ours: Replica::new(1), theirs: theirs(), peer: SyncPeer::default(), state: State::new() };
    while sides.turn() > 0 {}
    let text = sides.theirs.get(automerge::ROOT, "notes").unwrap().unwrap().1;
    sides.theirs.splice_text(&text, 0, 0, "later ").unwrap();
    while sides.turn() > 0 {}
    assert_eq!(sides.state.their_heads, Some(sides.theirs.get_heads()), "as one of the library says it");
    assert_eq!(sides.turn(), 0, "and once");
}

/// promise: Documents | A filter whose numbers would stop the library is refused before the library sees it
#[test]
fn a_filter_that_lies_is_refused() {
    let message = |filter: &[u8]| {
        let have = [&[1, 0][..], &[u8::try_from(filter.len()).unwrap()], filter].concat();
        [&[0x42, 0, 0][..], &have, &[0]].concat()
    };
    assert!(SyncMessage::read(&message(&[])).is_ok(), "no filter");
    assert!(SyncMessage::read(&message(&[1, 10, 7, 0xff, 0xff])).is_ok(), "a filter of one change");
    let lies: [&[u8]; 6] = [
        // no bit for a change: the library would divide by zero
        &[1, 0, 7],
        // four milliards of looks for each change
        &[1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff],
        // more changes than its bytes have bits
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 10, 7, 0xff],
        &[1, 10, 7, 0xff],
        &[1, 10, 7, 0xff, 0xff, 0xff],
        &[1, 10],
    ];
    for filter in lies {
        let refused = SyncMessage::read(&message(filter));
        assert!(matches!(refused, Err(FileError::Form(_) | FileError::TooLarge { .. })), "{filter:?}: {refused:?}");
    }
    // a hundred million heads in a few bytes
    let heads = SyncMessage::read(&[0x42, 0x80, 0xc2, 0xd7, 0x2f]);
    assert!(matches!(heads, Err(FileError::TooLarge { of: "heads", .. })), "{heads:?}");
    assert!(matches!(SyncMessage::read(&[]), Err(FileError::Form(_))));
}

/// promise: Documents | A message that names changes nobody has is no fault, and asks for them
#[test]
fn heads_that_nobody_has_are_asked_for() {
    let (mut ours, mut peer) = (Replica::new(1), SyncPeer::default());
    ours.edit(1, &[set("/a", json!(1))]).unwrap();
    let unknown = [7; 32];
    let bytes = [&[0x42, 1][..], &unknown, &[0, 0, 0]].concat();
    ours.doc.hear(&mut peer, &SyncMessage::read(&bytes).unwrap()).unwrap();
    let said = Message::decode(&ours.doc.say(&mut peer).unwrap().unwrap()).unwrap();
    assert_eq!(said.need, [LibraryHash(unknown)]);
    // an empty document asks as well, so that one that a program made comes here
    let mut empty = Living::new();
    let mut peer = SyncPeer::default();
    empty.hear(&mut peer, &SyncMessage::read(&bytes).unwrap()).unwrap();
    assert_eq!(Message::decode(&empty.say(&mut peer).unwrap().unwrap()).unwrap().need, [LibraryHash(unknown)]);
}

/// promise: Documents | A program that may only read hears of a document, and nobody asks for its own changes
#[test]
fn a_program_that_reads_hears_on() {
    let mut sides = Sides { ours: Replica::new(1), theirs: theirs(), peer: SyncPeer::reader(), state: State::new() };
    (0..6).for_each(|_| {
        sides.turn();
    });
    assert!(sides.ours.doc.is_empty(), "it was told that nobody takes its changes");
    sides.ours.edit(1, &[set("/a", json!(1))]).unwrap();
    let turns = (0..6).take_while(|_| sides.turn() > 0).count();
    assert!(turns < 6, "both come to an end");
    assert_eq!(shown(&sides.ours.doc), json!({ "a": 1 }));
    assert!(
        matches!(automerge::ReadDoc::get(&sides.theirs, automerge::ROOT, "a"), Ok(Some(_))),
        "it heard of the edit"
    );
}
