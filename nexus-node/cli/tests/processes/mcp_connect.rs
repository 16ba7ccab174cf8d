//! `connect` and `disconnect` change the files of other programs with care.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{self, Home, Ran};
use serde_json::{Value, json};

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
        self.run("connect", arguments)
    }

    fn disconnect(&self, arguments: &[&str]) -> Ran {
        self.run("disconnect", arguments)
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Ran {
        let mut all = vec![command];
        all.extend_from_slice(arguments);
        let mut command = self.home.command(&all);
        for variable in
            ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "APPDATA", "GEMINI_CLI_HOME", "COPILOT_HOME"]
        {
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

    fn parted(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.disconnect(&all).json()
    }

    fn exists(&self, path: &str) -> bool {
        self.directory.join(path).exists()
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
        ("copilot", ".copilot/mcp-config.json", ".github/mcp.json", "mcpServers"),
    ];
    for (program, user, project, servers) in places {
        let printed = person.json(&[program, "--print"]);
        assert!(!person.directory.join(user).exists(), "--print writes nothing");
        let done = person.json(&[program]);
        assert_eq!((&done["changed"], &done["backup"]), (&json!(true), &Value::Null), "{done}");
        assert_eq!(done["entry"], printed["entry"]);
        assert_eq!(entry(&person.read(user), servers), done["entry"], "{program}");
        let token = person.home.path().join("tokens").join(program).display().to_string();
        assert_eq!(done["entry"]["args"], json!(["mcp", "--data-dir", data_dir, "--token-file", token]));
        assert_eq!(done["token"], json!({ "name": program, "path": token, "changed": true }));
        assert!(Path::new(done["entry"]["command"].as_str().unwrap()).is_absolute(), "{done}");
        assert_eq!(person.json(&[program])["changed"], false, "twice is once");
        let done = person.json(&[program, "--scope", "project"]);
        let arguments = json!(["mcp", "--for", program, "--project", "my project"]);
        assert_eq!(entry(&person.read(&format!("my project/{project}")), servers)["args"], arguments, "{done}");
    }
    person.json(&["codex"]);
    let codex: toml::Value = toml::from_str(&person.read(".codex/config.toml")).unwrap();
    assert_eq!(codex["mcp_servers"]["nexus"]["args"][0].as_str(), Some("mcp"));
    person.json(&["codex", "--scope", "project"]);
    assert!(person.read("my project/.codex/config.toml").contains("my project"));
    assert_eq!(person.json(&["all"]).as_array().unwrap().len(), 6);
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
    // an older entry of ours is replaced, with another backup
    person.write(".cursor/mcp.json", r#"{"mcpServers":{"nexus":{"command":"/old/nexus-node","args":["mcp"]}},"x":1}"#);
    person.json(&["cursor"]);
    person.write(".cursor/mcp.json", r#"{"mcpServers":{"nexus":{"command":"nexus-node","args":["mcp"]}},"x":1}"#);
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
        assert!(person.json(&[program, "--print"])["text"].is_string(), "the hint's way");
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
    assert!(told.contains("left alone: Claude Code, Cursor, VS Code, Copilot CLI\n"), "{told}");
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

/// promise: Agents | `connect --scope project` writes nothing of this machine, and says what each machine needs
#[cfg(unix)]
#[test]
fn a_project_s_file_names_nothing_of_this_machine() {
    let person = Person::new();
    let files = [
        ("claude", ".mcp.json"),
        ("codex", ".codex/config.toml"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".vscode/mcp.json"),
        ("gemini", ".gemini/settings.json"),
        ("copilot", ".github/mcp.json"),
    ];
    let here = |text: &str| text.contains(person.directory.parent().unwrap().to_str().unwrap());
    for (program, file) in files {
        let ran = person.connect(&[program, "--scope", "project"]).ok();
        for need in ["each machine needs `nexus-node` on its PATH", "NEXUS_DATA_DIR="] {
            assert!(ran.stderr.contains(need), "{need}: {ran:?}");
        }
        let text = person.read(&format!("my project/{file}"));
        assert!(text.contains("\"nexus-node\"") && text.contains("\"my project\""), "{text}");
        assert!(!here(&text) && !text.contains("--data-dir") && !text.contains("/nexus-node"), "{text}");
    }
    let done = person.json(&["claude", "--scope", "project", "--hooks"]);
    assert_eq!(
        (&done["entry"]["command"], done["needs"].as_array().unwrap().len()),
        (&json!("nexus-node"), 2),
        "{done}"
    );
    let settings = person.read("my project/.claude/settings.json");
    assert!(
        settings.contains("\"nexus-node hook prompt --for claude --project 'my project'\"") && !here(&settings),
        "{settings}"
    );
    // of what is met, nothing is said
    let program = Path::new(support::PROGRAM).parent().unwrap();
    let mut command = person.home.command(&["connect", "claude", "--scope", "project", "--json"]);
    command.env("PATH", program).env("HOME", &person.directory).env("XDG_DATA_HOME", person.directory.join("share"));
    command
        .env("NEXUS_DATA_DIR", person.directory.join("share/nexus"))
        .current_dir(person.directory.join("my project"));
    let done: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    #[cfg(target_os = "linux")]
    assert_eq!(done["needs"], json!([]), "{done}");
    assert_eq!(done["changed"], false, "{done}");
}

/// promise: Agents | `disconnect` gives the file from before `connect` back, or takes ours out and nothing else
#[cfg(unix)]
#[test]
fn connecting_and_disconnecting_gives_the_former_file_back() {
    let comments = "{\n  // my theme\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"other\": { \"command\": \"x\" }, // keep\n  },\n}\n";
    let toml = "# mine\nmodel = \"o\" # best\n\n[mcp_servers.other]\ncommand = \"x\"\n\n[tui]\ntheme = \"dark\"\n";
    let files = [
        ("claude", ".claude.json"),
        ("codex", ".codex/config.toml"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", VSCODE),
        ("gemini", ".gemini/settings.json"),
        ("copilot", ".copilot/mcp-config.json"),
    ];
    for before in
        [None, Some(""), Some("{}"), Some("{\"theme\":\"dark\"}\n"), Some("{\"mcpServers\": {}}"), Some(comments)]
    {
        let person = Person::new();
        for (program, file) in files {
            let before =
                if program == "codex" && before.is_some_and(|text| !text.is_empty()) { Some(toml) } else { before };
            before.inspect(|text| person.write(file, text));
            assert_eq!(person.json(&[program])["changed"], true);
            let with = person.read(file);
            let shown = person.parted(&[program, "--print"]);
            assert!(shown["text"].as_str().unwrap().contains("nexus") && person.read(file) == with, "{shown}");
            let done = person.parted(&[program]);
            assert_eq!(done["changed"], true, "{done}");
            assert_eq!(fs::read_to_string(done["backup"].as_str().unwrap()).unwrap(), with);
            match before {
                Some(text) => assert_eq!(person.read(file), text, "{program}"),
                None => assert!(!person.exists(file), "{program}"),
            }
            let again = person.parted(&[program]);
            assert_eq!((&again["changed"], &again["backup"]), (&json!(false), &Value::Null), "{again}");
        }
    }
}

/// promise: Agents | `disconnect` gives the file from before `connect` back, or takes ours out and nothing else
#[cfg(unix)]
#[test]
fn disconnect_takes_ours_out_of_a_file_that_went_on() {
    let person = Person::new();
    person.write(".gemini/settings.json", "{\n  \"mcpServers\": {\n    \"other\": 1 // keep\n  }\n}\n");
    person.json(&["gemini"]);
    let later = person.read(".gemini/settings.json").replace("{\n  \"mcp", "{\n  \"theme\": \"dark\", // new\n  \"mcp");
    person.write(".gemini/settings.json", &later);
    person.parted(&["gemini"]);
    let after = "{\n  \"theme\": \"dark\", // new\n  \"mcpServers\": {\n    \"other\": 1 // keep\n  }\n}\n";
    assert_eq!(person.read(".gemini/settings.json"), after);
    // nothing there: said, and no failure
    let ran = person.disconnect(&["cursor"]).ok();
    assert!(ran.stdout.contains("has nothing of ours") && !person.exists(".cursor"), "{ran:?}");
    // a broken file is not touched, and then no other one is
    person.json(&["gemini"]);
    let with = person.read(".gemini/settings.json");
    for (path, program) in
        [(".cursor/mcp.json", "cursor"), (".codex/config.toml", "codex"), (".claude/settings.json", "claude")]
    {
        person.write(path, "{ broken = ");
        for program in [program, "all"] {
            let ran = person.disconnect(&[program, "--json"]);
            assert_eq!((ran.code, ran.error()["code"].as_str()), (2, Some("invalid")), "{ran:?}");
        }
        assert_eq!((person.read(path).as_str(), person.read(".gemini/settings.json")), ("{ broken = ", with.clone()));
        fs::remove_file(person.directory.join(path)).unwrap();
    }
    let all = person.parted(&["all"]);
    let changed: Vec<&Value> = all.as_array().unwrap().iter().filter(|done| done["changed"] == true).collect();
    assert_eq!((all.as_array().unwrap().len(), changed.len()), (6, 1), "{all}");
    assert_eq!(person.disconnect(&[]).code, 2);
    assert_eq!(person.disconnect(&["emacs"]).code, 2);
}

/// promise: Agents | `connect --hooks` keeps the hooks of others, adds ours once, and `disconnect` takes only ours
#[cfg(unix)]
#[test]
fn hooks_are_added_beside_those_of_others_and_taken_alone() {
    let person = Person::new();
    let settings = ".claude/settings.json";
    let before = "{\n  // mine\n  \"hooks\": {\n    \"SessionStart\": [\n      { \"matcher\": \"startup\", \"hooks\": [{ \"type\": \"command\", \"command\": \"date\" }] }\n    ]\n  },\n  \"model\": \"o\"\n}\n";
    person.write(settings, before);
    let printed = person.json(&["claude", "--hooks", "--print"]);
    assert!(printed["hooks"]["text"].as_str().unwrap().contains("hook session-start"), "{printed}");
    assert_eq!((person.read(settings).as_str(), person.exists(".claude.json")), (before, false));
    let done = person.json(&["claude", "--hooks"]);
    assert_eq!((&done["changed"], &done["hooks"]["changed"]), (&json!(true), &json!(true)), "{done}");
    assert_eq!(fs::read_to_string(done["hooks"]["backup"].as_str().unwrap()).unwrap(), before);
    let with = person.read(settings);
    assert!(
        with.contains("// mine") && with.contains("\"command\": \"date\"") && with.contains("\"model\": \"o\""),
        "{with}"
    );
    let (start, prompt) = (with.matches(" hook session-start").count(), with.matches(" hook prompt").count());
    assert_eq!((start, prompt, with.matches("\"UserPromptSubmit\"").count()), (1, 1, 1), "{with}");
    let again = person.json(&["claude", "--hooks"]);
    assert_eq!((&again["changed"], &again["hooks"]["changed"]), (&json!(false), &json!(false)), "{again}");
    // without the flag they stay
    person.json(&["claude"]);
    assert_eq!(person.read(settings), with);
    // a person adds to the file meanwhile
    person.write(settings, &with.replace("\"model\": \"o\"", "\"model\": \"p\""));
    let done = person.parted(&["claude"]);
    assert_eq!((&done["changed"], &done["hooks"]["changed"]), (&json!(true), &json!(true)), "{done}");
    assert_eq!(person.read(settings), before.replace("\"model\": \"o\"", "\"model\": \"p\""));
    assert!(!person.exists(".claude.json"));
    // settings that only held ours go as they came
    fs::remove_file(person.directory.join(settings)).unwrap();
    person.json(&["claude", "--hooks"]);
    person.parted(&["claude"]);
    assert!(!person.exists(settings));
    // settings that cannot be read leave both files as they are
    person.write(settings, "{\"hooks\": []}");
    let ran = person.connect(&["claude", "--hooks", "--json"]);
    assert_eq!((ran.code, ran.error()["code"].as_str()), (2, Some("invalid")), "{ran:?}");
    assert!(!person.exists(".claude.json") && person.read(settings) == "{\"hooks\": []}");
    // no hooks are made up for other programs
    let ran = person.connect(&["vscode", "--hooks", "--json"]);
    let error = ran.error();
    assert_eq!((ran.code, error["code"].as_str()), (2, Some("usage")), "{ran:?}");
    assert!(error["hint"].as_str().unwrap().contains("work without") && !person.exists(VSCODE), "{error}");
}

/// promise: Agents | Each program with hooks gets them in its own form and file, and `disconnect` takes them alone
#[cfg(unix)]
#[test]
fn each_program_with_hooks_gets_them_in_its_own_form() {
    let person = Person::new();
    let files = [
        ("claude", ".claude/settings.json", ["/hooks/SessionStart/0/hooks/0", "/hooks/UserPromptSubmit/0/hooks/0"]),
        ("codex", ".codex/hooks.json", ["/hooks/SessionStart/0/hooks/0", "/hooks/UserPromptSubmit/0/hooks/0"]),
        ("gemini", ".gemini/settings.json", ["/hooks/SessionStart/0/hooks/0", "/hooks/BeforeAgent/0/hooks/0"]),
        ("copilot", ".copilot/hooks/nexus.json", ["/hooks/sessionStart/0", "/hooks/userPromptSubmitted/0"]),
        ("cursor", ".cursor/hooks.json", ["/hooks/sessionStart/0", "/hooks/beforeSubmitPrompt/0"]),
    ];
    for (program, file, places) in files {
        let ran = person.connect(&[program, "--hooks"]).ok();
        assert_eq!(ran.stderr.contains("/hooks in Codex"), program == "codex", "{ran:?}");
        let document: Value = serde_json::from_str(&person.read(file)).unwrap();
        let flat = ["copilot", "cursor"].contains(&program);
        assert_eq!(document.get("version"), flat.then(|| json!(1)).as_ref(), "{document}");
        // a file of Codex with anything else at its top is refused by it
        assert!(program != "codex" || document.as_object().unwrap().len() == 1, "{document}");
        for (place, part) in places.into_iter().zip(["session-start", "prompt"]) {
            let hook = document.pointer(place).unwrap_or_else(|| panic!("{place}: {document}"));
            let command = hook.get("command").or(hook.get("bash")).unwrap().as_str().unwrap();
            assert!(command.contains(&format!(" hook {part}")) && command.starts_with('/'), "{command}");
            assert_eq!(command.contains(&format!("--for {program}")), program != "claude", "{command}");
            let timeout = hook.get("timeout").or(hook.get("timeoutSec")).unwrap();
            assert_eq!(*timeout, json!(if program == "gemini" { 5_000 } else { 5 }));
            // the command runs as it stands there
            let mut shell = std::process::Command::new("sh");
            let output = shell.args(["-c", command]).current_dir(&person.directory).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
            let json_only = ["gemini", "copilot", "cursor"].contains(&program);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), if json_only { "{}\n" } else { "" }, "{command}");
        }
        let again = person.json(&[program, "--hooks"]);
        assert_eq!((&again["changed"], &again["hooks"]["changed"]), (&json!(false), &json!(false)), "{again}");
        person.parted(&[program]);
        assert!(!person.exists(file), "{program}");
    }
}

/// promise: Agents | `connect` asks before it takes the place of another program's entry, and `disconnect` gives back exactly that
#[cfg(unix)]
#[test]
fn an_entry_of_another_program_is_asked_about_and_given_back() {
    let json = "{\n  // mine\n  \"mcpServers\": {\n    \"nexus\": { \"command\": \"npx\", \"args\": [\"nexus-mcp\"], \"env\": {\"A\":\"1\"} }, // theirs\n    \"b\": 1\n  }\n}\n";
    let toml = "model = \"o\"\n\n[mcp_servers.nexus]\nurl = \"https://nexus.example.com\"\n\n[mcp_servers.nexus.env]\nA = \"1\"\n\n[tui]\nb = 2\n";
    let files = [
        ("claude", ".claude.json", json),
        ("cursor", ".cursor/mcp.json", json),
        ("gemini", ".gemini/settings.json", json),
        ("copilot", ".copilot/mcp-config.json", json),
        ("codex", ".codex/config.toml", toml),
    ];
    for (program, file, before) in files {
        let person = Person::new();
        person.write(file, before);
        let ran = person.connect(&[program, "--json"]);
        assert_eq!((ran.code, ran.error()["code"].as_str()), (7, Some("conflict")), "{ran:?}");
        assert!(ran.error()["hint"].as_str().unwrap().contains("--replace"), "{ran:?}");
        assert_eq!(person.read(file), before, "nothing was changed");
        // it is nothing of ours
        assert_eq!(person.parted(&[program])["changed"], false);
        assert_eq!(person.json(&[program, "--replace"])["changed"], true);
        let with = person.read(file);
        assert!(!with.contains("nexus-mcp") && !with.contains("example.com") && !with.contains("env"), "{with}");
        assert_eq!(person.json(&[program])["changed"], false, "ours is no other's");
        person.parted(&[program]);
        assert_eq!(person.read(file), before, "{program}");
        // also where the file went on
        person.json(&[program, "--replace"]);
        let more = if program == "codex" { ("b = 2", "b = 3") } else { ("\"b\": 1", "\"b\": 2") };
        person.write(file, &person.read(file).replace(more.0, more.1));
        person.parted(&[program]);
        let after = person.read(file);
        assert!(after.contains(more.1), "{after}");
        match program {
            "codex" => {
                let (after, before): (toml::Value, toml::Value) =
                    (toml::from_str(&after).unwrap(), toml::from_str(before).unwrap());
                assert_eq!(after["mcp_servers"], before["mcp_servers"]);
            }
            _ => assert_eq!(after, before.replace(more.0, more.1)),
        }
    }
}

/// promise: Agents | `connect --skill` writes the file that teaches the tools, and no other one's file is lost for it
#[cfg(unix)]
#[test]
fn the_file_that_teaches_the_tools_is_written_and_taken_away() {
    for (program, file) in [
        ("claude", ".claude/skills/nexus/SKILL.md"),
        ("codex", ".agents/skills/nexus/SKILL.md"),
        ("cursor", ".cursor/skills/nexus/SKILL.md"),
        ("gemini", ".gemini/skills/nexus/SKILL.md"),
        ("copilot", ".copilot/skills/nexus/SKILL.md"),
    ] {
        let person = Person::new();
        let printed = person.json(&[program, "--skill", "--print"]);
        assert!(
            printed["skill"]["text"].as_str().unwrap().starts_with("---\nname: nexus\ndescription: ")
                && !person.exists(file)
        );
        assert_eq!(person.json(&[program, "--skill"])["skill"]["changed"], true);
        let text = person.read(file);
        for tool in ["session_start", "recall", "remember", "forget"] {
            assert!(text.contains(&format!("`{tool}`")), "{tool}: {text}");
        }
        assert_eq!(person.json(&[program, "--skill"])["skill"]["changed"], false);
        assert_eq!(person.parted(&[program])["skill"]["changed"], true);
        assert!(!person.exists(file));
        // a file that somebody wrote stays, and so does everything else then
        person.write(file, "mine");
        let ran = person.connect(&[program, "--skill", "--json"]);
        assert_eq!((ran.code, ran.error()["code"].as_str()), (2, Some("invalid")), "{ran:?}");
        person.parted(&[program]);
        assert_eq!(person.read(file), "mine");
    }
}
