//! The tools with the memory server's descriptions.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use crate::api::issued::Scope;

/// The scopes that a tool needs.
pub(super) fn needs(tool: &str) -> &'static [Scope] {
    match tool {
        "read_graph" | "search_nodes" | "open_nodes" => &[Scope::MemoryRead],
        "create_entities"
        | "create_relations"
        | "add_observations"
        | "delete_entities"
        | "delete_observations"
        | "delete_relations" => &[Scope::MemoryWrite],
        // a tool that is not named here takes all that there is
        _ => &Scope::ALL,
    }
}

/// All tools.
pub(super) fn all() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
        vec![
            tool(
                ("create_entities", "Create Entities", "Create multiple new entities in the knowledge graph"),
                json!({ "entities": list(entity()) }),
                json!({ "entities": list(entity()) }),
                Hint::Adds,
            ),
            tool(
                (
                    "create_relations",
                    "Create Relations",
                    "Create multiple new relations between entities in the knowledge graph. Relations should be in \
                     active voice",
                ),
                json!({ "relations": list(relation()) }),
                json!({ "relations": list(relation()) }),
                Hint::Adds,
            ),
            tool(
                (
                    "add_observations",
                    "Add Observations",
                    "Add new observations to existing entities in the knowledge graph",
                ),
                json!({ "observations": list(object(json!({
                    "entityName": text("The name of the entity to add the observations to"),
                    "contents": texts("An array of observation contents to add"),
                }))) }),
                json!({ "results": list(object(json!({
                    "entityName": { "type": "string" },
                    "addedObservations": { "type": "array", "items": { "type": "string" } },
                }))) }),
                Hint::Adds,
            ),
            tool(
                (
                    "delete_entities",
                    "Delete Entities",
                    "Delete multiple entities and their associated relations from the knowledge graph",
                ),
                json!({ "entityNames": texts("An array of entity names to delete") }),
                done(),
                Hint::Removes,
            ),
            tool(
                (
                    "delete_observations",
                    "Delete Observations",
                    "Delete specific observations from entities in the knowledge graph",
                ),
                json!({ "deletions": list(object(json!({
                    "entityName": text("The name of the entity containing the observations"),
                    "observations": texts("An array of observations to delete"),
                }))) }),
                done(),
                Hint::Removes,
            ),
            tool(
                ("delete_relations", "Delete Relations", "Delete multiple relations from the knowledge graph"),
                json!({ "relations": described(list(relation()), "An array of relations to delete") }),
                done(),
                Hint::Removes,
            ),
            tool(("read_graph", "Read Graph", "Read the entire knowledge graph"), json!({}), graph(), Hint::Reads),
            tool(
                ("search_nodes", "Search Nodes", "Search for nodes in the knowledge graph based on a query"),
                json!({ "query": text("The search query to match against entity names, types, and observation content") }),
                graph(),
                Hint::Reads,
            ),
            tool(
                ("open_nodes", "Open Nodes", "Open specific nodes in the knowledge graph by their names"),
                json!({ "names": texts("An array of entity names to retrieve") }),
                graph(),
                Hint::Reads,
            ),
        ]
    });
    &TOOLS
}

/// The effect of a tool on the graph.
enum Hint {
    Reads,
    Adds,
    Removes,
}

fn tool(
    (name, title, description): (&'static str, &str, &'static str),
    takes: Value,
    gives: Value,
    hint: Hint,
) -> Tool {
    let reads = matches!(hint, Hint::Reads);
    let hints = ToolAnnotations::new()
        .read_only(reads)
        .destructive(matches!(hint, Hint::Removes))
        .idempotent(!matches!(hint, Hint::Adds))
        .open_world(false);
    Tool::new(name, description, schema(takes))
        .with_title(title)
        .with_raw_output_schema(schema(gives))
        .with_annotations(hints)
}

/// Programs hand these schemas on to providers of models as they are, and some of those refuse a keyword that they do not
/// know. So there are few.
fn schema(properties: Value) -> Arc<JsonObject> {
    match object(properties) {
        Value::Object(schema) => Arc::new(schema),
        _ => Arc::default(),
    }
}

/// The schema of an object with these required properties.
fn object(properties: Value) -> Value {
    let names: Vec<String> = properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    let mut object = json!({ "type": "object", "properties": properties });
    if !names.is_empty() {
        object["required"] = names.into();
    }
    object
}

fn entity() -> Value {
    let properties = json!({
        "name": text("The name of the entity"),
        "entityType": text("The type of the entity"),
        "observations": texts("An array of observation contents associated with the entity"),
    });
    object(properties)
}

fn relation() -> Value {
    let properties = json!({
        "from": text("The name of the entity where the relation starts"),
        "to": text("The name of the entity where the relation ends"),
        "relationType": text("The type of the relation"),
    });
    object(properties)
}

fn graph() -> Value {
    json!({ "entities": list(entity()), "relations": list(relation()) })
}

fn done() -> Value {
    json!({ "success": { "type": "boolean" }, "message": { "type": "string" } })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text(description: &str) -> Value {
    described(json!({ "type": "string" }), description)
}

fn texts(description: &str) -> Value {
    described(list(json!({ "type": "string" })), description)
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}
