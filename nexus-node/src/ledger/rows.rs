//! The rows of the store's tables: their keys, and their encoding.
//!
//! Entries get a local number, the *eno*, in the order in which they are stored. Keys of rows about an
//! entry begin with it, so new rows go to the end of their tables. Integers in keys are big-endian, so
//! keys sort as numbers do.
//!
//! | table | key | value |
//! |---|---|---|
//! | `Entries` | eno | [`EntryRow`] |
//! | `Payloads` | eno | the payload |
//! | `Erased` | [`ErasedKey`] | – |
//! | `Erasers` | a member | [`EraserRow`] |
//! | `Lacking` | eno | – |
//! | `ErasedOf` | entry id, leaf | the record to which it wrote |
//! | `ErasedWas` | former id, 0, author | – |
//! | `ErasedLate` | a record's dot, or the first entry about a document and 0 | – |
//! | `Unconfirmed` | 0 for hidden and 1 for gone, erasure's entry id | eno of the erasure |
//! | `Confirmed` | erasure's entry id, member, 0 for hidden and 1 for gone | its stamp |
//! | `Unwanted` | the hash of a blob | – |
//! | `Ids` | entry id | eno |
//! | `Logs` | log no | the log's name |
//! | `LogIndex` | log no, seq, entry id | eno |
//! | `Frontier` | log no | [`Branches`](nexus_crdt::Branches) |
//! | `Standing` | eno | [`Standing`]; an entry without a row is applied |
//! | `Cuts` | eno | [`CutRow`] |
//! | `Recounts` | eno, log no | [`RecountRow`] |
//! | `Evidence` | author, space id, incarnation | [`EvidenceRow`] |
//! | `Again` | entry id | – |
//! | `Usage` | author | [`UsageRow`] |
//! | `Usage` | author, 1 | bytes of its entries in the mesh's own space |
//! | `Profiles` | author, stamp, entry id | eno |
//! | `Spaces` | space id | [`SpaceRow`] |
//! | `Records` | eno, index | [`RecordRow`] |
//! | `ByTime` | space no, stamp, eno, index | – |
//! | `Live`, `Past` | space no, record's dot, field, write's dot | [`WriteRow`] |
//! | `Keys` | space no, hash of the key, record's dot | – |
//! | `LinkedKeys` | the same of records in chains, of forgotten ones, too | – |
//! | `FoldedKeys` | space no, hash of the key without case and in one form, record's dot | – |
//! | `Successors` | space no, hash of the id that is superseded, record's dot, write's dot | – |
//! | `Was` | former id, 0, author, record's dot; of forgotten records, too | – |
//! | `Tasks` | eno, index | [`TaskRow`] |
//! | `TaskTimes` | number of its end, [`TaskAt`]; of tasks that have ended | – |
//! | `TasksOpen` | first bytes of its submitter, priority, [`TaskAt`] | – |
//! | `TasksNoted` | [`TaskAt`] of an open task with events, or that needs an approval | – |
//! | `TasksMoving` | a member that may settle it, submitter, its rank, task's dot | – |
//! | `TaskEvents` | task's dot, author, 0 for an end and 1 for the rest, stamp, event's dot | [`TaskSaid`] |
//! | `TaskRequests` | submitter, hash of its id of the request, task's dot | – |
//! | `Documents` | space no, document, eno; of entries that do not count, too | – |
//! | `DocumentKeys` | space no, hash of the key, generations left, document, eno | the key |
//! | `ErasedDocuments` | space no, document of which changes were erased | [`ErasedDocumentRow`] |
//! | `ErasedDocuments` | space no, document, eno of an entry that lacks changes | [`ErasedChangesRow`] |
//! | `SavedDocuments` | space no, document, form, 0 | the checksum of a saved form; absent forms are made anew |
//! | `SavedDocuments` | space no, document, form, place, number | a part of a saved form |
//! | `SavedDocuments` | 0 | the last entry that was looked at for them |
//! | `Quarantine` | eno | the rule that it breaks, in words |

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_crdt::{
    DOT_BYTES, Dot, Entry, EntryId, Erased, Field, HeardEvent, Hlc, LogId, Priority, SpaceId, SpaceRule,
    TASK_HEIRS_MAX, TaskEnd, TaskId, TaskSaid, Verified,
};
use nexus_identity::{Did, Name, Signature, Timestamp};

use crate::store::{Checksum, StoreDamage, StoreError, Table};

/// The version of the derived tables. Tables of another version are rebuilt at the start.
pub(crate) const VIEW_VERSION: u32 = 16;

