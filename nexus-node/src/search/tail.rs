use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use nexus_crdt::{Core, Dot, EntryId, Kind, PlacedWrite, Target, Verified, writes_of};

use super::words::{quarters, similar};
use super::{Document, Filter, Match, Statistics};
use crate::NodeError;
use crate::ledger::rows::{self, Eno, EntryRow, Place, SpaceNo};
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
    /// The memories by each quarter of their fingerprints, and its number.
    by_quarter: BTreeSet<(usize, u16, Dot)>,
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
                for dot in touched {
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
        let print = |changed: &Changed| changed.document.as_ref().map(|document| document.fingerprint);
        let (now, before) = (print(&changed), self.changed.insert(dot, changed).as_ref().and_then(print));
        if now != before {
            for at in before.into_iter().flat_map(|print| by_quarter(print, dot)) {
                self.by_quarter.remove(&at);
            }
            self.by_quarter.extend(now.into_iter().flat_map(|print| by_quarter(print, dot)));
        }
    }

    /// The memories that are looked up here and not on disk.
    pub(super) fn touched(&self) -> Arc<BTreeSet<Place>> {
        self.touched.clone()
    }

    /// Whether the index on disk includes everything.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The changes to write to disk, and the last entry that they include.
    pub(super) fn take_stock(&self) -> (Vec<(Dot, Option<Document>)>, Eno) {
        let stock = self.changed.iter().map(|(dot, changed)| (*dot, changed.document.clone()));
        (stock.collect(), self.seen)
    }

    /// Drops the changes that the index on disk includes.
    pub(super) fn prune(&mut self, covered: Eno) {
        self.changed.retain(|_, changed| changed.eno > covered);
        self.by_quarter.retain(|(_, _, dot)| self.changed.contains_key(dot));
        self.touched = Arc::new(self.changed.values().filter_map(|changed| changed.place).collect());
    }

    /// Adds the memories here to the counts of the index on disk.
    pub(super) fn add_to(&self, statistics: &mut Statistics, words: &[String]) {
        for document in self.documents() {
            statistics.documents += 1;
            statistics.words += document.length as u64;
            for (frequency, count) in statistics.frequencies.iter_mut().zip(counts(document, words)) {
                *frequency += u64::from(count > 0);
            }
        }
    }

    /// All memories with one of the words, scored by BM25 (Robertson and Zaragoza 2009) with the
    /// constants of the index on disk.
    pub(super) fn find(&self, words: &[String], filter: &Filter, statistics: &Statistics) -> Vec<Match> {
        const K1: f32 = 1.2;
        const B: f32 = 0.75;
        #[expect(clippy::cast_precision_loss, reason = "a score")]
        let weight = |frequency: u64| {
            let (all, with) = (statistics.documents as f32, frequency as f32);
            (1.0 + (all - with + 0.5).max(0.5) / (with + 0.5)).ln()
        };
        #[expect(clippy::cast_precision_loss, reason = "a score")]
        let average = (statistics.words as f32 / (statistics.documents as f32).max(1.0)).max(1.0);
        let weights: Vec<f32> = statistics.frequencies.iter().map(|frequency| weight(*frequency)).collect();
        let mut found = Vec::new();
        for document in self.documents() {
            if !filter.admits(document) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "a score")]
            let norm = K1 * (1.0 - B + B * document.length as f32 / average);
            let mut score = 0.0;
            for (count, weight) in counts(document, words).into_iter().zip(&weights) {
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

    pub(super) fn similar(&self, print: u64, space: SpaceNo) -> Option<Place> {
        let first = Dot { entry: EntryId::ZERO, index: 0 };
        let near = (0..).zip(quarters(print)).flat_map(|(number, quarter)| {
            let from = self.by_quarter.range((number, quarter, first)..);
            from.take_while(move |at| (at.0, at.1) == (number, quarter)).map(|(_, _, dot)| dot)
        });
        let mut documents = near.filter_map(|dot| self.changed.get(dot)?.document.as_ref());
        let same = |document: &&Document| document.space == space && similar(document.fingerprint, print);
        documents.find(same).map(|document| document.place)
    }

    fn documents(&self) -> impl Iterator<Item = &Document> {
        self.changed.values().filter_map(|changed| changed.document.as_ref())
    }
}

/// Where a memory with this fingerprint is found.
fn by_quarter(print: u64, dot: Dot) -> impl Iterator<Item = (usize, u16, Dot)> {
    (0..).zip(quarters(print)).map(move |(number, quarter)| (number, quarter, dot))
}

/// The number of times that each of some words is in a document.
fn counts(document: &Document, words: &[String]) -> Vec<u32> {
    let mut counts = vec![0; words.len()];
    for here in document.words.split_ascii_whitespace() {
        if let Some(at) = words.iter().position(|word| word == here) {
            counts[at] += 1;
        }
    }
    counts
}

/// Some entries after one, each with the records that it changed.
fn touched_after(view: &dyn View, after: Eno) -> Result<Vec<(Eno, BTreeSet<Dot>)>, StoreError> {
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
