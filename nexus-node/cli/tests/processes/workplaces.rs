//! The tools that people run as workers, in the sandbox as it is by default: interpreters below the home directory, virtual
//! environments, relative scripts, worktrees, builds. A tool that this machine does not have is left out, and that is said.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Machine, Worker};
use crate::support::until;

/// A machine whose levels are tried, with a directory that workers start in.
struct Tools {
    machine: Machine,
}

impl Tools {
    fn new() -> Self {
        let machine = Machine::new();
        std::fs::create_dir_all(machine.home.beside("home/code")).unwrap();
        Self { machine }
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.machine.home.beside("home").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, text: &str) -> String {
        let path = self.at(path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// A worker that starts in `~/code` with these options, and has said what it opened.
    fn worker(&self, options: &[&str], variables: &[(&str, &str)]) -> (Worker, String) {
        let mut command = self.machine.command(options);
        // without these it says in words what it opened
        let words: Vec<_> = command.get_args().filter(|word| *word != "--json").map(ToOwned::to_owned).collect();
        let mut plain = Command::new(command.get_program());
        plain.args(words).current_dir(self.at("code/x").parent().unwrap());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                plain.env(name, value);
            }
        }
        plain.envs(variables.iter().copied());
        command = plain;
        let worker = Worker::of(command, self.machine.home.beside("worker-log"));
        let line = until("the worker serves", || Some(worker.said()).filter(|said| said.contains("Ctrl-C stops it")));
        (worker, line)
    }

    /// The end of a task whose worker has these options, at each level, with the worker's first line.
    fn ends(&self, options: &[&str], variables: &[(&str, &str)]) -> Vec<(Value, String)> {
        let one = |level: &&'static str| {
            let (_worker, line) = self.worker(&[&["--sandbox", level], options].concat(), variables);
            (self.machine.task(), line)
        };
        self.machine.levels().iter().map(one).collect()
    }

    #[track_caller]
    fn output(&self, options: &[&str], variables: &[(&str, &str)], expected: &Value) {
        for (task, line) in self.ends(options, variables) {
            assert_eq!(
                (&task["state"], &task["output"]),
                (&json!("succeeded"), expected),
                "{options:?}: {task} {line}"
            );
        }
    }
}

/// Whether a program is here.
fn has(program: &str, arguments: &[&str]) -> bool {
    let has = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("left out: there is no {program} {} here", arguments.join(" "));
    }
    has
}

/// promise: Sandbox | Python works in the sandbox by default: a virtual environment, a relative script, several processes
#[test]
fn python_works_as_people_start_it() {
    let tools = Tools::new();
    if !has("python3", &["-m", "venv", "--help"]) {
        return;
    }
    let text =
        "import beside, json, sys\njson.dump([beside.x, sys.prefix.endswith('venv'), sys.argv[1:]], sys.stdout)\n";
    tools.file("code/s.py", text);
    tools.file("code/beside.py", "x = 7\n");
    tools.output(&["--", "python3", "s.py", "s.py"], &[], &json!([7, false, ["s.py"]]));
    let venv = tools.at("code/venv");
    let made =
        Command::new("python3").args(["-m", "venv", "--without-pip", "--system-site-packages"]).arg(&venv).output();
    assert!(made.unwrap().status.success());
    tools.output(&["--", "./venv/bin/python", "s.py"], &[], &json!([7, true, []]));
    let tool =
        tools.file("code/venv/bin/tool", &format!("#!{}\nprint('\"a tool\"')\n", venv.join("bin/python").display()));
    tools.output(&["--", &tool], &[], &json!("a tool"));
    let many = "from multiprocessing import Pool\n\ndef f(x):\n    return x * x\n\nif __name__ == '__main__':\n    \
                print(sum(Pool(2).map(f, [1, 2, 3])))\n";
    tools.file("code/many.py", many);
    tools.output(&["--", "python3", "many.py"], &[], &json!(14));
    // beside keys a script is opened alone
    tools.file("code/.env", "SECRET=1\n");
    tools.file("code/alone.py", "import os\ntry: print(len(open(os.path.dirname(__file__) + '/.env').read()))\nexcept OSError: print('\"closed\"')\n");
    tools.output(&["--", "python3", "alone.py"], &[], &json!("closed"));
}

/// promise: Sandbox | A worker whose interpreter does not work in the sandbox says so before it takes a task
#[test]
fn an_interpreter_that_does_not_work_is_found_at_the_start() {
    let tools = Tools::new();
    let Some(level) = tools.machine.levels().first().copied() else { return };
    let broken = tools.at("bin/python3");
    std::fs::copy("/bin/false", &broken).unwrap();
    let refused = tools.machine.command(&["--sandbox", level, "--", &broken.display().to_string()]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("python3 does not work in the sandbox") && said.contains("no task was taken"), "{said}");
}

