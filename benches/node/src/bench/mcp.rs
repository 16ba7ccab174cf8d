use nexus_node::NewMemory;
use nexus_node::api::Problem;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Connection, failed, request, serve_node};
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, start};
use super::words::Words;
use nexus_node_cli::ground::Printer;

/// The number of searched memories.
const MEMORIES: u64 = 10_000;
/// The number of entities in the graph before one more is created.
const ENTITIES: u64 = 10_000;
/// The number of items written in one call while the node is filled.
const CHUNK: u64 = 500;
/// The number of questions to each side.
const QUESTIONS: u64 = 1_000;
/// The number of entities created one by one.
const CREATED: u64 = 500;

/// Measures an agent's waiting time: the same question as a tool and as a route, and one more entity in
/// a large graph beside one more memory.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "mcp").await?;
    let (address, server) = serve_node(&node).await?;
    let mut agent = Agent(Connection::open(address).await.map_err(|error| failed("mcp", error))?, address);
    let words = Words::new();

    let bar = printer.progress("filling", Some(MEMORIES + ENTITIES));
    for n in (0..MEMORIES).step_by(CHUNK as usize) {
        let texts = (n..n + CHUNK).map(|n| NewMemory::note(words.text(n)));
        node.brain().remember_all(texts.collect()).await?;
        bar.set_position(n);
    }
    // in turn, so that a slow moment of the machine affects both
    let (mut tool, mut route) = (Vec::new(), Vec::new());
    for n in 0..QUESTIONS {
        let question = words.question(n);
        let query = question.replace(' ', "+");
        route.push(agent.ask(&request("GET", &format!("/v1/memories?q={query}"), address, b"")).await?.0);
        tool.push(agent.call("/mcp", "recall", &json!({ "query": question })).await?);
    }
    for n in (0..ENTITIES).step_by(CHUNK as usize) {
        let entities: Vec<Value> = (n..n + CHUNK).map(entity).collect();
        agent.call("/mcp/graph", "create_entities", &json!({ "entities": entities })).await?;
        bar.set_position(MEMORIES + n);
    }
    bar.finish_and_clear();
    let (mut created, mut posted) = (Vec::new(), Vec::new());
    for n in 0..CREATED {
        let memory = json!({ "text": words.text(MEMORIES + n) }).to_string();
        posted.push(agent.ask(&request("POST", "/v1/memories", address, memory.as_bytes())).await?.0);
        let entities = json!({ "entities": [entity(ENTITIES + n)] });
        created.push(agent.call("/mcp/graph", "create_entities", &entities).await?);
    }
    server.abort();
    node.shutdown().await;
    let route = quantile(&mut route, 0.5);
    Ok(vec![
        Row::new("mcp", "recall as a tool, p50", quantile(&mut tool, 0.5), "ms")
            .asked(Goal::LessThan(route * 2.0))
            .floor("ms, the HTTP route", route),
        Row::new("mcp", format!("create_entities at {ENTITIES} entities, p50"), quantile(&mut created, 0.5), "ms")
            .asked(Goal::LessThan(3.0))
            .floor("ms, a memory posted", quantile(&mut posted, 0.5)),
    ])
}

fn entity(n: u64) -> Value {
    json!({ "name": format!("entity {n}"), "entityType": "thing", "observations": [format!("it is number {n}")] })
}

/// A client that uses tools, one call at a time.
struct Agent(Connection, std::net::SocketAddr);

impl Agent {
    /// The milliseconds until the answer, and the answer.
    async fn ask(&mut self, request: &[u8]) -> Result<(f64, Vec<u8>), Problem> {
        let begin = Instant::now();
        let answer = self.0.ask(request).await.map_err(|error| failed("mcp", error))?;
        Ok((begin.elapsed().as_secs_f64() * 1e3, answer))
    }

    /// The milliseconds until a tool's answer.
    async fn call(&mut self, path: &str, tool: &str, arguments: &Value) -> Result<f64, Problem> {
        let params = json!({ "name": tool, "arguments": arguments });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let (took, answer) = self.ask(&request("POST", path, self.1, message.to_string().as_bytes())).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed("mcp", error))?;
        let refused = |answer: &Value| answer["error"].is_object() || answer["result"]["isError"] == true;
        if refused(&answer) { Err(failed(tool, answer)) } else { Ok(took) }
    }
}
