//! The rows of Raft's store beside the journal: votes, this node's place in its group, the purged
//! index, the latest snapshot.

use std::ops::{Bound, ControlFlow};

use nexus_identity::Did;
use redb::StorageBackend;

use super::super::certificate::Certificate;
use super::super::command::Group;
use super::super::format::{ReadError, TooNew, encode};
use super::super::journal::{Journal, Opened, Root, SEGMENT_BYTES};
use super::super::raft::{Ballot, LogId, Position, SnapshotHead, SnapshotMeta, Voter, decode_head, decode_log_id};
use crate::store::{ALL_KEYS, Batch, Order, Row, Snapshot, Store, StoreDamage, StoreError, Table, View};

/// The size of one row of a snapshot, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

const TABLES: [Table; 3] = [Table::RaftLog, Table::RaftMeta, Table::RaftSnapshot];

const MESH: &[u8] = b"mesh";
const GROUP: &[u8] = b"group";
const DRAW: &[u8] = b"draw";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
const JOURNAL: &[u8] = b"journal";
const HEAD: &[u8] = b"snapshot";
/// The signatures of the snapshot at an index.
const CERTIFICATE: &[u8] = b"certificate";
/// The committed index in stores without a journal. Records of the journal have it now.
const COMMITTED: &[u8] = b"committed";

/// The content of Raft's store and its journal.
pub(super) struct StoredLog {
    pub(super) journal: Journal,
    pub(super) me: Voter,
    pub(super) group: Option<Group>,
    pub(super) vote: Option<Ballot>,
    pub(super) purged: Option<LogId>,
    /// The last entry in the snapshot.
    pub(super) snapshot: Option<LogId>,
    pub(super) committed: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// The bytes of a later version in the store.
    pub(super) too_new: Option<TooNew>,
}

/// Reads Raft's store and its journal, or begins them. With `redraw` this node becomes another voter.
pub(super) fn open(
    store: &Store,
    journal: Box<dyn StorageBackend>,
    did: Did,
    mesh: Did,
    redraw: bool,
    draw: impl Fn() -> u64,
) -> Result<StoredLog, StoreError> {
    let view = store.snapshot()?;
    let foreign = view.get(Table::RaftMeta, MESH)?.is_some_and(|of| of != mesh.as_bytes());
    let meta = |key: &[u8]| if foreign { Ok(None) } else { view.get(Table::RaftMeta, key) };
    let mut batch = Batch::new();
    if foreign {
        // rows of the node's former mesh
        clear(&mut batch);
        batch.clear(Table::RaftAudit);
    }
    let drawn = match meta(DRAW)?.filter(|_| !redraw) {
        Some(bytes) => decode(store, &bytes)?,
        None => {
            let drawn = draw();
            batch.put(Table::RaftMeta, MESH, mesh.as_bytes());
            batch.put(Table::RaftMeta, DRAW, &encode(&drawn));
            drawn
        }
    };
    let group = meta(GROUP)?.map(|bytes| decode(store, &bytes)).transpose()?;
    let vote = meta(VOTE)?.map(|bytes| decode::<Ballot>(store, &bytes)).transpose()?;
    let position = |bytes: Vec<u8>| decode::<Position>(store, &bytes).map(LogId::from);
    let purged = meta(PURGED)?.map(position).transpose()?;
    let (head, too_new) = match meta(HEAD)?.map(|bytes| decode_head(&bytes)).transpose() {
        Ok(head) => (head, None),
        Err(ReadError::TooNew(too_new)) => (None, Some(too_new)),
        Err(ReadError::Malformed) => return Err(damaged(store)),
    };
    let snapshot = head.and_then(|head| head.at).map(LogId::from);
    let name = store.file().with_extension("log");
    let (journal, committed) = match meta(JOURNAL)? {
        Some(bytes) => {
            let root = decode::<Root>(store, &bytes)?;
            let Opened { journal, committed } = Journal::open(&name, journal, root, purged.map(|purged| purged.index))?;
            (journal, committed)
        }
        None => {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&draw().to_le_bytes());
            id[8..].copy_from_slice(&draw().to_le_bytes());
            let mut journal = Journal::create(&name, journal, id, SEGMENT_BYTES)?;
            let committed = meta(COMMITTED)?.map(position).transpose()?.map(|committed| committed.index);
            if !foreign {
                move_rows(store, &view, &mut journal, purged.map(|purged| purged.index), committed)?;
                batch.clear(Table::RaftLog);
                batch.delete(Table::RaftMeta, COMMITTED);
            }
            // the journal is valid from here on; a crash before this keeps the rows
            put_root(&mut batch, journal.root());
            (journal, committed)
        }
    };
    store.commit(&[batch])?;
    let entry = |index: Option<u64>| -> Result<Option<LogId>, StoreError> {
        let (mut found, entries) = (None, journal.entries());
        let Some(index) = index else { return Ok(None) };
        entries.scan(index..index + 1, &mut |_, bytes| {
            found = Some(decode_log_id(bytes));
            ControlFlow::Break(())
        })?;
        found.transpose().map_err(|_| entries.damaged(StoreDamage::Entry))
    };
    let last = entry(journal.entries().last())?.or(purged);
    // earlier entries are in the snapshot
    let committed = entry(committed.filter(|committed| purged.is_none_or(|purged| purged.index < *committed)))?;
    Ok(StoredLog { me: Voter { did, draw: drawn }, group, vote, purged, snapshot, committed, last, journal, too_new })
}

