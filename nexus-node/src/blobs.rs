//! Blobs: files and other content of any size, by their hash, from whoever has them.
//!
//! A node keeps the blobs that it added. Those that it fetched stay until room is made. It hands them to every member that
//! asks by hash, and fetches from all connected members that have one at the same time. Each part is verified before it is
//! written: a member that sends something else is asked no more. [`nexus_blobs`] decides which part is asked of whom.
//!
//! | room | content |
//! |---|---|
//! | `shelf` | the content on the disk, whole and in parts |
//! | `content` | adding and reading |
//! | `keeping` | pins, tags and directories |
//! | `copies` | copies that others keep, and those kept for them |
//! | `archive` | the blobs of a backup, and those that come from one |
//! | `using` | blobs that stay for now |
//! | `collecting` | the removal of those that nothing keeps |
//! | `evicting` | the bound of those that nothing keeps |
//! | `tree` | directories of a disk |
//! | `damage` | damaged parts: noted, mended, looked for |
//! | `figures` | figures for those who watch |
//! | `sharing` | content that shares its blocks with another file |
//! | `steady` | a file that is added while nobody changes it |
//! | `wire` | the messages of `/nexus/blobs/1` |
//! | `serving` | answers to others |
//! | `fetching`, `directory` | parts from others, and the files of a directory |

mod archive;
mod collecting;
mod content;
mod copies;
mod damage;
mod directory;
mod evicting;
mod fetching;
mod figures;
mod keeping;
mod serving;
mod sharing;
mod shelf;
mod steady;
mod tree;
mod using;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use nexus_blobs::{BadCollection, BadHash, BlobHash, Collection, CollectionFile, FetchPeer, FileKind};
use nexus_identity::Did;
use nexus_mesh::Mesh;
use nexus_mesh::ask::Asker;
use tokio::sync::{Notify, Semaphore, watch};

pub(crate) use self::archive::{Archive, CopyError, Part, ShelfCopy};
pub use self::collecting::Collected;
pub use self::content::{BlobReader, BlobWriter};
pub use self::copies::BlobCopies;
use self::copies::CopyDesk;
pub use self::damage::{BlobVerified, BlobsToVerify, VerifyProgress};
pub use self::directory::DirectoryProgress;
pub use self::figures::BlobFigures;
use self::figures::Tally;
pub use self::keeping::{BlobEntry, BlobPage, Keep, TAG_BYTES_MAX};
pub use self::sharing::{BlobOffer, BlobsBeside};
pub use self::shelf::MemoryBlobs;
pub(crate) use self::shelf::Shelf;
pub use self::steady::{FileChanged, FileStamp, SteadyFile};
pub use self::tree::{BadTree, Found, Links, Unpacker, walk};
pub(crate) use self::using::InUse;
pub(crate) use self::wire::register;
use crate::error::{NodeError, Resource, StopError};
use crate::headroom::{Files, Headroom, Room};
use crate::identity::Identity;
use crate::recent::Recent;
use crate::runtime::Sessions;
use crate::store::StoreError;
use crate::world::World;

/// The most parts that are read for others at a time: each takes 256 KiB of memory.
const SERVED_MAX: usize = 16;
/// The most blobs that are fetched at a time. Together they have at most 16 MiB on their way.
const FETCHED_MAX: usize = nexus_blobs::IN_FLIGHT_MAX;

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
    /// The members that say that their own copy is damaged.
    pub damaged: Vec<Did>,
}

/// A blob that is being fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobTransfer {
    /// Its name.
    pub hash: BlobHash,
    /// How far it is.
    pub progress: BlobProgress,
}

/// Something that happened to a blob of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobNews {
    /// Its name.
    pub hash: BlobHash,
    /// The change.
    pub change: BlobChange,
}

/// A change of a blob of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobChange {
    /// It was added here.
    Added,
    /// It came from other members, whole.
    Fetched,
    /// It was removed.
    Removed,
    /// The disk damaged a part of it.
    Damaged,
}

impl BlobChange {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Fetched => "fetched",
            Self::Removed => "removed",
            Self::Damaged => "damaged",
        }
    }
}

pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shelf: Shelf,
    pub(crate) headroom: Headroom,
    /// Tells to which blobs entries refer.
    pub(crate) attached: Attached,
    /// Tells whether a member may have a blob.
    pub(crate) may_have: MayHave,
    /// The bytes of blobs that are kept for each other member.
    pub(crate) kept_for_each: u64,
}

