//! Which changes count, by the set of entries alone.

#[cfg(feature = "typed-documents")]
mod changes;
mod erased;
mod node;
#[cfg(feature = "http")]
mod strangers;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use nexus_crdt::{DocumentPart, DocumentWords, Incarnation, LogId, SpaceId};
use nexus_documents::{Broken, Change, ChangeHash, DocumentId, Edit, Living, Made};
use nexus_identity::Did;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::replica::form::{OfPage, Page};
use super::replica::{Arrived, Next, Replica, own_actor};
use super::saved::{self, Form};
use super::version::{Version, among};
use super::write::{joined, portions};
use crate::ledger::rows::Eno;
use crate::store::{ALL_KEYS, Batch, Order, Store, Table, View};

fn document() -> DocumentId {
    DocumentId::of_key(&[7; 32], "plan", 0)
}

fn log(author: u8) -> LogId {
    let author = Did::from_bytes([author; 32]);
    LogId { space: SpaceId::mesh(&author), author, incarnation: Incarnation([1; 8]) }
}

fn set(path: &str, value: &Value) -> Vec<Edit> {
    vec![Edit::Set { path: path.parse().unwrap(), value: value.clone() }]
}

/// promise: Documents | Every vector of a member's actor in a document has its bytes
#[test]
fn actors_of_members() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/document.json");
    let book: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |vector: &Value, field: &str| HEXLOWER.decode(vector[field].as_str().unwrap().as_bytes()).unwrap();
    let actors = book["actors"].as_array().unwrap().iter().map(|vector| {
        let author = Did::from_bytes(bytes(vector, "author").try_into().unwrap());
        let incarnation = Incarnation(bytes(vector, "incarnation").try_into().unwrap());
        let document = DocumentId::from_bytes(bytes(vector, "document").try_into().unwrap());
        let actor = own_actor(&LogId { space: SpaceId::mesh(&author), author, incarnation }, document);
        HEXLOWER.encode(&actor)
    });
    let actors: Vec<String> = actors.collect();
    let wanted = book["actors"].as_array().unwrap().iter().map(|vector| vector["actor"].as_str().unwrap());
    assert_eq!(wanted.collect::<Vec<_>>(), actors);
}

/// An entry with one change.
#[derive(Clone, Debug)]
struct Entry {
    author: u8,
    made: Made,
    counts: bool,
}

fn arrived(eno: Eno, entry: &Entry) -> Arrived {
    let Entry { author, made, counts } = entry.clone();
    let part = DocumentPart::Change { hash: made.hash.0, bytes: made.bytes };
    let words = DocumentWords { document: *document().as_bytes(), parts: vec![(1, part)], erased: Vec::new() };
    Arrived { eno, log: log(author), counts, words }
}

/// A replica of entries that came in this order, by some at once.
fn replica_of(entries: &[Entry], order: &[usize], at_once: usize) -> Replica {
    let mut replica = Replica::new(document());
    let placed: Vec<(Eno, &Entry)> = (1..).zip(order.iter().map(|at| &entries[*at])).collect();
    let bytes: BTreeMap<Eno, Made> = placed.iter().map(|(eno, entry)| (*eno, entry.made.clone())).collect();
    for portion in placed.chunks(at_once.max(1)) {
        let next = replica.take(portion.iter().map(|(eno, entry)| arrived(*eno, entry))).unwrap();
        if next == Next::Rebuild {
            let at = |eno: Eno, _: &ChangeHash| Ok::<_, Broken>(bytes.get(&eno).map(|made| made.bytes.clone()));
            replica.rebuild::<Broken>(&at).unwrap();
        }
    }
    replica
}

fn value(replica: &Replica) -> Value {
    replica.living().value(&"".parse().unwrap(), None).unwrap().unwrap()
}

/// Three authors who write, and hear of each other now and then.
fn history(steps: &[(u8, u8, bool)]) -> Vec<Entry> {
    let mut livings: Vec<Living> = (0..3).map(|_| Living::new()).collect();
    let mut entries: Vec<Entry> = Vec::new();
    for (step, (author, field, hears)) in steps.iter().enumerate() {
        let author = author % 3;
        let living = &mut livings[usize::from(author)];
        if *hears {
            living.apply(entries.iter().map(|entry| entry.made.bytes.as_slice())).unwrap();
        }
        let actor = own_actor(&log(author), document());
        let edits = set(&format!("field{}", field % 3), &json!(format!("said at {step} by {author}")));
        for made in living.edit(&actor, 1_000, &edits, 60_000).unwrap() {
            entries.push(Entry { author, made, counts: true });
        }
    }
    entries
}

