use std::io;
use std::path::{Path, PathBuf};

use super::Table;

/// A failure of the store.
///
/// After an error of [`commit`](super::Store::commit) the store is poisoned. Every other error changes
/// nothing, neither on disk nor in memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk's fault: full, unplugged, or failing to keep what was written.
    #[error("{}: {source}", file.display())]
    Disk {
        /// The database file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Bytes in the file differ from the bytes written: the disk's fault. A backup or a sync from the
    /// peers brings the data back.
    #[error("{} is damaged{}: {what}", file.display(), in_table(*table))]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// The table, when it is known.
        table: Option<Table>,
        /// The fault.
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
    /// The file is something else. It was not changed.
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
    /// An earlier commit failed. Only reopening tells whether its changes are on disk.
    #[error("{}: a failed commit is fatal: reopen ({cause})", file.display())]
    Poisoned {
        /// The database file.
        file: PathBuf,
        /// The first failure.
        cause: String,
    },
}

impl StoreError {
    /// The database file.
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

    /// Maps redb's errors to those that a caller can act upon.
    pub(super) fn from_redb(file: &Path, table: Option<Table>, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            // A page number past the end is damage, not a failing disk.
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
