//! A member with real credentials and hostile messages. The node goes on acknowledging writes, stays in
//! step with honest members, and reports the attack.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::rogue::{ENTRIES, Line, Rogue};
use crate::settings::NoSettings;
use crate::world::{
    Link, SOON, World, address_of, are_well, eventually, has_text, key, memories, texts, until, warned,
};
use data_encoding::BASE64URL_NOPAD;
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{
    Core, Dot, Entry, EntryFrame, EntryId, Field, Head, Incarnation, Kind, LogHead, LogId, OVER_MAX, PAYLOAD_BYTES_MAX,
    Profile, SpaceDefinition, SpaceId, Target, Verified, WRITES_MAX, Write, Writes, prove,
};
use nexus_identity::Role;
use nexus_node::api::Api;
use nexus_node::config::{Bounded, Config};
use nexus_node::internals::engine::found;
use nexus_node::internals::store::disk::Disk;
use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::memory::ChangeKind;
use nexus_node::{Memory, MemoryId, NewMemory, Node, Patch, WatchQuery};
use serde_json::json;
use tracing::Subscriber;
use tracing::field::Visit;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const WORLD: World = World(200);

/// A node, an honest member beside it, and a rogue one.
struct Stage {
    node: Node,
    friend: Node,
    rogue: Rogue,
    line: Line,
    /// The entry by which the rogue told everybody that it is a member.
    introduction: Verified,
}

/// The number of the rogue member.
const ROGUE: u8 = 9;

impl Stage {
    async fn new() -> Self {
        Self::configured(|_| {}).await
    }

    /// The same with settings of both honest nodes.
    async fn configured(change: impl Fn(&mut Config)) -> Self {
        let mut env = WORLD.env(0, Link::Memory);
        change(&mut env.config);
        let node = Node::with_env(env).await.unwrap();
        let mut env = WORLD.env(1, Link::Memory);
        env.config.bootstrap.0 = vec![address_of(&node)];
        change(&mut env.config);
        let friend = Node::with_env(env).await.unwrap();
        are_well(&node, &friend, "before").await;
        let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
        let mut line = rogue.line(node.did()).await;
        let introduction = introduction(ROGUE);
        line.entries([&*introduction]).await.unwrap();
        eventually("the friend knows the rogue", || async { friend.members().len() == 3 }).await;
        Self { node, friend, rogue, line, introduction }
    }

    /// Checks that the node is well, and has closed the rogue's connection.
    async fn well_and_rid_of_it(mut self, what: &str) {
        self.line.until_closed(SOON).await;
        self.rogue.until_open(false).await;
        warned(&self.node, "misbehaving_peer").await;
        are_well(&self.node, &self.friend, what).await;
    }

    async fn well(&self, what: &str) {
        are_well(&self.node, &self.friend, what).await;
    }
}

/// A member's first entry in the space of members.
fn introduction(n: u8) -> Verified {
    let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(n) };
    WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(n).to_bytes(), n)
}

fn create(text: &str) -> Write {
    let core = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() };
    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] }
}

fn edit(record: Dot, field: &str, value: &str, over: Vec<Dot>) -> Write {
    Write { target: Target::Edit { record }, field: Field::named(field), value: value.to_owned(), over }
}

fn dot(entry: &Verified) -> Dot {
    Dot { entry: entry.id(), index: 0 }
}

fn payload(writes: Vec<Write>) -> Vec<u8> {
    Writes(writes).encode()
}

/// The rogue's own next entry.
fn own(after: Option<&Verified>, writes: Vec<Write>) -> Verified {
    WORLD.entry(WORLD.log(ROGUE), after, Kind::WRITES, payload(writes), ROGUE)
}

/// Some good entries of the rogue's log, in order.
fn own_log(texts: &[&str]) -> Vec<Verified> {
    let mut log: Vec<Verified> = Vec::new();
    for text in texts {
        log.push(own(log.last(), vec![create(text)]));
    }
    log
}

fn head(log: LogId, seq: u64) -> LogHead {
    LogHead::new(&log, &Head { seq, id: EntryId::of(&seq.to_le_bytes()) })
}

/// promise: Bad input | Malformed sync frames from a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_cost_the_connection() {
    let mut stage = Stage::new().await;
    stage.line.frame(&[0xff; 100]).await.unwrap();
    stage.well_and_rid_of_it("no message").await;
}

/// promise: Bad input | Malformed sync frames from a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_claims_two_mebibytes_costs_the_connection() {
    let mut stage = Stage::new().await;
    stage.line.bytes(&(2_u32 << 20).to_be_bytes()).await.unwrap();
    stage.well_and_rid_of_it("too long").await;
}

