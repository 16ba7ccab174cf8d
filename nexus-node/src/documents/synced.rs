//! A document as a program with Automerge follows it, by Automerge's sync protocol.
//!
//! Nothing that a program says is trusted: its changes are judged, and are written in this node's name, before the document has
//! them. A message to it names changes that are on the disk, and no others.

use std::sync::Arc;

use nexus_crdt::{DocumentPart, SpaceId};
use nexus_documents::{
    ChangeHash, DocPath, DocumentId, Edit, FileError, Made, PatchJson, SyncMessage, SyncPeer, changes_of_file,
};
use nexus_identity::plants::planted;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::find::{self, Found};
use super::open::broken;
use super::replica::strangers::{Aside, OnTop};
use super::shown::Edited;
use super::touched::TouchedDocuments;
use super::write::portions;
use super::{Documents, parts_of_file};
use crate::error::{DocumentError, NodeError};
use crate::ledger::rows::Eno;

/// The most bytes of changes of one program that wait for others.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// The most bytes of changes of one program that are not taken and are kept aside.
const ASIDE_BYTES_MAX: usize = 4 << 20;
/// The most bytes of steps that are kept aside, as JSON.
const RESCUED_BYTES_MAX: usize = 256 << 10;
/// The digits of a change in the key of what came after it.
const RESCUED_DIGITS: usize = 8;

/// The knowledge of a program and this node of each other about a document.
#[derive(Debug)]
pub(crate) struct Synced {
    found: Found,
    peer: SyncPeer,
    may_write: bool,
    waiting: Vec<Vec<u8>>,
    /// Changes that are not taken, and are kept aside.
    aside: Aside,
    /// The key under which they are kept.
    kept_as: Option<String>,
}

impl Synced {
    /// The document's space and id.
    pub(crate) fn place(&self) -> (SpaceId, DocumentId) {
        (self.found.space, self.found.document)
    }

    /// The bytes of changes that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum::<usize>() + self.aside.bytes()
    }

    /// Forgets the changes that wait.
    pub(crate) fn forget_waiting(&mut self) {
        (self.waiting, self.aside) = (Vec::new(), Aside::default());
    }

    fn of(found: Found, may_write: bool) -> Self {
        let may_write = may_write || planted("readers_write_by_sync");
        let peer = if may_write { SyncPeer::default() } else { SyncPeer::reader() };
        Self { found, peer, may_write, waiting: Vec::new(), aside: Aside::default(), kept_as: None }
    }
}

/// The answer to a message of a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its changes are on the disk, or were here.
    Taken,
    /// All of its changes wait for others. An answer would ask for them again, so there is none now.
    Waits,
    /// A change of it does not count in this mesh, for this reason. [`Documents::keep_aside`] keeps what the program did after it.
    Aside(String),
    /// A change of it is not taken, for this reason.
    Refused(String),
}

/// The key of what a program did on top of changes that do not count. It comes again as often as the program connects, and is the
/// same document each time.
fn rescued_key(document: DocumentId, first: ChangeHash) -> String {
    let first: String = first.to_string().chars().take(RESCUED_DIGITS).collect();
    format!("rescued/{}/{first}", document.bare())
}

/// The document of it: the steps as far as they fit, and where they belong.
fn rescued(document: DocumentId, steps: &[PatchJson]) -> Value {
    let (mut bytes, mut kept) = (0, Vec::new());
    for step in steps {
        let Ok(step) = serde_json::to_value(step) else { break };
        bytes += step.to_string().len();
        if bytes > RESCUED_BYTES_MAX {
            break;
        }
        kept.push(step);
    }
    let reason = "these steps come after changes that do not count in this mesh";
    json!({ "document": document.to_string(), "reason": reason, "left_out": steps.len() - kept.len(), "steps": kept })
}

