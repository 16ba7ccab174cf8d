//! Documents that are read, edited, compared and saved.

#![allow(clippy::unwrap_used, reason = "tests")]

mod content;
mod drafts;
mod files;
mod joins;
mod marks;
mod random;
mod sync;
#[cfg(feature = "typed")]
mod typed;

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjType, ScalarValue};
use serde_json::{Value as Json, json};

use crate::change::{Change, OPS_MAX};
use crate::judge::{DEPTH_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_OPS_MAX, Judge};
use crate::living::{Broken, DocPath, Edit, EditError, Living, Made, PatchJson, ReadError};

const MOST: usize = 1 << 20;

fn path(text: &str) -> DocPath {
    text.parse().unwrap()
}

fn set(at: &str, value: Json) -> Edit {
    Edit::Set { path: path(at), value }
}

fn splice(at: &str, position: usize, delete: usize, insert: &str) -> Edit {
    Edit::Splice { path: path(at), at: position, delete, insert: insert.to_owned(), at_heads: None }
}

fn shown(doc: &Living) -> Json {
    doc.value(&DocPath::root(), None).unwrap().unwrap()
}

/// A document of one actor, with a judge that hears all that it writes.
struct Replica {
    doc: Living,
    judge: Judge,
    actor: [u8; 4],
    all: Vec<Vec<u8>>,
}

impl Replica {
    fn new(actor: u8) -> Self {
        Self { doc: Living::new(), judge: Judge::new(), actor: [actor; 4], all: Vec::new() }
    }

    fn edit(&mut self, time: i64, edits: &[Edit]) -> Result<Vec<Made>, EditError> {
        self.edit_within(time, edits, MOST)
    }

    fn edit_within(&mut self, time: i64, edits: &[Edit], most: usize) -> Result<Vec<Made>, EditError> {
        let (before, heads) = (shown(&self.doc), self.doc.heads());
        let made = self.doc.edit(&self.actor, time, edits, most);
        if let Err(error) = &made {
            assert!(!matches!(error, EditError::Broken(_)), "{error}");
            assert_eq!((shown(&self.doc), self.doc.heads()), (before, heads), "an edit that fails changes nothing");
        }
        for made in made.iter().flatten() {
            let change = Change::parse(&made.bytes).unwrap();
            assert!(made.bytes.len() <= most);
            assert_eq!((change.hash(), change.actor()), (made.hash, &self.actor[..]));
            assert_eq!((change.time(), self.judge.accept(&change)), (time, Ok(())));
            self.all.push(made.bytes.clone());
        }
        made
    }

    /// Sets a value, and says how many operations that took.
    fn set(&mut self, at: &str, value: Json) -> usize {
        self.edit(0, &[set(at, value)]).unwrap().iter().map(ops).sum()
    }

    fn take(&mut self, other: &Self) {
        let new: Vec<&Vec<u8>> = other.all.iter().filter(|bytes| !self.all.contains(bytes)).collect();
        self.doc.apply(new.iter().map(|bytes| bytes.as_slice())).unwrap();
        for bytes in new {
            self.judge.accept(&Change::parse(bytes).unwrap()).unwrap();
            self.all.push(bytes.clone());
        }
    }
}

/// The number of operations of a change.
fn ops(made: &Made) -> usize {
    automerge::Change::from_bytes(made.bytes.clone()).unwrap().len()
}

#[test]
fn a_path_is_read_as_it_was_written() {
    for (text, tokens) in
        [("", &[][..]), ("/", &[]), ("title", &["title"]), ("/a/0/b~1c~0", &["a", "0", "b/c~"]), ("/a/", &["a", ""])]
    {
        let read = path(text);
        assert_eq!(read.tokens(), tokens);
        assert_eq!(read.to_string().parse(), Ok(read));
    }
    let long = "/a".repeat(DEPTH_MAX as usize + 1);
    for bad in ["/~", "~2", "/a/~", &long, &"k".repeat(5_000)] {
        assert!(bad.parse::<DocPath>().is_err(), "{bad:.20}");
    }
}

