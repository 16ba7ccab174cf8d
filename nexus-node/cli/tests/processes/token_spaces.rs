//! A token for some spaces: no way leads to another one.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use serde_json::{Value, json};

use crate::support::{Answer, Home, Node};
use crate::tokens::{Mcp, token, token_file};

/// A word that is nowhere but in another space.
const HIDDEN: &str = "quicksilver";

struct Bounded {
    home: Home,
    node: Node,
    token: String,
    /// Ids of what is in the other space: a memory, a forgotten one, a task.
    hidden: [String; 3],
    /// The id of a memory in the token's space.
    own: String,
}

impl Bounded {
    fn new() -> Self {
        let home = Home::new();
        let node = home.up();
        for space in ["work", "private"] {
            home.json(&["space", "create", space]);
        }
        let id = |made: Value| made["id"].as_str().unwrap().to_owned();
        let keep = |text: &str, space: &str| id(home.json(&["remember", text, "--space", space]));
        let own = keep("the staging database listens on port 5433", "work");
        let hidden = keep(&format!("the staging database listens on port 7000, says {HIDDEN}"), "private");
        home.json(&["remember", &format!("{HIDDEN} by a key"), "--space", "private", "--id", "hidden-key"]);
        home.json(&["remember", &format!("{HIDDEN} in the common space")]);
        let forgotten = keep(&format!("{HIDDEN} that is forgotten"), "private");
        home.json(&["forget", &forgotten, "--yes"]);
        home.json(&["vocabulary", "add", "staging", HIDDEN, "--space", "private"]);
        let task = id(home.json(&["task", "submit", "a", "--input", &format!("\"{HIDDEN}\""), "--space", "private"]));
        home.json(&["task", "submit", "a", "--input", &format!("\"{HIDDEN}\"")]);
        let token = token(&home, "bounded", "*", &["--space", "work"]);
        Self { home, node, token, hidden: [hidden, forgotten, task], own }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.node.with_token(&self.token, method, path, body)
    }
}

