//! The verdict beside the library: what Automerge writes is accepted, and what is accepted does no harm.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Automerge, ObjType, ReadDoc, ScalarValue, hydrate};
use proptest::prelude::*;

use crate::change::{Change, OPS_MAX, chunk, expand};
use crate::error::Fault;
use crate::hash::ChangeHash;
use crate::id::{DocumentId, genesis};
use crate::judge::Judge;
use crate::standing::{Held, standing};

/// One step of a random history, with numbers that choose who does it and where.
type Step = (u8, u8, u8, u8);

fn actor(n: u8) -> ActorId {
    ActorId::from(vec![n + 1; usize::from(n % 3) * 7 + 4])
}

/// Documents of some actors after random steps. All changes of all of them, in an order in which each comes after those before it.
fn history(steps: &[Step]) -> Vec<automerge::Change> {
    const ACTORS: u8 = 4;
    let mut first = AutoCommit::new().with_actor(actor(9));
    first.put(automerge::ROOT, "title", "plan").unwrap();
    first.put_object(automerge::ROOT, "text", ObjType::Text).unwrap();
    first.put_object(automerge::ROOT, "list", ObjType::List).unwrap();
    first.put(automerge::ROOT, "count", ScalarValue::counter(5)).unwrap();
    first.commit();
    let mut docs: Vec<AutoCommit> = (0..ACTORS).map(|n| first.fork().with_actor(actor(n))).collect();
    for (what, who, a, b) in steps {
        let (who, from) = (usize::from(who % ACTORS), usize::from(a % ACTORS));
        if what % 17 == 0 && who != from {
            docs[from].commit();
            let mut other = docs[from].clone();
            docs[who].merge(&mut other).unwrap();
            continue;
        }
        let doc = &mut docs[who];
        let text = doc.get(automerge::ROOT, "text").unwrap().unwrap().1;
        let list = doc.get(automerge::ROOT, "list").unwrap().unwrap().1;
        let (length, items) = (doc.length(&text), doc.length(&list));
        let at = |most: usize| usize::from(*a) * (most + 1) / 256;
        match what % 17 {
            1 | 2 => doc
                .splice_text(&text, at(length), 0, ["", "h", "hä", "ä\u{1f600}x"][usize::from(b % 4)])
                .unwrap_or_default(),
            3 => doc
                .splice_text(&text, at(length), isize::from(*b % 3).min((length - at(length)) as isize), "x")
                .unwrap(),
            4 => doc.put(automerge::ROOT, format!("k{}", a % 5), i64::from(*b)).unwrap(),
            5 => drop(doc.delete(automerge::ROOT, format!("k{}", a % 5))),
            6 => doc.insert(&list, at(items), f64::from(*b)).unwrap(),
            7 if items > 0 => doc.put(&list, usize::from(*a) % items, format!("v{b}")).unwrap(),
            8 if items > 0 => doc.delete(&list, usize::from(*a) % items).unwrap(),
            9 => drop(doc.increment(automerge::ROOT, "count", i64::from(*b) - 100)),
            10 => doc.put(automerge::ROOT, "count", ScalarValue::counter(i64::from(*b))).unwrap(),
            11 => {
                let map = doc.insert_object(&list, at(items), ObjType::Map).unwrap();
                doc.put(&map, "done", *b % 2 == 0).unwrap();
                doc.put(&map, "at", ScalarValue::Timestamp(i64::from(*b))).unwrap();
                doc.put(&map, "bytes", vec![*b; 3]).unwrap();
            }
            12 if length > 1 => {
                let mark = Mark::new("bold".to_owned(), *b % 2 == 0, at(length - 2), length);
                doc.mark(&text, mark, ExpandMark::Both).unwrap();
            }
            13 if length > 1 => doc.unmark(&text, "bold", 0, length, ExpandMark::None).unwrap(),
            14 => {
                doc.put(automerge::ROOT, "twice", 1_u64).unwrap();
                doc.put(automerge::ROOT, "twice", ScalarValue::Null).unwrap();
                doc.delete(automerge::ROOT, "twice").unwrap();
            }
            15 => drop(doc.put_object(automerge::ROOT, format!("o{}", a % 2), ObjType::Map).unwrap()),
            16 => drop(doc.empty_change(automerge::transaction::CommitOptions::default().with_message("nothing"))),
            _ => {}
        }
        if what % 3 > 0 {
            doc.commit();
        }
    }
    let mut all = first;
    for doc in &mut docs {
        all.merge(doc).unwrap();
    }
    all.get_changes(&[])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(any::<Step>(), 0..60)
}

