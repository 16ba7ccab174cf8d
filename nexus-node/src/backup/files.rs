use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{BackupError, Frame};
use crate::datadir::{BACKED_UP, CONFIG};

/// The longest file. Keys and configurations are shorter.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 10;

/// The files of a node's directory that go into its backup: the configuration and, with `keys`, the keys.
///
/// # Errors
/// [`BackupError::Disk`], also for a file above 64 KiB.
pub fn key_files(directory: &Path, keys: bool) -> Result<Vec<Frame>, BackupError> {
    let mut frames = Vec::new();
    for name in BACKED_UP.iter().filter(|name| keys || **name == CONFIG) {
        let path = directory.join(name);
        let mut file = match File::open(&path) {
            Ok(file) => file.take(FILE_BYTES_MAX + 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(BackupError::Disk { file: path, source }),
        };
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes).map_err(BackupError::disk(&path))?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(BackupError::Disk { file: path, source: io::ErrorKind::FileTooLarge.into() });
        }
        frames.push(Frame::File { name: (*name).to_owned(), bytes });
    }
    Ok(frames)
}
