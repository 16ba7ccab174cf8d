//! Raft's promises on disk, in openraft's interface: votes, the log, the latest snapshot. They have
//! files of their own, so that they never queue behind the brain's commits. Entries are in the journal.
//! Everything else is rare, and in a store.
//!
//! | module | content |
//! |---|---|
//! | `rows` | the rows of the store, and opening both files |
//! | `writer` | the one task that writes |

mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nexus_identity::Did;
use nexus_identity::plants::planted;
use openraft::storage::{LogFlushed, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, StorageIOError};
use redb::StorageBackend;
use tokio::sync::{mpsc, oneshot, watch};

use self::writer::{Ask, Disk, Write, WriteReceiver};
use super::certificate::Certificate;
use super::command::Group;
use super::format::{ReadError, TooNew};
use super::journal::Entries;
use super::raft::{
    Ballot, Entry, LogId, SnapshotHead, SnapshotMeta, StorageError, Types, Vote, Voter, decode_entry, encode_entry,
    entry_size,
};
use crate::store::{Batch, Snapshot, Store, StoreDamage, StoreError, Table};
use crate::world::{Interrupted, World};

pub(super) use self::rows::{COPIED, committed_row, without_journal};
pub(crate) use self::writer::Writer;

/// Writes that wait for the disk. When they are full, openraft waits.
const WAITING_MAX: usize = 256;
/// The most bytes of entries returned at once, so that they fit a frame.
pub(super) const READ_BYTES_MAX: usize = 768 * 1024;
/// The most entries kept in memory, for peers that are nearly up to date.
const TAIL_MAX: usize = 1_024;
/// The longest time until a snapshot is on disk.
const SNAPSHOT_MAX: Duration = Duration::from_secs(20);

/// A handle to the log. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Log(Arc<Inner>);

struct Inner {
    store: Store,
    entries: Entries,
    writes: mpsc::Sender<Write>,
    state: Mutex<LogCache>,
    /// Changes whenever more is on disk.
    flushed: watch::Sender<()>,
    /// The first bytes of a later version. The copy stopped there.
    too_new: OnceLock<TooNew>,
    world: World,
}

/// Data that openraft asks for often, and entries that are not on disk yet.
#[derive(Default)]
struct LogCache {
    /// This node as a voter.
    me: Voter,
    last: Option<LogId>,
    purged: Option<LogId>,
    /// The last entry in the snapshot on disk.
    snapshot: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The latest entries, with all that are not on disk yet.
    tail: BTreeMap<u64, Entry>,
    /// The last entry up to which all are on disk.
    durable: Option<u64>,
}

/// The log cannot be written any more. For lack of room this part ends, else the node does.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WriteFailed {
    /// The disk's fault, or damage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is being stopped.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The log has ended.
    #[error("the log is closed")]
    Closed,
    /// Entries must not go without a snapshot of their effect.
    #[error("no snapshot has what is to be purged")]
    NoSnapshot,
}

impl WriteFailed {
    /// Whether the disk had no room. The log on it is as after a power loss: whole up to what was reported.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            _ => false,
        }
    }
}

/// This node's place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// This node as a voter.
    pub(crate) me: Voter,
    /// Its group, if it was ever told of one.
    pub(crate) group: Option<Group>,
}

impl Log {
    /// Reads Raft's files, or begins empty ones, with this node as the new voter `draw`.
    ///
    /// # Errors
    /// An error of the store.
    pub(crate) fn open(
        world: World,
        store: Store,
        journal: Box<dyn StorageBackend>,
        did: Did,
        mesh: Did,
        redraw: bool,
        draw: impl Fn() -> u64,
    ) -> Result<(Self, Writer, Place), StoreError> {
        let found = rows::open(&store, journal, did, mesh, redraw, draw)?;
        let rows::StoredLog { journal, me, group, vote, purged, snapshot, committed, last, too_new } = found;
        // openraft lets a restarted leader continue its term without knowing all its committed entries.
        // Its reads would be stale until the next write. Others may also hold entries of its term that
        // its own disk lacks; it would reuse their places. A new election gives it a new term with a
        // new entry.
        let vote = vote.map(|vote| Ballot { committed: vote.committed && vote.voter.did != did, ..vote });
        let vote = vote.map(Vote::from);
        let durable = last.map(|last| last.index);
        let state = LogCache { me, last, purged, snapshot, vote, committed, durable, tail: BTreeMap::new() };
        let (writes, receiver) = mpsc::channel(WAITING_MAX);
        let (entries, state, flushed) = (journal.entries(), Mutex::new(state), watch::Sender::new(()));
        let too_new = too_new.map_or_else(OnceLock::new, OnceLock::from);
        let log = Self(Arc::new(Inner { store: store.clone(), entries, writes, state, flushed, too_new, world }));
        let writer = Writer { log: log.clone(), disk: Disk { store, journal }, writes: receiver };
        Ok((log, writer, Place { me, group }))
    }

