//! The index on disk finds the same as a scan over every document.

use proptest::prelude::*;

use super::VOCABULARY as KIND;
use super::document::Passage;
use super::tail::Touched;
use super::*;
use crate::engine::Command;
use crate::replication::tests::{Peer, mesh};
use nexus_crdt::{Core, Dot, EntryId, SpaceId};
use nexus_identity::Did;

const VOCABULARY: [&str; 12] = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibi", "jay", "kit", "lam"];

fn at(is_there: bool, hour: u64) -> Option<Timestamp> {
    is_there.then(|| Timestamp::from_ms(hour * 3_600_000))
}

fn document(n: u16, words: &[usize], space: SpaceNo, hour: u64) -> Document {
    let words: Vec<&str> = words.iter().map(|word| VOCABULARY[*word % VOCABULARY.len()]).collect();
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    Document {
        record: Dot { entry: EntryId::from_bytes(id), index: 0 },
        place: Place { eno: n.into(), index: 3 },
        space,
        passages: passages(&words, usize::from(n % 3) + 1),
        tags: BTreeSet::new(),
        kind: if n.is_multiple_of(3) { "decision" } else { "note" }.to_owned(),
        author: Did::from_bytes([1; 32]),
        valid: Span { from: at(n.is_multiple_of(4), hour), to: at(n.is_multiple_of(5), hour + 9) },
        stamp: Timestamp::from_ms(hour * 3_600_000),
    }
}

fn passages(words: &[&str], count: usize) -> Vec<Passage> {
    let some = words.chunks(words.len().div_ceil(count).max(1));
    let mut passages: Vec<Passage> =
        some.map(|words| Passage { words: words.join(" "), length: words.len() }).collect();
    if passages.is_empty() {
        passages.push(Passage::default());
    }
    passages
}

/// BM25 of the best passage, passage by passage, with the constants of the index (k1 = 1.2, b = 0.75).
fn expected(documents: &[Document], words: &[String], admits: impl Fn(&Document) -> bool) -> Vec<(Place, f32)> {
    let passages: Vec<&Passage> = documents.iter().flat_map(|document| &document.passages).collect();
    let count = |passage: &Passage, word: &str| passage.words.split(' ').filter(|here| *here == word).count() as f32;
    let all = passages.len() as f32;
    let average = passages.iter().map(|passage| passage.length).sum::<usize>() as f32 / all;
    let of_passage = |passage: &Passage| -> f32 {
        let weigh = |word: &String| {
            let with = passages.iter().filter(|passage| count(passage, word) > 0.0).count() as f32;
            let often = count(passage, word);
            let norm = 1.2 * (0.25 + 0.75 * passage.length as f32 / average);
            (1.0 + (all - with + 0.5) / (with + 0.5)).ln() * often * 2.2 / (often + norm)
        };
        words.iter().map(weigh).sum()
    };
    let score = |document: &Document| document.passages.iter().map(of_passage).fold(0.0, f32::max);
    let scores = documents.iter().filter(|document| admits(document)).map(|document| (document.place, score(document)));
    let mut scores: Vec<_> = scores.filter(|(_, score)| *score > 0.0).collect();
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores
}

