//! A document as it stands by the entries that are here: a pure core that reads no store.
//!
//! A change counts if an entry that holds it counts, its verdict holds, no other such change has its actor and number, and all
//! changes before it count. So equal sets of entries that count make equal heads, in whatever order they came.

pub(super) mod form;
#[cfg(feature = "http")]
pub(super) mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_crdt::{DocumentPart, DocumentWords, LogId};
use nexus_documents::{Broken, Change, ChangeHash, DocumentId, Fault, Held, Judge, Living, Made, standing};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use crate::ledger::rows::Eno;

/// The most bytes of changes that are taken of one log. Later ones of that log do not count. Entries that do not count take
/// nothing of it, but have as much of their own. Counting ones come in the order of their log: each is taken after
/// the one that it names. So the share depends on which entries count, and not on when they came.
pub(super) const SHARE_BYTES_MAX: u64 = 16 << 20;
/// The most refused changes that are named.
const REFUSED_MAX: usize = 64;
/// The beginning of the ids of this mesh's own actors.
const OWN_ACTOR: [u8; 4] = *b"nxd1";
/// The bytes after it that say in which document an actor is.
const DOCUMENT_TAG_BYTES: usize = 4;
const OWN_ACTOR_BYTES: usize = OWN_ACTOR.len() + DOCUMENT_TAG_BYTES + 16;

/// The beginning of the actors of members in a document. In a copy of it under another id they are actors like any others.
fn own_beginning(document: DocumentId) -> [u8; OWN_ACTOR.len() + DOCUMENT_TAG_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("nexus document actors");
    hasher.update(document.as_bytes());
    let mut beginning = [0; OWN_ACTOR.len() + DOCUMENT_TAG_BYTES];
    beginning[..OWN_ACTOR.len()].copy_from_slice(&OWN_ACTOR);
    beginning[OWN_ACTOR.len()..].copy_from_slice(&hasher.finalize().as_bytes()[..DOCUMENT_TAG_BYTES]);
    beginning
}

/// The actor of the changes that a log makes in a document. A store that was put back from a copy has another log, and so
/// another actor.
pub(super) fn own_actor(log: &LogId, document: DocumentId) -> [u8; OWN_ACTOR_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("nexus document actor");
    hasher.update(log.author.as_bytes());
    if !planted("actor_twice_after_restore") {
        hasher.update(&log.incarnation.0);
    }
    hasher.update(document.as_bytes());
    let beginning = own_beginning(document);
    let mut actor = [0; OWN_ACTOR_BYTES];
    actor[..beginning.len()].copy_from_slice(&beginning);
    actor[beginning.len()..].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    actor
}

/// Whether a log may have written a change of an actor: the mesh's own actors belong to one log each.
fn may_be_of(actor: &[u8], log: &LogId, document: DocumentId) -> bool {
    !actor.starts_with(&own_beginning(document)) || actor == own_actor(log, document)
}

/// The words of an entry about the document.
pub(super) struct Arrived {
    pub(super) eno: Eno,
    pub(super) log: LogId,
    pub(super) counts: bool,
    pub(super) words: DocumentWords,
}

/// An entry that holds a change.
#[derive(Clone, Copy, Debug)]
struct Holder {
    eno: Eno,
    author: Did,
    counts: bool,
}

/// A change that is here.
#[derive(Debug)]
struct HeldChange {
    deps: Arc<[ChangeHash]>,
    actor: Arc<[u8]>,
    seq: u64,
    sound: bool,
    holders: Vec<Holder>,
}

impl HeldChange {
    fn counts(&self) -> bool {
        self.holders.iter().any(|holder| holder.counts)
    }
}

/// A change that is not taken.
#[derive(Clone, Debug)]
pub(super) struct RefusedChange {
    pub(super) hash: ChangeHash,
    pub(super) author: Did,
    pub(super) why: String,
}

/// Where the bytes of a change are: an entry that holds it.
pub(super) type BytesAt<'a, E> = &'a dyn Fn(Eno, &ChangeHash) -> Result<Option<Vec<u8>>, E>;

