//! Values that come out as they went in, or are refused: JSON of tasks, metadata, keys, dates, and ids of requests.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::process::{Child, Stdio};

use crate::support::{HOWEVER_BUSY, Home, Node, until};
use serde_json::{Value, json};

/// JSON that a value in memory would change, or write in another way.
const KEPT: [&str; 13] = [
    "12345678901234567890123",
    "18446744073709551616",
    "-9223372036854775809",
    "3.141592653589793238462643",
    "12345e6",
    "1e-400",
    "-0",
    "1.0",
    "1.50",
    r#"{"b":1,"a":{"z":[1,2.0],"y":null}}"#,
    r#"{ "a" : [ 1,2 , 3 ] }"#,
    r#"["\u00e9\/","é"]"#,
    r#"{"\u0061":12345678901234567890123}"#,
];

/// JSON that no node takes, with words of the refusal.
const REFUSED: [(&str, &str); 4] = [
    ("1E400", "out of range"),
    (r#"{"a":1,"a":2}"#, "the key \"a\" comes twice"),
    (r#"[{"b":{"x":1,"\u0078":2}}]"#, "the key \"x\" comes twice"),
    (r#""\ud83d""#, "hex escape"),
];

/// A worker, which ends with the test.
struct Worker(Child);

impl Worker {
    fn start(home: &Home, capability: &str, command: &[&str]) -> Self {
        let options = ["--sandbox", "none", "--capability", capability, "--"];
        let mut worker = home.command(&[&["worker"][..], HOWEVER_BUSY, &options, command].concat());
        Self(worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The text of a member of a document, which must have it once.
#[track_caller]
fn member<'a>(document: &'a str, name: &str, text: &str) -> &'a str {
    let is = format!("\"{name}\":{text},");
    let (_, rest) = document.split_once(&is).unwrap_or_else(|| panic!("{is}: {document}"));
    rest
}

fn post(node: &Node, path: &str, body: &str) -> crate::support::Answer {
    node.http("POST", path, body)
}

/// promise: Tasks | Inputs and outputs are as they came, byte for byte: digits of any number, order of keys, escapes, white space
#[test]
fn the_json_of_a_task_is_as_it_came() {
    let home = Home::new();
    let node = home.up();
    let _echo = Worker::start(&home, "echo", &["cat"]);
    // its output has the bytes of a file
    let _print = Worker::start(
        &home,
        "print",
        &["sh", "-c", r#"read -r n; cat "$1/$n""#, "sh", home.beside("").to_str().unwrap()],
    );
    for (n, text) in KEPT.iter().enumerate() {
        // the command's stdin, its stdout, and the output for people
        let echoed = home.run(&["task", "submit", "echo", "--input", text, "--wait"]).ok();
        assert_eq!(echoed.stdout, format!("{text}\n"));
        std::fs::write(home.beside(&n.to_string()), format!(" {text}\r\n")).unwrap();
        let printed = home.run(&["task", "submit", "print", "--input", &n.to_string(), "--wait"]).ok();
        assert_eq!(printed.stdout, format!("{text}\n"));

        // documents: of the command line, of HTTP, of events
        let file = home.beside("input.json");
        std::fs::write(&file, format!("{text}\n")).unwrap();
        let at = format!("@{}", file.display());
        let done = home.run(&["task", "submit", "echo", "--input", &at, "--wait", "--json"]).ok().stdout;
        member(member(&done, "input", text), "output", text);
        let id = serde_json::from_str::<Value>(&done).unwrap()["id"].as_str().unwrap().to_owned();
        let shown = home.run(&["task", "show", &id, "--json"]).ok().stdout;
        member(member(&shown, "input", text), "output", text);
        for path in [format!("/v1/tasks/{id}"), "/v1/tasks?limit=1".to_owned(), format!("/v1/tasks/events?task={id}")] {
            member(member(&node.http("GET", &path, "").body, "input", text), "output", text);
        }
        let watched = home.run(&["task", "watch", &id, "--json"]).ok().stdout;
        member(member(&watched, "input", text), "output", text);
        // once more, over HTTP alone, with another worker
        let retried =
            post(&node, "/v1/tasks", &format!(r#"{{"capability":"by-hand","input":{text},"request":"r{n}"}}"#));
        assert_eq!(retried.status, 201, "{retried:?}");
        member(&retried.body, "input", text);
        let claimed = post(&node, "/v1/tasks/claim", r#"{"capabilities":["by-hand"],"wait":"10s"}"#);
        member(&claimed.body, "input", text);
        let (id, token) = (claimed.json()["task"]["id"].clone(), claimed.json()["token"].clone());
        let path = format!("/v1/tasks/{}/finish", id.as_str().unwrap());
        let finished = post(&node, &path, &format!(r#"{{"token":{token},"output": {text} }}"#));
        member(member(&finished.body, "input", text), "output", text);
    }
}

/// promise: Tasks | JSON of several lines and JSON in a blob come out as they went in; a document of the command line stays one line
#[test]
fn long_json_and_json_of_several_lines_are_as_they_came() {
    let home = Home::new();
    let node = home.up();
    let _echo = Worker::start(&home, "echo", &["cat"]);
    let lines = "{\r\n  \"pi\": 3.141592653589793238462643,\n\t\"big\": 18446744073709551616\n}";
    let long = format!("[ {lines}{}]", ",\n  12345678901234567890123".repeat(4_000));
    assert!(long.len() > 64 << 10);
    for text in [lines, &long] {
        let file = home.beside("input.json");
        std::fs::write(&file, text).unwrap();
        let at = format!("@{}", file.display());
        let done = home.run(&["task", "submit", "echo", "--input", &at, "--wait"]).ok().stdout;
        assert_eq!(done, format!("{text}\n"));
        let task = home.json(&["task", "submit", "echo", "--input", &at, "--wait"]);
        let id = task["id"].as_str().unwrap();
        let whole = node.http("GET", &format!("/v1/tasks/{id}?whole=true"), "");
        member(member(&whole.body, "input", text), "output", text);
        let shown = home.run(&["task", "show", "--whole", id, "--json"]).ok().stdout;
        let one_line = text.replace(['\r', '\n'], " ");
        member(member(&shown, "input", &one_line), "output", &one_line);
    }
}

/// promise: Tasks | An output that is no UTF-8 fails its attempt (`output_not_utf8`); one that is no JSON is a text
#[test]
fn an_output_that_is_no_json_is_a_text_and_one_that_is_no_text_fails() {
    let home = Home::new();
    let _node = home.up();
    let print = r#"read -r n; cat "$1/$n""#;
    let _print = Worker::start(&home, "print", &["sh", "-c", print, "sh", home.beside("").to_str().unwrap()]);
    for (n, (text, _)) in REFUSED.iter().enumerate() {
        std::fs::write(home.beside(&n.to_string()), text).unwrap();
        let done = home.json(&["task", "submit", "print", "--input", &n.to_string(), "--wait"]);
        assert_eq!(done["output"], *text, "{done}");
    }
    for (n, bytes) in [(10, &b"\xff\xfe"[..]), (11, b"{\"a\":\"caf\xe9\"}"), (12, b"ok \x80")] {
        std::fs::write(home.beside(&n.to_string()), bytes).unwrap();
        let task = ["task", "submit", "print", "--input", &n.to_string(), "--attempts", "1", "--wait", "--json"];
        let failed: Value = serde_json::from_str(&home.run(&task).stdout).unwrap();
        let error = &failed["error"];
        assert_eq!((&failed["state"], &failed["output"]), (&json!("failed"), &Value::Null));
        assert_eq!(error["code"], "output_not_utf8", "{error}");
        assert!(error["message"].as_str().unwrap().contains("base64"), "{error}");
    }
}

/// promise: Bad input | JSON that cannot be kept as it is: a number out of range, a key twice, more than 128 levels
#[test]
fn json_that_cannot_be_kept_is_refused_with_its_reason() {
    let home = Home::new();
    let node = home.up();
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (text, told) in REFUSED.into_iter().chain([(deep.as_str(), "recursion limit")]) {
        let (code, error) = home.error(&["task", "submit", "x", "--input", text]);
        assert_eq!((code, error["code"].as_str()), (2, Some("invalid")), "{error}");
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
        let answer = post(&node, "/v1/tasks", &format!(r#"{{"capability":"x","input":{text}}}"#));
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid"), "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(told), "{answer:?}");
    }
    assert_eq!(home.json(&["task", "list"])["items"], json!([]));
}

/// promise: Bad input | Metadata with a number of more digits than are kept, or with a key twice, is refused by its path
#[test]
fn metadata_that_would_change_is_refused_by_its_path() {
    let home = Home::new();
    let node = home.up();
    let id = home.json(&["remember", "a memory to edit"])["id"].as_str().unwrap().to_owned();
    for (meta, told) in [
        (r#"{"n":18446744073709551616}"#, "meta.n: the number 18446744073709551616"),
        (r#"{"n":-9223372036854775809}"#, "meta.n: the number"),
        (r#"{"a":{"b":[0,12345678901234567890123]}}"#, "meta.a.b[1]: the number"),
        (r#"{"pi":3.141592653589793238462643}"#, "meta.pi: the number"),
        (r#"{"small":1e-400}"#, "meta.small: the number"),
        (r#"{"a":{"x":1,"x":2}}"#, "meta.a.x: the key \"x\" comes twice"),
        (r#"{"a":1,"a":2}"#, "meta.a: the key \"a\" comes twice"),
    ] {
        let new = format!(r#"{{"text":"numbers","meta":{meta}}}"#);
        let answers = [
            post(&node, "/v1/memories", &new),
            node.http("PATCH", &format!("/v1/memories/{id}"), &format!(r#"{{"meta":{meta}}}"#)),
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid"), "{answer:?}");
            assert!(answer.json()["detail"].as_str().unwrap().starts_with(told), "{answer:?}");
        }
        let imported = post(&node, "/v1/import", &format!("{new}\n")).lines();
        let error = imported[0]["error"]["message"].as_str().or(imported[0]["error"]["detail"].as_str());
        assert!(error.unwrap_or_default().starts_with(told), "{imported:?}");
    }
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
    // these come back as they are
    let kept = r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":0.1,"d":1e300,"e":"12345678901234567890123"}"#;
    let answer = post(&node, "/v1/memories", &format!(r#"{{"text":"more numbers","meta":{kept}}}"#));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let shown = node.http("GET", &format!("/v1/memories/{id}"), "").json();
    assert_eq!(shown["meta"], serde_json::from_str::<Value>(kept).unwrap());
}

/// promise: Bad input | A date after the year 9999 is refused, wherever a time becomes one
#[test]
fn dates_end_with_the_year_9999() {
    let home = Home::new();
    let node = home.up();
    let far = "99999999999d";
    for command in [
        &["remember", "x y z", "--ttl", far][..],
        &["remember", "x y z", "--ttl", "3000000d"],
        &["remember", "x y z", "--valid-from", "10000-01-01T00:00:00Z"],
        &["remember", "x y z", "--valid-to", "10000-01-01T00:00:00Z"],
        &["task", "submit", "x", "--deadline", far],
        &["task", "submit", "x", "--deadline", "10000-01-01T00:00:00Z"],
        &["invite", "--ttl", far],
        &["invite", "--valid", far],
    ] {
        let (code, error) = home.error(command);
        assert_eq!((code, error["code"].as_str()), (2, Some("invalid")), "{command:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains("after the year 9999"), "{command:?}: {error}");
        assert!(error["hint"].is_string(), "{command:?}: {error}");
    }
    for (path, body) in [
        ("/v1/memories", r#"{"text":"x y z","ttl":18446744073709551615}"#),
        ("/v1/memories", r#"{"text":"x y z","ttl":"99999999999d"}"#),
        ("/v1/tasks", r#"{"capability":"x","deadline":"99999999999d"}"#),
        ("/v1/invite", r#"{"ttl":99999999999999}"#),
    ] {
        let answer = post(&node, path, body);
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid"), "{path} {body}: {answer:?}");
    }
    assert_eq!(home.json(&["list"])["items"], json!([]));
    assert_eq!(home.json(&["task", "list"])["items"], json!([]));
    let kept = home.json(&["remember", "x y z", "--ttl", "2000000d", "--valid-to", "9999-12-31"]);
    let shown = home.json(&["get", kept["id"].as_str().unwrap()]);
    assert_eq!(shown["valid_to"], "9999-12-31T00:00:00.000Z");
    assert_eq!(shown["expires_at"].as_str().unwrap().len(), "2026-11-20T08:31:12.000Z".len());
    // an earlier version wrote such an end: the memory stays, with the last day there is
    let line = json!({
        "text": "an old line", "id": "aaaaaaaaaaaaaaaaaaaa", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "273792727-01-01T00:00:00.000Z",
    });
    let imported = post(&node, "/v1/import", &format!("{line}\n")).lines();
    let id = imported[0]["id"].as_str().unwrap_or_else(|| panic!("{imported:?}"));
    let end = home.json(&["get", id])["expires_at"].clone();
    assert!(end.as_str().unwrap().starts_with("9999-12-31T00:00:"), "{end}");
}

/// promise: Tasks | An id of a request is good for one task: another one with it is refused (`other_request`), and the same joins
#[test]
fn an_id_of_a_request_is_good_for_one_task() {
    let home = Home::new();
    let node = home.up();
    let first = ["task", "submit", "pay", "--request", "r1", "--input", r#"{"eur":5,"to":"x"}"#, "--deadline", "1h"];
    let pay = home.json(&first);
    for other in [
        &["task", "submit", "refund", "--request", "r1", "--input", r#"{"eur":500}"#][..],
        &["task", "submit", "refund", "--request", "r1", "--input", r#"{"eur":5,"to":"x"}"#, "--deadline", "1h"],
        &["task", "submit", "pay", "--request", "r1", "--input", r#"{"eur":6,"to":"x"}"#, "--deadline", "1h"],
        &["task", "submit", "pay", "--request", "r1", "--input", r#"{"eur":5.0,"to":"x"}"#, "--deadline", "1h"],
        &["task", "submit", "pay", "--request", "r1", "--input", r#"{"eur":5,"to":"x"}"#, "--deadline", "2h"],
        &["task", "submit", "pay", "--request", "r1", "--input", r#"{"eur":5,"to":"x"}"#],
    ] {
        let (code, error) = home.error(other);
        assert_eq!((code, error["code"].as_str()), (7, Some("other_request")), "{other:?}: {error}");
    }
    for more in [
        &["--priority", "high"][..],
        &["--timeout", "5s"],
        &["--attempts", "4"],
        &["--once"],
        &["--needs-approval"],
        &["--preemptible"],
        &["--space", "default"],
        &["--sandbox", "kernel"],
        &["--to", pay["submitter"].as_str().unwrap()],
        &["--after", pay["id"].as_str().unwrap()],
    ] {
        let (code, error) = home.error(&[&first, more].concat());
        assert_eq!((code, error["code"].as_str()), (7, Some("other_request")), "{more:?}: {error}");
    }
    // the same, in another spelling, at another time, by another program, over HTTP with the id in its header
    assert_eq!(home.json(&first)["id"], pay["id"]);
    let (host, token) = (node.address(), format!("Bearer {}", node.token()));
    let by_header = |id: &str, body: &str| {
        let headers = [
            ("Host", host.as_str()),
            ("Authorization", token.as_str()),
            ("Idempotency-Key", id),
            ("User-Agent", "other/1"),
        ];
        node.raw("POST", "/v1/tasks", &headers, body.as_bytes())
    };
    let same = r#"{"capability":"pay","input":{"to":"x", "eur":5},"deadline":"60m"}"#;
    assert_eq!(by_header("r1", same).json()["id"], pay["id"]);
    let other = by_header("r1", r#"{"capability":"pay","input":{"to":"y","eur":5},"deadline":"60m"}"#);
    assert_eq!((other.status, other.problem().as_str()), (422, "other_request"));
    for empty in
        [by_header("", r#"{"capability":"pay"}"#), post(&node, "/v1/tasks", r#"{"capability":"pay","request":""}"#)]
    {
        assert_eq!((empty.status, empty.problem().as_str()), (422, "invalid"), "{empty:?}");
    }
    assert_eq!(home.error(&["task", "submit", "pay", "--request", ""]).0, 2);
    let two_ids = by_header("r1", r#"{"capability":"pay","request":"r2"}"#);
    assert_eq!((two_ids.status, two_ids.problem().as_str()), (422, "invalid"));
    assert_eq!(home.json(&["task", "list"])["items"].as_array().unwrap().len(), 1);
    node.kill_9();
    let _node = home.up();
    assert_eq!(home.json(&first)["id"], pay["id"]);
    assert_eq!(home.error(&["task", "submit", "refund", "--request", "r1"]).0, 7);
    // a long input is in a blob: its hash tells
    let long = |last: &str| {
        let file = home.beside("long.json");
        std::fs::write(&file, format!("[{}{last}]", "1,".repeat(30_000))).unwrap();
        format!("@{}", file.display())
    };
    let submit = |last: &str| home.run(&["task", "submit", "sum", "--request", "r3", "--input", &long(last), "--json"]);
    let sum = submit("1").json();
    assert_eq!(submit("1").json()["id"], sum["id"]);
    assert_eq!(submit("2").code, 7);
    // a task that has ended is the same request, too
    home.json(&["task", "cancel", sum["id"].as_str().unwrap()]);
    let over = until("the task has ended", || Some(submit("1").json()).filter(|task| !task["ended_at"].is_null()));
    assert_eq!(over["id"], sum["id"]);
}

/// promise: Keys and locks | The value of a key is as it came: a number of any length is its digits, and JSON its text
#[test]
fn the_value_of_a_key_is_as_it_came() {
    let home = Home::new();
    let node = home.up();
    for text in KEPT.into_iter().chain(REFUSED.map(|(text, _)| text)).chain(["007", "1e400", " 1 ", "null"]) {
        home.run(&["kv", "put", "k", "--json", "--", text]).ok();
        assert_eq!(home.run(&["kv", "get", "k"]).ok().stdout, format!("{text}\n"));
        assert_eq!(node.http("GET", "/v1/kv/k", "").json()["value"], text);
        let step = json!({ "then": [{ "put": { "key": "k", "value": format!("{text}!") } }] });
        assert_eq!(post(&node, "/v1/kv", &step.to_string()).status, 200);
        assert_eq!(home.json(&["kv", "get", "k"])["value"], format!("{text}!"));
    }
}
