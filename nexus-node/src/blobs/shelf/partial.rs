//! A blob of which some parts are here.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_blobs::{BlobHash, Part, PartSet, Shape, SliceError, accept, index_bytes, slice};
use nexus_identity::Timestamp;
use positioned_io::{RandomAccessFile, ReadAt, WriteAt};

use super::disk::{have_of, index_of, sync};
use super::memory::{MemoryBlobs, Noted};
use super::{Content, failed};
use crate::datadir;
use crate::error::NodeError;
use crate::store::open_private;

/// A blob of which some parts are here.
pub(crate) struct Partial {
    hash: BlobHash,
    /// The parts that an earlier fetch left.
    pub(crate) had: Option<PartSet>,
    home: Home,
    /// The files, from the first part on.
    files: Mutex<Option<Arc<Files>>>,
    /// Held while the parts are noted.
    noting: Mutex<()>,
    /// The content and index of a blob without files.
    memory: Mutex<(Vec<u8>, Vec<u8>)>,
}

enum Home {
    /// The place of its files.
    Disk(PathBuf),
    Memory(MemoryBlobs),
}

struct Files {
    content: RandomAccessFile,
    index: RandomAccessFile,
}

impl Partial {
    pub(super) fn in_memory(hash: BlobHash, shelf: &MemoryBlobs) -> Self {
        let partial = Self::of(hash, Home::Memory(shelf.clone()));
        match shelf.noted(hash) {
            Some(Noted { had, content, index, .. }) => {
                Self { had: Some(had), memory: Mutex::new((content, index)), ..partial }
            }
            None => partial,
        }
    }

