//! Tokens that name agents, as their makers and their holders meet them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Home, Node, SOON, until};

/// A token of these scopes.
pub(crate) fn token(home: &Home, name: &str, scopes: &str, more: &[&str]) -> String {
    let made = home.json(&[&["token", "create", "--name", name, "--scope", scopes], more].concat());
    made["token"].as_str().unwrap().to_owned()
}

/// A file of mode 600 with a token.
pub(crate) fn token_file(home: &Home, name: &str, token: &str) -> String {
    let path = home.beside(name);
    fs::write(&path, format!("{token}\n")).unwrap();
    own(&path, 0o600);
    path.display().to_string()
}

#[cfg(unix)]
fn own(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn own(_: &std::path::Path, _: u32) {}

/// promise: Commands and API | A token is made, listed and revoked by its owner; its secret is told once, and its name is given once
#[test]
fn a_token_is_made_once_and_listed_without_its_secret() {
    let home = Home::new();
    let node = home.up();
    let made = home.json(&[
        "token",
        "create",
        "--name",
        "claude",
        "--scope",
        "memory,kv:read",
        "--space",
        "work",
        "--ttl",
        "1h",
        "--rate",
        "90/m",
    ]);
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("nxt_"), "{made}");
    assert_eq!(made["scopes"], json!(["memory:read", "memory:write", "kv:read"]));
    assert_eq!((&made["spaces"], &made["rate"]), (&json!(["work"]), &json!("90/m")));
    assert!(made["expires_at"].as_str() > made["created_at"].as_str(), "{made}");
    let listed = home.json(&["token", "list"]);
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("token");
    assert_eq!(listed, json!([shown]));
    for name in ["claude", "CLAUDE"] {
        let (code, error) = home.error(&["token", "create", "--name", name, "--scope", "kv"]);
        assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
    }
    for wrong in [
        &["--name", "a", "--scope", "documents:edit"][..],
        &["--name", "a", "--scope", "memory,admin"],
        &["--name", "", "--scope", "memory"],
        &["--name", "a", "--scope", "kv", "--rate", "fast"],
        &["--name", "a", "--scope", "kv", "--ttl", "soon"],
        &["--name", "a"],
    ] {
        let (code, error) = home.error(&[&["token", "create"], wrong].concat());
        assert_eq!(code, 2, "{wrong:?}: {error}");
    }
    let (_, error) = home.error(&["token", "create", "--name", "a", "--scope", "documents:edit"]);
    assert!(error["message"].as_str().unwrap().contains("tasks:submit"), "the list is told: {error}");
    assert_eq!(node.with_token(token, "GET", "/v1/memories", "").status, 200);
    assert_eq!(home.json(&["token", "revoke", "Claude"]), json!({ "name": "claude", "revoked": true }));
    let refused = node.with_token(token, "GET", "/v1/memories", "");
    assert_eq!(refused.problem(), "unauthorized");
    assert!(refused.body.contains("revoked"), "{refused:?}");
    assert_eq!(home.error(&["token", "revoke", "claude"]).0, 5);
    assert_eq!(home.json(&["token", "list"]), json!([]));
}

/// promise: Commands and API | A token that is over is refused with the reason; over its rate it hears when to ask again
#[test]
fn an_expired_and_a_hasty_token_are_told_why() {
    let home = Home::new();
    let node = home.up();
    let brief = token(&home, "brief", "mesh:read", &["--ttl", "1s"]);
    let ask = || node.with_token(&brief, "GET", "/v1/status", "");
    // a request that is under way then is told that it ended while it waited
    let over = until("it expires", || {
        Some(ask()).filter(|answer| !answer.body.contains("while it waited") && answer.status != 200)
    });
    assert_eq!(over.problem(), "unauthorized");
    assert!(over.body.contains("the token brief expired at "), "{over:?}");
    let hasty = token(&home, "hasty", "mesh:read", &["--rate", "2/h"]);
    let answers: Vec<Answer> = (0..3).map(|_| node.with_token(&hasty, "GET", "/v1/status", "")).collect();
    assert_eq!([answers[0].status, answers[1].status], [200, 200]);
    assert_eq!((answers[2].status, answers[2].problem().as_str()), (429, "too_many"));
    let again: u64 = answers[2].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1_800).contains(&again), "{again}");
    assert_eq!(home.json(&["status"])["membership"], "member", "the owner has no rate");
}

