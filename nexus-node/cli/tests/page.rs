//! The page at `/`: its files, and signing a browser in.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

mod support;

use support::{Answer, Home, Node};

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
    let paths =
        ["/", "/page.css", "/page.js", "/show.js", "/api.js", "/map.js", "/memory.js", "/memories.js", "/icon.svg"];
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
    // The cookie changes memories and nothing else.
    for (method, path) in
        [("POST", "/v1/offline"), ("POST", "/v1/invite"), ("PATCH", "/v1/config"), ("PUT", "/v1/kv/a")]
    {
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
