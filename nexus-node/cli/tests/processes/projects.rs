//! Projects: which one a session belongs to, by its directory alone, and what it is told of.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which ends where it cannot go on"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Home, pair, until};

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"]);
    git.args(arguments).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = git.output().expect("git is there");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with a commit, and these remotes.
fn repository(directory: &Path, remotes: &[(&str, &str)]) -> PathBuf {
    fs::create_dir_all(directory).unwrap();
    git(directory, &["init", "-q", "-b", "main"]);
    fs::write(directory.join("name"), directory.display().to_string()).unwrap();
    git(directory, &["add", "."]);
    git(directory, &["commit", "-q", "-m", &directory.display().to_string()]);
    for (name, address) in remotes {
        git(directory, &["remote", "add", name, address]);
    }
    directory.to_owned()
}

/// The brief of a session in a directory.
fn brief(home: &Home, directory: &Path) -> String {
    let input = json!({ "session_id": "s", "source": "startup", "cwd": directory });
    home.run_with(&["hook", "session-start"], input.to_string().as_bytes()).ok().stdout
}

/// The project of a session in a directory.
#[track_caller]
fn project(home: &Home, directory: &Path) -> Option<String> {
    let brief = brief(home, directory);
    let who = brief.lines().find(|line| line.starts_with("You are ")).unwrap_or_else(|| panic!("{brief}"));
    Some(who.split_once(", project ")?.1.trim_end_matches('.').to_owned())
}

