//! The types of the brain: memories, changes, and the reach of a write.
//!
//! | room | content |
//! |---|---|
//! | `read` | answers to questions about memories, from a committed state |
//! | `id` | the id and other names of a memory |
//! | `depth` | how deep its JSON is |
//! | `secrets`, `way` | credentials in it: refused, masked or let through |
//! | `group` | words that mean the same |
//! | `query`, `write` | questions and writes, made step by step |
//! | `prompt` | the question behind a prompt |
//! | `cursor` | places in listings and in the order of commits, in the callers' form |

pub(crate) mod cursor;
pub(crate) mod depth;
mod group;
mod id;
mod prompt;
mod query;
pub(crate) mod read;
mod secrets;
mod way;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nexus_crdt::{DRIFT_MAX, TaskId};
use nexus_identity::{Did, Timestamp};
use serde_json::Value;

pub use self::group::{NewWords, Vocabulary, Words};
pub use self::id::{MemoryId, MemoryRef, NotAMemoryId};
pub use self::prompt::SHARED_WORDS_MIN;
pub use self::way::Secrets;
pub use nexus_crdt::{AgentName, NoAgentName, NoSource, Origin, Source, SpaceId, TextAttachment, Was};

/// A stamp further ahead of this node's clock says nothing: its author chose it. It may move the stamps of others
/// [`DRIFT_MAX`] ahead, and their clocks differ from this one.
pub(crate) const AHEAD_MAX: Duration = DRIFT_MAX.saturating_mul(2);
/// The first moment of the last day that has a date.
const LAST_DAY: Timestamp = Timestamp::from_ms(Timestamp::LAST.as_ms() + 1 - 86_400_000);

/// The most aliases of a memory: further ones of others are left out.
pub(crate) const ALIASES_MAX: usize = 8;
/// The longest alias, in characters: longer ones of others are left out.
pub(crate) const ALIAS_CHARS_MAX: usize = 64;

/// The time to an end that somebody else wrote, perhaps later than dates go: then to the last day there is. The clock that
/// adds it may be a while ahead of `now`.
pub(crate) fn time_to(end: Timestamp, now: Timestamp) -> Duration {
    end.min(LAST_DAY).since(now)
}

/// A memory to write.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewMemory {
    /// The text. Beyond 32 KiB as JSON it goes into a blob, and the memory has its beginning: see [`Memory::attachment`].
    /// At most 4 MiB.
    pub text: String,
    /// The blob with the whole text, if it is a beginning that was written before.
    pub(crate) attachment: Option<TextAttachment>,
    /// The space's name or id; default `default`.
    pub space: Option<String>,
    /// The kind; default `note`.
    pub kind: Option<String>,
    /// Tags, kept in the order given.
    pub tags: Vec<String>,
    /// Metadata by key.
    pub meta: BTreeMap<String, Value>,
    /// Other words by which somebody may look for it: at most 8 of at most 64 characters.
    pub aliases: Vec<String>,
    /// A key of the caller's. A live memory of the space with this key is edited instead of doubled: its text and its end
    /// are replaced, and kind, tags and metadata if they are given.
    pub key: Option<String>,
    /// The lifetime from now on; `None` for no end.
    pub ttl: Option<Duration>,
    /// The time from which it holds; `None` if nobody said, and the time of writing if it supersedes another.
    pub valid_from: Option<Timestamp>,
    /// The time from which it no longer holds; `None` while it does.
    pub valid_to: Option<Timestamp>,
    /// The id or key of a memory that it replaces: that one no longer holds from then on. It is in the same space; without
    /// a space given, that is the space of both. Kind and tags that are not given are those of the other. Of a copy it is a
    /// claim, and closes nothing.
    pub supersedes: Option<String>,
    /// The former memory, if this one is a copy.
    pub was: Option<Was>,
    /// Which program writes it, and on whose word; a program's own (`tool`) unless said otherwise.
    pub origin: Origin,
    /// The way with credentials in it.
    pub secrets: Secrets,
    /// The proof of who wrote its text in another mesh, in base64; it was checked.
    pub(crate) proof: Option<String>,
    /// Whether a live memory with its key loses its tags if none are given here.
    pub no_tags: bool,
    /// The fields in which a live memory with its key stays as it is, by name; `None` for those that are not given.
    pub(crate) keeps: Option<Vec<&'static str>>,
}

