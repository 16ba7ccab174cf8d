//! The records on disk, and those that wait to be written.

mod shares;

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

use borsh::{BorshDeserialize, BorshSerialize};

use self::shares::{ROOM, Room, Shares};
use crate::coordinator::applied::Applied;
use crate::coordinator::format::encode;
use crate::coordinator::log::{Log, WriteFailed};
use crate::coordinator::state::Record;
use crate::store::{Batch, Order, Snapshot, StoreError, Table, View};

/// The most bytes of records in memory before they are written.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of records in one answer to another node.
const PAGE_BYTES_MAX: usize = 512 * 1024;
/// The most records read at once.
const READ_MAX: usize = 10_000;
/// The most bytes read at once, about.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest number of a deed.
const NUMBER_MAX: u64 = u64::MAX >> 8;

/// The key of the missing records. The other keys are the numbers of rows' first deeds.
pub(super) const GAPS: &[u8] = b"gaps";
/// The key of the members' shares of the rows.
const SHARES: &[u8] = b"shares";
/// The key of the former keys of members that the rows name, each with the key in its place.
const LINES: &[u8] = b"lines";

/// Records that are not on disk yet, oldest first.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Waiting {
    pub(in crate::coordinator) fn add(&mut self, record: Option<Record>) {
        if let Some(record) = record {
            self.bytes += size(&record);
            self.records.push_back(record);
        }
    }

    /// Whether it is time to write them.
    pub(in crate::coordinator) fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES_MAX
    }

    /// Drops the records up to this deed, which are on disk.
    fn written(&mut self, upto: u64) {
        while self.records.front().is_some_and(|record| record.last() <= upto) {
            self.bytes -= self.records.pop_front().map_or(0, |record| size(&record));
        }
    }
}

/// The size of a record in bytes, about.
fn size(record: &Record) -> usize {
    const OVERHEAD: usize = 256;
    OVERHEAD + record.deeds.iter().map(|deed| deed.name.len() + 64).sum::<usize>()
}

/// Deeds without a record on this node.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The hash of the record with the last of them.
    pub(super) hash: [u8; 32],
}

/// Writes the waiting records.
pub(in crate::coordinator) async fn keep(log: &Log, applied: &Applied) -> Result<(), KeepError> {
    let _one = applied.keeping().await;
    let records: Vec<Record> = applied.read().waiting.records.iter().cloned().collect();
    let Some(last) = records.last().map(Record::last) else { return Ok(()) };
    let batch = log.reading(move |log| batch(log, &records)).await?;
    log.keep(batch).await?;
    applied.waiting(|waiting| waiting.written(last));
    Ok(())
}

/// Notes a gap: the records between this node's last one and `chain` come later, if at all.
pub(in crate::coordinator) async fn skip(
    log: &Log,
    applied: &Applied,
    have: u64,
    count: u64,
    hash: [u8; 32],
) -> Result<(), KeepError> {
    let _one = applied.keeping().await;
    if count <= have {
        return Ok(());
    }
    let batch = log.reading(move |log| skipped(log, Gap { from: have + 1, to: count, hash })).await?;
    Ok(log.keep(batch).await?)
}

/// The changes that note a gap.
fn skipped(log: &Log, gap: Gap) -> Result<Batch, StoreError> {
    let mut gaps = gaps(log)?;
    let after = gap.from.to_be_bytes();
    gaps.push(gap);
    let mut batch = Batch::new();
    batch.put(Table::RaftAudit, GAPS, &encode(&gaps));
    // records from before a crash that took this copy back; they come again with the others
    let view = log.view()?;
    let mut shares = shares(log, &view)?;
    let range = (Bound::Included(after.as_slice()), Bound::Included(LAST.as_slice()));
    view.try_scan(Table::RaftAudit, range, Order::Forward, &mut |key, value| {
        batch.delete(Table::RaftAudit, key);
        shares.give(&decode::<Record>(log, value)?, value.len());
        Ok(ControlFlow::Continue(()))
    })?;
    put_shares(&shares, &mut batch);
    Ok(batch)
}

