//! The content of blobs on the disk, or in memory for a node in a simulator.
//!
//! | place | content |
//! |---|---|
//! | `aa/HASH` | a whole blob, by the first two digits of its hash; it is there once all of it is on the disk |
//! | `aa/HASH.obao4` | its index, unless it is one group: the hashes between the root and the content |
//! | `part/HASH`, `part/HASH.obao4` | a blob that is being fetched: verified parts, and holes |
//! | `part/HASH.have` | the size, 8 bytes little-endian, and a bit for each part that is on the disk |
//! | `new/N` | content that is being added; the next start removes it |

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_blobs::{BlobHash, Part, PartSet, Shape, SliceError, accept, index, index_bytes};
use positioned_io::{RandomAccessFile, ReadAt};

use super::BlobInfo;
use crate::datadir;
use crate::error::NodeError;
use crate::store::{StoreError, open_private};

/// The size of the pieces in which content is copied, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The content of a blob and its index.
type InMemory = (Arc<Vec<u8>>, Arc<Vec<u8>>);

/// The blobs of a node by hash.
#[derive(Debug)]
pub(crate) enum Shelf {
    Disk(DiskShelf),
    Memory(Mutex<BTreeMap<BlobHash, InMemory>>),
}

#[derive(Debug)]
pub(crate) struct DiskShelf {
    root: PathBuf,
    added: AtomicU64,
}

/// The content of a whole blob, or its index.
#[derive(Debug)]
pub(super) enum Content {
    File(RandomAccessFile),
    Bytes(Arc<Vec<u8>>),
}

impl ReadAt for Content {
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(at, buf),
            Self::Bytes(bytes) => bytes.as_slice().read_at(at, buf),
        }
    }
}

impl Shelf {
    /// The blobs in a directory, which is made with the first one. Content that was being added is removed.
    pub(crate) fn open(root: PathBuf) -> Result<Self, NodeError> {
        let new = root.join("new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(&new, error)),
            _ => Ok(Self::Disk(DiskShelf { root, added: AtomicU64::new(0) })),
        }
    }

    pub(crate) const fn memory() -> Self {
        Self::Memory(Mutex::new(BTreeMap::new()))
    }

    /// Keeps content under its hash.
    pub(super) fn add(&self, mut content: impl Read) -> Result<BlobInfo, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.add(content),
            Self::Memory(held) => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(|error| disk(Path::new("content"), error))?;
                let shape = Shape::of(bytes.len() as u64);
                let mut hashes = Vec::new();
                let hash = index(bytes.as_slice(), shape, &mut hashes).map_err(|error| self.io(error))?;
                lock(held).insert(hash, (Arc::new(bytes), Arc::new(hashes)));
                Ok(BlobInfo { hash, size: shape.size() })
            }
        }
    }

    pub(super) fn list(&self) -> Result<Vec<BlobInfo>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.list(),
            Self::Memory(held) => {
                let held = lock(held);
                Ok(held.iter().map(|(hash, (bytes, _))| BlobInfo { hash: *hash, size: bytes.len() as u64 }).collect())
            }
        }
    }

    pub(super) fn info(&self, hash: BlobHash) -> Result<Option<BlobInfo>, NodeError> {
        Ok(self.content_of(hash)?.map(|(_, size)| BlobInfo { hash, size }))
    }

    /// The content of a whole blob, with its size.
    pub(super) fn content_of(&self, hash: BlobHash) -> Result<Option<(Content, u64)>, NodeError> {
        match self {
            Self::Disk(shelf) => Ok(open_file(&shelf.path(hash))?.map(|(file, size)| (Content::File(file), size))),
            Self::Memory(held) => {
                let bytes = lock(held).get(&hash).map(|(bytes, _)| bytes.clone());
                Ok(bytes.map(|bytes| (Content::Bytes(bytes.clone()), bytes.len() as u64)))
            }
        }
    }

    /// The index of a whole blob.
    pub(super) fn index_of(&self, hash: BlobHash, shape: Shape) -> Result<Option<Content>, NodeError> {
        if index_bytes(shape) == 0 {
            return Ok(Some(Content::Bytes(Arc::default())));
        }
        match self {
            Self::Disk(shelf) => Ok(open_file(&index_of(&shelf.path(hash)))?.map(|(file, _)| Content::File(file))),
            Self::Memory(held) => Ok(lock(held).get(&hash).map(|(_, index)| Content::Bytes(index.clone()))),
        }
    }

    /// Removes a blob, and its parts. Returns whether there was anything.
    pub(super) fn remove(&self, hash: BlobHash) -> Result<bool, NodeError> {
        match self {
            Self::Disk(shelf) => {
                let (whole, part) = (shelf.path(hash), shelf.part(hash));
                let mut had = false;
                // content first: without it the rest means nothing
                for path in [&whole, &index_of(&whole), &have_of(&part), &part, &index_of(&part)] {
                    had |= remove(path)?;
                }
                Ok(had)
            }
            Self::Memory(held) => Ok(lock(held).remove(&hash).is_some()),
        }
    }

    /// The parts of a blob that an earlier fetch left, to go on with; none if there was none.
    pub(super) fn begin(&self, hash: BlobHash) -> Result<Partial, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.begin(hash),
            Self::Memory(_) => Ok(Partial { hash, place: Place::Memory(Mutex::default()), had: None }),
        }
    }

    /// A blob of which all parts are here becomes a whole one.
    pub(super) fn finish(&self, partial: &Partial, shape: Shape) -> Result<(), NodeError> {
        match (self, &partial.place) {
            (Self::Disk(shelf), Place::Disk { path, .. }) => {
                sync(path)?;
                sync(&index_of(path))?;
                shelf.keep(path, &index_of(path), partial.hash, shape)?;
                remove(&have_of(path)).map(drop)
            }
            (Self::Memory(held), Place::Memory(parts)) => {
                let (content, index) = std::mem::take(&mut *lock(parts));
                lock(held).insert(partial.hash, (Arc::new(content), Arc::new(index)));
                Ok(())
            }
            // a partial blob is finished on the shelf on which it was begun
            _ => Ok(()),
        }
    }

    /// The error of a part that cannot be read or written.
    pub(super) fn fault(&self, error: SliceError) -> NodeError {
        match error {
            SliceError::Io(error) => self.io(error),
            other => self.io(io::Error::new(io::ErrorKind::InvalidData, other)),
        }
    }

    fn io(&self, error: io::Error) -> NodeError {
        match self {
            Self::Disk(shelf) => disk(&shelf.root, error),
            Self::Memory(_) => disk(Path::new("blobs"), error),
        }
    }
}

