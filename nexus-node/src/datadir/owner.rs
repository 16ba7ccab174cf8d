//! The account that a data directory belongs to.

use std::path::{Path, PathBuf};

/// The most files of others that are named.
#[cfg(unix)]
const NAMED_MAX: usize = 32;
/// The most files that are looked at.
#[cfg(unix)]
const LOOKED_AT_MAX: usize = 20_000;

/// The account that a directory belongs to, if it is another one than that of this process.
///
/// A directory of root's with a node of this account's is this account's: a volume that a container gets is root's often.
#[cfg(unix)]
pub(super) fn other(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let me = rustix::process::geteuid().as_raw();
    let directory = std::fs::metadata(path).ok()?.uid();
    let key = std::fs::symlink_metadata(path.join(super::IDENTITY)).map(|key| key.uid());
    match key {
        Ok(key) if key != me => Some(key),
        _ if directory == me || directory == 0 => None,
        _ => Some(directory),
    }
}

/// Accounts are not told apart here.
#[cfg(not(unix))]
pub(super) fn other(_: &Path) -> Option<u32> {
    None
}

/// Files in a directory that belong to another account than its node's key, or than itself if there is no node.
#[cfg(unix)]
pub(super) fn files_of_others(path: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;

    let owner = std::fs::symlink_metadata(path.join(super::IDENTITY)).or_else(|_| std::fs::metadata(path));
    let Ok(owner) = owner.map(|owner| owner.uid()) else { return Vec::new() };
    let (mut found, mut waiting, mut looked_at) = (Vec::new(), vec![path.to_owned()], 0);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX || found.len() >= NAMED_MAX {
                return found;
            }
            // of a link itself
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.uid() != owner {
                found.push(entry.path());
            } else if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Accounts are not told apart here.
#[cfg(not(unix))]
pub(super) fn files_of_others(_: &Path) -> Vec<PathBuf> {
    Vec::new()
}
