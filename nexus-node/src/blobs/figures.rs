//! Figures of the blobs of a node.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};

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
    /// The number of blobs of which the disk damaged parts.
    pub damaged: u64,
    /// The number of blobs that were damaged and are whole again.
    pub mended: u64,
}

/// The figures that are counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) fetched_bytes: AtomicU64,
    pub(super) served_bytes: AtomicU64,
    pub(super) bad_parts: AtomicU64,
    pub(super) mended: AtomicU64,
    /// The number of times that content came or went.
    moves: AtomicU64,
    /// The blobs that were counted, and the moves until then.
    counted: Mutex<Option<(u64, Counted)>>,
}

/// The blobs that are here, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    blobs: u64,
    bytes: u64,
}

impl Blobs {
    /// The figures of this moment. Looks at each blob on the disk if one came or went since the last time.
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
            damaged: self.damaged().len() as u64,
            mended: tally.mended.load(Relaxed),
            ..BlobFigures::default()
        };
        let Counted { blobs, bytes } = self.blocking(Self::count).await?;
        Ok(BlobFigures { blobs, bytes, ..counted })
    }

    fn count(&self) -> Result<Counted, NodeError> {
        let tally = &self.0.tally;
        // held while they are counted: several who ask at once wait for one count
        let mut known = tally.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let moves = tally.moves.load(Acquire);
        if let Some((until, counted)) = *known
            && until == moves
        {
            return Ok(counted);
        }
        let mut counted = Counted::default();
        for rack in 0..RACKS {
            for held in self.here().shelf.rack(rack)? {
                counted.blobs += 1;
                counted.bytes += held.info.size;
            }
        }
        *known = Some((moves, counted));
        Ok(counted)
    }

    /// Has the blobs counted again. To be called after content came or went.
    pub(super) fn content_moved(&self) {
        self.0.tally.moves.fetch_add(1, Release);
    }
}
