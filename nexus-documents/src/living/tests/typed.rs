//! Values of a program's own types.

use std::collections::BTreeMap;

use autosurgeon::{Counter, Hydrate, Reconcile, Text};
use proptest::prelude::*;

use super::*;
use crate::living::draft::{ChangeError, Draft};

#[derive(Debug, Default, Clone, Hydrate, Reconcile)]
struct Board {
    title: Text,
    done: Counter,
    tasks: Vec<Task>,
    labels: BTreeMap<String, String>,
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Hydrate, Reconcile)]
struct Task {
    #[key]
    id: String,
    note: Text,
}

#[derive(Debug, Hydrate, Reconcile)]
struct Deep {
    within: Vec<Deep>,
}

impl Replica {
    fn board(&self) -> Board {
        self.doc.hydrate().unwrap().unwrap()
    }

    fn change_board(&mut self, most: usize, change: impl Fn(&mut Board)) -> Result<Vec<Made>, EditError> {
        self.change(most, |draft: &mut Draft<'_>| {
            let mut board: Board = draft.hydrate()?.unwrap_or_default();
            change(&mut board);
            Ok::<(), ChangeError>(draft.reconcile(&board)?)
        })
    }
}

fn task(id: &str, note: &str) -> Task {
    Task { id: id.to_owned(), note: note.into() }
}

/// promise: Documents | A program's own type is a document: texts, counters and lists that two programs change at once have both
#[test]
fn a_value_of_a_type_that_two_change_at_once_has_both() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    assert!(one.doc.hydrate::<Board>().unwrap().is_none(), "a document without values is no value yet");
    one.change_board(MOST, |board| {
        board.title.update("größer");
        board.done.increment(5);
        board.tasks = vec![task("a", "first"), task("b", "second")];
        board.labels.insert("red".to_owned(), "urgent".to_owned());
    })
    .unwrap();
    two.take(&one);
    // letters, though a `Text` counts bytes
    one.change_board(MOST, |board| {
        let end = board.title.as_str().len();
        board.title.splice(end, 0, "e Häuser");
        board.done.increment(-2);
        board.tasks.remove(0);
        board.size = u64::MAX;
    })
    .unwrap();
    two.change_board(MOST, |board| {
        board.title.splice("grö".len(), "ß".len() as isize, "ss");
        board.done.increment(1);
        board.tasks.push(task("c", "third"));
        board.tasks[1].note.update("the second");
        board.labels.clear();
    })
    .unwrap();
    one.take(&two);
    two.take(&one);
    assert_eq!(shown(&one.doc), shown(&two.doc));
    let board = one.board();
    assert_eq!((board.title.as_str(), board.done.value()), ("grössere Häuser", 4));
    assert_eq!(board.tasks, [task("b", "the second"), task("c", "third")]);
    assert_eq!((board.labels.len(), board.size), (0, u64::MAX));
    // edits in JSON leave the kinds as the type wants them
    let edits = [set("/size", json!(7)), set("/done", json!(9)), set("/title", json!("kurz"))];
    one.edit(0, &edits).unwrap();
    let board = one.board();
    assert_eq!((board.size, board.done.value(), board.title.as_str()), (7, 9, "kurz"));
}

