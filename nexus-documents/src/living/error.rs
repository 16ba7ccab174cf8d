//! Why a document cannot be built, read, edited or taken from a file.

use crate::change::{ACTOR_BYTES_MAX, DEPS_MAX, KEY_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::error::Fault;
use crate::hash::ChangeHash;
use crate::judge::DEPTH_MAX;
use crate::living::path::{BadPath, DocPath};

/// Why a document must not be used any more. Its caller builds it again from its changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// A change is not one that was judged.
    #[error("this change was not judged before: {0}. Apply only changes that the judge accepts")]
    NotJudged(Fault),
    /// Changes before one of these are neither in the document nor among these.
    #[error("changes are missing before change {0}. Apply each change after those before it")]
    Deps(ChangeHash),
    /// The Automerge library refused a change or failed.
    #[error("the Automerge library failed: {0}. Build the document again from its changes")]
    Library(String),
    /// It failed before.
    #[error("this document failed before. Build it again from its changes")]
    Before,
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Versions that the document does not have.
    #[error("this document does not have the version {}. Its history shows the versions that it has", hashes(.0))]
    UnknownHeads(Vec<ChangeHash>),
    /// The document does not fit the type of a program.
    #[error(
        "the document does not fit the type of this program: {0}. A type takes `Text` for texts, and `i64` for numbers"
    )]
    Type(String),
    /// The Automerge library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why an edit was not made. Nothing has changed, unless it says [`EditError::Broken`] or [`EditError::Panicked`]. After these two
