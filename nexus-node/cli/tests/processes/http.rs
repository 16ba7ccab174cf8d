//! The HTTP API from outside: its guard, and its refusals.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{self, Home};
use serde_json::json;

/// Every route with one of its methods, and whether it needs no token.
const ROUTES: &[(&str, &str, bool)] = &[
    ("GET", "/healthz", true),
    ("GET", "/readyz", true),
    ("GET", "/v1/status", false),
    ("GET", "/v1/peers", false),
    ("GET", "/v1/members", false),
    ("POST", "/v1/erasures", false),
    ("GET", "/v1/erasures/x", false),
    ("POST", "/v1/members/x/revoke", false),
    ("POST", "/v1/members/x/revocation", false),
    ("GET", "/v1/members/x/below", false),
    ("POST", "/v1/members/x/person", false),
    ("POST", "/v1/key/allow", false),
    ("POST", "/v1/key/draft", false),
    ("POST", "/v1/key/rotate", false),
    ("POST", "/v1/leave", false),
    ("POST", "/v1/invite", false),
    ("POST", "/v1/join", false),
    ("POST", "/v1/offline", false),
    ("POST", "/v1/online", false),
    ("POST", "/v1/compact", false),
    ("GET", "/v1/compact", false),
    ("POST", "/v1/stop", false),
    ("GET", "/v1/kv", false),
    ("POST", "/v1/kv", false),
    ("GET", "/v1/kv/x", false),
    ("PUT", "/v1/kv/x", false),
    ("DELETE", "/v1/kv/x", false),
    ("GET", "/v1/watch", false),
    ("GET", "/v1/locks", false),
    ("GET", "/v1/locks/x", false),
    ("POST", "/v1/locks/x/acquire", false),
    ("POST", "/v1/locks/x/renew", false),
    ("POST", "/v1/locks/x/release", false),
    ("POST", "/v1/locks/x/steal", false),
    ("GET", "/v1/audit", false),
    ("GET", "/v1/audit/verify", false),
    ("GET", "/v1/coordinator", false),
    ("POST", "/v1/coordinator/voters", false),
    ("DELETE", "/v1/coordinator/voters/x", false),
    ("POST", "/v1/coordinator/step-down", false),
    ("POST", "/v1/coordinator/recover", false),
    ("GET", "/v1/memories", false),
    ("POST", "/v1/memories", false),
    ("GET", "/v1/memories/x", false),
    ("PATCH", "/v1/memories/x", false),
    ("DELETE", "/v1/memories/x", false),
    ("POST", "/v1/memories/x/unforget", false),
    ("GET", "/v1/memories/x/history", false),
    ("GET", "/v1/project", false),
    ("GET", "/v1/vocabulary", false),
    ("POST", "/v1/vocabulary", false),
    ("DELETE", "/v1/vocabulary/x", false),
    ("POST", "/v1/tasks", false),
    ("GET", "/v1/tasks", false),
    ("GET", "/v1/tasks/x", false),
    ("GET", "/v1/tasks/x/log", false),
    ("POST", "/v1/tasks/x/cancel", false),
    ("POST", "/v1/tasks/x/approve", false),
    ("POST", "/v1/tasks/x/reject", false),
    ("POST", "/v1/tasks/x/retry", false),
    ("GET", "/v1/tasks/events", false),
    ("POST", "/v1/tasks/claim", false),
    ("POST", "/v1/tasks/x/renew", false),
    ("POST", "/v1/tasks/x/finish", false),
    ("GET", "/v1/agents", false),
    ("PUT", "/v1/blobs", false),
    ("GET", "/v1/blobs", false),
    ("GET", "/v1/transfers", false),
    ("GET", "/v1/blobs/x", false),
    ("POST", "/v1/blobs/x/fetch", false),
    ("DELETE", "/v1/blobs/x", false),
    ("POST", "/v1/blobs/x/pin", false),
    ("POST", "/v1/blobs/x/unpin", false),
    ("POST", "/v1/blobs/x/copies", false),
    ("POST", "/v1/blobs/x/tag", false),
    ("DELETE", "/v1/blobs/tags/x", false),
    ("POST", "/v1/blobs/x/verify", false),
    ("POST", "/v1/blobs/verify", false),
    ("POST", "/v1/blobs/gc", false),
    ("GET", "/automerge", false),
    ("GET", "/v1/documents", false),
    ("POST", "/v1/documents", false),
    ("PUT", "/v1/documents", false),
    ("GET", "/v1/documents/x", false),
    ("PATCH", "/v1/documents/x", false),
    ("POST", "/v1/documents/x/edits", false),
    ("GET", "/v1/documents/x/history", false),
    ("GET", "/v1/documents/x/conflicts", false),
    ("GET", "/v1/documents/x/text", false),
    ("GET", "/v1/documents/x/changes", false),
    ("GET", "/v1/documents/x/file", false),
    ("POST", "/v1/documents/x/name", false),
    ("POST", "/v1/documents/x/compact", false),
    ("GET", "/v1/export", false),
    ("POST", "/v1/import", false),
    ("GET", "/v1/spaces", false),
    ("POST", "/v1/spaces", false),
    ("GET", "/v1/spaces/x/pages", false),
    ("GET", "/v1/backup", false),
    ("GET", "/v1/events", false),
    ("GET", "/v1/outcomes/x", false),
    ("POST", "/v1/tokens", false),
    ("GET", "/v1/tokens", false),
    ("DELETE", "/v1/tokens/x", false),
    ("GET", "/v1/approving", false),
    ("PUT", "/v1/approving", false),
    ("GET", "/v1/config", false),
    ("PATCH", "/v1/config", false),
    ("POST", "/v1/web", false),
    ("POST", "/v1/session", false),
    ("DELETE", "/v1/session", false),
    ("GET", "/metrics", false),
    ("GET", "/openapi.json", false),
    ("POST", "/mcp", false),
    ("POST", "/mcp/full", false),
    ("POST", "/mcp/graph", false),
    ("GET", "/v1/graph", false),
    ("POST", "/v1/graph", false),
    ("GET", "/no/such/route", false),
    ("GET", "/page.js/", false),
    ("GET", "/", true),
    ("GET", "/page.css", true),
    ("GET", "/page.js", true),
    ("GET", "/show.js", true),
    ("GET", "/api.js", true),
    ("GET", "/map.js", true),
    ("GET", "/memory.js", true),
    ("GET", "/memories.js", true),
    ("GET", "/task.js", true),
    ("GET", "/tasks.js", true),
    ("GET", "/documents.js", true),
    ("GET", "/files.js", true),
    ("GET", "/keys.js", true),
    ("GET", "/members.js", true),
    ("GET", "/icon.svg", true),
    ("GET", "/web/x", true),
];