/// The reach of a write at the time of its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durability {
    /// Whether it is on this node's disk. Always true in an acknowledgement.
    pub local: bool,
    /// The number of other members that have it on disk, by their own acknowledgements.
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
    /// The author: this node.
    pub author: Did,
    /// The number of its entry in this node's log of that space.
    pub seq: u64,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The reach of the write.
    pub durability: Durability,
    /// Whether it replaced other content of a live memory with its key.
    pub replaced: bool,
    /// An older memory with nearly the same text, if there is one.
    pub duplicate_of: Option<MemoryId>,
    /// Older memories that seem to say something else of the same subject, so that one of them may be out of date: at most
    /// three.
    pub contradicts: Vec<MemoryId>,
}

/// The author of an imported text, by a proof that holds. Whether its membership ended later is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedFrom {
    /// The author's name there.
    pub name: String,
    /// The author.
    pub author: Did,
    /// The mesh.
    pub mesh: Did,
    /// The memory's id there.
    pub id: MemoryId,
    /// When it wrote the text, by its clock.
    pub created_at: Timestamp,
}

/// One of several concurrent values of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConflictValue {
    /// The value.
    pub value: Value,
    /// The author of the value.
    pub author: Did,
    /// That member's name.
    pub author_name: Option<String>,
    /// The time of the write, by the author's clock.
    pub at: Timestamp,
}

/// The origin of a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The author.
    pub author: Did,
    /// That member's name.
    pub author_name: Option<String>,
    /// The program that wrote it, by its own name.
    pub agent: Option<AgentName>,
    /// The source, by the word of the author's node.
    pub source: Option<Source>,
    /// The time of the write, by the author's clock.
    pub at: Timestamp,
}

/// A memory in its current form.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Memory {
    /// Its id.
    pub id: MemoryId,
    /// Its former id, if it is a copy.
    pub was: Option<String>,
    /// The time of the former memory, by the word of whoever copied it.
    pub(crate) was_at: Option<Timestamp>,
    /// The author of the text that is shown in the mesh from which it was imported. Every reader checks the proof.
    pub imported: Option<ImportedFrom>,
    /// Its space's name.
    pub space: String,
    /// The text. If edits conflict, the latest by its author's clock.
    pub text: String,
    /// The blob with the whole text, if this is its beginning: [`Brain::whole_text`](crate::Brain::whole_text) gets it.
    pub attachment: Option<TextAttachment>,
    /// The kind.
    pub kind: String,
    /// The tags.
    pub tags: Vec<String>,
    /// The metadata.
    pub meta: BTreeMap<String, Value>,
    /// Other words by which it is found: at most 8 of at most 64 characters.
    pub aliases: Vec<String>,
    /// The author of the text that is shown, by the log.
    pub author: Did,
    /// That member's name.
    pub author_name: Option<String>,
    /// The program that wrote this text, by its own name.
    pub agent: Option<AgentName>,
    /// The source of this text, by the word of its author's node.
    pub source: Option<Source>,
    /// The author again if this text replaced another; `None` for the text of the creation.
    pub edited_by: Option<Did>,
    /// The time of creation, by the author's clock.
    pub created_at: Timestamp,
    /// The time at which this node got it, if its author's clock was then more than ten minutes ahead. It is listed by
    /// this time, and so in another place on each node.
    pub seen_at: Option<Timestamp>,
    /// The time of the last edit, by the editor's clock.
    pub updated_at: Timestamp,
    /// The time of expiry, if there is one.
    pub expires_at: Option<Timestamp>,
    /// The time from which it holds, if somebody said so.
    pub valid_from: Option<Timestamp>,
    /// The time from which it no longer holds, if there is one.
    pub valid_to: Option<Timestamp>,
    /// The id of the memory that it replaces, as its author wrote it: of a copy, that one's former id.
    pub supersedes: Option<MemoryId>,
    /// Equal on all nodes that hold the same edits.
    pub version: String,
    /// The origin of each field's value; fields that never had a value are left out.
    pub fields: BTreeMap<&'static str, Provenance>,
    /// The fields with several concurrent values, each with its values, latest first: at most 64.
    pub conflicts: BTreeMap<String, Vec<ConflictValue>>,
    /// Whether the memory has more values, or more records with its caller's key, than are read. The 64 of the lowest
    /// ids are.
    pub more: bool,
}

/// The time for which a memory holds. Without a beginning or an end it always did, or always will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

