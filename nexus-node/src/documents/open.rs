use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use nexus_crdt::{DocumentPart, SpaceId, document_of};
use nexus_documents::{Broken, ChangeHash, DocumentId};
use nexus_identity::plants::planted;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::front::{Front, Held};
use super::replica::form::Page;
use super::replica::{Arrived, Next, Replica, Saved};
use super::saved::{self, Form};
use super::version::Version;
use super::work::Work;
use crate::brain::Brain;
use crate::error::{DocumentError, NodeError};
use crate::ledger::rows::{self, Eno, SpaceNo, Standing};
use crate::ledger::{
    self, Turned, document_has_more, enos_of_document, is_of_document, last_eno, read_entry, standing,
};
use crate::store::{Batch, Snapshot, StoreError, View};
use crate::world::World;

/// The time after which a document that nobody uses is closed. Its saved form opens it again.
const REST: Duration = Duration::from_secs(60);
/// The most bytes of payloads that are read before they are applied.
const PORTION_BYTES: usize = 16 << 20;
/// A document of so few entries, or with so few changes and bytes, is not saved: it is built as soon as it would be read.
const FEW_ENTRIES: usize = 3;
const FEW_CHANGES: usize = 16;
const FEW_BYTES: u64 = 16 << 10;
/// The whole is saved again after so many more changes, and this part of those that it has. At most as many are judged and
/// applied when it is opened.
const MORE_CHANGES: usize = 64;
const MORE_PART: usize = 16;

/// A document that is open, for all who use it.
pub(super) struct Shared {
    world: World,
    pub(super) space: SpaceId,
    pub(super) no: SpaceNo,
    pub(super) document: DocumentId,
    /// `None` until it is built, and after a write of it whose outcome is unknown.
    pub(super) state: Arc<Mutex<Option<Replica>>>,
    pub(super) queue: Lock<Queue>,
    pub(super) front: Front,
    /// The bytes of its changes, or of its page, as they were counted last.
    bytes: AtomicU64,
    /// The page that was read last, where the document is not built, and the last entry with which it was compared.
    page: Lock<Option<(Eno, Arc<Page>)>>,
    /// The time of the last use, in milliseconds.
    used: AtomicU64,
}

/// The answer to an edit: the version with it, and whether it changed something.
pub(super) type Answer = Result<(Version, bool), NodeError>;

/// Edits of one caller.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) held: Held,
}

/// The edits that wait.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    /// Whether a task writes them.
    pub(super) is_served: bool,
    /// The time of the last write.
    pub(super) last: Option<Duration>,
}

/// A document, locked for one user, as it is committed now.
pub(super) type Current = OwnedMutexGuard<Option<Replica>>;

/// The reason why a document was not brought up to date.
enum Failed {
    Store(StoreError),
    Broken(Broken),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Shared {
    pub(super) fn new(world: World, space: SpaceId, no: SpaceNo, document: DocumentId) -> Self {
        let used = AtomicU64::new(millis(world.now()));
        Self {
            world,
            space,
            no,
            document,
            state: Arc::default(),
            queue: Lock::default(),
            front: Front::default(),
            bytes: AtomicU64::new(0),
            page: Lock::default(),
            used,
        }
    }

    /// The bytes of its changes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reads the document as it is committed now.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        brain: &Brain,
        read: impl FnOnce(&Replica) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let (current, document) = (self.current(brain).await?, self.document);
        let read = move || match current.as_ref() {
            Some(replica) => read(replica),
            None => Err(broken(document, "it was closed")),
        };
        self.world.reading(read).await?
    }

    /// Locks the document as it is committed now. Building it the first time may take long, so it keeps no other reader waiting.
    pub(super) async fn current(&self, brain: &Brain) -> Result<Current, NodeError> {
        self.used.store(millis(self.world.now()), Ordering::Relaxed);
        let guard = self.state.clone().lock_owned().await;
        let (no, document, brain) = (self.no, self.document, brain.clone());
        let is_built = guard.is_some();
        let bring = move || current(guard, &brain, no, document);
        let current = if is_built { self.world.reading(bring).await?? } else { self.world.blocking(bring).await?? };
        self.count(current.as_ref());
        Ok(current)
    }

    /// Counts its bytes. A document that is built needs no page.
    fn count(&self, replica: Option<&Replica>) {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if replica.is_some() {
            *page = None;
        }
        let of_page = page.as_ref().map_or(0, |(_, page)| page.bytes());
        self.bytes.store(replica.map_or(of_page, Replica::bytes), Ordering::Relaxed);
    }