/// promise: Bad input | Forged, replayed, reordered, oversized entries sent by a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_none_costs_the_connection_and_leaves_nothing_behind() {
    let good = own(None, vec![create("good")]);
    let frame = EntryFrame::new(&good);
    let mut broken = frame.clone();
    broken.signature[7] ^= 1;
    let short = EntryFrame { signature: frame.signature[..63].to_vec(), ..frame.clone() };
    let mut padded = frame.clone();
    padded.header.push(0);
    let swapped = EntryFrame { payload: Some(payload(vec![create("swapped")])), ..frame.clone() };
    let forged = WORLD.entry(WORLD.log(1), None, Kind::WRITES, payload(vec![create("forged")]), ROGUE);
    let foreign = World(201).entry(World(201).log(ROGUE), None, Kind::WRITES, payload(vec![create("foreign")]), ROGUE);
    let large = Some(vec![0; PAYLOAD_BYTES_MAX + 1]);
    let oversized = EntryFrame { payload: large, ..frame.clone() };
    // the header's length comes before its hash, which is last
    let mut claims_more = frame.clone();
    let at = claims_more.header.len() - 36;
    claims_more.header[at..at + 4].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes());
    let empty = EntryFrame::default();
    let follows_nothing = EntryFrame { follows: Some(7), ..frame.clone() };
    // it follows on the good entry before it, and then nobody signed it
    let made_up = EntryFrame { header: vec![0; 22], follows: Some(0), ..frame.clone() };
    let cases = [
        ("a broken signature", broken),
        ("a short signature", short),
        ("a header with a byte too many", padded),
        ("another payload", swapped),
        ("an entry in another's name", EntryFrame::new(&forged)),
        ("an entry of another mesh", EntryFrame::new(&foreign)),
        ("an oversized payload", oversized),
        ("a header of an oversized payload", claims_more),
        ("nothing at all", empty),
        ("a short entry that follows on nothing", follows_nothing),
        ("a short entry that nobody signed", made_up),
    ];
    let node = WORLD.start(0, Link::Memory).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    are_well(&node, &friend, "before").await;
    let before = memories(&node).len();
    for (n, (what, frame)) in (20_u8..).zip(cases) {
        let mut rogue = Rogue::meet(WORLD, n, Link::Memory, &node).await;
        let mut line = rogue.line(node.did()).await;
        // a good entry in the same frame makes no difference
        line.entry_frames(vec![EntryFrame::new(&good), frame]).await.unwrap();
        rogue.until_open(false).await;
        let blamed = format!("{}", key(n).did());
        let warnings = node.status().await.warnings;
        assert!(warnings.iter().any(|warning| warning.message.starts_with(&blamed)), "{what}: {warnings:?}");
    }
    assert_eq!(memories(&node).len(), before);
    are_well(&node, &friend, "after").await;
}

/// promise: Bad input | Forged, replayed, reordered, oversized entries sent by a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_replayed_reordered_and_repeated_count_once_and_in_order() {
    let mut stage = Stage::new().await;
    let names: Vec<String> = (0..20).map(|n| format!("entry {n:02}")).collect();
    let log = own_log(&names.iter().map(String::as_str).collect::<Vec<_>>());
    stage.line.frontier(vec![], true).await.unwrap();
    // every third first, each twice, then all backwards, then the node's own echoed
    for start in 0..3 {
        let some: Vec<&Entry> = log.iter().skip(start).step_by(3).flat_map(|entry| [&**entry, &**entry]).collect();
        stage.line.entries(some).await.unwrap();
    }
    stage.line.entries(log.iter().rev().map(|entry| &**entry)).await.unwrap();
    until(&stage.friend, "all of them", |memories| {
        names.iter().all(|name| memories.iter().filter(|memory| memory.text == *name).count() == 1)
    })
    .await;
    stage.well("replayed").await;
    for name in &names {
        assert_eq!(texts(&stage.node).iter().filter(|text| *text == name).count(), 1, "{name}");
    }
    assert!(*stage.rogue.open.borrow(), "no rule was broken");
}

/// promise: Bad input | A second entry at a held seq: kept, applied nowhere, reported
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_counts_up_to_where_it_forked_and_the_fork_is_told() {
    let mut stage = Stage::new().await;
    let base = own(None, vec![create("base")]);
    let first = own(Some(&base), vec![create("first"), edit(dot(&base), "text", "\"edited\"", vec![])]);
    let second = own(Some(&base), vec![create("second")]);
    let third = own(Some(&first), vec![create("third")]);
    let off = own(Some(&second), vec![create("off the branch")]);
    stage.line.entries([&*base, &*first]).await.unwrap();
    has_text(&stage.node, "first").await;
    has_text(&stage.node, "edited").await;
    let mut watch = stage.node.brain().watch(WatchQuery::from_now()).await.unwrap();
    stage.line.entries([&*second, &*off, &*third]).await.unwrap();
    // whichever branch came first: neither counts, and what it overwrote is back
    until(&stage.node, "cut", |memories| {
        let texts: BTreeSet<&str> = memories.iter().map(|memory| memory.text.as_str()).collect();
        texts.contains("base")
            && ["first", "second", "third", "off the branch"].iter().all(|text| !texts.contains(text))
    })
    .await;
    warned(&stage.node, "fork").await;
    let id = MemoryId::from(dot(&first));
    loop {
        let change = watch.next().await.unwrap().unwrap();
        if change.subject.memory() == Some(id) {
            assert_eq!(change.kind, ChangeKind::Forgotten);
            break;
        }
    }
    // the evidence comes to a node that no entry of the other branch has reached
    warned(&stage.friend, "fork").await;
    until(&stage.friend, "cut there", |memories| {
        let texts: BTreeSet<&str> = memories.iter().map(|memory| memory.text.as_str()).collect();
        texts.contains("base")
            && ["first", "second", "third", "off the branch"].iter().all(|text| !texts.contains(text))
    })
    .await;
    stage.well("forked").await;
}