/// Keys of the `Meta` table.
pub(crate) mod meta {
    /// The mesh's DID, 32 bytes.
    pub(crate) const MESH: &[u8] = b"mesh";
    /// This node's chain of credentials.
    pub(crate) const CHAIN: &[u8] = b"chain";
    /// This node's incarnation, 8 bytes.
    pub(crate) const INCARNATION: &[u8] = b"incarnation";
    /// The latest stamp given or seen, 8 bytes.
    pub(crate) const HLC: &[u8] = b"hlc";
    /// The store's name in cursors, 8 bytes.
    pub(crate) const STORE: &[u8] = b"store";
    /// The names in cursors before it, 8 bytes each, the latest last: the store was put back from a copy then.
    pub(crate) const FORMER_STORES: &[u8] = b"former stores";
    /// [`super::VIEW_VERSION`] of the derived tables, 4 bytes.
    pub(crate) const VIEW: &[u8] = b"view";
    /// The last migrated entry, 8 bytes; only present during a migration.
    pub(crate) const MIGRATED: &[u8] = b"migrated";
    /// The format in which this node writes entries, 2 bytes; the first one without it.
    pub(crate) const ENTRY_FORMAT: &[u8] = b"entry format";
    /// Marks that this node writes texts of tasks' events apart from their facts.
    pub(crate) const TASKS_APART: &[u8] = b"tasks apart";
    /// Credentials say whose machine a member is.
    pub(crate) const PERSONS: &[u8] = b"persons";
    /// Members erase what they wrote.
    pub(crate) const ERASES: &[u8] = b"erases";
    /// Marks that there were coordinators once: this node does not begin them a second time.
    pub(crate) const COORDINATED: &[u8] = b"coordinated";
    /// The fingerprint of the store's directory at the last start.
    pub(crate) const FINGERPRINT: &[u8] = b"fingerprint";
    /// The age of the store's directory, 8 bytes: it grows at every start and end, and between them.
    pub(crate) const AGE: &[u8] = b"age";
    /// The numbers of the last processes on this directory, of 16 bytes each, the latest first.
    pub(crate) const PROCESSES: &[u8] = b"processes";
    /// The last entry whose erasures are not on this disk any more: the store was compacted on a state with it. 8 bytes,
    /// little-endian.
    pub(crate) const COMPACTED: &[u8] = b"compacted";
    /// The erasures of which bytes are still on this disk ([`super::ErasedSince`]); absent once they are gone.
    pub(crate) const ERASED_SINCE: &[u8] = b"erased since";

    /// Until when a person lets another new key of a member through, 8 bytes of milliseconds.
    pub(crate) fn rotation(member: &nexus_identity::Did) -> Vec<u8> {
        [b"rotation ".as_slice(), member.as_bytes()].concat()
    }
}

/// The number of an entry in this store, from 1.
pub(crate) type Eno = u64;

/// The erasures since the store was compacted: their bytes are still on this disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErasedSince {
    /// The time of the first erasure.
    pub(crate) first: Timestamp,
    /// The entry of the last one.
    pub(crate) last: Eno,
}

impl ErasedSince {
    /// The row: the time in milliseconds and the entry, both little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.first.as_ms().to_le_bytes());
        row[8..].copy_from_slice(&self.last.to_le_bytes());
        row
    }

    /// The row as it was kept.
    pub(crate) fn of_bytes(row: &[u8]) -> Option<Self> {
        let (first, last) = row.split_first_chunk()?;
        let last = last.try_into().ok()?;
        Some(Self { first: Timestamp::from_ms(u64::from_le_bytes(*first)), last: Eno::from_le_bytes(last) })
    }

    /// This and one more erasure.
    pub(crate) fn and(before: Option<Self>, at: Timestamp, eno: Eno) -> Self {
        let first = before.map_or(at, |before| before.first.min(at));
        Self { first, last: before.map_or(eno, |before| before.last.max(eno)) }
    }
}
/// The number of a log in this store.
pub(crate) type LogNo = u32;
/// The number of a space in this store: 0, 1 and [`TASKS_SPACE`] come with the mesh, others are the eno of their
/// definition and 1.
pub(crate) type SpaceNo = u32;
/// The number of the space of tasks that every member may read.
pub(crate) const TASKS_SPACE: SpaceNo = SpaceNo::MAX - 1;

