//! Directories from other members: the blob of links, the names, and then the files, several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use nexus_blobs::{BadCollection, BlobHash, Collection, LINKS_BYTES_MAX, NAMES_BYTES_MAX};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::keeping::{BlobEntry, Keep};
use super::wire::WANTED_MAX;
use super::{BlobProgress, Blobs, Budget, FetchPeer, Wanted, missing};
use crate::error::{InputError, NodeError};

/// The most files of a directory that are fetched at a time.
const FILES_AT_ONCE: usize = 32;

/// How far the fetch of a directory, or of one file, is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryProgress {
    /// The number of its files, once it is known. Of one file it is 1.
    pub files: Option<u64>,
    /// The number of files that are here.
    pub files_here: u64,
    /// The bytes of its content, as those who have it say.
    pub size: Option<u64>,
    /// The bytes of it that are here and verified.
    pub bytes: u64,
    /// The members from which some of it came.
    pub sources: BTreeSet<Did>,
    /// The members that sent something else, or claimed a wrong size.
    pub lied: BTreeSet<Did>,
    /// The members that say that their own copy is damaged.
    pub damaged: BTreeSet<Did>,
}

impl DirectoryProgress {
    /// The progress of one file.
    pub(crate) fn of(progress: &BlobProgress) -> Self {
        let that = |wanted: fn(&FetchPeer<Did>) -> bool| {
            progress.sources.iter().filter(|source| wanted(source)).map(|source| source.peer).collect()
        };
        Self {
            files: Some(1),
            files_here: 0,
            size: progress.size,
            bytes: progress.bytes,
            sources: that(|source| source.parts > 0),
            lied: that(|source| source.lied),
            damaged: progress.damaged.iter().copied().collect(),
        }
    }
}

/// The extent of a blob with all that belongs to it, as somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    /// The number of files of a directory; 0 for a file.
    pub(super) files: u64,
}

impl Extent {
    /// The bytes of the blob itself: of a directory 32 for each file and for the names.
    fn root_max(self) -> u64 {
        match self.files {
            0 => self.bytes,
            files => files.saturating_add(1).saturating_mul(32).min(LINKS_BYTES_MAX),
        }
    }

    /// The bytes of the names: 4 KiB for each, as long as a path may be.
    fn names_max(self) -> u64 {
        self.files.saturating_add(1).saturating_mul(4 << 10).min(NAMES_BYTES_MAX)
    }
}

/// The error for something that is more than somebody said.
pub(super) fn too_large(what: &'static str, bytes: u64, max: u64) -> NodeError {
    let [bytes, max] = [bytes, max].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    NodeError::TooLarge { what, bytes, max }
}

/// The sum of the files that are being fetched.
struct Sum {
    progress: DirectoryProgress,
    /// The bytes that are here of each file.
    each: BTreeMap<BlobHash, u64>,
}

impl Blobs {
    /// Gets a blob as [`Blobs::fetch`] does; if it is a directory, with all its files. Tells how far it is.
    ///
    /// # Errors
    /// As [`Blobs::fetch`]; files that came stay here for the next try.
    pub async fn fetch_all(
        &self,
        hash: BlobHash,
        wait: Duration,
        told: impl Fn(&DirectoryProgress) + Send + Sync,
    ) -> Result<BlobEntry, NodeError> {
        self.fetch_within(hash, wait, None, told).await
    }

    /// The same for a blob of a known extent. No more is fetched, whatever others claim.
    pub(super) async fn fetch_within(
        &self,
        hash: BlobHash,
        wait: Duration,
        most: Option<Extent>,
        told: impl Fn(&DirectoryProgress) + Send + Sync,
    ) -> Result<BlobEntry, NodeError> {
        let _root_in_use = self.use_all(std::iter::once(hash));
        let links = most.map_or(nexus_blobs::BLOB_BYTES_MAX, Extent::root_max);
        let wanted = Wanted::of(wait, links);
        let root = self.fetch_known(hash, wanted, |progress| told(&DirectoryProgress::of(progress))).await?;
        let entry = self.entry_here(hash).await?;
        if most.is_some_and(|most| most.files == 0) {
            return Ok(entry);
        }
        let is_whole = self.blocking(move |blobs| Ok(blobs.has_whole_files(hash))).await?;
        if entry.files.is_some() && is_whole {
            return Ok(entry);
        }
        let names_max = most.map_or(NAMES_BYTES_MAX, Extent::names_max);
        let found = self.directory_of(hash, root.size, names_max).await?;
        let Some((names, collection)) = found else { return Ok(entry) };
        let count = collection.files().len() as u64;
        if let Some(most) = most.filter(|most| count > most.files) {
            return Err(too_large("the number of files", count, most.files));
        }
        let files: BTreeSet<BlobHash> = collection.files().iter().map(|file| file.hash).collect();
        let in_use = files.iter().copied().filter(|_| !planted("gc_takes_what_is_fetched")).chain([names]);
        let _files_in_use = self.use_all(in_use);
        self.fetch_files(&files, wait, most, &told).await?;
        self.keep_directory(hash, Keep::Cached).await
    }

