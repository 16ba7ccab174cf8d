//! Deleted bytes leave the disk.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::path::PathBuf;
use std::time::Duration;

use nexus_node::internals::store::{Batch, Store, StoreOptions, Table};
use serde_json::Value;

use crate::support::{Home, files, texts};

/// The bytes that are looked for.
const CANARY: &str = "canary-7f1c-that-nobody-else-says";

/// The files with these bytes.
fn with_canary(home: &Home) -> Vec<PathBuf> {
    let has = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    files(&home.path()).into_iter().filter(|(_, bytes)| has(bytes)).map(|(path, _)| path).collect()
}

/// A stopped node with some memories, whose stores had rows that were deleted since.
fn with_deleted_rows() -> Home {
    let home = Home::new();
    let node = home.up();
    for n in 0..30 {
        home.json(&["remember", &format!("memory number {n}")]);
    }
    home.run(&["kv", "put", "kept", "1"]).ok();
    node.terminate();
    for name in ["brain.redb", "raft.redb"] {
        let segment_bytes = if name == "raft.redb" { 0 } else { 2 << 20 };
        let store = Store::open(home.path().join(name), StoreOptions::default().segment_bytes(segment_bytes)).unwrap();
        let (mut put, mut delete) = (Batch::new(), Batch::new());
        for n in 0..200_u32 {
            let key = [b"planted".as_slice(), &n.to_be_bytes()].concat();
            put.put(Table::Peers, &key, CANARY.repeat(20).as_bytes());
            delete.delete(Table::Peers, &key);
        }
        store.commit(&[put]).unwrap();
        store.commit(&[delete]).unwrap();
        store.close();
    }
    let mut found: Vec<PathBuf> = with_canary(&home);
    found.retain(|path| path.extension().is_some_and(|kind| kind == "redb"));
    assert_eq!(found.len(), 2, "deleted rows leave their bytes: {found:?}");
    home
}

fn part<'a>(done: &'a Value, name: &str) -> &'a Value {
    done["parts"].as_array().unwrap().iter().find(|part| part["part"] == name).unwrap()
}

/// promise: Deleted bytes | After `compact` what was deleted is in no file of the data directory, and the node goes on
#[test]
fn what_was_deleted_is_in_no_file_after_a_compaction_of_a_running_node() {
    let home = with_deleted_rows();
    let node = home.up();
    let content = home.beside("content");
    std::fs::write(&content, CANARY.repeat(100_000)).unwrap();
    let blob = home.json(&["blob", "add", content.to_str().unwrap()]);
    let hash = blob["hash"].as_str().unwrap().to_owned();
    let found = with_canary(&home);
    assert!(found.iter().any(|path| path.ends_with(&hash)), "{found:?}");
    home.run(&["blob", "rm", &hash]).ok();
    home.run(&["forget", home.json(&["remember", "soon forgotten"])["id"].as_str().unwrap(), "--yes"]).ok();
    let before = texts(&home);
    let done = home.json(&["compact"]);
    assert_eq!(done["clean"], true, "{done}");
    let [before_bytes, after_bytes, freed] =
        ["before_bytes", "after_bytes", "freed_bytes"].map(|field| done[field].as_u64());
    assert_eq!(freed, Some(before_bytes.unwrap().saturating_sub(after_bytes.unwrap())));
    assert!(part(&done, "store")["after_bytes"].as_u64() < part(&done, "store")["before_bytes"].as_u64(), "{done}");
    assert!(part(&done, "coordinators")["after_bytes"].as_u64() > Some(0), "{done}");
    assert_eq!(with_canary(&home), Vec::<PathBuf>::new());
    assert_eq!(texts(&home), before);
    home.json(&["remember", "after the compaction"]);
    assert_eq!(home.json(&["kv", "get", "kept"])["value"], "1");
    home.run(&["kv", "put", "later", "2"]).ok();
    let found = home.json(&["recall", "number 7"]);
    assert_eq!(found[0]["text"], "memory number 7", "{found}");
    // again, with nothing to do, and after a restart
    assert_eq!(home.json(&["compact"])["clean"], true);
    let all = texts(&home);
    node.terminate();
    let node = home.up();
    assert!(!home.warnings().contains(&"restored".to_owned()), "{}", home.log());
    assert_eq!((texts(&home), &home.json(&["kv", "get", "later"])["value"]), (all, &Value::from("2")));
    assert_eq!(node.http("GET", "/v1/compact", "").json()["part"], Value::Null);
}

/// promise: Deleted bytes | After `compact` what was deleted is in no file of the data directory, and the node goes on
#[test]
fn a_directory_whose_node_does_not_run_is_compacted_too() {
    let home = with_deleted_rows();
    let done = home.json(&["compact"]);
    assert_eq!(done["clean"], true, "{done}");
    assert_eq!(with_canary(&home), Vec::<PathBuf>::new());
    let _node = home.up();
    assert!(!home.warnings().contains(&"restored".to_owned()), "{}", home.log());
    assert_eq!(texts(&home).len(), 30);
    assert_eq!(home.json(&["kv", "get", "kept"])["value"], "1");
}

/// promise: Deleted bytes | A compaction is no restored backup, whenever it is killed, and hides none
#[test]
fn a_node_that_is_killed_while_it_compacts_has_all_its_memories_and_is_no_copy() {
    let home = with_deleted_rows();
    let mut wait = Duration::ZERO;
    for _ in 0..12 {
        let node = home.up();
        assert!(!home.warnings().contains(&"restored".to_owned()), "{}", home.log());
        assert_eq!(texts(&home).len(), 30);
        std::thread::scope(|scope| {
            let compacting = scope.spawn(|| home.run(&["compact", "--json"]));
            std::thread::sleep(wait);
            node.kill_9();
            let _ = compacting.join();
        });
        wait += Duration::from_millis(15);
    }
    let _node = home.up();
    assert!(!home.warnings().contains(&"restored".to_owned()), "{}", home.log());
    assert_eq!(home.json(&["compact"])["clean"], true);
    assert_eq!((texts(&home).len(), with_canary(&home)), (30, Vec::new()));
    let left = files(&home.path())
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|kind| kind == "old" || kind == "compact"));
    assert_eq!(left.count(), 0);
}
