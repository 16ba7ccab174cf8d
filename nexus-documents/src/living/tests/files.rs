//! Files of Automerge, and bytes that pretend to be some.

use std::io::Read as _;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

use crate::change::length;
use crate::living::{FileError, changes_of_file};
use crate::tests::mutants;

/// A document of two actors with all kinds of values.
fn document() -> Replica {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let text = "a text with lines\n".repeat(40);
    one.edit(1, &[set("", json!({"t": text, "l": [1, {"a": null}], "b": {"$bytes": "AAAA"}, "f": 1.5}))]).unwrap();
    one.edit(2, &[Edit::Counter { path: path("/n"), value: 3 }]).unwrap();
    two.take(&one);
    for step in 0..10 {
        one.edit(3, &[splice("/t", step * 7, 3, "one"), Edit::Increment { path: path("/n"), by: 1 }]).unwrap();
        two.edit(4, &[splice("/t", step * 5, 2, "two"), set("/l/0", json!(step))]).unwrap();
        if step % 4 == 0 {
            one.take(&two);
            two.take(&one);
        }
    }
    one.take(&two);
    one
}

/// The part of a file with this kind and data.
fn part(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update([kind]);
    hasher.update(length(data.len()));
    hasher.update(data);
    let checksum: [u8; 32] = hasher.finalize().into();
    [&[0x85, 0x6f, 0x4a, 0x83], &checksum[..4], &[kind], &length(data.len()), data].concat()
}

/// promise: Documents | A document that is saved is the same one when its file is read
#[test]
fn a_file_gives_the_changes_of_its_document() {
    let one = document();
    let saved = one.doc.save().unwrap();
    let plain: Vec<u8> = one.all.concat();
    let both = [saved.as_slice(), &plain].concat();
    for file in [&saved, &plain, &both] {
        let changes = changes_of_file(file).unwrap();
        assert_eq!(changes.len(), one.doc.len());
        let (mut doc, mut judge) = (Living::new(), Judge::new());
        for change in &changes {
            judge.accept(&Change::parse(change).unwrap()).unwrap();
        }
        doc.apply(changes.iter().map(Vec::as_slice)).unwrap();
        assert_eq!((doc.heads(), shown(&doc)), (one.doc.heads(), shown(&one.doc)));
        assert_eq!(doc.history(100), one.doc.history(100));
    }
    // later changes come first
    let backwards: Vec<u8> = one.all.iter().rev().flatten().copied().collect();
    assert_eq!(changes_of_file(&backwards).unwrap().len(), one.doc.len());
    assert!(
        matches!(changes_of_file(&one.all[1..].concat()), Err(FileError::MissingDeps(missing)) if missing.len() == 1)
    );
    assert_eq!(changes_of_file(&Living::new().save().unwrap()), Ok(Vec::new()));
    assert_eq!(changes_of_file(&part(3, &[])), Err(FileError::Kind(3)));
    assert!(matches!(changes_of_file(b""), Err(FileError::Form(_))));
    assert!(matches!(changes_of_file(&saved[..saved.len() - 1]), Err(FileError::Form(_))));
    let compressed: Vec<u8> = one
        .all
        .iter()
        .flat_map(|bytes| automerge::Change::from_bytes(bytes.clone()).unwrap().bytes().into_owned())
        .collect();
    assert!(compressed.len() < plain.len());
    assert_eq!(changes_of_file(&compressed).unwrap().len(), one.doc.len());
}

fn leb(number: u64) -> Vec<u8> {
    length(usize::try_from(number).unwrap())
}

