//! `connect` changes the files of other programs with care.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Home, Ran};

/// A person's home directory, with a project in it.
struct Person {
    home: Home,
    directory: PathBuf,
}

impl Person {
    fn new() -> Self {
        let home = Home::new();
        let directory = home.beside("person");
        fs::create_dir_all(directory.join("my project")).unwrap();
        Self { home, directory }
    }

    fn connect(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["connect"];
        all.extend_from_slice(arguments);
        let mut command = self.home.command(&all);
        for variable in ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "APPDATA"] {
            command.env_remove(variable);
        }
        command.env("HOME", &self.directory).env("USERPROFILE", &self.directory);
        command.current_dir(self.directory.join("my project"));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.connect(&all).json()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.directory.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn entry(text: &str, servers: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    document[servers]["nexus"].clone()
}

#[cfg(target_os = "linux")]
const VSCODE: &str = ".config/Code/User/mcp.json";
#[cfg(target_os = "macos")]
const VSCODE: &str = "Library/Application Support/Code/User/mcp.json";

/// promise: Agents | `connect` adds one entry, once, keeps all else in the file, and what it wrote works
#[cfg(unix)]
#[test]
fn each_program_gets_its_entry_where_it_looks_for_it() {
    let person = Person::new();
    let data_dir = person.home.path().display().to_string();
    let places = [
        ("claude", ".claude.json", ".mcp.json", "mcpServers"),
        ("cursor", ".cursor/mcp.json", ".cursor/mcp.json", "mcpServers"),
        ("vscode", VSCODE, ".vscode/mcp.json", "servers"),
        ("gemini", ".gemini/settings.json", ".gemini/settings.json", "mcpServers"),
    ];
    for (program, user, project, servers) in places {
        let printed = person.json(&[program, "--print"]);
        assert!(!person.directory.join(user).exists(), "--print writes nothing");
        let done = person.json(&[program]);
        assert_eq!((&done["changed"], &done["backup"]), (&json!(true), &Value::Null), "{done}");
        assert_eq!(done["entry"], printed["entry"]);
        assert_eq!(entry(&person.read(user), servers), done["entry"], "{program}");
        assert_eq!(done["entry"]["args"], json!(["mcp", "--data-dir", data_dir]));
        assert!(Path::new(done["entry"]["command"].as_str().unwrap()).is_absolute(), "{done}");
        assert_eq!(person.json(&[program])["changed"], false, "twice is once");
        let done = person.json(&[program, "--scope", "project"]);
        let arguments = json!(["mcp", "--data-dir", data_dir, "--project", "my project"]);
        assert_eq!(entry(&person.read(&format!("my project/{project}")), servers)["args"], arguments, "{done}");
    }
    person.json(&["codex"]);
    let codex: toml::Value = toml::from_str(&person.read(".codex/config.toml")).unwrap();
    assert_eq!(codex["mcp_servers"]["nexus"]["args"][0].as_str(), Some("mcp"));
    person.json(&["codex", "--scope", "project"]);
    assert!(person.read("my project/.codex/config.toml").contains("my project"));
    assert_eq!(person.json(&["all"]).as_array().unwrap().len(), 5);
}

/// promise: Agents | `connect` adds one entry, once, keeps all else in the file, and what it wrote works
#[cfg(unix)]
#[test]
fn what_else_is_in_the_file_stays_and_the_one_before_is_kept() {
    let person = Person::new();
    let before = "{\n  // my theme\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"other\": { \"command\": \"x\" }, // keep\n  },\n}\n";
    person.write(".gemini/settings.json", before);
    let done = person.json(&["gemini"]);
    let after = person.read(".gemini/settings.json");
    for line in before.lines() {
        assert!(after.contains(line), "{line}: {after}");
    }
    assert_eq!(fs::read_to_string(done["backup"].as_str().unwrap()).unwrap(), before);
    // a different entry is replaced, with another backup
    person.write(".cursor/mcp.json", r#"{"mcpServers":{"nexus":{"command":"old"}},"x":1}"#);
    person.json(&["cursor"]);
    person.write(".cursor/mcp.json", r#"{"mcpServers":{"nexus":{"command":"older"}},"x":1}"#);
    let done = person.json(&["cursor"]);
    assert!(done["backup"].as_str().unwrap().ends_with("mcp.json.bak2"), "{done}");
    let text = person.read(".cursor/mcp.json");
    assert_eq!((entry(&text, "mcpServers"), text.contains("\"x\":1")), (done["entry"].clone(), true));
    // an unreadable file is not touched
    for (path, program) in [(".cursor/mcp.json", "cursor"), (".codex/config.toml", "codex"), (".claude.json", "claude")]
    {
        person.write(path, "{ broken = ");
        let ran = person.connect(&[program, "--json"]);
        assert_eq!((ran.code, ran.error()["code"].as_str()), (2, Some("invalid")), "{ran:?}");
        assert_eq!(person.read(path), "{ broken = ");
    }
    assert_eq!(person.connect(&[]).code, 2);
    assert_eq!(person.connect(&["emacs"]).code, 2);
}

/// promise: Agents | `connect` adds one entry, once, keeps all else in the file, and what it wrote works
#[cfg(unix)]
#[test]
fn all_means_what_is_on_this_machine_and_says_what_that_is() {
    let person = Person::new();
    let connect = |path: &std::path::Path| {
        let mut command = person.home.command(&["connect", "all"]);
        for variable in ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME"] {
            command.env_remove(variable);
        }
        let output = command.env("HOME", &person.directory).env("PATH", path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let empty = person.directory.join("empty");
    let (code, told) = connect(&empty);
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("hint: name one"), "{told}");
    // one program has left files here, a shell finds another
    fs::create_dir_all(person.directory.join(".gemini")).unwrap();
    let programs = person.directory.join("bin");
    fs::create_dir_all(&programs).unwrap();
    fs::write(programs.join("codex"), "").unwrap();
    let (code, told) = connect(&programs);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("found: Codex, Gemini CLI\n"), "{told}");
    assert!(told.contains("left alone: Claude Code, Cursor, VS Code\n"), "{told}");
    assert!(person.directory.join(".gemini/settings.json").exists() && person.directory.join(".codex").exists());
    for left in [".claude.json", ".cursor", ".config/Code"] {
        assert!(!person.directory.join(left).exists(), "{left}");
    }
}

/// promise: Agents | `connect` adds one entry, once, keeps all else in the file, and what it wrote works
#[cfg(unix)]
#[test]
fn the_entry_starts_a_server_that_works() {
    let person = Person::new();
    let _node = person.home.up();
    let done = person.json(&["claude"]);
    let arguments: Vec<&str> =
        done["entry"]["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let ran = person.home.run_with(&arguments, format!("{ping}\n").as_bytes()).ok();
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["result"], json!({}), "{ran:?}");
}
