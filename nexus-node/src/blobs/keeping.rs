//! The blobs that are kept, with their names and directories.
//!
//! A blob is kept while it is pinned, while a tag leads to it, and while it is a file of a directory that is kept. It is kept, too,
//! while others keep copies of it for this node, and while it is kept for them.
//! Others came from another member, or lost their tag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use nexus_blobs::{BadCollection, BlobHash, Collection, LINKS_BYTES_MAX, NAMES_BYTES_MAX, Part, Shape, read_part};
use nexus_identity::{Did, Timestamp};

use super::copies::BlobCopies;
use super::shelf::{Held, Mark, RACKS};
use super::{Blobs, missing};
use crate::error::{ConflictError, InputError, NodeError, Resource};

/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;
/// The fewest digits of a shortened hash.
const DIGITS_MIN: usize = 4;

/// The reason why a blob is kept that is being added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// A pin: until [`Blobs::unpin`].
    #[default]
    Pinned,
    /// A name of 1 to 128 bytes that leads to it from now on. The blob that had it before loses it.
    Tagged(String),
    /// None: it goes once it was not used for a while.
    Cached,
}

/// A blob of this node with all that is known of it here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobEntry {
    /// Its name.
    pub hash: BlobHash,
    /// The bytes of its content; of a directory those of all its files.
    pub size: u64,
    /// The number of files of a directory; `None` for one file.
    pub files: Option<u64>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// The names that lead to it.
    pub tags: Vec<String>,
    /// The copies of it that others keep for this node, if some are wanted.
    pub copies: Option<BlobCopies>,
    /// The members for whom it is kept here.
    pub kept_for: Vec<Did>,
    /// The number of its parts that the disk damaged, as far as it is known; of a directory those of its links alone.
    pub damaged: u64,
}

/// A page of the blobs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobPage {
    /// The blobs, by hash.
    pub blobs: Vec<BlobEntry>,
    /// The place behind which the next page begins; `None` at the end.
    pub next: Option<BlobHash>,
}

/// A change of what is kept, which no removal comes between.
pub(super) type Gate<'a> = MutexGuard<'a, ()>;