    /// The members that have these blobs, as they say within some seconds, each with the size.
    pub async fn holders(&self, hashes: &[BlobHash]) -> BTreeMap<BlobHash, Vec<(Did, u64)>> {
        let mut holders: BTreeMap<BlobHash, Vec<(Did, u64)>> = BTreeMap::new();
        let mut asks = Vec::new();
        for peer in self.able() {
            for some in hashes.chunks(WANTED_MAX) {
                let (blobs, some) = (self.clone(), some.to_vec());
                asks.push(async move { (peer, blobs.sizes_at(peer, &some).await, some) }.boxed());
            }
        }
        let mut said = futures::stream::iter(asks).buffer_unordered(FILES_AT_ONCE);
        while let Some((peer, sizes, some)) = said.next().await {
            for (hash, size) in some.into_iter().zip(sizes.unwrap_or_default()) {
                if let Some(size) = size {
                    holders.entry(hash).or_default().push((peer, size));
                }
            }
        }
        holders
    }

    async fn entry_here(&self, hash: BlobHash) -> Result<BlobEntry, NodeError> {
        self.entry(hash).await?.ok_or_else(|| missing(hash))
    }

    /// The directory of a blob that is here, with the hash of its names; `None` if it is a file. The names are fetched
    /// from those who have the blob.
    async fn directory_of(
        &self,
        hash: BlobHash,
        size: u64,
        names_max: u64,
    ) -> Result<Option<(BlobHash, Collection)>, NodeError> {
        if !Collection::may_be_links(size) {
            return Ok(None);
        }
        let links = self.blocking(move |blobs| blobs.small(hash, LINKS_BYTES_MAX)).await?;
        let Ok(names) = Collection::names_of(&links) else { return Ok(None) };
        if self.info(names).await?.is_none() {
            let wanted = Wanted::of(Duration::ZERO, names_max);
            match self.fetch_known(names, wanted, |_| {}).await {
                // a file whose first bytes are no hash of anything
                Err(NodeError::NotFound { .. }) => return Ok(None),
                other => other.map(drop)?,
            }
        }
        self.blocking(move |blobs| match blobs.collection(hash) {
            Ok(collection) => Ok(Some((names, collection))),
            Err(NodeError::Invalid(InputError::Directory(BadCollection::Foreign | BadCollection::TooLarge)))
                if !blobs.has_names(names)? =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        })
        .await
    }

    /// Whether a blob that is here begins as names do.
    fn has_names(&self, hash: BlobHash) -> Result<bool, NodeError> {
        let size = self.here().shelf.info(hash)?.map_or(0, |info| info.size);
        Ok(size <= NAMES_BYTES_MAX && Collection::is_names(&self.small(hash, NAMES_BYTES_MAX)?))
    }

    async fn fetch_files(
        &self,
        hashes: &BTreeSet<BlobHash>,
        wait: Duration,
        most: Option<Extent>,
        told: &(impl Fn(&DirectoryProgress) + Send + Sync),
    ) -> Result<(), NodeError> {
        let all: Vec<BlobHash> = hashes.iter().copied().collect();
        let looked = self.blocking(move |blobs| {
            let look = |hash: &BlobHash| Ok((*hash, blobs.info_now(*hash)?));
            all.iter().map(look).collect::<Result<Vec<_>, NodeError>>()
        });
        let (here, lacks): (Vec<_>, Vec<_>) = looked.await?.into_iter().partition(|(_, info)| info.is_some());
        let lacks: Vec<BlobHash> = lacks.into_iter().map(|(hash, _)| hash).collect();
        let mut holders = self.holders(&lacks).await;
        let bytes: u64 = here.iter().filter_map(|(_, info)| *info).map(|info| info.size).sum();
        // only proven sizes count: else a member that claims large ones could keep others from the directory
        let left =
            most.map(|most| most.bytes.checked_sub(bytes).ok_or_else(|| too_large("the directory", bytes, most.bytes)));
        let budget = left.transpose()?.map(|left| Arc::new(Budget(AtomicU64::new(left))));
        let claimed = holders.values().filter_map(|said| said.first()).map(|(_, size)| *size);
        let progress = DirectoryProgress {
            files: Some(hashes.len() as u64),
            files_here: here.len() as u64,
            size: Some(claimed.fold(bytes, u64::saturating_add)),
            bytes,
            ..DirectoryProgress::default()
        };
        told(&progress);
        let sum = Mutex::new(Sum { progress, each: BTreeMap::new() });
        let (mut lacks, mut running) = (lacks.into_iter(), FuturesUnordered::new());
        loop {
            while running.len() < FILES_AT_ONCE {
                let Some(hash) = lacks.next() else { break };
                let holders = holders.remove(&hash).unwrap_or_default();
                let most = budget.as_ref().map_or(nexus_blobs::BLOB_BYTES_MAX, |budget| budget.left());
                let wanted = Wanted { holders, budget: budget.clone(), ..Wanted::of(wait, most) };
                running.push(self.fetch_file(hash, wanted, &sum, told).boxed());
            }
            match running.next().await {
                Some(end) => end?,
                None => return Ok(()),
            }
        }
    }

    async fn fetch_file(
        &self,
        hash: BlobHash,
        wanted: Wanted,
        sum: &Mutex<Sum>,
        told: &(impl Fn(&DirectoryProgress) + Send + Sync),
    ) -> Result<(), NodeError> {
        let note = |one: DirectoryProgress, is_here: bool| {
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            let before = sum.each.insert(hash, one.bytes).unwrap_or(0);
            let all = &mut sum.progress;
            all.bytes = (all.bytes + one.bytes).saturating_sub(before);
            all.sources.extend(one.sources);
            all.lied.extend(one.lied);
            all.files_here += u64::from(is_here);
            told(all);
        };
        let info = self.fetch_known(hash, wanted, |progress| note(DirectoryProgress::of(progress), false)).await?;
        note(DirectoryProgress { bytes: info.size, ..DirectoryProgress::default() }, true);
        Ok(())
    }
}