/// promise: Bad input | A second entry at a held seq: kept, applied nowhere, reported
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_is_told_after_a_restart_too() {
    let disk = Disk::new();
    let open = || Store::with_backend("disk", disk.clone(), StoreOptions::default()).unwrap();
    let store = open();
    store.commit(&[found(&WORLD.genesis(0))]).unwrap();
    let start = |store| {
        let mut env = WORLD.env(0, Link::Memory);
        env.store = store;
        Node::with_env(env)
    };
    let node = start(store).await.unwrap();
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
    let mut line = rogue.line(node.did()).await;
    let base = own(None, vec![create("base")]);
    let branches = ["first", "second"].map(|text| own(Some(&base), vec![create(text)]));
    line.entries([&*introduction(ROGUE), &*base, &*branches[0], &*branches[1]]).await.unwrap();
    warned(&node, "fork").await;
    node.shutdown().await;
    drop((line, rogue));

    let node = start(open()).await.unwrap();
    let warnings = node.status().await.warnings;
    let forks: Vec<_> = warnings.iter().filter(|warning| warning.code == "fork").collect();
    let named = |message: &str| message.starts_with(&key(ROGUE).did().to_string()) && message.contains("seq 1 ");
    assert!(forks.len() == 1 && named(&forks[0].message), "{warnings:?}");
}

/// promise: Bad input | A log that goes on from an entry that is not here: not taken, reported
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_goes_on_from_an_entry_that_is_not_here_is_told() {
    let mut stage = Stage::new().await;
    let base = own(None, vec![create("base")]);
    let here = own(Some(&base), vec![create("here")]);
    let elsewhere = own(Some(&base), vec![create("elsewhere")]);
    let after = own(Some(&elsewhere), vec![create("after")]);
    stage.line.entries([&*base, &*here]).await.unwrap();
    has_text(&stage.node, "here").await;
    assert!(!stage.node.status().await.warnings.iter().any(|warning| warning.code == "fork"));
    stage.line.entries([&*after]).await.unwrap();
    warned(&stage.node, "fork").await;
    // it proves the fork, although it is not taken
    until(&stage.node, "cut", |memories| {
        let texts: BTreeSet<&str> = memories.iter().map(|memory| memory.text.as_str()).collect();
        texts.contains("base") && !texts.contains("here") && !texts.contains("after")
    })
    .await;
    stage.well("astray").await;
}

