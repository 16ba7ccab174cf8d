//! `/openapi.json` describes exactly the routes that are served.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::collections::BTreeSet;

use crate::support::{self, Home, Node};
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

fn described(node: &Node) -> Value {
    let answer = node.http("GET", "/openapi.json", "");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// The described methods of a path.
fn methods(path: &Value) -> BTreeSet<String> {
    path.as_object().unwrap().keys().cloned().collect()
}

/// promise: Commands and API | Routes are those of `/openapi.json`; examples and answers fit its schemas
#[test]
fn every_route_that_is_described_is_served_and_no_other_method_of_it() {
    let home = Home::new();
    let node = home.up();
    let document = described(&node);
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{paths:?}");
    for (path, about) in paths {
        // A stream would not end.
        let asked = support::filled(path);
        let asked = match path.as_str() {
            "/v1/events" => "/v1/events?wait=0s".to_owned(),
            "/v1/tasks/events" => "/v1/tasks/events?task=none".to_owned(),
            _ => asked,
        };
        for method in METHODS {
            if (path.as_str(), method) == ("/v1/stop", "post") {
                continue; // It ends the process, so nothing could follow; see `a_node_that_an_agent_started…`.
            }
            let answer = node.http(&method.to_ascii_uppercase(), &asked, "");
            let missing = answer.status == 405 || (answer.status == 404 && answer.body.contains("\"no_route\""));
            assert_eq!(!missing, methods(about).contains(method), "{method} {path}: {}", answer.status);
        }
    }
}

/// promise: Commands and API | Routes are those of `/openapi.json`; examples and answers fit its schemas
#[test]
fn every_route_of_the_contract_is_described() {
    let home = Home::new();
    let node = home.up();
    let document = described(&node);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let http = page.split("## The HTTP API").nth(1).unwrap();
    let rows = http.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    let words: Vec<&str> =
        rows.flat_map(|row| row.split(['`', ' ', '?'])).filter(|word| word.starts_with('/')).collect();
    assert!(words.len() > 20, "{words:?}");
    for path in &words {
        assert!(document["paths"].get(path).is_some(), "{path} is in docs/cli.md, but not described");
    }
    let files = |path: &str| path.ends_with(".js") || path.ends_with(".css") || path.ends_with(".svg");
    for path in document["paths"].as_object().unwrap().keys().filter(|path| !files(path)) {
        assert!(words.contains(&path.as_str()), "{path} is described, but not in docs/cli.md");
    }
}

/// Whether a document fits a schema, for the part of JSON Schema that our schemas use.
fn fits(schema: &Value, value: &Value, whole: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let at = whole.pointer(reference.trim_start_matches('#'));
        return fits(at.ok_or_else(|| format!("{reference} leads nowhere"))?, value, whole);
    }
    for either in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(either).and_then(Value::as_array)
            && !choices.iter().any(|choice| fits(choice, value, whole).is_ok())
        {
            return Err(format!("{value} is none of {choices:?}"));
        }
    }
    let named = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => named(kind),
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| named(kind.as_str().unwrap())),
        _ => true,
    };
    if !kind {
        return Err(format!("{value} is not {}", schema["type"]));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(schema.get("items").unwrap_or(&json!({})), item, whole)?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str().unwrap();
        members.get(name).ok_or_else(|| format!("{name} is missing in {value}"))?;
    }
    let Some(known) = schema.get("properties") else { return Ok(()) };
    members.iter().try_for_each(|(name, member)| match known.get(name) {
        Some(schema) => fits(schema, member, whole).map_err(|error| format!("{name}: {error}")),
        None if schema.get("additionalProperties") == Some(&json!(false)) => Err(format!("{name} is not known")),
        None => Ok(()),
    })
}

