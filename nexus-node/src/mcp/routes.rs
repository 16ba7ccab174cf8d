use axum::http::Method;
use serde_json::{Value, json};

use crate::api::issued::Scope;
use crate::api::openapi::{About, Routes, text};
use crate::api::pass::Needs;

/// The content type of lines of entities and relations.
const JSON_LINES: &str = "application/jsonl";

/// Describes the routes that are served here.
pub(super) fn describe(routes: Routes) -> Routes {
    fn about<'a>(about: About<'a>, what: &str) -> About<'a> {
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [] } });
        about.summary(what).takes_value(&list).gives_value(200, &answer)
    }
    let observations = ["speaks Rust"];
    let entity: Value =
        json!({ "type": "entity", "name": "Mara", "entityType": "person", "observations": observations });
    let line = format!("{entity}\n");
    let core = "MCP, streamable HTTP: four tools over the memory";
    let full = "MCP, streamable HTTP: the same, and three tools for tasks";
    let graph = "MCP, streamable HTTP: a knowledge graph over the memory";
    routes
        .describe(&Method::POST, "/mcp", Needs::Proof, |it| about(it, core))
        .describe(&Method::POST, "/mcp/full", Needs::Proof, |it| about(it, full))
        .describe(&Method::POST, "/mcp/graph", Needs::Proof, |it| about(it, graph))
        .describe(&Method::GET, "/v1/graph", Needs::Scopes(&[Scope::MemoryRead]), |about| {
            about
                .summary("The graph as lines of entities and relations")
                .query("project", text(), "of one project")
                .gives_type(200, JSON_LINES, &line)
        })
        .describe(&Method::POST, "/v1/graph", Needs::Scopes(&[Scope::MemoryWrite]), |about| {
            about
                .summary("Entities and relations into the graph; what is there already is not doubled")
                .query("project", text(), "of one project")
                .takes_type(JSON_LINES, &line)
                .gives_value(200, &json!({ "entities": 1, "observations": 1, "relations": 0 }))
        })
}