/// promise: Bad input | Payloads that break a rule of form: quarantined
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_a_rule_of_form_is_quarantined_and_the_log_goes_on() {
    let mut stage = Stage::new().await;
    let victim = stage.node.brain().remember(NewMemory::note("victim")).await.unwrap().id;
    let record = Dot { entry: EntryId::of(b"some record"), index: 0 };
    let other = Dot { entry: EntryId::of(b"some other"), index: 3 };
    let (low, high) = if record < other { (record, other) } else { (other, record) };
    let many: Vec<Dot> = (0..=u16::try_from(OVER_MAX).unwrap()).map(|index| Dot { index, ..record }).collect();
    let broken: Vec<Vec<u8>> = vec![
        b"no writes".to_vec(),
        payload(vec![]),
        vec![0xff; 64],
        [payload(vec![create("trailing")]), vec![0]].concat(),
        payload(vec![edit(record, "gone", "true", vec![]); WRITES_MAX + 1]),
        payload(vec![edit(record, "Text", "1", vec![])]),
        payload(vec![edit(record, "text", "\"a\"", vec![]), edit(record, "text", "\"b\"", vec![])]),
        payload(vec![edit(record, "text", "\"a\"", vec![high, low])]),
        payload(vec![edit(record, "text", "\"a\"", many)]),
        payload(vec![edit(record, "text", "7", vec![])]),
        payload(vec![edit(record, "gone", "false", vec![])]),
        payload(vec![edit(record, "meta", r#"{"a":1,"a":2}"#, vec![])]),
        payload(vec![edit(record, "core", "{}", vec![])]),
        payload(vec![Write { value: "[]".to_owned(), ..create("x") }]),
        payload(vec![Write { over: vec![record], ..create("x") }]),
        // a good write beside a bad one does not count either
        payload(vec![create("beside a bad one"), edit(record, "text", "{", vec![])]),
    ];
    let mut log: Vec<Verified> = Vec::new();
    for payload in broken {
        log.push(WORLD.entry(WORLD.log(ROGUE), log.last(), Kind::WRITES, payload, ROGUE));
    }
    // the same in the space of members
    let mesh_space = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(ROGUE) };
    let mut made = vec![stage.introduction.clone()];
    for (kind, payload) in [
        (Kind::CREDENTIAL, b"no chain".to_vec()),
        (Kind::CREDENTIAL, World(201).chain(ROGUE).to_bytes()),
        (Kind::PROFILE, b"\xff\xff\xff\xff".to_vec()),
        (Kind::SPACE, vec![]),
        (Kind(4_000), b"of a later version".to_vec()),
    ] {
        made.push(WORLD.entry(mesh_space, made.last(), kind, payload, ROGUE));
    }
    log.push(own(log.last(), vec![create("the log goes on")]));
    stage.line.entries(made.iter().chain(&log).map(|entry| &**entry)).await.unwrap();
    has_text(&stage.node, "the log goes on").await;
    has_text(&stage.friend, "the log goes on").await;
    warned(&stage.node, "quarantined").await;
    warned(&stage.friend, "quarantined").await;
    stage.well("quarantined").await;
    let texts = texts(&stage.node);
    assert!(!texts.iter().any(|text| ["trailing", "x", "beside a bad one"].contains(&text.as_str())), "{texts:?}");
    assert_eq!(stage.node.brain().get(&victim).await.unwrap().text, "victim");
    assert_eq!(stage.node.members().len(), 3, "nobody was made a member");
    assert!(*stage.rogue.open.borrow(), "the author is at fault, not who passes it on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_overwrite_what_they_do_not_know_change_nothing_else() {
    let mut stage = Stage::new().await;
    stage.line.frontier(vec![], true).await.unwrap();
    let base = own(None, vec![create("base"), create("beside")]);
    let (record, beside) = (dot(&base), Dot { index: 1, ..dot(&base) });
    let unknown = Dot { entry: EntryId::of(b"nowhere"), index: 7 };
    let text = own(Some(&base), vec![edit(record, "text", "\"edited\"", vec![])]);
    let kind = own(Some(&text), vec![edit(record, "kind", "\"odd\"", vec![])]);
    let sorted = |mut dots: Vec<Dot>| {
        dots.sort_unstable();
        dots
    };
    // writes of other fields, of other records, of itself, and of nothing
    let wild = own(
        Some(&kind),
        vec![
            edit(record, "tags", "[\"t\"]", sorted(vec![dot(&text), dot(&kind), unknown, record, beside])),
            edit(beside, "text", "\"also edited\"", sorted(vec![dot(&text), unknown])),
            edit(unknown, "text", "\"of nothing\"", vec![dot(&text)]),
            edit(Dot { index: 900, ..record }, "gone", "true", vec![]),
            edit(unknown, "gone", "true", vec![]),
        ],
    );
    let log = [base, text, kind, wild];
    // backwards: a write comes after the one that replaces it
    stage.line.entries(log.iter().rev().map(|entry| &**entry)).await.unwrap();
    let folded = |memories: &[nexus_node::Memory]| {
        let is = |id: Dot, text: &str, kind: &str| {
            memories.iter().any(|memory| memory.id == MemoryId::from(id) && memory.text == text && memory.kind == kind)
        };
        is(record, "edited", "odd") && is(beside, "also edited", "note")
    };
    until(&stage.node, "folded here", folded).await;
    until(&stage.friend, "folded there", folded).await;
    stage.well("overwritten").await;
    assert!(memories(&stage.node).iter().all(|memory| memory.conflicts.is_empty()));
    // a write over unknown ones settles nothing: an honest edit stands beside it
    let brain = stage.node.brain();
    let mine = brain.remember(NewMemory::note("mine")).await.unwrap().id;
    let edited = brain.edit(&mine, Patch::text("mine, edited")).await;
    assert_eq!(edited.unwrap().text, "mine, edited");
}

/// promise: Bad input | A proof that a member made up, or took from another text: nobody is shown, and nothing is lost
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_up_the_author_of_a_text_shows_nobody() {
    let mut stage = Stage::new().await;
    let elsewhere = World(201);
    let theirs = elsewhere.entry(elsewhere.log(2), None, Kind::WRITES, payload(vec![create("true")]), 2);
    let encoded = |proof: &[u8]| BASE64URL_NOPAD.encode(proof);
    let good = prove(&elsewhere.chain(2), &theirs, 0).unwrap();
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    // its own credentials beside somebody else's entry, and its own mesh with itself as somebody else
    let borrowed = prove(&WORLD.chain(ROGUE), &theirs, 0).unwrap();
    let own_words =
        elsewhere.entry(elsewhere.log(2), None, Kind::WRITES, payload(vec![create("signed by itself")]), ROGUE);
    let forged = prove(&elsewhere.chain(2), &own_words, 0).unwrap();
    let cases = [
        ("true", json!(encoded(&good))),
        ("of another text", json!(encoded(&good))),
        ("of changed bytes", json!(encoded(&broken))),
        ("with other credentials", json!(encoded(&borrowed))),
        ("signed by itself", json!(encoded(&forged))),
        ("no proof", json!("AAAA")),
        ("no base64", json!("\u{0}not base64")),
        ("too long", json!("A".repeat(40_000))),
        ("no text at all", json!({ "by": ["somebody"] })),
    ];
    let mut log: Vec<Verified> = Vec::new();
    for (text, proof) in &cases {
        let value = json!({ "text": text, "kind": "note", "proof": proof }).to_string();
        log.push(own(log.last(), vec![Write { value, ..create("") }]));
    }
    stage.line.entries(log.iter().map(|entry| &**entry)).await.unwrap();
    for node in [&stage.node, &stage.friend] {
        let here = |all: &[Memory]| cases.iter().all(|(text, _)| all.iter().any(|memory| memory.text == *text));
        for memory in until(node, "all are here", here).await {
            let expected = (memory.text == "true").then(|| (elsewhere.mesh(), key(2).did(), dot(&theirs).into()));
            let shown = memory.imported.map(|from| (from.mesh, from.author, from.id));
            assert_eq!(shown, expected, "{}", memory.text);
        }
    }
    // an edit takes the author away, whoever makes it
    let memory = memories(&stage.friend).into_iter().find(|memory| memory.text == "true").unwrap();
    let edited = stage.friend.brain().edit(memory.id, Patch::text("false")).await.unwrap();
    assert_eq!(edited.imported, None);
    assert!(*stage.rogue.open.borrow(), "no rule was broken");
    stage.well("proofs").await;
}

/// promise: Bad input | Forged, replayed, reordered, oversized entries sent by a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_its_payload_does_not_keep_the_whole_one_out() {
    let mut stage = Stage::new().await;
    // an honest member that the node has not met; the rogue forwards its entries without payloads
    let honest = WORLD.entry(WORLD.log(2), None, Kind::WRITES, payload(vec![create("whole")]), 2);
    let admitted = introduction(2);
    let emptied = EntryFrame { payload: None, ..EntryFrame::new(&honest) };
    let marker = own(None, vec![create("marker")]);
    stage.line.entry_frames(vec![EntryFrame::new(&admitted), emptied.clone(), EntryFrame::new(&marker)]).await.unwrap();
    has_text(&stage.node, "marker").await;
    stage.line.entries([&*honest]).await.unwrap();
    has_text(&stage.node, "whole").await;
    has_text(&stage.friend, "whole").await;
    stage.well("emptied").await;
}

/// promise: Bad input | Malformed sync frames from a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontier_that_lies_breaks_nothing() {
    let mut stage = Stage::new().await;
    let logs = stage.line.hear_frontier().await;
    let max = |head: &LogHead| LogHead { seq: u64::MAX, ..head.clone() };
    let strange = LogId { incarnation: Incarnation([0xee; 8]), ..WORLD.log(1) };
    let claims: Vec<LogHead> = logs.iter().map(max).chain([head(strange, u64::MAX), head(strange, 5)]).collect();
    for last in [false, true, true] {
        stage.line.frontier(claims.clone(), last).await.unwrap();
    }
    stage.line.ack(claims.clone()).await.unwrap();
    // an honest beginning, then the lie while entries are on their way
    for n in 0..50 {
        stage.node.brain().remember(NewMemory::note(format!("padding {n} {}", "x".repeat(20_000)))).await.unwrap();
    }
    let mut other = Rogue::meet(WORLD, 8, Link::Memory, &stage.node).await;
    let mut line = other.line(stage.node.did()).await;
    line.frontier(vec![], true).await.unwrap();
    line.ack(claims).await.unwrap();
    let high = WORLD.entry(WORLD.log(8), None, Kind::WRITES, payload(vec![create("of the liar")]), 8);
    line.entries([&*introduction(8), &*high]).await.unwrap();
    has_text(&stage.node, "of the liar").await;
    let status = stage.node.status().await;
    assert!(status.peers >= 1, "{status:?}");
    stage.well("lied to").await;
    assert!(*other.open.borrow_and_update());
}

/// promise: Bad input | Malformed sync frames from a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_that_our_own_log_is_ahead_must_show_it() {
    let mut stage = Stage::new().await;
    let ours = |heads: &[LogHead], node: &Node| -> BTreeSet<Vec<u8>> {
        let author = node.did().as_bytes().to_vec();
        heads.iter().filter(|head| head.author == author).map(|head| head.incarnation.clone()).collect()
    };
    let before = ours(&stage.line.hear_frontier().await, &stage.node);
    assert_eq!(before.len(), 1);
    for round in 0..5 {
        let claim = head(WORLD.log(0), 1_000 + round);
        stage.line.frontier(vec![claim], true).await.unwrap();
        let marker = own(None, vec![create("marker")]);
        stage.line.entries([&*marker]).await.unwrap();
        has_text(&stage.node, "marker").await;
        stage.node.brain().remember(NewMemory::note(format!("after claim {round}"))).await.unwrap();
    }
    let mut line = stage.rogue.line(stage.node.did()).await;
    assert_eq!(ours(&line.hear_frontier().await, &stage.node), before, "a claim is no proof");
    drop(line);
    // an entry with our own signature: another store has our key
    let log = LogId { incarnation: Incarnation([0; 8]), ..WORLD.log(0) };
    let elsewhere = WORLD.entry(log, None, Kind::WRITES, payload(vec![create("written elsewhere")]), 0);
    eventually("a new incarnation", || async {
        // a stream takes the place of the one before, with all that was not read of it
        let mut line = stage.rogue.line(stage.node.did()).await;
        line.entries([&*elsewhere]).await.unwrap();
        stage.node.brain().remember(NewMemory::note("one more")).await.unwrap();
        let mut line = stage.rogue.line(stage.node.did()).await;
        ours(&line.hear_frontier().await, &stage.node).len() == 2
    })
    .await;
    // the log is cut wherever both of its beginnings are held
    let witness = Rogue::meet(WORLD, 8, Link::Memory, &stage.friend).await;
    let mut line = witness.line(stage.friend.did()).await;
    line.entries([&*introduction(8), &*elsewhere]).await.unwrap();
    warned(&stage.friend, "fork").await;
    stage.well("ahead of ourselves").await;
}