/// promise: Commands and API | A token for some spaces finds, reads and changes nothing of another one, by any way: list, recall, id, key, history, export, events, tasks, pages, words, brief
#[test]
fn no_way_leads_from_one_space_to_another() {
    let all = Bounded::new();
    let [hidden, forgotten, task] = &all.hidden;
    // nothing that is read tells of it
    for path in [
        "/v1/memories?limit=1000".to_owned(),
        format!("/v1/memories?q={HIDDEN}"),
        "/v1/memories?q=staging%20database%20port".to_owned(),
        "/v1/memories?q=staging&limit=100&valid_at=ever".to_owned(),
        "/v1/memories?conflicts=true".to_owned(),
        "/v1/export".to_owned(),
        "/v1/export?full=true".to_owned(),
        "/v1/vocabulary".to_owned(),
        "/v1/spaces".to_owned(),
        "/v1/tasks".to_owned(),
        "/v1/agents".to_owned(),
        "/v1/status".to_owned(),
        "/v1/peers".to_owned(),
        "/v1/members".to_owned(),
        "/v1/spaces/work/pages".to_owned(),
    ] {
        let answer = all.ask("GET", &path, "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for secret in [HIDDEN, "private", hidden, task] {
            assert!(!answer.body.contains(secret), "{path}: {}", answer.body);
        }
    }
    assert_eq!(all.ask("GET", "/v1/status", "").json()["memories"], 1);
    let own = all.ask("GET", "/v1/memories", "").json();
    assert_eq!((own["items"].as_array().unwrap().len(), &own["items"][0]["id"]), (1, &json!(all.own)));
    // the things that it names are not there
    let page = |space: &str| format!("/v1/spaces/{space}/pages");
    for (method, path, body) in [
        ("GET", format!("/v1/memories/{hidden}"), ""),
        ("GET", format!("/v1/memories/{}?whole=true", &hidden[..12]), ""),
        ("GET", "/v1/memories/hidden-key".to_owned(), ""),
        ("GET", format!("/v1/memories/{hidden}/history"), ""),
        ("PATCH", format!("/v1/memories/{hidden}"), "{\"text\":\"mine\"}"),
        ("DELETE", format!("/v1/memories/{hidden}"), ""),
        ("DELETE", "/v1/memories/hidden-key".to_owned(), ""),
        ("POST", format!("/v1/memories/{forgotten}/unforget"), "{}"),
        ("GET", "/v1/memories?space=private".to_owned(), ""),
        ("GET", format!("/v1/memories?q={HIDDEN}&space=private"), ""),
        ("GET", "/v1/export?space=private".to_owned(), ""),
        ("GET", "/v1/events?space=private&wait=0s".to_owned(), ""),
        ("GET", "/v1/vocabulary?space=private".to_owned(), ""),
        ("DELETE", "/v1/vocabulary/staging".to_owned(), ""),
        ("GET", page("private"), ""),
        ("GET", page("default"), ""),
        ("GET", format!("/v1/tasks/{task}"), ""),
        ("GET", format!("/v1/tasks/{task}?whole=true&why=true"), ""),
        ("GET", format!("/v1/tasks/events?task={task}"), ""),
        ("POST", format!("/v1/tasks/{task}/cancel"), "{}"),
        ("POST", format!("/v1/tasks/{task}/retry"), "{}"),
        ("POST", format!("/v1/tasks/{task}/finish"), "{\"token\":\"x\",\"output\":1}"),
        ("POST", "/v1/memories".to_owned(), "{\"text\":\"x\",\"space\":\"work\",\"supersedes\":\"hidden-key\"}"),
    ] {
        let answer = all.ask(method, &path, body);
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{method} {path}: {answer:?}");
        assert!(!answer.body.contains(HIDDEN), "{answer:?}");
    }
    // writes elsewhere are refused, whether the space is there or not
    for space in ["private", "default", "nowhere", "tasks"] {
        let memory = json!({ "text": "x", "space": space }).to_string();
        assert_eq!(all.ask("POST", "/v1/memories", &memory).problem(), "refused", "{space}");
        let task = json!({ "capability": "a", "space": space }).to_string();
        assert_eq!(all.ask("POST", "/v1/tasks", &task).problem(), "refused", "{space}");
        let words = json!({ "words": ["rollout", "deploy"], "space": space }).to_string();
        assert_eq!(all.ask("POST", "/v1/vocabulary", &words).problem(), "refused", "{space}");
        let imported = all.ask("POST", "/v1/import", &format!("{memory}\n")).lines();
        assert_eq!(imported[0]["error"]["code"], "refused", "{space}");
    }
    for (method, path, body) in [
        ("POST", "/v1/memories", "{\"text\":\"x\"}"),
        ("POST", "/v1/tasks", "{\"capability\":\"a\"}"),
        ("POST", "/v1/tasks/claim", "{\"capabilities\":[\"a\"],\"wait\":\"0s\"}"),
        ("POST", "/v1/spaces", "{\"name\":\"another\"}"),
        ("GET", "/v1/blobs", ""),
        ("GET", "/v1/graph", ""),
        ("POST", "/v1/graph", ""),
        ("POST", "/mcp/graph", "{}"),
    ] {
        assert_eq!(all.ask(method, path, body).problem(), "refused", "{method} {path}");
    }
    // in its own space it does as it likes
    let written = all.ask(
        "POST",
        "/v1/memories",
        &json!({ "text": "the staging database listens on port 6000", "space": "WORK" }).to_string(),
    );
    assert_eq!(written.status, 201, "{written:?}");
    assert!(!written.body.contains(hidden), "{written:?}");
    let written = written.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(all.ask("PATCH", &format!("/v1/memories/{written}"), "{\"text\":\"z\"}").status, 200);
    assert_eq!(all.ask("DELETE", &format!("/v1/memories/{written}"), "").status, 200);
    let task = all.ask("POST", "/v1/tasks", "{\"capability\":\"a\",\"space\":\"work\"}");
    assert_eq!(task.status, 201, "{task:?}");
    assert_eq!(all.ask("GET", "/v1/tasks", "").json()["items"].as_array().unwrap().len(), 1);
    // and all of it is as it was
    let kept = all.home.json(&["get", hidden]);
    assert!(kept["text"].as_str().unwrap().contains(HIDDEN));
    assert_eq!(all.home.json(&["list", "--space", "private"])["items"].as_array().unwrap().len(), 2);
}

