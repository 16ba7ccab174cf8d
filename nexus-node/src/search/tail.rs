use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_crdt::Dot;
use nexus_identity::plants::planted;

use super::group::{self, Groups, Wanted};
use super::{Document, Filter, Frequencies, Match, Sought, Statistics, edits};
use crate::NodeError;
use crate::follow::touched_after;
use crate::ledger::rows::{Eno, Place};
use crate::memory::read::{Reader, StandIns};
use crate::store::View;

/// The memories that changed since the last write of the index on disk, by their words.
#[derive(Debug, Default)]
pub(super) struct Tail {
    seen: Eno,
    changed: BTreeMap<Dot, Changed>,
    /// The passages of the current forms of the visible ones, by numbers in the order in which they came.
    passages: BTreeMap<Number, (Arc<Document>, usize)>,
    next: Number,
    /// For each word the passages that have it, and how often, in order.
    words: BTreeMap<Box<str>, Vec<(Number, u32)>>,
    /// The documents that are groups of words.
    groups: BTreeSet<Number>,
    /// The sum of the passages' lengths.
    length: u64,
    /// Bytes of the documents' words, and of the map of words.
    bytes: usize,
    touched: Touched,
}

/// The number of a passage in the tail. The passages of a document have numbers in a row.
type Number = u64;

/// Bytes of a word in the map, beside its letters: a list with room for four documents, and the part of a node.
const WORD_BYTES: usize = 112;
/// Bytes of a document in the list of a word.
const WITH_BYTES: usize = size_of::<(Number, u32)>();
/// Bytes that are read at a time before they are added: words that nobody else has weigh four times as much then.
const READ_BYTES: usize = 1 << 20;

/// The most memories to hold, and bytes of their words. A memory or entry is taken as a whole: the bytes are exceeded by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) memories: usize,
    pub(super) bytes: usize,
}

impl Room {
    pub(super) const UNBOUNDED: Self = Self { memories: usize::MAX, bytes: usize::MAX };

    /// The room beside so much; `None` if there is none.
    pub(super) fn beside(self, memories: usize, bytes: usize) -> Option<Self> {
        let left = Self { memories: self.memories.saturating_sub(memories), bytes: self.bytes.saturating_sub(bytes) };
        (left.memories > 0 && left.bytes > 0).then_some(left)
    }
}

/// Memories that changed, each with its current form if it is visible.
pub(super) type Forms = Vec<(Dot, Option<Arc<Document>>)>;

/// A memory that changed.
#[derive(Debug)]
struct Changed {
    /// The last entry that touched it.
    eno: Eno,
    /// Its place; `None` if it is not here, as when an edit arrives before its memory.
    place: Option<Place>,
    /// The first passage of its current form; `None` if it is not visible.
    first: Option<Number>,
}

/// The places of memories that are looked up in the tail and not on disk. Searches take a handle, which a change leaves as
/// it is: most of it is shared, and little is copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    most: Arc<BTreeSet<Place>>,
    last: BTreeSet<Place>,
}

impl Touched {
    /// The places that are copied with each handle.
    const LAST_MAX: usize = 64;

    pub(super) fn of(places: BTreeSet<Place>) -> Self {
        Self { most: Arc::new(places), last: BTreeSet::new() }
    }

    fn insert(&mut self, place: Place) {
        self.last.insert(place);
        if self.last.len() > Self::LAST_MAX {
            Arc::make_mut(&mut self.most).append(&mut self.last);
        }
    }

    #[cfg_attr(not(feature = "disk-index"), expect(dead_code, reason = "for the index on disk"))]
    pub(super) fn contains(&self, place: &Place) -> bool {
        self.last.contains(place) || self.most.contains(place)
    }
}

/// The records and memories of one state of the store that were read.
#[derive(Default)]
pub(super) struct Looked {
    /// The records that stand for others, by those.
    stands: BTreeMap<Dot, StandIns>,
    /// The memories, by the records that stand for them.
    memories: BTreeSet<Dot>,
}

/// Changes that follow on a tail: read without it, so that searches need not wait for that.
pub(super) struct Next {
    /// The last entry before them, and the last one of them.
    after: Eno,
    upto: Eno,
    changes: Vec<(Dot, Eno, Change)>,
    /// Bytes of words in them, and of lists.
    bytes: usize,
}

