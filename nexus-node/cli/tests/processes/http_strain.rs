//! The HTTP API under bad bodies, under clients that go away or do not read, and under many clients.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Home, Node, SOON, until};
use serde_json::Value;

/// A connection that has sent a request and reads nothing by itself.
fn ask(node: &Node, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (address, token) = (node.address(), node.token());
    let head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn in_flight(node: &Node) -> f64 {
    let text = node.http("GET", "/metrics", "").body;
    let line = text.lines().find(|line| line.starts_with("nexus_http_requests_in_flight ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn rss(node: &Node) -> u64 {
    node.http("GET", "/v1/status", "").json()["rss_bytes"].as_u64().unwrap_or_default()
}

/// Some megabytes of memories, with few words, so that indexing is not the measured part.
fn fill(node: &Node) {
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(24_000));
    let answers = node.http("POST", "/v1/import", &line.repeat(400)).lines();
    assert!(answers.iter().all(|answer| answer["error"].is_null()), "{:?}", answers.first());
}

/// promise: Bad input | Broken JSON, unknown fields, bodies too large, wrong content types: refused
#[test]
fn no_route_takes_a_body_that_is_not_what_it_should_be() {
    let home = Home::new();
    let node = home.up();
    let id = home.json(&["remember", "x"])["id"].as_str().unwrap().to_owned();
    let document = node.http("GET", "/openapi.json", "").json();
    let token = format!("Bearer {}", node.token());
    let cookie = node.http("POST", "/v1/session", "").header("set-cookie").unwrap();
    let origin = format!("http://{}", node.address());
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, about) in methods.as_object().unwrap() {
            let json = about["requestBody"]["content"].get("application/json").is_some();
            if !json || path.starts_with("/mcp") {
                continue;
            }
            routes += 1;
            let (method, path) = (method.to_ascii_uppercase(), path.replace("{id}", &id));
            let send = |kind: &str, body: &[u8]| {
                let mut headers = vec![("Host", node.address()), ("Content-Type", kind.to_owned())];
                // some things take a person's session
                match about.get("security") {
                    Some(_) => headers.extend([("Cookie", cookie.clone()), ("Origin", origin.clone())]),
                    None => headers.push(("Authorization", token.clone())),
                }
                let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                node.raw(&method, &path, &headers, body).problem()
            };
            let broken: [&[u8]; 5] = [b"{", b"{\"", b"nonsense", b"\xff\xfe\x00", b"{\"\xc3\x28\":1}"];
            for body in broken {
                assert_eq!(send("application/json", body), "malformed", "{method} {path} {body:?}");
            }
            // Whichever fault is noticed first.
            for body in ["{\"text\":", "{\"text\":1}}", &"[".repeat(100_000)] {
                let code = send("application/json", body.as_bytes());
                assert!(code == "malformed" || code == "invalid", "{method} {path}: {code}");
            }
            // a merge patch of a document has any fields, and no document has this key
            let any_fields = method == "PATCH" && path.starts_with("/v1/documents");
            for body in ["[]", "7", "\"text\"", "{\"no_such_field\":1}", "null"] {
                let expected = if any_fields && body.starts_with('{') { "not_found" } else { "invalid" };
                assert_eq!(
                    send("application/json; charset=utf-8", body.as_bytes()),
                    expected,
                    "{method} {path} {body}"
                );
            }
            assert_eq!(send("application/json", &vec![b' '; 9 << 20]), "too_large", "{method} {path}");
            for kind in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "text/html", "json"] {
                assert_eq!(send(kind, b"{}"), "wrong_type", "{method} {path} {kind}");
            }
        }
    }
    assert!(routes >= 6, "{routes}");
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1, "nothing was written");
    // A missing content type, and curl's default one, count as JSON.
    for kind in [None, Some("application/x-www-form-urlencoded"), Some("application/vnd.nexus+json")] {
        let address = node.address();
        let mut headers = vec![("Host", address.as_str()), ("Authorization", token.as_str())];
        headers.extend(kind.map(|kind| ("Content-Type", kind)));
        assert_eq!(node.raw("POST", "/v1/memories", &headers, b"{\"text\":\"y\"}").status, 201, "{kind:?}");
    }
}

/// promise: Bad input | Long questions are answered or refused; texts of any kind come back as they were
#[test]
fn texts_of_any_kind_come_back_as_they_were() {
    let home = Home::new();
    let node = home.up();
    for text in ["\u{0}\u{1}\u{7f}\u{9b}", "\u{202e}abc\u{202c}", "👩‍👩‍👧 é e\u{301}", "\u{feff}x", "\r\n\tx", "</script>"]
    {
        let body = serde_json::json!({ "text": text }).to_string();
        let written = node.http("POST", "/v1/memories", &body).json();
        let path = format!("/v1/memories/{}", written["id"].as_str().unwrap());
        assert_eq!(node.http("GET", &path, "").json()["text"], text);
    }
}

