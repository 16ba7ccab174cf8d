use super::{Frame, StoreKind};
use crate::datadir::DataDir;
use crate::store::Table;

/// The content of a backup, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The entries of all logs.
    pub entries: u64,
    /// The rows of both stores.
    pub rows: u64,
    /// The blobs.
    pub blobs: u64,
    /// The bytes of the blobs.
    pub blob_bytes: u64,
    /// Whether the identity key is in it.
    pub identity: bool,
    /// Whether the mesh's root key is in it.
    pub root: bool,
}

impl Contents {
    /// Counts a frame.
    pub fn count(&mut self, frame: &Frame) {
        match frame {
            Frame::File { name, .. } => {
                self.identity |= name == DataDir::IDENTITY;
                self.root |= name == DataDir::ROOT;
            }
            Frame::Rows { store, table, rows } => {
                self.rows += rows.len() as u64;
                if *store == StoreKind::Brain && table == Table::Entries.name() {
                    self.entries += rows.len() as u64;
                }
            }
            Frame::BlobBytes { bytes } => self.blob_bytes += bytes.len() as u64,
            Frame::BlobEnd { is_whole } => self.blobs += u64::from(*is_whole),
            Frame::Head(_) | Frame::End { .. } | Frame::Blobs { .. } | Frame::Blob { .. } | Frame::BlobTag { .. } => {}
        }
    }
}