/// The error for an unreadable row: a defect of ours, or a remainder of another version.
pub(crate) fn unreadable(table: Table) -> StoreError {
    StoreError::Damaged { file: "brain.redb".into(), table: Some(table), what: StoreDamage::Row }
}

/// Reads a row with borsh.
pub(crate) fn decode<T: BorshDeserialize>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|_| unreadable(table))
}

/// Writes a row with borsh.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
pub(crate) fn encode<T: BorshSerialize>(row: &T) -> Vec<u8> {
    borsh::to_vec(row).expect("a row encodes")
}

/// Whether an entry counts: a function of the set of entries held and of nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(crate) enum Standing {
    /// It counts, and is folded.
    Applied = 0,
    /// Its log forked at or below it, or its author's membership ended before it. It is kept and does not
    /// count.
    Cut = 1,
    /// Its payload breaks a rule of form and does not count.
    Quarantined = 2,
    /// This version does not know its kind.
    Unknown = 3,
    /// All that it said was erased.
    Erased = 4,
}

/// A forked log: its entries from one seq on stopped counting when the fork was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct CutRow {
    /// The log.
    pub log: LogNo,
    /// The first seq that does not count.
    pub from: u64,
    /// The first seq that did not count before; `None` if all did.
    pub below: Option<u64>,
}

/// A part of a log that no longer counts, or counts again, since its author's membership ended or stands
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RecountRow {
    /// The first seq.
    pub from: u64,
    /// The first seq after it; `None` if it is the rest of the log.
    pub to: Option<u64>,
}

impl RecountRow {
    /// Both parts, and what is between them.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.zip(other.to).map(|(one, other)| one.max(other)) }
    }
}

/// The fork of a log that evidence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct EvidenceRow {
    /// The lowest seq that was signed twice.
    pub cut: u64,
    /// The number of entries by this node among the evidence.
    pub own: u32,
}

/// An entry without its payload, as it was received.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct EntryRow {
    /// Its log.
    pub log: LogNo,
    /// Its number there.
    pub seq: u64,
    /// The header's exact bytes.
    pub header: Vec<u8>,
    /// The author's signature.
    pub signature: Signature,
}

impl EntryRow {
    /// The fields that most readers need.
    pub(crate) fn peek(bytes: &[u8]) -> Option<(LogNo, u64)> {
        let (log, rest) = bytes.split_first_chunk()?;
        let (seq, _) = rest.split_first_chunk()?;
        Some((LogNo::from_le_bytes(*log), u64::from_le_bytes(*seq)))
    }

    /// The entry, with its payload if it is here.
    pub(crate) fn into_entry(self, payload: Option<Vec<u8>>) -> Result<Verified, StoreError> {
        let entry = Entry::decode(self.header, self.signature, payload).map_err(|_| unreadable(Table::Entries))?;
        Ok(Verified::trusted(entry))
    }
}

/// The use of the store by one author: a sum over its entries here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct UsageRow {
    /// The number of its entries.
    pub entries: u64,
    /// The size of their headers, signatures and payloads, in bytes.
    pub bytes: u64,
    /// The number of its logs.
    pub logs: u64,
    /// The bytes of those in the mesh's own space, which have a row of their own ([`mesh_usage_key`]). Stores of earlier
    /// versions count them from the first start of this one on.
    #[borsh(skip)]
    pub mesh_bytes: u64,
}

/// The key of the bytes of an author's entries in the mesh's own space: the author and a byte more.
pub(crate) fn mesh_usage_key(author: &Did) -> [u8; 33] {
    let mut key = [MESH_USAGE; 33];
    key[..32].copy_from_slice(author.as_bytes());
    key
}

/// The last byte of the key of bytes in the mesh's own space.
const MESH_USAGE: u8 = 1;

/// The author and the bytes of a row of usage in the mesh's own space; `None` for another row.
pub(crate) fn mesh_usage(key: &[u8], row: &[u8]) -> Option<(Did, u64)> {
    let (author, [MESH_USAGE]) = key.split_at_checked(32)? else { return None };
    Some((Did::from_bytes(author.try_into().ok()?), u64::from_le_bytes(row.try_into().ok()?)))
}

/// A space for display.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SpaceRow {
    /// Its local number.
    pub no: SpaceNo,
    /// Its name, for people.
    pub name: Name,
    /// The number of its access rule.
    pub access: u16,
    /// Its creator; the mesh itself for the spaces that come with it.
    pub author: Did,
    /// The number of its memories.
    pub records: u64,
    /// The number of its entries here.
    pub entries: u64,
    /// The size of their payloads, in bytes.
    pub bytes: u64,
    /// Whether the entry that created it no longer counts. Entries for the space are still kept.
    pub cut: bool,
}