/// promise: Sandbox | A script of Node by a relative path finds its modules, and nothing beside them
#[test]
fn node_works_as_people_start_it() {
    let tools = Tools::new();
    if !has("node", &["--version"]) {
        return;
    }
    tools.file("code/app/n.js", "console.log(require('dep') + require('./own'))");
    tools.file("code/app/own.js", "module.exports = 1");
    tools.file("code/node_modules/dep/index.js", "module.exports = 41");
    tools.output(&["--", "node", "app/n.js"], &[], &json!(42));
    tools.file("code/run", "#!/usr/bin/env node\nconsole.log('\"ran\"')\n");
    tools.output(&["--", "./run"], &[], &json!("ran"));
}

/// promise: Sandbox | A command has a `/tmp` of its own, in which others see nothing, and which goes with it
#[test]
fn tmp_is_the_tasks_own() {
    let tools = Tools::new();
    let name = format!("/tmp/nexus-own-{}", std::process::id());
    let outside = format!("{name}-outside");
    std::fs::write(&outside, "x").unwrap();
    let script = format!(
        "echo x > {name} && mkdir {name}-d && cp {name} {name}-d/ && ! ls {outside} >&2 && echo x > /dev/shm/nexus-own && mktemp -p /tmp >&2 && echo '\"done\"'"
    );
    let ends = tools.ends(&["--", "sh", "-c", &script], &[]);
    std::fs::remove_file(&outside).unwrap();
    for (task, line) in ends {
        if line.contains("no /tmp") {
            eprintln!("left out: {line}");
            continue;
        }
        assert_eq!(task["output"], "done", "{task} {line}");
        assert!(!Path::new(&name).exists() && !Path::new("/dev/shm/nexus-own").exists());
    }
}

/// promise: Sandbox | In a worktree git reads its repository; with `--profile git` it commits
/// promise: Sandbox | Hooks, settings and pointers of a repository are never written, whatever may be
#[test]
fn git_works_in_a_worktree_and_its_settings_are_kept() {
    let tools = Tools::new();
    if !has("git", &["--version"]) || tools.machine.levels().is_empty() {
        return;
    }
    tools.file(".gitconfig", "[user]\n\tname = a\n\temail = a@b\n[safe]\n\tdirectory = *\n");
    let home = tools.at("x").parent().unwrap().to_owned();
    let (main, tree) = (tools.at("main").display().to_string(), tools.at("tree").display().to_string());
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).env("HOME", &home).env_remove("GIT_CONFIG_GLOBAL");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q", &main]);
    git(&["-C", &main, "commit", "-q", "--allow-empty", "-m", "one"]);
    git(&["-C", &main, "worktree", "add", "-q", &tree]);
    let script = "git log --format=%s | head -1 | sed 's/.*/\"&\"/'";
    tools.output(&["--profile", "git", "--dir", &tree, "--", "sh", "-c", script], &[], &json!("one"));
    let commit = "echo x >> file && git add file && git commit -q -m by-a-worker && echo '\"committed\"'";
    tools.output(&["--profile", "git", "--dir", &tree, "--", "sh", "-c", commit], &[], &json!("committed"));
    assert_eq!(git(&["-C", &tree, "log", "-1", "--format=%s"]).trim(), "by-a-worker");
    // ways to have the person's git run something
    let tries = format!(
        r#"moved='moved() {{ perl -e "exit !rename(shift, shift)" "$1" "$2"; }};' # a copy would remove what may be written
        try() {{ if sh -c "$moved $1" 2>/dev/null; then echo "$1" >> opened; fi; }}; : > opened
        for dir in .git {main}/.git; do
            for file in config hooks/post-checkout info/attributes config.worktree commondir; do try "echo x >> $dir/$file"; done
            try "moved $dir moved"; try "rm -r $dir/hooks"; try "rm $dir/config"; try "ln -sf /tmp $dir/hooks"; try "moved $dir/config $dir/other"
        done
        own=$(sed 's/gitdir: //' .git 2>/dev/null); [ -d "$own" ] || own=none
        for file in commondir gitdir config.worktree config hooks/x; do [ $own = none ] || try "echo x > $own/$file"; done
        try "echo gitdir: /tmp > .git"; try "rm -f .git"; try "moved .git .gone"
        mkdir -p made; try "mount --bind made .git"
        cat opened"#
    );
    for profile in [&["--profile", "git"][..], &[]] {
        for dir in [&main, &tree] {
            for (task, line) in tools.ends(&[profile, &["--dir", dir, "--", "sh", "-c", &tries]].concat(), &[]) {
                // settings of a worktree alone are heeded where the repository's settings say so, and those are kept
                let opened = task["output"].as_str().unwrap_or_default().to_owned();
                let opened: Vec<&str> = opened
                    .lines()
                    .filter(|line| {
                        !line.contains("/worktrees/")
                            || !["/config", "/config.worktree", "/hooks/x"].iter().any(|end| line.ends_with(end))
                    })
                    .collect();
                assert!(
                    task["state"] == "succeeded" && opened.is_empty(),
                    "{dir} {profile:?}: {opened:?} {task} {line}"
                );
            }
            assert!(git(&["-C", dir, "status", "--short"]).lines().all(|line| line.starts_with("??")), "{dir}");
        }
    }
}

