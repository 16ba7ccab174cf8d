//! The brain: a handle for writing, reading and watching memories.
//!
//! Writes go through the engine and are on disk when they are acknowledged. Reads take a
//! committed state of the store and never wait for the engine.

mod attached;
mod author;
#[cfg(feature = "http")]
mod conflicts;
mod erase;
mod export;
#[cfg(feature = "mcp")]
mod handle;
mod limits;
mod listed;
mod projects;
mod reading;
mod recall;
mod supersede;
#[cfg(test)]
mod tests;
mod unforget;
mod vocabulary;
mod watch;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_crdt::{Core, Dot, FIELDS, Members, Origin, Source, SpaceId, SpaceRule, TextAttachment};
use nexus_identity::{Did, Name, Timestamp, folded};
use serde_json::Value;
use tokio::sync::watch as channel;

pub use self::erase::{ERASED_AT_ONCE_MAX, ErasableId, ErasedThing, ErasureStatus};
pub(crate) use self::export::Pages;
#[cfg(feature = "mcp")]
pub(crate) use self::handle::Handle;
use self::listed::Listed;
pub use self::projects::ProjectName;
#[cfg(feature = "mcp")]
pub(crate) use self::projects::is_project_record;
#[cfg(feature = "mcp")]
pub(crate) use self::vocabulary::is_words;
pub(crate) use self::watch::Told;
#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::config::{Config, MemberList};
pub use crate::engine::EraseFate;
use crate::engine::{Command, Edit, NewRecord, Outcome, Written};
use crate::error::{AccessError, ConflictError, InputError, NodeError, Resource, StopError};
use crate::follow::{Cursor, Given, LogPlace};
use crate::histogram::Histogram;
use crate::identity::Identity;
#[cfg(feature = "http")]
use crate::ledger;
use crate::memory::cursor::StoreName;
#[cfg(feature = "http")]
use crate::memory::read::Fate;
use crate::memory::read::proof::Proofs;
use crate::memory::read::{Reader, Visible};
use crate::memory::{
    Change, ChangeKind, Durability, ListQuery, Listing, Memory, MemoryId, MemoryRef, NewMemory, Patch, RecallQuery,
    Recalled, Remembered, Revision, SpaceInfo, Subject, WatchQuery,
};
use crate::runtime::{Clocks, EngineHandle, Sessions};
use crate::search::{Likeness, Outline, Said, Search, same_text};
#[cfg(feature = "mcp")]
pub(crate) use crate::search::{PROJECT_TAG, matched_form};
use crate::store::{Snapshot, Store};
pub use crate::vectors::{EmbedderState, EmbedderStatus, Model, ModelError, add_model, list_models, remove_model};
use crate::vectors::{Meaning, Vectors};
use crate::world::{World, random};
use supersede::in_order;

/// A handle to a node's memory, cheap to clone.
///
/// A handle may be to some of the spaces alone. All others are out of its sight, whoever names them, and by whichever way.
#[derive(Clone)]
pub struct Brain(Arc<Inner>, Option<Arc<[String]>>);

/// The handles that a brain uses.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
    pub(crate) store: Store,
    /// Names the store in cursors.
    pub(crate) store_name: StoreName,
    /// Its names before it was put back from a copy.
    pub(crate) former_names: Vec<StoreName>,
    pub(crate) search: Arc<Search>,
    pub(crate) vectors: Arc<Vectors>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) clocks: Arc<Clocks>,
    /// Has the texts that are too long for an entry. A brain without a network has none.
    #[cfg(feature = "blobs")]
    pub(crate) blobs: Option<Blobs>,
}

struct Inner {
    handles: Handles,
    reads: Reads,
    limits: BrainLimits,
    recalls: Histogram,
    #[cfg(feature = "http")]
    conflicts: conflicts::Conflicts,
}

/// The limits that may change while the node runs.
#[derive(Debug)]
struct BrainLimits {
    text_bytes_max: AtomicUsize,
    spaces_max: AtomicUsize,
    /// The members whose aliases and words that mean the same do not count.
    ignores: Mutex<Arc<MemberList>>,
}

