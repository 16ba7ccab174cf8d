//! The machine for openraft: entries in, outcomes out, snapshots of the whole state.

use std::collections::{BTreeSet, VecDeque};
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use nexus_identity::Did;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, StorageIOError};
use tokio::sync::{Notify, watch};

use super::audit::{self, KeepError, Waiting};
use super::certificate::{Certificate, Checkpoint};
use super::command::Group;
use super::format::{self, ReadError, TooNew};
use super::log::Log;
use super::raft::{Entry, LogId, Outcomes, SnapshotHead, SnapshotMeta, StorageError, StoredMembership, Types};
use super::state::{CriticalChange, LogPlace, Machine};

/// The most changes kept for watchers that come back. A watcher that was away longer starts from the
/// current keys.
const CHANGES_MAX: usize = 4_096;
/// The most bytes of these changes.
const CHANGES_BYTES_MAX: usize = 16 << 20;
/// The most snapshots whose digests are kept.
const CHECKPOINTS_MAX: usize = 4;

/// A handle to the applied state, cheap to clone.
#[derive(Clone)]
pub(crate) struct Applied(Arc<AppliedMachine>);

/// The state behind the handles.
struct AppliedMachine {
    state: RwLock<CopyState>,
    /// The index of the last applied entry.
    index: watch::Sender<u64>,
    /// The highest format of any copy that this node had.
    raised: watch::Sender<u16>,
    /// Locked by the task that writes audit records.
    keeping: tokio::sync::Mutex<()>,
    group: Group,
    /// The latest snapshots of this copy.
    checkpoints: Mutex<VecDeque<Checkpoint>>,
    /// The place of the latest one.
    made: watch::Sender<u64>,
    /// The place of the latest one that is to be written.
    due: watch::Sender<u64>,
    /// Told when another copy does not take a snapshot of this one.
    refused: Notify,
    /// The entries between two snapshots.
    every: u64,
}

pub(crate) struct CopyState {
    pub(crate) machine: Machine,
    at: Option<LogId>,
    seats: StoredMembership,
    changes: VecDeque<CriticalChange>,
    /// The size of `changes`.
    bytes: usize,
    /// The last revision of which changes may be missing from `changes`.
    missing: u64,
    /// Audit records that are not on disk yet.
    pub(super) waiting: Waiting,
    /// The latest snapshot, until it is written.
    unwritten: Option<(SnapshotMeta, Vec<u8>)>,
}

impl Applied {
    /// The state of a snapshot, or of a group that has just begun.
    pub(super) fn new(
        group: Group,
        snapshot: Option<(SnapshotMeta, Vec<u8>, Certificate)>,
        format_max: u16,
        raised: watch::Sender<u16>,
        every: u64,
    ) -> Result<Self, ReadError> {
        let mut checkpoints = VecDeque::new();
        let (machine, at, seats) = match snapshot {
            Some((meta, state, certificate)) => {
                let checkpoint = Checkpoint::of(group, SnapshotHead::from(&meta), &state);
                checkpoints.push_back(Checkpoint { certificate: certificate.of(&checkpoint.digest), ..checkpoint });
                (Machine::decode(&state, format_max)?, meta.last_log_id, meta.last_membership)
            }
            None => (Machine::new(group), None, StoredMembership::default()),
        };
        let (index, missing) = (at.map_or(0, |at| at.index), machine.revision());
        let (changes, waiting) = (VecDeque::new(), Waiting::default());
        let state = CopyState { machine, at, seats, changes, bytes: 0, missing, waiting, unwritten: None };
        let applied = Self(Arc::new(AppliedMachine {
            state: RwLock::new(state),
            index: watch::Sender::new(index),
            raised,
            keeping: tokio::sync::Mutex::default(),
            group,
            checkpoints: Mutex::new(checkpoints),
            made: watch::Sender::new(0),
            due: watch::Sender::new(0),
            refused: Notify::new(),
            every: every.max(1),
        }));
        applied.raise();
        Ok(applied)
    }

    /// Announces the machine's format, if it is the highest so far.
    fn raise(&self) {
        let format = self.read().machine.format();
        self.0.raised.send_if_modified(|raised| {
            let higher = format > *raised;
            *raised = format.max(*raised);
            higher
        });
    }

    /// Reads the applied state.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, CopyState> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the last applied entry, as a watch.
    pub(crate) fn index(&self) -> watch::Receiver<u64> {
        self.0.index.subscribe()
    }

    /// Keeps other tasks from writing audit records.
    pub(super) async fn keeping(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.keeping.lock().await
    }

