//! Changes of programs, which this node writes in its own name.

use std::collections::BTreeSet;

use super::*;

/// The changes that a program makes after some that it knows.
fn written(known: &[Entry], edits: &[&str]) -> Vec<Vec<u8>> {
    let mut living = Living::new();
    living.apply(known.iter().map(|entry| entry.made.bytes.as_slice())).unwrap();
    let of = |key: &&str| living.edit(&[9; 16], 1_000, &set(key, &json!("by a program")), 60_000).unwrap();
    edits.iter().flat_map(of).map(|made| made.bytes).collect()
}

fn replica(entries: &[Entry]) -> Replica {
    replica_of(entries, &(0..entries.len()).collect::<Vec<_>>(), 3)
}

fn hashes(changes: &[Vec<u8>]) -> Vec<ChangeHash> {
    changes.iter().map(|bytes| Change::parse(bytes).unwrap().hash()).collect()
}

/// promise: Documents | A program's changes are written once each, after those before them
#[test]
fn a_program_brings_what_is_new() {
    let entries = history(&[(0, 0, false), (1, 1, true)]);
    let mut here = replica(&entries);
    let new = written(&entries, &["a", "b"]);
    let known: Vec<Vec<u8>> = entries.iter().map(|entry| entry.made.bytes.clone()).collect();
    // the later one alone waits
    let looked = here.judge_strangers(&log(0), vec![new[1].clone()]);
    assert!(looked.made.is_empty() && looked.refused.is_none());
    let all: Vec<Vec<u8>> = known.into_iter().chain(new.clone()).chain(looked.waiting).collect();
    let looked = here.judge_strangers(&log(0), all);
    assert_eq!(looked.made.iter().map(|made| made.hash).collect::<Vec<_>>(), hashes(&new));
    assert!(looked.waiting.is_empty() && looked.refused.is_none(), "{looked:?}");
    here.apply(&looked.made).unwrap();
    assert_eq!(value(&here)["b"], json!("by a program"));
    let again = here.judge_strangers(&log(0), new);
    assert!(again.made.is_empty() && again.waiting.is_empty() && again.refused.is_none());
}

/// promise: Documents | A program that still has a change of a revoked member brings back neither it nor its own edits on top
#[test]
fn a_program_brings_nothing_back() {
    let mut entries = history(&[(0, 0, false), (1, 1, true)]);
    let new = written(&entries, &["a"]);
    entries[1].counts = false;
    let of_revoked = entries[1].made.bytes.clone();
    let mut here = replica(&entries);
    for (changes, why) in [(vec![of_revoked.clone()], "does not count"), (new.clone(), "which does not count")] {
        let looked = here.judge_strangers(&log(0), changes);
        assert!(looked.made.is_empty() && looked.waiting.is_empty());
        assert!(looked.refused.as_ref().is_some_and(|(_, said)| said.contains(why)), "{looked:?}");
        assert_eq!(here.on_top(&looked.aside), None, "without the change before it, it cannot be read");
    }
    assert_eq!(here.living().len(), 1);
}

/// promise: Documents | Edits of a program on top of a revoked change are kept aside, without that change, and its other edits are taken
#[test]
fn what_a_program_did_on_top_of_a_revoked_change_is_kept_aside() {
    let mut entries = history(&[(0, 0, false), (1, 1, true)]);
    let (apart, on_top) = (written(&entries[..1], &["apart"]), written(&entries, &["mine", "also"]));
    entries[1].counts = false;
    let of_revoked = entries[1].made.bytes.clone();
    let mut here = replica(&entries);
    let looked = here.judge_strangers(&log(0), [vec![of_revoked], on_top.clone()].concat());
    let kept = here.on_top(&looked.aside).unwrap();
    assert_eq!(kept.first, hashes(&on_top)[0]);
    let steps = serde_json::to_value(&kept.steps).unwrap();
    let paths: BTreeSet<&str> = steps.as_array().unwrap().iter().map(|step| step["path"].as_str().unwrap()).collect();
    assert!(paths.iter().all(|path| path.contains("mine") || path.contains("also")), "{steps}");
    assert!(steps.to_string().contains("by a program"), "{steps}");
    assert_eq!((here.living().len(), looked.made.len()), (1, 0), "nothing of it is in the document");
    // an edit apart from it
    let looked = here.judge_strangers(&log(0), [on_top, apart].concat());
    assert_eq!(looked.made.len(), 1);
    assert!(looked.refused.is_some());
}

/// promise: Documents | A change of another member is written by that member alone, and a second change of one number by nobody
#[test]
fn a_program_speaks_for_no_member() {
    let entries = history(&[(0, 0, false), (1, 1, true)]);
    let mut here = replica(&entries[..1]);
    let looked = here.judge_strangers(&log(0), vec![entries[1].made.bytes.clone()]);
    assert_eq!((looked.made.len(), looked.waiting.len()), (0, 1), "its entry is to come");
    let (one, other) = (written(&entries[..1], &["a"]), written(&entries[..1], &["b"]));
    let looked = here.judge_strangers(&log(0), one);
    assert_eq!(looked.made.len(), 1);
    here.apply(&looked.made).unwrap();
    let looked = here.judge_strangers(&log(0), other);
    assert!(looked.made.is_empty() && looked.refused.is_some(), "{looked:?}");
}

/// promise: Erasure | A program that still has an erased change brings back neither it nor its own edits on top
#[test]
fn a_program_brings_no_erased_change_back() {
    let entries = history(&[(0, 0, false), (1, 1, true)]);
    let new = written(&entries, &["a"]);
    let of_erased = entries[1].made.bytes.clone();
    let mut here = replica(&entries[..1]);
    let words =
        DocumentWords { document: *document().as_bytes(), parts: Vec::new(), erased: vec![entries[1].made.hash.0] };
    assert_eq!(here.take([Arrived { eno: 9, log: log(1), counts: true, words }]).unwrap(), Next::Stands);
    let mut again = Replica::of_bytes(document(), &here.to_bytes().unwrap()).unwrap();
    for here in [&mut here, &mut again] {
        let looked = here.judge_strangers(&log(0), [vec![of_erased.clone()], new.clone()].concat());
        assert!(looked.made.is_empty() && looked.waiting.is_empty() && looked.refused.is_some(), "{looked:?}");
        assert_eq!(here.living().len(), 1);
    }
}