impl BrainLimits {
    fn new(config: &Config) -> Self {
        let (text, spaces) = (config.text_bytes_max.size(), config.spaces_max.size());
        let ignores = Mutex::new(Arc::new(config.recall_ignores.clone()));
        Self { text_bytes_max: AtomicUsize::new(text), spaces_max: AtomicUsize::new(spaces), ignores }
    }

    fn text_bytes_max(&self) -> usize {
        self.text_bytes_max.load(Ordering::Relaxed)
    }

    fn change(&self, config: &Config) {
        self.text_bytes_max.store(config.text_bytes_max.size(), Ordering::Relaxed);
        self.spaces_max.store(config.spaces_max.size(), Ordering::Relaxed);
        let ignores = Arc::new(config.recall_ignores.clone());
        *self.ignores.lock().unwrap_or_else(PoisonError::into_inner) = ignores;
    }
}

/// The part that was read of the last state that somebody asked about, for the next question.
///
/// It is keyed by the number of the [`Snapshot`] and refers to none, so it keeps no old snapshot alive.
#[derive(Default)]
struct Reads {
    /// For readers, with the number of the snapshot.
    last: Mutex<Option<(u64, Arc<Visible>)>>,
    /// For writers, who ask for no counts: good until spaces are defined or closed. With the number of
    /// commits that did so.
    places: Mutex<Option<(u64, Arc<Visible>)>>,
    /// The proofs of imported memories that were checked, in any state.
    proofs: Arc<Proofs>,
}

impl Reads {
    /// The part of a state that this node may see, read with these members. It is read now if it was not.
    fn known(&self, snapshot: &Snapshot, me: Did, members: &Arc<Members>) -> Result<Arc<Visible>, NodeError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = of(&last, snapshot.number(), members) {
            return Ok(known);
        }
        let known = Visible::read(snapshot, me, members.clone())?.with_proofs(self.proofs.clone());
        let known = Arc::new(known);
        *last = Some((snapshot.number(), known.clone()));
        Ok(known)
    }

    /// The spaces after so many changes of them, as these members may see them, if they are held.
    fn places(&self, changes: u64, members: &Arc<Members>) -> Option<Arc<Visible>> {
        of(&self.places.lock().unwrap_or_else(PoisonError::into_inner), changes, members)
    }

    fn hold_places(&self, changes: u64, places: Arc<Visible>) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some((changes, places));
    }
}

/// The part that is held, if it is of this state and these members.
fn of(last: &Option<(u64, Arc<Visible>)>, number: u64, members: &Arc<Members>) -> Option<Arc<Visible>> {
    let (held, known) = last.as_ref()?;
    (*held == number && known.is_of(members)).then(|| known.clone())
}

/// The credentials of members, for the proofs of an export.
#[cfg(feature = "http")]
pub(crate) type Chains = ledger::Chains;

/// The longest core with a proof, in bytes: a copy of it has a longer former id. The proof gives way to a longer one.
const WITH_PROOF_BYTES_MAX: usize = nexus_crdt::VALUE_BYTES_MAX - 2_048;

/// The most memories that a new one is said to contradict.
const CONTRADICTS_MAX: usize = 3;

/// The memories beside a new one.
#[derive(Default)]
struct Related {
    /// They say nearly the same; memories of the same text come first.
    same: Vec<MemoryId>,
    /// They seem to say something else of the same subject.
    contradicts: Vec<MemoryId>,
}

impl Brain {
    pub(crate) fn new(handles: Handles, config: &Config) -> Self {
        let inner = Inner {
            handles,
            reads: Reads::default(),
            limits: BrainLimits::new(config),
            recalls: Histogram::default(),
            #[cfg(feature = "http")]
            conflicts: conflicts::Conflicts::default(),
        };
        Self(Arc::new(inner), None)
    }

    /// The same memory, as far as it is in these spaces, by name or id.
    #[cfg(feature = "http")]
    #[must_use]
    pub(crate) fn within(self, spaces: Arc<[String]>) -> Self {
        Self(self.0, Some(spaces))
    }

