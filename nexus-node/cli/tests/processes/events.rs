//! Changes as they happen, over a WebSocket and by long polls.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Answer, Home, Node, SOON};
use serde_json::{Value, json};

/// One end of a WebSocket.
struct Socket {
    stream: TcpStream,
    head: String,
}

impl Socket {
    /// Opens a WebSocket, with these further headers.
    fn open(node: &Node, path: &str, headers: &[(&str, &str)]) -> Self {
        let address = node.address();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut head =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
        head.push_str("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        Self { stream, head: String::from_utf8(answer).unwrap() }
    }

    fn bearer(node: &Node, path: &str) -> Self {
        let socket = Self::open(node, path, &[("Sec-WebSocket-Protocol", &format!("bearer, {}", node.token()))]);
        assert_eq!(socket.status(), 101, "{}", socket.head);
        assert!(socket.head.to_ascii_lowercase().contains("sec-websocket-protocol: bearer\r\n"), "{}", socket.head);
        socket
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next frame that is no ping: its kind and its content.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).unwrap();
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length).unwrap();
                    usize::from(u16::from_be_bytes(length))
                }
                length => usize::from(length),
            };
            let mut bytes = vec![0; length];
            self.stream.read_exact(&mut bytes).unwrap();
            if head[0] & 15 != 9 {
                return (head[0] & 15, bytes);
            }
        }
    }

    /// The next change of a memory. Changes of members come at any time, and are skipped.
    fn change(&mut self) -> Value {
        loop {
            let (kind, bytes) = self.frame();
            assert_eq!(kind, 1, "a text");
            let change: Value = serde_json::from_slice(&bytes).unwrap();
            if change["kind"] != "member" {
                return change;
            }
        }
    }
}

/// promise: Commands and API | Changes come over WebSockets and long polls, and go on from a cursor of this mesh
#[test]
fn a_websocket_brings_changes_and_goes_on_from_a_cursor() {
    let home = Home::new();
    let node = home.up();
    let mut socket = Socket::bearer(&node, "/v1/events");
    let first = home.json(&["remember", "first"]);
    let second = home.json(&["remember", "second"]);
    let change = socket.change();
    assert_eq!((&change["id"], &change["kind"]), (&first["id"], &json!("remembered")));
    assert_eq!(socket.change()["id"], second["id"]);
    drop(socket);
    let mut socket = Socket::bearer(&node, &format!("/v1/events?from={}", change["cursor"].as_str().unwrap()));
    assert_eq!(socket.change()["id"], second["id"]);
    // It gets a close when the node stops, and does not delay the stop.
    assert_eq!(node.terminate().0, Some(0));
    let (kind, reason) = socket.frame();
    assert_eq!((kind, &reason[..2]), (8, &1_001_u16.to_be_bytes()[..]));
}

/// promise: Bad input | A WebSocket is refused like any other request: wrong token, foreign or null `Origin`
#[test]
fn a_websocket_is_refused_like_any_other_request() {
    let home = Home::new();
    let node = home.up();
    let protocol = |token: &str| format!("bearer, {token}");
    let (good, wrong) = (protocol(&node.token()), protocol("wrong"));
    let ours = format!("http://{}", node.address());
    for (protocol, origin, status) in [
        (None, None, 401),
        (Some(&wrong), None, 401),
        (Some(&good), Some("null"), 403),
        (Some(&good), Some("http://evil.example"), 403),
        (Some(&good), Some(ours.as_str()), 101),
    ] {
        let mut headers = Vec::new();
        headers.extend(protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol.as_str())));
        headers.extend(origin.map(|origin| ("Origin", origin)));
        assert_eq!(Socket::open(&node, "/v1/events", &headers).status(), status, "{headers:?}");
    }
    // The subprotocol shows a token for a WebSocket only.
    let headers = [("Host", node.address()), ("Sec-WebSocket-Protocol", good.clone())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(node.raw("GET", "/v1/status", &headers, b"").problem(), "unauthorized");
    let answer = Socket::open(&node, "/v1/events?from=nonsense", &[("Sec-WebSocket-Protocol", &good)]);
    assert_eq!(answer.status(), 422);
}

