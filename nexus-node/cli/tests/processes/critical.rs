//! Keys, locks and coordinators for programs and scripts: over HTTP and on the command line.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{HOWEVER_BUSY, Home, Node, until};
use serde_json::{Value, json};

/// The body of an answer, which must be a success.
#[track_caller]
fn good(node: &Node, method: &str, path: &str, body: &str) -> Value {
    let answer = node.http(method, path, body);
    assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    answer.json()
}

/// All keys, and their revision.
fn all(node: &Node) -> (Value, Value) {
    (good(node, "GET", "/v1/kv", ""), good(node, "GET", "/v1/locks", ""))
}

/// Nodes of one mesh, three of which vote.
fn mesh(names: &[&str]) -> Vec<(Home, Node)> {
    let mut nodes: Vec<(Home, Node)> = Vec::new();
    for name in names {
        let home = Home::new();
        home.json(&["init", "--name", name]);
        std::fs::write(home.path().join("config.toml"), "voter_settle_ms = 100\n").unwrap();
        if let Some((founder, _)) = nodes.first() {
            let ticket = founder.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
            home.json(&["join", &ticket, "--name", name]);
        }
        let node = home.up();
        nodes.push((home, node));
    }
    for (home, _) in &nodes {
        until("three voters, and copies for the others", || {
            let seen = home.json(&["coordinator"]);
            let seats = [seen["voters"].as_array()?.len(), seen["learners"].as_array()?.len()];
            (seats == [3, names.len() - 3] && seen["mode"] == "full").then_some(())
        });
    }
    nodes
}

/// promise: Keys and locks | A write of one node is read by every other right after the answer
/// promise: Keys and locks | Commands for keys and locks have the fields and exit codes of their page
#[test]
fn keys_are_written_compared_listed_and_taken_away_over_http() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let first = good(&node, "PUT", "/v1/kv/deploy/target", "{\"value\":\"blue\"}");
    assert_eq!((&first["key"], &first["value"]), (&json!("deploy/target"), &json!("blue")));
    let read = good(&node, "GET", "/v1/kv/deploy/target", "");
    assert_eq!(
        (&read["value"], &read["revision"], &read["by"]),
        (&json!("blue"), &first["revision"], &node.ready["did"])
    );
    assert_eq!(good(&node, "GET", "/v1/kv/deploy%2Ftarget", ""), read, "a slash may be escaped");
    let local = good(&node, "GET", "/v1/kv/deploy/target?local=true", "");
    assert_eq!((&local["value"], &local["local"], local["age_ms"].is_u64()), (&json!("blue"), &json!(true), true));
    assert!(read.get("local").is_none() && read.get("age_ms").is_none(), "{read}");

    let swapped = good(&node, "PUT", "/v1/kv/deploy/target", "{\"value\":\"green\",\"expect\":\"blue\"}");
    assert!(swapped["revision"].as_u64() > first["revision"].as_u64());
    good(&node, "PUT", "/v1/kv/deploy/by", "{\"value\":\"me\",\"absent\":true,\"ttl\":\"1h\"}");
    good(&node, "PUT", "/v1/kv/other", "{\"value\":\"x\"}");
    let page = good(&node, "GET", "/v1/kv?prefix=deploy/&limit=1", "");
    assert_eq!((&page["items"][0]["key"], &page["items"][0]["ttl_ms"]), (&json!("deploy/by"), &json!(3_600_000)));
    let next = page["next"].as_str().unwrap();
    let rest = good(&node, "GET", &format!("/v1/kv?prefix=deploy/&after={next}"), "");
    assert_eq!((&rest["items"][0]["value"], &rest["next"]), (&json!("green"), &Value::Null), "{rest}");
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    let gone = good(&node, "DELETE", "/v1/kv/other", "");
    assert_eq!((&gone["key"], &gone["value"]), (&json!("other"), &Value::Null));
    assert_eq!(node.http("GET", "/v1/kv/other", "").problem(), "not_found");
    // Routes of ours take no name from the keys.
    for key in ["txn", "watch", "kv"] {
        good(&node, "PUT", &format!("/v1/kv/{key}"), "{\"value\":\"mine\"}");
        assert_eq!(good(&node, "GET", &format!("/v1/kv/{key}"), "")["value"], "mine");
    }
}

/// promise: Keys and locks | A comparison writes if it holds; a transaction has one revision or none
#[test]
fn a_transaction_does_all_or_the_other_thing() {
    let home = Home::new();
    let node = home.up();
    let txn = json!({
        "checks": [{"key": "a", "exists": false}],
        "then": [{"put": {"key": "a", "value": "1"}}, {"put": {"key": "b", "value": "2", "ttl": "1h"}}, {"get": "a"}],
        "else": [{"get": "a"}, {"delete": "b"}],
    });
    let done = good(&node, "POST", "/v1/kv", &txn.to_string());
    assert_eq!((&done["held"], &done["items"][2]["value"]), (&json!(true), &json!("1")), "{done}");
    assert!(done["items"].as_array().unwrap().iter().all(|item| item["revision"] == done["revision"]), "{done}");
    let again = good(&node, "POST", "/v1/kv", &txn.to_string());
    assert_eq!((&again["held"], &again["items"][0]["key"]), (&json!(false), &json!("a")), "{again}");
    assert_eq!(again["items"][1], Value::Null, "{again}");
    let revision = again["items"][0]["revision"].clone();
    for (check, holds) in [
        (json!({"key": "a", "value": "1"}), true),
        (json!({"key": "a", "value": "2"}), false),
        (json!({"key": "a", "revision": revision}), true),
        (json!({"key": "b", "exists": true}), false),
    ] {
        assert_eq!(good(&node, "POST", "/v1/kv", &json!({"checks": [check]}).to_string())["held"], holds, "{check}");
    }
    let file = home.beside("txn.json");
    std::fs::write(&file, json!({"then": [{"put": {"key": "c", "value": "3"}}]}).to_string()).unwrap();
    assert_eq!(home.json(&["kv", "txn", file.to_str().unwrap()])["held"], true);
    let stdin = home.run_with(&["kv", "txn", "-", "--json"], b"{\"then\":[{\"get\":\"c\"}]}").json();
    assert_eq!(stdin["items"][0]["value"], "3");
    assert_eq!(home.error(&["kv", "txn", "no-such-file"]).0, 2);
    assert_eq!(home.run_with(&["kv", "txn", "-"], b"[]").code, 2);
}

