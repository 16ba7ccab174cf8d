//! Errors of the node, with a variant for each reason.
//!
//! | room | content |
//! |---|---|
//! | `input` | faults in a caller's input |
//! | `access` | the reasons why something is not permitted |
//! | `conflict` | the current state that does not allow a change |
//! | `contact` | other nodes and the network |
//! | `document` | documents that cannot be read or written |
//! | `stop` | the end of this node |

mod access;
mod conflict;
mod contact;
mod document;
mod input;
mod place;
mod shown;
mod stop;

use std::fmt;
use std::time::Duration;

pub use self::access::{AccessError, AdminDuty, CriticalBound};
pub use self::conflict::ConflictError;
pub use self::contact::{ContactError, ListenError, NetworkError};
pub use self::document::DocumentError;
pub use self::input::InputError;
pub use self::place::SecretPlace;
pub(crate) use self::shown::listed;
pub use self::stop::StopError;
pub use crate::failure::{Fault, OpaqueError};
use crate::headroom::Unwritten;
pub use crate::headroom::{DiskFull, FileGone};
pub use crate::ledger::LedgerError;
use crate::request::RequestId;
pub use crate::store::{PoisonCause, StoreDamage, StoreError};
pub use nexus_identity::{BadSignature, ChainError, DidError, NameError, RoleError, TicketError};
pub use nexus_secrets::SecretKind;

/// The kind of a looked-up name or id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// A memory.
    Memory,
    /// A memory that was forgotten.
    Forgotten,
    /// A space.
    Space,
    /// A member of the mesh.
    Member,
    /// A key of critical state.
    Key,
    /// A lock.
    Lock,
    /// A place in the line for a lock.
    Place,
    /// This node's copy of critical state.
    Replica,
    /// A request to the coordinators.
    Request,
    /// A group of words that mean the same.
    Words,
    /// A task.
    Task,
    /// A blob.
    Blob,
    /// A name of this node for a blob.
    BlobTag,
    /// A document.
    Document,
}

impl Resource {
    /// The plural of its word.
    const fn plural(self) -> &'static str {
        match self {
            Self::Memory => "memories",
            Self::Forgotten => "forgotten memories",
            Self::Space => "spaces",
            Self::Member => "members",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Place => "places in line",
            Self::Replica => "copies of critical state",
            Self::Request => "requests",
            Self::Words => "groups of words",
            Self::Task => "tasks",
            Self::Blob => "blobs",
            Self::BlobTag => "tags of blobs",
            Self::Document => "documents",
        }
    }

    /// The one that a name fits. Each comes with its words for somebody who must choose.
    pub(crate) fn the_one<T>(self, name: &str, mut fits: Vec<(T, String)>) -> Result<T, NodeError> {
        match fits.len() {
            0 => Err(NodeError::NotFound { what: self, name: name.to_owned() }),
            1 => Ok(fits.remove(0).0),
            _ => {
                let candidates = fits.into_iter().map(|(_, words)| words).collect();
                Err(NodeError::Ambiguous { what: self, name: name.to_owned(), candidates })
            }
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Forgotten => "forgotten memory",
            Self::Space => "space",
            Self::Member => "member",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Place => "place in line",
            Self::Replica => "copy of critical state",
            Self::Request => "request",
            Self::Words => "group of this node's with the word",
            Self::Task => "task",
            Self::Blob => "blob",
            Self::BlobTag => "tag of a blob",
            Self::Document => "document",
        })
    }
}

/// A failure to read or write the search index. Nothing is lost: it can be rebuilt.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// This build has no index on disk (feature `disk-index`).
    #[error("search index: this build has none on disk")]
    NotBuilt,
    /// The index cannot be read or written.
    #[error("search index: {0}")]
    Index(#[source] OpaqueError),
}

#[cfg(feature = "disk-index")]
impl SearchError {
    pub(crate) fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Index(OpaqueError::new(error))
    }
}