/// An agent's program in a directory, which speaks MCP over stdio.
struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    fn start(home: &Home, directory: &Path, roots: Option<&Path>) -> Self {
        let mut command = home.command(&["mcp", "--no-start"]);
        for variable in ["CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR", "CURSOR_PROJECT_DIR", "WORKSPACE_FOLDER_PATHS"] {
            command.env_remove(variable);
        }
        command.current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::of(command, roots)
    }

    fn of(mut command: Command, roots: Option<&Path>) -> Self {
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut agent = Self { child, stdin, stdout };
        let capabilities = if roots.is_some() { json!({ "roots": { "listChanged": true } }) } else { json!({}) };
        agent.say(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": { "name": "tester", "version": "1" },
        } }));
        agent.hear();
        agent.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        if let Some(root) = roots {
            let asked = agent.hear();
            assert_eq!(asked["method"], "roots/list", "{asked}");
            let uri = format!("file://{}", root.display().to_string().replace(' ', "%20"));
            let roots = json!([{ "uri": "https://example.com/" }, { "uri": uri }]);
            agent.say(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "roots": roots } }));
        }
        agent
    }

    fn say(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn tool(&mut self, name: &str, arguments: Value) -> String {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
        self.say(&call);
        let answer = self.hear();
        assert!(answer["result"]["isError"].is_null(), "{answer}");
        answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    }

    fn remember(&mut self, text: &str) {
        self.tool("remember", json!({ "text": text }));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn remember(home: &Home, directory: &Path, text: &str) {
    Agent::start(home, directory, None).remember(text);
}

fn tags(home: &Home, text: &str) -> Value {
    let found = home.json(&["list", "--limit", "1000"]);
    let memory = found["items"].as_array().unwrap().iter().find(|memory| memory["text"] == text).cloned();
    memory.unwrap_or_else(|| panic!("{text}: {found}"))["tags"].clone()
}

const SHOP: &str = "git@git.example.com:acme/shop.git";

/// promise: Agents | A session belongs to the project of its directory, by the marks or the name of its repository
#[test]
fn a_session_belongs_to_the_project_of_its_directory() {
    let home = Home::new();
    let _node = home.up_with(&["--name", "laptop"]);
    let at = |name: &str| home.beside("code").join(name);
    let shop = repository(&at("shop"), &[("origin", SHOP)]);
    fs::create_dir_all(shop.join("src/deep")).unwrap();
    // before anybody remembers anything it is the root's name, and nothing is written
    assert_eq!(project(&home, &shop.join("src/deep")).as_deref(), Some("shop"));
    assert_eq!(home.json(&["list", "--kind", "project-marks"])["items"], json!([]));
    remember(&home, &shop, "cents are rounded half to even");
    assert_eq!(tags(&home, "cents are rounded half to even"), json!(["project:shop"]));
    let records = home.json(&["list", "--kind", "project-marks"]);
    assert_eq!(records["items"].as_array().unwrap().len(), 1, "{records}");
    assert!(!home.json(&["list"]).to_string().contains("project-marks"), "it is no memory of anybody");
    remember(&home, &shop, "a second one writes no second record");
    assert_eq!(home.json(&["list", "--kind", "project-marks"])["items"].as_array().unwrap().len(), 1);

    // a clone under another name, over another protocol
    let clone = at("checkout 2");
    git(home.beside("code").as_path(), &["clone", "-q", shop.to_str().unwrap(), clone.to_str().unwrap()]);
    git(&clone, &["remote", "set-url", "origin", "https://token@Git.example.com/Acme/shop/"]);
    assert_eq!(project(&home, &clone).as_deref(), Some("shop"));
    // a worktree is its repository's
    git(&shop, &["worktree", "add", "-q", at("feature-x").to_str().unwrap(), "-b", "x"]);
    assert_eq!(project(&home, &at("feature-x")).as_deref(), Some("shop"));
    // a shallow clone, whose first commit is another one
    fs::write(shop.join("more"), "1").unwrap();
    git(&shop, &["add", "."]);
    git(&shop, &["commit", "-q", "-m", "two"]);
    let from = format!("file://{}", shop.display());
    git(home.beside("code").as_path(), &["clone", "-q", "--depth", "1", &from, at("shallow").to_str().unwrap()]);
    git(&at("shallow"), &["remote", "set-url", "origin", "ssh://git@git.example.com:22/acme/shop"]);
    assert_eq!(project(&home, &at("shallow")).as_deref(), Some("shop"));
    // a fork has two remotes, of which the second is known
    let fork = at("my-fork");
    git(home.beside("code").as_path(), &["clone", "-q", shop.to_str().unwrap(), fork.to_str().unwrap()]);
    git(&fork, &["remote", "set-url", "origin", "https://git.example.com/me/shop"]);
    git(&fork, &["remote", "add", "upstream", SHOP]);
    assert_eq!(project(&home, &fork).as_deref(), Some("shop"));
    // a repository without a remote is known by its first commit
    let notes = repository(&at("notes"), &[]);
    remember(&home, &notes, "the notes are in Markdown");
    git(home.beside("code").as_path(), &["clone", "-q", notes.to_str().unwrap(), at("papers").to_str().unwrap()]);
    git(&at("papers"), &["remote", "remove", "origin"]);
    assert_eq!(project(&home, &at("papers")).as_deref(), Some("notes"));
    // a submodule has a project of its own, and its parent is as before
    git(&shop, &["submodule", "add", "-q", notes.to_str().unwrap(), "vendor/lib"]);
    git(&shop.join("vendor/lib"), &["remote", "set-url", "origin", "https://git.example.com/acme/lib"]);
    assert_eq!(project(&home, &shop).as_deref(), Some("shop"));
    assert_eq!(project(&home, &shop.join("vendor/lib")).as_deref(), Some("lib"));
    // another repository of the same name
    let other = repository(&home.beside("elsewhere").join("shop"), &[("origin", "https://git.example.com/beta/shop")]);
    assert_eq!(project(&home, &other).as_deref(), Some("beta/shop"));
    remember(&home, &other, "beta sells tea");
    assert_eq!(tags(&home, "beta sells tea"), json!(["project:beta/shop"]));
    // no repository: the directory's own name; the home directory and the root are nobody's
    fs::create_dir_all(at("plain dir")).unwrap();
    assert_eq!(project(&home, &at("plain dir")).as_deref(), Some("\"plain dir\""));
    assert_eq!(project(&home, Path::new("/")), None);
    assert_eq!(project(&home, &directories_home()), None);
    // a directory that is gone, and one whose .git is nonsense
    assert_eq!(project(&home, Path::new("/nowhere/at-all")).as_deref(), Some("at-all"));
    fs::create_dir_all(at("odd/sub")).unwrap();
    for nonsense in [&b"gitdir: /nowhere\n"[..], b"gitdir:", b"\xff\xfe", b"", &[b'x'; 1 << 21]] {
        fs::write(at("odd/.git"), nonsense).unwrap();
        assert!(project(&home, &at("odd/sub")).is_some());
    }
}

fn directories_home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
}

/// promise: Agents | A session in a repository of anybody runs nothing that its configuration names
#[test]
fn a_hostile_repository_runs_nothing() {
    let home = Home::new();
    let _node = home.up();
    let ran = home.beside("ran");
    let touch = format!("touch {}", ran.display());
    for (name, remote) in [("with-a-remote", true), ("without-one", false)] {
        let hostile = repository(&home.beside(name), &[]);
        for (key, value) in [
            ("core.repositoryformatversion", "1"),
            ("core.fsmonitor", touch.as_str()),
            ("core.sshCommand", touch.as_str()),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("protocol.ext.allow", "always"),
        ] {
            git(&hostile, &["config", key, value]);
        }
        if remote {
            git(&hostile, &["config", "remote.origin.url", &format!("ext::sh -c '{touch}' x/y")]);
        } else {
            git(&hostile, &["config", "remote.origin.url", "/nowhere"]);
        }
        // git would fetch objects that are missing
        let objects = fs::read_dir(hostile.join(".git/objects")).unwrap().flatten();
        objects
            .filter(|entry| entry.file_name().len() == 2)
            .for_each(|entry| fs::remove_dir_all(entry.path()).unwrap());
        assert!(project(&home, &hostile).is_some());
        remember(&home, &hostile, &format!("in {name}"));
        assert!(!ran.exists(), "{name}");
    }
}

/// promise: Agents | The roots or variables of a client say where a session is
#[test]
fn roots_and_variables_say_where_a_session_is() {
    let home = Home::new();
    let _node = home.up();
    let (shop, atlas) = (home.beside("a shop"), home.beside("atlas"));
    fs::create_dir_all(&shop).unwrap();
    fs::create_dir_all(&atlas).unwrap();
    let mut rooted = Agent::start(&home, &atlas, Some(&shop));
    rooted.remember("by the root");
    assert_eq!(tags(&home, "by the root"), json!(["project:a shop"]));
    // the client opens another directory
    rooted.say(&json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }));
    let asked = rooted.hear();
    let roots = json!({ "roots": [{ "uri": format!("file://{}", atlas.display()) }] });
    rooted.say(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": roots }));
    rooted.remember("by the next root");
    assert_eq!(tags(&home, "by the next root"), json!(["project:atlas"]));
    // a client that offers roots and refuses to tell them
    let mut command = home.command(&["mcp", "--no-start"]);
    command.current_dir(&atlas).stdin(Stdio::piped()).stdout(Stdio::piped()).env("CLAUDE_PROJECT_DIR", &shop);
    let mut refusing = Agent::of(command, Some(Path::new("/nowhere/at/all")));
    refusing.remember("by the variable");
    assert_eq!(tags(&home, "by the variable"), json!(["project:a shop"]));
    // a name that was given, and none
    let mut named = home.command(&["mcp", "--no-start", "--project", "given"]);
    named.current_dir(&atlas).stdin(Stdio::piped()).stdout(Stdio::piped());
    Agent::of(named, None).remember("by the name");
    assert_eq!(tags(&home, "by the name"), json!(["project:given"]));
    let mut none = home.command(&["mcp", "--no-start", "--no-project"]);
    none.current_dir(&atlas).stdin(Stdio::piped()).stdout(Stdio::piped());
    Agent::of(none, None).remember("of no project");
    assert_eq!(tags(&home, "of no project"), json!([]));
    // a project that the agent names stays
    Agent::start(&home, &atlas, None).tool("remember", json!({ "text": "elsewhere", "tags": ["project:given", "x"] }));
    assert_eq!(tags(&home, "elsewhere"), json!(["project:given", "x"]));
}