/// promise: Documents | A new value is written as what differs from the old one
#[test]
fn a_value_is_written_as_what_differs() {
    let mut one = Replica::new(1);
    let first = json!({"title": "plan", "tasks": [{"name": "a", "done": false}, {"name": "b"}], "n": 1, "x": null});
    one.set("", first.clone());
    assert_eq!(shown(&one.doc), first);
    assert_eq!(one.edit(0, &[set("", first.clone())]), Ok(Vec::new()), "what is equal makes no change");
    assert_eq!(one.set("title", json!("plane")), 1);
    assert_eq!(one.set("/tasks/0/done", json!(true)), 1);
    assert_eq!(one.set("/tasks", json!([{"name": "b"}])), 1, "an element is deleted");
    assert_eq!(one.set("/tasks", json!([{"name": "b", "done": null}, 5])), 2);
    assert_eq!(one.set("/n", json!(1.5)), 1);
    assert_eq!(one.set("/n", json!("text")), 5);
    assert_eq!(one.set("/n", json!({"$bytes": "AAEC"})), 1);
    assert_eq!(one.set("/n", json!({"$bytes": "AAEC"})), 0);
    let last = json!({"title": "plane", "tasks": [{"name": "b", "done": null}, 5], "n": {"$bytes": "AAEC"}, "x": null});
    assert_eq!(shown(&one.doc), last);
    let text: String = (0..2_000).map(|line| format!("line {line}\n")).collect();
    one.set("/title", json!(text));
    let edited = text.replace("line 7\n", "line seven\n").replace("line 1999\n", "");
    assert_eq!(one.set("/title", json!(edited)), 6 + 10);
    assert_eq!(one.doc.value(&path("title"), None), Ok(Some(json!(edited))));
    one.edit(0, &[Edit::Merge { path: path(""), patch: json!({"title": null, "a": {"b": null, "c": {}}}) }]).unwrap();
    one.edit(0, &[Edit::Merge { path: path("/a"), patch: json!({"c": [1], "tasks": 7}) }]).unwrap();
    assert_eq!(one.doc.value(&path("/a"), None), Ok(Some(json!({"c": [1], "tasks": 7}))));
    assert_eq!(one.doc.value(&path("/title"), None), Ok(None));
}

#[test]
fn counters_count() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let count = |by| Edit::Increment { path: path("/n"), by };
    assert!(matches!(one.edit(0, &[count(1)]), Err(EditError::NoSuchPath { .. })));
    one.edit(0, &[Edit::Counter { path: path("/n"), value: 5 }, count(-7)]).unwrap();
    two.take(&one);
    one.set("/n", json!(8));
    two.edit(0, &[count(1)]).unwrap();
    one.take(&two);
    two.take(&one);
    assert_eq!(shown(&one.doc), json!({"n": 9}), "a number onto a counter counts on");
    assert_eq!(shown(&two.doc), shown(&one.doc));
    for bad in [i64::MAX, i64::MIN, 1 << 41] {
        assert!(matches!(one.edit(0, &[count(bad)]), Err(EditError::Counter { .. })));
    }
    assert!(matches!(one.edit(0, &[set("/n", json!(i64::MAX))]), Err(EditError::Counter { .. })));
    let wrong = one.edit(0, &[set("/s", json!("")), Edit::Increment { path: path("/s"), by: 1 }]);
    assert!(matches!(wrong, Err(EditError::OtherKind { .. })), "{wrong:?}");
}