/// promise: Agents | A token's name is what this node signs as the agent; no header and no body makes it another one, or a person
#[test]
fn what_a_token_writes_is_its_agents() {
    let home = Home::new();
    let node = home.up();
    let claude = token(&home, "claude", "memory,tasks", &[]);
    let (address, bearer) = (node.address(), format!("Bearer {claude}"));
    let write = |path: &str, body: &Value| {
        let pretends = [
            ("Host", address.as_str()),
            ("Authorization", bearer.as_str()),
            ("User-Agent", "nexus-node/1.0"),
            ("Nexus-Client", "command-line"),
        ];
        node.raw("POST", path, &pretends, body.to_string().as_bytes())
    };
    let written = write("/v1/memories", &json!({ "text": "the port is 5433" }));
    let id = written.json()["id"].as_str().unwrap().to_owned();
    let memory = home.json(&["get", &id]);
    assert_eq!((&memory["agent"], &memory["source"]), (&json!("claude"), &json!("tool")));
    for body in [
        json!({ "text": "x", "agent": "codex" }),
        json!({ "text": "x", "source": "user" }),
        json!({ "text": "x", "source": "model" }),
        json!({ "text": "password=hunter2hunter2", "allow_secret": true }),
    ] {
        assert_eq!(write("/v1/memories", &body).problem(), "refused", "{body}");
    }
    assert_eq!(write("/v1/memories", &json!({ "text": "y", "agent": "claude" })).status, 201);
    assert_eq!(write("/v1/tasks", &json!({ "capability": "a", "agent": "codex" })).problem(), "refused");
    let task = write("/v1/tasks", &json!({ "capability": "a" })).json();
    assert_eq!(task["agent"], "claude");
    let lines = format!("{}\n{}\n", json!({ "text": "z", "agent": "codex" }), json!({ "text": "of a file" }));
    let imported = node.with_token(&claude, "POST", "/v1/import", &lines).lines();
    assert_eq!(imported[0]["error"]["code"], "refused", "{imported:?}");
    let memory = home.json(&["get", imported[1]["id"].as_str().unwrap()]);
    assert_eq!((&memory["agent"], &memory["source"]), (&json!("claude"), &json!("import")));
    // over MCP the program calls itself as it likes
    let file = token_file(&home, "token", &claude);
    let mut mcp = Mcp::start(&home, &["mcp", "--profile", "full", "--token-file", &file]);
    let told = mcp.tool("remember", &json!({ "text": "said over MCP" }));
    let id = told.split(' ').nth(1).unwrap().trim_end_matches(',').to_owned();
    let memory = home.json(&["get", &id]);
    assert_eq!((&memory["agent"], &memory["source"]), (&json!("claude"), &json!("model")));
    assert!(mcp.tool("session_start", &json!({})).contains("You are claude on node"));
}