proptest! {
    /// promise: Documents | Equal sets of entries make equal documents, in whatever order they come
    #[test]
    fn equal_sets_of_entries_make_equal_heads_and_values(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<bool>()), 1..14),
        uncounted in proptest::collection::btree_set(0..14usize, 0..4),
        shuffled in Just((0..14usize).collect::<Vec<_>>()).prop_shuffle(),
        at_once in 1..6usize,
    ) {
        let mut entries = history(&steps);
        for at in uncounted {
            if let Some(entry) = entries.get_mut(at) {
                entry.counts = false;
            }
        }
        let in_order: Vec<usize> = (0..entries.len()).collect();
        let order: Vec<usize> = shuffled.into_iter().filter(|at| *at < entries.len()).collect();
        let (one, other) = (replica_of(&entries, &in_order, 1), replica_of(&entries, &order, at_once));
        prop_assert_eq!(one.living().heads(), other.living().heads());
        prop_assert_eq!(value(&one), value(&other));
        // a change counts exactly if it and all before it do
        let mut counting = std::collections::BTreeSet::new();
        for entry in &entries {
            let change = Change::parse(&entry.made.bytes).unwrap();
            if entry.counts && change.deps().iter().all(|dep| counting.contains(dep)) {
                counting.insert(change.hash());
            }
        }
        prop_assert_eq!(one.living().len(), counting.len());
        prop_assert!(counting.iter().all(|hash| one.living().knows(hash)));
    }
}

/// All that a reader sees of a document, and what is named as not taken.
fn all_of(replica: &Replica) -> (Vec<ChangeHash>, Value, std::collections::BTreeSet<ChangeHash>, Vec<String>) {
    let mut refused: Vec<String> = replica.all_refused().iter().map(|refused| format!("{refused:?}")).collect();
    refused.sort_unstable();
    (replica.living().heads(), value(replica), replica.missing(), refused)
}

/// The same document from its bytes.
fn reopened(replica: &Replica) -> Replica {
    Replica::of_bytes(document(), &replica.to_bytes().unwrap()).expect("it is the same document")
}

proptest! {
    /// promise: Documents | A document that was saved and opened goes on as one that is built from all its entries
    #[test]
    fn a_saved_document_is_the_one_that_its_entries_make(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<bool>()), 1..14),
        twins in proptest::collection::vec((0..3u8, 0..4u8, any::<u8>()), 0..6),
        uncounted in proptest::collection::btree_set(0..20usize, 0..5),
        lost in proptest::collection::btree_set(0..20usize, 0..3),
        shuffled in Just((0..30usize).collect::<Vec<_>>()).prop_shuffle(),
        at_once in 1..6usize,
        saves in proptest::collection::vec(any::<bool>(), 30),
    ) {
        let mut entries = history(&steps);
        for (actor, length, author) in twins {
            let (mut living, actor) = (Living::new(), [b'f', actor]);
            for n in 0..=length % 2 {
                let edits = set(&format!("twin{n}"), &json!(author / 64));
                let made = living.edit(&actor, 0, &edits, 60_000).unwrap();
                entries.extend(made.into_iter().map(|made| Entry { author: author % 3, made, counts: true }));
            }
        }
        entries.push(Entry { author: 1, made: Made { hash: ChangeHash([9; 32]), bytes: vec![1; 9] }, counts: true });
        for at in uncounted {
            if let Some(entry) = entries.get_mut(at) {
                entry.counts = false;
            }
        }
        let here = |at: &usize| *at < entries.len() && !lost.contains(at);
        let order: Vec<usize> = shuffled.into_iter().filter(here).collect();
        let placed: Vec<(Eno, &Entry)> = (1..).zip(order.iter().map(|at| &entries[*at])).collect();
        let bytes: BTreeMap<Eno, Made> = placed.iter().map(|(eno, entry)| (*eno, entry.made.clone())).collect();
        let at = |eno: Eno, _: &ChangeHash| Ok::<_, Broken>(bytes.get(&eno).map(|made| made.bytes.clone()));
        let mut replica = Replica::new(document());
        for (portion, save) in placed.chunks(at_once).zip(saves) {
            let next = replica.take(portion.iter().map(|(eno, entry)| arrived(*eno, entry))).unwrap();
            if next == Next::Rebuild {
                replica.rebuild::<Broken>(&at).unwrap();
            }
            if save {
                let page = replica.page().unwrap();
                prop_assert_eq!(page.value(&"".parse().unwrap()), OfPage::Value(value(&replica)));
                prop_assert_eq!(page.heads(), replica.living().heads());
                let (before, bytes) = (all_of(&replica), replica.to_bytes().unwrap());
                replica = reopened(&replica);
                prop_assert_eq!(all_of(&replica), before);
                prop_assert!(replica.to_bytes().unwrap() == bytes, "it is saved as it was");
            }
            // all at once is a document that nobody saved
            let all: Vec<(Eno, &Entry)> =
                placed.iter().copied().filter(|(eno, _)| *eno <= replica.last()).collect();
            let mut anew = Replica::new(document());
            let _ = anew.take(all.iter().map(|(eno, entry)| arrived(*eno, entry))).unwrap();
            anew.rebuild::<Broken>(&at).unwrap();
            prop_assert_eq!(all_of(&replica), all_of(&anew));
        }
        // an edit after it was opened is the edit of the one that was not saved
        let mut saved = reopened(&replica);
        let actor = own_actor(&log(7), document());
        let edits = set("after", &json!({ "all": ["of", 1] }));
        let [one, other] = [&mut saved, &mut replica].map(|replica| {
            let made = replica.edit(|living| living.edit(&actor, 5, &edits, 60_000)).unwrap();
            replica.adopt(&made).unwrap();
            made
        });
        prop_assert_eq!(one, other);
        prop_assert_eq!(all_of(&saved), all_of(&replica));
    }
}