/// promise: Commands and API | Routes are those of `/openapi.json`; examples and answers fit its schemas
#[test]
fn examples_and_answers_fit_their_schemas() {
    let home = Home::new();
    let node = home.up();
    let document = described(&node);
    let mut examples = 0;
    for (path, about) in document["paths"].as_object().unwrap() {
        for (method, operation) in about.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap().values();
            for part in answers.chain(operation.get("requestBody")) {
                for content in part.get("content").and_then(Value::as_object).into_iter().flat_map(|c| c.values()) {
                    let Some(example) = content.get("example") else { continue };
                    fits(&content["schema"], example, &document)
                        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
                    examples += 1;
                }
            }
        }
    }
    assert!(examples > 30, "{examples} examples");
    let written = node.http("POST", "/v1/memories", "{\"text\":\"a thing\",\"tags\":[\"t\"]}").json();
    let id = written["id"].as_str().unwrap();
    let answer = |method: &str, path: &str, status: &str| {
        document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"].clone()
    };
    fits(&answer("post", "/v1/memories", "201"), &written, &document).unwrap();
    for path in
        ["/v1/status", "/v1/peers", "/v1/members", "/v1/spaces", "/v1/vocabulary", "/v1/config", "/v1/coordinator"]
    {
        let got = node.http("GET", path, "").json();
        fits(&answer("get", path, "200"), &got, &document).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let memory = node.http("GET", &format!("/v1/memories/{id}"), "").json();
    fits(&answer("get", "/v1/memories/{id}", "200"), &memory, &document).unwrap();
    let words = node.http("POST", "/v1/vocabulary", "{\"words\":[\"gadget\",\"device\"]}").json();
    fits(&answer("post", "/v1/vocabulary", "201"), &words, &document).unwrap();
    let hits = node.http("GET", "/v1/memories?q=thing", "").json();
    assert_eq!(hits.as_array().unwrap().len(), 1);
    fits(&answer("get", "/v1/memories", "200"), &hits, &document).unwrap();
    let put = node.http("PUT", "/v1/kv/a/b", "{\"value\":\"v\",\"ttl\":\"1h\"}").json();
    fits(&answer("put", "/v1/kv/{key}", "200"), &put, &document).unwrap();
    let lease = node.http("POST", "/v1/locks/l/acquire", "").json();
    fits(&answer("post", "/v1/locks/{name}/acquire", "200"), &lease, &document).unwrap();
    let txn = "{\"checks\":[{\"key\":\"a/b\",\"exists\":true}],\"then\":[{\"get\":\"a/b\"}]}";
    let done = node.http("POST", "/v1/kv", txn).json();
    fits(&answer("post", "/v1/kv", "200"), &done, &document).unwrap();
    for (path, asked) in [
        ("/v1/kv/{key}", "/v1/kv/a/b?local=true"),
        ("/v1/kv", "/v1/kv"),
        ("/v1/watch", "/v1/watch?after=0"),
        ("/v1/locks", "/v1/locks"),
    ] {
        let got = node.http("GET", asked, "").json();
        fits(&answer("get", path, "200"), &got, &document).unwrap_or_else(|error| panic!("{asked}: {error}"));
    }
    let task = node.http("POST", "/v1/tasks", "{\"capability\":\"a\",\"input\":{\"b\":1},\"deadline\":\"1h\"}").json();
    fits(&answer("post", "/v1/tasks", "201"), &task, &document).unwrap();
    let claimed = node.http("POST", "/v1/tasks/claim", "{\"capabilities\":[\"a\"],\"agent\":\"x\"}").json();
    fits(&answer("post", "/v1/tasks/claim", "200"), &claimed, &document).unwrap();
    let (task, token) = (task["id"].as_str().unwrap(), &claimed["token"]);
    let body = json!({"token": token, "percent": 40, "text": "begun"}).to_string();
    let renewed = node.http("POST", &format!("/v1/tasks/{task}/renew"), &body).json();
    fits(&answer("post", "/v1/tasks/{id}/renew", "200"), &renewed, &document).unwrap();
    for (path, asked) in [("/v1/tasks", "/v1/tasks"), ("/v1/agents", "/v1/agents")] {
        let got = node.http("GET", asked, "").json();
        fits(&answer("get", path, "200"), &got, &document).unwrap_or_else(|error| panic!("{asked}: {error}"));
    }
    let body = json!({"token": token, "output": [1, null]}).to_string();
    let done = node.http("POST", &format!("/v1/tasks/{task}/finish"), &body).json();
    fits(&answer("post", "/v1/tasks/{id}/finish", "200"), &done, &document).unwrap();
    let got = node.http("GET", &format!("/v1/tasks/{task}?wait=1s"), "").json();
    assert_eq!(got, done);
    let history = node.http("GET", &format!("/v1/memories/{id}/history"), "").json();
    fits(&answer("get", "/v1/memories/{id}/history", "200"), &history, &document).unwrap();
}