/// A document that is open.
pub(super) struct Replica {
    document: DocumentId,
    judge: Judge,
    living: Living,
    held: BTreeMap<ChangeHash, HeldChange>,
    /// Changes whose verdict waits, by one that comes before them and is not here.
    waiting: BTreeMap<ChangeHash, Vec<(ChangeHash, Vec<u8>)>>,
    /// The sound changes that entries hold which count, by actor and number.
    numbers: BTreeMap<Arc<[u8]>, BTreeMap<u64, u32>>,
    counting: BTreeSet<ChangeHash>,
    colliding: BTreeSet<ChangeHash>,
    /// The numbers of colliding changes, by actor.
    taken_numbers: BTreeMap<Arc<[u8]>, BTreeSet<u64>>,
    /// The bytes that each log has brought: in entries that count, and in others.
    shares: BTreeMap<(LogId, bool), u64>,
    refused: Vec<RefusedChange>,
    /// Changes that an entry had before they were erased.
    erased: BTreeSet<ChangeHash>,
    last: Eno,
    stale: bool,
    saved: Saved,
}

/// How much of a document its saved form has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    /// The changes of the whole.
    pub(super) changes: usize,
    /// The last entry that the page knows.
    pub(super) page: Eno,
    /// The last entry of the document that was taken.
    pub(super) taken: Eno,
}

/// Whether the document must be built again from the bytes of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    Stands,
    Rebuild,
}