/// promise: Documents | A page says what is at each path as the document itself does, or that it does not know
#[test]
fn a_page_reads_as_its_document() {
    let whole = json!({ "a": [1, { "b": "text" }, []], "0": { "$bytes": "AAAA" }, "t": "", "": null, "n/~": 1.5 });
    let made = Living::new().edit(b"somebody", 0, &set("", &whole), 60_000).unwrap();
    let replica = replica_of(&[Entry { author: 1, made: made[0].clone(), counts: true }], &[0], 1);
    let page = replica.page().unwrap();
    for path in [
        "", "/a", "/a/0", "/a/1/b", "/a/1/b/0", "/a/01", "/a/3", "/a/-", "/a/2", "/0", "/t", "/t/0", "/n~1~0", "/x",
        "/a/1/c", "/a/+1", "/n~1~0/x",
    ] {
        let path = path.parse().unwrap();
        let of_document = replica.living().value(&path, None).unwrap().map_or(OfPage::Nothing, OfPage::Value);
        assert_eq!(page.value(&path), of_document, "{path}");
    }
    assert_eq!(page.value(&"/0/$bytes".parse().unwrap()), OfPage::Unsure);
}

/// promise: Documents | A saved document that is not as it was written, or knows more than the log, is built from its entries
#[test]
fn a_saved_form_that_does_not_fit_is_as_good_as_none() {
    let (store, id, other) = (Store::memory().unwrap(), document(), DocumentId::of_key(&[7; 32], "other", 0));
    let read = |id, form, last| saved::read(&store.snapshot().unwrap(), 5, id, form, last).unwrap();
    let write = |form, bytes: &[u8], last, batches: usize| {
        let all = saved::write(&store.snapshot().unwrap(), 5, id, form, (bytes, last)).unwrap();
        let done = batches.min(all.len());
        all.into_iter().take(done).for_each(|batch| {
            assert!(batch.bytes() < 300_000, "others write in between");
            store.commit(&[batch]).unwrap();
        });
    };
    let (long, short) = (vec![7; 1_000_000], vec![8; 100_000]);
    write(Form::Whole, &long, 9, usize::MAX);
    assert_eq!(read(id, Form::Whole, 9), Some(long.clone()));
    assert_eq!((read(id, Form::Whole, 8), read(id, Form::Page, 9), read(other, Form::Whole, 9)), (None, None, None));
    // a crash at any commit of the next one leaves this one
    for batches in 0..4 {
        write(Form::Whole, &vec![9; 700_000], 10, batches);
        assert_eq!(read(id, Form::Whole, 10), Some(long.clone()), "{batches}");
    }
    for (form, bytes) in [(Form::Whole, &short), (Form::Page, &long), (Form::Whole, &long), (Form::Whole, &short)] {
        write(form, bytes, 11, usize::MAX);
        assert_eq!(read(id, form, 11).as_ref(), Some(bytes));
    }
    let rows = |store: &Store| {
        let mut rows = Vec::new();
        let view = store.snapshot().unwrap();
        view.scan(Table::SavedDocuments, ALL_KEYS, Order::Forward, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        rows
    };
    let all = rows(&store);
    assert_eq!(all.iter().map(|(_, row)| row.len()).filter(|len| *len > 100).sum::<usize>(), 1_100_000, "and no more");
    for (key, row) in &all {
        for torn in [row[1..].to_vec(), [&row[..row.len() - 1], &[row[row.len() - 1] ^ 1]].concat(), Vec::new()] {
            let mut batch = Batch::new();
            batch.put(Table::SavedDocuments, key, &torn);
            store.commit(&[batch]).unwrap();
            let found = [read(id, Form::Whole, 11), read(id, Form::Page, 11)];
            assert!(found.iter().flatten().all(|bytes| *bytes == long || *bytes == short));
            assert!(found.iter().flatten().count() <= 1 || torn == *row, "a form lacks a part: {key:?}");
        }
        let mut batch = Batch::new();
        batch.put(Table::SavedDocuments, key, row);
        store.commit(&[batch]).unwrap();
    }
    store.commit(&[saved::note_looked(77)]).unwrap();
    store.commit(&[saved::forget(&store.snapshot().unwrap(), 5, id).unwrap()]).unwrap();
    assert_eq!((read(id, Form::Page, 11), rows(&store).len()), (None, 1), "nothing of it is left");
    assert_eq!(saved::looked(&store.snapshot().unwrap()).unwrap(), 77);
}

#[test]
fn bytes_that_are_of_no_document_open_none() {
    let entries = history(&[(0, 1, false), (1, 2, true), (2, 0, true)]);
    let replica = replica_of(&entries, &[0, 1, 2], 1);
    let bytes = replica.to_bytes().unwrap();
    let elsewhere = DocumentId::of_key(&[8; 32], "plan", 0);
    assert!(Replica::of_bytes(elsewhere, &bytes).is_none(), "it is of another document");
    for end in 0..bytes.len() {
        assert!(Replica::of_bytes(document(), &bytes[..end]).is_none(), "{end}");
    }
    // other heads than it says: they come after the document and two numbers
    let mut other = bytes;
    other[16 + 8 + 8 + 4] ^= 1;
    assert!(Replica::of_bytes(document(), &other).is_none());
}

/// promise: Documents | Entries that do not count take nothing of what a log may bring into a document
#[test]
fn void_entries_take_no_room_from_those_that_count() {
    let bytes = data_encoding::BASE64.encode(&[7; 50_000]);
    let mut made = Vec::new();
    for actor in [b"one", b"two"] {
        let mut living = Living::new();
        for n in 0..180 {
            let edits = set(&format!("part{n}"), &json!({ "$bytes": bytes }));
            made.extend(living.edit(actor, 0, &edits, 60_000).unwrap());
        }
    }
    let other = Living::new().edit(b"other", 0, &set("a", &json!(1)), 60_000).unwrap();
    let mut entries: Vec<Entry> = made.into_iter().map(|made| Entry { author: 1, made, counts: false }).collect();
    entries.extend(other.into_iter().map(|made| Entry { author: 1, made, counts: true }));
    let replica = replica_of(&entries, &(0..entries.len()).collect::<Vec<_>>(), 400);
    assert_eq!(value(&replica), json!({ "a": 1 }), "void ones came first, and are too many");
    assert!(replica.bytes() < 33 << 20, "what is void is bounded, too");
}

/// A third change with an actor and number that two have takes nothing away: the document is not built again for it.
#[test]
fn one_more_colliding_change_has_nothing_built_again() {
    let make = |n: u8| Living::new().edit(b"somebody", 0, &set("a", &json!(n)), 60_000).unwrap().remove(0);
    let entries: Vec<Entry> = (0..9).map(|n| Entry { author: n, made: make(n), counts: true }).collect();
    let mut replica = replica_of(&entries[..2], &[0, 1], 2);
    for (eno, entry) in (3..).zip(&entries[2..]) {
        assert_eq!(replica.take([arrived(eno, entry)]).unwrap(), Next::Stands);
    }
    assert_eq!((replica.colliding().len(), replica.living().len()), (9, 0));
}

/// Prints what a document of many changes costs: `cargo test -p nexus-node --all-features --lib -- --ignored --nocapture many_changes`.
#[test]
#[ignore = "it only measures"]
#[allow(clippy::print_stderr, clippy::disallowed_methods, reason = "it measures")]
fn a_document_of_many_changes_opens() {
    let number: usize = std::env::var("NEXUS_CHANGES").ok().and_then(|number| number.parse().ok()).unwrap_or(100_000);
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.and_then(|pages| pages.split(' ').nth(1)?.parse::<u64>().ok());
        pages.unwrap_or(0) * 4 / 1_024
    };
    let actor = own_actor(&log(1), document());
    let mut living = Living::new();
    let mut made = living.edit(&actor, 0, &set("text", &json!("")), 60_000).unwrap();
    for n in 0..number {
        let at = if n % 50 == 0 { n / 2 } else { n };
        let edit =
            Edit::Splice { path: "text".parse().unwrap(), at, delete: 0, insert: "x".to_owned(), at_heads: None };
        made.extend(living.edit(&actor, 0, &[edit], 60_000).unwrap());
    }
    drop(living);
    let entries: Vec<Entry> = made.into_iter().map(|made| Entry { author: 1, made, counts: true }).collect();
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let (begun, before) = (std::time::Instant::now(), resident());
        work();
        let more = resident().saturating_sub(before);
        eprintln!("{what}: {:?}, {more} MiB more resident", begun.elapsed());
    };
    let mut replica = Replica::new(document());
    timed("built from its entries", &mut || {
        let all = (1..).zip(&entries).map(|(eno, entry)| arrived(eno, entry));
        assert_eq!(replica.take(all).unwrap(), Next::Stands);
    });
    let (mut page, mut bytes) = (None, Vec::new());
    timed("made a page", &mut || page = Some(borsh::to_vec(&replica.page().unwrap()).unwrap()));
    timed("made bytes", &mut || bytes = replica.to_bytes().unwrap());
    let page = page.unwrap();
    eprintln!("the page has {} bytes, the whole {}", page.len(), bytes.len());
    drop(replica);
    timed("read from the page", &mut || {
        let page: Page = borsh::from_slice(&page).unwrap();
        assert!(matches!(page.value(&"text".parse().unwrap()), OfPage::Value(_)));
    });
    let mut replica = Replica::new(document());
    timed("opened whole", &mut || replica = Replica::of_bytes(document(), &bytes).unwrap());
    for _ in 0..2 {
        timed("edited", &mut || {
            let edits = [Edit::Splice {
                path: "text".parse().unwrap(),
                at: 5,
                delete: 0,
                insert: "y".to_owned(),
                at_heads: None,
            }];
            let made = replica.edit(|living| living.edit(&actor, 0, &edits, 60_000)).unwrap();
            replica.adopt(&made).unwrap();
        });
    }
}