enum Change {
    /// The place and the current form of a memory.
    Form(Option<Place>, Option<Arc<Document>>),
    /// A memory whose current form was read for an earlier entry.
    Again,
}

impl Next {
    /// Reads some entries after one, until there is no room for their changes; `None` if there is none.
    pub(super) fn read(
        view: &dyn View,
        reader: &Reader<'_>,
        after: Eno,
        room: Room,
        looked: &mut Looked,
    ) -> Result<Option<Self>, NodeError> {
        let mut next = Self { after, upto: after, changes: Vec::new(), bytes: 0 };
        for (eno, touched) in touched_after(view, after)? {
            if room.beside(next.changes.len(), next.bytes).is_none() {
                break;
            }
            for dot in touched.all().into_iter().filter(|_| !(planted("searches_some_alone") && eno % 5 == 0)) {
                next.look_at(dot, eno, reader, looked)?;
            }
            next.upto = eno;
        }
        Ok((next.upto > after).then_some(next))
    }

    /// Adds the current form of the memory of a record. Members choose how many entries touch one memory, so each
    /// record and each memory is read once in a state of the store.
    fn look_at(&mut self, dot: Dot, eno: Eno, reader: &Reader<'_>, looked: &mut Looked) -> Result<(), NodeError> {
        let stands = match looked.stands.get(&dot) {
            Some(stands) => *stands,
            None => *looked.stands.entry(dot).or_insert(reader.stand_for(dot)?),
        };
        if stands.own != Some(dot) {
            self.changes.push((dot, eno, Change::Form(reader.place(dot)?, None)));
        }
        for stands in stands.all() {
            self.look_at_memory(stands, eno, reader, looked)?;
        }
        Ok(())
    }

    fn look_at_memory(
        &mut self,
        stands: Dot,
        eno: Eno,
        reader: &Reader<'_>,
        looked: &mut Looked,
    ) -> Result<(), NodeError> {
        if !looked.memories.insert(stands) {
            self.changes.push((stands, eno, Change::Again));
            return Ok(());
        }
        let document = reader.shown(stands)?.as_ref().map(Document::of).map(Arc::new);
        self.bytes += document.as_ref().map_or(0, |it| it.bytes() + it.length() * WITH_BYTES);
        let place = match &document {
            Some(document) => Some(document.place),
            None => reader.place(stands)?,
        };
        self.changes.push((stands, eno, Change::Form(place, document)));
        Ok(())
    }
}

impl Tail {
    /// An empty tail: nothing changed since this entry.
    pub(super) fn after(covered: Eno) -> Self {
        Self { seen: covered, ..Self::default() }
    }

    /// Adds the entries committed since, until there are no more or there is no more room.
    pub(super) fn catch_up(&mut self, view: &dyn View, reader: &Reader<'_>, room: Room) -> Result<(), NodeError> {
        let mut looked = Looked::default();
        while let Some(wanted) = self.wants(room) {
            let some = Room { bytes: wanted.bytes.min(READ_BYTES), ..wanted };
            let Some(next) = Next::read(view, reader, self.seen, some, &mut looked)? else { return Ok(()) };
            self.take_in(next);
        }
        Ok(())
    }

    /// The part of a room that is still free; `None` if it is full.
    pub(super) fn wants(&self, room: Room) -> Option<Room> {
        room.beside(self.changed.len(), self.bytes)
    }

    /// Bytes of the words of the memories here, and of the map of them.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds changes, unless a search took them in before.
    pub(super) fn take_in(&mut self, next: Next) {
        if next.after != self.seen {
            return;
        }
        for (dot, eno, change) in next.changes {
            match change {
                Change::Form(place, document) => self.change(dot, eno, place, document),
                Change::Again => {
                    if let Some(changed) = self.changed.get_mut(&dot) {
                        changed.eno = eno;
                    }
                }
            }
        }
        self.seen = next.upto;
    }

    fn change(&mut self, dot: Dot, eno: Eno, place: Option<Place>, document: Option<Arc<Document>>) {
        if let Some(place) = place {
            self.touched.insert(place);
        }
        let first = document.map(|document| self.add(&document));
        if let Some(former) = self.changed.insert(dot, Changed { eno, place, first }).and_then(|it| it.first) {
            self.remove(former);
        }
    }

