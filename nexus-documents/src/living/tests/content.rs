//! A document that begins with the whole of another one.

use super::*;
use crate::living::tests::marks::{bold, mark, marks};

/// Has a second document begin with the whole of a first one, in changes of at most so many bytes.
fn begun(from: &Living, into: &mut Replica, most: usize) -> usize {
    let content = from.content().unwrap();
    let made = into.doc.begin_with(&into.actor, (7, "begins anew"), &content, most).unwrap();
    for made in &made {
        assert!(made.bytes.len() <= most);
        into.judge.accept(&Change::parse(&made.bytes).unwrap()).unwrap();
        into.all.push(made.bytes.clone());
    }
    assert_eq!(into.doc.content().unwrap(), content);
    made.len()
}

/// promise: Documents | A document that begins with another one has its texts with their marks, its counters and its other kinds
#[test]
fn a_document_begins_with_the_kinds_of_another_one() {
    let mut one = Replica::new(1);
    let whole =
        json!({"text": "some words", "tasks": [{"name": "a"}, 5, null, true, 1.5], "bytes": {"$bytes": "AAEC"}});
    one.set("", whole);
    let counter = |path: &str, value| Edit::Counter { path: path.parse().unwrap(), value };
    let count = |path: &str, by| Edit::Increment { path: path.parse().unwrap(), by };
    one.edit(0, &[counter("/n", 3), counter("/tasks/1", -2), count("/n", 4)]).unwrap();
    one.edit(0, &[mark(5..10, "bold", json!(true)), mark(0..4, "link", json!("https://example.org"))]).unwrap();
    let mut foreign = AutoCommit::new().with_actor(ActorId::from([9; 4]));
    foreign.put(automerge::ROOT, "at", ScalarValue::Timestamp(7)).unwrap();
    foreign.put(automerge::ROOT, "word", ScalarValue::Str("no text".into())).unwrap();
    let changes: Vec<Vec<u8>> = foreign.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
    one.doc.apply(changes.iter().map(Vec::as_slice)).unwrap();

    let mut two = Replica::new(2);
    assert_eq!(begun(&one.doc, &mut two, MOST), 1);
    assert_eq!((shown(&two.doc), marks(&two.doc)), (shown(&one.doc), marks(&one.doc)));
    assert_eq!(two.doc.history(1)[0].message, "begins anew");
    assert_eq!(begun(&one.doc, &mut two, MOST), 0, "what is there makes no change");
    // a counter counts on from both sides
    let mut three = Replica::new(3);
    three.take(&two);
    two.edit(0, &[count("/n", 1), count("/tasks/1", 1)]).unwrap();
    three.edit(0, &[count("/n", 1)]).unwrap();
    two.take(&three);
    assert_eq!((shown(&two.doc)["n"].clone(), shown(&two.doc)["tasks"][1].clone()), (json!(9), json!(-1)));
    // a mark goes on with what is typed after it
    two.edit(0, &[splice("/text", 10, 0, "s!")]).unwrap();
    assert!(marks(&two.doc).contains(&bold(5, 12)));
    // keys that the other does not have go, and those that differ come
    assert_eq!(begun(&one.doc, &mut two, MOST), 1);
    two.set("/mine", json!(1));
    begun(&one.doc, &mut two, MOST);
    assert_eq!(shown(&two.doc), shown(&one.doc));
}

#[test]
fn a_large_document_begins_in_several_changes() {
    let mut one = Replica::new(1);
    let lines: String = (0..3_000).map(|line| format!("line {line}\n")).collect();
    one.set("", json!({"text": lines, "many": (0..2_000).map(|n| json!({"n": n})).collect::<Vec<_>>()}));
    one.edit(0, &(0..200).map(|n| mark(n * 50..n * 50 + 9, "bold", json!(true))).collect::<Vec<_>>()).unwrap();
    let mut two = Replica::new(2);
    assert!(begun(&one.doc, &mut two, 4_096) > 10);
    assert_eq!((shown(&two.doc), marks(&two.doc)), (shown(&one.doc), marks(&one.doc)));
}

#[test]
fn a_counter_that_no_change_can_begin_with_is_a_number() {
    let first = 1 << 53;
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let edits = [
        Edit::Counter { path: path("/n"), value: first },
        Edit::Counter { path: path("/m"), value: -first },
        Edit::Increment { path: path("/n"), by: 1 },
    ];
    one.edit(0, &edits).unwrap();
    let content = one.doc.content().unwrap();
    let made = two.doc.begin_with(&two.actor, (0, ""), &content, MOST).unwrap();
    two.judge.accept(&Change::parse(&made[0].bytes).unwrap()).unwrap();
    assert_eq!(shown(&two.doc), shown(&one.doc));
    assert!(two.doc.edit(&two.actor, 0, &[Edit::Increment { path: path("/n"), by: 1 }], MOST).is_err());
    two.doc.edit(&two.actor, 0, &[Edit::Increment { path: path("/m"), by: 1 }], MOST).unwrap();
}