    /// Changes the records that wait to be written.
    pub(super) fn waiting(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.0.state.write().unwrap_or_else(PoisonError::into_inner).waiting);
    }

    /// The number of entries between two snapshots.
    pub(super) fn every(&self) -> u64 {
        self.0.every
    }

    /// The place of the latest snapshot of this copy, as a watch.
    pub(super) fn made(&self) -> watch::Receiver<u64> {
        self.0.made.subscribe()
    }

    /// The place of the latest snapshot that is to be written, as a watch.
    pub(super) fn due(&self) -> watch::Receiver<u64> {
        self.0.due.subscribe()
    }

    /// Another copy did not take a snapshot of this one: it may want more signatures than this node thought.
    pub(super) fn was_refused(&self) {
        self.0.refused.notify_one();
    }

    /// Resolves once another copy does not take a snapshot, or has not since this was asked last.
    pub(super) async fn refused(&self) {
        self.0.refused.notified().await;
    }

    fn checkpoints(&self) -> MutexGuard<'_, VecDeque<Checkpoint>> {
        self.0.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot of this copy at a place, if it is one of the latest.
    pub(super) fn checkpoint(&self, index: u64) -> Option<Checkpoint> {
        self.checkpoints().iter().find(|one| one.index() == index).cloned()
    }

    /// The latest snapshot of this copy.
    pub(super) fn latest_checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoints().back().cloned()
    }

    /// Keeps the signatures that came for a snapshot. Returns whether there are more of them.
    pub(super) fn certified(&self, checkpoint: Checkpoint) -> bool {
        let mut checkpoints = self.checkpoints();
        let Some(kept) = checkpoints.iter_mut().find(|one| one.digest == checkpoint.digest) else { return false };
        let more = kept.certificate != checkpoint.certificate;
        *kept = checkpoint;
        more
    }

    fn add(&self, checkpoint: Checkpoint) {
        let index = checkpoint.index();
        let mut checkpoints = self.checkpoints();
        checkpoints.push_back(checkpoint);
        let excess = checkpoints.len().saturating_sub(CHECKPOINTS_MAX);
        checkpoints.drain(..excess);
        drop(checkpoints);
        self.0.made.send_replace(index);
    }

    fn change<T>(&self, change: impl FnOnce(&mut CopyState) -> T) -> T {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let index = state.at.map_or(0, |at| at.index);
        drop(state);
        self.0.index.send_replace(index);
        self.raise();
        result
    }
}

impl CopyState {
    /// The index of the last applied entry.
    pub(crate) fn index(&self) -> u64 {
        self.at.map_or(0, |at| at.index)
    }

    /// The changes after a revision; `None` if some of them are gone.
    pub(crate) fn changes_after(&self, revision: u64) -> Option<impl Iterator<Item = &CriticalChange>> {
        (revision >= self.missing).then(|| {
            let from = self.changes.partition_point(|change| change.revision <= revision);
            self.changes.range(from..)
        })
    }

    fn keep(&mut self, changes: Vec<CriticalChange>) {
        self.bytes += changes.iter().map(CriticalChange::size).sum::<usize>();
        self.changes.extend(changes);
        while self.changes.len() > CHANGES_MAX || self.bytes > CHANGES_BYTES_MAX {
            // all changes of a revision stay or go together
            if let Some(oldest) = self.changes.front().map(|change| change.revision) {
                self.missing = oldest;
                while self.changes.front().is_some_and(|change| change.revision == oldest) {
                    self.bytes -= self.changes.pop_front().map_or(0, |gone| gone.size());
                }
            }
        }
    }
}

