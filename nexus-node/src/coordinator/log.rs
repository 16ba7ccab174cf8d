//! Raft's promises on disk, as openraft asks for them: votes, the log, the latest snapshot. In files
//! of their own, so that they never queue behind the commits of the brain: entries in the journal,
//! everything else, which is rare, in a store.
//!
//! | room | what is in it |
//! |---|---|
//! | `rows` | what is in the store, and opening both files |
//! | `writer` | the one task that writes |

mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_identity::Did;
use nexus_identity::plants::{Plant, planted};
use openraft::storage::{LogFlushed, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, StorageIOError};
use redb::StorageBackend;
use tokio::sync::{mpsc, oneshot, watch};

use self::writer::{Ask, Disk, Write, WriteReceiver};
use super::command::Group;
use super::journal::Entries;
use super::raft::{
    Ballot, Entry, LogId, SnapshotHead, SnapshotMeta, StorageError, Types, Vote, Voter, decode_entry, encode_entry,
    entry_size,
};
use crate::store::{Batch, Snapshot, Store, StoreError, Table};

pub(crate) use self::writer::Writer;

/// Writes that wait for the disk; then openraft waits.
const WAITING_MAX: usize = 256;
/// Entries handed out at once stay under this, so that they fit a frame.
pub(super) const READ_BYTES_MAX: usize = 768 * 1024;
/// Entries kept in memory for peers that are nearly up to date.
const TAIL_MAX: usize = 1_024;
/// How long a snapshot may take to be on disk.
const SNAPSHOT_MAX: Duration = Duration::from_secs(20);

/// A handle on the log; clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct Log(Arc<Inner>);

struct Inner {
    store: Store,
    entries: Entries,
    writes: mpsc::Sender<Write>,
    state: Mutex<State>,
    /// Moves whenever more is on disk.
    flushed: watch::Sender<()>,
}

/// What openraft asks for often, and what is not on the disk yet.
#[derive(Default)]
struct State {
    /// This node as a voter.
    me: Voter,
    last: Option<LogId>,
    purged: Option<LogId>,
    /// Of the snapshot on disk.
    snapshot: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The latest entries, all those included that are not on disk yet.
    tail: BTreeMap<u64, Entry>,
    /// Up to here all are on disk.
    durable: Option<u64>,
}

/// The log cannot be written any more; its node ends.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WriteFailed(String);

/// What the file says of this node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// This node as a voter.
    pub(crate) me: Voter,
    /// The group it belongs to, if it was ever told of one.
    pub(crate) group: Option<Group>,
}