    /// Reads Raft's files of this node, without use for them.
    ///
    /// # Errors
    /// Their damage.
    pub(crate) fn examine(
        store: &Store,
        journal: Box<dyn StorageBackend>,
        did: Did,
        mesh: Did,
        draw: impl Fn() -> u64,
    ) -> Result<(), StoreError> {
        rows::open(store, journal, did, mesh, false, draw).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, LogCache> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, ask: Ask) -> Result<(), WriteFailed> {
        let (tell, told) = oneshot::channel();
        let closed = || WriteFailed::Closed;
        self.0.writes.send(Write { ask, upto: None, done: WriteReceiver::Tell(tell) }).await.map_err(|_| closed())?;
        told.await.map_err(|_| closed())?
    }

    /// Notes that the entries up to this one are on disk. The latest few of them stay in memory.
    fn durable(&self, upto: Option<u64>) {
        let mut state = self.state();
        state.durable = state.durable.max(upto);
        while state.tail.len() > TAIL_MAX
            && let Some(first) = state.tail.first_entry().map(|first| *first.key())
            && state.durable.is_some_and(|durable| first <= durable)
        {
            state.tail.remove(&first);
        }
        drop(state);
        self.0.flushed.send_replace(());
    }

    /// Waits until the entries up to this one are on this node's disk.
    ///
    /// # Errors
    /// If they never will be.
    pub(super) async fn wait_durable(&self, upto: u64) -> Result<(), WriteFailed> {
        self.until(|state| state.durable.is_some_and(|durable| durable >= upto)).await
    }

    async fn until(&self, reached: impl Fn(&LogCache) -> bool) -> Result<(), WriteFailed> {
        if reached(&self.state()) {
            return Ok(());
        }
        let mut flushed = self.0.flushed.subscribe();
        while !reached(&self.state()) {
            let closed = || WriteFailed::Closed;
            tokio::select! {
                moved = flushed.changed() => moved.map_err(|_| closed())?,
                () = self.0.writes.closed() => return Err(closed()),
            }
        }
        Ok(())
    }

    /// The index that may be reported as committed: without entries that this node counts for and that
    /// are not on its disk.
    pub(super) fn sure(&self, committed: Option<LogId>) -> Option<LogId> {
        let state = self.state();
        let durable = state.durable?;
        if committed.is_none_or(|committed| committed.index <= durable) {
            return committed;
        }
        state.tail.get(&durable).map(|entry| entry.log_id)
    }

    /// Joins a group with an empty log.
    pub(super) async fn adopt(&self, group: Group) -> Result<(), WriteFailed> {
        let mut batch = Batch::new();
        rows::put_group(&mut batch, group);
        self.write(Ask::Rows(batch)).await
    }

    /// Drops everything but this node's new draw: as this voter it has promised nothing yet.
    pub(super) async fn reset(&self, mesh: Did, draw: u64, group: Group) -> Result<(), WriteFailed> {
        let me = Voter { draw, ..self.state().me };
        let mut batch = Batch::new();
        rows::clear(&mut batch);
        // records of a past before this group; others have those
        batch.clear(Table::RaftAudit);
        rows::put_place(&mut batch, mesh, draw, group);
        self.begin(batch, LogCache { me, ..LogCache::default() }).await
    }

    /// Begins a group that continues a state. `head` names its place, and this node as the only voter.
    pub(super) async fn found(
        &self,
        mesh: Did,
        group: Group,
        me: Voter,
        vote: Ballot,
        head: SnapshotHead,
        state: &[u8],
    ) -> Result<(), WriteFailed> {
        let mut batch = Batch::new();
        rows::clear(&mut batch);
        rows::put_place(&mut batch, mesh, me.draw, group);
        rows::put_snapshot(&mut batch, &head, state);
        if let Some(at) = head.at {
            rows::put_purged(&mut batch, at);
        }
        rows::put_vote(&mut batch, vote);
        let at = head.at.map(LogId::from);
        let state = LogCache { me, last: at, purged: at, snapshot: at, vote: Some(vote.into()), ..LogCache::default() };
        self.begin(batch, state).await
    }

