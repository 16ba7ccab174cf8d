//! The file of the log's entries: one write and one sync for each commit.
//!
//! It consists of *segments* of one size, filled with zeros and synced ahead of use, so that a sync
//! writes only the sectors of one *record*. A record holds the entries of one commit, or the index from
//! which on there are none. Each begins with a sector of its own. It carries the checksum of the record
//! before, keyed with the file's id and its *epoch*. So remains of an earlier lap, an earlier epoch or
//! an interrupted write never continue the chain.
//!
//! Raft's store keeps the beginning of the chain, as a [`Root`]. Committing another root purges the
//! log, or begins it anew. Segments before the root are reused, and overwritten with zeros when the node's files are compacted.
//!
//! A record is synced before the next one is written. So a power loss tears the last one at most, which
//! was not acknowledged. A broken record with a sound one of a higher number anywhere in the file is
//! therefore damage, and refused. (A last record that rots after its sync looks like a torn one;
//! nothing in this file can tell them apart.)

mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_mesh::FRAME_BYTES_MAX;
use redb::StorageBackend;

use self::record::{
    Draft, FileHead, HEAD_BYTES, Key, Kind, RECORD_HEAD_BYTES, Record, SECTOR_BYTES, Sum, claimed_lsn, entry_sum, room,
};
use crate::store::{PoisonCause, StoreDamage, StoreError, sync_failed};

/// The size of a segment, and so the bound of a record. An entry that travelled fits: its frame has
/// more overhead than a record.
pub(super) const SEGMENT_BYTES: u32 = 1 << 20;
/// The number of segments prepared ahead of need.
const SPARE: usize = 2;

const _: () = assert!(SEGMENT_BYTES as usize >= FRAME_BYTES_MAX);

/// The store's journal, and its beginning.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// The file's id, drawn when it was created.
    id: [u8; 16],
    /// Raised when the log is emptied for another one.
    epoch: u64,
    start: Start,
}

/// The place of a record, and the end of the record before.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    lsn: u64,
    before: Sum,
    segment: u32,
    within: u32,
}

impl Root {
    fn new(id: [u8; 16], epoch: u64) -> Self {
        Self { id, epoch, start: Start { lsn: 0, before: [0; 16], segment: 0, within: 0 } }
    }
}

/// The journal, for its one writer.
pub(super) struct Journal {
    entries: Entries,
    segment_bytes: u32,
    /// The number of segments in the file.
    segments: u32,
    root: Root,
    key: Key,
    /// The place of the next record, if it fits there.
    next: Start,
    /// Segments since the root's, in order, with the number of the first record in each.
    used: VecDeque<(u64, u32)>,
    free: BTreeSet<u32>,
    /// The places of the records with entries, at least, in order.
    records: VecDeque<Start>,
    /// Whether a write failed: the content of the disk is then unknown until the file is reopened.
    failed: bool,
}

/// An opened journal.
pub(super) struct Opened {
    pub(super) journal: Journal,
    /// The last index known to be committed.
    pub(super) committed: Option<u64>,
}

/// The end of the chain.
struct Followed {
    committed: Option<u64>,
    /// The last record, and its place.
    last: Option<(u64, Vec<u8>)>,
}

/// The journal's entries, for reading. Clones are handles to the same ones.
#[derive(Clone)]
pub(super) struct Entries(Arc<EntryFile>);

/// The state behind the handles.
struct EntryFile {
    name: PathBuf,
    backend: Box<dyn StorageBackend>,
    index: Mutex<BTreeMap<u64, Place>>,
}

/// The place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The number of its record.
    lsn: u64,
    offset: u64,
    bytes: u32,
    sum: [u8; 8],
}

/// Brings what was written to the disk.
fn synced(backend: &dyn StorageBackend) -> io::Result<()> {
    backend.sync_data().map_err(|error| sync_failed(&error))
}