/// A request for a WebSocket is guarded like any other.
const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// promise: Commands and API | Routes are those of `/openapi.json`; examples and answers fit its schemas
#[test]
fn no_route_is_missing_in_the_list() {
    let home = Home::new();
    let node = home.up();
    let document = node.http("GET", "/openapi.json", "").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled = support::filled(path);
        for (method, about) in methods.as_object().unwrap() {
            let open = about.get("security").is_some_and(|security| *security == json!([]));
            let row = (method.to_ascii_uppercase(), filled.clone(), open);
            assert!(ROUTES.iter().any(|(m, p, o)| (*m, *p, *o) == (row.0.as_str(), row.1.as_str(), row.2)), "{row:?}");
        }
    }
}

/// promise: Commands and API | Token, `Host` and `Origin` are checked on every route
#[test]
fn host_origin_and_token_are_checked_on_every_route() {
    let home = Home::new();
    let node = home.up();
    let (address, token) = (node.address(), node.token());
    let port = address.rsplit(':').next().unwrap();
    let (good, wrong) = (format!("Bearer {token}"), format!("Bearer {token}x"));
    let hosts = [
        (Some(address.clone()), true),
        (Some(format!("localhost:{port}")), true),
        (Some("evil.example".to_owned()), false),
        (Some(format!("evil.example:{port}")), false),
        (Some("127.0.0.1".to_owned()), false),
        (None, false),
    ];
    let origins = [
        (None, true),
        (Some(format!("http://{address}")), true),
        (Some("http://evil.example".to_owned()), false),
        (Some("null".to_owned()), false),
    ];
    let signed_in = node.http("POST", "/v1/session", "");
    let cookie = signed_in.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let forged = cookie.replacen('=', "=9", 1);
    let tokens = [
        (None, false),
        (Some(("Authorization", wrong.as_str())), false),
        (Some(("Authorization", good.as_str())), true),
        (Some(("Cookie", cookie.as_str())), true),
        (Some(("Cookie", forged.as_str())), false),
    ];
    let mut cells = 0;
    let routes = ROUTES.iter().map(|&(method, path, open)| (method, path, open, false));
    // A browser's preflight for a page, on every path: it must reveal nothing.
    let mut paths: Vec<(&str, bool)> = ROUTES.iter().map(|&(_, path, open)| (path, open)).collect();
    paths.dedup_by_key(|(path, _)| *path);
    let beforehand = paths.into_iter().map(|(path, open)| ("OPTIONS", path, open, false));
    for (method, path, open, upgrade) in routes.chain([("GET", "/v1/events", false, true)]).chain(beforehand) {
        for (host, host_fits) in &hosts {
            for (origin, origin_fits) in &origins {
                for &(token, token_fits) in &tokens {
                    cells += 1;
                    let with_cookie = token.is_some_and(|(name, _)| name == "Cookie");
                    // With the cookie, a request that changes something must name an origin.
                    let changes = !["GET", "OPTIONS"].contains(&method) || upgrade;
                    let unnamed = with_cookie && token_fits && !open && origin.is_none() && changes;
                    let let_in = *host_fits && *origin_fits && (token_fits || open) && !unnamed;
                    if let_in && !open {
                        continue; // The result is a matter of other tests.
                    }
                    let mut headers = Vec::new();
                    headers.extend(host.as_deref().map(|host| ("Host", host)));
                    headers.extend(origin.as_deref().map(|origin| ("Origin", origin)));
                    headers.extend(token);
                    headers.extend(if upgrade { &UPGRADE[..] } else { &[] });
                    let answer = node.raw(method, path, &headers, b"");
                    let case = format!("{method} {path} {headers:?}: {answer:?}");
                    assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{case}");
                    if let_in && method == "OPTIONS" {
                        assert!(answer.status == 405 || path == "/web/x", "{case}");
                        continue;
                    }
                    if let_in {
                        assert!(answer.status == 200 || path == "/web/x", "{case}");
                        continue;
                    }
                    let expected = match (host, host_fits, origin_fits) {
                        (None, ..) => (400, "malformed"),
                        (Some(_), false, _) => (421, "foreign_host"),
                        (_, _, false) => (403, "foreign_origin"),
                        _ if unnamed => (403, "foreign_origin"),
                        _ => (401, "unauthorized"),
                    };
                    assert_eq!((answer.status, answer.problem().as_str()), expected, "{case}");
                }
            }
        }
    }
    assert!(cells >= 5_000, "{cells} cells");
}

