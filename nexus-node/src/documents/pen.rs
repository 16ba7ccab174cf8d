use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_crdt::{DocumentPart, Incarnation, LogId, SpaceId};
use nexus_documents::DocumentId;

use crate::engine::{Command, DocumentSaid, Outcome};
use crate::error::{AccessError, DocumentError, NodeError, StopError};
use crate::identity::Identity;
use crate::runtime::EngineHandle;
use crate::world::World;

/// How long a write waits for the format with documents, and how often it is tried.
const FORMAT_WITHIN: Duration = Duration::from_secs(10);
const FORMAT_EVERY: Duration = Duration::from_millis(50);

/// The parts that documents use.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
}

/// Writes entries about documents in this node's name.
pub(super) struct Pen {
    pub(super) identity: Identity,
    pub(super) world: World,
    pub(super) engine: EngineHandle,
    /// The bytes of edits that wait, of all documents.
    pub(super) waiting: Arc<AtomicU64>,
    /// The incarnation in which this node writes, as the engine said last.
    incarnation: Mutex<Incarnation>,
}

impl Pen {
    pub(super) fn new(Handles { identity, world, engine }: Handles) -> Self {
        Self { identity, world, engine, waiting: Arc::default(), incarnation: Mutex::new(Incarnation([0; 8])) }
    }

    /// Writes parts of a document as one entry. They are on the disk when this returns. `incarnation` is that of the log whose
    /// actor made the changes among them. If this node writes in another one by now, nothing is written, and
    /// [`log`](Self::log) says the new one.
    pub(super) async fn write(
        &self,
        space: SpaceId,
        document: DocumentId,
        incarnation: Option<Incarnation>,
        parts: Vec<DocumentPart>,
    ) -> Result<(), NodeError> {
        let said = DocumentSaid { space, document: *document.as_bytes(), incarnation, parts };
        match self.run(said).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Renewed(incarnation) => {
                *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner) = incarnation;
                Err(StopError::NoAnswer.into())
            }
            Outcome::TooEarly => Err(DocumentError::TooEarly.into()),
            Outcome::ErasedDocument => Err(DocumentError::Erased { name: document.to_string(), generation: 0 }.into()),
            Outcome::NotPermitted { member: false } => Err(AccessError::Revoked.into()),
            Outcome::NotPermitted { .. } => Err(AccessError::Reader.into()),
            _ => Err(StopError::NoAnswer.into()),
        }
    }

    /// Has the engine write. A node that has just started or joined learns within moments that the mesh writes the format with
    /// documents, so it is waited for.
    async fn run(&self, said: DocumentSaid) -> Result<Outcome, NodeError> {
        let end = self.world.now() + FORMAT_WITHIN;
        loop {
            match self.engine.run(Command::Document(said.clone())).await? {
                Outcome::TooEarly if self.world.now() < end => {
                    self.world.sleep_until(self.world.now() + FORMAT_EVERY).await;
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// This node's log in a space, as far as is known.
    pub(super) fn log(&self, space: SpaceId) -> LogId {
        let incarnation = *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
        LogId { space, author: self.identity.me(), incarnation }
    }
}