impl Journal {
    /// Creates an empty journal in place of the file's content, and syncs it. It is valid once its
    /// [`root`](Self::root) is committed.
    pub(super) fn create(
        name: &Path,
        backend: Box<dyn StorageBackend>,
        id: [u8; 16],
        segment_bytes: u32,
    ) -> Result<Self, StoreError> {
        let file = EntryFile { name: name.to_owned(), backend, index: Mutex::default() };
        let mut journal = Self::at(Entries(Arc::new(file)), segment_bytes, Root::new(id, 0));
        // an earlier file's head must not stay with the new length
        journal.check(|backend| backend.set_len(0))?;
        journal.grow(SPARE as u32)?;
        journal.begin(journal.root);
        Ok(journal)
    }

    /// Opens the journal of a root. Entries up to `purged` are not in the log any more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if bytes differ from those written, or the file is missing; it was not
    /// changed then. [`StoreError::Disk`].
    pub(super) fn open(
        name: &Path,
        backend: Box<dyn StorageBackend>,
        root: Root,
        purged: Option<u64>,
    ) -> Result<Opened, StoreError> {
        let file = EntryFile { name: name.to_owned(), backend, index: Mutex::default() };
        let entries = Entries(Arc::new(file));
        let len = entries.check(|backend| backend.len())?;
        let mut sector = [0; SECTOR_BYTES];
        if len >= HEAD_BYTES {
            entries.check(|backend| backend.read(0, &mut sector))?;
        }
        let head = FileHead::decode(&sector).filter(|head| head.id == root.id);
        let head = head.ok_or_else(|| entries.damaged(StoreDamage::OtherJournal))?;
        let mut journal = Self::at(entries, head.segment_bytes, root);
        journal.segments = head.segments;
        if len < journal.offset(head.segments, 0) || root.start.segment >= head.segments {
            return Err(journal.entries.damaged(StoreDamage::CutOff));
        }
        let Followed { committed, last } = journal.follow(purged)?;
        if let Some((offset, bytes)) = last {
            // The record may be in the system's memory alone: its writer was killed before the sync, or
            // the sync failed.
            journal.check(|backend| backend.write(offset, &bytes))?;
            journal.check(synced)?;
        }
        Ok(Opened { journal, committed })
    }

    fn at(entries: Entries, segment_bytes: u32, root: Root) -> Self {
        Self {
            entries,
            segment_bytes,
            segments: 0,
            root,
            key: Key::new(root.id, root.epoch),
            next: root.start,
            used: VecDeque::from([(root.start.lsn, root.start.segment)]),
            free: BTreeSet::new(),
            records: VecDeque::new(),
            failed: false,
        }
    }

    /// The root that makes the store agree with this journal.
    pub(super) fn root(&self) -> Root {
        self.root
    }

    /// The entries, for reading.
    pub(super) fn entries(&self) -> Entries {
        self.entries.clone()
    }

    /// Makes entries durable. They replace all entries from the index `first` on.
    ///
    /// # Errors
    /// Every error is fatal: only reopening tells what is on disk.
    pub(super) fn append(&mut self, first: u64, entries: &[Vec<u8>], committed: Option<u64>) -> Result<(), StoreError> {
        let mut at = 0;
        while at < entries.len() {
            let index = first + at as u64;
            let mut draft = Draft::new(Kind::Append, index, committed);
            let mut places = Vec::new();
            while let Some(entry) = entries.get(at)
                && (places.is_empty() || room(draft.len() - RECORD_HEAD_BYTES + 4 + entry.len()) <= self.record_max())
            {
                places.push((draft.push(entry), entry_sum(entry)));
                at += 1;
            }
            let record = self.write(draft)?;
            let (lsn, start) = (record.lsn, self.offset(record.segment, record.within));
            let mut live = self.entries.index();
            live.split_off(&index);
            live.extend((index..).zip(places).map(|(index, (within, sum))| {
                let offset = start + within.start as u64;
                (index, Place { lsn, offset, bytes: within.len() as u32, sum })
            }));
        }
        Ok(())
    }