/// promise: Keys and locks | A request that is asked again under its id is answered as the first time, and done once
#[test]
fn a_change_with_an_id_is_done_once_also_after_the_node_was_killed() {
    let home = Home::new();
    let node = home.up();
    let create = &["kv", "cas", "k", "--absent", "v", "--request", "create-1"];
    let first = home.json(create);
    assert_eq!(home.json(create), first);
    home.json(&["kv", "put", "k", "w"]);
    assert_eq!(home.json(create), first, "the first answer, and no second write");
    assert_eq!(home.json(&["kv", "get", "k"])["value"], "w");
    let txn = br#"{"then": [{"put": {"key": "t", "value": "1"}}]}"#;
    let done = home.run_with(&["kv", "txn", "-", "--request", "txn-1", "--json"], txn).json();
    assert_eq!(home.run_with(&["kv", "txn", "-", "--request", "txn-1", "--json"], txn).json(), done);
    let gone = home.json(&["kv", "delete", "t", "--request", "gone-1"]);
    let lease = home.json(&["lock", "acquire", "l", "--ttl", "1h", "--request", "job-1"]);
    node.kill_9();

    let node = home.up();
    assert_eq!(home.json(create), first);
    assert_eq!(home.json(&["kv", "delete", "t", "--request", "gone-1"]), gone);
    let again = home.json(&["lock", "acquire", "l", "--ttl", "1h", "--request", "job-1"]);
    assert_eq!(again["token"], lease["token"], "the same lease");
    assert_eq!(home.error(&["lock", "acquire", "l"]).0, 7);
    let token = lease["token"].to_string();
    home.json(&["lock", "release", "l", "--token", &token]);
    let over = home.error(&["lock", "acquire", "l", "--ttl", "1h", "--request", "job-1"]);
    assert_eq!((over.0, over.1["code"].as_str()), (7, Some("conflict")), "the lease is over, and is not taken anew");

    // over HTTP the id may be in quotes
    let (host, token) = (node.address(), format!("Bearer {}", node.token()));
    let put = |id: &str| {
        let headers = [("Host", host.as_str()), ("Authorization", token.as_str()), ("Idempotency-Key", id)];
        node.raw("PUT", "/v1/kv/http", &headers, br#"{"value":"v"}"#)
    };
    let first = put("a-1").json();
    assert_eq!(put("\"a-1\"").json(), first);
    assert_ne!(put("a-2").json()["revision"], first["revision"]);
}

/// promise: Keys and locks | A request's id is good for one change: another change under it is refused
#[test]
fn an_id_is_good_for_one_change() {
    let home = Home::new();
    let node = home.up();
    home.json(&["kv", "put", "k", "v", "--request", "one"]);
    for other in [
        &["kv", "put", "k", "w", "--request", "one"][..],
        &["kv", "delete", "k", "--request", "one"],
        &["lock", "acquire", "k", "--request", "one"],
    ] {
        let (code, error) = home.error(other);
        assert_eq!((code, error["code"].as_str()), (7, Some("other_request")), "{error}");
    }
    assert_eq!(home.json(&["kv", "get", "k"])["value"], "v");
    let long = "x".repeat(256);
    for bad in ["", "two words", &long] {
        assert_eq!(home.error(&["kv", "put", "k", "w", "--request", bad]).0, 2, "{bad}");
    }
    let (host, token) = (node.address(), format!("Bearer {}", node.token()));
    let headers = |ids: &[&'static str]| {
        let ids = ids.iter().map(|id| ("Idempotency-Key", *id));
        [("Host", host.as_str()), ("Authorization", token.as_str())].into_iter().chain(ids).collect::<Vec<_>>()
    };
    for (ids, status) in [(&[""][..], 422), (&["a", "b"], 400)] {
        assert_eq!(node.raw("PUT", "/v1/kv/k", &headers(ids), br#"{"value":"x"}"#).status, status, "{ids:?}");
    }
}

/// promise: Keys and locks | Values are any bytes: `kv put --file` and `kv get` take and give them as they are, and documents have them as `value_base64`
#[test]
fn bytes_go_through_the_command_line_and_http_as_they_are() {
    let home = Home::new();
    let node = home.up();
    let bytes: &[u8] = b"\xff\0PNG\r\n\n";
    let file = home.beside("value");
    std::fs::write(&file, bytes).unwrap();
    let (file, other) = (file.to_str().unwrap(), home.beside("other"));
    let raw = |arguments: &[&str]| home.command(arguments).output().unwrap().stdout;

    let written = home.json(&["kv", "put", "logo", "--file", file]);
    assert_eq!((&written["value"], &written["value_base64"]), (&Value::Null, &json!("/wBQTkcNCgo=")));
    let item = good(&node, "GET", "/v1/kv/logo", "");
    assert_eq!((item.get("value"), &item["value_base64"]), (None, &json!("/wBQTkcNCgo=")));
    assert_eq!(raw(&["kv", "get", "logo"]), bytes);
    home.run(&["kv", "get", "logo", "--file", other.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read(&other).unwrap(), bytes);
    assert!(home.run(&["kv", "list"]).ok().stdout.contains("(8 bytes)"));

    // text stays text, also from a file, and `--file` keeps its last line's end
    assert_eq!(home.run_with(&["kv", "put", "text", "--file", "-", "--json"], b"a\n\n").json()["value"], "a\n\n");
    assert_eq!(
        (raw(&["kv", "get", "text"]), raw(&["kv", "get", "text", "--file", "-"])),
        (b"a\n".into(), b"a\n\n".into())
    );
    assert_eq!(home.run_with(&["kv", "put", "text", "-", "--json"], b"a\n\n").json()["value"], "a");
    let (code, error) = (home.run_with(&["kv", "put", "text", "-"], bytes).code, home.error(&["kv", "put", "text"]));
    assert_eq!((code, error.0), (2, 2));

    // compared, in a transaction and by a change
    good(&node, "PUT", "/v1/kv/logo", "{\"value_base64\":\"/w==\",\"expect_base64\":\"/wBQTkcNCgo=\"}");
    let txn = json!({
        "checks": [{ "key": "logo", "value_base64": "/w==" }],
        "then": [{ "put": { "key": "icon", "value_base64": "AP8=" } }, { "get": "logo" }],
    });
    let done = good(&node, "POST", "/v1/kv", &txn.to_string());
    assert_eq!((&done["held"], &done["items"][1]["value_base64"]), (&json!(true), &json!("/w==")));
    let changes = good(&node, "GET", "/v1/watch?prefix=icon&after=0", "");
    assert_eq!(changes["changes"][0]["value_base64"], "AP8=");
    for bad in [
        json!({ "value": "x", "value_base64": "/w==" }),
        json!({ "value_base64": "/w" }),
        json!({ "value_base64": "/w==\n" }),
        json!({ "value": "x", "expect": "x", "expect_base64": "/w==" }),
        json!({}),
    ] {
        let refused = node.http("PUT", "/v1/kv/logo", &bad.to_string());
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid"), "{bad}");
    }
    let check = json!({ "checks": [{ "key": "logo", "value": "x", "value_base64": "/w==" }] });
    assert_eq!(node.http("POST", "/v1/kv", &check.to_string()).problem(), "invalid");
    // the bound is of the bytes, not of their base64
    let (most, more) = (vec![0xff; 65_536], vec![0xff; 65_537]);
    std::fs::write(file, most).unwrap();
    home.run(&["kv", "put", "large", "--file", file]).ok();
    std::fs::write(file, more).unwrap();
    assert_eq!(home.error(&["kv", "put", "large", "--file", file]).1["code"], "too_large");
}

/// promise: Bad input | Critical requests over a limit or against a rule: refused, nothing changed
#[test]
fn what_breaks_a_rule_is_refused_and_changes_nothing() {
    let home = Home::new();
    let node = home.up();
    good(&node, "PUT", "/v1/kv/k", "{\"value\":\"v\"}");
    let held = good(&node, "POST", "/v1/locks/l/acquire", "{\"ttl\":\"1h\"}");
    let wrong = held["token"].as_u64().unwrap() + 1;
    let before = all(&node);
    let long = format!("/v1/kv/{}", "k".repeat(513));
    let large = json!({"value": "v".repeat((64 << 10) + 1)}).to_string();
    let many = json!({"then": vec![json!({"get": "k"}); 129]}).to_string();
    let (fenced, renew) = (format!("{{\"value\":\"x\",\"fence\":{wrong}}}"), format!("{{\"token\":{wrong}}}"));
    let fence = format!("/v1/kv/k?fence={wrong}");
    let me = format!("/v1/coordinator/voters/{}", node.text("did"));
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        // Keys and values.
        ("PUT", &long, "{\"value\":\"x\"}", 422, "invalid"),
        ("PUT", "/v1/kv/a%0Ab", "{\"value\":\"x\"}", 422, "invalid"),
        ("PUT", "/v1/kv/a%FFb", "{\"value\":\"x\"}", 400, "malformed"),
        ("PUT", "/v1/kv/", "{\"value\":\"x\"}", 404, "no_route"),
        ("PUT", "/v1/kv/nexus/x", "{\"value\":\"x\"}", 403, "refused"),
        ("DELETE", "/v1/kv/nexus/x", "", 403, "refused"),
        ("PUT", "/v1/kv/k", &large, 413, "too_large"),
        ("PUT", "/v1/kv/k", "{\"value\":7}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "{}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "", 400, "malformed"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"colour\":1}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"ttl\":\"1ms\"}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"ttl\":\"31d\"}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"expect\":\"v\",\"absent\":true}", 422, "invalid"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"expect\":\"w\"}", 409, "conflict"),
        ("PUT", "/v1/kv/k", "{\"value\":\"x\",\"absent\":true}", 409, "conflict"),
        ("PUT", "/v1/kv/missing", "{\"value\":\"x\",\"expect\":\"v\"}", 409, "conflict"),
        ("PUT", "/v1/kv/k", &fenced, 409, "conflict"),
        ("DELETE", &fence, "", 409, "conflict"),
        ("DELETE", "/v1/kv/k?fence=old", "", 422, "invalid"),
        ("DELETE", "/v1/kv/missing", "", 404, "not_found"),
        ("GET", "/v1/kv/missing", "", 404, "not_found"),
        ("GET", "/v1/kv/missing?local=true", "", 404, "not_found"),
        ("GET", "/v1/kv/k?local=maybe", "", 422, "invalid"),
        ("GET", "/v1/kv?limit=0", "", 422, "invalid"),
        ("GET", "/v1/kv?limit=1001", "", 422, "invalid"),
        ("GET", "/v1/kv?colour=red", "", 422, "invalid"),
        ("GET", "/v1/watch?after=yesterday", "", 422, "invalid"),
        // Transactions.
        ("POST", "/v1/kv", "{\"colour\":1}", 422, "invalid"),
        ("POST", "/v1/kv", "{\"checks\":[{\"key\":\"k\"}]}", 422, "invalid"),
        ("POST", "/v1/kv", "{\"checks\":[{\"key\":\"k\",\"exists\":true,\"value\":\"v\"}]}", 422, "invalid"),
        ("POST", "/v1/kv", "{\"then\":[{\"paint\":\"k\"}]}", 422, "invalid"),
        ("POST", "/v1/kv", "{\"then\":[{\"put\":{\"key\":\"nexus/x\",\"value\":\"\"}}]}", 403, "refused"),
        ("POST", "/v1/kv", &many, 413, "too_large"),
        // Locks.
        ("POST", "/v1/locks/l/acquire", "", 409, "conflict"),
        ("POST", "/v1/locks/m/acquire", "{\"ttl\":\"1ms\"}", 422, "invalid"),
        ("POST", "/v1/locks/m/acquire", "{\"wait\":\"2h\"}", 422, "invalid"),
        ("POST", "/v1/locks/m/acquire", "{\"colour\":1}", 422, "invalid"),
        ("POST", "/v1/locks/l/renew", &renew, 409, "conflict"),
        ("POST", "/v1/locks/l/release", &renew, 409, "conflict"),
        ("POST", "/v1/locks/l/release", "{\"token\":-1}", 422, "invalid"),
        ("POST", "/v1/locks/unknown/renew", &renew, 404, "not_found"),
        ("POST", "/v1/locks/unknown/release", &renew, 404, "not_found"),
        ("POST", "/v1/locks/unknown/steal", "", 404, "not_found"),
        // Coordinators.
        ("POST", "/v1/coordinator/voters", "{\"did\":\"nobody\"}", 404, "not_found"),
        ("DELETE", "/v1/coordinator/voters/nobody", "", 404, "not_found"),
        ("DELETE", &me, "", 409, "conflict"),
        ("POST", "/v1/coordinator/step-down", "", 409, "conflict"),
        ("POST", "/v1/coordinator/recover", "{}", 422, "invalid"),
        ("POST", "/v1/coordinator/recover", "{\"i_understand\":false}", 422, "invalid"),
        ("POST", "/v1/coordinator/recover", "{\"i_understand\":true}", 409, "conflict"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = node.http(method, path, body);
        let case = format!("{method} {path} {}", &body[..body.len().min(60)]);
        assert_eq!((answer.status, answer.problem().as_str()), (*status, *code), "{case}: {answer:?}");
    }
    assert_eq!(all(&node), before);
    let seen = good(&node, "GET", "/v1/coordinator", "");
    assert_eq!((seen["voters"].as_array().unwrap().len(), &seen["generation"]), (1, &json!(0)), "{seen}");
}

/// promise: Keys and locks | A lock has one holder and a fair line; no write passes under an old token
#[test]
fn a_lock_is_taken_renewed_waited_for_and_stolen_and_old_tokens_are_worth_nothing() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let first = good(&node, "POST", "/v1/locks/deploy/acquire", "{\"ttl\":\"1h\"}");
    assert_eq!((&first["name"], &first["holder"]), (&json!("deploy"), &node.ready["did"]));
    let token = first["token"].as_u64().unwrap();
    assert!(first["expires_in_ms"].as_u64().unwrap() > 3_000_000, "{first}");
    good(&node, "PUT", "/v1/kv/state", &format!("{{\"value\":\"mine\",\"fence\":{token}}}"));
    let renewed = good(&node, "POST", "/v1/locks/deploy/renew", &format!("{{\"token\":{token},\"ttl\":\"2h\"}}"));
    assert!(renewed["expires_in_ms"].as_u64().unwrap() > 7_000_000 && renewed["token"] == token, "{renewed}");
    let held = node.http("POST", "/v1/locks/deploy/acquire", "").json();
    assert!(held["detail"].as_str().unwrap().contains("laptop"), "it says who holds it: {held}");

    let (second, stolen) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| good(&node, "POST", "/v1/locks/deploy/acquire", "{\"wait\":\"30s\"}"));
        until("somebody waits", || (good(&node, "GET", "/v1/locks", "")[0]["waiting"] == 1).then_some(()));
        let released = good(&node, "POST", "/v1/locks/deploy/release", &format!("{{\"token\":{token}}}"));
        assert_eq!(released["expires_in_ms"], 0);
        let second = waits.join().unwrap()["token"].as_u64().unwrap();
        (second, good(&node, "POST", "/v1/locks/deploy/steal", "")["token"].as_u64().unwrap())
    });
    assert!(token < second && second < stolen, "tokens grow: {token}, {second}, {stolen}");
    for old in [token, second] {
        let late = node.http("PUT", "/v1/kv/state", &format!("{{\"value\":\"late\",\"fence\":{old}}}"));
        assert_eq!((late.status, late.problem().as_str()), (409, "conflict"));
    }
    assert_eq!(good(&node, "GET", "/v1/kv/state", "")["value"], "mine");
    let changes = good(&node, "GET", "/v1/watch?prefix=deploy&after=0", "");
    let kinds: Vec<&str> =
        changes["changes"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["lock_acquired", "lock_renewed"], "{changes}");
    assert_eq!(kinds.last(), Some(&"lock_stolen"), "{changes}");
    let theft = changes["changes"].as_array().unwrap().last().unwrap();
    assert_eq!((&theft["by_name"], &theft["stolen_from"]), (&json!("laptop"), &node.ready["did"]), "{theft}");
}