/// promise: Commands and API | A token for some spaces hears of changes in these alone
#[test]
fn changes_elsewhere_are_not_told() {
    let all = Bounded::new();
    let from = all.ask("GET", "/v1/events?wait=0s", "").json()["cursor"].as_str().unwrap().to_owned();
    all.home.json(&["remember", "elsewhere", "--space", "private"]);
    all.home.json(&["remember", "in the common space"]);
    let id = all.home.json(&["remember", "here", "--space", "work"])["id"].as_str().unwrap().to_owned();
    let heard = all.ask("GET", &format!("/v1/events?from={from}&wait=5s"), "").json();
    let changes = heard["changes"].as_array().unwrap();
    let memories: Vec<&Value> = changes.iter().filter(|change| change["kind"] != "mode").collect();
    assert_eq!(memories.len(), 1, "{heard}");
    assert_eq!((&memories[0]["id"], &memories[0]["space"]), (&json!(id), &json!("work")));
}

/// promise: Agents | Over MCP and in a brief, a token for some spaces meets these alone
#[test]
fn a_model_with_such_a_token_meets_its_spaces_alone() {
    let all = Bounded::new();
    all.home.json(&["remember", &format!("{HIDDEN} is preferred"), "--space", "private", "--kind", "preference"]);
    all.home.json(&["remember", "tabs are preferred", "--space", "work", "--kind", "preference"]);
    all.home.json(&["doc", "create", "hidden-plan", "--space", "private"]);
    all.home.json(&["doc", "set", "hidden-plan", "text", &format!("\"{HIDDEN}\""), "--space", "private"]);
    let file = token_file(&all.home, "token", &all.token);
    let mut mcp = Mcp::start(&all.home, &["mcp", "--profile", "full", "--token-file", &file]);
    let [hidden, _, task] = &all.hidden;
    for (tool, arguments) in [
        ("session_start", json!({ "max_tokens": 4000 })),
        ("recall", json!({ "query": HIDDEN, "everywhere": true })),
        ("recall", json!({ "query": "staging database", "everywhere": true, "why": true })),
        ("recall", json!({ "id": hidden })),
        ("recall", json!({ "id": "hidden-key" })),
        ("recall", json!({ "query": "x", "spaces": ["private"] })),
        ("forget", json!({ "id": hidden })),
        ("remember", json!({ "id": hidden, "text": "mine" })),
        ("remember", json!({ "text": "the staging database listens on port 8000", "space": "work" })),
        ("remember", json!({ "text": "x", "space": "private" })),
        ("remember", json!({ "text": "x" })),
        ("task_update", json!({ "id": task })),
        ("task_update", json!({ "id": task, "cancel": "mine" })),
        ("task_create", json!({ "capability": "a" })),
        ("task_create", json!({ "capability": "a", "space": "private" })),
        ("task_claim", json!({ "capabilities": ["a"], "wait": 0 })),
        ("doc_list", json!({})),
        ("doc_list", json!({ "space": "private" })),
        ("doc_get", json!({ "key": "hidden-plan", "space": "private" })),
        ("doc_edit", json!({ "key": "hidden-plan", "space": "private", "patch": { "mine": true } })),
        ("doc_edit", json!({ "key": "mine", "create": true })),
    ] {
        let told = mcp.tool(tool, &arguments);
        // a question may be told again
        let told = told.replace(&format!("\"{HIDDEN}\""), "");
        assert!(!told.contains(HIDDEN) && !told.contains("7000"), "{tool} {arguments}: {told}");
    }
    assert_eq!(all.home.json(&["doc", "get", "hidden-plan", "--space", "private"])["value"], json!({ "text": HIDDEN }));
    assert!(mcp.tool("doc_list", &json!({ "space": "work" })).contains("No documents."));
    let told = mcp.tool("session_start", &json!({}));
    assert!(told.contains("tabs are preferred"), "{told}");
    let hook = all.home.run(&["hook", "session-start", "--no-project", "--token-file", &file]).ok();
    assert!(hook.stdout.contains("tabs are preferred") && !hook.stdout.contains(HIDDEN), "{hook:?}");
    assert_eq!(all.home.json(&["list", "--space", "private"])["items"].as_array().unwrap().len(), 3);
    assert_eq!(all.home.json(&["task", "show", task])["state"], "pending");
}
