//! Members that write as much about one memory as they can.

use std::cell::Cell;

use nexus_crdt::{Draft, Head, Hlc, Incarnation, LogId, Verified};

use super::*;
use crate::ledger::TOGETHER_MAX;
use crate::memory::ListQuery;
use crate::replication::tests::key;
use crate::search::{Filter, Question, Search};
use crate::store::{KeyRange, StoreError, View, Visit};

/// A state of a store that counts the rows that are read.
struct Counted<'a> {
    view: &'a dyn View,
    rows: Cell<usize>,
}

impl View for Counted<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.set(self.rows.get() + 1);
        self.view.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: crate::store::Order,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.view.scan(table, range, order, &mut |key, value| {
            self.rows.set(self.rows.get() + 1);
            visit(key, value)
        })
    }
}

fn creation(text: &str, key: Option<&str>) -> Write {
    let core = Core { text: text.to_owned(), kind: "note".to_owned(), key: key.map(str::to_owned), ..Core::default() };
    Write { target: Target::Create { page: 0 }, field: Field::named("core"), value: core.to_json(), over: vec![] }
}

fn edit_of(record: Dot, text: &str) -> Write {
    let (target, field) = (Target::Edit { record }, Field::named(Field::TEXT));
    Write { target, field, value: json!(text).to_string(), over: vec![] }
}

impl Peer {
    /// Takes the first entry of another member: a batch of writes.
    fn take_batch(&mut self, author: u8, writes: Vec<Write>) -> nexus_crdt::EntryId {
        self.input(Input::Chain(chain(author)));
        self.take_first(author, default(), Kind::WRITES, Writes(writes).encode())
    }

    /// Takes the whole log of another member: an entry for each write.
    fn take_log(&mut self, author: u8, writes: impl IntoIterator<Item = Write>) {
        self.input(Input::Chain(chain(author)));
        let key = key(author);
        let log = LogId { space: default(), author: key.did(), incarnation: Incarnation([author; 8]) };
        let mut after: Option<Head> = None;
        let entries = writes.into_iter().map(|write| {
            let (hlc, payload) = (Hlc::at(Timestamp::from_ms(900)), Writes(vec![write]).encode());
            let draft = Draft {
                mesh: mesh(),
                log,
                after: after.as_ref(),
                hlc,
                kind: Kind::WRITES,
                refs: vec![],
                payload: payload.into(),
            };
            let entry = Verified::write(draft, &key);
            after = Some(Head { seq: entry.header().seq, id: entry.id() });
            entry
        });
        let entries = entries.collect();
        self.input(Input::Entries { from: key.did(), entries });
    }

