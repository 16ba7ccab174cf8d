//! The state of a relay, and its questions to the node.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::node::Home;
use super::session::Session;
use super::wire::{Answer, Failure, Request};

pub(super) struct RelayState {
    pub(super) home: Home,
    /// The route of the server, with its parameters but for the project.
    pub(super) route: String,
    pub(super) session: Session,
    pub(super) graph: bool,
    /// The result of the handshake, for a client that made one.
    pub(super) agreed: Mutex<Agreed>,
    /// Requests that can be cancelled, by id.
    pub(super) running: Mutex<BTreeMap<String, AbortHandle>>,
    /// The client's subscription of the old era.
    pub(super) subscribed: Mutex<Option<AbortHandle>>,
    pub(super) permits: Semaphore,
}

#[derive(Clone, Default)]
pub(super) struct Agreed {
    pub(super) version: Option<String>,
    pub(super) session: Option<String>,
}

impl RelayState {
    /// Sends a message to the node with its headers.
    pub(super) async fn ask(&self, message: &Value) -> Result<Answer, Failure> {
        self.ask_as(message, serde_json::to_vec(message).unwrap_or_default()).await
    }

    /// Sends a message to the node as this text of it, with its headers.
    pub(super) async fn ask_as(&self, message: &Value, body: Vec<u8>) -> Result<Answer, Failure> {
        let headers = self.headers(message);
        let path = self.path(message).await;
        self.home.send(&Request { method: "POST", path: &path, headers, body }).await
    }

    /// The path of a message. Only a call has to do with the session's project, which a client may tell later.
    async fn path(&self, message: &Value) -> String {
        let calls = |message: &Value| message.get("method").is_some_and(|method| method == "tools/call");
        let any = message.as_array().map_or_else(|| calls(message), |all| all.iter().any(calls));
        let project = if any || self.graph { self.session.parameters().await } else { String::new() };
        match (project.strip_prefix('?'), self.route.contains('?')) {
            (None, _) => self.route.clone(),
            (Some(project), true) => format!("{}&{project}", self.route),
            (Some(project), false) => format!("{}?{project}", self.route),
        }
    }

    fn headers(&self, message: &Value) -> Vec<(&'static str, String)> {
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        if let Some(version) = version_of(message) {
            let mut headers = vec![("mcp-protocol-version", version), ("mcp-method", header_value(method))];
            let name = match method {
                "tools/call" | "prompts/get" => message.pointer("/params/name"),
                "resources/read" => message.pointer("/params/uri"),
                _ => None,
            };
            headers.extend(name.and_then(Value::as_str).map(|name| ("mcp-name", header_value(name))));
            return headers;
        }
        if method == "initialize" {
            return Vec::new();
        }
        let Agreed { version, session } = lock(&self.agreed).clone();
        let version = version.map(|version| ("mcp-protocol-version", version));
        version.into_iter().chain(session.map(|session| ("mcp-session-id", session))).collect()
    }
}

/// The channel for messages to the client.
pub(super) type Out = mpsc::Sender<Vec<u8>>;

/// The version in a request of the new era.
pub(super) fn version_of(message: &Value) -> Option<String> {
    let meta = message.get("params")?.get("_meta")?;
    Some(meta.get("io.modelcontextprotocol/protocolVersion")?.as_str()?.to_owned())
}

/// A name in the form for a header.
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain { text.to_owned() } else { format!("=?base64?{}?=", BASE64.encode(text.as_bytes())) }
}

pub(super) async fn say(out: &Out, message: &Value) {
    send(out, message.to_string().into_bytes()).await;
}

pub(super) async fn send(out: &Out, message: Vec<u8>) {
    // The receiver is gone with the client.
    let _ = out.send(message).await;
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