/// promise: Keys and locks | `fence check` ends with 0 only while the lease of that token stands
#[test]
fn a_script_checks_a_token_before_its_effect() {
    let home = Home::new();
    let _node = home.up();
    let token = home.json(&["lock", "acquire", "a b/ü", "--ttl", "1h"])["token"].as_u64().unwrap();
    let check = |token: u64| {
        let ran = home.run(&["--json", "fence", "check", "a b/ü", &token.to_string()]);
        (ran.code, serde_json::from_str::<Value>(&ran.stdout).unwrap()["valid"].as_bool().unwrap())
    };
    assert_eq!(check(token), (0, true));
    assert_eq!(check(token + 1), (7, false));
    home.json(&["lock", "steal", "a b/ü"]);
    assert_eq!(check(token), (7, false));
    let gone = home.run(&["fence", "check", "nobody", "1"]);
    assert_eq!(gone.code, 7);
    assert!(gone.stderr.contains("nobody holds the lock nobody"), "{gone:?}");
    assert_eq!(home.run(&["fence", "check", "nobody", "x"]).code, 2);
}

/// promise: Keys and locks | A caller that goes away while it waits does not get the lock, and leaves the line
#[test]
fn whoever_goes_away_while_it_waits_does_not_end_up_with_the_lock() {
    use std::io::Write;

    let home = Home::new();
    let node = home.up();
    let token = good(&node, "POST", "/v1/locks/l/acquire", "{\"ttl\":\"1h\"}")["token"].as_u64().unwrap();
    let mut waiting = std::net::TcpStream::connect(node.address()).unwrap();
    let body = "{\"wait\":\"30m\",\"ttl\":\"1h\"}";
    let (address, token_text) = (node.address(), node.token());
    let head = format!(
        "POST /v1/locks/l/acquire HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token_text}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    waiting.write_all(head.as_bytes()).unwrap();
    until("it waits", || (good(&node, "GET", "/v1/locks", "")[0]["waiting"] == 1).then_some(()));
    drop(waiting);
    until("it left the line", || (good(&node, "GET", "/v1/locks", "")[0]["waiting"] == 0).then_some(()));
    good(&node, "POST", "/v1/locks/l/release", &format!("{{\"token\":{token}}}"));
    until("nobody has it", || (good(&node, "GET", "/v1/locks", "") == json!([])).then_some(()));
}

/// promise: Keys and locks | Changes are told in order after any revision that is kept, with their author
#[test]
fn a_watch_goes_on_after_a_revision_and_says_who() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let mut watch = home
        .command(&["kv", "watch", "config/", "--after", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    let first = home.json(&["kv", "put", "config/a", "1"]);
    home.json(&["kv", "put", "elsewhere", "0"]);
    let change = next();
    assert_eq!((&change["kind"], &change["key"], &change["value"]), (&json!("put"), &json!("config/a"), &json!("1")));
    assert_eq!((&change["revision"], &change["by_name"]), (&first["revision"], &json!("laptop")));
    assert_eq!(change["by"], node.ready["did"]);
    home.json(&["kv", "delete", "config/a"]);
    assert_eq!(next()["kind"], "deleted");
    watch.kill().unwrap();
    watch.wait().unwrap();
    // A poll waits for the next change. On a prefix without changes it keeps up with the revision.
    let now = good(&node, "GET", "/v1/watch", "");
    assert_eq!((&now["changes"], &now["missed"]), (&json!([]), &json!(false)));
    let after = now["revision"].as_u64().unwrap();
    let polled = std::thread::scope(|scope| {
        let poll = scope.spawn(|| good(&node, "GET", &format!("/v1/watch?after={after}&wait=30s"), ""));
        home.json(&["kv", "put", "config/b", "2"]);
        poll.join().unwrap()
    });
    assert_eq!(polled["changes"][0]["key"], "config/b", "{polled}");
    let quiet = good(&node, "GET", &format!("/v1/watch?prefix=nothing&after={after}"), "");
    assert_eq!(quiet["revision"], polled["revision"], "{quiet}");
}

/// promise: Keys and locks | Commands for keys and locks have the fields and exit codes of their page
#[test]
fn commands_answer_with_the_fields_and_exit_codes_of_the_contract() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let fields = |document: &Value, names: &str| {
        for name in names.split(' ') {
            assert!(document.get(name).is_some(), "{name}: {document}");
        }
    };
    fields(&home.json(&["kv", "put", "k", "v", "--ttl", "1h"]), "key value revision");
    fields(&home.json(&["kv", "get", "k"]), "key value revision");
    fields(&home.json(&["kv", "get", "k", "--local"]), "key value revision local age_ms");
    fields(&home.json(&["kv", "cas", "k", "--expect", "v", "w"]), "key value revision");
    fields(&home.json(&["kv", "cas", "new", "--absent", "w"]), "key value revision");
    let page = home.json(&["kv", "list"]);
    fields(&page, "items next revision");
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["kv", "list", "n"])["items"][0]["key"], "new");
    assert_eq!(home.run(&["kv", "get", "k"]).ok().stdout, "w\n");
    assert_eq!(home.run_with(&["kv", "put", "k", "-"], b"from stdin\n").ok().code, 0);
    assert_eq!(home.json(&["kv", "get", "k"])["value"], "from stdin");
    fields(&home.json(&["kv", "delete", "k"]), "key revision");

    let lease = home.json(&["lock", "acquire", "l", "--ttl", "1h"]);
    fields(&lease, "name token holder expires_in_ms");
    let token = lease["token"].to_string();
    fields(&home.json(&["lock", "list"])[0], "name token holder expires_in_ms");
    fields(&home.json(&["lock", "renew", "l", "--token", &token]), "name token holder expires_in_ms");
    fields(&home.json(&["kv", "put", "fenced", "v", "--fence", &token]), "key value revision");
    let stolen = home.json(&["lock", "steal", "l"])["token"].to_string();
    let quiet = home.run(&["lock", "acquire", "other", "-q"]).ok().stdout;
    assert_eq!(home.json(&["lock", "list"])[1]["token"].to_string(), quiet.trim(), "the token alone");
    home.json(&["lock", "release", "other", "--token", quiet.trim()]);
    let seen = home.json(&["coordinator"]);
    fields(&seen, "leader term commit applied voters learners quorum");
    fields(&seen["voters"][0], "did name state");
    assert_eq!((&seen["leader"], &seen["quorum"]), (&node.ready["did"], &json!(true)));

    for (arguments, exit, code) in [
        (&["kv", "get", "missing"][..], 5, "not_found"),
        (&["kv", "delete", "missing"], 5, "not_found"),
        (&["kv", "put", "nexus/x", "v"], 4, "refused"),
        (&["kv", "put", "", "v"], 2, "usage"),
        (&["kv", "put", "k", "v", "--ttl", "soon"], 2, "usage"),
        (&["kv", "put", "k", "v", "--ttl", "1ms"], 2, "invalid"),
        (&["kv", "cas", "k", "v"], 2, "usage"),
        (&["kv", "cas", "k", "--expect", "a", "--absent", "v"], 2, "usage"),
        (&["kv", "cas", "missing", "--expect", "a", "v"], 7, "conflict"),
        (&["kv", "cas", "new", "--absent", "v"], 7, "conflict"),
        (&["kv", "put", "k", "v", "--fence", &token], 7, "conflict"),
        (&["lock", "acquire", "l"], 7, "conflict"),
        (&["lock", "acquire", "l", "--wait", "200ms"], 7, "conflict"),
        (&["lock", "renew", "l", "--token", &token], 7, "conflict"),
        (&["lock", "release", "l", "--token", &token], 7, "conflict"),
        (&["lock", "release", "unknown", "--token", "1"], 5, "not_found"),
        (&["lock", "steal", "unknown"], 5, "not_found"),
        (&["lock", "renew", "l"], 2, "usage"),
        (&["coordinator", "voters", "add", "nobody"], 5, "not_found"),
        (&["coordinator", "voters", "remove", "laptop"], 7, "conflict"),
        (&["coordinator", "step-down"], 7, "conflict"),
        (&["coordinator", "recover"], 2, "usage"),
        (&["coordinator", "recover", "--i-understand"], 7, "conflict"),
    ] {
        let (found, error) = home.error(arguments);
        assert_eq!((found, &error["code"]), (exit, &json!(code)), "{arguments:?}: {error}");
        assert!(error["hint"].is_string() || code == "invalid" || code == "refused", "{arguments:?}: {error}");
    }
    assert_eq!(home.json(&["lock", "release", "l", "--token", &stolen])["expires_in_ms"], 0);
    assert_eq!(home.json(&["lock", "list"]), json!([]));
}