impl DiskShelf {
    fn path(&self, hash: BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(&name[..2]).join(name)
    }

    fn part(&self, hash: BlobHash) -> PathBuf {
        self.root.join("part").join(hash.to_string())
    }

    fn add(&self, mut content: impl Read) -> Result<BlobInfo, NodeError> {
        let new = self.root.join("new");
        make_dir(&new)?;
        let path = new.join(self.added.fetch_add(1, Ordering::Relaxed).to_string());
        let added = self.add_at(&path, &mut content);
        if added.is_err() {
            // the next start removes the rest
            let _ = (fs::remove_file(&path), fs::remove_file(index_of(&path)));
        }
        added
    }

    fn add_at(&self, path: &Path, content: &mut impl Read) -> Result<BlobInfo, NodeError> {
        let io = |error| disk(path, error);
        let mut file = datadir::new_file(path).map_err(io)?;
        let size = copy(content, &mut file).map_err(io)?;
        let shape = Shape::of(size);
        let index_path = index_of(path);
        let written = File::open(path).map_err(io)?;
        let hash = if index_bytes(shape) == 0 {
            index(written, shape, Vec::new()).map_err(io)?
        } else {
            let hashes = datadir::new_file(&index_path).and_then(RandomAccessFile::try_new).map_err(io)?;
            let hash = index(io::BufReader::with_capacity(PIECE_BYTES, written), shape, &hashes).map_err(io)?;
            sync(&index_path)?;
            hash
        };
        file.sync_all().map_err(io)?;
        self.keep(path, &index_path, hash, shape)?;
        Ok(BlobInfo { hash, size })
    }

    /// Moves content that is on the disk to its place, its index first.
    fn keep(&self, content: &Path, index: &Path, hash: BlobHash, shape: Shape) -> Result<(), NodeError> {
        let path = self.path(hash);
        let dir = path.parent().unwrap_or(&self.root);
        if !dir.exists() {
            make_dir(dir)?;
            datadir::sync_parent(dir).map_err(|error| disk(dir, error))?;
        }
        if index_bytes(shape) > 0 {
            fs::rename(index, index_of(&path)).map_err(|error| disk(index, error))?;
        } else {
            remove(index)?;
        }
        // both are in one directory
        datadir::move_into_place(content, &path).map_err(|error| disk(content, error))
    }