impl Log {
    /// Reads Raft's files, or begins empty ones: then `draw` makes this node a new voter.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn open(
        store: Store,
        journal: Box<dyn StorageBackend>,
        did: Did,
        mesh: Did,
        redraw: bool,
        draw: impl Fn() -> u64,
    ) -> Result<(Self, Writer, Place), StoreError> {
        let found = rows::open(&store, journal, did, mesh, redraw, draw)?;
        let rows::Found { journal, me, group, vote, purged, snapshot, committed, last } = found;
        // openraft has a leader that starts again go on as the leader of its term, where it does
        // not know what it had committed: its reads would be stale until the next write. Others may
        // also hold entries of its that its own disk does not, and it would give their places to
        // others. Elected anew, it begins its term with an entry of its own.
        let vote = vote.map(|vote| Ballot { committed: vote.committed && vote.voter.did != did, ..vote });
        let vote = vote.map(Vote::from);
        let durable = last.map(|last| last.index);
        let state = State { me, last, purged, snapshot, vote, committed, durable, tail: BTreeMap::new() };
        let (writes, receiver) = mpsc::channel(WAITING_MAX);
        let (entries, state, flushed) = (journal.entries(), Mutex::new(state), watch::Sender::new(()));
        let log = Self(Arc::new(Inner { store: store.clone(), entries, writes, state, flushed }));
        let writer = Writer { log: log.clone(), disk: Disk { store, journal }, writes: receiver };
        Ok((log, writer, Place { me, group }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, ask: Ask) -> Result<(), WriteFailed> {
        let (tell, told) = oneshot::channel();
        let closed = || WriteFailed("the log is closed".to_owned());
        self.0.writes.send(Write { ask, upto: None, done: WriteReceiver::Tell(tell) }).await.map_err(|_| closed())?;
        told.await.map_err(|_| closed())?
    }

    /// Entries up to this one are on disk: of those, the latest few stay in memory.
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
    /// If they will not be.
    pub(super) async fn wait_durable(&self, upto: u64) -> Result<(), WriteFailed> {
        self.until(|state| state.durable.is_some_and(|durable| durable >= upto)).await
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) -> Result<(), WriteFailed> {
        if reached(&self.state()) {
            return Ok(());
        }
        let mut flushed = self.0.flushed.subscribe();
        while !reached(&self.state()) {
            let closed = || WriteFailed("the log is closed".to_owned());
            tokio::select! {
                moved = flushed.changed() => moved.map_err(|_| closed())?,
                () = self.0.writes.closed() => return Err(closed()),
            }
        }
        Ok(())
    }

    /// What may be said to be committed: nothing that this node itself counts for and does not
    /// have on its disk.
    pub(super) fn sure(&self, committed: Option<LogId>) -> Option<LogId> {
        let state = self.state();
        let durable = state.durable?;
        if committed.is_none_or(|committed| committed.index <= durable) {
            return committed;
        }
        state.tail.get(&durable).map(|entry| entry.log_id)
    }

    /// Belongs to a group from now on, with an empty log.
    pub(super) async fn adopt(&self, group: Group) -> Result<(), WriteFailed> {
        let mut batch = Batch::new();
        rows::put_group(&mut batch, group);
        self.write(Ask::Rows(batch)).await
    }

    /// Forgets everything but who this node is drawn to be now: it promised nothing yet.
    pub(super) async fn reset(&self, mesh: Did, draw: u64, group: Group) -> Result<(), WriteFailed> {
        let me = Voter { draw, ..self.state().me };
        let mut batch = Batch::new();
        rows::clear(&mut batch);
        // of a past that is not this group's; others have that
        batch.clear(Table::RaftAudit);
        rows::put_place(&mut batch, mesh, draw, group);
        self.begin(batch, State { me, ..State::default() }).await
    }

    /// Begins a group that goes on from a state: `head` says where, and that this node alone votes.
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
        let state = State { me, last: at, purged: at, snapshot: at, vote: Some(vote.into()), ..State::default() };
        self.begin(batch, state).await
    }

    async fn begin(&self, batch: Batch, state: State) -> Result<(), WriteFailed> {
        *self.state() = state;
        self.write(Ask::Begin(batch)).await?;
        // what was on its way until now was of the log before
        self.state().durable = None;
        Ok(())
    }

    /// Closes the store. The journal is closed when nobody writes and reads it any more.
    pub(super) fn close(&self) {
        self.0.store.close();
    }

    /// Writes what is not Raft's own, in its turn.
    pub(super) async fn keep(&self, batch: Batch) -> Result<(), WriteFailed> {
        self.write(Ask::Rows(batch)).await
    }

    /// The file as it is now.
    pub(super) fn view(&self) -> Result<Snapshot, StoreError> {
        self.0.store.snapshot()
    }

    /// Says that a row of a table does not read.
    pub(super) fn damaged(&self, table: Table) -> StoreError {
        let what = "a row does not read".to_owned();
        StoreError::Damaged { file: self.0.store.file().to_owned(), table: Some(table), what }
    }

    /// Keeps a snapshot in place of the one before.
    pub(super) async fn save_snapshot(&self, meta: &SnapshotMeta, state: &[u8]) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        rows::put_snapshot(&mut batch, &SnapshotHead::from(meta), state);
        let saved = self.write(Ask::Rows(batch)).await;
        saved.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        self.state().snapshot = meta.last_log_id;
        self.0.flushed.send_replace(());
        Ok(())
    }

    /// The latest snapshot.
    pub(super) fn read_snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        rows::read_snapshot(&self.0.store)
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
        // what is not in memory is on disk; what is not on disk is in memory
        let in_memory = self.state().tail.first_key_value().map_or(u64::MAX, |(first, _)| *first);
        if next < in_memory.min(until) {
            let (mut sound, mut full) = (true, false);
            self.0.entries.scan(next..in_memory.min(until), &mut |_, bytes_of| match decode_entry(bytes_of) {
                Ok(entry) => {
                    next = entry.log_id.index + 1;
                    full = !take(entry, &mut bytes);
                    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                Err(_) => {
                    sound = false;
                    ControlFlow::Break(())
                }
            })?;
            if !sound {
                return Err(self.0.entries.damaged("an entry does not read"));
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
        self.entries(from, until, usize::MAX).map_err(|error| StorageIOError::read_logs(&error).into())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.entries(start, end, READ_BYTES_MAX).map_err(|error| StorageIOError::read_logs(&error).into())
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
        if !planted(Plant::ForgetsVotes) {
            rows::put_vote(&mut batch, Ballot::from(*vote));
        }
        self.write(Ask::Rows(batch)).await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.state().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state().vote)
    }

    /// Travels with the next entries: it spares a start some waiting, and nothing depends on it.
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
        // What this node appends as the leader goes to the others while its own disk writes it; it is
        // applied and said to be committed only once it is on that disk. Who votes is not told early.
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
        if planted(Plant::AppendsBeforeDisk) {
            bytes.clear();
        }
        let ask = Ask::Append { first: first.unwrap_or_default(), entries: bytes, committed };
        let (done, callback) =
            if early { (WriteReceiver::Early, Some(callback)) } else { (WriteReceiver::Appended(callback), None) };
        let write = Write { ask, upto, done };
        let closed = |_| StorageIOError::write_logs(&WriteFailed("the log is closed".to_owned()));
        self.0.writes.send(write).await.map_err(closed)?;
        if let Some(callback) = callback {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let previous = from.index.checked_sub(1).map(|previous| self.entries(previous, from.index, usize::MAX));
        let previous = previous.transpose().map_err(|error| StorageIOError::read_logs(&error))?;
        {
            let mut state = self.state();
            state.tail.split_off(&from.index);
            state.last = previous.and_then(|entries| entries.first().map(|entry| entry.log_id)).or(state.purged);
        }
        let truncated = self.write(Ask::Truncate(from.index)).await;
        truncated.map_err(|error| StorageIOError::write_logs(&error))?;
        // what this node appended as a leader before may have been on its way until now
        let mut state = self.state();
        state.durable = state.durable.min(from.index.checked_sub(1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        // openraft asks for this while another task still writes the snapshot that was installed: a
        // crash in between would leave neither the entries nor what became of them
        let saved = tokio::time::timeout(SNAPSHOT_MAX, self.until(|state| state.snapshot >= Some(upto))).await;
        let saved = saved.unwrap_or_else(|_| Err(WriteFailed("no snapshot has what is to be purged".to_owned())));
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
