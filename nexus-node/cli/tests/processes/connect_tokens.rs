//! `connect` gives each program a token of its own, and `disconnect` takes it back.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Home, Ran};
use crate::tokens::Mcp;

/// A person with programs, and a node.
struct Person {
    home: Home,
    directory: PathBuf,
}

impl Person {
    fn new() -> Self {
        let home = Home::new();
        let directory = home.beside("person");
        fs::create_dir_all(&directory).unwrap();
        Self { home, directory }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.home.command(arguments);
        for variable in ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME"] {
            command.env_remove(variable);
        }
        let output = command.env("HOME", &self.directory).current_dir(&self.directory).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    fn file(&self, program: &str) -> PathBuf {
        self.home.path().join("tokens").join(program)
    }

    fn token(&self, program: &str) -> String {
        fs::read_to_string(self.file(program)).unwrap().trim().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let listed = self.home.json(&["token", "list"]);
        listed.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Calls the server as the program does, by its entry.
    fn server(&self, done: &Value) -> Mcp {
        let arguments: Vec<&str> =
            done["entry"]["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        Mcp::start(&self.home, &arguments)
    }
}

/// promise: Agents | `connect` makes a token for each program, in a file of its owner's outside of the project; its agents write in the program's name
#[test]
fn each_program_has_a_token_and_its_agents_have_its_name() {
    let person = Person::new();
    let node = person.home.up();
    let printed = person.json(&["connect", "claude", "--print"]);
    assert_eq!(printed["token"]["changed"], false);
    assert!(!person.file("claude").exists() && person.names().is_empty(), "--print makes none");
    let done = person.json(&["connect", "claude", "--hooks"]);
    person.json(&["connect", "gemini"]);
    assert_eq!(person.names(), ["claude", "gemini"]);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(person.file("claude")), mode(person.home.path().join("tokens"))), (0o600, 0o700));
    assert_ne!(person.token("claude"), person.token("gemini"));
    let again = person.json(&["connect", "claude", "--hooks"]);
    assert_eq!((&again["token"]["changed"], &again["changed"]), (&json!(false), &json!(false)), "twice is once");
    // its agents write in its name
    let told = person.server(&done).tool("remember", &json!({ "text": "of claude" }));
    let id = told.split(' ').nth(1).unwrap().trim_end_matches(',').to_owned();
    assert_eq!(person.home.json(&["get", &id])["agent"], "claude");
    // and do nothing that is its owner's
    let token = person.token("claude");
    assert_eq!(node.with_token(&token, "GET", "/v1/status", "").status, 200);
    for (method, path) in
        [("POST", "/v1/tokens"), ("POST", "/v1/session"), ("POST", "/v1/invite"), ("GET", "/v1/config")]
    {
        assert_eq!(node.with_token(&token, method, path, "{}").problem(), "refused", "{path}");
    }
    // the hooks use it, too
    let settings = fs::read_to_string(person.directory.join(".claude/settings.json")).unwrap();
    let file = person.file("claude").display().to_string();
    assert_eq!(settings.matches(&format!("--token-file {file}")).count(), 2, "{settings}");
    let hook = person.run(&["hook", "session-start", "--no-project", "--token-file", &file]).ok();
    assert!(hook.stdout.contains("You are claude on node"), "{hook:?}");
    // a project's file names the program, and nothing of this machine
    let shared = person.json(&["connect", "claude", "--scope", "project"]);
    assert_eq!(shared["token"]["changed"], false, "it has one already");
    let entry = shared["entry"].to_string();
    assert!(entry.contains(r#""--for","claude""#) && !entry.contains("token"), "{entry}");
    assert!(!entry.contains(person.home.path().to_str().unwrap()), "{entry}");
    person.json(&["disconnect", "claude", "--scope", "project"]);
    assert!(person.file("claude").exists(), "other projects use it");
    // taken off, the token is worthless
    let parted = person.json(&["disconnect", "claude"]);
    assert_eq!(parted["token"], json!({ "name": "claude", "changed": true }));
    assert_eq!((person.file("claude").exists(), person.names()), (false, vec!["gemini".to_owned()]));
    assert_eq!(node.with_token(&token, "GET", "/v1/status", "").problem(), "unauthorized");
    assert!(person.json(&["disconnect", "claude"]).get("token").is_none());
}

/// promise: Agents | `connect --scope project` leads each machine to a token of the program's own, made there, and git takes none
#[test]
fn a_project_leads_each_machine_to_a_token_of_its_own() {
    let (person, other) = (Person::new(), Person::new());
    let node = person.home.up();
    let done = person.json(&["connect", "claude", "--hooks", "--scope", "project"]);
    assert_eq!((&done["token"]["changed"], person.names()), (&json!(true), vec!["claude".to_owned()]));
    let mode = fs::metadata(person.file("claude")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // all that git would take
    let token = person.token("claude");
    let mut texts = Vec::new();
    let mut left = vec![person.directory.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                texts.push(fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let all = texts.concat();
    assert!(!all.contains(&token) && !all.contains("nxt_"), "{all}");
    assert!(!all.contains(person.home.path().to_str().unwrap()), "{all}");
    assert_eq!(all.matches("--for claude").count(), 2, "the hooks name the program: {all}");
    // its agents write in the program's name, here and where the project's files came by git
    for (person, made) in [(&person, false), (&other, true)] {
        assert_eq!(person.file("claude").exists(), !made);
        let told = person.server(&done).tool("remember", &json!({ "text": "of the project" }));
        let id = told.split(' ').nth(1).unwrap_or_else(|| panic!("{told}")).trim_end_matches(',').to_owned();
        assert_eq!(person.home.json(&["get", &id])["agent"], "claude");
        assert!(person.file("claude").exists());
    }
    assert_ne!(other.token("claude"), token);
    let hook = person.run(&["hook", "session-start", "--no-project", "--for", "claude"]).ok();
    assert!(hook.stdout.contains("You are claude on node"), "{hook:?}");
    // without the program's name a hook is the owner's, as before
    let hook = person.run(&["hook", "session-start", "--no-project"]).ok();
    assert!(!hook.stdout.contains("You are claude on node"), "{hook:?}");
    // a revoked token is not made anew behind its owner's back
    person.home.json(&["token", "revoke", "claude"]);
    assert_eq!(node.with_token(&token, "GET", "/v1/status", "").problem(), "unauthorized");
    let told = person.server(&done).tool("remember", &json!({ "text": "once more" }));
    assert!(told.contains("revoked"), "{told}");
    assert!(person.names().is_empty());
    other.home.json(&["stop"]);
}

/// promise: Agents | `connect` makes the token also while no node runs, and before there is one; the next start knows it
#[test]
fn a_token_is_made_while_no_node_runs() {
    let person = Person::new();
    // there is no node yet: the server starts one
    let done = person.json(&["connect", "claude"]);
    assert_eq!(done["token"]["changed"], true);
    let told = person.server(&done).tool("remember", &json!({ "text": "the first" }));
    let id = told.split(' ').nth(1).unwrap_or_else(|| panic!("{told}")).trim_end_matches(',').to_owned();
    assert_eq!(person.home.json(&["get", &id])["agent"], "claude");
    person.home.json(&["stop"]);
    // there is one, and it does not run
    let done = person.json(&["connect", "gemini"]);
    assert_eq!(person.json(&["connect", "gemini"])["token"]["changed"], false, "twice is once");
    assert_eq!(person.json(&["disconnect", "claude"])["token"]["changed"], true);
    let node = person.home.up();
    assert_eq!(person.names(), ["gemini"]);
    assert_eq!(node.with_token(&person.token("gemini"), "GET", "/v1/status", "").status, 200);
    assert!(person.server(&done).tool("session_start", &json!({})).contains("You are gemini"));
}

/// promise: Agents | `connect` takes nobody's token away: one of that name that is elsewhere is a conflict, and nothing changes
#[test]
fn a_token_of_that_name_that_is_elsewhere_is_a_conflict() {
    let person = Person::new();
    let node = person.home.up();
    let theirs = crate::tokens::token(&person.home, "Claude", "memory:read", &[]);
    for running in [true, false] {
        if !running {
            person.home.json(&["stop"]);
        }
        let ran = person.run(&["connect", "claude", "--json"]);
        assert_eq!((ran.code, &ran.error()["code"]), (7, &json!("conflict")), "{ran:?}");
        assert!(ran.error()["hint"].as_str().unwrap().contains("token revoke claude"), "{ran:?}");
        assert!(!person.directory.join(".claude.json").exists() && !person.file("claude").exists());
    }
    drop(node);
    let node = person.home.up();
    assert_eq!(node.with_token(&theirs, "GET", "/v1/memories", "").status, 200);
    // a lost file of its own is one as well, until its owner says so
    person.home.json(&["token", "revoke", "claude"]);
    person.json(&["connect", "claude"]);
    fs::remove_file(person.file("claude")).unwrap();
    assert_eq!(person.run(&["connect", "claude"]).code, 7);
    person.home.json(&["token", "revoke", "claude"]);
    assert_eq!(person.json(&["connect", "claude"])["token"]["changed"], true);
}
