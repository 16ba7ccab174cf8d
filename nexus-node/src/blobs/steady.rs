//! A file that is added while nobody changes it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::ConflictError;

/// The coarsest step of the times of files. A change within a step of another one may not show in the times.
const STEP: Duration = Duration::from_millis(20);

/// The state of a file, by which a change of its content is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// The time of the last change of any kind, in s and ns.
    changed: (i64, i64),
    /// Its device and number.
    id: (u64, u64),
}

/// A file, or a directory, that somebody changed while it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} was changed, replaced or removed while it was read", .0.display())]
pub struct FileChanged(pub PathBuf);

/// A file that is read to its end. The end is an error if the file was changed, cut or replaced since it was opened.
#[derive(Debug)]
pub struct SteadyFile {
    file: File,
    path: Option<PathBuf>,
    before: FileStamp,
    is_plain: bool,
}

impl From<FileChanged> for ConflictError {
    fn from(changed: FileChanged) -> Self {
        Self::FileChanged(changed.0)
    }
}

impl FileStamp {
    /// The state that a look at a file showed.
    pub fn of(about: &Metadata) -> Self {
        #[cfg(unix)]
        let (changed, id) = {
            use std::os::unix::fs::MetadataExt;
            ((about.ctime(), about.ctime_nsec()), (about.dev(), about.ino()))
        };
        #[cfg(not(unix))]
        let (changed, id) = ((0, 0), (0, 0));
        Self { bytes: about.len(), modified: about.modified().ok(), changed, id }
    }

    /// Whether it was changed so short ago that a further change may not show.
    fn is_fresh(&self) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(changed, u32::try_from(self.changed.1).unwrap_or_default().min(999_999_999));
        let latest = self.modified.map_or(changed, |modified| modified.max(changed));
        now().duration_since(latest).is_ok_and(|since| since < STEP)
    }
}

#[expect(clippy::disallowed_methods, reason = "the times of files are those of the machine, never of a simulator")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl SteadyFile {
    /// Opens a file.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?, Some(path))
    }

    /// A file that is open. One without a path is not looked for by its name. A pipe is never seen to change.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn of(file: File, path: Option<&Path>) -> io::Result<Self> {
        let about = file.metadata()?;
        let mut before = FileStamp::of(&about);
        if about.is_file() && before.is_fresh() {
            // once a step of the clock is over, every change shows
            std::thread::sleep(STEP);
            before = FileStamp::of(&file.metadata()?);
        }
        Ok(Self { file, path: path.map(Path::to_owned), before, is_plain: about.is_file() })
    }

    /// The open file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The state in which it was opened.
    pub const fn stamp(&self) -> FileStamp {
        self.before
    }

    /// Looks whether it is as it was.
    ///
    /// # Errors
    /// [`FileChanged`].
    pub fn check(&self) -> Result<(), FileChanged> {
        let same = |about: io::Result<Metadata>| about.is_ok_and(|about| FileStamp::of(&about) == self.before);
        let named = self.path.as_ref().is_none_or(|path| same(std::fs::metadata(path)));
        if !self.is_plain || (same(self.file.metadata()) && named) {
            return Ok(());
        }
        Err(FileChanged(self.path.clone().unwrap_or_else(|| PathBuf::from("-"))))
    }
}

impl Read for SteadyFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buf)?;
        if read == 0 && !buf.is_empty() {
            self.check().map_err(|changed| io::Error::new(io::ErrorKind::InvalidData, changed))?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::io::Write;

    use super::*;

    /// promise: Blobs | A file that is cut, rewritten, extended, replaced or removed while it is read is noticed at its end
    #[test]
    fn a_file_that_changes_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let with = |change: &dyn Fn()| {
            fs::write(&path, vec![7; 10_000]).unwrap();
            let mut file = SteadyFile::open(&path).unwrap();
            let mut half = [0; 5_000];
            file.read_exact(&mut half).unwrap();
            change();
            let read = file.read_to_end(&mut Vec::new());
            (read.is_err(), file.check().is_err())
        };
        assert_eq!(with(&|| {}), (false, false));
        let open = || fs::OpenOptions::new().write(true).open(&path).unwrap();
        let changes: [(&str, &dyn Fn()); 7] = [
            ("cut", &|| open().set_len(6_000).unwrap()),
            ("emptied", &|| fs::write(&path, b"").unwrap()),
            ("rewritten, of the same size", &|| fs::write(&path, vec![8; 10_000]).unwrap()),
            ("a byte of it", &|| open().write_all(&[9]).unwrap()),
            ("extended", &|| {
                fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            }),
            ("removed", &|| fs::remove_file(&path).unwrap()),
            ("replaced by the same content", &|| {
                fs::write(directory.path().join("new"), vec![7; 10_000]).unwrap();
                fs::rename(directory.path().join("new"), &path).unwrap();
            }),
        ];
        for (what, change) in changes {
            assert_eq!(with(change), (true, true), "{what}");
        }
        // its time is set back, as some programs do
        let modified = std::cell::Cell::new(None);
        fs::write(&path, vec![7; 10_000]).unwrap();
        modified.set(fs::metadata(&path).unwrap().modified().ok());
        let file = SteadyFile::open(&path).unwrap();
        open().write_all(&[9]).unwrap();
        open().set_modified(modified.get().unwrap()).unwrap();
        assert_eq!(file.check().is_err(), cfg!(unix));
    }
}
