//! Recall on a real node: files, an index on disk, and memories that are not in it yet.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use nexus_node::memory::Recalled;
use nexus_node::{MemoryId, NewMemory, Node, NodeError, Patch, RecallQuery};
use tempfile::TempDir;

use crate::world::{self, Link, World, eventually, has_text};

async fn start(dir: &Path) -> Node {
    let listen = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    Node::builder(dir.join("data")).name("me".parse().unwrap()).mdns(false).listen([listen]).start().await.unwrap()
}

async fn remember(node: &Node, text: &str) -> MemoryId {
    node.brain().remember(NewMemory::note(text)).await.unwrap().id
}

fn recall(node: &Node, words: &str) -> Recalled {
    node.brain().recall_blocking(&RecallQuery::of(words)).unwrap()
}

fn texts(recalled: &Recalled) -> Vec<&str> {
    recalled.hits.iter().map(|hit| hit.memory.text.as_str()).collect()
}

/// Waits until the index on disk includes everything, by its files.
async fn until_indexed(dir: &Path, entries: &str) {
    let meta = dir.join("data/search/meta.json");
    let covered = async {
        loop {
            let text = std::fs::read_to_string(&meta).unwrap_or_default();
            if text.contains(&format!(" {entries}\"")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), covered).await.expect("the index catches up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_found_at_once_and_after_it_was_indexed() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    for text in ["the release build needs a C compiler", "staging is restored at four", "a build takes ten minutes"] {
        remember(&node, text).await;
        assert!(texts(&recall(&node, text)).contains(&text));
    }
    let at_once = recall(&node, "builds compiler");
    assert_eq!(texts(&at_once), ["the release build needs a C compiler", "a build takes ten minutes"]);
    // two entries introduced the node and gave it its seat
    until_indexed(dir.path(), "5").await;
    assert_eq!(texts(&recall(&node, "builds compiler")), texts(&at_once));
    assert!(recall(&node, "builds compiler").hits[0].why.contains("“compiler”"));
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_forgetting_are_seen_at_once_in_what_was_indexed_before() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    let id = remember(&node, "the password rotates on mondays").await;
    let gone = remember(&node, "the password is written on a note").await;
    until_indexed(dir.path(), "4").await;
    let patch = Patch::text("the certificate rotates on tuesdays");
    node.brain().edit(&id, patch).await.unwrap();
    node.brain().forget(&gone).await.unwrap();
    assert!(texts(&recall(&node, "password")).is_empty());
    assert_eq!(texts(&recall(&node, "certificate")), ["the certificate rotates on tuesdays"]);
    until_indexed(dir.path(), "6").await;
    assert!(texts(&recall(&node, "password")).is_empty());
    assert_eq!(recall(&node, "certificate").hits.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_can_be_deleted_or_damaged_and_is_made_anew() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    remember(&node, "dolphins sleep with one half of the brain").await;
    until_indexed(dir.path(), "3").await;
    node.shutdown().await;
    drop(node);
    let index = dir.path().join("data/search");
    std::fs::remove_dir_all(&index).unwrap();
    let node = start(dir.path()).await;
    assert_eq!(recall(&node, "dolphin brains").hits.len(), 1);
    until_indexed(dir.path(), "3").await;
    node.shutdown().await;
    drop(node);
    std::fs::write(index.join("meta.json"), "{ broken").unwrap();
    let node = start(dir.path()).await;
    assert_eq!(recall(&node, "dolphin brains").hits.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_kinds_authors_spaces_and_age_narrow_what_is_found() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    let brain = node.brain();
    brain.create_space("work".parse().unwrap()).await.unwrap();
    let memory = |text: &str, space: &str, kind: &str, tags: &[&str]| {
        tags.iter().fold(NewMemory::note(text).space(space).kind(kind), |memory, tag| memory.tag(*tag))
    };
    brain.remember(memory("deploy on friday", "work", "decision", &["Ops", "risk"])).await.unwrap();
    brain.remember(memory("deploy with a canary", "default", "note", &["ops"])).await.unwrap();
    let found = |query: RecallQuery| {
        texts(&brain.recall_blocking(&query).unwrap()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let of = || RecallQuery::of("deploy");
    assert_eq!(found(of()).len(), 2);
    assert_eq!(found(of().space("work")), ["deploy on friday"]);
    assert_eq!(found(of().kind("note")), ["deploy with a canary"]);
    assert_eq!(found(of().tag("ops").tag("RISK")), ["deploy on friday"]);
    assert_eq!(found(of().by("me").since(Duration::from_secs(60))).len(), 2);
    let nobody = brain.recall(of().by("nobody")).await;
    assert!(matches!(nobody, Err(NodeError::NotFound { what: nexus_node::error::Resource::Member, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_fit_into_their_limit_and_their_tokens_and_say_when_they_were_cut() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    for n in 0..12 {
        remember(&node, &format!("note {n} on the harbour {}", "and its many boats ".repeat(20))).await;
    }
    let ten = recall(&node, "harbour");
    assert_eq!((ten.hits.len(), ten.truncated), (10, true));
    let few = node.brain().recall(RecallQuery::of("harbour").tokens(300)).await.unwrap();
    assert!((1..10).contains(&few.hits.len()) && few.truncated);
    let all = node.brain().recall(RecallQuery::of("harbour").limit(50)).await.unwrap();
    assert_eq!((all.hits.len(), all.truncated), (12, false));
    for limit in [0, 1_001] {
        let refused = node.brain().recall(RecallQuery::of("x").limit(limit)).await.unwrap_err();
        assert_eq!(refused.code(), "invalid");
    }
    assert_eq!(node.brain().recall(" …! ").await.unwrap_err().code(), "invalid");
    assert!(node.brain().recall("harbour ".repeat(20_000)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nearly_the_same_memory_is_reported_when_it_is_written_again() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    let brain = node.brain();
    let text = "the release build needs a C compiler and about ten minutes on two cores";
    let first = brain.remember(NewMemory::note(text)).await.unwrap();
    assert_eq!(first.duplicate_of, None);
    let again = NewMemory::note("The release build needs a C compiler, and about ten minutes on two cores!");
    assert_eq!(brain.remember(again.clone()).await.unwrap().duplicate_of, Some(first.id));
    until_indexed(dir.path(), "4").await;
    assert!(brain.remember(again).await.unwrap().duplicate_of.is_some());
    let other = NewMemory::note("the staging database is restored from the nightly backup at four in the morning");
    assert_eq!(brain.remember(other).await.unwrap().duplicate_of, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_older_than_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path()).await;
    let brain = node.brain();
    let records = || brain.spaces_blocking().unwrap().iter().map(|space| space.records).sum::<u64>();
    let id = remember(&node, "version 0 of the truth").await;
    for n in 1..=30 {
        // each question is asked before the change as well, so that a cached answer would be an old one
        let (before, count) = (brain.get(&id).await.unwrap(), records());
        assert_eq!(texts(&recall(&node, "truth")), [before.text.as_str()]);
        let text = format!("version {n} of the truth");
        let patch = Patch::text(text.clone());
        assert_eq!(brain.edit(&id, patch).await.unwrap().text, text);
        assert_eq!(brain.get(&id).await.unwrap().text, text);
        assert_ne!(brain.get(&id).await.unwrap().version, before.version);
        assert_eq!(texts(&recall(&node, "truth")), [text.as_str()]);
        remember(&node, "something else").await;
        assert_eq!(records(), count + 1);
        let space = format!("space-{n}");
        let missing = brain.remember(NewMemory::note("x").space(space.clone())).await;
        assert!(matches!(missing, Err(NodeError::NotFound { .. })), "{missing:?}");
        brain.create_space(space.parse().unwrap()).await.unwrap();
        let there = brain.remember(NewMemory::note("x").space(space)).await.unwrap();
        assert_eq!(brain.get(there.id).await.unwrap().text, "x");
    }
    brain.forget(&id).await.unwrap();
    assert!(matches!(brain.get(&id).await, Err(NodeError::NotFound { .. })));
    assert!(recall(&node, "truth").hits.is_empty());
}

/// promise: Recall | A member that gives its memories the words of other people's questions as aliases hides nothing: the answers of others come before
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_all_words_for_aliases_hides_no_answer() {
    let mesh = World(214);
    let one = mesh.start(0, Link::Memory).await;
    let rogue = mesh.start_beside(1, Link::Memory, &one).await;
    let known = [
        ("staging database port", "the port of the staging database is 6543"),
        ("who signs releases", "Ines signs the releases"),
        ("backup of the wiki", "the backup of the wiki runs at four in the night"),
        ("certificate of the gateway", "the certificate of the gateway is renewed by cron on host calla"),
        ("limit of uploads", "uploads have a limit of 40 MB"),
    ];
    let spam: Vec<NewMemory> = (0..40)
        .map(|n| {
            let aliases = (0..8).map(|m| format!("{} {}", known[(n + m) % 5].0, known[(n + m + 1) % 5].0));
            aliases.fold(NewMemory::note(format!("buy tulips from shop {n}")), NewMemory::alias)
        })
        .collect();
    rogue.brain().remember_all(spam).await.unwrap();
    has_text(&one, "buy tulips from shop 39").await;
    // its words come first, and later ones are no better
    one.brain().remember_all(known.map(|(_, text)| NewMemory::note(text)).into()).await.unwrap();
    for (question, answer) in known {
        let found = recall(&one, question);
        assert_eq!(texts(&found)[0], answer, "{question}");
        assert!(!found.hits[0].weak && found.hits[0].telling, "{question}");
    }
    for node in [one, rogue] {
        node.shutdown().await;
    }
}

/// promise: Recall | Two keys or names of spaces that differ in case alone are not made side by side, in one call either
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_names_that_differ_in_case_alone_are_not_made_side_by_side() {
    let mesh = World(215);
    let one = mesh.start(0, Link::Memory).await;
    let apart = mesh.start_beside(1, Link::Memory, &one).await;
    apart.set_offline(true).await.unwrap();
    let built_in = one.brain().spaces().await.unwrap().len();
    let keyed = |key: &str, text: &str| NewMemory::note(text).key(key);
    let alike = [keyed("Stand-up", "at nine"), NewMemory::note("between"), keyed("stand-UP", "at ten")];
    let refused = one.brain().remember_all(alike.into()).await.unwrap_err();
    assert_eq!(refused.code(), "name_taken");
    assert!(refused.to_string().contains("Stand-up") && refused.to_string().contains("stand-UP"), "{refused}");
    assert!(world::texts(&one).is_empty(), "all or nothing");
    // the very same key is one memory, and another space has keys of its own
    one.brain().create_space("Work".parse().unwrap()).await.unwrap();
    let fine = [keyed("Stand-up", "at nine"), keyed("Stand-up", "at ten"), keyed("stand-up", "at work").space("Work")];
    one.brain().remember_all(fine.into()).await.unwrap();
    assert_eq!(one.brain().get_blocking("STAND-up").unwrap_err().code(), "ambiguous");

    // a node that did not know of it gave the name to another space: a third one is refused
    apart.brain().create_space("work".parse().unwrap()).await.unwrap();
    apart.set_offline(false).await.unwrap();
    let works = async || one.brain().spaces().await.unwrap().len() - built_in == 2;
    eventually("both spaces are known", works).await;
    for name in ["work", "Work", "WORK", "ｗｏｒｋ"] {
        let refused = one.brain().create_space(name.parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "{name}");
    }
    for node in [one, apart] {
        node.shutdown().await;
    }
}
