//! The names at the root of the library, which an embedder reads first. All others are in its modules.

use std::path::Path;

use super::modules::{Files, imported, read};
use super::source::{Item, items, tokens};

/// Names at the root of `nexus-node`, in the order of its file. The list only becomes shorter: a new type goes into a module.
const ROOT: &[&str] = &[
    "api",
    "blobs",
    "brain",
    "config",
    "critical",
    "datadir",
    "documents",
    "env",
    "error",
    "events",
    "mcp",
    "memory",
    "node",
    "project",
    "tasks",
    "tls",
    "Blobs",
    "Brain",
    "Critical",
    "DataDir",
    "NodeEnv",
    "NodeError",
    "Memory",
    "MemoryId",
    "NewMemory",
    "Patch",
    "RecallQuery",
    "WatchQuery",
    "Did",
    "Keypair",
    "Name",
    "Ticket",
    "Timestamp",
    "Builder",
    "Invite",
    "Node",
    "NewTask",
    "TaskBoard",
    "net",
];

/// The most names that a reader holds at once. A hidden module is not counted: no promise holds for it.
const NAMES_MAX: usize = 40;

/// Where the program reaches behind the library's public names: file, room. The list only becomes shorter: the program is
/// an embedder like any other.
const REACHES: &[(&str, &str)] = &[
    ("src/commands/backup.rs", "backup"),
    ("src/commands/doctor.rs", "own_store"),
    ("src/commands/restore.rs", "backup"),
    ("src/commands/restore.rs", "salvage"),
    ("src/lib.rs", "store"),
];

/// The words behind `internals::` in each file.
fn reaches(files: &Files) -> Vec<(&str, &str)> {
    let mut reaches = Vec::new();
    for (file, source) in files {
        let tokens = tokens(source);
        for at in 0..tokens.len().saturating_sub(2) {
            if tokens[at].text == "internals" && tokens[at + 1].text == "::" {
                reaches.push((file.as_str(), tokens[at + 2].text));
            }
        }
    }
    reaches
}

/// The public names of a file. A module that the documentation hides is left out.
fn names(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let is_hidden = |item: &Item<'_, '_>| {
        item.attributes.iter().any(|attribute| attribute.iter().any(|token| token.text == "hidden"))
    };
    let public = |item: &Item<'_, '_>| match item.kind {
        "use" => imported(item),
        _ => vec![item.name.to_owned()],
    };
    items(&tokens).iter().filter(|item| item.lent && !is_hidden(item)).flat_map(public).collect()
}

#[test]
fn the_root_of_the_library_has_few_names_and_none_more_than_before() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = names(&std::fs::read_to_string(root.join("nexus-node/src/lib.rs")).unwrap());
    assert_eq!(found, ROOT, "left: public names at the root of nexus-node; put a new one into a module");
    assert!(found.len() <= NAMES_MAX, "{} names", found.len());
}

#[test]
fn the_program_reaches_behind_the_library_in_a_few_places() {
    let mut files = Files::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("nexus-node/cli"), "src", &mut files);
    assert_eq!(
        reaches(&files),
        REACHES,
        "left: paths into `internals` of the program; take them out, or give the type a public place"
    );
}

#[test]
fn reaches_behind_the_library_are_found() {
    let source = "use n::internals::a::B; // internals::c\nfn f() { n::internals::d::e() }";
    let files = Files::from([("x.rs".to_owned(), source.to_owned())]);
    assert_eq!(reaches(&files), [("x.rs", "a"), ("x.rs", "d")]);
}

#[test]
fn names_that_are_public_at_a_root_are_found() {
    let source = "mod a; pub mod b; use c::D; pub use e::{F, g::{H, I as J}}; pub struct K;\n\
                  #[doc(hidden)] pub mod l { pub use a::M; } pub mod n { pub use a::O; }";
    assert_eq!(names(source), ["b", "F", "H", "J", "K", "n"]);
}
