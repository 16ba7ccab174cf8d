//! The vectors of all memories in sight: a matrix in memory for the scan, over the file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;

use nexus_crdt::Dot;
use nexus_identity::Timestamp;

use super::codes::{Codes, QuestionCodes};
use super::file::{Key, ModelIdentity, VectorFile};
use crate::filter::{Filter, OfProject, PROJECT, PROJECT_TAG, PROPOSAL, VOCABULARY, tags_of};
use crate::ledger::rows::{Place, SpaceNo};
use crate::memory::read::Shown;
use crate::memory::{Memory, Span};
use crate::words::{beginning, matched_form};

/// The most memories with a vector.
pub(crate) const VECTORS_MAX: usize = 1_000_000;
/// The most bytes of all vectors.
const BYTES_MAX: usize = 1 << 30;
/// How much of a memory is embedded, in bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 8 << 10;
/// From so many other memories on their mean tells how similar any two texts are.
const MEAN_AMONG: i64 = 32;
/// The share of the way from the mean similarity to 1 below which a memory is not near.
const NEAR_MIN: f64 = 0.25;
/// Similarities are summed as whole numbers of this part of 1: the order of the sum does not matter then.
const STEPS: f64 = 1_073_741_824.0;

/// A memory whose meaning is near that of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) place: Place,
    /// The time of its last edit.
    pub(crate) stamp: Timestamp,
    /// How near, 0 to 1: 0 is the mean of all memories.
    pub(crate) share: f64,
}

/// A memory with a vector. Texts of conditions are known by their hashes.
#[derive(Debug)]
struct Row {
    record: Dot,
    place: Place,
    space: SpaceNo,
    stamp: Timestamp,
    expires_at: Option<Timestamp>,
    valid: Span,
    kind: u64,
    author: u64,
    tags: Box<[u64]>,
    key: Key,
}

/// The text of a memory that is embedded: its text and its aliases, as far as they are read.
pub(super) fn content_of(memory: &Memory) -> String {
    let mut content = memory.text.clone();
    for alias in &memory.aliases {
        content.push('\n');
        content.push_str(alias);
    }
    content.truncate(beginning(&content, CONTENT_BYTES_MAX).len());
    content
}

pub(super) fn key_of(content: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&blake3::hash(content.as_bytes()).as_bytes()[..size_of::<Key>()]);
    key
}

