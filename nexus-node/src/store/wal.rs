//! A write-ahead log under the database.
//!
//! A commit writes some thirty pages, each in another place of a large file. A disk takes its time for each place. So a
//! sync appends copies of these pages to a file beside, in one place, and syncs that file alone. The pages go to the
//! database file too, where the operating system brings them to the disk when it has time. After a crash the log is
//! played over the database file: what was synced is there again.
//!
//! The log has two segments, which are filled in turn. When one is full, the database file is synced in a thread of its
//! own, while the other one fills. A segment is written anew only after that sync. Each filling has a *generation*,
//! counted up. At a start the segment with the highest generation counts, and the other one if it has the generation
//! before. A commit that is too large for a record syncs the database file itself. After that an empty record, two
//! generations later, takes the place of the older segment, so that neither of the earlier ones is played again.
//!
//! A record is a head, padded to whole blocks, and the bytes of each write, padded in the same way. So pages lie at
//! multiples of their size here too, and [`carve`](super::carve) finds their rows. A record counts if its checksum holds
//! and its number is the next one. (Models: the double-write buffer of InnoDB, the rollback journal of SQLite.)

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::{is_full, open_private, sync_directory};

const BLOCK_BYTES: usize = 4_096;
const MAGIC: &[u8; 8] = b"nexuswal";
const VERSION: u32 = 1;
/// Magic, version, number of operations, size of a segment, generation, sequence, records of the generation before,
/// commits before and after, size and checksum.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8 * 7 + CHECKSUM_BYTES;
const CHECKSUM_AT: usize = HEAD_BYTES - CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 16;
/// Offset, number of bytes, kind.
const OPERATION_BYTES: usize = 8 + 4 + 4;
const WRITE: u32 = 0;
const SET_LEN: u32 = 1;
/// The file grows by at least so much, and by at most so much, to be written in place for the most part.
const GROWTH_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=1 << 20;
/// Memory for a record that is kept between commits.
const KEPT_BYTES: usize = 512 << 10;
/// The numbers of commits that a database file may be ahead of its log: one commit was not synced, and numbers are left out
/// for those that came to nothing.
const AHEAD_MAX: u64 = 16;

/// The default size of a segment, in bytes.
pub(super) const SEGMENT_BYTES: u64 = 2 << 20;

/// The place of the log.
#[derive(Debug)]
pub(super) enum LogPlace {
    /// A file, which is there while a store is open, and after a crash.
    File(PathBuf),
    /// Another storage.
    Backend(Arc<dyn StorageBackend>),
}

/// One write to the database file, or a change of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    offset: u64,
    bytes: u32,
    kind: u32,
}

/// A step that is played at a start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replayed {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

/// The log as a start found it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Its steps, in order.
    pub(super) steps: Vec<Replayed>,
    /// The last commits that the database file was synced with before them, and the last one in the log.
    commits: Option<(u64, u64)>,
    /// The highest generation and its segment.
    last: Option<(u64, u64)>,
}

/// A storage whose syncs go to a log first.
#[derive(Debug)]
pub(super) struct Wal {
    main: Arc<dyn StorageBackend>,
    place: LogPlace,
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Option<Arc<dyn StorageBackend>>,
    /// The bytes of each segment that the log has written since it was opened, so that writing there needs no new room.
    grown: [u64; 2],
    /// The writes since the last sync, and their bytes in whole blocks.
    operations: Vec<Operation>,
    data: Vec<u8>,
    /// The writes since the last sync are too many for a record.
    is_large: bool,
    /// Whether records are written. Else each sync is one of the database file.
    is_used: bool,
    /// The place for the next record. `None` until the database file is synced after the start.
    at: Option<Place>,
    /// The generation of the last record in the log, and its segment.
    last: Option<(u64, u64)>,
    /// The sync of the database file with all that the segment before this one has.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// The last commit that was written to the database file, and the last one that was synced.
    written: u64,
    synced: u64,
    has_failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    offset: u64,
    generation: u64,
    sequence: u64,
    /// The number of records of the generation before, in the other segment.
    previous: u64,
    /// The last commit before this generation.
    begins: u64,
}