    /// The same memory with all spaces that this node may read: for what is kept for all callers.
    fn whole(&self) -> Self {
        Self(self.0.clone(), None)
    }

    /// The part of what this node may see that this handle may.
    fn in_sight(&self, known: Arc<Visible>) -> Arc<Visible> {
        match &self.1 {
            Some(spaces) => Arc::new(known.within(spaces)),
            None => known,
        }
    }

    /// To a handle of some spaces, no space tells whether it is missing or out of its reach.
    fn beyond(&self, error: NodeError) -> NodeError {
        match error {
            NodeError::NotFound { what: Resource::Space, name } if self.1.is_some() => {
                AccessError::OutOfReach { space: name }.into()
            }
            error => error,
        }
    }

    /// Puts changed limits into effect.
    pub(crate) fn configure(&self, config: &Config) {
        self.0.limits.change(config);
        self.here().vectors.configure(config);
    }

    fn here(&self) -> &Handles {
        &self.0.handles
    }

    /// The times that recalls took.
    pub(crate) fn recall_times(&self) -> &Histogram {
        &self.0.recalls
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, NodeError> {
        Ok(self.here().store.snapshot()?)
    }

    /// The number of the last committed entry, as a watch. It ends with the node.
    #[cfg(feature = "mcp")]
    pub(crate) fn committed(&self) -> channel::Receiver<u64> {
        self.here().engine.committed()
    }

    /// Does what reads the store or the index, off the tasks that answer.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let brain = self.clone();
        self.here().world.reading(move || read(&brain)).await?
    }

    /// The spaces and members as they are committed now, with counts that may be older. The first who asks
    /// after a change of them has them read.
    async fn places(&self) -> Result<Arc<Visible>, NodeError> {
        // before the read: a change in between has it read again
        let changes = self.here().engine.spaces();
        if let Some(places) = self.0.reads.places(changes, &self.here().identity.members()) {
            return Ok(self.in_sight(places));
        }
        let places = self.whole().reading(|brain| brain.read_known(&brain.snapshot()?)).await?;
        self.0.reads.hold_places(changes, places.clone());
        Ok(self.in_sight(places))
    }

    fn read_known(&self, snapshot: &Snapshot) -> Result<Arc<Visible>, NodeError> {
        let identity = &self.here().identity;
        let known = self.0.reads.known(snapshot, identity.me(), &identity.members())?;
        Ok(self.in_sight(known))
    }

    /// The time by this node's clock.
    #[cfg(feature = "http")]
    pub(crate) fn now(&self) -> Timestamp {
        self.here().world.wall()
    }

    /// Writes a memory. It is on this node's disk when this returns. The answer tells whether a memory says nearly the same
    /// already, or something else of the same subject. This is looked for while the memory is written;
    /// [`remember_all`](Self::remember_all) does not look.
    ///
    /// With a key that a live memory of the space has, that one is edited; if nothing differs,
    /// the answer is the first one's. It keeps kind, tags and metadata that are not given.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for the space, [`NodeError::TooLarge`],
    /// [`NodeError::Invalid`], [`NodeError::Refused`] if this node may not write,
    /// [`NodeError::Stopping`].
    pub async fn remember(&self, memory: NewMemory) -> Result<Remembered, NodeError> {
        let _wanting = self.here().engine.wanting();
        let (text, space) = (TextAttachment::beginning(&memory.text).to_owned(), memory.space.clone());
        // beside the write, which waits for the disk; of the state before it, or the memory would be compared with itself
        let before = self.reading(Self::snapshot).await;
        let look = self.reading(move |brain| brain.related_to(&text, space.as_deref(), &before?));
        let (related, written) = tokio::join!(look, self.write(memory));
        let mut written = written?;
        // the write counts, whatever became of the look
        let Related { same, contradicts } = related.unwrap_or_default();
        written.duplicate_of = same.into_iter().find(|same| *same != written.id);
        // with its key it replaced the former text of its own
        let others = contradicts.into_iter().filter(|other| *other != written.id);
        written.contradicts = others.take(CONTRADICTS_MAX).collect();
        Ok(written)
    }

