//! From a request to rmcp and back.
//!
//! This fills the gaps of rmcp. Messages that are not JSON or not JSON-RPC get an answer in JSON-RPC.
//! Batches of 2025-03-26 are taken. A session id carries a name and nothing else.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use rmcp::ServerHandler;
use rmcp::model::ErrorCode;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tracing::Instrument;

use super::Mcp;
use super::agent::Agent;
use super::answer::refusal;
use super::core::CoreServer;
use super::graph::{GraphServer, jsonl};
use super::habits::{self, Unread, is_id};
use super::raw::{self, TaskJson};
use crate::api::Api;
use crate::api::pass::Pass;
use crate::graph::SPACE as GRAPH_SPACE;
use crate::problem::Problem;
use crate::project::ProjectChoice;

const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// The most messages of a batch.
const BATCH_MAX: usize = 64;

/// The routes, for mounting in an API.
pub(super) fn routes(mcp: Arc<Mcp>) -> Router<Api> {
    Router::new()
        .route("/mcp", any(core))
        .route("/mcp/full", any(full))
        .route("/mcp/graph", any(graph))
        .route("/v1/graph", get(jsonl::export).post(jsonl::import))
        .layer(Extension(mcp))
}

/// The servers' state, as an extension of a request.
pub(super) type McpState = Extension<Arc<Mcp>>;

/// The parameters of the address.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Door {
    /// The project: memories written here get its tag.
    pub(super) project: Option<String>,
    /// The directory of the session instead, with the owner and the marks of its repository.
    place: Option<String>,
    owner: Option<String>,
    marks: Option<String>,
    /// For the graph: whole answers in the order of creation, however long.
    #[serde(default)]
    strict: bool,
}

impl Door {
    pub(super) fn of(request: &Request) -> Result<Self, Problem> {
        let axum::extract::Query(door) = axum::extract::Query::<Self>::try_from_uri(request.uri())
            .map_err(|rejection| Problem::new("invalid", rejection.body_text()))?;
        door.choice()?;
        Ok(door)
    }

    /// The project of the session.
    fn choice(&self) -> Result<Option<ProjectChoice>, Problem> {
        let (project, place, owner) = (self.project.clone(), self.place.clone(), self.owner.clone());
        ProjectChoice::of_parameters(project, place, owner, self.marks.as_deref())
            .map_err(|error| Problem::new("invalid", error.to_string()))
    }
}

async fn core(State(api): State<Api>, Extension(mcp): McpState, request: Request) -> Result<Response, Problem> {
    let (node, project) = (api.node()?, Door::of(&request)?.choice()?);
    let (max, pass) = (api.body_bytes_max(), Pass::of(request.extensions()));
    let server = move |agent| CoreServer::new(node.clone(), agent, project.clone(), pass.clone());
    Ok(serve(&mcp, max, request, Taken::AsMeant, server).await)
}

async fn full(State(api): State<Api>, Extension(mcp): McpState, request: Request) -> Result<Response, Problem> {
    let (node, project) = (api.node()?, Door::of(&request)?.choice()?);
    let (max, pass) = (api.body_bytes_max(), Pass::of(request.extensions()));
    let server = move |agent| CoreServer::new(node.clone(), agent, project.clone(), pass.clone()).full();
    Ok(serve(&mcp, max, request, Taken::AsMeant, server).await)
}

async fn graph(State(api): State<Api>, Extension(mcp): McpState, request: Request) -> Result<Response, Problem> {
    let (node, door) = (api.node()?, Door::of(&request)?);
    let (graph, max) = (mcp.graph(&node), api.body_bytes_max());
    let project = door.project.unwrap_or_default();
    let taken = if door.strict { Taken::AsGiven } else { Taken::AsMeant };
    let pass = Pass::of(request.extensions());
    pass.check_space(GRAPH_SPACE)?;
    let server = move |agent| GraphServer::new(graph.clone(), agent, pass.clone(), project.clone(), door.strict);
    Ok(serve(&mcp, max, request, taken, server).await)
}

/// How a client's messages are taken.
#[derive(Clone, Copy)]
enum Taken {
    /// The habits of programs are settled first.
    AsMeant,
    /// A strict graph refuses what the server that it stands in for refuses.
    AsGiven,
}

/// Answers a request with a server made for it.
async fn serve<S: ServerHandler + Clone>(
    mcp: &Mcp,
    max: usize,
    request: Request,
    taken: Taken,
    server: impl Fn(Agent) -> S,
) -> Response {
    if request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
    }
    let (mut parts, body) = request.into_parts();
    let pass = Pass::of(&parts.extensions);
    let Ok(bytes) = to_bytes(body, max).await else {
        let message = format!("a body could not be read, or has more than {max} bytes");
        return invalid(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::INVALID_REQUEST, &message, &Value::Null);
    };
    let (message, given) = match habits::read(&bytes) {
        Ok(read) => read,
        Err(Unread { id, why }) => return invalid(StatusCode::BAD_REQUEST, ErrorCode::PARSE_ERROR, &why, &id),
    };
    accept_anything(&mut parts.headers);
    let one = |mut message: Value, given: &str| {
        match taken {
            Taken::AsMeant => habits::settle(&mut message),
            Taken::AsGiven => habits::settle_id(&mut message),
        }
        let agent = Agent::of_caller(&pass, &parts.headers, &message);
        let server = server(agent.clone());
        let json = raw::task_json(given).and_then(|json| match taken {
            Taken::AsMeant => as_meant(&mut message, &server).map(|()| json),
            Taken::AsGiven => Ok(json),
        });
        let mut request = Request::new(Body::from(message.to_string()));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, parts.uri.clone());
        *request.headers_mut() = parts.headers.clone();
        answer(mcp, request, message, json, agent, server)
    };
    match message {
        Value::Array(messages) => {
            // it is an array, so its messages have the same number
            let given: Vec<Given> = serde_json::from_str(&given).unwrap_or_default();
            let messages = messages.into_iter().zip(given).collect();
            batch(&parts.headers, messages, |(message, given)| one(message, given.get())).await
        }
        message => one(message, &given).await,
    }
}

