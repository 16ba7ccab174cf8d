//! MCP from outside, in both eras: over HTTP and over stdio.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::support::{Home, Node, SOON, pair, until};
use serde_json::{Value, json};

const NEW: &str = "2026-07-28";
const OLD: &str = "2025-11-25";
const META: &str = "io.modelcontextprotocol";

/// A request of an era; in the new one each carries the client's data.
fn request(era: &str, id: u64, method: &str, mut params: Value) -> Value {
    if era == NEW {
        params["_meta"] = json!({
            format!("{META}/protocolVersion"): NEW,
            format!("{META}/clientCapabilities"): {},
            format!("{META}/clientInfo"): { "name": "newcomer", "version": "2.0" },
        });
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn handshake() -> Value {
    json!({
        "protocolVersion": OLD,
        "capabilities": {},
        "clientInfo": { "name": "veteran", "version": "1.0" },
    })
}

/// A client that speaks MCP.
trait Speaks {
    fn era(&self) -> &'static str;
    fn ask(&self, method: &str, params: Value) -> Value;

    #[track_caller]
    fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The structured content of a tool's answer.
    #[track_caller]
    fn tool(&self, name: &str, arguments: Value) -> Value {
        let result = self.result("tools/call", json!({ "name": name, "arguments": arguments }));
        assert!(result["isError"].is_null(), "{name}: {result}");
        assert_eq!(result["resultType"].is_string(), self.era() == NEW, "{result}");
        result["structuredContent"].clone()
    }

    /// The text of a tool's answer, which is there once.
    #[track_caller]
    fn told(&self, name: &str, arguments: Value) -> String {
        let result = self.result("tools/call", json!({ "name": name, "arguments": arguments }));
        assert!(result["isError"].is_null() && result["structuredContent"].is_null(), "{name}: {result}");
        assert_eq!(result["resultType"].is_string(), self.era() == NEW, "{result}");
        assert_eq!(result["content"].as_array().map(Vec::len), Some(1), "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The short id of a new memory.
    #[track_caller]
    fn keep(&self, arguments: Value) -> String {
        kept(&self.told("remember", arguments))
    }

    /// The hits of a recall, and the cursor for more.
    #[track_caller]
    fn hits(&self, arguments: Value) -> (Vec<Told>, Option<String>) {
        hits(&self.told("recall", arguments))
    }

    /// The text of a tool's refusal.
    #[track_caller]
    fn refused(&self, name: &str, arguments: Value) -> String {
        let result = self.result("tools/call", json!({ "name": name, "arguments": arguments }));
        assert_eq!(result["isError"], true, "{name}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let tools = self.result("tools/list", json!({}))["tools"].clone();
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// The short id in the answer of `remember`.
#[track_caller]
fn kept(answer: &str) -> String {
    let id = answer.strip_prefix("Remembered ").and_then(|rest| rest.split(',').next());
    id.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A hit as a model reads it.
#[derive(Debug)]
struct Told {
    id: String,
    /// All between the id and the text.
    about: String,
    text: String,
}

/// The hits in the answer of `recall`, and the cursor for more.
fn hits(answer: &str) -> (Vec<Told>, Option<String>) {
    let (mut found, mut next): (Vec<Told>, _) = (Vec::new(), None);
    for line in answer.lines() {
        if let Some(more) = line.strip_prefix("  ") {
            let hit = found.last_mut().unwrap();
            hit.text = format!("{}\n{more}", hit.text);
        } else if let Some(cursor) = line.strip_prefix("More: cursor ") {
            next = Some(cursor.to_owned());
        } else if !line.is_empty() && !line.starts_with("Nothing ") {
            let (header, text) = line.split_once(": ").unwrap();
            let (id, about) = header.split_once(' ').unwrap();
            found.push(Told { id: id.to_owned(), about: about.to_owned(), text: text.to_owned() });
        }
    }
    (found, next)
}

/// A client over HTTP.
struct Http {
    address: String,
    token: String,
    path: &'static str,
    era: &'static str,
    session: RefCell<Option<String>>,
    next: Cell<u64>,
}

impl Http {
    fn to(node: &Node, path: &'static str, era: &'static str) -> Self {
        let this = Self {
            address: node.address(),
            token: node.token(),
            path,
            era,
            session: RefCell::default(),
            next: Cell::new(1),
        };
        if era == OLD {
            this.ask("initialize", handshake());
            assert!(this.session.borrow().is_some());
        }
        this
    }

    fn headers(&self, method: &str, params: &Value) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if self.era == NEW {
            headers.extend([("MCP-Protocol-Version", NEW.to_owned()), ("Mcp-Method", method.to_owned())]);
            let name = params.get("name").or(params.get("uri")).and_then(Value::as_str);
            headers.extend(name.map(|name| ("Mcp-Name", name.to_owned())));
        } else if method != "initialize" {
            headers.push(("MCP-Protocol-Version", OLD.to_owned()));
            headers.extend(self.session.borrow().clone().map(|session| ("Mcp-Session-Id", session)));
        }
        headers
    }

    /// A connection on which a message was sent with these headers.
    fn send(&self, message: &[u8], headers: &[(&str, String)]) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            self.path,
            self.address,
            self.token,
            message.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        // The server need not read a refused body to its end.
        let _ = stream.write_all(message);
        BufReader::new(stream)
    }

    /// Status, session id and body.
    fn post(&self, message: &[u8], headers: &[(&str, String)]) -> (u16, Option<String>, String) {
        let mut answer = String::new();
        let _ = self.send(message, headers).read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.to_owned())
        });
        (status, session, body.to_owned())
    }
}

impl Speaks for Http {
    fn era(&self) -> &'static str {
        self.era
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        let headers = self.headers(method, &params);
        let message = request(self.era, id, method, params);
        let (_, session, body) = self.post(message.to_string().as_bytes(), &headers);
        if session.is_some() {
            *self.session.borrow_mut() = session;
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

/// A client over stdio.
struct StdioClient {
    era: &'static str,
    child: RefCell<Child>,
    stdin: RefCell<Option<ChildStdin>>,
    stdout: RefCell<BufReader<ChildStdout>>,
    heard: RefCell<Vec<Value>>,
    next: Cell<u64>,
}

impl StdioClient {
    fn of(home: &Home, arguments: &[&str], era: &'static str) -> Self {
        let mut all = vec!["mcp", "--no-project"];
        all.extend_from_slice(arguments);
        let mut command = home.command(&all);
        // A node started here must not take the ports of another test.
        command.env("NEXUS_API_ADDR", "127.0.0.1:0").env("NEXUS_MDNS", "false");
        command.env("NEXUS_LISTEN", "/ip4/127.0.0.1/tcp/0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let this = Self {
            era,
            stdin: RefCell::new(child.stdin.take()),
            stdout: RefCell::new(BufReader::new(child.stdout.take().unwrap())),
            child: RefCell::new(child),
            heard: RefCell::default(),
            next: Cell::new(1),
        };
        if era == OLD {
            this.result("initialize", handshake());
            this.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        }
        this
    }

    fn say(&self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    fn write(&self, bytes: &[u8]) {
        self.stdin.borrow_mut().as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn hear(&self) -> Value {
        let mut line = String::new();
        self.stdout.borrow_mut().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The next notification of a kind.
    fn notified(&self, method: &str) -> Value {
        let known = self.heard.borrow().iter().position(|message| message["method"] == method);
        if let Some(known) = known {
            return self.heard.borrow_mut().remove(known);
        }
        loop {
            let message = self.hear();
            if message["method"] == method {
                return message;
            }
            self.heard.borrow_mut().push(message);
        }
    }

    /// Closes stdin. Returns the exit code.
    fn end(&self) -> Option<i32> {
        self.stdin.borrow_mut().take();
        self.child.borrow_mut().wait().unwrap().code()
    }
}

impl Drop for StdioClient {
    fn drop(&mut self) {
        let _ = self.child.borrow_mut().kill();
        let _ = self.child.borrow_mut().wait();
    }
}

impl Speaks for StdioClient {
    fn era(&self) -> &'static str {
        self.era
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        self.say(&request(self.era, id, method, params));
        loop {
            let message = self.hear();
            if message["id"] == id {
                return message;
            }
            self.heard.borrow_mut().push(message);
        }
    }
}

/// The node that a stdio server has started; it ends with the test.
struct Started(String);

impl Started {
    fn of(home: &Home) -> Self {
        let lock = home.path().join("lock");
        let pid = until("the node says who it is", || {
            let text = std::fs::read_to_string(&lock).ok()?;
            let pid: String =
                text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            (!pid.is_empty()).then_some(pid)
        });
        Self(pid)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

/// Checks each tool of the core profile with one client.
fn core(client: &impl Speaks, agent: &str) {
    assert_eq!(client.names(), ["session_start", "remember", "recall", "forget"]);
    let written = client.told("remember", json!({ "text": "the build needs a C compiler", "tags": ["build"] }));
    assert!(written.ends_with(", here and on 0 others."), "{written}");
    let id = kept(&written);
    let (found, next) = client.hits(json!({ "query": "compiler" }));
    assert_eq!((found.len(), next), (1, None), "{found:?}");
    assert_eq!((&found[0].id, found[0].text.as_str()), (&id, "the build needs a C compiler"));
    let (why, _) = client.hits(json!({ "query": "compiler", "why": true }));
    assert!(why[0].about.ends_with("It has “compiler”.)"), "{why:?}");
    let whole = client.told("recall", json!({ "id": id }));
    assert!(
        whole.starts_with(&id) && whole.contains("tags build\n") && whole.contains(&format!("({agent}, model)")),
        "{whole}"
    );
    let start = client.told("session_start", json!({}));
    assert!(
        start.starts_with(&format!("You are {agent} on node ")) && start.contains(&format!("\nlately {id} ")),
        "{start}"
    );
    let changed = client.told("remember", json!({ "id": id, "text": "the build needs a C compiler and make" }));
    assert_eq!(changed, format!("Changed {id}."));
    let forgotten = client.told("forget", json!({ "id": id }));
    assert!(forgotten.starts_with(&format!("Forgot {id}, ")) && forgotten.contains("and make"), "{forgotten}");
    assert!(client.told("recall", json!({ "query": "compiler" })).starts_with("Nothing speaks of that."));
    assert!(client.refused("forget", json!({ "id": id })).contains("no memory"));
    for gone in ["get", "edit"] {
        let answer = client.ask("tools/call", json!({ "name": gone, "arguments": { "id": id } }));
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
}

/// Checks each tool of the graph profile with one client.
fn graph(client: &impl Speaks) {
    let names = [
        "create_entities",
        "create_relations",
        "add_observations",
        "delete_entities",
        "delete_observations",
        "delete_relations",
        "read_graph",
        "search_nodes",
        "open_nodes",
    ];
    assert_eq!(client.names(), names);
    let ann = json!({ "name": "Ann", "entityType": "person", "observations": ["plays chess", "lives by the sea"] });
    let bob = json!({ "name": "Bob", "entityType": "person", "observations": [] });
    let likes = json!({ "from": "Ann", "to": "Bob", "relationType": "likes" });
    assert_eq!(client.tool("create_entities", json!({ "entities": [ann, bob, ann] }))["entities"], json!([ann, bob]));
    assert_eq!(client.tool("create_entities", json!({ "entities": [bob] }))["entities"], json!([]));
    assert_eq!(client.tool("create_relations", json!({ "relations": [likes] }))["relations"], json!([likes]));
    assert_eq!(client.tool("create_relations", json!({ "relations": [likes] }))["relations"], json!([]));
    let added = json!({ "observations": [{ "entityName": "Bob", "contents": ["swims", "swims"] }] });
    let results = json!([{ "entityName": "Bob", "addedObservations": ["swims"] }]);
    assert_eq!(client.tool("add_observations", added)["results"], results);
    let nobody = json!({ "observations": [{ "entityName": "Cy", "contents": ["x"] }] });
    assert_eq!(client.refused("add_observations", nobody), "Entity with name Cy not found");
    let bob = json!({ "name": "Bob", "entityType": "person", "observations": ["swims"] });
    let whole = json!({ "entities": [ann, bob], "relations": [likes] });
    assert_eq!(client.tool("read_graph", json!({})), whole);
    // two words that do not stand together
    let of_ann = json!({ "entities": [ann], "relations": [likes] });
    assert_eq!(client.tool("search_nodes", json!({ "query": "sea chess" })), of_ann);
    assert_eq!(
        client.tool("open_nodes", json!({ "names": ["Bob", "Cy"] })),
        json!({ "entities": [bob], "relations": [likes] })
    );
    let read = client.result("resources/read", json!({ "uri": "memory://knowledge-graph" }));
    assert_eq!(serde_json::from_str::<Value>(read["contents"][0]["text"].as_str().unwrap()).unwrap(), whole);
    let deletion = json!({ "deletions": [{ "entityName": "Ann", "observations": ["plays chess", "nothing"] }] });
    let done = |message: &str| json!({ "success": true, "message": message });
    assert_eq!(client.tool("delete_observations", deletion), done("Observations deleted successfully"));
    assert_eq!(
        client.tool("delete_relations", json!({ "relations": [likes] })),
        done("Relations deleted successfully")
    );
    assert_eq!(
        client.tool("delete_entities", json!({ "entityNames": ["Bob", "Cy"] })),
        done("Entities deleted successfully")
    );
    let ann = json!({ "name": "Ann", "entityType": "person", "observations": ["lives by the sea"] });
    assert_eq!(client.tool("read_graph", json!({})), json!({ "entities": [ann], "relations": [] }));
    client.tool("delete_entities", json!({ "entityNames": ["Ann"] }));
}

/// Checks each tool for tasks with one client, which hands work to itself.
fn full(client: &impl Speaks, agent: &str) {
    let beyond_core = ["task_create", "task_claim", "task_update", "doc_list", "doc_get", "doc_edit"];
    assert_eq!(client.names()[4..], beyond_core);
    let made = client.told("doc_edit", json!({ "key": "tools", "create": true, "patch": { "text": "a word" } }));
    assert!(made.contains(" tools, version "), "{made}");
    client.told("doc_edit", json!({ "key": "tools", "path": "text", "find": "word", "insert": "text" }));
    let shown = client.told("doc_get", json!({ "key": "tools" }));
    assert!(shown.ends_with("\n{\"text\":\"a text\"}"), "{shown}");
    let made = client.told("task_create", json!({ "capability": "review", "input": { "pull": 7 }, "timeout": "10m" }));
    assert!(made.contains(" review pending: no worker for review waits\nReaders: "), "{made}");
    let id = made.split(' ').next().unwrap().to_owned();
    assert_eq!(client.told("task_claim", json!({ "capabilities": ["dance"], "wait": 0 })), "No task now. Ask again.");
    let token = |claimed: &str| {
        let (_, token) = claimed.split_once(" token ").unwrap_or_else(|| panic!("{claimed}"));
        token.split_ascii_whitespace().next().unwrap().to_owned()
    };
    let claimed = client.told("task_claim", json!({ "capabilities": ["dance", "review"] }));
    assert!(claimed.starts_with(&id) && claimed.contains("attempt 1, at most 600 s. token "), "{claimed}");
    assert!(claimed.ends_with("\ninput: {\"pull\":7}") && claimed.contains(&format!("({agent})")), "{claimed}");
    let first = token(&claimed);
    let heard = client.told("task_update", json!({ "id": id, "token": first, "progress": "reading", "percent": 40 }));
    assert!(heard.starts_with("Heard. The attempt may take "), "{heard}");
    let shown = client.told("task_update", json!({ "id": id }));
    assert!(shown.contains(&format!(" review running, {agent} at ")) && shown.ends_with(" 40 % reading"), "{shown}");
    client.told("task_update", json!({ "id": id, "token": first, "release": true }));
    let second = token(&client.told("task_claim", json!({ "capabilities": ["review"] })));
    let late = client.refused("task_update", json!({ "id": id, "token": first, "output": 1 }));
    assert!(late.contains("claim"), "{late}");
    let done = client.told("task_update", json!({ "id": id, "token": second, "output": { "ok": true } }));
    assert!(done.contains(" succeeded, ") && done.ends_with("\noutput: {\"ok\":true}"), "{done}");
    // a task that is done once, with its token for the effect; null is an output
    let once = client.told("task_create", json!({ "capability": "pay", "once": true }));
    let once = once.split(' ').next().unwrap().to_owned();
    let claimed = client.told("task_claim", json!({ "capabilities": ["pay"] }));
    assert!(claimed.contains("`nexus-node fence check own/"), "{claimed}");
    let done = client.told("task_update", json!({ "id": once, "token": token(&claimed), "output": null }));
    assert!(done.contains(" succeeded"), "{done}");
    // back again, and bad input
    let other = client.told("task_create", json!({ "capability": "review" }));
    let other = other.split(' ').next().unwrap().to_owned();
    let back = client.told("task_update", json!({ "id": other, "cancel": "not now" }));
    assert!(back.contains(" cancelled") && back.contains("not now"), "{back}");
    for (tool, arguments) in [
        ("task_create", json!({})),
        ("task_create", json!({ "capability": "No Good" })),
        ("task_create", json!({ "capability": "x", "wait": 51 })),
        ("task_create", json!({ "capability": "x", "to": "nobody" })),
        ("task_create", json!({ "capability": "x", "input": "x".repeat(5_000_000) })),
        ("task_claim", json!({ "capabilities": [] })),
        ("task_claim", json!({ "capabilities": ["x"], "wait": -1 })),
        ("task_update", json!({ "id": "nothing" })),
        ("task_update", json!({ "id": other, "output": 1 })),
        ("task_update", json!({ "id": other, "output": 1, "token": "x" })),
        ("task_update", json!({ "id": other, "output": 1, "error": "x", "token": second })),
        ("task_update", json!({ "id": other, "cancel": "x", "token": second })),
    ] {
        client.refused(tool, arguments);
    }
}

const NEWCOMER: &str = "newcomer";
const VETERAN: &str = "veteran";

/// promise: Agents | Every tool works over HTTP and stdio, in both eras of MCP
#[test]
fn every_tool_works_over_http_in_both_eras() {
    let home = Home::new();
    let node = home.up();
    for (era, agent) in [(NEW, NEWCOMER), (OLD, VETERAN)] {
        core(&Http::to(&node, "/mcp", era), agent);
        full(&Http::to(&node, "/mcp/full", era), agent);
        graph(&Http::to(&node, "/mcp/graph", era));
    }
    // The log is for events of the node, not for each request.
    assert!(!home.log().contains("rmcp"), "{}", home.log());
}

/// promise: Agents | Every tool works over HTTP and stdio, in both eras of MCP
#[test]
fn every_tool_works_over_stdio_in_both_eras_and_the_node_is_started() {
    let home = Home::new();
    let first = StdioClient::of(&home, &[], NEW);
    core(&first, NEWCOMER);
    let _node = Started::of(&home);
    core(&StdioClient::of(&home, &["--no-start"], OLD), VETERAN);
    for era in [NEW, OLD] {
        graph(&StdioClient::of(&home, &["--profile", "graph"], era));
    }
    full(&StdioClient::of(&home, &["--profile", "full"], NEW), NEWCOMER);
    assert_eq!(first.end(), Some(0));
}

/// Calls a tool.
type Tool<'a> = &'a dyn Fn(&str, Value) -> String;

/// promise: Commands and API | A node that an agent started is told of and stopped by `stop`, not by a page
#[test]
fn a_node_that_an_agent_started_is_told_of_and_stopped() {
    let home = Home::new();
    let client = StdioClient::of(&home, &[], NEW);
    client.keep(json!({ "text": "before" }));
    let status = home.json(&["status"]);
    assert_eq!(status["started_by"], "mcp", "{status}");
    // a second `up` names the running node, and the remedy
    let (code, error) = home.error(&["up"]);
    assert_eq!((code, &error["code"]), (7, &json!("in_use")), "{error}");
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.contains(&format!("process {}", status["pid"])), "{message}");
    assert!(message.contains("for an agent") && hint.contains("nexus-node stop"), "{message}; {hint}");
    let stopped = home.json(&["stop"]);
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!(true), &status["pid"]), "{stopped}");
    assert_eq!(home.error(&["stop"]).0, 3, "it is gone");
    // the directory is free at once
    let node = home.up();
    assert_eq!(home.json(&["status"])["started_by"], "up");
    assert_eq!(client.hits(json!({ "query": "before" })).0.len(), 1);
    // the page ends no node
    let signed_in = node.http("POST", "/v1/session", "");
    let cookie = signed_in.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let (address, origin) = (node.address(), node.text("api"));
    let headers = [("Host", address.as_str()), ("Origin", &origin), ("Cookie", cookie.split(';').next().unwrap())];
    assert_eq!(node.raw("POST", "/v1/stop", &headers, b"").problem(), "refused");
    let answer = node.http("POST", "/v1/stop", "");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(node.ended(), Some(0));
}

/// promise: Agents | A client does not notice that the node was started again
#[test]
fn a_client_does_not_notice_that_the_node_was_started_again() {
    let home = Home::new();
    let node = home.up();
    let address = node.address();
    let new = Http::to(&node, "/mcp", NEW);
    let old = Http::to(&node, "/mcp", OLD);
    let stdio = StdioClient::of(&home, &["--no-start"], OLD);
    let clients: [(Tool<'_>, &str); 3] = [
        (&|tool, arguments| new.told(tool, arguments), NEWCOMER),
        (&|tool, arguments| old.told(tool, arguments), VETERAN),
        (&|tool, arguments| stdio.told(tool, arguments), VETERAN),
    ];
    // texts that say the same are shown once
    for (n, (tool, _)) in clients.iter().enumerate() {
        tool("remember", json!({ "text": format!("before {n}") }));
    }
    node.kill_9();
    let node = home.up_with(&["--api-addr", &address]);
    for (n, (tool, agent)) in clients.iter().enumerate() {
        let id = kept(&tool("remember", json!({ "text": format!("after {n}") })));
        assert!(tool("recall", json!({ "id": id })).contains(&format!("({agent}, model)")));
        assert_eq!(hits(&tool("recall", json!({ "query": "before" }))).0.len(), 3);
    }
    // and it may move to another port
    drop(node);
    let _node = home.up_with(&["--api-addr", "127.0.0.1:0"]);
    assert_eq!(stdio.hits(json!({ "query": "after" })).0.len(), 3);
}

/// promise: Agents | Which instance, which agent and when is written by the node; nobody forges it
#[test]
fn nobody_forges_who_wrote_a_memory() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp", NEW);
    for forged in [
        json!({ "text": "x", "meta": { "agent": { "name": "somebody else" } } }),
        json!({ "text": "x", "agent": "somebody else" }),
        json!({ "text": "x", "author": "did:key:z6Mk" }),
        json!({ "text": "x", "created_at": "2020-01-01T00:00:00Z" }),
    ] {
        client.refused("remember", forged);
    }
    let id = client.keep(json!({ "text": "x", "meta": { "author": "me", "Agent": "me" } }));
    let stored = node.http("GET", &format!("/v1/memories/{id}"), "").json();
    assert_eq!(stored["author"], node.text("did"));
    assert_eq!((&stored["agent"], &stored["source"]), (&json!("newcomer"), &json!("model")));
    Http::to(&node, "/mcp/graph", NEW).tool(
        "create_entities",
        json!({ "entities": [{ "name": "e", "entityType": "t", "observations": [], "agent": "x" }] }),
    );
    let listed = node.http("GET", "/v1/memories", "").json();
    let entity = listed["items"].as_array().unwrap().iter().find(|memory| memory["kind"] == "entity").unwrap();
    assert_eq!((&entity["agent"], &entity["source"]), (&json!("newcomer"), &json!("model")));
}

/// promise: Agents | Two machines that write to the graph at once keep everything
#[test]
fn two_machines_that_write_to_the_graph_at_once_keep_everything() {
    let ((laptop, first), (cloud, second)) = pair();
    let clients = [Http::to(&first, "/mcp/graph", NEW), Http::to(&second, "/mcp/graph", OLD)];
    // items that both have exist once
    let shared = json!({ "name": "shared", "entityType": "t", "observations": ["same"] });
    std::thread::scope(|scope| {
        for (machine, client) in clients.iter().map(|client| (&client.address, client.token.clone())).enumerate() {
            let (address, token) = client;
            let (shared, node) = (shared.clone(), [&first, &second][machine]);
            scope.spawn(move || {
                let client = Http::to(node, "/mcp/graph", NEW);
                assert_eq!((&client.address, &client.token), (address, &token));
                client.tool("create_entities", json!({ "entities": [shared] }));
                for n in 0..25 {
                    let entity = json!({ "name": format!("{machine}-{n}"), "entityType": "t", "observations": ["o"] });
                    client.tool("create_entities", json!({ "entities": [entity] }));
                    let said = json!({ "entityName": "shared", "contents": [format!("{machine} says {n}")] });
                    client.tool("add_observations", json!({ "observations": [said] }));
                    let relation = json!({ "from": "shared", "to": format!("{machine}-{n}"), "relationType": "has" });
                    client.tool("create_relations", json!({ "relations": [relation] }));
                }
            });
        }
    });
    for (client, home) in clients.iter().zip([&laptop, &cloud]) {
        let graph = until("everything is everywhere", || {
            let graph = client.tool("read_graph", json!({}));
            (graph["entities"].as_array()?.len() == 51 && graph["relations"].as_array()?.len() == 50).then_some(graph)
        });
        let shared = graph["entities"].as_array().unwrap().iter().find(|entity| entity["name"] == "shared").unwrap();
        let said = shared["observations"].as_array().unwrap();
        assert_eq!((said.len(), said.iter().filter(|said| **said == "same").count()), (51, 1), "{}", home.log());
    }
    // a deletion on one is one on the other, also of common items
    clients[0].tool("delete_entities", json!({ "entityNames": ["shared"] }));
    until("it is gone everywhere", || {
        let graph = clients[1].tool("open_nodes", json!({ "names": ["shared"] }));
        (graph == json!({ "entities": [], "relations": [] })).then_some(())
    });
}

/// promise: Agents | A model gets one memory whole, edits it, and settles a conflict about it
#[test]
fn an_agent_edits_what_has_changed_and_settles_what_conflicts() {
    let ((laptop, first), (cloud, second)) = pair();
    let (here, there) = (Http::to(&first, "/mcp", NEW), Http::to(&second, "/mcp", OLD));
    let id = here.keep(json!({ "text": "the port is 5432", "key": "port", "tags": ["db"] }));
    let there_too = || cloud.json(&["list"])["items"].as_array().unwrap().len() == 1;
    until("it is there", || there_too().then_some(()));
    let (found, _) = there.hits(json!({ "query": "port" }));
    assert!(found[0].about.ends_with(" port"), "{found:?}");
    let whole = there.told("recall", json!({ "id": "port" }));
    assert!(whole.contains(" port: the port is 5432\n") && whole.contains("tags db\n"), "{whole}");

    // both change it, apart
    for home in [&laptop, &cloud] {
        home.json(&["offline"]);
    }
    here.told("remember", json!({ "id": "port", "text": "the port is 5433" }));
    there.told("remember", json!({ "id": "port", "text": "the port is 5434" }));
    for home in [&laptop, &cloud] {
        home.json(&["online"]);
    }
    let whole = || here.told("recall", json!({ "id": id }));
    let open = until("the conflict is here", || {
        let memory = whole();
        memory.contains("Conflict in text").then_some(memory)
    });
    for value in ["settles it:\n", ": \"the port is 5433\"", ": \"the port is 5434\"", "\nHistory, newest first:\n"] {
        assert!(open.contains(value), "{value}: {open}");
    }
    let (hit, _) = here.hits(json!({ "query": "port" }));
    assert!(hit[0].about.ends_with("(conflict in text)"), "{hit:?}");
    let start = here.told("session_start", json!({}));
    assert!(start.contains("\nconflict ") && start.contains(" or "), "{start}");
    let settled = here.told("remember", json!({ "id": id, "text": "the port is 5434" }));
    assert_eq!(settled, format!("Changed {id}."));
    let memory = whole();
    assert!(memory.contains("port: the port is 5434\n") && memory.contains("tags db\n"), "{memory}");
    assert!(!memory.contains("Conflict"), "{memory}");
    let refusal = here.refused("remember", json!({ "id": id }));
    assert!(refusal.contains("nothing to change"), "{refusal}");
    assert!(here.refused("recall", json!({ "id": "nowhere" })).contains("no memory"));
    assert!(here.refused("remember", json!({ "id": "nowhere", "text": "x" })).contains("no memory"));
}

/// promise: Agents | Recall leaves out what belongs to other projects, unless it is asked for
#[test]
fn recall_keeps_to_the_project_of_its_session() {
    let home = Home::new();
    let node = home.up();
    let (shop, blog) = (Http::to(&node, "/mcp?project=shop", NEW), Http::to(&node, "/mcp?project=blog", NEW));
    shop.keep(json!({ "text": "the dev server listens on 3100" }));
    blog.keep(json!({ "text": "the dev server listens on 4000" }));
    home.json(&["remember", "a dev server needs a port of its own"]);
    let found = |client: &Http, more: Value| {
        let mut asked = json!({ "query": "dev server" });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut texts: Vec<String> = client.hits(asked).0.into_iter().map(|hit| hit.text).collect();
        texts.sort();
        texts
    };
    assert_eq!(found(&shop, json!({})), ["a dev server needs a port of its own", "the dev server listens on 3100"]);
    assert_eq!(found(&blog, json!({})), ["a dev server needs a port of its own", "the dev server listens on 4000"]);
    assert_eq!(found(&shop, json!({ "everywhere": true })).len(), 3);
    assert_eq!(found(&shop, json!({ "limit": 1 })).len(), 1);
}

/// promise: Agents | An agent writes what holds now in place of a memory, and asks for what held before
#[test]
fn an_agent_supersedes_what_no_longer_holds() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp?project=shop", NEW);
    let former = client.keep(json!({ "text": "the gateway listens on port 7001", "kind": "decision" }));
    let about = |client: &Http| client.told("recall", json!({ "query": "gateway port" }));
    let other = client.keep(json!({ "text": "the gateway listens on port 7002" }));
    let told = about(&client);
    assert!(
        told.contains(&format!("may contradict {other}")) && told.contains(&format!("may contradict {former}")),
        "{told}"
    );
    client.told("forget", json!({ "id": other }));

    let now = client.keep(json!({ "text": "the gateway listens on port 7003", "supersedes": former }));
    let told = about(&client);
    assert!(told.starts_with(&now) && !told.contains("7001"), "{told}");
    let ever = client.told("recall", json!({ "query": "gateway port", "valid_at": "ever" }));
    assert!(ever.contains("7001") && ever.contains("(until 20"), "{ever}");
    let whole = client.told("recall", json!({ "id": now }));
    assert!(whole.contains("decision") && whole.contains("; in place of "), "{whole}");
    let start = client.told("session_start", json!({}));
    assert!(start.contains("7003") && !start.contains("7001"), "{start}");
    for given in
        [json!({ "id": now, "supersedes": former }), json!({ "text": "x", "supersedes": "nothing-of-this-name" })]
    {
        client.refused("remember", given);
    }
    assert!(client.refused("recall", json!({ "query": "x", "valid_at": "soon" })).contains("valid_at"));
}

/// promise: Agents | Answers are bounded, say that they are cut, and go on where they ended
#[test]
fn answers_are_bounded_and_go_on_where_they_ended() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp", NEW);
    for n in 0..7 {
        client.keep(json!({ "text": format!("apple number {n} {}", "and so on ".repeat(n * 20)) }));
    }
    for mut arguments in [json!({ "query": "apple", "limit": 3 }), json!({ "query": "apple", "max_tokens": 200 })] {
        let mut seen = std::collections::BTreeSet::new();
        let mut pages = 0;
        loop {
            let (shown, next) = client.hits(arguments.clone());
            assert!(!shown.is_empty() && shown.len() <= 7, "{shown:?}");
            assert!(shown.iter().all(|hit| seen.insert(hit.id.clone())), "twice: {shown:?}");
            pages += 1;
            let Some(next) = next else { break };
            arguments["cursor"] = next.into();
        }
        assert!(seen.len() == 7 && pages >= 3, "{arguments} {pages} {seen:?}");
    }
    let long = client.keep(json!({ "text": format!("pear {}", "x".repeat(20_000)) }));
    let (cut, _) = client.hits(json!({ "query": "pear", "max_tokens": 200 }));
    assert!(
        cut[0].id == long && cut[0].about.ends_with("(a part, whole by its id)") && cut[0].text.len() < 1_000,
        "{cut:?}"
    );
    // a brief is short unless more is asked for, and says how much it shows
    let brief = client.told("session_start", json!({ "max_tokens": 200 }));
    let long = client.told("session_start", json!({ "max_tokens": 2_000 }));
    assert!(brief.contains("\nNot shown: ") && brief.len() < 1_500, "{brief}");
    assert!(long.contains("\nlately ") && long.len() > brief.len(), "{long}");
}

/// promise: Agents | `remember` names an older memory that says nearly the same
#[test]
fn a_memory_that_says_nearly_the_same_is_named() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp", NEW);
    let text = "the release build needs a C compiler and about ten minutes on two cores";
    let first = client.told("remember", json!({ "text": text }));
    assert!(!first.contains("duplicate_of"), "{first}");
    let again = "The release build needs a C compiler, and about ten minutes on two cores!";
    let second = client.told("remember", json!({ "text": again }));
    assert!(second.ends_with(&format!(" duplicate_of {}", kept(&first))), "{second}");
    let other = client.told("remember", json!({ "text": "the staging database is restored at four in the morning" }));
    assert!(!other.contains("duplicate_of"), "{other}");
}

/// promise: Agents | The input and the output of a task are as they came, over HTTP and stdio; a number elsewhere that would change is refused by its path
#[test]
fn the_json_of_a_task_is_as_it_came_and_other_arguments_lose_nothing() {
    let home = Home::new();
    let node = home.up();
    let http = Http::to(&node, "/mcp/full", OLD);
    let stdio = StdioClient::of(&home, &["--profile", "full", "--no-start"], OLD);
    let message = |tool: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        )
    };
    let over_http = |tool: &str, arguments: &str| -> Value {
        let headers = http.headers("tools/call", &Value::Null);
        let (_, _, body) = http.post(message(tool, arguments).as_bytes(), &headers);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    };
    let over_stdio = |tool: &str, arguments: &str| -> Value {
        stdio.write(format!("{}\n", message(tool, arguments)).as_bytes());
        stdio.hear()
    };
    type Call<'a> = &'a dyn Fn(&str, &str) -> Value;
    for call in [&over_http as Call<'_>, &over_stdio] {
        let told = |tool: &str, arguments: &str| {
            let answer = call(tool, arguments);
            assert!(answer["id"] == "x" && answer["result"]["isError"] != true, "{answer}");
            answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
        };
        for json in ["12345678901234567890123", "12345e6", r#"{"b":3.141592653589793238462643, "a":"\u00e9"}"#] {
            let made =
                told("task_create", &format!(r#"{{"capability":"keep","input":{json},"request":"{}"}}"#, json.len()));
            let id = made.split(' ').next().unwrap().to_owned();
            let claimed = told("task_claim", r#"{"capabilities":["keep"],"wait":0}"#);
            // the other way has asked for the same before
            if claimed.starts_with("No task now") {
                assert!(
                    made.ends_with(&format!("\noutput: {json}\nReaders: the members that read the space tasks.")),
                    "{made}"
                );
                continue;
            }
            assert!(claimed.ends_with(&format!("\ninput: {json}")), "{claimed}");
            let token = claimed.split(" token ").nth(1).unwrap().split_ascii_whitespace().next().unwrap();
            let done = told("task_update", &format!(r#"{{"id":"{id}","token":"{token}","output":{json}}}"#));
            assert!(done.ends_with(&format!("\noutput: {json}")), "{done}");
        }
        for (tool, arguments, part) in [
            (
                "remember",
                r#"{"text":"x y","meta":{"n":18446744073709551616}}"#,
                "meta.n: the number 18446744073709551616",
            ),
            ("remember", r#"{"text":"x y","meta":{"a":[3.141592653589793238462643]}}"#, "meta.a[0]: the number"),
            ("remember", r#"{"text":"x y","text":"z"}"#, "text: the key \"text\" comes twice"),
            ("remember", r#"{"text":"x y","ttl":"99999999999d"}"#, "after the year 9999"),
            ("recall", r#"{"query":"x","limit":18446744073709551616}"#, "limit: the number"),
            ("task_create", r#"{"capability":"keep","input":{"a":1,"a":2}}"#, "the key \"a\" comes twice"),
            ("task_create", r#"{"capability":"keep","input":1E400}"#, "out of range"),
            ("task_create", r#"{"capability":"other","input":1,"request":"23"}"#, "asked for something else before"),
        ] {
            let answer = call(tool, arguments);
            let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
            let is_parse_error = answer["error"]["message"].as_str().is_some_and(|message| message.contains(part));
            assert!(
                answer["result"]["isError"] == true && text.contains(part) || is_parse_error,
                "{arguments}: {answer}"
            );
        }
    }
    assert_eq!(home.json(&["list"])["items"], json!([]));
}

/// promise: Agents | Messages that are none and arguments of wrong shape are answered in words
#[test]
fn what_does_not_fit_is_refused_in_words() {
    let home = Home::new();
    let node = home.up();
    let other_home = Home::new();
    let other = other_home.up();
    let client = Http::to(&node, "/mcp", NEW);
    for n in 0..3 {
        client.keep(json!({ "text": format!("apple {n}") }));
    }
    let elsewhere = Http::to(&other, "/mcp", NEW);
    for n in 0..3 {
        elsewhere.keep(json!({ "text": format!("apple {n}") }));
    }
    let cursor = elsewhere.hits(json!({ "query": "apple", "limit": 1 })).1.unwrap();
    for (tool, arguments) in [
        ("remember", json!({})),
        ("remember", json!({ "text": 1 })),
        ("remember", json!({ "text": "x", "tags": 7 })),
        ("remember", json!({ "text": "x", "ttl": "soon" })),
        ("remember", json!({ "text": "x", "space": "nowhere" })),
        ("remember", json!({ "text": "x", "kind": "a\u{7}b" })),
        ("remember", json!({ "text": "x".repeat((4 << 20) + 1) })),
        ("remember", json!({ "text": "x", "meta": { "k": "v".repeat(10_000) } })),
        ("recall", json!({ "query": "apple", "limit": 0 })),
        ("recall", json!({ "query": "apple", "limit": 101 })),
        ("recall", json!({ "query": "apple", "limit": -1 })),
        ("recall", json!({ "query": "apple", "limit": 1.5 })),
        ("recall", json!({ "query": "apple", "max_tokens": 1 })),
        ("recall", json!({ "query": "apple", "cursor": "x" })),
        ("recall", json!({ "query": "apple", "cursor": cursor })),
        ("recall", json!({ "query": "apple", "since": "yesterday" })),
        ("recall", json!({})),
        ("recall", json!({ "query": "apple", "id": "aaaaaaaa" })),
        ("recall", json!({ "query": "apple", "by": "nobody" })),
        ("session_start", json!({ "max_tokens": 99 })),
        ("session_start", json!({ "cursor": "x" })),
        ("session_start", json!({ "surprise": true })),
        ("forget", json!({ "id": "a" })),
        ("forget", json!({ "id": "no such memory" })),
        ("forget", json!({ "id": ["x"] })),
    ] {
        let text = client.refused(tool, arguments.clone());
        assert!(!text.is_empty() && text.len() < 600, "{tool} {arguments}: {text}");
    }
    // the argument at fault is named
    let tags = client.refused("remember", json!({ "text": "x", "tags": 7 }));
    assert!(tags.contains("tags: expected a list of texts, got the number 7"), "{tags}");
    let since = client.refused("recall", json!({ "query": "x", "since": "yesterday" }));
    assert!(since.contains("since: \"yesterday\"") && since.contains("7d"), "{since}");
    // unicode and control characters are kept as they are, but no line ends within one
    let odd = "tab\t nul\u{0} bell\u{7} ünïcödé 🦀 \u{202e}right\u{2028} to left";
    let id = client.keep(json!({ "text": odd }));
    assert_eq!(client.hits(json!({ "query": "bell" })).0[0].text, odd.replace('\u{2028}', "\n"));
    client.told("forget", json!({ "id": id }));
    for (code, method, params) in [
        (-32602, "tools/call", json!({ "name": "no_such_tool", "arguments": {} })),
        (-32602, "tools/call", json!({ "name": "recall", "arguments": [] })),
        (-32602, "tools/call", json!({ "name": "recall", "arguments": "port" })),
        (-32602, "tools/list", json!({ "cursor": "x" })),
        (-32601, "no/such/method", json!({})),
        (-32601, "ping", json!({})),
        (-32601, "subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } })),
    ] {
        let answer = client.ask(method, params.clone());
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
    }
}

/// promise: Agents | Messages that are none and arguments of wrong shape are answered in words
#[test]
fn messages_that_are_none_are_answered_in_json_rpc() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp", NEW);
    let old = [("Content-Type", "application/json".to_owned())];
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (status, code, body) in [
        (400, -32700, "{"),
        (400, -32700, "not json"),
        (400, -32600, "\"\\ud800\""),
        (400, -32700, deep.as_str()),
        (400, -32600, "[]"),
        (400, -32600, "1"),
        (400, -32600, r#"{"jsonrpc":"2.0"}"#),
        (400, -32600, r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#),
        (400, -32600, r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
        (400, -32600, r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
        (400, -32600, r#"{"jsonrpc":"2.0","id":1,"method":7}"#),
        (400, -32600, r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#),
    ] {
        let (got, _, answer) = client.post(body.as_bytes(), &old);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((got, answer["error"]["code"].as_i64()), (status, Some(code)), "{answer}");
    }
    let huge = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(9 << 20));
    assert_eq!(client.post(huge.as_bytes(), &old).0, 413);
    // header and body must agree
    let call = request(NEW, 1, "tools/call", json!({ "name": "recall", "arguments": { "query": "x" } }));
    let version = |version: &str| ("MCP-Protocol-Version", version.to_owned());
    let named = |name: &str| ("Mcp-Name", name.to_owned());
    let method = |method: &str| ("Mcp-Method", method.to_owned());
    for headers in [
        vec![version(NEW), method("tools/call"), named("forget")],
        vec![version(NEW), method("tools/list"), named("recall")],
        vec![version(NEW), method("tools/call")],
        vec![version(NEW), named("recall")],
        vec![version(OLD), method("tools/call"), named("recall")],
        vec![method("tools/call"), named("recall")],
    ] {
        let headers: Vec<_> = headers.into_iter().chain(old.clone()).collect();
        let (status, _, answer) = client.post(call.to_string().as_bytes(), &headers);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(-32020)), "{headers:?}: {answer}");
    }
    let mut future = call.clone();
    future["params"]["_meta"][format!("{META}/protocolVersion")] = "2099-01-01".into();
    let headers = [version("2099-01-01"), method("tools/call"), named("recall"), old[0].clone()];
    let (status, _, answer) = client.post(future.to_string().as_bytes(), &headers);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(-32022)), "{answer}");
    assert!(answer["error"]["data"]["supported"].as_array().unwrap().contains(&json!(NEW)), "{answer}");
    let (status, _, _) = client.post(
        request(NEW, 1, "no/such", json!({})).to_string().as_bytes(),
        &[version(NEW), method("no/such"), old[0].clone()],
    );
    assert_eq!(status, 404);
    // a batch, which one version has
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let batch = json!([ping, { "jsonrpc": "2.0", "method": "notifications/initialized" }, { "jsonrpc": "2.0", "id": "b", "method": "no" }]);
    let (status, _, answer) = client.post(batch.to_string().as_bytes(), &old);
    let answers: Vec<Value> = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, answers.len(), &answers[0]["result"]), (200, 2, &json!({})), "{answer}");
    assert_eq!(answers[1]["error"]["code"], -32601);
    assert_eq!(client.post(batch.to_string().as_bytes(), &[version(OLD), old[0].clone()]).0, 400);
}

/// promise: Agents | `Host`, `Origin` and token are checked for MCP as for everything else
#[test]
fn mcp_answers_only_to_its_own_hosts_origins_and_token() {
    let home = Home::new();
    let node = home.up();
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let own = format!("http://{address}");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    for path in ["/mcp", "/mcp/graph", "/v1/graph"] {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            for (host, host_fits) in [(address.as_str(), true), ("evil.example", false), ("127.0.0.1", false)] {
                for (origin, origin_fits) in [
                    (None, true),
                    (Some(own.as_str()), true),
                    (Some("http://evil.example"), false),
                    (Some("null"), false),
                ] {
                    for (token, token_fits) in [(None, false), (Some("Bearer x"), false), (Some(bearer.as_str()), true)]
                    {
                        let mut headers = vec![("Host", host), ("Content-Type", "application/json")];
                        headers.extend(origin.map(|origin| ("Origin", origin)));
                        headers.extend(token.map(|token| ("Authorization", token)));
                        let status = node.raw(method, path, &headers, ping.as_bytes()).status;
                        let case = format!("{method} {path} {headers:?}: {status}");
                        let expected = match (host_fits, origin_fits, token_fits) {
                            (false, ..) => Some(421),
                            (_, false, _) => Some(403),
                            (_, _, false) => Some(401),
                            _ => None,
                        };
                        match expected {
                            Some(expected) => assert_eq!(status, expected, "{case}"),
                            None => assert!(![401, 403, 421].contains(&status), "{case}"),
                        }
                        if expected.is_none() && path != "/v1/graph" && method != "POST" {
                            assert_eq!(status, 405, "{case}");
                        }
                    }
                }
            }
        }
    }
}

/// promise: Agents | A subscriber hears of changes to the graph, also across a restart
#[test]
fn a_subscriber_hears_of_changes_to_the_graph() {
    let home = Home::new();
    let node = home.up();
    let client = Http::to(&node, "/mcp/graph", NEW);
    let params =
        json!({ "notifications": { "resourceSubscriptions": ["memory://knowledge-graph", "memory://other"] } });
    let headers = client.headers("subscriptions/listen", &params);
    let listen = request(NEW, 77, "subscriptions/listen", params);
    let mut lines = client.send(listen.to_string().as_bytes(), &headers).lines();
    let mut next = move || {
        let line = lines.find(|line| line.as_ref().unwrap().starts_with("data: {")).unwrap().unwrap();
        serde_json::from_str::<Value>(&line["data: ".len()..]).unwrap()
    };
    let acknowledged = next();
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged", "{acknowledged}");
    assert_eq!(acknowledged["params"]["_meta"][format!("{META}/subscriptionId")], 77, "{acknowledged}");
    let accepted = &acknowledged["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(*accepted, json!(["memory://knowledge-graph"]));
    // changes outside of the graph are not told
    Http::to(&node, "/mcp", NEW).keep(json!({ "text": "x" }));
    client.tool("create_entities", json!({ "entities": [{ "name": "e", "entityType": "t", "observations": [] }] }));
    let updated = next();
    assert_eq!(updated["method"], "notifications/resources/updated", "{updated}");
    assert_eq!(updated["params"]["uri"], "memory://knowledge-graph");

    // the old era, over stdio, and across a restart of the node
    let stdio = StdioClient::of(&home, &["--profile", "graph"], OLD);
    stdio.result("resources/subscribe", json!({ "uri": "memory://knowledge-graph" }));
    // No event tells that the subscription is active.
    until("the first change is told", || {
        client.tool(
            "create_entities",
            json!({ "entities": [{ "name": stdio.next.get().to_string(), "entityType": "t", "observations": [] }] }),
        );
        stdio.result("ping", json!({}));
        std::thread::sleep(std::time::Duration::from_millis(100));
        stdio.result("ping", json!({}));
        (!stdio.heard.borrow().is_empty()).then_some(())
    });
    stdio.notified("notifications/resources/updated");
    let address = node.address();
    node.kill_9();
    let _node = home.up_with(&["--api-addr", &address]);
    stdio.notified("notifications/resources/updated");
}

/// promise: Agents | Messages that are none and arguments of wrong shape are answered in words
#[test]
fn stdio_answers_what_is_no_message_and_ends_with_its_client() {
    let home = Home::new();
    let _node = home.up();
    let client = StdioClient::of(&home, &["--no-start"], NEW);
    for (bytes, code) in [
        (b"{\n".as_slice(), -32700),
        (b"\xff\xfe\n", -32700),
        (b"[]\n", -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}\n", -32600),
    ] {
        client.write(bytes);
        assert_eq!(client.hear()["error"]["code"], code, "{}", String::from_utf8_lossy(bytes));
    }
    client.write(b"\n\r\n  \n");
    // more requests than may be in progress at once
    for id in 1_000..1_200 {
        client.say(&request(
            NEW,
            id,
            "tools/call",
            json!({ "name": "remember", "arguments": { "text": id.to_string() } }),
        ));
    }
    let mut ids: Vec<u64> = (0..200).map(|_| client.hear()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1_000..1_200));
    let mut huge = vec![b'x'; 17 << 20];
    huge.push(b'\n');
    client.write(&huge);
    assert_eq!(client.hear()["error"]["code"], -32600);
    assert_eq!(client.end(), Some(0));
    let nowhere = Home::new();
    assert_eq!(nowhere.run(&["mcp", "--no-start"]).code, 3);
    assert_eq!(nowhere.run(&["mcp", "--strict"]).code, 2);
    assert!(!nowhere.path().exists());
}

/// promise: Agents | The graph goes out and in as the memory server's JSON Lines
#[test]
fn the_graph_goes_out_and_in_as_lines() {
    let home = Home::new();
    let node = home.up();
    let lines = [
        json!({ "type": "entity", "name": "A \"q\"\n", "entityType": "t", "observations": ["o1", "o2", "o1"] }),
        json!({ "type": "entity", "name": "B", "entityType": "", "observations": [] }),
        json!({ "type": "relation", "from": "A", "to": "B", "relationType": "r" }),
    ];
    let text = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let counts = json!({ "entities": 2, "observations": 2, "relations": 1 });
    assert_eq!(node.http("POST", "/v1/graph", &text).json(), counts);
    let nothing = json!({ "entities": 0, "observations": 0, "relations": 0 });
    assert_eq!(node.http("POST", "/v1/graph", &text).json(), nothing);
    let out = node.http("GET", "/v1/graph", "");
    assert_eq!(out.lines().len(), 3, "{out:?}");
    let more = r#"{"type":"entity","name":"B","entityType":"","observations":["late"]}"#;
    assert_eq!(node.http("POST", "/v1/graph", more).json()["observations"], 1);
    // a project has a graph of its own
    assert_eq!(node.http("POST", "/v1/graph?project=p", &text).json(), counts);
    let own = node.http("GET", "/v1/graph?project=p", "");
    assert_eq!((own.lines().len(), &own.lines()[1]["observations"]), (3, &json!([])));
    let answer = node.http("POST", "/v1/graph", "{\"type\":\"entity\"}");
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid"));
    assert_eq!(node.http("POST", "/v1/graph", "\n\n").json(), nothing);
}