    /// Writes a memory, and looks for nothing.
    pub(crate) async fn write(&self, memory: NewMemory) -> Result<Remembered, NodeError> {
        let written = self.remember_all(vec![memory]).await?;
        written.into_iter().next().ok_or_else(|| StopError::NoAnswer.into())
    }

    fn space_called(&self, name: Option<&str>) -> Result<SpaceId, NodeError> {
        Ok(self.reader(&self.snapshot()?)?.space(name)?.0)
    }

    /// The memories that say nearly the same as a new one would, and those that say something else of its subject.
    fn related_to(&self, text: &str, space: Option<&str>, snapshot: &Snapshot) -> Result<Related, NodeError> {
        /// The memories that are compared with the new one.
        const COMPARED: usize = 8;
        let reader = self.reader(snapshot)?;
        let space = reader.space(space)?.1.no;
        let (said, outline) = (Said::of(text), Outline::of(text));
        let words: Vec<String> = said.content().map(str::to_owned).collect();
        let (mut near, mut related) = (Vec::new(), Related::default());
        for place in self.here().search.sharing(&words, space, COMPARED, &reader, snapshot)? {
            let Some(memory) = reader.memory_at(place)? else { continue };
            if same_text(&memory.text, text) {
                related.same.push(memory.id);
                continue;
            }
            // most differ at the first glance
            let of = Outline::of(&memory.text);
            let (may_be_near, may_contradict) = (outline.may_be_near(&of), of.may_contradict(&outline));
            if !(may_be_near || may_contradict) {
                continue;
            }
            let there = Said::of(&memory.text);
            if may_contradict && there.is_contradicted_by(&said) {
                related.contradicts.push(memory.id);
                continue;
            }
            let likeness = if may_be_near { there.likeness(&said) } else { Likeness::Other };
            if likeness > Likeness::Other {
                near.push((likeness, memory.id));
            }
        }
        near.sort_by(|(a, _), (b, _)| b.cmp(a));
        related.same.extend(near.into_iter().map(|(_, id)| id));
        Ok(related)
    }

    /// Writes memories in one go: as few entries as they fit into, one answer each, in order. Their answers tell of no
    /// duplicates.
    ///
    /// # Errors
    /// As [`Brain::remember`]; if one memory is refused, none is written.
    pub async fn remember_all(&self, memories: Vec<NewMemory>) -> Result<Vec<Remembered>, NodeError> {
        let mut records = Vec::with_capacity(memories.len());
        let mut spaces = Vec::with_capacity(memories.len());
        let mut held = Vec::new();
        let mut keys = BTreeMap::new();
        let places = self.places().await?;
        for mut memory in memories {
            memory.without_secrets()?;
            held.extend(self.shorten(&mut memory).await?);
            let superseded = match memory.supersedes.clone().filter(|_| memory.was.is_none()) {
                Some(id) => Some(self.reading(move |brain| brain.superseded(&id)).await?),
                None => None,
            };
            let name = memory.space.clone().or_else(|| superseded.as_ref().map(|of| of.space.to_string()));
            let space = match places.space(name.as_deref()) {
                Some((space, _)) => space,
                None => {
                    let called = self.reading(move |brain| brain.space_called(name.as_deref())).await;
                    called.map_err(|error| self.beyond(error))?
                }
            };
            let missing = || NodeError::NotFound { what: Resource::Space, name: space.to_string() };
            let row = places.readable(space).ok_or_else(missing)?;
            spaces.push((places.shown_name(&space, row), row.rule(space)));
            let keeps = memory.keeps();
            if let Some(of) = &superseded {
                of.pass_on(&mut memory, &keeps);
            }
            let mut core = self.core(memory)?;
            if let Some(key) = &core.key {
                match keys.entry((space, folded(key))) {
                    Entry::Vacant(free) => drop(free.insert(key.clone())),
                    Entry::Occupied(one) if one.get() == key => {}
                    Entry::Occupied(one) => {
                        return Err(ConflictError::KeysAlike { one: one.get().clone(), other: key.clone() }.into());
                    }
                }
            }
            let closes = superseded.map(|of| self.supersede(&mut core, space, of)).transpose()?;
            records.push(NewRecord { space, core, keeps, closes });
        }
        let outcome = self.here().engine.run(Command::Remember(records)).await;
        // the entries refer to their blobs by now
        drop(held);
        match outcome? {
            Outcome::Remembered(written) => {
                let answers = written.into_iter().zip(spaces);
                Ok(answers.map(|(written, (space, rule))| self.remembered(&written, space, &rule)).collect())
            }
            Outcome::KeyLike { record } => {
                let id = MemoryId::from(record).to_string();
                let of = id.clone();
                let key = self.reading(move |brain| brain.reader(&brain.snapshot()?)?.key_of(&of)).await?;
                Err(ConflictError::KeyLike { id, key: key.unwrap_or_default() }.into())
            }
            other => Err(refused(&other, "")),
        }
    }

