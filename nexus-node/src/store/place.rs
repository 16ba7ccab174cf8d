//! The file or directory under a name, told from another one under the same name.

use std::io;
use std::path::Path;

/// The numbers of a file on its disk, which another file does not have while this one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePlace(Option<(u64, u64)>);

impl FilePlace {
    /// The place of the file under a name.
    pub(crate) fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().and_then(|metadata| numbers(&metadata)))
    }

    /// Whether the file under the name is still this one. `true` also where that cannot be told.
    pub(crate) fn is_still(self, path: &Path) -> bool {
        let Some(place) = self.0 else { return true };
        match std::fs::metadata(path) {
            Ok(metadata) => numbers(&metadata).is_none_or(|now| now == place),
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

/// The device and the inode.
#[cfg(unix)]
fn numbers(metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Files have no such numbers here. A file that is open cannot be deleted or exchanged there either.
#[cfg(not(unix))]
fn numbers(_: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_the_one_that_takes_its_name() {
        let home = tempfile::tempdir().unwrap();
        let (path, other) = (home.path().join("a"), home.path().join("b"));
        std::fs::write(&path, "one").unwrap();
        let open = std::fs::File::open(&path).unwrap();
        let place = FilePlace::of(&path);
        assert!(place.is_still(&path));
        std::fs::write(&path, "longer, in the same file").unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        assert!(place.is_still(&path), "the same file under two names");
        std::fs::remove_file(&path).unwrap();
        assert!(!place.is_still(&path), "deleted");
        std::fs::write(&path, "one").unwrap();
        assert!(!place.is_still(&path), "exchanged");
        std::fs::rename(&other, &path).unwrap();
        assert!(place.is_still(&path), "back in its place");
        assert!(!place.is_still(&path.join("below")), "its directory is a file now");
        assert!(FilePlace::of(&home.path().join("none")).is_still(&path), "nothing is known");
        drop(open);
    }
}
