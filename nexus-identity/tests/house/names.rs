//! Names of types that mislead nobody.

use super::modules::{Crate, made, workspace};

/// The names that every file has without an import. A type of this name hides it, and a reader takes one for the other.
const PRELUDE: &[&str] = &[
    "AsMut",
    "AsRef",
    "Box",
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "DoubleEndedIterator",
    "Drop",
    "Eq",
    "Err",
    "ExactSizeIterator",
    "Extend",
    "Fn",
    "FnMut",
    "FnOnce",
    "From",
    "FromIterator",
    "Future",
    "Hash",
    "Into",
    "IntoFuture",
    "IntoIterator",
    "Iterator",
    "None",
    "Ok",
    "Option",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Result",
    "Send",
    "Sized",
    "Some",
    "String",
    "Sync",
    "ToOwned",
    "ToString",
    "TryFrom",
    "TryInto",
    "Unpin",
    "Vec",
];

/// Types that hide one: file, type, why.
const HIDING: &[(&str, &str, &str)] = &[
    ("nexus-node/src/tasks/core.rs", "From", "to be renamed when the scheduler is cut"),
    ("nexus-node/src/runtime/session.rs", "Sync", "to be renamed when the session is cut"),
];

/// Names that at most one type of the workspace has: a reader must not have to ask whose it is.
const ONCE: &[&str] = &["Core"];

/// The files of types that share such a name with another: name, files, why.
const SHARED: &[(&str, &[&str], &str)] = &[(
    "Core",
    &["nexus-crdt/src/fields.rs", "nexus-node/src/tasks/core.rs"],
    "the scheduler's is to be renamed when it is cut",
)];

/// All types of a name, by their files.
fn files<'c>(crates: &'c [Crate], name: &str) -> Vec<String> {
    let of = |one: &'c Crate| one.types.iter().filter(|found| found.name == name).map(move |found| (one, found));
    crates.iter().flat_map(of).map(|(one, found)| format!("{}/{}", one.name, found.file)).collect()
}

fn hiding(crates: &[Crate]) -> Vec<(String, &'static str)> {
    PRELUDE.iter().flat_map(|name| files(crates, name).into_iter().map(move |file| (file, *name))).collect()
}

fn shared(crates: &[Crate]) -> Vec<(&'static str, Vec<String>)> {
    ONCE.iter().map(|name| (*name, files(crates, name))).filter(|(_, files)| files.len() > 1).collect()
}

#[test]
fn no_type_hides_one_of_the_prelude() {
    let found = hiding(workspace());
    let listed: Vec<(String, &str)> = HIDING.iter().map(|(file, name, _)| ((*file).to_owned(), *name)).collect();
    assert_eq!(found, listed, "left: types that hide one of the prelude; give each a name that says whose it is");
}

#[test]
fn a_name_that_says_little_is_there_once() {
    let found = shared(workspace());
    let listed: Vec<(&str, Vec<String>)> =
        SHARED.iter().map(|(name, files, _)| (*name, files.iter().map(|file| (*file).to_owned()).collect())).collect();
    assert_eq!(found, listed, "left: types of one name; give all but one a name that says whose it is");
}

#[test]
fn a_type_that_hides_another_and_two_of_one_name_are_found() {
    let root = "mod a; struct From; struct Core; fn f() { struct Local; }";
    let crates = [made(&[("lib.rs", root), ("a.rs", "mod b { pub trait Sync {} } enum Core {}")])];
    assert_eq!(hiding(&crates), [("made/lib.rs".to_owned(), "From"), ("made/a.rs".to_owned(), "Sync")]);
    let both = vec!["made/a.rs".to_owned(), "made/lib.rs".to_owned()];
    assert_eq!(shared(&crates), [("Core", both)]);
}