    fn remembered(&self, written: &Written, space: String, rule: &SpaceRule) -> Remembered {
        let members = self.here().identity.members();
        let may_read = |peer: &Did| members.may_read(peer, rule);
        Remembered {
            id: written.record.into(),
            space,
            author: written.log.author,
            seq: written.seq,
            created_at: written.created_at,
            durability: Durability {
                local: true,
                replicated: self.here().sessions.replicas(&written.log, written.seq, may_read),
            },
            replaced: written.replaced,
            duplicate_of: None,
            contradicts: Vec::new(),
        }
    }

    /// Checks what a caller gave, and makes a core of it.
    fn core(&self, memory: NewMemory) -> Result<Core, NodeError> {
        let NewMemory { text, attachment, kind, tags, meta, aliases, key, ttl, was, proof, origin, .. } = memory;
        let NewMemory { valid_from, valid_to, supersedes, .. } = memory;
        in_order(valid_from, valid_to)?;
        let (valid_from, valid_to) = (valid_from.map(Timestamp::as_ms), valid_to.map(Timestamp::as_ms));
        let kind = kind.unwrap_or_else(|| "note".to_owned());
        let end = |ttl| self.here().world.wall().date_after(ttl).ok_or(InputError::Date { what: "the end of ttl" });
        let expires_at = ttl.map(end).transpose()?.map(Timestamp::as_ms);
        let Origin { agent, source, .. } = said(origin);
        let mut core = Core {
            text,
            attachment,
            kind,
            tags,
            meta,
            aliases,
            valid_from,
            valid_to,
            supersedes,
            key,
            expires_at,
            was,
            proof,
            agent,
            source,
        };
        if core.proof.is_some() && core.to_json().len() > WITH_PROOF_BYTES_MAX {
            core.proof = None;
        }
        FIELDS.iter().try_for_each(|field| self.check(field.name, &field.get(&core)))?;
        Ok(core)
    }

    /// Checks the value of a field against what this node lets its callers write.
    fn check(&self, field: &str, value: &Value) -> Result<(), NodeError> {
        limits::check(field, value, self.0.limits.text_bytes_max())
    }

    /// [`Brain::get`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::get`].
    pub fn get_blocking(&self, id: impl Into<MemoryRef>) -> Result<Memory, NodeError> {
        self.reader(&self.snapshot()?)?.get(id.into().as_str())
    }

    /// The credentials of members, for the proofs of an export.
    ///
    /// # Errors
    /// An error of the store.
    #[cfg(feature = "http")]
    pub(crate) fn chains_blocking(&self) -> Result<Chains, NodeError> {
        Ok(ledger::read_chains(&self.snapshot()?)?)
    }

    /// The proof of who wrote the text of a memory, in base64; `None` if there is none, or it would be too long.
    ///
    /// # Errors
    /// An error of the store.
    #[cfg(feature = "http")]
    pub(crate) fn proof_of_blocking(&self, memory: &Memory, chains: &Chains) -> Result<Option<String>, NodeError> {
        self.reader(&self.snapshot()?)?.proof_of(memory, chains)
    }

