//! Messages from the client to the node and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus_node::api::Problem;
use nexus_node::mcp::habits::{self, Unread};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lines::{self, Line};
use super::node::Home;
use super::relay_state::{Agreed, Out, RelayState, lock, say, send, version_of};
use super::session::{Heard, Session};
use super::subscription;
use super::wire::{Answer, Failure};

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

/// Whether a request may be sent twice.
fn is_harmless(message: &Value) -> bool {
    let tool = message.pointer("/params/name").and_then(Value::as_str);
    message.get("method").is_some_and(|method| method != "tools/call") || tool.is_some_and(|tool| READS.contains(&tool))
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