    /// Adds the passages of a document, and returns the number of the first one.
    fn add(&mut self, document: &Arc<Document>) -> Number {
        let first = self.next;
        if group::is_one(document) {
            self.groups.insert(first);
        }
        for (at, passage) in document.passages.iter().enumerate() {
            let number = self.next;
            self.next += 1;
            for word in passage.words.split_ascii_whitespace() {
                let with = match self.words.get_mut(word) {
                    Some(with) => with,
                    None => {
                        self.bytes += WORD_BYTES + word.len();
                        self.words.entry(word.into()).or_default()
                    }
                };
                match with.last_mut() {
                    Some((last, count)) if *last == number => *count += 1,
                    _ => {
                        with.push((number, 1));
                        self.bytes += WITH_BYTES;
                    }
                }
            }
            self.length += passage.length as u64;
            self.bytes += passage.words.len();
            self.passages.insert(number, (document.clone(), at));
        }
        first
    }

    /// Takes the passages of a document out, by the number of the first one.
    fn remove(&mut self, first: Number) {
        self.groups.remove(&first);
        let mut number = first;
        while let Some((document, at)) = self.passages.get(&number).filter(|(_, at)| *at as u64 == number - first) {
            let (document, passage) = (document.clone(), *at);
            self.passages.remove(&number);
            let Some(passage) = document.passages.get(passage) else { break };
            self.length -= passage.length as u64;
            self.bytes -= passage.words.len();
            for word in passage.words.split_ascii_whitespace() {
                let Some(with) = self.words.get_mut(word) else { continue };
                if let Ok(at) = with.binary_search_by_key(&number, |(number, _)| *number) {
                    with.remove(at);
                    self.bytes -= WITH_BYTES;
                }
                if with.is_empty() {
                    self.words.remove(word);
                    self.bytes -= WORD_BYTES + word.len();
                }
            }
            number += 1;
        }
    }

    /// The last entry that was taken in.
    pub(super) const fn seen(&self) -> Eno {
        self.seen
    }

    /// The memories that are looked up here and not on disk.
    pub(super) fn touched(&self) -> Touched {
        self.touched.clone()
    }

    /// The number of changes to write to disk.
    pub(super) fn held(&self) -> usize {
        self.changed.len()
    }

    /// The changes to write to disk, and the last entry that they include.
    pub(super) fn take_stock(&self) -> (Forms, Eno) {
        let document = |changed: &Changed| self.passages.get(&changed.first?).map(|(document, _)| document.clone());
        let stock = self.changed.iter().map(|(dot, changed)| (*dot, document(changed)));
        (stock.collect(), self.seen)
    }

    /// Drops the changes that the index on disk includes.
    pub(super) fn prune(&mut self, covered: Eno) {
        let mut passages = std::mem::take(&mut self.passages);
        self.words.clear();
        self.groups.clear();
        (self.length, self.bytes) = (0, 0);
        self.changed.retain(|_, changed| changed.eno > covered);
        let kept: Vec<(Dot, Arc<Document>)> = self
            .changed
            .iter()
            .filter_map(|(dot, changed)| Some((*dot, passages.remove(&changed.first?)?.0)))
            .collect();
        for (dot, document) in kept {
            let number = self.add(&document);
            if let Some(changed) = self.changed.get_mut(&dot) {
                changed.first = Some(number);
            }
        }
        self.touched = Touched::of(self.changed.values().filter_map(|changed| changed.place).collect());
    }

    /// Adds the memories here to the counts of the index on disk.
    pub(super) fn add_to(&self, statistics: &mut Statistics, frequencies: &mut Frequencies, words: &BTreeSet<&str>) {
        statistics.documents += self.passages.len() as u64;
        statistics.words += self.length;
        for word in words {
            if let Some(with) = self.words.get(*word) {
                *frequencies.entry((*word).to_owned()).or_default() += with.len() as u64;
            }
        }
    }

