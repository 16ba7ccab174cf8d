//! The index on disk finds the same as a scan over every document.

use proptest::prelude::*;

use super::*;
use nexus_crdt::{Dot, EntryId};

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
        words: words.join(" "),
        length: words.len(),
        tags: BTreeSet::new(),
        kind: if n.is_multiple_of(3) { "decision" } else { "note" }.to_owned(),
        author: Did::from_bytes([1; 32]),
        valid: Span { from: at(n.is_multiple_of(4), hour), to: at(n.is_multiple_of(5), hour + 9) },
        stamp: Timestamp::from_ms(hour * 3_600_000),
    }
}

/// BM25, document by document, with the constants of the index (k1 = 1.2, b = 0.75).
fn expected(documents: &[Document], words: &[String], admits: impl Fn(&Document) -> bool) -> Vec<(Place, f32)> {
    let count = |document: &Document, word: &str| document.words.split(' ').filter(|here| *here == word).count() as f32;
    let all = documents.len() as f32;
    let average = documents.iter().map(|document| document.length).sum::<usize>() as f32 / all;
    let score = |document: &Document| -> f32 {
        let weigh = |word: &String| {
            let with = documents.iter().filter(|document| count(document, word) > 0.0).count() as f32;
            let often = count(document, word);
            let norm = 1.2 * (0.25 + 0.75 * document.length as f32 / average);
            (1.0 + (all - with + 0.5) / (with + 0.5)).ln() * often * 2.2 / (often + norm)
        };
        words.iter().map(weigh).sum()
    };
    let scores = documents.iter().filter(|document| admits(document)).map(|document| (document.place, score(document)));
    let mut scores: Vec<_> = scores.filter(|(_, score)| *score > 0.0).collect();
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores
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
            index.update(some.iter().map(|document| (document.record, Some(document.clone()))).collect(), covers).unwrap();
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
            let found = index.find(&sought, &filter, &left_out, limit).unwrap();
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
