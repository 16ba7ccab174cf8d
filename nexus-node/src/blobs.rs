//! Blobs: files and other content of any size, by their hash, from whoever has them.
//!
//! A node keeps the blobs that it added or fetched, until they are removed. It hands them to every member that asks by
//! hash, and fetches from all connected members that have one at the same time. Each part is verified before it is
//! written: a member that sends something else is asked no more. [`nexus_blobs`] decides which part is asked of whom.
//!
//! | room | content |
//! |---|---|
//! | `shelf` | the content on the disk, whole and in parts |
//! | `wire` | the messages of `/nexus/blobs/1` |
//! | `serving` | answers to others |
//! | `fetching` | parts from others |

mod fetching;
mod serving;
mod shelf;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use nexus_blobs::{BadHash, BlobHash, FetchPeer};
use nexus_identity::Did;
use nexus_mesh::Mesh;
use nexus_mesh::ask::Asker;
use positioned_io::ReadAt;
use tokio::sync::{Semaphore, watch};

use self::shelf::Content;
pub(crate) use self::shelf::Shelf;
pub(crate) use self::wire::register;
use crate::error::{NodeError, Resource, StopError};
use crate::identity::Identity;
use crate::runtime::Sessions;
use crate::world::World;

/// The most parts that are read for others at a time: each takes 256 KiB of memory.
const SERVED_MAX: usize = 16;
/// The most blobs that are fetched at a time. Each has at most 16 MiB on its way.
const FETCHED_MAX: usize = 4;

/// The blobs of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

/// A blob of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct BlobInfo {
    /// Its name: the hash of its content.
    pub hash: BlobHash,
    /// Its size, in bytes.
    pub size: u64,
}

/// How far the fetch of a blob is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobProgress {
    /// The size of the blob in bytes, once it is proven.
    pub size: Option<u64>,
    /// The bytes of it that are here and verified.
    pub bytes: u64,
    /// The members that were asked, each with the parts that came from it.
    pub sources: Vec<FetchPeer<Did>>,
}

/// The content of a blob, to be read. It stays readable if the blob is removed meanwhile.
#[derive(Debug)]
pub struct BlobReader {
    content: Content,
    info: BlobInfo,
    at: u64,
}

pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shelf: Shelf,
}

struct Inner {
    here: Handles,
    asker: Asker<wire::Envelope>,
    /// The fetches that run. Whoever wants a blob that is being fetched waits for the same one.
    fetches: Mutex<BTreeMap<BlobHash, watch::Receiver<BlobProgress>>>,
    serving: Semaphore,
    fetching: Arc<Semaphore>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("shelf", &self.here.shelf).finish_non_exhaustive()
    }
}

impl Blobs {
    pub(crate) fn new(here: Handles) -> Self {
        let asker = wire::asker(here.mesh.clone(), &here.world);
        let (serving, fetching) = (Semaphore::new(SERVED_MAX), Arc::new(Semaphore::new(FETCHED_MAX)));
        Self(Arc::new(Inner { here, asker, fetches: Mutex::default(), serving, fetching }))
    }

    fn here(&self) -> &Handles {
        &self.0.here
    }

    fn fetches(&self) -> MutexGuard<'_, BTreeMap<BlobHash, watch::Receiver<BlobProgress>>> {
        self.0.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps content under its hash. It is on the disk once this returns. The same content is kept once.
    ///
    /// # Errors
    /// Those of reading, as [`NodeError::Store`], and those of the disk; [`NodeError::Stopping`].
    pub async fn add(&self, content: impl Read + Send + 'static) -> Result<BlobInfo, NodeError> {
        self.blocking(move |blobs| blobs.here().shelf.add(content)).await
    }

    /// The blobs that are here whole, by hash.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn list(&self) -> Result<Vec<BlobInfo>, NodeError> {
        self.blocking(|blobs| blobs.here().shelf.list()).await
    }

    /// A blob that is here whole; `None` if it is not.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn info(&self, hash: BlobHash) -> Result<Option<BlobInfo>, NodeError> {
        self.blocking(move |blobs| blobs.here().shelf.info(hash)).await
    }

    /// The content of a blob that is here.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if it is not here whole: [`Blobs::fetch`] gets it. Those of the disk;
    /// [`NodeError::Stopping`].
    pub async fn read(&self, hash: BlobHash) -> Result<BlobReader, NodeError> {
        let open = move |blobs: &Self| match blobs.here().shelf.content_of(hash)? {
            Some((content, size)) => Ok(BlobReader { content, info: BlobInfo { hash, size }, at: 0 }),
            None => Err(missing(hash)),
        };
        self.blocking(open).await
    }

    /// Removes a blob, and what is here of one that was not fetched to its end. Returns whether there was any.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn remove(&self, hash: BlobHash) -> Result<bool, NodeError> {
        self.blocking(move |blobs| blobs.here().shelf.remove(hash)).await
    }

    /// Gets a blob from the members that have it. It is on the disk once this returns. A fetch that was cut off goes on
    /// where it was.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has had it for so long. [`NodeError::TimedOut`] if whoever has it sent
    /// nothing for as long, and for two minutes at least. Those of the disk; [`NodeError::Stopping`].
    pub async fn fetch(&self, hash: BlobHash, wait: Duration) -> Result<BlobInfo, NodeError> {
        self.fetch_with(hash, wait, |_| {}).await
    }

    /// [`Blobs::fetch`], which tells how far it is. Of several callers for the same blob each is told.
    ///
    /// # Errors
    /// As [`Blobs::fetch`].
    pub async fn fetch_with(
        &self,
        hash: BlobHash,
        wait: Duration,
        told: impl Fn(&BlobProgress) + Send,
    ) -> Result<BlobInfo, NodeError> {
        loop {
            let (progress, seen) = watch::channel(BlobProgress::default());
            let running = {
                let mut fetches = self.fetches();
                let running = fetches.get(&hash).cloned();
                if running.is_none() {
                    fetches.insert(hash, seen);
                }
                running
            };
            match running {
                // it closes with the other's fetch, however that ends
                Some(mut others) => {
                    while others.changed().await.is_ok() {
                        told(&others.borrow_and_update().clone());
                    }
                }
                None => {
                    let _ended = Ended { blobs: self, hash };
                    return match self.info(hash).await? {
                        Some(info) => Ok(info),
                        None => self.run_fetch(hash, wait, progress, &told).await,
                    };
                }
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let blobs = self.clone();
        self.here().world.blocking(move || work(&blobs)).await?
    }
}

/// The end of a fetch, also of one that is dropped.
struct Ended<'a> {
    blobs: &'a Blobs,
    hash: BlobHash,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.blobs.fetches().remove(&self.hash);
    }
}

fn missing(hash: BlobHash) -> NodeError {
    NodeError::NotFound { what: Resource::Blob, name: hash.to_string() }
}

impl BlobReader {
    /// The blob.
    pub const fn info(&self) -> BlobInfo {
        self.info
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read_at(self.at, buf)?;
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

/// The node ended while a blob was asked for.
const fn stopped() -> NodeError {
    NodeError::Stopping(StopError::Stopped)
}

#[cfg(test)]
mod tests;