/// promise: Documents | Of two changes with one actor and number neither counts, nor what comes after, until one of their authors falls
#[test]
fn colliding_changes_do_not_count_and_their_authors_are_named() {
    let actor = *b"somebody";
    let make = |value: &str| {
        let mut living = Living::new();
        let first = living.edit(&actor, 0, &set("title", &json!(value)), 60_000).unwrap();
        let later = living.edit(&actor, 0, &set("more", &json!(value)), 60_000).unwrap();
        [first, later].concat()
    };
    let of = |author: u8, made: Vec<Made>, counts| {
        made.into_iter().map(move |made| Entry { author, made, counts }).collect::<Vec<_>>()
    };
    let both = [of(1, make("one"), true), of(2, make("two"), true)].concat();
    for order in [[0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3], [3, 2, 1, 0]] {
        let replica = replica_of(&both, &order, 2);
        assert!(replica.living().is_empty(), "{order:?}");
        let authors: Vec<_> = replica.colliding().iter().flat_map(|hash| replica.authors(hash)).collect();
        assert_eq!(authors.len(), 4, "{authors:?}");
    }
    let fallen = [of(1, make("one"), true), of(2, make("two"), false)].concat();
    assert_eq!(value(&replica_of(&fallen, &[2, 0, 3, 1], 1)), json!({ "title": "one", "more": "one" }));
}