/// Applies entries to the machine.
pub(super) struct Applier {
    pub(super) applied: Applied,
    pub(super) log: Log,
    /// The highest format that it reads.
    pub(super) format_max: u16,
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.applied.read();
        Ok((state.at, state.seats.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (max, every, group) = (self.format_max, self.applied.0.every, self.applied.0.group);
        let mut made = Vec::new();
        let mut apply = |state: &mut CopyState, entry: Entry| {
            let before = state.machine.format();
            let at = LogPlace { index: entry.log_id.index, leader: entry.log_id.leader_id.node_id.did };
            let outcomes = match entry.payload {
                EntryPayload::Blank => Outcomes::default(),
                EntryPayload::Membership(membership) => {
                    // during a joint change the voters are not settled
                    if let [voters] = membership.get_joint_config().as_slice() {
                        let voters: BTreeSet<Did> = voters.iter().map(|voter| voter.did).collect();
                        // the first entry has no leader: the founder wrote it before it was elected
                        let founder = voters.first().copied().filter(|_| at.index == 0);
                        let record =
                            state.machine.seats(LogPlace { leader: founder.unwrap_or(at.leader), ..at }, voters);
                        state.waiting.add(record);
                    }
                    state.seats = StoredMembership::new(Some(entry.log_id), membership);
                    Outcomes::default()
                }
                EntryPayload::Normal(proposals) => {
                    let mut outcomes = Vec::with_capacity(proposals.0.len());
                    let all = state.machine.apply_all(at, &proposals.0, max);
                    for (applied, record) in all.map_err(|too_new| (entry.log_id, too_new))? {
                        state.waiting.add(record);
                        state.keep(applied.changes);
                        outcomes.push(applied.outcomes);
                    }
                    Outcomes(outcomes)
                }
            };
            state.at = Some(entry.log_id);
            // a raise is at the same place in all copies, as the multiples are
            let raised = before < format::SEATS && state.machine.format() >= format::SEATS;
            if at.index > 0 && (at.index.is_multiple_of(every) || raised) {
                let (meta, bytes) = (meta(state), state.machine.encode());
                made.push(Checkpoint::of(group, SnapshotHead::from(&meta), &bytes));
                state.unwritten = Some((meta, bytes));
            }
            Ok(outcomes)
        };
        let entries: Vec<Entry> = entries.into_iter().collect();
        // the leader counts itself before an entry is on its own disk
        if let Some(last) = entries.last() {
            let durable = self.log.wait_durable(last.log_id.index).await;
            durable.map_err(|error| StorageIOError::apply(last.log_id, &error))?;
        }
        let (outcomes, full) = self.applied.change(|state| {
            let outcomes: Result<Vec<_>, (LogId, TooNew)> =
                entries.into_iter().map(|entry| apply(state, entry)).collect();
            (outcomes, state.waiting.is_full())
        });
        let outcomes = outcomes.map_err(|(at, too_new)| {
            self.log.stop_at(too_new);
            StorageIOError::apply(at, &too_new)
        })?;
        for checkpoint in made {
            self.applied.0.due.send_replace(checkpoint.index());
            self.applied.add(checkpoint);
        }
        if full {
            audit::keep(&self.log, &self.applied).await.map_err(unkept)?;
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let unwritten = self.applied.0.state.write().unwrap_or_else(PoisonError::into_inner).unwritten.take();
        let (meta, state) = unwritten.unwrap_or_else(|| {
            let state = self.applied.read();
            (meta(&state), state.machine.encode())
        });
        Builder { meta, state, log: self.log.clone(), applied: self.applied.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let machine = Machine::decode_sent(&bytes, self.format_max).map_err(|error| {
            if let ReadError::TooNew(too_new) = error {
                self.log.stop_at(too_new);
            }
            StorageIOError::read_snapshot(Some(meta.signature()), &error)
        })?;
        let chain = machine.audit();
        audit::keep(&self.log, &self.applied).await.map_err(unkept)?;
        let have = self.applied.read().machine.audit().count;
        audit::skip(&self.log, &self.applied, have, chain.count, chain.head).await.map_err(unkept)?;
        self.log.save_snapshot(meta, &bytes).await?;
        self.applied.change(|state| {
            state.missing = machine.revision();
            state.changes.clear();
            state.bytes = 0;
            state.machine = machine;
            state.at = meta.last_log_id;
            state.seats = meta.last_membership.clone();
            state.unwritten = None;
        });
        self.applied.add(Checkpoint::of(self.applied.0.group, SnapshotHead::from(meta), &bytes));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = self.log.read_snapshot().await.map_err(|error| StorageIOError::read_snapshot(None, &error))?;
        Ok(read.map(|(meta, state)| Snapshot { meta, snapshot: Box::new(Cursor::new(state)) }))
    }
}

/// A snapshot in the making. The machine goes on meanwhile.
pub(super) struct Builder {
    meta: SnapshotMeta,
    state: Vec<u8>,
    log: Log,
    applied: Applied,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (meta, state) = (self.meta.clone(), std::mem::take(&mut self.state));
        // the log will lose the entries that would bring these records again after a crash
        audit::keep(&self.log, &self.applied).await.map_err(unkept)?;
        self.log.save_snapshot(&meta, &state).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(state)) })
    }
}

fn unkept(error: KeepError) -> StorageError {
    StorageIOError::write_snapshot(None, &error).into()
}

fn meta(state: &CopyState) -> SnapshotMeta {
    let at = state.at.map_or_else(|| "0".to_owned(), |at| format!("{}-{}", at.leader_id.term, at.index));
    SnapshotMeta { last_log_id: state.at, last_membership: state.seats.clone(), snapshot_id: at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::state::CriticalEvent;

    /// promise: Bad input | Kept changes of keys are bounded in bytes; a watcher that comes later is told of the gap
    #[test]
    fn kept_changes_are_bounded_in_bytes() {
        let applied = Applied::new(Group::default(), None, 0, watch::Sender::new(0), 1).unwrap();
        let put = |revision| CriticalChange {
            revision,
            by: Did::from_bytes([1; 32]),
            event: CriticalEvent::Put { key: "k".to_owned(), value: vec![0; 65_536] },
        };
        for revision in 1..=1_000 {
            applied.change(|state| state.keep(vec![put(revision)]));
        }
        let state = applied.read();
        let kept: usize = state.changes.iter().map(CriticalChange::size).sum();
        assert_eq!(kept, state.bytes);
        assert!(kept <= CHANGES_BYTES_MAX && kept > CHANGES_BYTES_MAX / 2);
        assert!(state.changes_after(0).is_none() && state.changes_after(999).is_some());
    }
}