/// The number of logs of an author, and of the entries in them, that a node holds.
async fn held_of(node: &Node, author: u8) -> (usize, u64) {
    let frontier = node.frontier().await.unwrap();
    let logs = frontier.iter().filter(|(log, _)| log.author == key(author).did());
    logs.fold((0, 0), |(logs, entries), (_, head)| (logs + 1, entries + head.seq + 1))
}

/// promise: Bad input | A member that fills its quota: the rest of its entries is left, and everybody else goes on
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_writes_without_end_fills_its_quota_and_nothing_else() {
    let mut stage = Stage::configured(|config| {
        config.writer_bytes_max = Bounded::new(512 << 10).unwrap();
        config.incarnations_max = Bounded::new(8).unwrap();
    })
    .await;
    stage.line.frontier(vec![], true).await.unwrap();
    // many incarnations of one entry each
    let begun: Vec<Verified> = (0..2_000_u64)
        .map(|n| {
            let log = LogId { incarnation: Incarnation(n.to_be_bytes()), ..WORLD.log(ROGUE) };
            WORLD.entry(log, None, Kind::WRITES, payload(vec![create(&format!("begun {n}"))]), ROGUE)
        })
        .collect();
    for entries in begun.chunks(500) {
        stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    }
    has_text(&stage.friend, "begun 7").await;
    // and as many bytes as they like in one of them
    let mut log = vec![begun[0].clone()];
    for n in 0..40 {
        let large = create(&format!("large {n} {}", "x".repeat(30_000)));
        let log_id = begun[0].header().log();
        log.push(WORLD.entry(log_id, log.last(), Kind::WRITES, payload(vec![large]), ROGUE));
    }
    for entries in log[1..].chunks(10) {
        stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    }
    warned(&stage.node, "quota").await;
    warned(&stage.friend, "quota").await;
    stage.well("flooded").await;
    for node in [&stage.node, &stage.friend] {
        let (logs, entries) = held_of(node, ROGUE).await;
        assert_eq!(logs, 8 + 1, "and the space of members");
        assert!((10..40).contains(&entries), "{entries}");
        let warnings = node.status().await.warnings;
        let quota = warnings.iter().find(|warning| warning.code == "quota").unwrap();
        assert!(quota.message.starts_with("member-number-9 (did:key:"), "{quota:?}");
        assert!(quota.message.contains("524288 bytes") && quota.hint.contains("`writer_bytes_max`"), "{quota:?}");
        assert!(warnings.iter().all(|warning| warning.code != "misbehaving_peer"), "{warnings:?}");
    }
    assert!(*stage.rogue.open.borrow(), "to write much is no broken rule");
}