    pub(super) fn at(hash: BlobHash, path: PathBuf) -> Result<Self, NodeError> {
        let have = match fs::read(have_of(&path)) {
            Ok(bytes) => bytes.split_first_chunk().map(|(size, bits)| (u64::from_le_bytes(*size), bits.to_vec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        let had = have
            .filter(|(size, _)| *size <= nexus_blobs::BLOB_BYTES_MAX)
            .map(|(size, bits)| PartSet::from_bytes(Shape::of(size), &bits));
        Ok(Self { had, ..Self::of(hash, Home::Disk(path)) })
    }

    fn of(hash: BlobHash, home: Home) -> Self {
        let (files, noting, memory) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { hash, had: None, home, files, noting, memory }
    }

    pub(super) const fn hash(&self) -> BlobHash {
        self.hash
    }

    /// The place of its files, if a blob of this shape has some: one of a single part is whole with it. Sizes that are
    /// only claimed count for nothing.
    pub(super) fn path(&self, shape: Shape) -> Option<&Path> {
        match &self.home {
            Home::Disk(path) if shape.parts() > 1 || self.had.is_some() => Some(path),
            _ => None,
        }
    }

    /// Whether files were opened, also for a size that was only claimed.
    pub(super) fn has_files(&self) -> bool {
        lock(&self.files).is_some()
    }

    /// The content and index of one without files.
    pub(super) fn taken(&self) -> (Vec<u8>, Vec<u8>) {
        std::mem::take(&mut *lock(&self.memory))
    }

    /// Verifies a part and writes it.
    pub(crate) fn take(&self, shape: Shape, part: Part, sent: &[u8]) -> Result<(), SliceError> {
        let Some(path) = self.path(shape) else {
            let (content, index) = &mut *lock(&self.memory);
            return accept(self.hash, shape, part, sent, content, index);
        };
        let files = {
            let mut files = lock(&self.files);
            match &*files {
                Some(files) => files.clone(),
                // opened once, since that empties files of an earlier fetch without a note
                None => files.insert(Arc::new(self.open(path)?)).clone(),
            }
        };
        accept(self.hash, shape, part, sent, &files.content, &files.index)
    }

    fn open(&self, path: &Path) -> io::Result<Files> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let open = |path: &Path| {
            let file = open_private(path)?;
            if self.had.is_none() {
                file.set_len(0)?;
            }
            RandomAccessFile::try_new(file)
        };
        Ok(Files { content: open(path)?, index: open(&index_of(path))? })
    }

    /// Takes over the sound parts of a damaged copy. The note comes last, so a crash before it leaves nothing.
    pub(super) fn take_over(
        &self,
        had: &PartSet,
        content: &Content,
        index: Option<&Content>,
        now: Timestamp,
    ) -> io::Result<()> {
        let shape = had.shape();
        let in_memory = |content: &Content, bytes: u64| {
            let mut copied = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            content.read_exact_at(0, &mut copied).map(|()| copied)
        };
        match &self.home {
            Home::Memory(shelf) => {
                let content = in_memory(content, shape.size())?;
                let index = index.map_or(Ok(Vec::new()), |index| in_memory(index, index_bytes(shape)))?;
                shelf.note(self.hash, Noted { had: had.clone(), content, index, at: now });
                Ok(())
            }
            Home::Disk(path) => {
                let copy = |from: &Content, to: &Path, bytes: Option<u64>| {
                    if let Some(parent) = to.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    let file = open_private(to)?;
                    file.set_len(0)?;
                    let file = RandomAccessFile::try_new(file)?;
                    let mut file = file;
                    let mut piece = vec![0; PIECE_BYTES];
                    match bytes {
                        Some(bytes) => copy_bytes(from, &mut file, 0..bytes, &mut piece)?,
                        // a part that cannot be read is a hole
                        None => {
                            for part in (0..shape.parts()).map(Part).filter(|part| had.contains(*part)) {
                                copy_bytes(from, &mut file, shape.bytes(part), &mut piece)?;
                            }
                        }
                    }
                    sync(to).map_err(io::Error::other)
                };
                copy(content, path, None)?;
                if let Some(index) = index {
                    copy(index, &index_of(path), Some(index_bytes(shape)))?;
                }
                datadir::replace(&have_of(path), &[shape.size().to_le_bytes().to_vec(), had.to_bytes()].concat())
            }
        }
    }

    /// Notes the parts that are here, after they are on the disk.
    pub(crate) fn note(&self, parts: &PartSet, now: Timestamp) -> Result<(), NodeError> {
        let _noting = lock(&self.noting);
        if let Home::Memory(shelf) = &self.home {
            let (content, index) = lock(&self.memory).clone();
            shelf.note(self.hash, Noted { had: parts.clone(), content, index, at: now });
            return Ok(());
        }
        let Some(path) = self.path(parts.shape()) else { return Ok(()) };
        sync(path)?;
        sync(&index_of(path))?;
        let have = have_of(path);
        let bytes = [parts.shape().size().to_le_bytes().to_vec(), parts.to_bytes()].concat();
        datadir::replace(&have, &bytes).map_err(|error| failed(&have, error))
    }

    /// The parts among these that are not what they should be: the disk lost or changed them.
    pub(crate) fn damaged(&self, parts: &PartSet) -> Result<Vec<Part>, NodeError> {
        let shape = parts.shape();
        let whole = (0..shape.parts()).map(Part).filter(|part| parts.contains(*part));
        match &self.home {
            Home::Disk(path) => {
                let files = self.open(path).map_err(|error| failed(path, error))?;
                let is_sound = |part: &Part| slice(self.hash, shape, *part, &files.content, &files.index).is_ok();
                Ok(whole.filter(|part| !is_sound(part)).collect())
            }
            Home::Memory(_) => {
                let held = lock(&self.memory);
                let (content, index) = (held.0.as_slice(), held.1.as_slice());
                Ok(whole.filter(|part| slice(self.hash, shape, *part, content, index).is_err()).collect())
            }
        }
    }
}

/// The size of the pieces in which a copy is taken over, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

fn copy_bytes(from: &Content, to: &mut RandomAccessFile, bytes: Range<u64>, piece: &mut [u8]) -> io::Result<()> {
    let mut at = bytes.start;
    while at < bytes.end {
        let most = usize::try_from(bytes.end - at).unwrap_or(usize::MAX).min(piece.len());
        from.read_exact_at(at, &mut piece[..most])?;
        to.write_all_at(at, &piece[..most])?;
        at += most as u64;
    }
    Ok(())
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