impl SpaceRow {
    /// Its access rule, as input to [`Members`](nexus_crdt::Members).
    pub(crate) const fn rule(&self, space: SpaceId) -> SpaceRule {
        SpaceRule { space, access: self.access, creator: self.author }
    }
}

/// A record, with the place of its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RecordRow {
    /// Its space.
    pub space: SpaceNo,
    /// Its log, which gives the author.
    pub log: LogNo,
    /// Its page in that log.
    pub page: u32,
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// The start of the core's JSON in the entry's payload.
    pub offset: u32,
    /// The length of that JSON, in bytes.
    pub len: u32,
    /// The checksum of these bytes, so that reading them does not need the whole payload.
    pub check: Checksum,
    /// Whether it is forgotten.
    pub gone: bool,
}

/// A write to a field. An empty value in `Past` stands for a write that was overwritten before it arrived.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct WriteRow {
    /// Its log, which gives the author.
    pub log: LogNo,
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// The value: JSON text.
    pub value: String,
    /// The dots that it overwrites.
    pub over: Vec<Dot>,
}

/// A task as it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct TaskRow {
    /// Its space.
    pub space: SpaceNo,
    /// Its submitter.
    pub submitter: Did,
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// The order in which it is handed out.
    pub priority: Priority,
    /// Whether somebody else must approve it first.
    pub needs_approval: bool,
    /// The hash of its submitter's id of the request.
    pub request: Option<[u8; 16]>,
    /// The members whose nodes may settle it while its submitter's node is down.
    pub heirs: [Option<Did>; TASK_HEIRS_MAX],
}

/// The place of a task in the order of time: its stamp, and its place in this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskAt {
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// The number of its entry.
    pub eno: Eno,
    /// Its index there.
    pub index: u16,
}

impl TaskAt {
    pub(crate) const BYTES: usize = 18;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..8].copy_from_slice(&self.hlc.0.to_be_bytes());
        key[8..].copy_from_slice(&record_key(self.eno, self.index));
        key
    }

    /// The place at the end of a key.
    pub(crate) fn at_end(key: &[u8]) -> Option<Self> {
        let (_, place) = key.split_last_chunk::<{ Self::BYTES }>()?;
        let (hlc, rest) = place.split_first_chunk()?;
        let (eno, index) = rest.split_first_chunk()?;
        Some(Self {
            hlc: Hlc(u64::from_be_bytes(*hlc)),
            eno: Eno::from_be_bytes(*eno),
            index: u16::from_be_bytes(index.try_into().ok()?),
        })
    }
}

/// The bytes of a submitter in keys of `TasksOpen`. Nobody finds a second DID with the same ones.
pub(crate) const SUBMITTER_BYTES: usize = 16;

impl TaskRow {
    /// Its heirs, as a row has them.
    pub(crate) fn heirs_of(heirs: &[Did]) -> [Option<Did>; TASK_HEIRS_MAX] {
        std::array::from_fn(|place| heirs.get(place).copied())
    }

    /// Its heirs.
    pub(crate) fn heirs(&self) -> Vec<Did> {
        self.heirs.iter().flatten().copied().collect()
    }

    /// Whether another member than its submitter may ever settle it.
    pub(crate) fn moves(&self) -> bool {
        self.heirs.iter().any(Option::is_some)
    }

    /// The members that may settle it: its submitter, and its heirs.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Did> {
        [self.submitter].into_iter().chain(self.heirs.into_iter().flatten())
    }

    /// Whether a member may settle it, now or ever.
    pub(crate) fn may_settle(&self, member: &Did) -> bool {
        self.owners().any(|owner| owner == *member)
    }

    /// Its place in the order of time.
    pub(crate) const fn at(&self, eno: Eno, index: u16) -> TaskAt {
        TaskAt { hlc: self.hlc, eno, index }
    }

    /// The keys of the `TasksMoving` rows of a task: none without heirs.
    pub(crate) fn moving_keys(&self, task: TaskId) -> Vec<Vec<u8>> {
        let owners = self.owners().filter(|_| self.moves());
        let order = self.rank().to_be_bytes();
        let key =
            |owner: Did| [owner.as_bytes().as_slice(), self.submitter.as_bytes(), &order, &task.to_bytes()].concat();
        owners.map(key).collect()
    }

    /// Its place among tasks that wait: the lowest first.
    pub(crate) fn rank(&self) -> u64 {
        task_rank(self.hlc, self.priority)
    }
}

