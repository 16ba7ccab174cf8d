use std::io;
use std::path::{Path, PathBuf};

use super::Table;

/// Why the store could not do what it was asked.
///
/// After an error of [`commit`](super::Store::commit) the store is poisoned; every other error
/// changes nothing, neither on disk nor in memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk's fault: full, unplugged, or failing to keep what was written.
    #[error("{}: {source}", file.display())]
    Disk {
        /// The database file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes in the file are not what was written. Nobody's fault but the disk's; a backup or a
    /// sync from the peers brings the data back.
    #[error("{} is damaged{}: {what}", file.display(), in_table(*table))]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// The table, when it is known.
        table: Option<Table>,
        /// What did not fit.
        what: String,
    },
    /// The file was written by a later version of the program.
    #[error("{} has format {format}, this version understands up to {known}", file.display())]
    TooNew {
        /// The database file.
        file: PathBuf,
        /// The format it has.
        format: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// The file is something else, and is left alone.
    #[error("{} is not a Nexus store", file.display())]
    NotAStore {
        /// The file.
        file: PathBuf,
    },
    /// Another process, or another handle in this one, has the file open.
    #[error("{} is open elsewhere", file.display())]
    InUse {
        /// The database file.
        file: PathBuf,
    },
    /// The store was closed: its node has stopped.
    #[error("{} is closed", file.display())]
    Closed {
        /// The database file.
        file: PathBuf,
    },
    /// A commit failed before. What it held may or may not be on disk; only opening anew tells.
    #[error("{}: a failed commit is fatal: reopen ({cause})", file.display())]
    Poisoned {
        /// The database file.
        file: PathBuf,
        /// The first failure.
        cause: String,
    },
}

impl StoreError {
    /// The database file it happened to.
    pub fn file(&self) -> &Path {
        match self {
            Self::Disk { file, .. }
            | Self::Damaged { file, .. }
            | Self::TooNew { file, .. }
            | Self::NotAStore { file }
            | Self::InUse { file }
            | Self::Closed { file }
            | Self::Poisoned { file, .. } => file,
        }
    }

    pub(super) fn damaged(file: &Path, table: Option<Table>, what: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), table, what: what.to_string() }
    }

    pub(super) fn disk(file: &Path, source: io::Error) -> Self {
        Self::Disk { file: file.to_owned(), source }
    }

    /// Sorts redb's many errors into what a caller can act upon.
    pub(super) fn from_redb(file: &Path, table: Option<Table>, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            // A page number that points past the end is damage, not a failing disk.
            redb::Error::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                ) =>
            {
                Self::damaged(file, table, source)
            }
            redb::Error::Io(source) => Self::disk(file, source),
            redb::Error::DatabaseAlreadyOpen => Self::InUse { file: file.to_owned() },
            redb::Error::PreviousIo => {
                Self::Poisoned { file: file.to_owned(), cause: "an earlier read or write failed".to_owned() }
            }
            other => Self::damaged(file, table, other),
        }
    }
}

fn in_table(table: Option<Table>) -> String {
    table.map_or_else(String::new, |table| format!(" in table {table}"))
}
