//! The events of a node: one stream of all that happens, with one cursor.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use nexus_node::critical::{LockOptions, PutOptions};
use nexus_node::critical::{Put, Step, Txn};
use nexus_node::events::{EventKind, EventsQuery, NodeEvent, NodeEvents, NodeNews};
use nexus_node::{Invite, NewMemory, NewTask, Node, WatchQuery};
use serde_json::json;
use tempfile::TempDir;

use crate::tasks::{join, start};

/// An event as a word and what it is about.
fn said(news: &NodeNews) -> String {
    match news {
        NodeNews::Change(change) => format!("{} {}", change.kind.as_str(), change.subject),
        NodeNews::Task(change, _) => format!("task {}", change.subject),
        NodeNews::Critical(change) => format!("critical {} at {}", change.name(), change.revision),
        NodeNews::Peer(news) => format!("peer {} {}", news.peer, news.connected),
        NodeNews::Blob(news) => format!("blob {} {}", news.hash, news.change.as_str()),
        NodeNews::Mode(mode) => format!("mode {}", mode.as_str()),
        NodeNews::Missed(kinds) => {
            format!("missed {}", kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join("+"))
        }
        other => panic!("{other:?}"),
    }
}

async fn next(events: &mut NodeEvents) -> NodeEvent {
    tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("in time").unwrap().expect("a node")
}

/// The events until one of each of these beginnings has come, with the cursor after the last one.
async fn until(events: &mut NodeEvents, wanted: &[&str]) -> (Vec<String>, String) {
    let (mut missing, mut all): (Vec<&str>, Vec<String>) = (wanted.to_vec(), Vec::new());
    loop {
        let event = next(events).await;
        let said = said(&event.news);
        missing.retain(|begins| !said.starts_with(begins));
        all.push(said);
        if missing.is_empty() {
            return (all, event.cursor);
        }
    }
}

/// All kinds but those whose changes nobody here makes.
fn made() -> EventsQuery {
    EventsQuery::from_now().kinds(EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::Mode))
}

fn made_after(cursor: &str) -> EventsQuery {
    EventsQuery::after(cursor).kinds(made().kinds)
}

async fn add_blob(node: &Node, content: &str) -> String {
    node.blobs().add(std::io::Cursor::new(content.as_bytes().to_vec())).await.unwrap().hash.to_string()
}

/// Does a little of everything. Returns what is to be told of it.
async fn live(node: &Node, n: u32) -> Vec<String> {
    let memory = node.brain().remember(NewMemory::note(format!("memory {n}"))).await.unwrap().id;
    let task = node.tasks().submit(NewTask::new("add", json!(n))).await.unwrap().id;
    let critical = node.critical().unwrap();
    let key = critical.put(&format!("key/{n}"), "value", PutOptions::default()).await.unwrap();
    let blob = add_blob(node, &format!("content {n}")).await;
    vec![
        format!("remembered {memory}"),
        format!("task {task}"),
        format!("critical key/{n} at {key}"),
        format!("blob {blob} added"),
    ]
}

/// The events of one source in their order: the sources have none among each other.
fn by_source(all: &[String]) -> Vec<Vec<&str>> {
    let is_of = |said: &&str, words: &[&str]| words.iter().any(|word| said.starts_with(word));
    let of = |words: &[&str]| all.iter().map(String::as_str).filter(|said| is_of(said, words)).collect::<Vec<_>>();
    let log = ["remembered", "edited", "forgotten", "member", "space", "task"];
    vec![of(&log), of(&["critical"]), of(&["blob"]), of(&["peer"]), of(&["missed"])]
}

