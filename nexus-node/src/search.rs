//! Search: finding the memories that contain some words.
//!
//! Two indexes share the work. `disk` is a tantivy index beside the store, kept up by a task of the
//! node (`indexer`). `tail` holds in memory the memories that changed since. A search reads both, so a
//! memory is found as soon as it is acknowledged. Both are derived: the index on disk can be deleted at
//! any time, and is rebuilt.
//!
//! | room | content |
//! |---|---|
//! | `question` | a question as it is looked for: its words, and the forms in which texts have them |
//! | `vocabulary` | words that mean the same in the trade |
//! | `group` | words that mean the same as the members of a mesh say |
//! | `project` | the records of projects |
//! | `sameness` | whether two texts say the same |
//! | `document`, `passage` | a memory as it is indexed, and the passages of a long one |
//! | `tail` | the index in memory |
//! | `disk` | the index on disk; `no_disk` in a build without feature `disk-index` |
//! | `best` | the best so far, and the score needed to be among them |
//! | `indexer` | moves changes from the tail to the disk |

#[cfg(feature = "disk-index")]
mod best;
#[cfg_attr(not(feature = "disk-index"), path = "search/no_disk.rs")]
mod disk;
mod document;
mod group;
mod indexer;
pub(crate) mod passage;
mod project;
mod question;
mod sameness;
mod tail;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nexus_identity::Timestamp;
use tokio::sync::{mpsc, oneshot};

use disk::DiskIndex;

pub(crate) use document::Document;
pub(crate) use group::{GROUPS_MAX, Group, GroupFilter, GroupWord};
pub(crate) use indexer::keep_up;
pub(crate) use project::{ProjectRecord, key_of_mark, key_of_name};
pub(crate) use question::{Phrase, Question, Spoken, best_passage};
pub(crate) use sameness::{Likeness, Outline, Said, same_text, text_hash};

use crate::NodeError;
use crate::error::{SearchError, StopError};
pub(crate) use crate::filter::{Filter, OfProject, PROJECT, PROJECT_TAG, PROPOSAL, VOCABULARY};
use crate::ledger::rows::{Eno, Place, SpaceNo};
use crate::memory::Span;
use crate::memory::read::Reader;
use crate::store::View;
pub(crate) use crate::words::matched_form;
use group::Wanted;
use tail::{Room, Tail};

/// The most memories in the tail, and bytes of their words. More than are written between two commits of the index, and
/// a bound on memory while the index is rebuilt or members write long texts.
const TAIL_MAX: Room = Room { memories: 20_000, bytes: 32 << 20 };

impl OfProject {
    fn admits(&self, document: &Document) -> bool {
        document.tags.contains(&self.tag)
            || !document.tags.contains(PROJECT_TAG) && self.mine.contains(&document.author)
    }
}

impl Filter {
    fn admits(&self, document: &Document) -> bool {
        self.spaces.contains(&document.space)
            && self.tags.is_subset(&document.tags)
            && (self.kinds.is_empty() || self.kinds.contains(&document.kind))
            && self.by.is_none_or(|by| by == document.author)
            && self.since.is_none_or(|since| document.stamp >= since)
            && self.valid_at.is_none_or(|at| document.valid.has(at))
            && self.project.as_ref().is_none_or(|project| project.admits(document))
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

/// A word to look for, and its weight beside others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sought {
    pub(crate) term: String,
    pub(crate) boost: f32,
}

/// The counts that BM25 needs: words, passages, lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    documents: u64,
    words: u64,
}

impl Statistics {
    /// How rare a word is that so many documents have.
    #[expect(clippy::cast_precision_loss, reason = "a score")]
    pub(crate) fn idf(&self, frequency: u64) -> f32 {
        let (all, with) = (self.documents as f32, frequency as f32);
        (1.0 + (all - with + 0.5).max(0.5) / (with + 0.5)).ln()
    }

    #[expect(clippy::cast_precision_loss, reason = "a score")]
    fn average_length(&self) -> f32 {
        (self.words as f32 / (self.documents as f32).max(1.0)).max(1.0)
    }
}

/// The number of documents with each word, of those that any has.
pub(crate) type Frequencies = BTreeMap<String, u64>;

/// Both indexes.
pub(crate) struct Search {
    disk: Option<Kept>,
    tail: Mutex<Tail>,
    /// Wishes that deleted words leave the disk, for whoever keeps the index up.
    wishes: mpsc::Sender<Scrub>,
    wished: Mutex<Option<mpsc::Receiver<Scrub>>>,
}

/// A wish that the words of all memories that were deleted up to an entry leave the disk.
struct Scrub {
    upto: Eno,
    done: oneshot::Sender<Result<Scrubbed, NodeError>>,
}

/// The bytes of the index on disk before and after deleted words left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Whether none is left: no search holds a file that has some.
    pub(crate) is_clean: bool,
}

