//! Messages from the client to the node and back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use nexus_node::api::Problem;
use nexus_node::mcp::habits::{self, Unread};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lines::{self, Line};
use super::node::Home;
use super::session::{Heard, Session};
use super::subscription;
use super::wire::{Answer, Failure, Request};

/// The most requests in progress. Further ones wait on stdin.
const IN_FLIGHT_MAX: usize = 64;
/// The longest time for requests in progress after the client has closed stdin.
const DRAIN: Duration = Duration::from_secs(10);
/// The most times that a harmless request is sent again when the node goes away.
const AGAIN_MAX: usize = 3;
/// Tools that change nothing, so that calling them twice is harmless.
const READS: &[&str] = &["session_start", "recall", "read_graph", "search_nodes", "open_nodes"];

/// JSON-RPC's codes of these errors.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INTERNAL_ERROR: i32 = -32603;

pub(super) struct Relay(Arc<RelayState>);

pub(super) struct RelayState {
    pub(super) home: Home,
    /// The route of the server, with its parameters but for the project.
    route: String,
    session: Session,
    graph: bool,
    /// The result of the handshake, for a client that made one.
    agreed: Mutex<Agreed>,
    /// Requests that can be cancelled, by id.
    running: Mutex<BTreeMap<String, AbortHandle>>,
    /// The client's subscription of the old era.
    subscribed: Mutex<Option<AbortHandle>>,
    permits: Semaphore,
}

#[derive(Clone, Default)]
struct Agreed {
    version: Option<String>,
    session: Option<String>,
}

/// The channel for messages to the client.
pub(super) type Out = mpsc::Sender<Vec<u8>>;

impl Relay {
    pub(super) fn new(home: Home, route: String, session: Session, graph: bool) -> Self {
        Self(Arc::new(RelayState {
            home,
            route,
            session,
            graph,
            agreed: Mutex::default(),
            running: Mutex::default(),
            subscribed: Mutex::default(),
            permits: Semaphore::new(IN_FLIGHT_MAX),
        }))
    }

    /// Relays until the client closes stdin.
    pub(super) async fn run(self) -> Result<(), Problem> {
        let shared = self.0;
        let mut input = lines::input();
        let (out, writer) = lines::output();
        let warm = shared.clone();
        // Starts the node now, so that the first request waits less.
        tokio::spawn(async move { warm.home.start(Instant::now() + DRAIN).await });
        while let Some(line) = input.recv().await {
            shared.clone().take(line, &out).await;
        }
        let drained = tokio::time::timeout(DRAIN, shared.permits.acquire_many(IN_FLIGHT_MAX as u32)).await;
        drop(drained);
        for (_, task) in std::mem::take(&mut *lock(&shared.running)) {
            task.abort();
        }
        if let Some(task) = lock(&shared.subscribed).take() {
            task.abort();
        }
        drop(out);
        let _ = tokio::time::timeout(DRAIN, tokio::task::spawn_blocking(|| writer.join())).await;
        Ok(())
    }
}

impl RelayState {
    /// Takes a line. Returns when the next one may be read.
    async fn take(self: Arc<Self>, line: Line, out: &Out) {
        let (message, given): (Value, Vec<u8>) = match line {
            Line::TooLong => return say(out, &error(&Value::Null, INVALID_REQUEST, "the message is too long")).await,
            Line::Text(bytes) if bytes.trim_ascii().is_empty() => return,
            Line::Text(bytes) => match habits::read(&bytes) {
                Ok((message, text)) => (message, text.into_bytes()),
                Err(Unread { id, why }) => return say(out, &error(&id, PARSE_ERROR, &why)).await,
            },
        };
        match self.session.hear(&message) {
            Heard::Ask(question) => say(out, &question).await,
            Heard::Answer => return,
            Heard::Nothing => {}
        }
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let tells = method.starts_with("notifications/");
        let Some(id) = message.get("id").filter(|id| !(tells && id.is_null())).cloned() else {
            match method.as_str() {
                "" if message.is_array() => {}
                "notifications/cancelled" => return self.cancel(&message),
                // Other notifications would change nothing: the node keeps no state for them.
                _ => return,
            }
            return self.spawn(Value::Null, message, given, out).await;
        };
        let modern = version_of(&message).is_some();
        match method.as_str() {
            "resources/subscribe" | "resources/unsubscribe" if self.graph && !modern => {
                self.subscribe(method == "resources/subscribe", &message, out);
                say(out, &json!({ "jsonrpc": "2.0", "id": id, "result": {} })).await;
            }
            "subscriptions/listen" => {
                let (this, out, key) = (self.clone(), out.clone(), id.to_string());
                let task = tokio::spawn(async move { subscription::relay(&this, message, &out).await });
                lock(&self.running).insert(key, task.abort_handle());
            }
            // Later messages depend on the result of the handshake.
            "initialize" => self.answer(&id, &message, &given, out).await,
            _ => self.spawn(id, message, given, out).await,
        }
    }

