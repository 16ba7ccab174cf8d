//! Blobs in files.
//!
//! | place | content |
//! |---|---|
//! | `aa/HASH` | a whole blob, by the first two digits of its hash; it is there once all of it is on the disk |
//! | `aa/HASH.obao4` | its index, unless it is one group: the hashes between the root and the content |
//! | `aa/HASH.pin` | it is kept until it is unpinned |
//! | `aa/HASH.dir` | it is the blob of links of a directory that is here: the number of files, and their bytes |
//! | `aa/HASH.copies` | others keep copies of it: the number that is wanted, and a line for each holder |
//! | `aa/HASH.for` | it is kept for other members: a line for each |
//! | `aa/HASH.damaged` | the disk damaged parts of it: their numbers |
//! | `look` | the last look through all: the time of its beginning in ms, and the rack that comes next or `-` |
//! | `tags/KEY` | the hash of a blob, and the name that leads to it; KEY is the hash of the name |
//! | `part/HASH`, `part/HASH.obao4` | a blob that is being fetched: verified parts, and holes |
//! | `part/HASH.have` | the size, 8 bytes little-endian, and a bit for each part that is on the disk |
//! | `new/N` | content that is being added; the next start removes it |
//! | `gone/N` | content that was removed while somebody read it, until it is overwritten |
//! | `new/NAME.offer` | content that a program beside the node offers, until the node takes it as `new/N` |

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_blobs::{BlobHash, Shape, index, index_bytes};
use nexus_identity::Timestamp;
use positioned_io::RandomAccessFile;

use super::super::damage::Look;
use super::super::sharing;
use super::{BlobInfo, Content, Held, Mark, Partial, USED_AGAIN_MS, failed};
use crate::datadir;
use crate::error::NodeError;
use crate::store::overwrite_and_remove;

/// The size of the pieces in which content is read again for its index, in bytes.
const PIECE_BYTES: usize = 1 << 20;
/// The ending of the file of a mark.
const fn ending(mark: Mark) -> &'static str {
    match mark {
        Mark::Pin => "pin",
        Mark::Directory => "dir",
        Mark::Copies => "copies",
        Mark::ForOthers => "for",
        Mark::Damaged => "damaged",
    }
}

#[derive(Debug)]
pub(crate) struct DiskShelf {
    root: PathBuf,
    added: AtomicU64,
    /// The content that is open here, and files that were removed while it was.
    opened: Mutex<Opened>,
}

/// An open file, as long as somebody reads it.
type Open = Weak<RandomAccessFile>;

#[derive(Debug, Default)]
struct Opened {
    files: BTreeMap<BlobHash, Vec<Open>>,
    removed: Vec<(PathBuf, Vec<Open>)>,
}

impl Opened {
    fn note(&mut self, hash: BlobHash, file: &Arc<RandomAccessFile>) {
        /// So many blobs are noted before those that nobody reads any more are forgotten.
        const NOTED_MAX: usize = 256;
        if self.files.len() >= NOTED_MAX {
            self.files.retain(|_, files| files.iter().any(is_read));
        }
        let files = self.files.entry(hash).or_default();
        files.retain(is_read);
        files.push(Arc::downgrade(file));
    }

    /// Whoever reads a blob now. It is forgotten.
    fn take(&mut self, hash: BlobHash) -> Vec<Open> {
        let mut files = self.files.remove(&hash).unwrap_or_default();
        files.retain(is_read);
        files
    }
}

fn is_read(file: &Open) -> bool {
    file.strong_count() > 0
}

/// A file that is being written. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct DiskDraft {
    file: File,
    path: PathBuf,
    size: u64,
}