/// An MCP server on stdin and stdout, whose client calls itself `a forger`.
pub(crate) struct Mcp {
    child: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Mcp {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command(arguments);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    pub(crate) fn ask(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "a forger", "version": "1" },
        });
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        writeln!(self.child.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn tool(&mut self, name: &str, arguments: &Value) -> String {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        let text = answer.pointer("/result/content/0/text").or_else(|| answer.pointer("/error/message"));
        text.unwrap_or_else(|| panic!("{answer}")).as_str().unwrap().to_owned()
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The scopes, and for each all that it lets a caller do.
const SCOPES: [(&str, &[&str]); 14] = [
    ("memory:read", &["memory:read"]),
    ("memory:write", &["memory:read", "memory:write"]),
    ("tasks:read", &["tasks:read"]),
    ("tasks:submit", &["tasks:read", "tasks:submit"]),
    ("tasks:work", &["tasks:read", "tasks:work"]),
    ("kv:read", &["kv:read"]),
    ("kv:write", &["kv:read", "kv:write"]),
    ("locks:read", &["locks:read"]),
    ("locks:write", &["locks:read", "locks:write"]),
    ("blobs:read", &["blobs:read"]),
    ("blobs:write", &["blobs:read", "blobs:write"]),
    ("documents:read", &["documents:read"]),
    ("documents:write", &["documents:read", "documents:write"]),
    ("mesh:read", &["mesh:read"]),
];

/// Every tool of MCP, with arguments that do nothing, and the scope that it takes.
const TOOLS: [(&str, &str, &str, &str); 22] = [
    ("/mcp/full", "session_start", "{}", "memory:read"),
    ("/mcp/full", "remember", "{}", "memory:write"),
    ("/mcp/full", "recall", "{\"id\":\"nothing\"}", "memory:read"),
    ("/mcp/full", "forget", "{\"id\":\"nothing here\"}", "memory:write"),
    ("/mcp/full", "task_create", "{\"capability\":\"A B\"}", "tasks:submit"),
    ("/mcp/full", "task_claim", "{\"capabilities\":[]}", "tasks:work"),
    ("/mcp/full", "task_update", "{\"id\":\"aaaaaaaa\"}", "tasks:read"),
    ("/mcp/full", "task_update", "{\"id\":\"aaaaaaaa\",\"cancel\":\"x\"}", "tasks:submit"),
    ("/mcp/full", "task_update", "{\"id\":\"aaaaaaaa\",\"token\":\"x\",\"output\":1}", "tasks:work"),
    ("/mcp/full", "doc_list", "{\"cursor\":\"?\"}", "documents:read"),
    ("/mcp/full", "doc_get", "{\"key\":\"nothing\"}", "documents:read"),
    ("/mcp/full", "doc_edit", "{\"key\":\"nothing\"}", "documents:write"),
    ("/mcp", "recall", "{\"id\":\"nothing\"}", "memory:read"),
    ("/mcp/graph", "create_entities", "{\"entities\":[]}", "memory:write"),
    ("/mcp/graph", "create_relations", "{\"relations\":[]}", "memory:write"),
    ("/mcp/graph", "add_observations", "{\"observations\":[]}", "memory:write"),
    ("/mcp/graph", "delete_entities", "{\"entityNames\":[]}", "memory:write"),
    ("/mcp/graph", "delete_observations", "{\"deletions\":[]}", "memory:write"),
    ("/mcp/graph", "delete_relations", "{\"relations\":[]}", "memory:write"),
    ("/mcp/graph", "read_graph", "{}", "memory:read"),
    ("/mcp/graph", "search_nodes", "{\"query\":\"x\"}", "memory:read"),
    ("/mcp/graph", "open_nodes", "{\"names\":[]}", "memory:read"),
];

fn over_mcp(node: &Node, token: &str, path: &str, method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "a forger", "version": "1" },
    });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let (address, bearer) = (node.address(), format!("Bearer {token}"));
    let mut headers = vec![
        ("Host", address.as_str()),
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("MCP-Method", method),
    ];
    let name = params["name"].as_str().or(params["uri"].as_str());
    headers.extend(name.map(|name| ("MCP-Name", name)));
    node.raw("POST", path, &headers, request.as_bytes()).json()
}

/// promise: Agents | Each tool takes a scope, and none approves: a token without it sees no such tool, and is refused
#[test]
fn every_tool_takes_its_scope_and_no_tool_approves() {
    let home = Home::new();
    let node = home.up();
    for (scope, allows) in SCOPES.iter().copied().chain([("*", &SCOPES.map(|(scope, _)| scope)[..])]) {
        let token = token(&home, &scope.replace([':', '*'], " a "), scope, &[]);
        for (path, tool, arguments, takes) in TOOLS {
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let params = json!({ "name": tool, "arguments": arguments });
            let answer = over_mcp(&node, &token, path, "tools/call", &params).to_string();
            assert_eq!(!answer.contains("has not the scope"), allows.contains(&takes), "{scope} {tool}: {answer}");
        }
        for path in ["/mcp", "/mcp/full", "/mcp/graph"] {
            let listed = over_mcp(&node, &token, path, "tools/list", &json!({}));
            let names = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}")).iter();
            let names: Vec<&str> = names.map(|tool| tool["name"].as_str().unwrap()).collect();
            for (of, tool, ..) in TOOLS.iter().filter(|(of, ..)| *of == path) {
                // the first row of a tool is what it needs at least
                let takes = TOOLS.iter().find(|(_, name, ..)| name == tool).unwrap().3;
                assert_eq!(names.contains(tool), allows.contains(&takes), "{scope} {of} {tool}");
            }
            assert!(!names.iter().any(|name| name.contains("approve")), "{names:?}");
        }
        let resource =
            over_mcp(&node, &token, "/mcp/graph", "resources/read", &json!({ "uri": "memory://knowledge-graph" }));
        assert_eq!(resource.get("result").is_some(), allows.contains(&"memory:read"), "{scope}: {resource}");
    }
}