    /// Removes all entries from an index on, durably.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) fn truncate(&mut self, from: u64) -> Result<(), StoreError> {
        self.write(Draft::new(Kind::Truncate, from, None))?;
        self.entries.index().split_off(&from);
        Ok(())
    }

    /// The root of a journal without the entries up to an index. [`let_go`](Self::let_go) of them once
    /// the root is committed.
    pub(super) fn purged(&self, upto: u64) -> Root {
        let first = self.entries.index().range(upto.saturating_add(1)..).next().map(|(_, place)| place.lsn);
        let start = first.and_then(|lsn| self.records.iter().find(|record| record.lsn == lsn));
        Root { start: start.copied().unwrap_or(self.next), ..self.root }
    }

    /// Drops the entries up to an index, for a root that is committed.
    pub(super) fn let_go(&mut self, root: Root, upto: u64) {
        let mut index = self.entries.index();
        let kept = index.split_off(&upto.saturating_add(1));
        *index = kept;
        drop(index);
        self.root = root;
        self.free_segments();
    }

    /// The root of an empty journal. [`begin`](Self::begin) anew once it is committed.
    pub(super) fn emptied(&self) -> Root {
        Root::new(self.root.id, self.root.epoch + 1)
    }

    /// Drops all entries, for a root that is committed.
    pub(super) fn begin(&mut self, root: Root) {
        self.entries.index().clear();
        self.records.clear();
        (self.root, self.next, self.key) = (root, root.start, Key::new(root.id, root.epoch));
        self.used = VecDeque::from([(root.start.lsn, root.start.segment)]);
        self.free_segments();
    }

    /// Frees the segments before the root for reuse.
    fn free_segments(&mut self) {
        let start = self.root.start.lsn;
        while self.used.get(1).is_some_and(|(first, _)| *first <= start) {
            self.used.pop_front();
        }
        while self.records.front().is_some_and(|record| record.lsn < start) {
            self.records.pop_front();
        }
        let used: BTreeSet<u32> = self.used.iter().map(|(_, segment)| *segment).collect();
        self.free = (0..self.segments).filter(|segment| !used.contains(segment)).collect();
    }

    /// Whether [`prepare`](Self::prepare) has something to do.
    pub(super) fn wants_room(&self) -> bool {
        self.free.len() < SPARE
    }

    /// Prepares segments ahead of need, at a time without writes.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        if self.wants_room() { self.grow((SPARE - self.free.len()) as u32) } else { Ok(()) }
    }

    /// Overwrites what a segment has of records that were dropped. Returns whether there is such a segment. A crash in between
    /// leaves a part of that, which never continues the chain.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) fn scrub(&mut self, segment: u32) -> Result<bool, StoreError> {
        let bytes = match self.root.start {
            _ if self.free.contains(&segment) => self.segment_bytes,
            // the root may be where a segment ended that later records have taken since
            start if start.segment == segment && self.used.front().is_some_and(|(_, first)| *first == segment) => {
                start.within
            }
            _ => return Ok(segment < self.segments),
        };
        let mut before = vec![0; bytes as usize];
        let offset = self.offset(segment, 0);
        self.check(|backend| backend.read(offset, &mut before))?;
        if before.iter().any(|byte| *byte != 0) {
            self.check(|backend| backend.write(offset, &vec![0; bytes as usize]))?;
            self.check(synced)?;
        }
        Ok(true)
    }

    fn record_max(&self) -> usize {
        self.segment_bytes as usize
    }

    /// A place as an offset in the file.
    fn offset(&self, segment: u32, within: u32) -> u64 {
        HEAD_BYTES + u64::from(segment) * u64::from(self.segment_bytes) + u64::from(within)
    }

    /// Writes a record and syncs it. Returns its place.
    fn write(&mut self, draft: Draft) -> Result<Start, StoreError> {
        let bytes_max = self.record_max();
        if draft.len() > bytes_max {
            self.failed = true;
            let what = format!("an entry of {} bytes does not fit a segment", draft.len());
            return Err(self.entries.disk(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        let (bytes, sum) = draft.finish(&self.key, self.next.lsn, &self.next.before);
        if self.next.within as usize + bytes.len() > bytes_max {
            self.next.segment = self.take_segment()?;
            self.next.within = 0;
            self.used.push_back((self.next.lsn, self.next.segment));
        }
        let here = self.next;
        let offset = self.offset(here.segment, here.within);
        self.check(|backend| backend.write(offset, &bytes))?;
        self.check(synced)?;
        self.records.push_back(here);
        self.next = Start { lsn: here.lsn + 1, before: sum, within: here.within + bytes.len() as u32, ..here };
        Ok(here)
    }

    fn take_segment(&mut self) -> Result<u32, StoreError> {
        if self.free.is_empty() {
            self.grow(1)?;
        }
        // never empty: the file has just grown
        Ok(self.free.pop_first().unwrap_or(self.segments))
    }

    /// Adds segments of zeros. They are valid once the head names them.
    fn grow(&mut self, more: u32) -> Result<(), StoreError> {
        let segments = self.segments + more;
        let (start, end) = (self.offset(self.segments, 0), self.offset(segments, 0));
        self.check(|backend| backend.set_len(end))?;
        let zeros = vec![0; self.segment_bytes as usize];
        for at in (start..end).step_by(zeros.len()) {
            self.check(|backend| backend.write(at, &zeros))?;
        }
        self.check(synced)?;
        let head = FileHead::new(self.root.id, self.segment_bytes, segments).encode();
        self.check(|backend| backend.write(0, &head))?;
        self.check(synced)?;
        self.free.extend(self.segments..segments);
        self.segments = segments;
        Ok(())
    }

    fn check<T>(&mut self, run: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> Result<T, StoreError> {
        if self.failed {
            let cause = PoisonCause::Journal;
            return Err(StoreError::Poisoned { file: self.entries.0.name.clone(), cause });
        }
        let result = self.entries.check(run);
        self.failed = result.is_err();
        result
    }

    /// Follows the chain from the root to its end.
    fn follow(&mut self, purged: Option<u64>) -> Result<Followed, StoreError> {
        let firsts = self.first_records()?;
        let mut index = BTreeMap::new();
        let (mut committed, mut last) = (None, None);
        let mut segment = (self.next.segment, self.read_segment(self.next.segment)?);
        loop {
            let mut found = self.continues(&segment.1, self.next.within);
            if found.is_none() {
                // the record did not fit after the one before, and is in another segment
                for candidate in firsts.get(&self.next.lsn).into_iter().flatten() {
                    let bytes = self.read_segment(*candidate)?;
                    if self.continues(&bytes, 0).is_some() {
                        segment = (*candidate, bytes);
                        (self.next.segment, self.next.within) = (*candidate, 0);
                        self.used.push_back((self.next.lsn, *candidate));
                        found = self.continues(&segment.1, 0);
                        break;
                    }
                }
            }
            let Some(record) = found else { break };
            let here = self.next;
            let offset = self.offset(here.segment, here.within);
            index.split_off(&record.index);
            if record.kind == Kind::Append {
                let ranges = record.entries().ok_or_else(|| self.entries.damaged(StoreDamage::Record))?;
                let start = here.within as usize;
                for (number, within) in (record.index..).zip(ranges) {
                    let sum = entry_sum(&segment.1[start + within.start..start + within.end]);
                    let place =
                        Place { lsn: here.lsn, offset: offset + within.start as u64, bytes: within.len() as u32, sum };
                    index.insert(number, place);
                }
            }
            committed = committed.max(record.committed);
            let room = record.room();
            last = Some((offset, here.within as usize..here.within as usize + room));
            self.next = Start { lsn: here.lsn + 1, before: record.sum, within: here.within + room as u32, ..here };
            self.records.push_back(here);
        }
        let last = last.and_then(|(offset, range)| Some((offset, segment.1.get(range)?.to_vec())));
        self.refuse_damage()?;
        let index = index.split_off(&purged.map_or(0, |purged| purged.saturating_add(1)));
        let expected = purged.map_or(0, |purged| purged + 1);
        if (expected..).zip(index.keys()).any(|(expected, index)| expected != *index) {
            return Err(self.entries.damaged(StoreDamage::EntriesMissing));
        }
        *self.entries.index() = index;
        self.free_segments();
        Ok(Followed { committed, last })
    }

    /// The next record of the chain, if it is at this place.
    fn continues<'a>(&self, segment: &'a [u8], within: u32) -> Option<Record<'a>> {
        let record = Record::decode(&self.key, segment.get(within as usize..)?)?;
        (record.lsn == self.next.lsn && record.before == self.next.before).then_some(record)
    }

    /// The segments by the number of the record that they claim to begin with.
    fn first_records(&self) -> Result<BTreeMap<u64, Vec<u32>>, StoreError> {
        let mut firsts: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for segment in 0..self.segments {
            let mut sector = [0; SECTOR_BYTES];
            self.entries.check(|backend| backend.read(self.offset(segment, 0), &mut sector))?;
            if let Some(lsn) = claimed_lsn(&sector) {
                firsts.entry(lsn).or_default().push(segment);
            }
        }
        Ok(firsts)
    }

    /// Checks after the end of the chain that no later sound record exists anywhere.
    fn refuse_damage(&self) -> Result<(), StoreError> {
        for number in 0..self.segments {
            let segment = self.read_segment(number)?;
            for at in (0..segment.len()).step_by(SECTOR_BYTES) {
                let bytes = &segment[at..];
                if claimed_lsn(bytes).is_some_and(|lsn| lsn >= self.next.lsn)
                    && Record::decode(&self.key, bytes).is_some()
                {
                    return Err(self.entries.damaged(StoreDamage::BrokenRecord(self.next.lsn)));
                }
            }
        }
        Ok(())
    }

    fn read_segment(&self, segment: u32) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; self.segment_bytes as usize];
        self.entries.check(|backend| backend.read(self.offset(segment, 0), &mut bytes))?;
        Ok(bytes)
    }
}

