//! A write-ahead log beside the database.
//!
//! A commit of the database writes some thirty pages, each in another place of a large file. A disk takes its time for each
//! place, and a few rows do not need so many bytes. So most commits append their *rows* to a file beside, in one place, and
//! sync that file alone. The database has them in memory, without durability. Once a segment of the log has no room for
//! more, a durable commit brings all rows since the last one into the database file.
//!
//! Of a durable commit the log has the *pages*: copies of all that it writes. They go to the database file too, where the
//! operating system brings them to the disk when it has time. After a crash the pages of the log are played over the
//! database file. Then its rows are written again, those that the database does not have yet. The database has the number
//! of its last rows for that, in a table of the store's own: so it does not matter which of the two is ahead.
//!
//! The log has two segments, which are filled in turn. When one is full, the database file is synced in a thread of its
//! own, while the other one fills. A segment is written anew only after that sync. Each filling has a *generation*,
//! counted up. At a start the segment with the highest generation counts, and the other one if it has the generation
//! before. A commit that is too large for a record syncs the database file itself. After that an empty record, two
//! generations later, takes the place of the older segment, so that neither of the earlier ones is played again. No segment
//! is left before a durable commit has its rows.
//!
//! A record counts if its checksum holds, it has the key of the log, and its number is the next one. Pages lie at multiples
//! of their size here too, and rows have the form of such a page, so [`carve`](super::carve) finds them. (Models: the
//! double-write buffer of InnoDB, the rollback journal of SQLite.)
//!
//! | room | content |
//! |---|---|
//! | `record` | the form of a record |
//! | `find` | the part of a log that counts |

mod find;
mod record;

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use self::find::{find, segment_begin};
use self::record::BLOCK_BYTES;
use super::beside::overwrite;
use super::{Batch, FilePlace, is_full, open_private, sync_directory};

pub(super) use self::find::Found;
use self::record::Key;
pub(super) use self::record::{Form, Label, Replayed, Writes};

/// The file grows by at least so much, and by at most so much, to be written in place for the most part.
const GROWTH_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=1 << 20;
/// Memory for a record that is kept between commits.
const KEPT_BYTES: usize = 512 << 10;
/// The numbers of commits that a database file may be ahead of its log: one commit was not synced. Numbers are left out for
/// those that came to nothing, and for those of which the log has the rows.
const AHEAD_MAX: u64 = 4_096;
/// The records of rows between two durable commits: at most so many, and so many after a commit whose pages were too many
/// for a record.
const ROWS_MAX: u64 = 1_024;
const ROWS_MIN: u64 = 16;

/// The default size of a segment, in bytes.
pub(super) const SEGMENT_BYTES: u64 = 2 << 20;

/// The place of the log.
#[derive(Clone, Debug)]
pub(super) enum LogPlace {
    /// A file, which is there while a store is open, and after a crash.
    File(PathBuf),
    /// Another storage.
    Backend(Arc<dyn StorageBackend>),
}

/// A storage whose syncs go to a log first.
#[derive(Debug)]
pub(super) struct Wal {
    main: Arc<dyn StorageBackend>,
    place: LogPlace,
    form: Form,
    /// The place of the log's file, once it is open.
    at: OnceLock<FilePlace>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Option<Arc<dyn StorageBackend>>,
    /// The bytes of each segment that the log has written since it was opened, so that writing there needs no new room.
    grown: [u64; 2],
    /// The writes since the last sync.
    writes: Writes,
    /// The writes since the last sync are too many for a record.
    is_large: bool,
    /// Whether records are written. Else each sync is one of the database file.
    is_used: bool,
    /// The place for the next record. `None` until the database file has all that the log has.
    at: Option<Place>,
    /// The generation of the last record in the log, and its segment.
    last: Option<(u64, u64)>,
    /// The sync of the database file with all that the segment before this one has.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// The last commit that was written to the database file, and the last one that was synced.
    written: u64,
    synced: u64,
    /// The number of the last rows in the log, of the last ones in the commit that is written, and of the last ones in a
    /// commit that is synced.
    rows: u64,
    rows_written: u64,
    rows_synced: u64,
    /// How many records of rows there may be until the next durable commit, so that its pages fit into a record. Rows in
    /// many places of a large file have many pages.
    rows_max: u64,
    has_failed: bool,
}

/// A place for a record.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    offset: u64,
    label: Label,
}

impl Wal {
    /// A log over a storage.
    #[cfg(test)]
    pub(super) fn open(
        main: Arc<dyn StorageBackend>,
        place: LogPlace,
        segment_bytes: u64,
    ) -> io::Result<(Self, Found)> {
        Self::open_after(written_in(&*main)?, main, place, segment_bytes)
    }

