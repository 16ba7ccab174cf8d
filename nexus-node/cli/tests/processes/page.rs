//! The page at `/`: its files, and signing a browser in.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{Answer, Home, Node, pair, until};
use serde_json::{Value, json};

fn header(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
}

/// The path of a link of `web`.
fn link(home: &Home) -> String {
    let made = home.json(&["web"]);
    let link = made["link"].as_str().unwrap().to_owned();
    assert!(made["expires_at"].is_string());
    format!("/{}", link.trim_start_matches("http://").split_once('/').unwrap().1)
}

/// A browser's request for a link, which gets the cookie.
fn follow(node: &Node, path: &str) -> Answer {
    node.raw("GET", path, &[("Host", &node.address()), ("Accept", "text/html,*/*")], b"")
}

fn cookie(answer: &Answer) -> String {
    header(answer, "set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

/// promise: Commands and API | The files of the page hold no data, need no token and load nothing else
#[test]
fn its_files_need_no_token_hold_no_data_and_load_nothing_from_elsewhere() {
    let home = Home::new();
    let node = home.up();
    home.json(&["remember", "a very private thing"]);
    assert_eq!(node.text("dashboard"), format!("http://{}/", node.address()));
    let paths = [
        "/",
        "/page.css",
        "/page.js",
        "/show.js",
        "/api.js",
        "/map.js",
        "/memory.js",
        "/memories.js",
        "/task.js",
        "/tasks.js",
        "/documents.js",
        "/files.js",
        "/members.js",
        "/keys.js",
        "/icon.svg",
    ];
    for path in paths {
        let answer = node.raw("GET", path, &[("Host", &node.address())], b"");
        assert_eq!(answer.status, 200, "{path}");
        let policy = header(&answer, "content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(header(&answer, "x-content-type-options").unwrap(), "nosniff");
        assert!(!answer.body.contains("private") && !answer.body.contains(&node.token()), "{path}");
        let elsewhere = answer.body.replace("http://www.w3.org/", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path} loads from elsewhere");
        for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=\""] {
            assert!(!answer.body.contains(danger), "{path}: {danger}");
        }
        let tag = header(&answer, "etag").unwrap();
        let again = node.raw("GET", path, &[("Host", &node.address()), ("If-None-Match", &tag)], b"");
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        assert_eq!(node.raw("POST", path, &[("Host", &node.address())], b"").problem(), "no_method");
    }
    let imported = |script: &str| {
        let text = node.raw("GET", script, &[("Host", &node.address())], b"").body;
        let names: Vec<_> = text.lines().filter_map(|line| line.split_once(" from './")).collect();
        names.iter().map(|(_, file)| format!("/{}", file.trim_end_matches("';"))).collect::<Vec<_>>()
    };
    for script in paths.iter().filter(|path| path.ends_with(".js")) {
        for file in imported(script) {
            assert!(paths.contains(&file.as_str()), "{script} loads {file}");
        }
    }
    assert!(imported("/page.js").contains(&"/tasks.js".to_owned()));
    let page = node.raw("GET", "/", &[("Host", &node.address())], b"").body;
    for file in paths.iter().filter(|path| path.ends_with(".css") || **path == "/page.js") {
        assert!(page.contains(file), "{file}");
    }
}

/// promise: Commands and API | A link of `web` signs one browser in, once; its cookie is good for the page only
#[test]
fn a_link_signs_one_browser_in_once() {
    let home = Home::new();
    let node = home.up();
    let (path, address) = (link(&home), node.address());
    // A preview of a link does not use it up.
    for (method, more) in [("HEAD", ("Accept", "*/*")), ("GET", ("Sec-Purpose", "prefetch"))] {
        let answer = node.raw(method, &path, &[("Host", &address), more], b"");
        assert_eq!((answer.status, header(&answer, "set-cookie")), (204, None));
    }
    let answer = follow(&node, &path);
    assert_eq!((answer.status, header(&answer, "location").unwrap().as_str()), (303, "/"));
    let set = header(&answer, "set-cookie").unwrap();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(&node.token()));
    let cookie = cookie(&answer);
    let with = |headers: &[(&str, &str)], method: &str, path: &str, body: &str| {
        let all = [&[("Host", address.as_str()), ("Cookie", cookie.as_str())], headers].concat();
        node.raw(method, path, &all, body.as_bytes())
    };
    assert_eq!(with(&[], "GET", "/v1/status", "").status, 200);
    let origin = format!("http://{address}");
    let new = "{\"text\":\"from the page\"}";
    assert_eq!(with(&[("Origin", &origin)], "POST", "/v1/memories", new).status, 201);
    assert_eq!(with(&[], "POST", "/v1/memories", new).problem(), "foreign_origin");
    assert_eq!(with(&[("Origin", "null")], "POST", "/v1/memories", new).problem(), "foreign_origin");
    assert_eq!(with(&[("Sec-Fetch-Site", "same-site")], "GET", "/v1/status", "").problem(), "foreign_origin");
    for list in ["/v1/blobs?limit=100", "/v1/transfers"] {
        assert_eq!(with(&[], "GET", list, "").status, 200, "{list}");
    }
    // The cookie changes memories, decides on tasks, and does nothing else.
    let beyond = [
        ("POST", "/v1/offline"),
        ("POST", "/v1/invite"),
        ("PATCH", "/v1/config"),
        ("PUT", "/v1/kv/a"),
        ("GET", "/v1/kv"),
        ("GET", "/v1/locks"),
        ("GET", "/v1/audit"),
        ("POST", "/v1/tasks"),
        ("POST", "/v1/tasks/claim"),
        ("PUT", "/v1/blobs"),
        ("GET", "/v1/blobs/aaaa"),
        ("POST", "/v1/blobs/gc"),
    ];
    for (method, path) in beyond {
        assert_eq!(with(&[("Origin", &origin)], method, path, "{}").problem(), "refused", "{method} {path}");
    }
    // A page cannot make itself another link.
    assert_eq!(with(&[("Origin", &origin)], "POST", "/v1/web", "").problem(), "refused");
    assert_eq!(with(&[("Origin", &origin)], "POST", "/v1/session", "").problem(), "refused");
    // A used link leads a person to the page, which explains it; a program gets an error.
    let again = follow(&node, &path);
    assert_eq!((again.status, header(&again, "set-cookie")), (303, None));
    assert_eq!(node.raw("GET", &path, &[("Host", &address)], b"").problem(), "refused");
    assert_eq!(node.raw("GET", "/web/nothing", &[("Host", &address)], b"").problem(), "refused");
    let out = with(&[("Origin", &origin)], "DELETE", "/v1/session", "");
    assert!(header(&out, "set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
}

/// promise: Commands and API | A link of `web` signs one browser in, once; its cookie is good for the page only
#[test]
fn the_token_is_traded_for_the_cookie_which_outlives_a_restart_but_not_the_token() {
    let home = Home::new();
    let mut node = home.up();
    let signed_in = node.http("POST", "/v1/session", "");
    assert_eq!(signed_in.status, 204);
    let cookie = cookie(&signed_in);
    let address = node.address();
    assert!(cookie.starts_with(&format!("nexus-{}=", address.rsplit(':').next().unwrap())), "{cookie}");
    let ask = |node: &Node| node.raw("GET", "/v1/status", &[("Host", &node.address()), ("Cookie", &cookie)], b"");
    assert_eq!(ask(&node).status, 200);
    node.terminate();
    node = home.up_with(&["--api-addr", &address]);
    assert_eq!(ask(&node).status, 200);
    node.terminate();
    std::fs::write(home.path().join("api-token"), "another-token-0123456789abcdef0123\n").unwrap();
    node = home.up_with(&["--api-addr", &address]);
    assert_eq!(ask(&node).problem(), "unauthorized");
}

/// promise: Tasks | The page shows tasks and workers, and decides on tasks with its cookie; it submits no new ones
#[test]
fn the_page_decides_on_tasks_with_its_cookie() {
    let ((laptop, node), (cloud, _other)) = pair();
    let (cookie, address) = (cookie(&follow(&node, &link(&laptop))), node.address());
    let origin = format!("http://{address}");
    let ask = |method: &str, path: &str, body: &str| {
        let headers = [("Host", address.as_str()), ("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
        node.raw(method, path, &headers, body.as_bytes())
    };
    let read = |path: &str| -> Value {
        let answer = ask("GET", path, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let submit = |capability: &str| {
        let task = cloud.json(&["task", "submit", capability, "--needs-approval", "--input", "\"<b>now</b>\""]);
        task["id"].as_str().unwrap().to_owned()
    };
    let (deploy, delete) = (submit("deploy"), submit("delete"));
    until("both wait for an approval", || {
        let waiting = read("/v1/tasks?state=awaiting_approval&limit=100");
        (waiting["items"].as_array().unwrap().len() == 2).then_some(())
    });
    assert_eq!(read(&format!("/v1/tasks/{deploy}"))["input"], "<b>now</b>");
    assert_eq!(read("/v1/agents"), json!([]));
    // another page of this machine may send the cookie, but not this origin
    let headers = [("Host", address.as_str()), ("Cookie", cookie.as_str())];
    let path = |id: &str, word: &str| format!("/v1/tasks/{id}/{word}");
    assert_eq!(node.raw("POST", &path(&deploy, "approve"), &headers, b"{}").problem(), "foreign_origin");
    assert_eq!(ask("POST", &path(&deploy, "approve"), "{}").status, 200);
    assert_eq!(ask("POST", &path(&delete, "reject"), "{\"why\":\"never\"}").status, 200);
    let reaches = |id: &str, state: &str| {
        until(state, || Some(read(&format!("/v1/tasks/{id}"))).filter(|task| task["state"] == state))
    };
    reaches(&deploy, "pending");
    assert_eq!(reaches(&delete, "rejected")["error"]["message"], "never");
    assert_eq!(ask("POST", &path(&deploy, "cancel"), "{}").status, 200);
    reaches(&deploy, "cancelled");
    let again = ask("POST", &path(&deploy, "retry"), "{}");
    assert_eq!(again.status, 201, "{}", again.body);
    let again: Value = serde_json::from_str(&again.body).unwrap();
    assert_eq!((again["retry_of"].as_str(), again["state"].as_str()), (Some(&*deploy), Some("awaiting_approval")));
    // by now this node has submitted it: its own person approves it, and the page knows that
    assert_eq!((&again["approval"]["rule"], &again["approval"]["here"]), (&json!("person"), &json!(true)));
    assert_eq!(ask("POST", &path(again["id"].as_str().unwrap(), "approve"), "{}").status, 200);
    let submitted = ask("POST", "/v1/tasks", "{\"capability\":\"deploy\"}");
    assert_eq!(submitted.problem(), "refused", "the page submits nothing");
}