    /// Whether a memory with this whole id or former id is here, or was forgotten here. Of former ids only those of copies
    /// count that this node wrote.
    ///
    /// # Errors
    /// An error of the store.
    #[cfg(feature = "http")]
    pub(crate) fn fate_blocking(&self, id: &str) -> Result<Fate, NodeError> {
        self.reader(&self.snapshot()?)?.fate(id)
    }

    /// [`Brain::key_of`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::get`].
    pub fn key_of_blocking(&self, id: impl Into<MemoryRef>) -> Result<Option<String>, NodeError> {
        self.reader(&self.snapshot()?)?.key_of(id.into().as_str())
    }

    /// [`Brain::recall`] where the caller may wait for the disk: some milliseconds. It waits for no embedder, and finds by
    /// words alone.
    ///
    /// # Errors
    /// As [`Brain::recall`].
    pub fn recall_blocking(&self, query: &RecallQuery) -> Result<Recalled, NodeError> {
        self.recall_meaning(query, &Meaning::none())
    }

    /// The same with the vectors of the question.
    fn recall_meaning(&self, query: &RecallQuery, meaning: &Meaning) -> Result<Recalled, NodeError> {
        let snapshot = self.snapshot()?;
        let ignores = self.0.limits.ignores.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (me, search) = (self.here().identity.me(), &self.here().search);
        recall::recall(query, me, ignores.names(), search, meaning, &self.reader(&snapshot)?, &snapshot)
    }

    /// The state of the embedder.
    pub(crate) fn embedder(&self) -> EmbedderStatus {
        self.here().vectors.status()
    }

    /// Whether there is an embedder, and it does not answer as it should: words alone are searched then.
    #[cfg(feature = "http")]
    pub(crate) fn embedder_fails(&self) -> bool {
        self.embedder().state == crate::vectors::EmbedderState::Failing
    }

    /// [`Brain::list`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::list`].
    pub fn list_blocking(&self, query: &ListQuery) -> Result<Listing, NodeError> {
        let (snapshot, listed) = (self.snapshot()?, Listed::of(query));
        self.reader(&snapshot)?.list_of(query, |memory| listed.admits(memory))
    }

    /// Changes a memory. Concurrent changes elsewhere show as a conflict until one settles them.
    ///
    /// # Errors
    /// As [`Brain::get`] and [`Brain::remember`].
    pub async fn edit(&self, id: impl Into<MemoryRef>, mut patch: Patch) -> Result<Memory, NodeError> {
        let id = id.into();
        patch.without_secrets()?;
        in_order(patch.valid_from.flatten(), patch.valid_to.flatten())?;
        let (values, _held) = self.values_of(&id, &mut patch).await?;
        let edit = Edit { values, origin: said(patch.origin), ..Edit::default() };
        edit.values.iter().try_for_each(|(field, value)| self.check(field, value))?;
        if edit.values.is_empty() {
            return self.get(id).await;
        }
        let record = self.resolve(&id).await?;
        match self.here().engine.run(Command::Edit { record, edit }).await? {
            Outcome::Done(_) => self.reading(move |brain| brain.get_blocking(MemoryId::from(record))).await,
            other => Err(refused(&other, id.as_str())),
        }
    }

    /// The record that an id names.
    async fn resolve(&self, id: &MemoryRef) -> Result<Dot, NodeError> {
        let id = id.clone();
        self.reading(move |brain| brain.reader(&brain.snapshot()?)?.resolve(id.as_str())).await
    }

    /// Forgets a memory, on every node, whatever is edited elsewhere meanwhile.
    ///
    /// # Errors
    /// As [`Brain::get`] and [`Brain::remember`].
    pub async fn forget(&self, id: impl Into<MemoryRef>) -> Result<(), NodeError> {
        let id = id.into();
        let record = self.resolve(&id).await?;
        match self.here().engine.run(Command::Forget(record)).await? {
            Outcome::Done(_) => Ok(()),
            other => Err(refused(&other, id.as_str())),
        }
    }

