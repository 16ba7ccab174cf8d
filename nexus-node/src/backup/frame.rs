//! The stream of a backup: sixteen bytes of magic, then frames.
//!
//! A frame is its length (`u32`, little endian, at most 8 MiB) and a [`Frame`] in borsh. The first one is the head, the
//! last one a BLAKE3 digest of all bytes before it. Nothing follows.

use std::io::{self, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::head::VERSION;
use super::{BackupError, Head, StoreKind};
use crate::store::{ROWS_FORMAT, Row};

const MAGIC: &[u8; 16] = b"nexus backup v1\n";
/// The longest frame. A portion of rows has about 256 KiB, and a row at most a few MiB.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// A part of a backup.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first one.
    Head(Head),
    /// A file of the directory.
    File {
        /// Its name.
        name: String,
        /// Its bytes, at most 64 KiB.
        bytes: Vec<u8>,
    },
    /// Rows of a store, in the order of their keys.
    Rows {
        /// The store.
        store: StoreKind,
        /// The table, by its name on disk.
        table: String,
        /// The rows.
        rows: Vec<Row>,
    },
    /// The last one: a digest of all bytes before it.
    End {
        /// BLAKE3.
        digest: [u8; 32],
    },
    /// The extent of all blobs, before the first one.
    Blobs {
        /// Their number.
        count: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The beginning of a blob. Its content follows, and then [`Frame::BlobEnd`].
    Blob {
        /// Its hash.
        hash: [u8; 32],
        /// Its size in bytes.
        size: u64,
        /// Whether it is pinned.
        pinned: bool,
        /// The number of files and their bytes, if it is the list of a directory.
        directory: Option<String>,
        /// The copies that others keep, if some are wanted: the number, and a line for each holder.
        copies: Option<String>,
    },
    /// Some content of the blob, at most 256 KiB.
    BlobBytes {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The end of a blob.
    BlobEnd {
        /// Whether all of it came. If not, it was damaged at its node, and is left out.
        is_whole: bool,
    },
    /// A name that leads to a blob.
    BlobTag {
        /// The name.
        tag: String,
        /// The hash of the blob.
        hash: [u8; 32],
    },
}

/// Writes a backup.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), bytes: 0 };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// Writes a frame. [`Frame::End`] is written by [`end`](Self::end).
    ///
    /// # Errors
    /// Those of `out`, and [`io::ErrorKind::InvalidInput`] for a frame that is too long.
    pub fn put(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = borsh::to_vec(frame)?;
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // at most 8 MiB
        self.write(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.write(&bytes)
    }

    /// Ends the backup. Returns its size in bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn end(&mut self) -> io::Result<u64> {
        let digest = self.hasher.finalize().into();
        self.put(&Frame::End { digest })?;
        self.out.flush()?;
        Ok(self.bytes)
    }

    /// The sink, to take what was written so far.
    pub(crate) const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Reads a backup, frame by frame.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    hasher: blake3::Hasher,
    begun: bool,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// [`BackupError::NotABackup`], [`BackupError::Stream`].
    pub fn new(mut from: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        let read = from.read_exact(&mut magic);
        match read {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(BackupError::Stream(error)),
            Ok(()) if magic == *MAGIC => {}
            _ => return Err(BackupError::NotABackup),
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        Ok(Self { from, hasher, begun: false, ended: false })
    }

    /// The next frame; `None` after the last one, whose digest is checked and which is not returned.
    ///
    /// # Errors
    /// [`BackupError::Short`], [`BackupError::Damaged`], [`BackupError::TooNew`], [`BackupError::Stream`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let digest: [u8; 32] = self.hasher.finalize().into();
        let frame = self.frame()?;
        match &frame {
            Frame::Head(_) if self.begun => return Err(BackupError::Damaged("it begins twice")),
            Frame::Head(head) => {
                head.check()?;
                self.begun = true;
            }
            _ if !self.begun => return Err(BackupError::Damaged("it has no head")),
            Frame::End { digest: written } => {
                if *written != digest {
                    return Err(BackupError::Damaged("its digest differs"));
                }
                let mut more = [0];
                if self.from.read(&mut more).map_err(BackupError::Stream)? > 0 {
                    return Err(BackupError::Damaged("bytes follow its end"));
                }
                self.ended = true;
                return Ok(None);
            }
            _ => {}
        }
        Ok(Some(frame))
    }

    /// The bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.hasher.count()
    }

    fn frame(&mut self) -> Result<Frame, BackupError> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(BackupError::Damaged("a frame is too long"));
        }
        // no memory for bytes that never come
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(length as u64).read_to_end(&mut bytes).map_err(BackupError::Stream)?;
        if read < length {
            return Err(BackupError::Short);
        }
        self.hasher.update(&bytes);
        borsh::from_slice(&bytes).map_err(|_| BackupError::Damaged("a frame cannot be read"))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Short,
            _ => BackupError::Stream(error),
        })?;
        self.hasher.update(bytes);
        Ok(())
    }
}

impl Head {
    /// Refuses what a later version wrote.
    fn check(&self) -> Result<(), BackupError> {
        for (format, known) in [(self.version, VERSION), (self.store_format, ROWS_FORMAT)] {
            if format > known {
                return Err(BackupError::TooNew { format, known });
            }
        }
        Ok(())
    }
}