/// An error of the node. Nothing changed unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no such thing of that name.
    #[error("no {what} {name} here")]
    NotFound {
        /// Its kind.
        what: Resource,
        /// The name.
        name: String,
    },
    /// The name fits several.
    #[error("{name} fits several {}: {}", .what.plural(), .candidates.join(", "))]
    Ambiguous {
        /// Its kind.
        what: Resource,
        /// The name.
        name: String,
        /// The matching ones, with ids.
        candidates: Vec<String>,
    },
    /// The caller's input is out of its range.
    #[error(transparent)]
    Invalid(#[from] InputError),
    /// The input is larger than allowed.
    #[error("{what} has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// The part that is too large.
        what: &'static str,
        /// Its size, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// Not permitted.
    #[error(transparent)]
    Refused(#[from] AccessError),
    /// The change conflicts with the current state.
    #[error(transparent)]
    Conflict(#[from] ConflictError),
    /// A document was not read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Not done in time. It may still happen.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// Nobody in reach has all of a blob: parts of it are damaged where it is.
    #[error("the blob {hash} is damaged where it is, and nobody else in reach has those parts: {}", .holders.join(", "))]
    BlobDamaged {
        /// The blob.
        hash: String,
        /// The members with a damaged copy.
        holders: Vec<String>,
    },
    /// A critical write may have happened, or may still happen: a leader may have it, and did not answer in time.
    /// [`Critical::outcome`](crate::Critical::outcome) tells once a quorum answers.
    #[error("not known whether it was done, and it may still happen: {}", unanswered(.missing))]
    OutcomeUnknown {
        /// The id to ask with.
        id: RequestId,
        /// The voters that this node cannot reach, by name.
        missing: Vec<String>,
    },
    /// Too few voters answer for a critical write or a linearizable read. A write did not happen, and will not.
    #[error("no quorum: {}", not_reached(.missing, *.known))]
    NoQuorum {
        /// The voters that this node cannot reach, by name.
        missing: Vec<String>,
        /// Whether this node knows the voters.
        known: bool,
        /// Whether so many of the voters are former members that there will be no quorum again.
        lost: bool,
    },
    /// The disk has no room for a write. Nothing was written; reading goes on.
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    /// A file of the node's was deleted, moved or exchanged while it runs. The write is not acknowledged; reading goes on.
    #[error(transparent)]
    FileGone(#[from] FileGone),
    /// A later version wrote the data that is asked for. The data stays as it is until this node is updated.
    #[error(transparent)]
    TooNew(#[from] crate::formats::TooNew),
    /// This node's part in the coordinators cannot go on. Memory does, and so do the other coordinators.
    #[error("this node's part in the coordinators cannot go on: {0}")]
    Coordinator(#[source] OpaqueError),
    /// The mesh writes an earlier format, which lacks it: some members run an older version.
    #[error(
        "{what} need format {needs} of critical state, which is of format {format} while members run an older version"
    )]
    NotRaised {
        /// The part that the format lacks.
        what: &'static str,
        /// The first format that has it.
        needs: u16,
        /// The format of critical state.
        format: u16,
    },
    /// The mesh writes an earlier format, which has no erasures.
    #[error(
        "the mesh writes a format without erasures. It changes once every coordinator runs this version: see `nexus-node coordinator`"
    )]
    NoErasures,
    /// Another node could not be reached.
    #[error(transparent)]
    Unreachable(#[from] ContactError),
    /// The node is stopping, or its store failed and it must be restarted.
    #[error("the node is stopping: {0}")]
    Stopping(#[from] StopError),
    /// The store's rows cannot be read, or its credentials do not hold.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The search index failed. The next start rebuilds it.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The network could not be set up.
    #[error(transparent)]
    Mesh(#[from] NetworkError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] crate::datadir::DataDirError),
}

/// The way out for a node whose part cannot go on.
pub(crate) const COORDINATOR_HINT: &str = "restart the node; if that does not help, move `raft.redb` and `raft.log` away while \
    it is stopped: it comes back as a new voter, with a copy from the others";

/// The way out for a node whose disk is full.
#[cfg(feature = "http")]
pub(crate) const DISK_FULL_HINT: &str =
    "nothing was written, and reading goes on: make room on this disk, and writing goes on by itself";

/// The way out for a node whose files are not in their place.
pub(crate) const FILE_GONE_HINT: &str = "the write is not acknowledged, and reading goes on: `nexus-node export` saves what \
    the node has. Put the very file back in its place, or stop the node and restore a backup; without one, `nexus-node \
    restore --from-peers` fetches what other members have";

impl NodeError {
    /// The code, for scripts (`docs/cli.md`).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Invalid(InputError::Secret { .. }) => "secret_found",
            Self::Invalid(InputError::OldCursor(_)) => "cursor_old",
            Self::Invalid(_) => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::Refused(
                AccessError::Full(_)
                | AccessError::TooManyTasks { .. }
                | AccessError::TooManyWorkers { .. }
                | AccessError::KeptEnough { .. },
            ) => "full",
            Self::Refused(AccessError::Inviter { code: nexus_mesh::JoinRefusal::NameTaken, .. })
            | Self::Conflict(
                ConflictError::NameTaken(_) | ConflictError::KeyLike { .. } | ConflictError::KeysAlike { .. },
            ) => "name_taken",
            Self::Refused(_) => "refused",
            Self::Conflict(ConflictError::OtherRequest) => "other_request",
            Self::Conflict(_) | Self::Document(DocumentError::KeyTaken { .. } | DocumentError::Former { .. }) => {
                "conflict"
            }
            Self::Document(DocumentError::Missing(_) | DocumentError::Erased { .. }) => "not_found",
            Self::Document(DocumentError::TooLarge(_)) => "too_large",
            Self::Document(DocumentError::TooEarly) => "not_raised",
            Self::Document(DocumentError::Busy { .. }) => "too_many",
            Self::Document(DocumentError::Broken { .. }) => "damaged",
            Self::Document(_) => "invalid",
            Self::TimedOut(_) => "timed_out",
            Self::BlobDamaged { .. } => "damaged",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::NoQuorum { .. } => "no_quorum",
            Self::TooNew(_) => "too_new",
            Self::DiskFull(_) => "disk_full",
            Self::FileGone(_) => "file_gone",
            Self::Coordinator(_) => "failed",
            Self::NotRaised { .. } | Self::NoErasures => "not_raised",
            Self::Unreachable(_) => "unreachable",
            Self::Stopping(_) => "stopping",
            Self::Search(_) => "search",
            Self::Ledger(_) | Self::Store(_) => "store",
            Self::Mesh(_) => "mesh",
            Self::DataDir(_) => "data_dir",
        }
    }
}

impl From<Unwritten> for NodeError {
    fn from(reason: Unwritten) -> Self {
        match reason {
            Unwritten::Full(full) => full.into(),
            Unwritten::Gone(gone) => gone.into(),
        }
    }
}

impl From<crate::world::Interrupted> for NodeError {
    fn from(_: crate::world::Interrupted) -> Self {
        StopError::Interrupted.into()
    }
}

impl From<LedgerError> for NodeError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => error.into(),
            other => Self::Ledger(other),
        }
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::DiskFull(DiskFull { free: None, reserve: 0 }),
            StoreError::Closed { .. } => StopError::Stopped.into(),
            StoreError::Poisoned { cause, .. } => StopError::Poisoned(cause).into(),
            other => Self::Store(other),
        }
    }
}