    /// Answers a request while others are read.
    async fn spawn(self: Arc<Self>, id: Value, message: Value, given: Vec<u8>, out: &Out) {
        // The semaphore is never closed.
        let Ok(permit) = self.permits.acquire().await else { return };
        permit.forget();
        let (this, out, key) = (self.clone(), out.clone(), id.to_string());
        let guard = Permit(self.clone());
        let task = tokio::spawn(async move {
            let _guard = guard;
            this.answer(&id, &message, &given, &out).await;
            lock(&this.running).remove(&id.to_string());
        });
        if !task.is_finished() {
            lock(&self.running).insert(key, task.abort_handle());
        }
    }

    fn cancel(&self, message: &Value) {
        let id = message.pointer("/params/requestId").map(Value::to_string).unwrap_or_default();
        if let Some(task) = lock(&self.running).remove(&id) {
            task.abort();
        }
    }

    fn subscribe(self: &Arc<Self>, on: bool, message: &Value, out: &Out) {
        if message.pointer("/params/uri").is_none_or(|uri| uri != subscription::GRAPH) {
            return;
        }
        let mut subscribed = lock(&self.subscribed);
        match (on, subscribed.take()) {
            (true, Some(running)) => *subscribed = Some(running),
            (true, None) => {
                let (this, out) = (self.clone(), out.clone());
                let task = tokio::spawn(async move { subscription::legacy(&this, &out).await });
                *subscribed = Some(task.abort_handle());
            }
            (false, running) => running.iter().for_each(AbortHandle::abort),
        }
    }

    /// Asks the node and passes its answer on. The node gets the message as it came: a value holds less than its text.
    async fn answer(&self, id: &Value, message: &Value, given: &[u8], out: &Out) {
        let mut again = 0;
        loop {
            let failure = match self.ask_as(message, given.to_vec()).await {
                Ok(answer) => match self.hand_on(id, message, answer, out).await {
                    Ok(()) => return,
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            match failure {
                Failure::Broken(_) if again < AGAIN_MAX && is_harmless(message) => again += 1,
                Failure::Broken(problem) => {
                    let text = format!("{}; whether it was done before is not known", problem.message);
                    return say(out, &error(id, INTERNAL_ERROR, &text)).await;
                }
                Failure::Unsent(problem) => return say(out, &refusal(id, &problem)).await,
            }
        }
    }

    /// Sends a message to the node with its headers.
    pub(super) async fn ask(&self, message: &Value) -> Result<Answer, Failure> {
        self.ask_as(message, serde_json::to_vec(message).unwrap_or_default()).await
    }

    /// Sends a message to the node as this text of it, with its headers.
    async fn ask_as(&self, message: &Value, body: Vec<u8>) -> Result<Answer, Failure> {
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

    /// Passes an answer on, one line a message.
    async fn hand_on(&self, id: &Value, message: &Value, answer: Answer, out: &Out) -> Result<(), Failure> {
        let (status, session) = (answer.status, answer.session.clone());
        if answer.streams {
            let mut events = answer.events();
            while let Some(event) = events.next().await {
                send(out, event).await;
            }
            return Ok(());
        }
        let bytes = answer.bytes().await?;
        if status == 202 {
            return Ok(());
        }
        let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if value.get("jsonrpc").is_none() && !value.is_array() {
            say(out, &refusal(id, &foreign(status, &value))).await;
            return Ok(());
        }
        if message.get("method").is_some_and(|method| method == "initialize") {
            let version = value.pointer("/result/protocolVersion").and_then(Value::as_str).map(str::to_owned);
            *lock(&self.agreed) = Agreed { version, session };
            if let (true, Some(resources)) = (self.graph, value.pointer_mut("/result/capabilities/resources")) {
                // Over stdio, notifications have a way to the client, so subscriptions work.
                resources["subscribe"] = true.into();
            }
            say(out, &value).await;
            return Ok(());
        }
        send(out, bytes.to_vec()).await;
        Ok(())
    }
}

/// Gives a permit back at every end of its task.
struct Permit(Arc<RelayState>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}

/// The version in a request of the new era.
fn version_of(message: &Value) -> Option<String> {
    let meta = message.get("params")?.get("_meta")?;
    Some(meta.get("io.modelcontextprotocol/protocolVersion")?.as_str()?.to_owned())
}

/// Whether a request may be sent twice.
fn is_harmless(message: &Value) -> bool {
    let tool = message.pointer("/params/name").and_then(Value::as_str);
    message.get("method").is_some_and(|method| method != "tools/call") || tool.is_some_and(|tool| READS.contains(&tool))
}

/// A name in the form for a header.
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain { text.to_owned() } else { format!("=?base64?{}?=", BASE64.encode(text.as_bytes())) }
}

/// The problem of an answer that is not JSON-RPC: the API's own error.
fn foreign(status: u16, value: &Value) -> Problem {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let message = text("detail").unwrap_or_else(|| format!("the node answered {status}"));
    Problem { code: "failed", message, hint: text("hint"), id: text("id") }
}

fn refusal(id: &Value, problem: &Problem) -> Value {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    error(id, INTERNAL_ERROR, &format!("{}{hint}", problem.message))
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

pub(super) async fn say(out: &Out, message: &Value) {
    send(out, message.to_string().into_bytes()).await;
}

async fn send(out: &Out, message: Vec<u8>) {
    // The receiver is gone with the client.
    let _ = out.send(message).await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
