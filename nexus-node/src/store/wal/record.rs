//! The form of a record: a head, padded to whole blocks, and the bytes of each write, padded in the same way.
//!
//! All numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic: one for pages, and one for rows |
//! | 4 | version |
//! | 4 | number of operations |
//! | 8 | size of a segment |
//! | 8, 8 | generation, number of the record in it |
//! | 8 | number of records of the generation before, in the other segment |
//! | 8, 8 | last commit of the database file before this generation, and with this record |
//! | 8 | size of the record |
//! | 16 | key of the log |
//! | 16 | checksum of the whole record without it |
//! | 16 each | operations: offset (8), number of bytes (4), kind (4) |
//!
//! A record has the writes of pages, or rows. The first operation of rows has their number in place of an offset. One for
//! each change follows, with the code of its table in that place. The data is in the form of a [leaf](super::super::carve) of
//! the database, with a row for each key: so whoever looks for rows in a damaged file finds these, too.

use std::io;

use redb::StorageBackend;

use super::super::carve::{leaf_bytes, leaf_of, rows_of_leaf};
use super::super::seal::{SEAL_BYTES, seal, unseal};
use super::super::{Batch, Table, TableChange};

pub(super) const BLOCK_BYTES: usize = 4_096;
const MAGIC: &[u8; 8] = b"nexuswal";
/// Of a record of rows. To an earlier version it is none, so that it comes to the format of the file, and refuses that.
const ROWS_MAGIC: &[u8; 8] = b"nexusrow";
const VERSION: u32 = 1;
const KEY_AT: usize = 8 + 4 + 4 + 8 * 7;
const KEY_BYTES: usize = 16;
const CHECKSUM_AT: usize = KEY_AT + KEY_BYTES;
const CHECKSUM_BYTES: usize = 16;
const HEAD_BYTES: usize = CHECKSUM_AT + CHECKSUM_BYTES;
const OPERATION_BYTES: usize = 8 + 4 + 4;
const WRITE: u32 = 0;
const SET_LEN: u32 = 1;
const ROWS: u32 = 2;
const PUT: u32 = 3;
const DELETE: u32 = 4;
const CLEAR: u32 = 5;

/// A random number that all records of a log have. A block behind a record may show bytes of a former one, and a member chose
/// some of these. Without the key, which never leaves this machine, they are no record.
pub(in crate::store) type Key = [u8; KEY_BYTES];

/// The part of a head that all records of a log have.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Form {
    pub(in crate::store) key: Key,
    pub(in crate::store) segment_bytes: u64,
}

/// The place of a record among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Label {
    pub(in crate::store) generation: u64,
    pub(in crate::store) sequence: u64,
    /// The number of records of the generation before, in the other segment.
    pub(in crate::store) previous: u64,
    /// The last commit before this generation.
    pub(in crate::store) begins: u64,
    /// The last commit with this record.
    pub(in crate::store) commits: u64,
}

/// The writes of a record, with their bytes in whole blocks.
#[derive(Debug, Default)]
pub(in crate::store) struct Writes {
    operations: Vec<(u64, u32, u32)>,
    data: Vec<u8>,
}

/// A step that is played at a start.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Replayed {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    SetLen(u64),
    /// Rows, with their number. They count if the database has none of this number yet.
    Rows {
        no: u64,
        batch: Batch,
    },
}

/// A record that was read.
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) label: Label,
    pub(super) bytes: u64,
    pub(super) steps: Vec<Replayed>,
}

impl Writes {
    pub(super) const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The size of the record that they make.
    pub(super) fn record_bytes(&self) -> u64 {
        (head_bytes(self.operations.len()) + self.data.len()) as u64
    }

    /// Their bytes, in the order of the operations.
    pub(in crate::store) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.operations.push((len, 0, SET_LEN));
    }

    /// Adds a write, if all of them have at most so many bytes then.
    pub(in crate::store) fn write(&mut self, offset: u64, data: &[u8], bytes_max: u64) -> bool {
        let end = self.data.len() + data.len().next_multiple_of(BLOCK_BYTES);
        let Some(bytes) = u32::try_from(data.len()).ok().filter(|_| end as u64 <= bytes_max) else { return false };
        self.operations.push((offset, bytes, WRITE));
        self.data.extend(data);
        self.data.resize(end, 0);
        true
    }

    /// The rows of some batches, with their number. `None` if a record has no room for so many, or for so many bytes.
    pub(in crate::store) fn rows(no: u64, batches: &[Batch], bytes_max: usize) -> Option<Self> {
        // before anything is made of a large one
        let bytes = batches.iter().map(|batch| batch.bytes() + batch.len() * OPERATION_BYTES).sum::<usize>();
        if bytes > bytes_max {
            return None;
        }
        let changes = || batches.iter().flat_map(Batch::changes);
        let (mut operations, mut rows) = (vec![(no, 0, ROWS)], Vec::new());
        for change in changes() {
            let (table, kind, row) = match change {
                TableChange::Put { table, key, value } => (table, PUT, Some((key, value.len() + SEAL_BYTES))),
                TableChange::Delete { table, key } => (table, DELETE, Some((key, 0))),
                TableChange::Clear { table } => (table, CLEAR, None),
            };
            operations.push((table.code(), 0, kind));
            rows.extend(row);
        }
        let leaf = leaf_bytes(&rows)?;
        if head_bytes(operations.len()) + leaf > bytes_max {
            return None;
        }
        operations[0].1 = u32::try_from(leaf).ok()?;
        let mut data = leaf_of(&rows, leaf.next_multiple_of(BLOCK_BYTES));
        for change in changes() {
            if let TableChange::Put { table, key, value } = change {
                data.extend(value);
                data.extend(seal(table, key, value));
            }
        }
        data.resize(leaf.next_multiple_of(BLOCK_BYTES), 0);
        Some(Self { operations, data })
    }

    /// Forgets all of them, and keeps memory of at most so many bytes.
    pub(super) fn clear(&mut self, kept_bytes: usize) {
        self.operations.clear();
        self.data.clear();
        self.data.shrink_to(kept_bytes);
    }

    /// The head of their record, of whole blocks. The data follows it.
    pub(in crate::store) fn head(&self, form: Form, label: Label) -> Vec<u8> {
        let Label { generation, sequence, previous, begins, commits } = label;
        let mut head = Vec::with_capacity(head_bytes(self.operations.len()));
        let are_rows = self.operations.first().is_some_and(|(_, _, kind)| *kind == ROWS);
        head.extend(if are_rows { ROWS_MAGIC } else { MAGIC });
        head.extend(VERSION.to_le_bytes());
        head.extend((self.operations.len() as u32).to_le_bytes());
        for number in [form.segment_bytes, generation, sequence, previous, begins, commits, self.record_bytes()] {
            head.extend(number.to_le_bytes());
        }
        head.extend(form.key);
        head.extend([0; CHECKSUM_BYTES]);
        for (offset, bytes, kind) in &self.operations {
            head.extend(offset.to_le_bytes());
            head.extend(bytes.to_le_bytes());
            head.extend(kind.to_le_bytes());
        }
        head.resize(head_bytes(self.operations.len()), 0);
        let checksum = checksum(&head, &self.data);
        head[CHECKSUM_AT..HEAD_BYTES].copy_from_slice(&checksum);
        head
    }
}

