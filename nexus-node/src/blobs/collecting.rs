//! The removal of blobs that nothing keeps.
//!
//! They stay until [`Blobs::gc`] finds that they were not used for a while, or until room is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_blobs::BlobHash;
use nexus_identity::Timestamp;
use nexus_identity::plants::planted;

use super::keeping::Gate;
use super::shelf::{Held, RACKS};
use super::{BlobChange, BlobInfo, Blobs};
use crate::error::{ConflictError, NodeError};

/// The most blobs that a removal names.
const NAMED_MAX: usize = 1_000;

/// The blobs that were removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Their number.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first thousand of them.
    pub hashes: Vec<BlobHash>,
}

impl Collected {
    fn add(&mut self, info: BlobInfo) {
        self.blobs += 1;
        self.bytes += info.size;
        if self.hashes.len() < NAMED_MAX {
            self.hashes.push(info.hash);
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.blobs += more.blobs;
        self.bytes += more.bytes;
        let room = NAMED_MAX - self.hashes.len();
        self.hashes.extend(more.hashes.into_iter().take(room));
    }
}

/// Blobs that go together: a directory with its files, or one file.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) root: BlobHash,
    /// Its blobs that nothing else keeps.
    pub(super) blobs: Vec<BlobInfo>,
    /// The last time that one of them was used.
    pub(super) used: Timestamp,
}

impl Unit {
    fn of(root: BlobHash, held: &[Held]) -> Self {
        let used = held.iter().map(|held| held.used).max().unwrap_or_default();
        Self { root, blobs: held.iter().map(|held| held.info).collect(), used }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|info| info.size).sum()
    }
}

/// All that is kept, as it was after so many changes.
#[derive(Debug, Default)]
pub(super) struct Kept {
    at: Option<u64>,
    hashes: BTreeSet<BlobHash>,
}

impl Blobs {
    /// Removes a blob from this node with its pin and tags, and what is here of one that was not fetched to its end. Of a
    /// directory those files go, too, that nothing else keeps.
    ///
    /// # Errors
    /// [`ConflictError::BlobInDirectory`] if it is a file of a directory that is kept; nothing changed then. Those of the
    /// disk; [`NodeError::Stopping`].
    pub async fn remove(&self, hash: BlobHash) -> Result<Collected, NodeError> {
        self.blocking(move |blobs| blobs.remove_now(&blobs.gate(), hash)).await
    }

    /// Has the content of all blobs that were removed leave the disk. Whether it has: somebody may still read some of it.
    pub(crate) async fn scrub(&self) -> Result<bool, NodeError> {
        self.blocking(|blobs| blobs.here().shelf.erase_removed()).await
    }

