//! What the brain takes and gives: memories, changes, and how far a write got.
//!
//! | room | what is in it |
//! |---|---|
//! | `read` | how a committed state answers questions about memories |
//! | `id` | how a memory is named |
//! | `query`, `write` | questions and writes, made step by step |
//! | `cursor` | places in listings and in the order of commits, as callers hold them |

pub(crate) mod cursor;
mod id;
mod query;
pub(crate) mod read;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nexus_crdt::{SpaceId, Was};
use nexus_identity::{Did, Timestamp};
use serde_json::Value;

pub use self::id::{MemoryId, MemoryRef, NotAMemoryId};

/// A memory to write.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewMemory {
    /// What is to be remembered; at most 32 KiB as JSON.
    pub text: String,
    /// The space's name or id; `default` if none is named.
    pub space: Option<String>,
    /// What kind of memory it is; `note` if none is named.
    pub kind: Option<String>,
    /// Tags, kept in the order given.
    pub tags: Vec<String>,
    /// Metadata by key.
    pub meta: BTreeMap<String, Value>,
    /// A key of the caller's: a live memory of the space that has it is edited instead of doubled.
    pub key: Option<String>,
    /// How long it lives from now on; for ever if not given.
    pub ttl: Option<Duration>,
    /// What it was before it is written again.
    pub was: Option<Was>,
}

/// How far a write had got when it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durability {
    /// It is on this node's disk. Always true in an acknowledgement.
    pub local: bool,
    /// How many other members have it on theirs, by their own acknowledgements.
    pub replicated: usize,
}

/// The acknowledgement of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remembered {
    /// The memory's id.
    pub id: MemoryId,
    /// Its space's name.
    pub space: String,
    /// Who wrote it: this node.
    pub author: Did,
    /// The seq, in this node's log of that space, of the entry that carries it.
    pub seq: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// How far it has got.
    pub durability: Durability,
    /// A memory that says nearly the same, if there was one already.
    pub duplicate_of: Option<MemoryId>,
}

/// One of several concurrent values of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConflictValue {
    /// The value.
    pub value: Value,
    /// Who wrote it.
    pub author: Did,
    /// When, by the author's clock.
    pub at: Timestamp,
}

/// A memory as it stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Memory {
    /// Its id.
    pub id: MemoryId,
    /// Its former id, if it was written again.
    pub was: Option<String>,
    /// Its space's name.
    pub space: String,
    /// The text. Where edits conflict, the latest by its author's clock is shown here.
    pub text: String,
    /// The kind.
    pub kind: String,
    /// The tags.
    pub tags: Vec<String>,
    /// The metadata.
    pub meta: BTreeMap<String, Value>,
    /// Who created it, as the log says.
    pub author: Did,
    /// What that member is called.
    pub author_name: Option<String>,
    /// When it was created, by its author's clock.
    pub created_at: Timestamp,
    /// When it was last edited, by the editor's clock.
    pub updated_at: Timestamp,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// Equal wherever the same edits are held.
    pub version: String,
    /// The fields with several concurrent values, each with all of them, latest first.
    pub conflicts: BTreeMap<String, Vec<ConflictValue>>,
}

/// Changes to a memory; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Patch {
    /// A new text.
    pub text: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// New tags.
    pub tags: Option<Vec<String>>,
    /// New metadata.
    pub meta: Option<BTreeMap<String, Value>>,
}

/// Which memories to list: newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListQuery {
    /// One space's name or id; all readable ones if not given.
    pub space: Option<String>,
    /// At most this many, 1 to 1,000.
    pub limit: usize,
    /// Go on where an earlier page ended.
    pub after: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { space: None, limit: 100, after: None }
    }
}

/// Changes to follow: of all readable spaces from now on, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchQuery {
    /// Go on after the change of this cursor.
    pub after: Option<String>,
    /// One space's name or id.
    pub space: Option<String>,
}

/// A page of a space: memories of one author that were written one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Its name, fit for a file.
    pub name: String,
    /// An Automerge document.
    pub automerge: Vec<u8>,
}

/// A page of memories.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Listing {
    /// The memories, newest first.
    pub items: Vec<Memory>,
    /// Where the next page starts, if there is more.
    pub next: Option<String>,
}

/// What to recall.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallQuery {
    /// Words, as a person would say them; at most 8 KiB are read.
    pub text: String,
    /// Spaces by name or id; all readable ones if none is named.
    pub spaces: Vec<String>,
    /// At most this many, 1 to 1,000.
    pub limit: usize,
    /// Only memories with all of these tags.
    pub tags: Vec<String>,
    /// Only memories of one of these kinds; all if none is named.
    pub kinds: Vec<String>,
    /// Only memories of this author, by DID or name.
    pub by: Option<String>,
    /// Only memories edited or created within this time.
    pub since: Option<Duration>,
    /// Only as many as fit into so many tokens, four characters to a token.
    pub tokens: Option<usize>,
}

impl RecallQuery {
    /// The ten best memories for some words.
    pub fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            spaces: Vec::new(),
            limit: 10,
            tags: Vec::new(),
            kinds: Vec::new(),
            by: None,
            since: None,
            tokens: None,
        }
    }
}

/// A memory that was recalled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// How well it fits, the best first; comparable within one answer.
    pub score: f64,
    /// Why it is here, in one sentence.
    pub why: String,
}

/// What was recalled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recalled {
    /// The best first.
    pub hits: Vec<Hit>,
    /// Whether more would have fitted than `limit` or `tokens` let through.
    pub truncated: bool,
}

/// One step in a memory's past.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revision {
    /// The version after it.
    pub version: String,
    /// When, by its author's clock.
    pub at: Timestamp,
    /// Who.
    pub by: Did,
    /// The fields it wrote, with their values.
    pub changed: BTreeMap<String, Value>,
}

/// What happened to a memory, or to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A memory was created.
    Remembered,
    /// A field of a memory was written.
    Edited,
    /// A memory was forgotten.
    Forgotten,
    /// A member was admitted or changed its name.
    Member,
    /// A space was created.
    Space,
}

impl ChangeKind {
    /// The word for it on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remembered => "remembered",
            Self::Edited => "edited",
            Self::Forgotten => "forgotten",
            Self::Member => "member",
            Self::Space => "space",
        }
    }
}

/// The memory, member or space that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A memory.
    Memory(MemoryId),
    /// A member of the mesh.
    Member(Did),
    /// A space.
    Space(SpaceId),
}

impl Subject {
    /// The memory, if it is one.
    pub const fn memory(self) -> Option<MemoryId> {
        match self {
            Self::Memory(id) => Some(id),
            Self::Member(_) | Self::Space(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(id) => id.fmt(f),
            Self::Member(did) => did.fmt(f),
            Self::Space(id) => id.fmt(f),
        }
    }
}

/// A change, as a watcher sees it: in the order in which this node committed them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Go on after this change.
    pub cursor: String,
    /// What happened.
    pub kind: ChangeKind,
    /// What it happened to.
    pub subject: Subject,
    /// The space's name.
    pub space: String,
    /// Who did it.
    pub author: Did,
    /// The seq of the entry in that author's log.
    pub seq: u64,
}

/// A space at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceInfo {
    /// Its name.
    pub space: String,
    /// Its id.
    pub id: SpaceId,
    /// Who may read it.
    pub readers: Vec<Did>,
    /// Who may write it.
    pub writers: Vec<Did>,
    /// How many memories it has.
    pub records: u64,
    /// How many entries its logs have here.
    pub entries: u64,
    /// The size of those entries' payloads.
    pub bytes: u64,
}