/// The place among tasks that wait of one with this stamp and priority: the lowest first. A step of priority is worth a
/// minute of waiting, so no task waits for ever behind those of a higher one.
pub(crate) fn task_rank(hlc: Hlc, priority: Priority) -> u64 {
    const STEP_MS: u64 = 60_000;
    hlc.time().as_ms().saturating_sub(priority as u64 * STEP_MS)
}

/// The prefix of the `TasksOpen` rows of a submitter's tasks with this priority.
pub(crate) fn tasks_open_prefix(submitter: &[u8; SUBMITTER_BYTES], priority: Priority) -> Vec<u8> {
    [submitter.as_slice(), &[priority as u8]].concat()
}

/// A submitter in keys of `TasksOpen`.
pub(crate) fn submitter_key(submitter: &Did) -> [u8; SUBMITTER_BYTES] {
    let mut key = [0; SUBMITTER_BYTES];
    key.copy_from_slice(&submitter.as_bytes()[..SUBMITTER_BYTES]);
    key
}

pub(crate) fn task_open_key(row: &TaskRow, at: TaskAt) -> Vec<u8> {
    [tasks_open_prefix(&submitter_key(&row.submitter), row.priority).as_slice(), &at.to_bytes()].concat()
}

pub(crate) fn task_end_key(end: TaskEnd, at: TaskAt) -> Vec<u8> {
    [[end as u8].as_slice(), &at.to_bytes()].concat()
}

/// The prefix of all events of a task by one author: its ends, or the rest.
pub(crate) fn task_events_prefix(task: TaskId, author: &Did, ends: bool) -> [u8; DOT_BYTES + 33] {
    let mut key = [0; DOT_BYTES + 33];
    key[..DOT_BYTES].copy_from_slice(&task.to_bytes());
    key[DOT_BYTES..DOT_BYTES + 32].copy_from_slice(author.as_bytes());
    key[DOT_BYTES + 32] = u8::from(!ends);
    key
}

pub(crate) fn task_event_key(task: TaskId, heard: &HeardEvent) -> [u8; 41 + 2 * DOT_BYTES] {
    let mut key = [0; 41 + 2 * DOT_BYTES];
    key[..DOT_BYTES + 33].copy_from_slice(&task_events_prefix(task, &heard.by, is_end(&heard.said)));
    key[DOT_BYTES + 33..DOT_BYTES + 41].copy_from_slice(&heard.hlc.0.to_be_bytes());
    key[DOT_BYTES + 41..].copy_from_slice(&heard.dot.to_bytes());
    key
}

/// Whether it is the end of a task, if its submitter says it.
pub(crate) const fn is_end(said: &TaskSaid) -> bool {
    matches!(said, TaskSaid::Settled { ownership: 0, .. })
}

/// An event of a task from its row.
pub(crate) fn read_task_event(key: &[u8], value: &[u8]) -> Result<HeardEvent, StoreError> {
    let parts = || {
        let (by, rest) = key.get(DOT_BYTES..)?.split_first_chunk::<32>()?;
        let (hlc, dot) = rest.get(1..)?.split_first_chunk()?;
        Some((Did::from_bytes(*by), Hlc(u64::from_be_bytes(*hlc)), Dot::from_bytes(dot)?))
    };
    let (by, hlc, dot) = parts().ok_or_else(|| unreadable(Table::TaskEvents))?;
    let said: TaskSaid = decode(Table::TaskEvents, value)?;
    Ok(HeardEvent { by, hlc, dot, said })
}

/// The key of a `KeptFor` row: a member, and a day since the epoch.
pub(crate) fn kept_key(member: &Did, day: u32) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(member.as_bytes());
    key[32..].copy_from_slice(&day.to_be_bytes());
    key
}

/// The member and the day of a `KeptFor` row.
pub(crate) fn read_kept_key(key: &[u8]) -> Result<(Did, u32), StoreError> {
    let parts = key.split_first_chunk::<32>().and_then(|(did, day)| Some((did, <[u8; 4]>::try_from(day).ok()?)));
    let (did, day) = parts.ok_or_else(|| unreadable(Table::KeptFor))?;
    Ok((Did::from_bytes(*did), u32::from_be_bytes(day)))
}

/// The bytes of a `KeptFor` row.
pub(crate) fn read_kept(row: &[u8]) -> Result<u64, StoreError> {
    row.try_into().map(u64::from_le_bytes).map_err(|_| unreadable(Table::KeptFor))
}