/// The records of an audit.
fn past(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let all: Vec<&str> = ["audit", "--json"].iter().chain(arguments).copied().collect();
    home.run(&all).ok().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// promise: Keys and locks | The audit has every request with its outcome, in order, equal on every node
#[test]
fn who_did_what_is_told_line_by_line_and_checked() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    home.json(&["kv", "put", "k", "secret value"]);
    assert_eq!(home.error(&["kv", "cas", "k", "--absent", "w"]).0, 7);
    let token = home.json(&["lock", "acquire", "deploy"])["token"].clone();
    let lines = past(&home, &[]);
    let told: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["action"], &line["result"])).collect();
    assert_eq!(
        told,
        [
            (&json!("voter_added"), &json!("done")),
            (&json!("raise"), &json!("done")),
            (&json!("put"), &json!("done")),
            (&json!("cas"), &json!("refused")),
            (&json!("acquire"), &json!("granted"))
        ]
    );
    assert_eq!(
        (&lines[2]["name"], &lines[2]["by_name"], &lines[2]["revision"]),
        (&json!("k"), &json!("laptop"), &json!(1))
    );
    assert_eq!(
        (&lines[2]["by"], &lines[3]["code"], &lines[4]["token"]),
        (&node.ready["did"], &json!("mismatch"), &token)
    );
    assert_eq!((&lines[0]["by"], &lines[0]["name"]), (&node.ready["did"], &node.ready["did"]));
    assert_eq!((&lines[1]["by"], &lines[1]["name"]), (&node.ready["did"], &json!("7")));
    assert!(lines[1]["at"].as_str().unwrap().ends_with('Z'));
    assert!(!lines.iter().any(|line| line.to_string().contains("secret")), "values are nobody's business here");
    let text = home.run(&["audit"]).ok().stdout;
    assert!(text.contains("laptop") && text.contains("refused: mismatch"), "{text}");
    assert_eq!(past(&home, &["--since", "1d"])[..], lines[1..], "what the leader notes has no time of its own");

    let check = home.json(&["audit", "verify"]);
    assert_eq!((&check["ok"], &check["entries"], &check["broken"]), (&json!(true), &json!(5), &Value::Null), "{check}");
    assert_eq!(check["head"].as_str().unwrap().len(), 64);
    assert!(home.run(&["audit", "verify"]).ok().stdout.starts_with("ok: 5 entries checked"));
    for (path, status) in [("/v1/audit?limit=0", 422), ("/v1/audit?after=x", 422), ("/v1/audit?sinc=1d", 422)] {
        assert_eq!(node.http("GET", path, "").status, status, "{path}");
    }
    assert_eq!(home.error(&["audit", "--since", "soon"]).0, 2);
    assert_eq!(node.http("GET", &format!("/v1/audit?after={}", u64::MAX), "").json()["items"], json!([]));

    // after a restart the past is the same
    drop(node);
    let _node = home.up_with(&[]);
    let again = home.json(&["audit", "verify"]);
    assert_eq!((&again["head"], &again["entries"]), (&check["head"], &check["entries"]));
}

