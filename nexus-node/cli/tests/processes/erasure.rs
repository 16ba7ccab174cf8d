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

/// promise: Erasure | A password that was pasted into a memory and a task is in no file of three machines, of which one was off
#[test]
fn a_password_in_a_memory_and_a_task_of_three_machines_is_found_by_no_byte_search() {
    let ((laptop, _first), (desk, _second)) = pair();
    let (office, third) = joined(&laptop, "office");
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
    until_said(&laptop, &task, "hidden", 2);
    let status = until_said(&laptop, &id, "hidden", 2);
    assert_eq!((&status["erased"], &status["missing"]), (&Value::from(true), &serde_json::json!(["office"])));
    for home in [&laptop, &desk] {
        assert_eq!(texts(home), ["tests run with cargo test"]);
        assert!(!home.run(&["recall", PASSWORD]).stdout.contains("build server"));
        assert_eq!(home.error(&["get", &id]).0, 5);
        assert_eq!(home.error(&["history", &id]).0, 5);
        assert_eq!(home.error(&["forget", "--undo", &id]).0, 5);
        let done = home.json(&["compact"]);
        assert_eq!(done["clean"], true, "{done}");
        assert_eq!(with_password(home), Vec::<PathBuf>::new());
    }
    until_said(&laptop, &id, "gone", 2);
    // its facts stay
    assert_eq!(laptop.json(&["task", "show", &task])["capability"], "review");

    // the machine that was off has it until it hears of that
    assert!(!with_password(&office).is_empty());
    let _third = office.up();
    until_said(&laptop, &task, "hidden", 3);
    let status = until_said(&laptop, &id, "hidden", 3);
    assert_eq!(status["missing"], serde_json::json!([]));
    assert_eq!(texts(&office), ["tests run with cargo test"]);
    assert_eq!(office.json(&["compact"])["clean"], true);
    assert_eq!(with_password(&office), Vec::<PathBuf>::new());
    until_said(&desk, &id, "gone", 3);
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
