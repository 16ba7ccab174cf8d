use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use nexus_crdt::{Core, Dot, Kind, PlacedWrite, Target, Verified, writes_of};
use nexus_identity::plants::planted;

use super::group::{self, Groups, Wanted};
use super::{Document, Filter, Frequencies, Match, Sought, Statistics, edits};
use crate::NodeError;
use crate::ledger::rows::{self, Eno, EntryRow, Place};
use crate::ledger::{self, first_with_key};
use crate::memory::read::Reader;
use crate::store::{Order, StoreError, Table, View};

/// Entries read at a time.
const ENTRIES_PER_SCAN: usize = 256;

/// The memories that changed since the last write of the index on disk. They are few, and searched one
/// by one.
#[derive(Debug, Default)]
pub(super) struct Tail {
    seen: Eno,
    changed: BTreeMap<Dot, Changed>,
    /// The places of all changed memories. A search takes a handle; the set is copied only if it
    /// changes meanwhile.
    touched: Arc<BTreeSet<Place>>,
}

/// A memory that changed.
#[derive(Debug)]
struct Changed {
    /// The last entry that touched it.
    eno: Eno,
    /// Its place; `None` if it is not here, as when an edit arrives before its memory.
    place: Option<Place>,
    /// Its current form; `None` if it is not visible.
    document: Option<Document>,
}

/// The records and memories of one state of the store that were read.
#[derive(Default)]
struct Looked {
    /// The records that stand for others, by those.
    stands: BTreeMap<Dot, Option<Dot>>,
    /// The memories, by the records that stand for them.
    memories: BTreeSet<Dot>,
}

impl Tail {
    /// An empty tail: nothing changed since this entry.
    pub(super) fn after(covered: Eno) -> Self {
        Self { seen: covered, ..Self::default() }
    }