const fn head_bytes(operations: usize) -> usize {
    (HEAD_BYTES + operations * OPERATION_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// The first bytes of BLAKE3 over a head without its checksum, and the data.
fn checksum(head: &[u8], data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..CHECKSUM_AT]).update(&head[HEAD_BYTES..]).update(data);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// The record at a place, if there is a sound one before `end`. Without a key any key will do: where nothing but heads is ever
/// written.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a record of another form, as a later version may write. To leave it out would lose
/// what was synced.
pub(super) fn read(
    log: &dyn StorageBackend,
    at: u64,
    end: u64,
    segment_bytes: u64,
    key: Option<&Key>,
) -> io::Result<Option<Record>> {
    let room = end.saturating_sub(at);
    if room < BLOCK_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; BLOCK_BYTES];
    log.read(at, &mut bytes)?;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let small = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let mut found = Key::default();
    found.copy_from_slice(&bytes[KEY_AT..CHECKSUM_AT]);
    if !(bytes.starts_with(MAGIC) || bytes.starts_with(ROWS_MAGIC)) || key.is_some_and(|key| *key != found) {
        return Ok(None);
    }
    if small(8) != VERSION || number(16) != segment_bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let operations = small(12);
    let [generation, sequence, previous, begins, commits, record_bytes] = [24, 32, 40, 48, 56, 64].map(number);
    if record_bytes > room
        || record_bytes % BLOCK_BYTES as u64 != 0
        || u64::from(operations) > record_bytes / OPERATION_BYTES as u64
        || record_bytes < head_bytes(operations as usize) as u64
    {
        return Ok(None);
    }
    let operations = operations as usize;
    bytes.resize(record_bytes as usize, 0);
    log.read(at, &mut bytes)?;
    let (head, data) = bytes.split_at(head_bytes(operations));
    if head[CHECKSUM_AT..HEAD_BYTES] != checksum(head, data) {
        return Ok(None);
    }
    // it is whole, so a later version wrote it
    let steps = steps(&head[HEAD_BYTES..], operations, data).ok_or(io::ErrorKind::InvalidData)?;
    let label = Label { generation, sequence, previous, begins, commits };
    Ok(Some(Record { key: found, label, bytes: record_bytes, steps }))
}

fn steps(table: &[u8], operations: usize, mut data: &[u8]) -> Option<Vec<Replayed>> {
    let mut steps = Vec::with_capacity(operations);
    let mut operations = table.chunks_exact(OPERATION_BYTES).take(operations).map(|operation| {
        let (offset, rest) = operation.split_first_chunk()?;
        let (bytes, kind) = (rest.first_chunk()?, rest.last_chunk()?);
        Some((u64::from_le_bytes(*offset), u32::from_le_bytes(*bytes) as usize, u32::from_le_bytes(*kind)))
    });
    while let Some(operation) = operations.next() {
        let (offset, bytes, kind) = operation?;
        if kind == SET_LEN {
            steps.push(Replayed::SetLen(offset));
            continue;
        }
        let (blocks, after) = data.split_at_checked(bytes.checked_next_multiple_of(BLOCK_BYTES)?)?;
        steps.push(match kind {
            WRITE => Replayed::Write { offset, data: blocks[..bytes].to_vec() },
            ROWS => Replayed::Rows { no: offset, batch: batch(&mut operations, &blocks[..bytes])? },
            _ => return None,
        });
        data = after;
    }
    Some(steps)
}

/// The changes of rows. All operations behind the first one are theirs.
fn batch(operations: &mut dyn Iterator<Item = Option<(u64, usize, u32)>>, leaf: &[u8]) -> Option<Batch> {
    let mut batch = Batch::new();
    let mut rows = rows_of_leaf(leaf);
    for operation in operations {
        let (code, _, kind) = operation?;
        let table = Table::of_code(code)?;
        match kind {
            CLEAR => batch.clear(table),
            DELETE => batch.delete(table, rows.next()??.0),
            PUT => {
                let (key, stored) = rows.next()??;
                batch.put(table, key, unseal(table, key, stored)?);
            }
            _ => return None,
        }
    }
    Some(batch)
}