/// promise: Keys and locks | `audit verify` finds whatever was changed, left out or exchanged
#[test]
fn a_long_past_is_the_same_from_memory_and_from_disk_and_after_a_kill() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    // more than is kept in memory, with names of the greatest length
    let key = |n: usize| format!("{n:0>500}");
    for n in 0..1_500 {
        assert_eq!(node.http("PUT", &format!("/v1/kv/{}", key(n)), r#"{"value":"v"}"#).status, 200);
    }
    let before = home.json(&["audit", "verify"]);
    assert_eq!((&before["ok"], &before["entries"]), (&json!(true), &json!(1_502)), "{before}");
    let lines = past(&home, &[]);
    let numbers: Vec<u64> = lines.iter().map(|line| line["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=1_502).collect::<Vec<_>>());
    for n in [0, 1, 299, 1_499] {
        assert_eq!(lines[n + 2]["name"], json!(key(n)));
        let page = node.http("GET", &format!("/v1/audit?after={}&limit=1", n + 2), "").json();
        assert_eq!(page["items"][0]["name"], json!(key(n)));
    }
    node.kill_9();
    let _node = home.up_with(&[]);
    let after = home.json(&["audit", "verify"]);
    assert_eq!((&after["head"], &after["entries"]), (&before["head"], &before["entries"]));
    assert_eq!(past(&home, &[]), lines);
}

/// promise: Keys and locks | The mode is in `status`, `/readyz`, metrics, events and refusals
#[test]
fn a_minority_says_so_everywhere_and_the_others_go_on() {
    let nodes = mesh(&["terminal", "ide", "cloud"]);
    let [(terminal, first), (ide, second), (cloud, third)] = nodes.as_slice() else { unreachable!() };
    terminal.json(&["kv", "put", "deploy/target", "blue"]);
    assert_eq!(cloud.json(&["kv", "get", "deploy/target"])["value"], "blue");
    let status = ide.json(&["status"]);
    assert!(status["coordinator"].is_string() && status["mode"] == "full" && status["role"].is_string(), "{status}");
    let codes = |status: &Value| -> Vec<String> {
        status["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned()).collect()
    };
    until("they notice that they share a machine", || {
        codes(&terminal.json(&["status"])).contains(&"one_machine".to_owned()).then_some(())
    });

    // It follows the changes, to hear of the mode.
    let event = std::thread::scope(|scope| {
        let cursor = good(second, "GET", "/v1/events?wait=0s", "")["cursor"].as_str().unwrap().to_owned();
        let told = scope.spawn(move || {
            let path = format!("/v1/events?from={cursor}&wait=30s");
            until("the mode", || {
                let polled = good(second, "GET", &path, "");
                let mode = |change: &&Value| change["kind"] == "mode" && change["id"] == "read_only";
                polled["changes"].as_array()?.iter().find(mode).cloned()
            })
        });
        ide.json(&["offline"]);
        told.join().unwrap()
    });
    assert_eq!(event["author"], second.ready["did"], "{event}");

    let critical: [&[&str]; 5] = [
        &["kv", "put", "deploy/target", "green"],
        &["kv", "get", "deploy/target"],
        &["kv", "list"],
        &["lock", "acquire", "l"],
        &["lock", "list"],
    ];
    // Each takes its time to find no quorum, so they ask at once.
    let refused = std::thread::scope(|scope| {
        let asked = critical.map(|arguments| (arguments, scope.spawn(move || ide.error(arguments))));
        let refused = second.http("GET", "/v1/kv/deploy/target", "");
        for (arguments, asked) in asked {
            let (exit, error) = asked.join().unwrap();
            assert_eq!((exit, &error["code"]), (6, &json!("no_quorum")), "{arguments:?}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("terminal") && message.contains("cloud"), "it names who is missing: {message}");
        }
        refused
    });
    assert_eq!((refused.status, refused.problem().as_str()), (503, "no_quorum"));
    assert_eq!(ide.json(&["kv", "get", "deploy/target", "--local"])["value"], "blue");
    let status = ide.json(&["status"]);
    assert_eq!((&status["mode"], &status["coordinator"]), (&json!("read_only"), &Value::Null), "{status}");
    assert!(codes(&status).contains(&"read_only".to_owned()), "{status}");
    let ready = second.http("GET", "/readyz", "");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "mode": "read_only"})));
    let metrics = second.http("GET", "/metrics", "").body;
    for line in ["nexus_mode{mode=\"read_only\"} 1", "nexus_mode{mode=\"full\"} 0", "nexus_coordinator_is_leader 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("nexus_critical_changes_total{outcome=\"no_quorum\"}"), "{metrics}");
    ide.json(&["remember", "memory goes on"]);

    terminal.json(&["kv", "put", "deploy/target", "red"]);
    assert_eq!(cloud.json(&["kv", "get", "deploy/target"])["value"], "red");
    until("the majority knows who is away", || {
        let status = terminal.json(&["status"]);
        (status["mode"] == "core" && codes(&status).contains(&"voter_down".to_owned())).then_some(())
    });
    assert_eq!(first.http("GET", "/readyz", "").json()["mode"], "core");

    ide.json(&["online"]);
    until("ide has caught up", || {
        let read = second.http("GET", "/v1/kv/deploy/target", "");
        (read.status == 200 && read.json()["value"] == "red").then_some(())
    });
    for node in [first, second, third] {
        until("full again", || (node.http("GET", "/readyz", "").json()["mode"] == "full").then_some(()));
    }
}

/// promise: Keys and locks | Another leads when the leader steps down; voters come and go by hand
#[test]
fn voters_come_and_go_by_name_and_another_leads() {
    let nodes = mesh(&["terminal", "ide", "cloud", "desk"]);
    let [(terminal, _), (ide, _), ..] = nodes.as_slice() else { unreachable!() };
    let names = |seats: &Value| -> Vec<String> {
        seats.as_array().unwrap().iter().map(|seat| seat["name"].as_str().unwrap().to_owned()).collect()
    };
    let seen = terminal.json(&["coordinator"]);
    let [learner] = names(&seen["learners"]).try_into().unwrap();
    let voter = names(&seen["voters"]).into_iter().find(|name| name != "terminal").unwrap();
    terminal.json(&["coordinator", "voters", "remove", &voter]);
    until("the learner takes its place", || {
        let now = names(&terminal.json(&["coordinator"])["voters"]);
        (now.len() == 3 && now.contains(&learner) && !now.contains(&voter)).then_some(())
    });
    until("it has a copy again", || names(&terminal.json(&["coordinator"])["learners"]).contains(&voter).then_some(()));
    terminal.json(&["coordinator", "voters", "add", &voter]);
    until("four voters", || (names(&terminal.json(&["coordinator"])["voters"]).len() == 4).then_some(()));

    // an offline node does not say that keys go on
    terminal.json(&["offline"]);
    assert_eq!(terminal.json(&["status"])["mode"], "read_only");
    terminal.json(&["online"]);
    until("they meet again", || (terminal.json(&["status"])["mode"] == "full").then_some(()));

    let leader = |home: &Home| home.json(&["coordinator"])["leader"].as_str().map(str::to_owned);
    let before = until("a leader", || leader(terminal));
    terminal.json(&["coordinator", "step-down"]);
    until("another leader", || leader(terminal).filter(|leader| *leader != before));
    let (exit, error) = terminal.error(&["coordinator", "recover", "--i-understand"]);
    assert_eq!((exit, &error["code"]), (7, &json!("conflict")), "{error}");
    // Only an admin changes the coordinators.
    let (exit, error) = ide.error(&["coordinator", "step-down"]);
    assert_eq!((exit, &error["code"]), (4, &json!("refused")), "{error}");
}

/// promise: Keys and locks | The rest of a lost quorum begins anew when told to; the old group does not count
#[test]
fn what_is_left_of_a_lost_quorum_begins_anew_when_told_to() {
    let [one, two, three] = mesh(&["one", "two", "three"]).try_into().ok().unwrap();
    one.0.json(&["kv", "put", "k", "kept"]);
    until("its copy has it", || {
        let local = one.1.http("GET", "/v1/kv/k?local=true", "");
        (local.status == 200).then_some(())
    });
    two.1.kill_9();
    three.1.kill_9();
    until("no quorum", || (one.0.json(&["status"])["mode"] == "read_only").then_some(()));
    assert_eq!(one.0.error(&["kv", "put", "k", "lost"]).0, 6);
    // a task that is done once waits for the quorum, and one that may be repeated does not
    let worker = |capability: &str| {
        let mut command =
            one.0.command(&[&["worker"][..], HOWEVER_BUSY, &["--capability", capability, "--", "cat"]].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (mut pays, mut echoes) = (worker("pay"), worker("echo"));
    let paid = one.0.json(&["task", "submit", "pay", "--once"])["id"].as_str().unwrap().to_owned();
    assert_eq!(one.0.json(&["task", "submit", "echo", "--wait"])["state"], "succeeded");
    until("it says why", || {
        let task = one.0.json(&["task", "show", &paid]);
        let why = task["why"].as_str().unwrap_or_default().to_owned();
        (task["state"] == "pending" && why.contains("quorum") && task["claims"] == 0).then_some(())
    });
    let seen = one.0.json(&["coordinator", "recover", "--i-understand"]);
    assert_eq!((seen["voters"].as_array().unwrap().len(), &seen["generation"]), (1, &json!(1)), "{seen}");
    assert_eq!(one.0.json(&["kv", "get", "k"])["value"], "kept");
    one.0.json(&["kv", "put", "k", "again"]);
    until("it is done", || (one.0.json(&["task", "show", &paid])["state"] == "succeeded").then_some(()));
    for worker in [&mut pays, &mut echoes] {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}

/// promise: Keys and locks | `lock run` holds and renews a lock while a command runs, gives it back, and exits as the command does
#[cfg(unix)]
#[test]
fn a_command_runs_while_its_lock_is_held_and_renewed() {
    let home = Home::new();
    let node = home.up();
    let out = home.beside("out");
    let script = format!("printf '%s %s' \"$NEXUS_LOCK\" \"$NEXUS_LOCK_TOKEN\" > '{}'; exit 3", out.display());
    assert_eq!(home.run(&["lock", "run", "deploy", "--", "sh", "-c", &script]).code, 3);
    let told = std::fs::read_to_string(&out).unwrap();
    let (name, token) = told.split_once(' ').unwrap();
    assert_eq!((name, token.parse::<u64>().is_ok()), ("deploy", true), "{told}");
    assert_eq!(home.json(&["lock", "list"]), json!([]), "it was given back");
    let ran = home.run(&["lock", "run", "deploy", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");

    // longer than the lease: until the renewals are seen
    let go = home.beside("go");
    let script = format!("until [ -e '{}' ]; do sleep 0.05; done", go.display());
    let mut running =
        home.command(&["lock", "run", "deploy", "--ttl", "1s", "--", "sh", "-c", &script]).spawn().unwrap();
    until("it is renewed", || {
        let kinds = good(&node, "GET", "/v1/watch?prefix=deploy&after=0", "");
        let renewed = kinds["changes"].as_array()?.iter().filter(|change| change["kind"] == "lock_renewed").count();
        (renewed >= 4).then_some(())
    });
    let other = home.run(&["lock", "run", "deploy", "--", "true"]);
    assert_eq!(other.code, 7, "it is held: {other:?}");
    std::fs::write(&go, "").unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(home.json(&["lock", "list"]), json!([]));
}

/// promise: Keys and locks | A command of `lock run` is ended once its lease is lost
#[cfg(unix)]
#[test]
fn a_command_is_ended_once_its_lease_is_lost() {
    let home = Home::new();
    let _node = home.up();
    let ready = home.beside("ready");
    // it does not listen to SIGTERM, and began another one that does not either
    let script = format!("trap '' TERM; (trap '' TERM; sleep 600) & echo $! > '{}'; wait; sleep 600", ready.display());
    let mut running = home.command(&["lock", "run", "deploy", "--ttl", "1s", "--", "sh", "-c", &script]);
    let mut running = running.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let below = until("it began", || std::fs::read_to_string(&ready).ok()?.trim().parse::<i32>().ok());
    home.json(&["lock", "steal", "deploy", "--ttl", "1h"]);
    assert_eq!(running.wait().unwrap().code(), Some(7));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("is lost") && said.contains("hint:"), "{said}");
    until("what it began is gone, too", || {
        let pid = rustix::process::Pid::from_raw(below)?;
        rustix::process::test_kill_process(pid).is_err().then_some(())
    });
    assert_eq!(home.json(&["lock", "list"])[0]["name"], "deploy", "the thief's lease stands");
}

/// A runner whose command ignores SIGTERM and began another one in a session of its own. Returns it with both.
#[cfg(target_os = "linux")]
fn stubborn(home: &Home, lock: &str, ttl: &str) -> (std::process::Child, [i32; 2]) {
    let (one, two) = (home.beside(&format!("{lock}.1")), home.beside(&format!("{lock}.2")));
    let below = format!("trap \"\" TERM; echo $$ > {}; while :; do sleep 600; done", two.display());
    let script =
        format!("trap '' TERM; setsid sh -c '{below}' & echo $$ > '{}'; while :; do sleep 600; done", one.display());
    let mut running = home.command(&["lock", "run", lock, "--ttl", ttl, "--", "sh", "-c", &script]);
    let running = running.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pids = [one, two].map(|path| {
        until("it began", || std::fs::read_to_string(&path).ok()?.trim().parse::<i32>().ok().filter(|pid| *pid > 0))
    });
    (running, pids)
}

#[cfg(target_os = "linux")]
fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[cfg(target_os = "linux")]
fn all_gone(pids: &[i32]) {
    until("the command is gone, with all that it began", || {
        let lives = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
        };
        (!pids.iter().any(lives)).then_some(())
    });
}

/// promise: Keys and locks | The command of `lock run` ends with its runner, however that ends, with all that it began
#[cfg(target_os = "linux")]
#[test]
fn no_end_of_a_runner_leaves_its_command_behind() {
    use rustix::process::Signal;
    let home = Home::new();
    let _node = home.up();
    for (index, end) in
        [Signal::KILL, Signal::ABORT, Signal::ALARM, Signal::VTALARM, Signal::XCPU].into_iter().enumerate()
    {
        let (mut running, pids) = stubborn(&home, &format!("l{index}"), "2s");
        signal(running.id().cast_signed(), end);
        running.wait().unwrap();
        all_gone(&pids);
    }

    // a runner that is stopped renews nothing
    let (mut running, pids) = stubborn(&home, "stopped", "2s");
    signal(running.id().cast_signed(), Signal::STOP);
    all_gone(&pids);
    signal(running.id().cast_signed(), Signal::CONT);
    assert_eq!(running.wait().unwrap().code(), Some(7));

    // the process between the two is killed
    let (mut running, pids) = stubborn(&home, "guard", "30s");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
    let guard: i32 = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(guard, running.id().cast_signed());
    signal(guard, Signal::KILL);
    assert_eq!(running.wait().unwrap().code(), Some(128 + 9));
    all_gone(&pids);
    assert!(home.json(&["lock", "list"]).as_array().unwrap().iter().all(|lock| lock["name"] != "guard"));
}

/// promise: Keys and locks | `lock run` hands signals on to its command
#[cfg(target_os = "linux")]
#[test]
fn a_runner_hands_signals_on() {
    use rustix::process::Signal;
    let home = Home::new();
    let _node = home.up();
    let out = home.beside("out");
    let out = out.display();
    let script = format!(
        "for s in HUP INT QUIT USR1 USR2 WINCH; do trap \"echo $s >> '{out}'\" $s; done
         trap 'exit 9' TERM; echo begun >> '{out}'; while :; do sleep 0.05; done"
    );
    let mut running = home.command(&["lock", "run", "deploy", "--", "sh", "-c", &script]);
    let mut running = running.stdin(Stdio::null()).spawn().unwrap();
    let said = |word: &str| {
        until(word, || {
            std::fs::read_to_string(home.beside("out")).ok()?.lines().any(|line| line == word).then_some(())
        });
    };
    said("begun");
    let kinds = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];
    for (kind, word) in kinds.into_iter().zip(["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"]) {
        signal(running.id().cast_signed(), kind);
        said(word);
    }
    signal(running.id().cast_signed(), Signal::TERM);
    assert_eq!(running.wait().unwrap().code(), Some(9));
    assert_eq!(home.json(&["lock", "list"]), json!([]), "it was given back");
}

/// promise: Bad input | A command of `lock run` that is not there, or none at all
#[cfg(unix)]
#[test]
fn a_command_that_is_not_there_leaves_no_lock_behind() {
    let home = Home::new();
    let _node = home.up();
    let ran = home.run(&["lock", "run", "deploy", "--", "no-such-command-here"]);
    assert_eq!(ran.code, 127, "{ran:?}");
    assert!(ran.stderr.contains("no-such-command-here") && ran.stderr.contains("given back"), "{ran:?}");
    assert_eq!(home.run(&["lock", "run", "deploy", "--", "/"]).code, 126);
    assert_eq!(home.json(&["lock", "list"]), json!([]));
    assert_eq!(home.run(&["lock", "run", "deploy"]).code, 2);
}