fn hash(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(bytes).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The matrix and its file.
#[derive(Debug)]
pub(super) struct Index {
    generation: u64,
    identity: ModelIdentity,
    file: VectorFile,
    /// The codes of all rows, one after the other.
    codes: Vec<i8>,
    /// The scale of each row.
    scales: Vec<f32>,
    rows: Vec<Row>,
    at: BTreeMap<Dot, usize>,
    /// No memory expires before this time.
    expires_from: Option<Timestamp>,
}

impl Index {
    pub(super) fn new(generation: u64, identity: ModelIdentity, file: VectorFile) -> Self {
        Self {
            generation,
            identity,
            file,
            codes: Vec::new(),
            scales: Vec::new(),
            rows: Vec::new(),
            at: BTreeMap::new(),
            expires_from: None,
        }
    }

    /// The number by which its keeper knows it.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no more memories can have a vector.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= VECTORS_MAX || self.codes.len() >= BYTES_MAX
    }

    pub(super) fn contains(&self, record: Dot) -> bool {
        self.at.contains_key(&record)
    }

    /// Adds a memory or its new form, if the vector of its content is known. Whether it is there then.
    pub(super) fn link(&mut self, shown: &Shown) -> io::Result<bool> {
        let key = key_of(&content_of(&shown.memory));
        self.expires_from = [self.expires_from, shown.memory.expires_at].into_iter().flatten().min();
        if let Some(row) = self.at.get(&shown.record).map(|at| &mut self.rows[*at])
            && row.key == key
        {
            *row = row_of(shown, key);
            return Ok(true);
        }
        self.unlink(shown.record)?;
        if self.is_full() {
            return Ok(false);
        }
        let Some(codes) = self.file.take(&key)? else { return Ok(false) };
        self.at.insert(shown.record, self.rows.len());
        self.rows.push(row_of(shown, key));
        self.scales.push(codes.scale);
        self.codes.extend(codes.codes);
        Ok(true)
    }

    /// Removes a memory, with its vector if no other one has it.
    pub(super) fn unlink(&mut self, record: Dot) -> io::Result<()> {
        let Some(at) = self.at.remove(&record) else { return Ok(()) };
        let row = self.rows.swap_remove(at);
        self.scales.swap_remove(at);
        let dimension = self.identity.dimension;
        let (last, gone) = (self.rows.len() * dimension, at * dimension);
        if let Some(moved) = self.rows.get(at) {
            self.at.insert(moved.record, at);
            self.codes.copy_within(last..last + dimension, gone);
        }
        self.codes.truncate(last);
        self.file.release(&row.key)
    }

    /// Adds the vector of a content.
    pub(super) fn add(&mut self, key: Key, codes: &Codes) -> io::Result<()> {
        self.file.add(key, codes)
    }

    /// Removes the memories that have expired.
    pub(super) fn expire(&mut self, now: Timestamp) -> io::Result<()> {
        if self.expires_from.is_none_or(|from| from > now) {
            return Ok(());
        }
        let expired = self.rows.iter().filter(|row| row.expires_at.is_some_and(|end| end <= now));
        let expired: Vec<Dot> = expired.map(|row| row.record).collect();
        expired.into_iter().try_for_each(|record| self.unlink(record))?;
        self.expires_from = self.rows.iter().filter_map(|row| row.expires_at).min();
        self.file.sync()
    }

    /// Removes vectors that no memory has, once all memories were seen.
    pub(super) fn sweep(&mut self) -> io::Result<()> {
        self.file.sweep()?;
        self.file.sync()
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// The memories nearest to a question, nearest first, at most `limit`.
    pub(super) fn nearest(&self, question: &QuestionCodes, filter: &Filter, now: Timestamp, limit: usize) -> Vec<Near> {
        if question.dimension() != self.identity.dimension {
            return Vec::new();
        }
        let conditions = Conditions::of(filter, now);
        let mut best: BinaryHeap<Reverse<(i64, Reverse<Place>, usize)>> = BinaryHeap::with_capacity(limit + 1);
        let mut sum = 0_i64;
        let vectors = self.codes.chunks_exact(self.identity.dimension).zip(&self.scales);
        for (at, (codes, scale)) in vectors.enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "about 1 at most")]
            let similarity = (question.similarity(codes, *scale) * STEPS) as i64;
            sum += similarity;
            let full = best.len() >= limit;
            let is_near = !full || best.peek().is_some_and(|Reverse((least, ..))| similarity >= *least);
            // the conditions are looked at last: most memories are not near
            if is_near && conditions.admit(&self.rows[at]) {
                best.push(Reverse((similarity, Reverse(self.rows[at].place), at)));
                if full {
                    best.pop();
                }
            }
        }
        let best = best.into_sorted_vec();
        // the nearest are no part of what any memory has
        let others = i64::try_from(self.rows.len() - best.len()).unwrap_or(i64::MAX);
        let of_best: i64 = best.iter().map(|Reverse((similarity, ..))| similarity).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean =
            if others >= MEAN_AMONG { ((sum - of_best) as f64 / others as f64 / STEPS).clamp(0.0, 0.95) } else { 0.0 };
        let near = best.into_iter().map(|Reverse((similarity, _, at))| {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = ((similarity as f64 / STEPS - mean) / (1.0 - mean)).clamp(0.0, 1.0);
            Near { place: self.rows[at].place, stamp: self.rows[at].stamp, share }
        });
        near.filter(|near| near.share >= NEAR_MIN).collect()
    }
}

fn row_of(shown: &Shown, key: Key) -> Row {
    let memory = &shown.memory;
    Row {
        record: shown.record,
        place: shown.place,
        space: shown.space,
        stamp: memory.updated_at,
        expires_at: memory.expires_at,
        valid: memory.span(),
        kind: hash(matched_form(&memory.kind).as_bytes()),
        author: hash(memory.author.as_bytes()),
        tags: tags_of(&memory.tags).iter().map(|tag| hash(tag.as_bytes())).collect(),
        key,
    }
}

/// A filter by hashes.
struct Conditions<'a> {
    filter: &'a Filter,
    now: Timestamp,
    tags: Vec<u64>,
    kinds: Vec<u64>,
    by: Option<u64>,
    /// The kinds of groups of words, projects' records and proposals, which are no answers by themselves.
    groups: [u64; 3],
    project: Option<Project>,
}

/// The condition of a project by hashes.
struct Project {
    tag: u64,
    any: u64,
    mine: Vec<u64>,
}

impl<'a> Conditions<'a> {
    fn of(filter: &'a Filter, now: Timestamp) -> Self {
        let tags = filter.tags.iter().map(|tag| hash(tag.as_bytes())).collect();
        let kinds = filter.kinds.iter().map(|kind| hash(kind.as_bytes())).collect();
        let by = filter.by.map(|by| hash(by.as_bytes()));
        let groups = [VOCABULARY, PROJECT, PROPOSAL].map(|kind| hash(kind.as_bytes()));
        let project = filter.project.as_ref().map(|OfProject { tag, mine }| Project {
            tag: hash(tag.as_bytes()),
            any: hash(PROJECT_TAG.as_bytes()),
            mine: mine.iter().map(|me| hash(me.as_bytes())).collect(),
        });
        Self { filter, now, tags, kinds, by, groups, project }
    }

    fn is_of_project(&self, row: &Row) -> bool {
        self.project.as_ref().is_none_or(|Project { tag, any, mine }| {
            row.tags.contains(tag) || !row.tags.contains(any) && mine.contains(&row.author)
        })
    }

