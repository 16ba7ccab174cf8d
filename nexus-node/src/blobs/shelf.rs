//! The content of blobs on the disk, or in memory for a node in a simulator.
//!
//! | room | content |
//! |---|---|
//! | `disk` | files in the data directory |
//! | `memory` | the same without a disk |
//! | `partial` | a blob that is being fetched |
//!
//! A blob is in one of 256 racks, by the first byte of its hash.

mod disk;
mod memory;
mod partial;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nexus_blobs::{BlobHash, Part, PartSet, Shape, SliceError, index, index_bytes, read_part};
use nexus_identity::Timestamp;
use positioned_io::{RandomAccessFile, ReadAt};

use self::disk::DiskDraft;
pub(crate) use self::disk::DiskShelf;
pub use self::memory::MemoryBlobs;
pub(super) use self::partial::Partial;
use super::BlobInfo;
use super::damage::{Damage, Look};
use crate::error::NodeError;
use crate::headroom::DiskFull;
use crate::store::StoreError;

/// The number of racks.
pub(super) const RACKS: usize = 256;
/// Content that was used so short ago is not noted as used again, in ms.
const USED_AGAIN_MS: u64 = 60_000;

/// The blobs of a node by hash.
#[derive(Debug)]
pub(crate) enum Shelf {
    Disk(DiskShelf),
    Memory(MemoryBlobs),
}

/// Something that is noted of a blob beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// It is kept until it is unpinned.
    Pin,
    /// It is the blob of links of a directory of which every file was here: `FILES BYTES`.
    Directory,
    /// Others keep copies of it for this node: the number that is wanted, and a line for each holder.
    Copies,
    /// It is kept for other members: a line for each.
    ForOthers,
    /// The disk damaged some of its parts: their numbers.
    Damaged,
}

impl Mark {
    pub(super) const ALL: [Self; 5] = [Self::Pin, Self::Directory, Self::Copies, Self::ForOthers, Self::Damaged];
}

/// A whole blob, and the marks on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) info: BlobInfo,
    /// The last time that it was added or read, within a minute.
    pub(super) used: Timestamp,
    pub(super) is_pinned: bool,
    pub(super) is_directory: bool,
    pub(super) has_copies: bool,
    pub(super) is_for_others: bool,
    pub(super) is_damaged: bool,
}

impl Held {
    /// A blob without marks.
    pub(super) const fn bare(info: BlobInfo, used: Timestamp) -> Self {
        let (is_pinned, is_directory, has_copies) = (false, false, false);
        Self { info, used, is_pinned, is_directory, has_copies, is_for_others: false, is_damaged: false }
    }

    pub(super) const fn set(&mut self, mark: Mark) {
        match mark {
            Mark::Pin => self.is_pinned = true,
            Mark::Directory => self.is_directory = true,
            Mark::Copies => self.has_copies = true,
            Mark::ForOthers => self.is_for_others = true,
            Mark::Damaged => self.is_damaged = true,
        }
    }
}

/// Content that is being added. It is gone if it is dropped.
#[derive(Debug)]
pub(super) enum Draft {
    Disk(DiskDraft),
    Memory(Vec<u8>),
}

/// Content that was added, before it has its name.
pub(super) struct Sealed {
    pub(super) info: BlobInfo,
    draft: Draft,
    index: Vec<u8>,
}