/// promise: Agents | A session in a project is told of that project and of what is personal, and of nothing else
#[test]
fn a_session_is_told_of_its_project_and_of_what_is_personal() {
    let ((laptop, _one), (cloud, _two)) = pair();
    let shop = repository(&laptop.beside("shop"), &[("origin", SHOP)]);
    let atlas = repository(&laptop.beside("atlas"), &[("origin", "https://git.example.com/acme/atlas")]);
    remember(&laptop, &shop, "the harbour of the shop is Trieste");
    remember(&laptop, &atlas, "the harbour of the atlas is Oslo");
    laptop.run(&["remember", "my own harbour is Kiel", "--kind", "preference"]).ok();
    cloud.run(&["remember", "somebody else's harbour is Genoa", "--kind", "preference"]).ok();
    cloud.run(&["remember", "the harbour crew of the shop is Ada", "--tag", "project:shop"]).ok();
    until("all is there", || (crate::support::texts(&laptop).len() == 5).then_some(()));
    let mut agent = Agent::start(&laptop, &shop, None);
    let prompt = json!({ "prompt": "which harbour is whose harbour, of the shop, my own", "cwd": shop });
    for told in [
        brief(&laptop, &shop),
        agent.tool("recall", json!({ "query": "harbour", "limit": 20 })),
        agent.tool("session_start", json!({})),
    ] {
        assert!(told.contains("Trieste") && told.contains("Kiel") && told.contains("Ada"), "{told}");
        assert!(!told.contains("Oslo") && !told.contains("Genoa"), "{told}");
    }
    let told = laptop.run_with(&["hook", "prompt"], prompt.to_string().as_bytes()).ok().stdout;
    assert!(told.contains("Trieste") && !told.contains("Oslo") && !told.contains("Genoa"), "{told}");
    let all = agent.tool("recall", json!({ "query": "harbour", "everywhere": true }));
    for place in ["Trieste", "Kiel", "Ada", "Oslo", "Genoa"] {
        assert!(all.contains(place), "{place}: {all}");
    }
    // the other machine knows the project by its marks, whatever the directory is called there
    let clone = cloud.beside("work-copy");
    git(&cloud.beside(""), &["clone", "-q", shop.to_str().unwrap(), clone.to_str().unwrap()]);
    git(&clone, &["remote", "set-url", "origin", SHOP]);
    assert_eq!(project(&cloud, &clone).as_deref(), Some("shop"));
    let told = brief(&cloud, &clone);
    assert!(told.contains("Trieste") && told.contains("Genoa") && !told.contains("Kiel"), "{told}");
    // the filters of a list
    let of = |arguments: &[&str]| {
        let items = laptop.json(&[&["list"], arguments].concat())["items"].clone();
        items.as_array().unwrap().len()
    };
    assert_eq!([of(&[]), of(&["--project", "SHOP"]), of(&["--project", "x"])], [5, 2, 0]);
    assert_eq!([of(&["--kind", "Preference"]), of(&["--tag", "project:atlas"]), of(&["--conflicts"])], [2, 1, 0]);
    assert_eq!(of(&["--kind", "project-marks"]), 2);
    // preferences of another member in the project take no place of one's own, however many
    let flood: String = (0..120)
        .map(|n| {
            format!("{}\n", json!({ "text": format!("flood {n}"), "kind": "preference", "tags": ["project:shop"] }))
        })
        .collect();
    cloud.run_with(&["import", "-"], flood.as_bytes()).ok();
    until("the flood is there", || (crate::support::texts(&laptop).len() == 125).then_some(()));
    let told = brief(&laptop, &shop);
    assert!(told.lines().any(|line| line.starts_with("preference ") && line.contains("Kiel")), "{told}");
}