/// A signed number above zero.
fn run(number: u64) -> Vec<u8> {
    let mut bytes = leb(number);
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// A document of one change with these columns of operations.
fn crafted(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let highest = [&[0x7f], run(4 << 20).as_slice()].concat();
    let changes: [(u64, &[u8]); 6] = [
        (0x01, &[0x7f, 0]),
        (0x03, &[0x7f, 1]),
        (0x13, &highest),
        (0x23, &[0x7f, 0]),
        (0x40, &[0x7f, 0]),
        (0x56, &[0x7f, 7]),
    ];
    let mut data = vec![1, 1, 9, 0];
    data.extend(leb(changes.len() as u64));
    for (spec, bytes) in &changes {
        data.extend([leb(*spec), leb(bytes.len() as u64)].concat());
    }
    data.extend(leb(columns.len() as u64));
    for (spec, bytes) in columns {
        data.extend([leb(*spec), leb(bytes.len() as u64)].concat());
    }
    data.extend(changes.iter().flat_map(|(_, bytes)| bytes.iter().copied()));
    data.extend(columns.iter().flat_map(|(_, bytes)| bytes.iter().copied()));
    part(0, &data)
}

/// promise: Documents | A file of few bytes that stands for more than a bound is refused before it is expanded
#[test]
fn a_bomb_in_a_file_is_refused() {
    for rows in [(4 << 20) + 1, 1 << 40, (1 << 62) - 1] {
        let file = crafted(&[(0x21, [run(rows), vec![0]].concat())]);
        assert!(matches!(changes_of_file(&file), Err(FileError::TooLarge { of: "operations", .. })));
        let file = crafted(&[(0x34, leb(0).into_iter().chain(leb(rows)).collect())]);
        assert!(matches!(changes_of_file(&file), Err(FileError::TooLarge { of: "operations", .. })));
        let file = crafted(&[(0x80, [run(2), leb(rows)].concat())]);
        assert!(matches!(changes_of_file(&file), Err(FileError::TooLarge { of: "operations that are replaced", .. })));
    }
    let mut deflated =
        flate2::read::DeflateEncoder::new(std::io::repeat(0).take(65 << 20), flate2::Compression::best());
    let mut column = Vec::new();
    deflated.read_to_end(&mut column).unwrap();
    let file = crafted(&[(0x57 | 8, column)]);
    assert!(file.len() < 100_000);
    assert!(matches!(changes_of_file(&file), Err(FileError::TooLarge { of: "bytes in its columns", .. })));
    let file = vec![0; (16 << 20) + 1];
    assert!(matches!(changes_of_file(&file), Err(FileError::TooLarge { of: "bytes", .. })));
}

/// The data of a saved document: without compression, so that what is altered is what is read, and with it.
fn data_of(one: &Replica, compresses: bool) -> Vec<u8> {
    let mut doc = automerge::Automerge::new();
    doc.apply_changes(one.all.iter().map(|bytes| automerge::Change::from_bytes(bytes.clone()).unwrap())).unwrap();
    let saved = if compresses { doc.save() } else { doc.save_nocompress() };
    let head = 9 + saved[9..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    saved[head..].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(mutants()))]

    /// promise: Documents | A file that was altered is refused, or gives changes that are judged, and never stops a program
    #[test]
    fn altered_files_are_read_to_an_end(
        places in proptest::collection::vec(any::<(u16, u8, u8)>(), 1..4),
        compresses in any::<bool>(),
    ) {
        thread_local!(static DATA: [Vec<u8>; 2] = {
            let one = document();
            [data_of(&one, false), data_of(&one, true)]
        });
        let mut data = DATA.with(|data| data[usize::from(compresses)].clone());
        for (at, how, by) in places {
            let at = usize::from(at) % data.len();
            match how % 4 {
                0 => data[at] = by,
                1 => data[at] ^= 1 << (by % 8),
                2 => data.insert(at, by),
                _ => drop(data.remove(at)),
            }
        }
        if let Ok(changes) = changes_of_file(&part(0, &data)) {
            let (mut judge, mut sound) = (Judge::new(), Vec::new());
            for bytes in &changes {
                if judge.accept(&Change::parse(bytes).unwrap()).is_ok() {
                    sound.push(bytes.as_slice());
                }
            }
            // two changes with one number are both sound, and are told apart by their standing
            let mut doc = Living::new();
            if doc.apply(sound).is_ok() {
                shown(&doc);
            }
        }
    }
}