    /// Removes blobs that only erased parts of entries named. A blob that is pinned or tagged here, or that other entries name,
    /// stays.
    ///
    /// # Errors
    /// As [`gc`](Self::gc).
    pub(crate) async fn remove_unwanted(&self, hashes: Vec<BlobHash>) -> Result<(), NodeError> {
        self.blocking(move |blobs| {
            let gate = blobs.gate();
            let kept = blobs.reached(blobs.roots(|_| false)?)?;
            let attached = (blobs.here().attached)(&hashes)?;
            for hash in hashes.iter().filter(|hash| !kept.contains(hash) && !attached.contains(hash)) {
                match blobs.remove_now(&gate, *hash) {
                    // a file of a directory that is kept
                    Ok(_) | Err(NodeError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes the blobs that nothing keeps, to which no task refers, and that nobody used for so long; a directory and its
    /// files go together. So does what is here of others that were not fetched to their end in that time. A dry run only
    /// tells which.
    ///
    /// # Errors
    /// [`NodeError::Store`] if a directory that is kept cannot be read: nothing is removed then. Those of the disk;
    /// [`NodeError::Stopping`].
    pub async fn gc(&self, unused_for: Duration, dry_run: bool) -> Result<Collected, NodeError> {
        let now = self.here().world.wall();
        self.blocking(move |blobs| {
            let is_old = |used| now.since(used) >= unused_for;
            let mut gone = Collected::default();
            let mut kept = Kept::default();
            for rack in 0..RACKS {
                // a blob that is added meanwhile waits for one rack, not for all
                let gate = blobs.gate();
                let mut candidates = blobs.here().shelf.rack(rack)?;
                candidates.retain(|held| is_old(held.used) && !blobs.is_used(held.info.hash));
                if candidates.is_empty() {
                    continue;
                }
                blobs.look_again(&gate, &mut kept, |held| !is_old(held.used))?;
                candidates.retain(|held| !kept.hashes.contains(&held.info.hash));
                let hashes: Vec<BlobHash> = candidates.iter().map(|held| held.info.hash).collect();
                // after the look at the uses: whatever is attached is in use until its entry is written
                let attached = (blobs.here().attached)(&hashes)?;
                for held in candidates.iter().filter(|held| !attached.contains(&held.info.hash)) {
                    gone.add(held.info);
                    if !dry_run {
                        blobs.remove_content(&gate, held.info.hash)?;
                    }
                }
            }
            for (hash, used) in blobs.here().shelf.parts()? {
                if is_old(used) && !blobs.is_used(hash) && !dry_run {
                    gone.bytes += blobs.here().shelf.remove_parts(hash)?;
                }
            }
            Ok(gone)
        })
        .await
    }

    fn remove_now(&self, gate: &Gate<'_>, hash: BlobHash) -> Result<Collected, NodeError> {
        let shelf = &self.here().shelf;
        let (files, copies) = (self.links_of(hash)?, self.copies_of(hash)?);
        let mut others = self.roots(|_| false)?;
        others.remove(&hash);
        let kept = self.reached(others)?;
        if kept.contains(&hash) {
            return Err(ConflictError::BlobInDirectory { hash: hash.to_string() }.into());
        }
        for (tag, to) in shelf.tags()? {
            if to == hash {
                shelf.set_tag(&tag, None)?;
            }
        }
        let mut gone = Collected::default();
        // the directory goes first: without it its files are not kept
        for hash in std::iter::once(hash).chain(files) {
            if let Some(info) = shelf.info(hash)?
                && !kept.contains(&hash)
                && self.remove_content(gate, hash)?
            {
                gone.add(info);
            }
        }
        gone.bytes += shelf.remove_parts(hash)?;
        if let Some(copies) = copies {
            self.release(hash, &copies);
        }
        Ok(gone)
    }

    fn remove_content(&self, gate: &Gate<'_>, hash: BlobHash) -> Result<bool, NodeError> {
        let removed = self.here().shelf.remove(hash);
        self.count_charges_anew(gate);
        self.content_moved();
        if removed.is_ok() {
            self.forget_damage(hash);
        }
        if let Ok(true) = removed {
            self.tell(hash, BlobChange::Removed);
        }
        removed
    }

    /// The blobs that nothing keeps and nobody fetches now.
    pub(super) fn units(&self) -> Result<Vec<Unit>, NodeError> {
        let kept = self.reached(self.roots(|_| false)?)?;
        let mut free: BTreeMap<BlobHash, Held> = BTreeMap::new();
        for rack in 0..RACKS {
            let held = self.here().shelf.rack(rack)?.into_iter();
            let held = held.filter(|held| !kept.contains(&held.info.hash) && !self.is_used(held.info.hash));
            free.extend(held.map(|held| (held.info.hash, held)));
        }
        let directories: Vec<BlobHash> =
            free.values().filter(|held| held.is_directory).map(|held| held.info.hash).collect();
        let mut units = Vec::new();
        for root in directories {
            let all: Vec<Held> =
                std::iter::once(root).chain(self.links_of(root)?).filter_map(|hash| free.remove(&hash)).collect();
            units.push(Unit::of(root, &all));
        }
        units.extend(free.into_values().map(|held| Unit::of(held.info.hash, &[held])));
        Ok(units)
    }

    /// Removes blobs that nothing keeps, if that is still so.
    pub(super) fn remove_unit(&self, unit: &Unit, kept: &mut Kept) -> Result<Collected, NodeError> {
        let gate = self.gate();
        self.look_again(&gate, kept, |_| false)?;
        let mut gone = Collected::default();
        let is_free = |hash| !kept.hashes.contains(&hash) && !self.is_used(hash);
        if unit.blobs.iter().all(|info| is_free(info.hash)) {
            for info in &unit.blobs {
                if self.remove_content(&gate, info.hash)? {
                    gone.add(*info);
                }
            }
        }
        Ok(gone)
    }

    /// Finds again all that is kept, with the directories that stay for another reason, if something was kept since.
    fn look_again(&self, _: &Gate<'_>, kept: &mut Kept, stays: impl Fn(&Held) -> bool) -> Result<(), NodeError> {
        let changes = self.0.changes.load(Ordering::Relaxed);
        if kept.at != Some(changes) {
            *kept = Kept { at: Some(changes), hashes: self.reached(self.roots(stays)?)? };
        }
        Ok(())
    }

    /// The blobs that are pinned, those to which a tag leads, those with copies or kept for others, and the directories that stay for another reason.
    fn roots(&self, stays: impl Fn(&Held) -> bool) -> Result<BTreeSet<BlobHash>, NodeError> {
        let mut roots: BTreeSet<BlobHash> = self.here().shelf.tags()?.into_values().collect();
        for rack in 0..RACKS {
            for held in self.here().shelf.rack(rack)? {
                let is_kept = held.is_pinned || held.has_copies || (held.is_directory && stays(&held));
                // not for somebody who is no member any more
                if is_kept || (held.is_for_others && !self.kept_for(held.info.hash)?.is_empty()) {
                    roots.insert(held.info.hash);
                }
            }
        }
        Ok(roots)
    }

    /// These blobs, and the files of the directories among them.
    fn reached(&self, roots: BTreeSet<BlobHash>) -> Result<BTreeSet<BlobHash>, NodeError> {
        let mut reached = roots.clone();
        if planted("gc_takes_files_of_directories") {
            return Ok(reached);
        }
        for root in roots {
            reached.extend(self.links_of(root)?);
        }
        Ok(reached)
    }
}
