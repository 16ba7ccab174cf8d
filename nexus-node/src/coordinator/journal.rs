//! The file that the log's entries are written to: one write and one sync for each commit.
//!
//! It is made of *segments* of one size, filled with zeros and synced ahead of use, so that a sync
//! has nothing to do but the sectors of one *record*. A record holds the entries of one commit, or
//! says from which index on there are none. Each begins with a sector of its own and carries the
//! checksum of the one before, keyed with the file's id and its *epoch*: so what an earlier lap, an
//! earlier epoch or a cut-short write left behind never continues the chain.
//!
//! Where the chain begins is kept in Raft's store, as a [`Root`]; by committing another one the log
//! is purged, or begins anew. Segments before the root are written again.
//!
//! A record is synced before the next one is written, so a power loss tears the last one at most,
//! which nobody was told of. A broken record with a sound one of a higher number anywhere in the
//! file is therefore damage, and refused. (A last record that rots after it was synced looks the
//! same as a torn one; nothing in this file can tell.)

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
use crate::store::StoreError;

/// The size of a segment, and so the bound of a record. An entry travels in a frame with more
/// around it than a record has, so whatever arrived or was sent fits.
pub(super) const SEGMENT_BYTES: u32 = 1 << 20;
/// Segments that are ready before they are needed.
const SPARE: usize = 2;

const _: () = assert!(SEGMENT_BYTES as usize >= FRAME_BYTES_MAX);

/// Which journal belongs to the store, and where it begins.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// The file that it is about: drawn when that was made.
    id: [u8; 16],
    /// Raised when the log is emptied for another one.
    epoch: u64,
    start: Start,
}

/// Where a record lies, or would, and what comes before it.
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

/// The journal, for the one who writes it.
pub(super) struct Journal {
    entries: Entries,
    segment_bytes: u32,
    /// How many segments the file has.
    segments: u32,
    root: Root,
    key: Key,
    /// Where the next record goes, if it fits there.
    next: Start,
    /// Segments since the root's, in order, with the number of the first record in each.
    used: VecDeque<(u64, u32)>,
    free: BTreeSet<u32>,
    /// Those of the entries, at least, in order.
    records: VecDeque<Start>,
    /// A write failed: nobody knows what is on disk until it is opened anew.
    failed: bool,
}

/// What was found in a journal.
pub(super) struct Opened {
    pub(super) journal: Journal,
    /// How far entries were known to be committed.
    pub(super) committed: Option<u64>,
}

/// What was found at the end of the chain.
struct Followed {
    committed: Option<u64>,
    /// The last record, and where it is.
    last: Option<(u64, Vec<u8>)>,
}

/// The journal's entries, to read; clones are handles on the same ones.
#[derive(Clone)]
pub(super) struct Entries(Arc<EntryFile>);

/// What the handles share.
struct EntryFile {
    name: PathBuf,
    backend: Box<dyn StorageBackend>,
    index: Mutex<BTreeMap<u64, Place>>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Of its record.
    lsn: u64,
    offset: u64,
    bytes: u32,
    sum: [u8; 8],
}

impl Journal {
    /// Makes an empty journal of whatever the file is, and syncs it. It counts once its
    /// [`root`](Self::root) is committed.
    pub(super) fn create(
        name: &Path,
        backend: Box<dyn StorageBackend>,
        id: [u8; 16],
        segment_bytes: u32,
    ) -> Result<Self, StoreError> {
        let file = EntryFile { name: name.to_owned(), backend, index: Mutex::default() };
        let mut journal = Self::at(Entries(Arc::new(file)), segment_bytes, Root::new(id, 0));
        // an earlier file's head must not go with the new length
        journal.check(|backend| backend.set_len(0))?;
        journal.grow(SPARE as u32)?;
        journal.begin(journal.root);
        Ok(journal)
    }

    /// Opens the journal that a root speaks of. Entries up to `purged` are not in the log any more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if something is not as it was written, also if the file is not
    /// there; then it has not changed by a byte. [`StoreError::Disk`].
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
        let head = head.ok_or_else(|| {
            entries.damaged(
                "it is missing, or not the one that Raft's store goes with: put it back, or remove both, and this \
                 node comes back as another voter",
            )
        })?;
        let mut journal = Self::at(entries, head.segment_bytes, root);
        journal.segments = head.segments;
        if len < journal.offset(head.segments, 0) || root.start.segment >= head.segments {
            return Err(journal.entries.damaged("it is cut off"));
        }
        let Followed { committed, last } = journal.follow(purged)?;
        if let Some((offset, bytes)) = last {
            // It may be in the system's memory alone: its writer was killed before the sync, or the
            // sync failed.
            journal.check(|backend| backend.write(offset, &bytes))?;
            journal.check(|backend| backend.sync_data())?;
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

    /// What the store has to say for this journal to be as it is now.
    pub(super) fn root(&self) -> Root {
        self.root
    }

    /// To read from.
    pub(super) fn entries(&self) -> Entries {
        self.entries.clone()
    }

    /// Makes entries durable, the first with this index: all from there on are these.
    ///
    /// # Errors
    /// Every one is fatal: what is on disk is then known only after opening anew.
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

    /// Makes durable that there are no entries from an index on.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) fn truncate(&mut self, from: u64) -> Result<(), StoreError> {
        self.write(Draft::new(Kind::Truncate, from, None))?;
        self.entries.index().split_off(&from);
        Ok(())
    }

