//! Raft's promises on disk: votes, the log, the latest snapshot. In a file of its own, so that
//! they never queue behind the commits of the brain.
//!
//! One task writes, in the order in which it is asked; what waits while the disk is busy goes
//! into the next commit together.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_identity::Did;
use nexus_identity::plants::{Plant, planted};
use openraft::storage::{LogFlushed, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, StorageIOError};
use tokio::sync::{mpsc, oneshot, watch};

use super::command::Group;
use super::raft::{
    Ballot, Entry, LogId, Position, SnapshotHead, SnapshotMeta, StorageError, Types, Vote, Voter, decode_entry,
    encode_entry, entry_size,
};
use crate::env::{Blocking, blocking};
use crate::store::{ALL_KEYS, Batch, Order, Snapshot, Store, StoreError, Table, View};

/// Writes that wait for the disk; then openraft waits.
const WAITING_MAX: usize = 256;
/// Entries handed out at once stay under this, so that they fit a frame.
pub(super) const READ_BYTES_MAX: usize = 768 * 1024;
/// Entries kept in memory for peers that are nearly up to date.
const TAIL_MAX: usize = 1_024;
/// One row of a snapshot.
const CHUNK_BYTES: usize = 256 * 1024;
/// Commits between two marks of how far they are: each mark is one more page to write.
const MARK_EVERY: u64 = 64;

const TABLES: [Table; 3] = [Table::RaftLog, Table::RaftMeta, Table::RaftSnapshot];

const MESH: &[u8] = b"mesh";
const GROUP: &[u8] = b"group";
const DRAW: &[u8] = b"draw";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
const COMMITTED: &[u8] = b"committed";
const HEAD: &[u8] = b"snapshot";

/// A handle on the log; clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct Log(Arc<Inner>);

struct Inner {
    store: Store,
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
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The index of the commit that was last marked on disk.
    marked: Option<u64>,
    /// The latest entries, all those included that are not on disk yet.
    tail: BTreeMap<u64, Entry>,
    /// Up to here all are on disk.
    durable: Option<u64>,
}

/// Something to write, and who waits for it.
struct Write {
    batch: Batch,
    /// Entries up to this one are on disk then.
    upto: Option<u64>,
    done: Done,
}