impl Entries {
    /// Visits the entries of a range in order, until `visit` breaks. Each is checked by its checksum.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Disk`].
    pub(super) fn scan(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut next = range.start;
        let first_from = |next: u64| {
            let index = self.index();
            let found = (next < range.end).then(|| index.range(next..range.end).next()).flatten();
            found.map(|(index, place)| (*index, *place))
        };
        while let Some((index, place)) = first_from(next) {
            let mut bytes = vec![0; place.bytes as usize];
            self.check(|backend| backend.read(place.offset, &mut bytes))?;
            if entry_sum(&bytes) == place.sum {
                next = index + 1;
                if visit(index, &bytes).is_break() {
                    break;
                }
            } else if self.index().get(&index) == Some(&place) {
                return Err(self.damaged(StoreDamage::EntryChecksum));
            }
            // else it was dropped in between, and its place was reused
        }
        Ok(())
    }

    /// The bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.index().values().map(|place| u64::from(place.bytes)).sum()
    }

    /// The index of the last entry.
    pub(super) fn last(&self) -> Option<u64> {
        self.index().last_key_value().map(|(index, _)| *index)
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<u64, Place>> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check<T>(&self, run: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> Result<T, StoreError> {
        run(&*self.0.backend).map_err(|error| self.disk(error))
    }

    fn disk(&self, source: io::Error) -> StoreError {
        StoreError::Disk { file: self.0.name.clone(), source: Arc::new(source) }
    }

    /// The error for bytes that differ from those written.
    pub(super) fn damaged(&self, what: StoreDamage) -> StoreError {
        StoreError::Damaged { file: self.0.name.clone(), table: None, what }
    }
}