/// promise: Bad input | A reader's entries are taken as far as they say who it is, and within its quota
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_writes_is_not_taken() {
    const READER: u8 = 10;
    let stage = Stage::configured(|config| config.reader_bytes_max = Bounded::new(8 << 10).unwrap()).await;
    let chain = WORLD.chain_as(READER, Role::Reader);
    let address = address_of(&stage.node);
    let reader = Rogue::start(WORLD.mesh(), chain.clone(), &key(READER), Link::Memory, address).await;
    let mut line = reader.line(stage.node.did()).await;
    let in_mesh = |n: u64| LogId {
        space: SpaceId::mesh(&WORLD.mesh()),
        incarnation: Incarnation(n.to_be_bytes()),
        ..WORLD.log(READER)
    };
    let introduced = WORLD.entry(in_mesh(0), None, Kind::CREDENTIAL, chain.to_bytes(), READER);
    let space = SpaceDefinition { name: "plans".parse().unwrap(), access: 0, salt: [0; 16] }.encode();
    let of_reader = |n, kind, payload| WORLD.entry(in_mesh(n), None, kind, payload, READER);
    let not_taken = [
        of_reader(1, Kind::SPACE, space),
        of_reader(2, Kind::WRITES, payload(vec![create("in the space of members")])),
        of_reader(3, Kind(4_000), vec![7; 60_000]),
    ];
    let mut named = vec![introduced];
    for n in 0..200 {
        let profile = Profile { name: format!("reader-{n}").parse().unwrap() }.encode();
        named.push(WORLD.entry(in_mesh(0), named.last(), Kind::PROFILE, profile, READER));
    }
    line.entries(named.iter().chain(&not_taken).map(|entry| &**entry)).await.unwrap();
    warned(&stage.node, "quota").await;
    warned(&stage.friend, "quota").await;
    stage.well("read").await;
    for node in [&stage.node, &stage.friend] {
        let (logs, entries) = held_of(node, READER).await;
        assert_eq!(logs, 1);
        assert!((10..60).contains(&entries), "{entries}");
        let spaces = node.brain().spaces_blocking().unwrap();
        let names: Vec<&str> = spaces.iter().map(|space| space.space.as_str()).collect();
        assert_eq!(names, ["default", "tasks"], "none was made");
    }
}

