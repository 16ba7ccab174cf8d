//! `docs/cli.md` is true: its examples run, its tables are complete. The commands of README.md run, too.
//!
//! In a `console` block, `laptop$ nexus-node …` runs on a machine of that name (a data directory of its
//! own). The lines after it are its output, stdout before stderr. `<!-- on laptop's page a person approves $TASK -->` is a click.
//! `…` stands for any text, alone in a
//! line for any lines, and at the end of a command's word for a word printed before. White space counts
//! as one space. `ID=$(…)` and `$ID` are as in a shell. ` &` leaves a node running. A command whose
//! output starts with `error:` must fail, every other must succeed.
//!
//! README.md has lines to paste: commands alone, on the machine that a comment before the block names
//! (`<!-- on laptop -->`). Each must succeed. `up` goes on running. Lines that build and install are left out:
//! `.ci/dist` runs those of `dist/`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{HOWEVER_BUSY, Home, SOON, pair, until};
use nexus_node::api::CODES;
use nexus_node::config::KEYS;

/// Commands that change nothing. Their answer may need a moment to become the expected one.
const READING: [&str; 10] =
    ["status", "peers", "members", "recall", "get", "list", "show", "history", "space", "coordinator"];

/// A click of a person on the page of a machine.
const CLICK: &str = "'s page a person approves ";

/// The beginnings of lines that build or install.
const BUILDING: [&str; 3] = ["cargo ", "dist/", "sh target/dist/"];

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn page() -> String {
    file("docs/cli.md")
}

/// A command with its expected output.
struct Example {
    page: &'static str,
    line: usize,
    machine: String,
    command: String,
    expected: Vec<String>,
}

fn examples(name: &'static str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (index, line) in file(name).lines().enumerate() {
        let click = line.strip_prefix("<!-- on ").and_then(|line| line.strip_suffix(" -->")?.split_once(CLICK));
        if let Some((machine, task)) = click {
            let (machine, command) = (machine.to_owned(), format!("{CLICK}{task}"));
            examples.push(Example { page: name, line: index + 1, machine, command, expected: Vec::new() });
        } else if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match line.split_once("$ ") {
                Some((machine, command)) if machine.chars().all(|c| c.is_ascii_lowercase()) && !machine.is_empty() => {
                    let (machine, command) = (machine.to_owned(), command.to_owned());
                    let (page, line) = (name, index + 1);
                    examples.push(Example { page, line, machine, command, expected: Vec::new() });
                }
                _ => examples.last_mut().unwrap().expected.push(line.to_owned()),
            }
        }
    }
    examples
}

/// The commands of README.md.
fn pasted(page: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let (mut inside, mut machine) = (false, None);
    for (index, line) in page.lines().enumerate() {
        if let Some(name) = line.strip_prefix("<!-- on ").and_then(|rest| rest.strip_suffix(" -->")) {
            machine = Some(name.to_owned());
        } else if line.starts_with("```") {
            inside = line == "```console";
            if line == "```" {
                machine = None;
            }
        } else if inside && !BUILDING.iter().any(|word| line.starts_with(word)) {
            let machine = machine.clone().unwrap_or_else(|| panic!("README.md:{}: on which machine?", index + 1));
            let goes_on = line.ends_with(" up") || line.contains(" worker ");
            let command = if goes_on { format!("{line} &") } else { line.to_owned() };
            // A memory of one machine is found on the others.
            let found = |what: &str| line.contains(" recall ") && line.contains(what);
            let expected = match () {
                () if found("staging") => ["…", "…staging database…", "…"],
                () if found("bill") => ["…", "invoices are rounded…", "…"],
                () => ["…"; 3],
            };
            let (page, line) = ("README.md", index + 1);
            examples.push(Example { page, line, machine, command, expected: expected.map(str::to_owned).to_vec() });
        }
    }
    examples
}