impl Span {
    pub(crate) fn has(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

impl Memory {
    /// Whether it holds at a time, as far as somebody said.
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.span().has(at)
    }

    pub(crate) const fn span(&self) -> Span {
        Span { from: self.valid_from, to: self.valid_to }
    }
}

/// Changes to a memory. `None` leaves a field as it is.
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
    /// New aliases.
    pub aliases: Option<Vec<String>>,
    /// Another time from which it holds; `Some(None)` for none.
    pub valid_from: Option<Option<Timestamp>>,
    /// Another time from which it no longer holds; `Some(None)` for none.
    pub valid_to: Option<Option<Timestamp>>,
    /// Which program changes it, and on whose word; a program's own (`tool`) unless said otherwise.
    pub origin: Origin,
    /// The way with credentials in it.
    pub secrets: Secrets,
}

impl Patch {
    /// The new values, by field.
    pub(crate) fn values(&self) -> BTreeMap<&'static str, Value> {
        let texts = |texts: &Option<Vec<String>>| texts.clone().map(Value::from);
        let meta = self.meta.clone().map(|meta| Value::Object(meta.into_iter().collect()));
        let moment = |at: Option<Option<Timestamp>>| at.map(|at| at.map_or(Value::Null, |at| at.as_ms().into()));
        let all = [
            ("text", self.text.clone().map(Value::from)),
            ("kind", self.kind.clone().map(Value::from)),
            ("tags", texts(&self.tags)),
            ("meta", meta),
            ("aliases", texts(&self.aliases)),
            ("valid_from", moment(self.valid_from)),
            ("valid_to", moment(self.valid_to)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A listing of memories, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListQuery {
    /// The space's name or id; `None` for all readable ones.
    pub space: Option<String>,
    /// The most memories, 1 to 1,000.
    pub limit: usize,
    /// Only memories without aliases.
    pub no_aliases: bool,
    /// Only memories with all of these tags.
    pub tags: Vec<String>,
    /// Only memories of one of these kinds; empty for all but those that are no text to read: groups of words that mean the
    /// same, and the records of projects.
    pub kinds: Vec<String>,
    /// Those, too.
    pub all: bool,
    /// Only memories of this project.
    pub project: Option<String>,
    /// Only memories in conflict.
    pub conflicts: bool,
    /// The `next` of an earlier page, to go on after it.
    pub after: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            space: None,
            limit: 100,
            no_aliases: false,
            tags: Vec::new(),
            kinds: Vec::new(),
            all: false,
            project: None,
            conflicts: false,
            after: None,
        }
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
pub struct SpacePage {
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
    /// The cursor of the next page, if there is more.
    pub next: Option<String>,
}

/// The time for which a recall asks: memories that do not hold then are left out. A memory of which nobody said since
/// when, or until when, it holds, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValidAt {
    /// Now, by this node's clock.
    #[default]
    Now,
    /// At another time, by the validity that is known now.
    Time(Timestamp),
    /// At any time: nothing is left out.
    Ever,
}

/// A recall.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallQuery {
    /// Words in a person's spelling. At most 8 KiB are read.
    pub text: String,
    /// The same in other words, at most three times. A memory that fits several of them comes first.
    pub or: Vec<String>,
    /// Spaces by name or id; empty for all readable ones.
    pub spaces: Vec<String>,
    /// The most memories, 1 to 1,000.
    pub limit: usize,
    /// Only memories with all of these tags.
    pub tags: Vec<String>,
    /// Only memories of one of these kinds; empty for all kinds.
    pub kinds: Vec<String>,
    /// Only memories of this author: a member by DID or name, or else a program by the name that it gives itself. Those of a
    /// program are looked for among the 10,000 best.
    pub by: Option<String>,
    /// Only memories edited or created within this time.
    pub since: Option<Duration>,
    /// Only as many as fit into this number of tokens, four characters to a token.
    pub tokens: Option<usize>,
    /// Only memories with this score or a higher one, 0 to 1.
    pub min: Option<f64>,
    /// Only memories that hold at this time.
    pub valid_at: ValidAt,
    /// Only memories of this project, and this person's own that are of none.
    pub project: Option<String>,
}

impl RecallQuery {
    /// The memories that may have to do with a prompt: those with the words that tell what it is about. `None` if it has too
    /// few such words. [`Hit::is_relevant`] tells which of the answer do.
    pub fn of_prompt(prompt: &str) -> Option<Self> {
        prompt::question(prompt).map(Self::of)
    }

    /// The ten best memories for some words.
    pub fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            or: Vec::new(),
            min: None,
            spaces: Vec::new(),
            limit: 10,
            tags: Vec::new(),
            kinds: Vec::new(),
            by: None,
            since: None,
            tokens: None,
            valid_at: ValidAt::Now,
            project: None,
        }
    }
}