/// promise: Commands and API | A node has one stream of events: memories, tasks, keys and locks, peers, members, blobs
#[tokio::test(flavor = "multi_thread")]
async fn one_stream_tells_of_all_that_happens() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let node = start(&one, "one").await;
    let mut events = node.events(EventsQuery::from_now()).await.unwrap();
    let told = live(&node, 1).await;
    let lock = node.critical().unwrap().lock("build", LockOptions::default()).await.unwrap();
    let other = join(&node, &two, "two", Invite::default()).await;
    let (peer, member) = (format!("peer {} true", other.did()), format!("member {}", other.did()));
    let wanted: Vec<&str> =
        told.iter().map(String::as_str).chain(["critical build at", peer.as_str(), member.as_str()]).collect();
    until(&mut events, &wanted).await;
    lock.release().await.unwrap();
    other.shutdown().await;
    until(&mut events, &["critical build at", &format!("peer {} false", other.did())]).await;
    node.shutdown().await;
    let ended = async { while events.next().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the stream ends with the node");
}

/// promise: Commands and API | A reader of events that begins late, or goes on from the cursor of any event, is told the same as one that was there all along
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_begin_late_or_go_on_from_a_cursor_are_told_the_same() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let begin = node.events(made()).await.unwrap().cursor();
    let mut early = node.events(made_after(&begin)).await.unwrap();
    let mut wanted = Vec::new();
    for n in 0..12 {
        wanted.extend(live(&node, n).await);
    }
    // several keys at one revision
    let critical = node.critical().unwrap();
    let mut txn = Txn::default();
    txn.then = ["a", "b", "c"].map(|key| Step::Put(Put::new(key, "1"))).into();
    let revision = critical.txn(txn).await.unwrap().revision;
    let last = format!("critical c at {revision}");
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).chain([last.as_str()]).collect();
    let (all, _) = until(&mut early, &wanted).await;

    let mut late = node.events(made_after(&begin)).await.unwrap();
    assert_eq!(by_source(&until(&mut late, &wanted).await.0), by_source(&all));

    // a reader that is cut off after each event
    let (mut cursor, mut fitful) = (begin, Vec::new());
    while !wanted.iter().all(|begins| fitful.iter().any(|said: &String| said.starts_with(begins))) {
        let event = next(&mut node.events(made_after(&cursor)).await.unwrap()).await;
        fitful.push(said(&event.news));
        cursor = event.cursor;
    }
    assert_eq!(by_source(&fitful), by_source(&all));
    node.shutdown().await;
}

/// promise: Commands and API | After a restart a reader of events goes on from its cursor: nothing of the log is lost, and it is told which other kinds are to be read again
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outlives_the_node_and_what_does_not_is_said() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let mut events = node.events(made()).await.unwrap();
    let told = live(&node, 1).await;
    let wanted: Vec<&str> = told.iter().map(String::as_str).collect();
    let (_, cursor) = until(&mut events, &wanted).await;
    let missed = live(&node, 2).await;
    node.shutdown().await;
    drop((node, events));
    let node = start(&dir, "one").await;
    let mut events = node.events(made_after(&cursor)).await.unwrap();
    let after = live(&node, 3).await;
    let wanted: Vec<&str> = missed[..2].iter().chain(&after).map(String::as_str).collect();
    let (all, _) = until(&mut events, &wanted).await;
    // a copy of the keys may have forgotten their changes with the restart
    assert!(all.contains(&missed[2]) || all.contains(&"missed critical".to_owned()), "{all:#?}");
    assert!(all.contains(&"missed peers+blobs".to_owned()), "{all:#?}");
    assert!(!all.contains(&missed[3]), "a blob that an earlier run noted: {all:#?}");
    assert!(!all.iter().any(|said| told.contains(said)), "seen before the cursor: {all:#?}");
    node.shutdown().await;
}