/// promise: Sandbox | Cargo builds offline in the sandbox, with `--profile cargo` by a toolchain below the home directory
#[test]
fn cargo_builds_a_crate() {
    let tools = Tools::new();
    if !has("cargo", &["--version"]) || !has("cc", &["--version"]) {
        return;
    }
    tools.file(
        "crate/Cargo.toml",
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
    );
    tools.file("crate/src/main.rs", "fn main() { println!(\"7\"); }\n");
    let real = std::env::var("HOME").unwrap_or_default();
    let place = |name: &str, below: &str| std::env::var(name).unwrap_or_else(|_| format!("{real}/{below}"));
    let (cargo, rustup) = (place("CARGO_HOME", ".cargo"), place("RUSTUP_HOME", ".rustup"));
    let mut variables = vec![("CARGO_HOME", cargo.as_str())];
    if Path::new(&rustup).is_dir() {
        variables.push(("RUSTUP_HOME", &rustup));
    }
    let dir = tools.at("crate").display().to_string();
    let options = ["--profile", "cargo", "--dir", &dir, "--", "cargo", "run", "--quiet", "--offline"];
    tools.output(&options, &variables, &json!(7));
}

/// promise: Sandbox | `--profile agent` opens the files of one agent, one by one, and wants `--yes`; `--env HOME` is obeyed
#[test]
fn an_agent_has_its_own_files_alone() {
    let tools = Tools::new();
    let Some(level) = tools.machine.levels().first().copied() else { return };
    tools.file(".claude/.credentials.json", "{}");
    tools.file(".codex/auth.json", "{}");
    tools.file(".claude/other", "x");
    let text = r#"#!/bin/sh
        cat "$HOME/.claude/.credentials.json" >/dev/null && echo mine
        echo '{"new":1}' > "$HOME/.claude/.credentials.json" && echo written
        cat "$REAL/.codex/auth.json" 2>/dev/null && echo anothers
        cat "$REAL/.claude/other" 2>/dev/null && echo others
        exit 0"#;
    let agent = tools.file("bin/claude", text);
    let real = tools.at("x").parent().unwrap().display().to_string();
    let variables = [("REAL", real.as_str()), ("ANTHROPIC_API_KEY", "k")];
    let mut unsure = tools.machine.command(&["--sandbox", level, "--profile", "agent", "--", &agent]);
    let refused = unsure.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(4) && said.contains("--yes") && said.contains("~/.claude/.credentials.json"),
        "{said}"
    );
    let mut unknown = tools.machine.command(&["--sandbox", level, "--profile", "agent", "--yes", "--", "true"]);
    assert_eq!(unknown.output().unwrap().status.code(), Some(2));
    let options = ["--profile", "agent", "--yes", "--env", "REAL", "--", &agent];
    for (task, line) in tools.ends(&options, &variables) {
        assert_eq!(task["output"], "mine\nwritten", "{task} {line}");
        assert!(line.contains("writes ~/.claude/.credentials.json") && line.contains("with the network"), "{line}");
        assert!(!line.contains(".codex"), "{line}");
        assert_eq!(std::fs::read_to_string(tools.at(".claude/.credentials.json")).unwrap(), "{\"new\":1}\n");
    }
    tools.output(&["--env", "HOME", "--", "sh", "-c", "echo \"\\\"$HOME\\\"\""], &[], &json!(real));
}

/// promise: Sandbox | A worker that has no place for the directories of its tasks says so before it takes one
#[test]
fn a_machine_without_a_place_for_tasks_is_told_of_at_the_start() {
    let tools = Tools::new();
    for level in tools.machine.levels() {
        let nowhere = tools.at("nowhere").join("tmp");
        let mut worker = tools.machine.command(&["--sandbox", level, "--", "true"]);
        let refused = worker.env("TMPDIR", &nowhere).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{level}: {said}");
        assert!(said.contains("a directory for the command") && said.contains("nowhere"), "{level}: {said}");
    }
}