/// The hash that stands for a submitter's id of a request.
pub(crate) fn request_hash(request: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(request.as_bytes()).as_bytes()[..16]);
    hash
}

/// The prefix of the `TaskRequests` rows of a request.
pub(crate) fn task_request_prefix(submitter: &Did, request: &[u8; 16]) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(submitter.as_bytes());
    key[32..].copy_from_slice(request);
    key
}

/// The beginning of the `Documents` keys of a document.
pub(crate) fn document_prefix(space: SpaceNo, document: &[u8; 16]) -> Vec<u8> {
    [&space.to_be_bytes()[..], document].concat()
}

/// The key of a `Documents` row.
pub(crate) fn document_row_key(space: SpaceNo, document: &[u8; 16], eno: Eno) -> Vec<u8> {
    [&document_prefix(space, document)[..], &eno_key(eno)].concat()
}

/// The beginning of the `DocumentKeys` keys of a caller's key.
pub(crate) fn document_keys_prefix(space: SpaceNo, key: &str) -> [u8; 20] {
    let mut prefix = [0; 20];
    prefix[..4].copy_from_slice(&space.to_be_bytes());
    prefix[4..].copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    prefix
}

/// The key of a `DocumentKeys` row. The latest generation comes first, and of that the document with the lowest id.
pub(crate) fn document_key_key(space: SpaceNo, key: &str, generation: u64, document: &[u8; 16], eno: Eno) -> Vec<u8> {
    let left = u64::MAX - generation;
    [&document_keys_prefix(space, key)[..], &left.to_be_bytes(), document, &eno_key(eno)].concat()
}

/// The generation and the document in the key of a `DocumentKeys` row.
#[cfg(feature = "documents")]
pub(crate) fn read_document_key_key(key: &[u8]) -> Option<(u64, [u8; 16])> {
    let (left, rest) = key.get(20..)?.split_first_chunk()?;
    let (document, _) = rest.split_first_chunk()?;
    Some((u64::MAX - u64::from_be_bytes(*left), *document))
}

/// The key of a `BlobRefs` row.
pub(crate) fn blob_ref_key(blob: &[u8; 32], dot: Dot) -> Vec<u8> {
    with_dot(blob, dot)
}

pub(crate) fn eno_key(eno: Eno) -> [u8; 8] {
    eno.to_be_bytes()
}

pub(crate) fn read_eno(table: Table, bytes: &[u8]) -> Result<Eno, StoreError> {
    bytes.try_into().map(Eno::from_be_bytes).map_err(|_| unreadable(table))
}

pub(crate) fn log_key(log: LogNo) -> [u8; 4] {
    log.to_be_bytes()
}

pub(crate) fn recount_key(eno: Eno, log: LogNo) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&eno.to_be_bytes());
    key[8..].copy_from_slice(&log.to_be_bytes());
    key
}

/// The entry and the log of a key of `Recounts`.
pub(crate) fn read_recount_key(key: &[u8]) -> Option<(Eno, LogNo)> {
    let (eno, log) = key.split_first_chunk()?;
    Some((Eno::from_be_bytes(*eno), LogNo::from_be_bytes(log.try_into().ok()?)))
}

pub(crate) fn evidence_key(log: &LogId) -> [u8; 72] {
    let mut key = [0; 72];
    key[..32].copy_from_slice(log.author.as_bytes());
    key[32..64].copy_from_slice(log.space.as_bytes());
    key[64..].copy_from_slice(&log.incarnation.0);
    key
}

pub(crate) fn log_index_key(log: LogNo, seq: u64, id: EntryId) -> [u8; 44] {
    let mut key = [0; 44];
    key[..12].copy_from_slice(&log_index_prefix(log, seq));
    key[12..].copy_from_slice(id.as_bytes());
    key
}

pub(crate) fn log_index_prefix(log: LogNo, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The key of a profile that counts. The last key of an author is the profile that shows.
pub(crate) fn profile_key(author: &Did, hlc: Hlc, id: EntryId) -> [u8; 72] {
    let mut key = [0; 72];
    key[..32].copy_from_slice(author.as_bytes());
    key[32..40].copy_from_slice(&hlc.0.to_be_bytes());
    key[40..].copy_from_slice(id.as_bytes());
    key
}

/// A member's word that a leaf is to be erased: the key of a row. Words that count come before the others of a leaf, and those
/// of one member stand together: whoever says it a million times is looked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErasedKey {
    /// The leaf.
    pub leaf: Dot,
    /// Whether the word does not count by the verdict on its log.
    pub void: bool,
    /// The member.
    pub author: Did,
    /// The entry that says so.
    pub erasure: Eno,
}

