//! Blobs in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_blobs::{BlobHash, PartSet};
use nexus_identity::Timestamp;

use super::super::damage::Look;
use super::{BlobInfo, Held, Mark};

/// Blobs in memory, for a node without a disk. Clones are handles to the same blobs, which outlive the node.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<BlobHash, Blob>,
    marks: BTreeMap<(BlobHash, Mark), String>,
    tags: BTreeMap<String, BlobHash>,
    parts: BTreeMap<BlobHash, Noted>,
    look: Option<Look>,
}

#[derive(Debug)]
struct Blob {
    content: Arc<Vec<u8>>,
    index: Arc<Vec<u8>>,
    used: Timestamp,
}

/// The parts of a blob that were noted.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) had: PartSet,
    pub(super) content: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) at: Timestamp,
}

impl MemoryBlobs {
    /// Changes a bit of a blob, as a disk may. Returns whether there was one to change.
    pub fn damage(&self, hash: BlobHash, choice: u64) -> bool {
        let mut state = self.state();
        let Some(blob) = state.blobs.get_mut(&hash).filter(|blob| !blob.content.is_empty()) else { return false };
        let content = Arc::make_mut(&mut blob.content);
        let bit = choice % (content.len() as u64 * 8);
        content[(bit / 8) as usize] ^= 1 << (bit % 8);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, hash: BlobHash, content: Vec<u8>, index: Vec<u8>, now: Timestamp) {
        let blob = Blob { content: Arc::new(content), index: Arc::new(index), used: now };
        self.state().blobs.insert(hash, blob);
    }

    pub(super) fn rack(&self, rack: usize) -> Vec<Held> {
        let state = self.state();
        let held = state.blobs.iter().filter(|(hash, _)| usize::from(hash.as_bytes()[0]) == rack);
        held.map(|(hash, blob)| {
            let mut held = Held::bare(BlobInfo { hash: *hash, size: blob.content.len() as u64 }, blob.used);
            let marks = Mark::ALL.into_iter().filter(|mark| state.marks.contains_key(&(*hash, *mark)));
            marks.for_each(|mark| held.set(mark));
            held
        })
        .collect()
    }

    pub(super) fn size(&self, hash: BlobHash) -> Option<u64> {
        self.state().blobs.get(&hash).map(|blob| blob.content.len() as u64)
    }

    pub(super) fn content(&self, hash: BlobHash, now: Timestamp) -> Option<Arc<Vec<u8>>> {
        let mut state = self.state();
        let blob = state.blobs.get_mut(&hash)?;
        blob.used = blob.used.max(now);
        Some(blob.content.clone())
    }

    pub(super) fn index(&self, hash: BlobHash) -> Option<Arc<Vec<u8>>> {
        self.state().blobs.get(&hash).map(|blob| blob.index.clone())
    }

    pub(super) fn remove(&self, hash: BlobHash) -> bool {
        let mut state = self.state();
        state.marks.retain(|(marked, _), _| *marked != hash);
        state.blobs.remove(&hash).is_some()
    }

    pub(super) fn mark(&self, hash: BlobHash, mark: Mark, with: Option<&str>) -> bool {
        let mut state = self.state();
        match with {
            Some(text) => state.marks.insert((hash, mark), text.to_owned()).as_deref() != Some(text),
            None => state.marks.remove(&(hash, mark)).is_some(),
        }
    }

    pub(super) fn marked(&self, hash: BlobHash, mark: Mark) -> Option<String> {
        self.state().marks.get(&(hash, mark)).cloned()
    }

    pub(super) fn set_tag(&self, tag: &str, to: Option<BlobHash>) -> Option<BlobHash> {
        let mut state = self.state();
        match to {
            Some(hash) => state.tags.insert(tag.to_owned(), hash),
            None => state.tags.remove(tag),
        }
    }

    pub(super) fn tags(&self) -> BTreeMap<String, BlobHash> {
        self.state().tags.clone()
    }

    pub(super) fn look(&self) -> Option<Look> {
        self.state().look
    }

    pub(super) fn set_look(&self, look: Look) {
        self.state().look = Some(look);
    }

    pub(super) fn note(&self, hash: BlobHash, noted: Noted) {
        self.state().parts.insert(hash, noted);
    }

    pub(super) fn noted(&self, hash: BlobHash) -> Option<Noted> {
        self.state().parts.get(&hash).cloned()
    }

    pub(super) fn parts(&self) -> Vec<(BlobHash, Timestamp)> {
        self.state().parts.iter().map(|(hash, noted)| (*hash, noted.at)).collect()
    }

    /// Forgets the parts of a blob. Returns their bytes.
    pub(super) fn forget_parts(&self, hash: BlobHash) -> u64 {
        self.state().parts.remove(&hash).map_or(0, |noted| noted.had.bytes())
    }
}