/// promise: Documents | A change after one that is void takes no number from a later change, whether the void one is here or not
#[test]
fn a_change_after_a_void_one_collides_with_nothing() {
    let mut living = Living::new();
    let void = living.edit(b"a thief", 0, &set("forged", &json!(1)), 60_000).unwrap();
    let after = living.edit(b"somebody", 0, &set("after", &json!(2)), 60_000).unwrap();
    // the thief's change counts no more, nor does what came after it: its author goes on without both
    let anew = Living::new().edit(b"somebody", 0, &set("anew", &json!(3)), 60_000).unwrap();
    let of = |author, made: &[Made], counts| Entry { author, made: made[0].clone(), counts };
    let all = [of(1, &void, false), of(2, &after, true), of(2, &anew, true)];
    for order in [&[0, 1, 2][..], &[1, 2, 0], &[2, 0, 1], &[1, 2], &[2]] {
        for at_once in 1..3 {
            assert_eq!(value(&replica_of(&all, order, at_once)), json!({ "anew": 3 }), "{order:?}");
        }
    }
}

/// promise: Documents | Nobody writes in the name of another member's actor
#[test]
fn an_actor_of_this_mesh_belongs_to_one_log() {
    let mut living = Living::new();
    let made = living.edit(&own_actor(&log(1), document()), 0, &set("a", &json!(1)), 60_000).unwrap();
    let entry = |author| Entry { author, made: made[0].clone(), counts: true };
    let replica = replica_of(&[entry(2)], &[0], 1);
    assert!(replica.living().is_empty());
    assert!(replica.refused()[0].why.contains("another member"), "{:?}", replica.refused());
    assert_eq!(replica_of(&[entry(2), entry(1)], &[0, 1], 1).living().len(), 1);
}

