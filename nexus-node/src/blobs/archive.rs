//! Blobs for a backup, and from one.
//!
//! A backup has the blobs that this node keeps for itself, and those to which entries refer. Those that it keeps for others
//! are left out: they have them, and ask another member. Content is verified as it is read, and again as it comes back.

use std::collections::{BTreeMap, BTreeSet, btree_map, btree_set};
use std::io;
use std::path::PathBuf;

use nexus_blobs::BlobHash;
use nexus_identity::Timestamp;
use positioned_io::ReadAt;

use super::content::BlobReader;
use super::shelf::{Draft, Mark, RACKS};
use super::using::InUse;
use super::{Blobs, Keep, Shelf};
use crate::error::NodeError;
use crate::store::StoreError;

/// The size of the pieces in which content is copied, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A part of all blobs of a backup, in their order.
pub(crate) enum Part {
    /// The number and the bytes of all blobs, before the first one.
    All { count: u64, bytes: u64 },
    /// The beginning of a blob. Its content follows, and then its end.
    Begin { hash: BlobHash, size: u64, pinned: bool, directory: Option<String>, copies: Option<String> },
    /// Some of its content.
    Content(Vec<u8>),
    /// Its end. Without `is_whole` it was damaged here, and is left out.
    End { is_whole: bool },
    /// A name that leads to a blob.
    Tag(String, BlobHash),
}

/// A failure to copy blobs.
pub(crate) enum CopyError {
    /// Their order, or a name, is none that a backup has.
    Damaged(&'static str),
    /// A blob is not the one of its name.
    Blob {
        hash: BlobHash,
        why: &'static str,
    },
    Store(StoreError),
    Disk(io::Error),
}

impl From<NodeError> for CopyError {
    /// The errors of a shelf: they are the disk's.
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Store(error) => Self::Store(error),
            NodeError::DiskFull(_) => Self::Disk(io::ErrorKind::StorageFull.into()),
            other => Self::Disk(io::Error::other(other)),
        }
    }
}

/// The blobs of a backup, part by part. They stay until it is dropped.
pub(crate) struct Archive {
    blobs: Blobs,
    all: Option<Part>,
    left: btree_set::IntoIter<BlobHash>,
    /// The blob that is being read; with no reader one that is damaged.
    reading: Option<Option<BlobReader>>,
    tags: btree_map::IntoIter<String, BlobHash>,
    _in_use: InUse,
}

impl Archive {
    /// The blobs of this moment. Blocks for the disk.
    pub(crate) fn of(blobs: &Blobs) -> Result<Self, NodeError> {
        let (hashes, tags) = blobs.for_backup()?;
        let in_use = blobs.use_all(hashes.iter().copied());
        let mut bytes = 0_u64;
        for hash in &hashes {
            bytes = bytes.saturating_add(blobs.here().shelf.info(*hash)?.map_or(0, |info| info.size));
        }
        let all = Some(Part::All { count: hashes.len() as u64, bytes });
        let (left, tags) = (hashes.into_iter(), tags.into_iter());
        Ok(Self { blobs: blobs.clone(), all, left, reading: None, tags, _in_use: in_use })
    }

    /// The next part. Blocks for the disk.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, NodeError> {
        if let Some(all) = self.all.take() {
            return Ok(Some(all));
        }
        if let Some(reader) = self.reading.take() {
            return self.piece(reader).map(Some);
        }
        while let Some(hash) = self.left.next() {
            // a person may have removed it meanwhile
            if let Some(begin) = self.begin(hash)? {
                return Ok(Some(begin));
            }
        }
        Ok(self.tags.next().map(|(tag, hash)| Part::Tag(tag, hash)))
    }

    fn begin(&mut self, hash: BlobHash) -> Result<Option<Part>, NodeError> {
        let shelf = &self.blobs.here().shelf;
        let Some(info) = shelf.info(hash)? else { return Ok(None) };
        self.reading = Some(match self.blobs.reader(hash, Timestamp::default()) {
            Ok(reader) => Some(reader),
            // its index is gone
            Err(NodeError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        });
        Ok(Some(Part::Begin {
            hash,
            size: info.size,
            pinned: shelf.marked(hash, Mark::Pin)?.is_some(),
            directory: shelf.marked(hash, Mark::Directory)?,
            copies: shelf.marked(hash, Mark::Copies)?,
        }))
    }

    /// Some content of the blob that is being read, or its end. Damaged content is not handed out.
    fn piece(&mut self, reader: Option<BlobReader>) -> Result<Part, NodeError> {
        let Some(mut reader) = reader else { return Ok(Part::End { is_whole: false }) };
        match reader.piece(u64::MAX) {
            Ok(bytes) if bytes.is_empty() => Ok(Part::End { is_whole: true }),
            Ok(bytes) => {
                self.reading = Some(Some(reader));
                Ok(Part::Content(bytes))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                tracing::warn!(blob = %reader.info().hash, %error, "a damaged blob is left out of a backup");
                Ok(Part::End { is_whole: false })
            }
            Err(error) => Err(self.blobs.here().shelf.io(error)),
        }
    }
}

impl Blobs {
    /// The blobs that a backup has, and the names that lead to some of them.
    fn for_backup(&self) -> Result<(BTreeSet<BlobHash>, BTreeMap<String, BlobHash>), NodeError> {
        let shelf = &self.here().shelf;
        let tags = shelf.tags()?;
        let mut hashes: BTreeSet<BlobHash> = tags.values().copied().collect();
        for rack in 0..RACKS {
            let held = shelf.rack(rack)?;
            let names: Vec<BlobHash> = held.iter().map(|held| held.info.hash).collect();
            hashes.extend((self.here().attached)(&names)?);
            hashes.extend(held.iter().filter(|held| held.is_pinned || held.has_copies).map(|held| held.info.hash));
        }
        for root in hashes.clone() {
            // a damaged list is told when it is read, and keeps no other blob from the backup
            hashes.extend(self.links_of(root).unwrap_or_default());
        }
        Ok((hashes, tags))
    }
}