/// A recalled memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The memory.
    pub memory: Memory,
    /// How likely it answers the question, 0 to 1: the share of such memories that did, on the benchmark. It means the
    /// same from one question to the next.
    pub score: f64,
    /// Whether it has too little of the question to answer it.
    pub weak: bool,
    /// Whether it may answer the question all the same: it is not weak, or it has the rarer word of a question of one or
    /// two. An answer without such a memory says that nothing speaks of the question, and has at most three.
    pub telling: bool,
    /// The part of a text of more than 400 characters that speaks most of the question, with `…` where something is left
    /// out. At most 400 characters.
    pub passage: Option<String>,
    /// The words of the question that it has, in one sentence.
    pub why: String,
    /// The different words of the question that it has, as the question spells them.
    pub matched: Vec<String>,
    /// Whether it has no word of the question, and only its meaning is near, as an embedder has it. It is weak then.
    pub by_meaning: bool,
    /// Other memories that say the same: earlier ones of its author, and those of others. They are not in the answer.
    pub same: Vec<MemoryId>,
    /// Other memories of the answer that seem to say something else of the same subject, so that one of them may be out of
    /// date.
    pub contradicts: Vec<MemoryId>,
}

impl Hit {
    /// Whether it has enough different words of the question to have to do with a prompt that nobody asked it about. Few
    /// and sure ones inform a model; the rest distracts it.
    pub fn is_relevant(&self) -> bool {
        self.matched.len() >= SHARED_WORDS_MIN
    }
}

/// The result of a recall.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recalled {
    /// The memories, best first.
    pub hits: Vec<Hit>,
    /// Whether `limit` or `tokens` cut the results.
    pub truncated: bool,
    /// The part of all entries that was searched, 0 to 1: less than 1 while the index is made.
    pub indexed: f64,
}

impl Recalled {
    /// Whether nothing speaks of the question: there are no memories, or none that may answer it.
    pub fn is_empty(&self) -> bool {
        self.hits.iter().all(|hit| !hit.telling)
    }
}

/// One step in a memory's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revision {
    /// The version after it.
    pub version: String,
    /// The time, by the author's clock.
    pub at: Timestamp,
    /// The author.
    pub by: Did,
    /// The program that wrote it, as it called itself.
    pub agent: Option<AgentName>,
    /// On whose word it was written, as the author's node says.
    pub source: Option<Source>,
    /// The fields it wrote, with their values.
    pub changed: BTreeMap<String, Value>,
    /// Whether earlier revisions are left out before it: a history has the latest ones, up to 8 MiB.
    pub earlier: bool,
}

/// The kind of a change.
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
    /// Something was said of a task.
    Task,
    /// A document changed.
    Document,
    /// The watcher has seen changes that are not here any more, as the store was put back from a copy. Read all again. The watch goes on with the changes from now on.
    Missed,
}

impl ChangeKind {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remembered => "remembered",
            Self::Edited => "edited",
            Self::Forgotten => "forgotten",
            Self::Member => "member",
            Self::Space => "space",
            Self::Task => "task",
            Self::Document => "document",
            Self::Missed => "missed",
        }
    }
}

/// The memory, member, space, task or document that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A memory.
    Memory(MemoryId),
    /// A member of the mesh.
    Member(Did),
    /// A space.
    Space(SpaceId),
    /// A task. Only the events of a node tell of tasks.
    Task(TaskId),
    /// A document. Only the events of a node tell of documents.
    #[cfg(feature = "documents")]
    Document(nexus_documents::DocumentId),
}

impl Subject {
    /// The memory, if it is one.
    pub const fn memory(self) -> Option<MemoryId> {
        match self {
            Self::Memory(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(id) => id.fmt(f),
            Self::Member(did) => did.fmt(f),
            Self::Space(id) => id.fmt(f),
            Self::Task(id) => id.fmt(f),
            #[cfg(feature = "documents")]
            Self::Document(id) => id.fmt(f),
        }
    }
}

/// A change for a watcher, in the order of this node's commits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The cursor after this change.
    pub cursor: String,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The memory, member, space, task or document that changed; this node after missed changes.
    pub subject: Subject,
    /// The space's name.
    pub space: String,
    /// The author.
    pub author: Did,
    /// The number of the entry in that author's log.
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
    /// The readers.
    pub readers: Vec<Did>,
    /// The writers.
    pub writers: Vec<Did>,
    /// The number of its memories.
    pub records: u64,
    /// The number of its entries on this node.
    pub entries: u64,
    /// The size of those entries' payloads, in bytes.
    pub bytes: u64,
}
