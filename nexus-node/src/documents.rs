//! Living documents: JSON with texts, lists and counters that several members change at once, as Automerge.
//!
//! The log holds the changes; the engine does not look into them. A document is built when somebody opens it, from changes
//! whose verdict holds, and follows the log from then on. All of it is derived.
//!
//! | room | content |
//! |---|---|
//! | `find` | the documents of a space, by key and by address |
//! | `anew` | a key that begins anew, and what was said of its former document since |
//! | `front` | how many edits may wait, and until when a document takes them |
//! | `replica` | which changes count: a pure core, and its form as bytes |
//! | `saved` | these forms in the store |
//! | `shown` | documents as callers get them |
//! | `pen` | writing entries about a document |
//! | `open` | a document that is open: reading what was committed since |
//! | `opened` | the documents that are open |
//! | `work` | the things that a caller wants to have written |
//! | `write` | edits that wait for the disk together |
//! | `keep` | saving documents as their entries come |
//! | `watch` | the changes of a document, as patches |
//! | `presence` | words of programs that nobody keeps |
//! | `typed` | a document as a value of a program's own type (feature `typed-documents`) |
//! | `synced` | a document as a program with Automerge follows it |
//! | `link` | a program without its socket, for the simulator |
//! | `touched` | the documents that new entries are about |
//! | `version` | the heads of a document as a text |
//!
//! ```no_run
//! # async fn example(node: nexus_node::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use nexus_node::documents::Edit;
//!
//! let documents = node.documents();
//! documents.create(None, "plan").await?;
//! let title = Edit::Set { path: "title".parse()?, value: "Release 2".into() };
//! documents.edit(None, "plan", vec![title]).await?;
//! println!("{}", documents.get(None, "plan", "title", None).await?.value);
//!
//! // a program that reads and writes in one step
//! let (builds, _) = documents.change(None, "plan", |draft| {
//!     let builds = draft.get("builds")?.and_then(|builds| builds.as_i64()).unwrap_or(0) + 1;
//!     draft.set("builds", builds)?;
//!     Ok(builds)
//! }).await?;
//! println!("build {builds}");
//! # Ok(()) }
//! ```

mod anew;
mod find;
mod front;
mod keep;
#[cfg(all(feature = "http", feature = "testing"))]
mod link;
mod open;
mod opened;
mod pen;
#[cfg(feature = "http")]
mod presence;
mod replica;
mod saved;
mod shown;
#[cfg(feature = "http")]
mod synced;
#[cfg(test)]
mod tests;
#[cfg(feature = "http")]
mod touched;
#[cfg(feature = "typed-documents")]
mod typed;
mod version;
mod watch;
mod work;
mod write;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::rows::SpaceNo;
use crate::memory::Secrets;
use nexus_crdt::{DOCUMENT_CHANGE_BYTES_MAX, DocumentPart, SpaceId, is_document_key};
use nexus_documents::{Broken, Change, ChangeHash, FileError, Judge, Living, changes_of_file, genesis};
pub use nexus_documents::{
    ChangeError, DocPath, DocumentId, Draft, Edit, EditError, FILE_BYTES_MAX, MarkExpand, MarkJson, PatchJson,
};
use nexus_identity::{Did, Timestamp};
use serde_json::Value;
use tokio::sync::oneshot;

use self::find::{Called, Found, ListPlace};
use self::keep::Keeper;
#[cfg(all(feature = "http", feature = "testing"))]
pub use self::link::{ProgramHeard, ProgramLink};
use self::open::Shared;
use self::opened::Opened;
pub(crate) use self::pen::Handles;
use self::pen::Pen;
#[cfg(all(feature = "http", feature = "testing"))]
pub use self::presence::Listener;
#[cfg(feature = "http")]
pub(crate) use self::presence::{Handles as PresenceHandles, Presence, Seat, Word, register as register_presence};
use self::replica::form::{OfPage, Page};
use self::shown::missing;
pub use self::shown::{
    Document, DocumentConflict, DocumentInfo, DocumentNews, DocumentsPage, Edited, FormerDocument, HistoryEntry,
    RefusedChange, TextRun,
};
#[cfg(feature = "http")]
pub(crate) use self::synced::{Heard, Synced};
#[cfg(feature = "http")]
use self::touched::Touched;
#[cfg(feature = "http")]
pub(crate) use self::touched::TouchedDocuments;
#[cfg(feature = "typed-documents")]
pub use self::typed::{Counter, Hydrate, Reconcile, Text, TypedDocument};
pub use self::version::Version;
pub use self::watch::{DocumentChange, DocumentWatch};
use self::work::Work;
use crate::brain::Brain;
use crate::engine::Command;
use crate::error::{DocumentError, NodeError, Resource, StopError};
use crate::identity::Identity;
use crate::ledger::enos_of_document;
use crate::world::random;