    /// Reads the saved page, if the document is not built and its page is as the document is committed now.
    pub(super) async fn of_page<T: Send + 'static>(
        self: &Arc<Self>,
        brain: &Brain,
        read: impl FnOnce(&Page) -> T + Send + 'static,
    ) -> Result<Option<T>, NodeError> {
        if self.state.try_lock().is_ok_and(|replica| replica.is_some()) {
            return Ok(None);
        }
        self.used.store(millis(self.world.now()), Ordering::Relaxed);
        let (shared, brain) = (self.clone(), brain.clone());
        let read = move || {
            let view = brain.snapshot()?;
            let cached = shared.page.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let page = current_page(cached, &view, shared.no, shared.document)?;
            *shared.page.lock().unwrap_or_else(PoisonError::into_inner) = page.clone();
            Ok::<_, NodeError>(page.map(|(_, page)| {
                shared.bytes.store(page.bytes(), Ordering::Relaxed);
                read(&page)
            }))
        };
        self.world.reading(read).await?
    }

    /// The version as it is committed now.
    pub(super) async fn version(self: &Arc<Self>, brain: &Brain) -> Result<Version, NodeError> {
        match self.of_page(brain, |page| Version(page.heads())).await? {
            Some(version) => Ok(version),
            None => self.read(brain, |replica| Ok(Version(replica.living().heads()))).await,
        }
    }

    /// The time at which it is closed, if it is open and nobody uses it until then.
    pub(super) fn rests_at(&self) -> Option<Duration> {
        let is_open = self.state.try_lock().is_ok_and(|replica| replica.is_some());
        is_open.then(|| Duration::from_millis(self.used.load(Ordering::Relaxed)) + REST)
    }

    /// Closes it if nobody has used it for a while.
    pub(super) fn rest(&self) {
        if self.rests_at().is_some_and(|at| at <= self.world.now())
            && let Ok(mut replica) = self.state.try_lock()
        {
            *replica = None;
            self.bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Brings it to what is committed now. The batches that save it, if it has come far enough since it was saved.
    pub(super) async fn to_save(&self, brain: &Brain, is_open: bool) -> Result<Vec<Batch>, NodeError> {
        let guard = self.state.clone().lock_owned().await;
        let (no, document, brain) = (self.no, self.document, brain.clone());
        let work = move || {
            let snapshot = brain.snapshot()?;
            let has_few =
                || Ok::<_, StoreError>(!document_has_more(&snapshot, no, document.as_bytes(), (0, FEW_ENTRIES))?);
            // after a start entries are looked at for a second time
            if guard.is_none() && (is_saved(&snapshot, no, document)? || has_few()?) {
                return Ok((guard, Vec::new()));
            }
            let mut guard = current(guard, &brain, no, document)?;
            let batches = match guard.as_mut() {
                Some(replica) => to_save(replica, &brain.snapshot()?, no, document)?,
                None => Vec::new(),
            };
            Ok::<_, NodeError>((guard, batches))
        };
        // whoever uses it waits for this
        let saved = if is_open { self.world.blocking(work).await } else { self.world.background(work).await };
        let (guard, batches) = saved??;
        self.count(guard.as_ref());
        Ok(batches)
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// The batches that save a document as it is.
fn to_save(replica: &mut Replica, view: &Snapshot, no: SpaceNo, document: DocumentId) -> Result<Vec<Batch>, NodeError> {
    let is_broken = |why: Broken| broken(document, &why.to_string());
    let saved = replica.saved();
    let mut batches = Vec::new();
    if replica.len() < FEW_CHANGES && replica.bytes() < FEW_BYTES || replica.is_stale() {
        return Ok(batches);
    }
    let mut next = saved;
    if saved.page == 0 || saved.page < saved.taken {
        let page = rows::encode(&replica.page().map_err(is_broken)?);
        batches.extend(saved::write(view, no, document, Form::Page, (&page, replica.last()))?);
        next.page = replica.last();
    }
    if saved.changes == 0 || replica.len() >= saved.changes + MORE_CHANGES.max(saved.changes / MORE_PART) {
        let whole = replica.to_bytes().map_err(is_broken)?;
        batches.extend(saved::write(view, no, document, Form::Whole, (&whole, replica.last()))?);
        next.changes = replica.len();
    }
    replica.note_saved(next);
    Ok(batches)
}

/// A page that is as the document is committed: the one that was read before, or the one in the store.
fn current_page(
    cached: Option<(Eno, Arc<Page>)>,
    view: &Snapshot,
    no: SpaceNo,
    document: DocumentId,
) -> Result<Option<(Eno, Arc<Page>)>, StoreError> {
    let last = last_eno(view)?;
    let (since, page) = match cached {
        Some(cached) => cached,
        None => {
            let Some(bytes) = saved::read(view, no, document, Form::Page, last)? else { return Ok(None) };
            let Ok(page) = borsh::from_slice::<Page>(&bytes) else { return Ok(None) };
            (page.last, Arc::new(page))
        }
    };
    Ok(stands((since, last), view, no, document)?.then_some((last, page)))
}

/// Whether a page that knows the entries up to one is as the document is committed.
fn stands((since, last): (Eno, Eno), view: &Snapshot, no: SpaceNo, document: DocumentId) -> Result<bool, StoreError> {
    if since >= last {
        return Ok(since == last);
    }
    if document_has_more(view, no, document.as_bytes(), (since, 0))? {
        return Ok(false);
    }
    Ok(!is_turned((since, last), view, no, document)?)
}

/// Whether the page of a document is as the document is committed, and the whole is saved beside it.
fn is_saved(view: &Snapshot, no: SpaceNo, document: DocumentId) -> Result<bool, StoreError> {
    let Some(page) = saved::last_of(view, no, document, Form::Page)? else { return Ok(false) };
    let has_whole = saved::last_of(view, no, document, Form::Whole)?.is_some();
    Ok(has_whole && stands((page, last_eno(view)?), view, no, document)?)
}

/// The document as it was saved. It may lack entries, and have some that turned since.
fn saved_whole(view: &Snapshot, no: SpaceNo, document: DocumentId) -> Result<Option<Replica>, StoreError> {
    let last = last_eno(view)?;
    let bytes = saved::read(view, no, document, Form::Whole, last)?;
    let Some(mut replica) = bytes.and_then(|bytes| Replica::of_bytes(document, &bytes)) else { return Ok(None) };
    let page = saved::last_of(view, no, document, Form::Page)?.filter(|page| *page <= last).unwrap_or(0);
    let is_later = page > replica.last() && is_turned((replica.last(), page), view, no, document)?;
    let page = if is_later { 0 } else { page };
    replica.note_saved(Saved { page, ..replica.saved() });
    Ok(Some(replica))
}

/// Brings a document to what is committed now. May block.
fn current(mut guard: Current, brain: &Brain, no: SpaceNo, document: DocumentId) -> Result<Current, NodeError> {
    let snapshot = brain.snapshot()?;
    let before = match guard.take() {
        Some(replica) => replica,
        None => saved_whole(&snapshot, no, document)?.unwrap_or_else(|| Replica::new(document)),
    };
    let replica = match follow(before, &snapshot, no, document) {
        Ok(replica) => replica,
        Err(Failed::Store(error)) => return Err(error.into()),
        Err(Failed::Broken(why)) => return Err(broken(document, &why.to_string())),
    };
    *guard = Some(replica);
    Ok(guard)
}

pub(super) fn broken(document: DocumentId, why: &str) -> NodeError {
    DocumentError::Broken { id: document.to_string(), why: why.to_owned() }.into()
}

fn follow(mut replica: Replica, view: &Snapshot, no: SpaceNo, document: DocumentId) -> Result<Replica, Failed> {
    let last = last_eno(view)?;
    if last == replica.last() {
        return Ok(replica);
    }
    if replica.last() > 0 && is_turned((replica.last(), last), view, no, document)? {
        replica = Replica::new(document);
    }
    let mut enos = enos_of_document(view, no, document.as_bytes(), replica.last())?.into_iter().peekable();
    while enos.peek().is_some() {
        let (mut arrived, mut bytes) = (Vec::new(), 0);
        for eno in enos.by_ref() {
            let Some(entry) = read_entry(view, eno)? else { continue };
            bytes += entry.payload().map_or(0, <[u8]>::len);
            let counts = standing(view, eno)? == Standing::Applied;
            if let Ok(words) = document_of(&entry) {
                arrived.push(Arrived { eno, log: entry.header().log(), counts, words });
            }
            if bytes >= PORTION_BYTES {
                break;
            }
        }
        if replica.take(arrived)? == Next::Rebuild {
            replica.rebuild::<Failed>(&|eno, hash| Ok(bytes_at(view, eno, hash)?))?;
        }
    }
    replica.looked(last);
    Ok(replica)
}

/// Whether entries of the document up to one began or stopped to count with those after it.
fn is_turned(
    (since, last): (Eno, Eno),
    view: &dyn View,
    no: SpaceNo,
    document: DocumentId,
) -> Result<bool, StoreError> {
    if planted("counts_what_was_revoked") {
        return Ok(false);
    }
    let turned = Turned::between(view, since + 1, last)?;
    for eno in turned.all() {
        for other in turned.enos(view, eno)?.into_iter().filter(|other| *other <= since) {
            if is_of_document(view, no, document.as_bytes(), other)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The bytes of a change in an entry that holds it.
fn bytes_at(view: &dyn View, eno: Eno, hash: &ChangeHash) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(entry) = ledger::read_entry(view, eno)? else { return Ok(None) };
    let Ok(words) = document_of(&entry) else { return Ok(None) };
    Ok(words.parts.into_iter().find_map(|(_, part)| match part {
        DocumentPart::Change { hash: of, bytes } if of == hash.0 => Some(bytes),
        _ => None,
    }))
}
