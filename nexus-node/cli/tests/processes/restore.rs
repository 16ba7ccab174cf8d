//! Backups of a data directory are put back into that very directory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Home, Node, files, pair, texts, until};
use nexus_node::internals::store::{Store, StoreOptions, Table, View};
use serde_json::{Value, json};

/// The way in which a backup is put back.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// All files are deleted and copied back. Nothing outside of the directory remembers it.
    Replaced,
    /// The bytes are written into the files that are there.
    Overwritten,
}

/// Makes the files of one directory those of another.
fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn backup(home: &Home) -> PathBuf {
    let backup = home.beside("backup");
    copy(&home.path(), &backup);
    backup
}

fn put_back(home: &Home, backup: &Path, way: Way) {
    for (path, _) in files(&home.path()) {
        let kept = backup.join(path.strip_prefix(home.path()).unwrap()).exists();
        if matches!(way, Way::Replaced) || !kept {
            fs::remove_file(path).unwrap();
        }
    }
    if matches!(way, Way::Replaced) {
        fs::remove_dir_all(home.beside("state")).unwrap();
    }
    copy(backup, &home.path());
}

fn until_listed(home: &Home, texts_wanted: &[String]) {
    let mut wanted = texts_wanted.to_vec();
    wanted.sort();
    let mut last = Vec::new();
    until(&format!("the memories {wanted:?}"), || {
        last = texts(home);
        (last == wanted).then_some(())
    });
}

/// A row of a file of a node that is down.
fn row(home: &Home, file: &str, table: Table, key: &[u8]) -> Vec<u8> {
    let store = Store::open(home.path().join(file), StoreOptions::default()).unwrap();
    store.snapshot().unwrap().get(table, key).unwrap().unwrap()
}

/// promise: Store and data directory | A restart, a new version and files that Nexus makes itself are no restored backup
#[test]
fn a_node_that_is_stopped_killed_and_joined_goes_on_in_its_log_and_with_its_vote() {
    let ((laptop, first), (cloud, second)) = pair();
    let kept = |home: &Home| {
        [row(home, "brain.redb", Table::Meta, b"incarnation"), row(home, "raft.redb", Table::RaftMeta, b"draw")]
    };
    first.terminate();
    second.kill_9();
    let before = [kept(&laptop), kept(&cloud)];
    for _ in 0..2 {
        let nodes = [laptop.up(), cloud.up()];
        for home in [&laptop, &cloud] {
            assert!(!home.warnings().contains(&"restored".to_owned()), "{}", home.log());
        }
        let [first, second] = nodes;
        first.kill_9();
        second.terminate();
    }
    assert_eq!([kept(&laptop), kept(&cloud)], before);
}

/// promise: Store and data directory | A backup that was put back is noticed, also in the same directory
#[test]
fn nothing_is_lost_or_hidden_once_a_backup_is_put_back() {
    for way in [Way::Replaced, Way::Overwritten] {
        let ((laptop, first), (cloud, second)) = pair();
        let mut all = vec!["before".to_owned()];
        laptop.json(&["remember", "before"]);
        until_listed(&cloud, &all);
        first.terminate();
        let backup = backup(&laptop);

        let first = laptop.up();
        for n in 0..3 {
            let text = format!("between {n}");
            laptop.json(&["remember", &text]);
            all.push(text);
        }
        until_listed(&cloud, &all);
        first.terminate();
        second.terminate();
        put_back(&laptop, &backup, way);

        let _first = laptop.up();
        assert!(laptop.warnings().contains(&"restored".to_owned()), "{way:?}: {}", laptop.log());
        assert!(laptop.log().contains("the data directory was put back from a copy"), "{}", laptop.log());
        let checks = laptop.json(&["doctor"]);
        let told =
            |check: &Value| check["detail"].as_str().is_some_and(|detail| detail.contains("put back from a copy"));
        assert!(checks.as_array().unwrap().iter().any(told), "{checks}");
        // more than was lost, so that the old log would go on past its end
        for n in 0..5 {
            let text = format!("after {n}");
            laptop.json(&["remember", &text]);
            all.push(text);
        }
        let _second = cloud.up();
        for home in [&laptop, &cloud] {
            until_listed(home, &all);
            assert!(!home.warnings().contains(&"fork".to_owned()), "{way:?}: {}", home.log());
        }
    }
}

