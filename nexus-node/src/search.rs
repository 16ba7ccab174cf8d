//! Search: finding the memories that contain some words.
//!
//! Two indexes share the work. `disk` is a tantivy index beside the store, kept up by a task of the
//! node (`indexer`). `tail` holds in memory the memories that changed since. A search reads both, so a
//! memory is found as soon as it is acknowledged. Both are derived: the index on disk can be deleted at
//! any time, and is rebuilt.
//!
//! | room | content |
//! |---|---|
//! | `words`, `tokens` | cutting texts into words, for both indexes |
//! | `document` | a memory as it is indexed |
//! | `tail` | the index in memory |
//! | `disk` | the index on disk; `no_disk` in a build without feature `search` |
//! | `best` | the best so far, and the score needed to be among them |
//! | `prints` | finds similar fingerprints among those of a part of the index |
//! | `indexer` | moves changes from the tail to the disk |

#[cfg(feature = "search")]
mod best;
#[cfg_attr(not(feature = "search"), path = "search/no_disk.rs")]
mod disk;
mod document;
mod indexer;
#[cfg(feature = "search")]
mod prints;
mod tail;
#[cfg(test)]
mod tests;
mod tokens;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_identity::{Did, Timestamp};

pub(crate) use disk::DiskIndex;
pub(crate) use document::Document;
pub(crate) use indexer::keep_up;

use crate::NodeError;
use crate::error::SearchError;
use crate::identity::Identity;
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Reader;
use crate::store::{Store, View};
use crate::world::World;
use tail::Tail;

/// The most memories in the tail. More than are written between two commits of the index, and a bound
/// on memory while the index is rebuilt.
const TAIL_MAX: usize = 20_000;

/// Conditions on a memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// In one of these spaces.
    pub(crate) spaces: BTreeSet<SpaceNo>,
    /// With all of these tags, in lower case.
    pub(crate) tags: BTreeSet<String>,
    /// Of one of these kinds; of any if there are none.
    pub(crate) kinds: BTreeSet<String>,
    /// By this author.
    pub(crate) by: Option<Did>,
    /// Edited or created at this time or later.
    pub(crate) since: Option<Timestamp>,
}

impl Filter {
    fn admits(&self, document: &Document) -> bool {
        self.spaces.contains(&document.space)
            && self.tags.is_subset(&document.tags)
            && (self.kinds.is_empty() || self.kinds.contains(&document.kind))
            && self.by.is_none_or(|by| by == document.author)
            && self.since.is_none_or(|since| document.stamp >= since)
    }
}

/// A memory that contains some of the words, with its score (BM25).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Match {
    pub(crate) place: Place,
    pub(crate) score: f32,
    /// The time of its last edit.
    pub(crate) stamp: Timestamp,
}

/// The counts that BM25 needs: words, documents, lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    documents: u64,
    words: u64,
    /// The number of documents with each searched word, in the order of the words.
    frequencies: Vec<u64>,
}

/// Both indexes.
pub(crate) struct Search {
    disk: Option<DiskIndex>,
    tail: Mutex<Tail>,
}

impl Search {
    /// With `None` all is in memory: for simulators, and for nodes without a directory.
    pub(crate) fn new(disk: Option<DiskIndex>) -> Self {
        let covered = disk.as_ref().map_or(0, DiskIndex::covered);
        Self { disk, tail: Mutex::new(Tail::after(covered)) }
    }

    /// The most memories that a search takes into the tail: all of them without an index on disk.
    fn tail_max(&self) -> usize {
        if self.disk.is_some() { TAIL_MAX } else { usize::MAX }
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The best memories for some words, best first, at most `limit`.
    pub(crate) fn find(
        &self,
        words: &[String],
        filter: &Filter,
        limit: usize,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Vec<Match>, NodeError> {
        // the tail first: a memory that moves to the disk meanwhile is seen twice, not never
        let (mut found, touched) = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            if tail.is_empty() {
                (Vec::new(), Arc::default())
            } else {
                let mut statistics = match &self.disk {
                    Some(disk) => disk.statistics(words)?,
                    None => Statistics { frequencies: vec![0; words.len()], ..Statistics::default() },
                };
                tail.add_to(&mut statistics, words);
                (tail.find(words, filter, &statistics), tail.touched())
            }
        };
        if let Some(disk) = &self.disk {
            found.extend(disk.find(words, filter, &touched, limit)?);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        found.truncate(limit);
        Ok(found)
    }

    /// A memory of the space with nearly the same text.
    pub(crate) fn similar(
        &self,
        text: &str,
        space: SpaceNo,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Option<Place>, NodeError> {
        let print = words::fingerprint(&words::words(text));
        let touched = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            if let Some(place) = tail.similar(print, space) {
                return Ok(Some(place));
            }
            tail.touched()
        };
        let Some(disk) = &self.disk else { return Ok(None) };
        Ok(disk.similar(print, space)?.into_iter().find(|place| !touched.contains(place)))
    }
}

/// The indexer's access to a running node.
pub(crate) struct Source {
    pub(crate) store: Store,
    pub(crate) store_name: [u8; 8],
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) committed: tokio::sync::watch::Receiver<u64>,
}