/// The content of a whole blob, or its index.
#[derive(Clone, Debug)]
pub(super) enum Content {
    File(Arc<RandomAccessFile>),
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
        DiskShelf::open(root).map(Self::Disk)
    }

    /// The blobs in a directory that stays as it is.
    pub(super) fn at_rest(root: PathBuf) -> Self {
        Self::Disk(DiskShelf::at_rest(root))
    }

    /// Begins to add content.
    pub(super) fn draft(&self) -> Result<Draft, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.draft().map(Draft::Disk),
            Self::Memory(_) => Ok(Draft::Memory(Vec::new())),
        }
    }

    /// Content that a program beside the node offers; `None` if there is none of that name.
    #[cfg(feature = "http")]
    pub(super) fn offered(&self, name: &str) -> Result<Option<Draft>, NodeError> {
        match self {
            Self::Disk(shelf) => Ok(shelf.offered(name)?.map(Draft::Disk)),
            Self::Memory(_) => Ok(None),
        }
    }

    /// Ends content that is being added: it has its hash, and all of it is on the disk.
    pub(super) fn seal(&self, draft: Draft) -> Result<Sealed, NodeError> {
        match draft {
            Draft::Disk(draft) => {
                let info = draft.seal()?;
                Ok(Sealed { info, draft: Draft::Disk(draft), index: Vec::new() })
            }
            Draft::Memory(content) => {
                let shape = Shape::of(content.len() as u64);
                let mut hashes = vec![0; usize::try_from(index_bytes(shape)).unwrap_or(usize::MAX)];
                let hash = index(content.as_slice(), shape, hashes.as_mut_slice()).map_err(|error| self.io(error))?;
                let info = BlobInfo { hash, size: shape.size() };
                Ok(Sealed { info, draft: Draft::Memory(content), index: hashes })
            }
        }
    }

    /// Keeps content under its hash.
    pub(super) fn place(&self, sealed: Sealed, now: Timestamp) -> Result<BlobInfo, NodeError> {
        let info = sealed.info;
        match (self, sealed.draft) {
            (Self::Disk(shelf), Draft::Disk(draft)) => shelf.place(draft.path(), info.hash, Shape::of(info.size))?,
            (Self::Memory(shelf), Draft::Memory(content)) => shelf.put(info.hash, content, sealed.index, now),
            // a draft is kept on the shelf on which it was begun
            _ => return Err(self.io(io::ErrorKind::InvalidInput.into())),
        }
        // it is another copy
        self.mark(info.hash, Mark::Damaged, None)?;
        Ok(info)
    }

    /// The whole blobs of a rack, by hash.
    pub(super) fn rack(&self, rack: usize) -> Result<Vec<Held>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.rack(rack),
            Self::Memory(shelf) => Ok(shelf.rack(rack)),
        }
    }

    /// A whole blob. It does not count as used.
    pub(super) fn info(&self, hash: BlobHash) -> Result<Option<BlobInfo>, NodeError> {
        let size = match self {
            Self::Disk(shelf) => shelf.size(hash)?,
            Self::Memory(shelf) => shelf.size(hash),
        };
        Ok(size.map(|size| BlobInfo { hash, size }))
    }

    /// The content of a whole blob, with its size.
    pub(super) fn content_of(&self, hash: BlobHash, now: Timestamp) -> Result<Option<(Content, u64)>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.content(hash, now),
            Self::Memory(shelf) => {
                Ok(shelf.content(hash, now).map(|bytes| (Content::Bytes(bytes.clone()), bytes.len() as u64)))
            }
        }
    }

    /// The index of a whole blob.
    pub(super) fn index_of(&self, hash: BlobHash, shape: Shape) -> Result<Option<Content>, NodeError> {
        if index_bytes(shape) == 0 {
            return Ok(Some(Content::Bytes(Arc::default())));
        }
        match self {
            Self::Disk(shelf) => shelf.index(hash),
            Self::Memory(shelf) => Ok(shelf.index(hash).map(Content::Bytes)),
        }
    }

    /// Overwrites and removes content that was removed while somebody read it, and that nobody reads any more. Whether none is
    /// left.
    pub(super) fn erase_removed(&self) -> Result<bool, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.erase_removed(),
            Self::Memory(_) => Ok(true),
        }
    }

    /// Removes a blob with its marks. Returns whether there was anything.
    pub(super) fn remove(&self, hash: BlobHash) -> Result<bool, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.remove(hash),
            Self::Memory(shelf) => Ok(shelf.remove(hash)),
        }
    }

    /// Removes what is here of a blob that was not fetched to its end. Returns its bytes on the disk.
    pub(super) fn remove_parts(&self, hash: BlobHash) -> Result<u64, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.remove_parts(hash),
            Self::Memory(shelf) => Ok(shelf.forget_parts(hash)),
        }
    }

    /// The blobs of which parts are here, each with the last time that some came.
    pub(super) fn parts(&self) -> Result<Vec<(BlobHash, Timestamp)>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.parts(),
            Self::Memory(shelf) => Ok(shelf.parts()),
        }
    }

    /// Marks a blob, or takes the mark away. Returns whether that changed something.
    pub(super) fn mark(&self, hash: BlobHash, mark: Mark, with: Option<&str>) -> Result<bool, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.mark(hash, mark, with),
            Self::Memory(shelf) => Ok(shelf.mark(hash, mark, with)),
        }
    }

    /// The text of a mark.
    pub(super) fn marked(&self, hash: BlobHash, mark: Mark) -> Result<Option<String>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.marked(hash, mark),
            Self::Memory(shelf) => Ok(shelf.marked(hash, mark)),
        }
    }

    /// Lets a name lead to a blob, or to none. Returns the former one.
    pub(super) fn set_tag(&self, tag: &str, to: Option<BlobHash>) -> Result<Option<BlobHash>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.set_tag(tag, to),
            Self::Memory(shelf) => Ok(shelf.set_tag(tag, to)),
        }
    }

    /// The blob of a name.
    pub(super) fn tag(&self, tag: &str) -> Result<Option<BlobHash>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.tag(tag),
            Self::Memory(shelf) => Ok(shelf.tags().get(tag).copied()),
        }
    }

    /// All names.
    pub(super) fn tags(&self) -> Result<BTreeMap<String, BlobHash>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.tags(),
            Self::Memory(shelf) => Ok(shelf.tags()),
        }
    }

    /// The last look through all blobs.
    pub(super) fn look(&self) -> Result<Option<Look>, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.look(),
            Self::Memory(shelf) => Ok(shelf.look()),
        }
    }

    /// Notes how far a look through all blobs is. Where there are no blobs, nothing is noted.
    pub(super) fn set_look(&self, look: Look) -> Result<(), NodeError> {
        match self {
            Self::Disk(shelf) => shelf.set_look(look),
            Self::Memory(shelf) => {
                shelf.set_look(look);
                Ok(())
            }
        }
    }

    /// The parts to begin with of a blob that is damaged here: the sound ones. `None` if it is not, or if its size is not
    /// proven by a sound last part.
    fn sound(&self, hash: BlobHash) -> Result<Option<(PartSet, Content, Option<Content>)>, NodeError> {
        let Some(text) = self.marked(hash, Mark::Damaged)? else { return Ok(None) };
        let damage = Damage::read(&text);
        let Some((content, size)) = self.content_of(hash, Timestamp::default())? else { return Ok(None) };
        let shape = Shape::of(size);
        let Some(index) = self.index_of(hash, shape)? else { return Ok(None) };
        // a size that is wrong would have the others taken for liars
        if damage.has(shape.last()) || read_part(hash, shape, shape.last(), &content, &index).is_err() {
            return Ok(None);
        }
        let mut had = PartSet::none(shape);
        for part in (0..shape.parts()).map(Part).filter(|part| !damage.has(*part)) {
            had.add(part);
        }
        Ok(Some((had, content, (index_bytes(shape) > 0).then_some(index))))
    }

    /// The parts of a blob that an earlier fetch left, to go on with; none if there was none. If a blob is damaged here
    /// the sound parts are taken over.
    pub(super) fn begin(&self, hash: BlobHash, now: Timestamp) -> Result<Partial, NodeError> {
        let begun = self.begin_here(hash)?;
        if begun.had.is_some() {
            return Ok(begun);
        }
        match self.sound(hash)? {
            Some((had, content, index)) if had.count() > 0 => {
                begun.take_over(&had, &content, index.as_ref(), now).map_err(|error| self.io(error))?;
                self.begin_here(hash)
            }
            _ => Ok(begun),
        }
    }

    fn begin_here(&self, hash: BlobHash) -> Result<Partial, NodeError> {
        match self {
            Self::Disk(shelf) => shelf.begin(hash),
            Self::Memory(shelf) => Ok(Partial::in_memory(hash, shelf)),
        }
    }

    /// A blob of which all parts are here becomes a whole one.
    pub(super) fn finish(&self, partial: &Partial, shape: Shape, now: Timestamp) -> Result<(), NodeError> {
        match self {
            Self::Disk(shelf) => shelf.finish(partial, shape)?,
            Self::Memory(shelf) => {
                let (content, index) = partial.taken();
                shelf.put(partial.hash(), content, index, now);
                shelf.forget_parts(partial.hash());
            }
        }
        self.mark(partial.hash(), Mark::Damaged, None).map(drop)
    }

    /// The error of a part that cannot be read or written.
    pub(super) fn fault(&self, error: SliceError) -> NodeError {
        match error {
            SliceError::Io(error) => self.io(error),
            other => self.io(io::Error::new(io::ErrorKind::InvalidData, other)),
        }
    }

    pub(super) fn io(&self, error: io::Error) -> NodeError {
        match self {
            Self::Disk(shelf) => failed(shelf.root(), error),
            Self::Memory(_) => failed(Path::new("blobs"), error),
        }
    }
}

impl Draft {
    /// Lets a draft to which nothing was written share the content of a file. Returns whether it does.
    pub(super) fn share(&mut self, content: &File) -> Result<bool, NodeError> {
        match self {
            Self::Disk(draft) => draft.share(content),
            Self::Memory(_) => Ok(false),
        }
    }

    /// Appends content.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        match self {
            Self::Disk(draft) => draft.write(bytes),
            Self::Memory(content) => {
                content.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

pub(super) fn failed(path: &Path, error: io::Error) -> NodeError {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return NodeError::DiskFull(DiskFull { free: None, reserve: 0 });
    }
    NodeError::Store(StoreError::disk(path, error))
}
