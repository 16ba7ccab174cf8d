//! Each habit of a client program, with each tool of each profile.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which ends where it cannot go on"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Map, Value, json};

use crate::support::{Home, Node};

const PROFILES: [(&str, &str); 3] = [("core", "/mcp"), ("full", "/mcp/full"), ("graph", "/mcp/graph")];

/// A way to the tools: a message in, the answer out.
trait Way {
    fn say(&mut self, message: &str) -> Value;
}

struct Http<'a>(&'a Node, &'a str);

impl Way for Http<'_> {
    fn say(&mut self, message: &str) -> Value {
        self.0.http("POST", self.1, message).json()
    }
}

struct Lines {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Lines {
    fn of(home: &Home, profile: &str) -> Self {
        let mut command = home.command(&["mcp", "--profile", profile, "--no-start"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }
}

impl Way for Lines {
    fn say(&mut self, message: &str) -> Value {
        self.stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?} to {message}"))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A good call of a tool, with as many arguments as go together.
fn good(tool: &str, task: &str) -> Value {
    match tool {
        "session_start" => json!({ "project": "shop", "max_tokens": 300 }),
        "remember" => json!({
            "text": "the port is 5433", "kind": "fact", "tags": ["infra"], "aliases": ["socket"], "key": "port",
            "meta": { "url": "https://example.com", "n": 1 }, "ttl": "7d", "source": "model",
        }),
        "recall" => json!({
            "query": "port", "queries": ["socket"], "spaces": ["default"], "tags": ["infra"], "kinds": ["fact"],
            "since": "7d", "valid_at": "ever", "everywhere": true, "why": false, "limit": 3, "max_tokens": 500,
        }),
        "forget" => json!({ "id": "nothing-like-this" }),
        "task_create" => json!({
            "capability": "review", "input": { "text": "look" }, "priority": "high", "timeout": "30s", "once": false,
            "needs_approval": false, "wait": 0,
        }),
        "task_claim" => json!({ "capabilities": ["nobody-asks"], "from": ["admin"], "wait": 0 }),
        "task_update" => json!({ "id": task, "wait": 0 }),
        "doc_list" => json!({ "space": "default" }),
        "doc_get" => json!({ "key": "habits", "path": "", "max_tokens": 300 }),
        "doc_edit" => json!({ "key": "habits", "create": true, "patch": { "title": "x", "n": 1, "gone": null } }),
        "create_entities" => json!({ "entities": [{ "name": "a", "entityType": "t", "observations": ["o"] }] }),
        "create_relations" | "delete_relations" => {
            json!({ "relations": [{ "from": "a", "to": "a", "relationType": "r" }] })
        }
        "add_observations" => json!({ "observations": [{ "entityName": "a", "contents": ["p"] }] }),
        "delete_entities" => json!({ "entityNames": ["nobody"] }),
        "delete_observations" => json!({ "deletions": [{ "entityName": "a", "observations": ["q"] }] }),
        "read_graph" => json!({}),
        "search_nodes" => json!({ "query": "a" }),
        "open_nodes" => json!({ "names": ["a"] }),
        other => panic!("a new tool needs a row here: {other}"),
    }
}

/// The arguments of a tool in the way of each program. A habit that says nothing of a tool's arguments is left out.
fn habits(schema: &Value, good: &Value) -> Vec<(&'static str, Value)> {
    let properties = schema["properties"].as_object().unwrap();
    let all = good.as_object().unwrap();
    let each = |change: &dyn Fn(&Value, &Value) -> Option<Value>| -> Value {
        let changed = |(name, value): (&String, &Value)| {
            (name.clone(), change(&properties[name], value).unwrap_or_else(|| value.clone()))
        };
        Value::Object(all.iter().map(changed).collect::<Map<_, _>>())
    };
    let is = |schema: &Value, wanted: &str| schema["type"] == wanted;
    // a text is JSON as well, so an input and an output stay texts
    let any = ["input", "output"];
    let nulls: Map<String, Value> = properties
        .keys()
        .filter(|name| !any.contains(&name.as_str()))
        .map(|name| (name.clone(), all.get(name).cloned().unwrap_or_default()))
        .collect();
    let mut unknown = nulls.clone();
    unknown.insert("confirm".to_owned(), Value::Null);
    unknown.extend(all.clone());
    let as_text = |value: &Value| Value::from(value.to_string());
    vec![
        ("plain", good.clone()),
        ("null for what is left out", Value::Object(nulls).clone()),
        ("null for what there is not", Value::Object(unknown)),
        ("3.0 for 3", each(&|of, value| is(of, "integer").then(|| json!(value.as_f64())))),
        ("\"3\" for 3", each(&|of, value| is(of, "integer").then(|| as_text(value)))),
        ("\"3.0\" for 3", each(&|of, value| is(of, "integer").then(|| format!("{value}.0").into()))),
        ("\"true\" for true", each(&|of, value| is(of, "boolean").then(|| as_text(value)))),
        ("a list as its JSON", each(&|of, value| is(of, "array").then(|| as_text(value)))),
        (
            "one text for a list",
            each(&|of, value| (is(of, "array") && is(&of["items"], "string")).then(|| value[0].clone())),
        ),
        (
            "null in a list",
            each(&|of, value| {
                is(of, "array").then(|| [value.as_array().unwrap().as_slice(), &[Value::Null]].concat().into())
            }),
        ),
        ("an object as its JSON", each(&|of, value| (of["properties"]["url"].is_object()).then(|| as_text(value)))),
        ("all as their JSON", as_text(good)),
    ]
}

/// A tool's answer: a refusal of `forget` and of a task that is not there is as good as any.
#[track_caller]
fn answered(what: &str, id: &Value, answer: &Value, plain: &Value) {
    assert_eq!(&answer["id"], id, "{what}: {answer}");
    assert!(answer["error"].is_null(), "{what}: {answer}");
    assert_eq!(answer["result"]["isError"], plain["result"]["isError"], "{what}: {answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(!text.contains("do not fit") && !text.contains("Invalid"), "{what}: {text}");
}

/// promise: Agents | Each tool takes null for absent, 3.0 for 3, JSON in a text, one text for a list, half of a character
#[test]
fn each_habit_of_a_program_is_taken_by_each_tool() {
    let home = Home::new();
    let node = home.up();
    let task = home.json(&["task", "submit", "review", "--input", "1"])["id"].as_str().unwrap().to_owned();
    for (profile, path) in PROFILES {
        let tools = list(&node, path);
        let mut ways: [Box<dyn Way>; 2] = [Box::new(Http(&node, path)), Box::new(Lines::of(&home, profile))];
        for tool in tools {
            let name = tool["name"].as_str().unwrap();
            let habits = habits(&tool["inputSchema"], &good(name, &task));
            for (kind, way) in ways.iter_mut().enumerate() {
                let mut plain = Value::Null;
                for (habit, arguments) in &habits {
                    let message = json!({
                        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
                        "params": { "name": name, "arguments": arguments, "_meta": null },
                    });
                    let answer = way.say(&message.to_string());
                    if *habit == "plain" {
                        plain = answer.clone();
                    }
                    answered(&format!("{profile} {name} {kind}: {habit}"), &json!(7), &answer, &plain);
                }
                // as a text, since a value cannot hold these
                let plain_call = json!({ "name": name, "arguments": good(name, &task) });
                let whole = format!(r#"{{"jsonrpc":"2.0","id":3.0,"method":"tools/call","params":{plain_call}}}"#);
                answered(&format!("{profile} {name}: an id as 3.0"), &json!(3), &way.say(&whole), &plain);
                let half = whole.replace("\"id\":3.0", "\"id\":\"\\ud83d\"");
                answered(&format!("{profile} {name}: half an id"), &json!("\u{fffd}"), &way.say(&half), &plain);
                // without arguments it says what is missing, under the id of the request
                for arguments in ["null", "{}", "\"null\"", "\"{}\""] {
                    let bare = format!(
                        r#"{{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
                    );
                    assert_eq!(way.say(&bare)["id"], 8, "{profile} {name} {arguments}");
                }
                for (method, params) in [("ping", "null"), ("tools/list", "null"), ("tools/list", r#"{"cursor":null}"#)]
                {
                    let bare = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{params}}}"#);
                    let answer = way.say(&bare);
                    assert!(answer["result"].is_object() && answer["id"] == 9, "{method} {params}: {answer}");
                }
            }
        }
    }
}

/// promise: Agents | A text stays a text, and what fits in no way is refused under the id of its request
#[test]
fn what_means_several_things_is_refused_as_before() {
    let home = Home::new();
    let node = home.up();
    let mut way = Http(&node, "/mcp/full");
    let mut call = |id: Value, tool: &str, arguments: &str| {
        let id = id.to_string();
        way.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        ))
    };
    for (tool, arguments, told) in [
        ("recall", r#"{"query":"x","limit":3.5}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":"3.5"}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":" 3"}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":"three"}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":"[3]"}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":"null"}"#, "limit: expected a whole number"),
        ("recall", r#"{"query":"x","limit":101.0}"#, "limit"),
        ("recall", r#"{"query":"x","everywhere":"yes"}"#, "everywhere"),
        ("recall", r#"{"query":"x","everywhere":1}"#, "everywhere"),
        ("recall", r#"{"query":"x","tags":[1]}"#, "tags[0]: expected a text"),
        ("recall", r#"{"query":["x"]}"#, "query: expected a text"),
        ("recall", r#"{"query":7}"#, "query: expected a text"),
        ("remember", r#"{"text":"x","meta":"[]"}"#, "meta: expected an object"),
        ("remember", r#"{"text":"x","meta":"{\"a\":1,\"a\":2}"}"#, "meta.a: the key \"a\" comes twice"),
        ("remember", r#"{"text":"x","meta":"{\"a\":18446744073709551616}"}"#, "the number 18446744073709551616"),
        ("remember", r#""{\"text\":\"x\",\"text\":\"y\"}""#, "text: the key \"text\" comes twice"),
        ("remember", r#"{"text":"x","surprise":1}"#, "surprise: there is no such argument"),
        ("remember", r#"{"text":"x","ttl":"99999999999d"}"#, "ttl"),
        ("remember", r#"{"text":"x","ttl":"9999999d"}"#, "ttl"),
    ] {
        let answer = call(json!("a"), tool, arguments);
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(
            answer["id"] == "a" && answer["result"]["isError"] == true && text.contains(told),
            "{arguments}: {answer}"
        );
    }
    // the JSON of something else where a text is wanted is that text
    for text in ["3", "3.0", "null", "true", "[\"a\"]", "{\"text\":\"b\"}", "\"quoted\""] {
        let arguments = json!({ "text": text, "key": text }).to_string();
        assert!(call(json!(1), "remember", &arguments)["result"]["isError"].is_null(), "{text}");
        assert_eq!(home.json(&["get", text])["text"], text);
    }
    assert!(call(json!(1), "remember", r#"{"text":"cut \ud83d here","key":"half"}"#)["error"].is_null());
    assert_eq!(home.json(&["get", "half"])["text"], "cut \u{fffd} here");
    // of one text a list is one, and of the JSON of a list it is that
    assert!(
        call(json!(1), "remember", r#"{"text":"t","key":"t","tags":"a, b","aliases":"[\"c\",\"d\"]"}"#)["error"]
            .is_null()
    );
    let kept = home.json(&["get", "t"]);
    assert_eq!((&kept["tags"], &kept["aliases"]), (&json!(["a, b"]), &json!(["c", "d"])));
    assert!(
        call(json!(1), "remember", r#"{"text":"u","key":"u","tags":"[1]","meta":"{\"n\":3.0}"}"#)["error"].is_null()
    );
    let kept = home.json(&["get", "u"]);
    assert_eq!((&kept["tags"], &kept["meta"]), (&json!(["[1]"]), &json!({ "n": 3.0 })));
    // an input may be any JSON, so a text is one, and null is one
    for (input, kept) in [(r#""{\"a\":1}""#, json!("{\"a\":1}")), ("null", Value::Null), ("[3.0]", json!([3.0]))] {
        let request = format!(r#"{{"capability":"c","request":{},"input":{input}}}"#, json!(input));
        let answer = call(json!(1), "task_create", &request);
        let id = answer["result"]["content"][0]["text"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        assert_eq!(home.json(&["task", "show", &id])["input"], kept, "{input}");
    }
    // a broken message is answered under its id where that can be read
    for (message, id) in [
        (
            r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"recall","arguments":{"query":tru}}}"#,
            json!(5),
        ),
        (r#"{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"#, json!("q")),
    ] {
        let answer = way.say(message);
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(-32700)), "{answer}");
    }
    // a notification is answered with nothing, also with a null for an id
    let told =
        node.http("POST", "/mcp", r#"{"jsonrpc":"2.0","id":null,"method":"notifications/initialized","params":null}"#);
    assert_eq!((told.status, told.body.as_str()), (202, ""));
}

/// promise: Agents | A strict graph refuses what the memory server refuses: null, and texts in the place of lists
#[test]
fn a_strict_graph_takes_no_habits() {
    let home = Home::new();
    let node = home.up();
    for (path, refused) in [("/mcp/graph", false), ("/mcp/graph?strict=true", true)] {
        for (tool, arguments) in [
            ("open_nodes", r#"{"names":["a",null]}"#),
            ("open_nodes", r#"{"names":"a"}"#),
            ("open_nodes", r#"{"names":"[\"a\"]"}"#),
            ("open_nodes", r#""{\"names\":[]}""#),
            ("read_graph", "null"),
            ("create_entities", r#"{"entities":[null]}"#),
            ("create_relations", r#"{"relations":[{"from":"a","to":"b","relationType":"r"},null]}"#),
            ("delete_observations", r#"{"deletions":[null]}"#),
            ("add_observations", r#"{"observations":"[]"}"#),
        ] {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":3.0,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
            );
            let answer = Http(&node, path).say(&call);
            let is_refused = answer["error"].is_object() || answer["result"]["isError"] == true;
            assert_eq!((is_refused, &answer["id"]), (refused, &json!(3)), "{path} {tool} {arguments}: {answer}");
        }
    }
}

/// The tools of a profile.
fn list(node: &Node, path: &str) -> Vec<Value> {
    let answer = node.http("POST", path, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).json();
    answer["result"]["tools"].as_array().unwrap().clone()
}

/// promise: Agents | The schemas of all tools have few keywords, no object without properties, and no unions: providers of models refuse others
#[test]
fn schemas_are_of_few_keywords() {
    const KEYWORDS: [&str; 8] =
        ["type", "properties", "required", "items", "description", "enum", "minimum", "maximum"];
    fn look(place: &str, schema: &Value, top: bool) {
        for (keyword, _) in schema.as_object().unwrap() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "{place}: {keyword}");
        }
        let of = schema["type"].as_str().unwrap_or_else(|| panic!("{place} has no type, or several: {schema}"));
        assert!(["string", "integer", "boolean", "array", "object"].contains(&of), "{place}: {of}");
        assert_eq!(of == "array", schema.get("items").is_some(), "{place}");
        assert!(schema.get("enum").is_none() || of == "string", "{place}");
        let properties = schema.get("properties").and_then(Value::as_object);
        assert_eq!(of == "object", properties.is_some(), "{place}");
        assert!(top || properties.is_none_or(|all| !all.is_empty()), "{place} is a bare object");
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(properties.unwrap().contains_key(name.as_str().unwrap()), "{place}: {name}");
        }
        for (name, property) in properties.into_iter().flatten() {
            look(&format!("{place}.{name}"), property, false);
        }
        if let Some(items) = schema.get("items") {
            look(&format!("{place}[]"), items, false);
        }
    }
    let home = Home::new();
    let node = home.up();
    for (_, path) in PROFILES {
        for tool in list(&node, path) {
            let name = tool["name"].as_str().unwrap();
            look(name, &tool["inputSchema"], true);
            if let Some(output) = tool.get("outputSchema") {
                look(&format!("{name} gives"), output, true);
            }
        }
    }
}