impl ErasedKey {
    const BYTES: usize = DOT_BYTES + 1 + 32 + 8;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut key = [u8::from(self.void); Self::BYTES];
        key[..DOT_BYTES].copy_from_slice(&self.leaf.to_bytes());
        key[DOT_BYTES + 1..DOT_BYTES + 33].copy_from_slice(self.author.as_bytes());
        key[DOT_BYTES + 33..].copy_from_slice(&self.erasure.to_be_bytes());
        key
    }

    pub(crate) fn from_bytes(key: &[u8]) -> Option<Self> {
        let (leaf, rest) = key.split_at_checked(DOT_BYTES)?;
        let ([void, author @ ..], erasure) = rest.split_at_checked(33)? else { return None };
        Some(Self {
            leaf: Dot::from_bytes(leaf)?,
            void: *void != 0,
            author: Did::from_bytes(author.try_into().ok()?),
            erasure: Eno::from_be_bytes(erasure.try_into().ok()?),
        })
    }
}

/// A member that erased something, and whose leaves it may erase.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct EraserRow {
    /// Whether it is, or was, an admin: then everybody's.
    pub admin: bool,
    /// All keys that it had.
    pub line: BTreeSet<Did>,
}

impl EraserRow {
    /// Whether its words erase leaves of an author.
    pub(crate) fn may_erase(&self, author: &Did) -> bool {
        self.admin || self.line.contains(author)
    }
}

/// A document of which changes were erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ErasedDocumentRow {
    /// The entries that lack changes which an admin erased.
    pub by_admin: u64,
    /// The entries that lack changes which their authors alone erased.
    pub by_authors: u64,
    /// The first entry that has changes.
    pub first_left: Option<Eno>,
}

impl ErasedDocumentRow {
    /// The number of entries with the same eraser.
    pub(crate) const fn of(&mut self, by_admin: bool) -> &mut u64 {
        if by_admin { &mut self.by_admin } else { &mut self.by_authors }
    }

    /// Whether the whole document is erased.
    pub(crate) const fn is_erased(&self) -> bool {
        self.by_admin > 0 || self.by_authors > 0 && self.first_left.is_none()
    }
}

/// An entry about a document that lacks erased changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ErasedChangesRow {
    /// Whether an admin erased one of them.
    pub by_admin: bool,
    /// Whether it has others that are left.
    pub are_left: bool,
}

/// The key of an erasure that this node has not confirmed yet.
pub(crate) fn unconfirmed_key(state: Erased, erasure: EntryId) -> [u8; 33] {
    let mut key = [state as u8; 33];
    key[1..].copy_from_slice(erasure.as_bytes());
    key
}

/// The key of a member's word that it has carried out an erasure.
pub(crate) fn confirmed_key(erasure: EntryId, member: &Did, state: Erased) -> [u8; 65] {
    let mut key = [state as u8; 65];
    key[..32].copy_from_slice(erasure.as_bytes());
    key[32..64].copy_from_slice(member.as_bytes());
    key
}

/// The seq and the entry of a key of `LogIndex`.
pub(crate) fn read_log_index_key(key: &[u8]) -> Option<(u64, EntryId)> {
    let (seq, id) = key.get(4..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*seq), EntryId::from_bytes(id.try_into().ok()?)))
}

pub(crate) fn record_key(eno: Eno, index: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&eno.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The number of the entry in the key of a `Records` row, and the index in it.
pub(crate) fn read_record_key(key: &[u8]) -> Option<(Eno, u16)> {
    let (eno, index) = key.split_first_chunk()?;
    Some((Eno::from_be_bytes(*eno), u16::from_be_bytes(index.try_into().ok()?)))
}

/// The place of a record in this store: the number of its entry, and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub eno: Eno,
    pub index: u16,
}

#[cfg_attr(not(feature = "disk-index"), expect(dead_code, reason = "for the index on disk"))]
impl Place {
    /// Both as one number, which sorts as places do. No store lives to see 2^48 entries.
    pub(crate) fn to_number(self) -> u64 {
        self.eno << 16 | u64::from(self.index)
    }

    /// The place of a number from [`Self::to_number`].
    pub(crate) const fn from_number(number: u64) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self { eno: number >> 16, index: u16::from_be_bytes([high, low]) }
    }
}