impl Wal {
    /// A log over a storage, and the steps of it that a crash left.
    ///
    /// # Errors
    /// The log cannot be read, or is of another state of the storage ([`io::ErrorKind::InvalidData`]).
    pub(super) fn open(
        main: Arc<dyn StorageBackend>,
        place: LogPlace,
        segment_bytes: u64,
    ) -> io::Result<(Self, Found)> {
        // not kept: whoever had the storage open may take the log away until the lock is ours
        let found = match place.existing()? {
            Some(log) => find(&*log, segment_bytes)?,
            None => Found::default(),
        };
        let written = commits_of(&head(&*main)?);
        if let Some((before, last)) = found.commits
            && !(before..=last.saturating_add(AHEAD_MAX)).contains(&written)
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let state = State { last: found.last, written, ..State::default() };
        Ok((Self { main, place, segment_bytes, state: Mutex::new(state) }, found))
    }

    /// Whether the log is as it was found: nobody else has the storage open.
    pub(super) fn is_still(&self, found: &Found) -> io::Result<bool> {
        let now = match self.place.existing()? {
            Some(log) => find(&*log, self.segment_bytes)?,
            None => Found::default(),
        };
        Ok(now == *found)
    }

    /// Lets syncs write records from now on, or has each sync the database file again.
    pub(super) fn set_used(&self, is_used: bool) {
        self.state().is_used = is_used;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the pending writes to the log, and syncs it.
    fn append(&self, state: &mut State) -> io::Result<()> {
        let Some(place) = state.at.filter(|_| state.is_used && !state.is_large) else { return self.sync_main(state) };
        if state.operations.is_empty() {
            return Ok(());
        }
        let record_bytes = (head_bytes(state.operations.len()) + state.data.len()) as u64;
        if record_bytes > self.segment_bytes {
            return self.sync_main(state);
        }
        let place = if place.offset + record_bytes > self.segment_bytes { self.turn(state, place)? } else { place };
        let log = match self.log(state) {
            Err(error) if is_full(&error) => return self.sync_main(state),
            log => log?,
        };
        match self.write_record(&*log, state, place, record_bytes) {
            Err(error) if is_full(&error) => return self.sync_main(state),
            written => written?,
        }
        log.sync_data()?;
        state.last = Some((place.generation, place.segment));
        state.at = Some(Place { offset: place.offset + record_bytes, sequence: place.sequence + 1, ..place });
        state.forget();
        Ok(())
    }

    fn write_record(
        &self,
        log: &dyn StorageBackend,
        state: &mut State,
        place: Place,
        record_bytes: u64,
    ) -> io::Result<()> {
        let head = encode_head(&state.operations, &state.data, place, self.segment_bytes, state.written);
        let segment_begin = place.segment * self.segment_bytes;
        let (begin, end) = (segment_begin + place.offset, place.offset + record_bytes);
        let grown = &mut state.grown[place.segment as usize];
        if end > *grown {
            let growth = (*grown).clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
            let until = end.next_multiple_of(growth).min(self.segment_bytes);
            log.write(segment_begin + end, &vec![0; (until - end) as usize])?;
            *grown = until;
        }
        log.write(begin + head.len() as u64, &state.data)?;
        log.write(begin, &head)
    }

    /// Goes on in the other segment, after the sync of what it has. Begins the sync of what this one has.
    #[expect(clippy::disallowed_methods, reason = "the store has no spawner; the thread lives for one sync")]
    fn turn(&self, state: &mut State, place: Place) -> io::Result<Place> {
        state.wait()?;
        match &self.place {
            LogPlace::Backend(_) => self.main.sync_data()?,
            LogPlace::File(_) => {
                let main = Arc::clone(&self.main);
                let syncing = std::thread::Builder::new().name("nexus-wal".into()).spawn(move || main.sync_data());
                match syncing {
                    Ok(syncing) => state.syncing = Some(syncing),
                    Err(_) => self.main.sync_data()?,
                }
            }
        }
        let place = Place {
            segment: 1 - place.segment,
            offset: 0,
            generation: place.generation + 1,
            sequence: 0,
            previous: place.sequence,
            begins: state.synced,
        };
        state.at = Some(place);
        Ok(place)
    }

    /// Syncs the database file itself. The log begins anew after that.
    fn sync_main(&self, state: &mut State) -> io::Result<()> {
        state.wait()?;
        self.main.sync_data()?;
        state.forget();
        let begins = state.synced;
        let place = |segment, offset, generation, sequence| Place {
            segment,
            offset,
            generation,
            sequence,
            previous: 0,
            begins,
        };
        if state.log.is_none() {
            state.log = self.place.existing()?;
        }
        let highest = state.at.map(|at| at.generation).max(state.last.map(|(generation, _)| generation));
        let generation = highest.unwrap_or(0).saturating_add(2);
        state.at = Some(place(0, 0, generation, 0));
        let Some(log) = state.log.clone() else { return Ok(()) };
        if log.len()? == 0 {
            return Ok(());
        }
        let Some((_, segment)) = state.last else { return empty(state, &*log) };
        // one block, so that a crash leaves both earlier segments or none: an older one alone would take the database
        // back to pages that were used again since
        let segment = 1 - segment;
        let nothing = encode_head(&[], &[], place(segment, 0, generation, 0), self.segment_bytes, begins);
        match log.write(segment * self.segment_bytes, &nothing) {
            Err(error) if is_full(&error) => return empty(state, &*log),
            written => written?,
        }
        log.sync_data()?;
        state.last = Some((generation, segment));
        state.at = Some(place(segment, BLOCK_BYTES as u64, generation, 1));
        Ok(())
    }

    fn log(&self, state: &mut State) -> io::Result<Arc<dyn StorageBackend>> {
        if let Some(log) = &state.log {
            return Ok(Arc::clone(log));
        }
        let log = self.place.create()?;
        Ok(Arc::clone(state.log.insert(log)))
    }
}

/// Takes everything out of the log, as the database file has it.
fn empty(state: &mut State, log: &dyn StorageBackend) -> io::Result<()> {
    (state.grown, state.last) = ([0; 2], None);
    log.set_len(0)?;
    log.sync_data()
}

impl State {
    /// Waits for the sync of the database file that runs.
    fn wait(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the sync ended")))
    }