/// promise: Documents | A position that was read in an earlier version is carried to the current one
#[test]
fn positions_are_carried() {
    let mut one = Replica::new(1);
    one.set("/t", json!("hällo \u{1f600} world"));
    let heads = one.doc.heads();
    one.edit(0, &[splice("/t", 0, 0, ">> ")]).unwrap();
    one.edit(0, &[splice("/t", 9, 1, "")]).unwrap();
    one.edit(0, &[splice("/t", 12, 0, "INNER")]).unwrap();
    assert_eq!(shown(&one.doc), json!({"t": ">> hällo  woINNERrld"}));
    let at = |position, delete, insert: &str| Edit::Splice {
        path: path("/t"),
        at: position,
        delete,
        insert: insert.to_owned(),
        at_heads: Some(heads.clone()),
    };
    one.edit(0, &[at(8, 5, "mesh")]).unwrap();
    assert_eq!(shown(&one.doc), json!({"t": ">> hällo  meshINNER"}), "letters that others inserted stay");
    one.edit(0, &[at(13, 0, "!"), at(0, 1, "H")]).unwrap();
    assert_eq!(shown(&one.doc), json!({"t": ">> Hällo  meshINNER!"}));
    assert_eq!(one.edit(0, &[at(14, 0, "")]), Err(EditError::PositionBeyond { path: path("/t"), len: 13 }));
    let beyond = one.edit(0, &[set("/n", json!(1)), splice("/t", 20, 1, "")]);
    assert_eq!(beyond, Err(EditError::PositionBeyond { path: path("/t"), len: 20 }));
    let unknown = Edit::Splice {
        path: path("/t"),
        at: 0,
        delete: 0,
        insert: String::new(),
        at_heads: Some(vec![crate::ChangeHash([7; 32])]),
    };
    assert!(matches!(one.edit(0, &[unknown]), Err(EditError::UnknownHeads(_))));
}

#[test]
fn edits_that_cannot_be_made_are_refused_in_words() {
    let mut one = Replica::new(1);
    one.set("", json!({"a": {"b": [1, 2]}, "t": "text"}));
    let insert = |at: &str| Edit::Insert { path: path(at), value: json!(3) };
    let refused =
        |one: &mut Replica, edit: Edit| one.edit(0, &[set("/new", json!("x")), edit]).unwrap_err().to_string();
    for (edit, words) in [
        (set("/a/x/y/z", json!(1)), "The part that exists is `/a`, with \"b\";"),
        (set("/u/v", json!(1)), "Nothing of it exists: the document has \"a\", \"new\", \"t\";"),
        (splice("", 0, 0, "x"), "the document itself is no text"),
        (set("", json!({"k".repeat(4_097): 1})), "a key in the document itself is too long"),
        (set("/a/b/2", json!(1)), "names no place in the list `/a/b`"),
        (set("/t/0", json!(1)), "is no map or list, but a text"),
        (set("", json!([])), "the document itself is a map"),
        (Edit::Delete { path: path("") }, "the document itself is a map"),
        (Edit::Delete { path: path("/a/c") }, "The part that exists is `/a`"),
        (insert("/a/b/4"), "which has 2"),
        (insert("/a/b/x"), "`-` to insert at the end"),
        (insert("/a/x"), "is no list, but a map"),
        (splice("/a", 0, 0, ""), "is no text, but a map"),
        (splice("/a/b/0", 0, 0, ""), "is no text, but a number"),
        (splice("/u", 0, 0, ""), "no such path"),
        (Edit::Increment { path: path("/a/b/0"), by: 1 }, "is no counter, but a number"),
        (set("/a", json!({"k".repeat(4_097): 1})), "a key in `/a` is too long"),
        (set("/a", json!({"$bytes": "?"})), "malformed"),
    ] {
        let text = refused(&mut one, edit.clone());
        assert!(text.contains(words), "{edit:?}: {text}");
    }
    one.edit(0, &[insert("/a/b/-"), insert("/a/b/0"), Edit::Delete { path: path("/a/b/1") }]).unwrap();
    assert_eq!(shown(&one.doc), json!({"a": {"b": [3, 2, 3]}, "t": "text"}));
    one.edit(0, &[set("/a/b/-", json!("end"))]).unwrap();
    assert_eq!(shown(&one.doc), json!({"a": {"b": [3, 2, 3, "end"]}, "t": "text"}));
    one.edit(0, &[Edit::Delete { path: path("/a/b/3") }]).unwrap();
    // a message has few keys, however many there are
    let many: serde_json::Map<String, Json> =
        (0..100).map(|n| (format!("{n:03}{}", "k".repeat(100)), Json::Null)).collect();
    one.edit(0, &[set("/many", many.into())]).unwrap();
    let told = one.edit(0, &[set("/many/x/y", json!(1))]).unwrap_err().to_string();
    assert!(told.contains("\"007k") && !told.contains("\"008") && told.contains('…') && told.len() < 600, "{told}");
    one.edit(0, &[Edit::Delete { path: path("/many") }]).unwrap();
    assert_eq!(one.doc.edit(&[], 0, &[], MOST), Err(EditError::Actor));
    assert_eq!(one.doc.edit(&[1], i64::MIN, &[], MOST), Err(EditError::Time(i64::MIN)));
    // as deep as may be, and deeper
    let mut deep = json!("text");
    for _ in 0..DEPTH_MAX - 2 {
        deep = json!([deep]);
    }
    let deeper = json!([deep.clone()]);
    one.set("/d", deep);
    assert!(one.edit(0, &[set("/e", deeper.clone())]).is_ok());
    assert!(matches!(one.edit(0, &[set("/d", json!([deeper]))]), Err(EditError::TooDeep(_))));
}