    /// The root of a journal without the entries up to an index. Once it is committed,
    /// [`let_go`](Self::let_go) of them.
    pub(super) fn purged(&self, upto: u64) -> Root {
        let first = self.entries.index().range(upto.saturating_add(1)..).next().map(|(_, place)| place.lsn);
        let start = first.and_then(|lsn| self.records.iter().find(|record| record.lsn == lsn));
        Root { start: start.copied().unwrap_or(self.next), ..self.root }
    }

    /// Goes on without the entries up to an index, from a root that is committed.
    pub(super) fn let_go(&mut self, root: Root, upto: u64) {
        let mut index = self.entries.index();
        let kept = index.split_off(&upto.saturating_add(1));
        *index = kept;
        drop(index);
        self.root = root;
        self.free_segments();
    }

    /// The root of an empty journal. Once it is committed, [`begin`](Self::begin) anew.
    pub(super) fn emptied(&self) -> Root {
        Root::new(self.root.id, self.root.epoch + 1)
    }

    /// Goes on without any entry, from a root that is committed.
    pub(super) fn begin(&mut self, root: Root) {
        self.entries.index().clear();
        self.records.clear();
        (self.root, self.next, self.key) = (root, root.start, Key::new(root.id, root.epoch));
        self.used = VecDeque::from([(root.start.lsn, root.start.segment)]);
        self.free_segments();
    }

    /// Segments before the root may be written again.
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

    /// Makes room ahead of need: for when nobody waits.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        if self.wants_room() { self.grow((SPARE - self.free.len()) as u32) } else { Ok(()) }
    }

    fn record_max(&self) -> usize {
        self.segment_bytes as usize
    }

    /// Where in the file.
    fn offset(&self, segment: u32, within: u32) -> u64 {
        HEAD_BYTES + u64::from(segment) * u64::from(self.segment_bytes) + u64::from(within)
    }

    /// Writes a record and syncs it; where it is.
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
        self.check(|backend| backend.sync_data())?;
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

    /// Adds segments of zeros. They count once the head says so.
    fn grow(&mut self, more: u32) -> Result<(), StoreError> {
        let segments = self.segments + more;
        let (start, end) = (self.offset(self.segments, 0), self.offset(segments, 0));
        self.check(|backend| backend.set_len(end))?;
        let zeros = vec![0; self.segment_bytes as usize];
        for at in (start..end).step_by(zeros.len()) {
            self.check(|backend| backend.write(at, &zeros))?;
        }
        self.check(|backend| backend.sync_data())?;
        let head = FileHead::new(self.root.id, self.segment_bytes, segments).encode();
        self.check(|backend| backend.write(0, &head))?;
        self.check(|backend| backend.sync_data())?;
        self.free.extend(self.segments..segments);
        self.segments = segments;
        Ok(())
    }

    fn check<T>(&mut self, run: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> Result<T, StoreError> {
        if self.failed {
            let cause = "an earlier write failed".to_owned();
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
                // it did not fit behind the one before, and went to another segment
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
                let ranges = record.entries().ok_or_else(|| self.entries.damaged("a record does not read"))?;
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
            return Err(self.entries.damaged("entries are missing"));
        }
        *self.entries.index() = index;
        self.free_segments();
        Ok(Followed { committed, last })
    }

    /// The record that comes next, if it is there.
    fn continues<'a>(&self, segment: &'a [u8], within: u32) -> Option<Record<'a>> {
        let record = Record::decode(&self.key, segment.get(within as usize..)?)?;
        (record.lsn == self.next.lsn && record.before == self.next.before).then_some(record)
    }

    /// Which segments claim to begin with which record.
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

    /// The chain has ended: nowhere is there a sound record that would have come later.
    fn refuse_damage(&self) -> Result<(), StoreError> {
        for number in 0..self.segments {
            let segment = self.read_segment(number)?;
            for at in (0..segment.len()).step_by(SECTOR_BYTES) {
                let bytes = &segment[at..];
                if claimed_lsn(bytes).is_some_and(|lsn| lsn >= self.next.lsn)
                    && Record::decode(&self.key, bytes).is_some()
                {
                    let what = format!("record {} is broken, and a later one is not", self.next.lsn);
                    return Err(self.entries.damaged(&what));
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
    /// Visits the entries of a range in order, until `visit` breaks. Each is checked against its
    /// checksum.
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
                return Err(self.damaged("an entry does not fit its checksum"));
            }
            // else it was let go of in between, and its place was written again
        }
        Ok(())
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
        StoreError::Disk { file: self.0.name.clone(), source }
    }

    /// What is said of a file whose bytes are not what was written.
    pub(super) fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged { file: self.0.name.clone(), table: None, what: what.to_owned() }
    }
}
