//! Adding content, and reading it.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::Duration;

use futures::Stream;
use nexus_blobs::{BlobHash, PART_BYTES, Part, Shape, SliceError, read_part};
use nexus_identity::Timestamp;
use nexus_identity::plants::planted;
use positioned_io::ReadAt;

use super::keeping::Keep;
use super::shelf::{Content, Draft};
use super::steady::FileChanged;
use super::{BlobChange, BlobInfo, Blobs, Wanted, missing, stopped};
use crate::error::{ConflictError, NodeError};

/// The size of the pieces in which content is written, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Content that is being added, piece by piece. It is gone if it is dropped before [`BlobWriter::finish`].
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    /// `None` after an error.
    draft: Option<Draft>,
    piece: Vec<u8>,
    keep: Keep,
}

/// The content of a blob, to be read. Each part is verified before it is handed out. It stays readable if the blob is
/// removed meanwhile.
///
/// Damaged content is [`io::ErrorKind::InvalidData`].
#[derive(Debug)]
pub struct BlobReader {
    content: Content,
    index: Content,
    info: BlobInfo,
    at: u64,
    /// A part that was read, with its content.
    part: Option<(Part, Vec<u8>)>,
}

impl Blobs {
    /// Keeps content under its hash, pinned. It is on the disk once this returns. The same content is kept once.
    ///
    /// # Errors
    /// Those of reading, as [`NodeError::Store`], and those of the disk; [`NodeError::DiskFull`];
    /// [`NodeError::Stopping`].
    pub async fn add(&self, content: impl Read + Send + 'static) -> Result<BlobInfo, NodeError> {
        self.blocking(move |blobs| blobs.fill(blobs.here().shelf.draft()?, content)).await
    }

    /// Copies content into a draft, and keeps it.
    pub(super) fn fill(&self, mut draft: Draft, mut content: impl Read) -> Result<BlobInfo, NodeError> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match content.read(&mut piece) {
                Ok(0) => return self.end_draft(draft, &Keep::Pinned),
                Ok(read) => self.write_piece(&mut draft, &piece[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let changed = error.get_ref().and_then(|cause| cause.downcast_ref::<FileChanged>()).cloned();
                    return Err(match changed {
                        Some(changed) => ConflictError::from(changed).into(),
                        None => self.here().shelf.io(error),
                    });
                }
            }
        }
    }

    /// Adds content that comes piece by piece.
    ///
    /// # Errors
    /// [`InputError::BlobTag`](crate::error::InputError::BlobTag); those of the disk; [`NodeError::Stopping`].
    pub async fn writer(&self, keep: Keep) -> Result<BlobWriter, NodeError> {
        keep.check()?;
        let draft = self.blocking(|blobs| blobs.here().shelf.draft()).await?;
        Ok(BlobWriter { blobs: self.clone(), draft: Some(draft), piece: Vec::new(), keep })
    }

    /// The content of a blob that is here.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if it is not here whole: [`Blobs::fetch`] gets it. Those of the disk;
    /// [`NodeError::Stopping`].
    pub async fn read(&self, hash: BlobHash) -> Result<BlobReader, NodeError> {
        self.blocking(move |blobs| blobs.reader(hash, blobs.here().world.wall())).await
    }

    /// The content of a blob that is here. It counts as used at that time.
    pub(super) fn reader(&self, hash: BlobHash, now: Timestamp) -> Result<BlobReader, NodeError> {
        let shelf = &self.here().shelf;
        let (content, size) = shelf.content_of(hash, now)?.ok_or_else(|| missing(hash))?;
        let index = shelf.index_of(hash, Shape::of(size))?.ok_or_else(|| missing(hash))?;
        Ok(BlobReader { content, index, info: BlobInfo { hash, size }, at: 0, part: None })
    }

    /// The content of a small blob, from whoever has it; `None` if it has more bytes than that.
    ///
    /// # Errors
    /// As [`Blobs::fetch`].
    pub(crate) async fn content(
        &self,
        hash: BlobHash,
        most: u64,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, NodeError> {
        let info = match self.info(hash).await? {
            Some(info) => info,
            None => self.fetch_known(hash, Wanted::of(wait, most), |_| {}).await?,
        };
        if info.size > most {
            return Ok(None);
        }
        let mut reader = self.read(hash).await?;
        self.blocking(move |blobs| {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).map_err(|error| blobs.here().shelf.io(error))?;
            Ok(Some(content))
        })
        .await
    }

    /// The content of a small blob that is here; `None` if it is not, if it has more bytes than that, or if it is damaged.
    #[cfg(feature = "http")]
    pub(crate) fn content_here(&self, hash: BlobHash, most: u64) -> Option<Vec<u8>> {
        match self.small(hash, most) {
            Ok(content) => Some(content),
            Err(NodeError::NotFound { .. }) => None,
            Err(error) => {
                tracing::warn!(%hash, %error, "a blob could not be read");
                None
            }
        }
    }

    /// Some bytes of a blob that is here, in pieces of at most 256 KiB. A slow reader holds one of them.
    pub fn stream(
        &self,
        reader: BlobReader,
        bytes: Range<u64>,
    ) -> impl Stream<Item = Result<Vec<u8>, NodeError>> + Send + use<> {
        let (blobs, end) = (self.clone(), bytes.end.min(reader.info.size));
        let begin = BlobReader { at: bytes.start, ..reader };
        futures::stream::try_unfold(begin, move |mut reader| {
            let blobs = blobs.clone();
            async move {
                if reader.at >= end {
                    return Ok(None);
                }
                let next = move |blobs: &Blobs| {
                    let (info, part) = (reader.info, Part(reader.at / PART_BYTES));
                    let piece = reader.piece(end).map_err(|error| {
                        // an error of the disk, or one that says that the content is something else
                        let cause = match error.kind() {
                            io::ErrorKind::InvalidData => SliceError::Damaged(part),
                            _ => SliceError::Io(io::Error::new(error.kind(), error.to_string())),
                        };
                        blobs.note_damage(info.hash, info.size, part, &cause);
                        blobs.here().shelf.io(error)
                    })?;
                    Ok(Some((piece, reader)))
                };
                blobs.blocking(next).await
            }
        })
    }

    fn write_piece(&self, draft: &mut Draft, piece: &[u8]) -> Result<(), NodeError> {
        self.room()?;
        draft.write(piece)?;
        self.here().headroom.wrote(piece.len());
        Ok(())
    }

    pub(super) fn end_draft(&self, draft: Draft, keep: &Keep) -> Result<BlobInfo, NodeError> {
        let shelf = &self.here().shelf;
        let sealed = shelf.seal(draft)?;
        // nothing is removed between its place and its mark
        let gate = self.gate();
        let info = shelf.place(sealed, self.here().world.wall())?;
        self.content_moved();
        self.forget_damage(info.hash);
        if !planted("pins_forgotten") {
            self.keep_for(&gate, info.hash, keep)?;
        }
        self.lasts()?;
        self.tell(info.hash, BlobChange::Added);
        Ok(info)
    }
}

