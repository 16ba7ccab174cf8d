use std::time::Duration;

/// Why the node did not do what it was asked. Nothing changed unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No memory, space or peer of that name.
    #[error("no {what} {name} here")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Under which name.
        name: String,
    },
    /// The name fits several.
    #[error("{name} fits several {what}: {}", .candidates.join(", "))]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// Under which name.
        name: String,
        /// What it fits, with ids.
        candidates: Vec<String>,
    },
    /// The caller's input is out of its range.
    #[error("{0}")]
    Invalid(String),
    /// Larger than such a thing may be.
    #[error("{what} has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not permitted.
    #[error("{0}")]
    Refused(String),
    /// It would conflict with what is there.
    #[error("{0}")]
    Conflict(String),
    /// Not done within its time; it may still happen.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// Too few of the voters answer for a critical write or a linearizable read. A write may still
    /// happen, when they are back.
    #[error("no quorum: {}", not_reached(.missing, *.known))]
    NoQuorum {
        /// The voters that this node does not reach, by name.
        missing: Vec<String>,
        /// Whether it knows who the voters are.
        known: bool,
    },
    /// What is asked for was written by a later version. It stays as it is until this node is updated.
    #[error("{0}")]
    TooNew(crate::coordinator::TooNew),
    /// Another node could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The node is stopping, or its store failed and it must be started again.
    #[error("the node is stopping: {0}")]
    Stopping(String),
    /// The store's rows do not read, or its credentials do not hold.
    #[error(transparent)]
    Engine(crate::engine::EngineError),
    /// The search index failed; it is made anew at the next start.
    #[error(transparent)]
    Search(crate::search::SearchError),
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
    /// The code that scripts match on (`docs/cli.md`).
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
            Self::Unreachable(_) => "unreachable",
            Self::Stopping(_) => "stopping",
            Self::Search(_) => "search",
            Self::Engine(_) | Self::Store(_) => "store",
            Self::Mesh(_) => "mesh",
            Self::DataDir(_) => "data_dir",
        }
    }
}

impl From<crate::engine::EngineError> for NodeError {
    fn from(error: crate::engine::EngineError) -> Self {
        match error {
            crate::engine::EngineError::Store(error) => error.into(),
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

/// Who is missing, in words.
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