/// The index on disk, and where it is made anew once it fails.
pub(crate) struct Kept {
    index: Mutex<Arc<DiskIndex>>,
    dir: PathBuf,
    store: [u8; 8],
}

impl Kept {
    /// Opens the index of a store in a directory, or makes one.
    pub(crate) fn open(dir: &Path, store: [u8; 8]) -> Result<Self, SearchError> {
        let index = Mutex::new(Arc::new(DiskIndex::open(dir, store)?));
        Ok(Self { index, dir: dir.to_owned(), store })
    }

    fn index(&self) -> Arc<DiskIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Search {
    /// With `None` all is in memory: for simulators, and for nodes without a directory.
    pub(crate) fn new(disk: Option<Kept>) -> Self {
        let covered = disk.as_ref().map_or(0, |disk| disk.index().covered());
        let (wishes, wished) = mpsc::channel(1);
        Self { disk, tail: Mutex::new(Tail::after(covered)), wishes, wished: Mutex::new(Some(wished)) }
    }

    /// Has the words of memories that were deleted up to an entry leave the disk.
    ///
    /// # Errors
    /// The index's, or the store's; [`NodeError::Stopping`].
    pub(crate) async fn scrub(&self, upto: Eno) -> Result<Scrubbed, NodeError> {
        if self.disk.is_none() {
            return Ok(Scrubbed { is_clean: true, ..Scrubbed::default() });
        }
        let (done, answer) = oneshot::channel();
        let stopped = || NodeError::from(StopError::Stopped);
        self.wishes.send(Scrub { upto, done }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Asks the index on disk. If it fails it is made anew, and there is no answer until then.
    fn ask_disk<T: Default>(&self, ask: impl FnOnce(&DiskIndex) -> Result<T, SearchError>) -> Result<T, NodeError> {
        let Some(disk) = &self.disk else { return Ok(T::default()) };
        let index = disk.index();
        match disk::guarded(|| ask(&index)) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.renew(disk, &index, &error)?;
                Ok(T::default())
            }
        }
    }

    /// Replaces an index that failed by an empty one, unless that was done. All is indexed again then.
    fn renew(&self, disk: &Kept, failed: &Arc<DiskIndex>, error: &SearchError) -> Result<(), NodeError> {
        let mut index = disk.index.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&index, failed) {
            return Ok(());
        }
        tracing::warn!(%error, "the search index failed: it is made anew");
        let anew = Arc::new(DiskIndex::anew(&disk.dir, disk.store)?);
        // its threads and its end may panic over the damage: it is left as it is until the process ends
        std::mem::forget(std::mem::replace(&mut *index, anew));
        drop(index);
        *self.tail() = Tail::after(0);
        Ok(())
    }

    /// The last entry that a search sees.
    pub(crate) fn seen(&self) -> Eno {
        self.tail().seen()
    }

    /// Whether this build has an index on disk.
    pub(crate) const ON_DISK: bool = DiskIndex::BUILT;

    /// The room for memories that a search takes into the tail: all of them without an index on disk.
    fn tail_max(&self) -> Room {
        if self.disk.is_some() { TAIL_MAX } else { Room::UNBOUNDED }
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The best memories for a question, best first, at most `limit`. The question learns how rare its words are, and
    /// what is spelled nearly as one that no text has.
    pub(crate) fn find(
        &self,
        question: &mut Question,
        filter: &Filter,
        limit: usize,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Vec<Match>, NodeError> {
        let on_disk = self.disk.as_ref().map(Kept::index);
        // the tail first: a memory that moves to the disk meanwhile is seen twice, not never
        let (sought, mut found, touched) = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            let count = |terms: BTreeSet<&str>| count(on_disk.as_deref(), &tail, &terms);
            let (mut frequencies, statistics) = count(question.terms().collect());
            let unknown = question.unknown(&frequencies);
            for (place, word) in &unknown {
                let mut close = tail.close(word);
                close.extend(on_disk.iter().flat_map(|disk| disk::guarded(|| disk.close(word)).unwrap_or_default()));
                question.add_close(*place, closest(word, close).into_iter());
            }
            if !unknown.is_empty() {
                frequencies = count(question.terms().collect()).0;
            }
            question.weigh(&frequencies, &statistics);
            let sought = question.sought();
            let found = tail.find(&sought, &frequencies, filter, &statistics);
            (sought, found, tail.touched())
        };
        found.extend(self.ask_disk(|disk| disk.find(&sought, filter, &touched, limit))?);
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        found.truncate(limit);
        Ok(found)
    }

    /// Whether there may be a group of words.
    pub(crate) fn has_groups(&self, reader: &Reader<'_>, view: &dyn View) -> Result<bool, NodeError> {
        let here = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            tail.has_groups()
        };
        Ok(here || self.ask_disk(DiskIndex::has_groups)?)
    }

