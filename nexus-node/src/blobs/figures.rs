//! Figures of the blobs of a node.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Blobs;
use super::shelf::RACKS;
use crate::error::NodeError;

/// Figures of the blobs of a node. Those that count begin with its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobFigures {
    /// The number of blobs that are here whole, with the files of directories.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of blobs that are being fetched, or wait for their turn.
    pub fetches: u64,
    /// The bytes of content that came from others and was verified.
    pub fetched_bytes: u64,
    /// The bytes of content that were read for others.
    pub served_bytes: u64,
    /// The answers to questions for a part that were something else than that part.
    pub bad_parts: u64,
}

/// The figures that are counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) fetched_bytes: AtomicU64,
    pub(super) served_bytes: AtomicU64,
    pub(super) bad_parts: AtomicU64,
}

impl Blobs {
    /// The figures of this moment. Looks at the name of each blob on the disk.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn figures(&self) -> Result<BlobFigures, NodeError> {
        let tally = &self.0.tally;
        let counted = BlobFigures {
            fetches: self.fetches().len() as u64,
            fetched_bytes: tally.fetched_bytes.load(Relaxed),
            served_bytes: tally.served_bytes.load(Relaxed),
            bad_parts: tally.bad_parts.load(Relaxed),
            ..BlobFigures::default()
        };
        self.blocking(move |blobs| {
            let mut figures = counted;
            for rack in 0..RACKS {
                for held in blobs.here().shelf.rack(rack)? {
                    figures.blobs += 1;
                    figures.bytes += held.info.size;
                }
            }
            Ok(figures)
        })
        .await
    }
}
