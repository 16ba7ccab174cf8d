//! The node proves itself before a client sends it the token, or anything of a call.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Home, SOON, until};
use serde_json::{Value, json};

/// A program that listens where the node was, and notes all that it hears.
struct Stranger {
    heard: mpsc::Receiver<String>,
}

impl Stranger {
    /// Answers each connection's first request with `answer`, and reads on.
    fn at(address: &str, answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = until("the port is free", || TcpListener::bind(address).ok());
        let (note, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                let asked = request(&mut stream);
                let _ = stream.write_all(answer(&asked).as_bytes());
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                if note.send(asked + &String::from_utf8_lossy(&rest)).is_err() {
                    return;
                }
            }
        });
        Self { heard }
    }

    /// All that was said on the next connection. Nothing of it may be the token or the content.
    #[track_caller]
    fn heard(&self, secrets: &[&str]) -> String {
        let heard = self.heard.recv_timeout(SOON).unwrap();
        for secret in secrets {
            assert!(!heard.contains(secret), "{heard}");
        }
        assert!(!heard.to_ascii_lowercase().contains("authorization"), "{heard}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1, "the question and nothing else: {heard}");
        heard
    }
}

fn request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    head
}

fn answer(document: &Value) -> String {
    let body = document.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A stdio server of a directory, and its answer to one call.
fn mcp(home: &Home, arguments: &[&str], text: &str) -> (Child, Value) {
    let mut command = home.command(&[&["mcp"], arguments].concat());
    command.env("NEXUS_API_ADDR", "127.0.0.1:0").env("NEXUS_MDNS", "false");
    command.env("NEXUS_LISTEN", "/ip4/127.0.0.1/tcp/0");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "remember", "arguments": { "text": text }, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        } },
    });
    child.stdin.as_mut().unwrap().write_all(format!("{call}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let answer = serde_json::from_str(&line).unwrap_or_default();
    (child, answer)
}

/// promise: Bad input | A program that listens where the node was sees neither token nor content
#[test]
fn a_program_that_listens_where_the_node_was_sees_neither_token_nor_content() {
    let home = Home::new();
    let node = home.up();
    let (address, token) = (node.address(), node.token());
    node.terminate();
    let secrets = [token.as_str(), "the content"];
    let remember = ["remember", "the content"];
    let stranger = Stranger::at(&address, |_| answer(&json!({ "ok": true, "proof": "00".repeat(32) })));
    let (code, error) = home.error(&remember);
    assert_eq!((code, &error["code"]), (3, &json!("no_node")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("sent nothing"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("nexus-node up"), "{error}");
    let heard = stranger.heard(&secrets);
    assert!(heard.starts_with("GET /healthz?nonce="), "{heard}");
    // by address and token, too
    let elsewhere = Home::new();
    let mut command = elsewhere.command(&["remember", "the content", "--json", "--api", &format!("http://{address}")]);
    let output = command.env("NEXUS_TOKEN", &token).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("unauthorized"), "{output:?}");
    stranger.heard(&secrets);
    // and an agent's server
    let (mut child, _) = mcp(&home, &["--no-start"], "the content");
    stranger.heard(&secrets);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// promise: Bad input | A program that listens where the node was sees neither token nor content
#[test]
fn an_agents_server_starts_the_node_elsewhere_when_another_program_has_its_port() {
    let home = Home::new();
    let node = home.up();
    let (address, token) = (node.address(), node.token());
    node.terminate();
    let stranger = Stranger::at(&address, |_| answer(&json!({ "ok": true })));
    let (mut child, said) = mcp(&home, &[], "the content");
    assert!(said["result"].is_object(), "{said}");
    stranger.heard(&[&token, "the content"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let log = home.path().join("mcp-node.log").metadata().unwrap();
        assert_eq!(log.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(home.json(&["list"])["items"][0]["text"], "the content");
    home.run(&["stop"]).ok();
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// promise: Bad input | A program that passes the question on to the node proves nothing
#[test]
fn a_program_that_passes_the_question_on_to_the_node_proves_nothing() {
    let home = Home::new();
    let node = home.up();
    let (to, token): (SocketAddr, String) = (node.address().parse().unwrap(), node.token());
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap().to_string();
    drop(door);
    let stranger = Stranger::at(&address, move |asked| {
        let path = asked.split(' ').nth(1).unwrap();
        let mut node = TcpStream::connect(to).unwrap();
        node.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut said = String::new();
        node.read_to_string(&mut said).unwrap();
        assert!(said.contains("\"proof\""), "{said}");
        said.replace("connection: close\r\n", "")
    });
    // the address in the directory leads to the other program
    std::fs::write(home.path().join("api-url"), format!("http://{address}\n")).unwrap();
    let (code, error) = home.error(&["remember", "the content"]);
    assert_eq!((code, &error["code"]), (3, &json!("no_node")), "{error}");
    stranger.heard(&[&token, "the content"]);
}

#[test]
fn a_node_of_a_version_without_a_proof_is_told_of_with_the_remedy() {
    let home = Home::new();
    let node = home.up();
    let (address, token) = (node.address(), node.token());
    node.terminate();
    let stranger = Stranger::at(&address, |_| answer(&json!({ "ok": true })));
    let (code, error) = home.error(&["remember", "the content"]);
    assert_eq!((code, &error["code"]), (4, &json!("unproven")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("earlier version"), "{error}");
    #[cfg(target_os = "linux")]
    assert!(error["message"].as_str().unwrap().contains(&std::process::id().to_string()), "{error}");
    stranger.heard(&[&token, "the content"]);
}

/// promise: Commands and API | `GET /healthz?nonce=` proves that the API holds the token
#[test]
fn the_proof_is_asked_for_by_anybody_and_the_token_alone_still_works() {
    let home = Home::new();
    let node = home.up();
    let address = node.address();
    let host = [("Host", address.as_str())];
    assert_eq!(node.raw("GET", "/healthz", &host, b"").json(), json!({ "ok": true }));
    let ask = |nonce: &str| node.raw("GET", &format!("/healthz?nonce={nonce}"), &host, b"").json()["proof"].clone();
    let proof = ask("0123456789abcdef");
    assert_eq!(proof.as_str().unwrap().len(), 64);
    assert_eq!(ask("0123456789abcdef"), proof);
    assert_ne!(ask("0123456789abcdeg"), proof);
    let key = blake3::derive_key("nexus-node 2026-11 proof of the API", node.token().as_bytes());
    let text = format!("0123456789abcdef {address}");
    assert_eq!(proof, blake3::keyed_hash(&key, text.as_bytes()).to_hex().as_str(), "as docs/cli.md has it");
    assert_eq!(node.raw("GET", "/healthz?nonce=short", &host, b"").problem(), "invalid");
    assert_eq!(node.http("GET", "/v1/status", "").status, 200);
    // by a name, too
    let port = address.rsplit_once(':').unwrap().1;
    assert!(home.json(&["status", "--api", &format!("http://localhost:{port}")])["did"].is_string());
}
