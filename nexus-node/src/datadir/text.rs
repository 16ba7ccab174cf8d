//! Short texts in files, and directories for their owner alone.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::durable;
use super::error::{DataDirError, FileDamage};

/// The largest file that is read. Ours are smaller.
pub(super) const TEXT_BYTES_MAX: u64 = 64 << 10;

/// The text of a small file, or `None` if there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
    read_text_up_to(path, TEXT_BYTES_MAX)
}

/// The same of a file with at most so many bytes.
pub(super) fn read_text_up_to(path: &Path, max: u64) -> Result<Option<Zeroizing<String>>, DataDirError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataDirError::io(path, error)),
    };
    let mut text = Zeroizing::new(String::new());
    let read = file.take(max + 1).read_to_string(&mut text);
    read.map_err(|error| DataDirError::io(path, error))?;
    if text.len() as u64 > max {
        return Err(DataDirError::damaged(path, FileDamage::TooLong));
    }
    Ok(Some(text))
}

/// Creates a directory and its parents; only the directory itself is for its owner alone, also if it
/// was there before.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        // it is empty, and becomes the home of keys
        return restrict(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process was quicker. The lock decides which of the two makes the node.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    durable::sync_parent(path)
}

/// Takes the rights of others on a directory away.
#[cfg(unix)]
pub(super) fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !is_exposed(path) {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
pub(super) fn restrict(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
pub(super) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_exposed(_: &Path) -> bool {
    false
}