enum Done {
    Appended(LogFlushed<Types>),
    /// Nobody: openraft was told before, and [`Log::wait_durable`] waits.
    Early,
    Tell(oneshot::Sender<Result<(), WriteFailed>>),
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
    /// Reads a Raft file, or begins an empty one: then `draw` makes this node a new voter.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn open(
        store: Store,
        did: Did,
        mesh: Did,
        redraw: bool,
        draw: impl FnOnce() -> u64,
    ) -> Result<(Self, Writer, Place), StoreError> {
        let view = store.snapshot()?;
        let foreign = view.get(Table::RaftMeta, MESH)?.is_some_and(|of| of != mesh.as_bytes());
        let known = view.get(Table::RaftMeta, DRAW)?.filter(|_| !foreign && !redraw);
        let drawn = match known {
            Some(bytes) => decode(&store, &bytes)?,
            None => {
                let (drawn, mut batch) = (draw(), Batch::new());
                if foreign {
                    // of the mesh that this node belonged to before
                    TABLES.iter().for_each(|table| batch.clear(*table));
                    batch.clear(Table::RaftAudit);
                }
                batch.put(Table::RaftMeta, MESH, mesh.as_bytes());
                batch.put(Table::RaftMeta, DRAW, &encode(&drawn));
                store.commit(&[batch])?;
                drawn
            }
        };
        let view = store.snapshot()?;
        let meta = |key: &[u8]| view.get(Table::RaftMeta, key);
        let group = meta(GROUP)?.map(|bytes| decode(&store, &bytes)).transpose()?;
        let position = |key| -> Result<Option<LogId>, StoreError> {
            let bytes = meta(key)?;
            Ok(bytes.map(|bytes| decode::<Position>(&store, &bytes)).transpose()?.map(LogId::from))
        };
        let (purged, committed) = (position(PURGED)?, position(COMMITTED)?);
        let vote = meta(VOTE)?.map(|bytes| decode::<Ballot>(&store, &bytes)).transpose()?;
        // openraft has a leader that starts again go on as the leader of its term, where it does
        // not know what it had committed: its reads would be stale until the next write. Others may
        // also hold entries of its that its own disk does not, and it would give their places to
        // others. Elected anew, it begins its term with an entry of its own.
        let vote = vote.map(|vote| Ballot { committed: vote.committed && vote.voter.did != did, ..vote });
        let vote = vote.map(Vote::from);
        let last = match view.first(Table::RaftLog, ALL_KEYS, Order::Backward)? {
            Some((_, value)) => Some(decode_entry(&value).map_err(|_| damaged(&store))?.log_id),
            None => purged,
        };
        let durable = last.map(|last| last.index);
        let me = Voter { did, draw: drawn };
        let state = State { me, last, purged, vote, committed, durable, ..State::default() };
        let (writes, receiver) = mpsc::channel(WAITING_MAX);
        let log = Self(Arc::new(Inner { store, writes, state: Mutex::new(state), flushed: watch::Sender::new(()) }));
        let writer = Writer { log: log.clone(), writes: receiver };
        Ok((log, writer, Place { me, group }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, batch: Batch, upto: Option<u64>) -> Result<(), WriteFailed> {
        let (tell, told) = oneshot::channel();
        let closed = || WriteFailed("the log is closed".to_owned());
        self.0.writes.send(Write { batch, upto, done: Done::Tell(tell) }).await.map_err(|_| closed())?;
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
        let mut flushed = self.0.flushed.subscribe();
        loop {
            if self.state().durable.is_some_and(|durable| durable >= upto) {
                return Ok(());
            }
            let closed = || WriteFailed("the log is closed".to_owned());
            tokio::select! {
                moved = flushed.changed() => moved.map_err(|_| closed())?,
                () = self.0.writes.closed() => return Err(closed()),
            }
        }
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
        batch.put(Table::RaftMeta, GROUP, &encode(&group));
        self.write(batch, None).await
    }

    /// Forgets everything but who this node is drawn to be now: it promised nothing yet.
    pub(super) async fn reset(&self, mesh: Did, draw: u64, group: Group) -> Result<(), WriteFailed> {
        {
            let mut state = self.state();
            let me = Voter { draw, ..state.me };
            *state = State { me, ..State::default() };
        }
        let mut batch = Batch::new();
        TABLES.iter().for_each(|table| batch.clear(*table));
        batch.put(Table::RaftMeta, MESH, mesh.as_bytes());
        batch.put(Table::RaftMeta, DRAW, &encode(&draw));
        batch.put(Table::RaftMeta, GROUP, &encode(&group));
        self.write(batch, None).await?;
        // what was on its way until now was of the log before
        self.state().durable = None;
        Ok(())
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
        self.reset(mesh, me.draw, group).await?;
        let mut batch = Batch::new();
        put_snapshot(&mut batch, &head, state);
        if let Some(at) = &head.at {
            batch.put(Table::RaftMeta, PURGED, &encode(at));
        }
        batch.put(Table::RaftMeta, VOTE, &encode(&vote));
        {
            let mut state = self.state();
            state.purged = head.at.map(LogId::from);
            state.last = state.purged;
            state.vote = Some(vote.into());
        }
        self.write(batch, None).await
    }

    /// Closes the file.
    pub(super) fn close(&self) {
        self.0.store.close();
    }

    /// Writes what is not Raft's own, in its turn.
    pub(super) async fn keep(&self, batch: Batch) -> Result<(), WriteFailed> {
        self.write(batch, None).await
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
        put_snapshot(&mut batch, &SnapshotHead::from(meta), state);
        self.write(batch, None).await.map_err(|error| StorageIOError::write_snapshot(None, &error).into())
    }

    /// The latest snapshot.
    pub(super) fn read_snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        let view = self.0.store.snapshot()?;
        let Some(head) = view.get(Table::RaftMeta, HEAD)? else { return Ok(None) };
        let head: SnapshotHead = decode(&self.0.store, &head)?;
        let mut state = Vec::new();
        view.scan(Table::RaftSnapshot, ALL_KEYS, Order::Forward, &mut |_, chunk| {
            state.extend_from_slice(chunk);
            ControlFlow::Continue(())
        })?;
        Ok(Some((head.into(), state)))
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
            let (start, end) = (next.to_be_bytes(), in_memory.min(until).to_be_bytes());
            let mut failed = None;
            let view = self.0.store.snapshot()?;
            let range = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
            let mut full = false;
            view.scan(Table::RaftLog, range, Order::Forward, &mut |_, value| match decode_entry(value) {
                Ok(entry) => {
                    next = entry.log_id.index + 1;
                    full = !take(entry, &mut bytes);
                    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            if failed.is_some() {
                return Err(damaged(&self.0.store));
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

/// The one task that writes.
pub(crate) struct Writer {
    log: Log,
    writes: mpsc::Receiver<Write>,
}

impl Writer {
    /// Writes until nobody is left who could ask, or the disk fails. `failed` is told why.
    pub(crate) async fn run(mut self, pool: Arc<dyn Blocking>, failed: impl Fn(String)) {
        let mut waiting = Vec::new();
        while self.writes.recv_many(&mut waiting, WAITING_MAX).await > 0 {
            let (batches, rest): (Vec<Batch>, Vec<(Option<u64>, Done)>) =
                waiting.drain(..).map(|write| (write.batch, (write.upto, write.done))).unzip();
            let store = self.log.0.store.clone();
            let committed = blocking(&*pool, move || store.commit(&batches)).await;
            let result = match committed {
                Some(Ok(())) => Ok(()),
                Some(Err(error)) => Err(WriteFailed(error.to_string())),
                None => Err(WriteFailed("the write was interrupted".to_owned())),
            };
            if result.is_ok() {
                self.log.durable(rest.iter().filter_map(|(upto, _)| *upto).max());
            }
            for (_, done) in rest {
                match done {
                    Done::Appended(flushed) => flushed.log_io_completed(result.clone().map_err(io::Error::other)),
                    Done::Early => {}
                    Done::Tell(tell) => drop(tell.send(result.clone())),
                }
            }
            if let Err(error) = result {
                failed(format!("the coordinator's log cannot be written: {error}"));
                return;
            }
        }
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
            batch.put(Table::RaftMeta, VOTE, &encode(&Ballot::from(*vote)));
        }
        self.write(batch, None).await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.state().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state().vote)
    }

    /// Travels with a later write: it spares a start some waiting, and nothing depends on it.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let state = self.state();
        // a crash may have kept the mark and not the entries
        Ok(state.committed.min(state.last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::new();
        // What this node appends as the leader goes to the others while its own disk writes it; it is
        // applied and said to be committed only once it is on that disk. Who votes is not told early.
        let mut early = true;
        let mut upto = None;
        {
            let mut state = self.state();
            let leads = state.vote.filter(|vote| vote.committed && vote.leader_id.node_id == state.me);
            for entry in entries {
                let index = entry.log_id.index;
                early &= leads.is_some_and(|vote| vote.leader_id == entry.log_id.leader_id)
                    && matches!(entry.payload, EntryPayload::Normal(_));
                batch.put(Table::RaftLog, &index.to_be_bytes(), &encode_entry(&entry));
                state.last = Some(entry.log_id);
                state.tail.insert(index, entry);
                upto = Some(index);
            }
            if let Some(committed) = state.committed
                && state.marked.is_none_or(|marked| committed.index >= marked + MARK_EVERY)
            {
                state.marked = Some(committed.index);
                batch.put(Table::RaftMeta, COMMITTED, &encode(&Position::from(committed)));
            }
        }
        if planted(Plant::AppendsBeforeDisk) {
            batch = Batch::new();
        }
        let (done, callback) = if early { (Done::Early, Some(callback)) } else { (Done::Appended(callback), None) };
        let write = Write { batch, upto, done };
        let closed = |_| StorageIOError::write_logs(&WriteFailed("the log is closed".to_owned()));
        self.0.writes.send(write).await.map_err(closed)?;
        if let Some(callback) = callback {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        let previous = from.index.checked_sub(1).map(|previous| self.entries(previous, from.index, usize::MAX));
        let previous = previous.transpose().map_err(|error| StorageIOError::read_logs(&error))?;
        {
            let mut state = self.state();
            let last = state.last.map_or(from.index, |last| last.index);
            for index in from.index..=last {
                batch.delete(Table::RaftLog, &index.to_be_bytes());
                state.tail.remove(&index);
            }
            state.last = previous.and_then(|entries| entries.first().map(|entry| entry.log_id)).or(state.purged);
        }
        self.write(batch, None).await.map_err(|error| StorageIOError::write_logs(&error))?;
        // what this node appended as a leader before may have been on its way until now
        let mut state = self.state();
        state.durable = state.durable.min(from.index.checked_sub(1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        {
            let mut state = self.state();
            let first = state.purged.map_or(0, |purged| purged.index + 1);
            for index in first..=upto.index {
                batch.delete(Table::RaftLog, &index.to_be_bytes());
            }
            state.tail = state.tail.split_off(&(upto.index + 1));
            state.purged = Some(upto);
            state.last = state.last.max(Some(upto));
        }
        batch.put(Table::RaftMeta, PURGED, &encode(&Position::from(upto)));
        self.write(batch, None).await.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}

fn put_snapshot(batch: &mut Batch, head: &SnapshotHead, state: &[u8]) {
    batch.clear(Table::RaftSnapshot);
    batch.put(Table::RaftMeta, HEAD, &encode(head));
    for (number, chunk) in (0u32..).zip(state.chunks(CHUNK_BYTES)) {
        batch.put(Table::RaftSnapshot, &number.to_be_bytes(), chunk);
    }
}

fn encode<T: borsh::BorshSerialize>(value: &T) -> Vec<u8> {
    // writing into memory does not fail
    borsh::to_vec(value).unwrap_or_default()
}

fn decode<T: borsh::BorshDeserialize>(store: &Store, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|_| damaged(store))
}

fn damaged(store: &Store) -> StoreError {
    let what = "a row does not read".to_owned();
    StoreError::Damaged { file: store.file().to_owned(), table: Some(Table::RaftLog), what }
}
