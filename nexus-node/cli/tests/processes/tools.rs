//! Commands for people and other programs: pages as Automerge documents, `doctor`, `completions`, `man`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::collections::BTreeSet;

use crate::support::{Home, pair, until};
use automerge::{Automerge, ReadDoc};
use serde_json::{Value, json};

/// Every value of every exported page, with the heads of the pages.
fn pages(home: &Home, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let directory = home.beside(name);
    let said = home.json(&["space", "export", "default", "--automerge", directory.to_str().unwrap()]);
    let (mut values, mut heads) = (BTreeSet::new(), BTreeSet::new());
    let mut files = 0;
    for file in std::fs::read_dir(&directory).unwrap() {
        let page = Automerge::load(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        heads.extend(page.get_heads().iter().map(ToString::to_string));
        for key in page.keys(automerge::ROOT) {
            for (value, _) in page.get_all(automerge::ROOT, &key).unwrap() {
                values.insert(value.as_str().unwrap().to_owned());
            }
        }
        files += 1;
    }
    assert_eq!(said["pages"], json!(files), "{said}");
    (values, heads)
}

/// promise: Commands and API | `space export --automerge` is readable by any Automerge, from a running node
#[test]
fn an_exported_space_is_readable_by_any_automerge_and_equal_on_every_node() {
    let ((one, _first), (two, _second)) = pair();
    let id = one.json(&["remember", "written once"])["id"].as_str().unwrap().to_owned();
    one.json(&["remember", "written twice"]);
    until("both memories", || (two.json(&["list"])["items"].as_array()?.len() == 2).then_some(()));
    two.json(&["edit", &id, "edited elsewhere"]);
    until("the edit", || (one.json(&["get", &id])["text"] == "edited elsewhere").then_some(()));
    let (values, heads) = pages(&one, "pages");
    assert!(values.contains("\"edited elsewhere\""), "{values:?}");
    let texts: Vec<Value> = values.iter().filter_map(|value| serde_json::from_str(value).ok()).collect();
    assert!(texts.iter().any(|value| value["text"] == "written twice"), "{values:?}");
    assert_eq!(pages(&two, "pages"), (values, heads));
}

/// promise: Commands and API | `doctor`, `completions` and `man` are as in the contract
#[test]
fn doctor_says_what_is_wrong_and_how_to_mend_it() {
    let home = Home::new();
    let node = home.up();
    let checks = home.json(&["doctor"]);
    let checks = checks.as_array().unwrap();
    for check in checks {
        assert!(check["check"].is_string() && check["ok"].is_boolean() && check["detail"].is_string(), "{check}");
        assert!(check["ok"] == json!(true) || check["fix"].is_string(), "what is wrong has a remedy: {check}");
    }
    let root = checks.iter().find(|check| check["check"].as_str().unwrap().contains("root")).unwrap();
    assert_eq!(root["ok"], json!(false), "the root key was not exported: {root}");
    drop(node);
    assert!(!home.json(&["doctor"]).as_array().unwrap().is_empty(), "it needs no running node");
}

/// promise: Commands and API | `doctor`, `completions` and `man` are as in the contract
#[test]
fn doctor_fails_when_a_check_failed_and_not_for_a_warning() {
    let home = Home::new();
    home.json(&["init"]);
    let levels = |stdout: &str| -> Vec<String> {
        let checks: Vec<serde_json::Value> = serde_json::from_str(stdout).unwrap();
        checks.iter().map(|check| check["level"].as_str().unwrap().to_owned()).collect()
    };
    let ran = home.run(&["doctor", "--json"]).ok();
    let found = levels(&ran.stdout);
    assert!(found.contains(&"warning".to_owned()) && !found.contains(&"failed".to_owned()), "{ran:?}");
    std::fs::write(home.path().join("config.toml"), "no_such_key = 1\n").unwrap();
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(levels(&ran.stdout).contains(&"failed".to_owned()), "the list is there all the same: {ran:?}");
    assert!(ran.stderr.contains("one check failed: configuration"), "{ran:?}");
    let error: serde_json::Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("configuration"), "{error}");
}

/// promise: Commands and API | `doctor`, `completions` and `man` are as in the contract
#[test]
fn completions_and_the_manual_name_every_command() {
    let home = Home::new();
    let help = home.run(&["--help"]).ok();
    let commands: Vec<String> = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Memory:")
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned))
        .filter(|command| command != "help")
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    let manual = home.run(&["man"]).ok().stdout.replace("\\-", "-");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.run(&["completions", shell]).ok().stdout;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not complete {command}");
            assert!(manual.contains(command.as_str()), "the manual does not name {command}");
        }
    }
    assert_eq!(home.run(&["completions", "nosuch"]).code, 2);
}

/// promise: Commands and API | bash completes below the first word, and offers nothing that is hidden
#[cfg(unix)]
#[test]
fn bash_completes_each_word() {
    let home = Home::new();
    let script = home.beside("completions.bash");
    std::fs::write(&script, home.run(&["completions", "bash"]).ok().stdout).unwrap();
    let offers = |words: &str| -> Vec<String> {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _nexus__node nexus-node \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = std::process::Command::new("bash").args(["--norc", "-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    };
    for (words, offered) in [
        ("nexus-node re", "recall"),
        ("nexus-node task su", "submit"),
        ("nexus-node kv c", "cas"),
        ("nexus-node connect cl", "claude"),
        ("nexus-node worker --sandbox ke", "kernel"),
        ("nexus-node list --pro", "--project"),
        ("nexus-node hook session-start --for ge", "gemini"),
        ("nexus-node import --from basic", "basic-memory"),
    ] {
        assert!(offers(words).contains(&offered.to_owned()), "{words}: {:?}", offers(words));
    }
    assert!(!offers("nexus-node ''").iter().any(|word| word.contains("sandbox-exec")), "it is hidden");
    assert!(!std::fs::read_to_string(&script).unwrap().contains("sandbox-exec"));
}
