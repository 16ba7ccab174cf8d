//! Structs with few fields, and functions that are read on one screen or two.

use super::modules::{Crate, made, workspace};

/// A struct with more fields has several jobs: its parts are types of their own.
const FIELDS_MAX: usize = 15;
/// A longer function has several phases: each is a function with a name.
const LINES_MAX: usize = 120;

/// Structs with more fields: file, struct, why.
const FIELDS: &[(&str, &str, &str)] = &[
    ("nexus-mesh/src/net/swarm.rs", "Net", "the one owner of the swarm: the parts that change together are to leave"),
    ("nexus-node/src/api/import.rs", "Line", "a document: each field is one of a line of an import"),
    ("nexus-client/src/wire/memory.rs", "Memory", "a document of the API"),
    ("nexus-client/src/wire/tasks.rs", "NewTask", "a document of the API"),
    ("nexus-client/src/wire/tasks.rs", "Task", "a document of the API"),
    ("nexus-client/src/wire.rs", "Status", "a document of the API"),
    ("nexus-node/src/blobs/fetching.rs", "Running", "a fetch with its handles: these are to be a struct of their own"),
    ("nexus-node/src/coordinator/limits.rs", "Limits", "bounds, each with its unit and its default"),
    (
        "nexus-node/src/coordinator/part.rs",
        "Coordinator",
        "the handle of the room with all that its tasks share: to be cut by task",
    ),
    ("nexus-node/src/engine/state.rs", "EngineState", "the whole state of the engine, one field per view"),
    ("nexus-node/src/memory.rs", "NewMemory", "the fields of a memory, as a caller writes them"),
    ("nexus-node/src/memory.rs", "Memory", "the fields of a memory, as a caller reads them"),
    ("nexus-node/src/node.rs", "Inner", "one handle per room of the node"),
    (
        "nexus-node/src/replication/session.rs",
        "SyncSession",
        "four machines in one: frontiers, cursors, pace, branches; to be cut",
    ),
    ("nexus-node/src/tasks/scheduler/core.rs", "Scheduler", "the scheduler with all it knows; to be cut"),
    ("nexus-node/src/tasks/task.rs", "NewTask", "the fields of a task, as a caller writes them"),
    ("nexus-node/src/tasks/task.rs", "Task", "the fields of a task, as a caller reads them"),
    ("nexus-node/cli/src/commands/task/submit.rs", "Submit", "options of a command"),
    ("nexus-node/cli/src/commands/worker/job.rs", "Job", "a running command with its pipes, limits and bounds"),
    ("nexus-node/cli/src/commands/worker/workplace.rs", "WorkplaceOptions", "options of a command"),
    ("simulations/src/ledger.rs", "Ledger", "what callers were promised, one field per kind of promise"),
    ("simulations/src/model.rs", "Model", "the knobs of a run's world"),
    ("simulations/src/outcome.rs", "RunOutcome", "figures of a run, one field each"),
    ("simulations/src/plan.rs", "Plan", "the knobs of a run, one field each"),
    ("simulations/src/world.rs", "Machine", "a simulated machine: its disks, its node and what befell it"),
];

/// Longer functions: file, function, why.
const LINES: &[(&str, &str, &str)] = &[
    ("nexus-node/src/api/routes.rs", "memories_and_spaces", "a table of routes"),
    ("nexus-node/src/node/start.rs", "start", "the one place that starts all rooms; to be a list of rooms"),
    ("nexus-node/src/runtime/drive.rs", "Drive::turn", "one turn of the drive; to be cut into phases"),
];

/// Types and functions above a bound, with their sizes: file, name, size.
type Large = Vec<(String, String, usize)>;

fn structs(crates: &[Crate]) -> Large {
    let all = crates.iter().flat_map(|one| one.types.iter().map(move |found| (one, found)));
    let large = all.filter(|(_, found)| found.fields > FIELDS_MAX);
    large.map(|(one, found)| (format!("{}/{}", one.name, found.file), found.name.clone(), found.fields)).collect()
}

fn functions(crates: &[Crate]) -> Large {
    let all = crates.iter().flat_map(|one| one.functions.iter().map(move |found| (one, found)));
    let large = all.filter(|(_, found)| found.lines > LINES_MAX);
    large.map(|(one, found)| (format!("{}/{}", one.name, found.file), found.name.clone(), found.lines)).collect()
}

/// The differences between what is found and a list.
fn differences(found: &Large, list: &[(&str, &str, &str)], todo: &str) -> String {
    let is = |file: &str, name: &str| found.iter().any(|(of, what, _)| of == file && what == name);
    let listed = |file: &str, name: &str| list.iter().any(|(of, what, _)| *of == file && *what == name);
    let mut text = String::new();
    for (file, name, size) in found.iter().filter(|(file, name, _)| !listed(file, name)) {
        text += &format!("{file}: {name} has {size} {todo}\n");
    }
    for (file, name, _) in list.iter().filter(|(file, name, _)| !is(file, name)) {
        text += &format!("{file}: {name} is on the list of sizes.rs, and small or gone. Leave it out.\n");
    }
    text
}

#[test]
fn a_struct_has_few_fields() {
    let todo = format!(
        "fields. A struct has at most {FIELDS_MAX} fields: make those that change together a struct of their own."
    );
    let text = differences(&structs(workspace()), FIELDS, &todo);
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn a_function_has_few_lines() {
    let todo = format!("lines. A function has at most {LINES_MAX} lines: make each phase a function with a name.");
    let text = differences(&functions(workspace()), LINES, &todo);
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn what_is_too_large_is_found_and_what_is_no_longer_so_too() {
    let fields: String = (0..=FIELDS_MAX).map(|number| format!("#[a(b)] f{number}: X<Y, Z>, ")).collect();
    let lines = "\n".repeat(LINES_MAX);
    let source = |fields: &str, lines: &str| {
        let text = format!("struct A<'a, T: B> {{ {fields} }} impl<T> B for A<T> {{ fn c(&self) {{{lines}}} }}");
        [made(&[("lib.rs", &text)])]
    };
    let large = source(&fields, &lines);
    assert_eq!(structs(&large), [("made/lib.rs".to_owned(), "A".to_owned(), FIELDS_MAX + 1)]);
    assert_eq!(functions(&large), [("made/lib.rs".to_owned(), "A::c".to_owned(), LINES_MAX + 1)]);
    assert!(differences(&structs(&large), &[], "").contains("A has 16"));
    assert_eq!(differences(&structs(&large), &[("made/lib.rs", "A", "")], ""), "");

    let small = source(fields.split_once(',').unwrap().1, &lines[1..]);
    assert!(structs(&source("a: X", &lines)).is_empty() && functions(&small).is_empty());
    assert!(differences(&Large::new(), &[("made/lib.rs", "A", "")], "").contains("Leave it out"));
}
