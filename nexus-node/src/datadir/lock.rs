use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::DataDirError;
use crate::store::is_full;

/// The right to be the one node on a data directory, until it is dropped or the process ends.
///
/// The file stays when the lock is dropped. Only the operating system's lock counts, and it ends with
/// the process.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    pub(super) fn acquire(directory: &Path, path: &Path) -> Result<Self, DataDirError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|error| DataDirError::io(path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { path: directory.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(DataDirError::io(path, error)),
        }
        match write_pid(&mut file) {
            // the system's lock counts; who holds it is a help alone
            Err(error) if is_full(&error) => {}
            written => written.map_err(|error| DataDirError::io(path, error))?,
        }
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock ends here, and a stale process id would mislead.
        let _ = self.0.set_len(0);
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The process that holds the lock, if it has written its id.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
