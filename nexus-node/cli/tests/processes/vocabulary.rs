//! The words of a mesh that mean the same, as people write, list and remove them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::support::{Home, pair, until};
use serde_json::{Value, json};

fn listed(home: &Home) -> Vec<String> {
    let groups = home.json(&["vocabulary", "list"]);
    groups.as_array().unwrap().iter().map(|group| joined(group["words"].as_array().unwrap())).collect()
}

fn joined(words: &[Value]) -> String {
    words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" = ")
}

fn why(home: &Home, question: &str) -> String {
    let hits = home.json(&["recall", question]);
    hits[0]["why"].as_str().unwrap_or_default().to_owned()
}

/// promise: Recall | A mesh's own words that mean the same find memories, and `why` names the word and its author
#[test]
fn words_are_written_listed_and_removed_and_those_of_others_stay() {
    let ((laptop, _a), (cloud, _b)) = pair();
    laptop.json(&["remember", "We ship it on Tuesdays"]);
    let group = laptop.json(&["vocabulary", "add", "deploy", "ship it", "Rollout"]);
    assert_eq!((&group["words"], &group["space"]), (&json!(["deploy", "ship it", "Rollout"]), &json!("default")));
    let by = group["author_name"].as_str().unwrap().to_owned();
    until("the other node has it", || (listed(&cloud) == ["deploy = ship it = Rollout"]).then_some(()));
    let expected = format!("It has “deploy” (“ship it” by {by}).");
    until("it finds", || (why(&cloud, "how do we deploy the firmware?") == expected).then_some(()));
    let told = cloud.run(&["vocabulary", "list"]).ok().stdout;
    assert!(told.contains("deploy = ship it = Rollout") && told.contains(&by), "{told}");

    // another member has groups of its own with the same word
    cloud.json(&["vocabulary", "add", "deploy", "go live"]);
    cloud.json(&["vocabulary", "add", "tests", "checks"]);
    cloud.json(&["vocabulary", "add", "Deploys", "launch"]);
    let all = ["deploy = ship it = Rollout", "deploys = launch", "tests = checks"].map(str::to_lowercase);
    let lower = |home: &Home| {
        let mut all: Vec<String> = listed(home).iter().map(|group| group.to_lowercase()).collect();
        all.sort();
        all
    };
    // `deploys` begins another key than `deploy`
    let mut with = all.to_vec();
    with.push("deploy = go live".to_owned());
    with.sort();
    until("all are here", || (lower(&laptop) == with).then_some(()));
    // the same first word again is another form of that group
    cloud.json(&["vocabulary", "add", "deploy", "go live", "launch"]);
    assert!(listed(&cloud).contains(&"deploy = go live = launch".to_owned()));
    let gone = cloud.json(&["vocabulary", "remove", "LAUNCHES"]);
    assert_eq!(gone.as_array().unwrap().len(), 2, "{gone}");
    assert_eq!(listed(&cloud), ["deploy = ship it = Rollout", "tests = checks"]);
    let (code, error) = cloud.error(&["vocabulary", "remove", "deploy"]);
    assert_eq!((code, &error["code"]), (5, &json!("not_found")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("vocabulary list"), "{error}");

    // a setting takes the other's away
    cloud.run(&["config", "set", "recall_ignores", &by]).ok();
    assert_eq!(why(&cloud, "how do we deploy the firmware?"), "");
    let (code, error) = cloud.error(&["config", "set", "recall_ignores", "did:key:nobody"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    let shown = cloud.json(&["config", "show"]);
    let row = shown.as_array().unwrap().iter().find(|row| row["key"] == "recall_ignores").unwrap();
    assert_eq!((&row["value"], &row["live"]), (&json!([by]), &json!(true)));
}

/// promise: Bad input | A group of words that is none is refused, and one of another's program is none
#[test]
fn words_that_are_no_group_are_refused_and_the_node_has_five_hundred() {
    let home = Home::new();
    let node = home.up();
    let long = "x".repeat(65);
    for words in [
        &["deploy"][..],
        &["deploy", "Deploys"],
        &["deploy", &long],
        &["deploy", "one two three four five"],
        &["deploy", "the"],
        &["deploy", "a=b"],
        &["deploy", "…"],
        &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
        &["deploy", "password: hunter2-Tr0ub4dor"],
    ] {
        let (code, error) = home.error(&[&["vocabulary", "add"], words].concat());
        assert_eq!(code, 2, "{words:?}: {error}");
        assert!(["invalid", "secret_found"].contains(&error["code"].as_str().unwrap()), "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    }
    for body in
        ["{}", "{\"words\":7}", "{\"words\":[1,2]}", "{\"words\":[\"a1\",\"b1\"],\"more\":1}", "[", "{\"words\":[]}"]
    {
        assert!([400, 422].contains(&node.http("POST", "/v1/vocabulary", body).status), "{body}");
    }
    let many = json!({ "words": (0..100_000).map(|n| format!("word{n}")).collect::<Vec<_>>() }).to_string();
    assert_eq!(node.http("POST", "/v1/vocabulary", &many).status, 422);
    assert_eq!(node.http("DELETE", "/v1/vocabulary/%00", "").status, 422);
    assert_eq!(node.http("GET", "/v1/vocabulary?space=nowhere", "").status, 404);
    assert_eq!(node.http("GET", "/v1/vocabulary?limit=3", "").status, 422);
    assert!(listed(&home).is_empty());

    // a memory of this kind that is no group is a memory as any other
    home.json(&["remember", "say harbour and never port", "--kind", "vocabulary"]);
    assert_eq!(why(&home, "harbour"), "It has “harbour”.");
    assert!(listed(&home).is_empty());
    // and one that is a group is in no brief
    home.json(&["remember", "quay = pier", "--kind", "vocabulary"]);
    assert_eq!(listed(&home), ["quay = pier"]);
    let brief = home.run_with(&["hook", "session-start"], b"{}").ok().stdout;
    assert!(brief.contains("say harbour") && !brief.contains("quay"), "{brief}");
    assert_eq!(home.json(&["recall", "quay"]), json!([]));
    assert_eq!(home.json(&["recall", "quay", "--kind", "vocabulary"])[0]["text"], "quay = pier");
    let count = |arguments: &[&str]| home.json(&[&["list"], arguments].concat())["items"].as_array().unwrap().len();
    assert_eq!((count(&[]), count(&["--kind", "vocabulary"])), (1, 2), "a group is no memory to read");

    let lines: String = (0..498)
        .map(|n| json!({ "text": format!("fruit{n} = berry{n}"), "kind": "vocabulary" }).to_string() + "\n")
        .collect();
    home.run_with(&["import", "-"], lines.as_bytes()).ok();
    home.json(&["vocabulary", "add", "wharf", "jetty"]);
    let (code, error) = home.error(&["vocabulary", "add", "ship", "boat"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("500"), "{error}");
    // an old one may still change, and one less makes room
    home.json(&["vocabulary", "add", "wharf", "landing stage"]);
    home.json(&["vocabulary", "remove", "quay"]);
    home.json(&["vocabulary", "add", "ship", "boat"]);
    assert_eq!(listed(&home).len(), 500);
}