/// The most documents of one list.
pub const DOCUMENTS_LISTED_MAX: usize = 1_000;
/// How often an edit follows a key that begins anew meanwhile.
const ANEW_MAX: usize = 4;
/// The most changes of one history.
pub const HISTORY_MAX: usize = 1_000;

/// A handle on a node's documents, cheap to clone.
#[derive(Clone)]
pub struct Documents {
    pen: Arc<Pen>,
    opened: Opened,
    /// One form is written or dropped at a time.
    saving: Arc<tokio::sync::Mutex<()>>,
    /// The spaces in sight.
    brain: Brain,
    secrets: Secrets,
    #[cfg(feature = "http")]
    presence: Presence,
    #[cfg(feature = "http")]
    touched: Touched,
}

impl Documents {
    pub(crate) fn new(handles: Handles, brain: Brain, #[cfg(feature = "http")] presence: Presence) -> Self {
        Self {
            pen: Arc::new(Pen::new(handles)),
            opened: Opened::default(),
            saving: Arc::default(),
            brain,
            secrets: Secrets::Refuse,
            #[cfg(feature = "http")]
            presence,
            #[cfg(feature = "http")]
            touched: Touched::default(),
        }
    }

    /// The words of programs that nobody keeps.
    #[cfg(feature = "http")]
    pub(crate) const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Saves documents until the node stops.
    pub(crate) async fn keep_saved(self) {
        let Self { pen, opened, saving, brain, .. } = self;
        Keeper::new(pen, opened, saving, brain).run().await;
    }

    /// The same documents, as far as they are in the spaces of another handle on the memory.
    #[must_use]
    pub(crate) fn within(&self, brain: Brain) -> Self {
        Self { brain, ..self.clone() }
    }

    /// The same documents, with edits that may have credentials in them: they reach all members, and stay in the history.
    #[must_use]
    pub fn allowing_secrets(self) -> Self {
        Self { secrets: Secrets::Allow, ..self }
    }

    /// Creates the document of a key, or finds it. Two nodes that create it apart create the same one.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] for the space, [`NodeError::Document`], [`NodeError::Refused`] if this node may not write.
    pub async fn create(&self, space: Option<&str>, key: &str) -> Result<Edited, NodeError> {
        let mut generation = match self.look_for(space, key).await {
            Ok(Some(found)) => {
                let version = self.version_of(&found).await?;
                return Ok(Edited { info: found.info(), version, changed: false });
            }
            Ok(None) => 0,
            Err(NodeError::Document(DocumentError::Erased { generation, .. })) => generation.saturating_add(1),
            Err(error) => return Err(error),
        };
        as_key(key)?;
        let (space, no, shown) = self.space(space).await?;
        let last = generation.saturating_add(ANEW_MAX as u64);
        let document = loop {
            let document = DocumentId::of_key(space.as_bytes(), key, generation);
            let bytes = genesis(document);
            let hash = hash_of(&bytes)?;
            let parts = vec![
                DocumentPart::Key { generation, key: key.to_owned() },
                DocumentPart::Change { hash: hash.0, bytes },
            ];
            match self.pen.write(space, document, None, parts).await {
                Ok(()) => break document,
                // the word that it had this key is gone, too
                Err(NodeError::Document(DocumentError::Erased { .. })) if generation < last => generation += 1,
                Err(error) => return Err(error),
            }
        };
        let found = Found { space, no, shown, document, key: Some(key.to_owned()), generation, others: Vec::new() };
        // somebody else may have created it, and written to it, before
        let version = self.version_of(&found).await?;
        Ok(Edited { info: found.info(), version, changed: true })
    }

