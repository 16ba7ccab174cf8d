//! Erased texts are found by nobody, and in no file.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Home, Node, files, pair, texts, until, until_listed};

/// The bytes that are looked for.
const PASSWORD: &str = "hunter2-correct-horse-battery";

/// The files of a node with these bytes.
fn with_password(home: &Home) -> Vec<PathBuf> {
    let has = |bytes: &[u8]| bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
    files(&home.path()).into_iter().filter(|(_, bytes)| has(bytes)).map(|(path, _)| path).collect()
}

/// Whether a restarted node has them in its memory.
#[cfg(target_os = "linux")]
fn remembers(node: &Node) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let of = |what: &str| format!("/proc/{}/{what}", node.pid());
    let mut memory = std::fs::File::open(of("mem")).unwrap();
    std::fs::read_to_string(of("maps")).unwrap().lines().any(|line| {
        let mut words = line.split(' ');
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        if !words.next().unwrap().starts_with("rw") {
            return false;
        }
        let [from, to] = [from, to].map(|place| u64::from_str_radix(place, 16).unwrap());
        let mut bytes = Vec::new();
        // a part may go meanwhile
        let read = memory.seek(SeekFrom::Start(from)).and_then(|_| (&memory).take(to - from).read_to_end(&mut bytes));
        let has = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        read.is_ok() && has
    })
}

/// A third machine in the mesh of `inviter`.
fn joined(inviter: &Home, name: &str) -> (Home, Node) {
    let home = Home::new();
    let ticket = inviter.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    home.json(&["join", &ticket, "--name", name]);
    let node = home.up();
    (home, node)
}

/// Erases a memory once the mesh has raised its formats.
fn erase(home: &Home, id: &str) -> Value {
    until("the mesh erases", || {
        let run = home.run(&["forget", "--erase", "--yes", "--json", id]);
        (run.code == 0).then(|| serde_json::from_str(&run.stdout).unwrap())
    })
}

/// Waits until so many members say so of a memory.
fn until_said(home: &Home, id: &str, what: &str, count: usize) -> Value {
    until(what, || {
        let status = home.json(&["erase", "status", id]);
        (status[what].as_array().unwrap().len() == count).then_some(status)
    })
}

/// Waits until a node knows a task.
fn until_seen(home: &Home, task: &str) {
    until("the task is there", || (home.run(&["task", "show", task]).code == 0).then_some(()));
}