    /// Forgets the pending writes, as they are on the disk.
    fn forget(&mut self) {
        self.operations.clear();
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES);
        self.is_large = false;
        self.synced = self.written;
    }
}

impl LogPlace {
    /// Whether there is a log.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::Backend(log) => log.len().is_ok_and(|len| len > 0),
        }
    }

    fn existing(&self) -> io::Result<Option<Arc<dyn StorageBackend>>> {
        match self {
            Self::File(path) => match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok(_) => Ok(Some(file(path)?)),
            },
            Self::Backend(log) => Ok(Some(Arc::clone(log))),
        }
    }

    fn create(&self) -> io::Result<Arc<dyn StorageBackend>> {
        match self {
            Self::File(path) => {
                let log = file(path)?;
                sync_directory(path)?;
                Ok(log)
            }
            Self::Backend(log) => Ok(Arc::clone(log)),
        }
    }

    /// Takes the log away, as nothing of it counts.
    fn remove(&self, log: &dyn StorageBackend) -> io::Result<()> {
        match self {
            Self::File(path) => fs::remove_file(path),
            Self::Backend(_) => {
                log.set_len(0)?;
                log.sync_data()
            }
        }
    }
}

fn file(path: &std::path::Path) -> io::Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(FileBackend::new(open_private(path)?).map_err(io::Error::other)?))
}

const fn head_bytes(operations: usize) -> usize {
    (HEAD_BYTES + operations * OPERATION_BYTES).next_multiple_of(BLOCK_BYTES)
}

fn encode_head(operations: &[Operation], data: &[u8], place: Place, segment_bytes: u64, commits: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(head_bytes(operations.len()));
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend((operations.len() as u32).to_le_bytes());
    let record_bytes = (head_bytes(operations.len()) + data.len()) as u64;
    for number in [segment_bytes, place.generation, place.sequence, place.previous, place.begins, commits, record_bytes]
    {
        head.extend(number.to_le_bytes());
    }
    head.extend([0; CHECKSUM_BYTES]);
    for operation in operations {
        head.extend(operation.offset.to_le_bytes());
        head.extend(operation.bytes.to_le_bytes());
        head.extend(operation.kind.to_le_bytes());
    }
    head.resize(head_bytes(operations.len()), 0);
    let checksum = checksum(&head, data);
    head[CHECKSUM_AT..HEAD_BYTES].copy_from_slice(&checksum);
    head
}