    /// Whether there is a memory of this kind.
    pub(crate) fn any(&self, filter: &Filter, reader: &Reader<'_>, view: &dyn View) -> Result<bool, NodeError> {
        let (here, touched) = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            (tail.any(filter), tail.touched())
        };
        Ok(here || self.ask_disk(|disk| disk.any(filter, &touched))?)
    }

    /// The memories that a filter admits, at most `limit`, newest first, and how many there are in all. Memories with stamps
    /// after `latest` come last: their authors chose these.
    #[cfg(feature = "mcp")]
    pub(crate) fn newest(
        &self,
        filter: &Filter,
        limit: usize,
        latest: Timestamp,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<(Vec<Place>, usize), NodeError> {
        let (mut found, touched) = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            (tail.stamped(filter), tail.touched())
        };
        found.extend(self.ask_disk(|disk| disk.stamped(filter, &touched))?);
        // each passage of a memory has its place
        let age = |stamp: Timestamp| if stamp > latest { Timestamp::from_ms(0) } else { stamp };
        let mut found: Vec<(Timestamp, Place)> = found.into_iter().map(|(stamp, place)| (age(stamp), place)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        let all = found.len();
        found.truncate(limit);
        Ok((found.into_iter().map(|(_, place)| place).collect(), all))
    }

    /// The memories that are groups of words with each of some keys, in the order in which they count.
    pub(crate) fn groups(
        &self,
        keys: &BTreeSet<String>,
        filter: &GroupFilter,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<BTreeMap<String, Vec<Place>>, NodeError> {
        let wanted = Wanted::of(filter);
        let (mut found, touched) = {
            let mut tail = self.tail();
            tail.catch_up(view, reader, self.tail_max())?;
            (tail.groups(keys, &wanted), tail.touched())
        };
        for (key, more) in self.ask_disk(|disk| disk.groups(keys, &wanted, &touched))? {
            found.entry(key).or_default().extend(more);
        }
        Ok(found.into_iter().map(|(key, found)| (key, group::chosen(found, filter))).collect())
    }

    /// The memories of a space that share the rarest of some words, at most `limit`, those with most of them first.
    pub(crate) fn sharing(
        &self,
        words: &[String],
        space: SpaceNo,
        limit: usize,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Vec<Place>, NodeError> {
        /// Rare words are in few texts, so looking for these alone is cheap.
        const RAREST: usize = 6;
        /// The part of their weight that a memory must have: texts that say nearly the same share half of their words.
        const SHARE: f32 = 0.25;
        let spaces = BTreeSet::from([space]);
        let filter = Filter { spaces, valid_at: Some(reader.now()), ..Filter::default() };
        let on_disk = self.disk.as_ref().map(Kept::index);
        let mut tail = self.tail();
        tail.catch_up(view, reader, self.tail_max())?;
        let words = words.iter().map(String::as_str).collect();
        let (frequencies, statistics) = count(on_disk.as_deref(), &tail, &words);
        let mut rarest: Vec<(u64, &String)> = frequencies.iter().map(|(word, count)| (*count, word)).collect();
        rarest.sort_unstable();
        rarest.truncate(RAREST);
        let least = SHARE * rarest.iter().map(|(count, _)| statistics.idf(*count)).sum::<f32>();
        let mut sought: Vec<Sought> =
            rarest.into_iter().map(|(_, word)| Sought { term: word.clone(), boost: 1.0 }).collect();
        sought.sort_unstable_by(|a, b| a.term.cmp(&b.term));
        let mut found = tail.find(&sought, &frequencies, &filter, &statistics);
        let touched = tail.touched();
        drop(tail);
        found.extend(self.ask_disk(|disk| disk.find(&sought, &filter, &touched, limit))?);
        found.retain(|found| found.score >= least);
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        found.truncate(limit);
        Ok(found.into_iter().map(|found| found.place).collect())
    }
}

/// The documents with each word, and the counts of all. An index on disk that fails counts nothing: the search that
/// follows has it made anew.
fn count(disk: Option<&DiskIndex>, tail: &Tail, words: &BTreeSet<&str>) -> (Frequencies, Statistics) {
    let counted = disk.map(|disk| disk::guarded(|| disk.statistics(words)).unwrap_or_default());
    let (mut frequencies, mut statistics) = counted.unwrap_or_default();
    tail.add_to(&mut statistics, &mut frequencies, words);
    (frequencies, statistics)
}

/// The most words that are spelled nearly as another one.
const CLOSE_MAX: usize = 6;

/// The closest of some words, by their length.
fn closest(word: &str, close: BTreeSet<String>) -> Vec<String> {
    let mut close: Vec<String> = close.into_iter().collect();
    close.sort_by_key(|other| (other.len().abs_diff(word.len()), other.clone()));
    close.truncate(CLOSE_MAX);
    close
}

/// The edits by which a word of some characters may differ from another one.
const fn edits(chars: usize) -> u8 {
    if chars < 8 { 1 } else { 2 }
}