    /// [`Brain::history`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::get`].
    pub fn history_blocking(&self, id: impl Into<MemoryRef>) -> Result<Vec<Revision>, NodeError> {
        self.reader(&self.snapshot()?)?.history(id.into().as_str())
    }

    /// [`Brain::watch`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::watch`].
    pub fn watch_blocking(&self, query: &WatchQuery) -> Result<Watch, NodeError> {
        self.watch_of(query, Told::of_memory)
    }

    /// A watch of some changes, which are said by the space that is watched.
    pub(crate) fn watch_of(
        &self,
        query: &WatchQuery,
        told: impl FnOnce(Option<SpaceId>) -> Told,
    ) -> Result<Watch, NodeError> {
        let snapshot = self.snapshot()?;
        let committed = self.here().engine.committed();
        let Handles { store_name, former_names, identity, .. } = self.here();
        let now = LogPlace::after(*committed.borrow());
        let after = match &query.after {
            Some(text) => match Cursor::parse(text, *store_name, former_names)? {
                Given::Here(cursor) => Some(cursor.log).filter(|after| after.eno <= now.eno),
                Given::Former => None,
            },
            None => Some(now),
        };
        // whoever is ahead would wait for the numbers that it has seen, and not be told of others under them
        let missed = after.is_none().then(|| Change {
            cursor: Cursor::of_log(now).render(*store_name),
            kind: ChangeKind::Missed,
            subject: Subject::Member(identity.me()),
            space: String::new(),
            author: identity.me(),
            seq: 0,
        });
        let space = query.space.as_deref();
        let space = space.map(|name| self.reader(&snapshot)?.space(Some(name)).map(|(id, _)| id)).transpose()?;
        Ok(Watch {
            brain: self.clone(),
            committed,
            at: after.unwrap_or(now),
            told: told(space),
            ready: missed.into_iter().collect(),
            reading: None,
        })
    }

    /// [`Brain::spaces`] where the caller may wait for the disk.
    ///
    /// # Errors
    /// As [`Brain::spaces`].
    pub fn spaces_blocking(&self) -> Result<Vec<SpaceInfo>, NodeError> {
        Ok(self.reader(&self.snapshot()?)?.spaces())
    }

    /// Creates a space that every member reads and writes.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if there is one of that name, [`NodeError::Refused`],
    /// [`NodeError::Invalid`] if there are too many.
    pub async fn create_space(&self, name: Name) -> Result<SpaceInfo, NodeError> {
        if folded(name.as_str()) == "mesh" {
            return Err(ConflictError::SpaceExists(name).into());
        }
        if let Some(other) = self.places().await?.name_like(&name) {
            return Err(ConflictError::SpaceExists(other).into());
        }
        let known = self.reading(Self::spaces_blocking).await?;
        if known.len() >= self.0.limits.spaces_max.load(Ordering::Relaxed) {
            return Err(InputError::Spaces { count: known.len() }.into());
        }
        let salt = random();
        match self.here().engine.run(Command::CreateSpace { name, salt }).await? {
            Outcome::Space(id) => {
                let made = self.reading(Self::spaces_blocking).await?.into_iter().find(|space| space.id == id);
                made.ok_or_else(|| NodeError::NotFound { what: Resource::Space, name: id.to_string() })
            }
            other => Err(refused(&other, "")),
        }
    }

    /// The pages of a space, one after the other.
    pub(crate) fn pages_of(&self, space: &str) -> Result<Pages, NodeError> {
        let snapshot = self.snapshot()?;
        let (id, _) = self.reader(&snapshot)?.space(Some(space))?;
        Ok(Pages::read(&snapshot, id)?)
    }

    /// Some changes after a place, up to entry `until`. That is the last one that was announced
    /// before: later ones may be on disk already, while the members with whom they can be seen are not known yet.
    fn changes_after(&self, at: LogPlace, until: u64, told: Told) -> Result<Seen, NodeError> {
        let snapshot = self.snapshot()?;
        let known = self.read_known(&snapshot)?;
        watch::changes_after(&snapshot, &known, self.here().store_name, at, until, told)
    }