/// Puts the state outside of the directory back, too, as a snapshot of the whole machine does.
fn put_machine_back(home: &Home, backup: &Path, state: &Path) {
    put_back(home, backup, Way::Overwritten);
    copy(state, &home.beside("state"));
}

/// A machine that wrote "before" and "between", which the other one has, and a backup of all of it from in between.
/// Both nodes run.
fn with_a_machine_backup() -> ((Home, Node), (Home, Node), [PathBuf; 2]) {
    let ((laptop, first), (cloud, second)) = pair();
    laptop.json(&["remember", "before"]);
    until_listed(&cloud, &["before".to_owned()]);
    first.terminate();
    let (backup, state) = (backup(&laptop), laptop.beside("old state"));
    copy(&laptop.beside("state"), &state);
    let first = laptop.up();
    laptop.json(&["remember", "between"]);
    until_listed(&cloud, &["before", "between"].map(str::to_owned));
    ((laptop, first), (cloud, second), [backup, state])
}

/// promise: Store and data directory | A whole machine that was put back is noticed with the help of the others
#[test]
fn others_notice_a_machine_that_was_put_back_before_it_writes() {
    let ((laptop, first), (cloud, _second), [backup, state]) = with_a_machine_backup();
    let all = ["before", "between", "after"].map(str::to_owned);
    first.terminate();
    put_machine_back(&laptop, &backup, &state);

    let _first = laptop.up();
    laptop.json(&["remember", "after"]);
    until("it is told", || laptop.warnings().contains(&"restored".to_owned()).then_some(()));
    for home in [&laptop, &cloud] {
        until_listed(home, &all);
        assert!(!home.warnings().contains(&"fork".to_owned()), "{}", home.log());
    }
}

/// promise: Bad input | A log that goes on from an entry that is not here: not taken, reported
/// promise: Store and data directory | A machine that was put back and forked its log settles without a hand, and nothing is lost
#[test]
fn a_machine_that_forked_its_log_is_told_and_settles_without_a_hand() {
    let ((laptop, first), (cloud, second), [backup, state]) = with_a_machine_backup();
    first.terminate();
    second.terminate();
    put_machine_back(&laptop, &backup, &state);

    // alone it cannot know, and forks its log
    let _first = laptop.up();
    for text in ["after", "and after"] {
        laptop.json(&["remember", text]);
    }
    let second = cloud.up();
    until("the fork is told", || cloud.warnings().contains(&"fork".to_owned()).then_some(()));
    let all = ["before", "between", "after", "and after"].map(str::to_owned);
    for home in [&laptop, &cloud] {
        until_listed(home, &all);
    }
    until("it is told", || laptop.warnings().contains(&"restored".to_owned()).then_some(()));
    // it is over once the machine has gone on in another log
    second.kill_9();
    let _second = cloud.up();
    laptop.json(&["remember", "in the new log"]);
    let later = [&all[..], &["in the new log".to_owned()]].concat();
    until_listed(&cloud, &later);
    assert!(!cloud.warnings().contains(&"fork".to_owned()), "{}", cloud.log());
}

fn until_three_vote(homes: &[&Home]) {
    for home in homes {
        until("three voters", || {
            let seen = home.json(&["coordinator"]);
            (seen["voters"].as_array()?.len() == 3 && seen["mode"] == "full").then_some(())
        });
    }
}