    /// A log over a storage with so many commits, and the steps of it that a crash left.
    ///
    /// # Errors
    /// The log cannot be read, or is of another state of the storage ([`io::ErrorKind::InvalidData`]).
    pub(super) fn open_after(
        written: u64,
        main: Arc<dyn StorageBackend>,
        place: LogPlace,
        segment_bytes: u64,
    ) -> io::Result<(Self, Found)> {
        // not kept: whoever had the storage open may take the log away until the lock is ours
        let found = match place.existing()? {
            Some(log) => find(&*log, segment_bytes)?,
            None => Found::default(),
        };
        if let Some((before, last)) = found.commits
            && !(before..=last.saturating_add(AHEAD_MAX)).contains(&written)
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let key = match found.key {
            Some(key) => key,
            None => fresh_key()?,
        };
        let state = State { last: found.last, written, rows_max: ROWS_MAX, ..State::default() };
        let form = Form { key, segment_bytes };
        Ok((Self { main, place, form, at: OnceLock::new(), state: Mutex::new(state) }, found))
    }

    /// A log over a new storage, in the place of one that was retired. Nothing is read.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn fresh(main: Arc<dyn StorageBackend>, place: LogPlace, segment_bytes: u64) -> io::Result<Self> {
        let form = Form { key: fresh_key()?, segment_bytes };
        let state = State { rows_max: ROWS_MAX, ..State::default() };
        Ok(Self { main, place, form, at: OnceLock::new(), state: Mutex::new(state) })
    }

    /// The place of the log, for another log there, and the size of its segments.
    pub(super) fn place(&self) -> (LogPlace, u64) {
        (self.place.clone(), self.form.segment_bytes)
    }

    /// The storage below the log.
    pub(super) fn main(&self) -> &Arc<dyn StorageBackend> {
        &self.main
    }

    /// The bytes of the log.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        self.state().log.as_ref().map_or(Ok(0), |log| log.len())
    }

    /// The file of the log, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.place.file()
    }

    /// The file of the log, if it is open and no longer the one under its name.
    pub(super) fn gone(&self) -> Option<&Path> {
        let (place, file) = self.at.get().zip(self.file())?;
        (!place.is_still(file)).then_some(file)
    }

    /// Notes the place of the log's file, which has just been opened.
    fn note_place(&self) {
        if let Some(file) = self.file() {
            self.at.get_or_init(|| FilePlace::of(file));
        }
    }

    /// Whether the log is as it was found: nobody else has the storage open.
    pub(super) fn is_still(&self, found: &Found) -> io::Result<bool> {
        let now = match self.place.existing()? {
            Some(log) => find(&*log, self.form.segment_bytes)?,
            None => Found::default(),
        };
        Ok(now == *found)
    }

    /// Begins the log anew, and lets syncs write records from now on. The database file has all that the log had, and the
    /// rows up to this number.
    pub(super) fn use_after(&self, rows: u64) -> io::Result<()> {
        let mut state = self.state();
        (state.rows, state.rows_written, state.rows_synced) = (rows, rows, rows);
        let begun = self.sync_main(&mut state);
        state.is_used = begun.is_ok();
        state.has_failed |= begun.is_err();
        begun
    }

    /// Leaves the log as it is, until it is used again: the database goes back to what the log has.
    pub(super) fn pause(&self) {
        let mut state = self.state();
        (state.is_used, state.at) = (false, None);
    }

    /// Takes everything out of the log, once the database file has it, and overwrites it first. Like a
    /// [paused](Self::pause) one it may be used again.
    ///
    /// # Errors
    /// Nobody knows what is in the log then.
    pub(super) fn retire(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.has_failed || state.rows != state.rows_synced {
            return Err(io::Error::other("the file lacks what the log has"));
        }
        let retired = self.take_all_out(&mut state);
        (state.is_used, state.at) = (false, None);
        state.has_failed |= retired.is_err();
        retired
    }

    /// Overwrites the log and empties it. Nothing of it counts before the first byte is overwritten.
    fn take_all_out(&self, state: &mut State) -> io::Result<()> {
        self.sync_main(state)?;
        let Some(log) = state.log.clone() else { return Ok(()) };
        let len = log.len()?;
        // the block that says that nothing counts stays until all is gone at once
        let says = state.at.filter(|at| at.offset > 0).map(|at| segment_begin(at.segment, self.form.segment_bytes));
        let block = BLOCK_BYTES as u64;
        let parts = match says {
            Some(says) => [block..says.max(block), says.saturating_add(block)..len],
            None => [block..len, len..len],
        };
        for part in parts {
            match overwrite(&*log, part.start..part.end.min(len).max(part.start)) {
                // a file system that writes elsewhere may have no room
                Err(error) if !is_full(&error) => return Err(error),
                _ => {}
            }
        }
        log.sync_data()?;
        empty(state, &*log)
    }

    /// Whether syncs write records.
    pub(super) fn is_used(&self) -> bool {
        self.state().is_used
    }

    /// Has each sync the database file again.
    pub(super) fn end_use(&self) {
        self.state().is_used = false;
    }

    /// The number of the last rows in the log. A durable commit must name it.
    pub(super) fn last_rows(&self) -> u64 {
        self.state().rows
    }

    /// The rows in the log, in order, each with its number.
    pub(super) fn rows(&self) -> io::Result<Vec<(u64, Batch)>> {
        let Some(log) = self.place.existing()? else { return Ok(Vec::new()) };
        Ok(find(&*log, self.form.segment_bytes)?.rows())
    }

    /// Lets every later call fail.
    pub(super) fn fail(&self) {
        self.state().has_failed = true;
    }

    /// Appends the rows of some batches to the log, and syncs it. `false` if they need a durable commit instead.
    ///
    /// # Errors
    /// The log may have them or not: only the next start tells.
    pub(super) fn append_rows(&self, batches: &[Batch]) -> io::Result<bool> {
        let mut state = self.state();
        if state.has_failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let Some(place) = state.at.filter(|_| state.is_used && state.rows - state.rows_synced < state.rows_max) else {
            return Ok(false);
        };
        // a larger one would be written twice for little
        let room = (self.form.segment_bytes - place.offset).min(self.form.segment_bytes / 4);
        let Some(rows) = Writes::rows(state.rows + 1, batches, room as usize) else { return Ok(false) };
        match self.append_record(&mut state, place, &rows) {
            Ok(is_there) => {
                state.rows += u64::from(is_there);
                Ok(is_there)
            }
            Err(error) => {
                state.has_failed = true;
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the pending writes to the log, and syncs it.
    fn append(&self, state: &mut State) -> io::Result<()> {
        if state.at.is_none() || state.rows > state.rows_written {
            // the log alone has what it has
            return self.main.sync_data();
        }
        state.adapt(self.form.segment_bytes);
        let Some(place) = state.at.filter(|_| state.is_used && !state.is_large) else { return self.sync_main(state) };
        if state.writes.is_empty() {
            return Ok(());
        }
        let record_bytes = state.writes.record_bytes();
        if record_bytes > self.form.segment_bytes {
            return self.sync_main(state);
        }
        let place =
            if place.offset + record_bytes > self.form.segment_bytes { self.turn(state, place)? } else { place };
        let writes = std::mem::take(&mut state.writes);
        let appended = self.append_record(state, place, &writes);
        state.writes = writes;
        if !appended? {
            return self.sync_main(state);
        }
        state.forget();
        Ok(())
    }

    /// Appends a record, and syncs the log. `false` if the disk has no room for it.
    fn append_record(&self, state: &mut State, place: Place, writes: &Writes) -> io::Result<bool> {
        let log = match self.log(state) {
            Err(error) if is_full(&error) => return Ok(false),
            log => log?,
        };
        match self.write_record(&*log, state, place, writes) {
            Err(error) if is_full(&error) => return Ok(false),
            written => written?,
        }
        log.sync_data()?;
        let Place { segment, offset, label } = place;
        state.last = Some((label.generation, segment));
        let label = Label { sequence: label.sequence + 1, ..label };
        state.at = Some(Place { segment, offset: offset + writes.record_bytes(), label });
        Ok(true)
    }

    fn write_record(
        &self,
        log: &dyn StorageBackend,
        state: &mut State,
        place: Place,
        writes: &Writes,
    ) -> io::Result<()> {
        let head = writes.head(self.form, Label { commits: state.written, ..place.label });
        let segment_begin = segment_begin(place.segment, self.form.segment_bytes);
        let (begin, end) = (segment_begin + place.offset, place.offset + writes.record_bytes());
        if state.grown == [0; 2] && log.len()? == 0 {
            // with the key, for a start that finds the first record of a segment broken
            log.write(0, &Writes::default().head(self.form, Label::default()))?;
        }
        let grown = &mut state.grown[place.segment as usize];
        if end > *grown {
            let growth = (*grown).clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
            let until = end.next_multiple_of(growth).min(self.form.segment_bytes);
            log.write(segment_begin + end, &vec![0; (until - end) as usize])?;
            *grown = until;
        }
        log.write(begin + head.len() as u64, writes.data())?;
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
        let Label { generation, sequence, .. } = place.label;
        let label = Label { generation: generation + 1, previous: sequence, begins: state.synced, ..Label::default() };
        let place = Place { segment: 1 - place.segment, offset: 0, label };
        state.at = Some(place);
        Ok(place)
    }

    /// Syncs the database file itself. The log begins anew after that.
    fn sync_main(&self, state: &mut State) -> io::Result<()> {
        state.wait()?;
        self.main.sync_data()?;
        state.forget();
        if state.log.is_none() {
            state.log = self.place.existing()?;
            if state.log.is_some() {
                self.note_place();
            }
        }
        let highest = state.at.map(|at| at.label.generation).max(state.last.map(|(generation, _)| generation));
        let (generation, synced) = (highest.unwrap_or(0).saturating_add(2), state.synced);
        let label = Label { generation, begins: synced, commits: synced, ..Label::default() };
        state.at = Some(Place { segment: 0, offset: 0, label });
        let Some(log) = state.log.clone() else { return Ok(()) };
        if log.len()? == 0 {
            return Ok(());
        }
        let Some((_, newest)) = state.last else { return empty(state, &*log) };
        // one block, so that a crash leaves both earlier segments or none: an older one alone would take the database
        // back to pages that were used again since
        let segment = 1 - newest;
        match log.write(segment_begin(segment, self.form.segment_bytes), &Writes::default().head(self.form, label)) {
            Err(error) if is_full(&error) => return empty(state, &*log),
            written => written?,
        }
        log.sync_data()?;
        state.last = Some((generation, segment));
        state.at = Some(Place { segment, offset: BLOCK_BYTES as u64, label: Label { sequence: 1, ..label } });
        Ok(())
    }

    fn log(&self, state: &mut State) -> io::Result<Arc<dyn StorageBackend>> {
        if let Some(log) = &state.log {
            return Ok(Arc::clone(log));
        }
        let log = self.place.create()?;
        self.note_place();
        Ok(Arc::clone(state.log.insert(log)))
    }
}

/// Takes everything out of the log, as the database file has it.
fn empty(state: &mut State, log: &dyn StorageBackend) -> io::Result<()> {
    (state.grown, state.last) = ([0; 2], None);
    truncate(log)
}

fn truncate(log: &dyn StorageBackend) -> io::Result<()> {
    log.set_len(0)?;
    log.sync_data()
}

fn fresh_key() -> io::Result<Key> {
    let mut key = Key::default();
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key)
}

impl State {
    /// Waits for the sync of the database file that runs.
    fn wait(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the sync ended")))
    }

    /// Adapts the number of rows to the pages that they had.
    fn adapt(&mut self, segment_bytes: u64) {
        let rows = self.rows_written - self.rows_synced;
        if rows > 0 && self.is_large {
            self.rows_max = (rows / 2).max(ROWS_MIN);
        } else if rows > 0 && self.writes.record_bytes() < segment_bytes / 4 {
            self.rows_max = (self.rows_max * 2).min(ROWS_MAX);
        }
    }

    /// Forgets the pending writes, as they are on the disk.
    fn forget(&mut self) {
        self.writes.clear(KEPT_BYTES);
        self.is_large = false;
        self.synced = self.written;
        self.rows_synced = self.rows_written;
    }
}

impl LogPlace {
    /// The file of the log, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Backend(_) => None,
        }
    }

    /// Whether there is a log.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        match self {
            Self::File(path) => path.try_exists(),
            Self::Backend(log) => Ok(log.len()? > 0),
        }
    }

    fn existing(&self) -> io::Result<Option<Arc<dyn StorageBackend>>> {
        match self {
            Self::File(path) if path.try_exists()? => file(path).map(Some),
            Self::File(_) => Ok(None),
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
            Self::Backend(_) => truncate(log),
        }
    }
}