#[cfg(target_os = "linux")]
#[test]
fn on_all_interfaces_the_address_that_was_dialled_is_a_good_host_and_no_other() {
    let home = Home::new();
    let mut node = home.up_with(&["--api-addr", "0.0.0.0:0", "--cleartext"]);
    let port = node.address().rsplit(':').next().unwrap().to_owned();
    let dialled = format!("127.0.0.2:{port}");
    node.ready["api"] = format!("http://{dialled}").into();
    assert_eq!(node.raw("GET", "/healthz", &[("Host", &dialled)], b"").status, 200);
    for host in [format!("127.0.0.3:{port}"), format!("evil.example:{port}"), format!("0.0.0.0:{port}")] {
        assert_eq!(node.raw("GET", "/healthz", &[("Host", &host)], b"").problem(), "foreign_host", "{host}");
    }
}

/// promise: Commands and API | Memories are written, read, changed and forgotten over HTTP; refusals have codes
#[test]
fn what_cannot_be_answered_is_a_problem_with_its_code() {
    let home = Home::new();
    let node = home.up();
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(9 << 20));
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("GET", "/v1/nothing", "", 404, "no_route"),
        ("PUT", "/v1/memories", "{}", 405, "no_method"),
        ("DELETE", "/healthz", "", 405, "no_method"),
        ("POST", "/v1/memories", "", 400, "malformed"),
        ("POST", "/v1/memories", "{\"text\":", 400, "malformed"),
        ("POST", "/v1/memories", "[1]", 422, "invalid"),
        ("POST", "/v1/memories", "{}", 422, "invalid"),
        ("POST", "/v1/memories", "{\"text\":\"a\",\"colour\":1}", 422, "invalid"),
        ("POST", "/v1/memories", "{\"text\":7}", 422, "invalid"),
        ("POST", "/v1/memories", "{\"text\":\"a\",\"ttl\":\"soon\"}", 422, "invalid"),
        ("POST", "/v1/memories", &large, 413, "too_large"),
        ("GET", "/v1/memories?limit=0", "", 422, "invalid"),
        ("GET", "/v1/memories?limit=1001", "", 422, "invalid"),
        ("GET", "/v1/memories?colour=red", "", 422, "invalid"),
        ("GET", "/v1/memories/nope", "", 404, "not_found"),
        ("GET", "/v1/memories/%ff", "", 400, "malformed"),
        ("PATCH", "/v1/memories/nope", "{\"text\":\"a\"}", 404, "not_found"),
        ("DELETE", "/v1/memories/nope", "", 404, "not_found"),
        ("GET", "/v1/memories/nope/history", "", 404, "not_found"),
        ("POST", "/v1/join", "{\"ticket\":\"hello\"}", 422, "not_a_ticket"),
        ("POST", "/v1/invite", "{\"role\":\"king\"}", 422, "invalid"),
        ("PATCH", "/v1/config", "{\"colour\":\"red\"}", 422, "invalid"),
        ("PATCH", "/v1/config", "{\"mdns\":\"maybe\"}", 422, "invalid"),
        ("GET", "/v1/export?space=nowhere", "", 404, "not_found"),
        ("GET", "/v1/spaces/nowhere/pages", "", 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = node.http(method, path, body);
        let case = format!("{method} {path} {}", &body[..body.len().min(60)]);
        assert_eq!((answer.status, answer.problem().as_str()), (*status, *code), "{case}: {answer:?}");
    }
    let answer = node.http("PUT", "/v1/memories", "{}");
    assert!(answer.head.to_ascii_lowercase().contains("allow: "), "{answer:?}");
    let answer = node.raw("GET", "/v1/status", &[("Host", &node.address())], b"");
    assert!(answer.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer:?}");
}