/// Blobs that are copied into a directory. Each is verified before it has its name there.
#[derive(Debug)]
pub(crate) struct ShelfCopy {
    shelf: Shelf,
    coming: Option<Coming>,
}

/// A blob of which the content comes.
#[derive(Debug)]
struct Coming {
    hash: BlobHash,
    size: u64,
    marks: Vec<(Mark, String)>,
    draft: Draft,
    bytes: u64,
}

impl ShelfCopy {
    /// A directory, which is made with the first blob.
    pub(crate) fn new(root: PathBuf) -> Result<Self, CopyError> {
        Ok(Self { shelf: Shelf::open(root)?, coming: None })
    }

    /// Begins a blob, with its marks.
    pub(crate) fn begin(
        &mut self,
        hash: BlobHash,
        size: u64,
        pinned: bool,
        directory: Option<String>,
        copies: Option<String>,
    ) -> Result<(), CopyError> {
        let pin = pinned.then(|| (Mark::Pin, String::new()));
        let (directory, copies) =
            (directory.map(|text| (Mark::Directory, text)), copies.map(|text| (Mark::Copies, text)));
        self.begin_with(hash, size, [pin, directory, copies].into_iter().flatten().collect())
    }

    fn begin_with(&mut self, hash: BlobHash, size: u64, marks: Vec<(Mark, String)>) -> Result<(), CopyError> {
        if self.is_in_a_blob() {
            return Err(CopyError::Damaged("a blob has no end"));
        }
        self.coming = Some(Coming { hash, size, marks, draft: self.shelf.draft()?, bytes: 0 });
        Ok(())
    }

    /// Appends content of the blob that was begun.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        let coming = self.coming.as_mut().ok_or(CopyError::Damaged("content of no blob"))?;
        coming.bytes = coming.bytes.saturating_add(bytes.len() as u64);
        if coming.bytes > coming.size {
            return Err(coming.is_bad("is longer than its size"));
        }
        Ok(coming.draft.write(bytes)?)
    }

    /// Ends the blob that was begun. Returns it with its size; `None` if it is left out.
    pub(crate) fn end(&mut self, is_whole: bool) -> Result<Option<(BlobHash, u64)>, CopyError> {
        let coming = self.coming.take().ok_or(CopyError::Damaged("an end of no blob"))?;
        if !is_whole {
            return Ok(None);
        }
        let bad = coming.is_bad("is damaged");
        let sealed = self.shelf.seal(coming.draft)?;
        if sealed.info.hash != coming.hash || sealed.info.size != coming.size {
            return Err(bad);
        }
        // it only orders what may be removed: a file has the time at which it was written
        let info = self.shelf.place(sealed, Timestamp::default())?;
        for (mark, text) in coming.marks {
            self.shelf.mark(info.hash, mark, Some(&text))?;
        }
        Ok(Some((info.hash, info.size)))
    }

    /// Whether a blob was begun and did not end.
    pub(crate) const fn is_in_a_blob(&self) -> bool {
        self.coming.is_some()
    }

    /// Lets a name lead to a blob, if that is there.
    pub(crate) fn tag(&self, tag: &str, hash: BlobHash) -> Result<(), CopyError> {
        let keep = Keep::Tagged(tag.to_owned());
        keep.check().map_err(|_| CopyError::Damaged("it has a tag that no blob has"))?;
        if self.size(hash)?.is_some() {
            self.shelf.set_tag(tag, Some(hash))?;
        }
        Ok(())
    }

    /// The size of a blob in bytes; `None` if it is not there.
    pub(crate) fn size(&self, hash: BlobHash) -> Result<Option<u64>, CopyError> {
        Ok(self.shelf.info(hash)?.map(|info| info.size))
    }

    /// Copies the whole blobs of another directory with their marks and names. Is told the number and the bytes so far.
    pub(crate) fn copy_from(&mut self, root: PathBuf, told: &mut dyn FnMut(u64, u64)) -> Result<(), CopyError> {
        let from = Shelf::at_rest(root);
        let (mut piece, mut blobs, mut bytes) = (vec![0; PIECE_BYTES], 0, 0);
        for rack in 0..RACKS {
            for held in from.rack(rack)? {
                let hash = held.info.hash;
                let Some((content, size)) = from.content_of(hash, Timestamp::default())? else { continue };
                let marked = |mark| Ok(from.marked(hash, mark)?.map(|text| (mark, text)));
                let marks: Result<Vec<_>, NodeError> =
                    Mark::ALL.into_iter().filter_map(|mark| marked(mark).transpose()).collect();
                self.begin_with(hash, size, marks?)?;
                let mut at = 0;
                loop {
                    let read = content.read_at(at, &mut piece).map_err(|error| from.io(error))?;
                    if read == 0 {
                        break;
                    }
                    self.write(&piece[..read])?;
                    at += read as u64;
                    bytes += read as u64;
                    told(blobs, bytes);
                }
                self.end(true)?;
                blobs += 1;
            }
        }
        told(blobs, bytes);
        for (tag, hash) in from.tags()? {
            self.tag(&tag, hash)?;
        }
        Ok(())
    }
}

impl Coming {
    fn is_bad(&self, why: &'static str) -> CopyError {
        CopyError::Blob { hash: self.hash, why }
    }
}
