use std::fmt;
use std::time::Duration;

/// The kind of a looked-up name or id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// A memory.
    Memory,
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
}

impl Resource {
    /// The plural of its word.
    const fn plural(self) -> &'static str {
        match self {
            Self::Memory => "memories",
            Self::Space => "spaces",
            Self::Member => "members",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Place => "places in line",
            Self::Replica => "copies of critical state",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Space => "space",
            Self::Member => "member",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Place => "place in line",
            Self::Replica => "copy of critical state",
        })
    }
}

/// A failure to read or write the search index. Nothing is lost: it can be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("search index: {0}")]
pub struct SearchError(String);

impl SearchError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
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
    #[error("{0}")]
    Invalid(String),
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
    #[error("{0}")]
    Refused(String),
    /// The change conflicts with the current state.
    #[error("{0}")]
    Conflict(String),
    /// Not done in time. It may still happen.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// Too few voters answer for a critical write or a linearizable read. A write may still happen when
    /// they are back.
    #[error("no quorum: {}", not_reached(.missing, *.known))]
    NoQuorum {
        /// The voters that this node cannot reach, by name.
        missing: Vec<String>,
        /// Whether this node knows the voters.
        known: bool,
    },
    /// A later version wrote the data that is asked for. The data stays as it is until this node is updated.
    #[error("{0}")]
    TooNew(crate::formats::TooNew),
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
    /// Another node could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The node is stopping, or its store failed and it must be restarted.
    #[error("the node is stopping: {0}")]
    Stopping(String),
    /// The store's rows cannot be read, or its credentials do not hold.
    #[error(transparent)]
    Engine(crate::ledger::LedgerError),
    /// The search index failed. The next start rebuilds it.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The store failed.
    #[error(transparent)]
    Store(crate::store::StoreError),
    /// The network could not be set up.
    #[error("{0}")]
    Mesh(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] crate::datadir::DataDirError),
}

impl NodeError {
    /// The code, for scripts (`docs/cli.md`).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Invalid(_) => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::Refused(_) => "refused",
            Self::Conflict(_) => "conflict",
            Self::TimedOut(_) => "timed_out",
            Self::NoQuorum { .. } => "no_quorum",
            Self::TooNew(_) => "too_new",
            Self::NotRaised { .. } => "not_raised",
            Self::Unreachable(_) => "unreachable",
            Self::Stopping(_) => "stopping",
            Self::Search(_) => "search",
            Self::Engine(_) | Self::Store(_) => "store",
            Self::Mesh(_) => "mesh",
            Self::DataDir(_) => "data_dir",
        }
    }
}

impl From<crate::world::Interrupted> for NodeError {
    fn from(interrupted: crate::world::Interrupted) -> Self {
        Self::Stopping(interrupted.to_string())
    }
}

impl From<crate::ledger::LedgerError> for NodeError {
    fn from(error: crate::ledger::LedgerError) -> Self {
        match error {
            crate::ledger::LedgerError::Store(error) => error.into(),
            other => Self::Engine(other),
        }
    }
}

impl From<crate::store::StoreError> for NodeError {
    fn from(error: crate::store::StoreError) -> Self {
        match error {
            crate::store::StoreError::Closed { .. } => Self::Stopping("it was stopped".to_owned()),
            crate::store::StoreError::Poisoned { cause, .. } => Self::Stopping(cause),
            other => Self::Store(other),
        }
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

/// `one`, `one and two`, `one, two and three`.
pub(crate) fn listed(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, others @ [_, ..])) => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}