/// promise: Deleted bytes | After a compaction no segment of the index of words has words of deleted memories
#[test]
fn words_of_deleted_documents_leave_the_disk_and_the_others_stay() {
    let home = tempfile::TempDir::new().unwrap();
    let dir = home.path().join("search");
    let index = DiskIndex::open(&dir, [0; 8]).unwrap();
    let documents: Vec<Document> = (0..9).map(|n| document(n, &[usize::from(n)], 1, 1)).collect();
    for (covers, some) in (1..).zip(documents.chunks(3)) {
        let changed = some.iter().map(|document| (document.record, Some(Arc::new(document.clone()))));
        index.update(changed.collect(), covers).unwrap();
    }
    let gone = [0, 4].map(|n: usize| (documents[n].record, None));
    index.update(gone.into_iter().collect(), 4).unwrap();
    let all: BTreeSet<&str> = VOCABULARY.into_iter().take(9).collect();
    // deleted documents count until their segment is written anew
    assert_eq!(index.statistics(&all).unwrap().0.len(), 9);
    let open: Vec<(PathBuf, std::fs::File)> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::File::open(&path).unwrap()))
        .collect();
    let scrubbed = index.scrub(&dir).unwrap();
    assert!(scrubbed.is_clean && scrubbed.after < scrubbed.before, "{scrubbed:?}");
    let left: Vec<String> = index.statistics(&all).unwrap().0.into_keys().collect();
    assert_eq!(left, ["bee", "cat", "dog", "fox", "gnu", "hen", "ibi"]);
    let mut overwritten = 0;
    for (path, mut file) in open {
        if !path.exists() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "{}", path.display());
            overwritten += 1;
        }
    }
    assert!(overwritten > 5, "{overwritten} files");
    assert_eq!(index.scrub(&dir).unwrap().before, scrubbed.after, "nothing is written anew for nothing");
    drop(index);
    assert_eq!(DiskIndex::open(&dir, [0; 8]).unwrap().covered(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_index_finds_what_going_over_every_document_finds(
        texts in prop::collection::vec((prop::collection::vec(0_usize..12, 1..30), 1_u32..4, 0_u64..50), 30..120),
        questions in prop::collection::vec(
            (prop::collection::btree_set(0_usize..12, 1..5), prop::collection::btree_set(1_u32..5, 1..4),
             prop::option::of(0_u64..50), any::<bool>(), 1_usize..25, 2_u64..9),
            20,
        ),
    ) {
        let dir = tempfile::TempDir::new().unwrap();
        let index = DiskIndex::open(&dir.path().join("search"), [0; 8]).unwrap();
        let documents: Vec<Document> =
            (0..).zip(&texts).map(|(n, (words, space, hour))| document(n, words, *space, *hour)).collect();
        // several writes make several segments
        for (covers, some) in (1..).zip(documents.chunks(documents.len().div_ceil(4))) {
            let changed = some.iter().map(|document| (document.record, Some(Arc::new(document.clone()))));
            index.update(changed.collect(), covers).unwrap();
        }
        for (words, spaces, hour, decisions, limit, every) in questions {
            let words: Vec<String> = words.iter().map(|word| VOCABULARY[*word].to_owned()).collect();
            let left_out: BTreeSet<Place> =
                documents.iter().map(|document| document.place).filter(|place| place.eno % every == 0).collect();
            let mut filter = Filter { spaces, since: hour.and_then(|hour| at(decisions, hour)), ..Filter::default() };
            filter.valid_at = hour.and_then(|hour| at(!decisions, hour));
            if decisions {
                filter.kinds.insert("decision".to_owned());
            }
            let admits = |document: &Document| filter.admits(document) && !left_out.contains(&document.place);
            let expected = expected(&documents, &words, admits);
            let sought: Vec<Sought> = words.iter().map(|term| Sought { term: term.clone(), boost: 1.0 }).collect();
            let found = index.find(&sought, &filter, &Touched::of(left_out.clone()), limit).unwrap();
            prop_assert_eq!(found.len(), expected.len().min(limit));
            for (found, (_, best)) in found.iter().zip(&expected) {
                prop_assert!((found.score - best).abs() < 1e-3, "{} is not {best}", found.score);
                let (_, own) = expected.iter().find(|(place, _)| *place == found.place).unwrap();
                prop_assert!((found.score - own).abs() < 1e-3, "{} is not its own {own}", found.score);
                prop_assert_eq!(found.stamp, documents[usize::try_from(found.place.eno).unwrap()].stamp);
            }
        }
    }
}

/// A group of words as it is indexed.
fn group_document(n: u32, words: &[&str], space: SpaceNo, author: u8) -> Document {
    let mut id = [0; 32];
    // ids are in another order than places
    id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    let (record, author) = (Dot { entry: EntryId::from_bytes(id), index: 0 }, Did::from_bytes([author; 32]));
    let (words, length) = Group::of(words.iter().copied()).unwrap().terms(space, &author, &record);
    let (place, passages) = (Place { eno: n.into(), index: 3 }, vec![Passage { words, length }]);
    Document { record, place, passages, kind: KIND.to_owned(), author, space, ..document(0, &[], space, 0) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_index_finds_the_groups_that_going_over_every_document_finds(
        groups in prop::collection::vec(
            (prop::collection::btree_set(0_usize..6, 2..5), 1_u32..4, 1_u8..5, any::<prop::sample::Index>(), 0_u8..4),
            20..80,
        ),
        questions in prop::collection::vec(
            (prop::collection::btree_set(0_usize..7, 1..4), prop::collection::btree_set(1_u32..5, 1..4),
             prop::option::of(1_u8..5), prop::collection::btree_set(1_u8..5, 0..2), 1_usize..5, 1_usize..9, 2_u64..9),
            12,
        ),
    ) {
        let dir = tempfile::TempDir::new().unwrap();
        let index = DiskIndex::open(&dir.path().join("search"), [0; 8]).unwrap();
        let mut there: BTreeMap<Dot, Document> = BTreeMap::new();
        for (covers, some) in (0..).zip(groups.chunks(groups.len().div_ceil(4))) {
            let mut changed = Vec::new();
            for (at, (words, space, author, other, what)) in (0..).zip(some) {
                let words: Vec<&str> = words.iter().map(|word| VOCABULARY[*word]).collect();
                let n = covers * 100 + at;
                let written = match what {
                    0 => document(u16::try_from(5_000 + n).unwrap(), &[1, 2], *space, 0),
                    _ => group_document(n, &words, *space, *author),
                };
                changed.push((written.record, Some(written)));
                // some change, and some go
                if *what > 1 && !there.is_empty() {
                    let (dot, old) = there.iter().nth(other.index(there.len())).map(|(dot, old)| (*dot, old.clone())).unwrap();
                    if !changed.iter().any(|(known, _)| *known == dot) {
                        changed.push((dot, (*what == 2).then_some(old)));
                    }
                }
            }
            for (dot, document) in &changed {
                match document {
                    Some(document) => drop(there.insert(*dot, document.clone())),
                    None => drop(there.remove(dot)),
                }
            }
            let changed = changed.into_iter().map(|(record, document)| (record, document.map(Arc::new)));
            index.update(changed.collect(), u64::from(covers) + 1).unwrap();
        }
        for (words, spaces, by, without, of_each, most, every) in questions {
            let left_out: BTreeSet<Place> =
                there.values().map(|document| document.place).filter(|place| place.eno % every == 0).collect();
            let did = |author: u8| Did::from_bytes([author; 32]);
            let filter = GroupFilter { spaces, by: by.map(did), without: without.into_iter().map(did).collect(), of_each, most };
            let wanted = Wanted::of(&filter);
            // the empty key has all
            let keys: BTreeSet<String> =
                words.iter().map(|word| if *word == 6 { String::new() } else { VOCABULARY[*word].to_owned() }).collect();
            let mut expected = group::Groups::new();
            for document in there.values().filter(|document| !left_out.contains(&document.place)) {
                for (key, at) in group::in_document(document, &keys, &wanted) {
                    expected.entry(key).or_default().push((at, document.place));
                }
            }
            let chosen = |found: group::Groups| -> BTreeMap<String, Vec<Place>> {
                found.into_iter().map(|(key, found)| (key, group::chosen(found, &filter))).collect()
            };
            let found = index.groups(&keys, &wanted, &Touched::of(left_out.clone())).unwrap();
            prop_assert_eq!(chosen(found), chosen(expected));
        }
    }
}

/// promise: Recall | A member that writes words without end has a bounded part in each question
#[test]
fn of_a_hundred_thousand_groups_of_one_author_a_few_are_read() {
    let dir = tempfile::TempDir::new().unwrap();
    let index = DiskIndex::open(&dir.path().join("search"), [0; 8]).unwrap();
    let rogue: Vec<Document> = (0..100_000).map(|n| group_document(n, &["ant", "bee"], 1, 1)).collect();
    let mut ids: Vec<(Dot, Place)> = rogue.iter().map(|document| (document.record, document.place)).collect();
    ids.sort_unstable();
    let other = group_document(200_000, &["ant", "cat"], 1, 2);
    let (first, second) = if ids[0].0 < other.record { (ids[0].1, other.place) } else { (other.place, ids[0].1) };
    let all = rogue.into_iter().chain([other]);
    index.update(all.map(|document| (document.record, Some(Arc::new(document)))).collect(), 1).unwrap();
    let filter = GroupFilter { spaces: BTreeSet::from([1]), of_each: 4, most: 8, ..GroupFilter::default() };
    let keys = BTreeSet::from(["ant".to_owned()]);
    let mut found = index.groups(&keys, &Wanted::of(&filter), &Touched::default()).unwrap();
    let found = found.remove("ant").unwrap();
    assert!(found.len() < 200, "a few of each segment: {}", found.len());
    assert_eq!(group::chosen(found, &filter), [first, second, ids[1].1, ids[2].1, ids[3].1]);
}

/// promise: Bad input | Long texts that the index on disk lacks: bytes of words in memory are bounded, and the rest follows once there is room
#[test]
fn a_tail_holds_so_many_bytes_of_words() {
    const TEXTS: usize = 20;
    const TEXT_BYTES: usize = 20_000;
    let mut peer = Peer::new(0);
    for n in 0..TEXTS {
        let text = format!("{n:<TEXT_BYTES$}").replace("  ", " x");
        peer.create(SpaceId::default_of(&mesh()), Core { text, kind: "note".to_owned(), ..Core::default() });
    }
    let snapshot = peer.store.snapshot().unwrap();
    let reader = Reader::new(&snapshot, [0; 8], peer.key.did(), peer.members(), Timestamp::from_ms(0)).unwrap();
    let room = Room { memories: 1_000, bytes: 3 * TEXT_BYTES };
    let (mut tail, mut passes, mut memories) = (Tail::after(0), 0, 0);
    loop {
        tail.catch_up(&snapshot, &reader, room).unwrap();
        let (held, bytes) = (tail.held(), tail.bytes());
        if held == 0 {
            break;
        }
        // passages have the title, too
        assert!(bytes < room.bytes + TEXT_BYTES * 3 / 2, "{held} memories have {bytes} bytes");
        tail.catch_up(&snapshot, &reader, room).unwrap();
        assert_eq!((tail.held(), tail.bytes()), (held, bytes), "there is no room for more");
        let (stock, covers) = tail.take_stock();
        let words: usize = stock.iter().flat_map(|(_, document)| document).map(|it| it.bytes()).sum();
        assert!((words..words + words / 10).contains(&bytes), "{words} of {bytes}");
        tail.prune(covers);
        assert_eq!((tail.held(), tail.bytes()), (0, 0));
        (passes, memories) = (passes + 1, memories + held);
    }
    assert_eq!(memories, TEXTS);
    assert!(passes >= TEXTS / 4, "{passes} passes");
}

/// promise: Bad input | Tags, metadata and aliases beside a text of many passages take little more room than the text
#[test]
fn what_stands_beside_a_text_is_not_multiplied_by_its_passages() {
    let mut peer = Peer::new(0);
    let text: String = (0..2_000).map(|n| format!("w{n}x ")).collect();
    let beside: Vec<String> = (0..200).map(|n| format!("beside{n}with{}", "y".repeat(20))).collect();
    let core = Core {
        text: text.clone(),
        kind: "note".to_owned(),
        tags: beside.clone(),
        aliases: beside.iter().take(8).cloned().collect(),
        meta: beside.iter().map(|it| (it.clone(), it.as_str().into())).collect(),
        ..Core::default()
    };
    peer.create(SpaceId::default_of(&mesh()), core);
    let snapshot = peer.store.snapshot().unwrap();
    let reader = Reader::new(&snapshot, [0; 8], peer.key.did(), peer.members(), Timestamp::from_ms(0)).unwrap();
    let mut tail = Tail::after(0);
    tail.catch_up(&snapshot, &reader, Room::UNBOUNDED).unwrap();
    let (stock, _) = tail.take_stock();
    let document = stock[0].1.as_ref().unwrap();
    assert!(document.passages.len() > 10, "{}", document.passages.len());
    let all: usize = 3 * beside.iter().map(String::len).sum::<usize>();
    assert!(document.bytes() < 3 * text.len() + all, "{} bytes of {}", document.bytes(), text.len());
}

/// promise: Bad input | Long texts that the index on disk lacks: bytes of words in memory are bounded, and the rest follows once there is room
#[test]
fn words_of_a_tail_count_by_what_they_take_and_leave_nothing_behind() {
    const WORDS: usize = 2_500;
    let mut peer = Peer::new(0);
    let text = (0..WORDS).map(|n| format!("q{n}z")).collect::<Vec<_>>().join(" ");
    let record = peer.remember(&text, None);
    let mut tail = Tail::after(0);
    let mut catch_up = |peer: &Peer| {
        let snapshot = peer.store.snapshot().unwrap();
        let reader = Reader::new(&snapshot, [0; 8], peer.key.did(), peer.members(), Timestamp::from_ms(0)).unwrap();
        tail.catch_up(&snapshot, &reader, Room::UNBOUNDED).unwrap();
        tail.bytes()
    };
    // letters, a place in the map, and one in the list of the word
    assert!(catch_up(&peer) > 125 * WORDS);
    peer.command(Command::Forget(record));
    assert_eq!(catch_up(&peer), 0);
}
