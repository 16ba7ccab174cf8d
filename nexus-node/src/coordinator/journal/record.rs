//! The bytes of the journal: its head, and its records.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::coordinator::format;

/// The unit of a disk's writes. A record begins with a sector of its own, so a sector with acknowledged
/// bytes is never written again.
pub(super) const SECTOR_BYTES: usize = 512;
/// The size of the file's head, with room for more fields.
pub(super) const HEAD_BYTES: u64 = 4096;
/// The size of a record's head, before its payload.
pub(super) const RECORD_HEAD_BYTES: usize = 72;

const FILE_MAGIC: [u8; 8] = *b"nexuslog";
const FORMAT: u32 = 1;
const RECORD_MAGIC: [u8; 4] = *b"nxr1";

/// The first 16 bytes of BLAKE3.
pub(super) type Sum = [u8; 16];

/// The key of an epoch's checksums, made from a number that never leaves this machine. So nobody can
/// hide something that looks like a record in a value.
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn new(id: [u8; 16], epoch: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nexus raft journal v1");
        hasher.update(&id).update(&epoch.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

/// The head of the file: the journal's id, and the least number of segments.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    magic: [u8; 8],
    pub(super) format: u32,
    pub(super) segment_bytes: u32,
    pub(super) segments: u32,
    pub(super) id: [u8; 16],
}

impl FileHead {
    pub(super) fn new(id: [u8; 16], segment_bytes: u32, segments: u32) -> Self {
        Self { magic: FILE_MAGIC, format: FORMAT, segment_bytes, segments, id }
    }

    /// The bytes of the head: one sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = format::encode(self);
        let sum = short(&blake3::hash(&bytes));
        bytes.extend_from_slice(&sum);
        bytes.resize(SECTOR_BYTES, 0);
        bytes
    }

    pub(super) fn decode(sector: &[u8]) -> Option<Self> {
        let mut rest = sector;
        let head = Self::deserialize(&mut rest).ok()?;
        let head_bytes = sector.len() - rest.len();
        let sound = rest.get(..16)? == short(&blake3::hash(&sector[..head_bytes]));
        let usable = head.segment_bytes as usize >= 2 * SECTOR_BYTES
            && (head.segment_bytes as usize).is_multiple_of(SECTOR_BYTES);
        (sound && head.magic == FILE_MAGIC && head.format == FORMAT && usable).then_some(head)
    }
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its entries replace all from an index on.
    Append,
    /// There are no entries from an index on.
    Truncate,
}

/// A record with a correct checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    /// Its number, one more than the record's before.
    pub(super) lsn: u64,
    /// The index of its first entry, or of the first removed one.
    pub(super) index: u64,
    /// The last index known to be committed.
    pub(super) committed: Option<u64>,
    /// The checksum of the record before.
    pub(super) before: Sum,
    pub(super) sum: Sum,
    pub(super) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the beginning of some bytes, if it is whole and sound.
    pub(super) fn decode(key: &Key, bytes: &'a [u8]) -> Option<Self> {
        let head = RawHead::decode(bytes)?;
        let payload = bytes.get(RECORD_HEAD_BYTES..)?.get(..head.payload_bytes)?;
        if head.sum != sum(key, bytes.get(..SUM_AT)?, payload) {
            return None;
        }
        let kind = match head.kind {
            0 => Kind::Append,
            1 => Kind::Truncate,
            _ => return None,
        };
        let RawHead { lsn, index, committed, before, sum, .. } = head;
        Some(Self { kind, lsn, index, committed: committed.checked_sub(1), before, sum, payload })
    }

    /// The room that it takes, in bytes.
    pub(super) fn room(&self) -> usize {
        room(self.payload.len())
    }

    /// The places of its entries in the record; `None` if the payload is no list of entries.
    pub(super) fn entries(&self) -> Option<Vec<std::ops::Range<usize>>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at < self.payload.len() {
            let bytes = u32::from_le_bytes(self.payload.get(at..at + 4)?.try_into().ok()?) as usize;
            self.payload.get(at + 4..)?.get(..bytes)?;
            found.push(RECORD_HEAD_BYTES + at + 4..RECORD_HEAD_BYTES + at + 4 + bytes);
            at += 4 + bytes;
        }
        Some(found)
    }
}

