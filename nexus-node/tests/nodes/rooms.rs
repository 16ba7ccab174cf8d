//! Rooms of the crate name only the rooms below them: a table, and a look at every source file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms that it may name, all of which stand above it here: so there is no circle.
///
/// A room is a file or folder right under `src`. Tests may name what they like. To add an arrow is to argue for it;
/// to add one upward is not possible, since a room knows only those before it.
const ROOMS: &[(&str, &[&str])] = &[
    ("trace", &[]),
    ("request", &[]),
    ("budget", &[]),
    ("histogram", &[]),
    ("store", &[]),
    ("datadir", &["store"]),
    ("tls", &["datadir"]),
    ("world", &[]),
    ("headroom", &["world"]),
    ("load", &[]),
    ("identity", &[]),
    ("notices", &[]),
    ("project", &[]),
    ("words", &[]),
    ("recent", &[]),
    ("formats", &[]),
    ("ledger", &["store"]),
    ("own_store", &["store", "datadir", "ledger"]),
    ("config", &["datadir", "formats", "ledger"]),
    ("failure", &["store", "ledger"]),
    ("engine", &["store", "headroom", "formats", "ledger"]),
    ("replication", &["store", "ledger"]),
    ("error", &["request", "store", "datadir", "world", "headroom", "formats", "ledger", "failure"]),
    ("memory", &["store", "ledger", "error"]),
    // the one way to follow the log: whoever keeps something derived from entries stands on it
    ("follow", &["store", "world", "identity", "ledger", "error", "memory"]),
    // conditions on memories, for every index
    ("filter", &["words", "ledger"]),
    ("search", &["words", "store", "project", "ledger", "error", "memory", "follow", "filter"]),
    ("vectors", &["words", "store", "datadir", "world", "config", "ledger", "error", "memory", "follow", "filter"]),
    (
        "runtime",
        &[
            "trace",
            "store",
            "world",
            "headroom",
            "failure",
            "identity",
            "notices",
            "ledger",
            "engine",
            "replication",
            "error",
        ],
    ),
    (
        "coordinator",
        &["request", "budget", "store", "world", "headroom", "failure", "identity", "formats", "config", "error"],
    ),
    ("critical", &["world", "error", "coordinator"]),
    ("blobs", &["recent", "store", "datadir", "world", "headroom", "identity", "error", "runtime"]),
    // a restored directory is one that the coordinators' start takes, too
    ("backup", &["store", "datadir", "ledger", "config", "coordinator", "blobs"]),
    ("salvage", &["store", "datadir", "world", "ledger", "own_store", "config", "backup", "engine", "coordinator"]),
    (
        "brain",
        &[
            "blobs",
            "histogram",
            "store",
            "world",
            "identity",
            "project",
            "words",
            "config",
            "ledger",
            "engine",
            "error",
            "memory",
            "follow",
            "search",
            "vectors",
            "runtime",
        ],
    ),
    ("graph", &["store", "ledger", "error", "memory", "follow", "brain"]),
    ("documents", &["budget", "store", "world", "identity", "ledger", "engine", "error", "memory", "runtime", "brain"]),
    (
        "tasks",
        &[
            "budget",
            "blobs",
            "config",
            "formats",
            "load",
            "store",
            "world",
            "identity",
            "ledger",
            "engine",
            "error",
            "memory",
            "runtime",
            "coordinator",
            "critical",
            "brain",
        ],
    ),
    (
        "events",
        &[
            "recent",
            "blobs",
            "world",
            "error",
            "memory",
            "follow",
            "runtime",
            "critical",
            "brain",
            "documents",
            "tasks",
        ],
    ),
    ("env", &["store", "world", "headroom", "load", "config", "ledger", "error", "blobs"]),
    ("inspect", &["brain", "store", "ledger", "error", "memory"]),
    (
        "node",
        &[
            "documents",
            "backup",
            "blobs",
            "budget",
            "store",
            "datadir",
            "project",
            "world",
            "load",
            "headroom",
            "failure",
            "identity",
            "notices",
            "formats",
            "config",
            "ledger",
            "own_store",
            "engine",
            "error",
            "env",
            "memory",
            "follow",
            "search",
            "vectors",
            "runtime",
            "coordinator",
            "critical",
            "brain",
            "tasks",
            "events",
        ],
    ),
    ("problem", &["store", "datadir", "backup", "error"]),
    (
        "api",
        &[
            "documents",
            "blobs",
            "histogram",
            "project",
            "tls",
            "datadir",
            "config",
            "trace",
            "world",
            "error",
            "memory",
            "tasks",
            "coordinator",
            "critical",
            "vectors",
            "brain",
            "events",
            "node",
            "problem",
        ],
    ),
    ("mcp", &["trace", "project", "error", "memory", "brain", "graph", "documents", "tasks", "node", "problem", "api"]),
    ("fuzzed", &["backup", "tls", "trace", "words", "ledger", "memory", "follow", "search", "runtime"]),
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The modules from the root of the crate down to a file: `memory/read.rs` is `["memory", "read"]`.
fn module(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(sources()).unwrap().with_extension("");
    let mut parts: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

fn is_test(file: &Path) -> bool {
    module(file).iter().any(|part| part == "tests")
}

/// A source without comments and texts, and without what is only there for tests.
fn code(source: &str) -> String {
    let code = without_texts(source);
    let Some(at) = code.find("#[cfg(test)]\nmod tests {") else { return code };
    code[..at].to_owned()
}

/// A source with its comments left out and its texts emptied.
fn without_texts(source: &str) -> String {
    let (mut code, mut rest) = (String::new(), source);
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            'r' if rest.starts_with("r#\"") => rest[3..].find("\"#").map_or(rest.len(), |end| end + 5),
            '"' => text_length(rest),
            '\'' if rest.starts_with("'\\") => 2 + rest[2..].find('\'').map_or(0, |end| end + 1),
            '\'' if rest.starts_with("'\"'") => 3,
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            rest = &rest[skipped..];
        }
    }
    code
}