/// promise: Documents | An edit that is too large for one change is made in several, or not at all
#[test]
fn large_edits_are_several_changes() {
    let mut one = Replica::new(1);
    let text = "ä text of many letters. ".repeat(10_000);
    let made = one.edit_within(0, &[set("", json!({"t": text, "n": 1}))], 64 << 10).unwrap();
    assert!(made.len() > 3, "{}", made.len());
    assert_eq!(shown(&one.doc), json!({"t": text, "n": 1}));
    let made = one.edit_within(0, &[set("/t", json!("short"))], 64 << 10).unwrap();
    assert_eq!(made.len(), 1, "letters that were inserted in a row are deleted in few bytes");
    assert_eq!(shown(&one.doc), json!({"t": "short", "n": 1}));
    // many values of few bytes
    let many: Vec<Json> = (0..5_000).map(|_| json!({})).collect();
    let made = one.edit(0, &[set("/t", json!(many))]).unwrap();
    assert_eq!(made.len(), 3);
    assert!(one.doc.value(&path("/t"), None) == Ok(Some(json!(many))));
    // the second edit fails, when the first one took several changes
    let edits = [set("/t", json!(text)), set("/a/b", json!(1))];
    assert!(matches!(one.edit_within(0, &edits, 64 << 10), Err(EditError::NoSuchPath { .. })));
    let large = json!({"$bytes": data_encoding::BASE64.encode(&[0; 70_000])});
    assert!(matches!(one.edit_within(0, &[set("/b", large.clone())], 64 << 10), Err(EditError::TooLarge { .. })));
    one.set("/b", large);
    let huge = "x".repeat((16 << 20) + 1);
    assert!(matches!(one.edit(0, &[set("/c", json!(huge))]), Err(EditError::DocumentFull { .. })));
    // as if it had as many as a document can have, but for a few
    one.doc.total.ops = DOCUMENT_OPS_MAX - 5;
    one.set("/c", json!("1234"));
    assert!(matches!(one.edit(0, &[set("/c", json!("5"))]), Err(EditError::DocumentFull { of: "operations", .. })));
    (one.doc.total.ops, one.doc.total.bytes) = (0, DOCUMENT_BYTES_MAX - 100);
    one.set("/c", json!("12345"));
    let letters: String = (0..200_u8).map(|n| char::from(b'a' + n % 26)).collect();
    assert!(matches!(one.edit(0, &[set("/d", json!(letters))]), Err(EditError::DocumentFull { of: "bytes", .. })));
}