    fn admit(&self, row: &Row) -> bool {
        self.filter.spaces.contains(&row.space)
            && row.expires_at.is_none_or(|end| end > self.now)
            && self.filter.since.is_none_or(|since| row.stamp >= since)
            && self.filter.valid_at.is_none_or(|at| row.valid.has(at))
            && self.by.is_none_or(|by| by == row.author)
            && if self.kinds.is_empty() { !self.groups.contains(&row.kind) } else { self.kinds.contains(&row.kind) }
            && self.tags.iter().all(|tag| row.tags.contains(tag))
            && self.is_of_project(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nexus_crdt::EntryId;
    use proptest::prelude::*;

    use super::super::codes::Unit;
    use super::*;

    fn dot(n: u16) -> Dot {
        Dot { entry: EntryId::from_bytes([1; 32]), index: n }
    }

    /// An index of these vectors, in two spaces and of two times.
    fn index_of(directory: &std::path::Path, vectors: &[Unit]) -> Index {
        let dimension = vectors.first().map_or(1, Unit::dimension);
        let identity = ModelIdentity { name: "m".to_owned(), dimension, probe: None };
        let mut file = VectorFile::create(&directory.join("vectors"), &identity).unwrap();
        let mut at = BTreeMap::new();
        let (mut codes, mut scales, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (n, unit) in vectors.iter().enumerate() {
            let small = u16::try_from(n).unwrap();
            let (made, key) = (Codes::of(unit), key_of(&n.to_string()));
            file.add(key, &made).unwrap();
            file.take(&key).unwrap();
            at.insert(dot(small), n);
            codes.extend(made.codes);
            scales.push(made.scale);
            rows.push(Row {
                record: dot(small),
                place: Place { eno: 1 + n as u64, index: 0 },
                space: SpaceNo::from(small % 2),
                stamp: Timestamp::from_ms(u64::from(small % 3)),
                expires_at: (small % 5 == 4).then(|| Timestamp::from_ms(10)),
                valid: Span { from: None, to: (small % 7 == 6).then(|| Timestamp::from_ms(1)) },
                kind: hash(b"note"),
                author: 0,
                tags: if small % 4 == 0 { [hash(b"tag")].into() } else { [].into() },
                key,
            });
        }
        Index { generation: 1, identity, file, codes, scales, rows, at, expires_from: Some(Timestamp::from_ms(10)) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_scan_finds_the_nearest_that_conditions_admit_also_after_some_were_removed(
            vectors in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 8), 1..32),
            asked in prop::collection::vec(-1.0_f32..1.0, 8),
            removed in prop::collection::btree_set(0_u16..32, 0..16),
            (limit, now, tagged) in (1_usize..20, 0_u64..20, any::<bool>()),
        ) {
            let vectors: Vec<Unit> = vectors.into_iter().filter_map(|vector| Unit::of(vector).ok()).collect();
            let Ok(asked) = Unit::of(asked) else { return Ok(()) };
            let directory = tempfile::tempdir().unwrap();
            let mut index = index_of(directory.path(), &vectors);
            for n in &removed {
                index.unlink(dot(*n)).unwrap();
            }
            let question = QuestionCodes::of(&asked);
            let tags = if tagged { BTreeSet::from(["tag".to_owned()]) } else { BTreeSet::new() };
            let since = Some(Timestamp::from_ms(1));
            let valid_at = Some(Timestamp::from_ms(5));
            let filter = Filter { spaces: BTreeSet::from([0]), tags, since, valid_at, ..Filter::default() };
            let now = Timestamp::from_ms(now);
            let mut exact: Vec<(f64, u64)> = Vec::new();
            for (n, unit) in vectors.iter().enumerate() {
                let small = u16::try_from(n).unwrap();
                let expired = small % 5 == 4 && now >= Timestamp::from_ms(10);
                let other = small % 2 == 1 || small % 3 == 0 || small % 7 == 6 || tagged && small % 4 != 0;
                if !removed.contains(&small) && !expired && !other {
                    let codes = Codes::of(unit);
                    exact.push((question.similarity(&codes.codes, codes.scale), 1 + n as u64));
                }
            }
            exact.sort_by(|(a, n), (b, m)| b.total_cmp(a).then(n.cmp(m)));
            exact.truncate(limit);
            // with so few of them there is no mean, and a share is the similarity
            let exact: Vec<u64> = exact.into_iter().filter(|(share, _)| *share >= NEAR_MIN + 1e-6).map(|(_, n)| n).collect();
            let found = index.nearest(&question, &filter, now, limit);
            let found: Vec<u64> =
                found.iter().filter(|near| near.share >= NEAR_MIN + 1e-6).map(|near| near.place.eno).collect();
            prop_assert_eq!(found, exact);
            index.expire(now).unwrap();
            prop_assert_eq!(index.codes.len(), index.len() * index.identity.dimension);
            prop_assert_eq!(index.scales.len(), index.len());
            prop_assert_eq!(index.file.len(), index.len());
        }
    }
}