/// The bytes of a text in quotes, with both quotes.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The first parts of all paths that begin with a word: of `crate::{a::b, C}` they are `a` and `C`. A star is a part.
fn first_parts(code: &str, word: &str) -> Vec<String> {
    let begins = format!("{word}::");
    let mut parts = Vec::new();
    for (at, _) in code.match_indices(&begins) {
        let preceded =
            code[..at].chars().next_back().is_some_and(|before| is_name(before) || before == ':' || before == '$');
        if preceded {
            continue;
        }
        let rest = &code[at + begins.len()..];
        match rest.strip_prefix('{') {
            Some(group) => parts.extend(grouped(group)),
            None => parts.push(first_part(rest)),
        }
    }
    parts.retain(|part: &String| !part.is_empty());
    parts
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The first part of a path: a name, or a star for all names.
fn first_part(path: &str) -> String {
    match path.trim_start() {
        path if path.starts_with('*') => "*".to_owned(),
        path => path.chars().take_while(|character| is_name(*character)).collect(),
    }
}

/// The first parts of the paths of a group, which is given without its first brace.
fn grouped(group: &str) -> Vec<String> {
    let (mut parts, mut depth, mut begun) = (Vec::new(), 0, 0);
    for (end, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                parts.push(first_part(&group[begun..end]));
                begun = end + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts
}

/// The first parts of all paths that lead out of a room, from a file so many modules below the crate's root.
fn parts_outside(code: &str, depth: usize) -> Vec<String> {
    let mut parts = first_parts(code, "crate");
    let code = code.replace("self::super", "super");
    // as many steps up as the file is deep end at the root
    parts.extend(first_parts(&code, &vec!["super"; depth].join("::")));
    // steps up within a group are not counted, and so not allowed
    let groups = code.match_indices("super::{").flat_map(|(at, begins)| grouped(&code[at + begins.len()..]));
    parts.extend(groups.filter(|part| part == "super"));
    parts
}

/// The room of each name that `lib.rs` lends to the whole crate: `NodeError` is of `error`.
fn lent() -> BTreeMap<String, String> {
    let code = code(&fs::read_to_string(sources().join("lib.rs")).unwrap());
    let mut lent = BTreeMap::new();
    for statement in code.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let (room, names) = statement.split_once("::").unwrap();
        if room == "crate" {
            continue;
        }
        for name in names.split(|character: char| !character.is_alphanumeric() && character != '_') {
            lent.insert(name.to_owned(), room.trim().to_owned());
        }
    }
    lent
}

/// The rooms that a file names, with its own.
fn named(file: &Path, lent: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = code(&fs::read_to_string(file).unwrap());
    let parts = parts_outside(&code, module(file).len());
    parts.into_iter().map(|part| lent.get(&part).cloned().unwrap_or(part)).collect()
}

#[test]
fn every_room_names_only_the_rooms_below_it() {
    let (lent, mut wrong) = (lent(), Vec::new());
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    for file in files(&sources()) {
        let module = module(&file);
        let Some(room) = module.first().filter(|_| !is_test(&file)) else { continue };
        let Some(below) = rooms.get(room.as_str()) else {
            wrong.push(format!("{room} is not in the table"));
            continue;
        };
        for name in named(&file, &lent) {
            if name != *room && !below.contains(&name.as_str()) {
                wrong.push(format!("{}: {room} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle_and_no_arrow_that_nobody_needs() {
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for (room, below) in ROOMS {
        for name in *below {
            assert!(above.contains(name), "{room} may name {name}, which does not stand above it");
        }
        assert!(above.insert(room), "{room} is there twice");
    }
    let lent = lent();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&sources()).iter().filter(|file| !is_test(file)) {
        if let Some(room) = module(file).first() {
            used.entry(room.clone()).or_default().extend(named(file, &lent));
        }
    }
    let mut idle = Vec::new();
    for (room, below) in ROOMS {
        let used = used.get(*room).unwrap_or_else(|| panic!("{room} is no room"));
        idle.extend(below.iter().filter(|name| !used.contains(**name)).map(|name| format!("{room} -> {name}")));
    }
    assert!(idle.is_empty(), "in the table and nowhere else: {}", idle.join(", "));
}

/// The settler alone has the scheduler: others call its handle, which takes the lock for one step.
#[test]
fn the_scheduler_of_tasks_is_in_the_settlers_hands_alone() {
    let mut holders = BTreeSet::new();
    for file in files(&sources()).iter().filter(|file| !is_test(file)) {
        let module = module(file);
        let is_scheduler = module.get(1).is_some_and(|part| part == "scheduler");
        if module.first().is_some_and(|first| first == "tasks") && !is_scheduler {
            let code = code(&fs::read_to_string(file).unwrap());
            let names = |word: &str| {
                code.match_indices(word).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    let after = code[at + word.len()..].chars().next();
                    !before.is_some_and(is_name) && !after.is_some_and(is_name)
                })
            };
            // by its type, or by the field that has it
            if names("Scheduler") || code.contains(".core.") {
                holders.insert(module[1].clone());
            }
        }
    }
    assert_eq!(holders, BTreeSet::from(["settler".to_owned()]));
    let held = code(&fs::read_to_string(sources().join("tasks/settler.rs")).unwrap());
    assert!(held.contains("fn held(&self) -> MutexGuard<") && !held.contains("pub(super) fn held("));
}

#[test]
fn paths_are_found_in_whatever_form_they_are_written() {
    let code = code(
        "use crate::{a, b::{c, d}, E};\n// use crate::f;\nlet x = \"crate::g\"; crate::h::i();\n\
         pub(in crate::j) fn k() {}\nmy_crate::l();\n#[cfg(test)]\nmod tests {\n use crate::m; }",
    );
    assert_eq!(first_parts(&code, "crate"), ["a", "b", "E", "h", "j"]);
}

#[test]
fn no_star_and_no_steps_up_lead_out_of_a_room_unseen() {
    assert_eq!(parts_outside("use crate::*;", 2), ["*"]);
    assert_eq!(parts_outside("use crate::{a, *};", 2), ["a", "*"]);
    assert_eq!(parts_outside("use super::{a, b}; use super::*;", 1), ["a", "b", "*"]);
    assert_eq!(parts_outside("use super::a; use super::super::{b::c, d}; super::super::e();", 2), ["b", "d", "e"]);
    assert_eq!(parts_outside("use super::super::a; use self::super::super::super::b;", 3), ["b"]);
    assert_eq!(parts_outside("use super::{a, super::b};", 2), ["super"]);
}