    /// The rows that are read for an answer.
    fn cost<T>(&self, question: impl FnOnce(&dyn View, &Reader<'_>) -> T) -> (usize, T) {
        let snapshot = self.store.snapshot().unwrap();
        let counted = Counted { view: &snapshot, rows: Cell::new(0) };
        let reader = Reader::new(&counted, [0; 8], self.key.did(), self.members(), Timestamp::from_ms(0)).unwrap();
        let answer = question(&counted, &reader);
        (counted.rows.get(), answer)
    }
}

/// promise: Bad input | Records that share a caller's key, and values of one field, are read up to 64; the answer says that there are more
#[test]
fn of_many_records_with_one_key_the_64_lowest_are_one_memory_on_every_node() {
    let batch = |author: u8| (0..80).map(|n| creation(&format!("{author}/{n}"), Some("k"))).collect::<Vec<_>>();
    let (mut one, mut two) = (Peer::new(0), Peer::new(0));
    let mut records = Vec::new();
    for author in [1, 2] {
        let entry = one.take_batch(author, batch(author));
        records.extend((0..80).map(|index| Dot { entry, index }));
    }
    for author in [2, 1] {
        two.take_batch(author, batch(author));
    }
    let shown = one.memories();
    assert_eq!(shown, two.memories());
    assert_eq!((shown.len(), shown[0].more, shown[0].conflicts["text"].len()), (1, true, TOGETHER_MAX));
    for record in &records {
        assert_eq!(one.shown(*record).unwrap(), shown[0], "each of its ids means the memory");
    }
    records.sort();
    let lowest: std::collections::BTreeSet<String> = records[..TOGETHER_MAX]
        .iter()
        .map(|dot| one.ask(|reader| Ok(reader.record(*dot)?.unwrap().core.text)).unwrap())
        .collect();
    let values = shown[0].conflicts["text"].iter().map(|value| value.value.as_str().unwrap().to_owned());
    assert_eq!(values.collect::<std::collections::BTreeSet<_>>(), lowest);

    // a write with the key is one edit of what is shown, and says itself
    let record = one.create(default(), Core { key: Some("k".to_owned()), ..core("mine", Origin::default()) });
    let memory = one.shown(record).unwrap();
    assert_eq!((memory.text.as_str(), memory.conflicts.len(), memory.more), ("mine", 0, true));
    assert!(matches!(one.command(Command::Forget(record)), Outcome::Done(_)));
    assert!(one.memories().is_empty(), "forgetting takes them all");
}

/// promise: Bad input | Records that share a caller's key, and values of one field, are read up to 64; the answer says that there are more
#[test]
fn of_many_values_of_a_field_the_64_lowest_are_read_and_edits_settle_them() {
    let mut peer = Peer::new(0);
    let record = peer.create(default(), core("begun", Origin::default()));
    peer.take_log(1, (0..300).map(|n| edit_of(record, &format!("flood {n}"))));
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.more, memory.conflicts["text"].len()), (true, TOGETHER_MAX));
    let mut edits = 0;
    while !peer.shown(record).unwrap().conflicts.is_empty() {
        edits += 1;
        peer.change(record, [("text", json!("settled"))], origin("script", Source::Tool));
    }
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.text.as_str(), memory.more), ("settled", false));
    assert_eq!(memory.agent.unwrap().as_str(), "script");
    assert!(edits <= 300 / 63 + 1, "{edits}");
}

/// promise: Bad input | Records that share a caller's key, and values of one field, are read up to 64; the answer says that there are more
#[test]
fn what_is_read_of_one_memory_is_bounded_in_bytes_and_no_flood_hides_a_field() {
    let long = "x".repeat(40_000);
    let mut peer = Peer::new(0);
    let record = peer.create(default(), core("begun", Origin::default()));
    for author in 1..40 {
        // the names of these fields sort before all that have a meaning
        let other = Write { field: Field::named("a"), ..edit_of(record, &author.to_string()) };
        peer.take_batch(author, vec![edit_of(record, &long), other]);
    }
    let memory = peer.shown(record).unwrap();
    assert!(memory.more);
    assert_eq!(memory.text, long);
    peer.take_log(40, (0..2_000).map(|n| Write { field: Field::named("a"), ..edit_of(record, &n.to_string()) }));
    peer.change(record, [("text", json!("settled"))], origin("script", Source::Tool));
    let memory = peer.shown(record).unwrap();
    assert_eq!((memory.text.as_str(), memory.agent.unwrap().as_str()), ("settled", "script"));

    let mut peer = Peer::new(0);
    for author in 1..40 {
        peer.take_batch(author, vec![creation(&format!("{author}{long}"), Some("k"))]);
    }
    let memory = peer.memories().remove(0);
    assert!(memory.more);
    assert!(memory.conflicts["text"].len() < 30, "{}", memory.conflicts["text"].len());
}

