//! Documents of many branches.

use super::*;
use crate::change::DEPS_MAX;

const MOST: usize = 64 << 10;

/// A document with so many branches, each by an actor of its own, and one of an actor that others have come after.
fn branches(number: u16) -> Replica {
    let mut one = Replica::new(1);
    one.edit(0, &[set("/first", json!(1)), set("/text", json!("letters of the first"))]).unwrap();
    let begun = one.all.clone();
    for at in 0..number {
        let mut doc = Living::new();
        doc.apply(begun.iter().map(Vec::as_slice)).unwrap();
        let actor = [&[7; 30][..], &at.to_be_bytes()].concat();
        for made in doc.edit(&actor, 0, &[set(&format!("/of{at}"), json!(at))], MOST).unwrap() {
            one.judge.accept(&Change::parse(&made.bytes).unwrap()).unwrap();
            one.doc.apply([made.bytes.as_slice()]).unwrap();
            one.all.push(made.bytes);
        }
    }
    assert_eq!(one.doc.heads().len(), usize::from(number));
    one
}

/// promise: Documents | A document of 1,500 branches takes edits: changes without operations join them first
#[test]
fn a_document_of_more_branches_than_a_change_can_come_after_takes_edits() {
    let mut one = branches(1_500);
    // an edit that fails, and one that changes nothing, join nothing
    assert!(matches!(one.edit_within(9, &[set("/no/way", json!(1))], MOST), Err(EditError::NoSuchPath { .. })));
    assert_eq!(one.edit_within(9, &[set("/first", json!(1))], MOST).unwrap(), []);
    assert_eq!(one.doc.heads().len(), 1_500);

    let made = one.edit_within(-1_000, &[set("/of7", json!("one")), splice("/text", 0, 7, "")], MOST).unwrap();
    let deps: Vec<usize> = made.iter().map(|made| Change::parse(&made.bytes).unwrap().deps().len()).collect();
    assert_eq!(deps[..2], [DEPS_MAX, 1_500 - DEPS_MAX + 1], "{deps:?}");
    assert!(made.iter().all(|made| made.bytes.len() <= MOST) && ops(&made[0]) == 0);
    assert_eq!(one.doc.heads().len(), 1);
    assert_eq!(one.doc.value(&path("/of7"), None), Ok(Some(json!("one"))));
    assert_eq!(one.doc.value(&path("/text"), None), Ok(Some(json!(" of the first"))));
    // all of it is loaded again, by our reader and by the library
    let mut anew = Living::new();
    anew.apply(one.all.iter().map(Vec::as_slice)).unwrap();
    assert_eq!((shown(&anew), anew.heads()), (shown(&one.doc), one.doc.heads()));
    assert_eq!(automerge::Automerge::load(&one.doc.save().unwrap()).unwrap().get_heads().len(), 1);
}

/// The last change of an actor is among those before its next one, wherever its head stands among the others.
#[test]
fn an_actor_that_wrote_before_joins_its_own_branch_first() {
    for number in [1_023, 1_024, 1_025] {
        let mut one = branches(number);
        let before = one.all[0].clone();
        let mut other = Living::new();
        other.apply([before.as_slice()]).unwrap();
        // its last change is a branch of its own, which another actor has gone on
        for (actor, key) in [(&[1; 4][..], "/mine"), (&[2; 4], "/theirs")] {
            for made in other.edit(actor, 0, &[set(key, json!(1))], MOST).unwrap() {
                one.judge.accept(&Change::parse(&made.bytes).unwrap()).unwrap();
                one.doc.apply([made.bytes.as_slice()]).unwrap();
                one.all.push(made.bytes);
            }
        }
        assert_eq!(one.doc.heads().len(), usize::from(number) + 1);
        one.edit_within(0, &[set("/first", json!(2))], MOST).unwrap();
        assert_eq!(one.doc.heads().len(), 1, "{number}");
    }
}

#[test]
fn changes_that_are_too_small_to_join_branches_are_refused() {
    let mut one = branches(1_024);
    assert_eq!(one.edit_within(0, &[set("/first", json!(2))], 300), Err(EditError::Branches(1_024)));
}
