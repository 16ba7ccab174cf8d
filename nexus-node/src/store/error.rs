use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Table;

/// A failure of the store.
///
/// After an error of [`commit`](super::Store::commit) other than [`Full`](Self::Full) the store is poisoned. Every
/// other error changes nothing, neither on disk nor in memory.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk has no room for a commit. Nothing of it is on disk; reading goes on.
    #[error("{}: the disk is full", file.display())]
    Full {
        /// The database file.
        file: PathBuf,
    },
    /// The store was opened again while this was read, as the disk was full. The next read goes on.
    #[error("{} was opened again meanwhile", file.display())]
    Reopened {
        /// The database file.
        file: PathBuf,
    },
    /// The disk's fault: full before a store is made, unplugged, or failing to keep what was written.
    #[error("{}: {source}", file.display())]
    Disk {
        /// The database file.
        file: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
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
        what: StoreDamage,
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
    /// The disk has no room for a second file beside the store. Nothing has changed.
    #[error(
        "{}: writing it anew needs {} MB of free disk, and {} MB are there",
        file.display(), needed.div_ceil(1_000_000), free / 1_000_000
    )]
    NoRoomBeside {
        /// The database file.
        file: PathBuf,
        /// The bytes that are needed.
        needed: u64,
        /// The bytes that are free.
        free: u64,
    },
    /// The store was not written anew. It is as before.
    #[error("{} was not written anew: {why}", file.display())]
    NotCompacted {
        /// The database file.
        file: PathBuf,
        /// The reason.
        why: NotCompacted,
    },
    /// An earlier commit failed. Only reopening tells whether its changes are on disk.
    #[error("{}: a failed commit is fatal: reopen ({cause})", file.display())]
    Poisoned {
        /// The database file.
        file: PathBuf,
        /// The first failure.
        cause: PoisonCause,
    },
}

/// The fault of a damaged file.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreDamage {
    /// The file cannot be read up to its end.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// The pages are not what the database wrote.
    #[error(transparent)]
    Database(Arc<redb::Error>),
    /// The database stopped at pages that do not fit together.
    #[error("{0}")]
    Panic(String),
    /// The pages do not fit their checksums.
    #[error("pages do not fit their checksums")]
    Pages,
    /// The file does not say its format.
    #[error("it has no format")]
    NoFormat,
    /// The format is no number.
    #[error("its format cannot be read")]
    Format,
    /// A value does not fit its checksum.
    #[error("a value does not fit its checksum")]
    Value,
    /// A part of a value does not fit its checksum.
    #[error("part of a value does not fit its checksum")]
    Part,
    /// A row is not of its table's form.
    #[error("a row does not read")]
    Row,
    /// The write-ahead log beside the file is of another state of it, or of a later version.
    #[error(
        "the log beside it (`.wal`) is of another state of it: put the file back that the log goes with, or move the log \
         away, and what is only there is missing"
    )]
    OtherLog,
    /// The file is missing, although its directory's node has lived.
    #[error("it is missing, and the node of this directory has a mesh")]
    Lost,
    /// The file has no mesh, although its directory's node has one.
    #[error("it is empty, and the node of this directory has a mesh")]
    NoMesh,
    /// The file is of another node.
    #[error("it is of another node than the directory")]
    OtherNode,
    /// The file is of another mesh.
    #[error("it is of another mesh than the node of this directory")]
    OtherMesh,
    /// The file of the coordinators' log is missing, or another.
    #[error(
        "it is missing, or not the one that Raft's store goes with: put it back, or remove both, and this node \
         comes back as another voter"
    )]
    OtherJournal,
    /// The file ends too early.
    #[error("it is cut off")]
    CutOff,
    /// A record of the log is not of its form.
    #[error("a record does not read")]
    Record,
    /// A record of the log is broken, and a later one is sound.
    #[error("record {0} is broken, and a later one is not")]
    BrokenRecord(u64),
    /// Entries of the log are missing.
    #[error("entries are missing")]
    EntriesMissing,
    /// An entry of the log is not of its form.
    #[error("an entry does not read")]
    Entry,
    /// An entry of the log does not fit its checksum.
    #[error("an entry does not fit its checksum")]
    EntryChecksum,
    /// An entry of the log is of a later version.
    #[error("an entry is of a later version")]
    LaterEntry,
}

/// Why a store was not written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompacted {
    /// It is done already.
    #[error("that is done already")]
    Running,
    /// It is no file.
    #[error("it is no file")]
    NoFile,
    /// Whoever wanted it wants it no more.
    #[error("it was broken off")]
    BrokenOff,
    /// Commits came faster than they were taken over.
    #[error("too much was written meanwhile")]
    Behind,
    /// The copy has another number of rows.
    #[error("the copy has another number of rows")]
    Unequal,
}

/// The first failure of a store, for which it takes no more commits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoisonCause {
    /// A commit failed.
    #[error(transparent)]
    Commit(Box<StoreError>),
    /// The database failed to read or write.
    #[error("an earlier read or write failed")]
    Database,
    /// The log of the coordinators failed to write.
    #[error("an earlier write failed")]
    Journal,
}

/// Whether a disk had no room, or no more of it for this account.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl StoreError {
    /// Whether the disk had no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Disk { source, .. } => is_full(source),
            _ => false,
        }
    }

    /// The database file.
    pub fn file(&self) -> &Path {
        match self {
            Self::Disk { file, .. }
            | Self::Damaged { file, .. }
            | Self::TooNew { file, .. }
            | Self::NotAStore { file }
            | Self::Full { file }
            | Self::Reopened { file }
            | Self::InUse { file }
            | Self::Closed { file }
            | Self::NoRoomBeside { file, .. }
            | Self::NotCompacted { file, .. }
            | Self::Poisoned { file, .. } => file,
        }
    }

    pub(crate) fn damaged(file: &Path, table: Option<Table>, what: StoreDamage) -> Self {
        Self::Damaged { file: file.to_owned(), table, what }
    }

    pub(crate) fn disk(file: &Path, source: io::Error) -> Self {
        Self::Disk { file: file.to_owned(), source: Arc::new(source) }
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
                Self::damaged(file, table, StoreDamage::Io(Arc::new(source)))
            }
            redb::Error::Io(source) => Self::disk(file, source),
            redb::Error::DatabaseAlreadyOpen => Self::InUse { file: file.to_owned() },
            redb::Error::PreviousIo => Self::Poisoned { file: file.to_owned(), cause: PoisonCause::Database },
            other => Self::damaged(file, table, StoreDamage::Database(Arc::new(other))),
        }
    }
}

fn in_table(table: Option<Table>) -> String {
    table.map_or_else(String::new, |table| format!(" in table {table}"))
}