    async fn begin(&self, batch: Batch, state: LogCache) -> Result<(), WriteFailed> {
        *self.state() = state;
        self.write(Ask::Begin(batch)).await?;
        // writes in progress until now belong to the log before
        self.state().durable = None;
        Ok(())
    }

    /// Closes the store. The journal closes with its last reader and writer.
    pub(super) fn close(&self) {
        self.0.store.close();
    }

    /// Writes rows that are not Raft's own, in their turn.
    pub(super) async fn keep(&self, batch: Batch) -> Result<(), WriteFailed> {
        self.write(Ask::Rows(batch)).await
    }

    /// Overwrites what is left of dropped entries in the file, one segment after the other: entries go on between them.
    pub(super) async fn scrub(&self) -> Result<(), WriteFailed> {
        for segment in 0.. {
            let (tell, told) = oneshot::channel();
            self.write(Ask::Scrub(segment, tell)).await?;
            if !told.await.unwrap_or(false) {
                break;
            }
        }
        Ok(())
    }

    /// The current state of the store.
    pub(super) fn view(&self) -> Result<Snapshot, StoreError> {
        self.0.store.snapshot()
    }

    /// Stops the copy at bytes of a later version.
    pub(super) fn stop_at(&self, too_new: TooNew) {
        let _ = self.0.too_new.set(too_new);
    }

    /// The bytes of a later version at which the copy has stopped.
    pub(super) fn stopped(&self) -> Option<TooNew> {
        self.0.too_new.get().copied()
    }

    /// The error for an unreadable row of a table.
    pub(super) fn damaged(&self, table: Table) -> StoreError {
        StoreError::Damaged { file: self.0.store.file().to_owned(), table: Some(table), what: StoreDamage::Row }
    }