/// Those of some blobs to which an entry refers: `gc` leaves them.
pub(crate) type Attached = Box<dyn Fn(&[BlobHash]) -> Result<BTreeSet<BlobHash>, StoreError> + Send + Sync>;

/// The blobs that a member may have, of those that are named, by the spaces whose entries refer to them.
pub(crate) type MayHave = Box<dyn Fn(&Did, &[BlobHash]) -> Result<BTreeSet<BlobHash>, StoreError> + Send + Sync>;

struct Inner {
    here: Handles,
    asker: Asker<wire::Envelope>,
    /// The fetches that run. Whoever wants a blob that is being fetched waits for the same one.
    fetches: Mutex<BTreeMap<BlobHash, Joined>>,
    serving: Semaphore,
    fetching: Arc<Semaphore>,
    /// Held while something is kept, and while something is removed.
    gate: Mutex<()>,
    /// Told after each fetch.
    fetched: Notify,
    /// Counts the blobs that were kept.
    changes: AtomicU64,
    /// The blobs in use, each with the number of its uses.
    used: Mutex<BTreeMap<BlobHash, usize>>,
    desk: CopyDesk,
    tally: Tally,
    /// The number of damaged parts of each blob that has some, as far as it is known.
    damage: Mutex<BTreeMap<BlobHash, u64>>,
    /// Told after damage was found.
    damage_noted: Notify,
    /// The last changes of blobs of this node.
    recent: Recent<BlobNews>,
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
        let (gate, changes, used) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        let fetched = Notify::new();
        Self(Arc::new(Inner {
            here,
            asker,
            fetches: Mutex::default(),
            serving,
            fetching,
            gate,
            fetched,
            changes,
            used,
            desk: CopyDesk::default(),
            tally: Tally::default(),
            damage: Mutex::default(),
            damage_noted: Notify::new(),
            recent: Recent::default(),
        }))
    }

    fn here(&self) -> &Handles {
        &self.0.here
    }

    fn fetches(&self) -> MutexGuard<'_, BTreeMap<BlobHash, Joined>> {
        self.0.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob that is here whole; `None` if it is not, or if it is known that parts of it are damaged.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn info(&self, hash: BlobHash) -> Result<Option<BlobInfo>, NodeError> {
        self.blocking(move |blobs| blobs.info_now(hash)).await
    }

    pub(super) fn info_now(&self, hash: BlobHash) -> Result<Option<BlobInfo>, NodeError> {
        let info = self.here().shelf.info(hash)?;
        Ok(if info.is_some() && self.damage_of(hash)?.is_some() { None } else { info })
    }

    /// Gets a blob from the members that have it. It is on the disk once this returns. A fetch that was cut off goes on
    /// where it was.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has had it for so long. [`NodeError::TimedOut`] if whoever has it sent
    /// nothing for as long, and for two minutes at least. [`NodeError::BlobDamaged`] if only members with a damaged copy have
    /// it. Those of the disk; [`NodeError::Stopping`].
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
        let wanted = Wanted::of(wait, nexus_blobs::BLOB_BYTES_MAX);
        self.fetch_known(hash, wanted, told).await
    }

    async fn fetch_known(
        &self,
        hash: BlobHash,
        wanted: Wanted,
        told: impl Fn(&BlobProgress) + Send,
    ) -> Result<BlobInfo, NodeError> {
        loop {
            let (seen, shown) = watch::channel(Seen::default());
            let (bounds, mosts) = watch::channel(vec![wanted.most]);
            let running = {
                let mut fetches = self.fetches();
                let running = fetches.get(&hash).cloned();
                if running.is_none() {
                    fetches.insert(hash, Joined { shown, bounds });
                }
                running
            };
            match running {
                Some(running) => self.wait_for(running, hash, &wanted, &told).await?,
                None => {
                    let place = Fetching { blobs: self.clone(), hash, seen };
                    return match self.info(hash).await? {
                        Some(info) => Ok(info),
                        None => self.run_fetch(place, mosts, wanted, &told).await,
                    };
                }
            }
        }
    }

    /// Waits for the end of a fetch that runs for somebody else, as long as it would wait itself while nobody has the
    /// blob.
    async fn wait_for(
        &self,
        running: Joined,
        hash: BlobHash,
        wanted: &Wanted,
        told: &(impl Fn(&BlobProgress) + Send),
    ) -> Result<(), NodeError> {
        let Joined { mut shown, bounds } = running;
        // a member may have wanted a copy of it, of a wrong size
        let _bound = Bound::add(bounds, wanted.most);
        let world = &self.here().world;
        // those that were too large for it are asked again
        let patience = wanted.wait.max(fetching::WANT_WITHIN);
        let mut ends = None;
        loop {
            let seen = shown.borrow_and_update().clone();
            told(&seen.progress);
            ends = if seen.somebody { None } else { ends.or_else(|| Some(world.now() + patience)) };
            tokio::select! {
                // it closes with the other's fetch, however that ends
                changed = shown.changed() => if changed.is_err() { return Ok(()) },
                () = world.sleep_until(ends.unwrap_or_default()), if ends.is_some() => return Err(missing(hash)),
            }
        }
    }

    /// The blobs that are being fetched now, by hash.
    pub fn transfers(&self) -> Vec<BlobTransfer> {
        let fetches = self.fetches();
        let transfer = |(hash, running): (&BlobHash, &Joined)| BlobTransfer {
            hash: *hash,
            progress: running.shown.borrow().progress.clone(),
        };
        fetches.iter().map(transfer).collect()
    }

    /// The last changes of blobs of this node.
    pub(crate) fn recent(&self) -> &Recent<BlobNews> {
        &self.0.recent
    }

    /// Tells readers of events. Waits for nobody.
    fn tell(&self, hash: BlobHash, change: BlobChange) {
        self.0.recent.note(BlobNews { hash, change });
    }

    /// Whether a blob is in use or being fetched.
    fn is_used(&self, hash: BlobHash) -> bool {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&hash);
        used || self.fetches().contains_key(&hash)
    }

    /// Whether the disk has room. May block for a moment.
    fn room(&self) -> Result<(), NodeError> {
        let headroom = &self.here().headroom;
        if headroom.look(self.here().world.now()) == Room::All { Ok(()) } else { Err(headroom.refusal().into()) }
    }

    /// Whether the node's files are in their places, so that what was written lasts. May block for a moment.
    fn lasts(&self) -> Result<(), NodeError> {
        self.here().headroom.look_at_files(Files::All).map_or(Ok(()), |gone| Err(gone.into()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let blobs = self.clone();
        self.here().world.blocking(move || work(&blobs)).await?
    }
}

/// A blob that is wanted.
struct Wanted {
    /// The time for which a fetch goes on while nobody has it.
    wait: Duration,
    /// The largest size of it.
    most: u64,
    /// The members that are known to have it, and its size as each of them says.
    holders: Vec<(Did, u64)>,
    /// The bytes that it shares with others that are fetched.
    budget: Option<Arc<Budget>>,
}

impl Wanted {
    /// A blob of at most so many bytes.
    const fn of(wait: Duration, most: u64) -> Self {
        Self { wait, most, holders: Vec::new(), budget: None }
    }
}

/// The bytes that may still come. A size counts once it is proven: a member that only claims one takes nothing from it.
#[derive(Debug)]
struct Budget(AtomicU64);

impl Budget {
    /// Takes the bytes of a blob out. Returns whether there were so many.
    fn take(&self, bytes: u64) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The place of a fetch among those that run. Nobody else fetches the blob until it is dropped.
struct Fetching {
    blobs: Blobs,
    hash: BlobHash,
    seen: watch::Sender<Seen>,
}

/// A fetch that runs, for those who want the same blob.
#[derive(Clone)]
struct Joined {
    shown: watch::Receiver<Seen>,
    /// The largest size that each of those who wait for it takes. The largest of them counts.
    bounds: watch::Sender<Vec<u64>>,
}

/// The bound of one who waits for the fetch of another. It counts until it is dropped.
struct Bound {
    bounds: watch::Sender<Vec<u64>>,
    most: u64,
}

impl Bound {
    fn add(bounds: watch::Sender<Vec<u64>>, most: u64) -> Self {
        bounds.send_modify(|bounds| bounds.push(most));
        Self { bounds, most }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.bounds.send_modify(|bounds| {
            if let Some(at) = bounds.iter().position(|most| *most == self.most) {
                bounds.swap_remove(at);
            }
        });
    }
}

/// How far a fetch is.
#[derive(Clone, Default)]
struct Seen {
    progress: BlobProgress,
    /// Whether somebody can be asked for it.
    somebody: bool,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.blobs.fetches().remove(&self.hash);
    }
}

fn missing(hash: BlobHash) -> NodeError {
    NodeError::NotFound { what: Resource::Blob, name: hash.to_string() }
}

/// The node ended while a blob was asked for.
const fn stopped() -> NodeError {
    NodeError::Stopping(StopError::Stopped)
}

#[cfg(test)]
mod tests;