impl DiskDraft {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        self.file.write_all(bytes).map_err(|error| failed(&self.path, error))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Lets a draft to which nothing was written share the content of a file. Returns whether it does.
    pub(super) fn share(&mut self, content: &File) -> Result<bool, NodeError> {
        let io = |error| failed(&self.path, error);
        let is_shared = sharing::share(content, &self.file).map_err(io)?;
        self.size = self.file.metadata().map_err(io)?.len();
        Ok(is_shared)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the index, and syncs both.
    pub(super) fn seal(&self) -> Result<BlobInfo, NodeError> {
        let (path, shape) = (&self.path, Shape::of(self.size));
        let io = |error| failed(path, error);
        let index_path = index_of(path);
        let written = File::open(path).map_err(io)?;
        let hash = if index_bytes(shape) == 0 {
            index(written, shape, Vec::new()).map_err(io)?
        } else {
            let hashes = datadir::new_file(&index_path).and_then(RandomAccessFile::try_new).map_err(io)?;
            let hash = index(io::BufReader::with_capacity(PIECE_BYTES, written), shape, &hashes).map_err(io)?;
            sync(&index_path)?;
            hash
        };
        self.file.sync_all().map_err(io)?;
        Ok(BlobInfo { hash, size: shape.size() })
    }
}

impl Drop for DiskDraft {
    fn drop(&mut self) {
        // both have other names once they are kept; the next start removes the rest
        let _ = (overwrite_and_remove(&self.path), overwrite_and_remove(&index_of(&self.path)));
    }
}

impl DiskShelf {
    pub(super) fn open(root: PathBuf) -> Result<Self, NodeError> {
        for left in ["new", "gone"].map(|name| root.join(name)) {
            read_dir(&left)?.iter().try_for_each(|path| erase(path).map(drop))?;
            match fs::remove_dir_all(&left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&left, error)),
                _ => {}
            }
        }
        let shelf = Self::at_rest(root);
        shelf.settle_parts()?;
        Ok(shelf)
    }

    /// Settles what a crash left between the steps of the end of a fetch: its index is moved to its place, then its content,
    /// and then its note is removed.
    fn settle_parts(&self) -> Result<(), NodeError> {
        for have in read_dir(&self.root.join("part"))? {
            let Some(hash) = hash_in(&have).filter(|_| have.extension().is_some_and(|kind| kind == "have")) else {
                continue;
            };
            let (part, whole) = (self.part(hash), self.path(hash));
            if !part.exists() {
                // a note of no content means nothing
                remove(&index_of(&part))?;
                remove(&have)?;
            } else if !whole.exists() && index_of(&whole).exists() && !index_of(&part).exists() {
                let (from, to) = (index_of(&whole), index_of(&part));
                datadir::move_into_place(&from, &to).map_err(|error| failed(&from, error))?;
            }
        }
        Ok(())
    }

    /// The blobs of a directory, which stays as it is until something is added.
    pub(in crate::blobs) fn at_rest(root: PathBuf) -> Self {
        Self { root, added: AtomicU64::new(0), opened: Mutex::default() }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(&name[..2]).join(name)
    }

    fn path_of(&self, hash: BlobHash, mark: Mark) -> PathBuf {
        self.path(hash).with_extension(ending(mark))
    }

    fn part(&self, hash: BlobHash) -> PathBuf {
        self.root.join("part").join(hash.to_string())
    }

    fn tag_path(&self, tag: &str) -> PathBuf {
        // a tag may have letters that a file's name cannot have
        self.root.join("tags").join(BlobHash::of(tag.as_bytes()).to_string())
    }

    pub(super) fn draft(&self) -> Result<DiskDraft, NodeError> {
        make_dir(&self.root.join("new"))?;
        let path = self.new_path();
        let file = datadir::new_file(&path).map_err(|error| failed(&path, error))?;
        Ok(DiskDraft { file, path, size: 0 })
    }

    fn new_path(&self) -> PathBuf {
        self.root.join("new").join(self.added.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn offer_path(&self, name: &str) -> PathBuf {
        self.root.join("new").join(name).with_extension("offer")
    }

    /// Whether the account of this process has the data directory.
    pub(in crate::blobs) fn is_of_this_account(&self) -> bool {
        self.root.parent().and_then(|of| fs::metadata(of).ok()).is_some_and(|about| is_of_this_account(&about))
    }

    /// An empty file that is to be offered to the node of this directory.
    pub(in crate::blobs) fn new_offer(&self, name: &str) -> io::Result<(File, PathBuf)> {
        let path = self.offer_path(name);
        if let Some(new) = path.parent() {
            fs::create_dir_all(new)?;
        }
        Ok((datadir::new_file(&path)?, path))
    }

    /// A draft with the content of an offer, which nobody takes a second time; `None` if there is none.
    #[cfg(feature = "http")]
    pub(super) fn offered(&self, name: &str) -> Result<Option<DiskDraft>, NodeError> {
        let offer = self.offer_path(name);
        if !sharing::is_name(name) || !offer.exists() {
            return Ok(None);
        }
        let path = self.new_path();
        fs::rename(&offer, &path).map_err(|error| failed(&offer, error))?;
        let opened = sharing::open_no_link(&path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((about, file)) if about.is_file() && has_one_name(&about) => {
                Ok(Some(DiskDraft { file, path, size: about.len() }))
            }
            // somebody put something else there
            _ => remove(&path).map(|_| None),
        }
    }

    /// Moves content that is on the disk to its place, its index first.
    pub(super) fn place(&self, content: &Path, hash: BlobHash, shape: Shape) -> Result<(), NodeError> {
        let path = self.path(hash);
        let dir = path.parent().unwrap_or(&self.root);
        if !dir.exists() {
            make_dir(dir)?;
            datadir::sync_parent(dir).map_err(|error| failed(dir, error))?;
        }
        let index = index_of(content);
        if index_bytes(shape) > 0 {
            fs::rename(&index, index_of(&path)).map_err(|error| failed(&index, error))?;
        }
        // both are in one directory
        datadir::move_into_place(content, &path).map_err(|error| failed(content, error))
    }

    pub(super) fn rack(&self, rack: usize) -> Result<Vec<Held>, NodeError> {
        let mut held: BTreeMap<BlobHash, Held> = BTreeMap::new();
        let mut marks = Vec::new();
        for path in read_dir(&self.root.join(format!("{rack:02x}")))? {
            let Some(hash) = hash_in(&path) else { continue };
            match path.extension().and_then(|kind| kind.to_str()) {
                None if self.path(hash) == path => {
                    // whoever removes it meanwhile wins
                    let Ok(about) = fs::metadata(&path) else { continue };
                    let info = BlobInfo { hash, size: about.len() };
                    held.insert(hash, Held::bare(info, modified(&about)));
                }
                None => {}
                Some(kind) => {
                    marks.extend(Mark::ALL.into_iter().find(|mark| ending(*mark) == kind).map(|mark| (hash, mark)))
                }
            }
        }
        for (hash, mark) in marks {
            if let Some(held) = held.get_mut(&hash) {
                held.set(mark);
            }
        }
        Ok(held.into_values().collect())
    }

    pub(super) fn size(&self, hash: BlobHash) -> Result<Option<u64>, NodeError> {
        let path = self.path(hash);
        match fs::metadata(&path) {
            Ok(about) => Ok(Some(about.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    pub(super) fn content(&self, hash: BlobHash, now: Timestamp) -> Result<Option<(Content, u64)>, NodeError> {
        let path = self.path(hash);
        let Some((file, about)) = self.open_content(hash, now)? else { return Ok(None) };
        let file = Arc::new(RandomAccessFile::try_new(file).map_err(|error| failed(&path, error))?);
        self.opened().note(hash, &file);
        Ok(Some((Content::File(file), about.len())))
    }

    /// Opens the content of a whole blob. It counts as used at that time.
    pub(in crate::blobs) fn open_content(
        &self,
        hash: BlobHash,
        now: Timestamp,
    ) -> Result<Option<(File, fs::Metadata)>, NodeError> {
        let path = self.path(hash);
        let Some(file) = open_file(&path)? else { return Ok(None) };
        let about = file.metadata().map_err(|error| failed(&path, error))?;
        if now.as_ms().saturating_sub(modified(&about).as_ms()) >= USED_AGAIN_MS {
            // it only orders what may be removed
            let _ = file.set_modified(UNIX_EPOCH + Duration::from_millis(now.as_ms()));
        }
        Ok(Some((file, about)))
    }

    pub(super) fn index(&self, hash: BlobHash) -> Result<Option<Content>, NodeError> {
        let path = index_of(&self.path(hash));
        let Some(file) = open_file(&path)? else { return Ok(None) };
        let file = Arc::new(RandomAccessFile::try_new(file).map_err(|error| failed(&path, error))?);
        self.opened().note(hash, &file);
        Ok(Some(Content::File(file)))
    }

    pub(super) fn remove(&self, hash: BlobHash) -> Result<bool, NodeError> {
        let whole = self.path(hash);
        let mut had = false;
        // content first: without it the rest means nothing
        let readers = self.opened().take(hash);
        for path in [whole.clone(), index_of(&whole)] {
            had |= if readers.is_empty() { erase(&path)? } else { self.put_aside(&path, &readers)? };
        }
        for mark in Mark::ALL {
            had |= remove(&self.path_of(hash, mark))?;
        }
        self.erase_removed()?;
        Ok(had)
    }

    /// Takes the name of a file away that somebody reads. It is overwritten later.
    fn put_aside(&self, path: &Path, readers: &[Open]) -> Result<bool, NodeError> {
        let gone = self.root.join("gone");
        make_dir(&gone)?;
        let to = gone.join(self.added.fetch_add(1, Ordering::Relaxed).to_string());
        match fs::rename(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            moved => moved.map_err(|error| failed(path, error))?,
        }
        self.opened().removed.push((to, readers.to_vec()));
        Ok(true)
    }

    /// Overwrites and removes the files that nobody reads any more. Whether none is left.
    pub(super) fn erase_removed(&self) -> Result<bool, NodeError> {
        let (read, unread): (Vec<_>, Vec<_>) = {
            let mut opened = self.opened();
            std::mem::take(&mut opened.removed).into_iter().partition(|(_, readers)| readers.iter().any(is_read))
        };
        let is_done = read.is_empty();
        self.opened().removed.extend(read);
        unread.iter().try_for_each(|(path, _)| erase(path).map(drop))?;
        Ok(is_done)
    }

    pub(super) fn remove_parts(&self, hash: BlobHash) -> Result<u64, NodeError> {
        let part = self.part(hash);
        let bytes = fs::metadata(&part).map_or(0, |about| on_disk(&about));
        remove(&have_of(&part))?;
        for path in [&part, &index_of(&part)] {
            erase(path)?;
        }
        Ok(bytes)
    }

    pub(super) fn parts(&self) -> Result<Vec<(BlobHash, Timestamp)>, NodeError> {
        let mut found = BTreeMap::new();
        for path in read_dir(&self.root.join("part"))? {
            let Some(hash) = hash_in(&path) else { continue };
            let Ok(about) = fs::metadata(&path) else { continue };
            let used = modified(&about);
            let known = found.entry(hash).or_insert(used);
            *known = used.max(*known);
        }
        Ok(found.into_iter().collect())
    }

    pub(super) fn mark(&self, hash: BlobHash, mark: Mark, with: Option<&str>) -> Result<bool, NodeError> {
        let path = self.path_of(hash, mark);
        match with {
            None => remove(&path),
            Some(text) if self.marked(hash, mark)?.as_deref() == Some(text) => Ok(false),
            Some("") => {
                let made = datadir::new_file(&path).and_then(|_| datadir::sync_parent(&path));
                made.map(|()| true).map_err(|error| failed(&path, error))
            }
            Some(text) => {
                datadir::replace(&path, text.as_bytes()).map_err(|error| failed(&path, error))?;
                Ok(true)
            }
        }
    }

    pub(super) fn marked(&self, hash: BlobHash, mark: Mark) -> Result<Option<String>, NodeError> {
        read_text(&self.path_of(hash, mark))
    }

    pub(super) fn set_tag(&self, tag: &str, to: Option<BlobHash>) -> Result<Option<BlobHash>, NodeError> {
        let (path, former) = (self.tag_path(tag), self.tag(tag)?);
        match to {
            None => remove(&path).map(drop)?,
            Some(hash) if former != Some(hash) => {
                let tags = self.root.join("tags");
                if !tags.exists() {
                    make_dir(&tags)?;
                    datadir::sync_parent(&tags).map_err(|error| failed(&tags, error))?;
                }
                let line = format!("{hash} {tag}\n");
                datadir::replace(&path, line.as_bytes()).map_err(|error| failed(&path, error))?;
            }
            Some(_) => {}
        }
        Ok(former)
    }

    pub(super) fn tag(&self, tag: &str) -> Result<Option<BlobHash>, NodeError> {
        let read = read_tag(&self.tag_path(tag))?;
        Ok(read.filter(|(name, _)| name == tag).map(|(_, hash)| hash))
    }

    pub(super) fn tags(&self) -> Result<BTreeMap<String, BlobHash>, NodeError> {
        let mut tags = BTreeMap::new();
        for path in read_dir(&self.root.join("tags"))? {
            let Some((tag, hash)) = read_tag(&path)? else { continue };
            // a copy that somebody made is none
            if self.tag_path(&tag) == path {
                tags.insert(tag, hash);
            }
        }
        Ok(tags)
    }

    pub(super) fn look(&self) -> Result<Option<Look>, NodeError> {
        Ok(read_text(&self.root.join("look"))?.and_then(|text| Look::read(&text)))
    }

    pub(super) fn set_look(&self, look: Look) -> Result<(), NodeError> {
        if !self.root.exists() {
            return Ok(());
        }
        let path = self.root.join("look");
        datadir::replace(&path, look.text().as_bytes()).map_err(|error| failed(&path, error))
    }

    pub(super) fn begin(&self, hash: BlobHash) -> Result<Partial, NodeError> {
        Partial::at(hash, self.part(hash))
    }

    pub(super) fn finish(&self, partial: &Partial, shape: Shape) -> Result<(), NodeError> {
        if let Some(path) = partial.path(shape) {
            sync(path)?;
            sync(&index_of(path))?;
            self.place(path, partial.hash(), shape)?;
            if index_bytes(shape) == 0 {
                remove(&index_of(path))?;
            }
            return remove(&have_of(path)).map(drop);
        }
        let (content, hashes) = partial.taken();
        let mut draft = self.draft()?;
        draft.write(&content)?;
        if index_bytes(shape) > 0 {
            let path = index_of(&draft.path);
            let written = datadir::new_file(&path).and_then(|mut file| {
                file.write_all(&hashes)?;
                file.sync_data()
            });
            written.map_err(|error| failed(&path, error))?;
        }
        draft.file.sync_all().map_err(|error| failed(&draft.path, error))?;
        self.place(&draft.path, partial.hash(), shape)?;
        if partial.has_files() {
            // a member claimed another size
            self.remove_parts(partial.hash())?;
        }
        Ok(())
    }
}

/// The hash in the name of a file.
fn hash_in(path: &Path) -> Option<BlobHash> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn modified(about: &fs::Metadata) -> Timestamp {
    let since = about.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(unix)]
fn is_of_this_account(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(about) == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
const fn is_of_this_account(_: &fs::Metadata) -> bool {
    true
}

/// Whether no other name leads to a file: through one it could be changed later.
#[cfg(all(unix, feature = "http"))]
fn has_one_name(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) == 1
}

#[cfg(all(not(unix), feature = "http"))]
const fn has_one_name(_: &fs::Metadata) -> bool {
    true
}

/// The bytes that a file takes: one with holes takes less than its length.
#[cfg(unix)]
fn on_disk(about: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(about).saturating_mul(512)
}

#[cfg(not(unix))]
fn on_disk(about: &fs::Metadata) -> u64 {
    about.len()
}

pub(super) fn index_of(path: &Path) -> PathBuf {
    path.with_extension("obao4")
}

pub(super) fn have_of(path: &Path) -> PathBuf {
    path.with_extension("have")
}

fn open_file(path: &Path) -> Result<Option<File>, NodeError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn read_text(path: &Path) -> Result<Option<String>, NodeError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// The name and the blob in the file of a tag. A file that is none counts as none.
fn read_tag(path: &Path) -> Result<Option<(String, BlobHash)>, NodeError> {
    Ok(read_text(path)?.and_then(|text| {
        let (hash, tag) = text.trim_end_matches('\n').split_once(' ')?;
        Some((tag.to_owned(), hash.parse().ok()?))
    }))
}

pub(super) fn remove(path: &Path) -> Result<bool, NodeError> {
    datadir::remove(path).map_err(|error| failed(path, error))
}

fn make_dir(path: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(path).map_err(|error| failed(path, error))
}

/// Overwrites and removes a file. Returns whether it was there.
fn erase(path: &Path) -> Result<bool, NodeError> {
    let was_there = path.symlink_metadata().is_ok();
    match overwrite_and_remove(path) {
        Ok(_) => Ok(was_there),
        // on a file system that writes elsewhere, or a disk that fails: the room is needed all the same
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "content that is removed was not overwritten");
            remove(path)
        }
    }
}

fn read_dir(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(path, error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| failed(path, error))).collect()
}

/// Syncs what was written to a file by any handle.
pub(super) fn sync(path: &Path) -> Result<(), NodeError> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_data()).map_err(|error| failed(path, error))
}
