//! Marks of texts.

use proptest::prelude::*;

use super::*;
use crate::living::{MarkExpand, MarkJson};

pub(super) fn mark(range: std::ops::Range<usize>, name: &str, value: Json) -> Edit {
    Edit::Mark { path: path("/text"), range, name: name.to_owned(), value, expand: MarkExpand::After, at_heads: None }
}

pub(super) fn marks(doc: &Living) -> Vec<(String, Json, usize, usize)> {
    let of = |mark: MarkJson| (mark.name, mark.value, mark.start, mark.end);
    doc.marks(&path("/text"), None).unwrap().unwrap().into_iter().map(of).collect()
}

pub(super) fn bold(start: usize, end: usize) -> (String, Json, usize, usize) {
    ("bold".to_owned(), json!(true), start, end)
}

/// promise: Documents | A mark stays on its letters while others type, and a range that was read earlier means the letters that it had
#[test]
fn a_mark_stays_on_its_letters_while_others_type() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    one.edit(0, &[set("/text", json!("größe 🙂 of words"))]).unwrap();
    two.take(&one);
    let seen = one.doc.heads();
    let made = one.edit(0, &[mark(8..10, "bold", json!(true))]).unwrap();
    assert_eq!(made.iter().map(ops).sum::<usize>(), 2);
    assert_eq!(one.edit(0, &[mark(8..10, "bold", json!(true))]), Ok(Vec::new()), "what is marked so makes no change");
    assert_eq!(one.edit(0, &[mark(0..5, "bold", json!(null))]), Ok(Vec::new()), "nor what is not marked");
    two.edit(0, &[splice("/text", 0, 6, "now "), splice("/text", 8, 0, "f")]).unwrap();
    one.take(&two);
    two.take(&one);
    assert_eq!(shown(&two.doc), json!({"text": "now 🙂 off words"}));
    // `of` was 8 to 10, and what is typed after it belongs to it
    assert_eq!(marks(&one.doc), [bold(6, 9)]);
    assert_eq!(marks(&two.doc), marks(&one.doc));
    assert_eq!(one.doc.marks(&path("/text"), Some(&seen)), Ok(Some(Vec::new())), "at an earlier version");

    // the range of an earlier version
    let words = Edit::Mark {
        path: path("/text"),
        range: 6..16,
        name: "link".to_owned(),
        value: json!("https://example.org"),
        expand: MarkExpand::None,
        at_heads: Some(seen.clone()),
    };
    two.edit(0, &[words]).unwrap();
    let link = ("link".to_owned(), json!("https://example.org"), 4, 15);
    assert_eq!(marks(&two.doc), [bold(6, 9), link.clone()]);
    let before = two.doc.heads();
    two.edit(0, &[mark(7..8, "bold", json!(null))]).unwrap();
    let left = marks(&two.doc);
    assert_eq!(left.iter().filter(|mark| mark.0 == "bold").collect::<Vec<_>>(), [&bold(6, 7), &bold(8, 9)]);
    let patches = two.doc.patches(&before, &two.doc.heads()).unwrap();
    let gone = MarkJson { name: "bold".to_owned(), value: json!(null), start: 7, end: 8 };
    assert_eq!(patches, [PatchJson::Mark { path: "/text".to_owned(), marks: vec![gone] }]);
    // letters of an earlier version that are all gone have no mark
    two.edit(0, &[splice("/text", 0, 15, "")]).unwrap();
    let late = Edit::Mark {
        path: path("/text"),
        range: 0..3,
        name: "bold".to_owned(),
        value: json!(1),
        expand: MarkExpand::Both,
        at_heads: Some(seen),
    };
    assert_eq!(two.edit(0, &[late]), Ok(Vec::new()));
}

/// promise: Documents | The ends of marks take no place among the letters of a text, for positions and for authors
#[test]
fn the_ends_of_marks_are_no_letters() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    one.edit(0, &[set("/text", json!("one text of many words, and more"))]).unwrap();
    one.edit(0, &[mark(4..8, "link", json!("t")), mark(0..3, "bold", json!(true))]).unwrap();
    two.take(&one);
    let authors = one.doc.authors(&path("/text")).unwrap().unwrap();
    assert_eq!(authors, [(vec![1; 4], "one text of many words, and more".to_owned())]);
    let seen = two.doc.heads();
    two.edit(0, &[splice("/text", 0, 0, "here: ")]).unwrap();
    let insert = "a line".to_owned();
    let (at, delete, at_heads) = (4, 18, Some(seen));
    two.edit(0, &[Edit::Splice { path: path("/text"), at, delete, insert, at_heads }]).unwrap();
    assert_eq!(shown(&two.doc), json!({"text": "here: one a line, and more"}));
}

