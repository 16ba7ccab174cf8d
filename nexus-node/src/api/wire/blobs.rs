//! Blobs.

use nexus_client::wire::{
    Blob, BlobCopies, BlobFetchProgress, BlobTransfer, BlobVerified, BlobsRemoved, BlobsVerifyProgress,
};
use nexus_identity::Did;

use crate::blobs;

pub(in crate::api) fn blob(entry: blobs::BlobEntry, providers: Vec<String>) -> Blob {
    let blobs::BlobEntry { hash, size, files, pinned, tags, copies, kept_for, damaged } = entry;
    let texts = |dids: Vec<Did>| dids.iter().map(ToString::to_string).collect();
    let copies =
        copies.map(|copies| BlobCopies { wanted: copies.wanted, count: copies.count, holders: texts(copies.holders) });
    let (hash, kept_for) = (hash.to_string(), texts(kept_for));
    Blob { hash, size, files, pinned, tags, copies, kept_for, damaged, providers }
}

impl From<blobs::VerifyProgress> for BlobsVerifyProgress {
    fn from(progress: blobs::VerifyProgress) -> Self {
        Self { bytes: progress.bytes, size: progress.size, damaged: progress.damaged }
    }
}

impl From<blobs::BlobVerified> for BlobVerified {
    fn from(verified: blobs::BlobVerified) -> Self {
        let blobs::BlobVerified { hash, parts, damaged, mended } = verified;
        Self { hash: hash.to_string(), parts, damaged, mended }
    }
}

impl From<&blobs::DirectoryProgress> for BlobFetchProgress {
    fn from(progress: &blobs::DirectoryProgress) -> Self {
        Self {
            bytes: progress.bytes,
            size: progress.size,
            files: progress.files,
            files_here: progress.files_here,
            sources: progress.sources.iter().map(ToString::to_string).collect(),
            lied: progress.lied.iter().map(ToString::to_string).collect(),
            damaged: progress.damaged.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<blobs::BlobTransfer> for BlobTransfer {
    fn from(transfer: blobs::BlobTransfer) -> Self {
        let progress = blobs::DirectoryProgress::of(&transfer.progress);
        Self { hash: transfer.hash.to_string(), progress: (&progress).into() }
    }
}

impl From<blobs::Collected> for BlobsRemoved {
    fn from(gone: blobs::Collected) -> Self {
        let hashes = gone.hashes.iter().map(ToString::to_string).collect();
        Self { blobs: gone.blobs, bytes: gone.bytes, hashes }
    }
}