/// promise: Commands and API | Memories are written, read, changed and forgotten over HTTP; refusals have codes
#[test]
fn memories_are_written_read_changed_and_forgotten_over_http() {
    let home = Home::new();
    let node = home.up();
    let body = json!({"text": "caf\u{e9}", "kind": "fact", "tags": ["a", "b"], "meta": {"n": 1, "deep": {"x": [1]}}});
    let written = node.http("POST", "/v1/memories", &body.to_string());
    assert_eq!(written.status, 201, "{written:?}");
    let id = written.json()["id"].as_str().unwrap().to_owned();
    let memory = node.http("GET", &format!("/v1/memories/{id}"), "").json();
    for field in ["text", "kind", "tags", "meta"] {
        assert_eq!(memory[field], body[field]);
    }
    let edited = node.http("PATCH", &format!("/v1/memories/{id}"), "{\"tags\":[\"c\"]}").json();
    assert_eq!((&edited["tags"], &edited["text"]), (&json!(["c"]), &body["text"]));
    assert_ne!(edited["version"], memory["version"]);
    let history = node.http("GET", &format!("/v1/memories/{id}/history"), "").json();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    assert_eq!(node.http("GET", "/v1/memories", "").json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(node.http("DELETE", &format!("/v1/memories/{id}"), "").json()["forgotten"], true);
    assert_eq!(node.http("GET", &format!("/v1/memories/{id}"), "").problem(), "not_found");
}

#[test]
fn an_import_acknowledges_every_line_under_its_number() {
    let home = Home::new();
    let node = home.up();
    // longer than the longest text, of which each byte is written with six
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(25 << 20));
    let lines = format!(
        "{{\"text\":\"one\"}}\nnot json\n\n{long}\n{{\"text\":\"two\",\"id\":\"k\"}}\n{{\"text\":\"three\",\"id\":\"k\"}}"
    );
    let answers = node.http("POST", "/v1/import", &lines).lines();
    let told: Vec<(u64, Option<&str>)> =
        answers.iter().map(|answer| (answer["line"].as_u64().unwrap(), answer["error"]["code"].as_str())).collect();
    assert_eq!(told, [(1, None), (2, Some("malformed")), (4, Some("too_large")), (5, None), (6, None)]);
    assert_eq!(answers[3]["id"], answers[4]["id"], "the same key edits");
    let texts: Vec<String> = home.json(&["list"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|memory| memory["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(texts.contains(&"one".to_owned()) && texts.contains(&"three".to_owned()) && texts.len() == 2, "{texts:?}");
}

/// The next memory written in a stream. Changes of members come at any time, and are skipped.
fn next(lines: &mut impl Iterator<Item = String>) -> serde_json::Value {
    let changes = lines.filter_map(|line| line.strip_prefix("data:").map(|data| serde_json::from_str(data).unwrap()));
    changes.into_iter().find(|change: &serde_json::Value| change["kind"] == "remembered").unwrap()
}

#[test]
fn events_arrive_as_they_happen_and_go_on_from_a_cursor() {
    use std::io::{BufRead, BufReader, Write};

    let home = Home::new();
    let node = home.up();
    let (address, token) = (node.address(), node.token());
    let listen = |headers: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(support::SOON)).unwrap();
        let request =
            format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        let status = lines.next().unwrap();
        assert!(status.contains("200"), "{status}");
        // The head ends before anything is written, so no change can be missed.
        lines.find(|line| line.is_empty()).unwrap();
        lines
    };
    let mut lines = listen("");
    let first = home.json(&["remember", "first"]);
    let second = home.json(&["remember", "second"]);
    let change = next(&mut lines);
    assert_eq!((&change["id"], &change["kind"]), (&first["id"], &json!("remembered")));
    assert_eq!(next(&mut lines)["id"], second["id"]);
    drop(lines);
    let cursor = change["cursor"].as_str().unwrap();
    let mut lines = listen(&format!("Last-Event-ID: {cursor}\r\n"));
    assert_eq!(next(&mut lines)["id"], second["id"]);
    assert_eq!(node.terminate().0, Some(0));
}