/// promise: Commands and API | Events of peers and blobs are kept in a bound for their readers; a reader that is too slow is told so
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_it_missed_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let query = || EventsQuery::from_now().kinds([EventKind::Memories, EventKind::Blobs]);
    let mut slow = node.events(query()).await.unwrap();
    let first = add_blob(&node, "first").await;
    assert_eq!(said(&next(&mut slow).await.news), format!("blob {first} added"));
    for n in 0..1_100 {
        add_blob(&node, &format!("{n}")).await;
    }
    let memory = node.brain().remember(NewMemory::note("meanwhile")).await.unwrap().id;
    let (mut blobs, mut all) = (0, Vec::new());
    while blobs < 1_024 || !all.contains(&format!("remembered {memory}")) {
        let said = said(&next(&mut slow).await.news);
        blobs += usize::from(said.starts_with("blob"));
        all.push(said);
    }
    let missed: Vec<&String> = all.iter().filter(|said| said.starts_with("missed")).collect();
    assert_eq!(missed, ["missed blobs"], "once, and nothing of the log");
    assert_eq!(blobs, 1_024, "those that are still there");
    // it goes on as any other
    let last = add_blob(&node, "last").await;
    assert_eq!(said(&next(&mut slow).await.news), format!("blob {last} added"));
    node.shutdown().await;
}

/// promise: Commands and API | A cursor of another node, a garbled one and a number of an older kind are refused by name
#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_taken_or_refused_and_never_misread() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let node = start(&one, "one").await;
    let stranger = start(&two, "two").await;
    live(&node, 1).await;
    let mut events = node.events(made()).await.unwrap();
    let told = live(&node, 2).await;
    let wanted: Vec<&str> = told.iter().map(String::as_str).collect();
    let (_, cursor) = until(&mut events, &wanted).await;
    let refused = async |node: &Node, cursor: &str| {
        let opened = node.events(made_after(cursor)).await;
        opened.map(|_| "taken").unwrap_or_else(|error| error.code())
    };
    assert_eq!(refused(&node, &cursor).await, "taken");
    assert_eq!(refused(&stranger, &cursor).await, "invalid");
    for old in ["0", "7", "18446744073709551615"] {
        assert_eq!(refused(&node, old).await, "cursor_old", "{old}");
    }
    let cut = &cursor[..cursor.len() - 1];
    let turned: String = cursor.chars().rev().collect();
    for garbled in ["", "n1", "nonsense", cut, &turned, &cursor.to_uppercase(), &format!("{cursor}a")] {
        assert_eq!(refused(&node, garbled).await, "invalid", "{garbled}");
    }
    // a watch of the memory alone hands out cursors of the same kind
    let mut watch = node.brain().watch(WatchQuery::from_now()).await.unwrap();
    let memory = node.brain().remember(NewMemory::note("between")).await.unwrap().id;
    let of_watch = watch.next().await.unwrap().unwrap().cursor;
    let after = live(&node, 3).await;
    let mut events = node.events(made_after(&of_watch)).await.unwrap();
    let (all, _) = until(&mut events, &[after[0].as_str()]).await;
    assert!(!all.contains(&format!("remembered {memory}")), "{all:#?}");
    // and it takes those of the stream
    let mut watch = node.brain().watch(WatchQuery::after(cursor)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().subject.to_string(), memory.to_string());
    for node in [node, stranger] {
        node.shutdown().await;
    }
}

/// promise: Commands and API | A reader of the events of one space is told of that space alone, and kinds without a space are refused beside one
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_one_space_is_told_of_no_other() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    node.brain().create_space("work".parse().unwrap()).await.unwrap();
    let of_log = [EventKind::Memories, EventKind::Members, EventKind::Spaces, EventKind::Tasks, EventKind::Documents];
    let mut events = node.events(EventsQuery::from_now().kinds(of_log).space("work")).await.unwrap();
    live(&node, 1).await;
    let inside = node.brain().remember(NewMemory::note("inside").space("work")).await.unwrap().id;
    assert_eq!(said(&next(&mut events).await.news), format!("remembered {inside}"));
    for kind in [EventKind::Critical, EventKind::Peers, EventKind::Blobs, EventKind::Mode] {
        let opened = node.events(EventsQuery::from_now().kinds([kind]).space("work")).await;
        assert_eq!(opened.map(|_| ()).unwrap_err().code(), "invalid", "{kind}");
    }
    node.shutdown().await;
}
