//! Slips of the hand: writing over something, writing nothing, forgetting the wrong memory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{self, Home, Node};
use serde_json::{Value, json};

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap().to_owned()
}

/// promise: Commands and API | Writing under a key says that it replaced, and keeps kind, tags and metadata that are not given
#[test]
fn writing_over_a_key_says_so_and_keeps_what_is_not_given() {
    let home = Home::new();
    let _node = home.up();
    let first = home.json(&["remember", "one", "--id", "k", "--kind", "fact", "--tag", "x", "--meta", "a=b"]);
    assert_eq!(first["replaced"], false);
    assert_eq!(home.json(&["remember", "one", "--id", "k"])["replaced"], false, "the same again");
    let second = home.json(&["remember", "two", "--id", "k"]);
    assert_eq!((&second["replaced"], id(&second)), (&json!(true), id(&first)));
    let now = home.json(&["get", &id(&first)]);
    assert_eq!((&now["text"], &now["kind"], &now["tags"]), (&json!("two"), &json!("fact"), &json!(["x"])));
    assert_eq!(now["meta"], json!({"a": "b"}));
    let ran = home.run(&["remember", "three", "--id", "k", "--kind", "note", "--tag", "y"]).ok();
    assert!(ran.stderr.contains("replaced in default") && ran.stderr.contains("nexus-node history"), "{ran:?}");
    let now = home.json(&["get", &id(&first)]);
    assert_eq!((&now["kind"], &now["tags"]), (&json!("note"), &json!(["y"])));
    home.json(&["remember", "three", "--id", "k", "--no-tags"]);
    assert_eq!(home.json(&["get", &id(&first)])["tags"], json!([]));
    assert_eq!(home.error(&["remember", "x", "--id", "k", "--no-tags", "--tag", "z"]).0, 2);
    // a file says all of it
    let line = json!({"text": "four", "id": "k"}).to_string();
    home.run_with(&["import", "-"], line.as_bytes()).ok();
    let now = home.json(&["get", &id(&first)]);
    assert_eq!((&now["text"], &now["meta"]), (&json!("four"), &json!({})));
}

/// promise: Commands and API | A memory without a text is refused, at every door
#[test]
fn a_memory_without_a_text_is_refused() {
    let home = Home::new();
    let node = home.up();
    let kept = id(&home.json(&["remember", "a text"]));
    for empty in ["", "  ", "\n\t"] {
        for command in [&["remember", empty][..], &["edit", &kept, empty]] {
            let (code, error) = home.error(command);
            assert_eq!((code, error["code"].as_str()), (2, Some("invalid")), "{command:?}: {error}");
        }
        let body = json!({"text": empty}).to_string();
        assert_eq!(node.http("POST", "/v1/memories", &body).status, 422);
        let acknowledged = node.http("POST", "/v1/import", &body);
        assert!(acknowledged.body.contains("error"), "{acknowledged:?}");
    }
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
}

/// promise: Commands and API | A memory is found by its key; the beginning of an id never gives way to a key, nor the other way
#[test]
fn a_memory_is_found_by_its_key() {
    let home = Home::new();
    let _node = home.up();
    let keyed = id(&home.json(&["remember", "deploy on mondays", "--id", "deploys"]));
    assert_eq!(id(&home.json(&["get", "deploys"])), keyed);
    assert_eq!(home.json(&["edit", "deploys", "never"])["text"], "never");
    assert_eq!(home.json(&["history", "deploys"]).as_array().unwrap().len(), 2);
    assert_eq!(home.error(&["get", "deploy"]).0, 5, "a key is whole");
    home.json(&["remember", "short-lived", "--id", "k"]);
    assert_eq!(home.json(&["forget", "k", "--yes"])["text"], "short-lived");

    let other = id(&home.json(&["remember", "another"]));
    let beginning = &other[..8];
    let claims = id(&home.json(&["remember", "claims the other's name", "--id", beginning]));
    let (code, error) = home.error(&["get", beginning]);
    assert_eq!((code, error["code"].as_str()), (2, Some("ambiguous")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&other) && message.contains(&claims), "{message}");
    home.json(&["remember", "claims all of it", "--id", &other]);
    assert_eq!(home.json(&["get", &other])["text"], "another", "a whole id is never a key");

    home.json(&["space", "create", "ops"]);
    home.json(&["remember", "elsewhere", "--id", "deploys", "--space", "ops"]);
    assert_eq!(home.error(&["get", "deploys"]).1["code"], "ambiguous");
}