#[test]
fn marks_that_do_not_fit_are_refused_by_name() {
    let mut one = Replica::new(1);
    one.edit(0, &[set("", json!({"text": "letters", "n": 1}))]).unwrap();
    let beyond = EditError::PositionBeyond { path: path("/text"), len: 7 };
    assert_eq!(one.edit(0, &[mark(3..8, "bold", json!(true))]), Err(beyond));
    for (from, to) in [(3, 3), (5, 2)] {
        let none = EditError::NoLetters { path: path("/text"), from, to };
        assert_eq!(one.edit(0, &[mark(from..to, "bold", json!(true))]), Err(none));
    }
    for name in ["", &"k".repeat(5_000)] {
        assert_eq!(one.edit(0, &[mark(0..1, name, json!(true))]), Err(EditError::MarkName));
    }
    for value in [json!([]), json!({"a": 1}), json!({"$bytes": "AAAA"})] {
        assert_eq!(one.edit(0, &[mark(0..1, "bold", value)]), Err(EditError::MarkValue(path("/text"))));
    }
    let large = one.edit_within(0, &[mark(0..1, "link", json!("a".repeat(70_000)))], 64 << 10);
    assert!(matches!(large, Err(EditError::TooLarge { .. })), "{large:?}");
    let of = |at: &str| match mark(0..1, "bold", json!(true)) {
        Edit::Mark { range, name, value, expand, at_heads, .. } => {
            Edit::Mark { path: path(at), range, name, value, expand, at_heads }
        }
        other => other,
    };
    assert!(matches!(one.edit(0, &[of("/n")]), Err(EditError::OtherKind { .. })));
    assert!(matches!(one.edit(0, &[of("/missing")]), Err(EditError::NoSuchPath { .. })));
    let unknown = Edit::Mark {
        path: path("/text"),
        range: 0..1,
        name: "bold".to_owned(),
        value: json!(true),
        expand: MarkExpand::After,
        at_heads: Some(vec![crate::hash::ChangeHash([9; 32])]),
    };
    assert!(matches!(one.edit(0, &[unknown]), Err(EditError::UnknownHeads(_))));
    assert_eq!(one.doc.marks(&path("/n"), None), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each step: which replica, marks or types, where, how far, and the value.
    #[test]
    fn marks_of_two_are_the_same_on_both(
        steps in prop::collection::vec((any::<bool>(), 0..4_u8, 0..20_usize, 1..9_usize, 0..3_u8), 1..24),
    ) {
        let (mut one, mut two) = (Replica::new(1), Replica::new(2));
        one.edit(0, &[set("/text", json!("letters of two"))]).unwrap();
        two.take(&one);
        for (at, (is_one, kind, from, number, value)) in steps.into_iter().enumerate() {
            let (of, other) = if is_one { (&mut one, &two) } else { (&mut two, &one) };
            if at % 5 == 4 {
                of.take(other);
            }
            let len = shown(&of.doc)["text"].as_str().unwrap().chars().count();
            let from = from % (len + 1);
            let to = (from + number).min(len);
            let edit = match kind {
                0 => splice("/text", from, 0, "ä🙂"),
                1 => splice("/text", from, to - from, ""),
                _ if from == to => continue,
                _ => mark(from..to, ["bold", "size"][usize::from(kind % 2)], [json!(null), json!(true), json!(7)][usize::from(value)].clone()),
            };
            of.edit(0, &[edit]).unwrap();
        }
        one.take(&two);
        two.take(&one);
        prop_assert_eq!(shown(&one.doc), shown(&two.doc));
        prop_assert_eq!(marks(&one.doc), marks(&two.doc));
        let file = one.doc.save().unwrap();
        let again = Living::load(&file, one.doc.bytes()).unwrap();
        prop_assert_eq!(marks(&again), marks(&one.doc));
    }
}
