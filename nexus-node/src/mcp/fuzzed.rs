//! The readers of MCP's messages, for `nexus-fuzz` (feature `testing`). Each function takes any bytes, and
//! says whether they were read. It panics if a law does not hold.

use axum::http::{HeaderMap, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use serde_json::Value;

use super::agent::Agent;
use super::core::CoreServer;
use super::graph::{self, jsonl};
use super::{habits, http, span};

/// A body: one message, or several.
pub fn message(bytes: &[u8]) -> bool {
    match habits::read(bytes) {
        Ok((Value::Array(messages), _)) => messages.into_iter().take(64).filter_map(one).count() > 0,
        Ok((message, _)) => one(message).is_some(),
        Err(_) => false,
    }
}

fn one(mut message: Value) -> Option<()> {
    habits::settle(&mut message);
    let tool = message.pointer("/params/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(known) = CoreServer::listed(&tool).or_else(|| graph::listed(&tool)) {
        habits::arguments(&tool, &known.input_schema, &mut message).ok()?;
    }
    takes(&message).then_some(())
}

fn takes(message: &Value) -> bool {
    if http::shape(message).is_err() {
        return false;
    }
    let agent = Agent::of(&HeaderMap::new(), message);
    let mut headers = HeaderMap::new();
    if let Ok(session) = HeaderValue::from_str(&agent.session()) {
        headers.insert("mcp-session-id", session);
        let known = Agent::of(&headers, &Value::Null);
        assert_eq!(known.name(), agent.name(), "a session names the program that began it");
    }
    let _ = span::of(message, |_| true);
    let tool = message.pointer("/params/name").and_then(Value::as_str).unwrap_or_default();
    let given = message.pointer("/params/arguments").and_then(Value::as_object).cloned().unwrap_or_default();
    let taken = CoreServer::takes(tool, given.clone()) || graph::takes(tool, given);
    serde_json::from_value::<ClientJsonRpcMessage>(message.clone()).is_ok() && (taken || tool.is_empty())
}

/// A session id in a header, which a client makes up as it likes.
pub fn session(bytes: &[u8]) -> bool {
    let Ok(id) = HeaderValue::from_bytes(bytes) else { return false };
    let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static("mcp-session-id"), id)]);
    Agent::of(&headers, &Value::Null).name().is_some()
}

/// A line of an imported graph.
pub fn graph_line(bytes: &[u8]) -> bool {
    jsonl::is_line(bytes)
}

/// Good inputs: the function, a name, the bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let call = |tool: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        )
    };
    let messages = [
        ("initialize", r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"ide","version":"1"}}}"#.to_owned()),
        ("list", r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"_meta":{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","io.modelcontextprotocol/clientInfo":{"name":"ide"}}}}"#.to_owned()),
        ("remember", call("remember", r#"{"text":"hello","tags":["a"],"meta":{"k":1},"ttl":"7d","source":"model"}"#)),
        ("recall", call("recall", r#"{"query":"hello","since":"7d","limit":5,"cursor":"3-0123456789abcdef","max_tokens":900}"#)),
        ("whole", call("recall", r#"{"id":"aaaaaaaa","max_tokens":900}"#)),
        ("change", call("remember", r#"{"id":"a-key","text":"hello","tags":["a"],"aliases":["b"]}"#)),
        ("start", call("session_start", r#"{"project":"p","max_tokens":900}"#)),
        ("forget", call("forget", r#"{"id":"aaaaaaaaaaaaaaaaaaaaaaaa"}"#)),
        ("entities", call("create_entities", r#"{"entities":[{"name":"a","entityType":"t","observations":["o"]}]}"#)),
        ("observations", call("add_observations", r#"{"observations":[{"entityName":"a","contents":["o"]}]}"#)),
        ("batch", format!("[{},{}]", call("read_graph", "{}"), call("search_nodes", r#"{"query":"a"}"#))),
        ("done", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()),
    ];
    let lines = [
        ("entity", r#"{"type":"entity","name":"a","entityType":"t","observations":["o","p"]}"#),
        ("relation", r#"{"type":"relation","from":"a","to":"b","relationType":"r"}"#),
    ];
    let mut seeds = Vec::new();
    seeds.extend(messages.map(|(name, text)| ("message", name.to_owned(), text.into_bytes())));
    seeds.extend(lines.map(|(name, text)| ("graph_line", name.to_owned(), text.as_bytes().to_vec())));
    let session = data_encoding::BASE64URL_NOPAD.encode(br#"["ide",null,"0011223344556677"]"#);
    seeds.push(("session", "ide".to_owned(), session.into_bytes()));
    seeds
}