/// The first bytes of BLAKE3 over a head without its checksum, and the data.
fn checksum(head: &[u8], data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..CHECKSUM_AT]).update(&head[HEAD_BYTES..]).update(data);
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// A record that was read.
struct Record {
    generation: u64,
    sequence: u64,
    previous: u64,
    begins: u64,
    commits: u64,
    bytes: u64,
    steps: Vec<Replayed>,
}

/// Reads the log: bytes that a crash or a disk may have changed in any way.
fn find(log: &dyn StorageBackend, segment_bytes: u64) -> io::Result<Found> {
    let len = log.len()?;
    let (mut segments, mut rests) = (Vec::new(), Vec::new());
    for segment in 0..2 {
        let (mut records, mut at) = (Vec::<Record>::new(), segment * segment_bytes);
        let end = len.min((segment + 1) * segment_bytes);
        while let Some(record) = record(log, at, end, segment_bytes)? {
            let (generation, next) =
                records.last().map_or((record.generation, 0), |last| (last.generation, last.sequence + 1));
            if record.generation != generation || record.sequence != next {
                break;
            }
            at += record.bytes;
            records.push(record);
        }
        rests.push((records.last().map(|last| last.generation), at, end));
        if let Some(first) = records.first() {
            segments.push((first.generation, first.previous, segment, records));
        }
    }
    segments.sort_by_key(|(generation, ..)| *generation);
    let last = segments.last().map(|(generation, _, segment, _)| (*generation, *segment));
    let highest = last.map(|(generation, _)| generation);
    for (generation, at, end) in rests {
        look_behind(log, at, end, segment_bytes, generation.is_some() && generation == highest, highest)?;
    }
    if let [(older, _, _, records), (newer, previous, ..)] = &segments[..]
        && (older.checked_add(1) != Some(*newer) || records.len() as u64 != *previous)
    {
        // it was synced in the database file, and is being written anew: a part of it would bring back older pages
        segments.remove(0);
    }
    let mut found = Found { last, ..Found::default() };
    for (.., records) in segments {
        for record in records.into_iter().filter(|record| !record.steps.is_empty()) {
            let begins = found.commits.map_or(record.begins, |(begins, _)| begins);
            found.commits = Some((begins, record.commits));
            found.steps.extend(record.steps);
        }
    }
    Ok(found)
}

/// Looks for a sound record behind a broken one, of the segment with the highest generation or of a higher one. A crash
/// leaves none: records are synced one after the other.
fn look_behind(
    log: &dyn StorageBackend,
    from: u64,
    end: u64,
    segment_bytes: u64,
    is_highest: bool,
    highest: Option<u64>,
) -> io::Result<()> {
    let mut at = from;
    while at.saturating_add(BLOCK_BYTES as u64) <= end {
        if let Some(record) = record(log, at, end, segment_bytes)? {
            if Some(record.generation) > highest || is_highest && Some(record.generation) == highest {
                return Err(io::ErrorKind::InvalidData.into());
            }
            at += record.bytes;
        } else {
            at += BLOCK_BYTES as u64;
        }
    }
    Ok(())
}