fn raw(change: &automerge::Change) -> Vec<u8> {
    change.raw_bytes().to_vec()
}

fn accepted(judge: &mut Judge, bytes: &[u8]) -> Result<(), Fault> {
    judge.accept(&Change::parse(bytes)?)
}

/// Another order in which each change comes after those before it.
fn shuffled(changes: &[automerge::Change], by: u64) -> Vec<automerge::Change> {
    let (mut left, mut done, mut order, mut dice) = (changes.to_vec(), BTreeSet::new(), Vec::new(), by | 1);
    while !left.is_empty() {
        let ready: Vec<usize> =
            (0..left.len()).filter(|at| left[*at].deps().iter().all(|dep| done.contains(dep))).collect();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let next = left.remove(ready[(dice >> 33) as usize % ready.len()]);
        done.insert(next.hash());
        order.push(next);
    }
    order
}

/// A change whose data differs in some bytes, with the length and the checksum of what it is now.
fn mutated(bytes: &[u8], places: &[(u16, u8, u8)]) -> Vec<u8> {
    let head = 9 + bytes[9..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let mut data = bytes[head..].to_vec();
    for (at, how, by) in places {
        if data.is_empty() {
            break;
        }
        let at = usize::from(*at) % data.len();
        match how % 4 {
            0 => data[at] = *by,
            1 => data[at] ^= 1 << (by % 8),
            2 => data.insert(at, *by),
            _ => drop(data.remove(at)),
        }
    }
    chunk(&data)
}

/// The document of some changes, or nothing if the library fails.
fn built(changes: &[automerge::Change]) -> Option<Automerge> {
    catch_unwind(AssertUnwindSafe(|| {
        let mut doc = Automerge::new();
        doc.apply_changes(changes.iter().cloned()).ok()?;
        Some(doc)
    }))
    .ok()
    .flatten()
}

/// All that a document shows, with its maps in order.
fn shown(value: &hydrate::Value) -> String {
    match value {
        hydrate::Value::Map(map) => {
            let item = |(key, item): (&String, &hydrate::MapValue)| (key.clone(), shown(&item.value), item.conflict);
            format!("{:?}", map.iter().map(item).collect::<BTreeSet<_>>())
        }
        hydrate::Value::List(list) => {
            let item = |item: &hydrate::ListValue| format!("{} {} {:?}", shown(&item.value), item.conflict, item.marks);
            format!("{:?}", list.iter().map(item).collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

fn json(doc: &Automerge) -> String {
    shown(&doc.hydrate(None))
}

/// That a change which was accepted after others does no harm: the library writes it as it is, takes it in any order, and
/// loads what it saves.
fn does_no_harm(before: &[automerge::Change], bytes: &[u8], order: u64) {
    let change = automerge::Change::from_bytes(bytes.to_vec()).unwrap();
    assert_eq!(automerge::Change::from(change.decode()).raw_bytes(), bytes, "written again it is the same");
    assert_eq!(change.hash().0, Change::parse(bytes).unwrap().hash().0);
    let all: Vec<automerge::Change> = before.iter().cloned().chain([change.clone()]).collect();
    let one = built(&all).expect("it is applied");
    let other = built(&shuffled(&all, order)).expect("it is applied in another order");
    assert_eq!((json(&one), one.get_heads()), (json(&other), other.get_heads()));
    let loaded = Automerge::load(&one.save())
        .unwrap_or_else(|error| panic!("what is saved is loaded: {error:?} {:?} {}", change.decode(), change.max_op()));
    assert_eq!((json(&loaded), loaded.get_heads()), (json(&one), one.get_heads()));
    assert!(one.get_heads().contains(&change.hash()), "it was applied");
    // whoever writes after it writes something good
    let mut after = AutoCommit::load(&one.save()).unwrap().with_actor(actor(77));
    after.put(automerge::ROOT, "title", "after").unwrap();
    after.commit();
    let mut judge = Judge::new();
    for change in after.get_changes(&[]) {
        accepted(&mut judge, &raw(&change)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// promise: Documents | Every change that Automerge writes is accepted, in every order in which each comes after those before it
    #[test]
    fn what_automerge_writes_is_accepted(steps in steps(), order in any::<u64>()) {
        let changes = history(&steps);
        for changes in [changes.clone(), shuffled(&changes, order)] {
            let mut judge = Judge::new();
            for change in &changes {
                let bytes = raw(change);
                let judged = accepted(&mut judge, &bytes);
                prop_assert!(judged.is_ok(), "{:?} {:?}", judged, change.decode());
                prop_assert!(judge.knows(&Change::parse(&bytes).unwrap().hash()));
            }
            prop_assert_eq!(judge.len(), changes.len());
        }
    }

    /// promise: Documents | A judge that was saved and loaded judges as the one that was not
    #[test]
    fn a_judge_that_was_saved_judges_on_as_before(steps in steps(), order in any::<u64>(), cut in any::<u16>()) {
        let changes = shuffled(&history(&steps), order);
        let cut = usize::from(cut) % changes.len();
        let mut judge = Judge::new();
        for change in &changes[..cut] {
            accepted(&mut judge, &raw(change)).unwrap();
        }
        let names: Vec<ChangeHash> = changes[..cut].iter().map(|change| ChangeHash(change.hash().0)).collect();
        let number = |hash: &ChangeHash| names.iter().position(|name| name == hash).map(|at| at as u64);
        let bytes = judge.save(number).unwrap();
        let name = |number: u64| names.get(usize::try_from(number).ok()?).copied();
        let mut loaded = Judge::load(&bytes, name).unwrap();
        prop_assert_eq!(format!("{:?}", judge), format!("{:?}", loaded));
        for change in &changes[cut..] {
            let bytes = mutated(&raw(change), &[(0, 1, 0)]);
            prop_assert_eq!(accepted(&mut judge, &bytes), accepted(&mut loaded, &bytes));
            prop_assert_eq!(accepted(&mut judge, &raw(change)), accepted(&mut loaded, &raw(change)));
        }
        prop_assert_eq!(format!("{:?}", judge), format!("{:?}", loaded));
    }

    /// promise: Bad input | Bytes that are of no judge are read to an end
    #[test]
    fn any_bytes_of_a_judge_are_read_to_an_end(steps in steps(), at in any::<u16>(), by in any::<u8>(), data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut judge = Judge::new();
        for change in history(&steps) {
            accepted(&mut judge, &raw(&change)).unwrap();
        }
        let mut bytes = judge.save(|_| Some(1)).unwrap();
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= by;
        for bytes in [bytes, data] {
            if let Some(mut judge) = Judge::load(&bytes, |_| Some(ChangeHash([1; 32]))) {
                let _ = accepted(&mut judge, &raw(&history(&steps)[0]));
            }
        }
    }

    /// promise: Documents | A change comes after those before it, or waits for them
    #[test]
    fn a_change_waits_for_those_before_it(steps in steps()) {
        let changes = history(&steps);
        let mut judge = Judge::new();
        for change in changes.iter().rev() {
            let waits = accepted(&mut judge, &raw(change));
            let missing = change.deps().len();
            match waits {
                Err(Fault::MissingDeps(deps)) => prop_assert_eq!(deps.len(), missing),
                other => prop_assert!(missing == 0 && other.is_ok()),
            }
        }
    }

    /// promise: Documents | A compressed change is read as its plain one
    #[test]
    fn a_compressed_change_is_its_plain_one(steps in steps()) {
        for mut change in history(&steps) {
            let plain = raw(&change);
            let compressed = change.bytes().into_owned();
            prop_assert_eq!(&*expand(&compressed).unwrap(), &plain[..]);
            prop_assert_eq!(&*expand(&plain).unwrap(), &plain[..]);
        }
    }

    /// promise: Documents | Bytes that are no change are refused, whatever they are
    #[test]
    fn any_bytes_are_read_to_an_end(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = accepted(&mut Judge::new(), &chunk(&data));
        let _ = accepted(&mut Judge::new(), &data);
        let _ = expand(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(mutants()))]

    /// promise: Documents | A change that was altered and is still accepted does no harm: any order, saved and loaded, and written upon
    #[test]
    fn altered_changes_that_are_accepted_do_no_harm(
        steps in steps(),
        which in any::<u16>(),
        places in proptest::collection::vec(any::<(u16, u8, u8)>(), 1..4),
        order in any::<u64>(),
    ) {
        let changes = history(&steps);
        let which = usize::from(which) % changes.len();
        let bytes = mutated(&raw(&changes[which]), &places);
        let Ok(change) = Change::parse(&bytes) else { return Ok(()) };
        // after all that it may name
        let mut judge = Judge::new();
        let mut before = Vec::new();
        for other in changes.iter().filter(|other| other.hash() != changes[which].hash()) {
            if accepted(&mut judge, &raw(other)).is_ok() {
                before.push(other.clone());
            }
        }
        if judge.accept(&change).is_ok() {
            does_no_harm(&before, &bytes, order);
        }
    }
}

/// The number of altered changes: 2,000, or as the long form has them.
pub(crate) fn mutants() -> u32 {
    std::env::var("NEXUS_MUTATED_CHANGES").ok().and_then(|number| number.parse().ok()).unwrap_or(2_000)
}

#[test]
fn the_first_change_of_a_key_is_one_that_automerge_takes() {
    let document = DocumentId::of_key(&[3; 32], "plan", 0);
    let bytes = genesis(document);
    let change = automerge::Change::from_bytes(bytes.clone()).unwrap();
    assert_eq!(automerge::Change::from(change.decode()).raw_bytes(), bytes);
    does_no_harm(&[], &bytes, 1);
    assert!(accepted(&mut Judge::new(), &bytes).is_ok());
}

/// A number as the format has it.
fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { part } else { part | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

/// A change of a few bytes that stands for so many deletions of a key.
fn bomb(ops: u64) -> Vec<u8> {
    let run = |value: &[u8]| {
        // a positive number has a bit more in its signed form
        let mut bytes = leb(ops);
        if bytes.last().is_some_and(|last| last & 0x40 != 0) {
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push(0);
        }
        bytes.extend_from_slice(value);
        bytes
    };
    let columns = [(0x15, run(&[1, b'k'])), (0x34, leb(ops)), (0x42, run(&[1])), (0x56, run(&[0])), (0x70, run(&[0]))];
    let mut data = vec![0, 4, 1, 2, 3, 4, 1, 1, 0, 0, 0, columns.len() as u8];
    for (number, bytes) in &columns {
        data.extend(leb(*number));
        data.extend(leb(bytes.len() as u64));
    }
    data.extend(columns.into_iter().flat_map(|(_, bytes)| bytes));
    chunk(&data)
}

/// promise: Documents | A change of few bytes that stands for more operations than a bound is refused before they are made
#[test]
fn a_bomb_of_operations_is_refused() {
    for ops in [u64::from(OPS_MAX) + 1, 1 << 40, 1 << 56, (1 << 62) - 1] {
        let bytes = bomb(ops);
        assert!(bytes.len() < 100);
        let refused = accepted(&mut Judge::new(), &bytes);
        assert!(matches!(refused, Err(Fault::TooLarge { .. })), "{ops}: {refused:?}");
    }
    assert_eq!(accepted(&mut Judge::new(), &bomb(1_000)), Ok(()), "a thousand puts of one key are only odd");
    let refused = accepted(&mut Judge::new(), &bomb(100_000));
    assert!(matches!(refused, Err(Fault::TooLarge { of: "operations for its bytes", .. })), "{refused:?}");
    // a compressed one that expands to more than a change has
    let zeroes = vec![0; 64 << 20];
    let mut deflated = flate2::read::DeflateEncoder::new(zeroes.as_slice(), flate2::Compression::best());
    let mut data = Vec::new();
    std::io::Read::read_to_end(&mut deflated, &mut data).unwrap();
    let bytes = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 2], leb(data.len() as u64).as_slice(), &data].concat();
    assert!(bytes.len() < 100_000);
    assert!(matches!(expand(&bytes), Err(Fault::TooLarge { of: "bytes", .. })));
}

/// promise: Documents | A text of a megabyte that is pasted at once is one change that is accepted
#[test]
fn a_pasted_megabyte_is_accepted() {
    let mut doc = AutoCommit::new().with_actor(actor(1));
    let text = doc.put_object(automerge::ROOT, "text", ObjType::Text).unwrap();
    doc.splice_text(&text, 0, 0, &"x".repeat(1_000_000)).unwrap();
    doc.commit();
    doc.splice_text(&text, 0, 1_000_000, "").unwrap();
    doc.commit();
    let mut judge = Judge::new();
    for change in doc.get_changes(&[]) {
        assert_eq!(accepted(&mut judge, &raw(&change)), Ok(()));
    }
    doc.splice_text(&text, 0, 0, &"x".repeat(OPS_MAX as usize + 1)).unwrap();
    doc.commit();
    let refused = accepted(&mut judge, &raw(&doc.get_changes(&[]).pop().unwrap()));
    assert!(matches!(refused, Err(Fault::TooLarge { of: "operations", .. })), "{refused:?}");
}

/// Changes as a node holds them, with the verdict of a judge that heard all of them in this order.
fn held(changes: &[(automerge::Change, bool)]) -> BTreeMap<ChangeHash, Held> {
    let (mut judge, mut held) = (Judge::new(), BTreeMap::new());
    for (change, counts) in changes {
        let bytes = raw(change);
        let change = Change::parse(&bytes).unwrap();
        let sound = judge.accept(&change).is_ok();
        let (deps, actor) = (change.deps().into(), change.actor().into());
        held.insert(change.hash(), Held { deps, actor, seq: change.seq(), sound, counts: *counts });
    }
    held
}

fn hash(change: &automerge::Change) -> ChangeHash {
    ChangeHash(change.hash().0)
}

/// promise: Documents | Two changes with one actor and number do not count, nor what comes after them, until one is cut or revoked
#[test]
fn two_changes_with_one_number_stand_in_each_other_s_way() {
    // the same actor writes twice after the same state, as after a restore
    let mut first = AutoCommit::new().with_actor(actor(1));
    first.put(automerge::ROOT, "title", "plan").unwrap();
    first.commit();
    let mut branches = ["one", "two"].map(|text| {
        let mut branch = first.clone().with_actor(actor(2));
        branch.put(automerge::ROOT, "by", text).unwrap();
        branch.commit();
        branch.put(automerge::ROOT, "then", text).unwrap();
        branch.commit();
        branch.get_changes(&[])[1..].to_vec()
    });
    let root = first.get_changes(&[]).remove(0);
    let [one, two] = &mut branches;
    assert_eq!((one[0].seq(), one[0].actor_id()), (two[0].seq(), two[0].actor_id()));
    let all = |two_counts: bool| {
        let own = [root.clone(), one[0].clone(), one[1].clone()].map(|change| (change, true));
        let others = two.clone().into_iter().map(|change| (change, two_counts));
        own.into_iter().chain(others).collect::<Vec<_>>()
    };
    let mut both = all(true);
    let seen = standing(&held(&both));
    assert_eq!(seen.counting, [hash(&root)]);
    assert_eq!(seen.colliding, one.iter().chain(two.iter()).map(hash).collect());
    both.reverse();
    both.sort_by_key(|(change, _)| change.start_op());
    assert_eq!(standing(&held(&both)), seen, "whatever came first");
    let seen = standing(&held(&all(false)));
    assert_eq!(seen.counting, [&root, &one[0], &one[1]].map(hash));
    assert!(seen.colliding.is_empty());
    // no change comes after both
    let built = built(&[root.clone(), one[0].clone()]).unwrap();
    let mut after = AutoCommit::load(&built.save()).unwrap().with_actor(actor(3));
    after.put(automerge::ROOT, "x", 1).unwrap();
    after.commit();
    let mut merge = after.get_changes(&[]).pop().unwrap().decode();
    merge.deps = vec![one[0].hash(), two[0].hash()];
    merge.deps.sort_unstable();
    let merge = automerge::Change::from(merge);
    let mut judge = Judge::new();
    for change in [&root, &one[0], &two[0]] {
        accepted(&mut judge, &raw(change)).unwrap();
    }
    assert!(matches!(accepted(&mut judge, &raw(&merge)), Err(Fault::Place(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// promise: Documents | Equal sets of changes have equal standing, in whatever order they came, and what counts builds one document
    #[test]
    fn equal_sets_have_equal_standing(steps in steps(), order in any::<u64>(), cut in any::<u64>()) {
        let changes = history(&steps);
        let counts = |change: &automerge::Change| u64::from(change.hash().0[0]) * 3 > cut % 256;
        let marked = |changes: &[automerge::Change]| {
            changes.iter().map(|change| (change.clone(), counts(change))).collect::<Vec<_>>()
        };
        let one = standing(&held(&marked(&changes)));
        let other = standing(&held(&marked(&shuffled(&changes, order))));
        prop_assert_eq!(&one, &other);
        let by_hash: BTreeMap<ChangeHash, &automerge::Change> = changes.iter().map(|change| (hash(change), change)).collect();
        let counting: Vec<automerge::Change> = one.counting.iter().map(|hash| by_hash[hash].clone()).collect();
        for change in &counting {
            prop_assert!(change.deps().iter().all(|dep| counting.iter().any(|other| other.hash() == *dep)));
        }
        let doc = built(&counting).unwrap();
        prop_assert_eq!(doc.get_changes(&[]).len(), counting.len(), "each was applied");
    }
}
