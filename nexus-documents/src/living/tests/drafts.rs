//! Changes that programs make by themselves.

use std::cell::Cell;

use super::*;
use crate::living::draft::{ChangeError, Draft, WrittenText};

impl Replica {
    /// Has a program make a change, and the judge hear of it.
    pub(super) fn change(
        &mut self,
        most: usize,
        program: impl Fn(&mut Draft<'_>) -> Result<(), ChangeError>,
    ) -> Result<Vec<Made>, EditError> {
        let (before, heads) = (shown(&self.doc), self.doc.heads());
        let made = self.doc.transact(&self.actor, (7, ""), &program, most);
        if let Err(EditError::Panicked(_)) = made {
            assert_eq!(self.doc.value(&path(""), None), Err(Broken::Before.into()), "it is built again");
            self.doc = Living::new();
            self.doc.apply(self.all.iter().map(Vec::as_slice)).unwrap();
        }
        if made.is_err() {
            assert_eq!((shown(&self.doc), self.doc.heads()), (before, heads), "a change that fails changes nothing");
        }
        for made in made.iter().flatten() {
            let change = Change::parse(&made.bytes).unwrap();
            assert!(made.bytes.len() <= most);
            assert_eq!((change.time(), self.judge.accept(&change)), (7, Ok(())));
            self.all.push(made.bytes.clone());
        }
        made
    }
}

/// promise: Documents | A program that reads and writes a document in one step writes all of it or nothing, also where it panics
#[test]
fn a_change_of_a_program_is_written_as_a_whole_or_not_at_all() {
    let mut one = Replica::new(1);
    one.edit(0, &[set("/n", json!(1)), set("/text", json!("some letters"))]).unwrap();
    let made = one.change(MOST, |draft| {
        let n = draft.get("/n")?.and_then(|n| n.as_i64()).ok_or("no number")?;
        draft.set("/n", n + 1)?;
        assert_eq!(draft.get("n")?, Some(json!(2)), "it sees what it wrote");
        draft.edit(&splice("/text", 0, 4, "few"))?;
        Ok(())
    });
    assert_eq!(made.unwrap().len(), 1);
    assert_eq!(shown(&one.doc), json!({"n": 2, "text": "few letters"}));
    assert_eq!(one.change(MOST, |_| Ok(())).unwrap(), [], "nothing makes no change");

    // an error of the program, one of an edit, one of an edit that the program passes over, and panics
    let ended = one.change(MOST, |draft| {
        draft.set("/n", 3)?;
        Err("I have seen enough".into())
    });
    assert_eq!(ended, Err(EditError::Program("I have seen enough".to_owned())));
    for is_quiet in [false, true] {
        let ended = one.change(MOST, |draft| {
            draft.set("/n", 3)?;
            let missing = draft.edit(&Edit::Delete { path: path("/missing") });
            assert!(draft.set("/n", 4).is_err(), "nothing is written after it");
            if is_quiet { Ok(()) } else { Ok(missing?) }
        });
        assert!(matches!(ended, Err(EditError::NoSuchPath { .. })), "{ended:?}");
    }
    let ended = one.change(MOST, |draft| {
        draft.set("/n", 3)?;
        draft.set("/~", 3).unwrap();
        Ok(())
    });
    assert!(matches!(ended, Err(EditError::Path(_))), "{ended:?}");
    let ended = one.change(MOST, |draft| {
        draft.set("/n", 3)?;
        panic!("out of {}", "order");
    });
    assert_eq!(ended, Err(EditError::Panicked("out of order".to_owned())));
    one.change(MOST, |draft| Ok(draft.set("/n", 9)?)).unwrap();
    assert_eq!(one.doc.value(&path("n"), None), Ok(Some(json!(9))));
}

#[test]
fn a_change_that_is_too_large_for_one_becomes_several() {
    let (mut one, runs) = (Replica::new(1), Cell::new(0));
    let text: String = (0..30_000).map(|line| format!("line {line}\n")).collect();
    let program = |draft: &mut Draft<'_>| {
        runs.set(runs.get() + 1);
        draft.set("/n", runs.get())?;
        // a program that panics where its first run ends runs again, too
        draft.set("/text", text.as_str()).unwrap();
        Ok(())
    };
    let made = one.change(64 << 10, program).unwrap();
    assert!(made.len() > 4 && runs.get() == 2, "{} {}", made.len(), runs.get());
    assert_eq!(shown(&one.doc), json!({"n": 2, "text": text}));
    // one value that no change takes
    let ended = one.change(64 << 10, |draft| Ok(draft.set("/bytes", json!({"$bytes": "A".repeat(120_000)}))?));
    assert!(matches!(&ended, Err(EditError::TooLarge { path, .. }) if path.to_string() == "/bytes"));
}

#[test]
fn what_a_change_writes_can_be_looked_at_before_it_is_made() {
    let mut one = Replica::new(1);
    one.edit(0, &[set("/text", json!("some letters"))]).unwrap();
    let made = one.change(MOST, |draft| {
        draft.edit(&splice("/text", 4, 0, " more"))?;
        draft.edit(&splice("/text", 0, 0, "with "))?;
        draft.set("/n", json!({"password": "x"}))?;
        let (before, text) = ("some letters".to_owned(), "with some more letters".to_owned());
        let value = WrittenText { before: String::new(), text: r#"{"password":"x"}"#.to_owned() };
        assert_eq!(draft.written()?, [value, WrittenText { before, text }]);
        Err("only a look".into())
    });
    assert!(made.is_err());
}
