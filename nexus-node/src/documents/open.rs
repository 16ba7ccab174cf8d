use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use nexus_crdt::{DocumentPart, SpaceId, document_of};
use nexus_documents::{Broken, ChangeHash, DocumentId, Edit};
use nexus_identity::plants::planted;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::front::{Front, Held};
use super::replica::{Arrived, Next, Replica};
use super::version::Version;
use crate::brain::Brain;
use crate::error::{DocumentError, NodeError};
use crate::ledger::rows::{Eno, SpaceNo, Standing};
use crate::ledger::{self, Turned, enos_of_document, last_eno, read_entry, standing};
use crate::store::{Snapshot, StoreError, View};
use crate::world::World;

/// The most bytes of payloads that are read before they are applied.
const PORTION_BYTES: usize = 16 << 20;

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
    /// The bytes of its changes, as they were counted last.
    bytes: AtomicU64,
}

/// The answer to an edit: the version with it, and whether it changed something.
pub(super) type Answer = Result<(Version, bool), NodeError>;

/// Edits of one caller.
pub(super) struct Job {
    pub(super) edits: Vec<Edit>,
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
        let (state, queue, front) = (Arc::default(), Lock::default(), Front::default());
        Self { world, space, no, document, state, queue, front, bytes: AtomicU64::new(0) }
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
        let guard = self.state.clone().lock_owned().await;
        let (no, document, brain) = (self.no, self.document, brain.clone());
        let is_built = guard.is_some();
        let bring = move || current(guard, &brain, no, document);
        let current = if is_built { self.world.reading(bring).await?? } else { self.world.blocking(bring).await?? };
        self.bytes.store(current.as_ref().map_or(0, Replica::bytes), Ordering::Relaxed);
        Ok(current)
    }
}

/// Brings a document to what is committed now. May block.
fn current(mut guard: Current, brain: &Brain, no: SpaceNo, document: DocumentId) -> Result<Current, NodeError> {
    let snapshot = brain.snapshot()?;
    let before = guard.take().unwrap_or_else(|| Replica::new(document));
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
    if replica.last() > 0 && is_turned(&replica, view, last)? {
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

/// Whether entries of the document began or stopped to count since it was looked at.
fn is_turned(replica: &Replica, view: &dyn View, last: Eno) -> Result<bool, StoreError> {
    if planted("counts_what_was_revoked") {
        return Ok(false);
    }
    let turned = Turned::between(view, replica.last() + 1, last)?;
    for eno in turned.all() {
        if turned.enos(view, eno)?.into_iter().any(|other| replica.has_entry(other)) {
            return Ok(true);
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