/// promise: Bad input | JSON in a memory has 64 levels at most; deeper parts of others are shown as text, and no client's reader stops at them
#[test]
fn metadata_of_others_however_deep_is_read_by_every_client() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    let mut peer = Peer::new(0);
    let meta = |levels| BTreeMap::from([("m".to_owned(), nested(levels))]);
    // the deepest that the format lets through
    let core = Core { text: "t".to_owned(), meta: meta(125), ..Core::default() };
    let create =
        Write { target: Target::Create { page: 0 }, field: Field::named("core"), value: core.to_json(), over: vec![] };
    let entry = peer.take_batch(1, vec![create]);
    let record = Dot { entry, index: 0 };
    let edit =
        |name, levels| Write { field: Field::named(name), value: nested(levels).to_string(), ..edit_of(record, "") };
    let read_by_a_client = |peer: &Peer| {
        let memory = peer.shown(record).unwrap();
        let depth = |value: &Value| value.to_string().split("\"a\":").count() - 1;
        assert!(depth(&serde_json::to_value(&memory.meta).unwrap()) <= 64, "cut");
        let page: Vec<_> = peer.memories().into_iter().map(crate::api::wire::Memory::from).collect();
        let text = json!({ "answer": { "items": page } }).to_string();
        serde_json::from_str::<Value>(&text).unwrap();
        let past: Vec<_> = peer.past(record).into_iter().map(crate::api::wire::Revision::from).collect();
        serde_json::from_str::<Value>(&json!({ "items": past }).to_string()).unwrap();
        memory
    };
    assert_eq!(read_by_a_client(&peer).text, "t");
    for author in [2, 3] {
        peer.take_batch(author, vec![edit(Field::META, 126 - usize::from(author)), edit("other", 126)]);
    }
    assert_eq!(read_by_a_client(&peer).conflicts["meta"].len(), 2);
}

