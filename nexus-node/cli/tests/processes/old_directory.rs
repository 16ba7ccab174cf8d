//! An earlier version's data directory opens and shows the same.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::io::Read;
use std::path::{Path, PathBuf};

use nexus_node::internals::store::{Batch, FORMAT, FORMAT_KEY, Store, StoreOptions, Table, View};
use serde_json::Value;

use crate::support::Home;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1").join(name)
}

/// Unpacks the directory of a node of format 1. It passes for the original, since a copy would start
/// again as another voter.
fn old_directory() -> Home {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    for name in ["identity.key", "root.key"] {
        std::fs::copy(fixture(name), home.path().join(name)).unwrap();
    }
    for name in ["brain.redb", "raft.redb", "raft.log"] {
        let packed = std::fs::File::open(fixture(&format!("{name}.gz"))).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        std::fs::write(home.path().join(name), bytes).unwrap();
    }
    let store = Store::open(home.path().join("brain.redb"), StoreOptions::default()).unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Meta, b"fingerprint");
    store.commit(&[batch]).unwrap();
    home
}

/// Everything that was shown before is shown now. More is allowed.
fn assert_shown(before: &Value, now: &Value, place: &str) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            // the author is that of the shown text; where there are several texts, it was that of the record
            let several = before.get("conflicts").is_some_and(|fields| fields.get("text").is_some());
            let edited = several || before.get("updated_at") != before.get("created_at");
            let other_author = |member: &str| edited && matches!(member, "author" | "author_name");
            // the remaining time of a lease may differ, too
            let compared = before.iter().filter(|(member, _)| *member != "expires_in_ms" && !other_author(member));
            for (member, value) in compared {
                let place = format!("{place}.{member}");
                assert_shown(value, now.get(member).unwrap_or_else(|| panic!("{place} is gone")), &place);
            }
        }
        (Value::Array(before), Value::Array(now)) => {
            assert!(now.len() >= before.len(), "{place} has {} of {}", now.len(), before.len());
            for (at, (before, now)) in before.iter().zip(now).enumerate() {
                assert_shown(before, now, &format!("{place}[{at}]"));
            }
        }
        _ => assert_eq!(before, now, "{place}"),
    }
}

/// promise: Bad input | A data directory of an earlier format opens, shows what it showed, and is raised
#[test]
fn a_directory_of_format_1_shows_what_it_showed() {
    let home = old_directory();
    let node = home.up();
    let shown: Value = serde_json::from_str(&std::fs::read_to_string(fixture("shown.json")).unwrap()).unwrap();
    assert!(home.log().contains("derived tables were rebuilt"), "{}", home.log());
    let lines = |arguments: &[&str]| {
        let lines = home.run(arguments).stdout;
        Value::Array(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    let list = home.json(&["list", "--limit", "1000"]);
    assert_shown(&shown["list"], &list, "list");
    assert_eq!(list["items"].as_array().unwrap().len(), shown["list"]["items"].as_array().unwrap().len());
    for (id, memory) in shown["get"].as_object().unwrap() {
        assert_shown(memory, &home.json(&["get", id]), id);
        assert_shown(&shown["history"][id], &home.json(&["history", id]), &format!("history of {id}"));
    }
    let mut spaces = home.json(&["space", "list"]);
    // it came with a later version
    spaces.as_array_mut().unwrap().retain(|space| space["space"] != "tasks");
    assert_shown(&shown["spaces"], &spaces, "spaces");
    assert_shown(&shown["members"], &home.json(&["members"]), "members");
    assert_shown(&shown["kv"], &home.json(&["kv", "list"]), "kv");
    assert_shown(&shown["locks"], &home.json(&["lock", "list"]), "locks");
    assert_shown(&shown["audit"], &lines(&["audit", "--json"]), "audit");
    assert_shown(&shown["export"], &lines(&["export"]), "export");
    assert!(home.run(&["audit", "verify"]).stdout.starts_with("ok: "));
    // a forgotten memory is neither listed nor found, and the index was made anew
    let found = home.json(&["recall", "staging database"]);
    assert!(found[0]["text"].as_str().unwrap().contains("staging database"), "{found}");
    assert_eq!(home.json(&["recall", "secret that was forgotten"]), Value::Array(vec![]));

    assert_eq!(node.terminate().0, Some(0));
    let store = Store::open(home.path().join("brain.redb"), StoreOptions::default().segment_bytes(0)).unwrap();
    let format = store.snapshot().unwrap().get(Table::Meta, FORMAT_KEY).unwrap();
    assert_eq!(format.as_deref(), Some(FORMAT.to_le_bytes().as_slice()), "earlier versions refuse it");
    drop(store);
    // the next start has nothing left to do
    let before = home.log().matches("derived tables were rebuilt").count();
    let node = home.up();
    assert_eq!(home.log().matches("derived tables were rebuilt").count(), before);
    assert_shown(&shown["list"], &home.json(&["list", "--limit", "1000"]), "list");
    drop(node);
}