/// A memory that was forgotten, and its id.
fn forgotten(home: &Home, more: &[&str]) -> String {
    let written = home.json(&[&["remember", "the port is 4001", "--tag", "x", "--meta", "a=b"], more].concat());
    home.json(&["edit", &id(&written), "the port is 4002"]);
    home.json(&["forget", &id(&written), "--yes"]);
    id(&written)
}

/// promise: Commands and API | A forgotten memory is written again by `forget --undo`, under a new id, with all that it had
#[test]
fn what_was_forgotten_is_written_again_with_all_that_it_had() {
    let home = Home::new();
    let node = home.up();
    let gone = forgotten(&home, &["--id", "port", "--kind", "fact", "--ttl", "1h"]);
    node.kill_9();
    let _node = home.up();
    let back = home.json(&["forget", "--undo", &gone]);
    assert_eq!(
        (&back["forgotten"], &back["was"], &back["text"]),
        (&json!(false), &json!(gone), &json!("the port is 4002"))
    );
    assert_ne!(id(&back), gone);
    let now = home.json(&["get", "port"]);
    assert_eq!((id(&now), &now["kind"], &now["tags"]), (id(&back), &json!("fact"), &json!(["x"])));
    assert_eq!((&now["meta"], now["expires_at"].is_string()), (&json!({"a": "b"}), true));
    assert!(home.json(&["recall", "port"]).as_array().unwrap().iter().any(|hit| hit["id"] == back["id"]));
    assert_eq!(id(&home.json(&["forget", "--undo", &gone])), id(&back), "asked again, nothing is written twice");
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
    let text = home.run(&["forget", "--yes", &id(&back)]).ok();
    assert!(text.stderr.contains(&format!("forget --undo {}", id(&back))), "{text:?}");
}

/// promise: Bad input | An undo of what is there, of what never was, or of what another memory replaced
#[test]
fn an_undo_that_cannot_be_is_refused_in_words_and_changes_nothing() {
    let home = Home::new();
    let node = home.up();
    let gone = forgotten(&home, &["--id", "port"]);
    let there = id(&home.json(&["remember", "the port is 4003", "--id", "port"]));
    let code = |id: &str| {
        let (code, error) = home.error(&["forget", "--undo", id]);
        assert!(error["hint"].is_string() || code == 7, "{error}");
        (code, error["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code(&gone), (7, "conflict".to_owned()), "its key is another one's now");
    assert_eq!(code(&there), (7, "conflict".to_owned()), "it is there");
    assert_eq!(code("aaaaaaaaaaaaaaaaaaaaaaaa"), (5, "not_found".to_owned()));
    assert_eq!(code("no id at all"), (5, "not_found".to_owned()));
    let short = home.error(&["forget", "--undo", &gone[..7]]);
    assert_eq!(short.0, 2);
    assert_eq!(unforgets(&node, &gone, "{\"colour\":1}"), 422);
    assert_eq!(unforgets(&node, &gone, ""), 409);
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
}

fn unforgets(node: &Node, id: &str, body: &str) -> u16 {
    node.http("POST", &format!("/v1/memories/{id}/unforget"), body).status
}

/// promise: Nodes | A node takes another name while it runs, and the others see it
#[test]
fn a_node_is_renamed_while_it_runs() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let _first = laptop.up();
    cloud.json(&["join", laptop.json(&["invite"])["ticket"].as_str().unwrap()]);
    let _second = cloud.up();
    let set = laptop.json(&["config", "set", "name", "desk"]);
    assert_eq!(set[0]["live"], true);
    let named = |home: &Home| home.json(&["members"]).as_array().unwrap().iter().any(|member| member["name"] == "desk");
    for home in [&laptop, &cloud] {
        support::until("the name is known", || named(home).then_some(()));
    }
    assert_eq!(laptop.json(&["status"])["name"], "desk");
    // a flag of the start goes before the file, and is said to
    let phone = Home::new();
    let _third = phone.up_with(&["--name", "phone"]);
    let told = phone.run(&["config", "set", "name", "tablet"]).ok();
    assert!(told.stderr.contains("a flag hides"), "{told:?}");
    assert_eq!(phone.json(&["status"])["name"], "phone");
    // a name that is none changes nothing
    assert_eq!(laptop.error(&["config", "set", "name", &"x".repeat(200)]).0, 2);
    assert_eq!(laptop.json(&["status"])["name"], "desk");
}