/// The number in a record's head, not checked any further.
pub(super) fn claimed_lsn(bytes: &[u8]) -> Option<u64> {
    RawHead::decode(bytes).map(|head| head.lsn)
}

/// A record in the making.
pub(super) struct Draft {
    bytes: Vec<u8>,
}

const LSN_AT: usize = 8;
const INDEX_AT: usize = 16;
const COMMITTED_AT: usize = 24;
const PAYLOAD_BYTES_AT: usize = 32;
const BEFORE_AT: usize = 40;
const SUM_AT: usize = 56;

impl Draft {
    pub(super) fn new(kind: Kind, index: u64, committed: Option<u64>) -> Self {
        let mut bytes = vec![0; RECORD_HEAD_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4] = match kind {
            Kind::Append => 0,
            Kind::Truncate => 1,
        };
        bytes[INDEX_AT..][..8].copy_from_slice(&index.to_le_bytes());
        bytes[COMMITTED_AT..][..8].copy_from_slice(&committed.map_or(0, |index| index.saturating_add(1)).to_le_bytes());
        Self { bytes }
    }

    /// Adds an entry. Returns its place in the record.
    pub(super) fn push(&mut self, entry: &[u8]) -> std::ops::Range<usize> {
        // a segment, and so a record, is far below 4 GiB
        self.bytes.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry);
        start..self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The record's bytes in whole sectors, and its checksum.
    pub(super) fn finish(mut self, key: &Key, lsn: u64, before: &Sum) -> (Vec<u8>, Sum) {
        let payload_bytes = (self.bytes.len() - RECORD_HEAD_BYTES) as u32;
        self.bytes[LSN_AT..][..8].copy_from_slice(&lsn.to_le_bytes());
        self.bytes[PAYLOAD_BYTES_AT..][..4].copy_from_slice(&payload_bytes.to_le_bytes());
        self.bytes[BEFORE_AT..][..16].copy_from_slice(before);
        let sum = sum(key, &self.bytes[..SUM_AT], &self.bytes[RECORD_HEAD_BYTES..]);
        self.bytes[SUM_AT..][..16].copy_from_slice(&sum);
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR_BYTES), 0);
        (self.bytes, sum)
    }
}

/// The room of a record with a payload of this size, in bytes.
pub(super) fn room(payload_bytes: usize) -> usize {
    (RECORD_HEAD_BYTES + payload_bytes).next_multiple_of(SECTOR_BYTES)
}

/// The checksum for reading an entry back.
pub(super) fn entry_sum(entry: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(entry).as_bytes()[..8]);
    sum
}

struct RawHead {
    kind: u8,
    lsn: u64,
    index: u64,
    committed: u64,
    payload_bytes: usize,
    before: Sum,
    sum: Sum,
}

impl RawHead {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; RECORD_HEAD_BYTES] = bytes.first_chunk()?;
        if head[..4] != RECORD_MAGIC {
            return None;
        }
        let number = |at: usize| head[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let payload_bytes = head[PAYLOAD_BYTES_AT..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
        Some(Self {
            kind: head[4],
            lsn: number(LSN_AT)?,
            index: number(INDEX_AT)?,
            committed: number(COMMITTED_AT)?,
            payload_bytes: payload_bytes as usize,
            before: *head[BEFORE_AT..].first_chunk()?,
            sum: *head[SUM_AT..].first_chunk()?,
        })
    }
}

fn sum(key: &Key, head: &[u8], payload: &[u8]) -> Sum {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(head).update(payload);
    short(&hasher.finalize())
}

fn short(hash: &blake3::Hash) -> Sum {
    let mut sum = [0; 16];
    sum.copy_from_slice(&hash.as_bytes()[..16]);
    sum
}
