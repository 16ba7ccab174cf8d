//! Models of static vectors on the command line, and what `status` says of an embedder.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::embedder;
use crate::support::{Home, until};
use serde_json::json;

/// promise: Recall | `model` and the setting `embedder` are as in the contract, with a clear error for each fault
#[test]
fn a_model_is_added_used_and_removed() {
    let home = Home::new();
    let model = home.beside("tiny");
    embedder::write_model(&model, 8);
    let model = model.to_str().unwrap();
    assert_eq!(home.error(&["model", "add", model]).1["code"], "no_node");
    let node = home.up();
    assert_eq!(home.json(&["model", "list"]), json!([]));
    let added = home.json(&["model", "add", model]);
    assert_eq!((&added["name"], &added["dimension"], &added["used"]), (&json!("tiny"), &json!(8), &json!(false)));
    assert_eq!(home.error(&["model", "add", model]).1["code"], "conflict");
    assert_eq!(home.error(&["model", "add", "nothing-here"]).1["code"], "not_found");
    assert_eq!(home.error(&["model", "add", model, "--name", "../up"]).1["code"], "invalid");
    assert_eq!(home.error(&["model", "add", home.path().to_str().unwrap(), "--name", "x"]).1["code"], "not_found");
    assert_eq!(home.error(&["model", "remove", "other"]).1["code"], "not_found");
    assert_eq!(home.error(&["--api", "http://127.0.0.1:1", "model", "list"]).1["code"], "usage");

    home.json(&["remember", "the automobile is parked behind the office"]);
    assert_eq!(home.json(&["recall", "vehicle"]), json!([]));
    assert_eq!(home.json(&["status"])["embedder"]["state"], "off");
    assert!(!home.run(&["status"]).ok().stdout.contains("vectors"));
    home.json(&["config", "set", "embedder", "model:tiny"]);
    until("the memory is embedded", || (home.json(&["status"])["embedder"]["embedded"] == 1).then_some(()));
    let text = home.run(&["status"]).ok().stdout;
    assert!(text.contains("vectors") && text.contains("1 of 1 memories, tiny, 8 components"), "{text}");
    let hits = home.json(&["recall", "vehicle"]);
    assert_eq!((&hits[0]["by_meaning"], &hits[0]["weak"]), (&json!(true), &json!(true)), "{hits}");
    assert_eq!(hits[0]["why"], "Its meaning is near.");
    assert!(home.json(&["recall", "automobile"])[0].get("by_meaning").is_none());
    assert_eq!(home.error(&["model", "remove", "tiny"]).1["code"], "in_use");
    home.json(&["config", "set", "embedder", ""]);
    assert_eq!(home.json(&["model", "remove", "tiny"]), json!({"removed": "tiny"}));

    for bad in ["https://127.0.0.1/api/embed", "http://127.0.0.1/", "http://me@host/api/embed", "model:", "model:../x"]
    {
        assert_eq!(home.error(&["config", "set", "embedder", bad]).1["code"], "invalid", "{bad}");
    }
    home.json(&["config", "set", "embedder", "model:gone"]);
    until("it says why", || (home.json(&["status"])["embedder"]["state"] == "failing").then_some(()));
    let reason = home.json(&["status"])["embedder"]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("there is no model gone"), "{reason}");
    assert!(!home.json(&["recall", "automobile"]).as_array().unwrap().is_empty());
    // whoever asks, and whoever looks for faults, is told that words alone answered
    let told = home.run(&["recall", "automobile"]).ok().stderr;
    assert!(told.contains("words alone were searched"), "{told}");
    let checks = home.json(&["doctor"]);
    let check = checks.as_array().unwrap().iter().find(|check| check["check"] == "embedder").unwrap();
    assert!(check["ok"] == false && check["detail"].as_str().unwrap().contains("there is no model gone"), "{check}");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"recall","arguments":{"query":"automobile"}}}"#;
    let answer = node.http("POST", "/mcp", call).json();
    assert!(
        answer["result"]["content"][0]["text"].as_str().unwrap().starts_with("Words alone were searched"),
        "{answer}"
    );
    home.json(&["config", "set", "embedder", ""]);
    until("it is off", || (home.json(&["status"])["embedder"]["state"] == "off").then_some(()));
    assert!(!home.run(&["recall", "automobile"]).ok().stderr.contains("words alone"));
    assert!(!home.json(&["doctor"]).to_string().contains("\"embedder\""));
}
