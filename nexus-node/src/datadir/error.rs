use std::io;
use std::path::{Path, PathBuf};

use crate::store::is_full;

use nexus_identity::DidError;

use super::key_file::KeyFileError;

/// Why a data directory cannot be used. Nothing in it has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// There is no node in it yet.
    #[error("{} holds no node yet", path.display())]
    Empty {
        /// The directory, which need not exist.
        path: PathBuf,
    },
    /// There is a node in it already.
    #[error("{} already holds a node", path.display())]
    Initialized {
        /// The directory.
        path: PathBuf,
    },
    /// A restore into it was interrupted, or goes on.
    #[error("a restore into {} did not end", path.display())]
    Restoring {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another account.
    #[error("{} belongs to another account (user id {owner})", path.display())]
    OtherAccount {
        /// The directory.
        path: PathBuf,
        /// The account's number.
        owner: u32,
    },
    /// It is used for something else.
    #[error("{} is not empty: it holds {found}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the foreign files.
        found: String,
    },
    /// Something is there, but it is no directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path of that file.
        path: PathBuf,
    },
    /// Another process uses it.
    #[error("{} is in use{}", path.display(), by(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id, if the other process has written it.
        pid: Option<u32>,
    },
    /// A file is missing, or does not hold what was written to it.
    #[error("{} is damaged: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The fault.
        what: FileDamage,
    },
    /// A file was written by a later version of the program.
    #[error("{} has format {format}, this version understands up to {known}", file.display())]
    TooNew {
        /// The file.
        file: PathBuf,
        /// The format it has.
        format: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// This account may not read or write it.
    #[error("{}: permission denied", file.display())]
    Denied {
        /// The file or directory.
        file: PathBuf,
    },
    /// The file system takes no writes.
    #[error("{}: its file system is mounted read-only", file.display())]
    ReadOnly {
        /// The file or directory.
        file: PathBuf,
    },
    /// The disk's fault.
    #[error("{}: {source}", file.display())]
    Disk {
        /// The file or directory.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// The fault of a damaged file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileDamage {
    /// It is missing, although a file that needs it is there.
    #[error("it is missing, although {beside} is there")]
    Missing {
        /// The file that needs it.
        beside: String,
    },
    /// It is not text.
    #[error("it is not text")]
    NotText,
    /// It is too long.
    #[error("it is too long")]
    TooLong,
    /// It does not hold exactly one line.
    #[error("it does not hold exactly one line")]
    NotOneLine,
    /// It holds no token of the API.
    #[error("it holds no token")]
    NoToken,
    /// Other accounts may read it, which holds a secret.
    #[error("other accounts may read it: `chmod 600` makes it its owner's alone")]
    Exposed,
    /// It holds no address of the API.
    #[error("it holds no address")]
    NoAddress,
    /// It holds no DID.
    #[error(transparent)]
    Did(#[from] DidError),
    /// It holds no sound key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl DataDirError {
    /// Whether the disk had no room for a file.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if is_full(source))
    }

    /// Sorts an I/O error on a file.
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { file },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { file },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path: file },
            io::ErrorKind::InvalidData => Self::Damaged { file, what: FileDamage::NotText },
            _ => Self::Disk { file, source },
        }
    }

    pub(super) fn damaged(file: &Path, what: impl Into<FileDamage>) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.into() }
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_mount_is_no_matter_of_permissions() {
        let of = |kind: io::ErrorKind| DataDirError::io(Path::new("/n/lock"), kind.into());
        assert!(matches!(of(io::ErrorKind::PermissionDenied), DataDirError::Denied { .. }));
        let error = of(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(error.to_string(), "/n/lock: its file system is mounted read-only");
    }
}