impl BlobWriter {
    /// Appends content.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::DiskFull`]; [`NodeError::Stopping`], also after an earlier error.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), NodeError> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = rest;
            if self.piece.len() == PIECE_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Keeps the content under its hash. It is on the disk once this returns.
    ///
    /// # Errors
    /// As [`BlobWriter::write`].
    pub async fn finish(mut self) -> Result<BlobInfo, NodeError> {
        let mut draft = self.draft.take().ok_or_else(stopped)?;
        let end = move |blobs: &Blobs| {
            blobs.write_piece(&mut draft, &self.piece)?;
            blobs.end_draft(draft, &self.keep)
        };
        self.blobs.clone().blocking(end).await
    }

    async fn flush(&mut self) -> Result<(), NodeError> {
        let mut draft = self.draft.take().ok_or_else(stopped)?;
        let mut piece = std::mem::take(&mut self.piece);
        let write = move |blobs: &Blobs| {
            blobs.write_piece(&mut draft, &piece)?;
            piece.clear();
            Ok((draft, piece))
        };
        let (draft, piece) = self.blobs.blocking(write).await?;
        (self.draft, self.piece) = (Some(draft), piece);
        Ok(())
    }
}

impl BlobReader {
    /// The blob.
    pub const fn info(&self) -> BlobInfo {
        self.info
    }

    /// The content from the present place to the end of its part, and not beyond a place.
    pub(super) fn piece(&mut self, end: u64) -> io::Result<Vec<u8>> {
        let begin = self.at / PART_BYTES * PART_BYTES;
        let until = end.min(begin + PART_BYTES);
        let mut piece = vec![0; usize::try_from(until.saturating_sub(self.at)).unwrap_or(0)];
        let read = self.read(&mut piece)?;
        piece.truncate(read);
        Ok(piece)
    }

    /// A bug that the simulator plants.
    fn unverified(&self, bytes: Range<u64>) -> Result<Vec<u8>, SliceError> {
        let mut read = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX)];
        self.content.read_exact_at(bytes.start, &mut read)?;
        Ok(read)
    }

    fn load(&mut self, part: Part) -> io::Result<&[u8]> {
        if self.part.as_ref().is_none_or(|(loaded, _)| *loaded != part) {
            let shape = Shape::of(self.info.size);
            let read = if planted("reads_unverified") {
                self.unverified(shape.bytes(part))
            } else {
                read_part(self.info.hash, shape, part, &self.content, &self.index)
            };
            let bytes = read.map_err(|error| match error {
                SliceError::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
            self.part = Some((part, bytes));
        }
        Ok(self.part.as_ref().map_or(&[], |(_, bytes)| bytes.as_slice()))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.info.size {
            return Ok(0);
        }
        let part = Part(self.at / PART_BYTES);
        let skipped = usize::try_from(self.at % PART_BYTES).unwrap_or(usize::MAX);
        let mut rest = self.load(part)?.get(skipped..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.info.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
