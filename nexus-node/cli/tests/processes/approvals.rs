//! Approving takes a person's session: the page, or a terminal that asks.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use serde_json::{Value, json};

use crate::support::{Home, Node, pair, until};
use crate::tokens::{Mcp, token, token_file};

/// A task of another member that waits at this node for an approval.
fn waiting(here: &Home, other: &Home) -> String {
    let task = other.json(&["task", "submit", "deploy", "--needs-approval", "--input", "\"to production\""]);
    let id = task["id"].as_str().unwrap().to_owned();
    until("it waits for an approval", || {
        let ran = here.run(&["task", "show", &id, "--json"]);
        let task: Value = serde_json::from_str(&ran.stdout).ok()?;
        (task["state"] == "awaiting_approval").then_some(())
    });
    id
}

fn state(home: &Home, task: &str) -> String {
    home.json(&["task", "show", task])["state"].as_str().unwrap().to_owned()
}

/// promise: Tasks | No agent answers for its person, by any way: a token of every scope, the `api-token`, MCP, a command without a terminal, pretending headers, a cookie without origin
#[test]
fn an_agent_answers_no_approval_by_any_way() {
    let ((laptop, node), (cloud, _other)) = pair();
    let task = waiting(&laptop, &cloud);
    let all = token(&laptop, "agent", "*", &[]);
    let path = format!("/v1/tasks/{task}/approve");
    let (address, owner) = (node.address(), node.token());
    let origin = format!("http://{address}");
    let refused = |headers: &[(&str, &str)], code: &str| {
        let headers = [&[("Host", address.as_str())], headers].concat();
        for body in ["", "{}", "{\"passphrase\":\"\"}"] {
            let answer = node.raw("POST", &path, &headers, body.as_bytes());
            assert_eq!(answer.problem(), code, "{headers:?} {body}");
            assert_eq!(answer.status, if code == "unauthorized" { 401 } else { 403 });
        }
    };
    // a token of an agent gets no session and no link
    for path in ["/v1/session", "/v1/web"] {
        let answer = node.with_token(&all, "POST", path, "");
        assert_eq!((answer.problem().as_str(), answer.header("set-cookie")), ("refused", None), "{path}");
    }
    for token in [&all, &owner] {
        let bearer = format!("Bearer {token}");
        refused(&[("Authorization", &bearer)], "refused");
        refused(&[("Authorization", &bearer), ("Origin", &origin)], "refused");
        refused(
            &[
                ("Authorization", &bearer),
                ("Origin", &origin),
                ("Nexus-Client", "command-line"),
                ("User-Agent", "Mozilla/5.0"),
                ("Sec-Fetch-Site", "same-origin"),
                ("Cookie", "nexus=1"),
            ],
            "refused",
        );
        let hint = node.with_token(token, "POST", &path, "{}").json()["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("nexus-node web") && hint.contains("nexus-node task approve ID"), "{hint}");
    }
    // a good cookie, as a page of another server of this machine sends it, or beside an agent's token
    let signed_in = node.with_token(&owner, "POST", "/v1/session", "");
    let cookie = signed_in.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    refused(&[("Cookie", cookie)], "foreign_origin");
    refused(&[("Cookie", cookie), ("Origin", "http://127.0.0.1:1")], "foreign_origin");
    refused(&[("Cookie", cookie), ("Origin", &origin), ("Sec-Fetch-Site", "cross-site")], "foreign_origin");
    let bearer = format!("Bearer {all}");
    refused(&[("Cookie", cookie), ("Origin", &origin), ("Authorization", &bearer)], "refused");
    refused(&[("Cookie", &cookie[..cookie.len() - 1]), ("Origin", &origin)], "unauthorized");
    refused(&[], "unauthorized");
    // by commands, which have no terminal here, and no flag in its place
    let file = token_file(&laptop, "token", &all);
    for arguments in [&["task", "approve", task.as_str()][..], &["--token-file", &file, "task", "approve", &task]] {
        let (code, error) = laptop.error(arguments);
        assert_eq!((code, &error["code"]), (4, &json!("refused")), "{arguments:?}");
        assert!(error["hint"].as_str().unwrap().contains("nexus-node web"), "{error}");
    }
    let piped = laptop.run_with(&["task", "approve", &task], b"y\ny\nyes\n");
    assert_eq!(piped.code, 4, "{piped:?}");
    assert_eq!(laptop.run(&["task", "approve", &task, "--yes"]).code, 2, "there is no such flag");
    // and over MCP
    for (profile, more) in [("full", &["--token-file", file.as_str()][..]), ("full", &[])] {
        let mut mcp = Mcp::start(&laptop, &[&["mcp", "--profile", profile], more].concat());
        for tool in ["task_approve", "approve"] {
            let told = mcp.tool(tool, &json!({ "id": task }));
            assert!(!told.contains("approved"), "{told}");
        }
        let told = mcp.tool("task_update", &json!({ "id": task, "output": "approved", "token": "x" }));
        assert!(!told.contains("succeeded"), "{told}");
    }
    // an agent does not reject it either, and its owner does
    assert_eq!(
        node.with_token(&all, "POST", &format!("/v1/tasks/{task}/reject"), "{\"why\":\"x\"}").problem(),
        "refused"
    );
    assert_eq!(state(&laptop, &task), "awaiting_approval");
    laptop.json(&["task", "reject", &task, "--why", "too late"]);
    until("its settler ends it", || (state(&laptop, &task) == "rejected").then_some(()));
}

/// promise: Tasks | A person approves on the page with its cookie
#[test]
fn a_person_approves_in_a_session_of_their_own() {
    let ((laptop, _node), (cloud, _other)) = pair();
    let task = waiting(&laptop, &cloud);
    let approved = laptop.approve(&task);
    assert_eq!(approved.status, 200, "{approved:?}");
    until("the submitter hears of it", || (state(&cloud, &task) == "pending").then_some(()));
}

/// Approving on a terminal.
#[cfg(target_os = "linux")]
mod on_a_terminal {
    use std::io::{Read, Write};
    use std::process::Stdio;

    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;
    use crate::terminal;

    /// Questions whose answers are not shown.
    const SECRETS: [&str; 3] = ["passphrase:", "once more:", "until now:"];

    /// Runs a command on a terminal, with an answer to each question, and returns its exit code, its stdout and what the
    /// terminal showed.
    fn asked(home: &Home, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String, String) {
        let (mut ours, theirs) = terminal::open();
        let mut command = home.command(arguments);
        let end = || theirs.try_clone().unwrap();
        let mut child = command.stdin(end()).stderr(end()).stdout(Stdio::piped()).spawn().unwrap();
        let shown = terminal::shown_on(&ours);
        let text = || String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
        let mut from = 0;
        for (question, answer) in answers {
            let at = until(question, || text()[from..].find(question).map(|at| from + at));
            from = at + question.len();
            if SECRETS.contains(question) {
                // the terminal throws away what comes before it shows no more letters
                until("letters are hidden", || {
                    let modes = tcgetattr(&theirs).unwrap().local_modes;
                    (!modes.contains(LocalModes::ECHO)).then_some(())
                });
            }
            ours.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        let code = until("the command ends", || child.try_wait().unwrap()).code().unwrap();
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (code, stdout, text())
    }

    /// promise: Tasks | A terminal shows what is to be approved and asks; only a yes approves
    #[test]
    fn a_terminal_shows_the_plan_and_asks() {
        let ((laptop, _node), (cloud, _other)): ((Home, Node), (Home, Node)) = pair();
        let task = waiting(&laptop, &cloud);
        for answer in ["", "n", "yep", "approve"] {
            let (code, stdout, shown) = asked(&laptop, &["task", "approve", &task], &[("Approve? [y/N]", answer)]);
            assert_eq!((code, stdout.as_str()), (4, ""), "{answer:?}: {shown}");
            assert_eq!(state(&laptop, &task), "awaiting_approval");
            for part in ["deploy", "to production", "cloud", &task, "tasks"] {
                assert!(shown.contains(part), "{part}: {shown}");
            }
        }
        // an agent's token makes no person of who sits there
        let file = token_file(&laptop, "token", &token(&laptop, "agent", "*", &[]));
        let with = ["--token-file", file.as_str(), "task", "approve", task.as_str()];
        let (code, _, shown) = asked(&laptop, &with, &[("Approve? [y/N]", "y")]);
        assert_eq!(code, 4, "{shown}");
        let (code, stdout, shown) = asked(&laptop, &["task", "approve", &task, "--json"], &[("Approve? [y/N]", "y")]);
        assert_eq!(code, 0, "{shown}");
        let answered: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(answered["id"], json!(task));
        until("the submitter hears of it", || (state(&cloud, &task) == "pending").then_some(()));
    }

    /// promise: Tasks | A passphrase is set on a terminal alone; then the page and the terminal ask for it, and nothing turns it off without it
    #[test]
    fn a_passphrase_is_asked_for_and_not_turned_off_without_itself() {
        const GOOD: &str = "correct horse battery";
        let ((laptop, node), (cloud, _other)): ((Home, Node), (Home, Node)) = pair();
        let task = waiting(&laptop, &cloud);
        let set =
            |with: &str, answers: &[(&str, &str)]| asked(&laptop, &["config", "set", "approve_with", with], answers);
        for with in ["passphrase", "session"] {
            assert_eq!(laptop.error(&["config", "set", "approve_with", with]).0, 4, "without a terminal");
        }
        assert_eq!(set("passphrase", &[("passphrase:", "short"), ("once more:", "short")]).0, 2);
        assert_eq!(set("passphrase", &[("passphrase:", GOOD), ("once more:", "another one")]).0, 2);
        let (code, _, shown) = set("passphrase", &[("passphrase:", GOOD), ("once more:", GOOD)]);
        assert_eq!(code, 0, "{shown}");
        // a session alone approves nothing now
        let approve = |passphrase: &str| {
            let body = json!({ "passphrase": passphrase }).to_string();
            laptop.as_person("POST", &format!("/v1/tasks/{task}/approve"), &body)
        };
        assert_eq!(laptop.approve(&task).problem(), "passphrase");
        assert_eq!(approve("wrong one").problem(), "refused");
        // and nothing turns it off
        for token in [node.token(), token(&laptop, "agent", "*", &[])] {
            let off = [("PATCH", "/v1/config", "{\"approve_with\":\"session\"}"), ("PUT", "/v1/approving", "{}")];
            for (method, path, body) in off {
                assert_eq!(node.with_token(&token, method, path, body).problem(), "refused", "{method} {path}");
            }
        }
        assert_eq!(laptop.as_person("PUT", "/v1/approving", "{}").problem(), "passphrase");
        let former = json!({ "former": "wrong one" }).to_string();
        assert_eq!(laptop.as_person("PUT", "/v1/approving", &former).problem(), "refused");
        let with = ["task", "approve", task.as_str()];
        let (code, _, shown) = asked(&laptop, &with, &[("Approve? [y/N]", "y"), ("passphrase:", "wrong one")]);
        assert_eq!(code, 4, "{shown}");
        for _ in 0..2 {
            assert_eq!(approve("wrong one").problem(), "refused");
        }
        let hasty = approve(GOOD);
        assert_eq!((hasty.status, hasty.problem().as_str()), (429, "too_many"), "after five wrong ones");
        assert!(hasty.header("retry-after").is_some(), "{hasty:?}");
        // it outlives a restart, which forgets the wrong ones
        node.terminate();
        let _node = laptop.up();
        assert_eq!(state(&laptop, &task), "awaiting_approval");
        let (code, _, shown) = asked(&laptop, &with, &[("Approve? [y/N]", "y"), ("passphrase:", GOOD)]);
        assert_eq!(code, 0, "{shown}");
        let (code, _, shown) = set("session", &[("until now:", GOOD)]);
        assert_eq!(code, 0, "{shown}");
        assert_eq!(node_approves_with(&laptop), "session");
    }

    fn node_approves_with(home: &Home) -> String {
        let answer = home.as_person("GET", "/v1/approving", "");
        answer.json()["approve_with"].as_str().unwrap().to_owned()
    }
}