/// Moves the entries of a store without a journal into it: one from before the journal, or of a backup. A backup may
/// have entries that were purged while it was written.
fn move_rows(
    store: &Store,
    view: &Snapshot,
    journal: &mut Journal,
    purged: Option<u64>,
    committed: Option<u64>,
) -> Result<(), StoreError> {
    let (mut first, mut entries, mut sound) = (None, Vec::new(), true);
    let start = purged.map(u64::to_be_bytes);
    let range = start.as_ref().map_or(ALL_KEYS, |purged| (Bound::Excluded(purged.as_slice()), Bound::Unbounded));
    view.scan(Table::RaftLog, range, Order::Forward, &mut |key, value| {
        let index = key.try_into().map(u64::from_be_bytes).ok();
        let expected = first.map(|first| first + entries.len() as u64);
        sound = index.is_some() && expected.is_none_or(|expected| index == Some(expected));
        first = first.or(index);
        entries.push(value.to_vec());
        if sound { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if !sound {
        return Err(damaged(store));
    }
    match first {
        Some(first) => journal.append(first, &entries, committed),
        None => Ok(()),
    }
}

/// The latest snapshot.
pub(super) fn read_snapshot(store: &Store) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
    let view = store.snapshot()?;
    let Some(head) = view.get(Table::RaftMeta, HEAD)? else { return Ok(None) };
    let head: SnapshotHead = decode(store, &head)?;
    let mut state = Vec::new();
    view.scan(Table::RaftSnapshot, ALL_KEYS, Order::Forward, &mut |_, chunk| {
        state.extend_from_slice(chunk);
        ControlFlow::Continue(())
    })?;
    Ok(Some((head.into(), state)))
}

/// Removes all promises of a log.
pub(super) fn clear(batch: &mut Batch) {
    TABLES.iter().for_each(|table| batch.clear(*table));
}

pub(super) fn put_place(batch: &mut Batch, mesh: Did, draw: u64, group: Group) {
    batch.put(Table::RaftMeta, MESH, mesh.as_bytes());
    batch.put(Table::RaftMeta, DRAW, &encode(&draw));
    put_group(batch, group);
}

pub(super) fn put_group(batch: &mut Batch, group: Group) {
    batch.put(Table::RaftMeta, GROUP, &encode(&group));
}

pub(super) fn put_vote(batch: &mut Batch, vote: Ballot) {
    batch.put(Table::RaftMeta, VOTE, &encode(&vote));
}

/// The tables of a copy, with its entries apart.
pub(in super::super) const COPIED: [Table; 3] = [Table::RaftMeta, Table::RaftSnapshot, Table::RaftAudit];

/// The row of the committed index in a store without a journal.
pub(in super::super) fn committed_row(committed: LogId) -> Row {
    (COMMITTED.to_vec(), encode(&Position::from(committed)))
}

/// The rows of a table as a store without a journal has them.
pub(in super::super) fn without_journal(table: Table, mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|(key, _)| table != Table::RaftMeta || key != JOURNAL);
    rows
}

pub(super) fn put_purged(batch: &mut Batch, upto: Position) {
    batch.put(Table::RaftMeta, PURGED, &encode(&upto));
}

pub(super) fn put_root(batch: &mut Batch, root: Root) {
    batch.put(Table::RaftMeta, JOURNAL, &encode(&root));
}

pub(super) fn put_certificate(batch: &mut Batch, index: u64, certificate: &Certificate) {
    batch.put(Table::RaftMeta, CERTIFICATE, &encode(&(index, certificate.write())));
}

/// The signatures that were kept, and the index of their snapshot. They can be gathered again: those that do not read
/// are none.
pub(super) fn read_certificate(store: &Store) -> Result<Option<(u64, Certificate)>, StoreError> {
    let bytes = store.snapshot()?.get(Table::RaftMeta, CERTIFICATE)?;
    let read = bytes.and_then(|bytes| borsh::from_slice::<(u64, Vec<u8>)>(&bytes).ok());
    Ok(read.and_then(|(index, bytes)| Some((index, Certificate::read(&bytes)?))))
}

pub(super) fn put_snapshot(batch: &mut Batch, head: &SnapshotHead, state: &[u8]) {
    batch.clear(Table::RaftSnapshot);
    batch.put(Table::RaftMeta, HEAD, &encode(head));
    for (number, chunk) in (0u32..).zip(state.chunks(CHUNK_BYTES)) {
        batch.put(Table::RaftSnapshot, &number.to_be_bytes(), chunk);
    }
}

fn decode<T: borsh::BorshDeserialize>(store: &Store, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|_| damaged(store))
}

fn damaged(store: &Store) -> StoreError {
    StoreError::Damaged { file: store.file().to_owned(), table: Some(Table::RaftMeta), what: StoreDamage::Row }
}