/// promise: Erasure | A password that was erased from a memory, a task and a document is in no file of three machines, one of which was off, nor in its memory
#[test]
fn a_password_in_a_memory_a_task_and_a_document_of_three_machines_is_found_by_no_byte_search() {
    let ((laptop, _first), (desk, _second)) = pair();
    let (office, third) = joined(&laptop, "office");
    // the mesh erases by now, so that texts of tasks stand apart
    for home in [&laptop, &desk] {
        let first = home.json(&["remember", "the first"])["id"].as_str().unwrap().to_owned();
        assert_eq!(erase(home, &first)["erased"], true);
    }
    let id =
        desk.json(&["remember", &format!("the key of the build is {PASSWORD}")])["id"].as_str().unwrap().to_owned();
    desk.json(&["remember", "tests run with cargo test"]);
    desk.json(&["edit", &id, &format!("the key of the build server is {PASSWORD}, too")]);
    let edited = format!("the key of the build server is {PASSWORD}, too");
    for home in [&laptop, &desk, &office] {
        until_listed(home, &["tests run with cargo test", &edited]);
        assert_eq!(home.json(&["recall", PASSWORD])[0]["id"], id.as_str());
        assert!(!with_password(home).is_empty());
    }
    let input = format!("{{\"password\":\"{PASSWORD}\"}}");
    let task = desk.json(&["task", "submit", "review", "--input", &input])["id"].as_str().unwrap().to_owned();
    until_seen(&laptop, &task);
    until_seen(&office, &task);
    // two members write in one document, and it begins anew once
    let plan = desk.json(&["doc", "create", "plan"])["url"].as_str().unwrap().to_owned();
    desk.json(&["doc", "set", "plan", "key", &format!("\"{PASSWORD}\"")]);
    until("the document is there", || (laptop.run(&["doc", "get", "plan", "key"]).code == 0).then_some(()));
    laptop.json(&["doc", "set", "plan", "seen", "true"]);
    let plan_again = laptop.json(&["doc", "compact", "plan"])["url"].as_str().unwrap().to_owned();
    assert_ne!(plan, plan_again);
    laptop.json(&["doc", "set", "plan", "again", &format!("\"{PASSWORD}\"")]);
    for home in [&desk, &office] {
        until("the document is there", || (home.run(&["doc", "get", "plan", "again"]).code == 0).then_some(()));
    }

    let (told, open) = (erase(&desk, &task), "it has not ended");
    assert!(told["why"].as_str().unwrap().contains(open), "{told}");
    desk.json(&["task", "cancel", &task]);
    third.terminate();

    let status = laptop.json(&["erase", "status", &id]);
    assert_eq!(status["erased"], false);
    let erased = erase(&desk, &id);
    assert_eq!((&erased["id"], &erased["erased"]), (&Value::from(id.as_str()), &Value::from(true)));
    let erased = erase(&desk, &task);
    assert_eq!((&erased["kind"], &erased["erased"]), (&Value::from("task"), &Value::from(true)), "{erased}");
    let refused = erase(&desk, &plan_again);
    assert!(refused["why"].as_str().unwrap().contains("an admin can"), "{refused}");
    let erased = erase(&laptop, &plan_again);
    assert_eq!((&erased["kind"], &erased["erased"]), (&Value::from("document"), &Value::from(true)), "{erased}");
    until_said(&laptop, &plan_again, "hidden", 2);
    until_said(&laptop, &plan, "hidden", 2);
    until_said(&laptop, &task, "hidden", 2);
    let status = until_said(&laptop, &id, "hidden", 2);
    assert_eq!((&status["erased"], &status["missing"]), (&Value::from(true), &serde_json::json!(["office"])));
    for home in [&laptop, &desk] {
        assert_eq!(texts(home), ["tests run with cargo test"]);
        assert!(!home.run(&["recall", PASSWORD]).stdout.contains("build server"));
        assert_eq!(home.error(&["get", &id]).0, 5);
        assert_eq!(home.error(&["history", &id]).0, 5);
        assert_eq!(home.error(&["forget", "--undo", &id]).0, 5);
        for name in ["plan", &plan, &plan_again] {
            let (code, told) = home.error(&["doc", "get", name]);
            assert_eq!(code, 5, "{told}");
            assert_eq!(home.error(&["doc", "set", name, "x", "1"]).0, 5);
        }
        assert_eq!(home.json(&["doc", "list"]), serde_json::json!([]));
        let done = home.json(&["compact"]);
        assert_eq!(done["clean"], true, "{done}");
        assert_eq!(with_password(home), Vec::<PathBuf>::new());
    }
    until_said(&laptop, &id, "gone", 2);
    until_said(&laptop, &plan_again, "gone", 2);
    // its facts stay
    assert_eq!(laptop.json(&["task", "show", &task])["capability"], "review");

    // the machine that was off has it until it hears of that
    assert!(!with_password(&office).is_empty());
    let third = office.up();
    until_said(&laptop, &plan_again, "hidden", 3);
    until_said(&laptop, &task, "hidden", 3);
    let status = until_said(&laptop, &id, "hidden", 3);
    assert_eq!(status["missing"], serde_json::json!([]));
    assert_eq!(texts(&office), ["tests run with cargo test"]);
    assert_eq!(office.json(&["compact"])["clean"], true);
    assert_eq!(with_password(&office), Vec::<PathBuf>::new());
    until_said(&desk, &id, "gone", 3);
    until_said(&desk, &plan, "gone", 3);
    third.terminate();
    let third = office.up();
    assert_eq!(texts(&office), ["tests run with cargo test"]);
    #[cfg(target_os = "linux")]
    assert!(!remembers(&third));

    // the key leads to another document from now on
    let after = office.json(&["doc", "create", "plan"]);
    assert!(![&plan, &plan_again].contains(&&after["url"].as_str().unwrap().to_owned()), "{after}");
    until("the new document is there", || (desk.run(&["doc", "get", "plan"]).code == 0).then_some(()));
    assert_eq!(desk.json(&["doc", "create", "plan"])["url"], after["url"]);
    drop(third);
}