/// promise: Agents | A member that claims the marks or the name of somebody's project takes nothing away from it
#[test]
fn a_record_of_another_takes_no_project_away() {
    let ((laptop, _one), (cloud, node)) = pair();
    let shop = repository(&laptop.beside("shop"), &[("origin", SHOP)]);
    let legacy = repository(&laptop.beside("legacy"), &[("origin", "https://git.example.com/acme/legacy")]);
    laptop.run(&["remember", "of long ago", "--tag", "project:legacy"]).ok();
    remember(&laptop, &shop, "the port is 5433");
    until("the record is there", || {
        let items = cloud.json(&["list", "--kind", "project-marks"])["items"].as_array().unwrap().clone();
        items.first().cloned()
    });
    // a rogue with real credentials: records with the marks of the shop, edits of the record, the names of others
    let record = cloud.json(&["list", "--kind", "project-marks"])["items"][0].clone();
    let marks = record["text"].as_str().unwrap().split_once(" = ").unwrap().1.to_owned();
    let claim = |name: &str, marks: &str| {
        let body = json!({ "kind": "project-marks", "text": format!("{name} = {marks}") });
        assert_eq!(node.http("POST", "/v1/memories", &body.to_string()).status, 201);
    };
    for n in 0..40 {
        claim(&format!("evil{n}"), &marks);
    }
    claim("legacy", &"0".repeat(32));
    cloud.json(&["remember", "the rogue was here", "--id", "mark"]);
    until("its word is there", || laptop.run(&["get", "mark"]).stdout.contains("rogue").then_some(()));
    assert_eq!(project(&laptop, &shop).as_deref(), Some("shop"));
    assert_eq!(project(&laptop, &legacy).as_deref(), Some("legacy"), "memories were there before the claim");
    let id = record["id"].as_str().unwrap();
    cloud.json(&["edit", id, &format!("stolen = {marks}")]);
    until("the edit is there", || laptop.json(&["get", id])["text"].as_str().unwrap().contains("stolen").then_some(()));
    assert_eq!(project(&laptop, &shop).as_deref(), Some("shop"));
    let clone = laptop.beside("clone");
    git(&laptop.beside(""), &["clone", "-q", shop.to_str().unwrap(), clone.to_str().unwrap()]);
    git(&clone, &["remote", "set-url", "origin", SHOP]);
    assert_eq!(project(&laptop, &clone).as_deref(), Some("shop"));
    cloud.json(&["forget", id]);
    until("the record is gone", || (laptop.run(&["get", id]).code == 5).then_some(()));
    assert_eq!(project(&laptop, &clone).as_deref(), Some("shop"));
    // a name that another member gave to a repository counts while it is a member
    let theirs = repository(&cloud.beside("lib"), &[("origin", "https://git.example.com/acme/lib")]);
    remember(&cloud, &theirs, "the lib is in Rust");
    let copy = repository(&laptop.beside("copy"), &[("origin", "https://git.example.com/acme/lib")]);
    until("its project is known", || (project(&laptop, &copy).as_deref() == Some("lib")).then_some(()));
    laptop.json(&["revoke", "cloud"]);
    assert_eq!(project(&laptop, &copy).as_deref(), Some("copy"));
}