/// promise: Bad input | A stamp far ahead of a node's clock makes no memory the newest, in lists and in recall
#[test]
fn a_stamp_ahead_of_the_clock_makes_no_memory_the_newest_page_by_page() {
    let mut peer = Peer::new(0);
    for n in 0..5 {
        peer.remember(&format!("own {n}"), None);
    }
    peer.input(Input::Chain(chain(1)));
    let log = LogId { space: default(), author: key(1).did(), incarnation: Incarnation([1; 8]) };
    let mut after: Option<Head> = None;
    for n in 0..5_u64 {
        let (hlc, payload) = (Hlc(u64::MAX - n), Writes(vec![creation(&format!("ahead {n}"), None)]).encode());
        let draft = Draft {
            mesh: mesh(),
            log,
            after: after.as_ref(),
            hlc,
            kind: Kind::WRITES,
            refs: vec![],
            payload: payload.into(),
        };
        let entry = Verified::write(draft, &key(1));
        after = Some(Head { seq: entry.header().seq, id: entry.id() });
        peer.input(Input::Entries { from: key(1).did(), entries: vec![entry] });
    }
    peer.remember("own 5", None);
    let whole = ListQuery { limit: 100, ..ListQuery::default() };
    let whole: Vec<(String, bool)> = peer
        .ask(|reader| reader.list(&whole))
        .unwrap()
        .items
        .into_iter()
        .map(|memory| (memory.text, memory.seen_at.is_some()))
        .collect();
    assert_eq!((whole.len(), whole[0].0.as_str()), (11, "own 5"));
    assert!(whole.iter().all(|(text, ahead)| *ahead == text.starts_with("ahead")), "{whole:?}");
    let own: Vec<&str> = whole.iter().filter(|(_, ahead)| !ahead).map(|(text, _)| text.as_str()).collect();
    assert_eq!(own, ["own 5", "own 4", "own 3", "own 2", "own 1", "own 0"]);
    for limit in 1..12 {
        let (mut texts, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { limit, after, ..ListQuery::default() };
            let page = peer.ask(|reader| reader.list(&query)).unwrap();
            texts.extend(page.items.into_iter().map(|memory| memory.text));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(texts.iter().eq(whole.iter().map(|(text, _)| text)), "{limit} on a page: {texts:?}");
    }
}

/// The rows that are read to list, to index, and to show the past of a memory of so many records and edits.
fn costs(writes: u16) -> [usize; 4] {
    let mut peer = Peer::new(0);
    let entry = peer.take_batch(1, (0..writes).map(|n| creation(&format!("word {n}"), Some("k"))).collect());
    let records: Vec<Dot> = (0..writes).map(|index| Dot { entry, index }).collect();
    for author in 2..18 {
        // as many entries as possible, each of which touches the memory
        let part = records.iter().skip(usize::from(author)).step_by(16);
        peer.take_batch(author, part.map(|record| edit_of(*record, &format!("word {author}"))).collect());
    }
    let record = peer.memories()[0].id.to_string();
    let list = peer.cost(|_, reader| reader.list(&ListQuery { limit: 1_000, ..ListQuery::default() }).unwrap());
    assert_eq!(list.1.items.len(), 1);
    let index = peer.cost(|view, reader| {
        let filter = Filter { spaces: reader.space_numbers().collect(), ..Filter::default() };
        Search::new(None).find(&mut Question::of("word").unwrap(), &filter, 10, reader, view).unwrap()
    });
    assert_eq!(index.1.len(), 1, "one memory, however many records it has");
    let get = peer.cost(|_, reader| reader.get(&record).unwrap());
    let past = peer.cost(|_, reader| reader.history(&record).unwrap());
    [list.0, index.0, get.0, past.0]
}

#[test]
fn a_member_that_writes_twice_as_much_costs_its_readers_at_most_twice_as_much() {
    let (few, many) = (costs(256), costs(512));
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= 2 * few + 200, "{many} rows are read instead of {few}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_flooded_memory_is_the_same_in_any_order(
        batches in prop::collection::vec((0_u16..90, 0_u16..90), 1..6),
        by in Just((1_u8..7).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut base = Peer::new(0);
        let record = base.remember("begun", Some("k"));
        let begun = base.published.clone();
        let shown = |order: &[u8]| {
            let mut peer = Peer::new(9);
            peer.input(Input::Chain(chain(0)));
            peer.receive(base.key.did(), begun.clone());
            for author in order {
                let Some((created, edited)) = batches.get(usize::from(*author) - 1) else { continue };
                let created = (0..*created).map(|n| creation(&format!("{author} {n}"), Some("k")));
                let edited = (0..*edited).map(|n| edit_of(record, &format!("edit {author} {n}")));
                peer.take_log(*author, created.chain(edited));
            }
            let all = peer.memories();
            (peer.past(record), all)
        };
        let in_order: Vec<u8> = (1..7).collect();
        prop_assert_eq!(shown(&in_order), shown(&by));
    }
}

/// promise: Bad input | A history has the latest changes of a memory within a bound in bytes, and says that there were others
#[test]
fn a_history_has_the_latest_changes_within_a_bound_in_bytes() {
    let mut peer = Peer::new(0);
    let record = peer.remember("begun", None);
    for n in 0..40 {
        peer.change(record, [(Field::TEXT, json!(format!("edit {n}")))], origin("agent", Source::Model));
    }
    let id = record.to_string();
    let all = peer.ask(|reader| reader.history(&id)).unwrap();
    assert_eq!((all.len(), all.iter().any(|revision| revision.earlier)), (41, false));
    let mut lengths = Vec::new();
    for most in [0, 2_000, 5_000, 10_000, 1 << 20] {
        let cut = peer.ask(|reader| reader.history_within(&id, most)).unwrap();
        let versions = |revisions: &[Revision]| -> Vec<String> {
            revisions.iter().map(|revision| revision.version.clone()).collect()
        };
        assert_eq!(versions(&cut), versions(&all[all.len() - cut.len()..]), "{most}");
        assert_eq!(cut[0].earlier, cut.len() < all.len());
        assert!(cut[1..].iter().all(|revision| !revision.earlier));
        lengths.push(cut.len());
    }
    assert!(lengths.is_sorted() && lengths[0] == 1 && lengths[2] < 20, "{lengths:?}");
    assert_eq!(lengths.last(), Some(&41));
}