#[test]
fn more_letters_than_a_change_has_operations_are_two_changes() {
    let mut one = Replica::new(1);
    let made = one.edit_within(0, &[set("/t", json!("x".repeat(OPS_MAX as usize)))], 2 << 20).unwrap();
    assert_eq!(made.iter().map(ops).collect::<Vec<_>>(), [OPS_MAX as usize, 1]);
}

#[test]
fn conflicts_history_and_versions_are_shown() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    one.edit(10, &[set("", json!({"t": "text", "l": [1]}))]).unwrap();
    two.take(&one);
    let first = one.doc.heads();
    one.edit(20, &[set("/x", json!("one")), splice("/t", 4, 0, "!")]).unwrap();
    two.edit(15, &[set("/x", json!(2)), splice("/t", 0, 0, "a ")]).unwrap();
    one.take(&two);
    two.take(&one);
    assert_eq!(one.doc.heads(), two.doc.heads());
    let conflicts = one.doc.conflicts(&path("/x")).unwrap();
    assert_eq!(conflicts.len(), 2);
    assert_eq!(
        (conflicts.clone(), Some(&conflicts[0].1)),
        (two.doc.conflicts(&path("/x")).unwrap(), shown(&one.doc).get("x"))
    );
    assert!(conflicts.contains(&(vec![1; 4], json!("one"))) && conflicts.contains(&(vec![2; 4], json!(2))));
    assert_eq!(one.doc.conflicts(&path("/t")).unwrap().len(), 1);
    assert!(["/none", ""].iter().all(|at| one.doc.conflicts(&path(at)).unwrap().is_empty()));
    let authors = [(vec![2; 4], "a ".to_owned()), (vec![1; 4], "text!".to_owned())];
    assert_eq!(one.doc.authors(&path("/t")).unwrap().unwrap(), authors);
    assert_eq!(one.doc.authors(&path("/l")), Ok(None));

    let history = one.doc.history(10);
    assert_eq!(history, two.doc.history(10));
    assert_eq!(history.iter().map(|item| item.seq).collect::<Vec<_>>(), [history[0].seq, 1, 1]);
    assert_eq!(one.doc.history(1), history[..1]);
    assert_eq!(one.doc.history_before(Some(&history[0].hash), 1), history[1..2]);
    assert_eq!((one.doc.heads_at(9), one.doc.heads_at(10)), (vec![], first.clone()));
    let then = one.doc.heads_at(15);
    assert_eq!(one.doc.value(&path(""), Some(&then)), Ok(Some(json!({"t": "a text", "l": [1], "x": 2}))));
    assert_eq!(one.doc.heads_at(20), one.doc.heads());
    assert!(matches!(one.doc.value(&path(""), Some(&[crate::ChangeHash([0; 32])])), Err(ReadError::UnknownHeads(_))));
    let patches = one.doc.patches(&first, &then).unwrap();
    assert_eq!(patches.len(), 2);
    assert!(patches.contains(&PatchJson::Splice { path: "/t/0".to_owned(), value: "a ".to_owned() }));
    assert_eq!(
        serde_json::to_value(&patches).unwrap(),
        json!([
            {"action": "put", "path": "/x", "value": 2},
            {"action": "splice", "path": "/t/0", "value": "a "},
        ])
    );
    // whoever sets what is in conflict decides it
    one.set("/x", json!("one"));
    assert_eq!(one.doc.conflicts(&path("/x")).unwrap().len(), 1);
}