    /// Adds the entries committed since, until there are no more or `most` memories are held.
    pub(super) fn catch_up(&mut self, view: &dyn View, reader: &Reader<'_>, most: usize) -> Result<(), NodeError> {
        let mut looked = Looked::default();
        while self.changed.len() < most {
            let entries = touched_after(view, self.seen)?;
            if entries.is_empty() {
                return Ok(());
            }
            for (eno, touched) in entries {
                for dot in touched.into_iter().filter(|_| !(planted("searches_some_alone") && eno % 5 == 0)) {
                    self.look_at(dot, eno, reader, &mut looked)?;
                }
                self.seen = eno;
                if self.changed.len() >= most {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Adds the current form of the memory of a record. Members choose how many entries touch one memory, so each
    /// record and each memory is read once in a state of the store.
    fn look_at(&mut self, dot: Dot, eno: Eno, reader: &Reader<'_>, looked: &mut Looked) -> Result<(), NodeError> {
        let stands = match looked.stands.get(&dot) {
            Some(stands) => *stands,
            None => *looked.stands.entry(dot).or_insert(reader.stands_for(dot)?),
        };
        if stands != Some(dot) {
            self.change(dot, Changed { eno, place: reader.place(dot)?, document: None });
        }
        let Some(stands) = stands else { return Ok(()) };
        if !looked.memories.insert(stands) {
            if let Some(changed) = self.changed.get_mut(&stands) {
                changed.eno = eno;
            }
            return Ok(());
        }
        let document = reader.shown(stands)?.as_ref().map(Document::of);
        let place = match &document {
            Some(document) => Some(document.place),
            None => reader.place(stands)?,
        };
        self.change(stands, Changed { eno, place, document });
        Ok(())
    }

    fn change(&mut self, dot: Dot, changed: Changed) {
        if let Some(place) = changed.place {
            Arc::make_mut(&mut self.touched).insert(place);
        }
        self.changed.insert(dot, changed);
    }

    /// The last entry that was taken in.
    pub(super) const fn seen(&self) -> Eno {
        self.seen
    }

    /// The memories that are looked up here and not on disk.
    pub(super) fn touched(&self) -> Arc<BTreeSet<Place>> {
        self.touched.clone()
    }

    /// The changes to write to disk, and the last entry that they include.
    pub(super) fn take_stock(&self) -> (Vec<(Dot, Option<Document>)>, Eno) {
        let stock = self.changed.iter().map(|(dot, changed)| (*dot, changed.document.clone()));
        (stock.collect(), self.seen)
    }

    /// Drops the changes that the index on disk includes.
    pub(super) fn prune(&mut self, covered: Eno) {
        self.changed.retain(|_, changed| changed.eno > covered);
        self.touched = Arc::new(self.changed.values().filter_map(|changed| changed.place).collect());
    }

    /// Adds the memories here to the counts of the index on disk.
    pub(super) fn add_to(&self, statistics: &mut Statistics, frequencies: &mut Frequencies, words: &BTreeSet<&str>) {
        let mut seen = BTreeSet::new();
        for document in self.documents() {
            statistics.documents += 1;
            statistics.words += document.length as u64;
            seen.clear();
            for here in document.words.split_ascii_whitespace() {
                if words.contains(here) && seen.insert(here) {
                    *frequencies.entry(here.to_owned()).or_default() += 1;
                }
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
        let weights: Vec<f32> = sought.iter().map(weight).collect();
        let mut found = Vec::new();
        for document in self.documents() {
            if !filter.admits(document) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "a score")]
            let norm = K1 * (1.0 - B + B * document.length as f32 / average);
            let mut score = 0.0;
            for (count, weight) in counts(document, sought).into_iter().zip(&weights) {
                #[expect(clippy::cast_precision_loss, reason = "a score")]
                let count = count as f32;
                score += weight * count * (K1 + 1.0) / (count + norm);
            }
            if score > 0.0 {
                found.push(Match { place: document.place, score, stamp: document.stamp });
            }
        }
        found
    }

    /// Whether there is a group here.
    pub(super) fn has_groups(&self) -> bool {
        self.documents().any(group::is_one)
    }

    /// The groups here with one of some keys.
    pub(super) fn groups(&self, keys: &BTreeSet<String>, wanted: &Wanted<'_>) -> Groups {
        let mut found = Groups::new();
        for document in self.documents() {
            for (key, at) in group::in_document(document, keys, wanted) {
                found.entry(key).or_default().push((at, document.place));
            }
        }
        found
    }

    /// The words here that are spelled nearly as another one, or begin with it.
    pub(super) fn close(&self, word: &str) -> BTreeSet<String> {
        let (most, mut close) = (edits(word.chars().count()), BTreeSet::new());
        for document in self.documents() {
            for here in document.words.split_ascii_whitespace() {
                if (here.starts_with(word) || is_near(word, here, most.into())) && !close.contains(here) {
                    close.insert(here.to_owned());
                }
            }
        }
        close
    }

    fn documents(&self) -> impl Iterator<Item = &Document> {
        self.changed.values().filter_map(|changed| changed.document.as_ref())
    }
}

/// The number of times that each of some words, which are in order, is in a document.
fn counts(document: &Document, sought: &[Sought]) -> Vec<u32> {
    let mut counts = vec![0; sought.len()];
    for here in document.words.split_ascii_whitespace() {
        if let Ok(at) = sought.binary_search_by(|word| word.term.as_str().cmp(here)) {
            counts[at] += 1;
        }
    }
    counts
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

/// Some entries after one, each with the records that it changed.
pub(crate) fn touched_after(view: &dyn View, after: Eno) -> Result<Vec<(Eno, BTreeSet<Dot>)>, StoreError> {
    let mut found = Vec::new();
    let start = rows::eno_key(after);
    view.try_scan(Table::Entries, (Bound::Excluded(&start), Bound::Unbounded), Order::Forward, &mut |key, value| {
        let row: EntryRow = rows::decode(Table::Entries, value)?;
        found.push((rows::read_eno(Table::Entries, key)?, row));
        Ok(if found.len() < ENTRIES_PER_SCAN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let Some((first, last)) = found.first().zip(found.last()).map(|(first, last)| (first.0, last.0)) else {
        return Ok(Vec::new());
    };
    let standings = ledger::standings(view, first, last)?;
    let turned = ledger::Turned::between(view, first, last)?;
    let mut touched = Vec::with_capacity(found.len());
    for (eno, row) in found {
        let mut dots = BTreeSet::new();
        for other in turned.enos(view, eno)? {
            let Some(entry) = ledger::read_entry(view, other)? else { continue };
            dots.extend(touched_by(&entry));
            dots.extend(shown_instead(view, &entry)?);
        }
        if !standings.contains_key(&eno) {
            let entry = row.into_entry(view.get(Table::Payloads, &rows::eno_key(eno))?)?;
            dots.extend(touched_by(&entry));
        }
        touched.push((eno, dots));
    }
    Ok(touched)
}

/// The records that an entry writes to.
fn touched_by(entry: &Verified) -> Vec<Dot> {
    if entry.header().kind != Kind::WRITES {
        return Vec::new();
    }
    let record = |PlacedWrite { index, write, .. }| match write.target {
        Target::Create { .. } => Dot { entry: entry.id(), index },
        Target::Edit { record } => record,
    };
    writes_of(entry).unwrap_or_default().into_iter().map(record).collect()
}

/// The records that stand for those with the caller's keys of an entry's records: they are shown in their place.
fn shown_instead(view: &dyn View, entry: &Verified) -> Result<BTreeSet<Dot>, StoreError> {
    let Some(space) = ledger::find_space(view, entry.header().space)?.filter(|_| entry.header().kind == Kind::WRITES)
    else {
        return Ok(BTreeSet::new());
    };
    let mut dots = BTreeSet::new();
    for PlacedWrite { write, .. } in writes_of(entry).unwrap_or_default() {
        let key = matches!(write.target, Target::Create { .. }).then(|| Core::parse(&write.value)?.key).flatten();
        if let Some(key) = key {
            dots.extend(first_with_key(view, space.no, &key)?);
        }
    }
    Ok(dots)
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