fn file(path: &Path) -> io::Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(FileBackend::new(open_private(path)?).map_err(io::Error::other)?))
}

/// Where the database file has the numbers of its last two commits (redb's design document, "Commit slot").
const COMMITS_AT: [usize; 2] = [64 + 104, 64 + 128 + 104];
const DATABASE_HEAD_BYTES: usize = 320;

/// The number of the last commit that a database file names; 0 for one without commits.
pub(super) fn written_in(main: &dyn StorageBackend) -> io::Result<u64> {
    Ok(commits_of(&head(main)?))
}

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
        state.writes.set_len(len);
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
        if let Err(error) = self.main.write(offset, data) {
            // the commit of this write is not one
            state.rows_written = state.rows_synced;
            return Err(error);
        }
        if offset == 0 {
            let written = commits_of(data);
            if written != state.written {
                // of a durable commit: it has all rows before it
                state.rows_written = state.rows;
            }
            state.written = written;
        }
        if state.is_large || !state.writes.write(offset, data, self.form.segment_bytes / 2) {
            state.is_large = true;
            state.writes = Writes::default();
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let mut state = self.state();
        // a log that was not played stays, and so does one that alone has some rows
        if !state.has_failed && state.at.is_some() && state.rows == state.rows_synced {
            let begun_anew = self.take_all_out(&mut state).and_then(|()| match state.log.take() {
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
