//! Blobs that are in use: nothing removes them, whether they are here already or come meanwhile.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use nexus_blobs::BlobHash;

use super::Blobs;
use super::keeping::Keep;
use crate::error::NodeError;

/// Blobs that stay until this is dropped.
pub(crate) struct InUse {
    blobs: Blobs,
    hashes: BTreeSet<BlobHash>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = self.blobs.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in &self.hashes {
            if let Some(count) = used.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    used.remove(hash);
                }
            }
        }
    }
}

impl Blobs {
    pub(super) fn use_all(&self, hashes: impl Iterator<Item = BlobHash>) -> InUse {
        let hashes: BTreeSet<BlobHash> = hashes.collect();
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in &hashes {
            *used.entry(*hash).or_default() += 1;
        }
        drop(used);
        InUse { blobs: self.clone(), hashes }
    }

    /// Puts content here to which an entry will refer. It is in use until that entry is written: nothing else keeps it
    /// before.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::DiskFull`]; [`NodeError::Stopping`].
    pub(crate) async fn attach(&self, content: &[u8]) -> Result<(BlobHash, InUse), NodeError> {
        let in_use = self.use_all(std::iter::once(BlobHash::of(content)));
        let mut writer = self.writer(Keep::Cached).await?;
        writer.write(content).await?;
        Ok((writer.finish().await?.hash, in_use))
    }
}