/// Takes the arguments of a call as its tool means them.
fn as_meant(message: &mut Value, server: &impl ServerHandler) -> Result<(), Problem> {
    let name = message.pointer("/params/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if message.get("method").is_none_or(|method| method != "tools/call") {
        return Ok(());
    }
    server.get_tool(&name).map_or(Ok(()), |tool| habits::arguments(&name, &tool.input_schema, message))
}

/// A message as it came.
type Given = Box<RawValue>;

/// Makes a client that accepts anything accept both forms of an answer, and one that names no form of its message send JSON.
fn accept_anything(headers: &mut HeaderMap) {
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let anything = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("*/*"));
    if headers.get(header::ACCEPT).is_none_or(anything) {
        headers.insert(header::ACCEPT, ACCEPTED);
    }
}

/// Answers one message.
async fn answer<S: ServerHandler + Clone>(
    mcp: &Mcp,
    mut request: Request,
    message: Value,
    json: Result<TaskJson, Problem>,
    agent: Agent,
    server: S,
) -> Response {
    if let Err(what) = shape(&message) {
        let id = message.get("id").filter(|id| is_id(id)).unwrap_or(&Value::Null);
        return invalid(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, what, id);
    }
    if message.pointer("/params/arguments").is_some_and(Value::is_null) {
        // rmcp takes null as absent; a strict graph refuses it, and elsewhere none is left by now
        let id = message.get("id").unwrap_or(&Value::Null);
        return invalid(StatusCode::OK, ErrorCode::INVALID_PARAMS, "arguments are an object, not null", id);
    }
    match json {
        Ok(json) => drop(request.extensions_mut().insert(json)),
        Err(problem) if message.get("method").is_some_and(|method| method == "tools/call") => {
            let id = message.get("id").unwrap_or(&Value::Null);
            return axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": refusal(&problem) })).into_response();
        }
        // no other method has arguments
        Err(_) => {}
    }
    let config = mcp.config.clone().with_max_request_body_bytes(usize::MAX);
    let tools = server.clone();
    let service = StreamableHttpService::new(move || Ok(server.clone()), NeverSessionManager::default().into(), config);
    let (span, parent) = super::span::of(&message, |name| tools.get_tool(name).is_some());
    if let Some(parent) = parent {
        request.extensions_mut().insert(parent);
    }
    let response = service.handle(request).instrument(span).await.map(Body::new);
    if message.get("method").is_some_and(|method| method == "initialize") {
        return name_session(response, &agent).await;
    }
    response
}

/// Gives a client a session id that contains its name, after its handshake.
async fn name_session(response: Response, agent: &Agent) -> Response {
    let (mut parts, body) = response.into_parts();
    // The answer to a handshake is small, and this program's own.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let welcome = serde_json::from_slice(&bytes).is_ok_and(|answer: Value| answer.get("result").is_some());
    if let (true, Ok(id)) = (welcome, HeaderValue::from_str(&agent.session())) {
        parts.headers.insert("mcp-session-id", id);
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Several messages in one request, which only 2025-03-26 has.
async fn batch<F: Future<Output = Response>>(
    headers: &HeaderMap,
    messages: Vec<(Value, Given)>,
    one: impl Fn((Value, Given)) -> F,
) -> Response {
    let refuse = |what| invalid(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, what, &Value::Null);
    if headers.get("mcp-protocol-version").is_some_and(|version| version != "2025-03-26") {
        return refuse("batches ended with 2025-03-26: send one message a request");
    }
    if messages.is_empty() || messages.len() > BATCH_MAX {
        return refuse("a batch has 1 to 64 messages");
    }
    let unfit = |(message, _): &(Value, Given)| {
        let method = message.get("method").and_then(Value::as_str);
        matches!(method, Some("initialize" | "subscriptions/listen"))
    };
    if messages.iter().any(unfit) {
        return refuse("a handshake or a subscription comes alone");
    }
    let mut answers = Vec::new();
    for message in messages {
        let response = one(message).await;
        if response.status() != StatusCode::ACCEPTED {
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
            answers.extend(serde_json::from_slice::<Value>(&bytes));
        }
    }
    if answers.is_empty() { StatusCode::ACCEPTED.into_response() } else { axum::Json(answers).into_response() }
}

/// The fault of a message's form as JSON-RPC.
pub(super) fn shape(message: &Value) -> Result<(), &'static str> {
    let Value::Object(members) = message else {
        return Err("a message is an object");
    };
    if members.get("jsonrpc").is_none_or(|version| version != "2.0") {
        return Err("jsonrpc must be \"2.0\"");
    }
    if members.get("id").is_some_and(|id| !is_id(id)) {
        return Err("an id is a string or a whole number");
    }
    match members.get("method") {
        Some(Value::String(_)) => {}
        Some(_) => return Err("a method is a string"),
        None if members.contains_key("result") || members.contains_key("error") => {}
        None => return Err("a message has a method, or is an answer"),
    }
    if members.get("params").is_some_and(|params| !params.is_object()) {
        return Err("params are an object");
    }
    Ok(())
}

fn invalid(status: StatusCode, code: ErrorCode, message: &str, id: &Value) -> Response {
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code.0, "message": message } });
    (status, axum::Json(error)).into_response()
}