impl From<nexus_identity::TicketError> for NodeError {
    fn from(error: nexus_identity::TicketError) -> Self {
        InputError::from(error).into()
    }
}

impl From<nexus_mesh::JoinError> for NodeError {
    fn from(error: nexus_mesh::JoinError) -> Self {
        ContactError::from(error).into()
    }
}

impl From<nexus_mesh::TransportError> for NodeError {
    fn from(error: nexus_mesh::TransportError) -> Self {
        NetworkError::from(error).into()
    }
}

impl From<nexus_mesh::MeshError> for NodeError {
    fn from(error: nexus_mesh::MeshError) -> Self {
        NetworkError::from(error).into()
    }
}

/// The missing voters, in words.
fn not_reached(missing: &[String], known: bool) -> String {
    match (missing, known) {
        ([], true) => "the voters do not agree on a leader just now".to_owned(),
        ([], false) => "no coordinator is known or reached".to_owned(),
        (missing, _) => format!("{} cannot be reached", listed(missing)),
    }
}

/// The voters without an answer, in words.
fn unanswered(missing: &[String]) -> String {
    match missing {
        [] => "the coordinators did not answer in time".to_owned(),
        missing => format!("{} cannot be reached", listed(missing)),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::failure::Fault;
    use crate::store::PoisonCause;

    /// The errors from the outermost to the first cause, in words.
    fn chain(error: &dyn Error) -> Vec<String> {
        std::iter::successors(Some(error), |error| Error::source(*error)).map(ToString::to_string).collect()
    }

    fn full_disk() -> StoreError {
        let source = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        StoreError::Disk { file: "brain.redb".into(), source }
    }

    #[test]
    fn an_error_names_its_cause_and_carries_it() {
        let error = NodeError::from(full_disk());
        let cause = error.source().and_then(|source| source.downcast_ref::<Arc<io::Error>>());
        assert_eq!(cause.unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(chain(&error), ["brain.redb: no storage space", "no storage space"]);
    }

    #[test]
    fn a_write_after_a_failed_commit_says_why_the_node_stops() {
        let file = "brain.redb".into();
        let poisoned = StoreError::Poisoned { file, cause: PoisonCause::Commit(Box::new(full_disk())) };
        let error = NodeError::from(poisoned);
        assert_eq!(error.to_string(), "the node is stopping: brain.redb: no storage space");
        assert!(matches!(error, NodeError::Stopping(StopError::Poisoned(PoisonCause::Commit(_)))));
        let failed = NodeError::from(StopError::from(Fault::Store(full_disk())));
        assert_eq!(failed.to_string(), error.to_string());
    }

    #[test]
    fn a_long_text_is_quoted_in_part() {
        let error = NodeError::from(InputError::Cursor("x".repeat(100)));
        assert_eq!(error.to_string(), format!("\"{}\"… is not a cursor", "x".repeat(40)));
    }
}