/// promise: Erasure | A member erases no memory that somebody else wrote, and is told who does; an admin erases it
#[test]
fn a_member_only_forgets_what_another_one_wrote_and_an_admin_erases_it() {
    let ((laptop, _first), (desk, _second)) = pair();
    let id = laptop.json(&["remember", "by the admin"])["id"].as_str().unwrap().to_owned();
    let other = desk.json(&["remember", "by the member"])["id"].as_str().unwrap().to_owned();
    for home in [&laptop, &desk] {
        until_listed(home, &["by the admin", "by the member"]);
    }
    let told = erase(&desk, &id);
    assert_eq!((&told["erased"], &told["forgotten"]), (&Value::from(false), &Value::from(true)), "{told}");
    assert!(told["why"].as_str().unwrap().contains("an admin"), "{told}");
    for home in [&laptop, &desk] {
        until_listed(home, &["by the member"]);
    }
    assert_eq!(laptop.json(&["erase", "status", &id])["erased"], false);
    assert_eq!(erase(&laptop, &other)["erased"], true);
    // a forgotten one is named by its id
    assert_eq!(erase(&laptop, &id)["erased"], true);
    until_said(&desk, &other, "hidden", 2);
    until_said(&desk, &id, "hidden", 2);
    assert_eq!(desk.error(&["erase", "status", "nothinglikethis"]).0, 5);
    assert_eq!(desk.error(&["forget", "--tag", "x"]).0, 2);
    assert_eq!(desk.json(&["forget", "--erase", "--yes", "--tag", "nobody-has-it"]), serde_json::json!([]));
    for n in 0..3 {
        desk.json(&["remember", &format!("trial {n}"), "--tag", "trial"]);
    }
    let all = desk.json(&["forget", "--erase", "--yes", "--tag", "trial"]);
    assert_eq!(all.as_array().unwrap().iter().filter(|item| item["erased"] == true).count(), 3, "{all}");
    assert!(texts(&desk).is_empty());
}