/// promise: Documents | A log brings at most 16 MiB of changes into a document, and takes no room from other logs
#[test]
fn a_log_that_brings_too_much_is_taken_up_to_its_share_and_keeps_no_other_from_it() {
    let bytes = data_encoding::BASE64.encode(&[7; 50_000]);
    let mut entries = Vec::new();
    // two lines of changes, so that neither is too much for one document by itself
    for actor in [b"one", b"two"] {
        let mut living = Living::new();
        for n in 0..180 {
            let edits = set(&format!("part{n}"), &json!({ "$bytes": bytes }));
            let made = living.edit(actor, 0, &edits, 60_000).unwrap();
            entries.extend(made.into_iter().map(|made| Entry { author: 1, made, counts: true }));
        }
    }
    let fits = usize::try_from(super::replica::SHARE_BYTES_MAX).unwrap() / entries[0].made.bytes.len();
    let other = Living::new().edit(b"other", 0, &set("a", &json!(1)), 60_000).unwrap();
    entries.extend(other.into_iter().map(|made| Entry { author: 2, made, counts: true }));
    let replica = replica_of(&entries, &(0..entries.len()).collect::<Vec<_>>(), 400);
    assert!(replica.refused().iter().all(|refused| refused.why.contains("16 MiB")), "{:?}", replica.refused());
    assert!((fits - 2..=fits + 1).contains(&replica.living().len()), "{} of {fits}", replica.living().len());
    assert!(replica.living().knows(&entries[360].made.hash), "another log has a share of its own");
}

/// promise: Documents | A document that was taken out as a file comes in again, as another document
#[test]
fn an_actor_of_another_document_is_like_any_other() {
    let mut living = Living::new();
    let elsewhere = DocumentId::of_key(&[8; 32], "plan", 0);
    let made = living.edit(&own_actor(&log(1), elsewhere), 0, &set("a", &json!(1)), 60_000).unwrap();
    let replica = replica_of(&[Entry { author: 2, made: made[0].clone(), counts: true }], &[0], 1);
    assert_eq!(replica.living().len(), 1);
}