/// promise: Bad input | A stream that stalls
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_let_go_and_holds_nobody_up() {
    let mut stage = Stage::new().await;
    for n in 0..200 {
        stage.node.brain().remember(NewMemory::note(format!("{n} {}", "x".repeat(20_000)))).await.unwrap();
    }
    stage.line.frontier(vec![], true).await.unwrap();
    stage.well("stalled").await;
    // nothing is read here; a write shows that the stream has ended
    let ends = async {
        while stage.line.say(Body::Digest(Default::default())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ends).await.expect("the stream ends");
    stage.well("after the stall").await;
}

/// promise: Bad input | A stream that stalls
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stalls_goes_when_its_peer_opens_another() {
    let mut stage = Stage::new().await;
    for n in 0..200 {
        stage.node.brain().remember(NewMemory::note(format!("{n} {}", "x".repeat(20_000)))).await.unwrap();
    }
    stage.line.frontier(vec![], true).await.unwrap();
    let mut stalled = vec![stage.line];
    for _ in 0..10 {
        let mut line = stage.rogue.line(stage.node.did()).await;
        line.hear_frontier().await;
        line.frontier(vec![], true).await.unwrap();
        stalled.push(line);
    }
    // a stream that is left open takes writes for long; nothing was read since
    stalled.pop();
    for line in &mut stalled {
        let ends = async { while line.say(Body::Digest(Default::default())).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(5), ends).await.expect("only the last one is kept");
    }
    are_well(&stage.node, &stage.friend, "after many streams").await;
}

/// promise: Bad input | A stream that stalls
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_middle_of_a_frame_is_let_go() {
    let mut stage = Stage::new().await;
    stage.line.bytes(&[0, 0, 1, 0, 1, 2, 3]).await.unwrap();
    stage.well("half a frame").await;
    stage.line.until_closed(Duration::from_secs(60)).await;
    stage.well("after half a frame").await;
}

/// promise: Bad input | Forged, replayed, reordered, oversized entries sent by a member's node
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_does_not_hold_is_not_passed_on() {
    use prost::Message;

    let stage = Stage::new().await;
    let mut listener = Rogue::meet(WORLD, 8, Link::Memory, &stage.node).await;
    let entry = |n: u8, text: &str, signer: u8| {
        let log = LogId { incarnation: Incarnation([text.len() as u8; 8]), ..WORLD.log(n) };
        EntryFrame::new(&WORLD.entry(log, None, Kind::WRITES, payload(vec![create(text)]), signer)).encode_to_vec()
    };
    // until one is connected with the other
    let open = async {
        let mut text = "open".to_owned();
        loop {
            stage.rogue.mesh.publish(ENTRIES, entry(ROGUE, &text, ROGUE)).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_millis(100), listener.gossip.recv()).await;
            if let Ok(heard) = heard {
                return heard.unwrap();
            }
            text.push('.');
        }
    };
    tokio::time::timeout(SOON, open).await.expect("gossip flows");
    let mut emptied = EntryFrame::decode(entry(ROGUE, "an emptied one", ROGUE).as_slice()).unwrap();
    emptied.payload = None;
    // forms of an entry that the node has: of those there is no end
    let held = EntryFrame::decode(entry(ROGUE, "held by the node", ROGUE).as_slice()).unwrap();
    stage.rogue.mesh.publish(ENTRIES, held.encode_to_vec()).await.unwrap();
    has_text(&stage.node, "held by the node").await;
    let mut forged = held.clone();
    forged.signature[0] ^= 1;
    let mut padded = held.encode_to_vec();
    padded.extend([0xfa, 0x01, 0x01, b'x']);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    let bad = [
        forged.encode_to_vec(),
        padded,
        EntryFrame { traceparent, ..held }.encode_to_vec(),
        b"garbage".to_vec(),
        vec![],
        entry(1, "in another's name", ROGUE),
        entry(77, "of nobody that is known", 77),
        emptied.encode_to_vec(),
    ];
    for bytes in &bad {
        let _ = stage.rogue.mesh.publish(ENTRIES, bytes.clone()).await;
    }
    let marker = entry(ROGUE, "the marker comes after them", ROGUE);
    stage.rogue.mesh.publish(ENTRIES, marker.clone()).await.unwrap();
    let until_marker = async {
        loop {
            let heard = listener.gossip.recv().await.unwrap();
            assert!(!bad.contains(&heard), "passed on: {:?}", String::from_utf8_lossy(&heard));
            if heard == marker {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, until_marker).await.expect("the good one is passed on");
    has_text(&stage.node, "the marker comes after them").await;
    let texts = texts(&stage.node);
    assert!(!texts.iter().any(|text| text.contains("another's name") || text.contains("nobody")), "{texts:?}");
    stage.well("gossiped at").await;
}

/// The recorded spans of arrivals, as their fields.
static ARRIVALS: Mutex<Vec<BTreeMap<&'static str, String>>> = Mutex::new(Vec::new());

/// Records spans of arrivals.
struct Arrivals;

impl<S: Subscriber> Layer<S> for Arrivals {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        struct Fields(BTreeMap<&'static str, String>);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
            }
        }
        if attributes.metadata().name() == "receive entry" {
            let mut fields = Fields(BTreeMap::new());
            attributes.record(&mut fields);
            ARRIVALS.lock().unwrap().push(fields.0);
        }
    }
}

/// The way and the sender of each arrival of an entry of a trace.
fn arrivals(trace: u128) -> Vec<(String, String)> {
    let all = ARRIVALS.lock().unwrap();
    let of_trace = all.iter().filter(|fields| fields["trace_id"] == format!("{trace:032x}"));
    of_trace
        .inspect(|fields| assert_eq!(fields["parent_id"], "00f067aa0ba902b7", "goes on as it was said"))
        .map(|fields| (fields["nexus.entry.way"].clone(), fields["nexus.entry.from"].clone()))
        .collect()
}

/// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_an_entry_goes_on_over_several_hops_and_a_bad_one_costs_nothing() {
    use prost::Message;

    let filter = tracing_subscriber::filter::LevelFilter::INFO;
    tracing_subscriber::registry().with(Arrivals.with_filter(filter)).init();
    let mut stage = Stage::new().await;
    let said = |trace: u128| format!("00-{trace:032x}-00f067aa0ba902b7-01").into_bytes();
    let (rogue, node) = (key(ROGUE).did().to_string(), stage.node.did().to_string());
    let frame = |entry: &Verified, traceparent: Vec<u8>| EntryFrame { traceparent, ..EntryFrame::new(entry) };

    // By sync, the second of two first: it counts when it is stored, and once.
    let log = own_log(&["the first", "the second"]);
    stage.line.entry_frames(vec![frame(&log[1], said(0x51))]).await.unwrap();
    stage.line.entry_frames(vec![frame(&log[0], vec![]), frame(&log[1], said(0x52))]).await.unwrap();
    has_text(&stage.friend, "the second").await;
    let by_sync = |from: &str| ("sync".to_owned(), from.to_owned());
    eventually("both told of it", || async { arrivals(0x51).len() == 2 }).await;
    assert_eq!(arrivals(0x51), [by_sync(&rogue), by_sync(&node)]);
    assert_eq!(arrivals(0x52), []);

    // By gossip, forwarded to a node that does not know the author's.
    let gossiped = |no: u8, text: &str, traceparent: Vec<u8>| {
        let log = LogId { incarnation: Incarnation([no; 8]), ..WORLD.log(ROGUE) };
        frame(&WORLD.entry(log, None, Kind::WRITES, payload(vec![create(text)]), ROGUE), traceparent).encode_to_vec()
    };
    let mut tries = 100..200;
    while !arrivals(0x53).iter().any(|(way, _)| way == "gossip") {
        let no = tries.next().expect("gossip flows");
        stage.rogue.mesh.publish(ENTRIES, gossiped(no, &format!("gossip {no}"), said(0x53))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eventually("the friend told of it", || async { arrivals(0x53).iter().any(|(_, from)| *from == node) }).await;

    // A wrong trace is ignored, and the entry is taken.
    let bad: Vec<Vec<u8>> = vec![
        b"garbage".to_vec(),
        b"\xff\xfe\xfd".to_vec(),
        said(0),
        String::from_utf8(said(0x54)).unwrap().replace("-01", "-00").into_bytes(),
        [said(0x54), b"-and-more".to_vec()].concat(),
        [said(0x54), vec![b'x'; 512 * 1024]].concat(),
    ];
    let mut last = log[1].clone();
    for (no, traceparent) in (200..).zip(bad) {
        let text = format!("beside bad one {no}");
        let by_gossip = gossiped(no, &format!("gossiped {text}"), traceparent.clone());
        // gossip carries no larger ones
        if by_gossip.len() < 32 * 1024 {
            stage.rogue.mesh.publish(ENTRIES, by_gossip).await.unwrap();
            has_text(&stage.node, &format!("gossiped {text}")).await;
        }
        let next = own(Some(&last), vec![create(&text)]);
        stage.line.entry_frames(vec![frame(&next, traceparent)]).await.unwrap();
        has_text(&stage.friend, &text).await;
        last = next;
    }
    // 0x61 is another test's
    let known = [0x51, 0x53, 0x61].map(|trace: u128| format!("{trace:032x}"));
    assert!(ARRIVALS.lock().unwrap().iter().all(|fields| known.contains(&fields["trace_id"])));
    assert!(*stage.rogue.open.borrow(), "no rule was broken");
    stage.well("traced").await;
}

/// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_a_trace_is_gossiped_with_it_and_what_is_not_is_as_ever() {
    use prost::Message;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let Stage { node, mut rogue, line, friend: _friend, .. } = Stage::new().await;
    // a node that is kept in sync needs no gossip
    drop(line);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(address, "token", Arc::new(NoSettings));
    api.attach(node.clone());
    tokio::spawn(async move { api.serve(listener, std::future::pending()).await });
    let write = async |text: &str, traceparent: &str| {
        let body = format!("{{\"text\":\"{text}\"}}");
        let request = format!(
            "POST /v1/memories HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer token\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{traceparent}\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let answered = answer.lines().find_map(|line| line.strip_prefix("traceparent: "));
        answered.unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let mut heard = async |text: &str| {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(500);
        loop {
            let frame = tokio::time::timeout_at(deadline, rogue.gossip.recv()).await.ok()?.unwrap();
            let frame = EntryFrame::decode(frame.as_slice()).unwrap();
            if String::from_utf8_lossy(frame.payload.as_deref().unwrap_or_default()).contains(text) {
                return Some(frame.traceparent);
            }
        }
    };
    let mut tries = 100..160;
    loop {
        let text = format!("try {}", tries.next().expect("gossip flows"));
        let given = "traceparent: 00-00000000000000000000000000000061-00f067aa0ba902b7-01\r\n";
        let answered = write(&text, given).await;
        if let Some(traceparent) = heard(&text).await {
            assert_eq!(String::from_utf8(traceparent).unwrap(), answered, "the span of the request");
            break;
        }
    }
    for (text, given) in [
        ("in no trace", ""),
        ("in a trace that nobody records", "traceparent: 00-00000000000000000000000000000061-00f067aa0ba902b7-00\r\n"),
        ("in a trace that is none", "traceparent: 00-61-00f067aa0ba902b7-01\r\n"),
    ] {
        write(text, given).await;
        assert_eq!(heard(text).await, Some(vec![]), "{text}");
    }
}