    /// Replaces the snapshot.
    pub(super) async fn save_snapshot(&self, meta: &SnapshotMeta, state: &[u8]) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        rows::put_snapshot(&mut batch, &SnapshotHead::from(meta), state);
        let saved = self.write(Ask::Rows(batch)).await;
        saved.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        self.state().snapshot = meta.last_log_id;
        self.0.flushed.send_replace(());
        Ok(())
    }

    /// Keeps the signatures of the snapshot at this place.
    pub(super) async fn save_certificate(&self, index: u64, certificate: &Certificate) -> Result<(), WriteFailed> {
        let mut batch = Batch::new();
        rows::put_certificate(&mut batch, index, certificate);
        self.write(Ask::Rows(batch)).await
    }

    /// The signatures that were kept, and the place of their snapshot.
    pub(super) async fn read_certificate(&self) -> Result<Option<(u64, Certificate)>, StoreError> {
        self.reading(|log| rows::read_certificate(&log.0.store)).await
    }

    /// Reads the files, off the tasks that answer.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let log = self.clone();
        let read = self.0.world.blocking(move || read(&log)).await;
        read.unwrap_or_else(|_| Err(StoreError::Closed { file: self.0.store.file().to_owned() }))
    }

    /// The latest snapshot.
    pub(super) async fn read_snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        self.reading(|log| rows::read_snapshot(&log.0.store)).await
    }

    /// Entries as far as they fit: from memory where they are, as nearly all are that are asked for.
    async fn some_entries(&self, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let in_memory = self.state().tail.first_key_value().is_some_and(|(first, _)| *first <= from);
        if in_memory || until <= from {
            return self.entries(from, until, bytes_max);
        }
        self.reading(move |log| log.entries(from, until, bytes_max)).await
    }

    /// Entries on disk from an index on, as they lie there: about as many bytes as asked for.
    pub(super) async fn stored_entries(&self, from: u64, bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.reading(move |log| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            log.0.entries.scan(from..u64::MAX, &mut |index, entry| {
                bytes += entry.len();
                found.push((index, entry.to_vec()));
                if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok(found)
        })
        .await
    }

    /// The index of the first entry that is not purged, and the last index known to be committed.
    pub(super) fn bounds(&self) -> (u64, Option<LogId>) {
        let state = self.state();
        (state.purged.map_or(0, |purged| purged.index + 1), state.committed)
    }

    /// The bytes of the entries on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.0.entries.bytes()
    }

    fn entries(&self, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let (mut found, mut bytes, mut next) = (Vec::new(), 0, from);
        let mut take = |entry: Entry, bytes: &mut usize| {
            *bytes += entry_size(&entry);
            let fits = found.is_empty() || *bytes <= bytes_max;
            if fits {
                found.push(entry);
            }
            fits
        };
        // an entry that is not in memory is on disk, and the reverse
        let in_memory = self.state().tail.first_key_value().map_or(u64::MAX, |(first, _)| *first);
        if next < in_memory.min(until) {
            let (mut unread, mut full) = (None, false);
            self.0.entries.scan(next..in_memory.min(until), &mut |_, bytes_of| match decode_entry(bytes_of) {
                Ok(entry) => {
                    next = entry.log_id.index + 1;
                    full = !take(entry, &mut bytes);
                    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                Err(why) => {
                    unread = Some(why);
                    ControlFlow::Break(())
                }
            })?;
            match unread {
                None => {}
                Some(ReadError::Malformed) => return Err(self.0.entries.damaged(StoreDamage::Entry)),
                Some(ReadError::TooNew(too_new)) => {
                    self.stop_at(too_new);
                    return Err(self.0.entries.damaged(StoreDamage::LaterEntry));
                }
            }
            if full {
                return Ok(found);
            }
        }
        if next < until {
            for entry in self.state().tail.range(next..until).map(|(_, entry)| entry.clone()) {
                if !take(entry, &mut bytes) {
                    break;
                }
            }
        }
        Ok(found)
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(until) => *until,
            Bound::Unbounded => u64::MAX,
        };
        self.some_entries(from, until, usize::MAX).await.map_err(|error| StorageIOError::read_logs(&error).into())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.some_entries(start, end, READ_BYTES_MAX).await.map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let state = self.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        if !planted("forgets_votes") {
            rows::put_vote(&mut batch, Ballot::from(*vote));
        }
        self.write(Ask::Rows(batch)).await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.state().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state().vote)
    }

    /// Travels with the next entries. It only saves a start some waiting.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let state = self.state();
        Ok(state.committed.min(state.last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // A leader's new entries go to the others while its own disk writes them. They are applied and
        // reported as committed only once they are on that disk. Changes of the voters are never sent
        // early.
        let mut early = true;
        let (mut first, mut upto, mut bytes) = (None, None, Vec::new());
        let committed = {
            let mut state = self.state();
            let leads = state.vote.filter(|vote| vote.committed && vote.leader_id.node_id == state.me);
            for entry in entries {
                let index = entry.log_id.index;
                early &= leads.is_some_and(|vote| vote.leader_id == entry.log_id.leader_id)
                    && matches!(entry.payload, EntryPayload::Normal(_));
                bytes.push(encode_entry(&entry));
                state.last = Some(entry.log_id);
                state.tail.insert(index, entry);
                first = first.or(Some(index));
                upto = Some(index);
            }
            state.committed.map(|committed| committed.index)
        };
        if planted("appends_before_disk") {
            bytes.clear();
        }
        let ask = Ask::Append { first: first.unwrap_or_default(), entries: bytes, committed };
        let (done, callback) =
            if early { (WriteReceiver::Early, Some(callback)) } else { (WriteReceiver::Appended(callback), None) };
        let write = Write { ask, upto, done };
        let closed = |_| StorageIOError::write_logs(&WriteFailed::Closed);
        self.0.writes.send(write).await.map_err(closed)?;
        if let Some(callback) = callback {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let previous = match from.index.checked_sub(1) {
            Some(previous) => Some(self.some_entries(previous, from.index, usize::MAX).await),
            None => None,
        };
        let previous = previous.transpose().map_err(|error| StorageIOError::read_logs(&error))?;
        {
            let mut state = self.state();
            state.tail.split_off(&from.index);
            state.last = previous.and_then(|entries| entries.first().map(|entry| entry.log_id)).or(state.purged);
        }
        let truncated = self.write(Ask::Truncate(from.index)).await;
        truncated.map_err(|error| StorageIOError::write_logs(&error))?;
        // entries that this node appended as a leader may have been in progress until now
        let mut state = self.state();
        state.durable = state.durable.min(from.index.checked_sub(1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        // openraft asks for this while another task still writes the installed snapshot. A crash in
        // between would lose both the entries and their effect.
        let saved = tokio::time::timeout(SNAPSHOT_MAX, self.until(|state| state.snapshot >= Some(upto))).await;
        let saved = saved.unwrap_or(Err(WriteFailed::NoSnapshot));
        saved.map_err(|error| StorageIOError::write_logs(&error))?;
        {
            let mut state = self.state();
            state.tail = state.tail.split_off(&(upto.index + 1));
            state.purged = Some(upto);
            state.last = state.last.max(Some(upto));
        }
        let purged = self.write(Ask::Purge(upto.into())).await;
        purged.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
