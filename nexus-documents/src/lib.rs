//! Living documents: Automerge changes of strangers, judged before any library applies them.
//!
//! A change that an author wrote with care makes a library panic, run without end, or build a document that others cannot
//! load. This crate reads changes by itself, in bounded time and memory, and says which may be applied. It does no I/O, and reads no
//! clock. Without its feature `automerge` it applies nothing; with it, only changes whose verdict holds.
//!
//! | items | decision |
//! |---|---|
//! | [`DocumentId`] | the name of a document, and its address for automerge-repo |
//! | [`Change::parse`] | the form of a change: canonical bytes, bounds on what they expand to |
//! | [`expand()`] | a compressed change as a plain one, within a bound |
//! | [`Judge`] | the verdict: whether a change means something after its ancestors |
//! | [`standing()`] | which changes of a document count, and which two stand in each other's way |
//! | `Living` (feature `automerge`) | the document that is built from changes whose verdict holds: read, edited, compared, saved |
//! | `Draft` (feature `automerge`) | a change that a program makes by itself; with the feature `typed` in values of its own types |
//! | `SyncMessage`, `SyncPeer` (feature `automerge`) | Automerge's sync protocol with programs, whose changes are judged first |
//! | `RepoMessage` (feature `repo`) | the messages of automerge-repo |
//! | `changes_of_file` (feature `automerge`) | the changes in a file of Automerge, to be judged like those of strangers |
//!
//! The verdict depends on a change and its ancestors alone: all nodes that hold the same changes give the same one, in
//! whatever order the changes came. [`VERDICT`] is its number. A later version that judges otherwise raises it.
//!
//! The format is Automerge's binary format, as its specification and version 0.12 of the library write it.

mod change;
mod clock;
mod columns;
mod error;
mod hash;
mod id;
mod judge;
#[cfg(feature = "automerge")]
mod living;
mod reader;
#[cfg(feature = "repo")]
mod repo;
mod standing;
#[cfg(test)]
mod tests;

pub use change::{ACTOR_BYTES_MAX, CHANGE_BYTES_MAX, Change, DEPS_MAX, MESSAGE_BYTES_MAX, OPS_MAX, chunk, expand};
pub use error::Fault;
pub use hash::ChangeHash;
pub use id::{BadDocumentUrl, DocumentId, genesis};
pub use judge::{ACTORS_MAX, COUNTER_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_OPS_MAX, Judge, VERDICT};
#[cfg(feature = "automerge")]
#[doc(hidden)]
pub use living::file_of_document;
#[cfg(feature = "automerge")]
pub use living::{
    BadPath, Broken, ChangeError, Content, DocPath, Draft, Edit, EditError, FILE_BYTES_MAX, FileError, HistoryItem,
    Living, Made, MarkExpand, MarkJson, PatchJson, ReadError, SYNC_BYTES_MAX, SyncMessage, SyncPeer, TextRuns,
    WrittenText, changes_of_file,
};
#[cfg(feature = "repo")]
pub use repo::{BadRepoMessage, EPHEMERAL_BYTES_MAX, REPO_NAME_BYTES_MAX, REPO_VERSION, RepoBody, RepoMessage};
pub use standing::{Held, Standing, standing};