#[test]
fn a_value_of_a_type_is_written_as_what_differs() {
    let mut one = Replica::new(1);
    one.change_board(MOST, |board| board.title.update("the first words of a long text")).unwrap();
    assert_eq!(one.change_board(MOST, |_| ()).unwrap(), [], "what is equal makes no change");
    let made = one.change_board(MOST, |board| board.title.update("the first 1,000 words of a long text")).unwrap();
    assert_eq!(made.iter().map(ops).sum::<usize>(), 6);
    // letters in a row are one insertion, however they came
    let long = "many letters ".repeat(5_000);
    let made = one.change_board(64 << 10, |board| board.title.update(&long)).unwrap();
    assert!(made.len() <= 3, "{}", made.len());
    assert_eq!(one.board().title.as_str(), long);
    // a type reads texts that were spliced before it asks again
    one.change(MOST, |draft| {
        let mut board: Board = draft.hydrate()?.unwrap();
        board.title.splice(0, 0, "so ");
        draft.reconcile(&board)?;
        assert!(draft.get("/title")?.unwrap().as_str().unwrap().starts_with("so many"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_value_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut one = Replica::new(1);
    one.edit(0, &[set("/title", json!("a text")), set("/done", json!("no counter"))]).unwrap();
    assert!(matches!(one.doc.hydrate::<Board>(), Err(ReadError::Type(_))));
    assert!(matches!(one.change_board(MOST, |_| ()), Err(EditError::Type(_))));

    let mut two = Replica::new(2);
    two.change_board(MOST, |board| board.title.update("a text")).unwrap();
    let old = two.board();
    two.change_board(MOST, |board| board.title.update("another text")).unwrap();
    let stale = two.change_board(MOST, |board| {
        board.size = 1;
        board.title = old.title.clone();
    });
    assert!(matches!(stale, Err(EditError::Type(_))), "a text of an older version: {stale:?}");
    let within = two.change_board(MOST, |board| {
        board.title.update("ä");
        board.labels.insert("k".repeat(5_000), String::new());
    });
    assert!(matches!(within, Err(EditError::KeyTooLong(_))), "{within:?}");
    let many = two.change_board(MOST, |board| board.done.increment(1 << 41));
    assert!(matches!(&many, Err(EditError::Counter { path, .. }) if path.to_string() == "/done"), "{many:?}");
    let large = two.change_board(64 << 10, |board| {
        board.labels.insert("large".to_owned(), "letters ".repeat(20_000));
    });
    assert!(
        matches!(&large, Err(EditError::TooLarge { path, .. }) if path.to_string() == "/labels/large"),
        "{large:?}"
    );

    let deep = |most| (0..most).fold(Deep { within: Vec::new() }, |deep, _| Deep { within: vec![deep] });
    for (number, fits) in [(49, true), (50, false)] {
        let mut three = Replica::new(3);
        let made = three.change(MOST, |draft| Ok(draft.reconcile(&deep(number))?));
        assert_eq!((made.is_ok(), matches!(made, Err(EditError::TooDeep(_)))), (fits, !fits), "{number}: {made:?}");
    }
}

/// Letters of different numbers of bytes.
fn letters() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-cäß漢🙂]{0,12}").unwrap()
}

fn boards() -> impl Strategy<Value = (String, i64, Vec<(u8, String)>, Vec<String>)> {
    let tasks = prop::collection::vec((0..6_u8, letters()), 0..5);
    (letters(), -9..9_i64, tasks, prop::collection::vec(letters(), 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_a_type_writes_is_what_it_reads(all in prop::collection::vec(boards(), 1..6), most in 2_000..9_000_usize) {
        let mut one = Replica::new(1);
        for (title, by, tasks, labels) in all {
            let mut unique = Vec::new();
            for (id, note) in tasks {
                if unique.iter().all(|(other, _)| *other != id) {
                    unique.push((id, note));
                }
            }
            let before = one.doc.hydrate::<Board>().unwrap().map_or(0, |board| board.done.value());
            one.change_board(most, |board| {
                board.title.update(title.repeat(30));
                board.done.increment(by);
                board.tasks = unique.iter().map(|(id, note)| task(&id.to_string(), note)).collect();
                board.labels = labels.iter().map(|label| (label.clone(), label.repeat(2))).collect();
            }).unwrap();
            let board = one.board();
            prop_assert_eq!((board.title.as_str(), board.done.value()), (&*title.repeat(30), before + by));
            prop_assert_eq!(board.tasks, unique.iter().map(|(id, note)| task(&id.to_string(), note)).collect::<Vec<_>>());
            prop_assert_eq!(board.labels.len(), labels.iter().collect::<std::collections::BTreeSet<_>>().len());
        }
    }
}