/// The parts of a key of `ByTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeKey {
    pub space: SpaceNo,
    pub hlc: Hlc,
    pub eno: Eno,
    pub index: u16,
}

impl TimeKey {
    pub(crate) fn to_bytes(self) -> [u8; 22] {
        let mut key = [0; 22];
        key[..4].copy_from_slice(&self.space.to_be_bytes());
        key[4..12].copy_from_slice(&self.hlc.0.to_be_bytes());
        key[12..].copy_from_slice(&record_key(self.eno, self.index));
        key
    }

    pub(crate) fn from_bytes(key: &[u8]) -> Option<Self> {
        let (space, rest) = key.split_first_chunk()?;
        let (hlc, rest) = rest.split_first_chunk()?;
        let (eno, rest) = rest.split_first_chunk()?;
        Some(Self {
            space: SpaceNo::from_be_bytes(*space),
            hlc: Hlc(u64::from_be_bytes(*hlc)),
            eno: Eno::from_be_bytes(*eno),
            index: u16::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// The prefix of all write keys of a record. Writes are found under the space of their entry, so a
/// write in another space than its record's is never seen.
pub(crate) fn record_prefix(space: SpaceNo, record: Dot) -> [u8; 4 + DOT_BYTES] {
    let mut key = [0; 4 + DOT_BYTES];
    key[..4].copy_from_slice(&space.to_be_bytes());
    key[4..].copy_from_slice(&record.to_bytes());
    key
}

/// The prefix of all write keys of a field of a record.
pub(crate) fn field_prefix(space: SpaceNo, record: Dot, field: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + 2 * DOT_BYTES + 1 + field.len());
    key.extend(record_prefix(space, record));
    key.push(u8::try_from(field.len()).unwrap_or(u8::MAX));
    key.extend(field.as_bytes());
    key
}

pub(crate) fn write_key(space: SpaceNo, record: Dot, field: &str, write: Dot) -> Vec<u8> {
    let mut key = field_prefix(space, record, field);
    key.extend(write.to_bytes());
    key
}

/// The field and the write's dot of a write key.
pub(crate) fn read_write_key(key: &[u8]) -> Option<(Field, Dot)> {
    let rest = key.get(4 + DOT_BYTES..)?;
    let (len, rest) = rest.split_first()?;
    let (field, dot) = rest.split_at_checked(usize::from(*len))?;
    Some((Field::named(std::str::from_utf8(field).ok()?), Dot::from_bytes(dot)?))
}

/// The prefix of the `Keys` rows of a caller's key, and of the `FoldedKeys` rows of one without case and in one form.
pub(crate) fn caller_key_prefix(space: SpaceNo, key: &str) -> [u8; 20] {
    let mut prefix = [0; 20];
    prefix[..4].copy_from_slice(&space.to_be_bytes());
    prefix[4..].copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    prefix
}

/// The prefix of the `Successors` rows of the id of a superseded record.
pub(crate) fn successor_prefix(space: SpaceNo, superseded: &str) -> [u8; 20] {
    caller_key_prefix(space, superseded)
}

/// The key of a `Successors` row: a record names the one that it supersedes in this write.
pub(crate) fn successor_key(space: SpaceNo, superseded: &str, record: Dot, write: Dot) -> Vec<u8> {
    [successor_prefix(space, superseded).as_slice(), &record.to_bytes(), &write.to_bytes()].concat()
}

/// The record of a key of `Successors`.
pub(crate) fn successor_of(key: &[u8]) -> Option<Dot> {
    Dot::from_bytes(key.get(20..20 + DOT_BYTES)?)
}

/// The prefix of the `Was` rows of a former id, by an author's word.
pub(crate) fn was_prefix(former: &str, author: &Did) -> Vec<u8> {
    [former.as_bytes(), &[0], author.as_bytes()].concat()
}

/// Appends a record's dot to the prefix of a `Keys` or `Was` key.
pub(crate) fn with_dot(prefix: &[u8], record: Dot) -> Vec<u8> {
    [prefix, &record.to_bytes()].concat()
}

/// The dot at the end of a `Keys` or `Was` key.
pub(crate) fn dot_at_end(key: &[u8]) -> Option<Dot> {
    Dot::from_bytes(&key[key.len().checked_sub(DOT_BYTES)?..])
}

/// A DID from a row of `Meta`.
pub(crate) fn read_did(bytes: &[u8]) -> Result<Did, StoreError> {
    bytes.try_into().map(Did::from_bytes).map_err(|_| unreadable(Table::Meta))
}