impl Documents {
    /// The number of the last entry, as a watch. It ends with the node.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.pen.engine.committed()
    }

    /// Reads a message of a program. That may take long: a few bytes may stand for many operations.
    ///
    /// # Errors
    /// The node stops. A message that cannot be read is an error within.
    pub(crate) async fn sync_message(&self, bytes: Vec<u8>) -> Result<Result<SyncMessage, FileError>, NodeError> {
        Ok(self.pen.world.blocking(move || SyncMessage::read(&bytes)).await?)
    }

    /// A document in one of the spaces in sight, by its id alone. Changes of a program that may not write are passed over.
    pub(crate) async fn synced(&self, document: DocumentId, may_write: bool) -> Result<Option<Synced>, NodeError> {
        let found = self.brain.reading(move |brain| find::anywhere(brain, document)).await?;
        Ok(found.map(|found| Synced::of(found, may_write)))
    }

    /// The place of a document that a program brings: a space in sight, or the usual one.
    pub(crate) async fn synced_anew(&self, space: Option<&str>, document: DocumentId) -> Result<Synced, NodeError> {
        let (space, no, shown) = self.space(space).await?;
        let found = Found { space, no, shown, document, key: None, generation: 0, others: Vec::new() };
        Ok(Synced::of(found, true))
    }

    /// Takes the document of an Automerge file under the id that it has. Changes that are here already are passed over.
    ///
    /// # Errors
    /// [`DocumentError::File`] if a change of it is not taken: others before it are, and stay.
    pub(crate) async fn import_as(
        &self,
        space: Option<&str>,
        document: DocumentId,
        file: Vec<u8>,
    ) -> Result<Edited, NodeError> {
        // all of it is judged before any is written
        let changes = self.pen.world.blocking(move || {
            parts_of_file(&file)?;
            changes_of_file(&file).map_err(|error| NodeError::from(DocumentError::File(error.to_string())))
        });
        let changes = changes.await??;
        let mut synced = match self.look_for(space, &document.to_string()).await? {
            Some(found) => Synced::of(found, true),
            None => self.synced_anew(space, document).await?,
        };
        synced.waiting = changes;
        let (taken, refused) = self.take_waiting(&mut synced).await?;
        let why = match (refused, synced.waiting.is_empty()) {
            (Some(why), _) => why,
            (None, false) => "it has changes of members of a mesh, which come by their own entries alone".to_owned(),
            (None, true) => {
                let version = self.version_of(&synced.found).await?;
                return Ok(Edited { info: synced.found.info(), version, changed: taken > 0 });
            }
        };
        Err(DocumentError::File(format!("not all of this file is taken as {document}: {why}")).into())
    }

    /// Takes messages of a program, one after the other. Their changes are on the disk when this returns, and wait for it together.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node may not write, and others of the disk and the node.
    pub(crate) async fn hear(&self, synced: &mut Synced, messages: Vec<SyncMessage>) -> Result<Heard, NodeError> {
        let mut heard = Heard::Taken;
        let takes = synced.may_write && messages.iter().any(|message| !message.changes.is_empty());
        if takes {
            synced.waiting.extend(messages.iter().flat_map(|message| message.changes.iter().cloned()));
            let (taken, refused) = self.take_waiting(synced).await?;
            if let Some(why) = refused {
                let is_aside = synced.aside.bytes() > 0;
                return Ok(if is_aside { Heard::Aside(why) } else { Heard::Refused(why) });
            }
            if taken == 0 && !synced.waiting.is_empty() {
                heard = Heard::Waits;
            }
        }
        let document = synced.found.document;
        let shared = self.open(&synced.found);
        let mut current = shared.current(&self.brain).await?;
        let mut replica = current.take().ok_or_else(|| broken(document, "it was closed"))?;
        let mut peer = std::mem::take(&mut synced.peer);
        let done = self.pen.world.reading(move || {
            let done = messages.iter().try_for_each(|message| replica.hear(&mut peer, message));
            (replica, peer, done)
        });
        let (replica, peer, done) = done.await?;
        *current = Some(replica);
        synced.peer = peer;
        if takes && !planted("programs_unanswered") {
            synced.peer.owe_answer();
        }
        done.map_err(|why| broken(document, &why.to_string()))?;
        Ok(heard)
    }

    /// The next message to a program, if there is something to say. Changes that waited are tried again before.
    ///
    /// # Errors
    /// Errors of the disk and of the node.
    pub(crate) async fn say(&self, synced: &mut Synced) -> Result<Option<Vec<u8>>, NodeError> {
        if !synced.waiting.is_empty() {
            // a change that is refused now was named when it came, or is another member's
            let _ = self.take_waiting(synced).await?;
        }
        let document = synced.found.document;
        let shared = self.open(&synced.found);
        let mut peer = std::mem::take(&mut synced.peer);
        let said = shared.read(&self.brain, move |replica| {
            let said = replica.living().say(&mut peer).map_err(|why| broken(document, &why.to_string()))?;
            Ok((peer, said))
        });
        let (peer, said) = said.await?;
        synced.peer = peer;
        Ok(said)
    }

    /// Writes those of a program's changes that may be written now. Returns their number, and why the first one of others is
    /// refused.
    async fn take_waiting(&self, synced: &mut Synced) -> Result<(usize, Option<String>), NodeError> {
        let (space, document) = synced.place();
        let log = self.pen.log(space);
        let shared = self.open(&synced.found);
        let mut current = shared.current(&self.brain).await?;
        let mut replica = current.take().ok_or_else(|| broken(document, "it was closed"))?;
        let Aside { void, on_top } = std::mem::take(&mut synced.aside);
        let waiting = [void, on_top, std::mem::take(&mut synced.waiting)].concat();
        let looked = self.pen.world.reading(move || {
            let looked = replica.judge_strangers(&log, waiting);
            (replica, looked)
        });
        let (mut replica, looked) = looked.await?;
        // it is built again unless all of it comes to the disk
        let part = |Made { hash, bytes }: Made| DocumentPart::Change { hash: hash.0, bytes };
        let unwritten = planted("programs_off_disk");
        for parts in portions(looked.made.iter().filter(|_| !unwritten).cloned().map(part)) {
            self.pen.write(space, document, None, parts).await?;
        }
        replica.apply(&looked.made).map_err(|why| broken(document, &why.to_string()))?;
        *current = Some(replica);
        drop(current);
        synced.aside = if looked.aside.bytes() <= ASIDE_BYTES_MAX { looked.aside } else { Aside::default() };
        let mut bytes = 0;
        synced.waiting = looked.waiting;
        synced.waiting.retain(|change| {
            bytes += change.len();
            bytes <= WAITING_BYTES_MAX
        });
        let refused = looked.refused.map(|(hash, why)| format!("its change {hash} is refused: {why}"));
        Ok((looked.made.len(), refused))
    }

    /// Keeps what a program did on top of changes that do not count, as a document of its own. The words for the program, if there is
    /// something new to say.
    pub(crate) async fn keep_aside(&self, synced: &mut Synced) -> Option<String> {
        if synced.aside.on_top.is_empty() {
            return None;
        }
        let (document, aside) = (synced.found.document, synced.aside.clone());
        let shared = self.open(&synced.found);
        let kept = match shared.read(&self.brain, move |replica| Ok(replica.on_top(&aside))).await {
            Ok(Some(OnTop { first, steps })) => {
                let key = rescued_key(document, first);
                self.write_aside(synced.found.space, &key, rescued(document, &steps)).await.map(|()| Some(key))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let words = match kept {
            Ok(key) if key.is_some() && key == synced.kept_as => return None,
            Ok(Some(key)) => {
                tracing::warn!(%document, key, "a program's edits come after changes that do not count: they are kept aside");
                synced.kept_as = Some(key.clone());
                format!("what the program did after it is kept as {key}")
            }
            Ok(None) => {
                tracing::warn!(%document, "a program's edits come after changes that do not count: they cannot be read, and are lost");
                "what the program did after it is not kept, as it cannot be read".to_owned()
            }
            Err(error) => {
                tracing::warn!(%document, %error, "a program's edits come after changes that do not count: they are not kept");
                format!("what the program did after it is not kept: {error}")
            }
        };
        Some(words)
    }

    async fn write_aside(&self, space: SpaceId, key: &str, value: Value) -> Result<(), NodeError> {
        let space = space.to_string();
        self.create(Some(&space), key).await?;
        // a program's letters are looked through nowhere
        let documents = self.clone().allowing_secrets();
        let edits = vec![Edit::Set { path: DocPath::default(), value }];
        documents.edit(Some(&space), key, edits).await.map(drop)
    }

    /// The documents of entries after one, and the last entry.
    pub(crate) async fn touched_since(&self, after: Eno) -> Result<(Arc<TouchedDocuments>, Eno), NodeError> {
        let committed = *self.committed().borrow();
        self.touched.since(&self.brain, committed, after).await
    }
}