impl Blobs {
    pub(super) fn gate(&self) -> Gate<'_> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob that is here whole, with all that is known of it; `None` if it is not.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn entry(&self, hash: BlobHash) -> Result<Option<BlobEntry>, NodeError> {
        self.blocking(move |blobs| match blobs.entry_now(hash) {
            Err(NodeError::NotFound { .. }) => Ok(None),
            entry => entry.map(Some),
        })
        .await
    }

    /// A page of the blobs that are here whole, by hash: at most so many behind a place. Files of a directory that is here
    /// are left out, unless all are asked for.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn page(&self, after: Option<BlobHash>, limit: usize, all: bool) -> Result<BlobPage, NodeError> {
        self.blocking(move |blobs| {
            let hidden = if all { BTreeSet::new() } else { blobs.files_of_directories()? };
            let tags = blobs.tags_by_hash()?;
            let mut page = BlobPage::default();
            for rack in after.map_or(0, rack_of)..RACKS {
                for held in blobs.here().shelf.rack(rack)? {
                    let hash = held.info.hash;
                    let is_marked = held.is_pinned || held.is_directory || held.has_copies || held.is_for_others;
                    let is_root = is_marked || tags.contains_key(&hash);
                    if after.is_some_and(|after| hash <= after) || (!is_root && hidden.contains(&hash)) {
                        continue;
                    }
                    if page.blobs.len() >= limit {
                        page.next = page.blobs.last().map(|last| last.hash);
                        return Ok(page);
                    }
                    page.blobs.push(blobs.entry_of(&held, &tags)?);
                }
            }
            Ok(page)
        })
        .await
    }

    /// The blob that a text means: a hash, a tag of this node, or the first digits of a hash that is here.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ambiguous`]; those of the disk; [`NodeError::Stopping`].
    pub async fn resolve(&self, name: &str) -> Result<BlobHash, NodeError> {
        if let Ok(hash) = name.parse() {
            return Ok(hash);
        }
        let name = name.to_owned();
        self.blocking(move |blobs| {
            if let Some(hash) = blobs.here().shelf.tag(&name)? {
                return Ok(hash);
            }
            let digits = name.to_ascii_lowercase();
            let rack = digits.get(..2).and_then(|rack| usize::from_str_radix(rack, 16).ok());
            let rack = rack.filter(|_| digits.len() >= DIGITS_MIN);
            let held = rack.map(|rack| blobs.here().shelf.rack(rack)).transpose()?.unwrap_or_default();
            let named = held.iter().map(|held| (held.info.hash, held.info.hash.to_string()));
            let fits = named.filter(|(_, text)| text.starts_with(&digits)).collect();
            Resource::Blob.the_one(&name, fits)
        })
        .await
    }

    /// Keeps a blob that is here until it is unpinned. Returns whether it was not pinned before.
    ///
    /// # Errors
    /// [`NodeError::NotFound`]; those of the disk; [`NodeError::Stopping`].
    pub async fn pin(&self, hash: BlobHash) -> Result<bool, NodeError> {
        self.blocking(move |blobs| blobs.keep_for(&blobs.gate(), hash, &Keep::Pinned)).await
    }

    /// Takes the pin of a blob away. Returns whether there was one.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn unpin(&self, hash: BlobHash) -> Result<bool, NodeError> {
        self.blocking(move |blobs| {
            let _gate = blobs.gate();
            blobs.here().shelf.mark(hash, Mark::Pin, None)
        })
        .await
    }

    /// Lets a name of 1 to 128 bytes lead to a blob that is here. Returns whether it did not before.
    ///
    /// # Errors
    /// [`InputError::BlobTag`]; [`NodeError::NotFound`]; those of the disk; [`NodeError::Stopping`].
    pub async fn tag(&self, tag: &str, hash: BlobHash) -> Result<bool, NodeError> {
        let keep = Keep::Tagged(tag.to_owned());
        keep.check()?;
        self.blocking(move |blobs| blobs.keep_for(&blobs.gate(), hash, &keep)).await
    }

    /// Takes a name away. Returns the blob to which it led.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if there is no such name; those of the disk; [`NodeError::Stopping`].
    pub async fn untag(&self, tag: &str) -> Result<BlobHash, NodeError> {
        let tag = tag.to_owned();
        self.blocking(move |blobs| {
            let _gate = blobs.gate();
            let former = blobs.here().shelf.set_tag(&tag, None)?;
            former.ok_or(NodeError::NotFound { what: Resource::BlobTag, name: tag })
        })
        .await
    }

    /// A blob of links becomes a directory, and is kept.
    ///
    /// # Errors
    /// [`InputError::Directory`] if it is no directory; [`ConflictError::FilesMissing`] if files of it are not here; those
    /// of the disk; [`NodeError::Stopping`].
    pub async fn keep_directory(&self, links: BlobHash, keep: Keep) -> Result<BlobEntry, NodeError> {
        keep.check()?;
        self.blocking(move |blobs| {
            let gate = blobs.gate();
            let collection = blobs.collection(links)?;
            let shelf = &blobs.here().shelf;
            let (mut bytes, mut lacks) = (0_u64, 0);
            for file in collection.files() {
                match shelf.info(file.hash)? {
                    Some(info) => bytes = bytes.saturating_add(info.size),
                    None => lacks += 1,
                }
            }
            if lacks > 0 {
                return Err(ConflictError::FilesMissing { hash: links.to_string(), count: lacks }.into());
            }
            let files = collection.files().len();
            shelf.mark(links, Mark::Directory, Some(&format!("{files} {bytes}\n")))?;
            blobs.keep_for(&gate, links, &keep)?;
            blobs.entry_now(links)
        })
        .await
    }

    pub(super) fn entry_now(&self, hash: BlobHash) -> Result<BlobEntry, NodeError> {
        let shelf = &self.here().shelf;
        let info = shelf.info(hash)?.ok_or_else(|| missing(hash))?;
        let mut held = Held::bare(info, self.here().world.wall());
        for mark in Mark::ALL {
            if shelf.marked(hash, mark)?.is_some() {
                held.set(mark);
            }
        }
        self.entry_of(&held, &self.tags_by_hash()?)
    }

    /// Has a removal that runs look again at what is kept.
    pub(super) fn changed_what_is_kept(&self) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps a blob that is here. Returns whether that changed something.
    pub(super) fn keep_for(&self, _: &Gate<'_>, hash: BlobHash, keep: &Keep) -> Result<bool, NodeError> {
        self.changed_what_is_kept();
        let shelf = &self.here().shelf;
        if shelf.info(hash)?.is_none() {
            return Err(missing(hash));
        }
        if *keep != Keep::Cached {
            self.check_files(hash)?;
        }
        match keep {
            Keep::Pinned => shelf.mark(hash, Mark::Pin, Some("")),
            Keep::Tagged(tag) => Ok(shelf.set_tag(tag, Some(hash))? != Some(hash)),
            Keep::Cached => Ok(false),
        }
    }

    /// Looks whether all files of a directory are here.
    ///
    /// # Errors
    /// [`ConflictError::FilesMissing`].
    pub(super) fn check_files(&self, hash: BlobHash) -> Result<(), NodeError> {
        let mut count = 0;
        for file in self.links_of(hash)? {
            count += usize::from(self.here().shelf.info(file)?.is_none());
        }
        if count == 0 { Ok(()) } else { Err(ConflictError::FilesMissing { hash: hash.to_string(), count }.into()) }
    }

    /// Whether all files of a directory are here whole.
    pub(super) fn has_whole_files(&self, hash: BlobHash) -> bool {
        let is_whole = |file: BlobHash| self.info_now(file).is_ok_and(|info| info.is_some());
        self.links_of(hash).is_ok_and(|files| files.into_iter().all(is_whole))
    }

    /// The files of all directories that are here.
    fn files_of_directories(&self) -> Result<BTreeSet<BlobHash>, NodeError> {
        let mut files = BTreeSet::new();
        for rack in 0..RACKS {
            for held in self.here().shelf.rack(rack)?.iter().filter(|held| held.is_directory) {
                files.extend(self.links_of(held.info.hash)?);
            }
        }
        Ok(files)
    }

    /// The links of a directory; none of a file.
    pub(super) fn links_of(&self, hash: BlobHash) -> Result<Vec<BlobHash>, NodeError> {
        if self.here().shelf.marked(hash, Mark::Directory)?.is_none() {
            return Ok(Vec::new());
        }
        let links = self.small(hash, LINKS_BYTES_MAX)?;
        let (links, _) = links.as_chunks();
        Ok(links.iter().copied().map(BlobHash::from_bytes).collect())
    }

    /// The directory of a blob of links that is here, with its names.
    ///
    /// # Errors
    /// [`InputError::Directory`] if it is none; [`NodeError::NotFound`] if it, or its names, are not here.
    pub(super) fn collection(&self, links: BlobHash) -> Result<Collection, NodeError> {
        let bytes = self.small(links, LINKS_BYTES_MAX)?;
        let names = Collection::names_of(&bytes).map_err(InputError::from)?;
        let names = self.small(names, NAMES_BYTES_MAX)?;
        Ok(Collection::read(&bytes, &names).map_err(InputError::from)?)
    }

    /// The content of a blob that is here, verified. It does not count as used.
    pub(super) fn small(&self, hash: BlobHash, most: u64) -> Result<Vec<u8>, NodeError> {
        let shelf = &self.here().shelf;
        let (content, size) = shelf.content_of(hash, Timestamp::default())?.ok_or_else(|| missing(hash))?;
        if size > most {
            return Err(InputError::from(BadCollection::TooLarge).into());
        }
        let shape = Shape::of(size);
        let index = shelf.index_of(hash, shape)?.ok_or_else(|| missing(hash))?;
        let mut bytes = Vec::new();
        for part in (0..shape.parts()).map(Part) {
            let read = read_part(hash, shape, part, &content, &index).map_err(|error| {
                self.note_damage(hash, size, part, &error);
                shelf.fault(error)
            });
            bytes.extend(read?);
        }
        Ok(bytes)
    }

    fn tags_by_hash(&self) -> Result<BTreeMap<BlobHash, Vec<String>>, NodeError> {
        let mut tags: BTreeMap<BlobHash, Vec<String>> = BTreeMap::new();
        for (tag, hash) in self.here().shelf.tags()? {
            tags.entry(hash).or_default().push(tag);
        }
        Ok(tags)
    }

    fn entry_of(&self, held: &Held, tags: &BTreeMap<BlobHash, Vec<String>>) -> Result<BlobEntry, NodeError> {
        let hash = held.info.hash;
        let text = if held.is_directory { self.here().shelf.marked(hash, Mark::Directory)? } else { None };
        let counts = text.as_deref().and_then(|text| text.trim().split_once(' '));
        let counts = counts.and_then(|(files, bytes)| Some((files.parse().ok()?, bytes.parse().ok()?)));
        let (files, size) = counts.map_or((None, held.info.size), |(files, bytes)| (Some(files), bytes));
        let tags = tags.get(&hash).cloned().unwrap_or_default();
        let copies = if held.has_copies { self.copies_of(hash)? } else { None };
        let kept_for = if held.is_for_others { self.kept_for(hash)? } else { Vec::new() };
        let damage = if held.is_damaged { self.damage_of(hash)? } else { None };
        let damaged = damage.map_or(0, |damage| damage.count(Shape::of(held.info.size)));
        Ok(BlobEntry { hash, size, files, pinned: held.is_pinned, tags, copies, kept_for, damaged })
    }
}

impl Keep {
    pub(super) fn check(&self) -> Result<(), InputError> {
        let Self::Tagged(tag) = self else { return Ok(()) };
        let is_named = !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && !tag.chars().any(char::is_control);
        // a tag that reads as a hash would mean two blobs
        if is_named && tag.parse::<BlobHash>().is_err() {
            Ok(())
        } else {
            Err(InputError::BlobTag { max: TAG_BYTES_MAX })
        }
    }
}

fn rack_of(hash: BlobHash) -> usize {
    usize::from(hash.as_bytes()[0])
}