/// promise: Commands and API | The streams that a token opened end when it is revoked or its time is over: server-sent events, a WebSocket, a long poll
#[test]
fn what_a_token_opened_ends_with_it() {
    let home = Home::new();
    let node = home.up();
    let all = token(&home, "listener", "memory,tasks", &[]);
    let brief = token(&home, "brief", "memory", &["--ttl", "3s"]);
    let address = node.address();
    let open = |token: &str, path: &str, more: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut begun = [0; 12];
        if !path.contains("wait=") {
            stream.read_exact(&mut begun).unwrap();
        }
        stream
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let streams = [
        open(&all, "/v1/events", ""),
        open(&all, "/v1/tasks/events", ""),
        open(&all, "/v1/events", upgrade),
        open(&all, "/v1/events?wait=60s", "Connection: close\r\n"),
        open(&brief, "/v1/events", ""),
    ];
    let began = std::time::Instant::now();
    home.json(&["token", "revoke", "listener"]);
    for mut stream in streams {
        let mut rest = Vec::new();
        // it ends; a stream in chunks or a WebSocket says so, or is closed
        until("the stream is over", || {
            let mut some = [0; 4096];
            let read = stream.read(&mut some).unwrap_or(0);
            rest.extend_from_slice(&some[..read]);
            let text = String::from_utf8_lossy(&rest);
            let ended = read == 0 || text.ends_with("0\r\n\r\n") || text.contains("the token has ended");
            ended.then_some(())
        });
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// promise: Commands and API | The end of a token ends a claim, a hold and a place in a lock's line that wait for it: it gets no task and no lock
#[test]
fn what_waits_for_a_token_ends_with_it() {
    let home = Home::new();
    let node = home.up();
    let worker = token(&home, "worker", "tasks,locks", &[]);
    let brief = token(&home, "brief", "tasks", &["--ttl", "4s"]);
    let owner = node.token();
    let done = |answer: Answer| {
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer.json()
    };
    let submit = |capability: &str| {
        let new = json!({ "capability": capability, "input": 1 }).to_string();
        done(node.with_token(&owner, "POST", "/v1/tasks", &new))["id"].as_str().unwrap().to_owned()
    };
    let claim = |capability: &str, wait: &str| {
        json!({ "capabilities": [capability], "lease": "60s", "wait": wait }).to_string()
    };
    let held = submit("held");
    let claimed = done(node.with_token(&worker, "POST", "/v1/tasks/claim", &claim("held", "10s")));
    let hold = json!({ "token": claimed["token"], "text": "on it", "wait": "60s" }).to_string();
    let lock = until("the coordinators answer", || {
        let answer = node.with_token(&owner, "POST", "/v1/locks/printer/acquire", "{}");
        (answer.status == 200).then(|| answer.json())
    });
    let in_line = json!({ "wait": "60s" }).to_string();
    let asks = [
        (&worker, "/v1/tasks/claim".to_owned(), claim("waited", "60s")),
        (&brief, "/v1/tasks/claim".to_owned(), claim("waited", "60s")),
        (&worker, format!("/v1/tasks/{held}/renew"), hold),
        (&worker, "/v1/locks/printer/acquire".to_owned(), in_line),
    ];
    std::thread::scope(|scope| {
        let answers = asks.each_ref().map(|(token, path, body)| {
            let node = &node;
            scope.spawn(move || node.with_token(token, "POST", path, body))
        });
        let tool = scope.spawn(|| {
            let params = json!({ "name": "task_claim", "arguments": { "capabilities": ["waited"], "wait": 50 } });
            over_mcp(&node, &worker, "/mcp/full", "tools/call", &params)
        });
        until("all of them wait", || {
            let agents = done(node.with_token(&owner, "GET", "/v1/agents", ""));
            let agents = agents.as_array().unwrap().iter();
            let waiting: u64 = agents.map(|agent| agent["waiting"].as_u64().unwrap()).sum();
            let progress = done(node.with_token(&owner, "GET", &format!("/v1/tasks/{held}"), ""))["progress"].clone();
            let line = done(node.with_token(&owner, "GET", "/v1/locks/printer", ""))["waiting"].clone();
            (waiting == 3 && progress["text"] == "on it" && line == 1).then_some(())
        });
        home.json(&["token", "revoke", "worker"]);
        for (answer, (_, path, _)) in answers.into_iter().zip(&asks) {
            let answer = answer.join().unwrap();
            assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{path}: {answer:?}");
            assert!(answer.body.contains("ended while it waited"), "{path}: {answer:?}");
        }
        let told = tool.join().unwrap().to_string();
        assert!(told.contains("ended while it waited"), "{told}");
    });
    // nothing came to it, and what it had goes to another worker
    let waited = submit("waited");
    let claimed = done(node.with_token(&owner, "POST", "/v1/tasks/claim", &claim("waited", "30s")));
    assert_eq!((&claimed["task"]["id"], &claimed["attempt"]), (&json!(waited), &json!(1)));
    let claimed = done(node.with_token(&owner, "POST", "/v1/tasks/claim", &claim("held", "30s")));
    assert_eq!((&claimed["task"]["id"], &claimed["attempt"]), (&json!(held), &json!(2)));
    let release = json!({ "token": lock["token"] }).to_string();
    done(node.with_token(&owner, "POST", "/v1/locks/printer/release", &release));
    assert_eq!(node.with_token(&owner, "GET", "/v1/locks/printer", "").status, 404);
}

/// promise: Bad input | A token that tries to get more than it has is refused by every way
#[test]
fn a_token_does_not_widen_itself() {
    let home = Home::new();
    let node = home.up();
    let all = token(&home, "all", "*", &[]);
    let wider = json!({ "name": "wider", "scopes": ["*"] }).to_string();
    for (method, path, body) in [
        ("POST", "/v1/tokens", wider.as_str()),
        ("GET", "/v1/tokens", ""),
        ("DELETE", "/v1/tokens/all", ""),
        ("POST", "/v1/session", ""),
        ("POST", "/v1/web", "{}"),
        ("PATCH", "/v1/config", "{\"log\":\"trace\"}"),
        ("GET", "/v1/config", ""),
        ("POST", "/v1/invite", "{}"),
        ("GET", "/v1/backup", ""),
        ("GET", "/v1/audit", ""),
        ("POST", "/v1/stop", ""),
        ("GET", "/metrics", ""),
    ] {
        let answer = node.with_token(&all, method, path, body);
        assert_eq!((answer.status, answer.problem().as_str()), (403, "refused"), "{method} {path}");
        assert!(answer.header("set-cookie").is_none(), "{method} {path}");
    }
    // by the command line
    let file = token_file(&home, "token", &all);
    for arguments in [
        &["token", "create", "--name", "wider", "--scope", "*"][..],
        &["token", "revoke", "all"],
        &["web"],
        &["invite"],
        &["config", "set", "log", "trace"],
        &["stop"],
    ] {
        let (code, error) = home.error(&[&["--token-file", &file], arguments].concat());
        assert_eq!((code, &error["code"]), (4, &json!("refused")), "{arguments:?}");
    }
    assert_eq!(home.json(&["--token-file", &file, "status"])["membership"], "member");
    // the file of tokens is read at the start alone, and a hash is no token
    let kept = fs::read_to_string(home.path().join("issued-tokens")).unwrap();
    let hash = serde_json::from_str::<Value>(&kept).unwrap()["tokens"][0]["hash"].as_str().unwrap().to_owned();
    for forged in [hash.clone(), format!("nxt_{hash}"), all.replace("nxt_", ""), format!("{all} ")] {
        let expected = if forged.ends_with(' ') { "ok" } else { "unauthorized" };
        let answer = node.with_token(&forged, "GET", "/v1/status", "");
        let code = if answer.status == 200 { "ok".to_owned() } else { answer.problem() };
        assert_eq!(code, expected, "{forged:?}");
    }
    assert_eq!(home.json(&["token", "list"]).as_array().unwrap().len(), 1);
}

/// promise: Bad input | A token whose file other accounts can read is not used
#[cfg(unix)]
#[test]
fn a_token_whose_file_others_can_read_is_not_used() {
    let home = Home::new();
    let _node = home.up();
    let file = token_file(&home, "token", &token(&home, "claude", "*", &[]));
    for mode in [0o604, 0o640, 0o666] {
        own(std::path::Path::new(&file), mode);
        let (code, error) = home.error(&["--token-file", &file, "status"]);
        assert_eq!((code, &error["code"]), (4, &json!("unauthorized")), "{mode:o}");
        assert!(error["message"].as_str().unwrap().contains("chmod 600"), "{error}");
        let mut mcp = Mcp::start(&home, &["mcp", "--token-file", &file]);
        assert!(mcp.ask("tools/list", json!({})).to_string().contains("chmod 600"), "{mode:o}");
        // a hook disturbs nobody
        let ran = home.run(&["hook", "session-start", "--token-file", &file]).ok();
        assert!(!ran.stdout.contains("You are"), "{ran:?}");
    }
    own(std::path::Path::new(&file), 0o600);
    assert_eq!(home.json(&["--token-file", &file, "status"])["membership"], "member");
    let (code, error) = home.error(&["--token-file", "/no/such/file", "status"]);
    assert_eq!((code, &error["code"]), (4, &json!("unauthorized")), "{error}");
}

/// promise: Commands and API | A token of a revoked agent starts no node, and is told what to do
#[test]
fn a_revoked_token_is_told_so_by_the_command_line_and_over_mcp() {
    let home = Home::new();
    let _node = home.up();
    let file = token_file(&home, "token", &token(&home, "claude", "*", &[]));
    home.json(&["token", "revoke", "claude"]);
    let (code, error) = home.error(&["--token-file", &file, "status"]);
    assert_eq!((code, &error["code"]), (4, &json!("unauthorized")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("revoked"), "{error}");
    let mut mcp = Mcp::start(&home, &["mcp", "--token-file", &file]);
    let answer = mcp.ask("tools/list", json!({})).to_string();
    assert!(answer.contains("does not know this token"), "{answer}");
}

/// promise: Nodes | A damaged file of tokens lets nobody in by a token, and never keeps a node from its start
#[test]
fn a_damaged_file_of_tokens_lets_nobody_in_and_stops_no_start() {
    let home = Home::new();
    let node = home.up();
    let claude = token(&home, "claude", "*", &[]);
    node.terminate();
    let path = home.path().join("issued-tokens");
    let kept = fs::read(&path).unwrap();
    fs::write(&path, &kept[..kept.len() / 2]).unwrap();
    let node = home.up();
    assert_eq!(node.with_token(&claude, "GET", "/v1/status", "").problem(), "unauthorized");
    assert_eq!(home.warnings(), ["tokens"]);
    let (code, error) = home.error(&["token", "list"]);
    assert_eq!((code, &error["code"]), (1, &json!("data_dir")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("issued-tokens"), "{error}");
    assert!(
        home.run(&["doctor"]).stdout.contains("issued tokens")
            || home.run(&["doctor"]).stdout.contains("tokens of this node")
    );
    node.terminate();
    fs::write(&path, kept).unwrap();
    let node = home.up();
    assert_eq!(node.with_token(&claude, "GET", "/v1/status", "").status, 200, "tokens outlive a restart");
    assert_eq!(home.warnings(), [""; 0]);
}
