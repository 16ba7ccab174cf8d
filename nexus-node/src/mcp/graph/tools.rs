//! The tools with the memory server's descriptions.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// All tools.
pub(super) fn all() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
        vec![
            tool(
                ("create_entities", "Create Entities", "Create multiple new entities in the knowledge graph"),
                json!({ "entities": list(entity(false)) }),
                json!({ "entities": list(entity(true)) }),
                Hint::Adds,
            ),
            tool(
                (
                    "create_relations",
                    "Create Relations",
                    "Create multiple new relations between entities in the knowledge graph. Relations should be in \
                     active voice",
                ),
                json!({ "relations": list(relation(false)) }),
                json!({ "relations": list(relation(true)) }),
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
                }), false)) }),
                json!({ "results": list(object(json!({
                    "entityName": { "type": "string" },
                    "addedObservations": { "type": "array", "items": { "type": "string" } },
                }), true)) }),
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
                }), false)) }),
                done(),
                Hint::Removes,
            ),
            tool(
                ("delete_relations", "Delete Relations", "Delete multiple relations from the knowledge graph"),
                json!({ "relations": described(list(relation(false)), "An array of relations to delete") }),
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
    Tool::new(name, description, schema(takes, false))
        .with_title(title)
        .with_raw_output_schema(schema(gives, true))
        .with_annotations(hints)
}

fn schema(properties: Value, closed: bool) -> Arc<JsonObject> {
    let mut schema = match object(properties, closed) {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    Arc::new(schema)
}

/// The schema of an object with these required properties; closed if it may have no others.
fn object(properties: Value, closed: bool) -> Value {
    let names: Vec<String> = properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    let mut object = json!({ "type": "object", "properties": properties });
    if !names.is_empty() {
        object["required"] = names.into();
    }
    if closed {
        object["additionalProperties"] = false.into();
    }
    object
}

fn entity(closed: bool) -> Value {
    let properties = json!({
        "name": text("The name of the entity"),
        "entityType": text("The type of the entity"),
        "observations": texts("An array of observation contents associated with the entity"),
    });
    object(properties, closed)
}

fn relation(closed: bool) -> Value {
    let properties = json!({
        "from": text("The name of the entity where the relation starts"),
        "to": text("The name of the entity where the relation ends"),
        "relationType": text("The type of the relation"),
    });
    object(properties, closed)
}

fn graph() -> Value {
    json!({ "entities": list(entity(true)), "relations": list(relation(true)) })
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
