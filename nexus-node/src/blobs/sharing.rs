//! Content that shares its blocks with another file, where the file system can do that.
//!
//! A clone is a file of its own with the blocks of another one; a write to either of them copies what it changes. The file
//! systems btrfs and xfs have clones. Everywhere else content is copied.
//!
//! A program beside its node clones with its own rights: from its file into the node's directory, and from there into its
//! file. So the node opens no path that a caller names, and reads nothing that the caller cannot read.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_blobs::BlobHash;
use nexus_identity::Timestamp;

use super::keeping::Keep;
use super::shelf::DiskShelf;
use super::steady::SteadyFile;
use super::{BlobInfo, Blobs};
use crate::error::{ConflictError, NodeError};

/// The smallest file that a program shares with its node. A smaller one is sent, which costs as much.
const SHARED_BYTES_MIN: u64 = 64 * 1024;

/// The blobs of a data directory, for a program of the same account beside its node.
#[derive(Debug)]
pub struct BlobsBeside {
    shelf: DiskShelf,
    /// The file system does not share between the two places.
    is_apart: AtomicBool,
}

/// A clone in a node's directory. It is removed when it is dropped, unless the node took it.
#[derive(Debug)]
pub struct BlobOffer {
    name: String,
    path: PathBuf,
}

impl BlobsBeside {
    /// The blobs of a data directory. Nothing is opened or made.
    pub fn of(data_dir: &Path) -> Self {
        Self { shelf: DiskShelf::at_rest(crate::datadir::blobs_in(data_dir)), is_apart: AtomicBool::new(false) }
    }

    /// Offers the content of a file to the node, without a copy. `None` if that cannot be done, or has no use: then the
    /// content is sent. After the first file that cannot be shared no other one is tried.
    pub fn offer(&self, content: &File) -> Option<BlobOffer> {
        let about = content.metadata().ok()?;
        if !about.is_file() || about.len() < SHARED_BYTES_MIN || self.is_apart.load(Ordering::Relaxed) {
            return None;
        }
        // a directory that the administrator's account makes there would be closed to the node
        if !self.shelf.is_of_this_account() {
            return None;
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let name = data_encoding::HEXLOWER.encode(&random);
        let (file, path) = self.shelf.new_offer(&name).ok()?;
        let offer = BlobOffer { name, path };
        let is_shared = share(content, &file).unwrap_or(false);
        self.is_apart.store(!is_shared, Ordering::Relaxed);
        is_shared.then_some(offer)
    }

    /// Lets an empty file share the content of a blob that is here whole, and verifies all of it there. Returns whether it
    /// does; if not, the file is empty.
    ///
    /// # Errors
    /// Those of reading the clone, and of emptying it again.
    pub fn write_to(&self, hash: BlobHash, mut to: &File, now: Timestamp) -> io::Result<bool> {
        if self.is_apart.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let Ok(Some((content, about))) = self.shelf.open_content(hash, now) else { return Ok(false) };
        if about.len() < SHARED_BYTES_MIN {
            return Ok(false);
        }
        let is_shared = share(&content, to)?;
        self.is_apart.store(!is_shared, Ordering::Relaxed);
        if is_shared {
            // the clone, not the blob: it is the one that stays
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(to)?;
            if hasher.finalize().as_bytes() == hash.as_bytes() {
                return Ok(true);
            }
            to.set_len(0)?;
            to.rewind()?;
        }
        Ok(false)
    }
}

impl BlobOffer {
    /// The name under which the node finds it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for BlobOffer {
    fn drop(&mut self) {
        // it has another name once the node took it
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Blobs {
    /// Keeps the content of a file under its hash, pinned. It shares the file's blocks where the file system can do that, and
    /// is a copy elsewhere. A file that somebody changes meanwhile is refused, and nothing of it is kept.
    ///
    /// # Errors
    /// As [`Blobs::add`], and those of opening the file; [`ConflictError::FileChanged`].
    pub async fn add_file(&self, path: impl Into<PathBuf>) -> Result<BlobInfo, NodeError> {
        let path = path.into();
        self.blocking(move |blobs| {
            let shelf = &blobs.here().shelf;
            let content = SteadyFile::open(&path).map_err(|error| super::shelf::failed(&path, error))?;
            blobs.room()?;
            let mut draft = shelf.draft()?;
            if draft.share(content.file())? {
                content.check().map_err(ConflictError::from)?;
                return blobs.end_draft(draft, &Keep::Pinned);
            }
            blobs.fill(draft, content)
        })
        .await
    }

    /// Keeps content that a program beside this node offers: [`BlobsBeside::offer`].
    ///
    /// # Errors
    /// [`InputError::BlobTag`](crate::error::InputError::BlobTag); [`NodeError::NotFound`] if there is no such offer;
    /// [`NodeError::DiskFull`]; those of the disk; [`NodeError::Stopping`].
    #[cfg(feature = "http")]
    pub(crate) async fn take_offer(&self, name: String, keep: Keep) -> Result<BlobInfo, NodeError> {
        keep.check()?;
        self.blocking(move |blobs| {
            blobs.room()?;
            let offered = blobs.here().shelf.offered(&name)?;
            let what = crate::error::Resource::Blob;
            let draft = offered.ok_or(NodeError::NotFound { what, name: format!("offered as {name}") })?;
            blobs.end_draft(draft, &keep)
        })
        .await
    }
}

/// Whether this is the name of an offer. It has no dots and no slashes, so it leads to no other directory.
#[cfg(feature = "http")]
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lets an empty file share all blocks of another one. Returns whether it does; if not, it is still empty.
#[cfg(target_os = "linux")]
pub(super) fn share(from: &File, to: &File) -> io::Result<bool> {
    let is_shared = rustix::fs::ioctl_ficlone(to, from).is_ok();
    if !is_shared {
        // a clone that ended half way has some of them
        to.set_len(0)?;
    }
    Ok(is_shared)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as where files can share blocks")]
pub(super) const fn share(_: &File, _: &File) -> io::Result<bool> {
    Ok(false)
}

/// Opens a file that is no link.
#[cfg(feature = "http")]
pub(super) fn open_no_link(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    options.open(path)
}
