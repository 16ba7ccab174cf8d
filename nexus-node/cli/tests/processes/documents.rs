//! Documents by the commands and over the API: machines that type into one text.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use automerge::transaction::Transactable;
use serde_json::{Value, json};

use crate::support::{Home, Node, SOON, alone, pair, until};
use crate::tokens::token;

/// A path of the API for a document with this key.
const PLAN: &str = "/v1/documents/plan";

/// The value at a path, if it is there.
fn value(home: &Home, key: &str, path: &str) -> Option<Value> {
    let ran = home.run(&["doc", "get", key, path, "--json"]);
    (ran.code == 0).then(|| ran.json()["value"].clone())
}

fn version(home: &Home, key: &str) -> String {
    home.json(&["doc", "get", key])["version"].as_str().unwrap().to_owned()
}

/// Types letters into the text of a document.
fn types(home: &Home, at: usize, letters: &str) -> Value {
    home.json(&["doc", "text", "plan", "text", "--at", &at.to_string(), "--insert", letters])
}

/// Waits until the clock shows another second: times in histories are whole seconds.
fn next_second() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    until("another second", || (second() > now).then_some(()));
}

/// promise: Documents | Two machines create and change a document apart, by the commands; together again they show the same, and what was before
#[test]
fn two_machines_type_apart_and_show_the_same_together() {
    let _alone = alone();
    let ((laptop, _first), (cloud, _second)) = pair();
    let created = laptop.json(&["doc", "create", "plan"]);
    laptop.json(&["doc", "set", "plan", "text", "\"Hello world\""]);
    until("cloud has it", || value(&cloud, "plan", "text").filter(|text| text == "Hello world"));
    let found = cloud.json(&["doc", "create", "plan"]);
    assert_eq!((&found["changed"], &found["url"]), (&json!(false), &created["url"]));
    cloud.json(&["doc", "edit", "plan", r#"{"state": {"by": "cloud"}}"#]);
    until("laptop has the edit", || value(&laptop, "plan", "state/by").filter(|by| by == "cloud"));
    let (before, newest) = (version(&laptop, "plan"), laptop.json(&["doc", "history", "plan"])["items"][0].clone());
    assert_eq!((&newest["version"], &newest["by"]), (&json!(before), &json!(["cloud"])));
    next_second();

    cloud.run(&["offline"]).ok();
    types(&laptop, 5, ", big");
    types(&cloud, 11, "!");
    // the same key, new on both sides
    let apart = [&laptop, &cloud].map(|home| home.json(&["doc", "create", "apart"])["url"].clone());
    assert_eq!(apart[0], apart[1]);
    for (home, word) in [(&laptop, "laptop"), (&cloud, "cloud")] {
        home.json(&["doc", "set", "apart", word, "true"]);
    }
    assert_eq!(value(&laptop, "plan", "text").unwrap(), "Hello, big world");
    assert_eq!(value(&cloud, "plan", "text").unwrap(), "Hello world!");
    assert_ne!(version(&laptop, "plan"), version(&cloud, "plan"));
    cloud.run(&["online"]).ok();
    let both = until("both have the same heads", || {
        let (one, two) = (laptop.json(&["doc", "get", "plan"]), cloud.json(&["doc", "get", "plan"]));
        (one == two).then_some(one)
    });
    assert_eq!(both["value"], json!({ "text": "Hello, big world!", "state": { "by": "cloud" } }));
    assert_eq!(both["heads"].as_array().unwrap().len(), 2, "{both}");
    until("both have all of the one that they made apart", || {
        let whole = |home| value(home, "apart", "") == Some(json!({ "laptop": true, "cloud": true }));
        (whole(&laptop) && whole(&cloud)).then_some(())
    });

    for home in [&laptop, &cloud] {
        // at a time, at a version, and at the first digits of one
        for at in [newest["at"].as_str().unwrap(), &before, &before[..12]] {
            let was = home.json(&["doc", "at", "plan", at]);
            assert_eq!(was["value"], json!({ "text": "Hello world", "state": { "by": "cloud" } }), "{at}");
            assert_eq!(was["version"], json!(before), "{at}");
        }
        assert_eq!(home.json(&["doc", "at", "plan", "0s"])["value"], both["value"]);
        assert_eq!(home.json(&["doc", "at", "plan", "1d"])["value"], json!({}));
        assert_eq!(home.json(&["doc", "at", "plan", "0"])["value"], json!({}));
        // a position of the version in which it was read: others have typed before it since
        let history = home.json(&["doc", "history", "plan"]);
        let by: Vec<&Value> = history["items"].as_array().unwrap().iter().map(|item| &item["by"][0]).collect();
        assert_eq!(by.len(), 5, "{history}");
        assert!(by.contains(&&json!("laptop")) && by.contains(&&json!("cloud")), "{history}");
    }
    let typed = laptop.json(&["doc", "text", "plan", "text", "--at", "11", "--insert", "?", "--seen", &before[..8]]);
    assert_eq!(typed["changed"], true);
    assert_eq!(value(&laptop, "plan", "text").unwrap().as_str().unwrap().replace(['!', '?'], ""), "Hello, big world");
}

/// promise: Documents | `doc mark` and `doc unmark` mark letters, which keep their marks while others type; `doc compact` keeps them
#[test]
fn letters_are_marked_by_commands() {
    let home = Home::new();
    let _node = home.up();
    home.json(&["doc", "create", "plan"]);
    let seen = home.json(&["doc", "set", "plan", "text", "\"größe of words\""])["version"].clone();
    let people = |arguments: &[&str]| home.run(arguments).ok().stdout;
    assert_eq!(people(&["doc", "marks", "plan", "text"]), "no marks: `nexus-node doc mark` makes one\n");
    let bold = ["doc", "mark", "plan", "text", "--from", "6", "--to", "8", "bold", "true"];
    assert_eq!(home.json(&bold)["changed"], true);
    assert_eq!(home.json(&bold)["changed"], false, "it is marked so");
    home.json(&["doc", "text", "plan", "text", "--at", "0", "--insert", "the "]);
    // a range of an earlier version, and an end at which nothing joins it
    let link = ["doc", "mark", "plan", "text", "--from", "0", "--to", "5", "link", "\"https://example.org\""];
    let seen = ["--seen", seen.as_str().unwrap(), "--expand", "none"];
    home.json(&[&link[..], &seen].concat());
    home.json(&["doc", "text", "plan", "text", "--at", "9", "--insert", "n"]);
    let marks = |key: &str| home.json(&["doc", "marks", key, "text"])["items"].clone();
    let bolds = json!({ "name": "bold", "value": true, "start": 11, "end": 13 });
    let links = json!({ "name": "link", "value": "https://example.org", "start": 4, "end": 9 });
    let all = marks("plan");
    assert!(
        all.as_array().unwrap().len() == 2
            && [&bolds, &links].iter().all(|mark| all.as_array().unwrap().contains(mark)),
        "{all}"
    );
    let table = people(&["doc", "marks", "plan", "text"]);
    assert!(table.contains("bold") && table.contains("größe") && table.contains("https://example.org"), "{table}");
    home.json(&["doc", "compact", "plan"]);
    assert_eq!(marks("plan"), all);
    home.json(&["doc", "unmark", "plan", "text", "--from", "0", "--to", "19", "link"]);
    assert_eq!(marks("plan"), json!([bolds]));
    let range = ["doc", "mark", "plan", "text", "--from", "3", "--to"];
    for (rest, code, word) in [
        (&["99", "bold", "true"][..], "invalid", "beyond"),
        (&["3", "bold", "true"], "invalid", "has none"),
        (&["5", "bold", "{}"], "invalid", "mark"),
        (&["5", "bold", "null"], "invalid", "null"),
        (&["5", "bold", "yes"], "invalid", "JSON"),
    ] {
        let (ended, error) = home.error(&[&range[..], rest].concat());
        assert_eq!((ended, &error["code"]), (2, &json!(code)), "{rest:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{rest:?}: {error}");
    }
    assert_eq!(marks("plan"), json!([bolds]), "nothing of it was written");
}

/// promise: Documents | Each document command has one JSON document and words for people
#[test]
fn each_command_answers_programs_and_people() {
    let home = Home::new();
    let _node = home.up();
    let people = |arguments: &[&str]| home.run(arguments).ok().stdout;
    assert_eq!(people(&["doc", "list"]), "no documents: `nexus-node doc create KEY` makes one\n");
    assert_eq!(home.json(&["doc", "list"]), json!([]));
    let created = home.json(&["doc", "create", "plan"]);
    let url = created["url"].as_str().unwrap().to_owned();
    assert!(url.strip_prefix("automerge:").is_some_and(|id| created["id"] == id), "{created}");
    assert_eq!(
        (&created["key"], &created["space"], &created["changed"]),
        (&json!("plan"), &json!("default"), &json!(true))
    );
    assert_eq!(people(&["doc", "create", "plan"]), format!("found plan, {url}\n"));
    assert!(people(&["doc", "create", "other"]).starts_with("created other, automerge:"));

    let set = home.json(&["doc", "set", "plan", "title", "\"Release\""]);
    assert_eq!(set["changed"], true);
    let heads = set["heads"].as_array().unwrap();
    assert_eq!((heads.len(), &set["version"]), (1, &heads[0]));
    let short = &set["version"].as_str().unwrap()[..12];
    assert_eq!(
        people(&["doc", "set", "plan", "title", "\"Release\""]),
        format!("plan has this already, version {short}\n")
    );
    let from_stdin =
        home.run_with(&["doc", "set", "plan", "/steps", "-"], br#"[{"text": "tests", "done": false}]"#).ok();
    assert!(from_stdin.stdout.starts_with("changed plan, version "), "{from_stdin:?}");
    assert_eq!(home.json(&["doc", "set", "plan", "steps/-", "2"])["changed"], true);
    assert_eq!(home.json(&["doc", "set", "plan", "steps/-", "2"])["changed"], true, "one more");
    assert_eq!(home.json(&["doc", "edit", "plan", r#"{"title": "The release", "draft": true}"#])["changed"], true);
    assert!(people(&["doc", "edit", "plan", r#"{"draft": null}"#]).starts_with("changed plan, version "));
    assert!(
        people(&["doc", "text", "plan", "title", "--at", "3", "--delete", "1", "--insert", "-"]).starts_with("changed")
    );
    let title = people(&["doc", "get", "plan", "title"]);
    assert_eq!(title, "The-release\n");
    assert_eq!(people(&["doc", "get", "plan", "steps/0"]), "{\n  \"done\": false,\n  \"text\": \"tests\"\n}\n");
    let whole = home.json(&["doc", "get", "plan"]);
    assert_eq!(whole["value"], json!({ "title": "The-release", "steps": [{ "text": "tests", "done": false }, 2, 2] }));
    assert!(whole.get("changed").is_none() && whole.get("missing").is_none(), "{whole}");
    assert_eq!(home.json(&["doc", "get", &url])["value"], whole["value"]);

    let history = home.json(&["doc", "history", "plan", "--limit", "2"]);
    assert_eq!(history["items"].as_array().unwrap().len(), 2);
    assert_eq!(history["items"][0]["version"], whole["version"]);
    let lines = people(&["doc", "history", "plan"]);
    assert!(lines.starts_with("version") && lines.lines().last().unwrap().contains("  -  "), "{lines}");
    assert_eq!(people(&["doc", "at", "plan", short, "title"]), "Release\n");
    assert_eq!(people(&["doc", "url", "plan"]), format!("{url}\n"));
    assert_eq!(home.json(&["doc", "url", "plan"])["url"], url);

    // a file goes out, and comes in as another document
    let file = home.beside("plan.automerge");
    let path = file.to_str().unwrap();
    let wrote = home.json(&["doc", "export", "plan", path]);
    let bytes = fs::read(&file).unwrap();
    assert_eq!(wrote, json!({ "file": path, "bytes": bytes.len() }));
    let piped = home.command(&["doc", "export", "plan", "-"]).output().unwrap();
    assert_eq!(piped.stdout, bytes);
    let taken = home.json(&["doc", "import", path, "--key", "copy"]);
    assert_eq!((&taken["key"], &taken["version"]), (&json!("copy"), &whole["version"]));
    assert_eq!(value(&home, "copy", ""), Some(whole["value"].clone()));
    let stdin = home.run_with(&["doc", "import", "-"], &bytes).ok().stdout;
    let nameless = stdin.trim_end().strip_prefix("imported ").unwrap().to_owned();
    assert!(nameless.starts_with("automerge:"), "{stdin}");
    assert!(people(&["doc", "set", &nameless, "n", "1"]).starts_with(&format!("changed {nameless}, version ")));
    assert_eq!(people(&["doc", "name", &nameless, "third"]), format!("third is {nameless}\n"));
    assert_eq!(home.json(&["doc", "name", "third", "third"])["key"], "third", "it has it already");
    assert_eq!(value(&home, "plan", "n"), None, "a copy is another document");

    // a new beginning
    let anew = people(&["doc", "compact", "plan"]);
    let fresh = anew.trim_end().strip_prefix("plan began anew as ").unwrap().to_owned();
    assert_ne!(fresh, url);
    assert_eq!(value(&home, "plan", ""), Some(whole["value"].clone()));
    assert_eq!(home.json(&["doc", "history", "plan"])["items"].as_array().unwrap().len(), 2);
    assert_eq!(value(&home, &url, ""), Some(whole["value"].clone()), "the former one stays");
    let listed = home.json(&["doc", "list"]);
    let keys: Vec<(&Value, Option<&Value>)> =
        listed.as_array().unwrap().iter().map(|one| (&one["key"], one.get("former_key"))).collect();
    let named = |key: &'static str| json!(key);
    let (copy, other, plan, third) = (named("copy"), named("other"), named("plan"), named("third"));
    assert_eq!(keys, [(&copy, None), (&other, None), (&plan, None), (&third, None), (&Value::Null, Some(&plan))]);
    let lines = people(&["doc", "list"]);
    assert_eq!(lines.lines().last().unwrap(), format!("(formerly plan)  {url}"), "{lines}");
    assert!(lines.lines().any(|line| line.split_whitespace().eq(["plan", fresh.as_str()])), "{lines}");
}

/// `doc watch --json`, whose lines can be awaited.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(home: &Home, more: &[&str]) -> Self {
        let arguments = [&["doc", "watch", "plan", "--json"], more].concat();
        let mut child = home.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn next(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(SOON).unwrap()).unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// promise: Documents | A watch goes on after a version that it told, also once the node was started anew
#[test]
fn a_watch_goes_on_after_a_restart_of_the_node() {
    let home = Home::new();
    let node = home.up();
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "text", "\"ab\""]);
    let watch = Watch::start(&home, &["--from", "0"]);
    let first = watch.next();
    assert_eq!(first["before"], "0");
    assert_eq!(
        first["patches"],
        json!([
            { "action": "put", "path": "/text", "value": "" },
            { "action": "splice", "path": "/text/0", "value": "ab" },
        ])
    );
    types(&home, 1, "ü");
    let second = watch.next();
    assert_eq!((&second["before"], &second["patches"][0]["path"]), (&first["version"], &json!("/text/1")));
    let listen = node.listens();
    node.terminate();
    let mut watch = watch;
    until("the watch ends with the node", || watch.child.try_wait().unwrap());
    let _node = home.up_at(&listen);
    types(&home, 3, "c");
    let told = second["version"].as_str().unwrap();
    // by all of its digits, and by the first ones
    for from in [told, &told[..12]] {
        let watch = Watch::start(&home, &["--from", from]);
        let third = watch.next();
        assert_eq!(third["before"], second["version"]);
        assert_eq!(third["patches"], json!([{ "action": "splice", "path": "/text/3", "value": "c" }]), "{from}");
    }
    // for people, a line for each patch
    let mut child = home.command(&["doc", "watch", "plan", "--from", told]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "{\"action\":\"splice\",\"path\":\"/text/3\",\"value\":\"c\"}\n");
}

#[track_caller]
fn refused(home: &Home, arguments: &[&str], code: i32, name: &str, words: &str) {
    let (ended, error) = home.error(&[&["doc"], arguments].concat());
    assert_eq!((ended, &error["code"]), (code, &json!(name)), "{arguments:?}: {error}");
    let told = format!("{} {}", error["message"], error["hint"]);
    assert!(told.contains(words), "{arguments:?}: {error}");
}

/// promise: Documents | Bad input to a document is refused with its reason, and changes nothing
#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let home = Home::new();
    let node = home.up();
    refused(&home, &["get", "plan"], 5, "not_found", "nexus-node doc list");
    for key in ["plan", "taken"] {
        home.json(&["doc", "create", key]);
    }
    refused(&home, &["set", "plan", "a/b", "1"], 5, "not_found", "the document is empty");
    home.json(&["doc", "set", "plan", "", r#"{"text": "Hello", "list": [1]}"#]);
    let before = home.json(&["doc", "get", "plan"]);
    // no JSON, and JSON of another kind
    for json in ["", "{", "text", "'x'", "{\"a\":1} 2", "[1]]"] {
        refused(&home, &["set", "plan", "text", json], 2, "invalid", "not JSON");
        refused(&home, &["edit", "plan", json], 2, "invalid", "not JSON");
    }
    for json in ["[1]", "1", "null", "\"text\""] {
        refused(&home, &["edit", "plan", json], 2, "invalid", "a merge patch is a JSON object");
    }
    // paths
    for path in ["nope", "/list/1", "/list/x", "/list/01", "/text/0", "/nope/nope"] {
        refused(&home, &["get", "plan", path], 5, "not_found", "nothing is at");
    }
    refused(&home, &["set", "plan", "a/b", "1"], 5, "not_found", r#"the document has \"list\", \"text\""#);
    refused(&home, &["set", "plan", "list/1", "1"], 2, "invalid", "names no place in the list");
    refused(&home, &["set", "plan", "text/0", "1"], 2, "invalid", "no map or list, but a text");
    refused(&home, &["set", "plan", "", "1"], 2, "invalid", "the document itself is a map");
    refused(&home, &["get", "plan", "~"], 2, "invalid", "`~0`");
    refused(&home, &["get", "plan", &"a/".repeat(200)], 2, "invalid", "parts");
    // texts
    refused(&home, &["text", "plan", "text", "--at", "6", "--insert", "x"], 2, "invalid", "which has 5");
    refused(&home, &["text", "plan", "text", "--at", "0", "--delete", "6"], 2, "invalid", "which has 5");
    let most = u64::MAX.to_string();
    refused(&home, &["text", "plan", "text", "--at", &most, "--delete", &most], 2, "invalid", "which has 5");
    refused(&home, &["text", "plan", "text", "--at", "0"], 2, "invalid", "nothing to do");
    refused(&home, &["text", "plan", "list", "--at", "0", "--insert", "x"], 2, "invalid", "no text, but a list");
    refused(&home, &["text", "plan", "", "--at", "0", "--insert", "x"], 2, "invalid", "the document itself is no text");
    refused(&home, &["text", "plan", "nope", "--at", "0", "--insert", "x"], 5, "not_found", "no such path");
    // versions
    let (unknown, none) = ("7".repeat(64), "77777777");
    for version in [unknown.as_str(), none] {
        refused(&home, &["at", "plan", version], 5, "not_found", "version");
        refused(&home, &["watch", "plan", "--from", version], 5, "not_found", "version");
        let seen = ["text", "plan", "text", "--at", "0", "--insert", "x", "--seen", version];
        refused(&home, &seen, 5, "not_found", "version");
    }
    for version in ["7777777", "x", "..", "GGGGGGGG"] {
        refused(&home, &["watch", "plan", "--from", version], 2, "invalid", "no version of a document");
        let seen = ["text", "plan", "text", "--at", "0", "--insert", "x", "--seen", version];
        refused(&home, &seen, 2, "invalid", "no version of a document");
        refused(&home, &["at", "plan", version], 2, "invalid", "a time is as 2026-01-31T12:00:00Z");
    }
    // keys
    let long = "k".repeat(257);
    for key in [long.as_str(), "a\tb", "a\nb", "\u{7f}", "\u{85}"] {
        refused(&home, &["create", key], 2, "invalid", "1 to 256 bytes and no control characters");
        refused(&home, &["name", "plan", key], 2, "invalid", "1 to 256 bytes and no control characters");
        refused(&home, &["get", key], 5, "not_found", "no document");
    }
    assert_eq!(home.run(&["doc", "create", ""]).code, 2);
    // an address is that of its document, and no key of another one
    let address = "automerge:4NMNnkMhL8jXrdJ9jamS58PAVdXu";
    refused(&home, &["create", address], 2, "invalid", "is the address of a document");
    refused(&home, &["name", "plan", address], 2, "invalid", "is the address of a document");
    refused(&home, &["name", "plan", "taken"], 7, "conflict", "another document has the key taken");
    refused(&home, &["name", "nope", "free"], 5, "not_found", "no document");
    refused(&home, &["compact", before["url"].as_str().unwrap()], 2, "invalid", "by its key");
    refused(&home, &["history", "nope"], 5, "not_found", "no document");
    refused(&home, &["create", "plan", "--space", "nope"], 5, "not_found", "space");
    refused(&home, &["export", "plan", "/nowhere/plan"], 5, "not_found", "nothing was written");
    let nothing = home.beside("nothing");
    refused(&home, &["export", "nope", nothing.to_str().unwrap()], 5, "not_found", "no document");
    assert!(!nothing.exists());
    // over HTTP: words that no command says
    for (body, code) in [
        (r#"{"edits": [{"text": {"path": "text", "at": -1}}]}"#, "invalid"),
        (r#"{"edits": [{"paint": {"path": "text"}}]}"#, "invalid"),
        (r#"{"edits": {}}"#, "invalid"),
        (r#"{"edits": [{"delete": {"path": ""}}]}"#, "invalid"),
        (r#"{"edits": [{"increment": {"path": "text", "by": 1}}]}"#, "invalid"),
        (r#"{"edits": [{"counter": {"path": "n", "value": 9223372036854775807}}]}"#, "invalid"),
        (r#"{"edits": [{"set": {"path": "n", "value": 1}}, {"delete": {"path": "nope"}}]}"#, "not_found"),
        (r#"{"edits": [{"set": {"path": "n", "value": {"$bytes": "?"}}}]}"#, "invalid"),
    ] {
        assert_eq!(node.http("POST", &format!("{PLAN}/edits"), body).problem(), code, "{body}");
    }
    assert_eq!(node.http("PATCH", PLAN, "[]").problem(), "invalid");
    assert_eq!(node.http("GET", &format!("{PLAN}?at=1d&version={none}"), "").problem(), "invalid");
    assert_eq!(node.http("GET", &format!("{PLAN}/history?limit=0"), "").problem(), "invalid");
    assert_eq!(node.http("GET", &format!("{PLAN}/history?limit=1001"), "").problem(), "invalid");
    assert_eq!(node.http("GET", &format!("{PLAN}/text?path=list"), "").problem(), "not_found");
    assert_eq!(home.json(&["doc", "get", "plan"]), before);
}

/// promise: Documents | `space import` takes the Automerge documents of a directory, under their own ids or names, and names what is bad
#[test]
fn the_documents_of_a_directory_are_taken_in() {
    // a document as a program makes it, under an id of its own
    let mut made = automerge::AutoCommit::new();
    made.put(automerge::ROOT, "title", "by a program").unwrap();
    let (id, home) = ("4NMNnkMhL8jXrdJ9jamS58PAVdXu", Home::new());
    let directory = home.beside("pages");
    fs::create_dir(&directory).unwrap();
    let place = directory.to_str().unwrap().to_owned();
    let import = ["space", "import", "--automerge", &place];
    let _node = home.up();
    let (_, error) = home.error(&import);
    assert!(error["code"] == "invalid" && error["message"].as_str().unwrap().contains("`.automerge`"), "{error}");
    fs::write(directory.join(format!("{id}.automerge")), made.save()).unwrap();
    fs::write(directory.join("plan.automerge"), made.save()).unwrap();
    fs::write(directory.join("notes.txt"), "no document").unwrap();
    let counts = home.json(&import);
    assert_eq!((&counts["documents"], &counts["known"], &counts["refused"]), (&json!(2), &json!(0), &json!(0)));
    let url = format!("automerge:{id}");
    for name in [url.as_str(), "plan"] {
        assert_eq!(value(&home, name, "title"), Some(json!("by a program")), "{name}");
    }
    assert_eq!(home.json(&["doc", "get", &url])["url"], json!(url));

    // the same again, with an edit more; what is bad is named, and the others go on
    fs::remove_file(directory.join("plan.automerge")).unwrap();
    assert_eq!(home.json(&import)["known"], json!(1), "nothing comes twice");
    made.put(automerge::ROOT, "more", 1).unwrap();
    fs::write(directory.join(format!("{id}.automerge")), made.save()).unwrap();
    fs::write(directory.join("0-bad.automerge"), b"nothing").unwrap();
    fs::write(directory.join("1-large.automerge"), vec![0; (16 << 20) + 1]).unwrap();
    let told = home.run(&import);
    assert_eq!((told.code, told.stdout.as_str()), (2, ""), "{}", told.stderr);
    for words in ["0-bad.automerge: ", "1-large.automerge: ", "2 files refused; 1 imported, 0 known"] {
        assert!(told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    assert_eq!(value(&home, &url, "more"), Some(json!(1)), "the others go on");

    // pages go out of one space and come into another as documents with their names
    home.json(&["remember", "a page of it"]);
    home.json(&["space", "create", "ops"]);
    let pages = home.beside("exported");
    let pages = pages.to_str().unwrap();
    let wrote = home.json(&["space", "export", "default", "--automerge", pages]);
    let taken = home.json(&["space", "import", "--automerge", pages, "--space", "ops"]);
    assert_eq!(taken["documents"], wrote["pages"]);
    let listed = home.json(&["doc", "list", "--space", "ops"]);
    assert_eq!(listed.as_array().unwrap().len() as u64, wrote["pages"].as_u64().unwrap());

    // a document of this mesh has changes of its members: under its id they come by their entries alone
    let own = home.json(&["doc", "create", "own"])["url"].as_str().unwrap().to_owned();
    home.json(&["doc", "set", "own", "text", "\"ours\""]);
    let elsewhere = Home::new();
    let _other = elsewhere.up();
    let bare = own.strip_prefix("automerge:").unwrap();
    let directory = home.beside("ours");
    fs::create_dir(&directory).unwrap();
    let file = directory.join(format!("{bare}.automerge"));
    home.json(&["doc", "export", "own", file.to_str().unwrap()]);
    let import = ["space", "import", "--automerge", directory.to_str().unwrap()];
    let told = elsewhere.run(&import);
    assert!(told.code == 2 && told.stderr.contains("members of a mesh"), "{}", told.stderr);
    assert_eq!(home.json(&import)["known"], json!(1), "at home all of it is there");
}

/// promise: Documents | A file that is no document, a part of one or a hostile one is refused, and nothing is written
#[test]
fn files_that_are_no_documents_are_refused() {
    let home = Home::new();
    let _node = home.up();
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "", r#"{"text": "Hello", "list": [1, 2, 3]}"#]);
    let file = home.beside("plan.automerge");
    let path = file.to_str().unwrap();
    home.json(&["doc", "export", "plan", path]);
    let whole = fs::read(&file).unwrap();
    let import = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        home.error(&["doc", "import", path])
    };
    // cut off everywhere, and with each bit of some bytes turned
    let mut broken: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()).collect();
    for at in (0..whole.len()).step_by(11) {
        let mut turned = whole.clone();
        turned[at] ^= 1 << (at % 8);
        broken.push(turned);
    }
    broken.push(b"hello".to_vec());
    broken.push([&whole[..], b"and more"].concat());
    broken.push(vec![0; 16 << 20]);
    for bytes in &broken {
        let (code, error) = import(bytes);
        assert_eq!(
            (code, &error["code"], &error["hint"]),
            (2, &json!("invalid"), &json!("nothing was written")),
            "{error}"
        );
    }
    let (code, error) = import(&vec![0x85; (16 << 20) + 1]);
    assert_eq!((code, &error["code"]), (2, &json!("too_large")), "{error}");
    let directory = home.beside("");
    for path in [directory.to_str().unwrap(), home.beside("nothing").to_str().unwrap()] {
        let (code, error) = home.error(&["doc", "import", path]);
        assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    }
    fs::write(&file, &whole).unwrap();
    let (code, error) = home.error(&["doc", "import", path, "--key", "plan"]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
    let (code, error) = home.error(&["doc", "import", path, "--key", "a\nb"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    assert_eq!(home.json(&["doc", "list"]).as_array().unwrap().len(), 1, "nothing was written");
    home.json(&["doc", "import", path]);
}

/// promise: Documents | A key may have `/`, spaces and letters of any script
#[test]
fn keys_of_any_letters_work_everywhere() {
    let home = Home::new();
    let _node = home.up();
    let file = home.beside("file");
    let file = file.to_str().unwrap();
    let keys = [
        "notes/2026/plan",
        "a b",
        "/",
        "..",
        ".",
        "a/../b",
        "%2F",
        "?x=1#y",
        "é 日本語 😀",
        "+&=;",
        "automerge:x",
        "\u{202e}abc",
    ];
    for key in keys {
        let url = home.json(&["doc", "create", key])["url"].clone();
        home.json(&["doc", "set", key, "text", "\"hello\""]);
        home.json(&["doc", "edit", key, r#"{"n": 1}"#]);
        home.json(&["doc", "text", key, "text", "--at", "0", "--insert", "> "]);
        assert_eq!(home.json(&["doc", "get", key])["value"], json!({ "text": "> hello", "n": 1 }), "{key}");
        assert_eq!(home.json(&["doc", "history", key])["items"].as_array().unwrap().len(), 4, "{key}");
        assert_eq!(home.json(&["doc", "url", key])["url"], url, "{key}");
        home.json(&["doc", "export", key, file]);
        let copy = format!("{key} copy");
        assert_eq!(home.json(&["doc", "import", file, "--key", &copy])["key"], copy);
        home.json(&["doc", "name", key, &format!("{key} too")]);
        assert_eq!(home.json(&["doc", "compact", key])["key"], key);
        assert_eq!(value(&home, key, "text").unwrap(), "> hello");
    }
    let listed = home.run(&["doc", "list"]).ok().stdout;
    assert!(listed.contains("\\u{202e}abc") && !listed.contains('\u{202e}'), "{listed}");
}

/// promise: Documents | A reader reads documents and may not write them
#[test]
fn a_reader_reads_and_may_not_write() {
    let _alone = alone();
    let (laptop, screen) = (Home::new(), Home::new());
    let _first = laptop.up_with(&["--name", "laptop"]);
    let ticket = laptop.json(&["invite", "--role", "reader"])["ticket"].as_str().unwrap().to_owned();
    screen.json(&["join", &ticket, "--name", "screen"]);
    let _second = screen.up();
    laptop.json(&["doc", "create", "plan"]);
    laptop.json(&["doc", "set", "plan", "text", "\"Hello\""]);
    until("the reader has it", || value(&screen, "plan", "text").filter(|text| text == "Hello"));
    let file = screen.beside("file");
    let file = file.to_str().unwrap();
    screen.json(&["doc", "export", "plan", file]);
    assert_eq!(screen.json(&["doc", "create", "plan"])["changed"], false, "it is there");
    for arguments in [
        &["create", "another"][..],
        &["set", "plan", "text", "\"mine\""],
        &["edit", "plan", r#"{"mine": true}"#],
        &["text", "plan", "text", "--at", "0", "--insert", "x"],
        &["name", "plan", "mine"],
        &["compact", "plan"],
        &["import", file],
        &["import", file, "--key", "mine"],
    ] {
        refused(&screen, arguments, 4, "refused", "");
    }
    for home in [&laptop, &screen] {
        assert_eq!(value(home, "plan", ""), Some(json!({ "text": "Hello" })));
        assert_eq!(home.json(&["doc", "list"]).as_array().unwrap().len(), 1);
    }
    assert_eq!(screen.json(&["doc", "history", "plan"])["items"].as_array().unwrap().len(), 2);
}

/// The answer that a caller with a token gets.
fn asks(node: &Node, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = node.with_token(token, method, path, body);
    let code = if answer.status < 400 { String::new() } else { answer.problem() };
    (answer.status, code)
}

/// promise: Documents | A token that reads documents writes none, and one for another space sees none
#[test]
fn tokens_bound_what_is_read_and_written() {
    let home = Home::new();
    let node = home.up();
    home.json(&["space", "create", "work"]);
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "text", "\"quicksilver\""]);
    let file = node.http("GET", &format!("{PLAN}/file"), "");
    assert_eq!(file.status, 200);
    let url = home.json(&["doc", "url", "plan"])["url"].as_str().unwrap().to_owned();
    let reads =
        ["", "/history", "/text?path=text", "/conflicts?path=text", "/file"].map(|part| format!("{PLAN}{part}"));
    let writes = [
        ("POST", "/v1/documents".to_owned(), r#"{"key": "mine"}"#),
        ("POST", "/v1/documents".to_owned(), r#"{"key": "plan"}"#),
        ("PUT", "/v1/documents?key=mine".to_owned(), "bytes"),
        ("PATCH", PLAN.to_owned(), r#"{"a": 1}"#),
        ("POST", format!("{PLAN}/edits"), r#"{"edits": [{"set": {"path": "a", "value": 1}}]}"#),
        ("POST", format!("{PLAN}/name"), r#"{"key": "mine"}"#),
        ("POST", format!("{PLAN}/compact"), "{}"),
    ];
    let reader = token(&home, "reader", "documents:read", &[]);
    assert_eq!(asks(&node, &reader, "GET", "/v1/documents", "").0, 200);
    for path in &reads {
        assert_eq!(asks(&node, &reader, "GET", path, "").0, 200, "{path}");
    }
    for (method, path, body) in &writes {
        assert_eq!(asks(&node, &reader, method, path, body), (403, "refused".to_owned()), "{method} {path}");
    }
    // another kind of scope is none
    let other = token(&home, "other", "memory", &[]);
    for path in reads.iter().map(String::as_str).chain(["/v1/documents"]) {
        assert_eq!(asks(&node, &other, "GET", path, ""), (403, "refused".to_owned()), "{path}");
    }
    // all scopes, and another space
    let bounded = token(&home, "bounded", "*", &["--space", "work"]);
    assert_eq!(node.with_token(&bounded, "GET", "/v1/documents?space=work", "").json()["items"], json!([]));
    let by_address = PLAN.replace("plan", &url.replace(':', "%3A"));
    for place in [PLAN, by_address.as_str()] {
        for space in ["", "default", "work"] {
            for part in ["", "/history", "/text", "/conflicts", "/file", "/changes"] {
                let path = format!(
                    "{place}{part}{}",
                    if space.is_empty() { String::new() } else { format!("?space={space}") }
                );
                let answer = node.with_token(&bounded, "GET", &path, "");
                assert!(answer.status >= 400 && !answer.body.contains("quicksilver"), "{path}: {answer:?}");
            }
            for (method, part, body) in [
                ("PATCH", "", r#"{"a": 1}"#),
                ("POST", "/edits", r#"{"edits": [{"set": {"path": "a", "value": 1}}]}"#),
                ("POST", "/name", r#"{"key": "mine"}"#),
                ("POST", "/compact", "{}"),
            ] {
                let path = format!(
                    "{place}{part}{}",
                    if space.is_empty() { String::new() } else { format!("?space={space}") }
                );
                assert!(asks(&node, &bounded, method, &path, body).0 >= 400, "{method} {path}");
            }
        }
    }
    assert!(asks(&node, &bounded, "POST", "/v1/documents", r#"{"key": "x", "space": "default"}"#).0 >= 400);
    assert_eq!(asks(&node, &bounded, "POST", "/v1/documents", r#"{"key": "plan", "space": "work"}"#).0, 201);
    assert_eq!(asks(&node, &bounded, "PATCH", &format!("{PLAN}?space=work"), r#"{"text": "own"}"#).0, 200);
    assert_eq!(value(&home, "plan", ""), Some(json!({ "text": "quicksilver" })));
    assert_eq!(home.json(&["doc", "list"]).as_array().unwrap().len(), 1);
}

/// promise: Documents | Two machines that write one place at once see both values by `doc conflicts`, until somebody decides
#[test]
fn both_values_of_a_conflict_are_shown_until_somebody_decides() {
    let _alone = alone();
    let ((laptop, _first), (cloud, _second)) = pair();
    laptop.json(&["doc", "create", "plan"]);
    laptop.json(&["doc", "set", "plan", "title", "\"draft\""]);
    until("cloud has it", || value(&cloud, "plan", "title"));
    let only = laptop.run(&["doc", "conflicts", "plan", "title"]).ok().stdout;
    assert_eq!(only, "no conflict: \"draft\"\n");
    // with a write of its own it knows that the mesh writes documents
    cloud.json(&["doc", "set", "plan", "cloud", "true"]);
    until("laptop has it", || value(&laptop, "plan", "cloud"));
    cloud.run(&["offline"]).ok();
    laptop.json(&["doc", "set", "plan", "state", "1"]);
    cloud.json(&["doc", "set", "plan", "state", "2"]);
    cloud.run(&["online"]).ok();
    let of = |home: &Home| {
        let found = home.json(&["doc", "conflicts", "plan", "state"])["items"].clone();
        (found.as_array().unwrap().len() == 2).then_some(found)
    };
    let both = until("laptop has both", || of(&laptop));
    assert_eq!(until("cloud has both", || of(&cloud)), both);
    assert_eq!(both[0]["value"], value(&laptop, "plan", "state").unwrap());
    for (by, value) in [("laptop", 1), ("cloud", 2)] {
        assert!(both.as_array().unwrap().contains(&json!({ "by": by, "value": value })), "{both}");
    }
    let table = cloud.run(&["doc", "conflicts", "plan", "state"]).ok().stdout;
    assert!(table.contains("laptop") && table.contains("cloud"), "{table}");
    cloud.json(&["doc", "set", "plan", "state", "3"]);
    assert_eq!(cloud.json(&["doc", "conflicts", "plan", "state"])["items"], json!([{ "by": "cloud", "value": 3 }]));
    refused(&cloud, &["conflicts", "plan", "nope"], 5, "not_found", "nothing is at");
    refused(&cloud, &["conflicts", "plan", "/"], 2, "invalid", "never in conflict");
}

/// promise: Documents | An edit by a machine that did not know that a document began anew is kept, and told at the next one
#[test]
fn an_edit_by_a_machine_that_did_not_know_of_a_beginning_is_shown() {
    let _alone = alone();
    let ((laptop, _first), (cloud, _second)) = pair();
    let former = laptop.json(&["doc", "create", "plan"])["url"].as_str().unwrap().to_owned();
    laptop.json(&["doc", "set", "plan", "title", "\"Release\""]);
    until("cloud has it", || value(&cloud, "plan", "title"));
    // with a write of its own it knows that the mesh writes documents
    cloud.json(&["doc", "set", "plan", "cloud", "true"]);
    until("laptop has it", || value(&laptop, "plan", "cloud"));
    cloud.run(&["offline"]).ok();
    cloud.json(&["doc", "set", "plan", "late", "1"]);
    let anew = laptop.json(&["doc", "compact", "plan"]);
    assert_ne!(anew["url"], json!(former));
    refused(&laptop, &["set", &former, "title", "1"], 7, "conflict", "began anew");
    assert!(laptop.json(&["doc", "get", "plan"]).get("former").is_none());
    cloud.run(&["online"]).ok();
    for home in [&laptop, &cloud] {
        let told = until("the edit is told at the next document", || {
            let got = home.json(&["doc", "get", "plan"]);
            got.get("former").is_some().then_some(got)
        });
        assert_eq!((&told["url"], &told["former"]), (&anew["url"], &json!([{ "url": former, "later": 1 }])));
        assert_eq!(value(home, &former, "late"), Some(json!(1)));
    }
    let people = laptop.run(&["doc", "get", "plan"]).ok();
    assert!(people.stderr.contains(&former) && people.stderr.contains("hint: "), "{people:?}");
    // with a key of its own the former one takes edits again
    laptop.json(&["doc", "name", &former, "plan-before"]);
    laptop.json(&["doc", "set", "plan-before", "late", "2"]);
}

/// promise: Documents | `watch --kinds documents` tells each change of a document with its key and its version
#[test]
fn a_watch_of_events_tells_of_documents() {
    let home = Home::new();
    let node = home.up();
    let now = node.http("GET", "/v1/events?kinds=documents&wait=0s", "").json()["cursor"].as_str().unwrap().to_owned();
    home.json(&["doc", "create", "plan"]);
    let edited = home.json(&["doc", "set", "plan", "title", "\"Release\""]);
    let mut arguments = vec!["watch", "--kinds", "documents", "--from", &now];
    let lines = |arguments: &[&str]| {
        let mut child = home.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines =
            BufReader::new(child.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect::<Vec<_>>();
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    assert_eq!(lines(&arguments)[1].split_whitespace().take(3).collect::<Vec<_>>(), ["document", "default", "plan"]);
    arguments.push("--json");
    let told: Value = serde_json::from_str(&lines(&arguments)[1]).unwrap();
    for (member, wanted) in [("key", &json!("plan")), ("id", &edited["url"]), ("version", &edited["version"])] {
        assert_eq!(&told[member], wanted, "{told}");
    }
    let (code, error) = home.error(&["watch", "--kinds", "dogs"]);
    assert!(code == 2 && error["hint"].as_str().unwrap().contains("documents"), "{error}");
}

/// promise: Documents | Callers that type at once lose no letter
#[test]
fn twenty_programs_type_at_once_and_all_letters_are_there() {
    let home = Home::new();
    let _node = home.up();
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "text", "\"\""]);
    let words: Vec<String> = (0..20).map(|n| format!("<{n}>")).collect();
    let programs: Vec<Child> = words
        .iter()
        .map(|word| {
            let arguments = ["doc", "text", "plan", "text", "--at", "0", "--insert", word, "--json"];
            home.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for program in programs {
        let ended = program.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let answer: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(answer["changed"], true, "{answer}");
    }
    let text = value(&home, "plan", "text").unwrap();
    let text = text.as_str().unwrap();
    for word in &words {
        assert_eq!(text.matches(word.as_str()).count(), 1, "{word}: {text}");
    }
    assert_eq!(text.len(), words.concat().len(), "{text}");
}