    fn list(&self) -> Result<Vec<BlobInfo>, NodeError> {
        let mut found = Vec::new();
        for dir in read_dir(&self.root)? {
            for file in read_dir(&dir)? {
                let hash = file.file_name().and_then(|name| name.to_str()?.parse::<BlobHash>().ok());
                let Some(hash) = hash.filter(|hash| self.path(*hash) == file) else { continue };
                // whoever removes it meanwhile wins
                if let Ok(about) = fs::metadata(&file) {
                    found.push(BlobInfo { hash, size: about.len() });
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn begin(&self, hash: BlobHash) -> Result<Partial, NodeError> {
        let path = self.part(hash);
        make_dir(&self.root.join("part"))?;
        let have = match fs::read(have_of(&path)) {
            Ok(bytes) => bytes.split_first_chunk().map(|(size, bits)| (u64::from_le_bytes(*size), bits.to_vec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(disk(&path, error)),
        };
        let had = have
            .filter(|(size, _)| *size <= nexus_blobs::BLOB_BYTES_MAX)
            .map(|(size, bits)| PartSet::from_bytes(Shape::of(size), &bits));
        let open = |path: &Path| {
            let opened = open_private(path).and_then(|file| {
                if had.is_none() {
                    file.set_len(0)?;
                }
                RandomAccessFile::try_new(file)
            });
            opened.map_err(|error| disk(path, error))
        };
        let (content, index) = (open(&path)?, open(&index_of(&path))?);
        Ok(Partial { hash, place: Place::Disk { content, index, path }, had })
    }
}

/// A blob of which some parts are here.
pub(super) struct Partial {
    hash: BlobHash,
    place: Place,
    /// The parts that an earlier fetch left.
    pub(super) had: Option<PartSet>,
}

enum Place {
    Disk { content: RandomAccessFile, index: RandomAccessFile, path: PathBuf },
    Memory(Mutex<(Vec<u8>, Vec<u8>)>),
}

impl Partial {
    /// Verifies a part and writes it.
    pub(super) fn take(&self, shape: Shape, part: Part, sent: &[u8]) -> Result<(), SliceError> {
        match &self.place {
            Place::Disk { content, index, .. } => accept(self.hash, shape, part, sent, content, index),
            Place::Memory(held) => {
                let (content, index) = &mut *lock(held);
                accept(self.hash, shape, part, sent, content, index)
            }
        }
    }

    /// Notes the parts that are here, after they are on the disk.
    pub(super) fn note(&self, parts: &PartSet) -> Result<(), NodeError> {
        let Place::Disk { path, .. } = &self.place else { return Ok(()) };
        sync(path)?;
        sync(&index_of(path))?;
        let have = have_of(path);
        let bytes = [parts.shape().size().to_le_bytes().to_vec(), parts.to_bytes()].concat();
        datadir::replace(&have, &bytes).map_err(|error| disk(&have, error))
    }

    /// The parts among these that are not what they should be: the disk lost or changed them.
    pub(super) fn damaged(&self, parts: &PartSet) -> Vec<Part> {
        let shape = parts.shape();
        let whole = (0..shape.parts()).map(Part).filter(|part| parts.contains(*part));
        let is_sound = |part: &Part| match &self.place {
            Place::Disk { content, index, .. } => nexus_blobs::slice(self.hash, shape, *part, content, index).is_ok(),
            Place::Memory(_) => true,
        };
        whole.filter(|part| !is_sound(part)).collect()
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn disk(path: &Path, error: io::Error) -> NodeError {
    NodeError::Store(StoreError::disk(path, error))
}

fn index_of(path: &Path) -> PathBuf {
    path.with_extension("obao4")
}

fn have_of(path: &Path) -> PathBuf {
    path.with_extension("have")
}

fn open_file(path: &Path) -> Result<Option<(RandomAccessFile, u64)>, NodeError> {
    let opened = File::open(path).and_then(|file| {
        let size = file.metadata()?.len();
        Ok((RandomAccessFile::try_new(file)?, size))
    });
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk(path, error)),
    }
}

fn remove(path: &Path) -> Result<bool, NodeError> {
    datadir::remove(path).map_err(|error| disk(path, error))
}

fn make_dir(path: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(path).map_err(|error| disk(path, error))
}

fn read_dir(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(disk(path, error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| disk(path, error))).collect()
}

/// Syncs what was written to a file by any handle.
fn sync(path: &Path) -> Result<(), NodeError> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_data()).map_err(|error| disk(path, error))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let (mut piece, mut size) = (vec![0; PIECE_BYTES], 0);
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(size),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&piece[..read])?;
        size += read as u64;
    }
}