impl Replica {
    pub(super) fn new(document: DocumentId) -> Self {
        Self {
            document,
            judge: Judge::new(),
            living: Living::new(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            numbers: BTreeMap::new(),
            counting: BTreeSet::new(),
            colliding: BTreeSet::new(),
            taken_numbers: BTreeMap::new(),
            shares: BTreeMap::new(),
            refused: Vec::new(),
            erased: BTreeSet::new(),
            last: 0,
            stale: false,
            saved: Saved::default(),
        }
    }

    /// The document itself.
    pub(super) fn living(&self) -> &Living {
        &self.living
    }

    /// The last entry of the node that was looked at.
    pub(super) fn last(&self) -> Eno {
        self.last
    }

    /// Notes that all entries up to one were looked at.
    pub(super) fn looked(&mut self, last: Eno) {
        self.last = self.last.max(last);
    }

    /// The bytes of the changes that were taken.
    pub(super) fn bytes(&self) -> u64 {
        self.shares.values().sum()
    }

    /// The number of the changes that are here, whether they count or not.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it is to be built again before it is used.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// How much of it is saved.
    pub(super) fn saved(&self) -> Saved {
        self.saved
    }

    /// Notes what was saved.
    pub(super) fn note_saved(&mut self, saved: Saved) {
        self.saved = saved;
    }

    /// The members whose entries hold a change.
    pub(super) fn authors(&self, change: &ChangeHash) -> BTreeSet<Did> {
        let holders = self.held.get(change).into_iter().flat_map(|held| &held.holders);
        holders.map(|holder| holder.author).collect()
    }

    /// The member of each actor: the first holder of a change with it.
    pub(super) fn authors_of_actors(&self) -> BTreeMap<&[u8], Did> {
        let mut authors = BTreeMap::new();
        for held in self.held.values() {
            if let Some(holder) = held.holders.first() {
                authors.entry(&*held.actor).or_insert(holder.author);
            }
        }
        authors
    }

    /// Changes that are not taken, with the reason.
    #[cfg(test)]
    pub(super) fn refused(&self) -> &[RefusedChange] {
        &self.refused
    }

    /// Changes that stand in each other's way: two of one actor and number.
    #[cfg(test)]
    pub(super) fn colliding(&self) -> &BTreeSet<ChangeHash> {
        &self.colliding
    }

    /// Changes that others come after, and that are not here.
    pub(super) fn missing(&self) -> BTreeSet<ChangeHash> {
        self.waiting.keys().filter(|dep| !self.held.contains_key(*dep)).copied().collect()
    }

    /// Takes entries in the order of their numbers, each once.
    pub(super) fn take(&mut self, arrived: impl IntoIterator<Item = Arrived>) -> Result<Next, Broken> {
        let mut fresh = Vec::new();
        for Arrived { eno, log, counts, words } in arrived {
            self.looked(eno);
            self.saved.taken = eno;
            self.erased.extend(words.erased.into_iter().map(ChangeHash));
            for (_, part) in words.parts {
                let DocumentPart::Change { hash, bytes } = part else { continue };
                self.take_change((eno, &log, counts), ChangeHash(hash), bytes, &mut fresh);
            }
        }
        if self.stale || planted("keeps_dependents_of_cut") { Ok(Next::Rebuild) } else { self.append(&fresh) }
    }

    fn take_change(
        &mut self,
        (eno, log, counts): (Eno, &LogId, bool),
        hash: ChangeHash,
        bytes: Vec<u8>,
        fresh: &mut Vec<(ChangeHash, Vec<u8>)>,
    ) {
        let author = log.author;
        let change = match Change::parse(&bytes) {
            Ok(change) if change.hash() == hash => change,
            Ok(_) => return self.refuse(hash, author, "its author gives it another name than its bytes have"),
            Err(fault) => return self.refuse(hash, author, &fault.to_string()),
        };
        if !may_be_of(change.actor(), log, self.document) {
            return self.refuse(hash, author, "its actor belongs to the log of another member");
        }
        let share = self.shares.entry((*log, counts)).or_default();
        *share = share.saturating_add(bytes.len() as u64);
        if *share > SHARE_BYTES_MAX {
            return self.refuse(hash, author, "its log has brought 16 MiB of this document before");
        }
        let holder = Holder { eno, author, counts };
        if let Some(held) = self.held.get_mut(&hash) {
            let counted = held.counts();
            held.holders.push(holder);
            if held.sound && counts && !counted && !self.counting.contains(&hash) {
                // changes after it may count now, too
                self.stale = true;
            }
            return;
        }
        let held = HeldChange {
            deps: change.deps().into(),
            actor: self.actor(change.actor()),
            seq: change.seq(),
            sound: false,
            holders: vec![holder],
        };
        self.held.insert(hash, held);
        self.judge_with_those_after(hash, bytes, fresh);
    }

    /// The id of an actor, which is kept once.
    fn actor(&self, actor: &[u8]) -> Arc<[u8]> {
        self.numbers.get_key_value(actor).map_or_else(|| actor.into(), |(known, _)| known.clone())
    }

    /// Judges a change, and then all that waited for it.
    fn judge_with_those_after(&mut self, hash: ChangeHash, bytes: Vec<u8>, fresh: &mut Vec<(ChangeHash, Vec<u8>)>) {
        let mut next = vec![(hash, bytes)];
        while let Some((hash, bytes)) = next.pop() {
            let Ok(change) = Change::parse(&bytes) else { continue };
            let judged = match self.judge.accept(&change) {
                Err(Fault::MissingDeps(_)) if planted("applies_before_deps") => Ok(()),
                Err(fault) if !matches!(fault, Fault::MissingDeps(_)) && planted("counts_unscanned") => Ok(()),
                judged => judged,
            };
            match judged {
                Ok(()) => {
                    next.extend(self.waiting.remove(&hash).unwrap_or_default());
                    if let Some(held) = self.held.get_mut(&hash) {
                        held.sound = true;
                        if held.counts() {
                            fresh.push((hash, bytes));
                        }
                    }
                }
                Err(Fault::MissingDeps(missing)) => {
                    if let Some(dep) = missing.first() {
                        self.waiting.entry(*dep).or_default().push((hash, bytes));
                    }
                }
                Err(fault) => {
                    let author = self.authors(&hash).pop_first();
                    if let Some(author) = author {
                        self.refuse(hash, author, &fault.to_string());
                    }
                }
            }
        }
    }

    /// Adds changes that have come to count, each after those before it.
    fn append(&mut self, fresh: &[(ChangeHash, Vec<u8>)]) -> Result<Next, Broken> {
        let mut batch: Vec<&[u8]> = Vec::new();
        for (hash, bytes) in fresh {
            let Some(held) = self.held.get(hash) else { continue };
            let number = self.numbers.entry(held.actor.clone()).or_default().entry(held.seq).or_default();
            *number += 1;
            if *number > 1 {
                if planted("collides_by_arrival") {
                    continue;
                }
                // one more beside those that do not count already takes nothing away
                let is_grounded = |dep: &ChangeHash| self.counting.contains(dep) || self.colliding.contains(dep);
                let taken = self.taken_numbers.get(&*held.actor).is_some_and(|numbers| numbers.contains(&held.seq));
                if taken && held.deps.iter().all(is_grounded) {
                    self.colliding.insert(*hash);
                    continue;
                }
                self.stale = true;
                return Ok(Next::Rebuild);
            }
            let follows = held.deps.iter().all(|dep| self.counting.contains(dep));
            if follows || planted("applies_before_deps") {
                self.counting.insert(*hash);
                batch.push(bytes);
            }
        }
        self.living.apply(batch)?;
        Ok(Next::Stands)
    }

    /// Builds the document again: which changes count is found anew, and their bytes are read.
    pub(super) fn rebuild<E: From<Broken>>(&mut self, bytes_at: BytesAt<'_, E>) -> Result<(), E> {
        let of = |held: &HeldChange| Held {
            deps: held.deps.clone(),
            actor: held.actor.clone(),
            seq: held.seq,
            sound: held.sound,
            counts: held.counts(),
        };
        let mut all: BTreeMap<ChangeHash, Held> = self.held.iter().map(|(hash, held)| (*hash, of(held))).collect();
        if planted("keeps_dependents_of_cut") {
            let counting = all.values().filter(|held| held.counts);
            let mut needed: Vec<ChangeHash> = counting.flat_map(|held| held.deps.to_vec()).collect();
            while let Some(dep) = needed.pop() {
                if let Some(held) = all.get_mut(&dep).filter(|held| !held.counts) {
                    held.counts = true;
                    needed.extend(held.deps.iter().copied());
                }
            }
        }
        let found = standing(&all);
        let mut living = Living::new();
        let mut bytes = Vec::with_capacity(found.counting.len());
        for hash in &found.counting {
            let holders = self.held.get(hash).into_iter().flat_map(|held| &held.holders);
            for holder in holders {
                if let Some(found) = bytes_at(holder.eno, hash)? {
                    bytes.push(found);
                    break;
                }
            }
        }
        living.apply(bytes.iter().map(Vec::as_slice))?;
        self.living = living;
        self.counting = found.counting.into_iter().collect();
        self.colliding = found.colliding;
        self.count_numbers();
        self.stale = false;
        Ok(())
    }

    /// Finds the numbers of the changes that are here anew.
    fn count_numbers(&mut self) {
        self.numbers.clear();
        self.taken_numbers.clear();
        for (hash, held) in &self.held {
            // the entries of a change that this node has just made are to come
            if held.sound && (held.counts() || self.counting.contains(hash)) {
                *self.numbers.entry(held.actor.clone()).or_default().entry(held.seq).or_default() += 1;
            }
        }
        for held in self.colliding.iter().filter_map(|hash| self.held.get(hash)) {
            self.taken_numbers.entry(held.actor.clone()).or_default().insert(held.seq);
        }
    }

    /// All changes that are named as not taken: their members and the reason.
    pub(super) fn all_refused(&self) -> Vec<(ChangeHash, Vec<Did>, String)> {
        let refused = self.refused.iter().map(|refused| (refused.hash, vec![refused.author], refused.why.clone()));
        let colliding = self.colliding.iter().map(|hash| {
            (*hash, self.authors(hash).into_iter().collect(), "another change has the same actor and number".to_owned())
        });
        refused.chain(colliding).collect()
    }

    /// Makes changes as an actor. They are in the document at once, so nobody may read it before they are on the disk.
    /// A document whose changes were not written must not be used any more.
    pub(super) fn edit(
        &mut self,
        make: impl FnOnce(&mut Living) -> Result<Vec<Made>, nexus_documents::EditError>,
    ) -> Result<Vec<Made>, nexus_documents::EditError> {
        make(&mut self.living)
    }

    /// Takes changes that this node has made, as if an entry held them already. It is to come.
    pub(super) fn adopt(&mut self, made: &[Made]) -> Result<(), Fault> {
        for Made { hash, bytes } in made {
            let change = Change::parse(bytes)?;
            self.judge.accept(&change)?;
            self.hold_made(*hash, &change);
        }
        Ok(())
    }

    /// Holds a change that was judged and counts, and whose entry is to come.
    fn hold_made(&mut self, hash: ChangeHash, change: &Change<'_>) {
        let held = HeldChange {
            deps: change.deps().into(),
            actor: self.actor(change.actor()),
            seq: change.seq(),
            sound: true,
            holders: Vec::new(),
        };
        *self.numbers.entry(held.actor.clone()).or_default().entry(held.seq).or_default() += 1;
        self.held.insert(hash, held);
        self.counting.insert(hash);
    }

    fn refuse(&mut self, hash: ChangeHash, author: Did, why: &str) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(RefusedChange { hash, author, why: why.to_owned() });
        }
    }
}