#[derive(Default)]
struct World {
    homes: BTreeMap<String, Home>,
    running: Vec<Child>,
    variables: BTreeMap<String, String>,
    printed: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World {
    /// Runs an example until its output is as expected.
    fn check(&mut self, example: &Example) {
        let end = Instant::now() + SOON;
        loop {
            let (code, printed) = self.run(example);
            self.printed.extend(printed.lines().flat_map(str::split_whitespace).map(str::to_owned));
            let fails = example.expected.first().is_some_and(|line| line.starts_with("error:"));
            let assigned = example.command.contains("=$(");
            let clicked = example.command.starts_with(CLICK);
            if (code != 0) == fails && (assigned || clicked || matches(&example.expected, &printed)) {
                return;
            }
            let Example { page, line, machine, command, expected } = example;
            let reading = READING.iter().any(|word| command.split(' ').any(|part| part == *word));
            assert!(
                reading && Instant::now() < end,
                "{page}:{line}: {machine}$ {command}\nexpected:\n{}\nprinted ({code}):\n{printed}",
                expected.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&mut self, example: &Example) -> (i32, String) {
        if let Some(task) = example.command.strip_prefix(CLICK) {
            let task = self.words(task).concat();
            let answer = self.homes[&example.machine].approve(&task);
            return (if answer.status == 200 { 0 } else { 1 }, answer.body);
        }
        let (variable, command) = match example.command.split_once("=$(") {
            Some((name, rest)) => (Some(name.to_owned()), rest.strip_suffix(')').unwrap()),
            None => (None, example.command.as_str()),
        };
        let background = command.strip_suffix(" &");
        let home = self.homes.entry(example.machine.clone()).or_insert_with(|| {
            let home = Home::on_disk();
            // the file that the examples of blobs name
            std::fs::write(home.beside("report.txt"), "it works\n").unwrap();
            // and what another program keeps
            std::fs::create_dir_all(home.beside(".claude")).unwrap();
            std::fs::write(home.beside(".claude/CLAUDE.md"), "- pnpm, never npm\n").unwrap();
            home
        });
        let home = home.beside("");
        let words: Vec<String> = self
            .words(background.unwrap_or(command))
            .into_iter()
            .map(|word| match word.strip_prefix("~/") {
                Some(below) => home.join(below).display().to_string(),
                None => word,
            })
            .collect();
        assert_eq!(words[0], "nexus-node", "{}:{}", example.page, example.line);
        let mut arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        if arguments[0] == "worker" && arguments.contains(&"--") {
            arguments.splice(1..1, HOWEVER_BUSY.iter().copied());
        }
        let mut command = self.homes[&example.machine].command(&arguments);
        command
            .current_dir(&home)
            .env("HOME", &home)
            .env_remove("CLAUDE_CONFIG_DIR")
            .env("NEXUS_MDNS", "false")
            .env("NEXUS_API_ADDR", "127.0.0.1:0")
            .env("NEXUS_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0");
        if background.is_some() && arguments[0] == "worker" {
            // tasks wait until it serves
            self.running.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
            return (0, String::new());
        }
        if background.is_some() {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut printed = String::new();
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                let line = line.unwrap();
                printed.push_str(&format!("{line}\n"));
                if line.starts_with("ready") {
                    break;
                }
            }
            self.running.push(child);
            return (0, printed);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = child.wait().unwrap().code().unwrap_or(-1);
        if let Some(variable) = variable {
            self.variables.insert(variable, stdout.trim().to_owned());
        }
        (code, stdout + &stderr)
    }

    /// The words of a command, as a shell would see them.
    fn words(&self, command: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in command.split('"').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
                continue;
            }
            for word in part.split_whitespace() {
                words.push(match (word.strip_prefix('$'), word.strip_suffix('…')) {
                    (Some(variable), _) => self.variables[variable].clone(),
                    (None, Some(beginning)) => {
                        let fits = |printed: &&String| printed.starts_with(beginning);
                        self.printed.iter().rev().find(fits).expect(beginning).clone()
                    }
                    (None, None) => word.to_owned(),
                });
            }
        }
        words
    }
}

/// Whether lines are as expected.
fn matches(expected: &[String], printed: &str) -> bool {
    let expected: Vec<String> = expected.iter().map(|line| squeezed(line)).collect();
    let printed: Vec<String> = printed.lines().map(squeezed).collect();
    fn go(expected: &[String], printed: &[String]) -> bool {
        match (expected.split_first(), printed.split_first()) {
            (None, None) => true,
            (Some((line, rest)), _) if line == "…" => {
                go(rest, printed) || printed.split_first().is_some_and(|(_, printed)| go(expected, printed))
            }
            (Some((line, rest)), Some((first, printed))) => fits(line, first) && go(rest, printed),
            _ => false,
        }
    }
    go(&expected, &printed)
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line is as expected, with `…` for any text.
fn fits(expected: &str, printed: &str) -> bool {
    let parts: Vec<&str> = expected.split('…').collect();
    let Some(mut rest) = printed.strip_prefix(parts[0]) else { return false };
    if parts.len() == 1 {
        return rest.is_empty();
    }
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(parts[parts.len() - 1])
}

#[test]
fn the_examples_do_what_they_say() {
    let mut world = World::default();
    let examples = examples("docs/cli.md");
    assert!(examples.len() > 20, "the examples were found");
    for example in &examples {
        world.check(example);
    }
}

/// promise: Persons | One person, three machines: an agent's task waits, no command without a terminal approves it, its person does on the page; work goes elsewhere without a flag
#[test]
fn the_walk_of_one_person_with_three_machines_works() {
    let mut world = World::default();
    let examples = examples("docs/persons.md");
    assert!(examples.len() > 15, "the commands were found");
    for example in &examples {
        world.check(example);
    }
}

/// promise: Demo and first pages | The commands of README.md work, its program runs, its links lead somewhere
#[test]
fn the_commands_of_the_first_page_work() {
    let mut world = World::default();
    let examples = pasted(&file("README.md"));
    assert!(examples.len() > 10, "the commands were found");
    for example in &examples {
        world.check(example);
    }
}

/// promise: Demo and first pages | The brief on the first page is one that a session gets
#[test]
fn the_brief_of_the_first_page_is_a_real_one() {
    let page = file("README.md");
    let told = page.split("This is such a brief").nth(1).unwrap().split("```text\n").nth(1).unwrap();
    let wanted: Vec<&str> = told.split("\n```").next().unwrap().lines().collect();
    let ((laptop, _one), (cloud, _two)) = pair();
    // ids and ages differ from run to run
    let plain = |line: &str| -> String {
        let (head, text) = line.split_once(": ").unwrap_or((line, ""));
        let differs = |word: &&str| {
            let is_id = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let is_age = word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['m', 'h', 'd']);
            is_id && !["conflict", "unfinished", "preference"].contains(word) || is_age || *word == "now"
        };
        let head: Vec<&str> = head.split(' ').filter(|word| !differs(word)).collect();
        format!("{}: {text}", head.join(" "))
    };
    let of_shop = ["--tag", "project:shop"];
    let first =
        laptop.json(&[&["remember", "the staging port is 5432", "--id", "staging-port"][..], &of_shop].concat());
    let id = first["id"].as_str().unwrap();
    until("both have it", || (cloud.run(&["get", id]).code == 0).then_some(()));
    cloud.run(&["offline"]).ok();
    for line in &wanted {
        let (head, text) = line.split_once(": ").unwrap_or((line, ""));
        let words: Vec<&str> = head.split(' ').collect();
        let kind = match words[0] {
            "unfinished" => "task",
            "preference" => "preference",
            "decided" => "decision",
            "lately" => "note",
            _ => continue,
        };
        let home = if words[2] == "cloud" { &cloud } else { &laptop };
        home.run(&[&["remember", text, "--kind", kind][..], &of_shop].concat()).ok();
    }
    laptop.run(&["edit", id, "the staging port is 5433"]).ok();
    cloud.run(&["edit", id, "the staging port is 5434"]).ok();
    cloud.run(&["online"]).ok();
    let texts: Vec<&str> = wanted.iter().filter_map(|line| line.split_once(": ")).map(|(_, text)| text).collect();
    let brief = until("all of it is there", || {
        let told = laptop.run_with(&["hook", "session-start", "--project", "shop"], b"{}").ok().stdout;
        (told.contains("conflict ") && texts.iter().all(|text| told.contains(text))).then_some(told)
    });
    for line in wanted {
        if line.starts_with("conflict ") {
            for value in line.split('"').filter(|part| part.contains("5433") || part.contains("5434")) {
                assert!(brief.contains(&format!("\"{value}\"")), "{value}: {brief}");
            }
            continue;
        }
        assert!(brief.lines().any(|told| plain(told) == plain(line)), "{}\n{brief}", plain(line));
    }
}

#[test]
fn the_first_page_builds_only_what_people_then_use() {
    let page = file("README.md");
    let building = ["build", "run", "bench"].map(|word| format!("cargo {word} "));
    let lines: Vec<&str> = page.lines().filter(|line| building.iter().any(|word| line.starts_with(word))).collect();
    assert!(!lines.is_empty(), "the lines were found");
    for line in lines {
        assert!(line.contains(" --release "), "{line}: a slow program is a bad first sight");
    }
}

/// promise: Demo and first pages | The commands of README.md work, its program runs, its links lead somewhere
#[test]
fn the_program_of_the_first_page_is_an_example_that_runs() {
    let (page, example) = (file("README.md"), file("examples/src/bin/embed_memory.rs"));
    let program = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let mut lines = example.lines().map(str::trim);
    for line in program.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(lines.any(|other| other == line), "{line}");
    }
}