    /// All memories with one of the words, which are in order, scored by BM25 (Robertson and Zaragoza 2009) with the
    /// constants of the index on disk.
    pub(super) fn find(
        &self,
        sought: &[Sought],
        frequencies: &Frequencies,
        filter: &Filter,
        statistics: &Statistics,
    ) -> Vec<Match> {
        const K1: f32 = 1.2;
        const B: f32 = 0.75;
        let average = statistics.average_length();
        let weight =
            |word: &Sought| word.boost * statistics.idf(frequencies.get(&word.term).copied().unwrap_or_default());
        // `None` for those that the filter does not admit; of the others the norm and the score so far
        let mut scores: BTreeMap<Number, Option<(f32, f32)>> = BTreeMap::new();
        for word in sought {
            let weight = weight(word);
            for (number, count) in self.words.get(word.term.as_str()).into_iter().flatten() {
                let Some((norm, score)) = scores.entry(*number).or_insert_with(|| {
                    let (document, at) = self.passages.get(number).filter(|(document, _)| filter.admits(document))?;
                    #[expect(clippy::cast_precision_loss, reason = "a score")]
                    let norm = K1 * (1.0 - B + B * document.passages.get(*at)?.length as f32 / average);
                    Some((norm, 0.0))
                }) else {
                    continue;
                };
                #[expect(clippy::cast_precision_loss, reason = "a score")]
                let count = *count as f32;
                *score += weight * count * (K1 + 1.0) / (count + *norm);
            }
        }
        let found = scores.into_iter().filter_map(|(number, scored)| Some((&self.passages.get(&number)?.0, scored?.1)));
        let mut best: BTreeMap<Place, Match> = BTreeMap::new();
        for (document, score) in found.filter(|(_, score)| *score > 0.0) {
            let found = Match { place: document.place, score, stamp: document.stamp };
            let known = best.entry(document.place).or_insert(found);
            known.score = known.score.max(score);
        }
        best.into_values().collect()
    }

    /// Whether there is a memory here that a filter admits.
    pub(super) fn any(&self, filter: &Filter) -> bool {
        self.passages.values().any(|(document, _)| filter.admits(document))
    }

    /// The memories here that a filter admits, with their stamps.
    #[cfg(feature = "mcp")]
    pub(super) fn stamped(&self, filter: &Filter) -> Vec<(nexus_identity::Timestamp, Place)> {
        let firsts = self.passages.values().filter(|(_, at)| *at == 0).map(|(document, _)| document);
        let admitted = firsts.filter(|document| filter.admits(document));
        admitted.map(|document| (document.stamp, document.place)).collect()
    }

    /// Whether there is a group here.
    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The groups here with one of some keys.
    pub(super) fn groups(&self, keys: &BTreeSet<String>, wanted: &Wanted<'_>) -> Groups {
        let mut found = Groups::new();
        for document in self.groups.iter().filter_map(|number| self.passages.get(number)).map(|(document, _)| document)
        {
            for (key, at) in group::in_document(document, keys, wanted) {
                found.entry(key).or_default().push((at, document.place));
            }
        }
        found
    }

    /// The words here that are spelled nearly as another one, or begin with it.
    pub(super) fn close(&self, word: &str) -> BTreeSet<String> {
        let most = edits(word.chars().count());
        let is_single = word.chars().nth(1).is_none();
        let is_close = |here: &&str| here.starts_with(word) || !is_single && is_near(word, here, most.into());
        self.words.keys().map(|here| &**here).filter(is_close).map(str::to_owned).collect()
    }
}

/// Whether two words differ in so many edits at most: a letter more, less, or another, or two that changed places
/// (optimal string alignment, Damerau 1964). Equal first letters are asked for.
fn is_near(a: &str, b: &str, most: usize) -> bool {
    // most words end here
    if a.as_bytes().first() != b.as_bytes().first() || a.len().abs_diff(b.len()) > 4 * most {
        return false;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.first() != b.first() || a.len().abs_diff(b.len()) > most {
        return false;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let other = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = other.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()] <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_by_edits() {
        assert!(is_near("kuberntes", "kubernetes", 1) && is_near("kuberentes", "kubernetes", 1));
        assert!(is_near("staging", "stagign", 1) && !is_near("staging", "paging", 2));
        assert!(!is_near("port", "post", 0) && is_near("port", "post", 1) && !is_near("port", "reports", 2));
    }
}
