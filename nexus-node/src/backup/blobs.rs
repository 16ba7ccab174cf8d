use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{BackupError, Contents, Frame};
use crate::blobs::{BlobHash, CopyError, Part, ShelfCopy};
use crate::datadir;

/// The directory of blobs in a backup.
const BLOBS: &str = "blobs";
/// The list of a backup's blobs, which tells one that is missing: a line `HASH SIZE` for each, then `end` and a digest.
const LIST: &str = "blobs.list";
/// The longest mark of a blob in bytes. Each has 64 holders at most.
const MARK_BYTES_MAX: usize = 64 << 10;

impl From<Part> for Frame {
    fn from(part: Part) -> Self {
        match part {
            Part::All { count, bytes } => Self::Blobs { count, bytes },
            Part::Begin { hash, size, pinned, directory, copies } => {
                Self::Blob { hash: *hash.as_bytes(), size, pinned, directory, copies }
            }
            Part::Content(bytes) => Self::BlobBytes { bytes },
            Part::End { is_whole } => Self::BlobEnd { is_whole },
            Part::Tag(tag, hash) => Self::BlobTag { tag, hash: *hash.as_bytes() },
        }
    }
}

impl From<CopyError> for BackupError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Damaged(what) => Self::Damaged(what),
            CopyError::Blob { hash, why } => Self::Blob { hash: hash.to_string(), why },
            CopyError::Store(error) => Self::Store(error),
            CopyError::Disk(error) => Self::Stream(error),
        }
    }
}

/// Blobs that are written into a directory, each verified before it has its name there.
#[derive(Debug)]
pub(super) struct BlobFilling {
    directory: PathBuf,
    shelf: Option<ShelfCopy>,
    list: Option<ListWriter>,
}

impl BlobFilling {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), shelf: None, list: None }
    }

    pub(super) fn take(&mut self, frame: Frame) -> Result<(), BackupError> {
        let shelf = match &mut self.shelf {
            Some(shelf) => shelf,
            none => none.insert(ShelfCopy::new(self.directory.join(BLOBS))?),
        };
        match frame {
            Frame::Blob { hash, size, pinned, directory, copies } => {
                let marks = [&directory, &copies].into_iter().flatten();
                if marks.into_iter().any(|mark| mark.len() > MARK_BYTES_MAX) {
                    return Err(BackupError::Damaged("a mark of a blob is too long"));
                }
                Ok(shelf.begin(BlobHash::from_bytes(hash), size, pinned, directory, copies)?)
            }
            Frame::BlobBytes { bytes } => Ok(shelf.write(&bytes)?),
            Frame::BlobEnd { is_whole } => {
                let Some((hash, size)) = shelf.end(is_whole)? else { return Ok(()) };
                let list = match &mut self.list {
                    Some(list) => list,
                    none => none.insert(ListWriter::new(&self.directory)?),
                };
                list.put(hash, size)
            }
            Frame::BlobTag { tag, hash } => Ok(shelf.tag(&tag, BlobHash::from_bytes(hash))?),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<(), BackupError> {
        if self.shelf.is_some_and(|shelf| shelf.is_in_a_blob()) {
            return Err(BackupError::Damaged("a blob has no end"));
        }
        self.list.map_or(Ok(()), ListWriter::finish)
    }
}

/// Copies the blobs of a backup's directory, or of a node's, and verifies each. Tells how far it is.
///
/// A backup has a list of its blobs: all of them must be there. A node's directory has none, and marks without a blob in
/// it are left behind.
pub(super) fn copy_blobs(
    from: &Path,
    to: &Path,
    contents: &mut Contents,
    told: &dyn Fn(&Contents),
) -> Result<(), BackupError> {
    let (source, list) = (from.join(BLOBS), from.join(LIST));
    if source.is_dir() {
        let mut shelf = ShelfCopy::new(to.join(BLOBS))?;
        shelf.copy_from(source, &mut |blobs, bytes| {
            (contents.blobs, contents.blob_bytes) = (blobs, bytes);
            told(contents);
        })?;
        return check_list(&list, |hash| shelf.size(hash));
    }
    check_list(&list, |_| Ok(None))
}

/// Checks that all blobs of a list are there. A directory without a list says nothing of what it had.
fn check_list(path: &Path, size_of: impl Fn(BlobHash) -> Result<Option<u64>, CopyError>) -> Result<(), BackupError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BackupError::Disk { file: path.to_owned(), source }),
    };
    let damaged = || BackupError::Damaged("its list of blobs differs");
    let (mut hasher, mut line, mut reader) = (blake3::Hasher::new(), String::new(), BufReader::new(file));
    loop {
        line.clear();
        // no line is longer
        let read = io::Read::take(&mut reader, 256).read_line(&mut line).map_err(|_| damaged())?;
        let (word, value) = line.trim_end_matches('\n').split_once(' ').filter(|_| read > 0).ok_or_else(damaged)?;
        if word == "end" {
            let is_so = value.parse().is_ok_and(|digest: blake3::Hash| digest == hasher.finalize());
            return if is_so { Ok(()) } else { Err(damaged()) };
        }
        hasher.update(line.as_bytes());
        let (hash, size): (BlobHash, u64) =
            (word.parse().map_err(|_| damaged())?, value.parse().map_err(|_| damaged())?);
        if size_of(hash)? != Some(size) {
            return Err(BackupError::Blob { hash: hash.to_string(), why: "is missing" });
        }
    }
}

/// The list of blobs while it is written.
#[derive(Debug)]
struct ListWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl ListWriter {
    fn new(directory: &Path) -> Result<Self, BackupError> {
        let path = directory.join(LIST);
        let file = datadir::new_file(&path).map(BufWriter::new).map_err(BackupError::disk(&path))?;
        Ok(Self { path, file, hasher: blake3::Hasher::new() })
    }

    fn put(&mut self, hash: BlobHash, size: u64) -> Result<(), BackupError> {
        let line = format!("{hash} {size}\n");
        self.hasher.update(line.as_bytes());
        self.file.write_all(line.as_bytes()).map_err(BackupError::disk(&self.path))
    }

    fn finish(mut self) -> Result<(), BackupError> {
        let end = format!("end {}\n", self.hasher.finalize());
        let written = self.file.write_all(end.as_bytes()).and_then(|()| self.file.flush());
        let synced = written.and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(BackupError::disk(&self.path))
    }
}
