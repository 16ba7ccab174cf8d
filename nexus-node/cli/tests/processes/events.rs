//! Changes as they happen, over a WebSocket and by long polls.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Home, Node, SOON};
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