/// promise: Erasure | The content of a long text goes with its memory, and stays where another memory names it
#[test]
fn the_blob_of_a_long_text_goes_with_it() {
    let home = Home::new();
    let _node = home.up();
    let long = format!("{PASSWORD} {}", "a long text of many words ".repeat(20_000));
    let remember = |key: &str| {
        let written = home.run_with(&["remember", "-", "--id", key, "--json"], long.as_bytes()).ok().stdout;
        serde_json::from_str::<Value>(&written).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let one = remember("one");
    let blobs = || home.json(&["blob", "list", "--all"]).as_array().unwrap().len();
    assert_eq!(blobs(), 1);
    let other = remember("other");
    assert_ne!(one, other);
    assert_eq!(erase(&home, &one)["erased"], true);
    assert_eq!(home.json(&["compact"])["clean"], true);
    assert!(!with_password(&home).is_empty(), "another memory names it");
    assert_eq!(erase(&home, &other)["erased"], true);
    until("the blob is gone", || (blobs() == 0).then_some(()));
    assert_eq!(home.json(&["compact"])["clean"], true);
    assert_eq!(with_password(&home), Vec::<PathBuf>::new());
}

/// promise: Erasure | A memory that its author or an admin forgot, or that expired, is erased after `forget_after`; one that another member forgot stays
#[test]
fn a_forgotten_memory_is_erased_by_its_author_after_a_while() {
    let ((laptop, _first), (desk, _second)) = pair();
    let remember = |text: &str, more: &[&str]| {
        let all = [&["remember", text], more].concat();
        desk.json(&all)["id"].as_str().unwrap().to_owned()
    };
    let by_author = remember("forgotten by its author", &[]);
    let by_admin = remember("forgotten by an admin", &[]);
    let of_admin = laptop.json(&["remember", "forgotten by another member"])["id"].as_str().unwrap().to_owned();
    let expired = remember("expired", &["--ttl", "1s"]);
    let by_id = remember("expired, and erased by its id", &["--ttl", "1s"]);
    let kept = remember("kept", &["--ttl", "1h"]);
    // the mesh erases by now
    let first = remember("the first", &[]);
    assert_eq!(erase(&desk, &first)["erased"], true);
    for home in [&laptop, &desk] {
        until("all is there", || (home.run(&["get", &kept]).code == 0).then_some(()));
        until("all is there", || (home.run(&["get", &of_admin]).code == 0).then_some(()));
    }
    desk.json(&["forget", "--yes", &by_author]);
    laptop.json(&["forget", "--yes", &by_admin]);
    desk.json(&["forget", "--yes", &of_admin]);
    until("the forget is there", || (laptop.run(&["get", &of_admin]).code == 5).then_some(()));
    until("the forget is there", || (desk.run(&["get", &by_admin]).code == 5).then_some(()));
    until("it has expired", || (desk.run(&["get", &by_id]).code == 5).then_some(()));
    assert_eq!(desk.json(&["erase", "status", &by_id])["erased"], false);
    assert_eq!(erase(&desk, &by_id)["erased"], true);
    let is_erased = |id: &str| {
        let status = desk.run(&["erase", "status", id, "--json"]);
        status.code == 0 && serde_json::from_str::<Value>(&status.stdout).unwrap()["erased"] == true
    };
    assert!(![&by_author, &by_admin, &of_admin, &expired].into_iter().any(|id| is_erased(id)), "after 30 days");
    for home in [&laptop, &desk] {
        home.json(&["config", "set", "forget_after", "0s"]);
    }
    until("they are erased", || [&by_author, &by_admin, &expired].into_iter().all(|id| is_erased(id)).then_some(()));
    // a look that begins after them would have come to these, too
    let late = remember("the last", &[]);
    desk.json(&["forget", "--yes", &late]);
    until("it is erased", || is_erased(&late).then_some(()));
    assert!(!is_erased(&of_admin));
    assert_eq!(desk.json(&["get", &kept])["text"], "kept");
    assert_eq!(laptop.json(&["forget", "--undo", &of_admin])["text"], "forgotten by another member");
}

/// promise: Erasure | A backup and an export from before an erasure bring nothing back once the node has met another one
#[test]
fn a_backup_that_is_put_back_shows_the_text_until_its_node_meets_another_one() {
    let ((laptop, _first), (desk, second)) = pair();
    let id = desk.json(&["remember", &format!("the key is {PASSWORD}")])["id"].as_str().unwrap().to_owned();
    desk.json(&["remember", "tests run with cargo test"]);
    let plan = desk.json(&["doc", "create", "plan"])["url"].as_str().unwrap().to_owned();
    desk.json(&["doc", "set", "plan", "key", &format!("\"{PASSWORD}\"")]);
    until("the document is there", || (laptop.run(&["doc", "get", "plan", "key"]).code == 0).then_some(()));
    until_listed(&laptop, &["tests run with cargo test", &format!("the key is {PASSWORD}")]);
    let backup = desk.beside("backup");
    desk.json(&["backup", backup.to_str().unwrap()]);
    let export = desk.run(&["export"]).ok().stdout;
    for thing in [&id, &plan] {
        assert_eq!(erase(&desk, thing)["erased"], true);
    }
    until_said(&laptop, &id, "hidden", 2);
    until_said(&laptop, &plan, "hidden", 2);
    let imported = desk.run_with(&["import", "-", "--json"], export.as_bytes()).json();
    assert_eq!((&imported["imported"], &imported["forgotten"]), (&Value::from(0), &Value::from(1)), "{imported}");
    second.terminate();

    let again = Home::new();
    again.json(&["restore", backup.to_str().unwrap()]);
    assert!(!with_password(&again).is_empty(), "nobody told it yet");
    let _restored = again.up();
    until_listed(&again, &["tests run with cargo test"]);
    until("the document is erased", || (again.run(&["doc", "get", "plan"]).code == 5).then_some(()));
    assert_eq!(again.json(&["compact"])["clean"], true);
    assert_eq!(with_password(&again), Vec::<PathBuf>::new());
}
