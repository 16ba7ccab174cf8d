//! The shapes of the tools' arguments. An error names each wrong place on a line, in the words of the
//! memory server.

use serde_json::{Map, Value};

use crate::mcp::answer::Refusal;
use crate::problem::Problem;

/// The shape of one argument.
pub(super) enum Shape {
    Text,
    List(&'static Shape),
    Members(&'static [(&'static str, Shape)]),
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const ENTITY: Shape = Shape::Members(&[("name", Shape::Text), ("entityType", Shape::Text), ("observations", TEXTS)]);
const RELATION: Shape = Shape::Members(&[("from", Shape::Text), ("to", Shape::Text), ("relationType", Shape::Text)]);
const ADDITION: Shape = Shape::Members(&[("entityName", Shape::Text), ("contents", TEXTS)]);
const DELETION: Shape = Shape::Members(&[("entityName", Shape::Text), ("observations", TEXTS)]);

/// The arguments of a tool; `None` for an unknown tool.
pub(super) fn of(tool: &str) -> Option<&'static [(&'static str, Shape)]> {
    Some(match tool {
        "create_entities" => &[("entities", Shape::List(&ENTITY))],
        "create_relations" | "delete_relations" => &[("relations", Shape::List(&RELATION))],
        "add_observations" => &[("observations", Shape::List(&ADDITION))],
        "delete_entities" => &[("entityNames", TEXTS)],
        "delete_observations" => &[("deletions", Shape::List(&DELETION))],
        "read_graph" => &[],
        "search_nodes" => &[("query", Shape::Text)],
        "open_nodes" => &[("names", TEXTS)],
        _ => return None,
    })
}

/// The most places named in an error.
const ISSUES_MAX: usize = 100;

/// Checks arguments.
pub(super) fn check(tool: &str, members: &[(&'static str, Shape)], given: &Map<String, Value>) -> Result<(), Refusal> {
    let mut issues = Vec::new();
    check_members(members, given, "", &mut issues);
    if issues.is_empty() {
        return Ok(());
    }
    issues.truncate(ISSUES_MAX);
    let issues = issues.join("\n");
    let front = "MCP error -32602: Input validation error: Invalid arguments for tool";
    Err(Problem::new("invalid", format!("{front} {tool}: {issues}")))
}

fn check_members(members: &[(&'static str, Shape)], given: &Map<String, Value>, path: &str, issues: &mut Vec<String>) {
    for (name, shape) in members {
        let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        check_place(shape, given.get(*name), &path, issues);
    }
}

fn check_place(shape: &Shape, value: Option<&Value>, path: &str, issues: &mut Vec<String>) {
    let expected = match (shape, value) {
        (Shape::Text, Some(Value::String(_))) => return,
        (Shape::List(each), Some(Value::Array(values))) => {
            for (index, value) in values.iter().enumerate() {
                check_place(each, Some(value), &format!("{path}[{index}]"), issues);
            }
            return;
        }
        (Shape::Members(members), Some(Value::Object(given))) => return check_members(members, given, path, issues),
        (Shape::Text, _) => "string",
        (Shape::List(_), _) => "array",
        (Shape::Members(_), _) => "object",
    };
    let received = match value {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    };
    issues.push(format!("Invalid input: expected {expected}, received {received} at {path}"));
}