    /// A page of the documents of a space: those with keys by key, then others by id. At most `limit`, up to
    /// [`DOCUMENTS_LISTED_MAX`]; `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] for the space, [`NodeError::Invalid`] for a text that is no such place.
    pub async fn list(
        &self,
        space: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DocumentsPage, NodeError> {
        let (space, limit) = (space.map(str::to_owned), limit.clamp(1, DOCUMENTS_LISTED_MAX));
        let after: Option<ListPlace> = after.map(str::parse).transpose()?;
        let listed = self.brain.reading(move |brain| find::page(brain, space.as_deref(), after.as_ref(), limit));
        let (items, next) = listed.await?;
        Ok(DocumentsPage { items, next: next.map(|next| next.to_string()) })
    }

    /// The news of an entry about a document, as the document is now. There are none while no change of the entry is in it: such a
    /// change comes with the one that it waits for.
    pub(crate) async fn news(
        &self,
        space: &str,
        document: DocumentId,
        eno: u64,
    ) -> Result<Option<DocumentNews>, NodeError> {
        let found = match self.look_for(Some(space), &document.to_string()).await {
            Ok(Some(found)) => found,
            // it is erased by now
            Ok(None) | Err(NodeError::Document(DocumentError::Erased { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (shared, no) = (self.open(&found), found.no);
        let names = shared.front.names.clone();
        let looked = self.brain.reading(move |brain| {
            let snapshot = brain.snapshot()?;
            let called = names.lock().unwrap_or_else(PoisonError::into_inner).called(&snapshot, no, document)?;
            Ok((called, find::changes_in(&snapshot, eno, document)?))
        });
        let (called, said) = looked.await?;
        let read = shared.read(&self.brain, move |replica| {
            let living = replica.living();
            // an entry about others has made this document another one
            let is_seen = said.is_none_or(|said| said.names || said.changes.iter().any(|change| living.knows(change)));
            Ok(is_seen.then(|| Version(living.heads())))
        });
        let Called { key, former_key } = called;
        match read.await {
            Ok(None) => Ok(None),
            Ok(version) => Ok(Some(DocumentNews { key, former_key, version })),
            // it changed all the same
            Err(NodeError::Document(_)) => Ok(Some(DocumentNews { key, former_key, version: None })),
            Err(error) => Err(error),
        }
    }

    /// A document by its key or its address, as it is now or was at a version: the value at a path. An empty path is the whole.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] for the space or the document, [`DocumentError::Missing`] for the path or the version.
    pub async fn get(
        &self,
        space: Option<&str>,
        name: &str,
        path: &str,
        at: Option<&Version>,
    ) -> Result<Document, NodeError> {
        let path = parse_path(path)?;
        let found = self.find(space, name).await?;
        let (at, identity, info, no) = (at.cloned(), self.pen.identity.clone(), found.info(), found.no);
        // a document that began anew has a former one
        let brain = (found.generation > 0 && at.is_none()).then(|| self.brain.clone());
        let shared = self.open(&found);
        if at.is_none() && brain.is_none() {
            let (of, identity) = (path.clone(), identity.clone());
            let read = move |page: &Page| {
                let refused = page.refused().map(|(hash, by, why)| refused_change(&identity, hash, by, why));
                (page.value(&of), Version(page.heads()), page.missing, refused.collect())
            };
            match shared.of_page(&self.brain, read).await? {
                Some((OfPage::Value(value), version, missing, refused)) => {
                    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
                    return Ok(Document { info, version, value, missing, refused, former: Vec::new() });
                }
                Some((OfPage::Nothing, ..)) => return Err(nothing_at(&path).into()),
                Some((OfPage::Unsure, ..)) | None => {}
            }
        }
        shared
            .read(&self.brain, move |replica| {
                let heads = at.as_ref().map(|at| at.0.as_slice());
                let value = replica.living().value(&path, heads).map_err(missing)?;
                let Some(value) = value else { return Err(nothing_at(&path).into()) };
                let version = at.unwrap_or_else(|| Version(replica.living().heads()));
                let (missing, refused) = (replica.missing().len(), refused_in(replica, &identity));
                let former = match brain {
                    Some(brain) => anew::with_more(&brain.snapshot()?, no, replica.living().messages())?,
                    None => Vec::new(),
                };
                Ok(Document { info, version, value, missing, refused, former })
            })
            .await
    }

    /// All values at a path that were written at once, the shown one first, each with the member that wrote it. There is one where
    /// nothing is in conflict.
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn conflicts(
        &self,
        space: Option<&str>,
        name: &str,
        path: &str,
    ) -> Result<Vec<DocumentConflict>, NodeError> {
        let path = parse_path(path)?;
        if path.is_root() {
            let why = "the document itself is never in conflict, but values in it are: name a path within it";
            return Err(DocumentError::Edit(why.to_owned()).into());
        }
        let (found, identity) = (self.find(space, name).await?, self.pen.identity.clone());
        self.open(&found)
            .read(&self.brain, move |replica| {
                let authors = replica.authors_of_actors();
                let of = |(actor, value): (Vec<u8>, Value)| DocumentConflict {
                    by: authors.get(&*actor).map(|did| shown(&identity, did)),
                    value,
                };
                let conflicts = replica.living().conflicts(&path).map_err(|why| library(&found, &why))?;
                let all: Vec<_> = conflicts.into_iter().map(of).collect();
                if all.is_empty() {
                    return Err(nothing_at(&path).into());
                }
                Ok(all)
            })
            .await
    }

    /// Changes a document: all edits or none, as one change where they fit. Edits of several callers at once wait for the disk
    /// together.
    ///
    /// # Errors
    /// As [`Documents::get`]; [`DocumentError::Edit`] where an edit does not fit what is there, and [`NodeError::Invalid`] for a
    /// text that looks like a credential.
    pub async fn edit(&self, space: Option<&str>, name: &str, edits: Vec<Edit>) -> Result<Edited, NodeError> {
        for edit in &edits {
            match edit {
                Edit::Set { value, .. } | Edit::Insert { value, .. } | Edit::Merge { patch: value, .. } => {
                    self.secrets.check("value", &value.to_string())?;
                }
                Edit::Splice { insert, .. } => self.secrets.check("insert", insert)?,
                Edit::Mark { name, value, .. } => {
                    self.secrets.check("value", &serde_json::json!({ name: value }).to_string())?;
                }
                _ => {}
            }
        }
        self.written(space, name, Work::Edits(edits)).await
    }

    /// Has a program change a document: it reads, decides and writes, and all of it is written or nothing. Its changes go the way of
    /// all edits. Nobody else writes meanwhile on this node, so what it reads is what it changes. It may run more than once,
    /// each time upon the document as it was; its last run counts. It must not wait for anything.
    ///
    /// # Errors
    /// As [`Documents::edit`]; [`DocumentError::Edit`] with its words where the program ends with an error or panics.
    pub async fn change<R: Send + 'static>(
        &self,
        space: Option<&str>,
        name: &str,
        program: impl Fn(&mut Draft<'_>) -> Result<R, ChangeError> + Send + Sync + 'static,
    ) -> Result<(R, Edited), NodeError> {
        let (said, secrets) = (Arc::new(Mutex::new(None)), self.secrets);
        let says = said.clone();
        let run = move |draft: &mut Draft<'_>| {
            let answer = program(draft)?;
            let looked = draft.written()?.iter().try_for_each(|written| secrets.check_written(written));
            let ends = looked.is_err();
            *says.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked.map(|()| answer));
            // the caller gets the error itself
            if ends { Err(DocumentError::Edit("it writes a credential".to_owned()).into()) } else { Ok(()) }
        };
        let edited = self.written(space, name, Work::Program(Arc::new(run))).await;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (edited, said) {
            (Ok(edited), Some(Ok(answer))) => Ok((answer, edited)),
            (Err(_), Some(Err(secret))) => Err(secret.into()),
            (Err(error), _) => Err(error),
            (Ok(_), _) => Err(StopError::NoAnswer.into()),
        }
    }

    async fn written(&self, space: Option<&str>, name: &str, work: Work) -> Result<Edited, NodeError> {
        let mut tries = 0;
        loop {
            let found = self.find(space, name).await?;
            let shared = self.open(&found);
            let edited = shared.edit(&self.pen, &self.brain, work.clone(), found.key.as_deref()).await;
            tries += 1;
            match edited {
                // by now the key leads to the next document
                Err(NodeError::Document(DocumentError::Former { .. })) if found.key.is_some() && tries < ANEW_MAX => {}
                edited => {
                    let (version, changed) = edited?;
                    return Ok(Edited { info: found.info(), version, changed });
                }
            }
        }
    }

    /// The changes of a document, the newest first: at most `limit`, up to [`HISTORY_MAX`].
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn history(
        &self,
        space: Option<&str>,
        name: &str,
        limit: usize,
    ) -> Result<(DocumentInfo, Vec<HistoryEntry>), NodeError> {
        let (found, identity) = (self.find(space, name).await?, self.pen.identity.clone());
        let info = found.info();
        let shared = self.open(&found);
        let entries = shared.read(&self.brain, move |replica| {
            let entry = |item: nexus_documents::HistoryItem| HistoryEntry {
                version: Version(vec![item.hash]),
                by: replica.authors(&item.hash).iter().map(|did| shown(&identity, did)).collect(),
                at: Timestamp::from_ms(u64::try_from(item.time).unwrap_or(0).saturating_mul(1_000)),
                operations: item.ops,
                message: item.message,
            };
            Ok(replica.living().history(limit.min(HISTORY_MAX)).into_iter().map(entry).collect())
        });
        Ok((info, entries.await?))
    }

    /// The version of a document at a time, by the clocks of those who changed it.
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn version_at(&self, space: Option<&str>, name: &str, at: Timestamp) -> Result<Version, NodeError> {
        let found = self.find(space, name).await?;
        let seconds = i64::try_from(at.as_ms() / 1_000).unwrap_or(i64::MAX);
        self.open(&found).read(&self.brain, move |replica| Ok(Version(replica.living().heads_at(seconds)))).await
    }

    /// The version of a text: hashes with `.` between them, or the beginnings of some, of at least eight digits.
    ///
    /// # Errors
    /// As [`Documents::get`]; [`DocumentError::Missing`] if a beginning is of no change, or of several.
    pub async fn version(&self, space: Option<&str>, name: &str, text: &str) -> Result<Version, NodeError> {
        let versions = self.versions(space, name, &[text.to_owned()]).await?;
        Ok(versions.into_iter().next().unwrap_or_default())
    }

    /// The versions of texts, as [`Documents::version`].
    pub(crate) async fn versions(
        &self,
        space: Option<&str>,
        name: &str,
        texts: &[String],
    ) -> Result<Vec<Version>, NodeError> {
        if let Ok(versions) = texts.iter().map(|text| text.parse()).collect() {
            return Ok(versions);
        }
        let (found, texts) = (self.find(space, name).await?, texts.to_vec());
        self.open(&found).read(&self.brain, move |replica| Ok(version::called(&texts, replica.living())?)).await
    }

    /// The letters of a text in runs, each with its author.
    ///
    /// # Errors
    /// As [`Documents::get`]; [`DocumentError::Missing`] if no text is at the path.
    pub async fn authors(&self, space: Option<&str>, name: &str, path: &str) -> Result<Vec<TextRun>, NodeError> {
        let path = parse_path(path)?;
        let (found, identity) = (self.find(space, name).await?, self.pen.identity.clone());
        self.open(&found)
            .read(&self.brain, move |replica| {
                let runs = replica.living().authors(&path).map_err(|why| library(&found, &why))?;
                let runs = runs.ok_or_else(|| DocumentError::Missing(format!("no text is at `{path}`")))?;
                let authors = replica.authors_of_actors();
                let run = |(actor, text): (Vec<u8>, String)| TextRun {
                    by: authors.get(&*actor).map(|did| shown(&identity, did)),
                    text,
                };
                Ok(runs.into_iter().map(run).collect())
            })
            .await
    }

    /// The marks of a text, such as bold letters and links.
    ///
    /// # Errors
    /// As [`Documents::authors`].
    pub async fn marks(&self, space: Option<&str>, name: &str, path: &str) -> Result<Vec<MarkJson>, NodeError> {
        let path = parse_path(path)?;
        let found = self.find(space, name).await?;
        let read = move |replica: &replica::Replica| {
            let marks = replica.living().marks(&path, None).map_err(missing)?;
            Ok(marks.ok_or_else(|| DocumentError::Missing(format!("no text is at `{path}`")))?)
        };
        self.open(&found).read(&self.brain, read).await
    }

    /// Follows a document: each change of it as patches, from a version or from now on.
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn watch(
        &self,
        space: Option<&str>,
        name: &str,
        from: Option<Version>,
    ) -> Result<DocumentWatch, NodeError> {
        let found = self.find(space, name).await?;
        let shared = self.open(&found);
        let committed = self.pen.engine.committed();
        let (info, brain) = (found.info(), self.brain.clone());
        DocumentWatch::begin(info, shared, brain, committed, from).await
    }

    /// A document as a file that every program with Automerge reads.
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn export(&self, space: Option<&str>, name: &str) -> Result<(DocumentInfo, Vec<u8>), NodeError> {
        let found = self.find(space, name).await?;
        let (shared, info) = (self.open(&found), found.info());
        let save = move |replica: &replica::Replica| replica.living().save().map_err(|why| library(&found, &why));
        Ok((info, shared.read(&self.brain, save).await?))
    }

    /// Takes the document of an Automerge file, as a new document, with a key if one is given.
    ///
    /// # Errors
    /// [`DocumentError::File`] if a change of it is refused, [`DocumentError::KeyTaken`].
    pub async fn import(&self, space: Option<&str>, key: Option<&str>, file: Vec<u8>) -> Result<Edited, NodeError> {
        key.map(as_key).transpose()?;
        let generation = match key {
            Some(key) => self.free_generation(space, key).await?,
            None => 0,
        };
        let (space, no, shown) = self.space(space).await?;
        let parts = self.pen.world.blocking(move || parts_of_file(&file)).await??;
        let document = DocumentId::from_bytes(random());
        let name = key.map(|key| DocumentPart::Key { generation, key: key.to_owned() });
        for parts in write::portions(parts.into_iter().chain(name)) {
            self.pen.write(space, document, None, parts).await?;
        }
        let key = key.map(str::to_owned);
        let found = Found { space, no, shown, document, key, generation, others: Vec::new() };
        let version = self.version_of(&found).await?;
        Ok(Edited { info: found.info(), version, changed: true })
    }

    /// The generation in which a key means no document: 0, or the next one if its document is erased.
    async fn free_generation(&self, space: Option<&str>, key: &str) -> Result<u64, NodeError> {
        match self.look_for(space, key).await {
            Ok(None) => Ok(0),
            Ok(Some(_)) => Err(DocumentError::KeyTaken { key: key.to_owned() }.into()),
            Err(NodeError::Document(DocumentError::Erased { generation, .. })) => Ok(generation.saturating_add(1)),
            Err(error) => Err(error),
        }
    }

    /// Writes changes to the document of a key without a look at them, as a member with a program of its own can.
    ///
    /// # Errors
    /// As [`Documents::edit`].
    #[cfg(feature = "testing")]
    pub async fn write_unseen(&self, space: Option<&str>, key: &str, changes: Vec<Vec<u8>>) -> Result<(), NodeError> {
        let found = self.find(space, key).await?;
        let part = |bytes: Vec<u8>| hash_of(&bytes).map(|hash| DocumentPart::Change { hash: hash.0, bytes });
        let parts = changes.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        self.pen.write(found.space, found.document, None, parts).await
    }

    /// A program that has a document open, and hears what others say of it.
    ///
    /// # Errors
    /// As [`Documents::get`].
    #[cfg(all(feature = "http", feature = "testing"))]
    pub async fn listener(
        &self,
        space: Option<&str>,
        name: &str,
        program: &'static str,
    ) -> Result<Listener, NodeError> {
        let found = self.find(space, name).await?;
        Ok(Listener::new(program, (found.space, found.document), self.presence.enter()))
    }

    /// Whether a document is built in memory, and whether it is saved as it is committed now.
    ///
    /// # Errors
    /// As [`Documents::get`].
    #[cfg(feature = "testing")]
    pub async fn is_built_or_saved(&self, space: Option<&str>, key: &str) -> Result<(bool, bool), NodeError> {
        let found = self.find(space, key).await?;
        let built = self.opened.if_open(found.space, found.document).is_some_and(|shared| shared.rests_at().is_some());
        let shared = Shared::new(self.pen.world.clone(), found.space, found.no, found.document);
        let saved = Arc::new(shared).of_page(&self.brain, |_| ()).await?;
        Ok((built, saved.is_some()))
    }

    /// Gives a document a key. A key of another document is refused.
    ///
    /// # Errors
    /// As [`Documents::get`]; [`DocumentError::KeyTaken`].
    pub async fn name(&self, space: Option<&str>, name: &str, key: &str) -> Result<DocumentInfo, NodeError> {
        as_key(key)?;
        let found = self.find(space, name).await?;
        let is_this = |other: &Option<Found>| other.as_ref().is_some_and(|other| other.document == found.document);
        if !self.look_for(space, key).await.is_ok_and(|other| is_this(&other)) {
            let generation = self.free_generation(space, key).await?;
            let part = DocumentPart::Key { generation, key: key.to_owned() };
            self.pen.write(found.space, found.document, None, vec![part]).await?;
        }
        Ok(DocumentInfo { key: Some(key.to_owned()), ..found.info() })
    }

    /// Begins the document of a key anew from its value, without its history. The former one stays readable by its address. Edits
    /// that come meanwhile wait, and are made to the new one.
    ///
    /// # Errors
    /// As [`Documents::get`].
    pub async fn compact(&self, space: Option<&str>, key: &str) -> Result<Edited, NodeError> {
        let (this, space, key) = (self.clone(), space.map(str::to_owned), key.to_owned());
        let (answer, answered) = oneshot::channel();
        // a caller that goes away must not end it between the new document and its key
        self.pen.world.spawn("a document that begins anew", async move {
            let _ = answer.send(this.begin_anew(space.as_deref(), &key).await);
        });
        answered.await.map_err(|_| NodeError::from(StopError::NoAnswer))?
    }

    async fn begin_anew(&self, space: Option<&str>, key: &str) -> Result<Edited, NodeError> {
        let found = self.find(space, key).await?;
        let Some(key) = found.key.clone() else {
            return Err(
                DocumentError::Edit("a document begins anew by its key, and this is an address".to_owned()).into()
            );
        };
        let shared = self.open(&found);
        // all edits before it are on the disk now, and later ones wait
        let mut anew = shared.front.anew.clone().write_owned().await;
        if anew.contains(&key) {
            let found = self.find(space, &key).await?;
            let version = self.version_of(&found).await?;
            return Ok(Edited { info: found.info(), version, changed: false });
        }
        let (no, former) = (found.no, found.document);
        let (brain, found_before) = (self.brain.clone(), found.clone());
        let read = shared.read(&self.brain, move |replica| {
            let content = replica.living().content().map_err(|why| library(&found_before, &why))?;
            let enos = enos_of_document(&brain.snapshot()?, no, former.as_bytes(), 0)?;
            Ok((content, enos.into_iter().filter(|eno| *eno <= replica.last()).count()))
        });
        let (content, entries) = read.await?;
        let generation = found.generation.saturating_add(1);
        let document = DocumentId::of_key(found.space.as_bytes(), &key, generation);
        let bytes = genesis(document);
        let ChangeHash(hash) = hash_of(&bytes)?;
        self.pen.write(found.space, document, None, vec![DocumentPart::Change { hash, bytes }]).await?;
        let new = Found { document, generation, others: Vec::new(), ..found };
        let content = Work::Content(Arc::new(content));
        let (version, _) =
            self.open(&new).write(&self.pen, &self.brain, content, &anew::words(former, entries)).await?;
        // once all is there: a key never leads to a part of its value
        let part = DocumentPart::Key { generation, key: key.clone() };
        let written = self.pen.write(new.space, document, None, vec![part]).await;
        // whatever the answer is: the key may lead there by now
        if written.is_ok() || self.find(space, &key).await.is_ok_and(|found| found.document == document) {
            anew.insert(key);
            self.forget_saved(no, former).await?;
            return Ok(Edited { info: new.info(), version, changed: true });
        }
        written.map(|()| Edited { info: new.info(), version, changed: true })
    }

    /// Drops what is saved of a document, so that nothing but its entries has its text. It is built from them when it is opened,
    /// and saved again once an entry about it comes.
    async fn forget_saved(&self, no: SpaceNo, document: DocumentId) -> Result<(), NodeError> {
        let _saving = self.saving.lock().await;
        let forget = self.brain.reading(move |brain| Ok(saved::forget(&brain.snapshot()?, no, document)?));
        match self.pen.engine.run(Command::Keep(forget.await?)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The time by this node's clock.
    #[cfg(feature = "http")]
    pub(crate) fn now(&self) -> Timestamp {
        self.pen.world.wall()
    }

    async fn version_of(&self, found: &Found) -> Result<Version, NodeError> {
        self.open(found).version(&self.brain).await
    }

    async fn space(&self, name: Option<&str>) -> Result<(SpaceId, u32, String), NodeError> {
        let name = name.map(str::to_owned);
        self.brain.reading(move |brain| find::space(brain, name.as_deref())).await
    }

    async fn look_for(&self, space: Option<&str>, name: &str) -> Result<Option<Found>, NodeError> {
        let (space, name) = (space.map(str::to_owned), name.to_owned());
        self.brain.reading(move |brain| find::one(brain, space.as_deref(), &name)).await
    }

    async fn find(&self, space: Option<&str>, name: &str) -> Result<Found, NodeError> {
        let found = self.look_for(space, name).await?;
        found.ok_or_else(|| NodeError::NotFound { what: Resource::Document, name: name.to_owned() })
    }

    /// The open document of a place.
    fn open(&self, found: &Found) -> Arc<Shared> {
        self.opened.open(found, &self.pen.world)
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

/// A text that a document can get as its key. An address stays that of its document.
fn as_key(key: &str) -> Result<(), DocumentError> {
    if !is_document_key(key) {
        return Err(DocumentError::Key);
    }
    if key.parse::<DocumentId>().is_ok() {
        return Err(DocumentError::Address(key.to_owned()));
    }
    Ok(())
}

fn parse_path(path: &str) -> Result<DocPath, NodeError> {
    path.parse().map_err(|error: nexus_documents::BadPath| DocumentError::Edit(error.to_string()).into())
}

/// The hash of a change that this node made.
fn hash_of(bytes: &[u8]) -> Result<ChangeHash, NodeError> {
    let change = Change::parse(bytes).map_err(|fault| DocumentError::Edit(fault.to_string()))?;
    Ok(change.hash())
}

/// The changes of a file, judged, each for an entry.
fn parts_of_file(file: &[u8]) -> Result<Vec<DocumentPart>, NodeError> {
    let refused = |why: String| NodeError::from(DocumentError::File(format!("this file is no document: {why}")));
    let changes = changes_of_file(file).map_err(|error: FileError| refused(error.to_string()))?;
    let (mut judge, mut living, mut parts) = (Judge::new(), Living::new(), Vec::with_capacity(changes.len()));
    for bytes in &changes {
        let change = Change::parse(bytes).map_err(|fault| refused(fault.to_string()))?;
        judge.accept(&change).map_err(|fault| refused(fault.to_string()))?;
        if bytes.len() > DOCUMENT_CHANGE_BYTES_MAX {
            let (len, max) = (bytes.len(), DOCUMENT_CHANGE_BYTES_MAX);
            return Err(
                DocumentError::TooLarge(format!("a change of it has {len} bytes, and an entry takes {max}")).into()
            );
        }
        parts.push(DocumentPart::Change { hash: change.hash().0, bytes: bytes.clone() });
    }
    living.apply(changes.iter().map(Vec::as_slice)).map_err(|error| refused(error.to_string()))?;
    Ok(parts)
}

fn shown(identity: &Identity, did: &Did) -> String {
    identity.shown_name_of(did).unwrap_or_else(|| did.short())
}

fn refused_in(replica: &replica::Replica, identity: &Identity) -> Vec<RefusedChange> {
    let refused = replica.all_refused().into_iter();
    refused.map(|(hash, by, why)| refused_change(identity, hash, &by, &why)).collect()
}

fn refused_change(identity: &Identity, hash: ChangeHash, by: &[Did], why: &str) -> RefusedChange {
    RefusedChange { hash, by: by.iter().map(|did| shown(identity, did)).collect(), why: why.to_owned() }
}

fn nothing_at(path: &DocPath) -> DocumentError {
    DocumentError::Missing(format!("nothing is at `{path}` in this document"))
}

/// The error of a document whose library failed. It is built again when it is read next.
fn library(found: &Found, why: &Broken) -> NodeError {
    open::broken(found.document, &why.to_string())
}