/// promise: Demo and first pages | The commands of README.md work, its program runs, its links lead somewhere
#[test]
fn what_the_first_page_links_to_is_there() {
    let page = file("README.md");
    let links = page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links.filter(|link| !link.starts_with("http")) {
        let link = link.split('#').next().unwrap();
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(link).exists(), "{link}");
    }
}

#[test]
fn every_code_is_in_the_table_with_its_exit_code_and_status() {
    let page = page();
    for code in CODES {
        let row = format!("| `{}` | {} | {} |", code.name, code.exit, code.status);
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let page = page();
    for key in KEYS {
        let row = format!("| `{}` | {} |", key.name, if key.live { "yes" } else { "" }).replace("|  |", "| |");
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn every_command_and_flag_is_on_the_page() {
    let (home, page) = (Home::new(), page());
    let commands = |arguments: &[&str]| -> Vec<String> {
        let help = home.run(arguments).ok().stdout;
        // the program's commands are in groups, each with a title; those of a command are below one
        let commands = match help.split_once("\nOptions:") {
            Some((groups, _)) if arguments.len() == 1 => groups.split_once("\n\n").map_or("", |(_, rest)| rest),
            _ => help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default(),
        };
        let listed = commands.lines();
        let names = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let all = commands(&["--help"]);
    assert!(all.len() > 20, "{all:?}");
    for command in all {
        assert!(page.contains(&format!("`{command}")), "{command}");
        let below = commands(&[&command, "--help"]);
        for sub in &below {
            assert!(page.contains(&format!("`{command} {sub}")), "{command} {sub}");
        }
        let help = home.run(&[&command, "--help"]).ok().stdout;
        for flag in help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
            let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
            assert!(
                ["--help", "--version", "--quiet", "--verbose"].contains(&flag) || page.contains(flag),
                "{command} {flag}"
            );
        }
    }
}

/// The text of every source file below a directory.
fn sources(directory: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// promise: Commands and API | The page about cuts of the network names a test or a scenario that there is
#[test]
fn each_test_that_the_page_about_cuts_names_is_there() {
    let page = file("docs/partitions.md");
    let root = std::path::PathBuf::from(format!("{}/../..", env!("CARGO_MANIFEST_DIR")));
    let mut text = String::new();
    for directory in ["nexus-crdt", "nexus-mesh", "nexus-node", "simulations"] {
        sources(&root.join(directory), &mut text);
    }
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let tests: Vec<&str> = quoted.iter().copied().filter(|name| name.matches('_').count() >= 3).collect();
    assert!(tests.len() > 20, "{tests:?}");
    for test in tests {
        assert!(text.contains(&format!("fn {test}(")), "{test}");
    }
    for scenario in page.split("cenario `").skip(1).filter_map(|rest| rest.split('`').next()) {
        assert!(root.join(format!("simulations/scenarios/{scenario}.toml")).exists(), "{scenario}");
    }
}