/// the document must not be used any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Nothing is at this path.
    #[error("no such path: `{path}`. {}; set what is missing first", there(exists, keys))]
    NoSuchPath {
        /// The path.
        path: DocPath,
        /// The longest part of it that exists.
        exists: DocPath,
        /// Keys of that part, if it is a map: the first ones.
        keys: Vec<String>,
    },
    /// A token of the path is no place in a list.
    #[error("`{path}` names no place in the list `{list}`: it takes a number below {len}, or `-` to insert at the end")]
    NoPlace {
        /// The path.
        path: DocPath,
        /// The list.
        list: DocPath,
        /// The number of its elements.
        len: usize,
    },
    /// A position is beyond the end.
    #[error("a position is beyond the end of `{path}`, which has {len}. Texts are counted in Unicode scalar values")]
    PositionBeyond {
        /// The text or list.
        path: DocPath,
        /// Its length.
        len: usize,
    },
    /// A mark is on no letter.
    #[error("a mark takes the letters of `{path}` from one position up to a later one, and {from} to {to} has none")]
    NoLetters {
        /// The text.
        path: DocPath,
        /// The first letter.
        from: usize,
        /// The letter after the last one.
        to: usize,
    },
    /// The name of a mark is out of range.
    #[error("the name of a mark has 1 to {KEY_BYTES_MAX} bytes")]
    MarkName,
    /// The value of a mark is a list, a map or bytes.
    #[error("the value of a mark in {} is a text, a number, true, false or null", named(.0))]
    MarkValue(DocPath),
    /// The thing at the path is of another kind.
    #[error("{} is no {wanted}, but {found}. {hint}", named(path))]
    OtherKind {
        /// The path.
        path: DocPath,
        /// The kind that the edit needs.
        wanted: &'static str,
        /// The kind that is there.
        found: &'static str,
        /// The way on.
        hint: &'static str,
    },
    /// The document itself is a map: it cannot be deleted, or be something else.
    #[error("the document itself is a map, and stays one. Set a map, or name a path within it")]
    Root,
    /// A value would be too deep.
    #[error(
        "{} would hold values that are too deep: the most is {DEPTH_MAX} maps, lists and texts within one another", named(.0)
    )]
    TooDeep(DocPath),
    /// A key is too long.
    #[error("a key in {} is too long: the most is {KEY_BYTES_MAX} bytes", named(.0))]
    KeyTooLong(DocPath),
    /// A counter, or a step of one, is out of range.
    #[error("the counter `{path}` cannot take {number}: a first value is at most 2^53, and a step at most 2^40")]
    Counter {
        /// The path.
        path: DocPath,
        /// The number.
        number: i64,
    },
    /// Bytes are malformed.
    #[error("the bytes at `{0}` are malformed: `$bytes` takes base64 in its standard form, with padding")]
    Bytes(DocPath),
    /// One value is larger than a change may be.
    #[error("a value in {} is too large: a change takes at most {most} bytes. Put large files into blobs", named(path))]
    TooLarge {
        /// The path.
        path: DocPath,
        /// The most bytes.
        most: usize,
    },
    /// The edits have more bytes or values than a document can hold.
    #[error("this edit does not fit into the document: the most is {most} {of}. Begin a new document, or write less")]
    DocumentFull {
        /// The bound.
        most: u64,
        /// The thing that is bounded.
        of: &'static str,
    },
    /// The document has too many branches to write after all of them, and changes may have too few bytes to join them.
    #[error("this document has {0} branches, and a change can come after at most {DEPS_MAX}. Allow larger changes")]
    Branches(usize),
    /// The id of the actor is malformed.
    #[error("an actor's id has 1 to {ACTOR_BYTES_MAX} bytes")]
    Actor,
    /// The word about the change is too long.
    #[error("the word about a change has at most {MESSAGE_BYTES_MAX} bytes")]
    Message,
    /// The time is out of range.
    #[error("the time {0} is out of range: it is in seconds since 1970")]
    Time(i64),
    /// Versions that the document does not have.
    #[error("this document does not have the version {}. Its history shows the versions that it has", hashes(.0))]
    UnknownHeads(Vec<ChangeHash>),
    /// The judge would refuse the change for another reason.
    #[error("this edit makes a change that would be refused: {0}")]
    Refused(Fault),
    /// A path is malformed.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// The values of a program do not fit the document.
    #[error(
        "the document does not fit the type of this program: {0}. A type takes `Text` for texts, and `i64` for numbers"
    )]
    Type(String),
    /// The program ended its change with an error of its own.
    #[error("the program ended its change with an error: {0}. Nothing has changed")]
    Program(String),
    /// The program panicked during its change. The document must not be used any more.
    #[error("the program panicked during its change: {0}. Nothing has changed")]
    Panicked(String),
    /// The Automerge library refused the edit.
    #[error("the Automerge library refuses this edit: {0}. Nothing has changed")]
    Library(String),
    /// The document must not be used any more.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why a file gives no changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is no Automerge file.
    #[error("this is no Automerge file: {0}. Save the document again with a program that writes Automerge files")]
    Form(&'static str),
    /// A part of the file is of a kind that this version does not read.
    #[error("this Automerge file has a part of kind {0}, which this version does not read. Save it as one document")]
    Kind(u8),
    /// The file is over a bound.
    #[error("this Automerge file is too large: more than {most} {of}. Begin a new document from its current state")]
    TooLarge {
        /// The bound.
        most: u64,
        /// The thing that is bounded.
        of: &'static str,
    },
    /// A change of the file is malformed.
    #[error("a change in this Automerge file is refused: {0}")]
    Change(#[from] Fault),
    /// Changes that others come after are not in the file.
    #[error("{} changes that others come after are not in this Automerge file. Save the whole document", .0.len())]
    MissingDeps(Vec<ChangeHash>),
    /// The Automerge library refused the file or failed.
    #[error("the Automerge library does not load this file: {0}")]
    Library(String),
}

/// A path in a message. That of the document itself has no letters.
fn named(path: &DocPath) -> String {
    if path.is_root() { "the document itself".to_owned() } else { format!("`{path}`") }
}

/// The part of a path that exists.
fn there(exists: &DocPath, keys: &[String]) -> String {
    let keys = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
    match (exists.is_root(), keys.is_empty()) {
        (true, true) => "Nothing of it exists: the document is empty".to_owned(),
        (true, false) => format!("Nothing of it exists: the document has {keys}"),
        (false, true) => format!("The part that exists is `{exists}`"),
        (false, false) => format!("The part that exists is `{exists}`, with {keys}"),
    }
}

fn hashes(hashes: &[ChangeHash]) -> String {
    hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