#[test]
fn what_other_programs_write_is_read_and_edited() {
    let mut doc = AutoCommit::new().with_actor(ActorId::from([9; 4]));
    doc.put(automerge::ROOT, "at", ScalarValue::Timestamp(1_000)).unwrap();
    doc.put(automerge::ROOT, "bytes", vec![0, 255]).unwrap();
    doc.put(automerge::ROOT, "nan", f64::NAN).unwrap();
    doc.put(automerge::ROOT, "string", "scalar").unwrap();
    doc.put(automerge::ROOT, "", 1).unwrap();
    let text = doc.put_object(automerge::ROOT, "text", ObjType::Text).unwrap();
    doc.splice_text(&text, 0, 0, "ab").unwrap();
    doc.insert(&text, 1, "long element").unwrap();
    doc.split_block(&text, 1).unwrap();
    doc.commit();
    let mut one = Replica::new(1);
    one.all = doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
    one.doc.apply(one.all.iter().map(Vec::as_slice)).unwrap();
    for bytes in &one.all {
        one.judge.accept(&Change::parse(bytes).unwrap()).unwrap();
    }
    let text = "a\u{fffc}long elementb";
    let all = json!({"at": 1_000, "bytes": {"$bytes": "AP8="}, "nan": null, "string": "scalar", "text": text, "": 1});
    assert_eq!(shown(&one.doc), all);
    assert_eq!(one.doc.value(&path(""), Some(&one.doc.heads())), Ok(Some(all.clone())));
    assert_eq!(one.doc.authors(&path("/text")), Ok(Some(vec![(vec![9; 4], text.to_owned())])));
    assert_eq!(one.set("", all), 0);
    one.set("", json!({"at": 2_000, "string": "text", "text": "a long elemen b"}));
    assert_eq!(shown(&one.doc), json!({"at": 2_000, "string": "text", "text": "a long elemen b"}));
    one.edit(0, &[splice("/string", 1, 0, "h")]).unwrap();
}

#[test]
fn a_document_that_failed_is_not_used_any_more() {
    let mut one = Replica::new(1);
    one.set("/a", json!(1));
    one.set("/a", json!(2));
    let mut doc = Living::new();
    assert!(matches!(doc.apply([one.all[1].as_slice()]), Err(Broken::Deps(_))));
    assert_eq!(doc.apply([one.all[0].as_slice()]), Err(Broken::Before));
    assert_eq!(doc.edit(&[1], 0, &[], MOST), Err(Broken::Before.into()));
    assert!(matches!(Living::new().apply([&b"no change"[..]]), Err(Broken::NotJudged(_))));
    let mut doc = Living::new();
    doc.apply(one.all.iter().chain(&one.all).map(Vec::as_slice)).unwrap();
    assert_eq!((doc.len(), doc.heads(), shown(&doc)), (2, one.doc.heads(), json!({"a": 2})));
}

#[test]
fn a_counter_in_conflict_with_what_is_none_is_counted_alone() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    one.set("/x", json!(1));
    two.take(&one);
    one.set("/n", json!(7));
    two.edit(0, &[Edit::Counter { path: path("/n"), value: 5 }]).unwrap();
    two.take(&one);
    assert_eq!((two.doc.conflicts(&path("/n")).unwrap().len(), shown(&two.doc)), (2, json!({"x": 1, "n": 5})));
    two.edit(0, &[Edit::Increment { path: path("/n"), by: 2 }]).unwrap();
    assert_eq!((two.doc.conflicts(&path("/n")).unwrap().len(), shown(&two.doc)), (1, json!({"x": 1, "n": 7})));
    let (mut three, mut four) = (Replica::new(3), Replica::new(4));
    three.take(&two);
    four.take(&two);
    three.edit(0, &[Edit::Increment { path: path("/n"), by: 2 }]).unwrap();
    four.set("/n", json!(6));
    three.take(&four);
    assert_eq!(shown(&three.doc), json!({"x": 1, "n": 8}), "steps of several add up");
}

#[test]
fn a_document_goes_from_thread_to_thread() {
    fn is_send<T: Send>() {}
    is_send::<Living>();
}
