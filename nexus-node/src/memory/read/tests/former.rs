//! Memories that were forgotten, and the copies of them.

use nexus_crdt::Was;

use super::*;
use crate::memory::read::Fate;

/// The text of a memory with that id or former id; `forgotten` or `unknown` if there is none.
fn fate(peer: &Peer, id: &str) -> String {
    match peer.ask(|reader| reader.fate(id)).unwrap() {
        Fate::Here(memory) => memory.text,
        Fate::Forgotten => "forgotten".to_owned(),
        Fate::Unknown => "unknown".to_owned(),
    }
}

fn copy_of(id: &str, text: &str) -> Core {
    Core { was: Some(Was::new(id, "somebody", 1)), ..core(text, Origin::default()) }
}

/// promise: Commands and API | A memory that was forgotten here stays so, whatever is imported
#[test]
fn what_was_forgotten_is_known_by_its_id_and_by_that_of_its_copy_until_it_is_brought_back() {
    let mut peer = Peer::new(0);
    assert_eq!(fate(&peer, "elsewhere"), "unknown");
    let copy = peer.create(default(), copy_of("elsewhere", "first"));
    assert_eq!((fate(&peer, "elsewhere"), fate(&peer, &copy.to_string())), ("first".into(), "first".into()));
    peer.command(Command::Forget(copy));
    for id in ["elsewhere", &copy.to_string()] {
        assert_eq!(fate(&peer, id), "forgotten");
    }
    assert_eq!(fate(&peer, &copy.to_string()[..12]), "unknown", "the beginning of an id is no id");
    assert_eq!(fate(&peer, &"x".repeat(1 << 20)), "unknown");
    // as `forget --undo` writes it, and as a person forgets that one, too
    let back = peer.create(default(), copy_of(&copy.to_string(), "again"));
    for id in ["elsewhere", &copy.to_string(), &back.to_string()] {
        assert_eq!(fate(&peer, id), "again");
    }
    peer.command(Command::Forget(back));
    assert_eq!(fate(&peer, "elsewhere"), "forgotten");
    // of two copies of one memory the other one is still here
    let copies = ["b", "b"].map(|id| peer.create(default(), copy_of(id, "of b")));
    for copy in copies {
        assert_eq!(fate(&peer, "b"), "of b");
        peer.command(Command::Forget(copy));
    }
    assert_eq!(fate(&peer, "b"), "forgotten");
}

/// promise: Commands and API | A member that claims former ids keeps nothing out of another's import
#[test]
fn a_member_that_claims_to_have_copied_and_forgotten_a_memory_keeps_nobody_from_importing_it() {
    let (mut one, mut rogue) = pair();
    let planted = rogue.create(default(), copy_of("elsewhere", "planted"));
    exchange(&mut one, &mut rogue);
    assert_eq!((fate(&one, "elsewhere"), fate(&one, &planted.to_string())), ("unknown".into(), "planted".into()));
    rogue.command(Command::Forget(planted));
    exchange(&mut one, &mut rogue);
    assert_eq!((fate(&one, "elsewhere"), fate(&one, &planted.to_string())), ("unknown".into(), "forgotten".into()));
    assert_eq!(fate(&rogue, "elsewhere"), "forgotten", "its own word counts for itself");
    // a forgotten memory is so for all, and a claim of another does not bring it back
    let mine = one.create(default(), core("mine", Origin::default()));
    one.command(Command::Forget(mine));
    exchange(&mut one, &mut rogue);
    rogue.create(default(), copy_of(&mine.to_string(), "not mine"));
    exchange(&mut one, &mut rogue);
    assert_eq!(fate(&one, &mine.to_string()), "forgotten");
}
