use std::path::{Path, PathBuf};

#[cfg(feature = "blobs")]
use super::blobs::BlobFilling;
use super::contents::Contents;
use super::files::FILE_BYTES_MAX;
use super::{BackupError, Frame, StoreKind};
use crate::datadir::{BACKED_UP, DataDir, replace};
use crate::store::{Batch, Store, StoreOptions, Table};

/// Rows are written when so many bytes of them have come.
const BATCH_BYTES: usize = 4 << 20;

/// Writes the frames of a backup into a directory, which then is as the node's was.
#[derive(Debug)]
pub struct Unpacker {
    directory: PathBuf,
    brain: Option<Filling>,
    raft: Option<Filling>,
    /// `None` if blobs are left out.
    #[cfg(feature = "blobs")]
    blobs: Option<BlobFilling>,
    contents: Contents,
}

impl Unpacker {
    /// Writes into an empty directory.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            brain: None,
            raft: None,
            #[cfg(feature = "blobs")]
            blobs: Some(BlobFilling::new(directory)),
            contents: Contents::default(),
        }
    }

    /// Leaves out the blobs.
    #[must_use]
    pub fn without_blobs(self) -> Self {
        #[cfg(feature = "blobs")]
        return Self { blobs: None, ..self };
        #[cfg(not(feature = "blobs"))]
        self
    }

    /// The content of all frames so far, in numbers.
    pub const fn contents(&self) -> Contents {
        self.contents
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] for what no backup has, [`BackupError::Blob`], [`BackupError::Store`], [`BackupError::Disk`].
    pub fn take(&mut self, frame: Frame) -> Result<(), BackupError> {
        let is_of_blob = matches!(
            frame,
            Frame::Blobs { .. }
                | Frame::Blob { .. }
                | Frame::BlobBytes { .. }
                | Frame::BlobEnd { .. }
                | Frame::BlobTag { .. }
        );
        if is_of_blob {
            return self.take_blobs(frame);
        }
        self.contents.count(&frame);
        match frame {
            Frame::File { name, bytes } => {
                if !BACKED_UP.contains(&name.as_str()) {
                    return Err(BackupError::Damaged("it has a file that no backup has"));
                }
                if bytes.len() as u64 > FILE_BYTES_MAX {
                    return Err(BackupError::Damaged("a file is too long"));
                }
                let path = self.directory.join(name);
                replace(&path, &bytes).map_err(BackupError::disk(&path))
            }
            Frame::Rows { store, table, rows } => {
                let table = Table::named(&table).ok_or(BackupError::Damaged("it has an unknown table"))?;
                let (filling, name) = match store {
                    StoreKind::Brain => (&mut self.brain, DataDir::STORE),
                    StoreKind::Raft => (&mut self.raft, DataDir::RAFT),
                };
                let filling = match filling {
                    Some(filling) => filling,
                    none => none.insert(Filling::new(&self.directory.join(name))?),
                };
                filling.take(table, &rows)
            }
            _ => Ok(()),
        }
    }

    #[cfg(feature = "blobs")]
    fn take_blobs(&mut self, frame: Frame) -> Result<(), BackupError> {
        let Some(blobs) = &mut self.blobs else { return Ok(()) };
        self.contents.count(&frame);
        blobs.take(frame)
    }

    #[cfg(not(feature = "blobs"))]
    #[expect(clippy::unused_self, clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "as with blobs")]
    fn take_blobs(&mut self, _: Frame) -> Result<(), BackupError> {
        // this program keeps none
        Ok(())
    }

    /// Completes the files.
    ///
    /// # Errors
    /// [`BackupError::Store`], [`BackupError::Damaged`] if nothing of a node was in it.
    pub fn finish(self) -> Result<Contents, BackupError> {
        let Some(brain) = self.brain else { return Err(BackupError::Damaged("it has no memory")) };
        brain.finish()?;
        self.raft.map_or(Ok(()), Filling::finish)?;
        #[cfg(feature = "blobs")]
        self.blobs.map_or(Ok(()), BlobFilling::finish)?;
        Ok(self.contents)
    }
}

/// A store that is being filled.
#[derive(Debug)]
struct Filling {
    store: Store,
    batch: Batch,
}

impl Filling {
    fn new(path: &Path) -> Result<Self, BackupError> {
        Ok(Self { store: Store::open(path, StoreOptions::default())?, batch: Batch::new() })
    }

    fn take(&mut self, table: Table, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), BackupError> {
        for (key, value) in rows {
            self.batch.put(table, key, value);
        }
        if self.batch.bytes() >= BATCH_BYTES {
            self.store.commit(&[std::mem::take(&mut self.batch)])?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), BackupError> {
        self.store.commit(&[self.batch])?;
        self.store.close();
        Ok(())
    }
}