/// promise: Commands and API | Changes come over WebSockets and long polls, and go on from a cursor of this mesh
#[test]
fn a_poll_waits_for_the_first_change_and_goes_on_from_its_cursor() {
    let home = Home::new();
    let node = home.up();
    // The node's own introduction comes first.
    home.json(&["remember", "before"]);
    let poll = |query: &str| {
        let answer = node.http("GET", &format!("/v1/events?{query}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let begin = poll("wait=0s");
    assert_eq!(begin["changes"], json!([]));
    let cursor = begin["cursor"].as_str().unwrap();
    assert_eq!(poll(&format!("wait=100ms&from={cursor}"))["cursor"], cursor, "nothing happened");
    let waiting = Instant::now();
    let got = std::thread::scope(|scope| {
        let polling = scope.spawn(|| poll(&format!("wait=30s&from={cursor}")));
        // until it is being answered, beside the request that asks for this
        let deadline = Instant::now() + Duration::from_secs(20);
        while !node.http("GET", "/metrics", "").body.contains("\nnexus_http_requests_in_flight 2\n") {
            assert!(Instant::now() < deadline, "the poll never arrives");
        }
        home.json(&["remember", "after"]);
        polling.join().unwrap()
    });
    assert!(waiting.elapsed() < Duration::from_secs(20), "it does not wait to the end");
    assert_eq!(got["changes"][0]["kind"], "remembered");
    for text in ["one", "two", "three"] {
        home.json(&["remember", text]);
    }
    let rest = poll(&format!("wait=0s&from={}", got["cursor"].as_str().unwrap()));
    assert_eq!(rest["changes"].as_array().unwrap().len(), 3, "all there is comes at once: {rest}");
    assert_eq!(rest["cursor"], rest["changes"][2]["cursor"]);
    assert_eq!(node.http("GET", "/v1/events?wait=soon", "").problem(), "invalid");
    assert_eq!(node.http("GET", "/v1/events?colour=red", "").problem(), "invalid");
}

/// promise: Commands and API | Changes come over WebSockets and long polls, and go on from a cursor of this mesh
#[test]
fn a_cursor_of_another_mesh_is_refused_everywhere() {
    let (ours, other) = (Home::new(), Home::new());
    let (node, stranger) = (ours.up(), other.up());
    for home in [&ours, &other] {
        home.json(&["remember", "one"]);
        home.json(&["remember", "two"]);
    }
    let cursor = stranger.http("GET", "/v1/events?wait=0s", "").json()["cursor"].as_str().unwrap().to_owned();
    let next = stranger.http("GET", "/v1/memories?limit=1", "").json()["next"].as_str().unwrap().to_owned();
    for path in [
        format!("/v1/events?from={cursor}"),
        format!("/v1/events?wait=1s&from={cursor}"),
        format!("/v1/memories?after={next}"),
        format!("/v1/memories?after={cursor}"),
        format!("/v1/events?from={next}"),
    ] {
        assert_eq!(node.http("GET", &path, "").problem(), "invalid", "{path}");
    }
}

/// The events after a cursor, until one of each of these kinds has come, with the last cursor.
fn until_seen(ask: &dyn Fn(&str) -> Answer, mut cursor: String, kinds: &[&str]) -> (Vec<Value>, String) {
    let (mut all, deadline) = (Vec::new(), Instant::now() + SOON);
    while !kinds.iter().all(|kind| all.iter().any(|event: &Value| event["kind"] == *kind)) {
        assert!(Instant::now() < deadline, "{kinds:?} do not all come: {all:?}");
        let answer = ask(&format!("wait=10s&from={cursor}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        all.extend(told["changes"].as_array().unwrap().iter().cloned());
        cursor = told["cursor"].as_str().unwrap().to_owned();
    }
    (all, cursor)
}

fn now(ask: &dyn Fn(&str) -> Answer) -> String {
    let answer = ask("wait=0s");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["cursor"].as_str().unwrap().to_owned()
}

/// promise: Commands and API | `/v1/events` tells of the kinds that are asked for; a token gets those that it may read, in its spaces alone
#[test]
fn a_caller_is_told_of_the_kinds_that_its_token_may_read() {
    let home = Home::new();
    let node = home.up();
    home.json(&["space", "create", "work"]);
    let all = |query: &str| node.http("GET", &format!("/v1/events?kinds=all&{query}"), "");
    let with = |scopes: &str, more: &[&str]| {
        let name = format!("{}{}", scopes.replace([':', ',', '*'], " "), more.len());
        crate::tokens::token(&home, name.trim(), scopes, more)
    };
    let [memory, tasks, critical, documents] =
        ["memory:read", "tasks:read", "kv:read,locks:read", "documents:read"].map(|scopes| with(scopes, &[]));
    let bounded = with("*", &["--space", "work"]);
    let of = |token: &str, query: &str| node.with_token(token, "GET", &format!("/v1/events?{query}"), "");
    let begun = now(&all);
    let starts = [&memory, &tasks, &critical, &bounded, &documents]
        .map(|token| now(&|query| of(token, &format!("kinds=all&{query}"))));

    let remembered = home.json(&["remember", "everybody may know"]);
    let task = home.json(&["task", "submit", "add", "--input", "1"]);
    home.json(&["kv", "put", "target", "blue"]);
    let token = home.json(&["lock", "acquire", "build", "--ttl", "60s"])["token"].as_u64();
    let blob = node.http("PUT", "/v1/blobs", "content").json();
    let document = home.json(&["doc", "create", "plan"]);
    let inside = home.json(&["remember", "of the work", "--space", "work"]);

    let (told, _) = until_seen(&all, begun, &["remembered", "task", "key", "lock", "blob", "document"]);
    let the = |kind: &str| told.iter().find(|event| event["kind"] == kind).unwrap();
    assert_eq!((&the("remembered")["id"], &the("task")["id"]), (&remembered["id"], &task["id"]));
    assert_eq!((&the("task")["state"], &the("task")["space"]), (&json!("pending"), &task["space"]));
    let told_of = the("document");
    for (name, wanted) in [("key", &json!("plan")), ("id", &document["url"]), ("version", &document["version"])] {
        assert_eq!(&told_of[name], wanted, "{told_of}");
    }
    let key = the("key");
    assert_eq!(
        (&key["id"], &key["change"]["kind"], &key["change"]["value"]),
        (&json!("target"), &json!("put"), &json!("blue"))
    );
    assert_eq!((&the("lock")["id"], the("lock")["change"]["token"].as_u64()), (&json!("build"), token));
    assert_eq!((&the("blob")["id"], &the("blob")["state"]), (&blob["hash"], &json!("added")));
    for event in &told {
        assert!(event["cursor"].as_str().is_some_and(|cursor| cursor.starts_with("n1")), "{event}");
    }

    // `all` is what the token may read
    let seen = |token: &str, cursor: &str, wanted: &[&str]| {
        let (told, _) = until_seen(&|query| of(token, &format!("kinds=all&{query}")), cursor.to_owned(), wanted);
        told
    };
    let kinds = |told: &[Value]| -> std::collections::BTreeSet<String> {
        let kinds = told.iter().map(|event| event["kind"].as_str().unwrap().to_owned());
        kinds.filter(|kind| !["mode", "member"].contains(&kind.as_str())).collect()
    };
    let set = |kinds: &[&str]| kinds.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(kinds(&seen(&memory, &starts[0], &["remembered"])), set(&["remembered"]));
    assert_eq!(kinds(&seen(&tasks, &starts[1], &["task"])), set(&["task"]));
    assert_eq!(kinds(&seen(&critical, &starts[2], &["key", "lock"])), set(&["key", "lock"]));
    assert_eq!(kinds(&seen(&documents, &starts[4], &["document"])), set(&["document"]));
    let told = seen(&bounded, &starts[3], &["remembered", "key"]);
    let ids: Vec<&Value> = told.iter().filter(|event| event["space"] != "").map(|event| &event["id"]).collect();
    assert_eq!(ids, [&inside["id"]], "of its space alone: {told:?}");
    assert!(!kinds(&told).contains("blob"), "{told:?}");

    // a kind that it may not read is refused by name
    for (token, query, code) in [
        (&memory, "kinds=tasks", "refused"),
        (&memory, "kinds=memories,critical", "refused"),
        (&memory, "kinds=documents", "refused"),
        (&documents, "kinds=documents,memories", "refused"),
        (&memory, "kinds=peers", "refused"),
        (&memory, "kinds=blobs", "refused"),
        (&tasks, "", "refused"),
        (&tasks, "kinds=memories", "refused"),
        (&bounded, "kinds=blobs", "refused"),
        (&memory, "kinds=memories,colours", "invalid"),
        (&memory, "kinds=", "invalid"),
        (&bounded, "kinds=peers&space=work", "invalid"),
    ] {
        let answer = of(token, &format!("wait=0s&{query}"));
        assert_eq!(answer.problem(), code, "{query}: {answer:?}");
    }
    assert_eq!(of(&with("locks:read", &[]), "wait=0s&kinds=critical").problem(), "refused", "it takes both scopes");
    // the page shows no keys
    assert_eq!(home.as_person("GET", "/v1/events?wait=0s&kinds=critical", "").problem(), "refused");
    let page = home.as_person("GET", "/v1/events?wait=0s&kinds=all", "");
    assert_eq!(page.status, 200, "{page:?}");
}

/// promise: Commands and API | Cursors are of one kind: each route that follows takes those of the stream, and a number of an older kind is refused with `cursor_old`
#[test]
fn routes_that_follow_take_the_cursors_of_the_stream_and_refuse_older_numbers_by_name() {
    let home = Home::new();
    let node = home.up();
    let all = |query: &str| node.http("GET", &format!("/v1/events?kinds=all&{query}"), "");
    home.json(&["kv", "put", "before", "1"]);
    let before = node.http("GET", "/v1/watch?after=0", "").json();
    let cursor = now(&all);
    let revision = before["revision"].as_u64().unwrap();
    for query in [format!("from={revision}"), format!("from={revision}&kinds=critical"), "from=0".to_owned()] {
        let answer = node.http("GET", &format!("/v1/events?wait=0s&{query}"), "");
        assert_eq!((answer.problem().as_str(), answer.status), ("cursor_old", 422), "{query}");
    }
    let answer = node.http("GET", "/v1/tasks/events?from=7", "");
    assert_eq!(answer.problem(), "cursor_old");
    assert_eq!(node.http("GET", "/v1/tasks/events?from=nonsense", "").problem(), "invalid");

    home.json(&["kv", "put", "after", "2"]);
    let (_, later) = until_seen(&all, cursor.clone(), &["key"]);
    let names = |path: &str| -> Vec<String> {
        let told = node.http("GET", path, "").json();
        told["changes"].as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&format!("/v1/watch?wait=10s&after={cursor}")), ["after"]);
    assert_eq!(names(&format!("/v1/watch?after={later}")), [""; 0]);
    assert_eq!(names(&format!("/v1/watch?after={revision}")), ["after"], "and numbers as before");
    assert_eq!(node.http("GET", "/v1/watch?after=soon", "").problem(), "invalid");

    // tasks that came while nobody listened
    let ids: Vec<Value> =
        (0..3).map(|n| home.json(&["task", "submit", "add", "--input", &n.to_string()])["id"].clone()).collect();
    let (address, token) = (node.address(), node.token());
    let listen = |query: &str, headers: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!(
            "GET /v1/tasks/events{query} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        BufReader::new(stream).lines().map(Result::unwrap)
    };
    let task = |lines: &mut dyn Iterator<Item = String>| -> (String, Value) {
        let (mut id, mut data) = (String::new(), None);
        for line in lines {
            if let Some(cursor) = line.strip_prefix("id:") {
                id = cursor.trim().to_owned();
            } else if let Some(json) = line.strip_prefix("data:") {
                data = Some(serde_json::from_str::<Value>(json).unwrap());
            } else if line.is_empty() && data.is_some() {
                break;
            }
        }
        (id, data.unwrap()["id"].clone())
    };
    let mut lines = listen(&format!("?from={cursor}"), "");
    let first = task(&mut lines);
    assert_eq!((&first.1, &task(&mut lines).1), (&ids[0], &ids[1]));
    drop(lines);
    let mut lines = listen(&format!("?from={cursor}"), &format!("Last-Event-ID: {}\r\n", first.0));
    assert_eq!((&task(&mut lines).1, &task(&mut lines).1), (&ids[1], &ids[2]));
}