    pub(crate) fn reader<'a>(&self, snapshot: &'a Snapshot) -> Result<Reader<'a>, NodeError> {
        let Handles { store_name, world, clocks, .. } = self.here();
        let now = world.wall();
        let reader = Reader::with(snapshot, *store_name, self.read_known(snapshot)?, now);
        Ok(reader.agreeing(clocks.agreed(now, world.now()).0))
    }
}

impl fmt::Debug for Brain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Brain({})", self.here().identity.me().short())
    }
}

/// Some changes, and the place after all that was looked at.
type Seen = (Vec<Change>, LogPlace);

/// Changes as they are committed. A slow reader costs nothing: it is a cursor over the store.
pub struct Watch {
    brain: Brain,
    committed: channel::Receiver<u64>,
    at: LogPlace,
    told: Told,
    ready: VecDeque<Change>,
    /// The read that is under way. It goes on if whoever waited for it does something else meanwhile.
    reading: Option<BoxFuture<'static, Result<Seen, NodeError>>>,
}

impl Watch {
    /// The next change; waits for one. `None` once the node has stopped.
    ///
    /// Cancel-safe: a change is handed out or comes again.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Option<Change>, NodeError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            if !self.read_on().await? && self.committed.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// The next change that is committed already; `None` if there is none yet. Cancel-safe.
    #[cfg(feature = "http")]
    pub(crate) async fn at_hand(&mut self) -> Result<Option<Change>, NodeError> {
        while self.ready.is_empty() {
            // a read that was under way does not see what was committed since
            let is_new = self.reading.is_none();
            if !self.read_on().await? && is_new {
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Reads what is committed. Whether that was anything.
    async fn read_on(&mut self) -> Result<bool, NodeError> {
        let reading = self.reading.get_or_insert_with(|| {
            let (at, until, told, brain) =
                (self.at, *self.committed.borrow_and_update(), self.told, self.brain.clone());
            async move { brain.reading(move |brain| brain.changes_after(at, until, told)).await }.boxed()
        });
        let seen = reading.await;
        self.reading = None;
        Ok(self.take(seen?))
    }

    /// Takes in what was looked at. Whether that was anything.
    fn take(&mut self, (changes, at): Seen) -> bool {
        let moved = at != self.at;
        (self.at, self.ready) = (at, changes.into());
        moved || !self.ready.is_empty()
    }

    /// Where this watch is: after everything that was looked at. `None` while a change is left to hand out.
    pub(crate) fn place(&self) -> Option<LogPlace> {
        self.ready.is_empty().then_some(self.at)
    }
}

#[cfg(feature = "mcp")]
impl Watch {
    /// The next change that is committed already; reads the store where it is called.
    ///
    /// # Errors
    /// The store's, [`NodeError::Stopping`] once the node has stopped.
    pub(crate) fn committed(&mut self) -> Result<Option<Change>, NodeError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            let stopped = self.committed.has_changed().is_err();
            let until = *self.committed.borrow_and_update();
            let seen = self.brain.changes_after(self.at, until, self.told)?;
            if !self.take(seen) {
                return if stopped { Err(StopError::Stopped.into()) } else { Ok(None) };
            }
        }
    }

    /// Where this watch is, for callers: after everything that was looked at. It goes on from here only if no
    /// change is left to hand out, as after a [`Watch::next`] that was waiting.
    pub(crate) fn cursor(&self) -> String {
        Cursor::of_log(self.at).render(self.brain.here().store_name)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("at", &self.at).finish_non_exhaustive()
    }
}

fn refused(outcome: &Outcome, id: &str) -> NodeError {
    match outcome {
        Outcome::NoRecord => NodeError::NotFound { what: Resource::Memory, name: id.to_owned() },
        Outcome::NotPermitted { member: false } => AccessError::Revoked.into(),
        _ => AccessError::Reader.into(),
    }
}

/// An origin as it is written: of a program that says nothing else, on its own word.
fn said(origin: Origin) -> Origin {
    Origin::new(origin.agent, origin.source.or(Some(Source::Tool)))
}