/// promise: Bad input | Long questions are answered or refused; texts of any kind come back as they were
#[test]
fn a_long_question_is_answered_and_one_of_100_kb_refused() {
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "the word is zebra"]);
    let long = format!("zebra%20{}", "word%20".repeat(60_000 / 7));
    let hits = node.http("GET", &format!("/v1/memories?q={long}"), "");
    assert_eq!((hits.status, hits.json().as_array().unwrap().len()), (200, 1));
    let one_word = "x".repeat(60_000);
    let hits = node.http("GET", &format!("/v1/memories?q={one_word}"), "");
    assert_eq!((hits.status, hits.json()), (200, serde_json::json!([])), "a word that nobody wrote");
    assert_eq!(node.http("GET", &format!("/v1/memories?q={}", "x".repeat(100_000)), "").status, 414);
    let words = format!("zebra {}", "word ".repeat(20_000));
    assert_eq!(home.json(&["recall", &words]).as_array().unwrap().len(), 1, "the command sends what is read of it");
    assert_eq!(node.http("GET", &format!("/v1/memories/{one_word}"), "").problem(), "not_found");
    for query in [
        "q=",
        "q=%20%20",
        "q=a&q=b&q=c&q=d&q=e",
        "q=a&min=2",
        "q=a&limit=0",
        "q=a&limit=x",
        "q=a&since=soon",
        "q=a&tokens=-1",
        "q=a&x=1",
    ] {
        assert_eq!(node.http("GET", &format!("/v1/memories?{query}"), "").problem(), "invalid", "{query}");
    }
    for query in ["q=a&space=nowhere", "q=a&by=nobody"] {
        assert_eq!(node.http("GET", &format!("/v1/memories?{query}"), "").problem(), "not_found", "{query}");
    }
    // A head that is far too long is refused or cut off; the node goes on.
    let mut stream = ask(&node, &format!("GET /v1/memories?q={}", "x".repeat(2 << 20)));
    let _ = stream.write_all(b"\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer[..answer.len().min(60)]));
    assert_eq!(node.http("GET", "/healthz", "").status, 200);
}

/// promise: Bad input | Clients that go away, do not read or stay idle cost little and hold nobody up
#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let home = Home::new();
    let node = home.up();
    fill(&node);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let listen = serde_json::json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {
            "notifications": { "resourceSubscriptions": ["memory://knowledge-graph"] },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let listen = listen.to_string();
    let agent = format!(
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n",
        listen.len()
    );
    for round in 0..20 {
        for (request, more) in [
            ("POST /mcp/graph", agent.as_str()),
            ("POST /mcp", "Content-Type: application/json\r\nContent-Length: 1000\r\n"),
            ("GET /v1/events", ""),
            ("GET /v1/events", upgrade),
            ("GET /v1/events?wait=60s", ""),
            ("GET /v1/export", ""),
            ("GET /v1/spaces/default/pages", ""),
            ("POST /v1/import", "Content-Length: 1000000\r\n"),
            ("POST /v1/memories", "Content-Length: 1000\r\n"),
        ] {
            let mut stream = ask(&node, request);
            stream.write_all(format!("{more}\r\n").as_bytes()).unwrap();
            let body = match request {
                "POST /mcp/graph" => listen.as_bytes(),
                request if request.starts_with("POST") => b"{\"text\":\"half",
                _ => b"",
            };
            stream.write_all(body).unwrap();
            let streams = body.is_empty() || request == "POST /mcp/graph";
            if round % 2 == 0 && streams && !request.contains("wait") {
                let mut head = [0; 64];
                let length = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..length]);
                assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"), "{request}: {head}");
            }
        }
    }
    until("nothing is being answered any more", || (in_flight(&node) == 1.0).then_some(()));
    let memories = node.http("GET", "/v1/memories?limit=1000", "").json();
    assert_eq!(memories["items"].as_array().unwrap().len(), 400, "half a memory is none");
    assert_eq!(node.terminate().0, Some(0));
}

/// promise: Bad input | Clients that go away, do not read or stay idle cost little and hold nobody up
#[test]
fn readers_that_do_not_read_cost_little_and_hold_nobody_up() {
    let home = Home::new();
    let node = home.up();
    fill(&node);
    let before = rss(&node);
    let streams: Vec<TcpStream> = [("GET /v1/export", 20), ("GET /v1/events", 20), ("GET /v1/spaces/default/pages", 2)]
        .iter()
        .flat_map(|(request, times)| std::iter::repeat_n(request, *times))
        .map(|request| {
            let mut stream = ask(&node, request);
            stream.write_all(b"\r\n").unwrap();
            stream
        })
        .collect();
    fill(&node);
    // answered at all, while nobody reads the others' answers
    assert_eq!(node.http("POST", "/v1/memories", "{\"text\":\"meanwhile\"}").status, 201);
    let more = rss(&node).saturating_sub(before);
    // 400 further memories, and twenty exports of 20 MB each that are not held in memory.
    assert!(more < 200 << 20, "{more} bytes more");
    drop(streams);
    assert_eq!(node.terminate().0, Some(0));
}

/// promise: Bad input | Clients that go away, do not read or stay idle cost little and hold nobody up
#[cfg(unix)]
#[test]
fn a_thousand_idle_connections_are_held_and_the_next_one_is_answered() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    if limit.maximum.is_some_and(|maximum| maximum < 1_200) {
        return; // This machine allows a process too few files.
    }
    let home = Home::new();
    let node = home.up();
    let mut idle: Vec<TcpStream> = (0..1_000).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    assert_eq!(node.http("POST", "/v1/memories", "{\"text\":\"the 1001st\"}").status, 201);
    // The first of them still works.
    let (address, token) = (node.address(), node.token());
    let request = format!(
        "GET /v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    idle[0].write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    idle[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status: Value = node.http("GET", "/v1/status", "").json();
    assert!(status["rss_bytes"].as_u64().unwrap_or_default() < 200 << 20, "{status}");
    assert_eq!(node.terminate().0, Some(0));
}
