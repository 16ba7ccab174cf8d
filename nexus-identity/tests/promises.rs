//! `docs/promises.md` is made from the tests: a line `/// promise: SECTION | SENTENCE` above a test is a
//! row of that section. Several tests may show one promise, and one test several.
//!
//! `NEXUS_PROMISES=write cargo test -p nexus-identity --test promises` brings the file up to date.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The environment variable that has the file written: `NEXUS_PROMISES=write`.
const WRITE: &str = "NEXUS_PROMISES";
const MARK: &str = "/// promise: ";

/// By section and sentence in the order of the sources: how many tests of each file show it.
type Promises = Vec<(String, String, BTreeMap<String, usize>)>;

/// All sources below a folder, in order.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Adds the promises of one source. A promise that stands above no test, or above one that is
/// ignored, shows nothing.
fn read(file: &str, text: &str, promises: &mut Promises) {
    let mut waiting: Vec<(String, String)> = Vec::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(promise) = line.strip_prefix(MARK) {
            let (section, sentence) =
                promise.split_once(" | ").unwrap_or_else(|| panic!("{file}:{number}: promise: SECTION | SENTENCE"));
            assert!(!sentence.contains('|'), "{file}:{number}: a promise is one cell of a table");
            waiting.push((section.to_owned(), sentence.to_owned()));
        } else if waiting.is_empty() {
            continue;
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore");
        } else if !line.starts_with("//") && line.contains("fn ") {
            assert!(is_test && !is_ignored, "{file}:{number}: a promise stands above a test that runs");
            for (section, sentence) in waiting.drain(..) {
                let known = promises.iter().position(|(of, promise, _)| *of == section && *promise == sentence);
                let at = known.unwrap_or_else(|| {
                    promises.push((section, sentence, BTreeMap::new()));
                    promises.len() - 1
                });
                *promises[at].2.entry(file.to_owned()).or_default() += 1;
            }
            (is_test, is_ignored) = (false, false);
        }
    }
    assert!(waiting.is_empty(), "{file}: a promise at the end of the file");
}

/// The rows of a section.
fn table(promises: &Promises, section: &str) -> String {
    let mut rows = "| promise | shown by tests of |\n|---|---|\n".to_owned();
    let of_section = promises.iter().filter(|(of, ..)| of == section);
    for (_, sentence, files) in of_section {
        let shown: Vec<String> = files
            .iter()
            .map(|(file, tests)| {
                let name = file.rsplit('/').next().unwrap();
                let times = if *tests > 1 { format!(" ({tests})") } else { String::new() };
                format!("[{name}](../{file}){times}")
            })
            .collect();
        rows += &format!("| {sentence} | {} |\n", shown.join(", "));
    }
    rows
}

#[test]
fn the_list_of_promises_is_that_of_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    sources(root, &mut files);
    let mut promises = Promises::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        read(&file.strip_prefix(root).unwrap().to_string_lossy(), &text, &mut promises);
    }

    let path = root.join("docs/promises.md");
    let list = std::fs::read_to_string(&path).unwrap();
    let mut made = String::new();
    let mut sections = Vec::new();
    let mut inside = false;
    for line in list.lines() {
        if let Some(section) = line.strip_prefix("<!-- promises: ").and_then(|rest| rest.strip_suffix(" -->")) {
            made += &format!("{line}\n{}", table(&promises, section));
            sections.push(section.to_owned());
            inside = true;
        } else if line == "<!-- end -->" {
            inside = false;
        }
        if !inside {
            made += &format!("{line}\n");
        }
    }
    for (section, sentence, files) in &promises {
        let place = format!("{}: {sentence}", files.keys().next().unwrap());
        assert!(sections.contains(section), "docs/promises.md has no section {section:?}, as {place} asks for");
    }
    for section in &sections {
        assert!(promises.iter().any(|(of, ..)| of == section), "no test has a promise of section {section:?}");
    }
    if std::env::var(WRITE).is_ok_and(|value| value == "write") {
        std::fs::write(&path, made).unwrap();
    } else if let Some((old, new)) = list.lines().zip(made.lines()).find(|(old, new)| old != new) {
        panic!(
            "docs/promises.md is not that of the tests; {WRITE}=write makes it so\n  it has   {old}\n  of tests {new}"
        );
    } else {
        assert_eq!(list.lines().count(), made.lines().count(), "docs/promises.md lacks rows; {WRITE}=write adds them");
    }
}

#[test]
fn a_promise_stands_above_a_test_that_runs() {
    let shown = |text: &str| {
        let mut promises = Promises::new();
        read("a.rs", text, &mut promises);
        promises
    };
    let of =
        |sentence: &str, tests| ("S".to_owned(), sentence.to_owned(), BTreeMap::from([("a.rs".to_owned(), tests)]));
    let two = format!(
        "{MARK}S | one\n{MARK}S | two\n///\n/// More.\n#[test]\nfn a() {{}}\n{MARK}S | one\n#[tokio::test]\nasync fn b() {{}}"
    );
    assert_eq!(shown(&two), [of("one", 2), of("two", 1)]);
    for wrong in ["#[test]\n#[ignore]\nfn a() {}", "fn a() {}", "", "#[tokio::main]\nasync fn a() {}"] {
        let text = format!("{MARK}S | one\n{wrong}");
        assert!(std::panic::catch_unwind(|| shown(&text)).is_err(), "{wrong}");
    }
}