/// promise: Store and data directory | A voter whose backup was put back does not vote as the one that it was
#[test]
fn a_voter_that_has_forgotten_does_not_vote_as_before() {
    let home = || Home::new().with("NEXUS_VOTER_SETTLE_MS", "200");
    let homes = [home(), home(), home()];
    let [one, two, three] = &homes;
    let mut nodes = vec![one.up_with(&["--name", "one"])];
    for (home, name) in [(two, "two"), (three, "three")] {
        let ticket = one.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
        home.json(&["join", &ticket, "--name", name]);
        nodes.push(home.up());
    }
    until_three_vote(&[one, two, three]);
    let listen: Vec<Vec<String>> = nodes.iter().map(Node::listens).collect();
    let [first, second, third] = <[Node; 3]>::try_from(nodes).ok().unwrap();
    one.json(&["kv", "put", "k", "old"]);
    second.terminate();
    let backup = backup(two);
    let draw = row(two, "raft.redb", Table::RaftMeta, b"draw");
    let second = two.up_at(&listen[1]);
    until_three_vote(&[one, two, three]);

    // two has confirmed this value, and forgets it
    third.terminate();
    until("the two that are left decide", || (one.run(&["kv", "put", "k", "new"]).code == 0).then_some(()));
    first.terminate();
    second.terminate();
    put_back(two, &backup, Way::Replaced);

    let (second, _third) = (two.up_at(&listen[1]), three.up_at(&listen[2]));
    assert!(two.warnings().contains(&"restored".to_owned()), "{}", two.log());
    for home in [two, three] {
        until("the two meet", || (home.json(&["status"])["peers"] == 1).then_some(()));
    }
    let (_, error) = three.error(&["kv", "get", "k"]);
    assert_eq!(error["code"], json!("no_quorum"), "two votes as before: {error}");

    let _first = one.up_at(&listen[0]);
    until_three_vote(&[one, two, three]);
    for home in &homes {
        assert_eq!(home.json(&["kv", "get", "k"])["value"], "new");
    }
    second.terminate();
    assert_ne!(row(two, "raft.redb", Table::RaftMeta, b"draw"), draw);
}

/// Prints the logs of nodes if their test fails.
#[cfg(target_os = "linux")]
struct Logs<'a>([&'a Home; 3]);

#[cfg(target_os = "linux")]
impl Drop for Logs<'_> {
    #[expect(clippy::print_stderr, reason = "for whoever reads why the test failed")]
    fn drop(&mut self) {
        for home in self.0.iter().filter(|_| std::thread::panicking()) {
            eprintln!("{}\n", home.log());
        }
    }
}

/// promise: Meeting | A second process with a member's identity takes no connection of the first one away
#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_runs_beside_its_original_waits_until_the_original_is_gone() {
    let ((laptop, first), (cloud, _second)) = pair();
    first.terminate();
    let copied = Home::new();
    copy(&laptop.path(), &copied.path());
    let _logs = Logs([&laptop, &cloud, &copied]);
    let first = laptop.up();
    until("the two are connected", || (laptop.json(&["status"])["peers"] == 1).then_some(()));

    let _copy = copied.up();
    until("the copy says so", || copied.warnings().contains(&"running_twice".to_owned()).then_some(()));
    until("the other member says so", || cloud.warnings().contains(&"runs_twice".to_owned()).then_some(()));
    assert_eq!(copied.json(&["status"])["peers"], 0);
    assert!(!laptop.warnings().contains(&"running_twice".to_owned()));
    copied.json(&["remember", "by the copy"]);
    laptop.json(&["remember", "by the original"]);
    until_listed(&cloud, &["by the original".to_owned()]);

    // the original hangs: its connections are open, and nobody answers
    let signal = |signal: &str| {
        let done = std::process::Command::new("kill").args([signal, &first.pid().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    let all = ["by the copy".to_owned(), "by the original".to_owned()];
    let mut tried: Option<std::time::Instant> = None;
    until("the copy has its place", || {
        // it tries at once when its network is back, else every 5 minutes
        if tried.is_none_or(|last| last.elapsed().as_secs() >= 8) {
            copied.run(&["offline"]).ok();
            copied.run(&["online"]).ok();
            tried = Some(std::time::Instant::now());
        }
        [&cloud, &copied].iter().all(|home| texts(home) == all).then_some(())
    });
    assert!(!copied.warnings().contains(&"running_twice".to_owned()), "{}", copied.log());
    signal("-CONT");
    until("the original is the other one now", || {
        laptop.warnings().contains(&"running_twice".to_owned()).then_some(())
    });
}