fn put_shares(shares: &Shares, batch: &mut Batch) {
    batch.put(Table::RaftAudit, SHARES, &encode(shares));
    if !shares.heirs.is_empty() {
        batch.put(Table::RaftAudit, LINES, &encode(&shares.heirs));
    }
}

/// Writes one record that no log entry brings again.
pub(in crate::coordinator) async fn keep_now(log: &Log, record: &Record) -> Result<(), KeepError> {
    let record = record.clone();
    let batch = log.reading(move |log| batch(log, std::slice::from_ref(&record))).await?;
    Ok(log.keep(batch).await?)
}

/// The reason why records were not kept.
#[derive(Debug, thiserror::Error)]
pub(in crate::coordinator) enum KeepError {
    #[error(transparent)]
    Write(#[from] WriteFailed),
    #[error(transparent)]
    Read(#[from] StoreError),
}

/// The changes that keep some records, and let go of others if there is no room.
pub(super) fn batch(log: &Log, records: &[Record]) -> Result<Batch, StoreError> {
    batch_within(log, records, ROOM)
}

fn batch_within(log: &Log, records: &[Record], room: Room) -> Result<Batch, StoreError> {
    let view = log.view()?;
    let mut batch = Batch::new();
    let mut shares = shares(log, &view)?;
    for record in records {
        let (key, value) = (record.first.to_be_bytes(), record.encode());
        let before = view.get(Table::RaftAudit, &key)?;
        if before.as_ref() == Some(&value) {
            continue;
        }
        if let Some(before) = before {
            shares.give(&decode(log, &before)?, before.len());
        }
        shares.take(record, value.len());
        batch.put(Table::RaftAudit, &key, &value);
    }
    while let Some(over) = shares.over(room) {
        let from = over.from.to_be_bytes();
        let (mut found, range) = (None, (Bound::Included(from.as_slice()), Bound::Included(LAST.as_slice())));
        view.try_scan(Table::RaftAudit, range, Order::Forward, &mut |key, value| {
            let record: Record = decode(log, value)?;
            if !shares.is_over(&over, &record) {
                return Ok(ControlFlow::Continue(()));
            }
            batch.delete(Table::RaftAudit, key);
            shares.drop(&record, value.len());
            found = Some(record);
            Ok(if shares.is_enough(&over, room) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if found.is_none() {
            // its records are all in this batch
            break;
        }
    }
    put_shares(&shares, &mut batch);
    Ok(batch)
}

/// The members' shares of the rows. An earlier version kept none: they are counted then.
fn shares(log: &Log, view: &Snapshot) -> Result<Shares, StoreError> {
    if let Some(bytes) = view.get(Table::RaftAudit, SHARES)? {
        let lines = view.get(Table::RaftAudit, LINES)?;
        let heirs = lines.map(|lines| decode(log, &lines)).transpose()?.unwrap_or_default();
        let mut shares: Shares = decode(log, &bytes)?;
        shares.heirs = heirs;
        return Ok(shares);
    }
    let mut shares = Shares::default();
    let all = (Bound::Included(FIRST.as_slice()), Bound::Included(LAST.as_slice()));
    view.try_scan(Table::RaftAudit, all, Order::Forward, &mut |_, value| {
        shares.take(&decode(log, value)?, value.len());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(shares)
}

/// Whether records were let go of to make room for others.
fn has_let_go(log: &Log, view: &Snapshot) -> Result<bool, StoreError> {
    let bytes = view.get(Table::RaftAudit, SHARES)?;
    bytes.map_or(Ok(false), |bytes| decode::<Shares>(log, &bytes).map(|shares| shares.has_dropped()))
}

pub(super) fn gaps(log: &Log) -> Result<Vec<Gap>, StoreError> {
    gaps_in(log, &log.view()?)
}

fn gaps_in(log: &Log, view: &Snapshot) -> Result<Vec<Gap>, StoreError> {
    let bytes = view.get(Table::RaftAudit, GAPS)?;
    bytes.map_or_else(|| Ok(Vec::new()), |bytes| decode(log, &bytes))
}

fn decode<T: BorshDeserialize>(log: &Log, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|_| log.damaged(Table::RaftAudit))
}

/// The smallest and the largest key of a row.
const FIRST: [u8; 8] = [0; 8];
const LAST: [u8; 8] = NUMBER_MAX.to_be_bytes();

/// Records that were read, with the gaps between them and the end of the chain at that moment.
pub(super) struct AuditRows {
    pub(super) records: Vec<Record>,
    /// All gaps up to the end of the chain.
    pub(super) gaps: Vec<Gap>,
    /// Whether more records follow.
    pub(super) more: bool,
    pub(super) count: u64,
    pub(super) head: [u8; 32],
    /// Whether this node let go of records to make room for others.
    pub(super) has_let_go: bool,
}

/// The records from a deed on.
pub(super) fn read(log: &Log, applied: &Applied, from: u64) -> Result<AuditRows, StoreError> {
    let from = from.min(NUMBER_MAX);
    let (waiting, count, head) = {
        let state = applied.read();
        let waiting = state.waiting.records.iter().filter(|record| record.last() >= from);
        let chain = state.machine.audit();
        (waiting.cloned().collect::<Vec<_>>(), chain.count, chain.head)
    };
    let (at, until) = (from.to_be_bytes(), waiting.first().map_or(count + 1, |record| record.first).to_be_bytes());
    let view = log.view()?;
    // the row with this deed may begin before it
    let before = (Bound::Included(FIRST.as_slice()), Bound::Included(at.as_slice()));
    let start = view.first(Table::RaftAudit, before, Order::Backward)?.map_or_else(|| at.to_vec(), |(key, _)| key);
    let (mut records, mut bytes, mut more, mut failed) = (Vec::new(), 0, false, false);
    let range = (Bound::Included(start.as_slice()), Bound::Excluded(until.as_slice()));
    view.scan(Table::RaftAudit, range, Order::Forward, &mut |_, value| {
        more = records.len() >= READ_MAX || bytes >= READ_BYTES_MAX;
        match borsh::from_slice::<Record>(value) {
            _ if more => {}
            Ok(record) if record.last() < from => {}
            Ok(record) => {
                bytes += value.len();
                records.push(record);
            }
            Err(_) => failed = true,
        }
        if more || failed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if failed {
        return Err(log.damaged(Table::RaftAudit));
    }
    if !more {
        records.extend(waiting);
    }
    let mut gaps = gaps_in(log, &view)?;
    // one after the end is of a snapshot that has come meanwhile
    gaps.retain(|gap| gap.from <= count);
    Ok(AuditRows { records, gaps, more, count, head, has_let_go: has_let_go(log, &view)? })
}

/// The records up to a deed that fit a page, newest first.
pub(super) fn read_back(log: &Log, applied: &Applied, upto: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    let mut add = |record: Vec<u8>| {
        bytes += record.len();
        let fits = page.is_empty() || bytes <= PAGE_BYTES_MAX;
        if fits {
            page.push(record);
        }
        fits
    };
    let (waiting, until) = {
        let state = applied.read();
        let waiting: Vec<Vec<u8>> =
            state.waiting.records.iter().rev().filter(|record| record.last() <= upto).map(Record::encode).collect();
        (waiting, state.waiting.records.front().map_or(NUMBER_MAX, |record| record.first))
    };
    if !waiting.into_iter().all(&mut add) {
        return Ok(page);
    }
    let end = until.min(upto.saturating_add(1)).to_be_bytes();
    let range = (Bound::Included(FIRST.as_slice()), Bound::Excluded(end.as_slice()));
    log.view()?.scan(Table::RaftAudit, range, Order::Backward, &mut |_, value| {
        if add(value.to_vec()) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests;