/// The record at a place, if there is a sound one before `end`.
fn record(log: &dyn StorageBackend, at: u64, end: u64, segment_bytes: u64) -> io::Result<Option<Record>> {
    if at.checked_add(BLOCK_BYTES as u64).is_none_or(|head_end| head_end > end) {
        return Ok(None);
    }
    let mut bytes = vec![0; BLOCK_BYTES];
    log.read(at, &mut bytes)?;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let small = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    if !bytes.starts_with(MAGIC) {
        return Ok(None);
    }
    if small(8) != VERSION || number(16) != segment_bytes {
        // of a later version: to leave it out would lose what was synced
        return Err(io::ErrorKind::InvalidData.into());
    }
    let operations = small(12) as usize;
    let [generation, sequence, previous, begins, commits, record_bytes] = [24, 32, 40, 48, 56, 64].map(number);
    let head_bytes = operations.checked_mul(OPERATION_BYTES).map_or(usize::MAX, |_| head_bytes(operations));
    let fits = at.checked_add(record_bytes).is_some_and(|record_end| record_end <= end);
    if !fits || record_bytes < head_bytes as u64 || record_bytes % BLOCK_BYTES as u64 != 0 {
        return Ok(None);
    }
    bytes.resize(record_bytes as usize, 0);
    log.read(at, &mut bytes)?;
    let (head, data) = bytes.split_at(head_bytes);
    if head[CHECKSUM_AT..HEAD_BYTES] != checksum(head, data) {
        return Ok(None);
    }
    let (mut steps, mut data) = (Vec::with_capacity(operations), data);
    for operation in head[HEAD_BYTES..].chunks_exact(OPERATION_BYTES).take(operations) {
        let (offset, rest) = operation.split_at(8);
        let (bytes, kind) = rest.split_at(4);
        let offset = u64::from_le_bytes(offset.try_into().unwrap_or_default());
        let bytes = u32::from_le_bytes(bytes.try_into().unwrap_or_default()) as usize;
        match u32::from_le_bytes(kind.try_into().unwrap_or_default()) {
            SET_LEN => steps.push(Replayed::SetLen(offset)),
            _ => {
                let padded = bytes.next_multiple_of(BLOCK_BYTES);
                let Some((block, after)) = data.split_at_checked(padded) else { return Ok(None) };
                steps.push(Replayed::Write { offset, data: block[..bytes].to_vec() });
                data = after;
            }
        }
    }
    Ok(Some(Record { generation, sequence, previous, begins, commits, bytes: record_bytes, steps }))
}

/// Where the database file has the numbers of its last two commits (redb's design document, "Commit slot").
const COMMITS_AT: [usize; 2] = [64 + 104, 64 + 128 + 104];
const DATABASE_HEAD_BYTES: usize = 320;

fn head(main: &dyn StorageBackend) -> io::Result<Vec<u8>> {
    let mut head = vec![0; main.len()?.min(DATABASE_HEAD_BYTES as u64) as usize];
    main.read(0, &mut head)?;
    Ok(head)
}

/// The number of the last commit that a database's head names; 0 if there is none.
fn commits_of(head: &[u8]) -> u64 {
    let number = |at: usize| head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    COMMITS_AT.map(number).into_iter().max().unwrap_or(0)
}

impl StorageBackend for Wal {
    fn len(&self) -> io::Result<u64> {
        self.main.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.main.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        self.main.set_len(len)?;
        state.operations.push(Operation { offset: len, bytes: 0, kind: SET_LEN });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.has_failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let synced = self.append(&mut state);
        state.has_failed = synced.is_err();
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        self.main.write(offset, data)?;
        if offset == 0 {
            state.written = commits_of(data);
        }
        let padded = data.len().next_multiple_of(BLOCK_BYTES);
        let small = u32::try_from(data.len()).ok().filter(|_| !state.is_large);
        match small.filter(|_| (state.data.len() + padded) as u64 <= self.segment_bytes / 2) {
            Some(bytes) => {
                state.operations.push(Operation { offset, bytes, kind: WRITE });
                state.data.extend(data);
                let padded = state.data.len().next_multiple_of(BLOCK_BYTES);
                state.data.resize(padded, 0);
            }
            None => {
                state.is_large = true;
                (state.operations, state.data) = (Vec::new(), Vec::new());
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let mut state = self.state();
        // a log that was not played stays
        if !state.has_failed && state.at.is_some() {
            let begun_anew = self.sync_main(&mut state).and_then(|()| match state.log.take() {
                Some(log) => self.place.remove(&*log),
                None => Ok(()),
            });
            state.has_failed = true;
            begun_anew?;
        }
        self.main.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.main.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.main.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.main.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.main.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.main.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.main.query_lock_range(start, end)
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // the file stays open, and locked, until its sync is over
        let _ = self.state().wait();
    }
}
