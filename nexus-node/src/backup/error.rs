use std::io;
use std::path::PathBuf;

use nexus_identity::Did;

use crate::config::ConfigError;
use crate::datadir::DataDirError;
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Why a backup is not written or not restored. The directory to restore into has no node then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It does not begin as a backup does.
    #[error("it is no backup")]
    NotABackup,
    /// A later version of the program wrote it.
    #[error("it has format {format}, this version understands up to {known}")]
    TooNew {
        /// The format it has.
        format: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// It ends before its last frame.
    #[error("it is cut short")]
    Short,
    /// Its bytes are not those that were written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A blob in it is not the one that its name says, or not there.
    #[error("the blob {hash} {why}")]
    Blob {
        /// The hash of the blob.
        hash: String,
        /// The damage.
        why: &'static str,
    },
    /// The identity key is not in it, and none was given.
    #[error("it has no identity key")]
    NoKey,
    /// The key given is of another node.
    #[error("the key is of {key}, the backup of {of}")]
    OtherKey {
        /// The DID of the key.
        key: Did,
        /// The DID of the node in the backup.
        of: Did,
    },
    /// The directory to restore into is the backup, or in it.
    #[error("{} is the backup itself, or in it", path.display())]
    Itself {
        /// The directory.
        path: PathBuf,
    },
    /// The place of the backup does not hold one.
    #[error("{} holds no node and no backup", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// The stores of a directory are not damaged.
    #[error("nothing is damaged in {}", path.display())]
    Sound {
        /// The directory.
        path: PathBuf,
    },
    /// A damaged store does not even tell the node's place in its mesh.
    #[error("the node's place in its mesh cannot be read any more: {error}")]
    Lost {
        /// The store.
        file: PathBuf,
        /// The damage.
        error: StoreError,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    Disk {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The stream cannot be read or written.
    #[error("{0}")]
    Stream(#[source] io::Error),
    /// The configuration of a damaged directory cannot be read: it bounds what is taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A store of the backup is damaged, or cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store of the backup says nothing of a mesh.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl BackupError {
    pub(super) fn disk(file: &std::path::Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Disk { file: file.to_owned(), source }
    }
}