#[test]
fn a_change_under_another_name_and_a_change_without_those_before_it_do_not_count() {
    let mut living = Living::new();
    let first = living.edit(b"somebody", 0, &set("a", &json!(1)), 60_000).unwrap();
    let second = living.edit(b"somebody", 0, &set("b", &json!(2)), 60_000).unwrap();
    let lie = Made { hash: ChangeHash([9; 32]), bytes: first[0].bytes.clone() };
    let entries = [(1, lie), (1, second[0].clone())].map(|(author, made)| Entry { author, made, counts: true });
    let replica = replica_of(&entries, &[0, 1], 1);
    assert!(replica.living().is_empty());
    assert_eq!(replica.refused()[0].hash, ChangeHash([9; 32]));
    assert_eq!(replica.missing(), [first[0].hash].into());
}

#[test]
fn parts_fill_entries_and_stay_in_order() {
    let part = |byte: u8, len: usize| DocumentPart::Change { hash: [byte; 32], bytes: vec![byte; len] };
    let parts: Vec<_> = (0..5).map(|byte| part(byte, 30_000)).collect();
    let filled = portions(parts.clone());
    assert_eq!(filled.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(filled.concat(), parts);
    let longest = part(1, nexus_crdt::DOCUMENT_CHANGE_BYTES_MAX);
    assert_eq!(portions([longest.clone(), longest]).len(), 2);
}

#[test]
fn a_version_is_read_as_it_was_written() {
    let version = Version(vec![ChangeHash([1; 32]), ChangeHash([0xab; 32])]);
    assert_eq!(version.to_string().parse(), Ok(version));
    assert_eq!("0".parse(), Ok(Version::default()));
    for bad in ["", "1", ".", "00", &"g".repeat(64), &"0".repeat(63), &format!("{}.", "0".repeat(64))] {
        assert!(bad.parse::<Version>().is_err(), "{bad}");
    }
}

#[test]
fn a_version_is_found_by_its_first_digits() {
    let hash = |first: u8, fifth: u8| {
        let mut bytes = [first; 32];
        bytes[4] = fifth;
        ChangeHash(bytes)
    };
    let all = [hash(0, 0), hash(0x1a, 1), hash(0x1a, 2), hash(0xff, 0xff)];
    for one in all {
        let text = one.to_string();
        for digits in [10, 11, 63, 64] {
            assert_eq!(among(&text[..digits], &all).unwrap(), Version(vec![one]), "{text} by {digits}");
        }
    }
    let two = format!("{}.{}", &all[3].to_string()[..8], &all[0].to_string()[..8]);
    assert_eq!(among(&two, &all).unwrap(), Version(vec![all[0], all[3]]), "in the order of a version");
    for (text, words) in [
        ("1a1a1a1a", "several versions begin"),
        ("1a1a1a1b", "no version that begins"),
        ("ffffffffffffffffe", "no version that begins"),
        ("0000000", "no version of a document"),
        ("FFFFFFFF", "no version of a document"),
        ("", "no version of a document"),
    ] {
        let error = among(text, &all).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

fn typed(at: usize, delete: usize, insert: &str) -> Edit {
    let path = "text".parse().unwrap();
    Edit::Splice { path, at, delete, insert: insert.to_owned(), at_heads: None }
}

#[test]
fn letters_typed_in_a_row_are_one_insertion() {
    let forward = [typed(3, 2, "a"), typed(4, 0, "ü"), typed(5, 0, "c")];
    assert_eq!(joined(forward), [typed(3, 2, "aüc")]);
    let at_the_front = [typed(0, 0, "a"), typed(0, 0, "b"), typed(0, 0, "c")];
    assert_eq!(joined(at_the_front), [typed(0, 0, "cba")]);
    let letters = vec![typed(0, 0, "x"); 10_000];
    assert_eq!(joined(letters).len(), 3, "an insertion is bounded");
}

proptest! {
    #[test]
    fn joined_edits_make_the_same_text(
        edits in prop::collection::vec((0_usize..5, 0_usize..2, "[aü]{0,2}"), 0..12)
    ) {
        let of = |edits: &[Edit]| {
            let mut living = Living::new();
            living.edit(&[1], 0, &set("text", &json!("0123456789".repeat(2))), usize::MAX).unwrap();
            living.edit(&[1], 0, edits, usize::MAX).unwrap();
            living.value(&"text".parse().unwrap(), None).unwrap()
        };
        let apart: Vec<Edit> = edits.iter().map(|(at, delete, insert)| typed(*at, *delete, insert)).collect();
        prop_assert_eq!(of(&joined(apart.clone())), of(&apart));
    }
}
